// SPDX-License-Identifier: MIT
/*
 * Anything as a guest: a vCPU in any mode, with registers, tables and code that
 * the input gives or grows from its seed, is started again and again at further
 * pieces of the code and kicked after some milliseconds. It may do what it wants,
 * but run() must come back and the process stay small.
 *
 * Input: mode, flags, 8 bytes of seed, code. Without code, the seed makes it:
 * random bytes, between them instructions that touch the system's state.
 */
#include "anyguest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest f = { 0 };

	if (size < 10)
		return 0;
	f.mode = data[0] % NR_MODES;
	f.flags = data[1];
	memcpy(&f.s, data + 2, 8);
	guest_create(&f, false);
	make_tables(&f);
	make_descriptors(&f);
	if (size > 10)
		memcpy(f.ram + CODE, data + 10, MIN(size - 10, (size_t)CODE_SIZE));
	else
		grow_code(f.ram + CODE, &f.s);
	for (unsigned n = 0; n < PIECES; n++) {
		piece_state(&f, n * (size > 10 ? 8 : CODE_SIZE / PIECES));
		run_piece(&f);
	}
	sg_destroy(&f.g);
	require_small();
	return 0;
}

/* One for each mode to grow from a seed, and a loop that writes to itself. */
size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	static const uint8_t loop[] = { 0,    8,    1,	  2,	3,    4,    5,	  6,	7,
					8,    0xb9, 0,	  1,	0,    0,    0xfe, 0x05, 0xf5,
					0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf6, 0xeb, 0xee };

	if (i > 3 * NR_MODES)
		return 0;
	if (i == 3 * NR_MODES) {
		memcpy(to, loop, sizeof(loop));
		return sizeof(loop);
	}
	memset(to, (int)(i * 37), 10);
	to[0] = (uint8_t)i;
	return 10;
}
