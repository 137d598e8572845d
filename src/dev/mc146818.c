// SPDX-License-Identifier: MIT
/*
 * The MC146818 real-time clock, by Motorola's data sheet.
 *
 * The guest's time is the host's real time plus an offset, in nanoseconds; while
 * register B's SET holds the clock, it stands in the registers instead. Flags of
 * register C are brought up to date when somebody looks: update and alarm by
 * the seconds that have passed since, periodic by the ticks. A host timer runs
 * only for those that may interrupt.
 */
#include "dev/mc146818.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum {
	SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM,
	WEEKDAY, DAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D, CENTURY = 0x32,
};
enum { A_UIP = 0x80, A_DIVIDER = 0x70, A_RATE = 0x0f, A_32KHZ = 0x20 };
enum { B_SET = 0x80, B_24H = 0x02, B_BINARY = 0x04 };
enum { FLAG_UPDATE = 0x10, FLAG_ALARM = 0x20, FLAG_PERIODIC = 0x40, FLAG_IRQ = 0x80,
       FLAGS = 0x70 }; /* of C; B has the enables at the same places */
enum { D_VALID = 0x80, HOUR_PM = 0x80, ALARM_ANY = 0xc0, CMOS_SIZE = 256 };

#define UPDATE_NS   2228000ull /* UIP rises so long before the second turns */
#define CRYSTAL_HZ  32768ull
#define MAX_SECONDS 86400 /* an alarm repeats daily: no need to look further back */

struct mc146818 {
	struct device dev;
	struct mc146818_state {
		u8 cmos[CMOS_SIZE]; /* time registers: valid while the clock is held */
		u8 index[2];	    /* ports 0x70 and 0x72 */
		s64 offset_ns;	    /* guest's real time less the host's */
		u64 checked_ns;	    /* real time up to which the flags are right */
	} s;
	bool irq_enabled; /* HPET's state decides: saved there */
	struct irq irq;
	struct timer timer;
	struct io_bus *pio;
	struct io_region region;
};

static const struct state_row mc146818_rows[] = {
	STATE_ROW(struct mc146818_state, cmos),
	STATE_ROW(struct mc146818_state, index),
	STATE_ROW(struct mc146818_state, offset_ns),
	STATE_ROW(struct mc146818_state, checked_ns),
};
static const struct state_desc mc146818_state = STATE_DESC("mc146818", 1, mc146818_rows);

static u64 host_real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static u64 guest_real_ns(const struct mc146818 *p)
{
	return host_real_ns() + (u64)p->s.offset_ns;
}

/* ---- Time in registers ---- */

static u8 encode(const struct mc146818 *p, int v)
{
	return (u8)(p->s.cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct mc146818 *p, u8 v)
{
	return p->s.cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static u8 encode_hour(const struct mc146818 *p, int hour)
{
	if (p->s.cmos[REG_B] & B_24H)
		return encode(p, hour);
	return encode(p, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct mc146818 *p, u8 v)
{
	if (p->s.cmos[REG_B] & B_24H)
		return decode(p, v);
	return decode(p, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

static bool clock_runs(const struct mc146818 *p)
{
	return !(p->s.cmos[REG_B] & B_SET) && (p->s.cmos[REG_A] & A_DIVIDER) == A_32KHZ;
}

/* Brings the registers to the running clock's time. */
static void registers_update(struct mc146818 *p)
{
	time_t seconds = (time_t)(guest_real_ns(p) / NSEC_PER_SEC);
	u8 *c = p->s.cmos;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm))
		return;
	c[SECONDS] = encode(p, tm.tm_sec);
	c[MINUTES] = encode(p, tm.tm_min);
	c[HOURS] = encode_hour(p, tm.tm_hour);
	c[WEEKDAY] = encode(p, tm.tm_wday + 1);
	c[DAY] = encode(p, tm.tm_mday);
	c[MONTH] = encode(p, tm.tm_mon + 1);
	c[YEAR] = encode(p, tm.tm_year % 100);
	c[CENTURY] = encode(p, (tm.tm_year + 1900) / 100 % 100);
}

/* The other way: the clock goes on from what the registers hold. Nonsense in
 * them is carried over into a date as timegm() does. */
static void clock_set(struct mc146818 *p)
{
	const u8 *c = p->s.cmos;
	struct tm tm = {
		.tm_sec = decode(p, c[SECONDS]), .tm_min = decode(p, c[MINUTES]),
		.tm_hour = decode_hour(p, c[HOURS]), .tm_mday = decode(p, c[DAY]),
		.tm_mon = decode(p, c[MONTH]) - 1,
		.tm_year = decode(p, c[CENTURY]) * 100 + decode(p, c[YEAR]) - 1900,
	};

	p->s.offset_ns = (s64)((u64)timegm(&tm) * NSEC_PER_SEC - host_real_ns());
	p->s.checked_ns = guest_real_ns(p);
}

/* ---- Flags and interrupts ---- */

/* Length of the periodic interrupt in crystal ticks, 0 = none. */
static u64 periodic_ticks(const struct mc146818 *p)
{
	unsigned rate = p->s.cmos[REG_A] & A_RATE;

	if (!rate || (p->s.cmos[REG_A] & A_DIVIDER) != A_32KHZ)
		return 0;
	return BIT((rate <= 2 ? rate + 7 : rate) - 1);
}

static u64 periods_at(const struct mc146818 *p, u64 ns)
{
	return mul_div(ns, CRYSTAL_HZ, NSEC_PER_SEC) / periodic_ticks(p);
}

static bool alarm_field_matches(u8 alarm, int alarm_value, int value)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm_value == value;
}

static bool alarm_matches(const struct mc146818 *p, u64 second)
{
	const u8 *c = p->s.cmos;
	int day_second = (int)(second % 86400);

	return alarm_field_matches(c[SECONDS_ALARM], decode(p, c[SECONDS_ALARM]),
				   day_second % 60) &&
	       alarm_field_matches(c[MINUTES_ALARM], decode(p, c[MINUTES_ALARM]),
				   day_second / 60 % 60) &&
	       alarm_field_matches(c[HOURS_ALARM], decode_hour(p, c[HOURS_ALARM]),
				   day_second / 3600);
}

static void flags_update(struct mc146818 *p)
{
	u64 now = guest_real_ns(p), from = p->s.checked_ns / NSEC_PER_SEC, to = now / NSEC_PER_SEC;
	u8 *flags = &p->s.cmos[REG_C];

	if (now <= p->s.checked_ns) {
		p->s.checked_ns = now; /* the host's time was set back */
		return;
	}
	if (periodic_ticks(p) && periods_at(p, now) != periods_at(p, p->s.checked_ns))
		*flags |= FLAG_PERIODIC;
	p->s.checked_ns = now;
	if (from == to || !clock_runs(p))
		return;
	*flags |= FLAG_UPDATE;
	if (to - from > MAX_SECONDS)
		from = to - MAX_SECONDS;
	while (from++ < to && !(*flags & FLAG_ALARM))
		if (alarm_matches(p, from))
			*flags |= FLAG_ALARM;
}

static void irq_update(struct mc146818 *p)
{
	u8 *c = p->s.cmos;

	if (c[REG_C] & c[REG_B] & FLAGS)
		c[REG_C] |= FLAG_IRQ;
	else
		c[REG_C] &= ~FLAG_IRQ;
	irq_set(&p->irq, p->irq_enabled && (c[REG_C] & FLAG_IRQ));
}

/* Sets the timer to the next moment at which an enabled flag may rise. */
static void arm(struct mc146818 *p)
{
	u8 enabled = p->s.cmos[REG_B] & FLAGS;
	u64 now = guest_real_ns(p), at = UINT64_MAX;

	if ((enabled & (FLAG_UPDATE | FLAG_ALARM)) && clock_runs(p))
		at = (now / NSEC_PER_SEC + 1) * NSEC_PER_SEC;
	if ((enabled & FLAG_PERIODIC) && periodic_ticks(p)) {
		u64 tick = (periods_at(p, now) + 1) * periodic_ticks(p);

		at = MIN(at, mul_div(tick, NSEC_PER_SEC, CRYSTAL_HZ) + 1);
	}
	if (at == UINT64_MAX)
		timer_cancel(&p->timer);
	else
		timer_set(&p->timer, clock_ns() + (at - now));
}

static void refresh(struct mc146818 *p)
{
	flags_update(p);
	irq_update(p);
	arm(p);
}

static void timer_fired(void *arg)
{
	struct mc146818 *p = arg;

	pthread_mutex_lock(&p->dev.lock);
	refresh(p);
	pthread_mutex_unlock(&p->dev.lock);
}

void mc146818_set_irq_enabled(struct mc146818 *p, bool enabled)
{
	pthread_mutex_lock(&p->dev.lock);
	p->irq_enabled = enabled;
	irq_update(p);
	pthread_mutex_unlock(&p->dev.lock);
}

/* ---- Registers ---- */

static bool is_time(unsigned reg)
{
	return reg == CENTURY || (reg <= YEAR && reg != SECONDS_ALARM && reg != MINUTES_ALARM &&
				  reg != HOURS_ALARM);
}

static u8 read_a(const struct mc146818 *p)
{
	bool uip = clock_runs(p) && guest_real_ns(p) % NSEC_PER_SEC >= NSEC_PER_SEC - UPDATE_NS;

	return (p->s.cmos[REG_A] & ~A_UIP) | (uip ? A_UIP : 0);
}

static u8 read_c(struct mc146818 *p)
{
	u8 v;

	flags_update(p);
	irq_update(p);
	v = p->s.cmos[REG_C];
	p->s.cmos[REG_C] = 0;
	irq_update(p);
	return v;
}

static u8 reg_read(struct mc146818 *p, unsigned reg)
{
	if (reg == REG_A)
		return read_a(p);
	if (reg == REG_C)
		return read_c(p);
	if (is_time(reg) && clock_runs(p))
		registers_update(p);
	return p->s.cmos[reg];
}

/* A or B changed: the clock may stop or go on, formats may change. */
static void control_write(struct mc146818 *p, unsigned reg, u8 v)
{
	bool ran = clock_runs(p);

	flags_update(p);
	if (ran)
		registers_update(p);
	p->s.cmos[reg] = v;
	if (reg == REG_B && (v & B_SET))
		p->s.cmos[REG_B] &= ~FLAG_UPDATE; /* SET clears UIE */
	if (!ran && clock_runs(p))
		clock_set(p);
	refresh(p);
}

static void reg_write(struct mc146818 *p, unsigned reg, u8 v)
{
	switch (reg) {
	case REG_A:
	case REG_B:
		control_write(p, reg, reg == REG_A ? v & ~A_UIP : v);
		return;
	case REG_C:
	case REG_D:
		return;
	}
	if (is_time(reg) && clock_runs(p)) {
		registers_update(p);
		p->s.cmos[reg] = v;
		clock_set(p);
	} else {
		flags_update(p);
		p->s.cmos[reg] = v;
	}
	refresh(p);
}

/* 0x70, 0x72: index (write-only on a PC, but harmless to read); 0x71, 0x73: data. */
static u64 rtc_read(void *dev, u64 off, unsigned size)
{
	struct mc146818 *p = dev;

	(void)size;
	return off & 1 ? reg_read(p, p->s.index[off / 2]) : p->s.index[off / 2];
}

static void rtc_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct mc146818 *p = dev;

	(void)size;
	if (off & 1)
		reg_write(p, p->s.index[off / 2], (u8)value);
	else /* bit 7 of 0x70 is the NMI gate */
		p->s.index[off / 2] = off ? 0x80 | (value & 0x7f) : value & 0x7f;
}

static const struct io_ops rtc_ops = { rtc_read, rtc_write, .max_size = 1 };

void mc146818_set_cmos(struct mc146818 *p, unsigned index, u8 value)
{
	pthread_mutex_lock(&p->dev.lock);
	p->s.cmos[index % CMOS_SIZE] = value;
	pthread_mutex_unlock(&p->dev.lock);
}

/* ---- The device ---- */

/* The battery keeps time and CMOS; interrupts are off. */
static void mc146818_reset(struct device *d)
{
	struct mc146818 *p = container_of(d, struct mc146818, dev);
	u8 *c = p->s.cmos;

	if (!clock_runs(p) && c[REG_D]) { /* the guest reset while it set the clock */
		c[REG_A] = A_32KHZ;
		c[REG_B] &= ~B_SET;
		clock_set(p);
	}
	c[REG_A] = A_32KHZ | 6;
	c[REG_B] = B_24H;
	c[REG_C] = 0;
	c[REG_D] = D_VALID;
	p->s.checked_ns = guest_real_ns(p);
	memset(p->s.index, 0, sizeof(p->s.index));
	refresh(p);
}

static void mc146818_loaded(struct device *d)
{
	struct mc146818 *p = container_of(d, struct mc146818, dev);

	p->s.index[0] &= 0x7f;
	refresh(p);
}

static void mc146818_destroy(struct device *d)
{
	struct mc146818 *p = container_of(d, struct mc146818, dev);

	timer_cancel(&p->timer);
	io_del(p->pio, &p->region);
	device_free(d);
}

static const struct device_ops mc146818_ops = { mc146818_reset, mc146818_loaded, mc146818_destroy };

struct device *mc146818_device(struct mc146818 *p)
{
	return &p->dev;
}

int mc146818_create(const struct dev_env *env, struct irq irq, struct mc146818 **res)
{
	struct mc146818 *p = device_alloc(sizeof(*p), "mc146818", &mc146818_ops);
	int r;

	if (!p)
		return -ENOMEM;
	p->dev.state = &mc146818_state;
	p->dev.state_data = &p->s;
	p->irq = irq;
	p->irq_enabled = true;
	p->pio = env->pio;
	timer_init(&p->timer, env->loop, timer_fired, p);
	p->region = (struct io_region){ 0x70, 4, &rtc_ops, p, &p->dev.lock, "rtc" };
	r = io_add(env->pio, &p->region);
	if (r) {
		device_destroy(&p->dev);
		return r;
	}
	device_reset(&p->dev);
	*res = p;
	return 0;
}
