// SPDX-License-Identifier: MIT
/* The transport, with the simplest device behind it. */
#include "dev/virtio/rng.h"

#include "../../lib/test.h"
#include "../../lib/vdrv.h"

#define FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC)

struct rig {
	struct vm vm;
	struct viorng *rng;
	struct drv d;
};

static void rig_init(struct rig *r)
{
	vm_init(&r->vm);
	CHECK_EQ(viorng_create(r->vm.root, r->vm.mem, r->vm.loop, &r->rng, NULL), 0);
	vm_start(&r->vm);
}

static void rig_fini(struct rig *r)
{
	vm_stop(&r->vm);
	viorng_destroy(r->rng);
	vm_fini(&r->vm);
}

TEST(virtio, identifies_itself)
{
	struct rig r;

	rig_init(&r);
	CHECK_EQ(vm_cfg(&r.vm, 0, 4), 0x10441af4);
	CHECK_EQ(vm_cfg(&r.vm, 8, 4), 0x00ff0001);
	for (u8 type = 1; type <= 5; type++)
		CHECK(vm_find_cap(&r.vm, 9, type) != 0);
	rig_fini(&r);
}

TEST(virtio, rng_fills_buffers)
{
	struct vbuf b[] = { { 0x200000, 8, true }, { 0x200100, 24, true } };
	u64 zero[4] = { 0 };
	struct rig r;

	rig_init(&r);
	vm_enable_msix(&r.vm);
	CHECK_EQ(drv_start(&r.vm, &r.d, FEATURES), 15);
	drv_add(&r.d, 0, b, 2);
	drv_kick(&r.d, 0);
	CHECK(drv_wait_used(&r.d, 0, 1));
	CHECK_EQ(drv_used_len(&r.d, 0, 0), 32);
	CHECK(memcmp(vm_ram(&r.vm, 0x200100), zero, 24) != 0);
	rig_fini(&r);
	CHECK_EQ(r.vm.nr_msi[0], 1);
	CHECK(!r.vm.intx);
}

static struct io_doorbells bell;
static u64 bell_at; /* 0: nowhere */

static void note_doorbells(void *opaque, const struct io_region *r, const struct io_doorbells *d,
			   bool there)
{
	(void)opaque;
	bell = *d;
	bell_at = there ? r->base + d->off : 0;
}

TEST(virtio, an_engine_may_ring_by_event)
{
	const struct io_listener l = { .doorbells = note_doorbells };
	struct vbuf b = { 0x200000, 8, true };
	u64 one = 1;
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, FEATURES);
	io_set_listener(r.vm.mmio, &l);
	CHECK_EQ(bell_at, r.vm.bar + 0x3000);
	CHECK(bell.fd >= 0 && bell.stride == 4 && bell.nr == 1);
	drv_add(&r.d, 0, &b, 1);
	CHECK_EQ(write(bell.fd, &one, sizeof(one)), sizeof(one));
	CHECK(drv_wait_used(&r.d, 0, 1));
	/* No longer where memory decoding is off; again where it is on. */
	vm_set_cfg(&r.vm, 4, 2, 0);
	CHECK_EQ(bell_at, 0);
	vm_set_cfg(&r.vm, 4, 2, 6);
	CHECK_EQ(bell_at, r.vm.bar + 0x3000);
	io_set_listener(r.vm.mmio, NULL);
	CHECK_EQ(bell_at, 0);
	rig_fini(&r);
}

TEST(virtio, intx_and_isr)
{
	struct vbuf b = { 0x200000, 8, true };
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, FEATURES);
	drv_add(&r.d, 0, &b, 1);
	drv_kick(&r.d, 0);
	CHECK(drv_wait_used(&r.d, 0, 1));
	for (unsigned i = 0; i < 1000 && !r.vm.intx; i++)
		usleep(1000);
	CHECK(r.vm.intx);
	CHECK_EQ(drv_read(&r.d, 0x1000, 1), 1);
	CHECK(!r.vm.intx);
	CHECK_EQ(drv_read(&r.d, 0x1000, 1), 0);
	rig_fini(&r);
}

TEST(virtio, refuses_wrong_features)
{
	struct rig r;

	rig_init(&r);
	CHECK_EQ(drv_start(&r.vm, &r.d, VIRTIO_F_INDIRECT_DESC) & VIRTIO_FEATURES_OK, 0);
	CHECK_EQ(drv_start(&r.vm, &r.d, FEATURES | 1) & VIRTIO_FEATURES_OK, 0);
	CHECK_EQ(drv_start(&r.vm, &r.d, drv_offered(&r.d)), 15);
	rig_fini(&r);
}

TEST(virtio, reset_clears_all)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, FEATURES);
	drv_write(&r.d, VR_STATUS, 1, 0);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 0);
	CHECK_EQ(drv_read(&r.d, VR_QEN, 2), 0);
	CHECK_EQ(drv_read(&r.d, VR_QDESC, 8), 0);
	CHECK_EQ(drv_read(&r.d, VR_MSIX, 2), 0xffff);
	CHECK_EQ(drv_start(&r.vm, &r.d, FEATURES), 15);
	rig_fini(&r);
}

TEST(virtio, machine_reset_clears_all)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, FEATURES);
	pci_root_reset(r.vm.root);
	vm_map(&r.vm);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 0);
	CHECK_EQ(drv_start(&r.vm, &r.d, FEATURES), 15);
	rig_fini(&r);
}

TEST(virtio, nonsense_needs_reset)
{
	struct vbuf b = { GIB(1), 8, true };
	struct rig r;

	rig_init(&r);
	vm_enable_msix(&r.vm);
	drv_start(&r.vm, &r.d, FEATURES);
	drv_add(&r.d, 0, &b, 1);
	drv_kick(&r.d, 0);
	CHECK(drv_wait_status(&r.d, VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET));
	CHECK_EQ(drv_start(&r.vm, &r.d, FEATURES), 15);
	b.gpa = 0x200000;
	drv_add(&r.d, 0, &b, 1);
	drv_kick(&r.d, 0);
	CHECK(drv_wait_used(&r.d, 0, 1));
	rig_fini(&r);
	CHECK_EQ(r.vm.nr_msi[1], 1); /* the configuration's vector */
}

TEST(virtio, bad_queue_address_needs_reset)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, FEATURES);
	drv_write(&r.d, VR_STATUS, 1, 0);
	drv_write(&r.d, VR_STATUS, 1, 3);
	drv_write(&r.d, VR_QSEL, 2, 0);
	drv_write(&r.d, VR_QDESC, 8, GIB(8));
	drv_write(&r.d, VR_QEN, 2, 1);
	CHECK(drv_read(&r.d, VR_STATUS, 1) & VIRTIO_NEEDS_RESET);
	CHECK_EQ(drv_read(&r.d, VR_QEN, 2), 0);
	rig_fini(&r);
}

TEST(virtio, absent_queue_is_empty)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, FEATURES);
	drv_write(&r.d, VR_QSEL, 2, 1);
	CHECK_EQ(drv_read(&r.d, VR_QSIZE, 2), 0);
	drv_write(&r.d, VR_QEN, 2, 1);
	drv_kick(&r.d, 1);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 15);
	rig_fini(&r);
}

TEST(virtio, window_in_configuration_space)
{
	struct rig r;
	u8 w;

	rig_init(&r);
	drv_start(&r.vm, &r.d, FEATURES);
	w = vm_find_cap(&r.vm, 9, 5);
	vm_set_cfg(&r.vm, w + 4u, 1, 0);
	vm_set_cfg(&r.vm, w + 8u, 4, VR_STATUS);
	vm_set_cfg(&r.vm, w + 12u, 4, 1);
	CHECK_EQ(vm_cfg(&r.vm, w + 16u, 1), 15);
	vm_set_cfg(&r.vm, w + 16u, 1, 0);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 0);
	vm_set_cfg(&r.vm, w + 12u, 4, 3); /* no such length: nothing happens */
	vm_set_cfg(&r.vm, w + 16u, 4, 1);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 0);
	rig_fini(&r);
}

TEST(virtio, saves_and_loads)
{
	struct vbuf b = { 0x200000, 8, true };
	struct state_buf s = { 0 };
	struct virtio_dev *v;
	struct err e;
	struct rig r;

	rig_init(&r);
	v = viorng_virtio(r.rng);
	drv_start(&r.vm, &r.d, FEATURES);
	drv_add(&r.d, 0, &b, 1);
	drv_kick(&r.d, 0);
	CHECK(drv_wait_used(&r.d, 0, 1));
	CHECK_EQ(virtio_save(v, &s, 0), 0);
	virtio_reset(v);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 0);
	CHECK_EQ(virtio_load(v, &s, 0, &e), 0);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 15);
	drv_add(&r.d, 0, &b, 1); /* the load itself makes the device look */
	CHECK(drv_wait_used(&r.d, 0, 2) || (drv_kick(&r.d, 0), drv_wait_used(&r.d, 0, 2)));
	state_buf_free(&s);
	rig_fini(&r);
}
