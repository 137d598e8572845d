// SPDX-License-Identifier: MIT
/*
 * The 8254 interval timer, by Intel's data sheet.
 *
 * Nothing counts: a channel remembers when its count was loaded, and output and
 * count are functions of the clock ticks since. Only channel 0 has a host timer,
 * for the next rising edge of its output.
 */
#include "dev/i8254.h"

#include <errno.h>

#define PIT_HZ	   1193182ull
#define REFRESH_NS 15085u /* DRAM refresh: what bit 4 of port 0x61 shows */
/* No interrupt earlier than this after the last: a guest's count of 1 must not
 * become a busy loop of the host. */
#define MIN_WAIT_NS 20000u

enum { NR_CHANNELS = 3, SPEAKER = 2 };
enum { ACCESS_LOW = 1, ACCESS_HIGH, ACCESS_BOTH };

struct channel {
	u64 start;	/* VM time when the count was loaded, or triggered */
	u64 held;	/* modes 0 and 4: ticks counted when the gate went low */
	u16 reload;	/* as written; 0 is the largest */
	u16 latched;
	u8 nr_latched;	/* bytes of the latch not yet read */
	u8 status;
	bool status_latched;
	u8 access, mode;
	bool bcd, gate;
	bool loaded;	/* a count was written since the control word */
	bool triggered; /* modes 1 and 5: the gate rose since */
	bool read_high, write_high; /* next access of a word is its high byte */
	u8 write_low;
};

struct i8254 {
	struct device dev;
	struct i8254_state {
		struct channel ch[NR_CHANNELS];
		u8 speaker; /* port 0x61, bits 3:0 */
		u64 next;   /* tick of channel 0's next rising edge, 0 = none */
	} s;
	bool irq_enabled; /* HPET's state decides: saved there */
	const struct vclock *clock;
	struct irq irq;
	struct timer timer;
	struct io_bus *pio;
	struct io_region ports, port61;
};

static const struct state_row i8254_rows[] = {
	STATE_ROW(struct i8254_state, ch),
	STATE_ROW(struct i8254_state, speaker),
	STATE_ROW(struct i8254_state, next),
};
static const struct state_desc i8254_state = STATE_DESC("i8254", 1, i8254_rows);

/* ---- A channel as a function of time ---- */

static u64 modulus(const struct channel *c)
{
	return c->bcd ? 10000 : 65536;
}

static u16 from_bcd(u16 v)
{
	return (u16)((v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15));
}

static u16 to_bcd(u16 v)
{
	return (u16)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

/* The period in ticks. */
static u64 period(const struct channel *c)
{
	u64 n = c->bcd ? from_bcd(c->reload) : c->reload;

	return n ? n : modulus(c);
}

static bool gate_pauses(const struct channel *c)
{
	return c->mode == 0 || c->mode == 4;
}

static bool needs_trigger(const struct channel *c)
{
	return c->mode == 1 || c->mode == 5;
}

static u64 ticks_since_start(const struct channel *c, u64 now)
{
	if (gate_pauses(c) && !c->gate)
		return c->held;
	return now > c->start ? mul_div(now - c->start, PIT_HZ, NSEC_PER_SEC) : 0;
}

static bool output(const struct channel *c, u64 now)
{
	u64 n = period(c), d = ticks_since_start(c, now);

	if (!c->loaded || (needs_trigger(c) && !c->triggered))
		return c->mode != 0;
	switch (c->mode) {
	case 0:
	case 1:
		return d >= n;
	case 2:
		return !c->gate || d % n != n - 1;
	case 3:
		return !c->gate || d % n < (n + 1) / 2;
	default:
		return d != n;
	}
}

static u16 count(const struct channel *c, u64 now)
{
	u64 n = period(c), d = ticks_since_start(c, now), v;

	if (!c->loaded || (needs_trigger(c) && !c->triggered))
		v = n;
	else if (c->mode == 2)
		v = n - d % n;
	else if (c->mode == 3)
		v = n - 2 * d % n;
	else
		v = n + modulus(c) - d % modulus(c);
	v %= modulus(c);
	return c->bcd ? to_bcd((u16)v) : (u16)v;
}

/* The tick (since start) of the next rising edge of the output after tick @d,
 * or 0: none. */
static u64 next_edge(const struct channel *c, u64 d)
{
	u64 n = period(c);

	if (!c->loaded || needs_trigger(c))
		return 0; /* channel 0's gate is wired high: it never rises */
	switch (c->mode) {
	case 0:
		return d < n ? n : 0;
	case 4:
		return d < n + 1 ? n + 1 : 0;
	default:
		return (d / n + 1) * n;
	}
}

/* ---- Channel 0's interrupt ---- */

static void arm(struct i8254 *p)
{
	const struct channel *c = &p->s.ch[0];
	u64 now = vclock_now(p->clock), at;

	if (!p->s.next) {
		timer_cancel(&p->timer);
		return;
	}
	/* Rounded up, so that the edge has passed when the timer runs. */
	at = c->start + mul_div(p->s.next, NSEC_PER_SEC, PIT_HZ) + 1;
	timer_set(&p->timer, vclock_to_host(p->clock, MAX(at, now + MIN_WAIT_NS)));
}

static void schedule(struct i8254 *p)
{
	struct channel *c = &p->s.ch[0];

	p->s.next = next_edge(c, ticks_since_start(c, vclock_now(p->clock)));
	arm(p);
}

static void timer_fired(void *arg)
{
	struct i8254 *p = arg;

	pthread_mutex_lock(&p->dev.lock);
	/* It may have been set anew while this call was on its way. */
	if (p->s.next && ticks_since_start(&p->s.ch[0], vclock_now(p->clock)) >= p->s.next) {
		if (p->irq_enabled)
			irq_pulse(&p->irq);
		schedule(p);
	} else {
		arm(p);
	}
	pthread_mutex_unlock(&p->dev.lock);
}

void i8254_set_irq_enabled(struct i8254 *p, bool enabled)
{
	pthread_mutex_lock(&p->dev.lock);
	p->irq_enabled = enabled;
	pthread_mutex_unlock(&p->dev.lock);
}

/* ---- Ports 0x40..0x43 ---- */

static void load(struct i8254 *p, unsigned n, u16 v)
{
	struct channel *c = &p->s.ch[n];

	c->reload = v;
	c->loaded = true;
	c->start = vclock_now(p->clock);
	c->held = 0;
	if (n == 0)
		schedule(p);
}

static void write_count(struct i8254 *p, unsigned n, u8 v)
{
	struct channel *c = &p->s.ch[n];

	switch (c->access) {
	case ACCESS_LOW:
		load(p, n, v);
		return;
	case ACCESS_HIGH:
		load(p, n, (u16)(v << 8));
		return;
	}
	if (c->write_high)
		load(p, n, (u16)(v << 8 | c->write_low));
	c->write_low = v;
	c->write_high = !c->write_high;
}

static void latch_count(struct i8254 *p, struct channel *c)
{
	if (c->nr_latched)
		return; /* an unread latch stays */
	c->latched = count(c, vclock_now(p->clock));
	c->nr_latched = c->access == ACCESS_BOTH ? 2 : 1;
	if (c->access == ACCESS_HIGH)
		c->latched >>= 8;
}

static void latch_status(struct i8254 *p, struct channel *c)
{
	if (c->status_latched)
		return;
	c->status = (u8)(output(c, vclock_now(p->clock)) << 7 | !c->loaded << 6 | c->access << 4 |
			 c->mode << 1 | c->bcd);
	c->status_latched = true;
}

static void read_back(struct i8254 *p, u8 v)
{
	for (unsigned n = 0; n < NR_CHANNELS; n++) {
		if (!(v & 2 << n))
			continue;
		if (!(v & 0x20))
			latch_count(p, &p->s.ch[n]);
		if (!(v & 0x10))
			latch_status(p, &p->s.ch[n]);
	}
}

static void write_control(struct i8254 *p, u8 v)
{
	struct channel *c;

	if (v >> 6 == 3) {
		read_back(p, v);
		return;
	}
	c = &p->s.ch[v >> 6];
	if (!(v & 0x30)) {
		latch_count(p, c);
		return;
	}
	*c = (struct channel){
		.gate = c->gate, .reload = c->reload, .start = vclock_now(p->clock),
		.access = v >> 4 & 3, .mode = v >> 1 & 7, .bcd = v & 1,
	};
	if (c->mode > 5)
		c->mode &= 3; /* 6 and 7 are 2 and 3 */
	if (c == &p->s.ch[0])
		schedule(p);
}

static u8 read_count(struct i8254 *p, struct channel *c)
{
	u16 v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->nr_latched) {
		v = c->latched;
		c->latched >>= 8;
		c->nr_latched--;
		return (u8)v;
	}
	v = count(c, vclock_now(p->clock));
	if (c->access == ACCESS_BOTH) {
		c->read_high = !c->read_high;
		return (u8)(c->read_high ? v : v >> 8);
	}
	return (u8)(c->access == ACCESS_HIGH ? v >> 8 : v);
}

static u64 pit_read(void *dev, u64 off, unsigned size)
{
	struct i8254 *p = dev;

	(void)size;
	return off < NR_CHANNELS ? read_count(p, &p->s.ch[off]) : 0xff;
}

static void pit_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct i8254 *p = dev;

	(void)size;
	if (off < NR_CHANNELS)
		write_count(p, (unsigned)off, (u8)value);
	else
		write_control(p, (u8)value);
}

/* ---- Port 0x61 ---- */

static void set_gate(struct i8254 *p, struct channel *c, bool gate)
{
	u64 now = vclock_now(p->clock);

	if (gate == c->gate)
		return;
	if (gate_pauses(c) && !gate)
		c->held = ticks_since_start(c, now);
	c->gate = gate;
	if (!gate)
		return;
	c->start = now;
	if (gate_pauses(c))
		c->start -= mul_div(c->held, NSEC_PER_SEC, PIT_HZ);
	c->triggered = true;
}

static u64 port61_read(void *dev, u64 off, unsigned size)
{
	struct i8254 *p = dev;
	u64 now = vclock_now(p->clock);

	(void)off;
	(void)size;
	return p->s.speaker | (u64)(now / REFRESH_NS & 1) << 4 |
	       (u64)output(&p->s.ch[SPEAKER], now) << 5;
}

static void port61_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct i8254 *p = dev;

	(void)off;
	(void)size;
	p->s.speaker = value & 0xf;
	set_gate(p, &p->s.ch[SPEAKER], value & 1);
}

static const struct io_ops pit_ops = { pit_read, pit_write, .max_size = 1 };
static const struct io_ops port61_ops = { port61_read, port61_write, .max_size = 1 };

/* ---- The device ---- */

static void i8254_reset(struct device *d)
{
	struct i8254 *p = container_of(d, struct i8254, dev);

	p->s.speaker = 0;
	for (unsigned n = 0; n < NR_CHANNELS; n++)
		p->s.ch[n] = (struct channel){
			.access = ACCESS_BOTH, .mode = 3, .gate = n != SPEAKER,
			.start = vclock_now(p->clock),
		};
	schedule(p);
}

static void i8254_loaded(struct device *d)
{
	struct i8254 *p = container_of(d, struct i8254, dev);

	for (unsigned n = 0; n < NR_CHANNELS; n++) { /* saved bytes are not trusted */
		p->s.ch[n].mode %= 6;
		p->s.ch[n].access &= 3;
	}
	arm(p);
}

static void i8254_destroy(struct device *d)
{
	struct i8254 *p = container_of(d, struct i8254, dev);

	timer_cancel(&p->timer);
	io_del(p->pio, &p->ports);
	io_del(p->pio, &p->port61);
	device_free(d);
}

static const struct device_ops i8254_ops = { i8254_reset, i8254_loaded, i8254_destroy };

struct device *i8254_device(struct i8254 *p)
{
	return &p->dev;
}

int i8254_create(const struct dev_env *env, struct irq irq, struct i8254 **res)
{
	struct i8254 *p = device_alloc(sizeof(*p), "i8254", &i8254_ops);
	int r;

	if (!p)
		return -ENOMEM;
	p->dev.state = &i8254_state;
	p->dev.state_data = &p->s;
	p->clock = env->clock;
	p->irq = irq;
	p->irq_enabled = true;
	p->pio = env->pio;
	timer_init(&p->timer, env->loop, timer_fired, p);
	p->ports = (struct io_region){ 0x40, 4, &pit_ops, p, &p->dev.lock, "pit" };
	p->port61 = (struct io_region){ 0x61, 1, &port61_ops, p, &p->dev.lock, "port61" };
	r = io_add(env->pio, &p->ports);
	r = r ? r : io_add(env->pio, &p->port61);
	if (r) {
		device_destroy(&p->dev);
		return r;
	}
	device_reset(&p->dev);
	*res = p;
	return 0;
}
