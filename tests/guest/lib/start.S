/* SPDX-License-Identifier: MIT */
/*
 * From the multiboot entry (32-bit, paging off) to main() in 64-bit mode; the entry of further
 * processors; exception stubs; guarded calls. Memory below 4 GiB is mapped one to one in 2 MiB
 * pages, writable, for the supervisor.
 */
#include "lib/layout.h"

	.section .multiboot, "a"
	.align 4
	.long 0x1badb002, 0x3, -(0x1badb002 + 0x3)

	.text
	.code32
	.globl start
start:
	cld
	cli
	movl %ebx, multiboot_info
	movl $boot_stack_end, %esp

	/* Page tables: one PML4 entry, four PDPT entries, 2048 pages of 2 MiB. */
	movl $boot_pdpt + 7, boot_pml4
	movl $4, %ecx
	movl $boot_pd + 7, %eax
	movl $boot_pdpt, %edi
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	loop 1b
	movl $2048, %ecx
	movl $0x83, %eax
	movl $boot_pd, %edi
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 1b

	call enter_long_mode
	ljmpl $SEL_CODE64, $start64

/* Turns 64-bit mode on; the caller jumps to a 64-bit segment. */
enter_long_mode:
	movl %cr4, %eax
	orl $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
	movl %eax, %cr4
	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $(EFER_LME | EFER_NXE), %eax
	wrmsr
	movl %cr0, %eax
	andl $~(CR0_EM | CR0_TS), %eax
	orl $(CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE), %eax
	movl %eax, %cr0
	lgdt gdt_pointer
	ret

	.code64
start64:
	call load_data_segments
	movl $boot_stack_end, %esp
	xorl %ebp, %ebp
	call guest_setup
	call main
	call finish
1:	hlt
	jmp 1b

load_data_segments:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	ret

/*
 * Further processors start here in real mode, copied to AP_START (below 1 MiB, page-aligned). They
 * take the next number and its stack, and call ap_main(number).
 */
	.globl ap_start, ap_start_end
	.code16
ap_start:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl AP_START + (ap_gdt_pointer - ap_start)
	movl %cr0, %eax
	orl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $ap_start32
ap_gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
ap_start_end:

	.code32
ap_start32:
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $1, %edi
	lock xaddl %edi, nr_aps_started
	incl %edi				/* processors count from 1 */
	movl %edi, %eax
	shll $AP_STACK_SHIFT, %eax
	leal ap_stacks(%eax), %esp
	call enter_long_mode
	ljmpl $SEL_CODE64, $ap_start64
	.code64
ap_start64:
	pushq %rdi
	call load_data_segments
	popq %rdi
	movl %edi, %edi
	pushq $0
	call ap_main
1:	hlt
	jmp 1b

/* ---- Exceptions and interrupts ------------------------------------------------------------- */

/* Stub of vector N, 16 bytes each, at isr_stubs + 16 * N. */
	.globl isr_stubs
	.align 16
isr_stubs:
	.set vector, 0
	.rept 256
	.align 16
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
	.else
	pushq $0
	.endif
	pushq $vector
	jmp isr_common
	.set vector, vector + 1
	.endr
	.align 16

isr_common:
	pushq %r15
	pushq %r14
	pushq %r13
	pushq %r12
	pushq %r11
	pushq %r10
	pushq %r9
	pushq %r8
	pushq %rdi
	pushq %rsi
	pushq %rbp
	pushq %rbx
	pushq %rdx
	pushq %rcx
	pushq %rax
	cld
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call isr
	movq %rbp, %rsp
	.globl isr_return
isr_return:
	popq %rax
	popq %rcx
	popq %rdx
	popq %rbx
	popq %rbp
	popq %rsi
	popq %rdi
	popq %r8
	popq %r9
	popq %r10
	popq %r11
	popq %r12
	popq %r13
	popq %r14
	popq %r15
	addq $16, %rsp
	iretq

/* bool guard_call(struct guard *g, fn, arg): see lib.h. */
	.globl guard_call
guard_call:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	movq %rsp, (%rdi)
	pushq %rdi
	movq %rdx, %rdi
	call *%rsi
	popq %rdi
	xorl %eax, %eax
	jmp 1f
/* The handler comes here with the guard's stack in rsp. */
	.globl guard_resume
guard_resume:
	movl $1, %eax
1:	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret

/* u64 user_call(fn, arg, stack): runs fn(arg) at privilege level 3; it comes back by INT 0x80. */
	.globl user_call
user_call:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	movq %rsp, user_saved_rsp
	movq %rsp, tss + 4		/* rsp0: below what is saved here */
	pushq $SEL_UDATA | 3
	subq $8, %rdx
	movq $user_done, (%rdx)
	pushq %rdx
	pushq $2
	pushq $SEL_UCODE64 | 3
	pushq %rdi
	movq %rsi, %rdi
	iretq
user_done:
	int $0x80
	ud2
/* The handler of INT 0x80 comes here with user_saved_rsp in rsp and the result in rax. */
	.globl user_resume
user_resume:
	movl $SEL_DATA, %ecx
	movl %ecx, %ss
	movl %ecx, %ds
	movl %ecx, %es
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret

/* ---- Data ----------------------------------------------------------------------------------- */

	.data
	.align 16
	.globl gdt, gdt_end, gdt_pointer
gdt:	/* in the order of layout.h */
	.quad 0
	.quad 0x00af9b000000ffff	/* 64-bit code */
	.quad 0x00cf93000000ffff	/* data */
	.quad 0x00cf9b000000ffff	/* 32-bit code */
	.quad 0x00cffb000000ffff	/* 32-bit code, level 3 */
	.quad 0x00cff3000000ffff	/* data, level 3 */
	.quad 0x00affb000000ffff	/* 64-bit code, level 3 */
	.quad 0, 0			/* TSS */
	.fill GDT_SPARE, 8, 0
gdt_end:
	.word 0
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	.bss
	.align 4096
	.globl boot_pml4, boot_pdpt, boot_pd, boot_stack_end, ap_stacks, multiboot_info
boot_pml4: .space 4096
boot_pdpt: .space 4096
boot_pd: .space 4 * 4096
boot_stack: .space 32768
boot_stack_end:
	.space AP_STACK_SIZE		/* so that processor 1's stack ends where its turn begins */
ap_stacks: .space MAX_CPUS << AP_STACK_SHIFT
multiboot_info: .long 0
	.globl nr_aps_started
nr_aps_started: .long 0

	.section .note.GNU-stack, "", @progbits
