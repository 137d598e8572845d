/* SPDX-License-Identifier: MIT */
/*
 * A machine just large enough for one virtio device, and the driver's side of
 * its queues, for tests and fuzzers: RAM, buses, a PCI root, a loop with its
 * thread, interrupts counted.
 *
 *	vm_init(&vm);
 *	viorng_create(vm.root, vm.mem, vm.loop, &rng, NULL);
 *	vm_start(&vm);				BARs, MSI-X, the loop's thread
 *	drv_start(&vm, &drv, features);		to DRIVER_OK
 *	drv_add(&drv, 0, bufs, nr) ... drv_kick(&drv, 0) ... drv_wait_used(&drv, 0, n)
 *	vm_stop(&vm); viorng_destroy(rng); vm_fini(&vm);
 */
#ifndef NESTOR_TESTS_VDRV_H
#define NESTOR_TESTS_VDRV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "bus/mem.h"
#include "bus/pci.h"
#include "dev/virtio/virtio.h"

#define VDRV_RAM MIB(16)
enum { VDRV_MMIO = 0xc0000000, VDRV_MAX_QUEUES = 4 };

struct vm {
	struct mem *mem;
	struct io_bus *pio, *mmio;
	struct pci_root *root;
	struct loop *loop;
	struct irq_sink sink;
	pthread_t thread;
	_Atomic unsigned nr_msi[8]; /* by data */
	_Atomic bool intx;
	u64 bar; /* of the device in slot 0 */
	u8 msix_cap;
};

static inline void vm_set_gsi(void *opaque, u32 gsi, bool level)
{
	(void)gsi;
	((struct vm *)opaque)->intx = level;
}

static inline void vm_send_msi(void *opaque, u64 address, u32 data)
{
	(void)address;
	((struct vm *)opaque)->nr_msi[data & 7]++;
}

static inline void vm_init(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->sink = (struct irq_sink){ vm_set_gsi, vm_send_msi, vm };
	if (mem_create(VDRV_RAM, &vm->mem, NULL) || io_bus_create(&vm->pio) ||
	    io_bus_create(&vm->mmio) || loop_create(&vm->loop) ||
	    pci_root_create(vm->pio, vm->mmio, &vm->sink, &vm->root))
		abort();
}

static inline u32 vm_cfg(struct vm *vm, u32 off, unsigned size)
{
	return pci_config_read(vm->root, 0, 0, off, size);
}

static inline void vm_set_cfg(struct vm *vm, u32 off, unsigned size, u32 v)
{
	pci_config_write(vm->root, 0, 0, off, size, v);
}

static inline u8 vm_find_cap(struct vm *vm, u8 id, u8 type)
{
	u8 at = (u8)vm_cfg(vm, PCI_CAP_POINTER, 1);

	for (; at; at = (u8)vm_cfg(vm, at + 1u, 1))
		if (vm_cfg(vm, at, 1) == id && (!type || vm_cfg(vm, at + 3u, 1) == type))
			return at;
	return 0;
}

static inline void vm_enable_msix(struct vm *vm)
{
	u64 table = vm_cfg(vm, PCI_BAR0 + 4, 4) & ~0xfu;
	u8 cap = vm_find_cap(vm, 0x11, 0);
	unsigned nr = (vm_cfg(vm, cap + 2u, 2) & 0x7ff) + 1;

	for (unsigned i = 0; i < nr; i++) {
		io_write(vm->mmio, table + i * 16, 4, 0xfee00000);
		io_write(vm->mmio, table + i * 16 + 4, 4, 0);
		io_write(vm->mmio, table + i * 16 + 8, 4, i);
		io_write(vm->mmio, table + i * 16 + 12, 4, 0);
	}
	vm_set_cfg(vm, cap + 2u, 2, 0x8000);
}

static inline void *vm_loop_thread(void *arg)
{
	loop_run(arg);
	return NULL;
}

/* Assigns BARs and switches the function on. */
static inline void vm_map(struct vm *vm)
{
	struct pci_windows w = { VDRV_MMIO, 0xd0000000, 0x1000, 0xffff };

	pci_assign_bars(vm->root, &w);
	vm_set_cfg(vm, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	vm->bar = vm_cfg(vm, PCI_BAR0, 4) & ~0xfu;
}

static inline void vm_start(struct vm *vm)
{
	vm_map(vm);
	if (pthread_create(&vm->thread, NULL, vm_loop_thread, vm->loop))
		abort();
}

static inline void vm_stop(struct vm *vm)
{
	loop_stop(vm->loop);
	pthread_join(vm->thread, NULL);
}

static inline void vm_fini(struct vm *vm)
{
	pci_root_destroy(vm->root);
	loop_destroy(vm->loop);
	io_bus_destroy(vm->pio);
	io_bus_destroy(vm->mmio);
	mem_destroy(vm->mem);
}

static inline void *vm_ram(struct vm *vm, gpa_t gpa)
{
	return mem_host(vm->mem, gpa, 1);
}

/* --- the driver --- */

struct vbuf {
	gpa_t gpa;
	u32 len;
	bool in; /* the device writes it */
};

struct vring_desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};

struct drv_queue {
	u16 size;
	gpa_t desc, avail, used;
	u16 next_desc, avail_idx, last_used;
};

struct drv {
	struct vm *vm;
	u64 features;
	struct drv_queue q[VDRV_MAX_QUEUES];
};

/* Registers of the common configuration. */
enum {
	VR_DFSEL = 0, VR_DF = 4, VR_GFSEL = 8, VR_GF = 12, VR_MSIX = 0x10, VR_NRQ = 0x12,
	VR_STATUS = 0x14, VR_GEN = 0x15, VR_QSEL = 0x16, VR_QSIZE = 0x18, VR_QVEC = 0x1a,
	VR_QEN = 0x1c, VR_QOFF = 0x1e, VR_QDESC = 0x20, VR_QAVAIL = 0x28, VR_QUSED = 0x30,
};

static inline u32 drv_read(struct drv *d, u64 off, unsigned size)
{
	return (u32)io_read(d->vm->mmio, d->vm->bar + off, size);
}

static inline void drv_write(struct drv *d, u64 off, unsigned size, u64 v)
{
	io_write(d->vm->mmio, d->vm->bar + off, size, v);
}

static inline u64 drv_offered(struct drv *d)
{
	u64 v;

	drv_write(d, VR_DFSEL, 4, 0);
	v = drv_read(d, VR_DF, 4);
	drv_write(d, VR_DFSEL, 4, 1);
	return v | (u64)drv_read(d, VR_DF, 4) << 32;
}

static inline void drv_set_features(struct drv *d, u64 f)
{
	drv_write(d, VR_GFSEL, 4, 0);
	drv_write(d, VR_GF, 4, (u32)f);
	drv_write(d, VR_GFSEL, 4, 1);
	drv_write(d, VR_GF, 4, f >> 32);
	d->features = f;
}

static inline void drv_setup_queue(struct drv *d, unsigned n)
{
	struct drv_queue *q = &d->q[n];

	drv_write(d, VR_QSEL, 2, n);
	*q = (struct drv_queue){ .size = (u16)drv_read(d, VR_QSIZE, 2) };
	q->desc = 0x100000 + n * 0x10000;
	q->avail = q->desc + 0x4000;
	q->used = q->desc + 0x8000;
	memset(vm_ram(d->vm, q->desc), 0, 0x10000);
	drv_write(d, VR_QVEC, 2, n);
	drv_write(d, VR_QDESC, 8, q->desc);
	drv_write(d, VR_QAVAIL, 8, q->avail);
	drv_write(d, VR_QUSED, 8, q->used);
	drv_write(d, VR_QEN, 2, 1);
}

/* From reset to DRIVER_OK. Returns the status read back. */
static inline u8 drv_start(struct vm *vm, struct drv *d, u64 features)
{
	memset(d, 0, sizeof(*d));
	d->vm = vm;
	drv_write(d, VR_STATUS, 1, 0);
	drv_write(d, VR_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	drv_set_features(d, features);
	drv_write(d, VR_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
	drv_write(d, VR_MSIX, 2, drv_read(d, VR_NRQ, 2));
	for (unsigned n = 0; n < drv_read(d, VR_NRQ, 2); n++)
		drv_setup_queue(d, n);
	drv_write(d, VR_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK |
					   VIRTIO_DRIVER_OK);
	return (u8)drv_read(d, VR_STATUS, 1);
}

static inline struct vring_desc *drv_desc(struct drv *d, unsigned n, u16 i)
{
	struct drv_queue *q = &d->q[n];

	return (struct vring_desc *)vm_ram(d->vm, q->desc) + (i & (q->size - 1));
}

/* Makes head available. */
static inline void drv_offer(struct drv *d, unsigned n, u16 head)
{
	struct drv_queue *q = &d->q[n];
	u16 *avail = vm_ram(d->vm, q->avail);

	avail[2 + (q->avail_idx & (q->size - 1))] = head;
	q->avail_idx++;
	__atomic_store_n(&avail[1], q->avail_idx, __ATOMIC_SEQ_CST);
}

/* Adds a chain of @nr buffers; returns its head. */
static inline u16 drv_add(struct drv *d, unsigned n, const struct vbuf *b, unsigned nr)
{
	struct drv_queue *q = &d->q[n];
	u16 head = q->next_desc & (q->size - 1);

	for (unsigned i = 0; i < nr; i++) {
		struct vring_desc *desc = drv_desc(d, n, q->next_desc);

		*desc = (struct vring_desc){ b[i].gpa, b[i].len, b[i].in ? 2 : 0, 0 };
		q->next_desc++;
		if (i + 1 < nr) {
			desc->flags |= 1;
			desc->next = q->next_desc & (q->size - 1);
		}
	}
	drv_offer(d, n, head);
	return head;
}

static inline void drv_kick(struct drv *d, unsigned n)
{
	drv_write(d, 0x3000 + 4 * n, 2, n);
}

static inline u16 drv_used_idx(struct drv *d, unsigned n)
{
	return __atomic_load_n((u16 *)vm_ram(d->vm, d->q[n].used) + 1, __ATOMIC_SEQ_CST);
}

static inline u32 drv_used_len(struct drv *d, unsigned n, u16 i)
{
	u32 *ring = (u32 *)vm_ram(d->vm, d->q[n].used) + 1;

	return ring[2 * (i & (d->q[n].size - 1)) + 1];
}

/* Waits up to five seconds for the used index; false: it did not come. */
static inline bool drv_wait_used(struct drv *d, unsigned n, u16 idx)
{
	for (unsigned i = 0; i < 5000; i++) {
		if (drv_used_idx(d, n) == idx)
			return true;
		usleep(1000);
	}
	return false;
}

static inline bool drv_wait_status(struct drv *d, u8 mask, u8 want)
{
	for (unsigned i = 0; i < 5000; i++) {
		if ((drv_read(d, VR_STATUS, 1) & mask) == want)
			return true;
		usleep(1000);
	}
	return false;
}

#endif
