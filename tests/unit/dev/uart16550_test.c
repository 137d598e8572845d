// SPDX-License-Identifier: MIT
#include "dev/uart16550.h"

#include "../../lib/devrig.h"

enum { PORT = 0x3f8, DATA = PORT, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static char out[64];
static size_t out_len;
static unsigned nr_ready;

static void put(void *opaque, const void *data, size_t size)
{
	(void)opaque;
	memcpy(out + out_len, data, size);
	out_len += size;
}

static void ready(void *opaque)
{
	(void)opaque;
	nr_ready++;
}

static const struct chardev chr = { put, ready, NULL };

static struct uart *make(struct devrig *r)
{
	struct uart *u;

	rig_init(r);
	CHECK_EQ(uart_create(&r->env, PORT, rig_irq(r, 4), &chr, &u), 0);
	return u;
}

static void unmake(struct devrig *r, struct uart *u)
{
	device_destroy(uart_device(u));
	rig_fini(r);
}

TEST(uart16550, transmitter)
{
	struct devrig r;
	struct uart *u = make(&r);

	CHECK_EQ(inb(&r, LSR), 0x60);
	CHECK_EQ(inb(&r, IIR), 0x01);
	outb(&r, DATA, 'a');
	outb(&r, LCR, 0x83);
	outb(&r, DATA, 1); /* divisor, not data */
	outb(&r, IER, 0);
	CHECK_EQ(inb(&r, DATA), 1);
	outb(&r, LCR, 0x03);
	outb(&r, DATA, 'b');
	CHECK(out_len == 2 && !memcmp(out, "ab", 2));
	outb(&r, IER, 2);
	CHECK(!r.level[4]); /* OUT2 */
	outb(&r, MCR, 0x0b);
	CHECK(r.level[4]);
	CHECK_EQ(inb(&r, IIR), 0x02);
	CHECK(!r.level[4]);
	CHECK_EQ(inb(&r, IIR), 0x01);
	outb(&r, IER, 0);
	outb(&r, IER, 2); /* enabling raises it again: Linux tests for this */
	CHECK_EQ(inb(&r, IIR), 0x02);
	outb(&r, DATA, 'c');
	CHECK(r.level[4]);
	unmake(&r, u);
}

TEST(uart16550, receiver_fifo_trigger_and_timeout)
{
	struct devrig r;
	struct uart *u = make(&r);

	outb(&r, IIR, 0x81); /* FIFO, trigger 8 */
	outb(&r, MCR, 8);
	outb(&r, IER, 5);
	CHECK_EQ(uart_receive(u, "abc", 3), 3);
	CHECK(r.level[4]);
	CHECK_EQ(inb(&r, IIR), 0xcc);
	CHECK_EQ(uart_receive(u, "defghijklmnopqrst", 17), 13);
	CHECK_EQ(inb(&r, IIR), 0xc4);
	CHECK_EQ(nr_ready, 0);
	for (char c = 'a'; c <= 'p'; c++)
		CHECK_EQ(inb(&r, DATA), c);
	CHECK_EQ(nr_ready, 1);
	CHECK_EQ(inb(&r, IIR), 0xc1);
	CHECK(!r.level[4]);
	CHECK_EQ(inb(&r, LSR), 0x60);
	uart_receive_break(u);
	CHECK_EQ(inb(&r, IIR), 0xc6);
	CHECK_EQ(inb(&r, LSR), 0xf1);
	CHECK_EQ(inb(&r, LSR), 0x61);
	CHECK_EQ(inb(&r, DATA), 0);
	unmake(&r, u);
}

/* What Linux's autoconfiguration looks at. */
TEST(uart16550, loopback_and_modem_lines)
{
	struct devrig r;
	struct uart *u = make(&r);

	CHECK_EQ(inb(&r, MSR), 0xb0);
	outb(&r, MCR, 0x1a);
	CHECK_EQ(inb(&r, MSR) & 0xf0, 0x90);
	outb(&r, MCR, 0x10);
	outb(&r, DATA, 'x');
	CHECK_EQ(out_len, 0);
	CHECK_EQ(uart_receive(u, "y", 1), 0);
	CHECK_EQ(inb(&r, DATA), 'x');
	outb(&r, MCR, 0);
	CHECK_EQ(nr_ready, 1);
	CHECK_EQ(inb(&r, MSR), 0xbb); /* all came back */
	CHECK_EQ(inb(&r, MSR), 0xb0);
	outb(&r, SCR, 0x5a);
	CHECK_EQ(inb(&r, SCR), 0x5a);
	outb(&r, IER, 0xff);
	CHECK_EQ(inb(&r, IER), 0x0f);
	unmake(&r, u);
}

TEST(uart16550, overrun)
{
	struct devrig r;
	struct uart *u = make(&r);

	outb(&r, MCR, 0x10);
	outb(&r, DATA, 'x');
	outb(&r, DATA, 'y');
	CHECK_EQ(inb(&r, LSR), 0x63);
	CHECK_EQ(inb(&r, LSR), 0x61);
	CHECK_EQ(inb(&r, DATA), 'x');
	unmake(&r, u);
}
