/* SPDX-License-Identifier: MIT */
/*
 * The 8254 interval timer: ports 0x40..0x43, and port 0x61 with channel 2's
 * gate and output. Channel 0 drives IRQ 0.
 */
#ifndef NESTOR_DEV_I8254_H
#define NESTOR_DEV_I8254_H

#include "dev/device.h"

struct i8254;

int i8254_create(const struct dev_env *env, struct irq irq, struct i8254 **res);
struct device *i8254_device(struct i8254 *p);

/* The HPET in legacy mode takes IRQ 0 away. Any thread. */
void i8254_set_irq_enabled(struct i8254 *p, bool enabled);

#endif
