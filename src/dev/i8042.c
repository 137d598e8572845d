// SPDX-License-Identifier: MIT
/*
 * The 8042 keyboard controller of a PS/2, with its two devices.
 *
 * Everything the guest is to read goes through one queue; its head is the output
 * buffer, with the interrupt of whom it came from. A20 is a bit that can be set
 * and read: the address line itself is always on.
 */
#include "dev/i8042.h"

#include <errno.h>
#include <string.h>

enum { STATUS_FULL = 0x01, STATUS_SYSTEM = 0x04, STATUS_COMMAND = 0x08, STATUS_UNLOCKED = 0x10,
       STATUS_AUX = 0x20 };
enum { MODE_KBD_IRQ = 0x01, MODE_AUX_IRQ = 0x02, MODE_SYSTEM = 0x04, MODE_KBD_OFF = 0x10,
       MODE_AUX_OFF = 0x20, MODE_TRANSLATE = 0x40 };
enum { PORT_NO_RESET = 0x01, PORT_A20 = 0x02, PORT_KBD_FULL = 0x10, PORT_AUX_FULL = 0x20 };
enum { PORT92_RESET = 0x01, PORT92_A20 = 0x02 };
enum { ACK = 0xfa, SELF_TEST_PASSED = 0xaa, QUEUE_SIZE = 32, RAM_SIZE = 32 };

struct ps2 {
	u8 parameter_of; /* command that waits for its parameter, 0 = none */
	u8 scan_set;	 /* keyboard's */
	u8 rate, resolution, scaling; /* mouse's */
	bool reporting;
};

struct i8042 {
	struct device dev;
	struct i8042_state {
		u8 ram[RAM_SIZE];  /* byte 0 is the mode ("command byte") */
		u8 command;	   /* controller command that waits for data, 0 = none */
		bool last_command; /* last write was to 0x64 */
		u8 output;	   /* output port: reset and A20 */
		u8 queue[QUEUE_SIZE];
		bool from_aux[QUEUE_SIZE];
		u32 head, nr;
		struct ps2 kbd, aux;
	} s;
	struct irq kbd_irq, aux_irq;
	void (*reset)(void *opaque);
	void *opaque;
	struct io_bus *pio;
	struct io_region data, control, port92;
};

static const struct state_row i8042_rows[] = {
	STATE_ROW(struct i8042_state, ram),
	STATE_ROW(struct i8042_state, command),
	STATE_ROW(struct i8042_state, last_command),
	STATE_ROW(struct i8042_state, output),
	STATE_ROW(struct i8042_state, queue),
	STATE_ROW(struct i8042_state, from_aux),
	STATE_ROW(struct i8042_state, head),
	STATE_ROW(struct i8042_state, nr),
	STATE_ROW(struct i8042_state, kbd),
	STATE_ROW(struct i8042_state, aux),
};
static const struct state_desc i8042_state = STATE_DESC("i8042", 1, i8042_rows);

/* ---- The queue to the guest ---- */

static void irq_update(struct i8042 *p)
{
	u8 mode = p->s.ram[0];
	bool full = p->s.nr, aux = p->s.from_aux[p->s.head];

	irq_set(&p->kbd_irq, full && !aux && (mode & MODE_KBD_IRQ));
	irq_set(&p->aux_irq, full && aux && (mode & MODE_AUX_IRQ));
}

/* A full queue drops: a device that is not read loses what it says. */
static void push(struct i8042 *p, bool aux, u8 v)
{
	u32 at = (p->s.head + p->s.nr) % QUEUE_SIZE;

	if (p->s.nr == QUEUE_SIZE)
		return;
	p->s.queue[at] = v;
	p->s.from_aux[at] = aux;
	p->s.nr++;
	irq_update(p);
}

static u8 pop(struct i8042 *p)
{
	u8 v = p->s.queue[p->s.head];

	if (!p->s.nr)
		return v; /* the buffer keeps what was read last */
	irq_set(&p->kbd_irq, false);
	irq_set(&p->aux_irq, false);
	p->s.nr--;
	if (p->s.nr)
		p->s.head = (p->s.head + 1) % QUEUE_SIZE;
	irq_update(p); /* the next byte is a new edge */
	return v;
}

/* ---- Keyboard ---- */

/* The only replies that translation to scan-code set 1 changes. */
static void kbd_push(struct i8042 *p, u8 v)
{
	if (p->s.ram[0] & MODE_TRANSLATE)
		v = v == 0x83 ? 0x41 : v == 0x84 ? 0x54 : v;
	push(p, false, v);
}

static void kbd_defaults(struct ps2 *k)
{
	*k = (struct ps2){ .scan_set = 2, .reporting = true };
}

static void kbd_parameter(struct i8042 *p, u8 v)
{
	struct ps2 *k = &p->s.kbd;
	u8 command = k->parameter_of;

	k->parameter_of = 0;
	kbd_push(p, ACK);
	if (command != 0xf0)
		return; /* LEDs and repeat rate: nothing to show or repeat */
	if (!v)
		kbd_push(p, k->scan_set);
	else if (v <= 3)
		k->scan_set = v;
}

static void kbd_command(struct i8042 *p, u8 v)
{
	struct ps2 *k = &p->s.kbd;

	switch (v) {
	case 0xed: /* LEDs */
	case 0xf0: /* scan-code set */
	case 0xf3: /* repeat rate */
		k->parameter_of = v;
		kbd_push(p, ACK);
		return;
	case 0xee: /* echo */
		kbd_push(p, v);
		return;
	case 0xf2: /* identify */
		kbd_push(p, ACK);
		kbd_push(p, 0xab);
		kbd_push(p, 0x83);
		return;
	case 0xf4:
	case 0xf5:
		k->reporting = v == 0xf4;
		kbd_push(p, ACK);
		return;
	case 0xf6:
		kbd_defaults(k);
		kbd_push(p, ACK);
		return;
	case 0xff:
		kbd_defaults(k);
		kbd_push(p, ACK);
		kbd_push(p, SELF_TEST_PASSED);
		return;
	}
	kbd_push(p, v >= 0xed ? ACK : 0xfe); /* 0xfe: resend, not a command */
}

static void kbd_write(struct i8042 *p, u8 v)
{
	p->s.ram[0] &= ~MODE_KBD_OFF; /* talking to it switches it on */
	if (p->s.kbd.parameter_of)
		kbd_parameter(p, v);
	else
		kbd_command(p, v);
}

/* ---- Mouse ---- */

static void aux_defaults(struct ps2 *m)
{
	*m = (struct ps2){ .rate = 100, .resolution = 2, .scaling = 1 };
}

static void aux_parameter(struct i8042 *p, u8 v)
{
	struct ps2 *m = &p->s.aux;

	*(m->parameter_of == 0xf3 ? &m->rate : &m->resolution) = v;
	m->parameter_of = 0;
	push(p, true, ACK);
}

static void aux_status(struct i8042 *p)
{
	const struct ps2 *m = &p->s.aux;

	push(p, true, (u8)(m->reporting << 5 | (m->scaling == 2) << 4));
	push(p, true, m->resolution);
	push(p, true, m->rate);
}

static void aux_command(struct i8042 *p, u8 v)
{
	struct ps2 *m = &p->s.aux;

	push(p, true, v < 0xe6 ? 0xfe : ACK);
	switch (v) {
	case 0xe6:
	case 0xe7:
		m->scaling = v == 0xe6 ? 1 : 2;
		break;
	case 0xe8: /* resolution */
	case 0xf3: /* sample rate */
		m->parameter_of = v;
		break;
	case 0xe9:
		aux_status(p);
		break;
	case 0xeb: /* a report: nothing moved */
		push(p, true, 0x08);
		push(p, true, 0);
		push(p, true, 0);
		break;
	case 0xf2: /* identify: a standard mouse */
		push(p, true, 0);
		break;
	case 0xf4:
	case 0xf5:
		m->reporting = v == 0xf4;
		break;
	case 0xf6:
		aux_defaults(m);
		break;
	case 0xff:
		aux_defaults(m);
		push(p, true, SELF_TEST_PASSED);
		push(p, true, 0);
		break;
	}
}

static void aux_write(struct i8042 *p, u8 v)
{
	p->s.ram[0] &= ~MODE_AUX_OFF;
	if (p->s.aux.parameter_of)
		aux_parameter(p, v);
	else
		aux_command(p, v);
}

/* ---- Controller ---- */

static void output_write(struct i8042 *p, u8 v)
{
	p->s.output = (v & PORT_A20) | PORT_NO_RESET;
	if (!(v & PORT_NO_RESET))
		p->reset(p->opaque);
}

static u8 output_read(const struct i8042 *p)
{
	u8 full = !p->s.nr ? 0 : p->s.from_aux[p->s.head] ? PORT_AUX_FULL : PORT_KBD_FULL;

	return p->s.output | full;
}

/* Byte written to 0x60 after a command that wants one. */
static void command_data(struct i8042 *p, u8 command, u8 v)
{
	if (command >= 0x60 && command <= 0x7f) {
		p->s.ram[command & 0x1f] = v;
		irq_update(p);
		return;
	}
	switch (command) {
	case 0xd1:
		output_write(p, v);
		break;
	case 0xd2: /* as if the keyboard had sent it */
	case 0xd3: /* the mouse */
		push(p, command == 0xd3, v);
		break;
	case 0xd4:
		aux_write(p, v);
		break;
	}
}

static void set_mode(struct i8042 *p, u8 clear, u8 set)
{
	p->s.ram[0] = (p->s.ram[0] & ~clear) | set;
}

static void controller_command(struct i8042 *p, u8 v)
{
	p->s.command = 0;
	if (v >= 0x20 && v <= 0x3f) {
		push(p, false, p->s.ram[v & 0x1f]);
		return;
	}
	if ((v >= 0x60 && v <= 0x7f) || (v >= 0xd1 && v <= 0xd4)) {
		p->s.command = v;
		return;
	}
	if (v >= 0xf0) { /* pulses the output port's bits that are 0; bit 0 is reset */
		if (!(v & PORT_NO_RESET))
			p->reset(p->opaque);
		return;
	}
	switch (v) {
	case 0xa7:
		set_mode(p, 0, MODE_AUX_OFF);
		break;
	case 0xa8:
		set_mode(p, MODE_AUX_OFF, 0);
		break;
	case 0xa9: /* tests of the two lines */
	case 0xab:
		push(p, false, 0);
		break;
	case 0xaa: /* self-test */
		push(p, false, 0x55);
		set_mode(p, 0, MODE_SYSTEM);
		break;
	case 0xad:
		set_mode(p, 0, MODE_KBD_OFF);
		break;
	case 0xae:
		set_mode(p, MODE_KBD_OFF, 0);
		break;
	case 0xc0: /* input port: keyboard not locked */
		push(p, false, 0x80);
		break;
	case 0xd0:
		push(p, false, output_read(p));
		break;
	case 0xdd:
	case 0xdf:
		output_write(p, v == 0xdf ? 0xff : (u8)~PORT_A20);
		break;
	}
}

/* ---- Ports ---- */

static u64 data_read(void *dev, u64 off, unsigned size)
{
	(void)off;
	(void)size;
	return pop(dev);
}

static void data_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct i8042 *p = dev;
	u8 command = p->s.command;

	(void)off;
	(void)size;
	p->s.command = 0;
	p->s.last_command = false;
	if (command)
		command_data(p, command, (u8)value);
	else
		kbd_write(p, (u8)value);
}

static u64 status_read(void *dev, u64 off, unsigned size)
{
	struct i8042 *p = dev;
	u8 full = !p->s.nr ? 0 : STATUS_FULL | (p->s.from_aux[p->s.head] ? STATUS_AUX : 0);

	(void)off;
	(void)size;
	return full | STATUS_UNLOCKED | (p->s.ram[0] & MODE_SYSTEM ? STATUS_SYSTEM : 0) |
	       (p->s.last_command ? STATUS_COMMAND : 0);
}

static void command_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct i8042 *p = dev;

	(void)off;
	(void)size;
	p->s.last_command = true;
	controller_command(p, (u8)value);
}

static u64 port92_read(void *dev, u64 off, unsigned size)
{
	struct i8042 *p = dev;

	(void)off;
	(void)size;
	return p->s.output & PORT_A20;
}

static void port92_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct i8042 *p = dev;

	(void)off;
	(void)size;
	p->s.output = (p->s.output & ~PORT_A20) | (value & PORT92_A20);
	if (value & PORT92_RESET)
		p->reset(p->opaque);
}

static const struct io_ops data_ops = { data_read, data_write, .max_size = 1 };
static const struct io_ops control_ops = { status_read, command_write, .max_size = 1 };
static const struct io_ops port92_ops = { port92_read, port92_write, .max_size = 1 };

/* ---- The device ---- */

static void i8042_reset(struct device *d)
{
	struct i8042 *p = container_of(d, struct i8042, dev);

	memset(&p->s, 0, sizeof(p->s));
	p->s.ram[0] = MODE_KBD_IRQ | MODE_AUX_IRQ | MODE_SYSTEM | MODE_TRANSLATE;
	p->s.output = PORT_NO_RESET | PORT_A20;
	kbd_defaults(&p->s.kbd);
	aux_defaults(&p->s.aux);
	irq_update(p);
}

static void i8042_loaded(struct device *d)
{
	struct i8042 *p = container_of(d, struct i8042, dev);

	p->s.head %= QUEUE_SIZE; /* saved bytes are not trusted */
	p->s.nr = MIN(p->s.nr, QUEUE_SIZE);
	irq_update(p);
}

static void i8042_destroy(struct device *d)
{
	struct i8042 *p = container_of(d, struct i8042, dev);

	io_del(p->pio, &p->data);
	io_del(p->pio, &p->control);
	io_del(p->pio, &p->port92);
	device_free(d);
}

static const struct device_ops i8042_ops = { i8042_reset, i8042_loaded, i8042_destroy };

struct device *i8042_device(struct i8042 *p)
{
	return &p->dev;
}

int i8042_create(const struct dev_env *env, struct irq keyboard, struct irq mouse,
		 void (*reset)(void *opaque), void *opaque, struct i8042 **res)
{
	struct i8042 *p = device_alloc(sizeof(*p), "i8042", &i8042_ops);
	int r;

	if (!p)
		return -ENOMEM;
	p->dev.state = &i8042_state;
	p->dev.state_data = &p->s;
	p->kbd_irq = keyboard;
	p->aux_irq = mouse;
	p->reset = reset;
	p->opaque = opaque;
	p->pio = env->pio;
	p->data = (struct io_region){ 0x60, 1, &data_ops, p, &p->dev.lock, "i8042 data" };
	p->control = (struct io_region){ 0x64, 1, &control_ops, p, &p->dev.lock, "i8042 control" };
	p->port92 = (struct io_region){ 0x92, 1, &port92_ops, p, &p->dev.lock, "port92" };
	r = io_add(env->pio, &p->data);
	r = r ? r : io_add(env->pio, &p->control);
	r = r ? r : io_add(env->pio, &p->port92);
	if (r) {
		device_destroy(&p->dev);
		return r;
	}
	device_reset(&p->dev);
	*res = p;
	return 0;
}
