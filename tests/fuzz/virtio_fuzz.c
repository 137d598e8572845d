// SPDX-License-Identifier: MIT
/*
 * A driver gone mad: the devices, their registers written at random while
 * rings and buffers hold the input's bytes. Input: records of 8 bytes, little
 * endian: what to do, at which device, where (16 bits), with which value (32).
 */
#include <stdio.h>
#include <sys/mman.h>

#include "../lib/vdrv.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/mem.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"
#include "fuzz.h"

enum { NR_DEVICES = 6, DISK_SIZE = 64 << 10 };
enum { DO_WRITE8, DO_WRITE16, DO_WRITE32, DO_READ, DO_RAM, DO_START, DO_RUN, DO_INPUT, NR_DOINGS };

struct record {
	u8 what, device;
	u16 where;
	u32 value;
};

struct rig {
	struct vm vm;
	u64 bars[NR_DEVICES];
	struct blockdev *disk;
	struct vioblk *blk;
	struct vionet *net;
	struct viocon *con;
	struct viorng *rng;
	struct vioballoon *balloon;
	struct viomem *mem;
	struct netdev back;
	struct loop_work stop;
};

static bool back_send(struct netdev *d, const struct iovec *iov, unsigned nr)
{
	u64 size = 0;

	(void)d;
	for (unsigned i = 0; i < nr; i++)
		size += iov[i].iov_len;
	return size % 5 != 0; /* busy now and then */
}

static void back_rx_ready(struct netdev *d)
{
	(void)d;
}

static const struct netdev_ops back_ops = { .send = back_send, .rx_ready = back_rx_ready };

static void con_write(void *opaque, const void *data, size_t size)
{
	(void)opaque;
	(void)data;
	(void)size;
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

static void rig_init(struct rig *r)
{
	static const u8 mac[6] = { 2 };
	struct chardev c = { .write = con_write };
	char path[64];
	int fd = memfd_create("disk", 0);

	vm_init(&r->vm);
	if (mem_reserve_hot(r->vm.mem, GIB(4), MIB(256), NULL))
		abort();
	if (fd < 0 || ftruncate(fd, DISK_SIZE))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r->back.ops = &back_ops;
	if (raw_open(path, false, &r->disk, NULL) ||
	    vioblk_create(r->vm.root, r->vm.mem, r->vm.loop, r->disk, &r->blk, NULL) ||
	    vionet_create(r->vm.root, r->vm.mem, r->vm.loop, &r->back, mac, &r->net, NULL) ||
	    viocon_create(r->vm.root, r->vm.mem, r->vm.loop, &c, &r->con, NULL) ||
	    viorng_create(r->vm.root, r->vm.mem, r->vm.loop, &r->rng, NULL) ||
	    vioballoon_create(r->vm.root, r->vm.mem, r->vm.loop, &r->balloon, NULL) ||
	    viomem_create(r->vm.root, r->vm.mem, r->vm.loop, &r->mem, NULL))
		abort();
	r->stop = (struct loop_work){ .fn = stop_loop, .arg = r->vm.loop };
	vm_map(&r->vm);
	for (unsigned i = 0; i < NR_DEVICES; i++) {
		pci_config_write(r->vm.root, 0, i * 8, PCI_COMMAND, 2,
				 PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
		r->bars[i] = pci_config_read(r->vm.root, 0, i * 8, PCI_BAR0, 4) & ~0xfu;
	}
}

/* What was posted so far, and some of what that posts. */
static void run_loop(struct rig *r)
{
	loop_post(r->vm.loop, &r->stop);
	loop_run(r->vm.loop);
}

static void start(struct rig *r, unsigned device, u32 features)
{
	struct drv d;

	r->vm.bar = r->bars[device];
	drv_start(&r->vm, &d, VIRTIO_F_VERSION_1 | features);
}

/* What the VM's owner does. */
static void tend_memory(struct rig *r, u32 value)
{
	struct vioballoon_stats s;

	vioballoon_set_target(r->balloon, (u64)value << PAGE_SHIFT);
	viomem_set_requested(r->mem, value);
	vioballoon_poll(r->balloon);
	vioballoon_stats(r->balloon, &s);
	if (vioballoon_size(r->balloon) > VDRV_RAM || viomem_plugged(r->mem) > MIB(256))
		abort();
}

static void input(struct rig *r, unsigned device, u32 value)
{
	static u8 bytes[1518];
	struct iovec frames[3] = { { bytes, 60 }, { bytes, value % 1518 }, { bytes, 1514 } };

	if (device & 2) {
		tend_memory(r, value);
	} else if (device & 1) {
		r->back.client.receive(r->back.client.opaque, frames, 3);
		r->back.client.tx_ready(r->back.client.opaque);
	} else {
		viocon_receive(r->con, bytes, value % sizeof(bytes));
	}
}

static void act(struct rig *r, const struct record *rec, const u8 *rest, size_t left)
{
	unsigned device = rec->device % NR_DEVICES;
	u64 at = r->bars[device] + rec->where % 0x4000;

	switch (rec->what % NR_DOINGS) {
	case DO_WRITE8:
	case DO_WRITE16:
	case DO_WRITE32:
		io_write(r->vm.mmio, at, 1u << (rec->what % NR_DOINGS), rec->value);
		break;
	case DO_READ:
		io_read(r->vm.mmio, at, 1u << (rec->value % 4));
		break;
	case DO_RAM: /* the bytes that follow, to the rings' neighbourhood */
		mem_write(r->vm.mem, 0x100000 + rec->where, rest, MIN(left, (size_t)rec->value % 512));
		break;
	case DO_START:
		start(r, device, rec->value);
		break;
	case DO_RUN:
		run_loop(r);
		break;
	case DO_INPUT:
		input(r, rec->device, rec->value);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rig *r;

	if (!r) {
		r = calloc(1, sizeof(*r));
		rig_init(r);
	}
	for (size_t at = 0; at + sizeof(struct record) <= size; at += sizeof(struct record)) {
		struct record rec;

		memcpy(&rec, data + at, sizeof(rec));
		act(r, &rec, data + at + sizeof(rec), size - at - sizeof(rec));
	}
	run_loop(r);
	pci_root_reset(r->vm.root);
	for (unsigned i = 0; i < NR_DEVICES; i++) { /* back to where the BARs were */
		pci_config_write(r->vm.root, 0, i * 8, PCI_BAR0, 4, (u32)r->bars[i]);
		pci_config_write(r->vm.root, 0, i * 8, PCI_COMMAND, 2,
				 PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	}
	run_loop(r);
	return 0;
}

/* --- seeds: an honest driver's requests --- */

static size_t add(uint8_t *to, size_t n, struct record rec)
{
	memcpy(to + n, &rec, sizeof(rec));
	return n + sizeof(rec);
}

static size_t add_ram(uint8_t *to, size_t n, u16 where, const void *bytes, u32 size)
{
	n = add(to, n, (struct record){ DO_RAM, 0, where, size });
	memcpy(to + n, bytes, size);
	return n + ALIGN_UP(size, 8u);
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	unsigned queue = i % NR_DEVICES == 1 || i % NR_DEVICES == 2 ? i / NR_DEVICES : 0;
	u16 base = (u16)(queue * 0x8000), flags = queue ? 0 : 2; /* half-way to queue 1's rings */
	struct vring_desc desc[3] = { { 0x10c000, 16, 1, 1 }, { 0x10d000, 512, 3, 2 },
				      { 0x10e000, 1, 2, 0 } };
	u16 avail[8] = { 0, 1, 0 };
	u64 header[2] = { 0, 3 };
	size_t n = 0;

	if (i >= 2 * NR_DEVICES)
		return 0;
	if (i % NR_DEVICES) { /* not a disk: one buffer */
		desc[0].flags = flags;
		desc[0].len = 1526;
	}
	n = add(to, n, (struct record){ DO_START, (u8)(i % NR_DEVICES), 0, 0 });
	n = add_ram(to, n, 0xc000, header, sizeof(header));
	n = add_ram(to, n, 0, desc, sizeof(desc));
	n = add_ram(to, n, 0x4000, avail, sizeof(avail));
	n = add_ram(to, n, base, desc, sizeof(desc));
	n = add(to, n, (struct record){ DO_WRITE16, (u8)(i % NR_DEVICES),
					(u16)(0x3000 + 4 * queue), queue });
	n = add(to, n, (struct record){ DO_RUN, 0, 0, 0 });
	n = add(to, n, (struct record){ DO_INPUT, (u8)(i % NR_DEVICES), 0, 100 });
	n = add(to, n, (struct record){ DO_READ, (u8)(i % NR_DEVICES), 0x1000, 0 });
	return n;
}
