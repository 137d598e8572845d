// SPDX-License-Identifier: MIT
/* x87 and SSE exceptions, and what FXSAVE tells of them. */
#include "lib/lib.h"

enum { NM = 7, MF = 16, XM = 19 };

static struct fault f;
static u8 area[512] __attribute__((aligned(64)));

static u16 fsw(void)
{
	u16 v;

	asm volatile("fnstsw %0" : "=m"(v));
	return v;
}

static void set_fcw(u16 v)
{
	asm volatile("fldcw %0" : : "m"(v));
}

static void set_mxcsr(u32 v)
{
	asm volatile("ldmxcsr %0" : : "m"(v));
}

static u32 get_mxcsr(void)
{
	u32 v;

	asm volatile("stmxcsr %0" : "=m"(v));
	return v;
}

static void x87(void)
{
	u64 at, v;

	section("x87, masked");
	asm volatile("fninit");
	CHECK_EQ(fsw(), 0);
	asm volatile("fninit; fldz; fld1; fdiv %%st(1), %%st; fstpl %0" : "=m"(v));
	CHECK_EQ(v, 0x7ff0000000000000);
	CHECK_EQ(fsw() & 0x3f, 4); /* ZE */
	asm volatile("fninit; fld1; fldpi; fstp %%st(0); fstp %%st(0); fstp %%st(0)" : :);
	if (on_qemu_tcg())
		return; /* it raises hardly any of what follows */
	CHECK_EQ(fsw() & 0x41, 0x41); /* stack underflow: IE and SF */

	section("x87, unmasked");
	write_cr0(read_cr0() | CR0_NE);
	asm volatile("fninit");
	set_fcw(0x37b); /* ZE unmasked */
	/* The fault comes with the next waiting instruction, not before. */
	asm volatile("fld1; fldz; lea 1f(%%rip), %0; 1: fdivr %%st(1), %%st; nop" : "=r"(at));
	CHECK_EQ(fsw() & 0x8084, 0x8084);
	EXPECT_FAULT(f, MF, 0, "fwait");
	CHECK_EQ(*(u8 *)f.regs.rip, 0x9b);
	EXPECT_FAULT(f, MF, 0, "fld1");
	CHECK(!FAULTS(f, "fnstsw %%ax"));
	asm volatile("fxsave %0" : "=m"(area));
	CHECK_EQ(*(u32 *)(area + 8), (u32)at); /* FIP */
	CHECK_EQ(*(u16 *)(area + 6) & 0x7ff, 0x0f9); /* FOP: D8 F9 */
	CHECK_EQ(area[4], 0xc0); /* abridged tag: two registers in use */
	asm volatile("fnclex");
	CHECK(!FAULTS(f, "fwait"));
	asm volatile("fninit");
	CHECK(!FAULTS(f, "fldl %0", "m"(v)));
	asm volatile("fninit");

	section("FXSAVE and FXRSTOR");
	asm volatile("fld1; fldpi; fxsave %0; fninit; fxrstor %0; fstpl %1; fninit"
		     : "+m"(area), "=m"(v));
	CHECK_EQ(v, 0x400921fb54442d18);
	CHECK_EQ(*(u16 *)area, 0x37f);
	CHECK_EQ(*(u32 *)(area + 24), 0x1f80);
	*(u32 *)(area + 24) = 0xffff0000; /* reserved bits of MXCSR */
	EXPECT_FAULT(f, 13, 0, "fxrstor (%0)", "r"(area));
}

static const float one = 1.0f;

static void sse(void)
{
	section("SSE, masked");
	set_mxcsr(0x1f80);
	asm volatile("movss %0, %%xmm0; xorps %%xmm1, %%xmm1; divss %%xmm1, %%xmm0" : : "m"(one));
	CHECK_EQ(get_mxcsr(), 0x1f84);
	if (on_qemu_tcg())
		return;
	section("SSE, unmasked");
	set_mxcsr(0x1f80 & ~0x200); /* ZE unmasked */
	EXPECT_FAULT(f, XM, 0, "movss %0, %%xmm0; xorps %%xmm1, %%xmm1; divss %%xmm1, %%xmm0", "m"(one));
	CHECK_EQ(*(u8 *)f.regs.rip, 0xf3);
	CHECK_EQ(get_mxcsr() & 0x3f, 4);
	{
		u32 lane;

		asm volatile("movd %%xmm0, %0" : "=r"(lane)); /* not written */
		CHECK_EQ(lane, 0x3f800000);
	}
	set_mxcsr(0x1f80 & ~0x200);
	write_cr4(read_cr4() & ~(u64)CR4_OSXMMEXCPT);
	EXPECT_FAULT(f, 6, 0, "divss %%xmm1, %%xmm0");
	write_cr4(read_cr4() | CR4_OSXMMEXCPT);
	set_mxcsr(0x1f80);
	EXPECT_FAULT(f, 13, 0, "push %0; ldmxcsr (%%rsp)", "r"(0x10000ull));
	EXPECT_FAULT(f, 13, 0, "push %0; ldmxcsr (%%rsp)", "r"(0x20000ull)); /* AMD has it */
	/* An invalid operation in one lane of four. */
	set_mxcsr(0x1f00); /* IE unmasked */
	EXPECT_FAULT(f, XM, 0, "pcmpeqd %%xmm2, %%xmm2; psrld $10, %%xmm2; pslld $23, %%xmm2;"
			       "addps %%xmm2, %%xmm2; mov $0x7f800001, %%eax; movd %%eax, %%xmm2;"
			       "addps %%xmm2, %%xmm2");
	set_mxcsr(0x1f80);
}

static void lazily(void)
{
	u64 v = 0;

	section("CR0.TS");
	asm volatile("movq %0, %%xmm5" : : "r"(0x5555ull));
	write_cr0(read_cr0() | CR0_TS);
	EXPECT_FAULT(f, NM, 0, "movq %%xmm5, %%rax");
	EXPECT_FAULT(f, NM, 0, "fld1");
	asm volatile("clts; movq %%xmm5, %0" : "=r"(v));
	CHECK_EQ(v, 0x5555);
}

int main(void)
{
	x87();
	sse();
	lazily();
	return 0;
}
