/* SPDX-License-Identifier: MIT */
/*
 * What every chip of the board is: a lock, a saved state, and three verbs. A
 * chip embeds struct device as its first member and is otherwise used through
 * its own header.
 *
 * Threads: register accesses run on vCPU threads and timers on the loop's, both
 * under @lock. device_reset(), device_save() and device_load() are called with the
 * vCPUs stopped, on the loop's thread or while it does not run. A chip's lock is
 * taken before those of PCI functions and interrupt chips, never after.
 *
 * Guest-visible state is one plain struct with rows (base/state.h); times in it
 * are the VM's clock. After a load, loaded() sets timers and lines anew.
 */
#ifndef NESTOR_DEV_DEVICE_H
#define NESTOR_DEV_DEVICE_H

#include <pthread.h>

#include "base/loop.h"
#include "base/state.h"
#include "base/vclock.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "bus/mem.h"

/* What a chip is built into; outlives it. */
struct dev_env {
	struct mem *mem;
	struct io_bus *pio, *mmio;
	struct loop *loop;
	const struct vclock *clock;
	const struct irq_sink *sink;
};

struct device;

struct device_ops {
	void (*reset)(struct device *d);   /* to power-on state; lock held */
	void (*loaded)(struct device *d);  /* state was replaced; lock held; may be NULL */
	void (*destroy)(struct device *d); /* frees it; accepts half-built ones */
};

struct device {
	const char *name;
	u32 instance;
	const struct device_ops *ops;
	const struct state_desc *state; /* NULL: nothing to save */
	void *state_data;
	pthread_mutex_t lock;
	struct device *next; /* the board's list */
};

/* calloc() and lock; @size is of the chip's struct. NULL: out of memory. */
void *device_alloc(size_t size, const char *name, const struct device_ops *ops);
void device_free(struct device *d); /* for destroy(): the lock and the memory */

void device_reset(struct device *d);
void device_destroy(struct device *d); /* accepts NULL */
int device_save(struct device *d, struct state_buf *b);
int device_load(struct device *d, struct state_buf *b, struct err *e);

#endif
