// SPDX-License-Identifier: MIT
/* The 16550A serial port, by National's data sheet. */
#include "dev/uart16550.h"

#include <errno.h>
#include <string.h>

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH };
enum { IER_RX = 1, IER_TX = 2, IER_LINE = 4, IER_MODEM = 8 };
enum { IIR_MODEM = 0, IIR_NONE = 1, IIR_TX = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 12,
       IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DATA = 1, LSR_OVERRUN = 2, LSR_BREAK = 0x10, LSR_EMPTY = 0x60, LSR_FIFO_ERROR = 0x80 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };
enum { FIFO_SIZE = 16, BREAK = 0x100 };

struct uart {
	struct device dev;
	struct uart_state {
		u8 ier, fcr, lcr, mcr, msr, scratch;
		u8 overrun;	/* LSR's bit, until read */
		bool tx_pending; /* transmitter-empty interrupt not yet seen */
		u16 divisor;
		u16 fifo[FIFO_SIZE]; /* received; BREAK: this one is a break */
		u32 head, nr;
	} s;
	bool starved; /* uart_receive() took less than offered */
	struct irq irq;
	const struct chardev *chr;
	struct io_bus *pio;
	struct io_region region;
};

static const struct state_row uart_rows[] = {
	STATE_ROW(struct uart_state, ier),
	STATE_ROW(struct uart_state, fcr),
	STATE_ROW(struct uart_state, lcr),
	STATE_ROW(struct uart_state, mcr),
	STATE_ROW(struct uart_state, msr),
	STATE_ROW(struct uart_state, scratch),
	STATE_ROW(struct uart_state, overrun),
	STATE_ROW(struct uart_state, tx_pending),
	STATE_ROW(struct uart_state, divisor),
	STATE_ROW(struct uart_state, fifo),
	STATE_ROW(struct uart_state, head),
	STATE_ROW(struct uart_state, nr),
};
static const struct state_desc uart_state = STATE_DESC("uart16550", 1, uart_rows);

/* ---- Interrupts ---- */

static bool break_at_head(const struct uart *u)
{
	return u->s.nr && (u->s.fifo[u->s.head] & BREAK);
}

static u32 rx_trigger(const struct uart *u)
{
	static const u8 level[] = { 1, 4, 8, 14 };

	return u->s.fcr & FCR_ENABLE ? level[u->s.fcr >> 6] : 1;
}

/* The pending interrupt of highest priority, as IIR shows it. */
static u8 pending(const struct uart *u)
{
	if ((u->s.ier & IER_LINE) && (u->s.overrun || break_at_head(u)))
		return IIR_LINE;
	if ((u->s.ier & IER_RX) && u->s.nr)
		return u->s.nr >= rx_trigger(u) ? IIR_RX : IIR_TIMEOUT;
	if ((u->s.ier & IER_TX) && u->s.tx_pending)
		return IIR_TX;
	if ((u->s.ier & IER_MODEM) && (u->s.msr & 0x0f))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On a PC, OUT2 connects the chip to its interrupt line; loopback cuts it. */
static void irq_update(struct uart *u)
{
	bool connected = (u->s.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	irq_set(&u->irq, connected && pending(u) != IIR_NONE);
}

/* ---- Receiver ---- */

static u32 rx_room(const struct uart *u)
{
	u32 size = u->s.fcr & FCR_ENABLE ? FIFO_SIZE : 1;

	return size > u->s.nr ? size - u->s.nr : 0;
}

static void rx_push(struct uart *u, u16 v)
{
	if (!rx_room(u)) {
		u->s.overrun = LSR_OVERRUN;
		return;
	}
	u->s.fifo[(u->s.head + u->s.nr++) % FIFO_SIZE] = v;
}

static void rx_clear(struct uart *u)
{
	u->s.head = u->s.nr = 0;
}

/* Tells the back end that there is room again. */
static void rx_offer(struct uart *u)
{
	if (!u->starved || !rx_room(u) || (u->s.mcr & MCR_LOOP))
		return;
	u->starved = false;
	if (u->chr && u->chr->rx_ready)
		u->chr->rx_ready(u->chr->opaque);
}

size_t uart_receive(struct uart *u, const void *data, size_t size)
{
	const u8 *p = data;
	size_t n = 0;

	pthread_mutex_lock(&u->dev.lock);
	if (!(u->s.mcr & MCR_LOOP))
		for (n = MIN(size, rx_room(u)); p < (const u8 *)data + n; p++)
			rx_push(u, *p);
	u->starved = n < size;
	irq_update(u);
	pthread_mutex_unlock(&u->dev.lock);
	return n;
}

void uart_receive_break(struct uart *u)
{
	pthread_mutex_lock(&u->dev.lock);
	if (!(u->s.mcr & MCR_LOOP))
		rx_push(u, BREAK);
	irq_update(u);
	pthread_mutex_unlock(&u->dev.lock);
}

static u8 rx_pop(struct uart *u)
{
	u8 v = (u8)u->s.fifo[u->s.head];

	if (!u->s.nr)
		return 0;
	u->s.nr--;
	u->s.head = (u->s.head + 1) % FIFO_SIZE;
	rx_offer(u);
	return v;
}

/* ---- Transmitter ---- */

static void tx(struct uart *u, u8 v)
{
	if (u->s.mcr & MCR_LOOP)
		rx_push(u, v);
	else if (u->chr && u->chr->write)
		u->chr->write(u->chr->opaque, &v, 1);
	u->s.tx_pending = true; /* empty again */
}

/* ---- Modem lines ---- */

/* Inputs: a ready modem; in loopback our own outputs. */
static u8 modem_inputs(const struct uart *u)
{
	u8 m = u->s.mcr;

	if (!(m & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (m & MCR_RTS ? MSR_CTS : 0) | (m & MCR_DTR ? MSR_DSR : 0) |
	       (m & MCR_OUT1 ? MSR_RI : 0) | (m & MCR_OUT2 ? MSR_DCD : 0);
}

/* Low half: which inputs changed since MSR was read (RI: only its falling). */
static void modem_update(struct uart *u)
{
	u8 now = modem_inputs(u), changed = (u->s.msr ^ now) & 0xf0;

	if (now & MSR_RI)
		changed &= ~MSR_RI;
	u->s.msr = (u8)(now | (u->s.msr & 0x0f) | changed >> 4);
}

/* ---- Registers ---- */

static u8 read_lsr(struct uart *u)
{
	u8 v = LSR_EMPTY | u->s.overrun | (u->s.nr ? LSR_DATA : 0);

	if (break_at_head(u)) {
		v |= LSR_BREAK | (u->s.fcr & FCR_ENABLE ? LSR_FIFO_ERROR : 0);
		u->s.fifo[u->s.head] &= ~BREAK; /* its zero character remains */
	}
	u->s.overrun = 0;
	return v;
}

static u8 read_iir(struct uart *u)
{
	u8 v = pending(u);

	if (v == IIR_TX)
		u->s.tx_pending = false;
	return v | (u->s.fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static u8 read_msr(struct uart *u)
{
	u8 v = u->s.msr;

	u->s.msr &= 0xf0;
	return v;
}

static u8 reg_read(struct uart *u, u64 reg)
{
	bool dlab = u->s.lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		return dlab ? (u8)u->s.divisor : rx_pop(u);
	case REG_IER:
		return dlab ? (u8)(u->s.divisor >> 8) : u->s.ier;
	case REG_IIR:
		return read_iir(u);
	case REG_LCR:
		return u->s.lcr;
	case REG_MCR:
		return u->s.mcr;
	case REG_LSR:
		return read_lsr(u);
	case REG_MSR:
		return read_msr(u);
	default:
		return u->s.scratch;
	}
}

static void write_ier(struct uart *u, u8 v)
{
	/* Enabling the transmitter's interrupt raises it, as it is empty. */
	if ((v & IER_TX) && !(u->s.ier & IER_TX))
		u->s.tx_pending = true;
	u->s.ier = v & 0x0f;
}

static void write_fcr(struct uart *u, u8 v)
{
	if (((v ^ u->s.fcr) & FCR_ENABLE) || ((v & FCR_ENABLE) && (v & FCR_CLEAR_RX)))
		rx_clear(u);
	u->s.fcr = v & FCR_ENABLE ? v & 0xc9 : 0;
	rx_offer(u);
}

static void write_mcr(struct uart *u, u8 v)
{
	u->s.mcr = v & 0x1f;
	modem_update(u);
	rx_offer(u);
}

static void reg_write(struct uart *u, u64 reg, u8 v)
{
	bool dlab = u->s.lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			u->s.divisor = (u->s.divisor & 0xff00) | v;
		else
			tx(u, v);
		break;
	case REG_IER:
		if (dlab)
			u->s.divisor = (u16)((u->s.divisor & 0xff) | v << 8);
		else
			write_ier(u, v);
		break;
	case REG_IIR:
		write_fcr(u, v);
		break;
	case REG_LCR:
		u->s.lcr = v;
		break;
	case REG_MCR:
		write_mcr(u, v);
		break;
	case REG_SCRATCH:
		u->s.scratch = v;
		break;
	}
}

static u64 uart_read(void *dev, u64 off, unsigned size)
{
	struct uart *u = dev;
	u8 v = reg_read(u, off);

	(void)size;
	irq_update(u);
	return v;
}

static void uart_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct uart *u = dev;

	(void)size;
	reg_write(u, off, (u8)value);
	irq_update(u);
}

static const struct io_ops uart_io = { uart_read, uart_write, .max_size = 1 };

/* ---- The device ---- */

static void uart_reset(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	memset(&u->s, 0, sizeof(u->s));
	u->s.divisor = 12; /* 9600 baud */
	u->s.msr = modem_inputs(u);
	rx_offer(u);
	irq_update(u);
}

static void uart_loaded(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	u->s.head %= FIFO_SIZE; /* saved bytes are not trusted */
	u->s.nr = MIN(u->s.nr, FIFO_SIZE);
	rx_offer(u);
	irq_update(u);
}

static void uart_destroy(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);

	io_del(u->pio, &u->region);
	device_free(d);
}

static const struct device_ops uart_ops = { uart_reset, uart_loaded, uart_destroy };

struct device *uart_device(struct uart *u)
{
	return &u->dev;
}

int uart_create(const struct dev_env *env, u16 port, struct irq irq, const struct chardev *chr,
		struct uart **res)
{
	struct uart *u = device_alloc(sizeof(*u), "uart16550", &uart_ops);
	int r;

	if (!u)
		return -ENOMEM;
	u->dev.instance = port;
	u->dev.state = &uart_state;
	u->dev.state_data = &u->s;
	u->irq = irq;
	u->chr = chr;
	u->pio = env->pio;
	u->region = (struct io_region){ port, 8, &uart_io, u, &u->dev.lock, "uart" };
	r = io_add(env->pio, &u->region);
	if (r) {
		device_destroy(&u->dev);
		return r;
	}
	device_reset(&u->dev);
	*res = u;
	return 0;
}
