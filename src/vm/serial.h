/* SPDX-License-Identifier: MIT */
/*
 * The host's end of a serial port: standard input and output, a file, or a
 * pseudo-terminal, as a struct chardev for the device.
 *
 *	serial_create(&config->serials[0], loop, &s, &e);
 *	... the device is made with &s->dev ...
 *	serial_connect(s, receive, device);	input may flow
 *	serial_set_escape(s, ...);		stdio on a terminal: Ctrl-a keys
 *	serial_close(s);	flushes for a moment, wakes blocked writers
 *	serial_destroy(s);
 *
 * Output is buffered and written by a thread of its own, so that a reader who
 * pauses holds back only a guest that has filled the buffer. All verbs on the
 * loop's thread or while it is not running; dev's functions as struct chardev
 * says.
 */
#ifndef NESTOR_VM_SERIAL_H
#define NESTOR_VM_SERIAL_H

#include "base/chardev.h"
#include "base/loop.h"
#include "vm/config.h"

struct serial;

int serial_create(const struct vm_serial *c, struct loop *loop, struct serial **res, struct err *e);
void serial_destroy(struct serial *s); /* accepts NULL */
const struct chardev *serial_chardev(struct serial *s);
void serial_connect(struct serial *s, serial_receive_fn *fn, void *opaque);
/* Ctrl-a x calls @quit. Only where the input is a terminal. */
void serial_set_escape(struct serial *s, void (*quit)(void *opaque), void *opaque);
/* While @on, output never waits for a reader: for who waits for the writers. */
void serial_hurry(struct serial *s, bool on);
void serial_close(struct serial *s);
/* The VM is made, or it is not. A file keeps what was in it until the one; the other removes one
 * that was made for it. */
void serial_begin(struct serial *s);
void serial_abandon(struct serial *s);

/* A pseudo-terminal, and its raw slave, kept open lest the guest's output be lost while nobody
 * has it open. After an error *master is the caller's to close, if it is one. */
int serial_open_pty(int *master, int *slave, char *name, size_t size, struct err *e);

#endif
