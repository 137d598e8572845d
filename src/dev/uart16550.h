/* SPDX-License-Identifier: MIT */
/*
 * The 16550A serial port. Output goes to a struct chardev as it is written;
 * input comes by uart_receive() from the loop's thread. The line is infinitely
 * fast: the transmitter is always empty, and a character timeout is due at once.
 */
#ifndef NESTOR_DEV_UART16550_H
#define NESTOR_DEV_UART16550_H

#include "base/chardev.h"
#include "dev/device.h"

struct uart;

/* @chr may be NULL: nobody at the other end. */
int uart_create(const struct dev_env *env, u16 port, struct irq irq, const struct chardev *chr,
		struct uart **res);
struct device *uart_device(struct uart *u);

/* Takes what fits and returns its length; when it took less, chardev's rx_ready()
 * says when to come again. */
size_t uart_receive(struct uart *u, const void *data, size_t size);
void uart_receive_break(struct uart *u);

#endif
