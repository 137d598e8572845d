// SPDX-License-Identifier: MIT
/*
 * virtio-net: VIRTIO 1.2, "Network Device". One pair of queues, no offloads: the
 * back end takes and gives ordinary frames.
 *
 * Both directions push back: frames for which the guest has no buffers wait in
 * the back end until it rings, and chains that the back end cannot take stay in
 * the queue until it says so. While the driver does not run, frames for it
 * are dropped, as on a card that is switched off.
 */
#include "dev/virtio/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RX = 0, TX = 1, QUEUE_SIZE = 256, MAX_MERGED = 16 };

#define F_MAC	    BIT(5)
#define F_MRG_RXBUF BIT(15)
#define F_STATUS    BIT(16)

enum { STATUS_LINK_UP = 1 };

struct config {
	u8 mac[6];
	u16 status;
} __attribute__((packed));

/* In front of each frame, in both directions. */
struct header {
	u8 flags, gso_type;
	u16 hdr_len, gso_size, csum_start, csum_offset;
	u16 num_buffers;
};

struct vionet {
	struct virtio_dev v;
	struct netdev *net;
	bool tx_waits; /* for the back end's tx_ready() */
	struct virtq_chain chain, more;
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

static struct vionet *to_net(struct virtio_dev *v)
{
	return container_of(v, struct vionet, v);
}

/* --- to the guest --- */

enum rx_result { RX_TAKEN, RX_NO_ROOM, RX_BROKEN };

static void unpop(struct virtq *q, unsigned nr)
{
	while (nr--)
		virtq_unpop(q);
}

/* Writes the rest of a frame to further buffers. */
static int fill_more(struct vionet *n, const struct iovec *frame, u64 *done, unsigned *nr_used)
{
	struct virtq *q = &n->v.queues[RX];
	int r = 1;

	while (*done < frame->iov_len && *nr_used < MAX_MERGED) {
		u64 part;

		r = virtq_pop(q, &n->more);
		if (r <= 0)
			break;
		part = virtq_write(q, &n->more, 0, (const u8 *)frame->iov_base + *done,
				   frame->iov_len - *done);
		virtq_put(q, &n->more, (u32)part, (u16)(*nr_used)++);
		*done += part;
	}
	return r;
}

/* Nothing is the guest's before virtq_publish(), so a frame that does not fit
 * is simply taken back; for want of buffers it waits, in buffers too small for
 * any frame it is lost. @nr_used: how many buffers were not enough. */
static enum rx_result fill_frame(struct vionet *n, const struct iovec *frame, unsigned *nr_used)
{
	struct virtq *q = &n->v.queues[RX];
	struct header h = { 0 };
	int r = virtq_pop(q, &n->chain);
	u64 done;

	*nr_used = 0;
	if (r <= 0 || n->chain.in_size < sizeof(h))
		return r ? RX_BROKEN : RX_NO_ROOM;
	*nr_used = 1;
	done = virtq_write(q, &n->chain, sizeof(h), frame->iov_base, frame->iov_len);
	virtq_put(q, &n->chain, (u32)(sizeof(h) + done), 0);
	if (virtio_has(&n->v, F_MRG_RXBUF))
		r = fill_more(n, frame, &done, nr_used);
	if (r <= 0 || done < frame->iov_len) {
		unpop(q, *nr_used);
		return r < 0 ? RX_BROKEN : r ? RX_TAKEN : RX_NO_ROOM;
	}
	h.num_buffers = (u16)*nr_used;
	virtq_write(q, &n->chain, 0, &h, sizeof(h));
	virtq_publish(q, (u16)*nr_used);
	return RX_TAKEN;
}

static unsigned receive(struct vionet *n, const struct iovec *frames, unsigned nr)
{
	struct virtq *q = &n->v.queues[RX];
	enum rx_result r = RX_TAKEN;
	unsigned done = 0, nr_used;

	virtq_quiet(q);
	while (done < nr) {
		r = fill_frame(n, &frames[done], &nr_used);
		if (r == RX_TAKEN)
			done++;
		else if (r == RX_BROKEN || virtq_listen_beyond(q, nr_used))
			break;
	}
	virtio_interrupt(&n->v, RX);
	if (r == RX_BROKEN)
		virtio_broken(&n->v);
	return r == RX_BROKEN ? nr : done;
}

static unsigned vionet_receive(void *opaque, const struct iovec *frames, unsigned nr)
{
	struct vionet *n = opaque;
	unsigned done = nr;

	pthread_mutex_lock(&n->v.lock);
	if (virtio_running(&n->v) && n->v.queues[RX].s.enabled)
		done = receive(n, frames, nr);
	pthread_mutex_unlock(&n->v.lock);
	return done;
}

/* --- from the guest --- */

/* True if the chain is dealt with: sent, or no frame. */
static bool send_one(struct vionet *n)
{
	const struct virtq_chain *c = &n->chain;
	u64 size = c->out_size - sizeof(struct header);
	unsigned nr;

	if (c->out_size < sizeof(struct header) + NET_FRAME_MIN || size > NET_FRAME_MAX)
		return true;
	nr = virtq_iov(c, false, sizeof(struct header), size, n->iov);
	return n->net->ops->send(n->net, n->iov, nr);
}

static void kick_tx(struct vionet *n)
{
	struct virtq *q = &n->v.queues[TX];
	int r = 1;

	if (n->tx_waits)
		return;
	virtq_quiet(q);
	for (unsigned i = 0; i < VIRTIO_BUDGET && (r = virtq_pop(q, &n->chain)) > 0; i++) {
		if (!send_one(n)) {
			virtq_unpop(q);
			n->tx_waits = true;
			break;
		}
		virtq_push(q, &n->chain, 0);
	}
	virtio_interrupt(&n->v, TX);
	if (!n->tx_waits)
		virtio_rearm(&n->v, TX, r);
}

static void vionet_tx_ready(void *opaque)
{
	struct vionet *n = opaque;

	pthread_mutex_lock(&n->v.lock);
	n->tx_waits = false;
	virtio_kick(&n->v, TX);
	pthread_mutex_unlock(&n->v.lock);
}

static void vionet_kick(struct virtio_dev *v, unsigned n)
{
	struct vionet *net = to_net(v);

	if (n == TX)
		kick_tx(net);
	else
		net->net->ops->rx_ready(net->net);
}

static const struct virtio_ops vionet_ops = {
	.name = "virtio-net",
	.id = VIRTIO_ID_NET,
	.class_code = 0x020000,
	.nr_queues = 2,
	.queue_size = QUEUE_SIZE,
	.kick = vionet_kick,
};

/* --- life --- */

static void fill_config(struct vionet *n, const u8 mac[6])
{
	struct config *c = (struct config *)n->v.s.config;

	memcpy(c->mac, mac, sizeof(c->mac));
	c->status = STATUS_LINK_UP;
	n->v.config_size = sizeof(*c);
	n->v.features = F_MAC | F_MRG_RXBUF | F_STATUS;
}

int vionet_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct netdev *net,
		  const u8 mac[6], struct vionet **res, struct err *e)
{
	struct vionet *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_set(e, "cannot create a network card: not enough memory on the host");
	n->net = net;
	n->v.ops = &vionet_ops;
	fill_config(n, mac);
	r = virtio_init(&n->v, root, mem, loop, -1);
	if (r) {
		vionet_destroy(n);
		return err_set(e, "cannot add a network card: %s",
			       r == -ENOSPC ? "all PCI slots are taken" : strerror(-r));
	}
	net->client = (struct netdev_client){ vionet_receive, vionet_tx_ready, n };
	*res = n;
	return 0;
}

void vionet_destroy(struct vionet *n)
{
	if (!n)
		return;
	virtio_fini(&n->v);
	free(n);
}

struct virtio_dev *vionet_virtio(struct vionet *n)
{
	return &n->v;
}
