// SPDX-License-Identifier: MIT
#include "dev/virtio/blk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../../lib/test.h"
#include "../../lib/vdrv.h"

enum { HEADER = 0x200000, DATA = 0x210000, STATUS = 0x208000, SECTORS = 64 };
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };

struct rig {
	char path[64];
	struct vm vm;
	struct blockdev *disk;
	struct vioblk *blk;
	struct drv d;
	u16 nr_done;
};

static void rig_init(struct rig *r, bool readonly)
{
	int fd;

	memset(r, 0, sizeof(*r));
	snprintf(r->path, sizeof(r->path), "/tmp/nestor-blk-test.XXXXXX");
	fd = mkstemp(r->path);
	CHECK(fd >= 0 && !ftruncate(fd, SECTORS * 512));
	for (u32 i = 0; i < SECTORS; i++)
		CHECK_EQ(pwrite(fd, &i, 4, i * 512), 4);
	close(fd);
	vm_init(&r->vm);
	CHECK_EQ(raw_open(r->path, readonly, &r->disk, NULL), 0);
	CHECK_EQ(vioblk_create(r->vm.root, r->vm.mem, r->vm.loop, r->disk, &r->blk, NULL), 0);
	vm_start(&r->vm);
	vm_enable_msix(&r->vm);
	r->d.vm = &r->vm;
	CHECK_EQ(drv_start(&r->vm, &r->d, drv_offered(&r->d)), 15);
}

static void rig_fini(struct rig *r)
{
	vm_stop(&r->vm);
	vioblk_destroy(r->blk);
	blockdev_close(r->disk);
	vm_fini(&r->vm);
	unlink(r->path);
}

static void put_request(struct rig *r, u32 type, u64 sector, struct vbuf data)
{
	u64 header[2] = { type, sector };
	struct vbuf b[3] = { { HEADER, 16, false }, data, { STATUS, 1, true } };

	mem_write(r->vm.mem, HEADER, header, sizeof(header));
	*(u8 *)vm_ram(&r->vm, STATUS) = 0xee;
	if (!data.len)
		b[1] = b[2];
	drv_add(&r->d, 0, b, data.len ? 3 : 2);
	drv_kick(&r->d, 0);
}

/* One request; returns its status byte. */
static u8 request(struct rig *r, u32 type, u64 sector, struct vbuf data)
{
	put_request(r, type, sector, data);
	CHECK(drv_wait_used(&r->d, 0, ++r->nr_done));
	return *(u8 *)vm_ram(&r->vm, STATUS);
}

static u32 on_disk(struct rig *r, unsigned sector)
{
	int fd = open(r->path, O_RDONLY);
	u32 v = ~0u;

	CHECK_EQ(pread(fd, &v, 4, sector * 512), 4);
	close(fd);
	return v;
}

TEST(blk, configuration)
{
	struct rig r;

	rig_init(&r, false);
	CHECK_EQ(drv_read(&r.d, 0x2000, 4), SECTORS);
	CHECK_EQ(drv_read(&r.d, 0x2014, 4), 512);
	CHECK_EQ(drv_read(&r.d, 0x2020, 1), 1); /* writeback */
	drv_write(&r.d, 0x2020, 1, 0);
	CHECK_EQ(drv_read(&r.d, 0x2020, 1), 0);
	drv_write(&r.d, 0x2000, 4, 7); /* capacity is read-only */
	CHECK_EQ(drv_read(&r.d, 0x2000, 4), SECTORS);
	rig_fini(&r);
}

TEST(blk, reads_and_writes)
{
	struct rig r;
	u32 v = 0xdeadbeef;

	rig_init(&r, false);
	CHECK_EQ(request(&r, IN, 5, (struct vbuf){ DATA, 1024, true }), 0);
	CHECK_EQ(*(u32 *)vm_ram(&r.vm, DATA), 5);
	CHECK_EQ(*(u32 *)vm_ram(&r.vm, DATA + 512), 6);
	CHECK_EQ(drv_used_len(&r.d, 0, 0), 1025);
	mem_write(r.vm.mem, DATA, &v, 4);
	CHECK_EQ(request(&r, OUT, SECTORS - 1, (struct vbuf){ DATA, 512, false }), 0);
	CHECK_EQ(on_disk(&r, SECTORS - 1), v);
	CHECK_EQ(request(&r, FLUSH, 0, (struct vbuf){ 0 }), 0);
	rig_fini(&r);
}

TEST(blk, many_at_once)
{
	struct rig r;

	rig_init(&r, false);
	for (unsigned i = 0; i < 40; i++) {
		u64 header[2] = { IN, i };
		struct vbuf b[3] = { { HEADER + i * 16, 16, false },
				     { DATA + i * 512, 512, true },
				     { STATUS + i, 1, true } };

		mem_write(r.vm.mem, HEADER + i * 16, header, sizeof(header));
		drv_add(&r.d, 0, b, 3);
	}
	drv_kick(&r.d, 0);
	CHECK(drv_wait_used(&r.d, 0, 40));
	for (unsigned i = 0; i < 40; i++)
		CHECK_EQ(*(u32 *)vm_ram(&r.vm, DATA + i * 512), i);
	rig_fini(&r);
}

TEST(blk, refuses_what_is_out_of_range)
{
	struct rig r;

	rig_init(&r, false);
	CHECK_EQ(request(&r, IN, SECTORS, (struct vbuf){ DATA, 512, true }), 1);
	CHECK_EQ(request(&r, IN, SECTORS - 1, (struct vbuf){ DATA, 1024, true }), 1);
	CHECK_EQ(request(&r, OUT, ~0ull, (struct vbuf){ DATA, 512, false }), 1);
	CHECK_EQ(request(&r, OUT, 0, (struct vbuf){ DATA, 100, false }), 1);
	CHECK_EQ(request(&r, 77, 0, (struct vbuf){ DATA, 512, true }), 2);
	CHECK_EQ(on_disk(&r, 0), 0);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 15);
	rig_fini(&r);
}

TEST(blk, malformed_needs_reset)
{
	struct vbuf b[] = { { HEADER, 8, false }, { STATUS, 1, true } };
	struct rig r;

	rig_init(&r, false);
	drv_add(&r.d, 0, b, 2);
	drv_kick(&r.d, 0);
	CHECK(drv_wait_status(&r.d, VIRTIO_NEEDS_RESET, VIRTIO_NEEDS_RESET));
	rig_fini(&r);
}

TEST(blk, readonly)
{
	struct rig r;

	rig_init(&r, true);
	CHECK(drv_offered(&r.d) & BIT(5));
	CHECK_EQ(request(&r, IN, 3, (struct vbuf){ DATA, 512, true }), 0);
	CHECK_EQ(request(&r, OUT, 3, (struct vbuf){ DATA + 8, 512, false }), 1);
	CHECK_EQ(request(&r, FLUSH, 0, (struct vbuf){ 0 }), 0);
	CHECK_EQ(on_disk(&r, 3), 3);
	rig_fini(&r);
}

TEST(blk, get_id_is_the_file_name)
{
	struct rig r;

	rig_init(&r, false);
	CHECK_EQ(request(&r, GET_ID, 0, (struct vbuf){ DATA, 20, true }), 0);
	CHECK(!memcmp(vm_ram(&r.vm, DATA), "nestor-blk-test.", 16));
	rig_fini(&r);
}

TEST(blk, discards_and_zeroes)
{
	struct { u64 sector; u32 nr, flags; } range = { 4, 2, 0 };
	struct rig r;

	rig_init(&r, false);
	mem_write(r.vm.mem, DATA, &range, sizeof(range));
	CHECK_EQ(request(&r, WRITE_ZEROES, 0, (struct vbuf){ DATA, 16, false }), 0);
	CHECK_EQ(on_disk(&r, 3), 3);
	CHECK_EQ(on_disk(&r, 4), 0);
	CHECK_EQ(on_disk(&r, 5), 0);
	CHECK_EQ(on_disk(&r, 6), 6);
	range.flags = 2;
	mem_write(r.vm.mem, DATA, &range, sizeof(range));
	CHECK_EQ(request(&r, WRITE_ZEROES, 0, (struct vbuf){ DATA, 16, false }), 2);
	range.flags = 0;
	range.nr = SECTORS;
	mem_write(r.vm.mem, DATA, &range, sizeof(range));
	CHECK_EQ(request(&r, DISCARD, 0, (struct vbuf){ DATA, 16, false }), 1);
	range.nr = 1;
	mem_write(r.vm.mem, DATA, &range, sizeof(range));
	CHECK_EQ(request(&r, DISCARD, 0, (struct vbuf){ DATA, 16, false }), 0);
	rig_fini(&r);
}

/* --- a disk that is slow --- */

struct slow {
	struct blockdev dev;
	_Atomic bool go;
};

static int slow_read(struct blockdev *d, struct iovec *iov, unsigned nr, u64 offset)
{
	(void)iov;
	(void)nr;
	(void)offset;
	while (!container_of(d, struct slow, dev)->go)
		usleep(500);
	return 0;
}

static void slow_close(struct blockdev *d)
{
	blockdev_fini(d);
}

static const struct blockdev_ops slow_ops = { .read = slow_read, .close = slow_close };

/* The driver resets the device with a request in flight: status stays until the
 * request has ended, and its buffer is not touched after that. */
TEST(blk, reset_waits_for_requests)
{
	struct slow slow = { .go = false };
	struct rig r;

	memset(&r, 0, sizeof(r));
	blockdev_init(&slow.dev, &slow_ops, "slow");
	slow.dev.size = 512 * SECTORS;
	slow.dev.readonly = true;
	vm_init(&r.vm);
	CHECK_EQ(vioblk_create(r.vm.root, r.vm.mem, r.vm.loop, &slow.dev, &r.blk, NULL), 0);
	vm_start(&r.vm);
	drv_start(&r.vm, &r.d, VIRTIO_F_VERSION_1);
	put_request(&r, IN, 0, (struct vbuf){ DATA, 512, true });
	usleep(50000);
	drv_write(&r.d, VR_STATUS, 1, 0);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 15);
	slow.go = true;
	CHECK(drv_wait_status(&r.d, 0xff, 0));
	CHECK_EQ(drv_used_idx(&r.d, 0), 0);
	CHECK_EQ(*(u8 *)vm_ram(&r.vm, STATUS), 0xee);
	CHECK_EQ(drv_start(&r.vm, &r.d, VIRTIO_F_VERSION_1), 15);
	r.nr_done = 0;
	CHECK_EQ(request(&r, IN, 0, (struct vbuf){ DATA, 512, true }), 0);
	vm_stop(&r.vm);
	vioblk_destroy(r.blk);
	blockdev_close(&slow.dev);
	vm_fini(&r.vm);
}

/* A guest that offers the same chain without end must not make us grow. */
TEST(blk, in_flight_is_bounded)
{
	struct slow slow = { .go = false };
	u64 header[2] = { IN, 0 };
	struct rig r;
	u16 head;

	memset(&r, 0, sizeof(r));
	blockdev_init(&slow.dev, &slow_ops, "slow");
	slow.dev.size = 512 * SECTORS;
	slow.dev.readonly = true;
	vm_init(&r.vm);
	CHECK_EQ(vioblk_create(r.vm.root, r.vm.mem, r.vm.loop, &slow.dev, &r.blk, NULL), 0);
	vm_start(&r.vm);
	drv_start(&r.vm, &r.d, VIRTIO_F_VERSION_1);
	mem_write(r.vm.mem, HEADER, header, sizeof(header));
	head = drv_add(&r.d, 0, (struct vbuf[]){ { HEADER, 16, false }, { DATA, 512, true },
						 { STATUS, 1, true } }, 3);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 100; i++)
			drv_offer(&r.d, 0, head);
		drv_kick(&r.d, 0);
		usleep(2000);
		if (drv_read(&r.d, VR_STATUS, 1) & VIRTIO_NEEDS_RESET)
			break; /* seen as running ahead */
	}
	slow.go = true;
	drv_write(&r.d, VR_STATUS, 1, 0);
	CHECK(drv_wait_status(&r.d, 0xff, 0));
	vm_stop(&r.vm);
	vioblk_destroy(r.blk);
	blockdev_close(&slow.dev);
	vm_fini(&r.vm);
}
