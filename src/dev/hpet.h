/* SPDX-License-Identifier: MIT */
/*
 * The HPET: a 100 MHz counter and three comparators, one-shot or periodic, by
 * IOAPIC pin, or in legacy mode as IRQ 0 and IRQ 8.
 */
#ifndef NESTOR_DEV_HPET_H
#define NESTOR_DEV_HPET_H

#include "dev/device.h"

enum { HPET_PERIOD_FS = 10000000, HPET_TIMERS = 3 };
#define HPET_ID (0x80860000u | 1 << 15 | 1 << 13 | (HPET_TIMERS - 1) << 8 | 1)

struct hpet;

/* Timers interrupt through @env's sink. @legacy is told when legacy mode
 * starts and ends (PIT and RTC are then off IRQ 0 and 8), with the chip's lock
 * held. */
int hpet_create(const struct dev_env *env, u64 base, void (*legacy)(void *opaque, bool on),
		void *opaque, struct hpet **res);
struct device *hpet_device(struct hpet *h);

#endif
