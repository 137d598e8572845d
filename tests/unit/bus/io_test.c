// SPDX-License-Identifier: MIT
#include "bus/io.h"

#include <stdatomic.h>

#include "../../lib/test.h"

struct fake {
	u8 byte;
	u64 last_off, last_value;
	unsigned last_size, nr;
};

static u64 fake_read(void *dev, u64 off, unsigned size)
{
	struct fake *f = dev;

	f->last_off = off;
	f->last_size = size;
	f->nr++;
	return 0x0101010101010101ull * f->byte;
}

static void fake_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct fake *f = dev;

	f->last_off = off;
	f->last_size = size;
	f->last_value = value;
	f->nr++;
}

static const struct io_ops any = { .read = fake_read, .write = fake_write };
static const struct io_ops words = { fake_read, fake_write, .max_size = 2, .aligned = true };

TEST(io, unclaimed_reads_ones)
{
	struct io_bus *bus;

	CHECK_EQ(io_bus_create(&bus), 0);
	CHECK_EQ(io_read(bus, 0x1234, 1), 0xff);
	CHECK_EQ(io_read(bus, 0x1234, 4), 0xffffffff);
	CHECK_EQ(io_read(bus, ~0ull, 8), ~0ull);
	io_write(bus, ~0ull - 2, 8, 1);
	CHECK(!io_claimed(bus, 0));
	io_bus_destroy(bus);
}

TEST(io, later_region_wins_and_accesses_split_at_edges)
{
	struct fake a = { .byte = 0xaa }, b = { .byte = 0xbb };
	struct io_region ra = { 0x100, 0x10, &any, &a, NULL, "a" };
	struct io_region rb = { 0x104, 4, &any, &b, NULL, "b" };
	struct io_bus *bus;

	CHECK_EQ(io_bus_create(&bus), 0);
	CHECK_EQ(io_add(bus, &ra), 0);
	CHECK_EQ(io_add(bus, &rb), 0);
	CHECK_EQ(io_read(bus, 0x100, 4), 0xaaaaaaaa);
	CHECK_EQ(a.nr, 1);
	CHECK_EQ(io_read(bus, 0x104, 4), 0xbbbbbbbb);
	CHECK_EQ(b.last_off, 0);
	CHECK_EQ(io_read(bus, 0x102, 8), 0xaaaabbbbbbbbaaaa);
	CHECK_EQ(io_read(bus, 0x10e, 4), 0xffffaaaa);
	CHECK_EQ(a.last_off, 0xe);
	CHECK_EQ(a.last_size, 2);
	io_move(bus, &rb, 0x200);
	CHECK_EQ(io_read(bus, 0x104, 4), 0xaaaaaaaa);
	CHECK_EQ(a.last_off, 4);
	CHECK_EQ(io_read(bus, 0x203, 1), 0xbb);
	io_del(bus, &rb);
	CHECK(!io_claimed(bus, 0x203));
	CHECK(io_claimed(bus, 0x10f) && !io_claimed(bus, 0x110) && !io_claimed(bus, 0xff));
	io_bus_destroy(bus);
}

TEST(io, size_and_alignment_limits)
{
	struct fake a = { .byte = 0x11 };
	struct io_region ra = { 0x40, 8, &words, &a, NULL, "a" };
	struct io_bus *bus;

	CHECK_EQ(io_bus_create(&bus), 0);
	CHECK_EQ(io_add(bus, &ra), 0);
	io_write(bus, 0x41, 4, 0x44332211);
	CHECK_EQ(a.nr, 3); /* byte, word, byte */
	CHECK_EQ(a.last_value, 0x44);
	a.nr = 0;
	CHECK_EQ(io_read(bus, 0x40, 8), 0x1111111111111111);
	CHECK_EQ(a.nr, 4);
	io_bus_destroy(bus);
}

TEST(io, region_at_the_end_of_the_address_space)
{
	struct fake a = { .byte = 0x11 };
	struct io_region ra = { ~0ull - 15, 16, &any, &a, NULL, "a" };
	struct io_bus *bus;

	CHECK_EQ(io_bus_create(&bus), 0);
	CHECK_EQ(io_add(bus, &ra), 0);
	CHECK_EQ(io_read(bus, ~0ull, 1), 0x11);
	CHECK_EQ(io_read(bus, ~0ull - 16, 2), 0x11ff);
	CHECK(!io_claimed(bus, 0));
	io_bus_destroy(bus);
}

struct race {
	struct io_bus *bus;
	struct io_region *moving;
	atomic_bool stop;
};

static void *mover(void *arg)
{
	struct race *r = arg;

	for (u64 i = 0; i < 20000; i++)
		io_move(r->bus, r->moving, i & 1 ? 0x2000 : 0x1000);
	r->stop = true;
	return NULL;
}

TEST(io, reader_never_sees_a_half_made_change)
{
	struct fake a = { .byte = 0xaa }, b = { .byte = 0xbb }, c = { .byte = 0xcc };
	struct io_region ra = { 0x800, 0x10, &any, &a, NULL, "a" };
	struct io_region rb = { 0x1000, 0x10, &any, &b, NULL, "b" };
	struct io_region rc = { 0x3000, 0x10, &any, &c, NULL, "c" };
	struct race r = { .moving = &rb };
	pthread_t thread;

	CHECK_EQ(io_bus_create(&r.bus), 0);
	CHECK(!io_add(r.bus, &ra) && !io_add(r.bus, &rb) && !io_add(r.bus, &rc));
	pthread_create(&thread, NULL, mover, &r);
	while (!r.stop) {
		u64 v = io_read(r.bus, 0x1001, 1);

		CHECK(v == 0xff || (v == 0xbb && b.last_off == 1));
		CHECK_EQ(io_read(r.bus, 0x802, 1), 0xaa);
		CHECK_EQ(io_read(r.bus, 0x3003, 1), 0xcc);
		CHECK_EQ(c.last_off, 3);
	}
	pthread_join(thread, NULL);
	io_bus_destroy(r.bus);
}
