// SPDX-License-Identifier: MIT
/*
 * Two 8259A interrupt controllers, by Intel's data sheet.
 *
 * An edge-triggered request is latched in IRR until acknowledged; a level-
 * triggered one (ELCR bit set) follows its line. A chip asks for service while it
 * has an unmasked request above what is in service; the slave asks the master
 * through its line 2.
 */
#include "dev/i8259.h"

#include <errno.h>

enum { MASTER, SLAVE, NR_CHIPS, CASCADE = 2 };
enum { ICW1 = 0x10, ICW1_SINGLE = 2, ICW1_ICW4 = 1, ICW4_AUTO_EOI = 2, ICW4_NESTED = 0x10 };
enum { OCW3 = 8, OCW3_POLL = 4, OCW3_READ = 2, OCW3_ISR = 1, OCW3_SET_MASK_MODE = 0x40,
       OCW3_SPECIAL_MASK = 0x20 };

struct chip {
	u8 irr, imr, isr;
	u8 lines;	/* inputs that are high */
	u8 elcr;	/* level-triggered inputs */
	u8 base;	/* vector of input 0 */
	u8 lowest;	/* input of lowest priority */
	u8 icw;		/* which initialization word port 1 takes next, 0 = none */
	u8 icw1;
	bool auto_eoi, rotate_on_auto_eoi, special_mask, special_nested;
	bool poll, read_isr;
};

struct i8259 {
	struct device dev;
	struct i8259_state {
		struct chip chip[NR_CHIPS];
	} s;
	void (*intr)(void *opaque, bool level);
	void *opaque;
	bool intr_high;
	struct io_bus *pio;
	struct io_region port[NR_CHIPS], elcr;
};

static const struct state_row i8259_rows[] = { STATE_ROW(struct i8259_state, chip) };
static const struct state_desc i8259_state = STATE_DESC("i8259", 1, i8259_rows);

/* ---- One chip ---- */

/* Distance from the top of the priority order; 8 for an empty set. */
static unsigned priority(const struct chip *c, u8 set)
{
	unsigned p = 0;

	while (p < 8 && !(set & BIT((c->lowest + 1 + p) & 7)))
		p++;
	return p;
}

static int chip_pending(const struct chip *c, bool master)
{
	u8 requests = c->irr & ~c->imr, serving = c->isr;
	unsigned p;

	if (c->special_mask)
		serving &= ~c->imr;
	if (master && c->special_nested)
		serving &= ~BIT(CASCADE); /* the slave may ask again */
	p = priority(c, requests);
	return p < priority(c, serving) ? (int)((c->lowest + 1 + p) & 7) : -1;
}

static void chip_set_line(struct chip *c, unsigned n, bool level)
{
	u8 bit = (u8)BIT(n);

	if (c->elcr & bit)
		c->irr = level ? c->irr | bit : c->irr & ~bit;
	else if (level && !(c->lines & bit))
		c->irr |= bit;
	c->lines = level ? c->lines | bit : c->lines & ~bit;
}

static void chip_ack(struct chip *c, unsigned n)
{
	if (!(c->elcr & BIT(n)))
		c->irr &= ~BIT(n);
	if (!c->auto_eoi)
		c->isr |= BIT(n);
	else if (c->rotate_on_auto_eoi)
		c->lowest = (u8)n;
}

static void chip_icw1(struct chip *c, u8 v)
{
	*c = (struct chip){
		.lines = c->lines,
		.elcr = c->elcr,
		.base = c->base,
		.lowest = 7,
		.icw1 = v,
		.icw = 2,
		.irr = c->lines & c->elcr,
	};
}

static void chip_ocw2(struct chip *c, u8 v)
{
	bool rotate = v & 0x80, specific = v & 0x40, eoi = v & 0x20;
	unsigned p = priority(c, c->isr);
	unsigned n = specific ? v & 7 : (c->lowest + 1 + p) & 7;

	if (!eoi && !specific) {
		c->rotate_on_auto_eoi = rotate;
		return;
	}
	if (eoi && !specific && p == 8)
		return; /* nothing in service */
	if (eoi)
		c->isr &= ~BIT(n);
	if (rotate)
		c->lowest = (u8)n;
}

static void chip_ocw3(struct chip *c, u8 v)
{
	if (v & OCW3_POLL)
		c->poll = true;
	if (v & OCW3_READ)
		c->read_isr = v & OCW3_ISR;
	if (v & OCW3_SET_MASK_MODE)
		c->special_mask = v & OCW3_SPECIAL_MASK;
}

static void chip_write_data(struct chip *c, u8 v)
{
	switch (c->icw) {
	case 0:
		c->imr = v;
		return;
	case 2:
		c->base = v & 0xf8;
		c->icw = c->icw1 & ICW1_SINGLE ? 4 : 3;
		break;
	case 3: /* how the two are cascaded: they are soldered in */
		c->icw = 4;
		break;
	default:
		c->special_nested = v & ICW4_NESTED;
		c->auto_eoi = v & ICW4_AUTO_EOI;
		c->icw = 0;
	}
	if (c->icw == 4 && !(c->icw1 & ICW1_ICW4))
		c->icw = 0;
}

static void chip_write(struct chip *c, u64 port, u8 v)
{
	if (port)
		chip_write_data(c, v);
	else if (v & ICW1)
		chip_icw1(c, v);
	else if (v & OCW3)
		chip_ocw3(c, v);
	else
		chip_ocw2(c, v);
}

/* ---- Both ---- */

/* After any change: the slave's request to the master, and the output. */
static void update(struct i8259 *p)
{
	struct chip *master = &p->s.chip[MASTER], *slave = &p->s.chip[SLAVE];
	bool asks = chip_pending(slave, false) >= 0, high;

	chip_set_line(master, CASCADE, asks);
	if (!asks)
		master->irr &= ~BIT(CASCADE); /* it went away before it was acknowledged */
	high = chip_pending(master, true) >= 0;
	if (high != p->intr_high)
		p->intr(p->opaque, high);
	p->intr_high = high;
}

/* Acknowledges @chip's highest request; 7 with nothing in service if it went away. */
static unsigned ack_chip(struct i8259 *p, unsigned chip)
{
	struct chip *c = &p->s.chip[chip];
	int n = chip_pending(c, chip == MASTER);

	if (n < 0)
		return 7;
	chip_ack(c, (unsigned)n);
	/* INTA drops the slave's output, so that its next request is an edge. */
	if (chip == SLAVE)
		chip_set_line(&p->s.chip[MASTER], CASCADE, false);
	return (unsigned)n;
}

int i8259_ack(struct i8259 *p)
{
	int vector = -1;

	pthread_mutex_lock(&p->dev.lock);
	if (chip_pending(&p->s.chip[MASTER], true) >= 0) {
		unsigned n = ack_chip(p, MASTER);

		vector = n == CASCADE ? p->s.chip[SLAVE].base + (int)ack_chip(p, SLAVE) :
					p->s.chip[MASTER].base + (int)n;
		update(p);
	}
	pthread_mutex_unlock(&p->dev.lock);
	return vector;
}

void i8259_set_irq(struct i8259 *p, unsigned irq, bool level)
{
	if (irq > 15 || irq == CASCADE)
		return;
	pthread_mutex_lock(&p->dev.lock);
	chip_set_line(&p->s.chip[irq / 8], irq % 8, level);
	update(p);
	pthread_mutex_unlock(&p->dev.lock);
}

/* ---- Ports ---- */

static u64 read_chip(struct i8259 *p, unsigned chip, u64 port)
{
	struct chip *c = &p->s.chip[chip];

	if (c->poll) {
		bool any = chip_pending(c, chip == MASTER) >= 0;
		u8 v = (u8)(ack_chip(p, chip) | (any ? 0x80 : 0));

		c->poll = false;
		update(p);
		return v;
	}
	return port ? c->imr : c->read_isr ? c->isr : c->irr;
}

static void write_chip(struct i8259 *p, unsigned chip, u64 port, u8 v)
{
	chip_write(&p->s.chip[chip], port, v);
	update(p);
}

static u64 master_read(void *dev, u64 off, unsigned size)
{
	(void)size;
	return read_chip(dev, MASTER, off);
}

static void master_write(void *dev, u64 off, unsigned size, u64 value)
{
	(void)size;
	write_chip(dev, MASTER, off, (u8)value);
}

static u64 slave_read(void *dev, u64 off, unsigned size)
{
	(void)size;
	return read_chip(dev, SLAVE, off);
}

static void slave_write(void *dev, u64 off, unsigned size, u64 value)
{
	(void)size;
	write_chip(dev, SLAVE, off, (u8)value);
}

/* Inputs 0, 1, 2, 8 and 13 are edge-triggered for good. */
static const u8 elcr_mask[NR_CHIPS] = { 0xf8, 0xde };

static u64 elcr_read(void *dev, u64 off, unsigned size)
{
	struct i8259 *p = dev;

	(void)size;
	return p->s.chip[off].elcr;
}

static void elcr_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct i8259 *p = dev;

	(void)size;
	p->s.chip[off].elcr = (u8)value & elcr_mask[off];
}

static const struct io_ops chip_ops[NR_CHIPS] = {
	{ master_read, master_write, .max_size = 1 },
	{ slave_read, slave_write, .max_size = 1 },
};
static const struct io_ops elcr_ops = { elcr_read, elcr_write, .max_size = 1 };

/* ---- The device ---- */

/* Lines keep their level: their devices were reset before. All masked, as
 * firmware leaves it. */
static void i8259_reset(struct device *d)
{
	struct i8259 *p = container_of(d, struct i8259, dev);

	for (int i = 0; i < NR_CHIPS; i++)
		p->s.chip[i] =
			(struct chip){ .imr = 0xff, .lowest = 7, .lines = p->s.chip[i].lines };
	update(p);
}

static void i8259_loaded(struct device *d)
{
	struct i8259 *p = container_of(d, struct i8259, dev);

	for (int i = 0; i < NR_CHIPS; i++) /* saved bytes are not trusted */
		p->s.chip[i].lowest &= 7;
	update(p);
}

static void i8259_destroy(struct device *d)
{
	struct i8259 *p = container_of(d, struct i8259, dev);

	for (int i = 0; i < NR_CHIPS; i++)
		io_del(p->pio, &p->port[i]);
	io_del(p->pio, &p->elcr);
	device_free(d);
}

static const struct device_ops i8259_ops = { i8259_reset, i8259_loaded, i8259_destroy };

struct device *i8259_device(struct i8259 *p)
{
	return &p->dev;
}

int i8259_create(const struct dev_env *env, void (*intr)(void *opaque, bool level), void *opaque,
		 struct i8259 **res)
{
	struct i8259 *p = device_alloc(sizeof(*p), "i8259", &i8259_ops);
	int r;

	if (!p)
		return -ENOMEM;
	p->dev.state = &i8259_state;
	p->dev.state_data = &p->s;
	p->intr = intr;
	p->opaque = opaque;
	p->pio = env->pio;
	p->port[MASTER] = (struct io_region){ 0x20, 2, &chip_ops[MASTER], p, &p->dev.lock, "pic1" };
	p->port[SLAVE] = (struct io_region){ 0xa0, 2, &chip_ops[SLAVE], p, &p->dev.lock, "pic2" };
	p->elcr = (struct io_region){ 0x4d0, 2, &elcr_ops, p, &p->dev.lock, "elcr" };
	r = io_add(env->pio, &p->port[MASTER]);
	r = r ? r : io_add(env->pio, &p->port[SLAVE]);
	r = r ? r : io_add(env->pio, &p->elcr);
	if (r) {
		device_destroy(&p->dev);
		return r;
	}
	device_reset(&p->dev);
	*res = p;
	return 0;
}
