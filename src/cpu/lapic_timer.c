// SPDX-License-Identifier: MIT
/*
 * The LAPIC's timer: SDM "APIC Timer". See lapic.c for how it shares work with
 * the loop.
 */
#include "cpu/lapic_internal.h"

#include "base/clock.h"

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
void lapic_timer_service(struct lapic *l)
{
	atomic_store(&l->timer_fired, false);
	if (timer_mode(l) == TIMER_DEADLINE)
		deadline_service(l);
	else
		count_service(l);
}

void lapic_timer_start(struct lapic *l, u32 value)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		return;
	reg_set(l, REG_TIMER_INIT, value);
	l->timer_start = timer_now(l);
	l->timer_period = (u64)value << timer_shift(l);
	if (value)
		timer_arm(l, l->timer_period);
}

u32 lapic_timer_count(const struct lapic *l)
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
void lapic_timer_divide(struct lapic *l, u32 value)
{
	u32 left = lapic_timer_count(l);

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

/* Ticks until the timer's next interrupt; an overdue one is due at once. */
u64 lapic_timer_left(const struct lapic *l)
{
	u64 elapsed;

	if (!l->timer_period)
		return 0;
	elapsed = timer_now(l) - l->timer_start;
	return elapsed < l->timer_period ? l->timer_period - elapsed : 1;
}

/* Starts what ran when the state was saved; deadline_service() and the like
 * also raise what came due meanwhile. */
void lapic_timer_restore(struct lapic *l, const struct lapic_state *s)
{
	u64 period = (u64)l->regs[REG_TIMER_INIT] << timer_shift(l);

	l->tsc_deadline = s->tsc_deadline;
	l->timer_period = s->timer_left ? MAX(period, 1u) : 0;
	l->timer_start = timer_now(l) - (l->timer_period - MIN(s->timer_left, l->timer_period));
	lapic_timer_service(l);
}
