/* SPDX-License-Identifier: MIT */
/*
 * The two 8259A interrupt controllers of a PC (ports 0x20, 0xa0, and 0x4d0/1
 * for edge or level), cascaded at IRQ 2. Any thread.
 */
#ifndef NESTOR_DEV_I8259_H
#define NESTOR_DEV_I8259_H

#include "dev/device.h"

struct i8259;

/* @intr is told each change of the INTR output, under the chips' lock. */
int i8259_create(const struct dev_env *env, void (*intr)(void *opaque, bool level), void *opaque,
		 struct i8259 **res);
struct device *i8259_device(struct i8259 *p);

void i8259_set_irq(struct i8259 *p, unsigned irq, bool level); /* 0..15, not 2 */

/* INTA: the vector of the highest pending interrupt, which is now in service,
 * or -1 when there is none (a real PIC would give its spurious vector). */
int i8259_ack(struct i8259 *p);

#endif
