// SPDX-License-Identifier: MIT
#include "dev/hpet.h"

#include "../../lib/devrig.h"

enum { BASE = 0xfed00000u };

static bool legacy_on;

static void legacy(void *opaque, bool on)
{
	(void)opaque;
	legacy_on = on;
}

static struct hpet *make(struct devrig *r)
{
	struct hpet *h;

	rig_init(r);
	CHECK_EQ(hpet_create(&r->env, BASE, legacy, NULL, &h), 0);
	return h;
}

static void unmake(struct devrig *r, struct hpet *h)
{
	device_destroy(hpet_device(h));
	rig_fini(r);
}

static u64 get(struct devrig *r, u64 reg, unsigned size)
{
	return io_read(r->env.mmio, BASE + reg, size);
}

static void set(struct devrig *r, u64 reg, unsigned size, u64 v)
{
	io_write(r->env.mmio, BASE + reg, size, v);
}

TEST(hpet, counter_runs_and_stops)
{
	struct devrig r;
	struct hpet *h = make(&r);
	u64 v;

	CHECK_EQ(get(&r, 0, 8), 0x9896808086a201);
	CHECK_EQ(get(&r, 4, 4), 10000000);
	set(&r, 0xf0, 8, 0x100000000);
	rig_advance(&r, 1000);
	CHECK_EQ(get(&r, 0xf0, 8), 0x100000000);
	set(&r, 0x10, 4, 1);
	rig_advance(&r, 1000000);
	v = get(&r, 0xf0, 8) - 0x100000000;
	CHECK(v >= 100000 && v < 10000000);
	set(&r, 0x10, 4, 0);
	v = get(&r, 0xf0, 8);
	rig_advance(&r, 1000000);
	CHECK_EQ(get(&r, 0xf0, 8), v);
	CHECK_EQ(get(&r, 0xf4, 4), v >> 32);
	unmake(&r, h);
}

/* As Linux programs it: periodic in 32-bit mode, with the accumulator. */
TEST(hpet, periodic_in_legacy_mode)
{
	struct devrig r;
	struct hpet *h = make(&r);

	set(&r, 0x10, 4, 3);
	CHECK(legacy_on);
	set(&r, 0x100, 4, 0x14c);
	set(&r, 0x108, 4, (u32)get(&r, 0xf0, 4) + 100000); /* 1 ms */
	set(&r, 0x108, 4, 100000);
	u64 took = rig_run_until(&r, 0, 5);
	/* At most one a period; how many fewer is the machine's affair. */
	CHECK(r.rises[0] <= took / 1000000 + 1);
	set(&r, 0x100, 4, 0x148);
	r.rises[0] = 0;
	rig_run(&r, 3000000);
	CHECK_EQ(r.rises[0], 0);
	set(&r, 0x10, 4, 0);
	CHECK(!legacy_on);
	unmake(&r, h);
}

TEST(hpet, one_shot_level_by_ioapic_pin)
{
	struct devrig r;
	struct hpet *h = make(&r);

	set(&r, 0x10, 4, 1);
	set(&r, 0x140, 4, 0x06 | (20u << 9));
	set(&r, 0x148, 8, get(&r, 0xf0, 8) + 50000);
	rig_run_until(&r, 20, 1);
	CHECK(r.level[20]);
	CHECK_EQ(get(&r, 0x20, 4), 4);
	set(&r, 0x20, 4, 4);
	CHECK(!r.level[20]);
	rig_run(&r, 2000000);
	CHECK_EQ(r.rises[20], 1);
	unmake(&r, h);
}
