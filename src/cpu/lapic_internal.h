/* SPDX-License-Identifier: MIT */
/*
 * What the files of the LAPIC share: lapic.c (requests, registers, life),
 * lapic_msg.c (messages, LINT0, ICR), lapic_timer.c.
 */
#ifndef NESTOR_CPU_LAPIC_INTERNAL_H
#define NESTOR_CPU_LAPIC_INTERNAL_H

#include "cpu/lapic.h"

enum lapic_reg {
	REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a,
	REG_EOI = 0x0b, REG_RRD = 0x0c, REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f,
	REG_ISR = 0x10, REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28, REG_CMCI = 0x2f,
	REG_ICR = 0x30, REG_ICR2 = 0x31, REG_LVT_TIMER = 0x32, REG_LVT_THERMAL = 0x33,
	REG_LVT_PMC = 0x34, REG_LVT_LINT0 = 0x35, REG_LVT_LINT1 = 0x36, REG_LVT_ERROR = 0x37,
	REG_TIMER_INIT = 0x38, REG_TIMER_CURRENT = 0x39, REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f, NR_REGS = 0x40,
};

enum { VERSION = 0x00050014 }; /* six LVT entries, no directed EOI */
enum { SVR_ENABLE = 1 << 8 };
enum { LVT_MASKED = 1 << 16, LVT_MODE_SHIFT = 17 };
enum { TIMER_ONESHOT, TIMER_PERIODIC, TIMER_DEADLINE };
enum { DELIVER_FIXED, DELIVER_LOWEST, DELIVER_SMI, DELIVER_NMI = 4, DELIVER_INIT, DELIVER_SIPI,
       DELIVER_EXTINT };
enum { ESR_SEND_VECTOR = 1 << 5, ESR_RECEIVE_VECTOR = 1 << 6, ESR_REGISTER = 1 << 7 };
enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };

struct lapic_bus {
	unsigned nr;
	_Atomic unsigned next; /* lowest priority: where the next search starts */
	_Atomic bool lint0;
	void (*eoi_broadcast)(void *opaque, u8 vector);
	void *eoi_opaque;
	struct lapic *lapics[];
};

/* Words that other threads read. */

static inline u32 reg_get(const struct lapic *l, unsigned reg)
{
	return __atomic_load_n(&l->regs[reg], __ATOMIC_RELAXED);
}

static inline void reg_set(struct lapic *l, unsigned reg, u32 value)
{
	__atomic_store_n(&l->regs[reg], value, __ATOMIC_RELAXED);
}

static inline u64 base_get(const struct lapic *l)
{
	return __atomic_load_n(&l->apic_base, __ATOMIC_RELAXED);
}

static inline bool is_enabled(const struct lapic *l)
{
	return base_get(l) & APIC_BASE_ENABLE;
}

static inline bool is_x2apic(const struct lapic *l)
{
	return base_get(l) & APIC_BASE_X2APIC;
}

static inline bool sw_enabled(const struct lapic *l)
{
	return reg_get(l, REG_SVR) & SVR_ENABLE;
}

static inline void wake(struct lapic *l)
{
	if (l->wake)
		l->wake(l->opaque);
}

static inline void call_outside(struct lapic *l, void (*fn)(void *arg), void *arg)
{
	if (l->outside)
		l->outside(l->opaque, fn, arg);
	else
		fn(arg);
}

void lapic_post_error(struct lapic *l, u32 esr_bit);
void lapic_send_icr(struct lapic *l, u32 low, u32 dest);

/* The loop's timer fired, or the deadline changed: is it time? */
void lapic_timer_service(struct lapic *l);
void lapic_timer_start(struct lapic *l, u32 initial_count);
u32 lapic_timer_count(const struct lapic *l);
void lapic_timer_divide(struct lapic *l, u32 value);
/* Ticks until the next interrupt of a counting timer, 0 when stopped. */
u64 lapic_timer_left(const struct lapic *l);
void lapic_timer_restore(struct lapic *l, const struct lapic_state *s);

static inline unsigned timer_mode(const struct lapic *l)
{
	return reg_get(l, REG_LVT_TIMER) >> LVT_MODE_SHIFT & 3;
}

#endif
