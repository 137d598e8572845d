/* SPDX-License-Identifier: MIT */
/*
 * ACPI's fixed hardware as in an ICH9 at I/O port 0x600: PM1 event and control
 * blocks, the 3.579545 MHz PM timer, GPE0; and the APM ports 0xb2/0xb3. ACPI mode
 * is always on (SCI_EN), the SCI is the line given, level-triggered.
 */
#ifndef NESTOR_DEV_ACPI_PM_H
#define NESTOR_DEV_ACPI_PM_H

#include "dev/device.h"

enum {
	ACPI_PM_BASE = 0x600, ACPI_PM1_EVENT = 0x00, ACPI_PM1_CONTROL = 0x04, ACPI_PM_TIMER = 0x08,
	ACPI_GPE0 = 0x20, ACPI_GPE0_SIZE = 8, ACPI_PM_SIZE = 0x80,
	ACPI_S5_TYPE = 0, /* SLP_TYP of soft-off, as firmware for QEMU's board expects */
};

struct acpi_pm;

/* @poweroff is called with the chip's lock held. */
int acpi_pm_create(const struct dev_env *env, struct irq sci, void (*poweroff)(void *opaque),
		   void *opaque, struct acpi_pm **res);
struct device *acpi_pm_device(struct acpi_pm *p);

void acpi_pm_power_button(struct acpi_pm *p); /* any thread */

#endif
