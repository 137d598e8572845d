// SPDX-License-Identifier: MIT
/* Small programs on the software engine, whole. */
#include <string.h>

#include "../../lib/softguest.h"
#include "../../lib/test.h"

enum { CODE = 0x400000, DATA = 0x500000, STACK = 0x600000 };

struct run {
	struct softguest g;
	u8 *code, *data, *stack;
	struct cpu_state s;
};

static void setup(struct run *r, const void *bytes, size_t n)
{
	CHECK_EQ(sg_create(&r->g, MIB(8)), 0);
	r->code = sg_map(&r->g, CODE, 2 * PAGE_SIZE, SG_READ | SG_WRITE | SG_EXEC);
	r->data = sg_map(&r->g, DATA, 4 * PAGE_SIZE, SG_READ | SG_WRITE);
	r->stack = sg_map(&r->g, STACK, PAGE_SIZE, SG_READ | SG_WRITE);
	memcpy(r->code, bytes, n);
	memcpy(r->code + n, "\xe6\xf4", 2); /* out %al, $0xf4 */
	sg_get(&r->g, &r->s);
	r->s.rip = CODE;
	r->s.gpr[RSP] = STACK + PAGE_SIZE;
}

static void go(struct run *r)
{
	sg_set(&r->g, &r->s);
	CHECK_EQ(sg_run(&r->g, 10), VCPU_STOP_KICKED);
	CHECK(r->g.stopped);
	sg_get(&r->g, &r->s);
}

TEST(exec, arithmetic_and_loop)
{
	/* xor eax,eax; mov ecx,10; 1: add rax,rcx; dec ecx; jnz 1b */
	static const u8 code[] = { 0x31, 0xc0, 0xb9, 10, 0, 0, 0, 0x48, 0x01, 0xc8,
				   0xff, 0xc9, 0x75, 0xf9 };
	struct run r;

	setup(&r, code, sizeof(code));
	go(&r);
	CHECK_EQ(r.s.gpr[RAX], 55);
	CHECK_EQ(r.s.gpr[RCX], 0);
	CHECK_EQ(r.s.rflags & 0x8d5, 0x44);
	sg_destroy(&r.g);
}

TEST(exec, memory_call_and_stack)
{
	/* call 1f; jmp 2f; 1: push rbx; mov [rdi],rsp; mov rax,[rdi]; pop rbx; ret; 2: */
	static const u8 code[] = { 0xe8, 2, 0, 0, 0, 0xeb, 9, 0x53, 0x48, 0x89, 0x27, 0x48, 0x8b,
				   0x07, 0x5b, 0xc3 };
	struct run r;

	setup(&r, code, sizeof(code));
	r.s.gpr[RDI] = DATA;
	r.s.gpr[RBX] = 0x1234;
	go(&r);
	CHECK_EQ(r.s.gpr[RAX], STACK + PAGE_SIZE - 16);
	CHECK_EQ(r.s.gpr[RSP], STACK + PAGE_SIZE);
	CHECK_EQ(*(u64 *)(void *)r.data, STACK + PAGE_SIZE - 16);
	CHECK_EQ(*(u64 *)(void *)(r.stack + PAGE_SIZE - 8), CODE + 5);
	CHECK_EQ(*(u64 *)(void *)(r.stack + PAGE_SIZE - 16), 0x1234);
	sg_destroy(&r.g);
}

TEST(exec, memory_across_pages)
{
	/* mov rax,[rdi]; not rax; mov [rdi],rax; lock add [rdi], rax */
	static const u8 code[] = { 0x48, 0x8b, 0x07, 0x48, 0xf7, 0xd0, 0x48, 0x89, 0x07,
				   0xf0, 0x48, 0x01, 0x07 };
	struct run r;
	u64 v = 0x1122334455667788, w;

	setup(&r, code, sizeof(code));
	r.s.gpr[RDI] = DATA + PAGE_SIZE - 3;
	memcpy(r.data + PAGE_SIZE - 3, &v, 8);
	go(&r);
	CHECK_EQ(r.s.gpr[RAX], ~v);
	memcpy(&w, r.data + PAGE_SIZE - 3, 8);
	CHECK_EQ(w, ~v + ~v);
	sg_destroy(&r.g);
}

TEST(exec, code_that_changes_itself)
{
	/* mov ecx,3; 1: mov eax,1; inc byte [rip-9] (the immediate); dec ecx; jnz 1b */
	static const u8 code[] = { 0xb9, 3, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xfe, 0x05,
				   0xf6, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf1 };
	struct run r;

	setup(&r, code, sizeof(code));
	go(&r);
	CHECK_EQ(r.s.gpr[RAX], 3);
	CHECK_EQ(r.code[6], 4);
	sg_destroy(&r.g);
}

/* A block takes flags for dead since the code that it may jump to overwrites them;
 * that code has not run yet when it is changed. */
TEST(exec, code_that_was_only_looked_at_changes)
{
	/* 1: cmp al, bl; je 2f (far below); mov [rdi], esi; mov al, bl; jmp 1b */
	static const u8 code[] = { 0x38, 0xd8, 0x0f, 0x84, 0xf8, 0, 0, 0, 0x89, 0x37, 0x88, 0xd8,
				   0xeb, 0xf2 };
	struct run r;

	setup(&r, code, sizeof(code));
	memcpy(r.code + 0x100, "\x31\xc9\x31\xd2\xe6\xf4", 6); /* 2: xor ecx, ecx; xor edx, edx */
	r.s.gpr[RAX] = 1;
	r.s.gpr[RBX] = 2;
	r.s.gpr[RDI] = CODE + 0x100;
	r.s.gpr[RSI] = 0x90c1940f; /* sete cl; nop */
	go(&r);
	CHECK_EQ(r.s.gpr[RCX] & 0xff, 1);
	sg_destroy(&r.g);
}

TEST(exec, high_registers)
{
	/* mov r9,rdi; mov r10,[r9]; lea r11,[r10+r9*2+8]; add r11,r10; xchg r9,r11; mov [rdi+8],r11 */
	static const u8 code[] = { 0x49, 0x89, 0xf9, 0x4d, 0x8b, 0x11, 0x4f, 0x8d, 0x5c, 0x4a, 0x08,
				   0x4d, 0x01, 0xd3, 0x4d, 0x87, 0xd9, 0x4c, 0x89, 0x5f, 0x08 };
	struct run r;

	setup(&r, code, sizeof(code));
	r.s.gpr[RDI] = DATA;
	*(u64 *)(void *)r.data = 1000;
	go(&r);
	CHECK_EQ(r.s.gpr[R10], 1000);
	CHECK_EQ(r.s.gpr[R11], DATA);
	CHECK_EQ(r.s.gpr[R9], 1000 + 2 * DATA + 8 + 1000);
	CHECK_EQ(*(u64 *)(void *)(r.data + 8), DATA);
	sg_destroy(&r.g);
}

TEST(exec, instruction_across_pages)
{
	/* jmp to an instruction that lies on both code pages */
	static const u8 code[] = { 0xe9, 0xf8, 0x0f, 0, 0 };
	struct run r;

	setup(&r, code, sizeof(code));
	/* mov rax, imm64 at 0xffd */
	memcpy(r.code + 0xffd, "\x48\xb8\x88\x77\x66\x55\x44\x33\x22\x11\xe6\xf4", 12);
	go(&r);
	CHECK_EQ(r.s.gpr[RAX], 0x1122334455667788);
	sg_destroy(&r.g);
}

TEST(exec, strings)
{
	/* cld; mov ecx,5000; rep stosb; lea rdi,[rdi+1]... then rep movsb back */
	static const u8 code[] = { 0xfc, 0xb9, 0x88, 0x13, 0, 0, 0xf3, 0xaa, 0x48, 0x89, 0xfe,
				   0x48, 0x81, 0xee, 0x88, 0x13, 0, 0, 0xb9, 100, 0, 0, 0, 0xf3, 0xa4 };
	struct run r;

	setup(&r, code, sizeof(code));
	r.s.gpr[RDI] = DATA + 10;
	r.s.gpr[RAX] = 0x5a;
	go(&r);
	CHECK_EQ(r.data[9], 0);
	CHECK_EQ(r.data[10], 0x5a);
	CHECK_EQ(r.data[5109], 0x5a);
	CHECK_EQ(r.data[5110], 0);
	CHECK_EQ(r.s.gpr[RDI], DATA + 10 + 5100);
	sg_destroy(&r.g);
}
