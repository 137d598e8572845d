// SPDX-License-Identifier: MIT
/*
 * nestor-nat: libslirp behind a socket. A program of its own, since libslirp
 * brings GLib along, and since a TCP/IP stack that parses a guest's packets is
 * better not in the VM's process.
 *
 *	nestor-nat [HOSTFWD...]		with the socket as descriptor 3
 *
 * Says "ok" or a sentence on the socket, then each message is an Ethernet frame.
 * Ends when the socket's other end does. Single-threaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/hostfwd.h"

enum { SOCKET = 3, BATCH = 64, FRAME_SIZE = 2048, MTU = 1500 };
#define NSEC_PER_MSEC 1000000ull

struct nat_timer {
	SlirpTimerCb cb;
	void *opaque;
	s64 deadline_ms; /* of clock_ns(), 0 = off */
	struct nat_timer *next;
};

struct nat {
	Slirp *slirp;
	struct nat_timer *timers;
	struct pollfd *fds; /* the first is the socket */
	unsigned nr_fds, max_fds;
	bool gone; /* the other end */
	u8 frame[FRAME_SIZE];
};

/* --- what libslirp asks of us --- */

/* Waits when the VM is slow: a lost frame would cost TCP a time-out. */
static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct nat *n = opaque;
	ssize_t r;

	if (len > FRAME_SIZE)
		return (ssize_t)len;
	do
		r = send(SOCKET, buf, len, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == EPIPE || errno == ECONNRESET))
		n->gone = true;
	return (ssize_t)len; /* a lost frame is nothing to complain about */
}

static void guest_error(const char *msg, void *opaque)
{
	(void)msg;
	(void)opaque;
}

static int64_t clock_get_ns(void *opaque)
{
	(void)opaque;
	return (int64_t)clock_ns();
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct nat *n = opaque;
	struct nat_timer *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	*t = (struct nat_timer){ .cb = cb, .opaque = cb_opaque, .next = n->timers };
	n->timers = t;
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct nat *n = opaque;

	for (struct nat_timer **at = &n->timers; *at; at = &(*at)->next) {
		if (*at != timer)
			continue;
		*at = (*at)->next;
		free(timer);
		return;
	}
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct nat_timer *t = timer;

	(void)opaque;
	t->deadline_ms = expire_ms;
}

/* All descriptors are asked for anew before each poll(). */
static void ignore_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

static void ignore_notify(void *opaque)
{
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_fd,
	.unregister_poll_fd = ignore_fd,
	.notify = ignore_notify,
};

/* --- polling --- */

static const struct {
	int slirp;
	short poll;
} events[] = {
	{ SLIRP_POLL_IN, POLLIN },   { SLIRP_POLL_OUT, POLLOUT }, { SLIRP_POLL_PRI, POLLPRI },
	{ SLIRP_POLL_ERR, POLLERR }, { SLIRP_POLL_HUP, POLLHUP },
};

static int add_poll(int fd, int wanted, void *opaque)
{
	struct nat *n = opaque;
	struct pollfd p = { .fd = fd };

	if (n->nr_fds == n->max_fds) {
		n->max_fds = n->max_fds ? 2 * n->max_fds : 64;
		n->fds = realloc(n->fds, n->max_fds * sizeof(*n->fds));
		if (!n->fds)
			abort();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (wanted & events[i].slirp)
			p.events |= events[i].poll;
	n->fds[n->nr_fds] = p;
	return (int)n->nr_fds++;
}

static int get_revents(int idx, void *opaque)
{
	struct nat *n = opaque;
	int res = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (n->fds[idx].revents & events[i].poll)
			res |= events[i].slirp;
	return res;
}

static u32 timer_timeout(const struct nat *n, u32 timeout)
{
	s64 now = (s64)(clock_ns() / NSEC_PER_MSEC);

	for (const struct nat_timer *t = n->timers; t; t = t->next)
		if (t->deadline_ms)
			timeout = t->deadline_ms <= now ?
					  0 :
					  (u32)MIN((s64)timeout, t->deadline_ms - now);
	return timeout;
}

static void run_timers(struct nat *n)
{
	s64 now = (s64)(clock_ns() / NSEC_PER_MSEC);

	for (struct nat_timer *t = n->timers, *next; t; t = next) {
		next = t->next;
		if (!t->deadline_ms || t->deadline_ms > now)
			continue;
		t->deadline_ms = 0;
		t->cb(t->opaque);
	}
}

static void read_frames(struct nat *n)
{
	for (unsigned i = 0; i < BATCH && !n->gone; i++) {
		ssize_t r = recv(SOCKET, n->frame, sizeof(n->frame), MSG_DONTWAIT);

		if (r < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (r <= 0)
			n->gone = true;
		else
			slirp_input(n->slirp, n->frame, (int)r);
	}
}

static void serve(struct nat *n)
{
	while (!n->gone) {
		u32 timeout = UINT32_MAX;
		int r;

		n->nr_fds = 0;
		add_poll(SOCKET, SLIRP_POLL_IN, n);
		slirp_pollfds_fill(n->slirp, &timeout, add_poll, n);
		timeout = timer_timeout(n, timeout);
		r = poll(n->fds, n->nr_fds, timeout > INT32_MAX ? -1 : (int)timeout);
		slirp_pollfds_poll(n->slirp, r < 0, get_revents, n);
		run_timers(n);
		if (r > 0 && n->fds[0].revents)
			read_frames(n);
	}
}

/* --- set-up --- */

static struct in_addr ip(u32 host_order)
{
	return (struct in_addr){ htonl(host_order) };
}

static Slirp *make_slirp(struct nat *n)
{
	SlirpConfig config = {
		.version = 1,
		.in_enabled = true,
		.vnetwork = ip(0x0a000200), /* 10.0.2.0 */
		.vnetmask = ip(0xffffff00),
		.vhost = ip(0x0a000202),
		.vdhcp_start = ip(0x0a00020f),
		.vnameserver = ip(0x0a000203),
		.vhostname = "nestor",
		.if_mtu = MTU,
		.if_mru = MTU,
	};

	return slirp_new(&config, &callbacks, n);
}

static int add_forward(struct nat *n, const char *text, struct err *e)
{
	struct hostfwd f;

	if (hostfwd_parse(text, &f, e))
		return -1;
	if (slirp_add_hostfwd(n->slirp, f.is_udp, f.host, f.host_port, f.guest, f.guest_port) < 0)
		return err_set(e, "cannot forward %s: port %u of the host cannot be bound: %s",
			       text, f.host_port, strerror(errno));
	return 0;
}

static int set_up(struct nat *n, int argc, char **argv, struct err *e)
{
	n->slirp = make_slirp(n);
	if (!n->slirp)
		return err_set(e, "cannot start the network helper: libslirp does not start");
	for (int i = 1; i < argc; i++)
		if (add_forward(n, argv[i], e))
			return -1;
	return 0;
}

/* Nothing here needs privileges, core dumps, the terminal (where libslirp would
 * remark on what a guest sends) or the VM's other descriptors. */
static void confine(void)
{
	struct rlimit none = { 0, 0 };
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < SOCKET && null >= 0; fd++)
		dup2(null, fd);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
	close_range(SOCKET + 1, ~0u, 0);
	signal(SIGPIPE, SIG_IGN);
	if (chdir("/"))
		return;
}

int main(int argc, char **argv)
{
	struct nat n = { 0 };
	struct err e = { "" };
	int r;

	confine();
	r = set_up(&n, argc, argv, &e);
	if (send(SOCKET, r ? e.text : "ok", r ? strlen(e.text) : 2, MSG_NOSIGNAL) < 0)
		r = -1;
	if (!r)
		serve(&n);
	if (n.slirp)
		slirp_cleanup(n.slirp);
	free(n.fds);
	return r ? 1 : 0;
}
