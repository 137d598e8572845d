/* SPDX-License-Identifier: MIT */
/*
 * The PC's physical address map: fixed addresses that board, ACPI tables and
 * loaders share, and the memory map (e820) that a guest is told.
 *
 *   0000_0000  low RAM: 0..640 KiB, 1 MiB..low end (at most MEM_LOW_MAX)
 *   000a_0000  VGA window and option ROMs
 *   000e_0000  ACPI and SMBIOS tables, RSDP first (RAM, told as reserved)
 *   b000_0000  ECAM, 256 MiB
 *   c000_0000  PCI BARs
 *   fec0_0000  IOAPIC, HPET, LAPIC
 * 1_0000_0000  high RAM, memory that comes at run time, then 64-bit PCI BARs
 *
 * Pure functions; any thread.
 */
#ifndef NESTOR_MACHINE_MEMMAP_H
#define NESTOR_MACHINE_MEMMAP_H

#include "base/types.h"
#include "bus/mem.h"

#define PC_LOW_RAM_END	 0x9fc00ull /* where a BIOS keeps its extended data area */
#define PC_ACPI_BASE	 0xe0000ull
#define PC_ACPI_SIZE	 0x20000ull  /* to 1 MiB; its upper half is SMBIOS's */
#define PC_SMBIOS_BASE	 0xf0000ull
#define PC_RSDP		 PC_ACPI_BASE
#define PC_ECAM_BASE	 0xb0000000ull
#define PC_ECAM_SIZE	 MIB(256)
#define PC_PCI_HOLE_BASE 0xc0000000ull
#define PC_PCI_HOLE_END	 0xfec00000ull /* exclusive, as all ends here */
#define PC_PCI_IO_BASE	 0xc000ull
#define PC_PCI_IO_END	 0x10000ull
#define PC_PCI64_SIZE	 GIB(16)
#define PC_IOAPIC_BASE	 0xfec00000ull
#define PC_HPET_BASE	 0xfed00000ull
#define PC_LAPIC_BASE	 0xfee00000ull
#define PC_HIGH_RAM	 0x100000000ull

enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };
enum { E820_MAX = MEM_MAX_SLOTS + 8 };

struct e820_entry {
	u64 addr, size;
	u32 type;
} __attribute__((packed));

/* Fills @res in ascending order without overlap; returns the count. */
unsigned pc_e820(const struct mem *m, struct e820_entry res[E820_MAX]);

u64 pc_low_ram_end(const struct mem *m);  /* below 4 GiB */
u64 pc_high_ram_end(const struct mem *m); /* above; PC_HIGH_RAM when there is none */
u64 pc_hot_base(const struct mem *m);	  /* where memory may come at run time */
u64 pc_pci64_base(const struct mem *m);	  /* the 64-bit PCI window */

#endif
