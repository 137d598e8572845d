// SPDX-License-Identifier: MIT
#include "machine/memmap.h"

#include "../../lib/test.h"

static void check_sorted(const struct e820_entry *e, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		CHECK(e[i - 1].addr + e[i - 1].size <= e[i].addr);
}

TEST(memmap, small_vm)
{
	struct e820_entry e[E820_MAX];
	struct mem *m;
	unsigned n;

	CHECK_EQ(mem_create(MIB(64), &m, NULL), 0);
	n = pc_e820(m, e);
	check_sorted(e, n);
	CHECK_EQ(e[0].addr, 0);
	CHECK_EQ(e[0].size, PC_LOW_RAM_END);
	CHECK_EQ(e[0].type, E820_RAM);
	CHECK_EQ(e[3].addr, MIB(1));
	CHECK_EQ(e[3].size, MIB(63));
	CHECK_EQ(e[3].type, E820_RAM);
	mem_destroy(m);
}

TEST(memmap, slots_above_4g)
{
	struct mem m = { .slots = { { .gpa = 0, .size = GIB(2) }, { .gpa = GIB(4), .size = GIB(3) } },
			 .nr_slots = 2, .ram_size = GIB(5) };
	struct e820_entry e[E820_MAX];
	unsigned n = pc_e820(&m, e);

	check_sorted(e, n);
	CHECK_EQ(e[n - 1].addr, GIB(4));
	CHECK_EQ(e[n - 1].size, GIB(3));
}
