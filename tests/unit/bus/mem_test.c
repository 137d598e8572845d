// SPDX-License-Identifier: MIT
#include "bus/mem.h"

#include <string.h>

#include "../../lib/test.h"

TEST(mem, low_and_high_ram)
{
	struct mem *m;
	struct err e;

	if (mem_create(GIB(2) + MIB(4), &m, &e))
		SKIP("this host has too little memory");
	CHECK_EQ(m->nr_slots, 2);
	CHECK(mem_host(m, GIB(2) - 1, 1) && !mem_host(m, GIB(2), 1));
	CHECK(!mem_host(m, GIB(2) - 1, 2));
	CHECK(mem_host(m, GIB(4), MIB(4)) && !mem_host(m, GIB(4), MIB(4) + 1));
	CHECK(!mem_host(m, ~0ull, 2));
	CHECK_EQ((uintptr_t)m->slots[0].host % MIB(2), 0);
	mem_destroy(m);
}

static u64 seen_gpa, seen_size, seen_slots;

static void seen(void *opaque, gpa_t gpa, u64 size)
{
	(void)opaque;
	seen_gpa = gpa;
	seen_size = size;
}

static void slot_seen(void *opaque, const struct mem_slot *s)
{
	(void)opaque;
	seen_slots += s->size;
}

TEST(mem, writes_are_checked_whole_and_told)
{
	struct mem_listener l = { .written = seen, .slot_added = slot_seen };
	u8 rom[PAGE_SIZE] = { 7 }, b[4] = { 1, 2, 3, 4 };
	struct mem *m;
	struct err e;

	CHECK_EQ(mem_create(MIB(1), &m, &e), 0);
	mem_set_listener(m, &l);
	CHECK_EQ(seen_slots, MIB(1));
	CHECK(!mem_write(m, MIB(1) - 2, b, 4));
	CHECK_EQ(*(u8 *)mem_host(m, MIB(1) - 2, 1), 0);
	CHECK_EQ(mem_add_slot(m, &(struct mem_slot){ MIB(1), PAGE_SIZE, rom, true, false }), 0);
	CHECK(mem_add_slot(m, &(struct mem_slot){ MIB(1), PAGE_SIZE, rom, true, false }) < 0);
	CHECK(!mem_write(m, MIB(1) - 2, b, 4)); /* read-only beyond */
	CHECK(mem_read(m, MIB(1) - 2, b, 4));	/* across slots */
	CHECK_EQ(b[2], 7);
	CHECK(mem_write(m, 0x1000, b, 3));
	CHECK(seen_gpa == 0x1000 && seen_size == 3);
	mem_del_slot(m, MIB(1));
	CHECK(!mem_read(m, MIB(1) - 2, b, 4));
	mem_destroy(m);
}

TEST(mem, refuses_what_the_host_has_not)
{
	struct mem *m;
	struct err e;

	CHECK(mem_create(GIB(900000), &m, &e));
	CHECK(strstr(e.text, "this host has"));
	CHECK(mem_create(12345, &m, &e));
	CHECK(mem_create(0, &m, &e));
}

TEST(mem, hot_memory_grows_in_place_and_is_told)
{
	const struct mem_listener l = { .slot_added = slot_seen };
	struct mem *m;

	CHECK_EQ(mem_create(MIB(2), &m, NULL), 0);
	CHECK_EQ(mem_reserve_hot(m, GIB(4), MIB(8), NULL), 0);
	CHECK_EQ(m->nr_slots, 1);
	CHECK_EQ(mem_grow_hot(m, MIB(2)), 0);
	CHECK_EQ(m->nr_slots, 2);
	u8 *host = mem_host(m, GIB(4), MIB(2));
	CHECK(host);
	mem_set_listener(m, &l);
	seen_slots = 0;
	CHECK_EQ(mem_grow_hot(m, MIB(6)), 0);
	CHECK_EQ(seen_slots, MIB(6));
	CHECK(mem_host(m, GIB(4), MIB(6)) == host && !mem_host(m, GIB(4), MIB(6) + 1));
	CHECK_EQ(mem_grow_hot(m, MIB(4)), 0); /* never shrinks */
	CHECK_EQ(m->hot.size, MIB(6));
	CHECK(mem_grow_hot(m, MIB(10)) < 0);
	CHECK_EQ(m->ram_size, MIB(2));
	mem_destroy(m);
}

TEST(mem, discards_whole_pages_of_ram)
{
	struct mem *m;
	u8 *p;

	CHECK_EQ(mem_create(MIB(2), &m, NULL), 0);
	p = mem_host(m, 0, MIB(2));
	memset(p, 1, MIB(2));
	mem_discard(m, 0x1800, 0x2000);
	CHECK(p[0x1fff] == 1 && p[0x2000] == 0 && p[0x2fff] == 0 && p[0x3000] == 1);
	mem_discard(m, MIB(2) - PAGE_SIZE, 8 * PAGE_SIZE);
	CHECK_EQ(p[MIB(2) - 1], 0);
	mem_discard(m, ~0ull - 100, 200);
	mem_discard(m, ~0ull << 12, 4096);
	CHECK_EQ(p[0], 1);
	mem_destroy(m);
}
