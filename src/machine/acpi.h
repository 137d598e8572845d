/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables that describe the board: RSDP, RSDT, XSDT, FADT, FACS, MADT,
 * MCFG, HPET and a DSDT made here in AML.
 */
#ifndef NESTOR_MACHINE_ACPI_H
#define NESTOR_MACHINE_ACPI_H

#include "base/log.h"
#include "bus/mem.h"

struct acpi_config {
	unsigned cpus;
	bool serial[4]; /* COM1..4 are there */
};

/* Writes them to RAM, the RSDP at PC_RSDP. -1 and @e: RAM is too small. */
int acpi_write(const struct acpi_config *c, struct mem *mem, struct err *e);

#endif
