// SPDX-License-Identifier: MIT
/*
 * Code that changes: by the running block itself, through another address, by string stores, by
 * page tables, and by another processor.
 */
#include "lib/lib.h"

typedef u64 fn_t(u64);

static u8 *code; /* a page of RAM that is written and run */

static void put_mov_ret(u8 *p, u32 v) /* mov $v, %eax; ret */
{
	p[0] = 0xb8;
	memcpy(p + 1, &v, 4);
	p[5] = 0xc3;
}

static u64 run(const void *p)
{
	return ((fn_t *)p)(0);
}

static void rewritten(void)
{
	section("rewritten between calls");
	for (u32 i = 0; i < 5000; i++) {
		put_mov_ret(code, i);
		if (run(code) != i) {
			CHECK_EQ(run(code), i);
			return;
		}
	}
	CHECK_EQ(run(code), 4999);
	section("one byte of an immediate");
	for (u32 i = 0; i < 256; i++) {
		code[1] = (u8)i;
		if ((run(code) & 0xff) != i)
			break;
	}
	CHECK_EQ(run(code) & 0xff, 255);
}

/* The instruction right after the store is the one it changes. */
static void within_the_block(void)
{
	u64 v;

	section("the next instruction");
	for (u32 i = 1; i < 200; i++) {
		asm volatile("movl %1, 1f+1(%%rip)\n"
			     "1: movl $0, %%eax"
			     : "=a"(v) : "r"(i) : "memory");
		if (v != i)
			break;
	}
	CHECK_EQ(v, 199);
	section("the next instruction, by a string store");
	for (u32 i = 1; i < 200; i++) {
		asm volatile("lea 1f+1(%%rip), %%rdi; mov $4, %%ecx; rep stosb\n"
			     "1: movl $0, %%eax"
			     : "=a"(v) : "a"(i) : "memory", "rdi", "rcx");
		if (v != i * 0x01010101)
			break;
	}
	CHECK_EQ(v, 199 * 0x01010101u);
	section("a loop that changes its own body");
	/* adds 1, 2, 3 ... 100: the immediate is rewritten in each round */
	asm volatile("xor %%eax, %%eax; movl $1, %%ecx\n"
		     "1: movl %%ecx, 2f+1(%%rip)\n"
		     "jmp 2f\n"
		     "2: .byte 0x05, 0, 0, 0, 0\n" /* addl $0, %eax */
		     "incl %%ecx; cmpl $100, %%ecx; jbe 1b"
		     : "=a"(v) : : "rcx", "memory", "cc");
	CHECK_EQ(v, 5050);
	section("an instruction becomes a jump");
	asm volatile("movw $0x05eb, 1f(%%rip)\n" /* jmp over the next instruction */
		     "1: nop; nop\n"
		     "movl $1, %%eax\n"
		     "movl $2, %%ecx; lea (%%ecx), %%eax"
		     : "=a"(v) : : "rcx", "memory");
	CHECK_EQ(v, 2);
	section("a store of the same bytes");
	put_mov_ret(code, 5);
	for (int i = 0; i < 1000; i++)
		put_mov_ret(code, 5);
	CHECK_EQ(run(code), 5);
}

static void through_an_alias(void)
{
	u64 a = 0x4000000000, b = a + 0x10000;
	u8 *page = page_alloc();

	section("through another address");
	page_map(a, (u64)page, PTE_P);
	page_map(b, (u64)page, PTE_P | PTE_W | PTE_NX);
	for (u32 i = 0; i < 1000; i++) {
		put_mov_ret((u8 *)b + 100, i);
		if (run((u8 *)a + 100) != i)
			break;
	}
	CHECK_EQ(run((u8 *)a + 100), 999);
	section("another page at the same address");
	{
		u8 *other = page_alloc();

		put_mov_ret(other + 100, 12345);
		page_map(a, (u64)other, PTE_P);
		CHECK_EQ(run((u8 *)a + 100), 12345);
		page_map(a, (u64)page, PTE_P);
		CHECK_EQ(run((u8 *)a + 100), 999);
	}
	section("the same page at several addresses");
	for (u32 i = 0; i < 64; i++) {
		page_map(a + 0x100000 + i * 0x1000, (u64)page, PTE_P);
		if (run((u8 *)a + 0x100000 + i * 0x1000 + 100) != 999)
			CHECK(false);
	}
	/* lea 0(%rip), %rax; ret: the result is where it runs, not where it was seen first. */
	memcpy((u8 *)b + 200, "\x48\x8d\x05\x00\x00\x00\x00\xc3", 8);
	CHECK_EQ(run((u8 *)a + 200), a + 207);
	CHECK_EQ(run((u8 *)a + 0x100000 + 200), a + 0x100000 + 207);
	CHECK_EQ(run((u8 *)a + 0x105000 + 200), a + 0x105000 + 207);
}

static void much_code(void)
{
	u8 *page[64];
	u64 sum = 0;

	section("much new code");
	for (int i = 0; i < 64; i++)
		page[i] = page_alloc();
	for (u32 round = 0; round < 50; round++) {
		for (u32 i = 0; i < 64; i++) {
			for (u32 at = 0; at < 4096; at += 64)
				put_mov_ret(page[i] + at, round + i + at);
			for (u32 at = 0; at < 4096; at += 64)
				sum += run(page[i] + at) - round - i - at;
		}
	}
	CHECK_EQ(sum, 0);
}

/* Data beside code in one page is written often; the code stays right (and need not be redone). */
static void data_beside_code(void)
{
	volatile u32 *data = (u32 *)(code + 2048);

	section("data beside code");
	put_mov_ret(code, 77);
	*data = 0;
	for (int i = 0; i < 20000; i++) {
		(*data)++;
		if (run(code) != 77)
			break;
	}
	CHECK_EQ(*data, 20000);
}

/* ---- Another processor writes ---- */

static volatile u32 stage, done_stage;
static u8 *shared;

/* Waits until the code says otherwise: never leaves if it does not see the change. */
static void spin_in_code(u32 number)
{
	(void)number;
	for (;;) {
		while (done_stage == stage)
			pause();
		run(shared); /* a loop that the other processor breaks */
		done_stage = stage;
	}
}

static bool wait_done(void)
{
	for (int i = 0; i < 20000 && done_stage != stage; i++)
		delay_us(1000);
	return done_stage == stage;
}

static void cross_modifying(void)
{
	section("another processor's code");
	shared = page_alloc();
	memcpy(shared, "\xf3\x90\xeb\xfc\xc3", 5); /* 1: pause; jmp 1b; ret */
	if (!cpus_start(2, spin_in_code)) {
		CHECK(false);
		return;
	}
	for (int i = 0; i < 20; i++) {
		__atomic_store_n((u16 *)(shared + 2), 0xfceb, __ATOMIC_SEQ_CST);
		stage++;
		delay_us(2000);
		CHECK(done_stage != stage);
		/* jmp 1b becomes two NOPs, in one aligned store. */
		__atomic_store_n((u16 *)(shared + 2), 0x9090, __ATOMIC_SEQ_CST);
		if (!wait_done()) {
			CHECK(false);
			return;
		}
	}
	CHECK(true);
	/* A direct jump loop with no PAUSE: only the change of its own bytes ends it. */
	memcpy(shared, "\xeb\xfe\xc3", 3);
	for (int i = 0; i < 20; i++) {
		__atomic_store_n((u16 *)shared, 0xfeeb, __ATOMIC_SEQ_CST);
		stage++;
		delay_us(1000);
		__atomic_store_n((u16 *)shared, 0x9090, __ATOMIC_SEQ_CST);
		if (!wait_done()) {
			CHECK(false);
			return;
		}
	}
	CHECK(true);
}

int main(void)
{
	code = page_alloc();
	rewritten();
	within_the_block();
	through_an_alias();
	much_code();
	data_beside_code();
	cross_modifying();
	return 0;
}
