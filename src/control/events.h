/* SPDX-License-Identifier: MIT */
/*
 * What happens to VMs, for whoever listens: a short history with numbers, from
 * which each listener reads at his own speed. Any thread.
 */
#ifndef NESTOR_CONTROL_EVENTS_H
#define NESTOR_CONTROL_EVENTS_H

#include <jansson.h>

#include "base/types.h"

struct events;

int events_create(struct events **res);
void events_destroy(struct events *ev); /* accepts NULL; nobody waits */

/* Adds "seq" and "time"; steals @event. */
void events_post(struct events *ev, json_t *event);
u64 events_last(struct events *ev); /* number of the newest */
/* The first after number @seq, a new reference; NULL when none came in time or
 * after events_close(). A listener that is too slow loses the oldest. */
json_t *events_next(struct events *ev, u64 seq, int timeout_ms);
void events_close(struct events *ev); /* wakes all who wait, for good */

/* ISO 8601 with milliseconds, UTC. */
void time_now_text(char text[32]);

#endif
