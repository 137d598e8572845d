// SPDX-License-Identifier: MIT
/*
 * The worker threads of a disk. They are started when requests come that no
 * idle one can take, and stay until the disk is closed.
 */
#include "block/blockdev.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { WORKER_STACK = 128 << 10 };

static int run_write(struct blockdev *d, struct block_req *r)
{
	int err = d->ops->write(d, r->iov, r->nr_iov, r->offset);

	return !err && r->write_through ? d->ops->flush(d) : err;
}

static int run(struct blockdev *d, struct block_req *r)
{
	if (r->op != BLOCK_FLUSH && (r->offset > d->size || r->size > d->size - r->offset))
		return -EINVAL;
	if (d->readonly && r->op != BLOCK_READ && r->op != BLOCK_FLUSH)
		return -EROFS;
	switch (r->op) {
	case BLOCK_READ:
		return d->ops->read(d, r->iov, r->nr_iov, r->offset);
	case BLOCK_WRITE:
		return run_write(d, r);
	case BLOCK_FLUSH:
		return d->readonly ? 0 : d->ops->flush(d);
	case BLOCK_DISCARD:
		return d->ops->discard(d, r->offset, r->size);
	case BLOCK_ZERO:
		return d->ops->zero(d, r->offset, r->size, r->may_unmap);
	}
	return -ENOTSUP;
}

static struct block_req *take(struct blockdev *d)
{
	struct block_req *r;

	while (!d->head && !d->closing) {
		d->nr_waiting++;
		pthread_cond_wait(&d->work, &d->lock);
		d->nr_waiting--;
	}
	r = d->head;
	if (!r)
		return NULL;
	d->head = r->next;
	if (!d->head)
		d->tail = &d->head;
	d->nr_queued--;
	d->nr_busy++;
	return r;
}

static void *work(void *arg)
{
	struct blockdev *d = arg;
	struct block_req *r;

	pthread_mutex_lock(&d->lock);
	while ((r = take(d))) {
		pthread_mutex_unlock(&d->lock);
		r->result = run(d, r);
		r->done(r); /* @r may be gone now */
		pthread_mutex_lock(&d->lock);
		if (!--d->nr_busy && !d->head)
			pthread_cond_broadcast(&d->idle);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

/* Signals are the main thread's. */
static int start_worker(struct blockdev *d)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORKER_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	r = pthread_create(&d->workers[d->nr_workers], &attr, work, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!r)
		d->nr_workers++;
	return r;
}

void blockdev_submit(struct blockdev *d, struct block_req *req)
{
	bool stuck = false;

	pthread_mutex_lock(&d->lock);
	if (d->nr_queued >= d->nr_waiting && d->nr_workers < BLOCK_MAX_WORKERS)
		stuck = start_worker(d) && !d->nr_workers;
	if (!stuck) {
		req->next = NULL;
		*d->tail = req;
		d->tail = &req->next;
		d->nr_queued++;
		pthread_cond_signal(&d->work);
	}
	pthread_mutex_unlock(&d->lock);
	if (stuck) { /* no thread to be had: better slow than not at all */
		req->result = run(d, req);
		req->done(req);
	}
}

void blockdev_drain(struct blockdev *d)
{
	pthread_mutex_lock(&d->lock);
	while (d->head || d->nr_busy)
		pthread_cond_wait(&d->idle, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

void blockdev_close(struct blockdev *d)
{
	if (!d)
		return;
	blockdev_drain(d);
	pthread_mutex_lock(&d->lock);
	d->closing = true;
	pthread_cond_broadcast(&d->work);
	pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < d->nr_workers; i++)
		pthread_join(d->workers[i], NULL);
	if (!d->readonly && d->ops->flush(d))
		log_err("cannot sync disk %s: what was written last may be lost", d->path);
	d->ops->close(d);
}

int blockdev_init(struct blockdev *d, const struct blockdev_ops *ops, const char *path)
{
	d->ops = ops;
	d->path = strdup(path);
	d->tail = &d->head;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->work, NULL);
	pthread_cond_init(&d->idle, NULL);
	return d->path ? 0 : -ENOMEM;
}

void blockdev_fini(struct blockdev *d)
{
	free(d->path);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->work);
	pthread_cond_destroy(&d->idle);
}
