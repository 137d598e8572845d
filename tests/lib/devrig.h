/* SPDX-License-Identifier: MIT */
/*
 * What a chip is built into, for tests of single chips: buses, 1 MiB of RAM, an
 * event loop, a clock that a test may push ahead (rig_advance()), and a record of
 * all interrupt lines.
 */
#ifndef NESTOR_TESTS_DEVRIG_H
#define NESTOR_TESTS_DEVRIG_H

#include <string.h>

#include "base/clock.h"
#include "dev/device.h"
#include "test.h"

struct devrig {
	struct dev_env env;
	struct vclock clock;
	struct irq_sink sink;
	bool level[32];
	unsigned rises[32];
	struct timer stop;
};

static inline void rig_set_gsi(void *opaque, u32 gsi, bool level)
{
	struct devrig *r = opaque;

	r->rises[gsi & 31] += level && !r->level[gsi & 31];
	r->level[gsi & 31] = level;
}

static inline void rig_send_msi(void *opaque, u64 address, u32 data)
{
	(void)opaque;
	(void)address;
	(void)data;
}

static inline void rig_stop(void *arg)
{
	loop_stop(arg);
}

static inline void rig_init(struct devrig *r)
{
	memset(r, 0, sizeof(*r));
	vclock_set(&r->clock, 1000);
	r->sink = (struct irq_sink){ rig_set_gsi, rig_send_msi, r };
	r->env.clock = &r->clock;
	r->env.sink = &r->sink;
	CHECK_EQ(mem_create(MIB(1), &r->env.mem, NULL), 0);
	CHECK_EQ(io_bus_create(&r->env.pio), 0);
	CHECK_EQ(io_bus_create(&r->env.mmio), 0);
	CHECK_EQ(loop_create(&r->env.loop), 0);
	timer_init(&r->stop, r->env.loop, rig_stop, r->env.loop);
}

static inline void rig_fini(struct devrig *r)
{
	loop_destroy(r->env.loop);
	io_bus_destroy(r->env.pio);
	io_bus_destroy(r->env.mmio);
	mem_destroy(r->env.mem);
}

static inline struct irq rig_irq(struct devrig *r, u32 n)
{
	return (struct irq){ &r->sink, n };
}

static inline void rig_advance(struct devrig *r, u64 ns)
{
	r->clock.origin -= ns;
}

/* Runs the loop for @ns of real time. */
static inline void rig_run(struct devrig *r, u64 ns)
{
	timer_set(&r->stop, clock_ns() + ns);
	loop_run(r->env.loop);
}

/* Runs the loop until @line has risen @nr times, which a busy machine may take long for. Returns
 * the time that took; 10 seconds are too long. */
static inline u64 rig_run_until(struct devrig *r, unsigned line, unsigned nr)
{
	u64 start = clock_ns();

	while (r->rises[line] < nr && clock_ns() - start < 10 * NSEC_PER_SEC)
		rig_run(r, 500000);
	CHECK(r->rises[line] >= nr);
	return clock_ns() - start;
}

static inline void outb(struct devrig *r, u16 port, u8 v)
{
	io_write(r->env.pio, port, 1, v);
}

static inline u8 inb(struct devrig *r, u16 port)
{
	return (u8)io_read(r->env.pio, port, 1);
}

#endif
