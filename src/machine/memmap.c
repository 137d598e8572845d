// SPDX-License-Identifier: MIT
/* The memory map that guests are told: RAM slots, less what the PC reserves. */
#include "machine/memmap.h"

#include <stdlib.h>

/* Holes in or beside RAM that a PC reserves, ascending. */
static const struct e820_entry reserved[] = {
	{ PC_LOW_RAM_END, 0xa0000 - PC_LOW_RAM_END, E820_RESERVED },
	{ PC_ACPI_BASE, PC_ACPI_SIZE, E820_RESERVED },
	{ PC_ECAM_BASE, PC_ECAM_SIZE, E820_RESERVED },
	{ PC_IOAPIC_BASE, 0x1000, E820_RESERVED },
	{ PC_LAPIC_BASE, 0x1000, E820_RESERVED },
};

/* RAM that is not told as RAM: the old adapter and firmware area. */
#define HOLE_START PC_LOW_RAM_END
#define HOLE_END   0x100000ull

static unsigned add_ram(struct e820_entry *res, unsigned n, u64 from, u64 to)
{
	if (from < to && n < E820_MAX)
		res[n++] = (struct e820_entry){ from, to - from, E820_RAM };
	return n;
}

static int compare_addr(const void *a, const void *b)
{
	const struct e820_entry *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

unsigned pc_e820(const struct mem *m, struct e820_entry res[E820_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(reserved); i++)
		res[n++] = reserved[i];
	for (unsigned i = 0; i < m->nr_slots; i++) {
		u64 from = m->slots[i].gpa, to = from + m->slots[i].size;

		if (m->slots[i].readonly || m->slots[i].hot)
			continue;
		n = add_ram(res, n, from, MIN(to, HOLE_START));
		n = add_ram(res, n, MAX(from, HOLE_END), to);
	}
	qsort(res, n, sizeof(res[0]), compare_addr);
	return n;
}

u64 pc_low_ram_end(const struct mem *m)
{
	return MIN(m->ram_size, MEM_LOW_MAX);
}

u64 pc_high_ram_end(const struct mem *m)
{
	return PC_HIGH_RAM + m->ram_size - pc_low_ram_end(m);
}

u64 pc_hot_base(const struct mem *m)
{
	return ALIGN_UP(pc_high_ram_end(m), GIB(1));
}

u64 pc_pci64_base(const struct mem *m)
{
	return ALIGN_UP(pc_hot_base(m) + m->hot.max, GIB(1));
}
