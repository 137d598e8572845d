// SPDX-License-Identifier: MIT
/* Operand forms that re-emission may get wrong: bytes 15:8 of registers, mixed widths. */
#include "lib/lib.h"

/* The register is in the opcode itself: B4..B7. */
static void high_byte_immediates(void)
{
	u64 a = 0x1111, b = 0x2222, c = 0x3333, d = 0x4444;

	section("MOV of immediate bytes");
	asm volatile("mov $0x12, %%ah; mov $0x34, %%bh; mov $0x56, %%ch; mov $0x78, %%dh"
		     : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
	CHECK_EQ(a, 0x1211);
	CHECK_EQ(b, 0x3422);
	CHECK_EQ(c, 0x5633);
	CHECK_EQ(d, 0x7844);
	asm volatile("mov $0x21, %%al; mov $0x43, %%bl; mov $0x65, %%cl; mov $0x87, %%dl"
		     : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
	CHECK_EQ(a, 0x1221);
	CHECK_EQ(b, 0x3443);
	CHECK_EQ(c, 0x5665);
	CHECK_EQ(d, 0x7887);
}

int main(void)
{
	high_byte_immediates();
	return 0;
}
