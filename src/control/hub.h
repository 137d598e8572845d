/* SPDX-License-Identifier: MIT */
/*
 * A serial port's console in a worker: keeps what the guest has written (the
 * last HUB_SIZE bytes), gives it to any number of attached clients, each from the
 * place it asks for, and to a file or pseudo-terminal; what clients type goes to
 * the guest. The guest never waits: a reader who is too slow misses bytes.
 *
 *	hub_create("/var/log/lab", &h, &e);	before the sandbox: opens files
 *	config.serials[0] = hub_serial(h);
 *	hub_start(h, loop, &e);			the VM is made
 *	hub_attach(h, fd, from);		takes the socket
 *
 * hub_serial()'s device is written by any thread; the rest is the loop's.
 */
#ifndef NESTOR_CONTROL_HUB_H
#define NESTOR_CONTROL_HUB_H

#include "base/loop.h"
#include "vm/config.h"

enum { HUB_SIZE = 256 << 10 };

struct hub;

/* @path: "" for the console alone, "pty", or a file's name. */
int hub_create(const char *path, struct hub **res, struct err *e);
void hub_destroy(struct hub *h); /* accepts NULL */
struct vm_serial hub_serial(struct hub *h);
int hub_start(struct hub *h, struct loop *loop, struct err *e);
const char *hub_pty(const struct hub *h); /* its name, or "" */

/* The number of the first byte from @from on that is still there. */
u64 hub_first(struct hub *h, u64 from);
/* 0, and the socket is the hub's; or -errno. */
int hub_attach(struct hub *h, int fd, u64 from);
/* What is still to be written goes out, as far as it can at once. */
void hub_flush(struct hub *h);

#endif
