// SPDX-License-Identifier: MIT
/*
 * A ring whose every byte is the guest's. Input: a byte of options, then RAM
 * from address 0 with descriptors, rings and an indirect table at small fixed
 * places.
 */
#include <string.h>

#include "dev/virtio/virtq.h"
#include "fuzz.h"

enum { SIZE = 16, DESC = 0, AVAIL = 0x100, USED = 0x140, TABLE = 0x200, DATA = 0x400 };
enum { OPT_EVENT_IDX = 1, OPT_INDIRECT = 2, OPT_LATE = 4 };

static void use_chain(struct virtq *q, const struct virtq_chain *c)
{
	static struct iovec iov[VIRTQ_CHAIN_MAX];
	u8 bytes[64];
	size_t n = virtq_read(c, 3, bytes, sizeof(bytes));
	unsigned nr;

	n = virtq_write(q, c, 1, bytes, n);
	nr = virtq_iov(c, true, 1, c->in_size, iov);
	for (unsigned i = 0; i < nr; i++) /* touch both ends */
		((volatile u8 *)iov[i].iov_base)[0] = ((volatile u8 *)iov[i].iov_base)[iov[i].iov_len - 1];
	virtq_written(q, c, 0, c->in_size);
	virtq_push(q, c, (u32)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct virtq_chain chain, late;
	static struct mem *mem;
	struct virtq q = { .s = { .size = SIZE, .enabled = 1, .desc = DESC, .avail = AVAIL,
				  .used = USED } };
	bool has_late = false;

	if (!mem && mem_create(MIB(1), &mem, NULL))
		return 0;
	if (!size)
		return 0;
	q.mem = mem;
	q.event_idx = data[0] & OPT_EVENT_IDX;
	q.indirect = data[0] & OPT_INDIRECT;
	mem_write(mem, 0, data + 1, size - 1);
	virtq_quiet(&q);
	for (unsigned i = 0; i < 64; i++) {
		int r = virtq_pop(&q, &chain);

		if (r < 0 || (!r && virtq_listen(&q)))
			break;
		if (!r)
			continue;
		if ((data[0] & OPT_LATE) && !has_late) { /* answered last */
			late = chain;
			has_late = true;
		} else {
			use_chain(&q, &chain);
		}
		virtq_wants_interrupt(&q);
	}
	if (has_late)
		use_chain(&q, &late);
	return 0;
}

static void put_desc(uint8_t *ram, unsigned at, u64 addr, u32 len, u16 flags, u16 next)
{
	memcpy(ram + at, &addr, 8);
	memcpy(ram + at + 8, &len, 4);
	memcpy(ram + at + 12, &flags, 2);
	memcpy(ram + at + 14, &next, 2);
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	uint8_t *ram = to + 1;
	u16 avail[] = { 0, 3, 0, 4, 2 };

	if (i >= 8)
		return 0;
	memset(to, 0, 0x800);
	to[0] = (uint8_t)i;
	put_desc(ram, DESC, DATA, 16, 1, 1);
	put_desc(ram, DESC + 16, DATA + 0x80, 64, 3, 2);
	put_desc(ram, DESC + 32, DATA + 0x100, 1, 2, 0);
	put_desc(ram, DESC + 64, i & OPT_INDIRECT ? TABLE : DATA, 48, i & OPT_INDIRECT ? 4 : 0, 0);
	put_desc(ram, TABLE, DATA, 8, 1, 2);
	put_desc(ram, TABLE + 32, DATA + 8, 8, 3, 1);
	put_desc(ram, TABLE + 16, DATA + 64, 8, 2, 1);
	memcpy(ram + AVAIL, avail, sizeof(avail));
	return 0x800;
}
