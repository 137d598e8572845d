// SPDX-License-Identifier: MIT
#include "dev/virtio/mem.h"

#include "../../lib/test.h"
#include "../../lib/vdrv.h"

#define HOT   GIB(4)
#define BLOCK VIOMEM_BLOCK
enum { PLUG, UNPLUG, UNPLUG_ALL, STATE };
enum { ACK, NACK, BUSY, ERROR };
enum { CONFIG = 0x2000, USABLE = CONFIG + 32, PLUGGED = CONFIG + 40, REQUESTED = CONFIG + 48 };

struct rig {
	struct vm vm;
	struct viomem *mem;
	struct drv d;
	u16 used;
};

static void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	vm_init(&r->vm);
	CHECK_EQ(mem_reserve_hot(r->vm.mem, HOT, MIB(512), NULL), 0);
	CHECK_EQ(viomem_create(r->vm.root, r->vm.mem, r->vm.loop, &r->mem, NULL), 0);
	vm_start(&r->vm);
	CHECK_EQ(drv_start(&r->vm, &r->d, VIRTIO_F_VERSION_1 | VIOMEM_F_UNPLUGGED_INACCESSIBLE), 15);
}

static void rig_fini(struct rig *r)
{
	vm_stop(&r->vm);
	viomem_destroy(r->mem);
	vm_fini(&r->vm);
}

static u64 config(struct rig *r, u64 at)
{
	return drv_read(&r->d, at, 4) | (u64)drv_read(&r->d, at + 4, 4) << 32;
}

/* The response's type, its state above it. */
static u32 ask(struct rig *r, u16 type, gpa_t addr, u16 nr)
{
	u64 req[3] = { type, addr, nr };
	u16 resp[5] = { 99, 0, 0, 0, 99 };

	mem_write(r->vm.mem, 0x200000, req, sizeof(req));
	mem_write(r->vm.mem, 0x201000, resp, sizeof(resp));
	drv_add(&r->d, 0, (struct vbuf[]){ { 0x200000, 24, false }, { 0x201000, 10, true } }, 2);
	drv_kick(&r->d, 0);
	CHECK(drv_wait_used(&r->d, 0, ++r->used));
	mem_read(r->vm.mem, 0x201000, resp, sizeof(resp));
	return (u32)resp[4] << 16 | resp[0];
}

TEST(viomem, a_new_machine_has_none)
{
	struct rig r;

	rig_init(&r);
	CHECK_EQ(config(&r, CONFIG), BLOCK);
	CHECK_EQ(config(&r, CONFIG + 16), HOT);
	CHECK_EQ(config(&r, CONFIG + 24), MIB(512));
	CHECK_EQ(config(&r, USABLE), 0);
	CHECK_EQ(ask(&r, PLUG, HOT, 1), ERROR);
	CHECK(!mem_host(r.vm.mem, HOT, 1));
	rig_fini(&r);
}

TEST(viomem, plugs_as_much_as_is_requested)
{
	struct rig r;

	rig_init(&r);
	viomem_set_requested(r.mem, 8 * BLOCK);
	CHECK_EQ(config(&r, REQUESTED), 8 * BLOCK);
	CHECK_EQ(config(&r, USABLE), MIB(128));
	CHECK(mem_host(r.vm.mem, HOT, MIB(128)) && !mem_host(r.vm.mem, HOT, MIB(128) + 1));
	CHECK_EQ(ask(&r, PLUG, HOT, 6), ACK);
	CHECK_EQ(ask(&r, PLUG, HOT + 6 * BLOCK, 3), NACK);
	CHECK_EQ(ask(&r, PLUG, HOT + 5 * BLOCK, 2), ERROR); /* one is plugged */
	CHECK_EQ(ask(&r, PLUG, HOT + 6 * BLOCK + 4096, 1), ERROR);
	CHECK_EQ(ask(&r, PLUG, HOT + MIB(128) - BLOCK, 2), ERROR);
	CHECK_EQ(ask(&r, PLUG, HOT - BLOCK, 2), ERROR);
	CHECK_EQ(ask(&r, PLUG, ~0ull << 21, 2), ERROR);
	CHECK_EQ(ask(&r, PLUG, HOT + 7 * BLOCK, 0), ERROR);
	CHECK_EQ(ask(&r, 7, HOT, 1), ERROR);
	CHECK_EQ(ask(&r, PLUG, HOT + 7 * BLOCK, 1), ACK);
	CHECK_EQ(viomem_plugged(r.mem), 7 * BLOCK);
	CHECK_EQ(config(&r, PLUGGED), 7 * BLOCK);
	CHECK_EQ(ask(&r, STATE, HOT, 6), 0 << 16 | ACK);
	CHECK_EQ(ask(&r, STATE, HOT + 6 * BLOCK, 1), 1 << 16 | ACK);
	CHECK_EQ(ask(&r, STATE, HOT, 8), 2 << 16 | ACK);
	rig_fini(&r);
}

TEST(viomem, what_is_unplugged_is_given_back)
{
	struct rig r;

	rig_init(&r);
	viomem_set_requested(r.mem, 4 * BLOCK);
	CHECK_EQ(ask(&r, PLUG, HOT, 4), ACK);
	memset(vm_ram(&r.vm, HOT), 0x5a, 4 * BLOCK);
	CHECK_EQ(ask(&r, UNPLUG, HOT + BLOCK, 2), ACK);
	CHECK_EQ(ask(&r, UNPLUG, HOT, 2), ERROR);
	CHECK_EQ(*(u8 *)vm_ram(&r.vm, HOT + BLOCK - 1), 0x5a);
	CHECK_EQ(*(u8 *)vm_ram(&r.vm, HOT + BLOCK), 0);
	CHECK_EQ(*(u8 *)vm_ram(&r.vm, HOT + 3 * BLOCK - 1), 0);
	CHECK_EQ(*(u8 *)vm_ram(&r.vm, HOT + 3 * BLOCK), 0x5a);
	CHECK_EQ(viomem_plugged(r.mem), 2 * BLOCK);
	CHECK_EQ(ask(&r, UNPLUG_ALL, 0, 0), ACK);
	CHECK_EQ(viomem_plugged(r.mem), 0);
	CHECK_EQ(*(u8 *)vm_ram(&r.vm, HOT), 0);
	rig_fini(&r);
}

TEST(viomem, a_reset_by_the_driver_leaves_blocks_and_power_on_takes_them)
{
	struct rig r;

	rig_init(&r);
	viomem_set_requested(r.mem, 4 * BLOCK);
	CHECK_EQ(ask(&r, PLUG, HOT, 4), ACK);
	drv_write(&r.d, VR_STATUS, 1, 0);
	CHECK_EQ(viomem_plugged(r.mem), 4 * BLOCK);
	CHECK_EQ(config(&r, REQUESTED), 4 * BLOCK);
	virtio_reset(viomem_virtio(r.mem));
	viomem_power_on(r.mem);
	CHECK_EQ(viomem_plugged(r.mem), 0);
	CHECK_EQ(config(&r, REQUESTED), 4 * BLOCK);
	rig_fini(&r);
}

TEST(viomem, a_change_of_the_request_interrupts)
{
	struct rig r;

	rig_init(&r);
	vm_enable_msix(&r.vm);
	drv_write(&r.d, VR_MSIX, 2, 1);
	unsigned before = r.vm.nr_msi[1];
	viomem_set_requested(r.mem, 4 * BLOCK);
	viomem_set_requested(r.mem, 4 * BLOCK);
	CHECK_EQ(r.vm.nr_msi[1], before + 1);
	viomem_set_requested(r.mem, GIB(8)); /* more than there is room for */
	CHECK_EQ(config(&r, REQUESTED), MIB(512));
	viomem_set_requested(r.mem, 0);
	CHECK_EQ(config(&r, USABLE), MIB(512));
	CHECK_EQ(r.vm.nr_msi[1], before + 3);
	rig_fini(&r);
}

TEST(viomem, a_short_request_breaks_the_device)
{
	struct rig r;

	rig_init(&r);
	drv_add(&r.d, 0, (struct vbuf[]){ { 0x200000, 23, false }, { 0x201000, 10, true } }, 2);
	drv_kick(&r.d, 0);
	CHECK(drv_wait_status(&r.d, VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET));
	rig_fini(&r);
}

static int save(struct rig *r, struct state_buf *b)
{
	int s = virtio_save(viomem_virtio(r->mem), b, 0);

	return s ? s : viomem_save(r->mem, b);
}

static int load(struct rig *r, struct state_buf *b, struct err *e)
{
	int s = virtio_load(viomem_virtio(r->mem), b, 0, e);

	return s ? s : viomem_load(r->mem, b, e);
}

TEST(viomem, state_goes_on_in_another)
{
	struct state_buf b = { 0 };
	struct rig r, r2;
	struct err e;

	rig_init(&r);
	viomem_set_requested(r.mem, 8 * BLOCK);
	CHECK_EQ(ask(&r, PLUG, HOT + BLOCK, 4), ACK);
	CHECK_EQ(save(&r, &b), 0);
	rig_init(&r2);
	CHECK_EQ(load(&r2, &b, &e), -1); /* its memory was not loaded */
	rig_fini(&r2);
	rig_init(&r2);
	mem_grow_hot(r2.vm.mem, r.vm.mem->hot.size);
	b.pos = 0;
	CHECK_EQ(load(&r2, &b, &e), 0);
	CHECK_EQ(viomem_plugged(r2.mem), 4 * BLOCK);
	CHECK_EQ(config(&r2, REQUESTED), 8 * BLOCK);
	state_buf_free(&b);
	rig_fini(&r);
	rig_fini(&r2);
}
