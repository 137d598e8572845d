/* SPDX-License-Identifier: MIT */
/*
 * The other end of a network card: something that takes Ethernet frames from
 * the guest and has frames for it. Frames are whole, without FCS, at most
 * NET_FRAME_MAX bytes, no offloads.
 *
 * Everything here runs on the loop's thread, which is what orders it: the
 * card calls send() and rx_ready() (its own lock held), the back end calls the
 * client's functions (no lock held, and never from inside send() or rx_ready()).
 *
 * Neither side drops what the other could take a little later: send() may say
 * "busy" and tx_ready() follows; receive() may take fewer frames than given and
 * rx_ready() follows.
 */
#ifndef NESTOR_NET_NETDEV_H
#define NESTOR_NET_NETDEV_H

#include <sys/uio.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/types.h"

enum { NET_FRAME_MIN = 14, NET_FRAME_MAX = 1518, NET_MAX_HOSTFWD = 16 };

struct netdev;

struct netdev_ops {
	/* One frame; false: busy, and nothing was sent. */
	bool (*send)(struct netdev *d, const struct iovec *iov, unsigned nr_iov);
	void (*rx_ready)(struct netdev *d);
	void (*destroy)(struct netdev *d);
};

struct netdev_client {
	unsigned (*receive)(void *opaque, const struct iovec *frames, unsigned nr);
	void (*tx_ready)(void *opaque);
	void *opaque;
};

struct netdev {
	const struct netdev_ops *ops;
	struct netdev_client client; /* set by the card, before the loop runs */
};

static inline void netdev_destroy(struct netdev *d) /* the loop has stopped */
{
	if (d)
		d->ops->destroy(d);
}

/* NAT in user space, 10.0.2.0/24 with gateway .2 and DNS .3, by the helper
 * process nestor-nat. Each of @hostfwd is "tcp:HOST:PORT-:GUESTPORT" (or udp);
 * an empty HOST is 127.0.0.1. Returns when the ports are bound. */
int netdev_user_create(const char *const *hostfwd, unsigned nr_hostfwd, struct loop *loop,
		       struct netdev **res, struct err *e);

#endif
