/* SPDX-License-Identifier: MIT */
/*
 * Port and memory-mapped I/O: which device answers at which address.
 *
 * A VM has two struct io_bus, ports and MMIO. A device registers regions; a
 * vCPU's access runs the device's function on the vCPU's thread, under the
 * region's lock. Adding, removing and moving regions is allowed at any time
 * from any thread that does not hold a region's lock, and, for a PCI BAR, from
 * inside an access (the bus takes care).
 */
#ifndef NESTOR_BUS_IO_H
#define NESTOR_BUS_IO_H

#include <pthread.h>

#include "base/types.h"

/*
 * Places in a region where a write, whatever its value, says only "look at your queues". An engine
 * may turn such writes into events of @fd, without a call of the region's ops; elsewhere and in
 * other engines the ops do the same.
 */
struct io_doorbells {
	int fd;	 /* an eventfd that the device watches */
	u64 off; /* of the first, in the region */
	unsigned stride, nr;
};

struct io_ops {
	/* @off from the region's start, @size 1, 2, 4 or 8. The bus has split
	 * what is larger than @max_size (0 means 8), or unaligned when
	 * @aligned is set, into pieces. */
	u64 (*read)(void *dev, u64 off, unsigned size);
	void (*write)(void *dev, u64 off, unsigned size, u64 value);
	unsigned max_size;
	bool aligned;
	/* Optional: the region's doorbells, always the same; NULL: none. */
	const struct io_doorbells *(*doorbells)(void *dev);
};

struct io_region {
	u64 base;
	u64 size;
	const struct io_ops *ops;
	void *dev;
	pthread_mutex_t *lock; /* held around ops; may be NULL */
	const char *name;
};

struct io_listener {
	/* Region @r with doorbells can be reached at r->base from now, or no longer. Called with the
	 * bus's lock held. Where regions overlap, doorbells may win. */
	void (*doorbells)(void *opaque, const struct io_region *r, const struct io_doorbells *d,
			  bool there);
	void *opaque;
};

struct io_bus;

int io_bus_create(struct io_bus **res);
void io_bus_destroy(struct io_bus *bus); /* accepts NULL */

/* The region stays the caller's and must outlive its registration. On overlap
 * the later registration wins where they overlap. */
int io_add(struct io_bus *bus, struct io_region *r);
void io_del(struct io_bus *bus, struct io_region *r);
void io_move(struct io_bus *bus, struct io_region *r, u64 new_base);

/* Tells of the regions that are there; NULL ends it, and tells that they are gone. */
void io_set_listener(struct io_bus *bus, const struct io_listener *l);

/* What no device claims reads as ones and swallows writes. */
u64 io_read(struct io_bus *bus, u64 addr, unsigned size);
void io_write(struct io_bus *bus, u64 addr, unsigned size, u64 value);

/* Does any region claim this byte? */
bool io_claimed(struct io_bus *bus, u64 addr);

#endif
