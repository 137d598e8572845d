// SPDX-License-Identifier: MIT
#include "dev/ioapic.h"

#include "../../lib/devrig.h"

enum { BASE = 0xfec00000u };

static struct lapic_msg last;
static unsigned nr_sent;

static void sent(void *opaque, const struct lapic_msg *m)
{
	(void)opaque;
	last = *m;
	nr_sent++;
}

static u32 reg_get(struct devrig *r, u8 reg)
{
	io_write(r->env.mmio, BASE, 4, reg);
	return (u32)io_read(r->env.mmio, BASE + 0x10, 4);
}

static void reg_set(struct devrig *r, u8 reg, u32 v)
{
	io_write(r->env.mmio, BASE, 4, reg);
	io_write(r->env.mmio, BASE + 0x10, 4, v);
}

static struct ioapic *make(struct devrig *r)
{
	struct ioapic *p;

	rig_init(r);
	CHECK_EQ(ioapic_create(&r->env, BASE, sent, NULL, &p), 0);
	return p;
}

static void unmake(struct devrig *r, struct ioapic *p)
{
	device_destroy(ioapic_device(p));
	rig_fini(r);
}

TEST(ioapic, registers)
{
	struct devrig r;
	struct ioapic *p = make(&r);

	CHECK_EQ(reg_get(&r, 1), 0x170020);
	CHECK_EQ(reg_get(&r, 0x10), 0x10000);
	reg_set(&r, 0, 0xff000000);
	CHECK_EQ(reg_get(&r, 0), 0x0f000000);
	reg_set(&r, 0x3e, 0xffffffff);
	CHECK_EQ(reg_get(&r, 0x3e), 0x1afff); /* status bits are not writable */
	CHECK_EQ(reg_get(&r, 0x40), 0);
	reg_set(&r, 0xff, 1);
	unmake(&r, p);
}

TEST(ioapic, edge)
{
	struct devrig r;
	struct ioapic *p = make(&r);

	ioapic_set_pin(p, 4, true); /* masked: lost */
	reg_set(&r, 0x19, 0x03000000);
	reg_set(&r, 0x18, 0x0831);
	CHECK_EQ(nr_sent, 0);
	ioapic_set_pin(p, 4, false);
	ioapic_set_pin(p, 4, true);
	ioapic_set_pin(p, 4, true);
	CHECK_EQ(nr_sent, 1);
	CHECK(last.dest == 3 && last.vector == 0x31 && last.logical && !last.level &&
	      last.delivery == 0);
	ioapic_set_pin(p, 24, true);
	unmake(&r, p);
}

TEST(ioapic, level_waits_for_eoi)
{
	struct devrig r;
	struct ioapic *p = make(&r);

	reg_set(&r, 0x30, 0xa050); /* pin 16, active low as PCI */
	ioapic_set_pin(p, 16, true);
	CHECK_EQ(nr_sent, 1);
	CHECK(last.level);
	CHECK_EQ(reg_get(&r, 0x30), 0xe050);
	ioapic_set_pin(p, 16, false);
	ioapic_set_pin(p, 16, true);
	CHECK_EQ(nr_sent, 1);
	ioapic_eoi(p, 0x51);
	CHECK_EQ(nr_sent, 1);
	ioapic_eoi(p, 0x50);
	CHECK_EQ(nr_sent, 2); /* still high */
	ioapic_set_pin(p, 16, false);
	io_write(r.env.mmio, BASE + 0x40, 4, 0x50);
	CHECK_EQ(nr_sent, 2);
	CHECK_EQ(reg_get(&r, 0x30), 0xa050);
	reg_set(&r, 0x30, 0x1a050);
	ioapic_set_pin(p, 16, true);
	CHECK_EQ(nr_sent, 2);
	reg_set(&r, 0x30, 0xa050); /* unmasked while high */
	CHECK_EQ(nr_sent, 3);
	reg_set(&r, 0x30, 0x12050); /* the old way of an EOI */
	CHECK_EQ(reg_get(&r, 0x30), 0x12050);
	unmake(&r, p);
}
