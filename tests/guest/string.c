// SPDX-License-Identifier: MIT
/* String instructions: faults in the middle, direction, address sizes, wrap-around, ports. */
#include "lib/lib.h"

enum { PF = 14 };

static struct fault f;
static const u64 base = 0x4000000000; /* two good pages, then a hole */
static u8 *src, *dst;

static void faults(void)
{
	section("faults in the middle");
	EXPECT_FAULT(f, PF, 2, "mov %0, %%rdi; mov $100, %%ecx; mov $0x55, %%al; cld; rep stosb",
		     "r"(base + 8192 - 40));
	CHECK_EQ(f.regs.rcx, 60);
	CHECK_EQ(f.regs.rdi, base + 8192);
	CHECK_EQ(f.cr2, base + 8192);
	CHECK_EQ(((u8 *)f.regs.rip)[0], 0xf3);
	CHECK_EQ(*(u8 *)(base + 8191), 0x55);

	EXPECT_FAULT(f, PF, 0, "mov %0, %%rsi; mov %1, %%rdi; mov $20, %%ecx; rep movsq",
		     "r"(base + 8192 - 64), "r"(dst));
	CHECK_EQ(f.regs.rcx, 12);
	CHECK_EQ(f.regs.rsi, base + 8192);
	CHECK_EQ(f.regs.rdi, (u64)dst + 64);
	/* The element that crosses into the hole is not begun. */
	EXPECT_FAULT(f, PF, 2, "mov %0, %%rdi; mov $3, %%ecx; xor %%eax, %%eax; rep stosq",
		     "r"(base + 8192 - 12));
	CHECK_EQ(f.regs.rcx, 2);
	CHECK_EQ(f.regs.rdi, base + 8192 - 4);
	CHECK_EQ(f.cr2, base + 8192);
	CHECK_EQ(*(u8 *)(base + 8191), 0x55);

	EXPECT_FAULT(f, PF, 0, "mov %0, %%rdi; mov $50, %%ecx; mov $0xee, %%al; repne scasb",
		     "r"(base + 8192 - 4));
	CHECK_EQ(f.regs.rcx, 46);
	CHECK_EQ(f.regs.rdi, base + 8192);
	/* Downwards, out of the first page. */
	EXPECT_FAULT(f, PF, 2, "mov %0, %%rdi; mov $50, %%ecx; std; rep stosb", "r"(base + 9));
	CHECK_EQ(f.regs.rcx, 40);
	CHECK_EQ(f.regs.rdi, base - 1);
	CHECK_EQ(f.cr2, base - 1);
	asm volatile("cld");
}

static void results(void)
{
	u64 rcx, rdi, rsi, rflags;

	section("results");
	for (int i = 0; i < 256; i++)
		src[i] = (u8)i;
	/* Overlapping: a pattern of three is spread. */
	memcpy(dst, "abc", 3);
	asm volatile("rep movsb" : "=c"(rcx), "=D"(rdi), "=S"(rsi)
		     : "0"(30), "1"(dst + 3), "2"(dst) : "memory");
	CHECK(!memcmp(dst, "abcabcabcabcabcabcabcabcabcabcabc", 33));
	CHECK_EQ(rdi, (u64)dst + 33);
	/* One byte apart, backwards. */
	memcpy(dst, "0123456789", 10);
	asm volatile("std; rep movsb; cld" : "=c"(rcx), "=D"(rdi), "=S"(rsi)
		     : "0"(9), "1"(dst + 9), "2"(dst + 8) : "memory");
	CHECK(!memcmp(dst, "0012345678", 10));
	/* Compare: stops after the first difference with its flags. */
	memcpy(dst, src, 200);
	dst[100] = 99;
	asm volatile("repe cmpsb; pushf; pop %3" : "=c"(rcx), "=D"(rdi), "=S"(rsi), "=r"(rflags)
		     : "0"(200), "1"(dst), "2"(src) : "memory", "cc");
	CHECK_EQ(rcx, 99);
	CHECK_EQ(rsi, (u64)src + 101);
	CHECK_EQ(rflags & 0x41, 0); /* 100 - 99: neither carry nor zero */
	asm volatile("repne scasb; pushf; pop %2" : "=c"(rcx), "=D"(rdi), "=r"(rflags)
		     : "0"(200), "1"(src), "a"(50) : "memory", "cc");
	CHECK_EQ(rcx, 149);
	CHECK_EQ(rflags & 0x40, 0x40);
	/* A zero count keeps flags and touches nothing. */
	asm volatile("xor %%ecx, %%ecx; stc; repe cmpsb; pushf; pop %0"
		     : "=r"(rflags) : "D"(base + 0x100000), "S"(base + 0x100000) : "rcx", "cc");
	CHECK_EQ(rflags & 1, 1);
	/* 32-bit addresses: ECX and EDI count and wrap, upper halves go with the first change. */
	asm volatile("mov %2, %%rdi; mov %3, %%rcx; mov $0x7e, %%al; addr32 rep stosb"
		     : "=&c"(rcx), "=&D"(rdi)
		     : "r"(0xffffffff00000000 | (u64)dst), "r"(0xffffffff00000004) : "rax", "memory");
	CHECK_EQ(rcx, 0);
	CHECK_EQ(rdi, (u64)dst + 4);
	CHECK_EQ(dst[3], 0x7e);
	/* LODS leaves the last; with REP too. */
	asm volatile("rep lodsw" : "=a"(rflags), "=c"(rcx), "=S"(rsi)
		     : "0"(0x11223344), "1"(5), "2"(src) : "memory");
	CHECK_EQ(rflags, 0x11220908);
	/* A segment override moves the source only. */
	wrmsr(0xc0000100, 16);
	asm volatile(".byte 0x64; rep movsb" : "=c"(rcx), "=D"(rdi), "=S"(rsi)
		     : "0"(4), "1"(dst), "2"(src) : "memory");
	wrmsr(0xc0000100, 0);
	CHECK(!memcmp(dst, src + 16, 4));
}

static void ports(void)
{
	u64 rcx, rdi, rsi;
	u8 want[2];

	section("ports");
	/* The CMOS index and data ports, by strings. */
	dst[0] = 0x3e;
	asm volatile("outsb" : "=S"(rsi) : "0"(dst), "d"(0x70) : "memory");
	CHECK_EQ(rsi, (u64)dst + 1);
	want[0] = inb(0x71);
	asm volatile("rep insb" : "=c"(rcx), "=D"(rdi)
		     : "0"(3), "1"(dst + 8), "d"(0x71) : "memory");
	CHECK_EQ(rcx, 0);
	CHECK_EQ(rdi, (u64)dst + 11);
	CHECK_EQ(dst[8], want[0]);
	CHECK_EQ(dst[10], want[0]);
	EXPECT_FAULT(f, PF, 2, "mov %0, %%rdi; mov $4, %%ecx; mov $0x71, %%edx; rep insb",
		     "r"(base + 8192 - 2));
	CHECK_EQ(f.regs.rcx, 2);
	EXPECT_FAULT(f, PF, 0, "mov %0, %%rsi; mov $4, %%ecx; mov $0x80, %%edx; rep outsb",
		     "r"(base + 8192 - 1));
	CHECK_EQ(f.regs.rcx, 3);
}

/* Large copies at all small misalignments against a plain loop. */
static void copies(void)
{
	u8 *a = (u8 *)base, *b = dst;
	u32 bad = 0;

	section("copies");
	for (int i = 0; i < 4096; i++)
		a[i] = (u8)(i * 7 + (i >> 8));
	for (u32 from = 0; from < 9; from++) {
		for (u32 to = 0; to < 9; to++) {
			memset(b, 0, 2048);
			memcpy(b + to, a + from, 1000);
			for (u32 i = 0; i < 1000; i++)
				bad += b[to + i] != a[from + i];
			bad += b[to + 1000];
		}
	}
	CHECK_EQ(bad, 0);
}

int main(void)
{
	src = page_alloc();
	dst = page_alloc();
	page_map(base, (u64)page_alloc(), PTE_P | PTE_W);
	page_alloc();
	page_map(base + 4096, (u64)page_alloc(), PTE_P | PTE_W);
	faults();
	results();
	ports();
	copies();
	return 0;
}
