// SPDX-License-Identifier: MIT
/*
 * The I/O bus.
 *
 * Theory of operation. Regions are kept in order of registration; from them a
 * flat, sorted, non-overlapping array of segments is computed at each change.
 * Accesses search the flat array without a lock, under a sequence count: the
 * writer makes it odd, rewrites the array in place, and makes it even; a reader
 * that saw it change searches again. Everything has a fixed place and nothing
 * is freed, so a reader never looks at dead memory, and a guest that moves its
 * BARs all day costs nothing but time. The sequence is not held while a device's
 * function runs: an access may move regions.
 */
#include "bus/io.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MAX_REGIONS = 256, MAX_SEGMENTS = 2 * MAX_REGIONS };

struct segment {
	_Atomic u64 first, last;  /* addresses, both inclusive */
	_Atomic u64 base;	  /* region's, at the time of the change */
	_Atomic(struct io_region *) region;
};

struct io_bus {
	_Atomic u32 sequence;
	_Atomic u32 nr_segments;
	struct segment segments[MAX_SEGMENTS];

	pthread_mutex_t lock; /* writers */
	struct io_region *regions[MAX_REGIONS];
	unsigned nr_regions;
	struct io_listener listener;
};

int io_bus_create(struct io_bus **res)
{
	struct io_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return -ENOMEM;
	pthread_mutex_init(&bus->lock, NULL);
	*res = bus;
	return 0;
}

void io_bus_destroy(struct io_bus *bus)
{
	if (!bus)
		return;
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

/* ---- Changes ---- */

static u64 region_last(const struct io_region *r)
{
	u64 last = r->base + r->size - 1;

	return last < r->base ? UINT64_MAX : last;
}

static void segment_add(struct io_bus *bus, u64 first, u64 last, struct io_region *r)
{
	u32 n = atomic_load_explicit(&bus->nr_segments, memory_order_relaxed);
	struct segment *s = &bus->segments[n];

	if (n == MAX_SEGMENTS)
		return; /* cannot happen: each region adds at most two */
	atomic_store_explicit(&s->first, first, memory_order_relaxed);
	atomic_store_explicit(&s->last, last, memory_order_relaxed);
	atomic_store_explicit(&s->base, r->base, memory_order_relaxed);
	atomic_store_explicit(&s->region, r, memory_order_relaxed);
	atomic_store_explicit(&bus->nr_segments, n + 1, memory_order_relaxed);
}

/* The region that answers at @addr, the latest registered one. */
static struct io_region *top_at(const struct io_bus *bus, u64 addr)
{
	for (unsigned i = bus->nr_regions; i--;)
		if (addr - bus->regions[i]->base < bus->regions[i]->size)
			return bus->regions[i];
	return NULL;
}

/* The next address after @addr where the answer may change, or 0. */
static u64 next_edge(const struct io_bus *bus, u64 addr)
{
	u64 next = 0;

	for (unsigned i = 0; i < bus->nr_regions; i++) {
		u64 edge[2] = { bus->regions[i]->base, region_last(bus->regions[i]) + 1 };

		for (int k = 0; k < 2; k++)
			if (edge[k] > addr && (!next || edge[k] < next))
				next = edge[k];
	}
	return next;
}

static void flatten(struct io_bus *bus)
{
	u64 addr = 0, next;

	atomic_fetch_add(&bus->sequence, 1);
	atomic_thread_fence(memory_order_seq_cst);
	atomic_store_explicit(&bus->nr_segments, 0, memory_order_relaxed);
	do {
		struct io_region *r = top_at(bus, addr);

		next = next_edge(bus, addr);
		if (r)
			segment_add(bus, addr, next - 1, r);
		addr = next;
	} while (next);
	atomic_fetch_add(&bus->sequence, 1);
}

static void tell(struct io_bus *bus, const struct io_region *r, bool there)
{
	const struct io_doorbells *d = r->ops->doorbells ? r->ops->doorbells(r->dev) : NULL;

	if (d && bus->listener.doorbells)
		bus->listener.doorbells(bus->listener.opaque, r, d, there);
}

static void tell_all(struct io_bus *bus, bool there)
{
	for (unsigned i = 0; i < bus->nr_regions; i++)
		tell(bus, bus->regions[i], there);
}

void io_set_listener(struct io_bus *bus, const struct io_listener *l)
{
	pthread_mutex_lock(&bus->lock);
	tell_all(bus, false);
	bus->listener = l ? *l : (struct io_listener){ 0 };
	tell_all(bus, true);
	pthread_mutex_unlock(&bus->lock);
}

int io_add(struct io_bus *bus, struct io_region *r)
{
	int res = -ENOSPC;

	if (!r->size)
		return -EINVAL;
	pthread_mutex_lock(&bus->lock);
	if (bus->nr_regions < MAX_REGIONS) {
		bus->regions[bus->nr_regions++] = r;
		flatten(bus);
		tell(bus, r, true);
		res = 0;
	}
	pthread_mutex_unlock(&bus->lock);
	return res;
}

void io_del(struct io_bus *bus, struct io_region *r)
{
	unsigned n = 0;

	pthread_mutex_lock(&bus->lock);
	for (unsigned i = 0; i < bus->nr_regions; i++)
		if (bus->regions[i] != r)
			bus->regions[n++] = bus->regions[i];
		else
			tell(bus, r, false);
	bus->nr_regions = n;
	flatten(bus);
	pthread_mutex_unlock(&bus->lock);
}

void io_move(struct io_bus *bus, struct io_region *r, u64 new_base)
{
	pthread_mutex_lock(&bus->lock);
	tell(bus, r, false);
	r->base = new_base;
	flatten(bus);
	tell(bus, r, true);
	pthread_mutex_unlock(&bus->lock);
}

/* ---- Accesses ---- */

/* What answers at an address: a copy, good for one access. */
struct hit {
	struct io_region *region; /* NULL: nothing */
	u64 off;		  /* of the address in the region */
	u64 left;		  /* bytes from the address to the segment's end, less 1 */
};

static void search(const struct io_bus *bus, u64 addr, struct hit *h)
{
	u32 lo = 0, hi = atomic_load_explicit(&bus->nr_segments, memory_order_relaxed);

	h->region = NULL;
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;
		const struct segment *s = &bus->segments[mid];
		u64 last = atomic_load_explicit(&s->last, memory_order_relaxed);

		if (addr > last) {
			lo = mid + 1;
		} else if (addr < atomic_load_explicit(&s->first, memory_order_relaxed)) {
			hi = mid;
		} else {
			h->region = atomic_load_explicit(&s->region, memory_order_relaxed);
			h->off = addr - atomic_load_explicit(&s->base, memory_order_relaxed);
			h->left = last - addr;
			return;
		}
	}
}

static void find(const struct io_bus *bus, u64 addr, struct hit *h)
{
	u32 before;

	do {
		before = atomic_load_explicit(&bus->sequence, memory_order_acquire);
		search(bus, addr, h);
		atomic_thread_fence(memory_order_acquire);
	} while ((before & 1) ||
		 before != atomic_load_explicit(&bus->sequence, memory_order_relaxed));
}

/* How much of an access of @size at @h the device takes at once. */
static unsigned piece(const struct hit *h, unsigned size)
{
	unsigned max = h->region->ops->max_size ? h->region->ops->max_size : 8;

	size = MIN(size, max);
	while (size & (size - 1)) /* to a power of two */
		size &= size - 1;
	while (size > 1 && (h->left < size - 1 || (h->region->ops->aligned && h->off % size)))
		size /= 2;
	return size;
}

static u64 low_bytes(u64 v, unsigned size)
{
	return size >= 8 ? v : v & (BIT(8 * size) - 1);
}

static u64 device_read(const struct hit *h, unsigned size)
{
	const struct io_region *r = h->region;
	u64 v;

	if (!r->ops->read)
		return UINT64_MAX;
	if (r->lock)
		pthread_mutex_lock(r->lock);
	v = r->ops->read(r->dev, h->off, size);
	if (r->lock)
		pthread_mutex_unlock(r->lock);
	return v;
}

static void device_write(const struct hit *h, unsigned size, u64 value)
{
	const struct io_region *r = h->region;

	if (!r->ops->write)
		return;
	if (r->lock)
		pthread_mutex_lock(r->lock);
	r->ops->write(r->dev, h->off, size, value);
	if (r->lock)
		pthread_mutex_unlock(r->lock);
}

u64 io_read(struct io_bus *bus, u64 addr, unsigned size)
{
	u64 value = 0;

	for (unsigned done = 0, n = 1; done < size; done += n) {
		struct hit h;
		u64 v = UINT64_MAX;

		n = 1;
		find(bus, addr + done, &h);
		if (h.region) {
			n = piece(&h, size - done);
			v = device_read(&h, n);
		}
		value |= low_bytes(v, n) << (8 * done);
	}
	return value;
}

void io_write(struct io_bus *bus, u64 addr, unsigned size, u64 value)
{
	for (unsigned done = 0, n = 1; done < size; done += n) {
		struct hit h;

		n = 1;
		find(bus, addr + done, &h);
		if (!h.region)
			continue;
		n = piece(&h, size - done);
		device_write(&h, n, low_bytes(value >> (8 * done), n));
	}
}

bool io_claimed(struct io_bus *bus, u64 addr)
{
	struct hit h;

	find(bus, addr, &h);
	return h.region;
}
