// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "block/blockdev.h"

enum { SIZE = 64 * 1024 };

static void make_file(char path[64], off_t size)
{
	int fd;

	snprintf(path, 64, "/tmp/nestor-raw-test.XXXXXX");
	fd = mkstemp(path);
	CHECK(fd >= 0 && !ftruncate(fd, size));
	close(fd);
}

static void count(struct block_req *r)
{
	atomic_fetch_add((_Atomic unsigned *)r->opaque, 1);
}

static int run(struct blockdev *d, struct block_req r)
{
	_Atomic unsigned nr_done = 0;

	r.done = count;
	r.opaque = &nr_done;
	r.result = 1;
	blockdev_submit(d, &r);
	blockdev_drain(d);
	CHECK_EQ(nr_done, 1);
	return r.result;
}

static int transfer(struct blockdev *d, enum block_op op, u64 off, void *buf, size_t size)
{
	struct iovec iov[2] = { { buf, size / 2 }, { (char *)buf + size / 2, size - size / 2 } };

	return run(d, (struct block_req){ .op = op, .offset = off, .size = size, .iov = iov,
					  .nr_iov = 2 });
}

TEST(raw, reads_back_what_was_written)
{
	char path[64], a[4096], b[4096];
	struct blockdev *d;

	make_file(path, SIZE);
	CHECK_EQ(raw_open(path, false, &d, NULL), 0);
	CHECK_EQ(d->size, SIZE);
	memset(a, 'x', sizeof(a));
	CHECK_EQ(transfer(d, BLOCK_WRITE, 512, a, sizeof(a)), 0);
	CHECK_EQ(run(d, (struct block_req){ .op = BLOCK_FLUSH }), 0);
	CHECK_EQ(transfer(d, BLOCK_READ, 512, b, sizeof(b)), 0);
	CHECK(!memcmp(a, b, sizeof(a)));
	CHECK_EQ(run(d, (struct block_req){ .op = BLOCK_ZERO, .offset = 1024, .size = 512 }), 0);
	CHECK_EQ(transfer(d, BLOCK_READ, 512, b, sizeof(b)), 0);
	CHECK(b[511] == 'x' && b[512] == 0 && b[1023] == 0 && b[1024] == 'x');
	CHECK_EQ(run(d, (struct block_req){ .op = BLOCK_DISCARD, .offset = 0, .size = SIZE }), 0);
	blockdev_close(d);
	unlink(path);
}

TEST(raw, refuses_out_of_range)
{
	char path[64], a[512];
	struct blockdev *d;

	make_file(path, SIZE);
	CHECK_EQ(raw_open(path, false, &d, NULL), 0);
	CHECK_EQ(transfer(d, BLOCK_READ, SIZE, a, sizeof(a)), -EINVAL);
	CHECK_EQ(transfer(d, BLOCK_WRITE, ~0ull - 100, a, sizeof(a)), -EINVAL);
	blockdev_close(d);
	unlink(path);
}

TEST(raw, truncated_behind_our_back_is_an_error)
{
	char path[64], a[512];
	struct blockdev *d;

	make_file(path, SIZE);
	CHECK_EQ(raw_open(path, false, &d, NULL), 0);
	CHECK_EQ(truncate(path, 100), 0);
	CHECK_EQ(transfer(d, BLOCK_READ, 4096, a, sizeof(a)), -EIO);
	blockdev_close(d);
	unlink(path);
}

TEST(raw, one_writer_or_many_readers)
{
	struct blockdev *a, *b, *c;
	struct err e = { "" };
	char path[64];

	make_file(path, SIZE);
	CHECK_EQ(raw_open(path, false, &a, &e), 0);
	CHECK(raw_open(path, false, &b, &e) != 0);
	CHECK(strstr(e.text, "in use elsewhere"));
	CHECK(raw_open(path, true, &b, &e) != 0);
	CHECK(strstr(e.text, "open for writing elsewhere"));
	blockdev_close(a);
	CHECK_EQ(raw_open(path, true, &b, &e), 0);
	CHECK_EQ(raw_open(path, true, &c, &e), 0);
	CHECK(raw_open(path, false, &a, &e) != 0);
	blockdev_close(b);
	blockdev_close(c);
	CHECK_EQ(raw_open(path, false, &a, &e), 0);
	blockdev_close(a);
	unlink(path);
}

TEST(raw, readonly_refuses_writes)
{
	char path[64], a[512] = "";
	struct blockdev *d;
	struct err e;

	make_file(path, SIZE);
	chmod(path, 0444);
	CHECK(raw_open(path, false, &d, &e) != 0);
	CHECK(strstr(e.text, "read-only"));
	CHECK_EQ(raw_open(path, true, &d, &e), 0);
	CHECK_EQ(transfer(d, BLOCK_WRITE, 0, a, sizeof(a)), -EROFS);
	CHECK_EQ(run(d, (struct block_req){ .op = BLOCK_FLUSH }), 0);
	blockdev_close(d);
	unlink(path);
}

TEST(raw, says_what_is_wrong)
{
	struct blockdev *d;
	struct err e;
	char path[64];

	CHECK(raw_open("/nonexistent/x", false, &d, &e) != 0);
	CHECK_STR(e.text, "cannot open disk /nonexistent/x: No such file or directory");
	CHECK(raw_open("/tmp", false, &d, &e) != 0);
	CHECK_STR(e.text, "cannot open disk /tmp: it is a directory");
	CHECK(raw_open("/dev/null", false, &d, &e) != 0);
	CHECK(strstr(e.text, "neither a file nor a block device"));
	make_file(path, 100);
	CHECK(raw_open(path, false, &d, &e) != 0);
	CHECK(strstr(e.text, "no whole sector"));
	unlink(path);
}
