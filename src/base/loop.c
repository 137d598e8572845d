// SPDX-License-Identifier: MIT
/*
 * The event loop: epoll over descriptors, one timerfd for the earliest timer,
 * one eventfd for posted work and stop.
 *
 * Timers are a binary heap by deadline under the loop's mutex; the timerfd
 * follows the heap's top. A descriptor's handler that is removed while a batch
 * of events is being handled stays in memory (dead) until the batch is done,
 * since later events of the batch may point to it.
 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

struct handler {
	int fd;
	bool dead;
	loop_fd_fn *fn;
	void *arg;
	struct handler *next;
};

struct loop {
	int epoll_fd, timer_fd, event_fd;
	atomic_bool stopping;
	struct handler *handlers; /* loop's thread only */

	pthread_mutex_t running; /* held while a callback runs */
	pthread_mutex_t lock;	 /* all below */
	struct loop_work *work_head, **work_tail;
	struct timer **heap;
	int nr_timers, heap_capacity;
	u64 armed; /* deadline the timerfd is set to, 0 = none */
};

/* ---- Timers ---- */

static void heap_put(struct loop *l, int i, struct timer *t)
{
	l->heap[i] = t;
	t->heap_index = i;
}

static void heap_up(struct loop *l, int i, struct timer *t)
{
	for (int parent; i && l->heap[parent = (i - 1) / 2]->deadline > t->deadline; i = parent)
		heap_put(l, i, l->heap[parent]);
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, int i, struct timer *t)
{
	for (int child; (child = 2 * i + 1) < l->nr_timers; i = child) {
		if (child + 1 < l->nr_timers &&
		    l->heap[child + 1]->deadline < l->heap[child]->deadline)
			child++;
		if (l->heap[child]->deadline >= t->deadline)
			break;
		heap_put(l, i, l->heap[child]);
	}
	heap_put(l, i, t);
}

static void heap_fix(struct loop *l, struct timer *t)
{
	int i = t->heap_index;

	if (i && l->heap[(i - 1) / 2]->deadline > t->deadline)
		heap_up(l, i, t);
	else
		heap_down(l, i, t);
}

static void heap_remove(struct loop *l, struct timer *t)
{
	int i = t->heap_index;
	struct timer *last = l->heap[--l->nr_timers];

	t->heap_index = -1;
	if (last == t)
		return;
	heap_put(l, i, last);
	heap_fix(l, last);
}

static void heap_add(struct loop *l, struct timer *t)
{
	assert(l->nr_timers < l->heap_capacity);
	heap_up(l, l->nr_timers++, t);
}

/* Sets the timerfd to the heap's top, if it is not there already. */
static void timerfd_update(struct loop *l)
{
	u64 first = l->nr_timers ? l->heap[0]->deadline : 0;
	struct itimerspec its = { .it_value = { (time_t)(first / NSEC_PER_SEC),
						(long)(first % NSEC_PER_SEC) } };

	if (first == l->armed)
		return;
	l->armed = first;
	if (timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &its, NULL))
		log_err("cannot set a timer: %m");
}

void timer_init(struct timer *t, struct loop *loop, loop_fn *fn, void *arg)
{
	*t = (struct timer){ .loop = loop, .fn = fn, .arg = arg, .heap_index = -1 };
	pthread_mutex_lock(&loop->lock);
	/* Room for every timer that was ever made, so that timer_set() cannot fail. */
	if (loop->heap_capacity % 64 == 0) {
		size_t n = (size_t)loop->heap_capacity + 64;
		struct timer **heap = realloc(loop->heap, n * sizeof(*heap));

		assert(heap);
		loop->heap = heap;
	}
	loop->heap_capacity++;
	pthread_mutex_unlock(&loop->lock);
}

void timer_set(struct timer *t, u64 deadline_ns)
{
	struct loop *l = t->loop;

	pthread_mutex_lock(&l->lock);
	/* 0 means off, and the kernel takes no more than 2^63 ns. */
	t->deadline = MIN(MAX(deadline_ns, 1), (u64)INT64_MAX);
	if (t->heap_index < 0)
		heap_add(l, t);
	else
		heap_fix(l, t);
	timerfd_update(l);
	pthread_mutex_unlock(&l->lock);
}

void timer_cancel(struct timer *t)
{
	struct loop *l = t->loop;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	t->deadline = 0;
	if (t->heap_index >= 0)
		heap_remove(l, t);
	timerfd_update(l);
	pthread_mutex_unlock(&l->lock);
}

static struct timer *pop_expired(struct loop *l, u64 now)
{
	struct timer *t = NULL;

	pthread_mutex_lock(&l->lock);
	if (l->nr_timers && l->heap[0]->deadline <= now) {
		t = l->heap[0];
		heap_remove(l, t);
		t->deadline = 0;
	} else {
		l->armed = 0; /* it has fired */
		timerfd_update(l);
	}
	pthread_mutex_unlock(&l->lock);
	return t;
}

static void timers_run(void *arg, u32 events)
{
	struct loop *l = arg;
	u64 now = clock_ns(), count;
	struct timer *t;

	(void)events;
	if (read(l->timer_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_err("cannot read a timer: %m");
	while ((t = pop_expired(l, now)))
		t->fn(t->arg);
}

/* ---- Posted work ---- */

static void event_signal(struct loop *l)
{
	u64 one = 1;

	if (write(l->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_err("cannot wake the event loop: %m");
}

void loop_post(struct loop *l, struct loop_work *work)
{
	bool wake = false;

	pthread_mutex_lock(&l->lock);
	if (!work->queued) {
		wake = !l->work_head;
		work->queued = true;
		work->next = NULL;
		*l->work_tail = work;
		l->work_tail = &work->next;
	}
	pthread_mutex_unlock(&l->lock);
	if (wake)
		event_signal(l);
}

static bool pop_work(struct loop *l, loop_fn **fn, void **arg)
{
	struct loop_work *w;

	pthread_mutex_lock(&l->lock);
	w = l->work_head;
	if (w) {
		l->work_head = w->next;
		if (!w->next)
			l->work_tail = &l->work_head;
		w->queued = false;
		*fn = w->fn;
		*arg = w->arg;
	}
	pthread_mutex_unlock(&l->lock);
	return w;
}

/* What is posted meanwhile runs too, but descriptors and timers get their turn
 * after a bounded number. */
static void work_run(void *arg, u32 events)
{
	struct loop *l = arg;
	loop_fn *fn;
	void *fn_arg;
	u64 count;
	int budget = 64;

	(void)events;
	if (read(l->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_err("cannot read the event loop's wake-up: %m");
	while (pop_work(l, &fn, &fn_arg)) {
		fn(fn_arg);
		if (!--budget) {
			event_signal(l);
			break;
		}
	}
}

/* ---- Descriptors ---- */

static struct handler *handler_find(struct loop *l, int fd)
{
	for (struct handler *h = l->handlers; h; h = h->next)
		if (h->fd == fd && !h->dead)
			return h;
	return NULL;
}

int loop_add_fd(struct loop *l, int fd, u32 epoll_events, loop_fd_fn *fn, void *arg)
{
	struct handler *h = malloc(sizeof(*h));
	struct epoll_event ev = { .events = epoll_events, .data.ptr = h };

	if (!h)
		return -ENOMEM;
	*h = (struct handler){ fd, false, fn, arg, l->handlers };
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
		free(h);
		return -errno;
	}
	l->handlers = h;
	return 0;
}

int loop_mod_fd(struct loop *l, int fd, u32 epoll_events)
{
	struct handler *h = handler_find(l, fd);
	struct epoll_event ev = { .events = epoll_events, .data.ptr = h };

	if (!h)
		return -ENOENT;
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, fd, &ev) ? -errno : 0;
}

void loop_del_fd(struct loop *l, int fd)
{
	struct handler *h = handler_find(l, fd);

	if (!h)
		return;
	h->dead = true;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void handlers_reap(struct loop *l)
{
	for (struct handler **p = &l->handlers, *h; (h = *p);) {
		if (h->dead) {
			*p = h->next;
			free(h);
		} else {
			p = &h->next;
		}
	}
}

/* ---- The loop ---- */

int loop_create(struct loop **res)
{
	struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->running, NULL);
	l->work_tail = &l->work_head;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	l->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r = l->epoll_fd < 0 || l->timer_fd < 0 || l->event_fd < 0 ? -errno : 0;
	r = r ? r : loop_add_fd(l, l->timer_fd, EPOLLIN, timers_run, l);
	r = r ? r : loop_add_fd(l, l->event_fd, EPOLLIN, work_run, l);
	if (r) {
		loop_destroy(l);
		return r;
	}
	*res = l;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	for (struct handler *h = l->handlers; h; h = h->next)
		h->dead = true;
	handlers_reap(l);
	close_fd(l->epoll_fd);
	close_fd(l->timer_fd);
	close_fd(l->event_fd);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->running);
	free(l->heap);
	free(l);
}

bool loop_try_hold(struct loop *l)
{
	return !pthread_mutex_trylock(&l->running);
}

void loop_release(struct loop *l)
{
	pthread_mutex_unlock(&l->running);
}

void loop_run(struct loop *l)
{
	struct epoll_event ev[32];

	while (!atomic_load(&l->stopping)) {
		int n = epoll_wait(l->epoll_fd, ev, ARRAY_SIZE(ev), -1);

		if (n < 0 && errno != EINTR) {
			log_err("cannot wait for events: %m");
			break;
		}
		for (int i = 0; i < n; i++) {
			struct handler *h = ev[i].data.ptr;

			pthread_mutex_lock(&l->running);
			if (!h->dead)
				h->fn(h->arg, ev[i].events);
			pthread_mutex_unlock(&l->running);
		}
		handlers_reap(l);
	}
	atomic_store(&l->stopping, false);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stopping, true);
	event_signal(l);
}
