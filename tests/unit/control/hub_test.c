// SPDX-License-Identifier: MIT
#include "control/hub.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../lib/test.h"

struct rig {
	struct loop *loop;
	struct hub *hub;
	struct vm_serial port;
	char typed[64]; /* what the guest got */
	size_t nr_typed, room;
};

static size_t receive(void *opaque, const void *data, size_t size)
{
	struct rig *r = opaque;
	size_t n = MIN(size, r->room);

	memcpy(r->typed + r->nr_typed, data, n);
	r->nr_typed += n;
	r->room -= n;
	return n;
}

static void rig_make(struct rig *r, const char *path)
{
	struct err e;

	memset(r, 0, sizeof(*r));
	r->room = sizeof(r->typed);
	CHECK_EQ(loop_create(&r->loop), 0);
	CHECK_EQ(hub_create(path, &r->hub, &e), 0);
	r->port = hub_serial(r->hub);
	r->port.connect(r->port.dev->opaque, receive, r);
	CHECK_EQ(hub_start(r->hub, r->loop, &e), 0);
}

static void rig_free(struct rig *r)
{
	hub_destroy(r->hub);
	loop_destroy(r->loop);
}

static void guest_writes(struct rig *r, const char *s)
{
	r->port.dev->write(r->port.dev->opaque, s, strlen(s));
}

/* The other end of a client's socket. */
static int attach(struct rig *r, u64 from)
{
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_EQ(hub_attach(r->hub, fds[0], hub_first(r->hub, from)), 0);
	return fds[1];
}

static void stop_loop(void *loop)
{
	loop_stop(loop);
}

/* Lets the loop do what there is. */
static void turn(struct rig *r)
{
	struct timer t;

	timer_init(&t, r->loop, stop_loop, r->loop);
	timer_set(&t, 1);
	loop_run(r->loop);
}

static void expect(int fd, const char *want)
{
	char got[128] = "";
	ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

	CHECK_EQ(n, strlen(want));
	CHECK_STR(got, want);
}

TEST(hub, who_comes_later_gets_what_was_before)
{
	struct rig r;

	rig_make(&r, "");
	guest_writes(&r, "booting");
	int a = attach(&r, 0), b = attach(&r, 4);
	expect(a, "booting");
	expect(b, "ing");
	guest_writes(&r, "!");
	hub_flush(r.hub);
	expect(a, "!");
	expect(b, "!");
	close(a);
	guest_writes(&r, "?");
	hub_flush(r.hub);
	expect(b, "?");
	close(b);
	rig_free(&r);
}

TEST(hub, a_reader_who_sleeps_holds_nobody_and_misses_bytes)
{
	static char big[HUB_SIZE];
	struct rig r;

	rig_make(&r, "");
	int a = attach(&r, 0);
	memset(big, 'x', sizeof(big) - 1);
	for (unsigned i = 0; i < 8; i++) {
		guest_writes(&r, big);
		hub_flush(r.hub);
	}
	CHECK_EQ(hub_first(r.hub, 0), 8 * (HUB_SIZE - 1) - HUB_SIZE);
	guest_writes(&r, "end");
	int b = attach(&r, 8 * (HUB_SIZE - 1));
	expect(b, "end");
	close(a);
	close(b);
	rig_free(&r);
}

TEST(hub, what_is_typed_waits_until_the_guest_takes_it)
{
	struct rig r;

	rig_make(&r, "");
	r.room = 2;
	int a = attach(&r, 0);
	CHECK_EQ(send(a, "hello", 5, 0), 5);
	turn(&r);
	CHECK_EQ(r.nr_typed, 2);
	r.room = 10;
	r.port.dev->rx_ready(r.port.dev->opaque);
	turn(&r);
	CHECK_EQ(r.nr_typed, 5);
	CHECK_STR(r.typed, "hello");
	close(a);
	rig_free(&r);
}

TEST(hub, output_goes_to_a_file_too)
{
	char path[] = "/tmp/nestor-hub-XXXXXX", got[16] = "";
	struct rig r;
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	rig_make(&r, path);
	guest_writes(&r, "lines");
	hub_flush(r.hub);
	CHECK_EQ(read(fd, got, sizeof(got) - 1), 5);
	CHECK_STR(got, "lines");
	close(fd);
	unlink(path);
	rig_free(&r);
}

TEST(hub, a_pty_nobody_reads_costs_nothing)
{
	struct rig r;

	rig_make(&r, "pty");
	CHECK(*hub_pty(r.hub));
	for (unsigned i = 0; i < 20000; i++)
		guest_writes(&r, "a line nobody reads");
	hub_flush(r.hub);
	turn(&r);
	rig_free(&r);
}
