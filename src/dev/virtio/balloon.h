/* SPDX-License-Identifier: MIT */
/*
 * virtio-balloon: the guest gives pages away when it is asked to, and tells how its
 * memory is used.
 *
 *	vioballoon_set_target(b, bytes);	the guest follows in its own time
 *	vioballoon_size(b)			how far it has come
 *	vioballoon_poll(b) ... vioballoon_stats(b, &stats)
 *
 * Free pages that the guest reports go back to the host without being counted: it
 * takes them again by using them. What size the balloon has is the guest's word; it
 * can lie, but not use more than its RAM.
 *
 * All but create and destroy may be called from any thread.
 */
#ifndef NESTOR_DEV_VIRTIO_BALLOON_H
#define NESTOR_DEV_VIRTIO_BALLOON_H

#include "base/log.h"
#include "dev/virtio/virtio.h"

#define VIOBALLOON_F_STATS	    BIT(1)
#define VIOBALLOON_F_DEFLATE_ON_OOM BIT(2)
#define VIOBALLOON_F_REPORTING	    BIT(5)

struct vioballoon;

/* What the guest said last; bytes, ~0: not told. */
struct vioballoon_stats {
	u64 count; /* how often it has told; 0: never */
	u64 free, total, available;
};

int vioballoon_create(struct pci_root *root, struct mem *mem, struct loop *loop,
		      struct vioballoon **res, struct err *e);
void vioballoon_destroy(struct vioballoon *b); /* the loop has stopped; accepts NULL */

bool vioballoon_running(struct vioballoon *b); /* is there a driver that would follow? */
void vioballoon_set_target(struct vioballoon *b, u64 size); /* bytes, whole pages */
u64 vioballoon_size(struct vioballoon *b);		    /* bytes, at most RAM */
void vioballoon_poll(struct vioballoon *b);
void vioballoon_stats(struct vioballoon *b, struct vioballoon_stats *res);

struct virtio_dev *vioballoon_virtio(struct vioballoon *b);

#endif
