/* SPDX-License-Identifier: MIT */
/*
 * The manager's end of its connection to a worker. Lines of JSON:
 *
 *	manager: {"id": N, "verb": VERB, "args": {...}}
 *	worker:  {"id": N, "result": {...}}  or  {"id": N, "error": {...}}
 *	         {"event": "status" | "progress", ...}		when it likes
 *
 * link_read() is called by one thread, the VM's monitor, until it says that the
 * worker is gone; link_call() by any.
 */
#ifndef NESTOR_CONTROL_LINK_H
#define NESTOR_CONTROL_LINK_H

#include "control/error.h"

struct link;

/* @dir is the VM's folder. 0 or -errno. */
int link_create(int dir, struct link **res);
void link_destroy(struct link *l); /* accepts NULL; no call is waiting */

/* Steals @args (may be NULL). CTL_LOST when the worker goes away meanwhile. */
int link_call(struct link *l, const char *verb, json_t *args, int timeout_ms, json_t **res,
	      struct ctl_err *e);
/* Asks for a status event, without waiting for it or for anything. */
void link_poke(struct link *l);
/* The next event; answers go to those who wait. NULL: the worker is gone. */
json_t *link_read(struct link *l);

/* A request and its answer on a connection of its own, which stays open: the
 * console's. A descriptor or -1. */
int link_open_console(int dir, json_t *args, u64 *from, struct ctl_err *e);

#endif
