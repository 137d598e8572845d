// SPDX-License-Identifier: MIT
#include "dev/virtio/virtq.h"

#include <string.h>

#include "../../lib/test.h"

enum { SIZE = 8, DESC = 0x1000, AVAIL = 0x2000, USED = 0x3000, TABLE = 0x4000, DATA = 0x10000 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};

struct rig {
	struct mem *mem;
	struct virtq q;
	struct desc *desc, *table;
	u16 *avail, *used; /* flags, idx, ring */
	struct virtq_chain c;
};

static void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	CHECK_EQ(mem_create(MIB(1), &r->mem, NULL), 0);
	r->q.mem = r->mem;
	r->q.s = (struct virtq_state){ .size = SIZE, .enabled = 1, .desc = DESC, .avail = AVAIL,
				       .used = USED };
	r->q.indirect = true;
	r->desc = mem_host(r->mem, DESC, 1);
	r->table = mem_host(r->mem, TABLE, 1);
	r->avail = mem_host(r->mem, AVAIL, 1);
	r->used = mem_host(r->mem, USED, 1);
}

static void offer(struct rig *r, u16 head)
{
	r->avail[2 + (r->avail[1] & (SIZE - 1))] = head;
	r->avail[1]++;
}

/* Offers descriptor 0 as it stands and checks that the queue breaks. */
static void check_broken(struct rig *r)
{
	offer(r, 0);
	CHECK_EQ(virtq_pop(&r->q, &r->c), -1);
	CHECK(r->q.broken);
	CHECK_EQ(virtq_pop(&r->q, &r->c), -1);
	virtq_push(&r->q, &r->c, 1); /* no effect */
	CHECK_EQ(r->used[1], 0);
}

TEST(virtq, empty_has_nothing)
{
	struct rig r;

	rig_init(&r);
	CHECK(virtq_valid(&r.q));
	CHECK_EQ(virtq_pop(&r.q, &r.c), 0);
	CHECK(!virtq_wants_interrupt(&r.q));
	mem_destroy(r.mem);
}

TEST(virtq, chain_reads_and_writes)
{
	struct rig r;
	char buf[8] = "";

	rig_init(&r);
	memcpy(mem_host(r.mem, DATA, 8), "abcdefgh", 8);
	r.desc[0] = (struct desc){ DATA, 3, NEXT, 3 };
	r.desc[3] = (struct desc){ DATA + 3, 3, NEXT, 1 };
	r.desc[1] = (struct desc){ DATA + 0x100, 2, NEXT | WRITE, 2 };
	r.desc[2] = (struct desc){ DATA + 0x200, 4, WRITE, 0 };
	offer(&r, 0);
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	CHECK_EQ(r.c.out_size, 6);
	CHECK_EQ(r.c.in_size, 6);
	CHECK_EQ(virtq_read(&r.c, 2, buf, 8), 4);
	CHECK(!memcmp(buf, "cdef", 4));
	CHECK_EQ(virtq_write(&r.q, &r.c, 1, "XYZ", 3), 3);
	CHECK(!memcmp(mem_host(r.mem, DATA + 0x101, 1), "X", 1));
	CHECK(!memcmp(mem_host(r.mem, DATA + 0x200, 2), "YZ", 2));
	CHECK_EQ(virtq_write(&r.q, &r.c, 5, "ABC", 3), 1);
	virtq_push(&r.q, &r.c, 6);
	CHECK_EQ(r.used[1], 1);
	CHECK_EQ(r.used[2], 0); /* id */
	CHECK_EQ(r.used[4], 6); /* len */
	CHECK(virtq_wants_interrupt(&r.q));
	CHECK(!virtq_wants_interrupt(&r.q));
	mem_destroy(r.mem);
}

TEST(virtq, wraps_at_16_bits)
{
	struct rig r;

	rig_init(&r);
	r.desc[5] = (struct desc){ DATA, 4, WRITE, 0 };
	r.q.s.next_avail = r.q.s.next_used = r.avail[1] = 0xfffd;
	for (unsigned i = 0; i < 8; i++) {
		offer(&r, 5);
		CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
		virtq_push(&r.q, &r.c, i);
		CHECK_EQ(r.used[1], (u16)(0xfffd + i + 1));
		CHECK_EQ(virtq_pop(&r.q, &r.c), 0);
	}
	mem_destroy(r.mem);
}

TEST(virtq, loop_is_found)
{
	struct rig r;

	rig_init(&r);
	r.desc[0] = (struct desc){ DATA, 1, NEXT, 1 };
	r.desc[1] = (struct desc){ DATA, 1, NEXT, 0 };
	check_broken(&r);
	mem_destroy(r.mem);
}

TEST(virtq, bad_indices_and_addresses_break)
{
	static const struct desc bad[] = {
		{ DATA, 4, NEXT, SIZE },	/* next out of range */
		{ MIB(1) - 2, 4, 0, 0 },	/* runs out of RAM */
		{ ~0ull - 1, 4, 0, 0 },		/* wraps */
		{ MIB(64), 4, WRITE, 0 },	/* not RAM */
		{ DATA, 0xffffffff, WRITE, 0 }, /* too long */
		{ TABLE, 8, INDIRECT, 0 },	/* no whole table */
		{ TABLE, 0, INDIRECT, 0 },	/* empty table */
		{ TABLE, 16, INDIRECT | NEXT, 1 },
		{ MIB(64), 16, INDIRECT, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rig r;

		rig_init(&r);
		r.desc[0] = bad[i];
		check_broken(&r);
		mem_destroy(r.mem);
	}
}

TEST(virtq, head_out_of_range_breaks)
{
	struct rig r;

	rig_init(&r);
	offer(&r, SIZE);
	CHECK_EQ(virtq_pop(&r.q, &r.c), -1);
	mem_destroy(r.mem);
}

TEST(virtq, avail_index_ahead_breaks)
{
	struct rig r;

	rig_init(&r);
	r.avail[1] = SIZE + 1;
	CHECK_EQ(virtq_pop(&r.q, &r.c), -1);
	mem_destroy(r.mem);
}

TEST(virtq, readable_after_writable_breaks)
{
	struct rig r;

	rig_init(&r);
	r.desc[0] = (struct desc){ DATA, 1, NEXT | WRITE, 1 };
	r.desc[1] = (struct desc){ DATA, 1, 0, 0 };
	check_broken(&r);
	mem_destroy(r.mem);
}

TEST(virtq, indirect)
{
	struct rig r;

	rig_init(&r);
	r.desc[0] = (struct desc){ DATA, 1, NEXT, 1 };
	r.desc[1] = (struct desc){ TABLE, 3 * 16, INDIRECT, 0 };
	r.table[0] = (struct desc){ DATA + 1, 2, NEXT, 2 };
	r.table[2] = (struct desc){ DATA + 8, 4, WRITE, 0 };
	offer(&r, 0);
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	CHECK_EQ(r.c.nr_out, 2);
	CHECK_EQ(r.c.out_size, 3);
	CHECK_EQ(r.c.in_size, 4);
	mem_destroy(r.mem);
}

TEST(virtq, indirect_in_indirect_breaks)
{
	struct rig r;

	rig_init(&r);
	r.desc[0] = (struct desc){ TABLE, 16, INDIRECT, 0 };
	r.table[0] = (struct desc){ TABLE, 16, INDIRECT, 0 };
	check_broken(&r);
	mem_destroy(r.mem);
}

TEST(virtq, indirect_needs_the_feature)
{
	struct rig r;

	rig_init(&r);
	r.q.indirect = false;
	r.desc[0] = (struct desc){ TABLE, 16, INDIRECT, 0 };
	r.table[0] = (struct desc){ DATA, 1, 0, 0 };
	check_broken(&r);
	mem_destroy(r.mem);
}

TEST(virtq, long_indirect_chain_breaks)
{
	struct rig r;

	rig_init(&r);
	r.desc[0] = (struct desc){ TABLE, 100 * 16, INDIRECT, 0 };
	for (u16 i = 0; i < 100; i++)
		r.table[i] = (struct desc){ DATA, 1, i < 99 ? NEXT : 0, i + 1 };
	check_broken(&r);
	mem_destroy(r.mem);
}

TEST(virtq, unpop_gives_it_again)
{
	struct rig r;

	rig_init(&r);
	r.desc[2] = (struct desc){ DATA, 1, 0, 0 };
	offer(&r, 2);
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	virtq_unpop(&r.q);
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	CHECK_EQ(r.c.head, 2);
	CHECK_EQ(virtq_pop(&r.q, &r.c), 0);
	mem_destroy(r.mem);
}

TEST(virtq, listen_sees_late_chains)
{
	struct rig r;

	rig_init(&r);
	virtq_quiet(&r.q);
	CHECK_EQ(r.used[0], 1);
	CHECK(virtq_listen(&r.q));
	CHECK_EQ(r.used[0], 0);
	offer(&r, 0);
	CHECK(!virtq_listen(&r.q));
	CHECK(virtq_listen_beyond(&r.q, 1));
	mem_destroy(r.mem);
}

TEST(virtq, event_index)
{
	struct rig r;
	u16 *used_event, *avail_event;

	rig_init(&r);
	r.q.event_idx = true;
	used_event = &r.avail[2 + SIZE];
	avail_event = &r.used[2 + 4 * SIZE];
	r.desc[0] = (struct desc){ DATA, 1, 0, 0 };
	for (unsigned i = 0; i < 3; i++)
		offer(&r, 0);
	*used_event = 1; /* interrupt when the second is used */
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	virtq_push(&r.q, &r.c, 0);
	CHECK(!virtq_wants_interrupt(&r.q));
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	virtq_push(&r.q, &r.c, 0);
	CHECK(virtq_wants_interrupt(&r.q));
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	virtq_push(&r.q, &r.c, 0);
	CHECK(!virtq_wants_interrupt(&r.q));
	CHECK(virtq_listen(&r.q));
	CHECK_EQ(*avail_event, 3);
	mem_destroy(r.mem);
}

TEST(virtq, no_interrupt_flag)
{
	struct rig r;

	rig_init(&r);
	r.avail[0] = 1;
	r.desc[0] = (struct desc){ DATA, 1, 0, 0 };
	offer(&r, 0);
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	virtq_push(&r.q, &r.c, 0);
	CHECK(!virtq_wants_interrupt(&r.q));
	mem_destroy(r.mem);
}

TEST(virtq, rings_outside_of_ram_are_invalid)
{
	struct rig r;

	rig_init(&r);
	r.q.s.used = MIB(1) - 16;
	CHECK(!virtq_valid(&r.q));
	r.q.s.used = USED + 2;
	CHECK(!virtq_valid(&r.q));
	r.q.s.used = USED;
	r.q.s.size = 6;
	CHECK(!virtq_valid(&r.q));
	mem_destroy(r.mem);
}

static unsigned nr_written_bytes;

static void count_written(void *opaque, gpa_t gpa, u64 size)
{
	(void)opaque;
	if (gpa >= DATA)
		nr_written_bytes += (unsigned)size;
}

TEST(virtq, writes_reach_the_listener)
{
	struct rig r;

	rig_init(&r);
	mem_set_listener(r.mem, &(struct mem_listener){ .written = count_written });
	r.desc[0] = (struct desc){ DATA, 3, NEXT | WRITE, 1 };
	r.desc[1] = (struct desc){ DATA + 64, 5, WRITE, 0 };
	offer(&r, 0);
	CHECK_EQ(virtq_pop(&r.q, &r.c), 1);
	virtq_write(&r.q, &r.c, 1, "123456", 6);
	CHECK_EQ(nr_written_bytes, 6);
	virtq_written(&r.q, &r.c, 0, 8);
	CHECK_EQ(nr_written_bytes, 14);
	mem_destroy(r.mem);
}
