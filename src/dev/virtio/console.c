// SPDX-License-Identifier: MIT
/*
 * virtio-console: VIRTIO 1.2, "Console Device", port 0 only: queue 0 holds
 * buffers for input, queue 1 output.
 */
#include "dev/virtio/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RX = 0, TX = 1, QUEUE_SIZE = 64 };

struct viocon {
	struct virtio_dev v;
	struct chardev out;
	struct virtq_chain chain;
};

static void output(struct viocon *c)
{
	for (unsigned i = 0; i < c->chain.nr_out; i++)
		c->out.write(c->out.opaque, c->chain.iov[i].iov_base, c->chain.iov[i].iov_len);
}

static void kick_tx(struct viocon *c)
{
	struct virtq *q = &c->v.queues[TX];
	int r = 1;

	virtq_quiet(q);
	for (unsigned i = 0; i < VIRTIO_BUDGET && (r = virtq_pop(q, &c->chain)) > 0; i++) {
		output(c);
		virtq_push(q, &c->chain, 0);
	}
	virtio_interrupt(&c->v, TX);
	virtio_rearm(&c->v, TX, r);
}

static void viocon_kick(struct virtio_dev *v, unsigned n)
{
	struct viocon *c = container_of(v, struct viocon, v);

	if (n == TX)
		kick_tx(c);
	else if (c->out.rx_ready)
		c->out.rx_ready(c->out.opaque);
}

static size_t receive(struct viocon *c, const u8 *data, size_t size)
{
	struct virtq *q = &c->v.queues[RX];
	size_t done = 0;
	int r = 1;

	for (unsigned i = 0; i < VIRTIO_BUDGET && done < size; i++) {
		size_t n;

		r = virtq_pop(q, &c->chain);
		if (r <= 0)
			break;
		n = virtq_write(q, &c->chain, 0, data + done, size - done);
		virtq_push(q, &c->chain, (u32)n);
		done += n;
	}
	virtio_interrupt(&c->v, RX);
	if (done < size) /* the doorbell calls rx_ready() */
		virtio_rearm(&c->v, RX, r);
	return done;
}

size_t viocon_receive(struct viocon *c, const void *data, size_t size)
{
	size_t done = 0;

	pthread_mutex_lock(&c->v.lock);
	if (virtio_running(&c->v) && c->v.queues[RX].s.enabled)
		done = receive(c, data, size);
	pthread_mutex_unlock(&c->v.lock);
	return done;
}

static const struct virtio_ops viocon_ops = {
	.name = "virtio-console",
	.id = VIRTIO_ID_CONSOLE,
	.class_code = 0x078000,
	.nr_queues = 2,
	.queue_size = QUEUE_SIZE,
	.kick = viocon_kick,
};

int viocon_create(struct pci_root *root, struct mem *mem, struct loop *loop,
		  const struct chardev *out, struct viocon **res, struct err *e)
{
	struct viocon *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(e, "cannot create virtio-console: not enough memory on the host");
	c->out = *out;
	c->v.ops = &viocon_ops;
	c->v.config_size = 12; /* cols, rows, max_nr_ports, emerg_wr: none is offered */
	r = virtio_init(&c->v, root, mem, loop, -1);
	if (r) {
		viocon_destroy(c);
		return err_set(e, "cannot add virtio-console: %s",
			       r == -ENOSPC ? "all PCI slots are taken" : strerror(-r));
	}
	*res = c;
	return 0;
}

void viocon_destroy(struct viocon *c)
{
	if (!c)
		return;
	virtio_fini(&c->v);
	free(c);
}

struct virtio_dev *viocon_virtio(struct viocon *c)
{
	return &c->v;
}
