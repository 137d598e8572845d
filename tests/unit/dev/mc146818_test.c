// SPDX-License-Identifier: MIT
#include "dev/mc146818.h"

#include <time.h>

#include "../../lib/devrig.h"

static struct mc146818 *make(struct devrig *r)
{
	struct mc146818 *p;

	rig_init(r);
	CHECK_EQ(mc146818_create(&r->env, rig_irq(r, 8), &p), 0);
	return p;
}

static void unmake(struct devrig *r, struct mc146818 *p)
{
	device_destroy(mc146818_device(p));
	rig_fini(r);
}

static u8 get(struct devrig *r, u8 reg)
{
	outb(r, 0x70, reg);
	return inb(r, 0x71);
}

static void set(struct devrig *r, u8 reg, u8 v)
{
	outb(r, 0x70, reg);
	outb(r, 0x71, v);
}

static int bcd(u8 v)
{
	return (v >> 4) * 10 + (v & 15);
}

TEST(mc146818, shows_the_hosts_time)
{
	struct devrig r;
	struct mc146818 *p = make(&r);
	time_t before = time(NULL), after;
	struct tm tm = { 0 };

	tm.tm_sec = bcd(get(&r, 0));
	tm.tm_min = bcd(get(&r, 2));
	tm.tm_hour = bcd(get(&r, 4));
	tm.tm_mday = bcd(get(&r, 7));
	tm.tm_mon = bcd(get(&r, 8)) - 1;
	tm.tm_year = bcd(get(&r, 9)) + bcd(get(&r, 0x32)) * 100 - 1900;
	after = time(NULL);
	CHECK(timegm(&tm) >= before && timegm(&tm) <= after + 1);
	CHECK_EQ(get(&r, 0x0d), 0x80);
	CHECK_EQ(get(&r, 0x0b), 0x02);
	unmake(&r, p);
}

TEST(mc146818, guest_sets_the_time)
{
	static const u8 regs[] = { 0, 2, 4, 7, 8, 9, 0x32 };
	static const u8 bin[] = { 58, 59, 23, 28, 2, 24, 20 };
	struct devrig r;
	struct mc146818 *p = make(&r);

	set(&r, 0x0b, 0x86);
	for (int i = 0; i < 7; i++)
		set(&r, regs[i], bin[i]);
	CHECK_EQ(get(&r, 0), 58);
	set(&r, 0x0b, 0x06);
	CHECK(get(&r, 0) >= 58);
	CHECK_EQ(get(&r, 2), 59);
	CHECK_EQ(get(&r, 6), 4); /* a Wednesday */
	set(&r, 0x0b, 0x04); /* 12 hours */
	CHECK_EQ(get(&r, 4), 0x80 | 11);
	set(&r, 0x0b, 0x00);
	CHECK_EQ(get(&r, 4), 0x80 | 0x11);
	CHECK_EQ(get(&r, 8), 2);
	CHECK_EQ(get(&r, 9), 0x24);
	device_reset(mc146818_device(p)); /* the battery keeps it */
	CHECK_EQ(get(&r, 9), 0x24);
	unmake(&r, p);
}

TEST(mc146818, periodic_interrupt)
{
	struct devrig r;
	struct mc146818 *p = make(&r);

	set(&r, 0x0b, 0x42);
	rig_run_until(&r, 8, 1);
	CHECK(r.level[8]);
	CHECK_EQ(get(&r, 0x0c) & 0xc0, 0xc0);
	CHECK(!r.level[8]);
	rig_run_until(&r, 8, r.rises[8] + 1);
	CHECK(r.level[8]);
	set(&r, 0x0b, 0x02);
	CHECK(!r.level[8]);
	unmake(&r, p);
}

TEST(mc146818, update_and_alarm)
{
	struct devrig r;
	struct mc146818 *p = make(&r);

	for (u8 reg = 1; reg <= 5; reg += 2)
		set(&r, reg, 0xff); /* every second */
	get(&r, 0x0c);
	set(&r, 0x0b, 0x32);
	rig_run_until(&r, 8, 1);
	CHECK(r.level[8]);
	CHECK_EQ(get(&r, 0x0c) & 0xb0, 0xb0);
	unmake(&r, p);
}

TEST(mc146818, cmos_is_memory)
{
	struct devrig r;
	struct mc146818 *p = make(&r);

	set(&r, 0x40, 0xa5);
	outb(&r, 0x72, 0x40);
	outb(&r, 0x73, 0x5a);
	CHECK_EQ(get(&r, 0x40), 0xa5);
	CHECK_EQ(inb(&r, 0x73), 0x5a);
	CHECK_EQ(get(&r, 0xc0), 0xa5); /* bit 7 is not part of the index */
	mc146818_set_cmos(p, 0x5f, 3);
	CHECK_EQ(get(&r, 0x5f), 3);
	unmake(&r, p);
}
