/* SPDX-License-Identifier: MIT */
/*
 * The VM's clock: nanoseconds since the VM was created, not counting the time
 * it was saved or stopped. What a device keeps in its state is in this clock,
 * so that a restored VM goes on where it was; what it gives to timer_set() is
 * host time, vclock_to_host().
 *
 * @origin changes only while the whole VM is stopped (vclock_set()).
 */
#ifndef NESTOR_BASE_VCLOCK_H
#define NESTOR_BASE_VCLOCK_H

#include "base/clock.h"

struct vclock {
	u64 origin; /* host time at VM time 0, modulo 2^64 */
};

static inline u64 vclock_now(const struct vclock *v)
{
	return clock_ns() - v->origin;
}

static inline u64 vclock_to_host(const struct vclock *v, u64 vm_ns)
{
	return vm_ns + v->origin;
}

/* From now on the VM's time is @vm_ns and runs. */
static inline void vclock_set(struct vclock *v, u64 vm_ns)
{
	v->origin = clock_ns() - vm_ns;
}

#endif
