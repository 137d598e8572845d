/* SPDX-License-Identifier: MIT */
/*
 * The MC146818 real-time clock and its CMOS RAM: ports 0x70..0x73, IRQ 8.
 * Its time is the host's (UTC) until the guest sets another.
 */
#ifndef NESTOR_DEV_MC146818_H
#define NESTOR_DEV_MC146818_H

#include "dev/device.h"

struct mc146818;

int mc146818_create(const struct dev_env *env, struct irq irq, struct mc146818 **res);
struct device *mc146818_device(struct mc146818 *p);

/* What firmware reads from CMOS: set again after each reset. */
void mc146818_set_cmos(struct mc146818 *p, unsigned index, u8 value);

/* The HPET in legacy mode takes IRQ 8 away. Any thread. */
void mc146818_set_irq_enabled(struct mc146818 *p, bool enabled);

#endif
