// SPDX-License-Identifier: MIT
/*
 * Code without end: all memory is filled with functions that no other equals, each is called, and
 * again with others. The translator's memory is bounded, and nothing stale runs. The test that
 * runs this guest looks at the host process's size.
 */
#include "lib/lib.h"

enum { AREA = 0x1000000, AREA_SIZE = 32 << 20, STEP = 64, ROUNDS = 3 };

typedef u32 fn_t(void);

/* mov $v, %eax; 1: dec %eax; inc %eax; jmp to a further block in the same piece; ret */
static void put_function(u8 *p, u32 v)
{
	static const u8 code[] = { 0xb8, 0, 0, 0, 0, 0xff, 0xc8, 0x75, 0x02, 0xff, 0xc8,
				   0xff, 0xc0, 0xeb, 0x10 };

	memcpy(p, code, sizeof(code));
	memcpy(p + 1, &v, 4);
	memcpy(p + sizeof(code) + 0x10, "\xc3", 1);
}

static u32 round(u32 salt)
{
	u32 wrong = 0;

	for (u64 at = AREA; at < AREA + AREA_SIZE; at += STEP)
		put_function((u8 *)at, (u32)at * 2654435761u + salt);
	for (u64 at = AREA; at < AREA + AREA_SIZE; at += STEP) {
		u32 v = (u32)at * 2654435761u + salt;

		wrong += v > 1 && ((fn_t *)at)() != v;
	}
	return wrong;
}

int main(void)
{
	section("memory full of code");
	for (u32 n = 0; n < ROUNDS; n++)
		CHECK_EQ(round(n * 77), 0);
	return 0;
}
