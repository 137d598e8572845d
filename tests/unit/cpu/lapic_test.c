// SPDX-License-Identifier: MIT
#include "cpu/lapic.h"

#include <string.h>

#include "../../lib/test.h"
#include "base/state.h"

enum { NR = 3 };

struct rig {
	struct lapic_bus *bus;
	struct lapic l[NR];
	u64 tsc;
	unsigned wakes, eois;
	u8 eoi_vector;
};

static struct rig g;

static void rig_wake(void *o)
{
	(void)o;
	g.wakes++;
}

static u64 rig_tsc(void *o)
{
	(void)o;
	return g.tsc;
}

static void rig_eoi(void *o, u8 vector)
{
	(void)o;
	g.eois++;
	g.eoi_vector = vector;
}

static void setup(void)
{
	lapic_bus_destroy(g.bus);
	memset(&g, 0, sizeof(g));
	lapic_bus_create(NR, &g.bus);
	lapic_set_eoi_broadcast(g.bus, rig_eoi, NULL);
	for (u32 i = 0; i < NR; i++) {
		lapic_init(&g.l[i], g.bus, i, NULL);
		g.l[i].wake = rig_wake;
		g.l[i].guest_tsc = g.l[i].ticks = rig_tsc;
		g.l[i].tsc_hz = 1000000000;
		lapic_mmio_write(&g.l[i], 0xf0, 0x1ff);
		lapic_mmio_write(&g.l[i], 0xd0, 1u << (24 + i));
	}
}

static void send(u32 dest, u8 vector, u8 delivery, bool logical, bool level)
{
	struct lapic_msg m = { dest, vector, delivery, logical, level };

	lapic_bus_send(g.bus, &m);
}

TEST(lapic, reset_state)
{
	setup();
	lapic_reset(&g.l[0], false);
	CHECK_EQ(g.l[0].apic_base, 0xfee00900);
	CHECK_EQ(g.l[1].apic_base, 0xfee00800);
	CHECK_EQ(lapic_mmio_read(&g.l[0], 0xf0), 0xff);
	CHECK_EQ(lapic_mmio_read(&g.l[0], 0xe0), 0xffffffff);
	CHECK_EQ(lapic_mmio_read(&g.l[0], 0x350), 0x10000);
	CHECK_EQ(lapic_mmio_read(&g.l[2], 0x20), 2 << 24);
	CHECK_EQ(lapic_mmio_read(&g.l[0], 0x30) & 0xff, 0x14);
}

TEST(lapic, priorities)
{
	struct lapic *l = &g.l[0];

	setup();
	send(0, 0x31, 0, false, false);
	send(0, 0x45, 0, false, false);
	CHECK_EQ(g.wakes, 2);
	CHECK_EQ(lapic_pending(l), 0x45);
	lapic_ack(l, 0x45);
	CHECK_EQ(lapic_ppr(l), 0x40);
	CHECK_EQ(lapic_pending(l), -1);
	CHECK(lapic_has_work(l));
	send(0, 0x4f, 0, false, false);
	CHECK_EQ(lapic_pending(l), -1); /* same class */
	send(0, 0x50, 0, false, false);
	CHECK_EQ(lapic_pending(l), 0x50);
	lapic_ack(l, 0x50);
	lapic_eoi(l);
	CHECK_EQ(lapic_ppr(l), 0x40);
	lapic_eoi(l);
	CHECK_EQ(lapic_pending(l), 0x4f);
	lapic_ack(l, 0x4f);
	lapic_eoi(l);
	CHECK_EQ(lapic_pending(l), 0x31);
	lapic_set_tpr(l, 0x30);
	CHECK_EQ(lapic_pending(l), -1);
	g.wakes = 0;
	lapic_set_tpr(l, 0x2f);
	CHECK_EQ(g.wakes, 1);
	lapic_ack(l, 0x31);
	lapic_eoi(l);
	CHECK(!lapic_has_work(l));
	lapic_eoi(l); /* nothing in service */
	CHECK_EQ(g.eois, 0);
}

TEST(lapic, level_triggered_eoi_is_broadcast)
{
	struct lapic *l = &g.l[0];

	setup();
	send(0, 0x61, 0, false, true);
	lapic_ack(l, lapic_pending(l));
	CHECK_EQ(lapic_mmio_read(l, 0x180 + 0x30), 2);
	lapic_mmio_write(l, 0xb0, 0);
	CHECK_EQ(g.eois, 1);
	CHECK_EQ(g.eoi_vector, 0x61);
	send(0, 0x61, 0, false, false);
	lapic_ack(l, lapic_pending(l));
	lapic_mmio_write(l, 0xb0, 0);
	CHECK_EQ(g.eois, 1);
}

TEST(lapic, destinations)
{
	setup();
	send(0xff, 0x40, 0, false, false);
	for (int i = 0; i < NR; i++)
		CHECK_EQ(lapic_pending(&g.l[i]), 0x40);
	setup();
	send(6, 0x40, 0, true, false); /* flat logical */
	CHECK_EQ(lapic_pending(&g.l[0]), -1);
	CHECK_EQ(lapic_pending(&g.l[1]), 0x40);
	CHECK_EQ(lapic_pending(&g.l[2]), 0x40);
	setup();
	for (int i = 0; i < NR; i++)
		lapic_mmio_write(&g.l[i], 0xe0, 0);
	lapic_mmio_write(&g.l[1], 0xd0, 0x21000000);
	lapic_mmio_write(&g.l[2], 0xd0, 0x22000000);
	send(0x22, 0x40, 0, true, false); /* cluster 2, member 1 */
	CHECK_EQ(lapic_pending(&g.l[1]), -1);
	CHECK_EQ(lapic_pending(&g.l[2]), 0x40);
	setup();
	for (int i = 0; i < 6; i++)
		send(7, (u8)(0x40 + i), 1, true, false);
	for (int i = 0; i < NR; i++)
		CHECK(lapic_pending(&g.l[i]) > 0); /* they take turns */
}

TEST(lapic, disabled)
{
	setup();
	lapic_mmio_write(&g.l[1], 0xf0, 0xff);
	send(1, 0x40, 0, false, false);
	CHECK_EQ(lapic_pending(&g.l[1]), -1);
	CHECK(!lapic_has_work(&g.l[1]));
	send(1, 0, 4, false, false);
	CHECK_EQ(g.l[1].posted, LAPIC_POST_NMI);
	lapic_mmio_write(&g.l[1], 0x320, 0x40);
	CHECK_EQ(lapic_mmio_read(&g.l[1], 0x320), 0x10040);
	lapic_set_base(&g.l[1], 0xfee00000, 46);
	g.l[1].posted = 0;
	send(1, 0, 4, false, false);
	CHECK_EQ(g.l[1].posted, 0);
}

TEST(lapic, icr)
{
	setup();
	lapic_mmio_write(&g.l[0], 0x310, 1 << 24);
	lapic_mmio_write(&g.l[0], 0x300, 0x4500); /* INIT, assert */
	CHECK_EQ(g.l[1].posted, LAPIC_POST_INIT);
	lapic_mmio_write(&g.l[0], 0x300, 0x8500); /* INIT level de-assert */
	lapic_mmio_write(&g.l[0], 0x300, 0x4608);
	CHECK_EQ(g.l[1].posted, LAPIC_POST_INIT | LAPIC_POST_SIPI);
	CHECK_EQ(g.l[1].sipi_vector, 8);
	CHECK_EQ(g.l[0].posted | g.l[2].posted, 0);
	lapic_mmio_write(&g.l[0], 0x300, 0x40000 | 0x55); /* self */
	CHECK_EQ(lapic_pending(&g.l[0]), 0x55);
	CHECK_EQ(lapic_pending(&g.l[1]), -1);
	lapic_mmio_write(&g.l[0], 0x300, 0xc0000 | 0x66); /* others */
	CHECK_EQ(lapic_pending(&g.l[0]), 0x55);
	CHECK_EQ(lapic_pending(&g.l[1]), 0x66);
	lapic_mmio_write(&g.l[0], 0x300, 0x80000 | 0x77); /* all */
	CHECK_EQ(lapic_pending(&g.l[0]), 0x77);
	lapic_mmio_write(&g.l[0], 0x300, 0xc0000 | 5); /* illegal vector */
	lapic_mmio_write(&g.l[0], 0x280, 0);
	CHECK_EQ(lapic_mmio_read(&g.l[0], 0x280), 0x20);
	lapic_mmio_write(&g.l[0], 0x280, 0);
	CHECK_EQ(lapic_mmio_read(&g.l[0], 0x280), 0);
}

TEST(lapic, received_illegal_vector_raises_error_interrupt)
{
	setup();
	lapic_mmio_write(&g.l[0], 0x370, 0xfe);
	lapic_bus_send_msi(g.bus, 0xfee00000, 3);
	CHECK_EQ(lapic_pending(&g.l[0]), 0xfe);
	lapic_mmio_write(&g.l[0], 0x280, 0);
	CHECK_EQ(lapic_mmio_read(&g.l[0], 0x280), 0x40);
	lapic_mmio_write(&g.l[0], 0x370, 3); /* its own vector illegal: no recursion */
	lapic_bus_send_msi(g.bus, 0xfee00000, 3);
}

TEST(lapic, msi)
{
	setup();
	lapic_bus_send_msi(g.bus, 0xfee01000, 0x4041);
	CHECK_EQ(lapic_pending(&g.l[1]), 0x41);
	lapic_bus_send_msi(g.bus, 0xfee0400c, 0x42); /* hint, logical 4 */
	CHECK_EQ(lapic_pending(&g.l[2]), 0x42);
	lapic_bus_send_msi(g.bus, 0xfee04004, 0x52); /* logical 4, as Linux says it */
	CHECK_EQ(lapic_pending(&g.l[2]), 0x52);
}

TEST(lapic, base_transitions)
{
	struct lapic *l = &g.l[0];

	setup();
	CHECK(!lapic_set_base(l, 0xfee00000 | APIC_BASE_X2APIC, 46));
	CHECK(!lapic_set_base(l, BIT(50) | APIC_BASE_ENABLE, 46));
	CHECK(!lapic_set_base(l, 0xfee00801, 46));
	CHECK(lapic_set_base(l, 0xfee00d00, 46));
	CHECK(!lapic_set_base(l, 0xfee00900, 46)); /* x2APIC to xAPIC */
	CHECK(lapic_set_base(l, 0xfee00100, 46));
	CHECK(!lapic_set_base(l, 0xfee00d00, 46)); /* disabled to x2APIC */
	CHECK(lapic_set_base(l, 0xfee00900, 46));
}

TEST(lapic, x2apic)
{
	struct lapic *l = &g.l[1];
	u64 v;

	setup();
	CHECK(!lapic_x2apic_read(l, 0x802, &v));
	CHECK(lapic_set_base(l, 0xfee00c00, 46));
	CHECK(lapic_x2apic_read(l, 0x802, &v) && v == 1);
	CHECK(lapic_x2apic_read(l, 0x80d, &v) && v == 2);
	CHECK(!lapic_x2apic_write(l, 0x80d, 2));
	CHECK(!lapic_x2apic_read(l, 0x80e, &v)); /* DFR */
	CHECK(!lapic_x2apic_read(l, 0x80b, &v)); /* EOI is write-only */
	CHECK(!lapic_x2apic_read(l, 0x831, &v));
	CHECK(!lapic_x2apic_read(l, 0x8ff, &v));
	CHECK(!lapic_x2apic_write(l, 0x80b, 1));
	CHECK(lapic_x2apic_write(l, 0x80b, 0));
	CHECK(!lapic_x2apic_write(l, 0x808, 0x100));
	CHECK(lapic_x2apic_write(l, 0x830, (u64)2 << 32 | 0x71));
	CHECK_EQ(lapic_pending(&g.l[2]), 0x71);
	CHECK(lapic_x2apic_read(l, 0x830, &v) && v == ((u64)2 << 32 | 0x71));
	CHECK(lapic_x2apic_write(l, 0x83f, 0x72));
	CHECK_EQ(lapic_pending(l), 0x72);
	send(2, 0x73, 0, true, false); /* logical: cluster 0, bit 1 */
	CHECK_EQ(lapic_pending(l), 0x73);
	lapic_reset(l, true);
	CHECK(lapic_x2apic_read(l, 0x80d, &v) && v == 2);
	CHECK_EQ(lapic_pending(l), -1);
}

TEST(lapic, lint0)
{
	struct lapic *l = &g.l[0];

	setup();
	lapic_set_lint0(g.bus, true);
	CHECK(!lapic_extint_pending(l));
	lapic_set_virtual_wire(l);
	CHECK(lapic_extint_pending(l) && !lapic_extint_pending(&g.l[1]));
	lapic_set_lint0(g.bus, false);
	CHECK(!lapic_extint_pending(l));
	lapic_mmio_write(l, 0x350, 0x48); /* fixed */
	lapic_set_lint0(g.bus, true);
	CHECK_EQ(lapic_pending(l), 0x48);
	lapic_set_base(l, 0xfee00100, 46);
	CHECK(lapic_extint_pending(l));
}

TEST(lapic, timer_oneshot)
{
	struct lapic *l = &g.l[0];

	setup();
	g.tsc = 1000;
	lapic_mmio_write(l, 0x3e0, 3); /* /16 */
	lapic_mmio_write(l, 0x320, 0x90);
	lapic_mmio_write(l, 0x380, 100);
	g.tsc += 800;
	CHECK_EQ(lapic_mmio_read(l, 0x390), 50);
	lapic_timer_fire(l); /* too early */
	CHECK_EQ(lapic_pending(l), -1);
	g.tsc += 800;
	CHECK(!lapic_has_work(l));
	lapic_timer_fire(l);
	CHECK_EQ(lapic_pending(l), 0x90);
	CHECK_EQ(lapic_mmio_read(l, 0x390), 0);
	lapic_ack(l, 0x90);
	lapic_eoi(l);
	lapic_timer_fire(l);
	CHECK(!lapic_has_work(l));
	lapic_mmio_write(l, 0x380, 100);
	g.tsc += 1700;
	lapic_mmio_write(l, 0x320, 0x20090); /* periodic, but the count was over before */
	CHECK_EQ(lapic_mmio_read(l, 0x390), 0);
	CHECK_EQ(lapic_pending(l), 0x90);
}

TEST(lapic, timer_periodic)
{
	struct lapic *l = &g.l[0];

	setup();
	lapic_mmio_write(l, 0x3e0, 0xb); /* /1 */
	lapic_mmio_write(l, 0x320, 0x20090);
	lapic_mmio_write(l, 0x380, 1000);
	for (int i = 0; i < 3; i++) {
		g.tsc += 1000;
		lapic_timer_fire(l);
		CHECK_EQ(lapic_pending(l), 0x90);
		lapic_ack(l, 0x90);
		lapic_eoi(l);
	}
	g.tsc += 250;
	CHECK_EQ(lapic_mmio_read(l, 0x390), 750);
	lapic_mmio_write(l, 0x380, 0); /* stops */
	g.tsc += 5000;
	lapic_timer_fire(l);
	CHECK(!lapic_has_work(l));
}

TEST(lapic, timer_deadline)
{
	struct lapic *l = &g.l[0];

	setup();
	g.tsc = 5000;
	lapic_set_tsc_deadline(l, 6000); /* not in this mode */
	CHECK_EQ(lapic_get_tsc_deadline(l), 0);
	lapic_mmio_write(l, 0x320, 0x40091);
	lapic_set_tsc_deadline(l, 6000);
	CHECK_EQ(lapic_get_tsc_deadline(l), 6000);
	lapic_timer_fire(l);
	CHECK_EQ(lapic_pending(l), -1);
	g.tsc = 6000;
	lapic_timer_fire(l);
	CHECK_EQ(lapic_pending(l), 0x91);
	CHECK_EQ(lapic_get_tsc_deadline(l), 0);
	lapic_ack(l, 0x91);
	lapic_eoi(l);
	lapic_set_tsc_deadline(l, 10); /* in the past: at once */
	CHECK_EQ(lapic_pending(l), 0x91);
	lapic_ack(l, 0x91);
	lapic_eoi(l);
	lapic_set_tsc_deadline(l, 9000);
	lapic_mmio_write(l, 0x320, 0x91); /* leaving the mode disarms */
	g.tsc = 10000;
	lapic_timer_fire(l);
	CHECK_EQ(lapic_pending(l), -1);
}

TEST(lapic, state_survives)
{
	static struct lapic_state s, loaded;
	struct state_buf b = { 0 };
	struct lapic *l = &g.l[0], *m;
	struct err e = { "" };

	setup();
	lapic_mmio_write(l, 0x3e0, 0xb);
	lapic_mmio_write(l, 0x320, 0x20090);
	lapic_mmio_write(l, 0x380, 1000);
	send(0, 0x55, 0, false, true);
	lapic_ack(l, 0x55);
	send(0, 0x33, 0, false, false);
	send(0, 0, 4, false, false);
	g.tsc += 400;
	lapic_get_state(l, &s);
	CHECK_EQ(state_save(&b, &lapic_state_desc, 0, &s), 0);

	setup();
	g.tsc = 77777;
	m = &g.l[0];
	if (state_load(&b, &lapic_state_desc, 0, &loaded, &e))
		test_fail(__FILE__, __LINE__, "%s", e.text);
	lapic_set_state(m, &loaded);
	CHECK_EQ(lapic_ppr(m), 0x50);
	CHECK_EQ(m->posted, LAPIC_POST_NMI);
	CHECK_EQ(lapic_mmio_read(m, 0x390), 600);
	CHECK_EQ(lapic_pending(m), -1);
	lapic_eoi(m);
	CHECK_EQ(g.eois, 1);
	CHECK_EQ(lapic_pending(m), 0x33);
	g.tsc += 600;
	lapic_timer_fire(m);
	CHECK_EQ(lapic_pending(m), 0x90);
	state_buf_free(&b);
}
