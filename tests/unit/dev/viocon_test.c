// SPDX-License-Identifier: MIT
#include "dev/virtio/console.h"

#include "../../lib/test.h"
#include "../../lib/vdrv.h"

struct rig {
	struct vm vm;
	struct viocon *con;
	struct drv d;
	char out[64];
	_Atomic unsigned out_len, nr_ready;
	struct loop_work work;
	_Atomic int taken;
};

static void con_write(void *opaque, const void *data, size_t size)
{
	struct rig *r = opaque;

	memcpy(r->out + r->out_len, data, size);
	r->out_len += (unsigned)size;
}

static void con_ready(void *opaque)
{
	((struct rig *)opaque)->nr_ready++;
}

static void rig_init(struct rig *r)
{
	struct chardev c = { con_write, con_ready, r };

	memset(r, 0, sizeof(*r));
	vm_init(&r->vm);
	CHECK_EQ(viocon_create(r->vm.root, r->vm.mem, r->vm.loop, &c, &r->con, NULL), 0);
	vm_start(&r->vm);
	CHECK_EQ(drv_start(&r->vm, &r->d, VIRTIO_F_VERSION_1), 15);
}

static void rig_fini(struct rig *r)
{
	vm_stop(&r->vm);
	viocon_destroy(r->con);
	vm_fini(&r->vm);
}

TEST(viocon, output_in_order)
{
	struct rig r;

	rig_init(&r);
	mem_write(r.vm.mem, 0x200000, "hello world", 11);
	drv_add(&r.d, 1, (struct vbuf[]){ { 0x200000, 6, false }, { 0x200006, 5, false } }, 2);
	drv_add(&r.d, 1, (struct vbuf[]){ { 0x200000, 2, false } }, 1);
	drv_kick(&r.d, 1);
	CHECK(drv_wait_used(&r.d, 1, 2));
	CHECK_STR(r.out, "hello worldhe");
	rig_fini(&r);
}

static void do_input(void *arg)
{
	struct rig *r = arg;

	r->taken = (int)viocon_receive(r->con, "abcdefgh", 8);
}

TEST(viocon, input_as_far_as_there_is_room)
{
	struct rig r;

	rig_init(&r);
	r.taken = -1;
	r.work = (struct loop_work){ .fn = do_input, .arg = &r };
	drv_add(&r.d, 0, &(struct vbuf){ 0x200000, 3, true }, 1);
	drv_add(&r.d, 0, &(struct vbuf){ 0x200100, 2, true }, 1);
	loop_post(r.vm.loop, &r.work);
	for (unsigned i = 0; i < 5000 && r.taken < 0; i++)
		usleep(1000);
	CHECK_EQ(r.taken, 5);
	CHECK(!memcmp(vm_ram(&r.vm, 0x200000), "abc", 3));
	CHECK(!memcmp(vm_ram(&r.vm, 0x200100), "de", 2));
	r.nr_ready = 0;
	drv_add(&r.d, 0, &(struct vbuf){ 0x200000, 3, true }, 1);
	drv_kick(&r.d, 0);
	for (unsigned i = 0; i < 5000 && !r.nr_ready; i++)
		usleep(1000);
	CHECK(r.nr_ready > 0);
	rig_fini(&r);
}
