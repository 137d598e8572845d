// SPDX-License-Identifier: MIT
#include "base/loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "base/clock.h"

struct probe {
	struct loop *loop;
	int order[8], nr;
	int left; /* stop after this many */
};

struct item {
	struct probe *p;
	int id;
};

static void note(void *arg)
{
	struct item *i = arg;

	i->p->order[i->p->nr++ % 8] = i->id;
	if (!--i->p->left)
		loop_stop(i->p->loop);
}

TEST(loop, timers_run_in_order_of_deadline)
{
	struct probe p = { .left = 3 };
	struct item item[4] = { { &p, 0 }, { &p, 1 }, { &p, 2 }, { &p, 3 } };
	struct timer t[4];
	u64 now = clock_ns();

	CHECK_EQ(loop_create(&p.loop), 0);
	for (int i = 0; i < 4; i++)
		timer_init(&t[i], p.loop, note, &item[i]);
	timer_set(&t[0], now + 3000000);
	timer_set(&t[1], now + 1000000);
	timer_set(&t[2], now + 9000000);
	timer_set(&t[3], now + 500000);
	timer_set(&t[2], now + 2000000); /* moved */
	timer_cancel(&t[3]);
	loop_run(p.loop);
	CHECK_EQ(p.nr, 3);
	CHECK_EQ(p.order[0], 1);
	CHECK_EQ(p.order[1], 2);
	CHECK_EQ(p.order[2], 0);
	CHECK(clock_ns() >= now + 3000000);
	loop_destroy(p.loop);
}

TEST(loop, many_timers_keep_heap_order)
{
	enum { N = 300 };
	static struct timer t[N];
	static struct item item[N];
	struct probe p = { .left = N };
	u32 seed = 1;

	CHECK_EQ(loop_create(&p.loop), 0);
	for (int i = 0; i < N; i++) {
		item[i] = (struct item){ &p, i };
		timer_init(&t[i], p.loop, note, &item[i]);
	}
	for (int k = 0; k < 3000; k++) {
		seed = seed * 1103515245 + 12345;
		if (seed & 0x10000)
			timer_set(&t[seed >> 17 & 0xff], clock_ns() + 100000000 + (seed & 0xffff));
		else
			timer_cancel(&t[seed >> 17 & 0xff]);
	}
	for (int i = 0; i < N; i++)
		timer_set(&t[i], 1 + (u64)i % 7);
	loop_run(p.loop);
	CHECK_EQ(p.nr, N);
	loop_destroy(p.loop);
}

static void *poster(void *arg)
{
	struct loop_work **w = arg;

	usleep(2000);
	loop_post(((struct probe *)((struct item *)w[0]->arg)->p)->loop, w[0]);
	loop_post(((struct probe *)((struct item *)w[1]->arg)->p)->loop, w[1]);
	return NULL;
}

TEST(loop, posted_work_runs_once_and_in_order)
{
	struct probe p = { .left = 4 };
	struct item a = { &p, 1 }, b = { &p, 2 };
	struct loop_work wa = { .fn = note, .arg = &a }, wb = { .fn = note, .arg = &b }, *w[2] = { &wa, &wb };
	pthread_t thread;

	CHECK_EQ(loop_create(&p.loop), 0);
	loop_post(p.loop, &wa);
	loop_post(p.loop, &wa); /* queued already */
	loop_post(p.loop, &wb);
	pthread_create(&thread, NULL, poster, w);
	loop_run(p.loop);
	pthread_join(thread, NULL);
	CHECK_EQ(p.nr, 4);
	CHECK_EQ(p.order[0] * 1000 + p.order[1] * 100 + p.order[2] * 10 + p.order[3], 1212);
	loop_destroy(p.loop);
}

struct pipes {
	struct loop *loop;
	int a[2], b[2];
	int runs;
};

/* Both are readable at once; the first to run removes the other. */
static void remove_both(void *arg, u32 events)
{
	struct pipes *p = arg;

	(void)events;
	p->runs++;
	loop_del_fd(p->loop, p->a[0]);
	loop_del_fd(p->loop, p->b[0]);
	loop_stop(p->loop);
}

TEST(loop, handler_removed_in_same_batch_does_not_run)
{
	struct pipes p = { .runs = 0 };

	CHECK_EQ(loop_create(&p.loop), 0);
	CHECK(!pipe(p.a) && !pipe(p.b));
	CHECK_EQ(loop_add_fd(p.loop, p.a[0], EPOLLIN, remove_both, &p), 0);
	CHECK_EQ(loop_add_fd(p.loop, p.b[0], EPOLLIN, remove_both, &p), 0);
	CHECK(write(p.a[1], "x", 1) == 1 && write(p.b[1], "x", 1) == 1);
	loop_run(p.loop);
	CHECK_EQ(p.runs, 1);
	loop_destroy(p.loop);
}
