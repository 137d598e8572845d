// SPDX-License-Identifier: MIT
/* The NAT helper: started, spoken to, ended. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "net/netdev.h"

struct rig {
	struct loop *loop;
	struct netdev *net;
	pthread_t thread;
	struct loop_work send_work;
	_Atomic unsigned nr_frames;
	u8 last[2048];
	_Atomic bool refuse;
	_Atomic unsigned nr_refused;
};

/* Who has 10.0.2.2? Tell 10.0.2.15, 52:54:00:12:34:56. */
static const u8 arp_request[42] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6,
	0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15,
	0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
};

static unsigned receive(void *opaque, const struct iovec *frames, unsigned nr)
{
	struct rig *r = opaque;

	if (r->refuse) {
		r->nr_refused++;
		return 0;
	}
	memcpy(r->last, frames[nr - 1].iov_base, frames[nr - 1].iov_len);
	r->nr_frames += nr;
	return nr;
}

static void send_arp(void *arg)
{
	struct rig *r = arg;
	struct iovec iov[2] = { { (void *)arp_request, 20 }, { (u8 *)arp_request + 20, 22 } };

	CHECK(r->net->ops->send(r->net, iov, 2));
}

static void rx_ready(void *arg)
{
	struct rig *r = arg;

	r->net->ops->rx_ready(r->net);
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void rig_init(struct rig *r, const char *hostfwd)
{
	struct err e = { "" };

	memset(r, 0, sizeof(*r));
	CHECK_EQ(loop_create(&r->loop), 0);
	if (netdev_user_create(&hostfwd, hostfwd != NULL, r->loop, &r->net, &e)) {
		if (strstr(e.text, "libslirp-dev"))
			SKIP("nestor-nat is not built");
		test_fail(__FILE__, __LINE__, "%s", e.text);
		_exit(1);
	}
	r->net->client = (struct netdev_client){ .receive = receive, .opaque = r };
	r->send_work = (struct loop_work){ .fn = send_arp, .arg = r };
	pthread_create(&r->thread, NULL, run_loop, r->loop);
}

static void rig_fini(struct rig *r)
{
	loop_stop(r->loop);
	pthread_join(r->thread, NULL);
	netdev_destroy(r->net);
	loop_destroy(r->loop);
}

static bool wait_for(_Atomic unsigned *v, unsigned n)
{
	for (unsigned i = 0; i < 5000 && *v < n; i++)
		usleep(1000);
	return *v >= n;
}

TEST(net_user, gateway_answers_arp)
{
	struct rig r;

	rig_init(&r, NULL);
	loop_post(r.loop, &r.send_work);
	CHECK(wait_for(&r.nr_frames, 1));
	CHECK(!memcmp(r.last + 12, "\x08\x06", 2));
	CHECK_EQ(r.last[21], 2); /* a reply */
	CHECK(!memcmp(r.last + 28, "\x0a\x00\x02\x02", 4));
	rig_fini(&r);
}

TEST(net_user, refused_frames_come_again)
{
	struct loop_work ready;
	struct rig r;

	rig_init(&r, NULL);
	ready = (struct loop_work){ .fn = rx_ready, .arg = &r };
	r.refuse = true;
	loop_post(r.loop, &r.send_work);
	CHECK(wait_for(&r.nr_refused, 1));
	CHECK_EQ(r.nr_frames, 0);
	r.refuse = false;
	loop_post(r.loop, &ready);
	CHECK(wait_for(&r.nr_frames, 1));
	loop_post(r.loop, &r.send_work);
	CHECK(wait_for(&r.nr_frames, 2));
	rig_fini(&r);
}

static int bound_socket(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	CHECK_EQ(bind(fd, (struct sockaddr *)a, sizeof(*a)), 0);
	CHECK_EQ(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)a, &len);
	return fd;
}

TEST(net_user, port_in_use_is_said)
{
	struct sockaddr_in a;
	int fd = bound_socket(&a);
	char text[64];
	const char *fwd = text;
	struct netdev *net;
	struct loop *loop;
	struct err e = { "" };

	CHECK_EQ(loop_create(&loop), 0);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u-:22", ntohs(a.sin_port));
	CHECK(netdev_user_create(&fwd, 1, loop, &net, &e) != 0);
	if (strstr(e.text, "libslirp-dev"))
		SKIP("nestor-nat is not built");
	CHECK(strstr(e.text, "Address already in use"));
	CHECK(strstr(e.text, text));
	close(fd);
	loop_destroy(loop);
}

TEST(net_user, forwarded_port_reaches_the_guest)
{
	struct sockaddr_in a;
	int fd = bound_socket(&a);
	char text[64];
	struct rig r;

	close(fd);
	snprintf(text, sizeof(text), "tcp::%u-:22", ntohs(a.sin_port));
	rig_init(&r, text);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK(wait_for(&r.nr_frames, 1)); /* it asks where 10.0.2.15 is */
	CHECK(!memcmp(r.last + 12, "\x08\x06", 2));
	CHECK(!memcmp(r.last + 38, "\x0a\x00\x02\x0f", 4));
	close(fd);
	rig_fini(&r);
}
