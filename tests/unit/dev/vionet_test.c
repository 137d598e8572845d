// SPDX-License-Identifier: MIT
#include "dev/virtio/net.h"

#include "../../lib/test.h"
#include "../../lib/vdrv.h"

#define F_MAC	    BIT(5)
#define F_MRG_RXBUF BIT(15)

enum { RX = 0, TX = 1, BUFS = 0x300000, HDR = 12 };

struct fake {
	struct netdev dev;
	_Atomic unsigned nr_sent, nr_rx_ready, nr_busy;
	_Atomic bool busy;
	u8 last[2048];
	size_t last_size;
};

struct rig {
	struct vm vm;
	struct fake net;
	struct vionet *card;
	struct drv d;
	/* a job for the loop's thread */
	struct loop_work work;
	const struct iovec *frames;
	unsigned nr_frames;
	_Atomic int taken;
};

static bool fake_send(struct netdev *d, const struct iovec *iov, unsigned nr)
{
	struct fake *f = container_of(d, struct fake, dev);

	if (f->busy) {
		f->nr_busy++;
		return false;
	}
	f->last_size = 0;
	for (unsigned i = 0; i < nr; i++) {
		memcpy(f->last + f->last_size, iov[i].iov_base, iov[i].iov_len);
		f->last_size += iov[i].iov_len;
	}
	f->nr_sent++;
	return true;
}

static void fake_rx_ready(struct netdev *d)
{
	container_of(d, struct fake, dev)->nr_rx_ready++;
}

static const struct netdev_ops fake_ops = { .send = fake_send, .rx_ready = fake_rx_ready };

static void rig_init(struct rig *r, u64 features)
{
	static const u8 mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

	memset(r, 0, sizeof(*r));
	r->net.dev.ops = &fake_ops;
	vm_init(&r->vm);
	CHECK_EQ(vionet_create(r->vm.root, r->vm.mem, r->vm.loop, &r->net.dev, mac, &r->card, NULL),
		 0);
	vm_start(&r->vm);
	vm_enable_msix(&r->vm);
	CHECK_EQ(drv_start(&r->vm, &r->d, VIRTIO_F_VERSION_1 | features), 15);
}

static void rig_fini(struct rig *r)
{
	vm_stop(&r->vm);
	vionet_destroy(r->card);
	vm_fini(&r->vm);
}

static void do_receive(void *arg)
{
	struct rig *r = arg;

	r->taken = (int)r->net.dev.client.receive(r->net.dev.client.opaque, r->frames, r->nr_frames);
}

/* Hands frames to the card on the loop's thread; returns how many it took. */
static int receive(struct rig *r, const struct iovec *frames, unsigned nr)
{
	r->frames = frames;
	r->nr_frames = nr;
	r->taken = -1;
	r->work = (struct loop_work){ .fn = do_receive, .arg = r };
	loop_post(r->vm.loop, &r->work);
	for (unsigned i = 0; i < 5000 && r->taken < 0; i++)
		usleep(1000);
	return r->taken;
}

static void add_rx(struct rig *r, unsigned i, u32 size)
{
	drv_add(&r->d, RX, &(struct vbuf){ BUFS + i * 0x1000, size, true }, 1);
}

static bool reaches(_Atomic unsigned *v, unsigned n)
{
	for (unsigned i = 0; i < 5000 && *v < n; i++)
		usleep(1000);
	return *v == n;
}

TEST(vionet, says_its_address)
{
	struct rig r;

	rig_init(&r, F_MAC);
	CHECK_EQ(drv_read(&r.d, 0x2000, 4), 0x01005452);
	CHECK_EQ(drv_read(&r.d, 0x2004, 2), 0x0302);
	rig_fini(&r);
}

TEST(vionet, sends)
{
	struct vbuf b[] = { { BUFS, HDR, false }, { BUFS + 0x100, 60, false } };
	struct rig r;

	rig_init(&r, 0);
	memset(vm_ram(&r.vm, BUFS + 0x100), 0x77, 60);
	drv_add(&r.d, TX, b, 2);
	drv_kick(&r.d, TX);
	CHECK(drv_wait_used(&r.d, TX, 1));
	CHECK_EQ(r.net.nr_sent, 1);
	CHECK_EQ(r.net.last_size, 60);
	CHECK_EQ(r.net.last[59], 0x77);
	rig_fini(&r);
}

TEST(vionet, drops_what_is_no_frame)
{
	static const u32 sizes[] = { 1, HDR, HDR + 13, HDR + 1519, 65000 };
	struct rig r;

	rig_init(&r, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		drv_add(&r.d, TX, &(struct vbuf){ BUFS, sizes[i], false }, 1);
		drv_kick(&r.d, TX);
		CHECK(drv_wait_used(&r.d, TX, i + 1));
	}
	CHECK_EQ(r.net.nr_sent, 0);
	CHECK_EQ(drv_read(&r.d, VR_STATUS, 1), 15);
	rig_fini(&r);
}

TEST(vionet, waits_for_a_busy_back_end)
{
	struct rig r;

	rig_init(&r, 0);
	r.net.busy = true;
	for (unsigned i = 0; i < 3; i++)
		drv_add(&r.d, TX, &(struct vbuf){ BUFS, 100, false }, 1);
	drv_kick(&r.d, TX);
	CHECK(reaches(&r.net.nr_busy, 1));
	CHECK_EQ(drv_used_idx(&r.d, TX), 0);
	r.net.busy = false;
	r.net.dev.client.tx_ready(r.net.dev.client.opaque);
	CHECK(drv_wait_used(&r.d, TX, 3));
	CHECK_EQ(r.net.nr_sent, 3);
	rig_fini(&r);
}

TEST(vionet, receives)
{
	u8 frame[64] = { 1, 2, 3 };
	struct iovec f[2] = { { frame, 64 }, { frame, 60 } };
	struct rig r;

	rig_init(&r, 0);
	add_rx(&r, 0, 1526);
	add_rx(&r, 1, 1526);
	CHECK_EQ(receive(&r, f, 2), 2);
	CHECK_EQ(drv_used_idx(&r.d, RX), 2);
	CHECK_EQ(drv_used_len(&r.d, RX, 0), 76);
	CHECK_EQ(drv_used_len(&r.d, RX, 1), 72);
	CHECK(!memcmp(vm_ram(&r.vm, BUFS + HDR), frame, 64));
	CHECK_EQ(*(u16 *)vm_ram(&r.vm, BUFS + 10), 1);
	rig_fini(&r);
	CHECK_EQ(r.vm.nr_msi[RX], 1); /* one interrupt for both */
}

TEST(vionet, frames_wait_for_buffers)
{
	u8 frame[64] = { 1 };
	struct iovec f[2] = { { frame, 64 }, { frame, 64 } };
	unsigned ready;
	struct rig r;

	rig_init(&r, 0);
	usleep(20000);
	ready = r.net.nr_rx_ready;
	add_rx(&r, 0, 1526);
	CHECK_EQ(receive(&r, f, 2), 1);
	add_rx(&r, 1, 1526);
	drv_kick(&r.d, RX);
	CHECK(reaches(&r.net.nr_rx_ready, ready + 1));
	CHECK_EQ(receive(&r, f + 1, 1), 1);
	rig_fini(&r);
}

TEST(vionet, merges_buffers)
{
	u8 frame[1000];
	struct iovec f = { frame, sizeof(frame) };
	struct rig r;

	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (u8)(i * 7);
	rig_init(&r, F_MRG_RXBUF);
	add_rx(&r, 0, 512);
	add_rx(&r, 1, 256);
	CHECK_EQ(receive(&r, &f, 1), 0); /* too few: taken back */
	CHECK_EQ(drv_used_idx(&r.d, RX), 0);
	add_rx(&r, 2, 256);
	CHECK_EQ(receive(&r, &f, 1), 1);
	CHECK_EQ(drv_used_idx(&r.d, RX), 3);
	CHECK_EQ(*(u16 *)vm_ram(&r.vm, BUFS + 10), 3);
	CHECK(!memcmp(vm_ram(&r.vm, BUFS + HDR), frame, 500));
	CHECK(!memcmp(vm_ram(&r.vm, BUFS + 0x1000), frame + 500, 256));
	CHECK(!memcmp(vm_ram(&r.vm, BUFS + 0x2000), frame + 756, 244));
	CHECK_EQ(drv_used_len(&r.d, RX, 2), 244);
	rig_fini(&r);
}

TEST(vionet, drops_what_no_buffer_holds)
{
	u8 frame[1000] = { 0 };
	struct iovec f = { frame, sizeof(frame) };
	struct rig r;

	rig_init(&r, 0);
	add_rx(&r, 0, 512);
	CHECK_EQ(receive(&r, &f, 1), 1);
	CHECK_EQ(drv_used_idx(&r.d, RX), 0);
	f.iov_len = 100;
	CHECK_EQ(receive(&r, &f, 1), 1);
	CHECK_EQ(drv_used_idx(&r.d, RX), 1);
	rig_fini(&r);
}

TEST(vionet, tiny_buffer_needs_reset)
{
	u8 frame[100] = { 0 };
	struct iovec f = { frame, sizeof(frame) };
	struct rig r;

	rig_init(&r, 0);
	add_rx(&r, 0, 8);
	CHECK_EQ(receive(&r, &f, 1), 1); /* dropped */
	CHECK(drv_read(&r.d, VR_STATUS, 1) & VIRTIO_NEEDS_RESET);
	rig_fini(&r);
}

TEST(vionet, without_a_driver_frames_are_dropped)
{
	u8 frame[100] = { 0 };
	struct iovec f = { frame, sizeof(frame) };
	struct rig r;

	rig_init(&r, 0);
	drv_write(&r.d, VR_STATUS, 1, 0);
	CHECK_EQ(receive(&r, &f, 1), 1);
	rig_fini(&r);
}
