/* SPDX-License-Identifier: MIT */
/*
 * The 8042 keyboard controller (ports 0x60 and 0x64, IRQ 1 and 12) with a
 * keyboard and a mouse that answer commands; nobody types yet. Its command 0xfe
 * resets the machine. Also here: port 0x92, the other way to A20 and reset.
 */
#ifndef NESTOR_DEV_I8042_H
#define NESTOR_DEV_I8042_H

#include "dev/device.h"

struct i8042;

/* @reset is called with the chip's lock held. */
int i8042_create(const struct dev_env *env, struct irq keyboard, struct irq mouse,
		 void (*reset)(void *opaque), void *opaque, struct i8042 **res);
struct device *i8042_device(struct i8042 *p);

#endif
