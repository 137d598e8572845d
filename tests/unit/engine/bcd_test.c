// SPDX-License-Identifier: MIT
#include "../../lib/test.h"
#include "cpu_fixture.h"

/* From the SDM's examples and its Operation sections: AL (AX), flags before and after. */
static const struct {
	char op;
	u8 imm;
	u16 ax;
	u16 before;
	u16 res, after, mask;
} rows[] = {
	/* DAA: 79 + 35 = AE -> 14 and a carry */
	{ 0x27, 0, 0xae, 0, 0x14, RFLAGS_CF | RFLAGS_AF | RFLAGS_PF, 0xd5 },
	{ 0x27, 0, 0x09, 0, 0x09, RFLAGS_PF, 0xd5 },
	{ 0x27, 0, 0x9a, 0, 0x00, RFLAGS_CF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_PF, 0xd5 },
	{ 0x27, 0, 0x12, RFLAGS_CF | RFLAGS_AF, 0x78, RFLAGS_CF | RFLAGS_AF | RFLAGS_PF, 0xd5 },
	/* DAS: 35 - 47 = EE, CF and AF -> 88 */
	{ 0x2f, 0, 0xee, RFLAGS_CF | RFLAGS_AF, 0x88,
	  RFLAGS_CF | RFLAGS_AF | RFLAGS_SF | RFLAGS_PF, 0xd5 },
	{ 0x2f, 0, 0x02, RFLAGS_AF, 0xfc, RFLAGS_CF | RFLAGS_AF | RFLAGS_SF | RFLAGS_PF, 0xd5 },
	{ 0x37, 0, 0x010a, 0, 0x0200, RFLAGS_CF | RFLAGS_AF, 0x11 },
	{ 0x37, 0, 0x01f5, 0, 0x0105, 0, 0x11 },
	{ 0x3f, 0, 0x020c, 0, 0x0106, RFLAGS_CF | RFLAGS_AF, 0x11 },
	{ (char)0xd4, 10, 0x0063, 0, 0x0909, RFLAGS_PF, 0xc4 },
	{ (char)0xd5, 10, 0x0908, 0, 0x0062, 0, 0xc4 },
	{ (char)0xd6, 0, 0x1200, RFLAGS_CF, 0x12ff, RFLAGS_CF, 0xd5 },
};

TEST(bcd, rows)
{
	struct fix f = fix_protected(0);

	for (unsigned k = 0; k < ARRAY_SIZE(rows); k++) {
		char bytes[2] = { rows[k].op, (char)rows[k].imm };

		f.c->s.gpr[RAX] = rows[k].ax;
		cpu_set_rflags(f.c, RFLAGS_RSV1 | rows[k].before);
		CHECK(!fix_insn(&f, bytes, 2));
		CHECK_EQ(f.c->s.gpr[RAX], rows[k].res);
		CHECK_EQ(cpu_rflags(f.c) & rows[k].mask, rows[k].after);
	}
}

TEST(bcd, aam_by_zero_divides)
{
	struct fix f = fix_protected(0);

	CHECK(fix_insn(&f, "\xd4\x00", 2));
	CHECK_EQ(f.c->event.vector, X86_DE);
}
