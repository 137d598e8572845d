/* SPDX-License-Identifier: MIT */
/*
 * Host time. Nanoseconds of CLOCK_MONOTONIC everywhere in Nestor, never
 * seconds or ticks; a device converts to its own unit at its own door.
 */
#ifndef NESTOR_BASE_CLOCK_H
#define NESTOR_BASE_CLOCK_H

#include <time.h>

#include "base/types.h"

#define NSEC_PER_SEC 1000000000ull

static inline u64 clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* a * b / c without overflow of the product. */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
	return (u64)((unsigned __int128)a * b / c);
}

#endif
