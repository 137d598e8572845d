// SPDX-License-Identifier: MIT
/*
 * The virtio devices that a configuration asks for: disks, network cards, a
 * console, and always a source of random numbers, so that a guest never waits
 * for entropy, and a balloon, so that free memory goes back to the host.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "block/blockdev.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/mem.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"
#include "vm/vm_internal.h"

struct vm_devices {
	struct viorng *rng;
	struct vioballoon *balloon;
	struct viomem *mem; /* NULL: memory cannot grow */
	struct {
		struct blockdev *image;
		struct vioblk *device;
	} disks[VM_MAX_DISKS];
	struct {
		struct netdev *net;
		struct vionet *device;
	} nics[VM_MAX_NICS];
	struct serial *console_end;
	struct viocon *console;
	struct virtio_dev *all[VM_MAX_DISKS + VM_MAX_NICS + 4]; /* for reset and saving */
	unsigned nr_all;
};

static void enlist(struct vm_devices *d, struct virtio_dev *v)
{
	d->all[d->nr_all++] = v;
}

/* ---- Disks ---- */

/* Root may write a file that nobody is meant to write. */
static int check_writable(const struct vm_disk *disk, struct err *e)
{
	struct stat st;

	if (disk->readonly || stat(disk->path, &st) || !S_ISREG(st.st_mode) || (st.st_mode & 0222))
		return 0;
	return err_set(e, "cannot open disk %s for writing: the file is read-only; "
		       "say %s,readonly to use it so", disk->path, disk->path);
}

static int create_disk(struct vm *vm, unsigned i, struct err *e)
{
	struct vm_devices *d = vm->devices;
	const struct vm_disk *disk = &vm->config.disks[i];

	if (check_writable(disk, e) ||
	    raw_open(disk->path, disk->readonly, &d->disks[i].image, e) ||
	    vioblk_create(vm->pc->pci_root, vm->pc->mem, vm->loop, d->disks[i].image,
			  &d->disks[i].device, e))
		return -1;
	enlist(d, vioblk_virtio(d->disks[i].device));
	return 0;
}

/* ---- Network cards ---- */

static int create_nic(struct vm *vm, unsigned i, struct err *e)
{
	const u8 mac[6] = { 0x52, 0x4e, 0x53, 0, 0, (u8)(i + 1) }; /* locally administered */
	struct vm_devices *d = vm->devices;
	const struct vm_nic *nic = &vm->config.nics[i];

	if (netdev_user_create(nic->forwards, nic->nr_forwards, vm->loop, &d->nics[i].net, e) ||
	    vionet_create(vm->pc->pci_root, vm->pc->mem, vm->loop, d->nics[i].net, mac,
			  &d->nics[i].device, e))
		return -1;
	enlist(d, vionet_virtio(d->nics[i].device));
	return 0;
}

/* ---- Console ---- */

static size_t console_receive(void *opaque, const void *data, size_t size)
{
	return viocon_receive(opaque, data, size);
}

static int create_console(struct vm *vm, struct err *e)
{
	struct vm_devices *d = vm->devices;

	if (vm->config.console.kind == VM_SERIAL_NONE)
		return 0;
	if (serial_create(&vm->config.console, vm->loop, &d->console_end, e) ||
	    viocon_create(vm->pc->pci_root, vm->pc->mem, vm->loop, serial_chardev(d->console_end),
			  &d->console, e))
		return -1;
	vm_connect_serial(vm, d->console_end, console_receive, d->console);
	enlist(d, viocon_virtio(d->console));
	return 0;
}

/* ---- Memory ---- */

u64 devices_hot_memory(const struct vm_config *c)
{
	if (c->max_memory <= c->memory)
		return 0;
	return MIN(ALIGN_UP(c->max_memory - c->memory, VIOMEM_ALIGN), VIOMEM_MAX);
}

static int create_memory(struct vm *vm, struct err *e)
{
	struct vm_devices *d = vm->devices;
	struct pc *pc = vm->pc;

	if (vioballoon_create(pc->pci_root, pc->mem, vm->loop, &d->balloon, e))
		return -1;
	enlist(d, vioballoon_virtio(d->balloon));
	if (!pc->mem->hot.max)
		return 0;
	if (viomem_create(pc->pci_root, pc->mem, vm->loop, &d->mem, e))
		return -1;
	enlist(d, viomem_virtio(d->mem));
	return 0;
}

void vm_get_memory(struct vm *vm, struct vm_memory *res)
{
	const struct vm_devices *d = vm->devices;
	u64 boot = vm->config.memory;
	struct vioballoon_stats s;

	vioballoon_stats(d->balloon, &s);
	*res = (struct vm_memory){
		.boot = boot,
		.assigned = boot - vioballoon_size(d->balloon) + (d->mem ? viomem_plugged(d->mem) : 0),
		.most = boot + vm->pc->mem->hot.max,
		.can_shrink = vioballoon_running(d->balloon),
		.can_grow = d->mem && viomem_running(d->mem),
		.available = !s.count ? ~0ull : s.available != ~0ull ? s.available : s.free,
		.nr_news = s.count,
	};
}

static void set_sizes(struct vm *vm, u64 balloon, u64 hot)
{
	struct vm_devices *d = vm->devices;

	vioballoon_set_target(d->balloon, balloon);
	if (!d->mem || viomem_requested(d->mem) == hot)
		return;
	vm_pause(vm); /* a slot may grow */
	viomem_set_requested(d->mem, hot);
	vm_resume(vm);
}

void vm_set_memory(struct vm *vm, u64 target)
{
	struct vm_devices *d = vm->devices;
	u64 boot = vm->config.memory, hot = target > boot ? target - boot : 0;

	/* A guest that has given away nearly all cannot add memory either. */
	if (d->mem && vioballoon_size(d->balloon))
		hot = MIN(hot, viomem_plugged(d->mem));
	set_sizes(vm, target < boot ? boot - target : 0, hot);
}

void vm_freeze_memory(struct vm *vm)
{
	struct vm_devices *d = vm->devices;

	set_sizes(vm, vioballoon_size(d->balloon), d->mem ? viomem_plugged(d->mem) : 0);
}

void vm_poll_memory(struct vm *vm)
{
	vioballoon_poll(vm->devices->balloon);
}

/* ---- All ---- */

int devices_create(struct vm *vm, struct err *e)
{
	struct vm_devices *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(e, "not enough memory for devices");
	vm->devices = d;
	for (unsigned i = 0; i < vm->config.nr_disks; i++)
		if (create_disk(vm, i, e))
			return -1;
	for (unsigned i = 0; i < vm->config.nr_nics; i++)
		if (create_nic(vm, i, e))
			return -1;
	if (create_console(vm, e))
		return -1;
	if (viorng_create(vm->pc->pci_root, vm->pc->mem, vm->loop, &d->rng, e))
		return -1;
	enlist(d, viorng_virtio(d->rng));
	return create_memory(vm, e);
}

void devices_reset(struct vm *vm)
{
	for (unsigned i = 0; i < vm->devices->nr_all; i++)
		virtio_reset(vm->devices->all[i]);
	if (vm->devices->mem)
		viomem_power_on(vm->devices->mem);
}

void devices_drain(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nr_disks; i++)
		vioblk_drain(vm->devices->disks[i].device);
}

int devices_save(struct vm *vm, struct state_buf *b)
{
	int r = 0;

	for (unsigned i = 0; i < vm->devices->nr_all && !r; i++)
		r = virtio_save(vm->devices->all[i], b, i);
	if (!r && vm->devices->mem)
		r = viomem_save(vm->devices->mem, b);
	return r;
}

int devices_load(struct vm *vm, struct state_buf *b, struct err *e)
{
	for (unsigned i = 0; i < vm->devices->nr_all; i++)
		if (virtio_load(vm->devices->all[i], b, i, e))
			return -1;
	return vm->devices->mem ? viomem_load(vm->devices->mem, b, e) : 0;
}

void devices_begin(struct vm *vm)
{
	if (vm->devices->console_end)
		serial_begin(vm->devices->console_end);
}

void devices_abandon(struct vm *vm)
{
	if (vm->devices->console_end)
		serial_abandon(vm->devices->console_end);
}

void devices_hurry(struct vm *vm, bool on)
{
	if (vm->devices && vm->devices->console_end)
		serial_hurry(vm->devices->console_end, on);
}

void devices_close(struct vm *vm)
{
	if (vm->devices && vm->devices->console_end)
		serial_close(vm->devices->console_end);
}

void devices_destroy(struct vm *vm)
{
	struct vm_devices *d = vm->devices;

	if (!d)
		return;
	for (unsigned i = 0; i < vm->config.nr_disks; i++) {
		vioblk_destroy(d->disks[i].device);
		blockdev_close(d->disks[i].image);
	}
	for (unsigned i = 0; i < vm->config.nr_nics; i++) {
		vionet_destroy(d->nics[i].device);
		netdev_destroy(d->nics[i].net);
	}
	viocon_destroy(d->console);
	serial_destroy(d->console_end);
	viorng_destroy(d->rng);
	vioballoon_destroy(d->balloon);
	viomem_destroy(d->mem);
	free(d);
}
