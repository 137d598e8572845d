// SPDX-License-Identifier: MIT
/*
 * The other modes: compatibility mode, 32-bit and 16-bit protected mode with segment bases and
 * limits, call gates, task switches, paging of 32-bit mode, virtual-8086 and real mode.
 *
 * compat_call(f) runs 32-bit code f in compatibility mode; its exceptions are delivered to the
 * 64-bit IDT, so catch() works. legacy_call(f) leaves 64-bit mode for f altogether; exceptions end
 * the call and are found in fault32. Both return EAX.
 */
#include "lib/lib.h"

enum { OF = 4, BR = 5, UD = 6, TS = 10, NP, SS, GP, PF, NO_FAULT = 0xffff };

u32 compat_call(const void *code);
u32 legacy_call(const void *code);

struct fault32 {
	u32 vector, error, eip, cs, eflags, esp;
} fault32;

u64 mode_rsp;
u32 legacy_fn, legacy_result, out_value, out_value2;
struct {
	u16 limit;
	u32 base;
} __attribute__((packed)) legacy_idt;
u8 idt64[10];
u8 legacy_stack[4096] __attribute__((aligned(16)));
u64 idt32[32];
u32 tss32[26], tss32_other[26];
u32 *page_directory;
u8 buffer[64] __attribute__((aligned(64)));

asm(R"(
	.text
	.code64
	.globl compat_call, legacy_call
compat_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, mode_rsp
	mov %edi, %ebx
	pushq $0x18
	pushq $1f
	lretq
	.code32
1:	call *%ebx
	ljmp $0x08, $mode_back
	.code64
mode_back:
	mov $0x10, %ecx
	mov %ecx, %ss
	mov %ecx, %ds
	mov %ecx, %es
	mov mode_rsp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	mov %eax, %eax
	ret

legacy_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, mode_rsp
	mov %edi, legacy_fn
	sidt idt64
	pushq $0x18
	pushq $1f
	lretq
	.code32
1:	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov $0xc0000080, %ecx
	rdmsr
	and $~0x100, %eax
	wrmsr
	lidt legacy_idt
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $legacy_stack + 4096, %esp
	call *legacy_fn
legacy_out:
	mov %eax, legacy_result
	mov $0xc0000080, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov $boot_pml4, %eax
	mov %eax, %cr3
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	ljmp $0x08, $1f
	.code64
1:	lidt idt64
	mov legacy_result, %eax
	jmp mode_back

	/* Exceptions of legacy_call(): stubs of 16 bytes. */
	.code32
	.globl stubs32
	.align 16
stubs32:
	.set vector, 0
	.rept 32
	.align 16
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
	.else
	push $0
	.endif
	push $vector
	jmp fault32_common
	.set vector, vector + 1
	.endr
	.align 16
fault32_common:
	mov $0x10, %ebx
	mov %ebx, %ds
	mov %ebx, %es
	mov %esp, fault32 + 20
	popl fault32
	popl fault32 + 4
	popl fault32 + 8
	popl fault32 + 12
	popl fault32 + 16
	mov %cr0, %ebx		/* paging off again, if a test turned it on */
	and $0x7fffffff, %ebx
	mov %ebx, %cr0
	mov $0x10, %ebx
	mov %ebx, %ss
	mov $legacy_stack + 4096, %esp
	jmp legacy_out
	.code64
)");

/* Defines 32-bit code NAME; it ends by itself with RET. */
#define CODE32(name, text)                                                                         \
	extern const u8 name[];                                                                    \
	asm(".text\n.code32\n" #name ":\n" text "\n.code64\n")

static struct fault f;
static const void *compat_what;

static void do_compat(void *arg)
{
	(void)arg;
	out_value = compat_call(compat_what);
}

static bool compat_faults(const void *code, u64 vector, u64 error)
{
	compat_what = code;
	return catch(do_compat, NULL, &f) && f.vector == vector && f.error == error;
}

static u32 legacy_fault(const void *code)
{
	fault32.vector = NO_FAULT;
	fault32.error = 0;
	legacy_call(code);
	return fault32.vector;
}

/* ---- Compatibility mode ---- */

CODE32(c_inc, "mov $41, %eax; .byte 0x40; ret");
CODE32(c_daa, "mov $0x19, %eax; add $0x28, %al; daa; movzx %al, %eax; ret");
CODE32(c_aam, "mov $79, %eax; aam; movzx %ax, %eax; ret");
CODE32(c_pusha, "mov $7, %edx; pushal; mov 20(%esp), %eax; add $32, %esp; ret");
CODE32(c_wrap, "mov $0xfffffff0, %eax; lea 0x20(%eax), %eax; ret");
CODE32(c_into, "mov $0x7fffffff, %eax; inc %eax; into; ret");
CODE32(c_bound, "mov $buffer, %ecx; movl $3, (%ecx); movl $9, 4(%ecx); mov $10, %eax;"
		"bound %eax, (%ecx); ret");
CODE32(c_bound_ok, "mov $buffer, %ecx; movl $3, (%ecx); movl $9, 4(%ecx); mov $9, %eax;"
		   "bound %eax, (%ecx); ret");
CODE32(c_arpl, "mov $0x10, %eax; mov $3, %ecx; arpl %cx, %ax; ret");
CODE32(c_les, "movl $0x1234, buffer; movl $0x10, buffer+4; les buffer, %eax; ret");
CODE32(c_segment_reg, "mov %cs, %eax; mov %ss, %ecx; shl $16, %ecx; or %ecx, %eax; ret");
CODE32(c_call_far, "lcall $0x18, $1f; ret; 1: mov $77, %eax; lret");
CODE32(c_syscall64, ".byte 0x0f, 0x05; ret");
CODE32(c_movabs_rex, ".byte 0x48; .byte 0x90; mov $5, %eax; ret"); /* 48 is DEC EAX here */

static void compatibility(void)
{
	section("compatibility mode");
	CHECK_EQ(compat_call(c_inc), 42);
	CHECK_EQ(compat_call(c_daa), 0x47);
	CHECK_EQ(compat_call(c_aam), 0x0709);
	CHECK_EQ(compat_call(c_pusha), 7);
	CHECK_EQ(compat_call(c_wrap), 0x10);
	CHECK_EQ(compat_call(c_bound_ok), 9);
	CHECK_EQ(compat_call(c_arpl), 0x13);
	CHECK_EQ(compat_call(c_les), 0x1234);
	CHECK_EQ(compat_call(c_segment_reg), SEL_CODE32 | SEL_DATA << 16);
	CHECK_EQ(compat_call(c_call_far), 77);
	CHECK_EQ(compat_call(c_movabs_rex), 5);
	CHECK(compat_faults(c_into, OF, 0));
	CHECK(compat_faults(c_bound, BR, 0));
	CHECK_EQ(f.regs.cs, SEL_CODE32);
	CHECK_EQ(*(u8 *)f.regs.rip, 0x62);
}

/* ---- Segments ---- */

enum {
	S_BASED = SEL_SPARE,	/* data at buffer, limit 15 */
	S_RO = SEL_SPARE + 8,	/* the same, read-only */
	S_DOWN = SEL_SPARE + 16, /* expand-down: offsets from 16 up are valid */
	S_CODE = SEL_SPARE + 24, /* execute-only code */
	S_CODE16 = SEL_SPARE + 32, /* 16-bit code, base 0, 64 KiB limit */
	S_TOP = SEL_SPARE + 40,	/* base 0xfffff000 */
	S_GATE = SEL_SPARE + 48,
	S_TSS = SEL_SPARE + 56,
	S_TSS_OTHER = SEL_SPARE + 64,
	S_DATA16 = SEL_SPARE + 72, /* 16-bit stack (B=0) at legacy_stack */
	S_STACK = SEL_SPARE + 96,  /* the same with B=1 and 1 KiB; what lies between is for real mode */
};

#define SEG(name, text) CODE32(name, text "; mov $0x10, %ecx; mov %ecx, %ss; ret")
#define STR_(x) #x
#define STR(x) STR_(x)
#define FS(sel) "mov $" #sel ", %ecx; mov %ecx, %fs;"
SEG(s_base, FS(0x48) "movl $0x11223344, buffer + 8; mov %fs:8, %eax");
SEG(s_last, FS(0x48) "movl $5, %fs:12; mov buffer + 12, %eax");
SEG(s_beyond, FS(0x48) "mov %fs:13, %eax");
SEG(s_beyond_byte, FS(0x48) "movb $1, %fs:16");
SEG(s_huge, FS(0x48) "mov $-4, %eax; movl $0, %fs:(%eax)");
SEG(s_ro, FS(0x50) "mov %fs:0, %eax; movl $0, %fs:0");
SEG(s_down_ok, FS(0x58) "mov %fs:16, %eax; mov $9, %eax");
SEG(s_down, FS(0x58) "mov %fs:15, %eax");
SEG(s_exec, "mov $0x60, %ecx; mov %ecx, %fs");
SEG(s_null, "xor %eax, %eax; mov %eax, %fs; mov %fs:0, %eax");
SEG(s_top, FS(0x70) "mov $buffer + 0x1000, %eax; mov %fs:(%eax), %eax");
/* The stack stays usable for the fault itself: 1 KiB, and an access beyond it. */
SEG(s_stack, "mov $0xa8, %ecx; mov %esp, %edx; mov %ecx, %ss; mov $1024, %esp; mov %ss:1021, %eax;"
	     "mov %edx, %esp; mov $0x10, %ecx; mov %ecx, %ss");
SEG(s_cs_write, "movl $0, %cs:buffer");
SEG(s_cs_read, "movl $99, buffer; mov %cs:buffer, %eax");
/* A 16-bit stack: ESP's upper half stays, SP wraps. */
SEG(s_stack16, "mov %esp, %edx; mov $0x90, %ecx; mov %ecx, %ss; mov $0x12340000, %esp; push $0x55;"
	       "mov %esp, %eax; mov $0x10, %ecx; mov %ecx, %ss; mov %edx, %esp");
/* ENTER saves and loads all of EBP and ESP, though SP alone moves. */
SEG(s_enter16, "mov %esp, %edx; mov %ebp, %edi; mov $0x90, %ecx; mov %ecx, %ss; mov $0x12340000, %esp;"
	       "mov $0x56780100, %ebp; enter $4, $1; mov %ebp, %eax;"
	       "mov $0x10, %ecx; mov %ecx, %ss; mov %edx, %esp; mov %edi, %ebp");

static void segments_set(void)
{
	u32 b = (u32)(u64)buffer;

	gdt[S_BASED / 8] = descriptor(b, 15, 0x93, 4);
	gdt[S_RO / 8] = descriptor(b, 15, 0x91, 4);
	gdt[S_DOWN / 8] = descriptor(b, 15, 0x97, 4);
	gdt[S_CODE / 8] = descriptor(0, 0xfffff, 0x99, 0xc);
	gdt[S_CODE16 / 8] = descriptor(0x100000, 0xffff, 0x9b, 0);
	gdt[S_TOP / 8] = descriptor(0xfffff000, 0xfffff, 0x93, 0xc);
	gdt[S_STACK / 8] = descriptor((u32)(u64)legacy_stack, 1023, 0x93, 4);
	gdt[S_DATA16 / 8] = descriptor((u32)(u64)legacy_stack, 0xffff, 0x93, 0);
}

/* Which fault code gives in compatibility mode, and after it in protected mode. */
static void both_fault(const void *code, u32 vector, u32 error)
{
	if (on_qemu_tcg())
		return; /* it knows no limits and no types of segments */
	CHECK(compat_faults(code, vector, error));
	CHECK_EQ(legacy_fault(code), vector);
	CHECK_EQ(fault32.error, error);
}

static void both_give(const void *code, u32 value)
{
	CHECK_EQ(compat_call(code), value);
	CHECK_EQ(legacy_call(code), value);
}

static void segments(void)
{
	section("segments");
	both_give(s_base, 0x11223344);
	both_give(s_last, 5);
	both_fault(s_beyond, GP, 0);
	both_fault(s_beyond_byte, GP, 0);
	both_fault(s_huge, GP, 0);
	both_fault(s_ro, GP, 0);
	both_give(s_down_ok, 9);
	both_fault(s_down, GP, 0);
	both_fault(s_exec, GP, S_CODE);
	both_fault(s_null, GP, 0);
	*(u32 *)buffer = 0x5150;
	both_give(s_top, 0x5150);
	both_fault(s_stack, SS, 0);
	both_fault(s_cs_write, GP, 0);
	both_give(s_cs_read, 99);
	CHECK_EQ(legacy_call(s_stack16), 0x1234fffc);
	CHECK_EQ(legacy_call(s_enter16), 0x1234fffc);
}

/* ---- Protected mode ---- */

CODE32(p_paging_off, "mov %cr0, %eax; shr $31, %eax; ret");
CODE32(p_efer, "mov $0xc0000080, %ecx; rdmsr; and $0x500, %eax; ret");
CODE32(p_ud, "ud2");
CODE32(p_inc, "mov $41, %eax; .byte 0x40; ret");
CODE32(p_sysret, ".byte 0x0f, 0x07"); /* #UD outside 64-bit mode with SCE off; #UD either way */
CODE32(p_int, "int $0x30");
CODE32(p_int_dpl, "int $3");
/* 16-bit code by a far call into the segment whose base is 1 MiB: operands are 16 bits. */
CODE32(p_code16, "mov $0xdead0000, %eax; lcall $0x68, $p_code16_in - 0x100000; ret");
asm(".text\n.code16\np_code16_in: mov $0x1234, %ax; add $0xf000, %ax; adc $0, %ax; lretl\n.code64");
CODE32(p_gate, "lcall $0x78, $0; ret");
CODE32(p_gate_in, "mov $123, %eax; lret");
CODE32(p_task, "mov $0x80, %eax; ltr %ax; movl $0, out_value; lcall $0x88, $0;"
	       "str %eax; movzx %ax, %eax; mov %cr0, %ecx; and $8, %ecx; or %ecx, %eax; clts; ret");
CODE32(p_task_in, "1: pushf; pop %ecx; mov %ecx, out_value2; str %ecx; mov %ecx, out_value;"
		  "mov %eax, buffer; iret; jmp 1b");
/* 4 MiB pages without PAE: one to one, and the last maps the first. */
CODE32(p_pse, "mov page_directory, %eax; mov %eax, %cr3; mov %cr4, %eax; and $~0x20, %eax;"
	      "or $0x10, %eax; mov %eax, %cr4; mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0;"
	      "movl $0x7788, buffer; mov $buffer, %ecx; mov 0xffc00000(%ecx), %edx;"
	      "mov 0x40000000, %ebx");
CODE32(p_pse_4k, "mov page_directory, %eax; mov %eax, %cr3; mov %cr4, %eax; and $~0x20, %eax;"
		 "or $0x10, %eax; mov %eax, %cr4; mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0;"
		 "mov 0x80001004, %edx; movl $3, 0x80001004; mov %cr0, %eax; and $0x7fffffff, %eax;"
		 "mov %eax, %cr0; mov %edx, %eax; ret");

static void idt32_set(void)
{
	extern u8 stubs32[];

	for (u32 v = 0; v < 32; v++) {
		u64 at = (u64)stubs32 + 16 * v;

		idt32[v] = (at & 0xffff) | SEL_CODE32 << 16 | 0x8e00ull << 32 |
			   (at >> 16 & 0xffff) << 48;
	}
	legacy_idt.limit = sizeof(idt32) - 1;
	legacy_idt.base = (u32)(u64)idt32;
}

static void tss32_set(u32 *t, const void *eip)
{
	memset(t, 0, 104);
	t[1] = (u32)(u64)legacy_stack + 2048; /* esp0 */
	t[2] = SEL_DATA;
	t[8] = (u32)(u64)eip;
	t[9] = 2;
	t[14] = (u32)(u64)legacy_stack + 1024;
	t[18] = t[20] = t[21] = t[22] = t[23] = SEL_DATA;
	t[19] = SEL_CODE32;
	t[25] = 104 << 16;
}

static void tss32_descriptors(void)
{
	gdt[S_TSS / 8] = descriptor((u32)(u64)tss32, 103, 0x89, 0);
	gdt[S_TSS_OTHER / 8] = descriptor((u32)(u64)tss32_other, 103, 0x89, 0);
}

/* The 64-bit TSS again, after protected mode loaded another. */
static void tss64_reload(void)
{
	gdt[SEL_TSS / 8] &= ~(1ull << 41);
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

static void tasks(void)
{
	section("task switch");
	tss32_set(tss32, NULL);
	tss32_set(tss32_other, p_task_in);
	tss32_descriptors();
	tss32_other[10] = 0xbeef; /* EAX */
	CHECK_EQ(legacy_call(p_task), S_TSS | 8); /* back in the first task, CR0.TS set */
	CHECK_EQ(out_value, S_TSS_OTHER);
	CHECK_EQ(out_value2 & 0x4000, 0x4000); /* NT inside */
	CHECK_EQ(*(u32 *)buffer, 0xbeef);
	CHECK_EQ(tss32_other[0], S_TSS); /* the link back */
	CHECK_EQ(gdt[S_TSS_OTHER / 8] >> 40 & 0xf, 9); /* no longer busy */
	CHECK_EQ(gdt[S_TSS / 8] >> 40 & 0xf, 0xb);
	tss64_reload();
}

static void paging32(void)
{
	u32 *table = page_alloc(), *page = page_alloc();

	section("32-bit paging");
	page_directory = page_alloc();
	for (u32 i = 0; i < 4; i++)
		page_directory[i] = i << 22 | 0x87;
	page_directory[0x3ff] = 0x87;
	page_directory[0x200] = (u32)(u64)table | 7;
	table[1] = (u32)(u64)page | 7;
	page[1] = 0x1357;
	CHECK_EQ(legacy_fault(p_pse), PF);
	CHECK_EQ(fault32.error, 0);
	CHECK_EQ(read_cr2(), 0x40000000);
	CHECK_EQ(page_directory[0x3ff] & 0x60, 0x20);
	CHECK_EQ(legacy_call(p_pse_4k), 0x1357);
	CHECK_EQ(page[1], 3);
	CHECK_EQ(table[1] & 0x60, 0x60);
	CHECK_EQ(page_directory[0x200] & 0x20, 0x20);
}

static void protected_mode(void)
{
	section("protected mode");
	CHECK_EQ(legacy_call(p_paging_off), 0);
	CHECK_EQ(legacy_call(p_efer), 0);
	CHECK_EQ(legacy_call(p_inc), 42);
	CHECK_EQ(legacy_fault(p_ud), UD);
	CHECK_EQ(fault32.eip, (u32)(u64)p_ud);
	CHECK_EQ(fault32.cs, SEL_CODE32);
	CHECK_EQ(legacy_fault(p_int), GP); /* beyond the IDT's limit */
	CHECK_EQ(fault32.error, 0x30 * 8 + 2);
	CHECK_EQ(legacy_fault(p_int_dpl), 3);
	CHECK_EQ(legacy_call(p_code16), 0xdead0234 + 0 - 0 + (0x1234 + 0xf000 > 0xffff));
	gdt[S_GATE / 8] = ((u64)p_gate_in & 0xffff) | SEL_CODE32 << 16 | 0x8c00ull << 32 |
			  ((u64)p_gate_in >> 16) << 48;
	CHECK_EQ(legacy_call(p_gate), 123);
}

/* ---- Virtual-8086 and real mode: code is copied to REAL_BASE ---- */

#define REAL_BASE 0x6000
extern const u8 real_start[], real_end[], real_strict[], v86_code[];

CODE32(v_enter, "mov $0x80, %eax; ltr %ax; mov %esp, tss32 + 4;"
		"push $0x600; push $0x600; push $0x600; push $0x600; push $0x600; push $0xf00;"
		"pushl v_flags; push $0x600; pushl v_ip; iret");
u32 v_flags, v_ip;

/* From protected mode to real mode, into REAL_BASE:offset in v_ip, and back. */
CODE32(r_enter, "mov $0x90, %ecx; lidt real_idt; ljmp $0x98, $real_down - real_start");
u8 real_idt[6] = { 0xff, 3 };

asm(R"(
	.text
	.code16
	.globl real_start, real_end, v86_code, real_code
real_start:
/* In 16-bit protected mode (code base REAL_BASE): segment limits become those of real mode. */
real_down:
	mov $0xa0, %cx
	mov %cx, %ds
	mov %cx, %es
	mov %cx, %ss
	mov %cx, %fs
	mov %cr0, %eax
	and $~1, %eax
	mov %eax, %cr0
	ljmp $0x600, $1f - real_start
1:	mov $0x600, %cx
	mov %cx, %ds
	mov %cx, %es
	mov %cx, %ss
	mov $0xf00, %sp
	call real_code
/* The result is in EAX. */
	mov %eax, %ebx
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $0x18, $real_up
real_code:
	/* Vector 60H counts; vector 0DH and 0CH note themselves and skip the instruction of 4 bytes. */
	xor %ax, %ax
	mov %ax, %es
	movw $real_int60 - real_start, %es:0x180
	movw $0x600, %es:0x182
	movw $real_int13 - real_start, %es:0x34
	movw $0x600, %es:0x36
	movw $real_int6 - real_start, %es:0x18
	movw $0x600, %es:0x1a
	xor %edx, %edx
	mov $5, %cx
1:	int $0x60
	loop 1b
	cmp $5, %dx
	jne real_bad
	/* Segment arithmetic: 0x601:0 is 0x600:0x10. */
	movl $0x12345678, (real_scratch - real_start)
	mov $0x600 + 1, %ax
	mov %ax, %es
	cmpl $0x12345678, %es:(real_scratch - real_start - 16)
	jne real_bad
	cmpb $0, (real_strict - real_start)
	je 2f
	/* A word at offset FFFFH is beyond the limit. */
	xor %dx, %dx
	mov $0xffff, %bx
	.byte 0x3e, 0x8b, 0x47, 0x00	/* mov %ds:0(%bx), %ax */
	cmp $13, %dx
	jne real_bad
	/* An address-size prefix does not lift it. */
	xor %dx, %dx
	mov $0x10000, %ebx
	.byte 0x3e, 0x67, 0x8b, 0x03	/* mov %ds:(%ebx), %ax */
	cmp $13, %dx
	jne real_bad
2:	/* Undefined opcodes; the stub skips two bytes. */
	xor %dx, %dx
	ud2
	cmp $6, %dx
	jne real_bad
	/* 16-bit wrap of SP and of string offsets. */
	mov $0xfffe, %di
	mov $0x600, %ax
	mov %ax, %es
	mov $2, %cx
	mov $0x77, %al
	cld
	.byte 0x66
	rep stosb
	test %di, %di
	jne real_bad
	/* Unreal mode: a limit of 4 GiB stays after a short visit to protected mode. */
	cli
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	mov $0x10, %bx
	mov %bx, %fs
	and $~1, %al
	mov %eax, %cr0
	mov $buffer, %ebx
	movl $0x600d, %fs:(%ebx)
	mov $0x900d, %eax
	ret
real_bad:
	mov $0xbad, %eax
	ret
real_int60:
	inc %dx
	iret
real_int13:
	mov $13, %dx
	push %bp
	mov %sp, %bp
	addw $4, 2(%bp)
	pop %bp
	iret
real_int6:
	mov $6, %dx
	push %bp
	mov %sp, %bp
	addw $2, 2(%bp)
	pop %bp
	iret
	.align 16
	.fill 32, 1, 0
real_scratch:
	.long 0
	.globl real_strict
real_strict:
	.byte 1

v86_code:
	/* Segments are those of real mode; the offset of the sum is checked by the caller. */
	movl $0x1111, (real_scratch - real_start)
	mov $0x601, %ax
	mov %ax, %es
	mov %es:(real_scratch - real_start - 16), %eax
	mov %eax, %edi
	hlt
	.globl v86_int, v86_pushf, v86_limit
v86_int:
	int $0x60
v86_pushf:
	pushf
	hlt
v86_limit:
	mov $0xffff, %bx
	mov (%bx), %ax
	hlt
real_end:
	.code32
real_up:
	mov $0x10, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %ss
	mov $legacy_stack + 4092, %esp
	lidt legacy_idt
	mov %ebx, %eax
	ret
	.code64
)");

static u32 v86_run(const u8 *at, u32 iopl)
{
	v_flags = 0x20002 | iopl << 12;
	v_ip = (u32)(at - real_start);
	tss32_set(tss32, NULL);
	tss32_descriptors();
	legacy_fault(v_enter);
	tss64_reload();
	return fault32.vector;
}

static void virtual_8086(void)
{
	extern const u8 v86_int[], v86_pushf[], v86_limit[];

	section("virtual-8086 mode");
	CHECK_EQ(v86_run(v86_code, 0), GP); /* its HLT */
	CHECK_EQ(fault32.error, 0);
	CHECK_EQ(fault32.eflags & 0x20000, 0x20000);
	CHECK_EQ(fault32.cs, 0x600);
	CHECK_EQ(*(u8 *)(REAL_BASE + (u64)fault32.eip), 0xf4);
	CHECK_EQ(v86_run(v86_int, 0), GP);
	CHECK_EQ(fault32.eip, (u32)(v86_int - real_start));
	CHECK_EQ(v86_run(v86_int, 3), GP); /* beyond the IDT */
	CHECK_EQ(fault32.error, 0x60 * 8 + 2);
	CHECK_EQ(v86_run(v86_pushf, 0), GP);
	CHECK_EQ(fault32.eip, (u32)(v86_pushf - real_start));
	CHECK_EQ(v86_run(v86_pushf, 3), GP);
	CHECK_EQ(fault32.eip, (u32)(v86_pushf - real_start) + 1);
	CHECK_EQ(v86_run(v86_limit, 0), GP);
	if (!on_qemu_tcg())
		CHECK_EQ(fault32.eip, (u32)(v86_limit - real_start) + 3);
}

static void real_mode(void)
{
	section("real mode");
	gdt[0x98 / 8] = descriptor(REAL_BASE, 0xffff, 0x9b, 0);
	gdt[0xa0 / 8] = descriptor(REAL_BASE, 0xffff, 0x93, 0);
	*(u32 *)buffer = 0;
	CHECK_EQ(legacy_call(r_enter), 0x900d);
	CHECK_EQ(*(u32 *)buffer, 0x600d);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(legacy_call(r_enter), 0x900d);
}

static u8 ss_stack[4096] __attribute__((aligned(16)));
extern u8 isr_stubs[];

int main(void)
{
	/* In compatibility mode SS's base counts, in the 64-bit handler it does not. */
	tss.ist[0] = (u64)ss_stack + sizeof(ss_stack);
	idt_set(SS, isr_stubs + 16 * SS, 1, 0);
	memcpy((void *)REAL_BASE, real_start, (size_t)(real_end - real_start));
	((u8 *)REAL_BASE)[real_strict - real_start] = !on_qemu_tcg();
	idt32_set();
	segments_set();
	compatibility();
	segments();
	protected_mode();
	tasks();
	paging32();
	virtual_8086();
	real_mode();
	return 0;
}
