// SPDX-License-Identifier: MIT
/*
 * The instruction decoder on the guest's bytes: a byte for the mode, then code.
 * Whatever it says must hold together: lengths within the bytes, registers that
 * exist, text that ends.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/model.h"
#include "engine/insn.h"
#include "fuzz.h"

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_operand(const struct operand *o)
{
	static const u8 registers[] = {
		[OPND_GPR] = 16, [OPND_GPR8H] = 4, [OPND_VEC] = 32, [OPND_MMX] = 8, [OPND_ST] = 8,
		[OPND_K] = 8, [OPND_SEG] = 6, [OPND_CR] = 9, [OPND_DR] = 8,
	};

	require(o->kind != OPND_NONE && o->kind <= OPND_DI);
	if (o->kind < sizeof(registers) && registers[o->kind])
		require(o->reg < registers[o->kind]);
}

static void check_mem(const struct insn *i)
{
	require(i->mem.seg <= SEG_GS);
	require(i->mem.base < 16 || i->mem.base == REG_NONE);
	require(i->mem.index < (i->mem.vsib ? 32 : 16) || i->mem.index == REG_NONE);
	require(i->mem.size <= 64);
}

static void check_insn(const struct insn *i, const uint8_t *bytes)
{
	char text[64];

	require(!memcmp(i->bytes, bytes, i->len));
	require(i->row < insn_nr_rows() && i->gate <= NR_FEATURES && i->nr_ops <= NR_OPERANDS);
	require(i->opsize == 2 || i->opsize == 4 || i->opsize == 8);
	for (unsigned n = 0; n < i->nr_ops; n++)
		check_operand(&i->op[n]);
	if (i->has_mem)
		check_mem(i);
	insn_format(i, text, sizeof(text));
	require(strlen(text) < sizeof(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct insn_mode mode;

	if (!size)
		return 0;
	mode = (struct insn_mode){ .code64 = (data[0] & 3) == 0, .code32 = data[0] & 1 };
	for (size_t at = 1; at < size;) {
		struct insn i;
		unsigned avail = (unsigned)(size - at);
		enum decode_result r = insn_decode(data + at, avail, at, mode, &i);

		require(i.len <= INSN_MAX && i.len <= avail);
		require(r != DECODE_MORE || avail < INSN_MAX);
		if (r == DECODE_OK)
			check_insn(&i, data + at);
		at += r == DECODE_OK ? i.len : 1;
	}
	return 0;
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	static const uint8_t seeds[][16] = {
		{ 0, 0x48, 0x8b, 0x84, 0x8b, 0x10, 0x20, 0x30, 0x40, 0xc4, 0xe2, 0xf5, 0x98, 0xc2, 0x90 },
		{ 0, 0x62, 0xf1, 0x7c, 0x58, 0x58, 0x40, 0x01, 0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0x90 },
		{ 1, 0x66, 0x0f, 0x3a, 0x0f, 0xc1, 0x08, 0x9a, 1, 2, 3, 4, 5, 6, 0xf3, 0xa5 },
		{ 2, 0x67, 0x8b, 0x04, 0x65, 1, 2, 3, 4, 0xd9, 0x47, 0x10, 0xc8, 1, 2, 3 },
	};

	if (i >= sizeof(seeds) / sizeof(seeds[0]))
		return 0;
	memcpy(to, seeds[i], sizeof(seeds[i]));
	return sizeof(seeds[i]);
}
