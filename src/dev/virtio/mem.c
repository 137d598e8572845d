// SPDX-License-Identifier: MIT
/*
 * virtio-mem: VIRTIO 1.2, "Memory Device". One queue of requests, a bit per block.
 */
#include "dev/virtio/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_SIZE = 64, NR_BLOCKS = VIOMEM_MAX / VIOMEM_BLOCK };

struct mem_config {
	u64 block_size;
	u16 node_id;
	u8 padding[6];
	u64 addr, region_size, usable_region_size, plugged_size, requested_size;
} __attribute__((packed));
_Static_assert(sizeof(struct mem_config) == 56, "the specification's layout");

enum { REQ_PLUG, REQ_UNPLUG, REQ_UNPLUG_ALL, REQ_STATE };
enum { RESP_ACK, RESP_NACK, RESP_BUSY, RESP_ERROR };
enum { STATE_PLUGGED, STATE_UNPLUGGED, STATE_MIXED };

struct mem_request {
	u16 type, padding[3];
	u64 addr;
	u16 nr_blocks, padding2[3];
};

struct mem_response {
	u16 type, padding[3], state;
} __attribute__((packed));
_Static_assert(sizeof(struct mem_request) == 24 && sizeof(struct mem_response) == 10,
	       "the specification's layout");

/* Plain data: what is saved. */
struct mem_state {
	u8 plugged[NR_BLOCKS / 8];
};

struct viomem {
	struct virtio_dev v;
	struct virtq_chain chain;
	struct mem_state s;
};

static struct mem_config get_config(const struct viomem *m)
{
	struct mem_config c;

	memcpy(&c, m->v.s.config, sizeof(c));
	return c;
}

static void put_config(struct viomem *m, const struct mem_config *c)
{
	memcpy(m->v.s.config, c, sizeof(*c));
}

/* --- blocks --- */

static bool is_plugged(const struct viomem *m, u64 block)
{
	return m->s.plugged[block / 8] >> block % 8 & 1;
}

static u64 count_plugged(const struct viomem *m, u64 first, u64 nr)
{
	u64 n = 0;

	for (u64 i = first; i < first + nr; i++)
		n += is_plugged(m, i);
	return n;
}

static void mark(struct viomem *m, u64 first, u64 nr, bool plugged)
{
	for (u64 i = first; i < first + nr; i++) {
		u8 bit = (u8)(1u << i % 8);

		if (plugged)
			m->s.plugged[i / 8] |= bit;
		else
			m->s.plugged[i / 8] &= (u8)~bit;
	}
}

static void unplug_all(struct viomem *m)
{
	struct mem_config c = get_config(m);

	if (!c.plugged_size)
		return;
	memset(&m->s, 0, sizeof(m->s));
	mem_discard(m->v.mem, c.addr, c.usable_region_size);
	c.plugged_size = 0;
	put_config(m, &c);
}

/* --- requests --- */

/* "Device Requests": blocks that lie in the usable region. */
static bool range_of(const struct mem_config *c, const struct mem_request *req, u64 *first)
{
	u64 size = req->nr_blocks * VIOMEM_BLOCK, off = req->addr - c->addr;

	*first = off / VIOMEM_BLOCK;
	return req->nr_blocks && req->addr >= c->addr && off % VIOMEM_BLOCK == 0 &&
	       off < c->usable_region_size && size <= c->usable_region_size - off;
}

static u16 plug(struct viomem *m, u64 first, u64 nr)
{
	struct mem_config c = get_config(m);

	if (count_plugged(m, first, nr))
		return RESP_ERROR;
	if (c.plugged_size + nr * VIOMEM_BLOCK > c.requested_size)
		return RESP_NACK;
	mark(m, first, nr, true);
	c.plugged_size += nr * VIOMEM_BLOCK;
	put_config(m, &c);
	return RESP_ACK;
}

static u16 unplug(struct viomem *m, u64 first, u64 nr)
{
	struct mem_config c = get_config(m);

	if (count_plugged(m, first, nr) != nr)
		return RESP_ERROR;
	mark(m, first, nr, false);
	mem_discard(m->v.mem, c.addr + first * VIOMEM_BLOCK, nr * VIOMEM_BLOCK);
	c.plugged_size -= nr * VIOMEM_BLOCK;
	put_config(m, &c);
	return RESP_ACK;
}

static u16 state_of(const struct viomem *m, u64 first, u64 nr)
{
	u64 n = count_plugged(m, first, nr);

	return n == nr ? STATE_PLUGGED : n ? STATE_MIXED : STATE_UNPLUGGED;
}

static struct mem_response answer(struct viomem *m, const struct mem_request *req)
{
	struct mem_config c = get_config(m);
	struct mem_response resp = { .type = RESP_ACK };
	u64 first;

	if (req->type == REQ_UNPLUG_ALL) {
		unplug_all(m);
		return resp;
	}
	if (!range_of(&c, req, &first))
		resp.type = RESP_ERROR;
	else if (req->type == REQ_PLUG)
		resp.type = plug(m, first, req->nr_blocks);
	else if (req->type == REQ_UNPLUG)
		resp.type = unplug(m, first, req->nr_blocks);
	else if (req->type == REQ_STATE)
		resp.state = state_of(m, first, req->nr_blocks);
	else
		resp.type = RESP_ERROR;
	return resp;
}

static void viomem_kick(struct virtio_dev *v, unsigned n)
{
	struct viomem *m = container_of(v, struct viomem, v);
	struct virtq *q = &v->queues[n];
	struct mem_request req;
	int r = 1;

	virtq_quiet(q);
	for (unsigned i = 0; i < QUEUE_SIZE && (r = virtq_pop(q, &m->chain)) > 0; i++) {
		if (m->chain.in_size < sizeof(struct mem_response) ||
		    virtq_read(&m->chain, 0, &req, sizeof(req)) < sizeof(req)) {
			virtio_broken(v);
			return;
		}
		struct mem_response resp = answer(m, &req);
		virtq_push(q, &m->chain,
			   (u32)virtq_write(q, &m->chain, 0, &resp, sizeof(resp)));
	}
	virtio_interrupt(v, n);
	virtio_rearm(v, n, r);
}

/* --- the machine's side --- */

bool viomem_running(struct viomem *m)
{
	pthread_mutex_lock(&m->v.lock);
	bool running = virtio_running(&m->v);
	pthread_mutex_unlock(&m->v.lock);
	return running;
}

/* Linux plugs no part of a memory block of its own that is not wholly usable: of
 * 128 MiB, or of up to 2 GiB from 64 GiB of RAM on. */
static u64 usable_for(const struct viomem *m, u64 requested, u64 region)
{
	u64 align = m->v.mem->ram_size < GIB(64) ? VIOMEM_ALIGN : GIB(2);

	return MIN(ALIGN_UP(requested, align), region);
}

void viomem_set_requested(struct viomem *m, u64 size)
{
	pthread_mutex_lock(&m->v.lock);
	struct mem_config c = get_config(m), old = c;

	c.requested_size = MIN(size & ~(VIOMEM_BLOCK - 1), c.region_size);
	c.usable_region_size = MAX(usable_for(m, c.requested_size, c.region_size),
				   c.usable_region_size);
	if (mem_grow_hot(m->v.mem, c.usable_region_size)) {
		log_warn("virtio-mem: there is no slot for more memory");
	} else if (memcmp(&c, &old, sizeof(c))) {
		put_config(m, &c);
		virtio_config_changed(&m->v);
	}
	pthread_mutex_unlock(&m->v.lock);
}

u64 viomem_requested(struct viomem *m)
{
	pthread_mutex_lock(&m->v.lock);
	u64 size = get_config(m).requested_size;
	pthread_mutex_unlock(&m->v.lock);
	return size;
}

u64 viomem_plugged(struct viomem *m)
{
	pthread_mutex_lock(&m->v.lock);
	u64 size = get_config(m).plugged_size;
	pthread_mutex_unlock(&m->v.lock);
	return size;
}

/* A reset by the driver, in contrast, leaves blocks as they are. */
void viomem_power_on(struct viomem *m)
{
	pthread_mutex_lock(&m->v.lock);
	unplug_all(m);
	pthread_mutex_unlock(&m->v.lock);
}

/* --- saving --- */

static const struct state_row mem_rows[] = { STATE_ROW(struct mem_state, plugged) };
static const struct state_desc mem_desc = STATE_DESC("virtio-mem", 1, mem_rows);

int viomem_save(struct viomem *m, struct state_buf *b)
{
	return state_save(b, &mem_desc, 0, &m->s);
}

/* The configuration came with the transport's state. */
static bool plausible(const struct viomem *m)
{
	const struct mem *mem = m->v.mem;
	struct mem_config c = get_config(m);
	u64 nr = mem->hot.size / VIOMEM_BLOCK;

	return c.block_size == VIOMEM_BLOCK && c.addr == mem->hot.gpa &&
	       c.region_size == mem->hot.max && c.usable_region_size == mem->hot.size &&
	       c.requested_size <= c.usable_region_size &&
	       c.plugged_size == count_plugged(m, 0, nr) * VIOMEM_BLOCK &&
	       !count_plugged(m, nr, NR_BLOCKS - nr);
}

int viomem_load(struct viomem *m, struct state_buf *b, struct err *e)
{
	if (state_load(b, &mem_desc, 0, &m->s, e))
		return -1;
	return plausible(m) ? 0 : err_set(e, "cannot restore virtio-mem: the saved state is damaged");
}

/* --- the device --- */

static const struct virtio_ops viomem_ops = {
	.name = "virtio-mem",
	.id = VIRTIO_ID_MEM,
	.class_code = 0x00ff00,
	.nr_queues = 1,
	.queue_size = QUEUE_SIZE,
	.kick = viomem_kick,
};

int viomem_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct viomem **res,
		  struct err *e)
{
	struct viomem *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_set(e, "cannot create virtio-mem: not enough memory on the host");
	m->v.ops = &viomem_ops;
	m->v.features = VIOMEM_F_UNPLUGGED_INACCESSIBLE;
	m->v.config_size = sizeof(struct mem_config);
	r = virtio_init(&m->v, root, mem, loop, -1);
	if (r) {
		viomem_destroy(m);
		return err_set(e, "cannot add virtio-mem: %s",
			       r == -ENOSPC ? "all PCI slots are taken" : strerror(-r));
	}
	put_config(m, &(struct mem_config){ .block_size = VIOMEM_BLOCK,
					    .addr = mem->hot.gpa,
					    .region_size = MIN(mem->hot.max, VIOMEM_MAX) });
	*res = m;
	return 0;
}

void viomem_destroy(struct viomem *m)
{
	if (!m)
		return;
	virtio_fini(&m->v);
	free(m);
}

struct virtio_dev *viomem_virtio(struct viomem *m)
{
	return &m->v;
}
