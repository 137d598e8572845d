// SPDX-License-Identifier: MIT
/* virtio-rng: VIRTIO 1.2, "Entropy Device". One queue of buffers to fill. */
#include "dev/virtio/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A large buffer is filled in part, as the specification allows, so that one
 * request costs little. */
enum { QUEUE_SIZE = 8, AT_ONCE = 256 };

struct viorng {
	struct virtio_dev v;
	struct virtq_chain chain;
};

static u32 fill(struct virtq *q, const struct virtq_chain *c)
{
	u8 bytes[AT_ONCE];
	ssize_t n = getrandom(bytes, MIN(c->in_size, (u64)AT_ONCE), 0);

	return n > 0 ? (u32)virtq_write(q, c, 0, bytes, (size_t)n) : 0;
}

static void viorng_kick(struct virtio_dev *v, unsigned n)
{
	struct viorng *rng = container_of(v, struct viorng, v);
	struct virtq *q = &v->queues[n];
	int r = 1;

	virtq_quiet(q);
	for (unsigned i = 0; i < VIRTIO_BUDGET && (r = virtq_pop(q, &rng->chain)) > 0; i++)
		virtq_push(q, &rng->chain, fill(q, &rng->chain));
	virtio_interrupt(v, n);
	virtio_rearm(v, n, r);
}

static const struct virtio_ops viorng_ops = {
	.name = "virtio-rng",
	.id = VIRTIO_ID_RNG,
	.class_code = 0x00ff00,
	.nr_queues = 1,
	.queue_size = QUEUE_SIZE,
	.kick = viorng_kick,
};

int viorng_create(struct pci_root *root, struct mem *mem, struct loop *loop, struct viorng **res,
		  struct err *e)
{
	struct viorng *rng = calloc(1, sizeof(*rng));
	int r;

	if (!rng)
		return err_set(e, "cannot create virtio-rng: not enough memory on the host");
	rng->v.ops = &viorng_ops;
	r = virtio_init(&rng->v, root, mem, loop, -1);
	if (r) {
		viorng_destroy(rng);
		return err_set(e, "cannot add virtio-rng: %s",
			       r == -ENOSPC ? "all PCI slots are taken" : strerror(-r));
	}
	*res = rng;
	return 0;
}

void viorng_destroy(struct viorng *rng)
{
	if (!rng)
		return;
	virtio_fini(&rng->v);
	free(rng);
}

struct virtio_dev *viorng_virtio(struct viorng *rng)
{
	return &rng->v;
}
