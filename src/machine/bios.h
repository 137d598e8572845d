/* SPDX-License-Identifier: MIT */
/*
 * What is left of a BIOS where none runs: the words of its data area that
 * systems look at, and interrupt vectors. Loaders that start in protected mode
 * (Xen's, for one) go back to real mode to ask a BIOS about memory, disks and
 * screen; they hear that there is no such service and go on without.
 */
#ifndef NESTOR_MACHINE_BIOS_H
#define NESTOR_MACHINE_BIOS_H

#include "bus/mem.h"

/* Writes all of it to RAM; before vCPUs run. */
void bios_write(struct mem *mem);

#endif
