/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC (82093AA with the EOI register of later ones): 24 pins, each
 * with an entry that says where its interrupt goes. Any thread.
 */
#ifndef NESTOR_DEV_IOAPIC_H
#define NESTOR_DEV_IOAPIC_H

#include "cpu/lapic.h"
#include "dev/device.h"

enum { IOAPIC_PINS = 24 };

struct ioapic;

/* @send delivers a message to the LAPICs, under the chip's lock: it must not
 * come back with an EOI from in there. */
int ioapic_create(const struct dev_env *env, u64 base,
		  void (*send)(void *opaque, const struct lapic_msg *m), void *opaque,
		  struct ioapic **res);
struct device *ioapic_device(struct ioapic *p);

void ioapic_set_pin(struct ioapic *p, unsigned pin, bool level);
void ioapic_eoi(struct ioapic *p, u8 vector); /* a LAPIC's EOI of a level-triggered interrupt */

#endif
