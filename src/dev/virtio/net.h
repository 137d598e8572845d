/* SPDX-License-Identifier: MIT */
/* virtio-net: a network card over a struct netdev. */
#ifndef NESTOR_DEV_VIRTIO_NET_H
#define NESTOR_DEV_VIRTIO_NET_H

#include "base/log.h"
#include "dev/virtio/virtio.h"
#include "net/netdev.h"

struct vionet;

/* The back end stays the caller's, must outlive the device and be destroyed
 * after it. Before the loop runs. */
int vionet_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct netdev *net,
		  const u8 mac[6], struct vionet **res, struct err *e);
void vionet_destroy(struct vionet *n); /* the loop has stopped; accepts NULL */
struct virtio_dev *vionet_virtio(struct vionet *n);

#endif
