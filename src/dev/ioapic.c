// SPDX-License-Identifier: MIT
/*
 * The I/O APIC.
 *
 * An edge-triggered pin sends once per rising edge, and loses the edge while
 * masked. A level-triggered pin sends when it is high, unmasked and its Remote
 * IRR is clear; Remote IRR is set by sending and cleared by the EOI of its
 * vector, after which a pin that is still high sends again.
 */
#include "dev/ioapic.h"

#include <errno.h>

enum { REG_ID, REG_VERSION, REG_ARBITRATION, REG_TABLE = 0x10 };
enum { MMIO_SELECT = 0x00, MMIO_WINDOW = 0x10, MMIO_EOI = 0x40, MMIO_SIZE = 0x1000 };
enum { VERSION = 0x20 | (IOAPIC_PINS - 1) << 16 };

#define ENTRY_LOGICAL	 BIT(11)
#define ENTRY_STATUS	 BIT(12)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL	 BIT(15)
#define ENTRY_MASKED	 BIT(16)
#define ENTRY_READONLY	 (ENTRY_STATUS | ENTRY_REMOTE_IRR)
#define ENTRY_WRITABLE	 (0xff0000000001ffffull & ~ENTRY_READONLY)

struct ioapic {
	struct device dev;
	struct ioapic_state {
		u64 entry[IOAPIC_PINS];
		u32 high; /* pins */
		u8 id;
		u8 select;
	} s;
	void (*send)(void *opaque, const struct lapic_msg *m);
	void *opaque;
	struct io_bus *mmio;
	struct io_region region;
};

static const struct state_row ioapic_rows[] = {
	STATE_ROW(struct ioapic_state, entry),
	STATE_ROW(struct ioapic_state, high),
	STATE_ROW(struct ioapic_state, id),
	STATE_ROW(struct ioapic_state, select),
};
static const struct state_desc ioapic_state = STATE_DESC("ioapic", 1, ioapic_rows);

static void send(struct ioapic *p, unsigned pin)
{
	u64 e = p->s.entry[pin];
	struct lapic_msg m = {
		.dest = (u32)(e >> 56), .vector = (u8)e, .delivery = (u8)(e >> 8 & 7),
		.logical = e & ENTRY_LOGICAL, .level = e & ENTRY_LEVEL,
	};

	if (e & ENTRY_LEVEL)
		p->s.entry[pin] |= ENTRY_REMOTE_IRR;
	p->send(p->opaque, &m);
}

static void send_if_level(struct ioapic *p, unsigned pin)
{
	u64 e = p->s.entry[pin];

	if ((e & ENTRY_LEVEL) && !(e & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) && (p->s.high & BIT(pin)))
		send(p, pin);
}

void ioapic_set_pin(struct ioapic *p, unsigned pin, bool level)
{
	bool was;

	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(&p->dev.lock);
	was = p->s.high & BIT(pin);
	p->s.high = (u32)(level ? p->s.high | BIT(pin) : p->s.high & ~BIT(pin));
	if (p->s.entry[pin] & ENTRY_LEVEL)
		send_if_level(p, pin);
	else if (level && !was && !(p->s.entry[pin] & ENTRY_MASKED))
		send(p, pin);
	pthread_mutex_unlock(&p->dev.lock);
}

static void eoi(struct ioapic *p, u8 vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 e = p->s.entry[pin];

		if ((u8)e != vector || !(e & ENTRY_REMOTE_IRR))
			continue;
		p->s.entry[pin] &= ~ENTRY_REMOTE_IRR;
		send_if_level(p, pin);
	}
}

void ioapic_eoi(struct ioapic *p, u8 vector)
{
	pthread_mutex_lock(&p->dev.lock);
	eoi(p, vector);
	pthread_mutex_unlock(&p->dev.lock);
}

/* ---- Registers ---- */

static u32 reg_read(const struct ioapic *p, u8 reg)
{
	unsigned pin = (reg - REG_TABLE) / 2u;

	switch (reg) {
	case REG_ID:
	case REG_ARBITRATION:
		return (u32)p->s.id << 24;
	case REG_VERSION:
		return VERSION;
	}
	if (reg < REG_TABLE || pin >= IOAPIC_PINS)
		return 0;
	return (u32)(p->s.entry[pin] >> (reg & 1 ? 32 : 0));
}

static void entry_write(struct ioapic *p, unsigned pin, bool high_half, u32 v)
{
	u64 old = p->s.entry[pin];
	u64 e = high_half ? (u64)v << 32 | (u32)old : (old & ~0xffffffffull) | v;

	e = (e & ENTRY_WRITABLE) | (old & ENTRY_READONLY);
	/* Making a pin edge-triggered clears Remote IRR: systems without the EOI
	 * register rely on it. */
	if (!(e & ENTRY_LEVEL))
		e &= ~ENTRY_REMOTE_IRR;
	p->s.entry[pin] = e;
	send_if_level(p, pin);
}

static void reg_write(struct ioapic *p, u8 reg, u32 v)
{
	unsigned pin = (reg - REG_TABLE) / 2u;

	if (reg == REG_ID)
		p->s.id = v >> 24 & 0xf;
	else if (reg >= REG_TABLE && pin < IOAPIC_PINS)
		entry_write(p, pin, reg & 1, v);
}

static u64 ioapic_read(void *dev, u64 off, unsigned size)
{
	struct ioapic *p = dev;
	u32 v = 0;

	(void)size; /* the bus keeps what was asked for */
	if ((off & ~3ull) == MMIO_SELECT)
		v = p->s.select;
	else if ((off & ~3ull) == MMIO_WINDOW)
		v = reg_read(p, p->s.select);
	return v >> (8 * (off & 3));
}

static void ioapic_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct ioapic *p = dev;

	if (off == MMIO_SELECT)
		p->s.select = (u8)value;
	else if (off == MMIO_WINDOW && size == 4)
		reg_write(p, p->s.select, (u32)value);
	else if (off == MMIO_EOI)
		eoi(p, (u8)value);
}

static const struct io_ops ioapic_io = { ioapic_read, ioapic_write, .max_size = 4,
					 .aligned = true };

/* ---- The device ---- */

static void ioapic_reset(struct device *d)
{
	struct ioapic *p = container_of(d, struct ioapic, dev);

	p->s.id = 0;
	p->s.select = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		p->s.entry[pin] = ENTRY_MASKED;
}

static void ioapic_destroy(struct device *d)
{
	struct ioapic *p = container_of(d, struct ioapic, dev);

	io_del(p->mmio, &p->region);
	device_free(d);
}

static const struct device_ops ioapic_ops = { .reset = ioapic_reset, .destroy = ioapic_destroy };

struct device *ioapic_device(struct ioapic *p)
{
	return &p->dev;
}

int ioapic_create(const struct dev_env *env, u64 base,
		  void (*send_fn)(void *opaque, const struct lapic_msg *m), void *opaque,
		  struct ioapic **res)
{
	struct ioapic *p = device_alloc(sizeof(*p), "ioapic", &ioapic_ops);
	int r;

	if (!p)
		return -ENOMEM;
	p->dev.state = &ioapic_state;
	p->dev.state_data = &p->s;
	p->send = send_fn;
	p->opaque = opaque;
	p->mmio = env->mmio;
	p->region = (struct io_region){ base, MMIO_SIZE, &ioapic_io, p, &p->dev.lock, "ioapic" };
	r = io_add(env->mmio, &p->region);
	if (r) {
		device_destroy(&p->dev);
		return r;
	}
	device_reset(&p->dev);
	*res = p;
	return 0;
}
