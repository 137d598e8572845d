// SPDX-License-Identifier: MIT
/* The host's end of a serial port: files, pseudo-terminals, slow readers. */
#include "vm/serial.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "base/clock.h"

static struct loop *loop;

static struct serial *make(enum vm_serial_kind kind, const char *path)
{
	struct vm_serial c = { .kind = kind, .path = path };
	struct serial *s = NULL;
	struct err e = { "" };

	if (!loop)
		CHECK_EQ(loop_create(&loop), 0);
	CHECK_EQ(serial_create(&c, loop, &s, &e), 0);
	CHECK_STR(e.text, "");
	return s;
}

static void put(struct serial *s, const char *text)
{
	const struct chardev *d = serial_chardev(s);

	d->write(d->opaque, text, strlen(text));
}

TEST(serial, file_has_all_output_after_close)
{
	char path[] = "/tmp/nestor-serial-test-XXXXXX", line[32], back[32];
	int fd = mkstemp(path);
	struct serial *s = make(VM_SERIAL_FILE, path);

	for (int i = 0; i < 20000; i++) {
		snprintf(line, sizeof(line), "line %07d\n", i);
		put(s, line);
	}
	serial_close(s);
	put(s, "dropped");
	serial_destroy(s);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 20000 * 13);
	CHECK_EQ(pread(fd, back, 13, 19999 * 13), 13);
	CHECK(!memcmp(back, "line 0019999\n", 13));
	unlink(path);
	close(fd);
}

TEST(serial, refuses_what_cannot_be_written)
{
	char path[] = "/tmp/nestor-serial-test-XXXXXX";
	int fd = mkstemp(path);
	struct vm_serial none = { .kind = VM_SERIAL_FILE, .path = "/no/such/folder/x" };
	struct vm_serial ro = { .kind = VM_SERIAL_FILE, .path = path };
	struct serial *s;
	struct err e;

	CHECK_EQ(loop_create(&loop), 0);
	CHECK_EQ(serial_create(&none, loop, &s, &e), -1);
	CHECK_STR(e.text,
		  "cannot write serial file /no/such/folder/x: No such file or directory");
	fchmod(fd, 0444);
	CHECK_EQ(serial_create(&ro, loop, &s, &e), -1);
	CHECK(strstr(e.text, "Permission denied"));
	unlink(path);
	close(fd);
}

/* Standard output is a full pipe: the guest's thread waits until closing. */
static void *writer(void *arg)
{
	static char block[4096];

	for (int i = 0; i < 200; i++) {
		const struct chardev *d = serial_chardev(arg);
		d->write(d->opaque, block, sizeof(block));
	}
	return NULL;
}

TEST(serial, closing_frees_a_blocked_writer)
{
	int out = dup(1), p[2];
	pthread_t t;

	CHECK_EQ(pipe(p), 0);
	fflush(stdout);
	dup2(p[1], 1);
	struct serial *s = make(VM_SERIAL_STDIO, NULL);
	CHECK_EQ(pthread_create(&t, NULL, writer, s), 0);
	usleep(100000);
	u64 start = clock_ns();
	serial_close(s);
	pthread_join(t, NULL);
	serial_destroy(s);
	dup2(out, 1);
	CHECK(clock_ns() - start < 30 * NSEC_PER_SEC);
}

static char received[64];
static size_t nr_received, room;

static size_t receive(void *opaque, const void *data, size_t size)
{
	size_t n = MIN(size, room);

	(void)opaque;
	memcpy(received + nr_received, data, n);
	nr_received += n;
	room -= n;
	return n;
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

static void run_loop_for(unsigned ms)
{
	struct timer t;

	timer_init(&t, loop, stop_loop, loop);
	timer_set(&t, clock_ns() + ms * 1000000ull);
	loop_run(loop);
	timer_cancel(&t);
}

static int open_other_end(int stderr_copy)
{
	char text[128] = "", name[64];

	CHECK(pread(stderr_copy, text, sizeof(text) - 1, 0) > 0);
	CHECK_EQ(sscanf(text, "nestor: serial port on %63s", name), 1);
	return open(name, O_RDWR | O_NOCTTY);
}

/* Makes a pty port while standard error, where it tells its name, is a file. */
static struct serial *make_pty(int *other)
{
	char path[] = "/tmp/nestor-serial-test-XXXXXX";
	int err = dup(2), file = mkstemp(path);

	dup2(file, 2);
	struct serial *s = make(VM_SERIAL_PTY, NULL);
	dup2(err, 2);
	*other = open_other_end(file);
	unlink(path);
	CHECK(*other >= 0);
	return s;
}

TEST(serial, pty_carries_both_ways_and_does_not_echo)
{
	char buf[16] = "";
	int fd;
	struct serial *s = make_pty(&fd);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	room = 3;
	serial_connect(s, receive, NULL);
	put(s, "hello");
	CHECK_EQ(poll(&p, 1, 2000), 1);
	CHECK_EQ(read(fd, buf, sizeof(buf)), 5);
	CHECK_STR(buf, "hello");
	CHECK_EQ(write(fd, "abcdef", 6), 6);
	run_loop_for(50);
	CHECK_EQ(nr_received, 3); /* no more room */
	room = 10;
	serial_chardev(s)->rx_ready(serial_chardev(s)->opaque);
	run_loop_for(50);
	CHECK_EQ(nr_received, 6);
	CHECK(!memcmp(received, "abcdef", 6));
	serial_close(s);
	serial_destroy(s);
}

TEST(serial, pty_that_nobody_reads_drops)
{
	static char block[4096];
	int fd;
	struct serial *s = make_pty(&fd);
	u64 start = clock_ns();

	for (int i = 0; i < 500; i++) {
		const struct chardev *d = serial_chardev(s);
		d->write(d->opaque, block, sizeof(block));
	}
	CHECK(clock_ns() - start < 30 * NSEC_PER_SEC);
	serial_close(s);
	serial_destroy(s);
}
