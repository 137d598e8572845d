// SPDX-License-Identifier: MIT
#include "dev/i8259.h"

#include "../../lib/devrig.h"

static bool intr;

static void set_intr(void *opaque, bool level)
{
	(void)opaque;
	intr = level;
}

static struct i8259 *make(struct devrig *r, u8 icw4)
{
	struct i8259 *p;

	rig_init(r);
	CHECK_EQ(i8259_create(&r->env, set_intr, NULL, &p), 0);
	for (int i = 0; i < 2; i++) {
		u16 port = i ? 0xa0 : 0x20;

		outb(r, port, 0x11);
		outb(r, port + 1, i ? 0x28 : 0x20);
		outb(r, port + 1, i ? 2 : 4);
		outb(r, port + 1, icw4);
		outb(r, port + 1, 0);
	}
	return p;
}

static void unmake(struct devrig *r, struct i8259 *p)
{
	device_destroy(i8259_device(p));
	rig_fini(r);
}

TEST(i8259, edge_is_latched_and_served_once)
{
	struct devrig r;
	struct i8259 *p = make(&r, 1);

	CHECK_EQ(i8259_ack(p), -1);
	i8259_set_irq(p, 4, true);
	i8259_set_irq(p, 4, false);
	CHECK(intr);
	CHECK_EQ(i8259_ack(p), 0x24);
	CHECK(!intr);
	outb(&r, 0x20, 0x0b);
	CHECK_EQ(inb(&r, 0x20), 0x10);
	i8259_set_irq(p, 4, true); /* again, while in service */
	CHECK(!intr);
	i8259_set_irq(p, 3, true); /* of higher priority */
	CHECK_EQ(i8259_ack(p), 0x23);
	outb(&r, 0x20, 0x20);
	CHECK(!intr);
	outb(&r, 0x20, 0x20);
	CHECK_EQ(i8259_ack(p), 0x24);
	unmake(&r, p);
}

TEST(i8259, slave_through_cascade)
{
	struct devrig r;
	struct i8259 *p = make(&r, 1);

	i8259_set_irq(p, 12, true);
	i8259_set_irq(p, 8, true);
	CHECK_EQ(i8259_ack(p), 0x28);
	CHECK(!intr);
	i8259_set_irq(p, 0, true);
	CHECK_EQ(i8259_ack(p), 0x20);
	outb(&r, 0x20, 0x20);
	outb(&r, 0xa0, 0x20);
	CHECK(!intr); /* master's IRQ 2 still in service */
	outb(&r, 0x20, 0x20);
	CHECK_EQ(i8259_ack(p), 0x2c);
	unmake(&r, p);
}

TEST(i8259, masks_and_level_triggering)
{
	struct devrig r;
	struct i8259 *p = make(&r, 1);

	outb(&r, 0x4d1, 0xff);
	CHECK_EQ(inb(&r, 0x4d1), 0xde);
	outb(&r, 0x21, 0xfb);
	outb(&r, 0xa1, 0xff);
	i8259_set_irq(p, 10, true);
	CHECK(!intr);
	outb(&r, 0xa1, 0xfb);
	CHECK_EQ(i8259_ack(p), 0x2a);
	outb(&r, 0xa0, 0x62);
	outb(&r, 0x20, 0x62);
	CHECK(intr); /* line still high */
	i8259_set_irq(p, 10, false);
	CHECK(!intr);
	CHECK_EQ(i8259_ack(p), -1);
	unmake(&r, p);
}

TEST(i8259, automatic_eoi_and_rotation)
{
	struct devrig r;
	struct i8259 *p = make(&r, 3);

	outb(&r, 0x20, 0x80); /* rotate on automatic EOI */
	i8259_set_irq(p, 1, true);
	i8259_set_irq(p, 3, true);
	CHECK_EQ(i8259_ack(p), 0x21);
	i8259_set_irq(p, 1, false);
	i8259_set_irq(p, 1, true);
	CHECK_EQ(i8259_ack(p), 0x23); /* 1 is the lowest now */
	CHECK_EQ(i8259_ack(p), 0x21);
	unmake(&r, p);
}

TEST(i8259, special_mask_mode_lets_lower_ones_in)
{
	struct devrig r;
	struct i8259 *p = make(&r, 1);

	i8259_set_irq(p, 3, true);
	CHECK_EQ(i8259_ack(p), 0x23);
	i8259_set_irq(p, 6, true);
	CHECK(!intr);
	outb(&r, 0x20, 0x68);
	outb(&r, 0x21, 0x08);
	CHECK_EQ(i8259_ack(p), 0x26);
	unmake(&r, p);
}

TEST(i8259, poll)
{
	struct devrig r;
	struct i8259 *p = make(&r, 1);

	i8259_set_irq(p, 5, true);
	outb(&r, 0x20, 0x0c);
	CHECK_EQ(inb(&r, 0x20), 0x85);
	CHECK(!intr);
	unmake(&r, p);
}
