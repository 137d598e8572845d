/* SPDX-License-Identifier: MIT */
/* virtio-blk: a disk of the guest over a struct blockdev. */
#ifndef NESTOR_DEV_VIRTIO_BLK_H
#define NESTOR_DEV_VIRTIO_BLK_H

#include "base/log.h"
#include "block/blockdev.h"
#include "dev/virtio/virtio.h"

struct vioblk;

/* The disk stays the caller's and must outlive the device. Before the VM runs. */
int vioblk_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct blockdev *disk,
		  struct vioblk **res, struct err *e);
/* With the loop stopped for good; waits for requests in flight. Accepts NULL. */
void vioblk_destroy(struct vioblk *b);

/* Saving and loading; before saving, vioblk_drain() with the world stopped:
 * then no request is in flight. */
void vioblk_drain(struct vioblk *b);
struct virtio_dev *vioblk_virtio(struct vioblk *b);

#endif
