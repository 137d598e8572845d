/* SPDX-License-Identifier: MIT */
/* virtio-rng: random bytes of the host's getrandom(2). */
#ifndef NESTOR_DEV_VIRTIO_RNG_H
#define NESTOR_DEV_VIRTIO_RNG_H

#include "base/log.h"
#include "dev/virtio/virtio.h"

struct viorng;

int viorng_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct viorng **res,
		  struct err *e);
void viorng_destroy(struct viorng *r); /* the loop has stopped; accepts NULL */
struct virtio_dev *viorng_virtio(struct viorng *r);

#endif
