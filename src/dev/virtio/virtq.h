/* SPDX-License-Identifier: MIT */
/*
 * A split virtqueue, driven through a few bounds-checked verbs:
 *
 *	virtq_quiet(q);
 *	while ((r = virtq_pop(q, &chain)) > 0) {
 *		n = virtq_read(&chain, 0, &request, sizeof(request));
 *		n = virtq_write(q, &chain, 0, &answer, sizeof(answer));
 *		virtq_push(q, &chain, n);
 *	}
 *	if (virtq_wants_interrupt(q))
 *		...
 *	if (r == 0 && !virtq_listen(q))
 *		... once more
 *
 * Theory of operation. The rings lie in memory that the guest changes at will,
 * so each descriptor is copied once and checked; after virtq_pop() a chain holds
 * host addresses of checked RAM, and nothing of the ring is read again. A chain
 * may be used after others were popped, and pushed in any order. Nonsense
 * in the ring makes virtq_pop() return -1: the device then needs a reset.
 *
 * Calls need the device's lock. Section names below are those of the VIRTIO 1.2
 * specification, "Split Virtqueues".
 */
#ifndef NESTOR_DEV_VIRTIO_VIRTQ_H
#define NESTOR_DEV_VIRTIO_VIRTQ_H

#include <sys/uio.h>

#include "base/types.h"
#include "bus/mem.h"

enum {
	VIRTQ_SIZE_MAX = 256,
	/* A chain has at most as many descriptors as its queue; some more, for
	 * buffers that lie in two RAM slots. */
	VIRTQ_CHAIN_MAX = VIRTQ_SIZE_MAX + 8,
	VIRTQ_NO_VECTOR = 0xffff,
};

#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX     BIT(29)
#define VIRTIO_F_VERSION_1     BIT(32)

/* Plain data: what is saved. */
struct virtq_state {
	u16 size;
	u16 enabled;
	u16 vector;
	u16 next_avail; /* index into the available ring, of the next to pop */
	u16 next_used;
	u16 signalled_used; /* next_used at the last look for an interrupt */
	u64 desc, avail, used;
};

struct virtq {
	struct virtq_state s;
	struct mem *mem;
	bool event_idx, indirect; /* negotiated */
	bool broken;
};

/* Buffers the device reads come first, then those that it writes. */
struct virtq_chain {
	u16 head;
	u16 nr_out, nr_in;
	u64 out_size, in_size; /* bytes */
	struct iovec iov[VIRTQ_CHAIN_MAX];
	gpa_t gpa[VIRTQ_CHAIN_MAX];
};

/* All rings in RAM and aligned? Asked when the driver enables the queue. */
bool virtq_valid(const struct virtq *q);

int virtq_pop(struct virtq *q, struct virtq_chain *c); /* 1, 0: empty, -1: broken */
void virtq_unpop(struct virtq *q); /* undoes the last virtq_pop() */
void virtq_push(struct virtq *q, const struct virtq_chain *c, u32 written);

/* Like virtq_push() of several chains whose entries appear at once: put each
 * with its @index, then publish all. */
void virtq_put(struct virtq *q, const struct virtq_chain *c, u32 written, u16 index);
void virtq_publish(struct virtq *q, u16 count);

/* Asks the driver for no more doorbells; asks for them again and returns false
 * if something has come meanwhile. */
void virtq_quiet(struct virtq *q);
bool virtq_listen(struct virtq *q);
/* The same, when @nr chains are there and not enough: about more than those. */
bool virtq_listen_beyond(struct virtq *q, unsigned nr);

/* Whether what was pushed since the last call calls for an interrupt. */
bool virtq_wants_interrupt(struct virtq *q);

/* Copy out of the device-readable or into the device-writable part, from
 * @off; return the number of bytes, which may be short. */
size_t virtq_read(const struct virtq_chain *c, u64 off, void *to, size_t size);
size_t virtq_write(const struct virtq *q, const struct virtq_chain *c, u64 off, const void *from,
		   size_t size);

/* The parts of [off, off + size) of the readable (or writable) buffers as
 * host addresses; returns how many of @iov are used. */
unsigned virtq_iov(const struct virtq_chain *c, bool writable, u64 off, u64 size,
		   struct iovec iov[VIRTQ_CHAIN_MAX]);
/* Tells memory's listeners that [off, off + size) of the writable part has
 * been written through such addresses. */
void virtq_written(const struct virtq *q, const struct virtq_chain *c, u64 off, u64 size);

#endif
