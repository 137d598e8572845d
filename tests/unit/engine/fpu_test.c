// SPDX-License-Identifier: MIT
/* State saves and restores: what is written, what is not, what is refused. */
#include "../../lib/test.h"
#include "cpu_fixture.h"

#include <string.h>
#include <sys/mman.h>

#include "engine/fpu.h"

#define INSN(f, bytes) fix_insn(f, bytes, sizeof(bytes) - 1)
#define RAISED(f, vec, err)                                                                        \
	do {                                                                                       \
		CHECK((f)->c->event.pending);                                                      \
		CHECK_EQ((f)->c->event.vector, vec);                                               \
		CHECK_EQ((f)->c->event.error, err);                                                \
	} while (0)

/* x87 with a value, every XMM and YMM byte different from zero. */
static void fill_state(void)
{
	memset(fix_fpu, 0, sizeof(fix_fpu));
	store16(fix_fpu + FX_FCW, 0x27f);
	store16(fix_fpu + FX_FSW, 0x3800);
	fix_fpu[4] = 0x80; /* R7 is full */
	store64(fix_fpu + FX_ST, 0x8000000000000000);
	store16(fix_fpu + FX_ST + 8, 0x3fff);
	store32(fix_fpu + FX_MXCSR, 0x1f81);
	for (unsigned k = 0; k < 256; k++) {
		fix_fpu[FX_XMM + k] = 1 + k % 250;
		fix_fpu[XSAVE_EXT + k] = 2 + k % 249;
	}
	fix_fpu[XSAVE_HEADER] = 7;
}

static struct fix fpu_fix(void)
{
	struct fix f = fix_long(0);

	if (!cpu_has(f.c->vm->env.model, FEAT_AVX) || !cpu_has(f.c->vm->env.model, FEAT_XSAVEC))
		SKIP("needs AVX and XSAVEC");
	fix_fpu_on = true;
	fill_state();
	memset(f.ram + FIX_DATA, 0xcc, 4096);
	memset(f.ram + FIX_DATA + XSAVE_HEADER, 0, 64);
	f.c->s.gpr[RDI] = FIX_DATA;
	f.c->s.gpr[RAX] = 7;
	f.c->s.gpr[RDX] = 0;
	return f;
}

static bool all(const u8 *p, unsigned n, u8 value)
{
	for (unsigned k = 0; k < n; k++)
		if (p[k] != value)
			return false;
	return true;
}

TEST(xsave, plain_writes_everything_but_reserved_bytes)
{
	struct fix f = fpu_fix();
	const u8 *a = f.ram + FIX_DATA;

	f.c->fip = 0x123456789a;
	CHECK(!INSN(&f, "\x48\x0f\xae\x27")); /* xsave64 [rdi] */
	fill_state();
	CHECK_EQ(load16(a + FX_FCW), 0x27f);
	CHECK_EQ(load64(a + FX_FIP), 0x123456789a);
	CHECK_EQ(load64(a + FX_FDP), 0);
	CHECK_EQ(load32(a + FX_MXCSR), 0x1f81);
	CHECK_EQ(load32(a + FX_MASK), 0xffff);
	CHECK(!memcmp(a + FX_ST, fix_fpu + FX_ST, FX_END - FX_ST));
	CHECK(all(a + FX_END, XSAVE_HEADER - FX_END, 0xcc));
	CHECK_EQ(load64(a + XSAVE_HEADER), 7);
	CHECK_EQ(load64(a + XSAVE_HEADER + 8), 0);
	CHECK(!memcmp(a + XSAVE_EXT, fix_fpu + XSAVE_EXT, 256));
	CHECK(all(a + XSAVE_EXT + 256, 512, 0xcc));
}

TEST(xsave, mask_limits_what_is_written)
{
	struct fix f = fpu_fix();
	const u8 *a = f.ram + FIX_DATA;

	f.c->s.gpr[RAX] = 4;
	store64(f.ram + FIX_DATA + XSAVE_HEADER, 3);
	CHECK(!INSN(&f, "\x48\x0f\xae\x27"));
	CHECK(all(a, FX_MXCSR, 0xcc));
	CHECK_EQ(load32(a + FX_MXCSR), 0x1f81); /* comes with AVX too */
	CHECK(all(a + FX_ST, FX_END - FX_ST, 0xcc));
	CHECK_EQ(load64(a + XSAVE_HEADER), 7);
	CHECK_EQ(a[XSAVE_EXT], 2);
	/* XCR0 limits it too. */
	f.c->s.xcr0 = 3;
	memset(f.ram + FIX_DATA, 0xcc, 4096);
	f.c->s.gpr[RAX] = ~0ull;
	CHECK(!INSN(&f, "\x48\x0f\xae\x27"));
	CHECK(all(a + XSAVE_EXT, 256, 0xcc));
}

TEST(xsave, opt_and_compact_leave_initial_state_out)
{
	struct fix f = fpu_fix();
	const u8 *a = f.ram + FIX_DATA;

	fix_fpu[XSAVE_HEADER] = 3; /* AVX initial */
	CHECK(!INSN(&f, "\x48\x0f\xae\x37")); /* xsaveopt64 */
	CHECK_EQ(load64(a + XSAVE_HEADER), 3);
	CHECK(all(a + XSAVE_EXT, 256, 0xcc));
	CHECK_EQ(a[FX_XMM], 1);

	memset(f.ram + FIX_DATA, 0xcc, 4096);
	fill_state();
	fix_fpu[XSAVE_HEADER] = 4;
	store32(fix_fpu + FX_MXCSR, 0x1f80);
	CHECK(!INSN(&f, "\x48\x0f\xc7\x27")); /* xsavec64 */
	CHECK_EQ(load64(a + XSAVE_HEADER + 8), 7 | BIT(63));
	CHECK_EQ(load64(a + XSAVE_HEADER) & 4, 4);
	CHECK_EQ(a[XSAVE_EXT], 2);
	CHECK_EQ(load64(a + XSAVE_HEADER + 16), 0xcccccccccccccccc);
}

TEST(xsave, round_trip_of_both_forms)
{
	static const char *const saves[] = { "\x48\x0f\xae\x27", "\x48\x0f\xc7\x27",
					     "\x48\x0f\xc7\x2f" /* xsaves64 */ };

	for (unsigned k = 0; k < ARRAY_SIZE(saves); k++) {
		struct fix f = fpu_fix();
		u8 want[XSAVE_EXT + 256];

		CHECK(!fix_insn(&f, saves[k], 4));
		memcpy(want, fix_fpu, sizeof(want));
		memset(fix_fpu, 0, sizeof(fix_fpu)); /* everything initial */
		CHECK(!fix_insn(&f, k == 2 ? "\x48\x0f\xc7\x1f" : "\x48\x0f\xae\x2f", 4));
		CHECK(!memcmp(want, fix_fpu, FX_FIP));
		CHECK(!memcmp(want + FX_MXCSR, fix_fpu + FX_MXCSR, 4));
		CHECK(!memcmp(want + FX_ST, fix_fpu + FX_ST, FX_END - FX_ST));
		CHECK(!memcmp(want + XSAVE_EXT, fix_fpu + XSAVE_EXT, 256));
	}
}

TEST(xsave, restore_makes_absent_components_initial)
{
	struct fix f = fpu_fix();

	store32(f.ram + FIX_DATA + FX_MXCSR, 0x1fa0);
	store64(f.ram + FIX_DATA + XSAVE_HEADER, 0);
	CHECK(!INSN(&f, "\x48\x0f\xae\x2f"));
	CHECK_EQ(load16(fix_fpu + FX_FCW), 0x37f);
	CHECK(all(fix_fpu + FX_XMM, 256, 0));
	CHECK(all(fix_fpu + XSAVE_EXT, 256, 0));
	CHECK_EQ(load32(fix_fpu + FX_MXCSR), 0x1fa0); /* standard form: from memory */
	/* Compacted: MXCSR becomes initial. */
	fill_state();
	store64(f.ram + FIX_DATA + XSAVE_HEADER + 8, 7 | BIT(63));
	CHECK(!INSN(&f, "\x48\x0f\xae\x2f"));
	CHECK_EQ(load32(fix_fpu + FX_MXCSR), 0x1f80);
	/* What is not asked for stays. */
	fill_state();
	f.c->s.gpr[RAX] = 4;
	CHECK(!INSN(&f, "\x48\x0f\xae\x2f"));
	CHECK_EQ(load32(fix_fpu + FX_MXCSR), 0x1f81);
	CHECK_EQ(fix_fpu[FX_XMM], 1);
	CHECK(all(fix_fpu + XSAVE_EXT, 256, 0));
}

TEST(xsave, restore_refuses_bad_headers)
{
	static const struct {
		u64 bv, comp, r0, r1;
	} t[] = {
		{ 8, 0, 0, 0 },	       { 0, 1, 0, 0 },	      { 0, 0, 1, 0 },
		{ 1, BIT(63), 0, 0 },  { 0, 8 | BIT(63), 0, 0 }, { 0, BIT(63), 0, 1 },
		{ BIT(63), 0, 0, 0 },
	};

	for (unsigned k = 0; k < ARRAY_SIZE(t); k++) {
		struct fix f = fpu_fix();
		u8 *h = f.ram + FIX_DATA + XSAVE_HEADER;

		store32(f.ram + FIX_DATA + FX_MXCSR, 0x1f80);
		store64(h, t[k].bv);
		store64(h + 8, t[k].comp);
		store64(h + 16, t[k].r0);
		store64(h + 24, t[k].r1);
		CHECK(INSN(&f, "\x48\x0f\xae\x2f"));
		RAISED(&f, X86_GP, 0);
	}
}

TEST(xsave, faults)
{
	struct fix f = fpu_fix();

	store32(f.ram + FIX_DATA + FX_MXCSR, 0x10000);
	CHECK(INSN(&f, "\x48\x0f\xae\x2f"));
	RAISED(&f, X86_GP, 0);
	CHECK(INSN(&f, "\x48\x0f\xc7\x1f")); /* xrstors of a standard area */
	RAISED(&f, X86_GP, 0);
	f.c->s.gpr[RDI] += 16;
	CHECK(INSN(&f, "\x48\x0f\xae\x27"));
	RAISED(&f, X86_GP, 0);
	f.c->s.cr0 |= CR0_TS;
	CHECK(INSN(&f, "\x48\x0f\xae\x27"));
	RAISED(&f, X86_NM, 0);
	f.c->s.cr4 &= ~CR4_OSXSAVE;
	CHECK(INSN(&f, "\x48\x0f\xae\x27"));
	RAISED(&f, X86_UD, 0);
}

TEST(xsave, faults_beyond_the_page_change_nothing)
{
	struct fix f = fpu_fix();

	f.c->s.gpr[RDI] = MIB(16) - 768; /* the AVX part is not there */
	memset(f.ram + MIB(16) - 768, 0xcc, 768);
	CHECK(INSN(&f, "\x48\x0f\xae\x27"));
	CHECK_EQ(f.c->event.vector, X86_PF);
	CHECK(all(f.ram + MIB(16) - 768, 768, 0xcc));
}

TEST(xsave, outside_64_bit_mode_upper_registers_stay)
{
	struct fix f = fpu_fix();
	const u8 *a = f.ram + FIX_DATA;

	f.c->s.seg[SEG_CS].ar = 0xc09b; /* compatibility mode */
	CHECK(!INSN(&f, "\x0f\xae\x27"));
	CHECK_EQ(a[FX_XMM + 127], 128);
	CHECK(all(a + FX_XMM + 128, 128, 0xcc));
	CHECK(all(a + XSAVE_EXT + 128, 128, 0xcc));
	f.ram[FIX_DATA + FX_XMM] = 0x99;
	fill_state();
	CHECK(!INSN(&f, "\x0f\xae\x2f"));
	CHECK_EQ(fix_fpu[FX_XMM], 0x99);
	CHECK_EQ(fix_fpu[FX_XMM + 200], 201);
	CHECK_EQ(fix_fpu[XSAVE_EXT + 200], 202);
	store64(f.ram + FIX_DATA + XSAVE_HEADER, 0);
	CHECK(!INSN(&f, "\x0f\xae\x2f"));
	CHECK_EQ(fix_fpu[FX_XMM], 0);
	CHECK_EQ(fix_fpu[FX_XMM + 200], 201);
}

TEST(fxsave, round_trip_and_unused_bytes)
{
	struct fix f = fpu_fix();
	const u8 *a = f.ram + FIX_DATA;

	memset(f.ram + FIX_DATA, 0xcc, 512);
	CHECK(!INSN(&f, "\x48\x0f\xae\x07"));
	CHECK(all(a + FX_END, 512 - FX_END, 0xcc));
	CHECK_EQ(load32(a + FX_MASK), 0xffff);
	store64(f.ram + FIX_DATA + FX_FIP, 0x4242);
	memset(fix_fpu, 0, sizeof(fix_fpu));
	CHECK(!INSN(&f, "\x48\x0f\xae\x0f"));
	CHECK_EQ(f.c->fip, 0x4242);
	CHECK_EQ(load64(fix_fpu + FX_FIP), 0);
	CHECK_EQ(load16(fix_fpu + FX_FCW), 0x27f);
	CHECK_EQ(fix_fpu[FX_XMM + 255], 6);
	CHECK_EQ(load64(fix_fpu + FX_ST), 0x8000000000000000);
	f.c->s.gpr[RDI] += 8;
	CHECK(INSN(&f, "\x48\x0f\xae\x07"));
	RAISED(&f, X86_GP, 0);
}

TEST(x87, environment_and_state)
{
	struct fix f = fpu_fix();
	const u8 *a = f.ram + FIX_DATA;

	f.c->fip = 0x1234;
	f.c->fop = 0x155;
	CHECK(!INSN(&f, "\xdd\x37")); /* fnsave */
	CHECK_EQ(load16(a), 0x27f);
	CHECK_EQ(load16(a + 4), 0x3800);
	CHECK_EQ(load16(a + 8), 0x3fff);
	CHECK_EQ(load32(a + 12), 0x1234);
	CHECK_EQ(load32(a + 16), 0x1550000);
	CHECK_EQ(load64(a + 28), 0x8000000000000000);
	CHECK_EQ(a[108], 0xcc);
	CHECK_EQ(load16(fix_fpu + FX_FCW), 0x37f);
	CHECK_EQ(f.c->fip, 0);
	CHECK(!INSN(&f, "\xdd\x27")); /* frstor */
	CHECK_EQ(load16(fix_fpu + FX_FCW), 0x27f);
	CHECK_EQ(load64(fix_fpu + FX_ST), 0x8000000000000000);
	CHECK_EQ(f.c->fip, 0x1234);
	CHECK_EQ(f.c->fop, 0x155);
	memset(f.ram + FIX_DATA, 0xcc, 64);
	CHECK(!INSN(&f, "\x66\xd9\x37")); /* fnstenv, 16 bits */
	CHECK_EQ(load16(a), 0x27f);
	CHECK_EQ(load16(a + 4), 0x3fff);
	CHECK_EQ(load16(a + 6), 0x1234);
	CHECK_EQ(a[14], 0xcc);
	CHECK_EQ(load16(fix_fpu + FX_FCW) & 0x3f, 0x3f); /* all masked now */
	store16(f.ram + FIX_DATA, 0x37e);
	CHECK(!INSN(&f, "\x66\xd9\x27"));
	CHECK_EQ(load16(fix_fpu + FX_FCW) & 0xf3f, 0x33e);
}

TEST(x87, waiting_restore_raises_what_is_pending)
{
	struct fix f = fpu_fix();

	store16(fix_fpu + FX_FCW, 0x37e);
	store16(fix_fpu + FX_FSW, 0x8081);
	CHECK(INSN(&f, "\xdd\x27"));
	RAISED(&f, X86_MF, 0);
	__asm__ volatile("fninit");
}

TEST(maskmov, stores_selected_bytes)
{
	struct fix f = fpu_fix();

	memset(fix_fpu + FX_XMM + 16, 0, 16);
	fix_fpu[FX_XMM + 16 + 3] = 0x80;
	fix_fpu[FX_XMM + 16 + 15] = 0xff;
	CHECK(!INSN(&f, "\x66\x0f\xf7\xc1")); /* maskmovdqu xmm0, xmm1 */
	for (unsigned k = 0; k < 16; k++)
		CHECK_EQ(f.ram[FIX_DATA + k], k == 3 || k == 15 ? k + 1 : 0xccu);
}

/* ---- Gathers, beside the host's own ---- */

static void run_native(const u8 *bytes, unsigned n, const void *base)
{
	u8 *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(code, bytes, n);
	code[n] = 0xc3;
	__asm__ volatile("xrstor64 %0\n\tcall *%2\n\tmov $7, %%eax\n\txor %%edx, %%edx\n\t"
			 "xsave64 %0\n\tfninit"
			 : "+m"(fix_fpu)
			 : "D"(base), "r"(code), "a"(7), "d"(0)
			 : "memory");
	munmap(code, 4096);
}

TEST(gather, equals_the_host)
{
	struct fix f = fpu_fix();

	if (!cpu_has(f.c->vm->env.model, FEAT_AVX2))
		SKIP("needs AVX2");
	for (unsigned k = 0; k < 4096; k++)
		f.ram[FIX_DATA + k] = (u8)(k * 7 + (k >> 8));
	for (unsigned k = 0; k < 16 * 3; k++) {
		unsigned op = 0x90 + k % 4, w = k >> 2 & 1, l = k >> 3 & 1;
		/* [rdi + ymm1 * 4], mask ymm2, to ymm3 */
		u8 bytes[6] = { 0xc4, 0xe2, (u8)(w << 7 | 13 << 3 | l << 2 | 1), (u8)op, 0x1c, 0x8f };
		u8 start[sizeof(fix_fpu)], native[sizeof(fix_fpu)];

		fill_state();
		for (unsigned n = 0; n < 32; n += 4) {
			u8 *p = n < 16 ? fix_fpu + FX_XMM + n : fix_fpu + XSAVE_EXT + n - 16;
			bool wide = op & 1;

			store32(p + 16, wide && (n & 4) ? 0 : (n * 37 + k * 11) & 0x1ff);
			store32(p + 32, (n * 5 + k) & 8 ? 0x80000000 : 0x7fffffff);
		}
		memcpy(start, fix_fpu, sizeof(start));
		run_native(bytes, 6, f.ram + FIX_DATA);
		memcpy(native, fix_fpu, sizeof(native));
		memcpy(fix_fpu, start, sizeof(start));
		f.c->s.rip = FIX_CODE;
		CHECK(!fix_insn(&f, (const char *)bytes, 6));
		CHECK(!memcmp(fix_fpu + FX_XMM, native + FX_XMM, 256));
		CHECK(!memcmp(fix_fpu + XSAVE_EXT, native + XSAVE_EXT, 256));
	}
}
