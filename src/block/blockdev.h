/* SPDX-License-Identifier: MIT */
/*
 * A disk as devices see it: requests that are carried out by worker threads, so
 * that neither a vCPU nor the loop ever waits for a disk.
 *
 *	r = raw_open("disk.img", false, &disk, &e);
 *	req->op = BLOCK_READ; req->offset = ...; req->iov = ...; req->done = my_done;
 *	blockdev_submit(disk, req);		any thread; returns at once
 *	... my_done(req) runs on a worker thread, req->result 0 or -errno
 *
 * A format (raw.c, later qcow2) gives the functions of struct blockdev_ops; they
 * are called on several worker threads at a time. Requests in flight have no
 * order among themselves; a flush covers what was done before it was submitted.
 */
#ifndef NESTOR_BLOCK_BLOCKDEV_H
#define NESTOR_BLOCK_BLOCKDEV_H

#include <pthread.h>
#include <sys/uio.h>

#include "base/log.h"
#include "base/types.h"

enum { BLOCK_SECTOR = 512, BLOCK_MAX_WORKERS = 4 };

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

struct block_req {
	enum block_op op;
	u64 offset, size; /* bytes */
	struct iovec *iov; /* of read and write: @size bytes in all; may be changed */
	unsigned nr_iov;
	bool may_unmap;	   /* BLOCK_ZERO: space may be given back */
	bool write_through; /* BLOCK_WRITE: done means on stable storage */
	int result;
	void (*done)(struct block_req *req);
	void *opaque;
	struct block_req *next; /* the pool's */
};

struct blockdev;

struct blockdev_ops {
	int (*read)(struct blockdev *d, struct iovec *iov, unsigned nr_iov, u64 offset);
	int (*write)(struct blockdev *d, struct iovec *iov, unsigned nr_iov, u64 offset);
	int (*flush)(struct blockdev *d);
	int (*discard)(struct blockdev *d, u64 offset, u64 size);
	int (*zero)(struct blockdev *d, u64 offset, u64 size, bool may_unmap);
	void (*close)(struct blockdev *d);
};

struct blockdev {
	const struct blockdev_ops *ops;
	char *path;
	u64 size; /* bytes, whole sectors */
	bool readonly;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t work, idle;
	struct block_req *head, **tail;
	unsigned nr_workers, nr_waiting; /* workers; those that wait for a request */
	unsigned nr_queued, nr_busy;	 /* requests: waiting; at work */
	bool closing;
	pthread_t workers[BLOCK_MAX_WORKERS];
};

/* A raw image file or block device. The file is locked as long as it is open:
 * one writer, or any number of readers. */
int raw_open(const char *path, bool readonly, struct blockdev **res, struct err *e);

void blockdev_submit(struct blockdev *d, struct block_req *req);
void blockdev_drain(struct blockdev *d); /* waits until all that was submitted is done */
void blockdev_close(struct blockdev *d); /* drains, syncs; accepts NULL */

/* For formats: sets up the part that is common to all. */
int blockdev_init(struct blockdev *d, const struct blockdev_ops *ops, const char *path);
void blockdev_fini(struct blockdev *d);

#endif
