/* SPDX-License-Identifier: MIT */
/*
 * What all virtio devices share: status, features, queues and interrupts, behind
 * the one transport, modern virtio over PCI (pci.c).
 *
 * A device embeds struct virtio_dev, fills in ops, features and its configuration
 * bytes, and calls virtio_init(). Register accesses run on vCPU threads and take
 * the device's lock; a doorbell takes none, it only posts to the loop. There
 * ops->kick() runs, with the lock held. A device function that is called from
 * elsewhere (a finished disk request, a received frame) takes the lock itself.
 *
 * Lock order: PCI configuration space, then a device's lock, then MSI-X and the
 * interrupt chips.
 */
#ifndef NESTOR_DEV_VIRTIO_VIRTIO_H
#define NESTOR_DEV_VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/loop.h"
#include "base/state.h"
#include "base/types.h"
#include "bus/mem.h"
#include "bus/pci.h"
#include "dev/virtio/virtq.h"

enum { VIRTIO_MAX_QUEUES = 4, VIRTIO_CONFIG_MAX = 64 };

/* Chains handled in one go: a guest that keeps a queue full must not keep the
 * loop from its other work. */
enum { VIRTIO_BUDGET = 2 * VIRTQ_SIZE_MAX };

enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_MEM = 24,
};

enum {
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 0x40,
	VIRTIO_FAILED = 0x80,
};

struct virtio_dev;

struct virtio_ops {
	const char *name;
	enum virtio_id id;
	u32 class_code; /* PCI's, without revision */
	unsigned nr_queues;
	u16 queue_size;
	/* Doorbell of queue @n, or it may have work: loop's thread, lock held. */
	void (*kick)(struct virtio_dev *d, unsigned n);
	/* Forget all work. With requests in flight: false, and
	 * virtio_reset_done() when they have ended; or wait for them if @wait.
	 * May be NULL: nothing to forget. Lock held. */
	bool (*reset)(struct virtio_dev *d, bool wait);
	/* The driver wrote bytes of the configuration; already stored in
	 * d->config where config_writable allows. May be NULL. Lock held. */
	void (*config_written)(struct virtio_dev *d, unsigned off, unsigned size);
};

/* Plain data: what is saved, besides the queues' states. */
struct virtio_state {
	u64 driver_features;
	u32 device_feature_select, driver_feature_select;
	u16 config_vector;
	u16 queue_select;
	u8 status;
	u8 config_generation;
	u8 isr;
	u8 config[VIRTIO_CONFIG_MAX];
};

struct virtio_dev {
	struct pci_func pci;
	pthread_mutex_t lock;
	const struct virtio_ops *ops;
	struct mem *mem;
	struct loop *loop;
	u64 features; /* offered */
	unsigned config_size;
	u8 config_writable[VIRTIO_CONFIG_MAX]; /* mask of bits the driver may write */
	u8 config_reset[VIRTIO_CONFIG_MAX];    /* values after reset of the writable bits */

	struct virtio_state s;
	struct virtq queues[VIRTIO_MAX_QUEUES];
	bool resetting; /* the driver wrote status 0, requests are still in flight */
	_Atomic u32 kicked; /* by queue */
	struct loop_work kick_work;
	struct io_doorbells doorbells; /* .fd -1: none */
	u8 window; /* offset of the capability that is a window to the BAR */
};

/* @d has ops, features, config and config_size set. @slot as for pci_add(). */
int virtio_init(struct virtio_dev *d, struct pci_root *root, struct mem *mem, struct loop *loop,
		int slot);
/* The loop has stopped for good. */
void virtio_fini(struct virtio_dev *d);

/* Reset of the machine: the world is stopped. Waits for requests in flight. */
void virtio_reset(struct virtio_dev *d);

/* Saving: the world is stopped and no request is in flight. After loading, the
 * device looks at its queues when the loop runs again. */
int virtio_save(struct virtio_dev *d, struct state_buf *b, u32 instance);
int virtio_load(struct virtio_dev *d, struct state_buf *b, u32 instance, struct err *e);

/* For devices. Lock held. */
bool virtio_running(const struct virtio_dev *d); /* may it touch its queues? */
void virtio_interrupt(struct virtio_dev *d, unsigned n); /* for queue @n, if its driver wants it */
/* Ends a run over queue @n, @r being virtq_pop()'s last result: waits for a
 * doorbell, or kicks again if there is more, or gives up on nonsense. */
void virtio_rearm(struct virtio_dev *d, unsigned n, int r);
void virtio_config_changed(struct virtio_dev *d);
void virtio_broken(struct virtio_dev *d); /* the guest made nonsense: needs reset */
void virtio_reset_done(struct virtio_dev *d);

static inline bool virtio_has(const struct virtio_dev *d, u64 feature)
{
	return d->s.driver_features & feature;
}

/* Makes ops->kick() run soon. Any thread, lock held or not. */
void virtio_kick(struct virtio_dev *d, unsigned n);

#endif
