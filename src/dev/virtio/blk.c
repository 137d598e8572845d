// SPDX-License-Identifier: MIT
/*
 * virtio-blk: VIRTIO 1.2, "Block Device".
 *
 * Theory of operation. A doorbell makes the loop pop requests; each keeps its
 * chain and goes to the disk's workers, which read and write guest RAM directly.
 * A finished request is put on a list and the loop woken; the loop answers all
 * finished ones and raises one interrupt. Requests therefore end in any order,
 * as the specification allows.
 */
#include "dev/virtio/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_SIZE = 128, ID_SIZE = 20, MAX_RANGE_SECTORS = 1 << 22 };

#define F_SEG_MAX      BIT(2)
#define F_RO	       BIT(5)
#define F_BLK_SIZE     BIT(6)
#define F_FLUSH	       BIT(9)
#define F_CONFIG_WCE   BIT(11)
#define F_DISCARD      BIT(13)
#define F_WRITE_ZEROES BIT(14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_NONE = 0xff };
enum { ZERO_UNMAP = 1 };

/* "Device configuration layout". */
struct config {
	u64 capacity; /* in sectors */
	u32 size_max, seg_max;
	u8 geometry[4];
	u32 blk_size;
	u8 topology[8];
	u8 writeback;
	u8 unused;
	u16 num_queues;
	u32 max_discard_sectors, max_discard_seg, discard_sector_alignment;
	u32 max_write_zeroes_sectors, max_write_zeroes_seg;
	u8 write_zeroes_may_unmap;
	u8 unused1[3];
} __attribute__((packed));

struct header {
	u32 type, reserved;
	u64 sector;
};

struct range {
	u64 sector;
	u32 nr_sectors, flags;
};

struct request {
	struct vioblk *b;
	struct request *next;
	u32 type;
	struct block_req io;
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

struct vioblk {
	struct virtio_dev v;
	struct blockdev *disk;
	struct request *free; /* the device's lock */
	unsigned nr_in_flight;
	bool complained;
	bool stalled; /* more in flight than an honest driver can have */
	struct loop_work finish_work;
	pthread_mutex_t done_lock; /* finished; innermost */
	struct request *finished;
	char id[ID_SIZE];
};

static struct vioblk *to_blk(struct virtio_dev *v)
{
	return container_of(v, struct vioblk, v);
}

/* --- requests that end --- */

static void free_request(struct vioblk *b, struct request *r)
{
	r->next = b->free;
	b->free = r;
}

/* The status byte is the last one of the chain. */
static void answer(struct vioblk *b, struct request *r, u8 status)
{
	struct virtq *q = &b->v.queues[0];

	virtq_write(q, &r->chain, r->chain.in_size - 1, &status, 1);
	virtq_push(q, &r->chain, (u32)r->chain.in_size);
	free_request(b, r);
}

/* A full or failing host disk is worth a word to the user, but one is enough. */
static void complain(struct vioblk *b, const struct block_req *io)
{
	if (!b->complained)
		log_warn("disk %s: %s at byte %llu failed: %s; the guest sees an I/O error",
			 b->disk->path, io->op == BLOCK_READ ? "reading" : "writing",
			 (unsigned long long)io->offset, strerror(-io->result));
	b->complained = true;
}

static void finish(struct vioblk *b, struct request *r)
{
	b->nr_in_flight--;
	if (r->type == T_IN)
		virtq_written(&b->v.queues[0], &r->chain, 0, r->io.size);
	if (b->v.resetting) {
		free_request(b, r);
		return;
	}
	if (r->io.result)
		complain(b, &r->io);
	answer(b, r, r->io.result ? S_IOERR : S_OK);
}

static struct request *take_finished(struct vioblk *b)
{
	struct request *r;

	pthread_mutex_lock(&b->done_lock);
	r = b->finished;
	b->finished = NULL;
	pthread_mutex_unlock(&b->done_lock);
	return r;
}

static void finish_all(struct vioblk *b)
{
	for (struct request *r = take_finished(b), *next; r; r = next) {
		next = r->next;
		finish(b, r);
	}
}

static void on_loop(void *arg)
{
	struct vioblk *b = arg;

	pthread_mutex_lock(&b->v.lock);
	finish_all(b);
	if (b->v.resetting && !b->nr_in_flight)
		virtio_reset_done(&b->v);
	else if (virtio_running(&b->v))
		virtio_interrupt(&b->v, 0);
	if (b->stalled)
		virtio_kick(&b->v, 0);
	b->stalled = false;
	pthread_mutex_unlock(&b->v.lock);
}

/* A worker's thread. */
static void request_done(struct block_req *io)
{
	struct request *r = io->opaque;
	struct vioblk *b = r->b;

	pthread_mutex_lock(&b->done_lock);
	r->next = b->finished;
	b->finished = r;
	/* Inside, so that vioblk_destroy() cannot overtake. */
	loop_post(b->v.loop, &b->finish_work);
	pthread_mutex_unlock(&b->done_lock);
}

/* --- requests that begin --- */

/* "Device Operation": whether data is on stable storage when a write ends. */
static bool write_through(const struct vioblk *b)
{
	const struct config *c = (const struct config *)b->v.s.config;

	if (virtio_has(&b->v, F_CONFIG_WCE))
		return !c->writeback;
	return !virtio_has(&b->v, F_FLUSH);
}

static u8 submit(struct vioblk *b, struct request *r, enum block_op op)
{
	r->io.op = op;
	r->io.result = 0;
	r->io.iov = r->iov;
	r->io.done = request_done;
	r->io.opaque = r;
	b->nr_in_flight++;
	blockdev_submit(b->disk, &r->io);
	return S_NONE;
}

static bool range_ok(const struct vioblk *b, u64 sector, u64 nr)
{
	u64 capacity = b->disk->size / BLOCK_SECTOR;

	return sector <= capacity && nr <= capacity - sector;
}

static u8 start_transfer(struct vioblk *b, struct request *r, u64 sector)
{
	bool in = r->type == T_IN;
	u64 off = in ? 0 : sizeof(struct header);
	u64 size = in ? r->chain.in_size - 1 : r->chain.out_size - off;

	if (!in && b->disk->readonly)
		return S_IOERR;
	if (!size || size % BLOCK_SECTOR || !range_ok(b, sector, size / BLOCK_SECTOR))
		return S_IOERR;
	r->io.offset = sector * BLOCK_SECTOR;
	r->io.size = size;
	r->io.write_through = !in && write_through(b);
	r->io.nr_iov = virtq_iov(&r->chain, in, off, size, r->iov);
	return submit(b, r, in ? BLOCK_READ : BLOCK_WRITE);
}

static u8 start_range(struct vioblk *b, struct request *r)
{
	bool zero = r->type == T_WRITE_ZEROES;
	struct range range;

	if (b->disk->readonly)
		return S_IOERR;
	if (r->chain.out_size != sizeof(struct header) + sizeof(range))
		return S_UNSUPP;
	virtq_read(&r->chain, sizeof(struct header), &range, sizeof(range));
	if (range.flags & ~(zero ? (u32)ZERO_UNMAP : 0))
		return S_UNSUPP;
	if (range.nr_sectors > MAX_RANGE_SECTORS || !range_ok(b, range.sector, range.nr_sectors))
		return S_IOERR;
	r->io.offset = range.sector * BLOCK_SECTOR;
	r->io.size = (u64)range.nr_sectors * BLOCK_SECTOR;
	r->io.may_unmap = range.flags & ZERO_UNMAP;
	return submit(b, r, zero ? BLOCK_ZERO : BLOCK_DISCARD);
}

static u8 get_id(struct vioblk *b, struct request *r)
{
	size_t room = MIN(r->chain.in_size - 1, (u64)ID_SIZE);

	virtq_write(&b->v.queues[0], &r->chain, 0, b->id, room);
	return S_OK;
}

static u8 start(struct vioblk *b, struct request *r)
{
	struct header h;

	virtq_read(&r->chain, 0, &h, sizeof(h));
	r->type = h.type;
	switch (h.type) {
	case T_IN:
	case T_OUT:
		return start_transfer(b, r, h.sector);
	case T_FLUSH:
		return submit(b, r, BLOCK_FLUSH);
	case T_GET_ID:
		return get_id(b, r);
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return start_range(b, r);
	default:
		return S_UNSUPP;
	}
}

static struct request *get_request(struct vioblk *b)
{
	struct request *r = b->free;

	if (r) {
		b->free = r->next;
		return r;
	}
	r = malloc(sizeof(*r));
	if (r) {
		memset(&r->io, 0, sizeof(r->io));
		r->b = b;
	}
	return r;
}

enum { POP_BROKEN = -1, POP_EMPTY, POP_MORE, POP_STALLED };

static int pop_one(struct vioblk *b)
{
	struct request *r;
	u8 status;
	int n;

	b->stalled = b->nr_in_flight >= QUEUE_SIZE;
	if (b->stalled)
		return POP_STALLED;
	r = get_request(b);
	if (!r)
		return POP_STALLED;
	n = virtq_pop(&b->v.queues[0], &r->chain);
	if (n > 0 && (r->chain.out_size < sizeof(struct header) || !r->chain.in_size))
		n = POP_BROKEN;
	if (n <= 0) {
		free_request(b, r);
		return n;
	}
	status = start(b, r); /* with S_NONE @r is the workers' */
	if (status != S_NONE)
		answer(b, r, status);
	return POP_MORE;
}

static void vioblk_kick(struct virtio_dev *v, unsigned n)
{
	struct vioblk *b = to_blk(v);
	struct virtq *q = &v->queues[n];
	int r = POP_MORE;

	virtq_quiet(q);
	for (unsigned i = 0; i < VIRTIO_BUDGET && r == POP_MORE; i++)
		r = pop_one(b);
	if (r == POP_MORE || (r == POP_EMPTY && !virtq_listen(q)))
		virtio_kick(v, n);
	if (r == POP_BROKEN)
		virtio_broken(v);
	virtio_interrupt(v, n);
}

static bool vioblk_reset(struct virtio_dev *v, bool wait)
{
	struct vioblk *b = to_blk(v);

	if (wait && b->nr_in_flight) {
		blockdev_drain(b->disk);
		finish_all(b);
	}
	return !b->nr_in_flight;
}

static const struct virtio_ops vioblk_ops = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLK,
	.class_code = 0x010000,
	.nr_queues = 1,
	.queue_size = QUEUE_SIZE,
	.kick = vioblk_kick,
	.reset = vioblk_reset,
};

/* --- life --- */

static void fill_config(struct vioblk *b)
{
	struct config *c = (struct config *)b->v.s.config;

	_Static_assert(sizeof(*c) <= VIRTIO_CONFIG_MAX, "fits");
	c->capacity = b->disk->size / BLOCK_SECTOR;
	c->seg_max = QUEUE_SIZE - 2;
	c->blk_size = BLOCK_SECTOR;
	c->writeback = 1;
	c->max_discard_sectors = c->max_write_zeroes_sectors = MAX_RANGE_SECTORS;
	c->max_discard_seg = c->max_write_zeroes_seg = 1;
	c->discard_sector_alignment = 1;
	c->write_zeroes_may_unmap = 1;
	b->v.config_size = sizeof(*c);
	b->v.config_writable[offsetof(struct config, writeback)] = 1;
	b->v.config_reset[offsetof(struct config, writeback)] = 1;
	b->v.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_CONFIG_WCE;
	b->v.features |= b->disk->readonly ? F_RO : F_DISCARD | F_WRITE_ZEROES;
}

static void fill_id(struct vioblk *b)
{
	const char *slash = strrchr(b->disk->path, '/');
	const char *name = slash ? slash + 1 : b->disk->path;

	memcpy(b->id, name, MIN(strlen(name), (size_t)ID_SIZE));
}

int vioblk_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct blockdev *disk,
		  struct vioblk **res, struct err *e)
{
	struct vioblk *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_set(e, "cannot create a disk device: not enough memory on the host");
	b->disk = disk;
	b->v.ops = &vioblk_ops;
	pthread_mutex_init(&b->done_lock, NULL);
	b->finish_work = (struct loop_work){ .fn = on_loop, .arg = b };
	fill_config(b);
	fill_id(b);
	r = virtio_init(&b->v, root, mem, loop, -1);
	if (r) {
		vioblk_destroy(b);
		return err_set(e, "cannot add disk %s: %s", disk->path,
			       r == -ENOSPC ? "all PCI slots are taken" : strerror(-r));
	}
	*res = b;
	return 0;
}

void vioblk_drain(struct vioblk *b)
{
	blockdev_drain(b->disk);
	pthread_mutex_lock(&b->v.lock);
	finish_all(b);
	pthread_mutex_unlock(&b->v.lock);
}

void vioblk_destroy(struct vioblk *b)
{
	if (!b)
		return;
	vioblk_drain(b);
	for (struct request *r = b->free, *next; r; r = next) {
		next = r->next;
		free(r);
	}
	virtio_fini(&b->v);
	pthread_mutex_destroy(&b->done_lock);
	free(b);
}

struct virtio_dev *vioblk_virtio(struct vioblk *b)
{
	return &b->v;
}
