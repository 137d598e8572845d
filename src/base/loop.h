/* SPDX-License-Identifier: MIT */
/*
 * The event loop: one thread per VM that waits for descriptors, timers and
 * posted work, and runs a VM's devices.
 *
 * loop_run() is called by the loop's own thread. loop_post() and timer_set()
 * may be called from any thread; callbacks always run on the loop's thread,
 * one at a time, with no lock of the loop held (they may call back into it).
 * Descriptors are added and removed on the loop's thread or before it runs.
 */
#ifndef NESTOR_BASE_LOOP_H
#define NESTOR_BASE_LOOP_H

#include "base/types.h"

struct loop;

typedef void loop_fn(void *arg);
typedef void loop_fd_fn(void *arg, u32 epoll_events);

int loop_create(struct loop **res);
void loop_destroy(struct loop *loop); /* accepts NULL */
void loop_run(struct loop *loop);     /* until loop_stop() */
void loop_stop(struct loop *loop);    /* any thread */

/* No callback runs from here to loop_release(); false: one is running now. */
bool loop_try_hold(struct loop *loop);
void loop_release(struct loop *loop);

int loop_add_fd(struct loop *loop, int fd, u32 epoll_events, loop_fd_fn *fn, void *arg);
int loop_mod_fd(struct loop *loop, int fd, u32 epoll_events);
void loop_del_fd(struct loop *loop, int fd);

/* Runs @fn soon on the loop's thread. A work item that is already queued is
 * not queued twice. The item is the caller's and must outlive its run. */
struct loop_work {
	loop_fn *fn;
	void *arg;
	struct loop_work *next; /* loop's */
	bool queued;		/* loop's */
};
void loop_post(struct loop *loop, struct loop_work *work);

/* A one-shot timer on CLOCK_MONOTONIC; setting it again moves it. */
struct timer {
	struct loop *loop;
	loop_fn *fn;
	void *arg;
	u64 deadline;	/* ns, 0 = off; loop's */
	int heap_index; /* loop's, -1 = not queued */
};
void timer_init(struct timer *t, struct loop *loop, loop_fn *fn, void *arg);
void timer_set(struct timer *t, u64 deadline_ns); /* any thread */
void timer_cancel(struct timer *t);		  /* any thread; @fn may still be running */

#endif
