// SPDX-License-Identifier: MIT
/*
 * The VMX-preemption timer: counts down in step with the TSC in non-root
 * operation, and makes a VM exit at zero.
 *
 * The deadline is a TSC value; the loop's timer only makes the vCPU look at it.
 * Setting that timer may cost a system call, and hypervisors enter many times
 * with the same deadline or a later one: so a timer that is armed for an
 * earlier time is left alone, and re-armed when it comes too early.
 */
#include "base/clock.h"
#include "engine/softvm.h"
#include "engine/vmx/vmx_internal.h"

#define NOT_ARMED (~0ull)

static u64 l1_tsc(struct soft_cpu *c)
{
	return cpu_guest_tsc(c) - vmx_tsc_offset(c);
}

/* On the loop's thread. */
static void timer_came(void *arg)
{
	struct soft_cpu *c = arg;

	atomic_store(&c->vmx->armed_tsc, NOT_ARMED);
	cpu_request(c, REQ_EVENT);
}

struct arming {
	struct vmx *x;
	u64 ticks, hz;
};

static void set_timer(void *arg)
{
	struct arming *a = arg;

	timer_set(&a->x->timer, clock_ns() + mul_div(a->ticks, NSEC_PER_SEC, a->hz) + 1);
}

static void arm(struct soft_cpu *c, u64 now)
{
	struct vmx *x = c->vmx;
	struct arming a = { x, x->timer_deadline - now, c->vm->env.model->tsc_hz };

	if (!x->timer.loop || x->timer_deadline >= atomic_load(&x->armed_tsc))
		return;
	atomic_store(&x->armed_tsc, x->timer_deadline);
	vec_saved(c, set_timer, &a);
}

void vmx_timer_start(struct soft_cpu *c, u32 value)
{
	u64 now = l1_tsc(c);

	c->vmx->timer_active = true;
	c->vmx->timer_deadline = now + ((u64)value << VMX_TIMER_SHIFT);
	if (value)
		arm(c, now);
}

u32 vmx_timer_stop(struct soft_cpu *c)
{
	u64 now = l1_tsc(c), deadline = c->vmx->timer_deadline;

	c->vmx->timer_active = false;
	return now < deadline ? (u32)((deadline - now) >> VMX_TIMER_SHIFT) : 0;
}

bool vmx_timer_expired(struct soft_cpu *c)
{
	u64 now;

	if (!c->vmx->timer_active)
		return false;
	now = l1_tsc(c);
	if (now >= c->vmx->timer_deadline)
		return true;
	arm(c, now);
	return false;
}

void vmx_timer_init(struct soft_cpu *c)
{
	struct loop *loop = c->vm ? c->vm->env.loop : NULL;

	atomic_store(&c->vmx->armed_tsc, NOT_ARMED);
	if (loop)
		timer_init(&c->vmx->timer, loop, timer_came, c);
}

void vmx_timer_fini(struct soft_cpu *c)
{
	if (c->vmx->timer.loop)
		timer_cancel(&c->vmx->timer);
}
