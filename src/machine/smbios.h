/* SPDX-License-Identifier: MIT */
/*
 * SMBIOS tables: who made the machine, how many processors, how much memory.
 */
#ifndef NESTOR_MACHINE_SMBIOS_H
#define NESTOR_MACHINE_SMBIOS_H

#include "base/log.h"
#include "bus/mem.h"

/* Writes them to RAM at PC_SMBIOS_BASE. -1 and @e: RAM is too small. */
int smbios_write(unsigned cpus, struct mem *mem, struct err *e);

#endif
