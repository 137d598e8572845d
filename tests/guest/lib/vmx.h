/* SPDX-License-Identifier: MIT */
/*
 * VT-x for test guests: one VMCS at a time whose guest is a C function in this same image and
 * address space, at privilege level 0 in 64-bit mode, on a stack of its own.
 *
 *	vmx_on();
 *	vm_new(fn);			// a fresh VMCS with all fields good
 *	vm_set(PIN_CONTROLS, ...);
 *	CHECK_EQ(vm_run(), EXIT_CPUID);	// to the next exit; general registers are in vm_regs
 *	vm_skip();			// past the instruction that exited
 */
#ifndef GUEST_VMX_H
#define GUEST_VMX_H

#include "lib/lib.h"

enum { /* VMCS fields */
	VPID = 0x0000,
	GUEST_ES = 0x0800, GUEST_CS = 0x0802, GUEST_SS = 0x0804, GUEST_DS = 0x0806,
	GUEST_FS = 0x0808, GUEST_GS = 0x080a, GUEST_LDTR = 0x080c, GUEST_TR = 0x080e,
	HOST_ES = 0x0c00, HOST_CS = 0x0c02, HOST_SS = 0x0c04, HOST_DS = 0x0c06,
	HOST_FS = 0x0c08, HOST_GS = 0x0c0a, HOST_TR = 0x0c0c,
	IO_BITMAP_A = 0x2000, IO_BITMAP_B = 0x2002, MSR_BITMAP = 0x2004,
	EXIT_MSR_STORE = 0x2006, EXIT_MSR_LOAD = 0x2008, ENTRY_MSR_LOAD = 0x200a,
	TSC_OFFSET = 0x2010, VIRTUAL_APIC = 0x2012, APIC_ACCESS = 0x2014, EPT_POINTER = 0x201a,
	GUEST_PHYSICAL = 0x2400, LINK_POINTER = 0x2800, GUEST_DEBUGCTL = 0x2802,
	GUEST_PAT = 0x2804, GUEST_EFER = 0x2806, HOST_PAT = 0x2c00, HOST_EFER = 0x2c02,
	PIN_CONTROLS = 0x4000, CPU_CONTROLS = 0x4002, EXCEPTION_BITMAP = 0x4004,
	PF_MASK = 0x4006, PF_MATCH = 0x4008, CR3_TARGETS = 0x400a, EXIT_CONTROLS = 0x400c,
	EXIT_MSR_STORE_COUNT = 0x400e, EXIT_MSR_LOAD_COUNT = 0x4010, ENTRY_CONTROLS = 0x4012,
	ENTRY_MSR_LOAD_COUNT = 0x4014, ENTRY_INTERRUPTION = 0x4016, ENTRY_ERROR_CODE = 0x4018,
	ENTRY_LENGTH = 0x401a, TPR_THRESHOLD = 0x401c, CPU_CONTROLS2 = 0x401e,
	INSTRUCTION_ERROR = 0x4400, EXIT_REASON = 0x4402, EXIT_INTERRUPTION = 0x4404,
	EXIT_ERROR_CODE = 0x4406, IDT_VECTORING = 0x4408, IDT_ERROR_CODE = 0x440a,
	EXIT_LENGTH = 0x440c, EXIT_INSTRUCTION = 0x440e,
	GUEST_ES_LIMIT = 0x4800, GUEST_CS_LIMIT = 0x4802, GUEST_SS_LIMIT = 0x4804,
	GUEST_LDTR_LIMIT = 0x480c, GUEST_TR_LIMIT = 0x480e, GUEST_GDTR_LIMIT = 0x4810,
	GUEST_IDTR_LIMIT = 0x4812, GUEST_ES_RIGHTS = 0x4814, GUEST_CS_RIGHTS = 0x4816,
	GUEST_SS_RIGHTS = 0x4818, GUEST_DS_RIGHTS = 0x481a, GUEST_LDTR_RIGHTS = 0x4820,
	GUEST_TR_RIGHTS = 0x4822, GUEST_INTERRUPTIBILITY = 0x4824, GUEST_ACTIVITY = 0x4826,
	GUEST_SYSENTER_CS = 0x482a, PREEMPTION_TIMER = 0x482e, HOST_SYSENTER_CS = 0x4c00,
	CR0_MASK = 0x6000, CR4_MASK = 0x6002, CR0_SHADOW = 0x6004, CR4_SHADOW = 0x6006,
	CR3_TARGET0 = 0x6008, EXIT_QUALIFICATION = 0x6400, GUEST_LINEAR = 0x640a,
	GUEST_CR0 = 0x6800, GUEST_CR3 = 0x6802, GUEST_CR4 = 0x6804, GUEST_ES_BASE = 0x6806,
	GUEST_CS_BASE = 0x6808, GUEST_FS_BASE = 0x680e, GUEST_LDTR_BASE = 0x6812,
	GUEST_TR_BASE = 0x6814, GUEST_GDTR_BASE = 0x6816, GUEST_IDTR_BASE = 0x6818,
	GUEST_DR7 = 0x681a, GUEST_RSP = 0x681c, GUEST_RIP = 0x681e, GUEST_RFLAGS = 0x6820,
	GUEST_PENDING_DEBUG = 0x6822, GUEST_SYSENTER_ESP = 0x6824, GUEST_SYSENTER_EIP = 0x6826,
	HOST_CR0 = 0x6c00, HOST_CR3 = 0x6c02, HOST_CR4 = 0x6c04, HOST_FS_BASE = 0x6c06,
	HOST_GS_BASE = 0x6c08, HOST_TR_BASE = 0x6c0a, HOST_GDTR_BASE = 0x6c0c,
	HOST_IDTR_BASE = 0x6c0e, HOST_SYSENTER_ESP = 0x6c10, HOST_SYSENTER_EIP = 0x6c12,
	HOST_RSP = 0x6c14, HOST_RIP = 0x6c16,
};

enum { /* exit reasons */
	EXIT_EXCEPTION = 0, EXIT_INTERRUPT = 1, EXIT_TRIPLE_FAULT = 2, EXIT_INTERRUPT_WINDOW = 7,
	EXIT_NMI_WINDOW = 8, EXIT_CPUID = 10, EXIT_HLT = 12, EXIT_INVD = 13, EXIT_INVLPG = 14,
	EXIT_RDTSC = 16, EXIT_VMCALL = 18, EXIT_VMCLEAR = 19, EXIT_VMLAUNCH = 20, EXIT_VMPTRLD = 21,
	EXIT_VMREAD = 23, EXIT_VMXOFF = 26, EXIT_VMXON = 27, EXIT_CR = 28, EXIT_DR = 29,
	EXIT_IO = 30, EXIT_RDMSR = 31, EXIT_WRMSR = 32, EXIT_BAD_GUEST = 33, EXIT_BAD_MSR = 34,
	EXIT_PAUSE = 40, EXIT_TPR = 43, EXIT_GDTR_IDTR = 46, EXIT_LDTR_TR = 47, EXIT_EPT = 48,
	EXIT_EPT_MISCONFIG = 49, EXIT_RDTSCP = 51, EXIT_PREEMPTION = 52, EXIT_WBINVD = 54,
	EXIT_XSETBV = 55, EXIT_INVPCID = 58,
	/* vm_run() when the entry failed: plus the VM-instruction error, 0 for VMfailInvalid. */
	RUN_FAILED = 0x1000,
};
#define ENTRY_FAILURE 0x80000000u /* in the exit reason */

enum { /* controls */
	PIN_INTERRUPTS = 1, PIN_NMIS = 8, PIN_VIRTUAL_NMIS = 0x20, PIN_TIMER = 0x40,
	CPU_INTERRUPT_WINDOW = 4, CPU_TSC_OFFSET = 8, CPU_HLT = 0x80, CPU_INVLPG = 0x200,
	CPU_RDTSC = 0x1000, CPU_CR3_LOAD = 0x8000, CPU_CR3_STORE = 0x10000, CPU_CR8_LOAD = 0x80000,
	CPU_CR8_STORE = 0x100000, CPU_TPR_SHADOW = 0x200000, CPU_NMI_WINDOW = 0x400000,
	CPU_MOV_DR = 0x800000, CPU_IO = 0x1000000, CPU_IO_BITMAPS = 0x2000000,
	CPU_MSR_BITMAPS = 0x10000000, CPU_PAUSE = 0x40000000,
	CPU2_EPT = 2, CPU2_TABLES = 4, CPU2_RDTSCP = 8, CPU2_VPID = 0x20, CPU2_WBINVD = 0x40,
	CPU2_UNRESTRICTED = 0x80, CPU2_INVPCID = 0x1000,
	EXIT_HOST64 = 0x200, EXIT_ACK = 0x8000, EXIT_SAVE_EFER = 0x100000, EXIT_LOAD_EFER = 0x200000,
	EXIT_SAVE_PAT = 0x40000, EXIT_LOAD_PAT = 0x80000, EXIT_SAVE_TIMER = 0x400000,
	ENTRY_64 = 0x200, ENTRY_LOAD_PAT = 0x4000, ENTRY_LOAD_EFER = 0x8000,
};
#define CPU_SECONDARY 0x80000000u

enum { MSR_FEATURE_CONTROL = 0x3a, MSR_VMX_BASIC = 0x480, MSR_VMX_CR0_FIXED0 = 0x486,
       MSR_VMX_CR4_FIXED0 = 0x488, MSR_VMX_PROCBASED2 = 0x48b, MSR_VMX_EPT_VPID = 0x48c };

/* How a VMX instruction ended. */
enum vmx_result { VMX_OK, VMX_FAIL_INVALID, VMX_FAIL_VALID };

struct vm_regs {
	u64 rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
};
extern struct vm_regs vm_regs;

bool vmx_supported(void);
/* Prints why and ends the guest with nothing failed when there is no VT-x. */
void vmx_on(void);
void vmx_off(void);
/* A page that begins with the revision identifier. */
u64 *vmx_region(void);

enum vmx_result vmxon(u64 pa), vmclear(u64 pa), vmptrld(u64 pa);
enum vmx_result vmread(u64 field, u64 *v), vmwrite(u64 field, u64 v);
u64 vmptrst(void);

/* Makes a VMCS current, with every field good, for a guest that runs fn. Returns its address. */
u64 *vm_new(void (*fn)(void));
void vm_set(u32 field, u64 v); /* which must succeed */
u64 vm_get(u32 field);
/* Sets bits of a control field, forcing on what must be; false if the processor has them not. */
bool vm_controls(u32 field, u32 bits);
/* Whether a secondary control exists. */
bool vm_has2(u32 bits);
u32 vm_run(void);
void vm_skip(void);

#endif
