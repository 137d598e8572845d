// SPDX-License-Identifier: MIT
/* The debugger's registers: every row reads what it wrote, and target.xml. */
#include "vm/gdb_regs.h"

#include <stdlib.h>
#include <string.h>

#include "../../lib/test.h"

static struct cpu_state state;

TEST(gdb_regs, what_is_written_is_read)
{
	u8 in[GDB_REG_MAX_SIZE], out[GDB_REG_MAX_SIZE];
	unsigned nr_set = 0;

	for (unsigned i = 0; i < gdb_nr_regs(); i++) {
		memset(in, 0, sizeof(in));
		in[0] = (u8)(i + 1);
		in[1] = 0x5a;
		memset(&state, 0, sizeof(state));
		if (!gdb_reg_set(&state, i, in))
			continue;
		nr_set++;
		gdb_reg_get(&state, i, out);
		if (i == 34) /* ftag: what is not empty is shown by its value */
			continue;
		CHECK(!memcmp(in, out, gdb_reg_size(i)));
	}
	CHECK_EQ(nr_set, gdb_nr_regs() - 6); /* all but the selectors */
}

TEST(gdb_regs, order_is_gdbs)
{
	u64 value;

	state.gpr[RBX] = 0x1122;
	state.rip = 0x3344;
	state.seg[SEG_CS].sel = 0x10;
	gdb_reg_get(&state, 1, (u8 *)&value);
	CHECK_EQ(value, 0x1122);
	gdb_reg_get(&state, 16, (u8 *)&value);
	CHECK_EQ(value, 0x3344);
	gdb_reg_get(&state, 18, (u8 *)&value);
	CHECK_EQ((u32)value, 0x10);
}

TEST(gdb_regs, tag_word_tells_empty_zero_and_valid)
{
	u32 tag;

	state.xsave[3] = 6 << 3;      /* TOP = 6: ST0 is register 6 */
	state.xsave[4] = 0xc0;	      /* 6 and 7 in use */
	state.xsave[32 + 7] = 0x80;   /* ST0 = 1.0 */
	state.xsave[32 + 8] = 0xff;
	state.xsave[32 + 9] = 0x3f;
	gdb_reg_get(&state, 34, (u8 *)&tag);
	CHECK_EQ(tag, 0x4fff); /* register 6 valid (0), register 7 zero (1), others empty */
}

TEST(gdb_regs, xml_is_whole)
{
	char *xml = malloc(32768);
	int n = gdb_target_xml(xml, 32768), regs = 0;

	CHECK(n > 0 && n < 16384);
	CHECK_EQ(strlen(xml), n);
	for (const char *p = xml; (p = strstr(p, "<reg ")); p++)
		regs++;
	CHECK_EQ(regs, gdb_nr_regs());
	CHECK(strstr(xml, "</feature></target>"));
	free(xml);
}
