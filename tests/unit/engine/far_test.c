// SPDX-License-Identifier: MIT
/* Far transfers, returns, task switches, segment loads and the stack helpers. */
#include "../../lib/test.h"
#include "cpu_fixture.h"

#include <string.h>

#include "engine/seg.h"

#define RAISED(f, vec, err)                                                                        \
	do {                                                                                       \
		CHECK((f)->c->event.pending);                                                      \
		CHECK_EQ((f)->c->event.vector, vec);                                               \
		CHECK_EQ((f)->c->event.error, err);                                                \
		CHECK_EQ((f)->c->s.rip, FIX_CODE);                                                 \
	} while (0)
#define INSN(f, bytes) fix_insn(f, bytes, sizeof(bytes) - 1)

/* Puts @n values at RSP: what a return pops. */
static void stack(struct fix *f, unsigned size, unsigned n, const u64 *v)
{
	f->c->s.gpr[RSP] -= n * size;
	for (unsigned k = 0; k < n; k++)
		fix_put(f, (u32)f->c->s.gpr[RSP] + k * size, v[k], size);
}
#define STACK(f, size, ...)                                                                        \
	do {                                                                                       \
		u64 v_[] = { __VA_ARGS__ };                                                        \
		stack(f, size, ARRAY_SIZE(v_), v_);                                                \
	} while (0)

/* ---- IRET in 64-bit mode ---- */

TEST(iret, to_user_code_and_back_by_syscall)
{
	struct fix f = fix_long(0);
	struct soft_cpu *c = f.c;

	c->s.seg[SEG_FS] = (struct seg){ 0x5000, 0xffffffff, 0xc093, DS0 };
	c->s.seg[SEG_GS] = (struct seg){ 0x5000, 0, SEG_UNUSABLE, 3 };
	STACK(&f, 8, 0x9000, CS64_3, 0x3246, FIX_STACK3, DS3);
	CHECK(!INSN(&f, "\x48\xcf"));
	CHECK_EQ(c->s.rip, 0x9000);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK3);
	CHECK_EQ(cpu_cpl(c), 3);
	CHECK(cpu_code64(c));
	CHECK_EQ(cpu_rflags(c), 0x3246);
	CHECK(c->s.seg[SEG_FS].ar & SEG_UNUSABLE);
	CHECK_EQ(c->s.seg[SEG_GS].sel, 0);
	CHECK_EQ(c->s.seg[SEG_GS].base, 0x5000);

	c->s.msr.star = (u64)0x1b << 48 | (u64)CS64 << 32;
	c->s.msr.lstar = 0x9800;
	c->s.msr.fmask = RFLAGS_IF | RFLAGS_TF;
	CHECK(!INSN(&f, "\x0f\x05"));
	CHECK_EQ(c->s.rip, 0x9800);
	CHECK_EQ(c->s.gpr[RCX], 0x9002);
	CHECK_EQ(c->s.gpr[R11], 0x3246);
	CHECK_EQ(cpu_rflags(c), 0x3046);
	CHECK_EQ(cpu_cpl(c), 0);
	CHECK_EQ(c->s.seg[SEG_CS].sel, CS64);
	CHECK_EQ(c->s.seg[SEG_SS].sel, DS0);

	CHECK(!INSN(&f, "\x48\x0f\x07"));
	CHECK_EQ(c->s.rip, 0x9002);
	CHECK_EQ(cpu_rflags(c), 0x3246);
	CHECK_EQ(cpu_cpl(c), 3);
	CHECK_EQ(c->s.seg[SEG_CS].sel, CS64_3);
	CHECK_EQ(c->s.seg[SEG_SS].sel, DS3);
	CHECK(cpu_code64(c));
}

TEST(iret, to_compatibility_mode)
{
	struct fix f = fix_long(0);
	struct soft_cpu *c = f.c;

	STACK(&f, 8, 0x9000, CS32_3, 0x202, 0x123400001000, DS3);
	CHECK(!INSN(&f, "\x48\xcf"));
	CHECK(!cpu_code64(c));
	CHECK_EQ(c->s.gpr[RSP], 0x1000);
	/* SYSCALL does not exist there. */
	c->s.rip = FIX_CODE;
	CHECK(INSN(&f, "\x0f\x05"));
	RAISED(&f, X86_UD, 0);
}

TEST(iret, null_stack_is_for_inner_64_bit_code)
{
	struct fix f = fix_long(0);

	STACK(&f, 8, 0x9000, CS64, 0x202, FIX_STACK0, 0);
	CHECK(!INSN(&f, "\x48\xcf"));
	CHECK(f.c->s.seg[SEG_SS].ar & SEG_UNUSABLE);
	CHECK_EQ(cpu_cpl(f.c), 0);
	f.c->s.rip = FIX_CODE;
	STACK(&f, 8, 0x9000, CS64_3, 0x202, FIX_STACK3, 3);
	CHECK(INSN(&f, "\x48\xcf"));
	RAISED(&f, X86_GP, 0);
}

TEST(iret, refuses_what_the_manual_says)
{
	static const struct {
		u64 frame[5];
		u8 vector;
		u32 error;
	} t[] = {
		{ { 0x9000, 0, 2, FIX_STACK3, DS3 }, X86_GP, 0 },
		{ { 0x9000, 0xff8, 2, FIX_STACK3, DS3 }, X86_GP, 0xff8 },
		{ { 0x9000, DS0, 2, FIX_STACK3, DS3 }, X86_GP, DS0 },
		{ { 0x9000, CS64 | 3, 2, FIX_STACK3, DS3 }, X86_GP, CS64 },
		{ { 0x9000, CS64_3, 2, FIX_STACK3, DS0 }, X86_GP, DS0 },
		{ { 0x9000, CS64_3, 2, FIX_STACK3, CS64_3 }, X86_GP, CS64_3 & ~3 },
		{ { BIT(47), CS64_3, 2, FIX_STACK3, DS3 }, X86_GP, 0 },
		{ { BIT(32), CS32_3, 2, FIX_STACK3, DS3 }, X86_GP, 0 },
	};

	for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
		struct fix f = fix_long(0);

		stack(&f, 8, 5, t[k].frame);
		CHECK(INSN(&f, "\x48\xcf"));
		RAISED(&f, t[k].vector, t[k].error);
		CHECK_EQ(f.c->s.gpr[RSP], FIX_STACK0 - 40);
		CHECK_EQ(cpu_cpl(f.c), 0);
	}
}

TEST(iret, user_code_changes_neither_if_nor_iopl)
{
	struct fix f = fix_long(3);

	STACK(&f, 8, 0x9000, CS64_3, 0x3000 | RFLAGS_CF | RFLAGS_AC, FIX_STACK3, DS3);
	CHECK(!INSN(&f, "\x48\xcf"));
	CHECK_EQ(cpu_rflags(f.c), RFLAGS_IF | RFLAGS_RSV1 | RFLAGS_CF | RFLAGS_AC);
}

TEST(iret, nested_task_flag_faults_in_long_mode)
{
	struct fix f = fix_long(0);

	f.c->s.rflags |= RFLAGS_NT;
	CHECK(INSN(&f, "\x48\xcf"));
	RAISED(&f, X86_GP, 0);
}

/* ---- Far transfers ---- */

TEST(far, jump_between_code_sizes)
{
	struct fix f = fix_protected(0);

	CHECK(!INSN(&f, "\xea\x00\x90\x00\x00\x50\x00"));
	CHECK_EQ(f.c->s.rip, 0x9000);
	CHECK_EQ(f.c->s.seg[SEG_CS].sel, CS16);
	CHECK(!(f.c->s.seg[SEG_CS].ar & SEG_DB));
	/* 66 prefix: a 32-bit offset from 16-bit code. */
	CHECK(!INSN(&f, "\x66\xea\x00\x80\x00\x00\x30\x00"));
	CHECK_EQ(f.c->s.rip, 0x8000);
	CHECK_EQ(f.c->s.seg[SEG_CS].sel, CS32);
	/* Beyond the limit of the 16-bit segment. */
	CHECK(INSN(&f, "\xea\x00\x00\x01\x00\x50\x00"));
	RAISED(&f, X86_GP, 0);
}

TEST(far, call_pushes_and_return_pops)
{
	struct fix f = fix_protected(0);

	CHECK(!INSN(&f, "\x9a\x00\x90\x00\x00\x48\x00")); /* conforming */
	CHECK_EQ(f.c->s.gpr[RSP], FIX_STACK0 - 8);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 4, 4), CS32);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 8, 4), FIX_CODE + 7);
	CHECK(!INSN(&f, "\xca\x10\x00"));
	CHECK_EQ(f.c->s.rip, FIX_CODE + 7);
	CHECK_EQ(f.c->s.gpr[RSP], FIX_STACK0 + 0x10);
}

TEST(far, call_gate_copies_parameters_and_return_releases_them)
{
	struct fix f = fix_protected(3);
	struct soft_cpu *c = f.c;

	/* Gate of DPL 3 with two parameters to CS32:0x9000. */
	fix_desc(&f, GATE, 0x9000 | (u64)CS32 << 16 | (u64)0xec << 40 | (u64)2 << 32);
	STACK(&f, 4, 0x1111, 0x2222);
	CHECK(!INSN(&f, "\x9a\x00\x00\x00\x00\x63\x00"));
	CHECK_EQ(c->s.rip, 0x9000);
	CHECK_EQ(cpu_cpl(c), 0);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 24);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 4, 4), DS3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 8, 4), FIX_STACK3 - 8);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 12, 4), 0x2222);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 16, 4), 0x1111);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 20, 4), CS32_3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 24, 4), FIX_CODE + 7);
	CHECK(!INSN(&f, "\xca\x08\x00"));
	CHECK_EQ(c->s.rip, FIX_CODE + 7);
	CHECK_EQ(cpu_cpl(c), 3);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK3);
}

TEST(far, call_gate_of_64_bits)
{
	struct fix f = fix_long(3);
	struct soft_cpu *c = f.c;

	fix_desc(&f, GATE, 0x9000 | (u64)CS64 << 16 | (u64)0xec << 40);
	fix_desc(&f, GATE + 8, 0x1234);
	fix_put(&f, FIX_DATA, 0, 4);
	fix_put(&f, FIX_DATA + 4, GATE | 3, 2);
	c->s.gpr[RAX] = FIX_DATA;
	CHECK(!INSN(&f, "\xff\x18")); /* call far [rax] */
	CHECK_EQ(c->s.rip, 0x123400009000);
	CHECK_EQ(cpu_cpl(c), 0);
	CHECK_EQ(c->s.seg[SEG_SS].sel, 0);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 32);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 16, 8), FIX_STACK3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 32, 8), FIX_CODE + 2);
	CHECK(!INSN(&f, "\x48\xcb"));
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK3);
	CHECK_EQ(cpu_cpl(c), 3);
}

TEST(far, gates_privilege)
{
	struct fix f = fix_protected(3);

	fix_desc(&f, GATE, 0x9000 | (u64)CS32 << 16 | (u64)0x8c << 40);
	CHECK(INSN(&f, "\x9a\x00\x00\x00\x00\x63\x00"));
	RAISED(&f, X86_GP, GATE);
	/* JMP may not raise privilege. */
	fix_desc(&f, GATE, 0x9000 | (u64)CS32 << 16 | (u64)0xec << 40);
	CHECK(INSN(&f, "\xea\x00\x00\x00\x00\x63\x00"));
	RAISED(&f, X86_GP, CS32);
	fix_desc(&f, GATE, 0x9000 | (u64)CS32 << 16 | (u64)0x6c << 40);
	CHECK(INSN(&f, "\x9a\x00\x00\x00\x00\x63\x00"));
	RAISED(&f, X86_NP, GATE);
}

TEST(far, real_mode)
{
	struct fix f = fix_real();

	f.c->s.seg[SEG_CS].limit = 0xffff;
	CHECK(!INSN(&f, "\x9a\x34\x12\x00\xf0"));
	CHECK_EQ(f.c->s.rip, 0x1234);
	CHECK_EQ(f.c->s.seg[SEG_CS].base, 0xf0000);
	CHECK_EQ(f.c->s.gpr[RSP], 0x7000 - 4);
	CHECK(!INSN(&f, "\xcb"));
	CHECK_EQ(f.c->s.rip, FIX_CODE + 5);
	CHECK_EQ(f.c->s.seg[SEG_CS].base, 0);
}

TEST(far, sysenter_and_sysexit)
{
	struct fix f = fix_protected(3);
	struct soft_cpu *c = f.c;

	CHECK(INSN(&f, "\x0f\x34"));
	RAISED(&f, X86_GP, 0);
	c->s.msr.sysenter_cs = 0x100;
	c->s.msr.sysenter_eip = 0x9000;
	c->s.msr.sysenter_esp = FIX_STACK0;
	CHECK(!INSN(&f, "\x0f\x34"));
	CHECK_EQ(c->s.rip, 0x9000);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0);
	CHECK_EQ(cpu_cpl(c), 0);
	CHECK(!(cpu_rflags(c) & RFLAGS_IF));
	c->s.gpr[RDX] = 0x8100;
	c->s.gpr[RCX] = FIX_STACK3;
	CHECK(!INSN(&f, "\x0f\x35"));
	CHECK_EQ(c->s.rip, 0x8100);
	CHECK_EQ(c->s.seg[SEG_CS].sel, 0x113);
	CHECK_EQ(c->s.seg[SEG_SS].sel, 0x11b);
	CHECK_EQ(cpu_cpl(c), 3);
}

/* ---- Task switches ---- */

static void put_task(struct fix *f, u32 at)
{
	fix_put(f, at + 32, 0x9000, 4);
	fix_put(f, at + 36, 0x2, 4);
	for (unsigned k = 0; k < 8; k++)
		fix_put(f, at + 40 + 4 * k, 0x100 + k, 4);
	fix_put(f, at + 56, FIX_STACK0 - 0x100, 4);
	for (unsigned k = 0; k < 6; k++)
		fix_put(f, at + 72 + 4 * k, k == 1 ? CS32 : DS0, 4);
	fix_put(f, at + 96, 0, 4);
}

TEST(task, call_and_iret)
{
	struct fix f = fix_protected(0);
	struct soft_cpu *c = f.c;

	put_task(&f, FIX_TSS2);
	fix_desc(&f, TSS, 0x00008b0000000067 | (u64)FIX_TSS << 16); /* busy: LTR did that */
	c->s.gpr[RBX] = 0x77;
	CHECK(!INSN(&f, "\x9a\x00\x00\x00\x00\x70\x00"));
	CHECK_EQ(c->s.tr.sel, TSS2);
	CHECK_EQ(c->s.rip, 0x9000);
	CHECK_EQ(c->s.gpr[RBX], 0x103);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 0x100);
	CHECK(c->s.rflags & RFLAGS_NT);
	CHECK(c->s.cr0 & CR0_TS);
	CHECK_EQ(fix_get(&f, FIX_TSS2, 2), TSS);
	CHECK_EQ(fix_get(&f, FIX_TSS + 32, 4), FIX_CODE + 7);
	CHECK_EQ(fix_get(&f, FIX_TSS + 52, 4), 0x77);
	CHECK_EQ(f.ram[FIX_GDT + TSS + 5], 0x8b);
	CHECK_EQ(f.ram[FIX_GDT + TSS2 + 5], 0x8b);

	CHECK(!INSN(&f, "\xcf"));
	CHECK_EQ(c->s.tr.sel, TSS);
	CHECK_EQ(c->s.rip, FIX_CODE + 7);
	CHECK_EQ(c->s.gpr[RBX], 0x77);
	CHECK(!(c->s.rflags & RFLAGS_NT));
	CHECK_EQ(f.ram[FIX_GDT + TSS + 5], 0x8b);
	CHECK_EQ(f.ram[FIX_GDT + TSS2 + 5], 0x89);
}

TEST(task, gate_in_the_idt_pushes_the_error_code)
{
	struct fix f = fix_protected(0);

	put_task(&f, FIX_TSS2);
	fix_desc(&f, TSS, 0x00008b0000000067 | (u64)FIX_TSS << 16);
	fix_gate(&f, X86_GP, 5, 0, TSS2, 0);
	CHECK(!fix_deliver(&f, X86_GP, EVENT_HW_EXC, 0x48, 0));
	CHECK_EQ(f.c->s.tr.sel, TSS2);
	CHECK_EQ(f.c->s.gpr[RSP], FIX_STACK0 - 0x100 - 4);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 0x104, 4), 0x48);
	CHECK_EQ(fix_get(&f, FIX_TSS + 32, 4), FIX_CODE);
}

TEST(task, errors_before_and_after_the_switch)
{
	struct fix f = fix_protected(0);

	put_task(&f, FIX_TSS2);
	fix_desc(&f, TSS, 0x00008b0000000067 | (u64)FIX_TSS << 16);
	fix_desc(&f, TSS2, 0x0000890000000066 | (u64)FIX_TSS2 << 16); /* too short */
	CHECK(INSN(&f, "\xea\x00\x00\x00\x00\x70\x00"));
	RAISED(&f, X86_TS, TSS2);
	CHECK_EQ(f.c->s.tr.sel, TSS);
	fix_desc(&f, TSS2, 0x00008b0000000067 | (u64)FIX_TSS2 << 16); /* busy */
	CHECK(INSN(&f, "\xea\x00\x00\x00\x00\x70\x00"));
	RAISED(&f, X86_GP, TSS2);
	fix_desc(&f, TSS2, 0x0000890000000067 | (u64)FIX_TSS2 << 16);
	fix_put(&f, FIX_TSS2 + 84, ABSENT, 4); /* DS */
	CHECK(INSN(&f, "\xea\x00\x00\x00\x00\x70\x00"));
	CHECK_EQ(f.c->event.vector, X86_NP);
	CHECK_EQ(f.c->event.error, ABSENT);
	CHECK_EQ(f.c->s.tr.sel, TSS2);
	CHECK_EQ(f.c->s.rip, 0x9000);
	CHECK_EQ(f.ram[FIX_GDT + TSS + 5], 0x89);
}

/* ---- Segment registers ---- */

TEST(seg, load_checks)
{
	struct fix f = fix_protected(3);
	struct soft_cpu *c = f.c;

	c->s.gpr[RAX] = ABSENT | 3;
	fix_desc(&f, ABSENT, 0x00cf73000000ffff);
	CHECK(INSN(&f, "\x8e\xd8")); /* mov ds, ax */
	RAISED(&f, X86_NP, ABSENT);
	CHECK(INSN(&f, "\x8e\xd0")); /* mov ss, ax */
	RAISED(&f, X86_SS, ABSENT);
	c->s.gpr[RAX] = DS0;
	CHECK(INSN(&f, "\x8e\xd8"));
	RAISED(&f, X86_GP, DS0);
	c->s.gpr[RAX] = 0;
	CHECK(INSN(&f, "\x8e\xd0"));
	RAISED(&f, X86_GP, 0);
	CHECK(!INSN(&f, "\x8e\xd8"));
	CHECK(c->s.seg[SEG_DS].ar & SEG_UNUSABLE);
	c->s.rip = FIX_CODE;
	CHECK(INSN(&f, "\xc4\x00")); /* les eax, [eax] through the NULL DS */
	RAISED(&f, X86_GP, 0);
}

TEST(seg, pops_and_far_pointers_load)
{
	static const struct {
		const char *pop, *load;
		unsigned pop_size, load_size, seg;
	} rows[] = {
		{ "\x07", "\xc4\x03", 1, 2, SEG_ES },	  { "\x1f", "\xc5\x03", 1, 2, SEG_DS },
		{ "\x17", "\x0f\xb2\x03", 1, 3, SEG_SS },   { "\x0f\xa1", "\x0f\xb4\x03", 2, 3, SEG_FS },
		{ "\x0f\xa9", "\x0f\xb5\x03", 2, 3, SEG_GS },
	};

	for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
		struct fix f = fix_protected(0);
		u64 sp = f.c->s.gpr[RSP];

		f.c->s.seg[rows[n].seg].sel = 0;
		STACK(&f, 4, DS0);
		CHECK(!fix_insn(&f, rows[n].pop, rows[n].pop_size));
		CHECK_EQ(f.c->s.seg[rows[n].seg].sel, DS0);
		CHECK_EQ(f.c->s.gpr[RSP], sp);
		CHECK_EQ(f.c->s.movss_shadow_rip == f.c->s.rip, rows[n].seg == SEG_SS);

		f = fix_protected(0);
		f.c->s.seg[rows[n].seg].sel = 0;
		f.c->s.gpr[RBX] = FIX_DATA;
		fix_put(&f, FIX_DATA, 0x12345678, 4);
		fix_put(&f, FIX_DATA + 4, DS0, 2);
		CHECK(!fix_insn(&f, rows[n].load, rows[n].load_size));
		CHECK_EQ(f.c->s.seg[rows[n].seg].sel, DS0);
		CHECK_EQ(f.c->s.gpr[RAX], 0x12345678);
		fix_put(&f, FIX_DATA + 4, ABSENT, 2);
		fix_desc(&f, ABSENT, 0x00cf13000000ffff);
		f.c->s.rip = FIX_CODE;
		f.c->s.gpr[RAX] = 7;
		CHECK(fix_insn(&f, rows[n].load, rows[n].load_size));
		RAISED(&f, rows[n].seg == SEG_SS ? X86_SS : X86_NP, ABSENT);
		CHECK_EQ(f.c->s.gpr[RAX], 7);
	}
}

TEST(seg, accessed_bit_is_set)
{
	struct fix f = fix_protected(0);

	fix_desc(&f, DS16, 0x000092000000ffff);
	f.c->s.gpr[RAX] = DS16;
	CHECK(!INSN(&f, "\x8e\xc0"));
	CHECK_EQ(f.ram[FIX_GDT + DS16 + 5], 0x93);
	CHECK_EQ(f.c->s.seg[SEG_ES].limit, 0xffff);
	CHECK_EQ(f.c->s.seg[SEG_ES].ar, 0x93);
}

TEST(seg, mov_ss_casts_a_shadow)
{
	struct fix f = fix_protected(0);

	f.c->s.gpr[RAX] = DS0;
	CHECK(!INSN(&f, "\x8e\xd0"));
	CHECK_EQ(f.c->s.movss_shadow_rip, FIX_CODE + 2);
	CHECK_EQ(f.c->s.rip, FIX_CODE + 2);
}

TEST(seg, limits)
{
	struct fix f = fix_protected(0);
	struct seg *ds = &f.c->s.seg[SEG_DS];

	f.c->s.gpr[RAX] = 0x1000;
	fix_put(&f, 0x1000, 5, 4);
	fix_put(&f, 0x1004, DS0, 2);
	ds->limit = 0x1005;
	CHECK(!INSN(&f, "\xc4\x08")); /* les ecx, [eax]: six bytes */
	CHECK_EQ(f.c->s.gpr[RCX], 5);
	f.c->s.rip = FIX_CODE;
	ds->limit = 0x1004;
	CHECK(INSN(&f, "\xc4\x08"));
	RAISED(&f, X86_GP, 0);
	ds->ar |= SEG_DOWN;
	ds->limit = 0xfff;
	CHECK(!INSN(&f, "\xc4\x08"));
	f.c->s.rip = FIX_CODE;
	ds->limit = 0x1000;
	CHECK(INSN(&f, "\xc4\x08"));
	RAISED(&f, X86_GP, 0);
}

/* ---- Stack ---- */

TEST(stackops, pusha_and_popa)
{
	struct fix f = fix_protected(0);
	struct soft_cpu *c = f.c;

	for (unsigned k = 0; k < 8; k++)
		if (k != RSP)
			c->s.gpr[k] = 0x10101010 * k;
	CHECK(!INSN(&f, "\x60"));
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 32);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 20, 4), FIX_STACK0);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 32, 4), 0x70707070);
	memset(c->s.gpr, 0, 4 * sizeof(u64));
	CHECK(!INSN(&f, "\x61"));
	CHECK_EQ(c->s.gpr[RBX], 0x30303030);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0);
}

TEST(stackops, enter_builds_a_display)
{
	struct fix f = fix_long(0);
	struct soft_cpu *c = f.c;

	c->s.gpr[RBP] = FIX_DATA;
	fix_put(&f, FIX_DATA - 8, 0xaaaa, 8);
	CHECK(!INSN(&f, "\xc8\x20\x00\x02"));
	CHECK_EQ(c->s.gpr[RBP], FIX_STACK0 - 8);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 24 - 0x20);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 8, 8), FIX_DATA);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 16, 8), 0xaaaa);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 24, 8), FIX_STACK0 - 8);
}

TEST(stackops, popf_obeys_privilege)
{
	struct fix f = fix_long(3);

	STACK(&f, 8, ~0ull);
	CHECK(!INSN(&f, "\x9d"));
	CHECK_EQ(cpu_rflags(f.c), RFLAGS_ARITH | RFLAGS_RSV1 | RFLAGS_IF | RFLAGS_TF | RFLAGS_DF |
					  RFLAGS_NT | RFLAGS_AC | RFLAGS_ID);
	f = fix_long(0);
	STACK(&f, 8, RFLAGS_IOPL);
	CHECK(!INSN(&f, "\x9d"));
	CHECK_EQ(cpu_rflags(f.c), RFLAGS_IOPL | RFLAGS_RSV1);
}

TEST(stackops, non_canonical_stack)
{
	struct fix f = fix_long(0);

	f.c->s.gpr[RSP] = BIT(47) + 4;
	CHECK(INSN(&f, "\x9c"));
	RAISED(&f, X86_SS, 0);
}

TEST(stackops, bound_and_arpl)
{
	struct fix f = fix_protected(0);
	struct soft_cpu *c = f.c;

	fix_put(&f, FIX_DATA, (u32)-5, 4);
	fix_put(&f, FIX_DATA + 4, 7, 4);
	c->s.gpr[RBX] = FIX_DATA;
	c->s.gpr[RAX] = (u32)-5;
	CHECK(!INSN(&f, "\x62\x03"));
	c->s.rip = FIX_CODE;
	c->s.gpr[RAX] = 8;
	CHECK(INSN(&f, "\x62\x03"));
	RAISED(&f, X86_BR, 0);
	c->s.gpr[RAX] = 0x10;
	c->s.gpr[RCX] = 3;
	CHECK(!INSN(&f, "\x63\xc8")); /* arpl ax, cx */
	CHECK_EQ(c->s.gpr[RAX], 0x13);
	CHECK(cpu_rflags(c) & RFLAGS_ZF);
}
