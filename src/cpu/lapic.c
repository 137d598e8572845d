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
#include "cpu/lapic_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/state.h"

/* ---- Requests ---- */

void lapic_post_error(struct lapic *l, u32 bit)
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
		lapic_post_error(l, ESR_RECEIVE_VECTOR);
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

static void look_at_timer(struct lapic *l)
{
	if (unlikely(atomic_load_explicit(&l->timer_fired, memory_order_acquire)))
		lapic_timer_service(l);
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

	if (reg == REG_LVT_TIMER)
		lapic_timer_service(l); /* what is over is so by the old mode */
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
		return lapic_timer_count(l);
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
		lapic_timer_start(l, value);
		break;
	case REG_TIMER_DIVIDE:
		lapic_timer_divide(l, value);
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
			lapic_post_error(l, ESR_REGISTER);
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
			lapic_post_error(l, ESR_REGISTER);
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
		lapic_send_icr(l, value, reg_get(l, REG_ICR2) >> 24);
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
		lapic_send_icr(l, (u32)value, (u32)(value >> 32));
	} else if (reg == REG_SELF_IPI) {
		lapic_send_icr(l, (u32)value | SHORT_SELF << 18, 0);
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

void lapic_get_state(struct lapic *l, struct lapic_state *s)
{
	*s = (struct lapic_state){
		.apic_base = l->apic_base,
		.icr = l->icr,
		.tsc_deadline = l->tsc_deadline,
		.timer_left = lapic_timer_left(l),
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
	lapic_timer_restore(l, s);
	wake(l);
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
