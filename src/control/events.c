// SPDX-License-Identifier: MIT
/* The history of events, a ring. */
#include "control/events.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HISTORY = 512 };

struct events {
	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	u64 last; /* number of the newest; the ring has those down to last - HISTORY + 1 */
	bool closed;
	json_t *ring[HISTORY];
};

void time_now_text(char text[32])
{
	struct timespec ts;
	struct tm tm;
	char whole[24];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, 32, "%s.%03uZ", whole, (unsigned)(ts.tv_nsec / 1000000) % 1000);
}

int events_create(struct events **res)
{
	struct events *ev = calloc(1, sizeof(*ev));
	pthread_condattr_t attr;

	if (!ev)
		return -ENOMEM;
	pthread_mutex_init(&ev->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&ev->changed, &attr);
	pthread_condattr_destroy(&attr);
	*res = ev;
	return 0;
}

void events_destroy(struct events *ev)
{
	if (!ev)
		return;
	for (unsigned i = 0; i < HISTORY; i++)
		json_decref(ev->ring[i]);
	pthread_cond_destroy(&ev->changed);
	pthread_mutex_destroy(&ev->lock);
	free(ev);
}

void events_post(struct events *ev, json_t *event)
{
	char now[32];

	time_now_text(now);
	json_object_set_new(event, "time", json_string(now));
	pthread_mutex_lock(&ev->lock);
	json_object_set_new(event, "seq", json_integer((json_int_t)++ev->last));
	json_decref(ev->ring[ev->last % HISTORY]);
	ev->ring[ev->last % HISTORY] = event;
	pthread_cond_broadcast(&ev->changed);
	pthread_mutex_unlock(&ev->lock);
}

u64 events_last(struct events *ev)
{
	pthread_mutex_lock(&ev->lock);
	u64 last = ev->last;
	pthread_mutex_unlock(&ev->lock);
	return last;
}

static struct timespec in_ms(int ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (ms % 1000) * 1000000l;
	if (ts.tv_nsec >= 1000000000l) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000l;
	}
	return ts;
}

/* A copy: the listener's thread prints it while others may read it. */
json_t *events_next(struct events *ev, u64 seq, int timeout_ms)
{
	struct timespec limit = in_ms(timeout_ms);
	json_t *res = NULL;

	pthread_mutex_lock(&ev->lock);
	while (ev->last <= seq && !ev->closed)
		if (pthread_cond_timedwait(&ev->changed, &ev->lock, &limit))
			break;
	if (ev->last > seq && !ev->closed) {
		u64 n = seq + 1 + HISTORY <= ev->last ? ev->last - HISTORY + 1 : seq + 1;

		res = json_deep_copy(ev->ring[n % HISTORY]);
	}
	pthread_mutex_unlock(&ev->lock);
	return res;
}

void events_close(struct events *ev)
{
	pthread_mutex_lock(&ev->lock);
	ev->closed = true;
	pthread_cond_broadcast(&ev->changed);
	pthread_mutex_unlock(&ev->lock);
}
