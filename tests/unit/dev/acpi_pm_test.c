// SPDX-License-Identifier: MIT
#include "dev/acpi_pm.h"

#include "../../lib/devrig.h"

static unsigned nr_off;

static void off(void *opaque)
{
	(void)opaque;
	nr_off++;
}

static struct acpi_pm *make(struct devrig *r)
{
	struct acpi_pm *p;

	rig_init(r);
	CHECK_EQ(acpi_pm_create(&r->env, rig_irq(r, 9), off, NULL, &p), 0);
	return p;
}

static void unmake(struct devrig *r, struct acpi_pm *p)
{
	device_destroy(acpi_pm_device(p));
	rig_fini(r);
}

TEST(acpi_pm, timer_has_24_bits_at_3_579545_mhz)
{
	struct devrig r;
	struct acpi_pm *p = make(&r);
	u64 a = io_read(r.env.pio, 0x608, 4), b;

	rig_advance(&r, NSEC_PER_SEC);
	b = io_read(r.env.pio, 0x608, 4);
	CHECK(b - a >= 3579545 && b - a < 3579545 + 35795);
	rig_advance(&r, 5 * NSEC_PER_SEC);
	CHECK(io_read(r.env.pio, 0x608, 4) < 0x1000000);
	CHECK_EQ(io_read(r.env.pio, 0x600, 2) & 1, 1);
	io_write(r.env.pio, 0x600, 2, 1);
	CHECK_EQ(io_read(r.env.pio, 0x600, 2) & 1, 0);
	unmake(&r, p);
}

TEST(acpi_pm, power_button_raises_the_sci)
{
	struct devrig r;
	struct acpi_pm *p = make(&r);

	acpi_pm_power_button(p);
	CHECK(!r.level[9]);
	CHECK_EQ(io_read(r.env.pio, 0x600, 2) & 0x100, 0x100);
	io_write(r.env.pio, 0x602, 2, 0x100);
	CHECK(r.level[9]);
	io_write(r.env.pio, 0x600, 2, 0x100);
	CHECK(!r.level[9]);
	unmake(&r, p);
}

TEST(acpi_pm, soft_off)
{
	struct devrig r;
	struct acpi_pm *p = make(&r);

	CHECK_EQ(io_read(r.env.pio, 0x604, 2), 1); /* ACPI mode */
	io_write(r.env.pio, 0x604, 2, 0x2400); /* another sleep type: nothing */
	CHECK_EQ(nr_off, 0);
	io_write(r.env.pio, 0x604, 2, 0x0001);
	io_write(r.env.pio, 0x604, 2, 0x2001);
	CHECK_EQ(nr_off, 1);
	CHECK_EQ(io_read(r.env.pio, 0x604, 2), 1);
	unmake(&r, p);
}
