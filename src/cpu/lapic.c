// SPDX-License-Identifier: MIT
/*
 * The local APIC: SDM "Advanced Programmable Interrupt Controller (APIC)".
 *
 * Theory of operation
 *
 * Requests. lapic_post() sets TMR, then the IRR bit, then the bit of irr_words,
 * then wakes; lapic_pending() starts from irr_words, which is zero most of the
 * time. The owner clears an irr_words bit only when the word was empty, and
 * looks at the word once more afterwards, so that a bit posted in between is
 * not lost.
 *
 * Timer. Arming a timer of the loop costs a lock and may wake the loop's thread,
 * and kernels move their deadline all the time, mostly into the future. So the
 * loop's timer is moved only to an earlier time; when it fires too early, the
 * vCPU's thread arms it anew. Count modes run on the host's TSC, which a
 * guest's write to its TSC does not touch.
 */
#include "cpu/lapic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/state.h"

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

/* ---- Words that other threads read ---- */

static u32 reg_get(const struct lapic *l, unsigned reg)
{
	return __atomic_load_n(&l->regs[reg], __ATOMIC_RELAXED);
}

static void reg_set(struct lapic *l, unsigned reg, u32 value)
{
	__atomic_store_n(&l->regs[reg], value, __ATOMIC_RELAXED);
}

static u64 base_get(const struct lapic *l)
{
	return __atomic_load_n(&l->apic_base, __ATOMIC_RELAXED);
}

static bool is_enabled(const struct lapic *l)
{
	return base_get(l) & APIC_BASE_ENABLE;
}

static bool is_x2apic(const struct lapic *l)
{
	return base_get(l) & APIC_BASE_X2APIC;
}

static bool sw_enabled(const struct lapic *l)
{
	return reg_get(l, REG_SVR) & SVR_ENABLE;
}

static void wake(struct lapic *l)
{
	if (l->wake)
		l->wake(l->opaque);
}

static void call_outside(struct lapic *l, void (*fn)(void *arg), void *arg)
{
	if (l->outside)
		l->outside(l->opaque, fn, arg);
	else
		fn(arg);
}

/* ---- Requests ---- */

static void post_error(struct lapic *l, u32 bit)
{
	u32 lvt = reg_get(l, REG_LVT_ERROR);
	u32 before = atomic_fetch_or(&l->esr_pending, bit);

	/* An illegal vector in the error LVT itself must not go round in circles. */
	if (!(before & bit) && !(lvt & LVT_MASKED) && (lvt & 0xf0))
		lapic_post(l, (u8)lvt, false);
}

void lapic_post(struct lapic *l, u8 vector, bool level)
{
	unsigned word = vector / 32;
	u32 bit = 1u << vector % 32;

	if (vector < 16) {
		post_error(l, ESR_RECEIVE_VECTOR);
		return;
	}
	if (level)
		atomic_fetch_or(&l->tmr[word], bit);
	else if (atomic_load_explicit(&l->tmr[word], memory_order_relaxed) & bit)
		atomic_fetch_and(&l->tmr[word], ~bit);
	atomic_fetch_or(&l->irr[word], bit);
	atomic_fetch_or(&l->irr_words, 1u << word);
	wake(l);
}

static int highest_bit(u32 word)
{
	return 31 - __builtin_clz(word);
}

/* The highest requested vector, or -1. */
static int irr_top(struct lapic *l)
{
	u32 words = atomic_load_explicit(&l->irr_words, memory_order_acquire);

	while (words) {
		int w = highest_bit(words);
		u32 bits = atomic_load_explicit(&l->irr[w], memory_order_relaxed);

		if (bits)
			return w * 32 + highest_bit(bits);
		atomic_fetch_and(&l->irr_words, ~(1u << w));
		if (atomic_load(&l->irr[w]))
			atomic_fetch_or(&l->irr_words, 1u << w);
		else
			words &= ~(1u << w);
	}
	return -1;
}

static int isr_find_top(const struct lapic *l)
{
	for (int w = 7; w >= 0; w--)
		if (l->isr[w])
			return w * 32 + highest_bit(l->isr[w]);
	return -1;
}

u8 lapic_ppr(const struct lapic *l)
{
	u8 tpr = lapic_tpr(l);
	u8 in_service = l->isr_top < 0 ? 0 : (u8)l->isr_top & 0xf0;

	return (tpr & 0xf0) >= in_service ? tpr : in_service;
}

static void timer_service(struct lapic *l);

static void look_at_timer(struct lapic *l)
{
	if (unlikely(atomic_load_explicit(&l->timer_fired, memory_order_acquire)))
		timer_service(l);
}

int lapic_pending(struct lapic *l)
{
	int vector;

	look_at_timer(l);
	if (likely(!atomic_load_explicit(&l->irr_words, memory_order_relaxed)))
		return -1;
	vector = irr_top(l);
	if (vector < 0 || (vector & 0xf0) <= (lapic_ppr(l) & 0xf0))
		return -1;
	return vector;
}

void lapic_ack(struct lapic *l, int vector)
{
	atomic_fetch_and(&l->irr[vector / 32], ~(1u << vector % 32));
	l->isr[vector / 32] |= 1u << vector % 32;
	l->isr_top = vector;
}

bool lapic_has_work(struct lapic *l)
{
	look_at_timer(l);
	return irr_top(l) >= 0 || atomic_load(&l->posted);
}

static void wake_if_pending(struct lapic *l)
{
	if (lapic_pending(l) >= 0)
		wake(l);
}

struct eoi_call {
	struct lapic_bus *bus;
	u8 vector;
};

static void broadcast_eoi(void *arg)
{
	struct eoi_call *e = arg;

	e->bus->eoi_broadcast(e->bus->eoi_opaque, e->vector);
}

void lapic_eoi(struct lapic *l)
{
	int v = l->isr_top;

	if (v < 0)
		return;
	l->isr[v / 32] &= ~(1u << v % 32);
	l->isr_top = isr_find_top(l);
	if (unlikely(atomic_load(&l->tmr[v / 32]) & 1u << v % 32) && l->bus->eoi_broadcast) {
		struct eoi_call e = { l->bus, (u8)v };

		call_outside(l, broadcast_eoi, &e);
	}
	wake_if_pending(l);
}

u8 lapic_tpr(const struct lapic *l)
{
	return (u8)l->regs[REG_TPR];
}

void lapic_set_tpr(struct lapic *l, u8 tpr)
{
	u8 old = lapic_tpr(l);

	reg_set(l, REG_TPR, tpr);
	if (tpr < old)
		wake_if_pending(l);
}

/* ---- LINT0 and LINT1 ---- */

static unsigned lvt_delivery(u32 lvt)
{
	return lvt >> 8 & 7;
}

/* Does the PIC reach this processor as an external interrupt? A disabled APIC
 * is not there: INTR then is the processor's own pin, on the BSP. */
static bool lint0_is_extint(const struct lapic *l)
{
	u32 lvt = reg_get(l, REG_LVT_LINT0);

	if (!is_enabled(l))
		return l->id == 0;
	return !(lvt & LVT_MASKED) && lvt_delivery(lvt) == DELIVER_EXTINT;
}

bool lapic_extint_pending(const struct lapic *l)
{
	return atomic_load(&l->bus->lint0) && lint0_is_extint(l);
}

static void post_word(struct lapic *l, u32 bits)
{
	atomic_fetch_or(&l->posted, bits);
	wake(l);
}

static void lint0_rises(struct lapic *l)
{
	u32 lvt = reg_get(l, REG_LVT_LINT0);

	if (lint0_is_extint(l))
		wake(l);
	else if (is_enabled(l) && !(lvt & LVT_MASKED) && lvt_delivery(lvt) == DELIVER_FIXED)
		lapic_post(l, (u8)lvt, false);
	else if (is_enabled(l) && !(lvt & LVT_MASKED) && lvt_delivery(lvt) == DELIVER_NMI)
		post_word(l, LAPIC_POST_NMI);
}

void lapic_set_lint0(struct lapic_bus *bus, bool level)
{
	bool before = atomic_exchange(&bus->lint0, level);

	for (unsigned i = 0; level && !before && i < bus->nr; i++)
		if (bus->lapics[i])
			lint0_rises(bus->lapics[i]);
}

/* ---- Messages ---- */

static bool matches_logical(const struct lapic *l, u32 dest)
{
	u32 ldr = reg_get(l, REG_LDR), dfr = reg_get(l, REG_DFR);

	if (is_x2apic(l)) {
		if (dest == ~0u)
			return true;
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	}
	ldr >>= 24;
	dest &= 0xff;
	if (dfr >> 28 == 0xf)
		return ldr & dest;
	/* Cluster model; cluster FH is a broadcast. */
	return (dest >> 4 == 0xf || dest >> 4 == ldr >> 4) && (dest & ldr & 0xf);
}

static bool matches(const struct lapic *l, u32 dest, bool logical)
{
	if (!is_enabled(l))
		return false;
	if (logical)
		return matches_logical(l, dest);
	return dest == l->id || dest == 0xff || dest == ~0u;
}

/* Hands one message to one LAPIC. A software-disabled one takes NMI, INIT, SIPI
 * and ExtINT, but no vectors. */
static void deliver(struct lapic *l, const struct lapic_msg *m)
{
	switch (m->delivery) {
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
		if (sw_enabled(l))
			lapic_post(l, m->vector, m->level);
		break;
	case DELIVER_NMI:
		post_word(l, LAPIC_POST_NMI);
		break;
	case DELIVER_INIT:
		if (!m->level)
			post_word(l, LAPIC_POST_INIT);
		break;
	case DELIVER_SIPI:
		atomic_store(&l->sipi_vector, m->vector);
		post_word(l, LAPIC_POST_SIPI);
		break;
	case DELIVER_EXTINT:
		post_word(l, LAPIC_POST_EXTINT);
		break;
	}
}

/* Lowest priority: the processors take turns, as the SDM leaves it to us. */
static void send_lowest(struct lapic_bus *bus, const struct lapic_msg *m)
{
	unsigned start = atomic_fetch_add_explicit(&bus->next, 1, memory_order_relaxed);

	for (unsigned i = 0; i < bus->nr; i++) {
		struct lapic *l = bus->lapics[(start + i) % bus->nr];

		if (!l || !sw_enabled(l) || !matches(l, m->dest, m->logical))
			continue;
		deliver(l, m);
		return;
	}
}

void lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *m)
{
	if (m->delivery == DELIVER_LOWEST) {
		send_lowest(bus, m);
		return;
	}
	for (unsigned i = 0; i < bus->nr; i++)
		if (bus->lapics[i] && matches(bus->lapics[i], m->dest, m->logical))
			deliver(bus->lapics[i], m);
}

/* SDM "Message Signalled Interrupts". The redirection hint asks for one of
 * several processors. */
void lapic_bus_send_msi(struct lapic_bus *bus, u64 address, u32 data)
{
	bool hint = address & BIT(3);
	struct lapic_msg m = {
		.dest = address >> 12 & 0xff,
		.logical = hint && (address & BIT(2)),
		.vector = (u8)data,
		.delivery = data >> 8 & 7,
		.level = data >> 15 & 1,
	};

	if ((address & 0xfff00000) != 0xfee00000)
		return;
	if (hint && m.delivery == DELIVER_FIXED)
		m.delivery = DELIVER_LOWEST;
	lapic_bus_send(bus, &m);
}

void lapic_set_eoi_broadcast(struct lapic_bus *bus, void (*fn)(void *, u8), void *opaque)
{
	bus->eoi_broadcast = fn;
	bus->eoi_opaque = opaque;
}

/* ---- Sending: ICR ---- */

/* NMI, INIT and SIPI are not sent to oneself by a shorthand. */
static void send_shorthand(struct lapic *l, const struct lapic_msg *m, unsigned to)
{
	bool vector = m->delivery == DELIVER_FIXED || m->delivery == DELIVER_LOWEST;

	for (unsigned i = 0; i < l->bus->nr; i++) {
		struct lapic *other = l->bus->lapics[i];

		if (!other || !is_enabled(other))
			continue;
		if (other == l ? to != SHORT_OTHERS && vector : to != SHORT_SELF)
			deliver(other, m);
	}
}

static void send_icr(struct lapic *l, u32 low, u32 dest)
{
	unsigned to = low >> 18 & 3;
	struct lapic_msg m = {
		.dest = dest,
		.vector = (u8)low,
		.delivery = low >> 8 & 7,
		.logical = low >> 11 & 1,
	};

	/* INIT level de-assert was for processors before the Pentium 4. The trigger
	 * mode of all others is ignored: IPIs are edge-triggered. */
	if (m.delivery == DELIVER_INIT && (low & BIT(15)) && !(low & BIT(14)))
		return;
	if (m.delivery <= DELIVER_LOWEST && m.vector < 16) {
		post_error(l, ESR_SEND_VECTOR);
		return;
	}
	if (to == SHORT_NONE)
		lapic_bus_send(l->bus, &m);
	else
		send_shorthand(l, &m, to);
}

/* ---- Timer ---- */

static unsigned timer_mode(const struct lapic *l)
{
	return reg_get(l, REG_LVT_TIMER) >> LVT_MODE_SHIFT & 3;
}

/* log2 of the divisor: 111B divides by one, 000B by 2, 110B by 128. */
static unsigned timer_shift(const struct lapic *l)
{
	u32 d = l->regs[REG_TIMER_DIVIDE];

	return (((d & 3) | (d >> 1 & 4)) + 1) & 7;
}

static u64 timer_now(const struct lapic *l)
{
	return l->ticks ? l->ticks(l->opaque) : __builtin_ia32_rdtsc();
}

void lapic_timer_fire(void *arg)
{
	struct lapic *l = arg;

	atomic_store(&l->timer_armed_ns, 0);
	atomic_store(&l->timer_fired, true);
	wake(l);
}

struct arm_call {
	struct lapic *l;
	u64 ticks; /* from now */
};

static void arm_loop_timer(void *arg)
{
	struct arm_call *a = arg;
	struct lapic *l = a->l;
	u64 armed = atomic_load(&l->timer_armed_ns);
	/* A deadline years away needs no exact timer, and must not overflow. */
	u64 ticks = MIN(a->ticks, l->tsc_hz * 3600);
	u64 want = clock_ns() + mul_div(ticks, NSEC_PER_SEC, l->tsc_hz);

	if (armed && armed <= want)
		return;
	atomic_store(&l->timer_armed_ns, want);
	timer_set(&l->timer, want);
}

static void timer_arm(struct lapic *l, u64 ticks)
{
	struct arm_call a = { l, ticks };

	if (l->timer.loop && l->tsc_hz)
		call_outside(l, arm_loop_timer, &a);
}

static void timer_interrupt(struct lapic *l)
{
	u32 lvt = reg_get(l, REG_LVT_TIMER);

	if (!(lvt & LVT_MASKED))
		lapic_post(l, (u8)lvt, false);
}

static void deadline_service(struct lapic *l)
{
	u64 now;

	if (!l->tsc_deadline || !l->guest_tsc)
		return;
	now = l->guest_tsc(l->opaque);
	if (now < l->tsc_deadline) {
		timer_arm(l, l->tsc_deadline - now);
		return;
	}
	l->tsc_deadline = 0;
	timer_interrupt(l);
}

static void count_service(struct lapic *l)
{
	u64 elapsed;

	if (!l->timer_period)
		return;
	elapsed = timer_now(l) - l->timer_start;
	if (elapsed < l->timer_period) {
		timer_arm(l, l->timer_period - elapsed);
		return;
	}
	if (timer_mode(l) == TIMER_PERIODIC) {
		elapsed %= l->timer_period; /* what was missed merges into one */
		l->timer_start = timer_now(l) - elapsed;
		timer_arm(l, l->timer_period - elapsed);
	} else {
		l->timer_period = 0;
	}
	timer_interrupt(l);
}

/* The loop's timer fired, or the deadline changed: is it time? */
static void timer_service(struct lapic *l)
{
	atomic_store(&l->timer_fired, false);
	if (timer_mode(l) == TIMER_DEADLINE)
		deadline_service(l);
	else
		count_service(l);
}

static void write_initial_count(struct lapic *l, u32 value)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		return;
	reg_set(l, REG_TIMER_INIT, value);
	l->timer_start = timer_now(l);
	l->timer_period = (u64)value << timer_shift(l);
	if (value)
		timer_arm(l, l->timer_period);
}

static u32 read_current_count(const struct lapic *l)
{
	u64 elapsed;

	if (timer_mode(l) == TIMER_DEADLINE || !l->timer_period)
		return 0;
	elapsed = timer_now(l) - l->timer_start;
	if (timer_mode(l) == TIMER_PERIODIC)
		elapsed %= l->timer_period;
	else if (elapsed >= l->timer_period)
		return 0;
	return (u32)((l->timer_period - elapsed) >> timer_shift(l));
}

/* A new divisor holds for what is left of the count. */
static void write_divide(struct lapic *l, u32 value)
{
	u32 left = read_current_count(l);

	reg_set(l, REG_TIMER_DIVIDE, value & 0xb);
	if (!l->timer_period)
		return;
	l->timer_period = (u64)reg_get(l, REG_TIMER_INIT) << timer_shift(l);
	l->timer_start = timer_now(l) - (l->timer_period - ((u64)left << timer_shift(l)));
	timer_arm(l, (u64)left << timer_shift(l));
}

void lapic_set_tsc_deadline(struct lapic *l, u64 value)
{
	if (timer_mode(l) != TIMER_DEADLINE)
		return;
	l->tsc_deadline = value;
	deadline_service(l);
}

u64 lapic_get_tsc_deadline(struct lapic *l)
{
	return timer_mode(l) == TIMER_DEADLINE ? l->tsc_deadline : 0;
}

void lapic_tsc_changed(struct lapic *l)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		deadline_service(l);
}

/* ---- Registers ---- */

static u32 lvt_mask(unsigned reg)
{
	switch (reg) {
	case REG_LVT_TIMER:
		return 0x700ff;
	case REG_LVT_THERMAL:
	case REG_LVT_PMC:
		return 0x107ff;
	case REG_LVT_ERROR:
		return 0x100ff;
	default:
		return 0x1a7ff; /* LINT0, LINT1 */
	}
}

static void write_lvt(struct lapic *l, unsigned reg, u32 value)
{
	unsigned old_mode = timer_mode(l);

	value &= lvt_mask(reg);
	if (!sw_enabled(l))
		value |= LVT_MASKED;
	reg_set(l, reg, value);
	if (reg == REG_LVT_TIMER && (old_mode == TIMER_DEADLINE) != (timer_mode(l) == TIMER_DEADLINE)) {
		l->tsc_deadline = 0;
		l->timer_period = 0;
		reg_set(l, REG_TIMER_INIT, 0);
	}
	if (reg == REG_LVT_LINT0 && lapic_extint_pending(l))
		wake(l);
}

static void write_svr(struct lapic *l, u32 value)
{
	reg_set(l, REG_SVR, value & 0x3ff);
	if (!sw_enabled(l))
		for (unsigned reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg++)
			reg_set(l, reg, reg_get(l, reg) | LVT_MASKED);
	wake_if_pending(l);
}

static u32 read_reg(struct lapic *l, unsigned reg)
{
	switch (reg) {
	case REG_VERSION:
		return VERSION;
	case REG_PPR:
		return lapic_ppr(l);
	case REG_ISR ... REG_ISR + 7:
		return l->isr[reg - REG_ISR];
	case REG_TMR ... REG_TMR + 7:
		return atomic_load(&l->tmr[reg - REG_TMR]);
	case REG_IRR ... REG_IRR + 7:
		return atomic_load(&l->irr[reg - REG_IRR]);
	case REG_TIMER_CURRENT:
		look_at_timer(l);
		return read_current_count(l);
	default:
		return l->regs[reg];
	}
}

/* The writes that xAPIC and x2APIC have in common. */
static void write_reg(struct lapic *l, unsigned reg, u32 value)
{
	switch (reg) {
	case REG_TPR:
		lapic_set_tpr(l, (u8)value);
		break;
	case REG_EOI:
		lapic_eoi(l);
		break;
	case REG_SVR:
		write_svr(l, value);
		break;
	case REG_ESR:
		reg_set(l, REG_ESR, atomic_exchange(&l->esr_pending, 0));
		break;
	case REG_TIMER_INIT:
		write_initial_count(l, value);
		break;
	case REG_TIMER_DIVIDE:
		write_divide(l, value);
		break;
	default:
		write_lvt(l, reg, value);
	}
}

/* What a register allows: R, W by either interface; X2 only, XA only. */
enum { R = 1, W = 2, XA = 4, X2 = 8, BOTH = XA | X2 };

static const u8 access_of[NR_REGS] = {
	[REG_ID] = R | BOTH,
	[REG_VERSION] = R | BOTH,
	[REG_TPR] = R | W | BOTH,
	[REG_APR] = R | XA,
	[REG_PPR] = R | BOTH,
	[REG_EOI] = W | BOTH,
	[REG_RRD] = R | XA,
	[REG_LDR] = R | W | BOTH, /* x2APIC: read-only, see there */
	[REG_DFR] = R | W | XA,
	[REG_SVR] = R | W | BOTH,
	[REG_ISR ... REG_ISR + 7] = R | BOTH,
	[REG_TMR ... REG_TMR + 7] = R | BOTH,
	[REG_IRR ... REG_IRR + 7] = R | BOTH,
	[REG_ESR] = R | W | BOTH,
	[REG_ICR] = R | W | BOTH,
	[REG_ICR2] = R | W | XA,
	[REG_LVT_TIMER ... REG_LVT_ERROR] = R | W | BOTH,
	[REG_TIMER_INIT] = R | W | BOTH,
	[REG_TIMER_CURRENT] = R | BOTH,
	[REG_TIMER_DIVIDE] = R | W | BOTH,
	[REG_SELF_IPI] = W | X2,
};

static bool allows(unsigned reg, unsigned what)
{
	return reg < NR_REGS && (access_of[reg] & what) == what;
}

u32 lapic_mmio_read(struct lapic *l, u32 off)
{
	unsigned reg = off >> 4;

	/* Bytes 4 to 15 of a register are undefined. */
	if ((off & 0xf) > 3)
		return 0;
	if (!allows(reg, R | XA)) {
		if (!allows(reg, XA))
			post_error(l, ESR_REGISTER);
		return 0;
	}
	if (reg == REG_ID)
		return l->id << 24;
	return read_reg(l, reg) >> (off & 3) * 8;
}

void lapic_mmio_write(struct lapic *l, u32 off, u32 value)
{
	unsigned reg = off >> 4;

	if (off & 0xf)
		return;
	if (!allows(reg, W | XA)) {
		if (!allows(reg, XA))
			post_error(l, ESR_REGISTER);
		return;
	}
	switch (reg) {
	case REG_LDR:
		reg_set(l, reg, value & 0xff000000);
		break;
	case REG_DFR:
		reg_set(l, reg, value | 0x0fffffff);
		break;
	case REG_ICR2:
		reg_set(l, reg, value & 0xff000000);
		break;
	case REG_ICR:
		reg_set(l, reg, value & 0xccfff);
		send_icr(l, value, reg_get(l, REG_ICR2) >> 24);
		break;
	default:
		write_reg(l, reg, value);
	}
}

bool lapic_x2apic_read(struct lapic *l, u32 msr, u64 *value)
{
	unsigned reg = msr - 0x800;

	if (!is_x2apic(l) || !allows(reg, R | X2))
		return false;
	if (reg == REG_ID)
		*value = l->id;
	else if (reg == REG_ICR)
		*value = l->icr;
	else
		*value = read_reg(l, reg);
	return true;
}

/* Bits that must be written as zero. */
static u64 x2apic_reserved(unsigned reg)
{
	switch (reg) {
	case REG_TPR:
	case REG_SELF_IPI:
		return ~0xffull;
	case REG_EOI:
	case REG_ESR:
		return ~0ull;
	case REG_SVR:
		return ~0x3ffull;
	case REG_ICR:
		return 0xfff32000;
	case REG_TIMER_INIT:
		return ~0xffffffffull;
	case REG_TIMER_DIVIDE:
		return ~0xbull;
	default: /* LVT; delivery status and remote IRR are read-only */
		return ~(u64)(lvt_mask(reg) | 0x5000);
	}
}

bool lapic_x2apic_write(struct lapic *l, u32 msr, u64 value)
{
	unsigned reg = msr - 0x800;

	if (!is_x2apic(l) || !allows(reg, W | X2) || reg == REG_LDR)
		return false;
	if (value & x2apic_reserved(reg))
		return false;
	if (reg == REG_ICR) {
		l->icr = value;
		send_icr(l, (u32)value, (u32)(value >> 32));
	} else if (reg == REG_SELF_IPI) {
		send_icr(l, (u32)value | SHORT_SELF << 18, 0);
	} else {
		write_reg(l, reg, (u32)value);
	}
	return true;
}

/* ---- Life ---- */

/* SDM "Local APIC State After Power-Up or Reset". */
static void reset_registers(struct lapic *l)
{
	/* Not memset(), which uses vector registers. */
	for (unsigned reg = 0; reg < NR_REGS; reg++)
		reg_set(l, reg, 0);
	for (unsigned w = 0; w < 8; w++) {
		__atomic_store_n(&l->isr[w], 0, __ATOMIC_RELAXED);
		atomic_store(&l->irr[w], 0);
		atomic_store(&l->tmr[w], 0);
	}
	l->isr_top = -1;
	atomic_store(&l->irr_words, 0);
	atomic_store(&l->esr_pending, 0);
	l->icr = 0;
	l->tsc_deadline = l->timer_period = 0;
	reg_set(l, REG_DFR, ~0u);
	reg_set(l, REG_SVR, 0xff);
	for (unsigned reg = REG_LVT_TIMER; reg <= REG_LVT_ERROR; reg++)
		reg_set(l, reg, LVT_MASKED);
	if (is_x2apic(l))
		reg_set(l, REG_LDR, (l->id >> 4) << 16 | 1u << (l->id & 15));
}

void lapic_reset(struct lapic *l, bool init)
{
	u64 bsp = l->id == 0 ? APIC_BASE_BSP : 0;

	if (!init) {
		__atomic_store_n(&l->apic_base, APIC_BASE_DEFAULT | APIC_BASE_ENABLE | bsp,
				 __ATOMIC_RELAXED);
		atomic_store(&l->posted, 0);
	}
	reset_registers(l);
}

/* SDM "x2APIC State Transitions". */
static bool transition_allowed(u64 from, u64 to)
{
	u64 mode_from = from & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	u64 mode_to = to & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);

	if (mode_to == APIC_BASE_X2APIC)
		return false;
	if (mode_to == (APIC_BASE_ENABLE | APIC_BASE_X2APIC))
		return mode_from != 0;
	if (mode_from == (APIC_BASE_ENABLE | APIC_BASE_X2APIC))
		return mode_to == 0;
	return true;
}

bool lapic_set_base(struct lapic *l, u64 value, unsigned phys_bits)
{
	u64 defined = APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE |
		      ((BIT(phys_bits) - 1) & PAGE_MASK);
	u64 old = l->apic_base;

	if ((value & ~defined) || !transition_allowed(old, value))
		return false;
	__atomic_store_n(&l->apic_base, value, __ATOMIC_RELAXED);
	if (!(value & APIC_BASE_ENABLE) && (old & APIC_BASE_ENABLE))
		reset_registers(l);
	if ((value & ~old) & APIC_BASE_X2APIC) {
		reg_set(l, REG_LDR, (l->id >> 4) << 16 | 1u << (l->id & 15));
		l->icr = reg_get(l, REG_ICR);
	}
	if (lapic_extint_pending(l))
		wake(l);
	return true;
}

void lapic_set_virtual_wire(struct lapic *l)
{
	write_svr(l, SVR_ENABLE | 0xff);
	write_lvt(l, REG_LVT_LINT0, DELIVER_EXTINT << 8);
	write_lvt(l, REG_LVT_LINT1, DELIVER_NMI << 8);
}

/* ---- Saved state ---- */

static const struct state_row lapic_rows[] = {
	STATE_ROW(struct lapic_state, apic_base),
	STATE_ROW(struct lapic_state, icr),
	STATE_ROW(struct lapic_state, tsc_deadline),
	STATE_ROW(struct lapic_state, timer_left),
	STATE_ROW(struct lapic_state, regs),
	STATE_ROW(struct lapic_state, irr),
	STATE_ROW(struct lapic_state, tmr),
	STATE_ROW(struct lapic_state, isr),
	STATE_ROW(struct lapic_state, posted),
	STATE_ROW(struct lapic_state, esr_pending),
	STATE_ROW(struct lapic_state, sipi_vector),
};
const struct state_desc lapic_state_desc = STATE_DESC("lapic", 1, lapic_rows);

/* Ticks until the timer's next interrupt; an overdue one is due at once. */
static u64 timer_left(const struct lapic *l)
{
	u64 elapsed;

	if (!l->timer_period)
		return 0;
	elapsed = timer_now(l) - l->timer_start;
	return elapsed < l->timer_period ? l->timer_period - elapsed : 1;
}

void lapic_get_state(struct lapic *l, struct lapic_state *s)
{
	*s = (struct lapic_state){
		.apic_base = l->apic_base,
		.icr = l->icr,
		.tsc_deadline = l->tsc_deadline,
		.timer_left = timer_left(l),
		.posted = atomic_load(&l->posted),
		.esr_pending = atomic_load(&l->esr_pending),
		.sipi_vector = atomic_load(&l->sipi_vector),
	};
	memcpy(s->regs, l->regs, sizeof(s->regs));
	memcpy(s->isr, l->isr, sizeof(s->isr));
	for (unsigned w = 0; w < 8; w++) {
		s->irr[w] = atomic_load(&l->irr[w]);
		s->tmr[w] = atomic_load(&l->tmr[w]);
	}
}

/* Starts what ran when the state was saved; deadline_service() and the like
 * also raise what came due meanwhile. */
static void restore_timer(struct lapic *l, const struct lapic_state *s)
{
	u64 period = (u64)l->regs[REG_TIMER_INIT] << timer_shift(l);

	l->tsc_deadline = s->tsc_deadline;
	l->timer_period = s->timer_left ? MAX(period, 1u) : 0;
	l->timer_start = timer_now(l) - (l->timer_period - MIN(s->timer_left, l->timer_period));
	timer_service(l);
}

void lapic_set_state(struct lapic *l, const struct lapic_state *s)
{
	l->apic_base = s->apic_base;
	l->icr = s->icr;
	memcpy(l->regs, s->regs, sizeof(l->regs));
	memcpy(l->isr, s->isr, sizeof(l->isr));
	l->isr_top = isr_find_top(l);
	for (unsigned w = 0; w < 8; w++) {
		atomic_store(&l->irr[w], s->irr[w]);
		atomic_store(&l->tmr[w], s->tmr[w]);
	}
	atomic_store(&l->irr_words, 0xff);
	atomic_store(&l->posted, s->posted);
	atomic_store(&l->esr_pending, s->esr_pending);
	atomic_store(&l->sipi_vector, s->sipi_vector);
	restore_timer(l, s);
	wake(l);
}

int lapic_bus_create(unsigned nr_cpus, struct lapic_bus **res)
{
	struct lapic_bus *bus = calloc(1, sizeof(*bus) + nr_cpus * sizeof(bus->lapics[0]));

	if (!bus)
		return -ENOMEM;
	bus->nr = nr_cpus;
	*res = bus;
	return 0;
}

void lapic_bus_destroy(struct lapic_bus *bus)
{
	free(bus);
}

void lapic_init(struct lapic *l, struct lapic_bus *bus, u32 id, struct loop *loop)
{
	memset(l, 0, sizeof(*l));
	l->bus = bus;
	l->id = id;
	if (loop)
		timer_init(&l->timer, loop, lapic_timer_fire, l);
	lapic_reset(l, false);
	bus->lapics[id] = l;
}

void lapic_fini(struct lapic *l)
{
	if (!l->bus)
		return;
	l->bus->lapics[l->id] = NULL;
	if (l->timer.loop)
		timer_cancel(&l->timer);
	l->bus = NULL;
}
