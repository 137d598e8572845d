// SPDX-License-Identifier: MIT
/*
 * The host's end of a serial port.
 *
 * Theory of operation
 *
 * Output: the device's thread puts bytes into a ring and returns; the writer
 * thread takes them out and writes. It waits a moment after the first byte, so
 * that a console's line is one write and not eighty. When the ring is full the
 * device's thread waits, which stops the guest as a slow line would; closing
 * ends all waits, and what comes then is dropped. Who pauses the VM must not wait
 * for a slow reader too: while hurried, the ring grows instead.
 *
 * Input: the loop reads when the descriptor is ready and nothing is left over;
 * what the device does not take is kept, and the descriptor not watched, until
 * rx_ready() says that there is room.
 */
#include "vm/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	RING_SIZE = 256 << 10,
	RING_MAX = 16 << 20,
	INPUT_SIZE = 1024,
	GATHER_US = 500,
	CLOSE_LIMIT_MS = 2000, /* for a reader who does not read */
	ESCAPE_KEY = 1,	       /* Ctrl-a */
};

#define INTERRUPT_SIGNAL (SIGRTMIN + 1)

struct serial {
	struct chardev dev;
	struct loop *loop;
	int in_fd, out_fd; /* -1 = none */
	int slave_fd;	   /* a pty's other end, kept open so that it never hangs up */
	bool own_fds;
	const char *made; /* the file that did not exist before */
	bool empty_it;	  /* an existing file, once the VM is made */
	bool is_pty;

	/* Output. @lock guards the rest of it. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t writer;
	bool has_writer;
	bool closing;	  /* write what is there, then end */
	bool broken;	  /* nobody reads any more: drop */
	bool writer_done;
	bool hurried; /* nobody may wait for room */
	bool stalled; /* the writer's: a pty that nobody reads */
	u8 *ring;
	size_t size, head, used; /* of the ring; oldest byte; count */

	/* Input. The loop's thread. */
	serial_receive_fn *receive;
	void *receive_opaque;
	struct loop_work rx_work;
	bool polled;  /* the loop knows in_fd */
	bool watched; /* and looks at it */
	bool eof;
	u8 input[INPUT_SIZE];
	size_t input_pos, input_len;
	bool escape_on, escaped;
	void (*quit)(void *opaque);
	void *quit_opaque;
};

/* ---- Output ---- */

/* Waits a moment at most, so that closing is noticed. */
static bool writable(struct serial *s)
{
	struct pollfd p = { .fd = s->out_fd, .events = POLLOUT };

	return poll(&p, 1, s->stalled ? 0 : 100) > 0;
}

/* The number of bytes that are dealt with. A pty that nobody reads takes no
 * more once its buffer is full: then they are dropped, without waiting for each. */
static size_t write_some(struct serial *s, const u8 *data, size_t size)
{
	if (!writable(s)) {
		s->stalled = s->is_pty;
		return s->is_pty ? size : 0;
	}
	s->stalled = false;
	ssize_t n = write(s->out_fd, data, size);
	if (n >= 0)
		return (size_t)n;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	pthread_mutex_lock(&s->lock);
	s->broken = true;
	pthread_mutex_unlock(&s->lock);
	return size;
}

static void gather(struct serial *s)
{
	struct timespec ts = { .tv_nsec = GATHER_US * 1000 };

	if (s->used >= PAGE_SIZE || s->closing)
		return;
	pthread_mutex_unlock(&s->lock);
	nanosleep(&ts, NULL);
	pthread_mutex_lock(&s->lock);
}

static void *writer_thread(void *arg)
{
	struct serial *s = arg;
	u8 piece[PAGE_SIZE];

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!s->used && !s->closing)
			pthread_cond_wait(&s->changed, &s->lock);
		if (!s->used || s->broken)
			break;
		gather(s);
		size_t n = MIN(MIN(s->used, s->size - s->head), sizeof(piece));
		memcpy(piece, s->ring + s->head, n); /* the ring may move */
		pthread_mutex_unlock(&s->lock);
		n = write_some(s, piece, n);
		pthread_mutex_lock(&s->lock);
		s->head = (s->head + n) % s->size;
		s->used -= n;
		pthread_cond_broadcast(&s->changed);
	}
	s->broken = true;
	s->writer_done = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static bool ring_grow(struct serial *s)
{
	size_t first = MIN(s->used, s->size - s->head);
	u8 *ring = s->size < RING_MAX ? malloc(2 * s->size) : NULL;

	if (!ring)
		return false;
	memcpy(ring, s->ring + s->head, first);
	memcpy(ring + first, s->ring, s->used - first);
	free(s->ring);
	s->ring = ring;
	s->head = 0;
	s->size *= 2;
	return true;
}

static size_t ring_put(struct serial *s, const u8 *data, size_t size)
{
	size_t tail = (s->head + s->used) % s->size;
	size_t n = MIN(MIN(size, s->size - s->used), s->size - tail);

	memcpy(s->ring + tail, data, n);
	if (!s->used)
		pthread_cond_broadcast(&s->changed);
	s->used += n;
	return n;
}

static void serial_write(void *opaque, const void *data, size_t size)
{
	struct serial *s = opaque;
	const u8 *from = data;

	pthread_mutex_lock(&s->lock);
	while (size && !s->broken && !s->closing) {
		size_t n = ring_put(s, from, size);

		from += n;
		size -= n;
		if (size && !n && !(s->hurried && ring_grow(s)))
			pthread_cond_wait(&s->changed, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

void serial_hurry(struct serial *s, bool on)
{
	pthread_mutex_lock(&s->lock);
	s->hurried = on;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* ---- Input ---- */

static void watch(struct serial *s, bool on)
{
	if (s->polled && s->watched != on)
		loop_mod_fd(s->loop, s->in_fd, on ? EPOLLIN : 0);
	s->watched = on;
}

static void end_of_input(struct serial *s)
{
	s->eof = true;
	if (s->polled)
		loop_del_fd(s->loop, s->in_fd);
	s->polled = false;
}

static void say_help(void)
{
	static const char text[] =
		"\r\nCtrl-a x       end the virtual machine\r\n"
		"Ctrl-a h       this help\r\n"
		"Ctrl-a Ctrl-a  send Ctrl-a\r\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		return;
}

/* The key after Ctrl-a; true when it goes to the guest. */
static bool escape_key(struct serial *s, u8 key)
{
	if (key == 'x' || key == 'X')
		s->quit(s->quit_opaque);
	else if (key == 'h' || key == 'H' || key == '?')
		say_help();
	else
		return key == ESCAPE_KEY || key == 'a';
	return false;
}

/* Takes the escape sequences out of what was read. */
static size_t filter_escapes(struct serial *s, u8 *data, size_t size)
{
	size_t out = 0;

	if (!s->escape_on)
		return size;
	for (size_t i = 0; i < size; i++) {
		u8 key = data[i];

		if (s->escaped) {
			s->escaped = false;
			if (escape_key(s, key))
				data[out++] = ESCAPE_KEY;
		} else if (key == ESCAPE_KEY) {
			s->escaped = true;
		} else {
			data[out++] = key;
		}
	}
	return out;
}

static void give(struct serial *s)
{
	size_t n = s->receive(s->receive_opaque, s->input + s->input_pos,
			      s->input_len - s->input_pos);

	s->input_pos += n;
	if (s->input_pos == s->input_len)
		s->input_pos = s->input_len = 0;
}

/* False when there was nothing to read. */
static bool fill(struct serial *s)
{
	ssize_t n = read(s->in_fd, s->input, sizeof(s->input));

	if (n > 0) {
		s->input_len = filter_escapes(s, s->input, (size_t)n);
		return true;
	}
	if (!n || (errno != EAGAIN && errno != EINTR))
		end_of_input(s);
	return false;
}

static void serial_readable(void *arg, u32 events)
{
	struct serial *s = arg;

	(void)events;
	if (!s->input_len && !s->eof && fill(s) && s->input_len)
		give(s);
	if (!s->eof)
		watch(s, !s->input_len);
}

/* A file cannot be polled: it is always readable, so it is read on demand. */
static void serial_more_room(void *arg)
{
	struct serial *s = arg;

	if (!s->receive)
		return;
	if (s->input_len)
		give(s);
	while (!s->polled && !s->eof && !s->input_len && s->in_fd >= 0 && fill(s) && s->input_len)
		give(s);
	if (!s->eof && !s->input_len)
		watch(s, true);
}

static void serial_rx_ready(void *opaque)
{
	struct serial *s = opaque;

	loop_post(s->loop, &s->rx_work);
}

void serial_connect(struct serial *s, serial_receive_fn *fn, void *opaque)
{
	s->receive = fn;
	s->receive_opaque = opaque;
	if (s->in_fd < 0)
		return;
	s->polled = !loop_add_fd(s->loop, s->in_fd, EPOLLIN, serial_readable, s);
	s->watched = s->polled;
	if (!s->polled)
		loop_post(s->loop, &s->rx_work);
}

void serial_set_escape(struct serial *s, void (*quit)(void *opaque), void *opaque)
{
	s->escape_on = s->in_fd == STDIN_FILENO && isatty(s->in_fd);
	s->quit = quit;
	s->quit_opaque = opaque;
}

/* ---- Opening ---- */

/* Root may write a file that nobody is meant to write. */
static bool nobody_may_write(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !(st.st_mode & 0222);
}

/* Not blocking: a FIFO without a reader would wait for one. */
static void open_existing(struct serial *s, const struct vm_serial *c)
{
	struct stat st;

	s->out_fd = open(c->path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
				  (c->append ? O_APPEND : 0));
	s->empty_it = !c->append && s->out_fd >= 0 && !fstat(s->out_fd, &st) && S_ISREG(st.st_mode);
}

static int open_file(struct serial *s, const struct vm_serial *c, struct err *e)
{
	const char *path = c->path;

	s->own_fds = true;
	s->out_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (s->out_fd >= 0)
		s->made = path;
	else if (errno == EEXIST && !nobody_may_write(path))
		open_existing(s, c);
	else if (errno == EEXIST)
		errno = EACCES;
	return s->out_fd < 0 ? err_set(e, "cannot write serial file %s: %s", path,
				       errno == ENXIO ? "nobody reads from it" : strerror(errno))
			     : 0;
}

/* Raw from the start: an echo of the guest's output would be its input. */
static int open_slave(const char *name)
{
	int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;

	if (fd >= 0 && !tcgetattr(fd, &t)) {
		cfmakeraw(&t);
		tcsetattr(fd, TCSANOW, &t);
	}
	return fd;
}

int serial_open_pty(int *master, int *slave, char *name, size_t size, struct err *e)
{
	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (*master < 0 || grantpt(*master) || unlockpt(*master) || ptsname_r(*master, name, size) ||
	    (*slave = open_slave(name)) < 0)
		return err_set(e, "cannot make a pseudo-terminal: %s", strerror(errno));
	return 0;
}

static int open_pty(struct serial *s, struct err *e)
{
	char name[64];

	s->is_pty = s->own_fds = true;
	int r = serial_open_pty(&s->in_fd, &s->slave_fd, name, sizeof(name), e);

	s->out_fd = s->in_fd;
	if (!r)
		fprintf(stderr, "nestor: serial port on %s\n", name);
	return r;
}

static int open_fds(struct serial *s, const struct vm_serial *c, struct err *e)
{
	if (c->kind == VM_SERIAL_FILE)
		return open_file(s, c, e);
	if (c->kind == VM_SERIAL_PTY)
		return open_pty(s, e);
	if (c->kind == VM_SERIAL_STDIO) {
		s->in_fd = STDIN_FILENO;
		s->out_fd = STDOUT_FILENO;
	}
	return 0;
}

static void interrupted(int sig)
{
	(void)sig; /* its arrival ends write(2) with EINTR */
}

static int start_writer(struct serial *s, struct err *e)
{
	if (s->out_fd < 0) {
		s->broken = true;
		return 0;
	}
	struct sigaction sa = { .sa_handler = interrupted };

	sigaction(INTERRUPT_SIGNAL, &sa, NULL);
	s->size = RING_SIZE;
	s->ring = malloc(s->size);
	int r = s->ring ? pthread_create(&s->writer, NULL, writer_thread, s) : ENOMEM;
	if (r)
		return err_set(e, "cannot start a serial port's thread: %s", strerror(r));
	s->has_writer = true;
	return 0;
}

int serial_create(const struct vm_serial *c, struct loop *loop, struct serial **res, struct err *e)
{
	struct serial *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, "not enough memory for a serial port");
	s->dev = (struct chardev){ serial_write, serial_rx_ready, s };
	s->rx_work = (struct loop_work){ .fn = serial_more_room, .arg = s };
	s->loop = loop;
	s->in_fd = s->out_fd = s->slave_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	if (open_fds(s, c, e) || start_writer(s, e)) {
		serial_destroy(s);
		return -1;
	}
	*res = s;
	return 0;
}

const struct chardev *serial_chardev(struct serial *s)
{
	return &s->dev;
}

/* ---- Closing ---- */

static void wait_a_moment(struct serial *s)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 50 * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&s->changed, &s->lock, &ts);
}

/* Waits for the writer to end by itself, as long as it gets on. Then it is
 * pushed out of its write(2), again and again, since a signal may come just
 * before that. */
static void end_writer(struct serial *s)
{
	u64 end = clock_ns() + CLOSE_LIMIT_MS * 1000000ull;
	size_t used = s->used;

	while (!s->writer_done && clock_ns() < end) {
		wait_a_moment(s);
		if (s->used != used)
			end = clock_ns() + CLOSE_LIMIT_MS * 1000000ull;
		used = s->used;
	}
	s->broken = true;
	while (!s->writer_done) {
		pthread_kill(s->writer, INTERRUPT_SIGNAL);
		wait_a_moment(s);
	}
}

void serial_close(struct serial *s)
{
	if (!s->has_writer)
		return;
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_broadcast(&s->changed);
	end_writer(s);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->writer, NULL);
	s->has_writer = false;
}

void serial_begin(struct serial *s)
{
	if (s->empty_it && ftruncate(s->out_fd, 0))
		log_warn("cannot empty a serial port's file: %s", strerror(errno));
	s->empty_it = false;
}

void serial_abandon(struct serial *s)
{
	if (s->made)
		unlink(s->made);
	s->made = NULL;
}

void serial_destroy(struct serial *s)
{
	if (!s)
		return;
	serial_close(s);
	if (s->polled)
		loop_del_fd(s->loop, s->in_fd);
	if (s->own_fds) {
		if (s->in_fd >= 0 && s->in_fd != s->out_fd)
			close(s->in_fd);
		if (s->out_fd >= 0)
			close(s->out_fd);
		if (s->slave_fd >= 0)
			close(s->slave_fd);
	}
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->ring);
	free(s);
}
