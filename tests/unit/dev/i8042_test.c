// SPDX-License-Identifier: MIT
#include "dev/i8042.h"

#include "../../lib/devrig.h"

static unsigned nr_resets;

static void reset(void *opaque)
{
	(void)opaque;
	nr_resets++;
}

static struct i8042 *make(struct devrig *r)
{
	struct i8042 *p;

	rig_init(r);
	CHECK_EQ(i8042_create(&r->env, rig_irq(r, 1), rig_irq(r, 12), reset, NULL, &p), 0);
	return p;
}

static void unmake(struct devrig *r, struct i8042 *p)
{
	device_destroy(i8042_device(p));
	rig_fini(r);
}

/* The order of Linux's probe. */
TEST(i8042, controller_and_keyboard_probe)
{
	struct devrig r;
	struct i8042 *p = make(&r);

	CHECK_EQ(inb(&r, 0x64) & 1, 0);
	outb(&r, 0x64, 0x20);
	CHECK_EQ(inb(&r, 0x64) & 0x21, 1);
	CHECK_EQ(inb(&r, 0x60), 0x47);
	outb(&r, 0x64, 0x60);
	outb(&r, 0x60, 0x34); /* interrupts off, lines off, no translation */
	outb(&r, 0x64, 0xaa);
	CHECK_EQ(inb(&r, 0x60), 0x55);
	outb(&r, 0x64, 0xd3);
	outb(&r, 0x60, 0xa5);
	CHECK_EQ(inb(&r, 0x64) & 0x21, 0x21);
	CHECK_EQ(inb(&r, 0x60), 0xa5);
	CHECK_EQ(r.rises[1] + r.rises[12], 1); /* the first, before they were off */
	outb(&r, 0x64, 0x60);
	outb(&r, 0x60, 0x01);
	outb(&r, 0x60, 0xf2);
	CHECK(r.level[1]);
	CHECK_EQ(inb(&r, 0x60), 0xfa);
	CHECK(r.level[1]);
	CHECK_EQ(inb(&r, 0x60), 0xab);
	CHECK_EQ(inb(&r, 0x60), 0x83);
	CHECK(!r.level[1]);
	CHECK_EQ(r.rises[1], 4);
	unmake(&r, p);
}

TEST(i8042, mouse)
{
	struct devrig r;
	struct i8042 *p = make(&r);

	outb(&r, 0x64, 0xd4);
	outb(&r, 0x60, 0xff);
	CHECK(r.level[12]);
	CHECK_EQ(inb(&r, 0x60), 0xfa);
	CHECK_EQ(inb(&r, 0x60), 0xaa);
	CHECK_EQ(inb(&r, 0x60), 0x00);
	outb(&r, 0x64, 0xd4);
	outb(&r, 0x60, 0xf3);
	outb(&r, 0x64, 0xd4);
	outb(&r, 0x60, 40);
	outb(&r, 0x64, 0xd4);
	outb(&r, 0x60, 0xe9);
	CHECK_EQ(inb(&r, 0x60), 0xfa);
	CHECK_EQ(inb(&r, 0x60), 0xfa);
	CHECK_EQ(inb(&r, 0x60), 0xfa);
	CHECK_EQ(inb(&r, 0x60), 0);
	CHECK_EQ(inb(&r, 0x60), 2);
	CHECK_EQ(inb(&r, 0x60), 40);
	unmake(&r, p);
}

TEST(i8042, reset_and_a20)
{
	struct devrig r;
	struct i8042 *p = make(&r);

	outb(&r, 0x64, 0xfe);
	CHECK_EQ(nr_resets, 1);
	outb(&r, 0x64, 0xff);
	CHECK_EQ(nr_resets, 1);
	outb(&r, 0x64, 0xd1);
	outb(&r, 0x60, 0xdd); /* A20 off */
	CHECK_EQ(inb(&r, 0x92), 0);
	outb(&r, 0x92, 2);
	outb(&r, 0x64, 0xd0);
	CHECK_EQ(inb(&r, 0x60) & 3, 3);
	outb(&r, 0x64, 0xd1);
	outb(&r, 0x60, 0xfe);
	CHECK_EQ(nr_resets, 2);
	unmake(&r, p);
}

TEST(i8042, full_queue_drops)
{
	struct devrig r;
	struct i8042 *p = make(&r);

	for (int i = 0; i < 1000; i++)
		outb(&r, 0x60, 0xf2);
	for (int i = 0; i < 32; i++) {
		CHECK(inb(&r, 0x64) & 1);
		inb(&r, 0x60);
	}
	CHECK(!(inb(&r, 0x64) & 1));
	unmake(&r, p);
}
