/* SPDX-License-Identifier: MIT */
/*
 * A boot sector that loads a guest as a flat image for machines without a multiboot loader (Bochs):
 * SECTORS sectors after itself to 64 KiB, then to 1 MiB in protected mode, then to ENTRY.
 */
	.code16
	.globl boot
boot:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7c00, %sp
	mov $SECTORS, %bp
1:	mov $packet, %si
	mov $0x42, %ah
	int $0x13
	jc fail
	addw $0x80, packet + 6		/* 4 sectors at a time: 0x80 paragraphs */
	addl $4, packet + 8
	sub $4, %bp
	jg 1b
	in $0x92, %al
	or $2, %al
	out %al, $0x92
	cli
	lgdtl boot_gdt_pointer
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmp $8, $2f
fail:	mov $0xe21, %ax
	int $0x10
	hlt
	jmp fail
	.code32
2:	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	cld
	mov $0x10000, %esi
	mov $0x100000, %edi
	mov $SECTORS * 128, %ecx
	rep movsl
	mov $0x100000, %ecx		/* 4 MiB of zeros for .bss and more */
	xor %eax, %eax
	rep stosl
	xor %ebx, %ebx
	mov $0x2badb002, %eax
	mov $ENTRY, %ecx
	jmp *%ecx
	.align 8
boot_gdt:
	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
	.word 23
	.long boot_gdt
	.align 4
packet:
	.byte 16, 0
	.word 4, 0, 0x1000
	.quad 1
	.org boot + 510
	.word 0xaa55
