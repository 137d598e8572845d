// SPDX-License-Identifier: MIT
/*
 * The console of a serial port.
 *
 * Bytes are numbered from the beginning; byte n is at n modulo HUB_SIZE of the
 * ring while total - n <= HUB_SIZE. Each client has the number of the next byte it
 * wants. The guest's thread only copies into the ring and sets a timer, so that a
 * line goes out at once and not byte by byte; the loop does the rest.
 */
#include "control/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "vm/serial.h"

enum { GATHER_NS = 1000000, PENDING_SIZE = 4096 };

struct hub_client {
	struct hub *hub;
	int fd;
	bool is_sink; /* the file or pty: read() and write(), and it stays */
	u64 next;
	bool blocked; /* waits until it can be written to */
	struct hub_client *others;
};

struct hub {
	struct chardev dev;
	struct loop *loop;
	struct timer timer;
	struct loop_work rx_work;
	struct hub_client *clients;
	struct hub_client sink; /* fd -1: none */
	int slave_fd;		/* of the pty: it never hangs up */
	char pty[64];
	serial_receive_fn *receive;
	void *receiver;
	size_t nr_pending; /* typed, not yet taken by the guest */
	u8 pending[PENDING_SIZE];

	pthread_mutex_t lock; /* all below; a leaf */
	u64 total;
	bool timer_on;
	u8 ring[HUB_SIZE];
};

/* ---- The guest writes ---- */

static void put(struct hub *h, const u8 *from, size_t size)
{
	while (size) {
		size_t at = h->total % HUB_SIZE, n = MIN(size, HUB_SIZE - at);

		memcpy(h->ring + at, from, n);
		h->total += n;
		from += n;
		size -= n;
	}
}

static void hub_write(void *opaque, const void *data, size_t size)
{
	struct hub *h = opaque;

	pthread_mutex_lock(&h->lock);
	put(h, data, size);
	bool set = h->loop && !h->timer_on;
	h->timer_on = h->timer_on || set;
	pthread_mutex_unlock(&h->lock);
	if (set)
		timer_set(&h->timer, clock_ns() + GATHER_NS);
}

/* ---- Clients read ---- */

u64 hub_first(struct hub *h, u64 from)
{
	pthread_mutex_lock(&h->lock);
	u64 oldest = h->total > HUB_SIZE ? h->total - HUB_SIZE : 0;
	u64 first = MIN(MAX(from, oldest), h->total);
	pthread_mutex_unlock(&h->lock);
	return first;
}

/* A piece from c->next on; 0: there is no more. */
static size_t take(struct hub_client *c, u8 *to, size_t size)
{
	struct hub *h = c->hub;

	c->next = hub_first(h, c->next);
	pthread_mutex_lock(&h->lock);
	size_t at = c->next % HUB_SIZE;
	size_t n = MIN(MIN(size, (size_t)(h->total - c->next)), HUB_SIZE - at);
	memcpy(to, h->ring + at, n);
	pthread_mutex_unlock(&h->lock);
	return n;
}

static ssize_t send_piece(struct hub_client *c, const u8 *data, size_t size)
{
	return c->is_sink ? write(c->fd, data, size) : send(c->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void watch(struct hub_client *c)
{
	bool input = c->hub->nr_pending < PENDING_SIZE;

	loop_mod_fd(c->hub->loop, c->fd, (input ? (u32)EPOLLIN : 0) | (c->blocked ? (u32)EPOLLOUT : 0));
}

/* False: it is gone. */
static bool feed(struct hub_client *c)
{
	u8 piece[16384];
	size_t n;

	while ((n = take(c, piece, sizeof(piece)))) {
		ssize_t done = send_piece(c, piece, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno != EAGAIN)
			return false;
		if (done < 0)
			break;
		c->next += (u64)done;
	}
	bool blocked = n > 0;
	bool changed = blocked != c->blocked;
	c->blocked = blocked;
	if (changed && !c->is_sink)
		watch(c);
	return true;
}

static void drop(struct hub_client *c)
{
	loop_del_fd(c->hub->loop, c->fd);
	close(c->fd);
	c->fd = -1;
}

static void reap(struct hub *h)
{
	for (struct hub_client **p = &h->clients, *c; (c = *p);) {
		if (c->fd < 0) {
			*p = c->others;
			free(c);
		} else {
			p = &c->others;
		}
	}
}

/* A full disk or a closed pty loses bytes, not the port. */
static void feed_sink(struct hub *h)
{
	if (h->sink.fd >= 0 && (!feed(&h->sink) || h->sink.blocked)) {
		h->sink.next = ~0ull;
		h->sink.blocked = false;
	}
}

void hub_flush(struct hub *h)
{
	pthread_mutex_lock(&h->lock);
	h->timer_on = false;
	pthread_mutex_unlock(&h->lock);
	for (struct hub_client *c = h->clients; c; c = c->others)
		if (!c->blocked && !feed(c))
			drop(c);
	feed_sink(h);
	reap(h);
}

static void timer_fired(void *arg)
{
	hub_flush(arg);
}

/* ---- Clients write ---- */

static void give(struct hub *h)
{
	if (!h->receive || !h->nr_pending)
		return;
	size_t n = h->receive(h->receiver, h->pending, h->nr_pending);
	bool was_full = h->nr_pending == PENDING_SIZE;

	memmove(h->pending, h->pending + n, h->nr_pending - n);
	h->nr_pending -= n;
	if (!was_full || !n)
		return;
	for (struct hub_client *c = h->clients; c; c = c->others)
		watch(c);
}

static void more_room(void *arg)
{
	give(arg);
}

static void rx_ready(void *opaque)
{
	struct hub *h = opaque;

	if (h->loop)
		loop_post(h->loop, &h->rx_work);
}

static bool read_input(struct hub_client *c, bool hung_up)
{
	struct hub *h = c->hub;
	size_t room = PENDING_SIZE - h->nr_pending;

	if (!room) {
		watch(c);
		return !hung_up;
	}
	ssize_t n = read(c->fd, h->pending + h->nr_pending, room);
	if (n > 0) {
		h->nr_pending += (size_t)n;
		give(h);
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void client_ready(void *arg, u32 events)
{
	struct hub_client *c = arg;
	bool alive = true;

	if (events & EPOLLOUT)
		alive = feed(c);
	if (alive && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		alive = read_input(c, events & (EPOLLHUP | EPOLLERR));
	if (alive)
		return;
	if (c->is_sink)
		return;
	drop(c);
	reap(c->hub);
}

int hub_attach(struct hub *h, int fd, u64 from)
{
	struct hub_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct hub_client){ .hub = h, .fd = fd, .next = from, .others = h->clients };
	int r = loop_add_fd(h->loop, fd, EPOLLIN, client_ready, c);
	if (r) {
		free(c);
		return r;
	}
	h->clients = c;
	hub_flush(h);
	return 0;
}

/* ---- Making it ---- */

static void connect_guest(void *opaque, serial_receive_fn *fn, void *receiver)
{
	struct hub *h = opaque;

	h->receive = fn;
	h->receiver = receiver;
}

struct vm_serial hub_serial(struct hub *h)
{
	return (struct vm_serial){ .kind = VM_SERIAL_CHARDEV, .dev = &h->dev, .connect = connect_guest };
}

static int open_sink(struct hub *h, const char *path, struct err *e)
{
	if (!*path)
		return 0;
	if (!strcasecmp(path, "pty"))
		return serial_open_pty(&h->sink.fd, &h->slave_fd, h->pty, sizeof(h->pty), e);
	h->sink.fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
	return h->sink.fd < 0 ? err_set(e, "cannot write serial file %s: %s", path, strerror(errno)) : 0;
}

int hub_create(const char *path, struct hub **res, struct err *e)
{
	struct hub *h = calloc(1, sizeof(*h));

	if (!h)
		return err_set(e, "not enough memory for a console");
	h->dev = (struct chardev){ hub_write, rx_ready, h };
	h->rx_work = (struct loop_work){ .fn = more_room, .arg = h };
	h->sink = (struct hub_client){ .hub = h, .fd = -1, .is_sink = true };
	h->slave_fd = -1;
	pthread_mutex_init(&h->lock, NULL);
	if (open_sink(h, path, e)) {
		hub_destroy(h);
		return -1;
	}
	*res = h;
	return 0;
}

int hub_start(struct hub *h, struct loop *loop, struct err *e)
{
	timer_init(&h->timer, loop, timer_fired, h);
	pthread_mutex_lock(&h->lock);
	h->loop = loop;
	pthread_mutex_unlock(&h->lock);
	if (*h->pty && loop_add_fd(loop, h->sink.fd, EPOLLIN, client_ready, &h->sink))
		return err_set(e, "cannot watch a pseudo-terminal");
	return 0;
}

const char *hub_pty(const struct hub *h)
{
	return h->pty;
}

/* The loop is gone, or about to be. */
void hub_destroy(struct hub *h)
{
	if (!h)
		return;
	for (struct hub_client *c = h->clients, *next; c; c = next) {
		next = c->others;
		close(c->fd);
		free(c);
	}
	if (h->sink.fd >= 0)
		close(h->sink.fd);
	if (h->slave_fd >= 0)
		close(h->slave_fd);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
