/* SPDX-License-Identifier: MIT */
/* Numbers that start.S and C share. */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define SEL_CODE64  0x08
#define SEL_DATA    0x10
#define SEL_CODE32  0x18
#define SEL_UCODE32 0x20 /* in the order that SYSRET wants: code 32, data, code 64 */
#define SEL_UDATA   0x28
#define SEL_UCODE64 0x30
#define SEL_TSS     0x38
#define SEL_SPARE   0x48 /* and the GDT_SPARE descriptors from here are each test's own */
#define GDT_SPARE   24

#define CR0_PE	       0x1
#define CR0_MP	       0x2
#define CR0_EM	       0x4
#define CR0_TS	       0x8
#define CR0_NE	       0x20
#define CR0_WP	       0x10000
#define CR0_AM	       0x40000
#define CR0_PG	       0x80000000
#define CR4_PAE	       0x20
#define CR4_PGE	       0x80
#define CR4_OSFXSR     0x200
#define CR4_OSXMMEXCPT 0x400
#define CR4_VMXE       0x2000
#define CR4_FSGSBASE   0x10000
#define CR4_PCIDE      0x20000
#define CR4_OSXSAVE    0x40000
#define CR4_SMEP       0x100000
#define CR4_SMAP       0x200000
#define MSR_EFER       0xc0000080
#define EFER_SCE       0x1
#define EFER_LME       0x100
#define EFER_LMA       0x400
#define EFER_NXE       0x800

#define AP_START       0x8000 /* where further processors begin, in real mode */
#define AP_STACK_SHIFT 14
#define AP_STACK_SIZE  (1 << AP_STACK_SHIFT)
#define MAX_CPUS       8

#endif
