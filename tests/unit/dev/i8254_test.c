// SPDX-License-Identifier: MIT
#include "dev/i8254.h"

#include "../../lib/devrig.h"

#define TICK_NS 838.0953

static struct i8254 *make(struct devrig *r)
{
	struct i8254 *p;

	rig_init(r);
	CHECK_EQ(i8254_create(&r->env, rig_irq(r, 0), &p), 0);
	return p;
}

static void unmake(struct devrig *r, struct i8254 *p)
{
	device_destroy(i8254_device(p));
	rig_fini(r);
}

static void advance_ticks(struct devrig *r, u64 n)
{
	rig_advance(r, (u64)((double)n * TICK_NS) + 300);
}

static u16 latch(struct devrig *r, unsigned ch)
{
	u8 low;

	outb(r, 0x43, (u8)(ch << 6));
	low = inb(r, 0x40 + (u16)ch);
	return (u16)(low | inb(r, 0x40 + (u16)ch) << 8);
}

/* As Linux calibrates: gate on, mode 0 in channel 2, output in port 0x61. */
TEST(i8254, channel_2_one_shot_with_gate)
{
	struct devrig r;
	struct i8254 *p = make(&r);
	u16 v;

	outb(&r, 0x61, 0x01);
	outb(&r, 0x43, 0xb0);
	CHECK(!(inb(&r, 0x61) & 0x20));
	outb(&r, 0x42, 0x00);
	outb(&r, 0x42, 0x80);
	advance_ticks(&r, 0x1000);
	v = latch(&r, 2);
	CHECK(v <= 0x7000 && v > 0x6800);
	outb(&r, 0x61, 0x00); /* gate low: holds */
	v = latch(&r, 2);
	advance_ticks(&r, 0x10000);
	CHECK_EQ(latch(&r, 2), v);
	CHECK(!(inb(&r, 0x61) & 0x20));
	outb(&r, 0x61, 0x01);
	advance_ticks(&r, 0x7001);
	CHECK(inb(&r, 0x61) & 0x20);
	CHECK_EQ(r.rises[0], 0);
	unmake(&r, p);
}

TEST(i8254, modes_2_and_3_and_status)
{
	struct devrig r;
	struct i8254 *p = make(&r);
	u16 v;

	outb(&r, 0x43, 0x34);
	outb(&r, 0x43, 0xe2); /* read back: status of channel 0 */
	CHECK_EQ(inb(&r, 0x40), 0xf4); /* out high, no count yet */
	outb(&r, 0x40, 0);
	outb(&r, 0x40, 0);
	outb(&r, 0x43, 0xe2);
	CHECK_EQ(inb(&r, 0x40), 0xb4);
	advance_ticks(&r, 0x4000);
	v = latch(&r, 0);
	CHECK(v <= 0xc000 && v > 0xb000);
	advance_ticks(&r, 0x10000);
	v = latch(&r, 0);
	CHECK(v <= 0xc000 && v > 0xb000);
	outb(&r, 0x43, 0x36);
	outb(&r, 0x40, 0);
	outb(&r, 0x40, 0);
	advance_ticks(&r, 0x4000);
	v = latch(&r, 0);
	CHECK(v <= 0x8000 && v > 0x7000); /* counts by two */
	outb(&r, 0x43, 0xe2);
	CHECK_EQ(inb(&r, 0x40) & 0x80, 0x80);
	advance_ticks(&r, 0x4800);
	outb(&r, 0x43, 0xe2);
	CHECK_EQ(inb(&r, 0x40) & 0x80, 0);
	unmake(&r, p);
}

TEST(i8254, bcd_and_byte_accesses)
{
	struct devrig r;
	struct i8254 *p = make(&r);

	outb(&r, 0x61, 0);
	outb(&r, 0x43, 0xb1); /* channel 2, mode 0, BCD, gate low: does not move */
	outb(&r, 0x42, 0x34);
	outb(&r, 0x42, 0x12);
	CHECK_EQ(latch(&r, 2), 0x1234);
	outb(&r, 0x43, 0x90); /* low byte only */
	outb(&r, 0x42, 0x55);
	CHECK_EQ(inb(&r, 0x42), 0x55);
	outb(&r, 0x43, 0xa0); /* high byte only */
	outb(&r, 0x42, 0x12);
	CHECK_EQ(inb(&r, 0x42), 0x12);
	unmake(&r, p);
}

TEST(i8254, interrupts)
{
	struct devrig r;
	struct i8254 *p = make(&r);

	outb(&r, 0x43, 0x34); /* periodic, 1193 ticks: 1 ms */
	outb(&r, 0x40, 0xa9);
	outb(&r, 0x40, 0x04);
	u64 took = rig_run_until(&r, 0, 15);
	CHECK(r.rises[0] <= took / 999000 + 1);
	r.rises[0] = 0;
	outb(&r, 0x43, 0x38); /* one shot, as Linux's clock event */
	outb(&r, 0x40, 0xa9);
	outb(&r, 0x40, 0x04);
	rig_run_until(&r, 0, 1);
	rig_run(&r, 5000000);
	CHECK_EQ(r.rises[0], 1);
	r.rises[0] = 0;
	outb(&r, 0x43, 0x30); /* a control word alone stops it */
	rig_run(&r, 5000000);
	CHECK_EQ(r.rises[0], 0);
	outb(&r, 0x43, 0x34); /* as fast as can be: must not hang the loop */
	outb(&r, 0x40, 1);
	outb(&r, 0x40, 0);
	took = rig_run_until(&r, 0, 10);
	CHECK(r.rises[0] <= took / 20000 + 10);
	unmake(&r, p);
}
