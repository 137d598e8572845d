// SPDX-License-Identifier: MIT
/*
 * virtio-balloon: VIRTIO 1.2, "Traditional Memory Balloon Device".
 *
 * The driver keeps one buffer in the statistics queue, to be returned when the
 * device wants news. It is read when it comes and stays available, so that nothing
 * need be remembered of it: asking is popping it once more and pushing it.
 */
#include "dev/virtio/balloon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* In the order that Linux gives queues to the features below. */
enum { INFLATE = 0, DEFLATE = 1, STATS = 2, REPORTING = 3, NR_QUEUES, QUEUE_SIZE = 128 };
enum { CONFIG_NUM_PAGES = 0, CONFIG_ACTUAL = 4, CONFIG_SIZE = 8 };

/* Of one chain; what else is in it stays with the guest. Linux puts 256 in. */
enum { MAX_PFNS = 4096, PFNS_AT_ONCE = 256, MAX_STATS = 32 };
#define MAX_REPORTED GIB(1)
/* Chains handled in one go: each may cost thousands of system calls. */
enum { BUDGET = 8 };

enum { STAT_FREE = 4, STAT_TOTAL = 5, STAT_AVAILABLE = 6 };

struct stat_entry {
	u16 tag;
	u64 value;
} __attribute__((packed));

struct vioballoon {
	struct virtio_dev v;
	struct virtq_chain chain;
	struct vioballoon_stats stats;
};

static u32 get_config(const struct vioballoon *b, unsigned at)
{
	u32 v;

	memcpy(&v, b->v.s.config + at, sizeof(v));
	return v;
}

/* --- pages --- */

/* Pages that follow each other, either way, are given back in one go. */
struct run {
	u64 from, to; /* page numbers */
};

static void end_run(struct vioballoon *b, struct run *r)
{
	if (r->from < r->to)
		mem_discard(b->v.mem, r->from << PAGE_SHIFT, (r->to - r->from) << PAGE_SHIFT);
	*r = (struct run){ 0 };
}

static void add_pfn(struct vioballoon *b, struct run *r, u32 pfn)
{
	if (r->from < r->to && pfn == r->to) {
		r->to++;
	} else if (r->from < r->to && (u64)pfn + 1 == r->from) {
		r->from--;
	} else {
		end_run(b, r);
		*r = (struct run){ pfn, (u64)pfn + 1 };
	}
}

static void inflate(struct vioballoon *b)
{
	u32 pfns[PFNS_AT_ONCE];
	struct run run = { 0 };
	size_t n;

	for (u64 off = 0; off < MAX_PFNS * sizeof(u32); off += n) {
		n = virtq_read(&b->chain, off, pfns, sizeof(pfns)) & ~(sizeof(u32) - 1);
		for (size_t i = 0; i < n / sizeof(u32); i++)
			add_pfn(b, &run, pfns[i]);
		if (n < sizeof(pfns))
			break;
	}
	end_run(b, &run);
}

/* The pages' contents are free to change until the chain is pushed. */
static void take_reported(struct vioballoon *b)
{
	const struct virtq_chain *c = &b->chain;
	u64 left = MAX_REPORTED;

	for (unsigned i = c->nr_out; i < (unsigned)c->nr_out + c->nr_in; i++) {
		u64 size = MIN((u64)c->iov[i].iov_len, left);

		mem_discard(b->v.mem, c->gpa[i], size);
		left -= size;
	}
}

/* --- statistics --- */

static void take_stats(struct vioballoon *b)
{
	struct stat_entry entries[MAX_STATS];
	size_t n = virtq_read(&b->chain, 0, entries, sizeof(entries)) / sizeof(entries[0]);
	struct vioballoon_stats s = { b->stats.count + 1, ~0ull, ~0ull, ~0ull };

	for (size_t i = 0; i < n; i++) {
		u64 v = entries[i].value;

		switch (entries[i].tag) {
		case STAT_FREE:
			s.free = v;
			break;
		case STAT_TOTAL:
			s.total = v;
			break;
		case STAT_AVAILABLE:
			s.available = v;
			break;
		}
	}
	b->stats = s;
}

static void kick_stats(struct vioballoon *b)
{
	struct virtq *q = &b->v.queues[STATS];
	int r = virtq_pop(q, &b->chain);

	if (r < 0)
		virtio_broken(&b->v);
	if (r <= 0)
		return;
	take_stats(b);
	virtq_unpop(q);
}

void vioballoon_poll(struct vioballoon *b)
{
	struct virtq *q = &b->v.queues[STATS];

	pthread_mutex_lock(&b->v.lock);
	if (virtio_running(&b->v) && virtio_has(&b->v, VIOBALLOON_F_STATS) && q->s.enabled) {
		int r = virtq_pop(q, &b->chain);

		if (r > 0) {
			virtq_push(q, &b->chain, 0);
			virtio_interrupt(&b->v, STATS);
		}
		virtio_rearm(&b->v, STATS, r > 0 ? 0 : r);
	}
	pthread_mutex_unlock(&b->v.lock);
}

/* --- the device --- */

static void run_queue(struct vioballoon *b, unsigned n)
{
	struct virtq *q = &b->v.queues[n];
	int r = 1;

	virtq_quiet(q);
	for (unsigned i = 0; i < BUDGET && (r = virtq_pop(q, &b->chain)) > 0; i++) {
		if (n == INFLATE)
			inflate(b);
		else if (n == REPORTING)
			take_reported(b);
		virtq_push(q, &b->chain, 0);
	}
	virtio_interrupt(&b->v, n);
	virtio_rearm(&b->v, n, r);
}

static void vioballoon_kick(struct virtio_dev *v, unsigned n)
{
	struct vioballoon *b = container_of(v, struct vioballoon, v);

	if (n == STATS)
		kick_stats(b);
	else
		run_queue(b, n);
}

static bool vioballoon_reset(struct virtio_dev *v, bool wait)
{
	struct vioballoon *b = container_of(v, struct vioballoon, v);

	(void)wait;
	b->stats = (struct vioballoon_stats){ 0 };
	return true;
}

bool vioballoon_running(struct vioballoon *b)
{
	pthread_mutex_lock(&b->v.lock);
	bool running = virtio_running(&b->v);
	pthread_mutex_unlock(&b->v.lock);
	return running;
}

void vioballoon_set_target(struct vioballoon *b, u64 size)
{
	u32 pages = (u32)MIN(size >> PAGE_SHIFT, (u64)UINT32_MAX);

	pthread_mutex_lock(&b->v.lock);
	if (get_config(b, CONFIG_NUM_PAGES) != pages) {
		memcpy(b->v.s.config + CONFIG_NUM_PAGES, &pages, sizeof(pages));
		virtio_config_changed(&b->v);
	}
	pthread_mutex_unlock(&b->v.lock);
}

u64 vioballoon_size(struct vioballoon *b)
{
	pthread_mutex_lock(&b->v.lock);
	u64 size = (u64)get_config(b, CONFIG_ACTUAL) << PAGE_SHIFT;
	pthread_mutex_unlock(&b->v.lock);
	return MIN(size, b->v.mem->ram_size);
}

void vioballoon_stats(struct vioballoon *b, struct vioballoon_stats *res)
{
	pthread_mutex_lock(&b->v.lock);
	*res = b->stats;
	pthread_mutex_unlock(&b->v.lock);
}

static const struct virtio_ops vioballoon_ops = {
	.name = "virtio-balloon",
	.id = VIRTIO_ID_BALLOON,
	.class_code = 0x00ff00,
	.nr_queues = NR_QUEUES,
	.queue_size = QUEUE_SIZE,
	.kick = vioballoon_kick,
	.reset = vioballoon_reset,
};

int vioballoon_create(struct pci_root *root, struct mem *mem, struct loop *loop,
		      struct vioballoon **res, struct err *e)
{
	struct vioballoon *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_set(e, "cannot create virtio-balloon: not enough memory on the host");
	b->v.ops = &vioballoon_ops;
	b->v.features = VIOBALLOON_F_STATS | VIOBALLOON_F_DEFLATE_ON_OOM | VIOBALLOON_F_REPORTING;
	b->v.config_size = CONFIG_SIZE;
	memset(b->v.config_writable + CONFIG_ACTUAL, 0xff, 4);
	r = virtio_init(&b->v, root, mem, loop, -1);
	if (r) {
		vioballoon_destroy(b);
		return err_set(e, "cannot add virtio-balloon: %s",
			       r == -ENOSPC ? "all PCI slots are taken" : strerror(-r));
	}
	*res = b;
	return 0;
}

void vioballoon_destroy(struct vioballoon *b)
{
	if (!b)
		return;
	virtio_fini(&b->v);
	free(b);
}

struct virtio_dev *vioballoon_virtio(struct vioballoon *b)
{
	return &b->v;
}
