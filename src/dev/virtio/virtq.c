// SPDX-License-Identifier: MIT
/* Split virtqueues; see virtq.h. */
#include "dev/virtio/virtq.h"

#include <string.h>

struct desc {
	u64 addr;
	u32 len;
	u16 flags;
	u16 next;
};

struct used_elem {
	u32 id, len;
};

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

/* Both rings begin: le16 flags, le16 idx. */
enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4 };

static u64 avail_size(const struct virtq *q)
{
	return RING_ENTRIES + 2ull * q->s.size + 2;
}

static u64 used_size(const struct virtq *q)
{
	return RING_ENTRIES + sizeof(struct used_elem) * q->s.size + 2;
}

static u8 *avail_ring(const struct virtq *q)
{
	return mem_host(q->mem, q->s.avail, avail_size(q));
}

static u8 *used_ring(const struct virtq *q)
{
	return mem_host(q->mem, q->s.used, used_size(q));
}

bool virtq_valid(const struct virtq *q)
{
	const struct virtq_state *s = &q->s;

	return s->size && s->size <= VIRTQ_SIZE_MAX && !(s->size & (s->size - 1)) &&
	       !(s->desc & 15) && !(s->avail & 1) && !(s->used & 3) && avail_ring(q) &&
	       used_ring(q) && mem_host(q->mem, s->desc, sizeof(struct desc) * s->size);
}

/* Stores and loads of the fields that both sides watch have one total order:
 * either side stores its own, then looks at the other's. */
static u16 load16(const u8 *p)
{
	return __atomic_load_n((const u16 *)p, __ATOMIC_SEQ_CST);
}

static void store16(const struct virtq *q, u8 *ring, gpa_t ring_gpa, u64 off, u16 v)
{
	__atomic_store_n((u16 *)(ring + off), v, __ATOMIC_SEQ_CST);
	mem_written(q->mem, ring_gpa + off, sizeof(v));
}

static int broken(struct virtq *q, const char *why)
{
	log_guest("virtqueue: %s", why);
	q->broken = true;
	return -1;
}

/* --- chains --- */

/* Where the next descriptor comes from: the queue's table or an indirect one. */
struct table {
	gpa_t gpa;
	u32 nr;
	bool indirect;
};

static bool add_piece(struct virtq_chain *c, gpa_t gpa, void *host, u64 len, bool writable)
{
	unsigned n = c->nr_out + c->nr_in;

	if (n == VIRTQ_CHAIN_MAX)
		return false;
	c->iov[n] = (struct iovec){ host, len };
	c->gpa[n] = gpa;
	if (writable) {
		c->nr_in++;
		c->in_size += len;
	} else {
		c->nr_out++;
		c->out_size += len;
	}
	return true;
}

/* A buffer, cut where RAM slots meet. */
static bool add_buffer(const struct virtq *q, struct virtq_chain *c, const struct desc *d)
{
	bool writable = d->flags & DESC_WRITE;
	gpa_t gpa = d->addr;
	u64 left = d->len;

	if (!writable && c->nr_in)
		return false;
	while (left) {
		const struct mem_slot *slot = mem_slot_at(q->mem, gpa);
		u64 n;

		if (!slot || (writable && slot->readonly))
			return false;
		n = MIN(left, slot->gpa + slot->size - gpa);
		if (!add_piece(c, gpa, slot->host + (gpa - slot->gpa), n, writable))
			return false;
		gpa += n;
		left -= n;
	}
	return true;
}

/* "Indirect Descriptors": at the end of a chain, never inside another. */
static bool enter_indirect(const struct virtq *q, struct table *t, const struct desc *d)
{
	if (!q->indirect || t->indirect || (d->flags & DESC_NEXT) || !d->len ||
	    d->len % sizeof(struct desc))
		return false;
	*t = (struct table){ d->addr, d->len / sizeof(struct desc), true };
	return true;
}

static const char *read_chain(const struct virtq *q, struct virtq_chain *c)
{
	struct table t = { q->s.desc, q->s.size, false };
	u32 index = c->head;

	/* One step more than buffers: the descriptor of the indirect table. */
	for (unsigned steps = 0; steps <= q->s.size; steps++) {
		struct desc d;

		if (index >= t.nr)
			return "descriptor index out of range";
		if (!mem_read(q->mem, t.gpa + index * sizeof(d), &d, sizeof(d)))
			return "descriptor table outside of RAM";
		if (d.flags & DESC_INDIRECT) {
			if (!enter_indirect(q, &t, &d))
				return "bad indirect descriptor";
			index = 0;
			continue;
		}
		if (!add_buffer(q, c, &d))
			return "bad buffer";
		if (!(d.flags & DESC_NEXT))
			return NULL;
		index = d.next;
	}
	return "descriptor chain has a loop or is too long";
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	const char *why;
	u8 *avail;
	u16 idx;

	if (!q->s.enabled || q->broken)
		return q->broken ? -1 : 0;
	avail = avail_ring(q);
	if (!avail)
		return broken(q, "available ring outside of RAM");
	idx = load16(avail + RING_IDX);
	if (idx == q->s.next_avail)
		return 0;
	if ((u16)(idx - q->s.next_avail) > q->s.size)
		return broken(q, "available index runs ahead by more than the queue's size");
	c->head = load16(avail + RING_ENTRIES + 2 * (q->s.next_avail & (q->s.size - 1)));
	c->nr_out = c->nr_in = 0;
	c->out_size = c->in_size = 0;
	why = read_chain(q, c);
	if (why)
		return broken(q, why);
	q->s.next_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q)
{
	q->s.next_avail--;
}

/* --- answers --- */

void virtq_put(struct virtq *q, const struct virtq_chain *c, u32 written, u16 index)
{
	struct used_elem e = { c->head, written };
	u16 slot = (q->s.next_used + index) & (q->s.size - 1);

	if (q->s.enabled && !q->broken)
		mem_write(q->mem, q->s.used + RING_ENTRIES + slot * sizeof(e), &e, sizeof(e));
}

void virtq_publish(struct virtq *q, u16 count)
{
	u8 *used = q->s.enabled && !q->broken ? used_ring(q) : NULL;

	if (!used)
		return;
	q->s.next_used += count;
	store16(q, used, q->s.used, RING_IDX, q->s.next_used);
}

void virtq_push(struct virtq *q, const struct virtq_chain *c, u32 written)
{
	virtq_put(q, c, written, 0);
	virtq_publish(q, 1);
}

/* --- notifications --- */

/* "Available Buffer Notification Suppression". */
void virtq_quiet(struct virtq *q)
{
	u8 *used = q->s.enabled && !q->broken ? used_ring(q) : NULL;

	if (used && !q->event_idx)
		store16(q, used, q->s.used, RING_FLAGS, USED_NO_NOTIFY);
}

bool virtq_listen_beyond(struct virtq *q, unsigned nr)
{
	u16 seen = (u16)(q->s.next_avail + nr);
	u8 *used = q->s.enabled && !q->broken ? used_ring(q) : NULL;
	u8 *avail = used ? avail_ring(q) : NULL;

	if (!avail)
		return true;
	if (q->event_idx)
		store16(q, used, q->s.used, used_size(q) - 2, seen);
	else
		store16(q, used, q->s.used, RING_FLAGS, 0);
	return load16(avail + RING_IDX) == seen;
}

bool virtq_listen(struct virtq *q)
{
	return virtq_listen_beyond(q, 0);
}

/* "Used Buffer Notification Suppression". */
bool virtq_wants_interrupt(struct virtq *q)
{
	u8 *avail = q->s.enabled && !q->broken ? avail_ring(q) : NULL;
	u16 old = q->s.signalled_used, new = q->s.next_used;

	if (!avail || old == new)
		return false;
	q->s.signalled_used = new;
	if (q->event_idx) {
		u16 event = load16(avail + avail_size(q) - 2);

		return (u16)(new - event - 1) < (u16)(new - old);
	}
	return !(load16(avail + RING_FLAGS) & AVAIL_NO_INTERRUPT);
}

/* --- bytes --- */

unsigned virtq_iov(const struct virtq_chain *c, bool writable, u64 off, u64 size,
		   struct iovec iov[VIRTQ_CHAIN_MAX])
{
	unsigned first = writable ? c->nr_out : 0, nr = writable ? c->nr_in : c->nr_out;
	unsigned n = 0;

	for (unsigned i = first; i < first + nr && size; i++) {
		u64 len = c->iov[i].iov_len;

		if (off >= len) {
			off -= len;
			continue;
		}
		len = MIN(len - off, size);
		iov[n++] = (struct iovec){ (u8 *)c->iov[i].iov_base + off, len };
		size -= len;
		off = 0;
	}
	return n;
}

void virtq_written(const struct virtq *q, const struct virtq_chain *c, u64 off, u64 size)
{
	for (unsigned i = c->nr_out; i < c->nr_out + c->nr_in && size; i++) {
		u64 len = c->iov[i].iov_len;

		if (off >= len) {
			off -= len;
			continue;
		}
		len = MIN(len - off, size);
		mem_written(q->mem, c->gpa[i] + off, len);
		size -= len;
		off = 0;
	}
}

size_t virtq_read(const struct virtq_chain *c, u64 off, void *to, size_t size)
{
	size_t done = 0;

	for (unsigned i = 0; i < c->nr_out && done < size; i++) {
		u64 len = c->iov[i].iov_len;

		if (off >= len) {
			off -= len;
			continue;
		}
		len = MIN(len - off, size - done);
		memcpy((u8 *)to + done, (const u8 *)c->iov[i].iov_base + off, len);
		done += len;
		off = 0;
	}
	return done;
}

size_t virtq_write(const struct virtq *q, const struct virtq_chain *c, u64 off, const void *from,
		   size_t size)
{
	size_t done = 0;
	u64 skip = off;

	for (unsigned i = c->nr_out; i < c->nr_out + c->nr_in && done < size; i++) {
		u64 len = c->iov[i].iov_len;

		if (skip >= len) {
			skip -= len;
			continue;
		}
		len = MIN(len - skip, size - done);
		memcpy((u8 *)c->iov[i].iov_base + skip, (const u8 *)from + done, len);
		done += len;
		skip = 0;
	}
	virtq_written(q, c, off, done);
	return done;
}
