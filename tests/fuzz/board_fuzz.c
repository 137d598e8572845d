// SPDX-License-Identifier: MIT
/*
 * A guest that programs the board's chips with nonsense: ports, MMIO windows
 * and PCI configuration, read and written at random, while timers run. Input:
 * records of 8 bytes, little endian: what to do, size and window, where (16
 * bits), with which value (32).
 */
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "fuzz.h"
#include "machine/pc.h"

enum { DO_OUT, DO_IN, DO_STORE, DO_LOAD, DO_CONFIG, DO_LOOP, DO_RESET, NR_DOINGS };

struct record {
	u8 what, size;
	u16 where;
	u32 value;
};

struct rig {
	struct loop *loop;
	struct pc *pc;
	struct irq_sink sink;
	struct chardev chr;
	struct loop_work stop;
};

static void on_end(void *opaque, enum machine_end end, u32 code)
{
	(void)opaque;
	(void)end;
	(void)code;
}

static void on_gsi(void *opaque, u32 gsi, bool level)
{
	(void)opaque;
	(void)gsi;
	(void)level;
}

static void on_msi(void *opaque, u64 address, u32 data)
{
	(void)opaque;
	(void)address;
	(void)data;
}

static void on_write(void *opaque, const void *data, size_t size)
{
	(void)opaque;
	(void)data;
	(void)size;
}

static void on_stop(void *arg)
{
	loop_stop(arg);
}

static void rig_init(struct rig *r)
{
	struct pc_config c = { .memory = MIB(4), .cpus = 2, .debug_exit = true, .end = on_end };
	struct err e = { "" };

	r->chr = (struct chardev){ .write = on_write };
	c.serial[0] = c.serial[1] = &r->chr;
	if (loop_create(&r->loop) || pc_create(&c, r->loop, &r->pc, &e) || pc_reset(r->pc, &e))
		abort();
	r->sink = (struct irq_sink){ on_gsi, on_msi, NULL };
	pc_connect_sink(r->pc, &r->sink);
	r->stop = (struct loop_work){ .fn = on_stop, .arg = r->loop };
}

/* Most ports are nobody's: of two inputs one takes a chip's. */
static u16 port(const struct record *n)
{
	static const u16 ports[] = { 0x20,  0x21,  0xa0,  0xa1,	 0x40,	0x41,  0x42,  0x43,
				     0x60,  0x61,  0x64,  0x70,	 0x71,	0x92,  0xb2,  0xcf8,
				     0xcfc, 0xcf9, 0x3f8, 0x2f8, 0x4d0, 0x510, 0x511, 0x514,
				     0x600, 0x604, 0x608, 0x620, 0xf4,	0x80 };

	if (n->where & 0x8000)
		return (u16)(n->where & 0x7fff);
	return (u16)(ports[n->where % ARRAY_SIZE(ports)] + (n->where >> 12 & 7));
}

static u64 address(const struct record *n)
{
	static const u64 windows[] = { 0xfec00000, 0xfed00000, 0xfee00000, 0xb0000000,
				       0xe0000000, 0xa0000,    0xfffff000, 0x400000 };

	return windows[n->size >> 2 & 7] + n->where;
}

static void obey(struct rig *r, const struct record *n)
{
	unsigned size = 1u << (n->size & 3);
	struct err e;

	switch (n->what % NR_DOINGS) {
	case DO_OUT:
		io_write(r->pc->pio, port(n), MIN(size, 4u), n->value);
		break;
	case DO_IN:
		io_read(r->pc->pio, port(n), MIN(size, 4u));
		break;
	case DO_STORE:
		io_write(r->pc->mmio, address(n), size, n->value | (u64)n->value << 32);
		break;
	case DO_LOAD:
		io_read(r->pc->mmio, address(n), size);
		break;
	case DO_CONFIG:
		io_write(r->pc->pio, 0xcf8, 4, 0x80000000u | n->where);
		io_write(r->pc->pio, 0xcfc + (n->size >> 2 & 3), MIN(size, 4u), n->value);
		break;
	case DO_LOOP:
		loop_post(r->loop, &r->stop);
		loop_run(r->loop);
		break;
	case DO_RESET:
		if (n->value % 16 == 0 && pc_reset(r->pc, &e))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rig r = { 0 };
	struct record n;

	rig_init(&r);
	for (size_t at = 0; at + sizeof(n) <= size; at += sizeof(n)) {
		memcpy(&n, data + at, sizeof(n));
		obey(&r, &n);
	}
	pc_destroy(r.pc);
	loop_destroy(r.loop);
	return 0;
}

/* Records of one kind after the other, with values of all kinds. */
size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	uint64_t s = 0x9e3779b97f4a7c15 * (i + 1);

	if (i >= 64)
		return 0;
	for (unsigned n = 0; n < 512; n++) {
		struct record r;

		s ^= s << 13;
		s ^= s >> 7;
		s ^= s << 17;
		memcpy(&r, &s, sizeof(r));
		r.value >>= r.where % 32;
		memcpy(to + n * sizeof(r), &r, sizeof(r));
	}
	return 512 * sizeof(struct record);
}
