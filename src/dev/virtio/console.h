/* SPDX-License-Identifier: MIT */
/* virtio-console: one port, hvc0 in Linux, to a struct chardev. */
#ifndef NESTOR_DEV_VIRTIO_CONSOLE_H
#define NESTOR_DEV_VIRTIO_CONSOLE_H

#include "base/chardev.h"
#include "base/log.h"
#include "dev/virtio/virtio.h"

struct viocon;

int viocon_create(struct pci_root *root, struct mem *mem, struct loop *loop,
		  const struct chardev *out, struct viocon **res, struct err *e);
void viocon_destroy(struct viocon *c); /* the loop has stopped; accepts NULL */

/* Input for the guest, on the loop's thread: returns how much was taken. What is
 * left may be tried again when out->rx_ready() was called. */
size_t viocon_receive(struct viocon *c, const void *data, size_t size);

struct virtio_dev *viocon_virtio(struct viocon *c);

#endif
