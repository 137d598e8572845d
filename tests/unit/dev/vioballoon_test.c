// SPDX-License-Identifier: MIT
#include "dev/virtio/balloon.h"

#include "../../lib/test.h"
#include "../../lib/vdrv.h"

enum { INFLATE, DEFLATE, STATS, REPORTING };
#define ALL_FEATURES                                                                               \
	(VIRTIO_F_VERSION_1 | VIOBALLOON_F_STATS | VIOBALLOON_F_DEFLATE_ON_OOM |                   \
	 VIOBALLOON_F_REPORTING)

struct rig {
	struct vm vm;
	struct vioballoon *balloon;
	struct drv d;
	_Atomic u64 written; /* bytes that the listener was told of */
};

static void on_written(void *opaque, gpa_t gpa, u64 size)
{
	if (gpa >= 0x400000)
		((struct rig *)opaque)->written += size;
}

static void rig_init(struct rig *r)
{
	const struct mem_listener l = { .written = on_written, .opaque = r };

	memset(r, 0, sizeof(*r));
	vm_init(&r->vm);
	CHECK_EQ(vioballoon_create(r->vm.root, r->vm.mem, r->vm.loop, &r->balloon, NULL), 0);
	vm_start(&r->vm);
	mem_set_listener(r->vm.mem, &l);
}

static void rig_fini(struct rig *r)
{
	vm_stop(&r->vm);
	vioballoon_destroy(r->balloon);
	vm_fini(&r->vm);
}

static void fill(struct rig *r, gpa_t gpa, u64 size)
{
	memset(vm_ram(&r->vm, gpa), 0x5a, size);
}

static u8 byte_at(struct rig *r, gpa_t gpa)
{
	return *(u8 *)vm_ram(&r->vm, gpa);
}

static void inflate(struct rig *r, const u32 *pfns, unsigned nr, u16 used)
{
	mem_write(r->vm.mem, 0x200000, pfns, nr * sizeof(*pfns));
	drv_add(&r->d, INFLATE, (struct vbuf[]){ { 0x200000, nr * 4, false } }, 1);
	drv_kick(&r->d, INFLATE);
	CHECK(drv_wait_used(&r->d, INFLATE, used));
}

TEST(vioballoon, offers_its_features)
{
	struct rig r;

	rig_init(&r);
	r.d.vm = &r.vm;
	CHECK_EQ(drv_offered(&r.d) & ALL_FEATURES, ALL_FEATURES);
	CHECK(!vioballoon_running(r.balloon));
	CHECK_EQ(drv_start(&r.vm, &r.d, ALL_FEATURES), 15);
	CHECK(vioballoon_running(r.balloon));
	rig_fini(&r);
}

TEST(vioballoon, pages_are_given_back_and_told)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, ALL_FEATURES);
	fill(&r, 0x400000, 0x8000);
	/* Falling, rising, alone. */
	inflate(&r, (u32[]){ 0x402, 0x401, 0x404, 0x405, 0x407 }, 5, 1);
	for (u32 page = 0; page < 8; page++)
		CHECK_EQ(byte_at(&r, 0x400000 + page * 0x1000ull),
			 page == 0 || page == 3 || page == 6 ? 0x5a : 0);
	CHECK_EQ(r.written, 5 * 0x1000);
	drv_add(&r.d, DEFLATE, (struct vbuf[]){ { 0x200000, 20, false } }, 1);
	drv_kick(&r.d, DEFLATE);
	CHECK(drv_wait_used(&r.d, DEFLATE, 1));
	rig_fini(&r);
}

TEST(vioballoon, pages_that_are_no_ram_are_ignored)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, ALL_FEATURES);
	fill(&r, 0x400000, 0x1000);
	inflate(&r, (u32[]){ 0xffffffff, 0xc0000, 0x1000, 0x400, 0x80000000 }, 5, 1);
	CHECK_EQ(byte_at(&r, 0x400000), 0);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 15);
	rig_fini(&r);
}

TEST(vioballoon, target_and_size_by_configuration)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, ALL_FEATURES);
	vm_enable_msix(&r.vm);
	drv_write(&r.d, VR_MSIX, 2, 4);
	unsigned before = r.vm.nr_msi[4];
	vioballoon_set_target(r.balloon, MIB(4));
	CHECK_EQ(r.vm.nr_msi[4], before + 1);
	vioballoon_set_target(r.balloon, MIB(4)); /* no news */
	CHECK_EQ(r.vm.nr_msi[4], before + 1);
	CHECK_EQ(drv_read(&r.d, 0x2000, 4), 1024);
	drv_write(&r.d, 0x2000, 4, 7); /* not the driver's */
	CHECK_EQ(drv_read(&r.d, 0x2000, 4), 1024);
	drv_write(&r.d, 0x2004, 4, 512);
	CHECK_EQ(vioballoon_size(r.balloon), MIB(2));
	drv_write(&r.d, 0x2004, 4, 0xffffffff); /* a lie */
	CHECK_EQ(vioballoon_size(r.balloon), VDRV_RAM);
	drv_write(&r.d, VR_STATUS, 1, 0);
	CHECK_EQ(vioballoon_size(r.balloon), 0);
	rig_fini(&r);
}

static void put_stats(struct rig *r, gpa_t at, u64 available)
{
	struct {
		u16 tag;
		u64 value;
	} __attribute__((packed)) s[3] = { { 6, available }, { 5, 1000 }, { 99, 1 } };

	mem_write(r->vm.mem, at, s, sizeof(s));
	drv_add(&r->d, STATS, (struct vbuf[]){ { at, sizeof(s), false } }, 1);
	drv_kick(&r->d, STATS);
}

static bool wait_count(struct rig *r, u64 count, struct vioballoon_stats *s)
{
	for (unsigned i = 0; i < 5000; i++) {
		vioballoon_stats(r->balloon, s);
		if (s->count >= count)
			return true;
		usleep(1000);
	}
	return false;
}

TEST(vioballoon, statistics_are_asked_for)
{
	struct vioballoon_stats s;
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, ALL_FEATURES);
	vioballoon_poll(r.balloon); /* no buffer yet */
	vioballoon_stats(r.balloon, &s);
	CHECK_EQ(s.count, 0);
	put_stats(&r, 0x200000, 700);
	CHECK(wait_count(&r, 1, &s));
	CHECK_EQ(s.available, 700);
	CHECK_EQ(s.total, 1000);
	CHECK_EQ(s.free, ~0ull);
	CHECK_EQ(drv_used_idx(&r.d, STATS), 0); /* kept until it is wanted */
	vioballoon_poll(r.balloon);
	CHECK_EQ(drv_used_idx(&r.d, STATS), 1);
	vioballoon_poll(r.balloon);
	CHECK_EQ(drv_used_idx(&r.d, STATS), 1);
	u64 count = s.count;
	put_stats(&r, 0x200100, 600);
	CHECK(wait_count(&r, count + 1, &s));
	CHECK_EQ(s.available, 600);
	rig_fini(&r);
}

TEST(vioballoon, free_pages_are_given_back_whole)
{
	struct rig r;

	rig_init(&r);
	drv_start(&r.vm, &r.d, ALL_FEATURES);
	fill(&r, 0x400000, 0x8000);
	drv_add(&r.d, REPORTING,
		(struct vbuf[]){ { 0x400800, 0x2000, true }, { 0x404000, 0x2000, true } }, 2);
	drv_kick(&r.d, REPORTING);
	CHECK(drv_wait_used(&r.d, REPORTING, 1));
	for (u32 page = 0; page < 8; page++)
		CHECK_EQ(byte_at(&r, 0x400000 + page * 0x1000ull),
			 page == 1 || page == 4 || page == 5 ? 0 : 0x5a);
	rig_fini(&r);
}

TEST(vioballoon, state_goes_on_in_another)
{
	struct state_buf b = { 0 };
	struct vioballoon_stats s;
	struct rig r, r2;
	struct err e;

	rig_init(&r);
	drv_start(&r.vm, &r.d, ALL_FEATURES);
	vioballoon_set_target(r.balloon, MIB(4));
	drv_write(&r.d, 0x2004, 4, 256);
	put_stats(&r, 0x200000, 700);
	CHECK(wait_count(&r, 1, &s));
	CHECK_EQ(virtio_save(vioballoon_virtio(r.balloon), &b, 0), 0);
	rig_init(&r2);
	vm_set_cfg(&r2.vm, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	mem_write(r2.vm.mem, 0x100000, vm_ram(&r.vm, 0x100000), 0x200000);
	CHECK_EQ(virtio_load(vioballoon_virtio(r2.balloon), &b, 0, &e), 0);
	CHECK_EQ(vioballoon_size(r2.balloon), MIB(1));
	CHECK(wait_count(&r2, 1, &s)); /* the buffer is still there */
	CHECK_EQ(s.available, 700);
	state_buf_free(&b);
	rig_fini(&r);
	rig_fini(&r2);
}
