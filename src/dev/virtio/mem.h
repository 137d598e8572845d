/* SPDX-License-Identifier: MIT */
/*
 * virtio-mem: memory that is plugged and unplugged at run time, in blocks of 2 MiB,
 * in the region that mem_reserve_hot() set aside above RAM.
 *
 *	viomem_set_requested(m, bytes);	the guest follows in its own time
 *	viomem_plugged(m)		how far it has come
 *
 * A guest can touch no more of the region than it was ever asked to plug, rounded up
 * to what Linux plugs memory by: only so much is in a slot.
 *
 * viomem_set_requested(), viomem_power_on() and viomem_load() need the world to be
 * stopped; viomem_plugged() and viomem_running() may be called from any thread.
 */
#ifndef NESTOR_DEV_VIRTIO_MEM_H
#define NESTOR_DEV_VIRTIO_MEM_H

#include "base/log.h"
#include "dev/virtio/virtio.h"

#define VIOMEM_BLOCK MIB(2)
#define VIOMEM_MAX   GIB(64) /* of the region */
/* The region's size is a multiple of this, and its address a GiB's. */
#define VIOMEM_ALIGN MIB(128)

#define VIOMEM_F_UNPLUGGED_INACCESSIBLE BIT(1)

struct viomem;

/* @mem has a hot region of at most VIOMEM_MAX. */
int viomem_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct viomem **res,
		  struct err *e);
void viomem_destroy(struct viomem *m); /* the loop has stopped; accepts NULL */

bool viomem_running(struct viomem *m); /* is there a driver that would follow? */
/* Whole blocks; what is more than the region is cut off. */
void viomem_set_requested(struct viomem *m, u64 size);
u64 viomem_requested(struct viomem *m);
u64 viomem_plugged(struct viomem *m);

/* Power-on of the machine, after virtio_reset(): all is unplugged. */
void viomem_power_on(struct viomem *m);

/* What virtio_save() and virtio_load() do not cover; after them. The memory is
 * there: mem_grow_hot() was called when the slots were loaded. */
int viomem_save(struct viomem *m, struct state_buf *b);
int viomem_load(struct viomem *m, struct state_buf *b, struct err *e);

struct virtio_dev *viomem_virtio(struct viomem *m);

#endif
