// SPDX-License-Identifier: MIT
/* Lockstep compare: right programs pass, and a wrong row is found. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../../lib/softguest.h"
#include "../../lib/test.h"
#include "engine/insn_table.h"

enum { CODE = 0x400000, DATA = 0x500000, STACK = 0x600000 };

/* fninit; mov ecx, 9; mov edi, DATA; 1: stc; inc dword [rdi]; adc [rdi+8], rcx; addss xmm0, [rdi]; push rcx;
 * rep stosb; pop rcx; fld1; cmp ecx, 1; cmovb eax, ecx; dec ecx; jnz 1b; out f4, al */
static const char code[] = "\xdb\xe3\xb9\x09\0\0\0\xbf\0\0\x50\0\xf9\xff\x07\x48\x11\x4f\x08\xf3\x0f\x58\x07\x51"
			   "\xf3\xaa\x59\xd9\xe8\x83\xf9\x01\x0f\x42\xc1\xff\xc9\x75\xe5\xe6\xf4";

static enum vcpu_stop run(struct softguest *g)
{
	struct cpu_state s;
	enum vcpu_stop r;

	CHECK_EQ(sg_create_compared(g, MIB(8), 3), 0);
	memcpy(sg_map(g, CODE, PAGE_SIZE, SG_READ | SG_EXEC), code, sizeof(code));
	sg_map(g, DATA, PAGE_SIZE, SG_READ | SG_WRITE);
	sg_map(g, STACK, PAGE_SIZE, SG_READ | SG_WRITE);
	sg_get(g, &s);
	s.rip = CODE;
	s.gpr[RSP] = STACK + PAGE_SIZE;
	sg_set(g, &s);
	r = sg_run(g, 10);
	sg_destroy(g);
	return r;
}

/* INC says that it writes CF, too: who set it before seems dead. */
static void break_inc(u32 cf)
{
	for (unsigned n = 0; n < insn_nr_rows(); n++)
		if (!strcmp(insn_row_name(insn_plans[n].row), "INC"))
			insn_plans[n].flags ^= cf << 16;
}

TEST(compare, agrees)
{
	struct softguest g;

	CHECK_EQ(run(&g), VCPU_STOP_KICKED);
	CHECK(g.stopped);
}

TEST(compare, finds_a_wrong_row)
{
	int null = open("/dev/null", O_WRONLY), err = dup(2);
	struct softguest g;
	enum vcpu_stop r;

	break_inc(FLAG_CF);
	dup2(null, 2); /* the report */
	r = run(&g);
	dup2(err, 2);
	close(err);
	close(null);
	CHECK_EQ(r, VCPU_STOP_DIFFERENT);
	break_inc(FLAG_CF);
}
