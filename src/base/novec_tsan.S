/* SPDX-License-Identifier: MIT */
/*
 * What the engine calls while the guest's vector state is in the host's registers, for MODE=tsan:
 * libc's own functions leave those registers alone, the sanitizer's in their place do not. Each
 * novec_NAME keeps the state in an XSAVE area on the stack and calls NAME.
 */
	.macro saved name
	.globl novec_\name
	.type novec_\name, @function
novec_\name:
	push %rbp
	mov %rsp, %rbp
	push %rbx
	sub $4096, %rsp
	and $-64, %rsp
	.irp n, 512, 520, 528, 536, 544, 552, 560, 568 /* the header */
	movq $0, \n(%rsp)
	.endr
	mov %rdx, %r11
	mov $-1, %eax
	mov %eax, %edx
	xsave64 (%rsp)
	mov %r11, %rdx
	call \name@PLT
	mov %rax, %rbx
	mov $-1, %eax
	mov %eax, %edx
	xrstor64 (%rsp)
	mov %rbx, %rax
	mov -8(%rbp), %rbx
	leave
	ret
	.size novec_\name, . - novec_\name
	.endm

	.text
	saved pthread_mutex_lock
	saved pthread_mutex_unlock
	saved clock_gettime
	saved write

	.section .note.GNU-stack, "", @progbits
