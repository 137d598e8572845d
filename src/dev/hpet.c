// SPDX-License-Identifier: MIT
/*
 * The high precision event timer (IA-PC HPET specification 1.0a).
 *
 * The counter is a function of the VM's clock; each comparator has a host timer
 * for the moment at which it matches next. All arithmetic on counts is modulo
 * 2^64, or 2^32 for a comparator in 32-bit mode.
 */
#include "dev/hpet.h"

#include <errno.h>
#include <string.h>

enum { NS_PER_TICK = 10, REGION_SIZE = 0x400 };
#define MIN_WAIT_NS 20000u	  /* a periodic comparator's, so that it is no busy loop */
#define MAX_WAIT_TICKS (BIT(62) / NS_PER_TICK) /* further away is never */

enum {
	REG_CAPS = 0x00,
	REG_CONFIG = 0x10,
	REG_STATUS = 0x20,
	REG_COUNTER = 0xf0,
	REG_TIMERS = 0x100,
	TIMER_SIZE = 0x20,
	TN_CONFIG = 0x00,
	TN_COMPARATOR = 0x08
};
enum { CONFIG_ENABLE = 1, CONFIG_LEGACY = 2 };
#define TN_LEVEL     BIT(1)
#define TN_ENABLE    BIT(2)
#define TN_PERIODIC  BIT(3)
#define TN_CAPS	     (BIT(4) | BIT(5)) /* periodic capable, 64 bits */
#define TN_SET_VALUE BIT(6)
#define TN_32BIT     BIT(8)
#define TN_ROUTE(c)  ((u32)((c) >> 9 & 31))
#define TN_WRITABLE  (TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_SET_VALUE | TN_32BIT | 31 << 9)
#define ROUTES	     0x00ff0104u /* IOAPIC pins a comparator may use: 2, 8, 16..23 */

struct comparator {
	u64 config;
	u64 value;
	u64 period;
};

struct hpet {
	struct device dev;
	struct hpet_state {
		u64 config, status;
		u64 counter;  /* while halted; else what it was at VM time... */
		u64 start_ns; /* ... this */
		struct comparator timer[HPET_TIMERS];
	} s;
	struct hpet_timer {
		struct hpet *h;
		unsigned n;
		struct timer timer;
	} host[HPET_TIMERS];
	const struct vclock *clock;
	const struct irq_sink *sink;
	void (*legacy)(void *opaque, bool on);
	void *opaque;
	struct io_bus *mmio;
	struct io_region region;
};

static const struct state_row hpet_rows[] = {
	STATE_ROW(struct hpet_state, config),
	STATE_ROW(struct hpet_state, status),
	STATE_ROW(struct hpet_state, counter),
	STATE_ROW(struct hpet_state, start_ns),
	STATE_ROW(struct hpet_state, timer),
};
static const struct state_desc hpet_state = STATE_DESC("hpet", 1, hpet_rows);

static bool running(const struct hpet *h)
{
	return h->s.config & CONFIG_ENABLE;
}

static u64 counter(const struct hpet *h)
{
	if (!running(h))
		return h->s.counter;
	return h->s.counter + (vclock_now(h->clock) - h->s.start_ns) / NS_PER_TICK;
}

/* ---- Interrupts ---- */

static struct irq line(const struct hpet *h, unsigned n)
{
	if ((h->s.config & CONFIG_LEGACY) && n < 2)
		return (struct irq){ h->sink, n ? 8 : 0 };
	return (struct irq){ h->sink, TN_ROUTE(h->s.timer[n].config) };
}

static bool route_valid(const struct hpet *h, unsigned n)
{
	return ((h->s.config & CONFIG_LEGACY) && n < 2) ||
	       (ROUTES & BIT(TN_ROUTE(h->s.timer[n].config)));
}

static void interrupt(struct hpet *h, unsigned n)
{
	struct irq irq = line(h, n);

	if (!(h->s.timer[n].config & TN_ENABLE) || !route_valid(h, n))
		return;
	if (h->s.timer[n].config & TN_LEVEL) {
		h->s.status |= BIT(n);
		irq_set(&irq, true);
	} else {
		irq_pulse(&irq);
	}
}

/* Ends a level-triggered interrupt. */
static void interrupt_clear(struct hpet *h, unsigned n)
{
	struct irq irq = line(h, n);

	if (!(h->s.status & BIT(n)))
		return;
	h->s.status &= ~BIT(n);
	irq_set(&irq, false);
}

/* ---- Comparators ---- */

static u64 width_mask(const struct comparator *c)
{
	return c->config & TN_32BIT ? 0xffffffffu : UINT64_MAX;
}

static bool repeats(const struct comparator *c)
{
	return (c->config & TN_PERIODIC) && (c->period & width_mask(c));
}

/* Ticks until the comparator matches next; a match this very tick is over. */
static u64 ticks_to_match(const struct hpet *h, const struct comparator *c)
{
	u64 left = (c->value - counter(h)) & width_mask(c);

	return left ? left : c->config & TN_32BIT ? BIT(32) : UINT64_MAX;
}

static void arm(struct hpet *h, unsigned n)
{
	struct comparator *c = &h->s.timer[n];
	u64 left = ticks_to_match(h, c);

	if (!running(h) || !(c->config & TN_ENABLE) || left > MAX_WAIT_TICKS)
		timer_cancel(&h->host[n].timer);
	else
		timer_set(&h->host[n].timer,
			  clock_ns() + MAX(left * NS_PER_TICK, repeats(c) ? MIN_WAIT_NS : 1));
}

static void arm_all(struct hpet *h)
{
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		arm(h, n);
}

/* How far the counter is past the comparator; more than half the range means
 * that it is before it. */
static u64 ticks_past(const struct hpet *h, const struct comparator *c)
{
	return (counter(h) - c->value) & width_mask(c);
}

static void timer_fired(void *arg)
{
	struct hpet_timer *t = arg;
	struct hpet *h = t->h;
	struct comparator *c = &h->s.timer[t->n];
	u64 past;

	pthread_mutex_lock(&h->dev.lock);
	past = ticks_past(h, c);
	/* It may have been set anew while this call was on its way. */
	if (running(h) && past <= width_mask(c) / 2) {
		if (repeats(c)) {
			u64 period = c->period & width_mask(c);

			c->value = (c->value + (past / period + 1) * period) & width_mask(c);
		}
		interrupt(h, t->n);
	}
	arm(h, t->n);
	pthread_mutex_unlock(&h->dev.lock);
}

/* ---- Registers ---- */

static u64 reg_read(const struct hpet *h, u64 reg)
{
	u64 n = (reg - REG_TIMERS) / TIMER_SIZE;

	switch (reg) {
	case REG_CAPS:
		return (u64)HPET_PERIOD_FS << 32 | HPET_ID;
	case REG_CONFIG:
		return h->s.config;
	case REG_STATUS:
		return h->s.status;
	case REG_COUNTER:
		return counter(h);
	}
	if (reg < REG_TIMERS || n >= HPET_TIMERS)
		return 0;
	switch (reg % TIMER_SIZE) {
	case TN_CONFIG:
		return h->s.timer[n].config;
	case TN_COMPARATOR:
		return h->s.timer[n].value & width_mask(&h->s.timer[n]);
	}
	return 0;
}

static void config_write(struct hpet *h, u64 v)
{
	u64 old = h->s.config, now = counter(h);

	for (unsigned n = 0; (v ^ old) & CONFIG_LEGACY && n < HPET_TIMERS; n++)
		interrupt_clear(h, n);
	h->s.config = v & (CONFIG_ENABLE | CONFIG_LEGACY);
	if ((v ^ old) & CONFIG_LEGACY)
		h->legacy(h->opaque, v & CONFIG_LEGACY);
	if ((v ^ old) & CONFIG_ENABLE) {
		h->s.counter = now;
		h->s.start_ns = vclock_now(h->clock);
	}
	arm_all(h);
}

static void timer_config_write(struct hpet *h, unsigned n, u64 v)
{
	struct comparator *c = &h->s.timer[n];

	interrupt_clear(h, n);
	c->config = (c->config & ~(u64)TN_WRITABLE) | (v & TN_WRITABLE);
	c->value &= width_mask(c);
	arm(h, n);
}

/* In periodic mode the first write after SET_VALUE sets the comparator, and
 * the period too, should no other follow; later ones set the period. */
static void comparator_write(struct hpet *h, unsigned n, u64 v)
{
	struct comparator *c = &h->s.timer[n];

	v &= width_mask(c);
	if (!(c->config & TN_PERIODIC) || (c->config & TN_SET_VALUE))
		c->value = v;
	if (c->config & TN_PERIODIC)
		c->period = v;
	c->config &= ~TN_SET_VALUE;
	arm(h, n);
}

static void reg_write(struct hpet *h, u64 reg, u64 v)
{
	u64 n = (reg - REG_TIMERS) / TIMER_SIZE;

	switch (reg) {
	case REG_CONFIG:
		config_write(h, v);
		return;
	case REG_STATUS:
		for (unsigned i = 0; i < HPET_TIMERS; i++)
			if (v & BIT(i))
				interrupt_clear(h, i);
		return;
	case REG_COUNTER:
		if (!running(h)) /* else the specification leaves it open */
			h->s.counter = v;
		return;
	}
	if (reg < REG_TIMERS || n >= HPET_TIMERS)
		return;
	if (reg % TIMER_SIZE == TN_CONFIG)
		timer_config_write(h, (unsigned)n, v);
	else if (reg % TIMER_SIZE == TN_COMPARATOR)
		comparator_write(h, (unsigned)n, v);
}

static u64 hpet_read(void *dev, u64 off, unsigned size)
{
	(void)size; /* the bus keeps what was asked for */
	return reg_read(dev, off & ~7ull) >> (8 * (off & 7));
}

/* A part of a register leaves the rest as it reads; status bits not written
 * are not cleared. */
static void hpet_write(void *dev, u64 off, unsigned size, u64 value)
{
	unsigned shift = 8 * (off & 7);
	u64 reg = off & ~7ull, mask = size >= 8 ? UINT64_MAX : (BIT(8 * size) - 1) << shift;
	u64 rest = reg == REG_STATUS ? 0 : reg_read(dev, reg);

	reg_write(dev, reg, (rest & ~mask) | (value << shift & mask));
}

static const struct io_ops hpet_io = { hpet_read, hpet_write, .max_size = 8, .aligned = true };

/* ---- The device ---- */

static void hpet_reset(struct device *d)
{
	struct hpet *h = container_of(d, struct hpet, dev);

	for (unsigned n = 0; n < HPET_TIMERS; n++)
		interrupt_clear(h, n);
	memset(&h->s, 0, sizeof(h->s));
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		h->s.timer[n].config = (u64)ROUTES << 32 | TN_CAPS;
		h->s.timer[n].value = UINT64_MAX;
	}
	h->legacy(h->opaque, false);
	arm_all(h);
}

static void hpet_loaded(struct device *d)
{
	struct hpet *h = container_of(d, struct hpet, dev);

	h->legacy(h->opaque, h->s.config & CONFIG_LEGACY);
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		struct irq irq = line(h, n);

		if ((h->s.status & BIT(n)) && route_valid(h, n))
			irq_set(&irq, true);
	}
	arm_all(h);
}

static void hpet_destroy(struct device *d)
{
	struct hpet *h = container_of(d, struct hpet, dev);

	for (unsigned n = 0; n < HPET_TIMERS; n++)
		timer_cancel(&h->host[n].timer);
	io_del(h->mmio, &h->region);
	device_free(d);
}

static const struct device_ops hpet_ops = { hpet_reset, hpet_loaded, hpet_destroy };

struct device *hpet_device(struct hpet *h)
{
	return &h->dev;
}

int hpet_create(const struct dev_env *env, u64 base, void (*legacy)(void *opaque, bool on),
		void *opaque, struct hpet **res)
{
	struct hpet *h = device_alloc(sizeof(*h), "hpet", &hpet_ops);
	int r;

	if (!h)
		return -ENOMEM;
	h->dev.state = &hpet_state;
	h->dev.state_data = &h->s;
	h->clock = env->clock;
	h->sink = env->sink;
	h->legacy = legacy;
	h->opaque = opaque;
	h->mmio = env->mmio;
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		h->host[n].h = h;
		h->host[n].n = n;
		timer_init(&h->host[n].timer, env->loop, timer_fired, &h->host[n]);
	}
	h->region = (struct io_region){ base, REGION_SIZE, &hpet_io, h, &h->dev.lock, "hpet" };
	r = io_add(env->mmio, &h->region);
	if (r) {
		device_destroy(&h->dev);
		return r;
	}
	device_reset(&h->dev);
	*res = h;
	return 0;
}
