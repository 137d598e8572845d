// SPDX-License-Identifier: MIT
#include "dev/fw_cfg.h"

#include <endian.h>

#include "../../lib/devrig.h"

static struct fw_cfg *make(struct devrig *r)
{
	struct fw_cfg *f;

	rig_init(r);
	CHECK_EQ(fw_cfg_create(&r->env, &f), 0);
	return f;
}

static void unmake(struct devrig *r, struct fw_cfg *f)
{
	device_destroy(fw_cfg_device(f));
	rig_fini(r);
}

static u32 data32(struct devrig *r)
{
	u32 v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 8 | inb(r, 0x511);
	return v;
}

TEST(fw_cfg, directory_and_data_port)
{
	struct devrig r;
	struct fw_cfg *f = make(&r);
	char name[56];

	CHECK_EQ(fw_cfg_add_file(f, "etc/one", "first", 5), 0);
	CHECK_EQ(fw_cfg_add_file(f, "etc/two", "2nd", 3), 0);
	CHECK_EQ(fw_cfg_add_file(f, "etc/one", "FIRST!", 6), 0); /* replaced */
	io_write(r.env.pio, 0x510, 2, 0);
	CHECK_EQ(data32(&r), 0x51454d55);
	CHECK_EQ(inb(&r, 0x511), 0); /* beyond the end */
	io_write(r.env.pio, 0x510, 2, 0x19);
	CHECK_EQ(data32(&r), 2);
	CHECK_EQ(data32(&r), 6);
	CHECK_EQ(data32(&r), 0x200000);
	for (int i = 0; i < 56; i++)
		name[i] = (char)inb(&r, 0x511);
	CHECK_STR(name, "etc/one");
	io_write(r.env.pio, 0x510, 2, 0x20);
	CHECK_EQ(inb(&r, 0x511), 'F');
	io_write(r.env.pio, 0x510, 2, 0x3fff);
	CHECK_EQ(inb(&r, 0x511), 0);
	unmake(&r, f);
}

struct dma {
	u32 control, length;
	u64 address;
};

static u32 dma(struct devrig *r, u32 control, u32 length, u64 address)
{
	struct dma d = { htobe32(control), htobe32(length), htobe64(address) };

	mem_write(r->env.mem, 0x1000, &d, sizeof(d));
	io_write(r->env.pio, 0x514, 4, 0);
	io_write(r->env.pio, 0x518, 4, htobe32(0x1000));
	mem_read(r->env.mem, 0x1000, &d, sizeof(d));
	return be32toh(d.control);
}

TEST(fw_cfg, dma)
{
	struct devrig r;
	struct fw_cfg *f = make(&r);
	char b[8] = "";

	CHECK_EQ(fw_cfg_add_file(f, "x", "0123456789", 10), 0);
	CHECK_EQ(io_read(r.env.pio, 0x514, 4), htobe32(0x51454d55));
	CHECK_EQ(io_read(r.env.pio, 0x518, 4), htobe32(0x20434647));
	CHECK_EQ(dma(&r, 0x20 << 16 | 8 | 4, 3, 0), 0); /* select and skip */
	CHECK_EQ(dma(&r, 2, 4, 0x2000), 0);
	mem_read(r.env.mem, 0x2000, b, 5);
	CHECK_STR(b, "3456");
	CHECK_EQ(dma(&r, 2, 0x10000, 0x2000), 0); /* the rest, then zeros */
	CHECK_EQ(*(u8 *)mem_host(r.env.mem, 0x2002, 1), '9');
	CHECK_EQ(*(u8 *)mem_host(r.env.mem, 0x2003, 1), 0);
	CHECK_EQ(dma(&r, 2, 0xffffffff, 0x2000), 1); /* beyond RAM */
	CHECK_EQ(dma(&r, 16, 1, 0x2000), 1);	     /* nothing can be written */
	io_write(r.env.pio, 0x514, 4, 0xffffffff);
	io_write(r.env.pio, 0x518, 4, 0xffffffff); /* no descriptor there */
	unmake(&r, f);
}
