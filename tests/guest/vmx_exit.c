// SPDX-License-Identifier: MIT
/*
 * VM exits: which instructions and events leave the guest, with what qualification, length and
 * instruction information; injection; windows; masks. SDM: "VMX Non-Root Operation", "VM Exits".
 * Guests are short pieces of assembly; each ends by VMCALL.
 */
#include "lib/vmx.h"

#define CODE(name, text) extern u8 name[]; asm(".text\n" #name ":\n" text "; vmcall; ud2\n")

static void guest(u8 *code, u32 cpu_controls)
{
	vm_new((void (*)(void))code);
	CHECK(vm_controls(CPU_CONTROLS, cpu_controls));
}

/* Runs code to its first exit under controls; the exit must be of kind and length. */
static void exits(u8 *code, u32 cpu_controls, u32 kind, u32 length)
{
	guest(code, cpu_controls);
	CHECK_EQ(vm_run(), kind);
	CHECK_EQ(vm_get(EXIT_LENGTH), length);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)code);
}

CODE(g_cpuid, "cpuid");
CODE(g_hlt, "hlt");
CODE(g_vmcall, "nop");
CODE(g_invd, "invd");
CODE(g_invlpg, "invlpg 0x1234(%rbx)");
CODE(g_rdtsc, "rdtsc");
CODE(g_rdtscp, "rdtscp");
CODE(g_pause, "pause");
CODE(g_wbinvd, "wbinvd");
CODE(g_vmxon, "vmxon 8(%rsp)");
CODE(g_vmread, "vmread %rax, %rcx");
CODE(g_vmptrld, "vmptrld 0x10(%rbx,%rsi,4)");
CODE(g_vmxoff, "vmxoff");
CODE(g_xsetbv, "xsetbv");
CODE(g_movdr, "mov %rcx, %dr3");
CODE(g_movdr_from, "mov %dr7, %rdx");
CODE(g_sgdt, "sgdt 0x20(%rbx)");
CODE(g_str, "str %ecx");

static void instructions(void)
{
	section("instructions that always exit");
	exits(g_cpuid, 0, EXIT_CPUID, 2);
	exits(g_invd, 0, EXIT_INVD, 2);
	exits(g_vmxoff, 0, EXIT_VMXOFF, 3);
	exits(g_vmxon, 0, EXIT_VMXON, 6);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 8);
	CHECK_EQ(vm_get(EXIT_INSTRUCTION) & 0x7838380, 2 << 7 | 2 << 15 | 4 << 23); /* 64-bit, SS, RSP */
	exits(g_vmread, 0, EXIT_VMREAD, 3);
	CHECK_EQ(vm_get(EXIT_INSTRUCTION) & 0xf0000478, 0x400 | 1 << 3); /* register, from rax to rcx */
	exits(g_vmptrld, 0, EXIT_VMPTRLD, 5);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 0x10);
	CHECK_EQ(vm_get(EXIT_INSTRUCTION), 2 | 2 << 7 | 3 << 15 | 6 << 18 | 3 << 23);
	guest(g_vmcall, 0);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_get(EXIT_LENGTH), 3);
	section("instructions that exit when asked");
	exits(g_hlt, CPU_HLT, EXIT_HLT, 1);
	exits(g_rdtsc, CPU_RDTSC, EXIT_RDTSC, 2);
	exits(g_pause, CPU_PAUSE, EXIT_PAUSE, 2);
	exits(g_movdr, CPU_MOV_DR, EXIT_DR, 3);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 3 | 1 << 8);
	exits(g_movdr_from, CPU_MOV_DR, EXIT_DR, 3);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 7 | 0x10 | 2 << 8);
	guest(g_invlpg, CPU_INVLPG);
	vm_regs.rbx = 0x5000000;
	CHECK_EQ(vm_run(), EXIT_INVLPG);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 0x5001234);
	guest(g_invlpg, 0);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	guest(g_rdtsc, 0);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	guest(g_pause, 0);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	if (vm_has2(CPU2_WBINVD)) {
		guest(g_wbinvd, CPU_SECONDARY);
		vm_controls(CPU_CONTROLS2, CPU2_WBINVD);
		CHECK_EQ(vm_run(), EXIT_WBINVD);
		CHECK_EQ(vm_get(EXIT_LENGTH), 2);
	}
	if (vm_has2(CPU2_TABLES)) {
		guest(g_sgdt, CPU_SECONDARY);
		vm_controls(CPU_CONTROLS2, CPU2_TABLES);
		CHECK_EQ(vm_run(), EXIT_GDTR_IDTR);
		CHECK_EQ(vm_get(EXIT_QUALIFICATION), 0x20);
		CHECK_EQ(vm_get(EXIT_INSTRUCTION) & 0x7838380, 2 << 7 | 3 << 15 | 3 << 23);
		CHECK_EQ(vm_get(EXIT_INSTRUCTION) >> 28 & 3, 0);
		guest(g_str, CPU_SECONDARY);
		vm_controls(CPU_CONTROLS2, CPU2_TABLES);
		CHECK_EQ(vm_run(), EXIT_LDTR_TR);
		CHECK_EQ(vm_get(EXIT_INSTRUCTION) & 0x30000478, 1u << 28 | 0x400 | 1 << 3);
	}
	section("RDTSCP without its control");
	guest(g_rdtscp, 0);
	vm_set(EXCEPTION_BITMAP, 1 << 6);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000306);
	if (vm_has2(CPU2_RDTSCP)) {
		guest(g_rdtscp, CPU_SECONDARY | CPU_RDTSC);
		vm_controls(CPU_CONTROLS2, CPU2_RDTSCP);
		CHECK_EQ(vm_run(), EXIT_RDTSCP);
		CHECK_EQ(vm_get(EXIT_LENGTH), 3);
	}
}

/* ---- Control registers ---- */

CODE(g_cr0, "mov %rdx, %cr0");
CODE(g_cr0_read, "mov %cr0, %rcx");
CODE(g_cr3, "mov %rsi, %cr3");
CODE(g_cr3_read, "mov %cr3, %rdi");
CODE(g_cr4, "mov %rdx, %cr4");
CODE(g_cr4_read, "mov %cr4, %rcx");
CODE(g_cr8, "mov %rdx, %cr8");
CODE(g_clts, "clts");
CODE(g_lmsw, "mov $0xffff, %eax; lmsw %ax");
CODE(g_smsw, "smsw %rcx");

static void control_registers(void)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4(), fixed0 = rdmsr(MSR_VMX_CR0_FIXED0);

	section("CR0 and CR4: masks and shadows");
	guest(g_cr0_read, 0);
	vm_set(CR0_MASK, CR0_TS | CR0_PG);
	vm_set(CR0_SHADOW, CR0_TS);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_regs.rcx, (cr0 & ~(CR0_TS | CR0_PG)) | CR0_TS);
	guest(g_smsw, 0);
	vm_set(CR0_MASK, CR0_TS);
	vm_set(CR0_SHADOW, CR0_TS);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_regs.rcx & 0xffff, (cr0 & 0xffff) | CR0_TS);
	guest(g_cr0, 0);
	vm_set(CR0_MASK, CR0_TS);
	vm_regs.rdx = cr0 | CR0_TS; /* differs from the shadow, which is 0 */
	CHECK_EQ(vm_run(), EXIT_CR);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 0 | 2 << 8);
	CHECK_EQ(vm_get(EXIT_LENGTH), 3);
	guest(g_cr0, 0);
	vm_set(CR0_MASK, CR0_TS);
	vm_regs.rdx = cr0 ^ CR0_AM; /* not masked */
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_get(GUEST_CR0), cr0 ^ CR0_AM);
	guest(g_cr0, 0);
	vm_set(EXCEPTION_BITMAP, 1 << 13);
	vm_regs.rdx = cr0 & ~CR0_NE; /* fixed to 1 */
	CHECK_EQ(vm_run(), fixed0 & CR0_NE ? EXIT_EXCEPTION : EXIT_VMCALL);
	guest(g_cr4_read, 0);
	vm_set(CR4_MASK, CR4_VMXE | CR4_PCIDE);
	vm_set(CR4_SHADOW, CR4_PCIDE);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_regs.rcx, (cr4 & ~(u64)CR4_VMXE) | CR4_PCIDE);
	guest(g_cr4, 0);
	vm_set(CR4_MASK, CR4_VMXE);
	vm_regs.rdx = cr4;
	CHECK_EQ(vm_run(), EXIT_CR);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 4 | 2 << 8);
	guest(g_cr4, 0);
	vm_set(CR4_MASK, CR4_VMXE);
	vm_regs.rdx = (cr4 | CR4_PGE) & ~(u64)CR4_VMXE;
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_get(GUEST_CR4), cr4 | CR4_PGE);

	section("CLTS, LMSW");
	guest(g_clts, 0);
	vm_set(CR0_MASK, CR0_TS);
	vm_set(CR0_SHADOW, CR0_TS);
	CHECK_EQ(vm_run(), EXIT_CR);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 2 << 4);
	CHECK_EQ(vm_get(EXIT_LENGTH), 2);
	guest(g_clts, 0);
	vm_set(GUEST_CR0, cr0 | CR0_TS);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_get(GUEST_CR0), cr0);
	guest(g_lmsw, 0);
	vm_set(CR0_MASK, CR0_TS);
	CHECK_EQ(vm_run(), EXIT_CR);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 3 << 4 | 0xffffull << 16);

	section("CR3, CR8");
	guest(g_cr3, CPU_CR3_LOAD);
	vm_regs.rsi = read_cr3();
	CHECK_EQ(vm_run(), EXIT_CR);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 3 | 6 << 8);
	guest(g_cr3, CPU_CR3_LOAD);
	vm_regs.rsi = read_cr3();
	vm_set(CR3_TARGETS, 1);
	vm_set(CR3_TARGET0, vm_regs.rsi);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	guest(g_cr3_read, CPU_CR3_STORE);
	CHECK_EQ(vm_run(), EXIT_CR);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 3 | 1 << 4 | 7 << 8);
	guest(g_cr8, CPU_CR8_LOAD);
	CHECK_EQ(vm_run(), EXIT_CR);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 8 | 2 << 8);
	CHECK_EQ(vm_get(EXIT_LENGTH), 4);
}

static void tpr_shadow(void)
{
	u8 *page = page_alloc();

	section("TPR shadow");
	guest(g_cr8, CPU_TPR_SHADOW);
	vm_set(VIRTUAL_APIC, (u64)page);
	vm_set(TPR_THRESHOLD, 0);
	vm_regs.rdx = 5;
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(page[0x80], 0x50);
	CHECK_EQ(read_cr8(), 0);
	guest(g_cr8, CPU_TPR_SHADOW);
	vm_set(VIRTUAL_APIC, (u64)page);
	vm_set(TPR_THRESHOLD, 4);
	vm_regs.rdx = 3; /* below: a trap-like exit */
	CHECK_EQ(vm_run(), EXIT_TPR);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)g_cr8 + 4);
	CHECK_EQ(page[0x80], 0x30);
}

/* ---- I/O and MSRs ---- */

CODE(g_in, "in %dx, %eax");
CODE(g_out, "out %al, $0x80");
CODE(g_outs, "rep outsb");
CODE(g_ins, "insw");
CODE(g_rdmsr, "rdmsr");
CODE(g_wrmsr, "wrmsr");

static void io(void)
{
	u8 *a = page_alloc(), *b = page_alloc();

	section("I/O");
	guest(g_in, CPU_IO);
	vm_regs.rdx = 0x1f0;
	CHECK_EQ(vm_run(), EXIT_IO);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 3 | 8 | 0x1f0ull << 16);
	CHECK_EQ(vm_get(EXIT_LENGTH), 1);
	guest(g_out, CPU_IO);
	CHECK_EQ(vm_run(), EXIT_IO);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 0 | 0x40 | 0x80ull << 16);
	CHECK_EQ(vm_get(EXIT_LENGTH), 2);
	guest(g_outs, CPU_IO);
	vm_regs.rdx = 0x70;
	vm_regs.rcx = 2;
	vm_regs.rsi = (u64)a;
	CHECK_EQ(vm_run(), EXIT_IO);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 0 | 0x10 | 0x20 | 0x70ull << 16);
	CHECK_EQ(vm_get(GUEST_LINEAR), (u64)a);
	CHECK_EQ(vm_get(EXIT_INSTRUCTION) & 0x38380, 2 << 7 | 3 << 15);
	guest(g_ins, CPU_IO);
	vm_regs.rdx = 0x1f0;
	vm_regs.rdi = (u64)a + 10;
	CHECK_EQ(vm_run(), EXIT_IO);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION), 1 | 8 | 0x10 | 0x1f0ull << 16);
	CHECK_EQ(vm_get(GUEST_LINEAR), (u64)a + 10);
	section("I/O bitmaps");
	for (u32 port = 0x80; port < 0x90; port += 0xf) {
		memset(a, 0, 4096);
		a[0x80 / 8] = 1;
		guest(g_in, CPU_IO_BITMAPS);
		vm_set(IO_BITMAP_A, (u64)a);
		vm_set(IO_BITMAP_B, (u64)b);
		vm_regs.rdx = port;
		CHECK_EQ(vm_run(), port == 0x80 ? EXIT_IO : EXIT_VMCALL);
	}
	guest(g_in, CPU_IO_BITMAPS); /* four ports from 7DH: the last is 80H */
	vm_set(IO_BITMAP_A, (u64)a);
	vm_set(IO_BITMAP_B, (u64)b);
	vm_regs.rdx = 0x7d;
	CHECK_EQ(vm_run(), EXIT_IO);
	b[0x1234 / 8] = 1 << (0x1234 % 8);
	guest(g_in, CPU_IO_BITMAPS);
	vm_set(IO_BITMAP_A, (u64)a);
	vm_set(IO_BITMAP_B, (u64)b);
	vm_regs.rdx = 0x9234;
	CHECK_EQ(vm_run(), EXIT_IO);
}

static u32 msr_exit(u8 *code, u32 msr, u8 *bitmap)
{
	guest(code, bitmap ? CPU_MSR_BITMAPS : 0);
	if (bitmap)
		vm_set(MSR_BITMAP, (u64)bitmap);
	vm_regs.rcx = msr;
	vm_regs.rax = 7;
	return vm_run();
}

static void msrs(void)
{
	u8 *bitmap = page_alloc();
	enum { LSTAR = 0xc0000082, KERNEL_GS = 0xc0000102 };

	section("MSRs");
	CHECK_EQ(msr_exit(g_rdmsr, LSTAR, NULL), EXIT_RDMSR);
	CHECK_EQ(vm_get(EXIT_LENGTH), 2);
	CHECK_EQ(msr_exit(g_wrmsr, LSTAR, NULL), EXIT_WRMSR);
	wrmsr(KERNEL_GS, 0x1000);
	CHECK_EQ(msr_exit(g_rdmsr, KERNEL_GS, bitmap), EXIT_VMCALL);
	CHECK_EQ(vm_regs.rax, 0x1000);
	CHECK_EQ(msr_exit(g_wrmsr, KERNEL_GS, bitmap), EXIT_VMCALL);
	CHECK_EQ(rdmsr(KERNEL_GS), 7);
	bitmap[1024 + 0x102 / 8] = 1 << (0x102 % 8);
	CHECK_EQ(msr_exit(g_rdmsr, KERNEL_GS, bitmap), EXIT_RDMSR);
	CHECK_EQ(msr_exit(g_wrmsr, KERNEL_GS, bitmap), EXIT_VMCALL);
	bitmap[3072 + 0x102 / 8] = 1 << (0x102 % 8);
	CHECK_EQ(msr_exit(g_wrmsr, KERNEL_GS, bitmap), EXIT_WRMSR);
	bitmap[2048 + 0x174 / 8] = 1 << (0x174 % 8);
	CHECK_EQ(msr_exit(g_wrmsr, 0x174, bitmap), EXIT_WRMSR);
	CHECK_EQ(msr_exit(g_rdmsr, 0x174, bitmap), EXIT_VMCALL);
	CHECK_EQ(msr_exit(g_rdmsr, 0x12345678, bitmap), EXIT_RDMSR); /* in no bitmap */
	section("MSR lists");
	{
		struct {
			u32 index, reserved;
			u64 value;
		} *list = page_alloc();

		list[0].index = KERNEL_GS;
		list[0].value = 0x5000;
		list[1].index = LSTAR;
		list[1].value = 0x6000;
		list[2].index = KERNEL_GS;
		wrmsr(KERNEL_GS, 0);
		guest(g_vmcall, 0);
		vm_set(ENTRY_MSR_LOAD, (u64)list);
		vm_set(ENTRY_MSR_LOAD_COUNT, 2);
		vm_set(EXIT_MSR_STORE, (u64)(list + 2));
		vm_set(EXIT_MSR_STORE_COUNT, 1);
		vm_set(EXIT_MSR_LOAD, (u64)(list + 1));
		vm_set(EXIT_MSR_LOAD_COUNT, 1);
		CHECK_EQ(vm_run(), EXIT_VMCALL);
		CHECK_EQ(list[2].value, 0x5000);
		CHECK_EQ(rdmsr(LSTAR), 0x6000);
		guest(g_vmcall, 0);
		list[1].index = 0xc0000100; /* FS base may not be in a list */
		vm_set(ENTRY_MSR_LOAD, (u64)list);
		vm_set(ENTRY_MSR_LOAD_COUNT, 2);
		CHECK_EQ(vm_run(), ENTRY_FAILURE | EXIT_BAD_MSR);
		CHECK_EQ(vm_get(EXIT_QUALIFICATION), 2); /* the second entry */
	}
}

/* ---- Exceptions ---- */

CODE(g_ud, "ud2");
CODE(g_gp, "mov $0x1000, %eax; mov %eax, %ds");
CODE(g_pf, "movl $1, (%rbx)");
CODE(g_int3, "int3");
CODE(g_int, "int $0x21");
CODE(g_icebp, ".byte 0xf1");
CODE(g_triple, "lidt (%rbx); ud2");
CODE(g_nop, "nop; nop");

static volatile u32 seen_vector, seen_error, nr_seen;
static volatile u64 seen_rip;

static void on_event(struct regs *r)
{
	seen_vector = (u32)r->vector;
	seen_error = (u32)r->error;
	seen_rip = r->rip;
	nr_seen++;
	asm volatile("vmcall");
}

static void exceptions(void)
{
	section("exceptions");
	guest(g_ud, 0);
	vm_set(EXCEPTION_BITMAP, 1 << 6);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000306);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)g_ud);
	CHECK_EQ(vm_get(IDT_VECTORING) >> 31, 0);
	guest(g_gp, 0);
	vm_set(EXCEPTION_BITMAP, 1 << 13);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000b0d);
	CHECK_EQ(vm_get(EXIT_ERROR_CODE), 0x1000);
	guest(g_int3, 0);
	vm_set(EXCEPTION_BITMAP, 1 << 3);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000603); /* software exception */
	CHECK_EQ(vm_get(EXIT_LENGTH), 1);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)g_int3);
	guest(g_icebp, 0);
	vm_set(EXCEPTION_BITMAP, 1 << 1);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000501); /* privileged software exception */
	section("page faults: mask and match");
	for (u32 match = 0; match < 2; match++) {
		guest(g_pf, 0);
		isr_set(14, on_event);
		vm_set(EXCEPTION_BITMAP, 1 << 14);
		vm_set(PF_MASK, 2);
		vm_set(PF_MATCH, match ? 2 : 0); /* the fault is a write */
		vm_regs.rbx = 0x7000000000;
		CHECK_EQ(vm_run(), match ? EXIT_EXCEPTION : EXIT_VMCALL);
		if (match) {
			CHECK_EQ(vm_get(EXIT_QUALIFICATION), 0x7000000000);
			CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000b0e);
			CHECK_EQ(vm_get(EXIT_ERROR_CODE), 2);
		} else {
			CHECK_EQ(seen_error, 2);
			CHECK_EQ(read_cr2(), 0x7000000000);
		}
	}
	isr_set(14, NULL);
	section("triple fault");
	{
		u64 *none = page_alloc();

		guest(g_triple, 0);
		vm_regs.rbx = (u64)none;
		CHECK_EQ(vm_run(), EXIT_TRIPLE_FAULT);
	}
	section("a fault while an event is delivered");
	guest(g_int, 0);
	idt_type(0x21, 0x0e); /* not present */
	vm_set(EXCEPTION_BITMAP, 1 << 11);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000b0b);
	CHECK_EQ(vm_get(EXIT_ERROR_CODE), 0x21 * 8 + 2);
	CHECK_EQ(vm_get(IDT_VECTORING), 0x80000421); /* software interrupt */
	CHECK_EQ(vm_get(EXIT_LENGTH), 2);
	idt_type(0x21, 0x8e);
}

static void injection(void)
{
	section("event injection");
	isr_set(0x55, on_event);
	isr_set(13, on_event);
	isr_set(6, on_event);
	guest(g_nop, 0);
	vm_set(ENTRY_INTERRUPTION, 0x80000055); /* external interrupt */
	vm_set(GUEST_RFLAGS, 0x202);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(seen_vector, 0x55);
	CHECK_EQ(seen_rip, (u64)g_nop);
	CHECK_EQ(vm_get(ENTRY_INTERRUPTION) >> 31, 0); /* the exit clears the valid bit */
	guest(g_nop, 0);
	vm_set(ENTRY_INTERRUPTION, 0x80000b0d); /* #GP with an error code */
	vm_set(ENTRY_ERROR_CODE, 0x1230);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(seen_vector, 13);
	CHECK_EQ(seen_error, 0x1230);
	guest(g_nop, 0);
	vm_set(ENTRY_INTERRUPTION, 0x80000455); /* software interrupt of two bytes */
	vm_set(ENTRY_LENGTH, 2);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(seen_vector, 0x55);
	CHECK_EQ(seen_rip, (u64)g_nop + 2);
	section("a fault while an injected event is delivered");
	guest(g_nop, 0);
	idt_type(0x55, 0x0e);
	vm_set(EXCEPTION_BITMAP, 1 << 11);
	vm_set(ENTRY_INTERRUPTION, 0x80000055);
	vm_set(GUEST_RFLAGS, 0x202);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(IDT_VECTORING), 0x80000055);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000b0b);
	CHECK_EQ(vm_get(EXIT_ERROR_CODE), 0x55 * 8 + 3);
	idt_type(0x55, 0x8e);
}

/* ---- Interrupts, windows, the timer ---- */

CODE(g_loop, "1: jmp 1b");
CODE(g_sti, "sti; nop; nop");
CODE(g_hlt_on, "sti; hlt; nop");

/* The first NMI blocks the second in its handler, so that it is the guest that meets it. */
static volatile u32 nr_nmis, nmi_exit;

static void on_nmi(struct regs *r)
{
	(void)r;
	nr_nmis++;
	if (nr_nmis > 1)
		return;
	lapic_ipi(0, 0x4400);
	nmi_exit = vm_run();
}

static void nmis(void)
{
	section("NMIs");
	isr_set(2, on_nmi);
	guest(g_loop, 0);
	vm_controls(PIN_CONTROLS, PIN_NMIS);
	lapic_ipi(0, 0x4400);
	CHECK_EQ(nr_nmis, 1); /* the exit took the second */
	CHECK_EQ(nmi_exit, EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000202);
	lapic_ipi(0, 0x4400);
	CHECK_EQ(nr_nmis, 2); /* IRET opened the way again */
}

static void interrupts(void)
{
	section("interrupt window");
	guest(g_sti, CPU_INTERRUPT_WINDOW);
	CHECK_EQ(vm_run(), EXIT_INTERRUPT_WINDOW);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)g_sti + 2); /* past STI and its shadow */
	guest(g_nop, CPU_INTERRUPT_WINDOW);
	vm_set(GUEST_RFLAGS, 0x202);
	CHECK_EQ(vm_run(), EXIT_INTERRUPT_WINDOW);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)g_nop);
	section("external interrupts");
	lapic_enable();
	guest(g_loop, 0);
	vm_controls(PIN_CONTROLS, PIN_INTERRUPTS);
	vm_controls(EXIT_CONTROLS, EXIT_HOST64 | EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_ACK);
	vm_set(GUEST_RFLAGS, 0x202); /* IF does not matter, but to Bochs */
	lapic_ipi(0, 0x44061);
	CHECK_EQ(vm_run(), EXIT_INTERRUPT);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x80000061);
	lapic_write(LAPIC_EOI, 0);
	section("external interrupts, not acknowledged");
	guest(g_loop, 0); /* not acknowledged: it is still pending for the host */
	vm_controls(PIN_CONTROLS, PIN_INTERRUPTS);
	isr_set(0x61, on_event);
	vm_set(GUEST_RFLAGS, 0x202);
	lapic_ipi(0, 0x44061);
	CHECK_EQ(vm_run(), EXIT_INTERRUPT);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION) >> 31, 0);
	CHECK_EQ(lapic_read(LAPIC_IRR + 0x30) >> 1 & 1, 1);
	guest(g_sti, 0); /* without the control the guest takes it itself */
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(seen_vector, 0x61);
	lapic_write(LAPIC_EOI, 0);
	section("external interrupts in HLT");
	guest(g_hlt_on, 0);
	vm_controls(PIN_CONTROLS, PIN_INTERRUPTS);
	lapic_write(LAPIC_DIVIDE, 3);
	lapic_write(LAPIC_TIMER, 0x62);
	lapic_write(LAPIC_INIT_COUNT, 2000000); /* well after the HLT, on a busy machine too */
	CHECK_EQ(vm_run(), EXIT_INTERRUPT); /* wakes it from HLT */
	CHECK_EQ(vm_get(GUEST_ACTIVITY), 1);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)g_hlt_on + 2);
	isr_set(0x62, on_event);
	vm_set(GUEST_ACTIVITY, 0);
	vm_controls(PIN_CONTROLS, 0);
	vm_set(GUEST_RFLAGS, 0x202);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(seen_vector, 0x62);
	lapic_write(LAPIC_EOI, 0);
	nmis();
	if (vm_controls(PIN_CONTROLS, PIN_NMIS | PIN_VIRTUAL_NMIS)) {
		guest(g_nop, CPU_NMI_WINDOW);
		vm_controls(PIN_CONTROLS, PIN_NMIS | PIN_VIRTUAL_NMIS);
		CHECK_EQ(vm_run(), EXIT_NMI_WINDOW);
		CHECK_EQ(vm_get(GUEST_RIP), (u64)g_nop);
	}
}

static void preemption_timer(void)
{
	if (!(rdmsr(0x481) >> 32 & PIN_TIMER))
		return;
	section("preemption timer");
	guest(g_loop, 0);
	vm_controls(PIN_CONTROLS, PIN_TIMER);
	vm_set(PREEMPTION_TIMER, 100000);
	CHECK_EQ(vm_run(), EXIT_PREEMPTION);
	guest(g_nop, 0);
	vm_controls(PIN_CONTROLS, PIN_TIMER);
	vm_set(PREEMPTION_TIMER, 0); /* at once */
	CHECK_EQ(vm_run(), EXIT_PREEMPTION);
	CHECK_EQ(vm_get(GUEST_RIP), (u64)g_nop);
	guest(g_nop, 0);
	vm_controls(PIN_CONTROLS, PIN_TIMER);
	if (vm_controls(EXIT_CONTROLS, EXIT_HOST64 | EXIT_SAVE_EFER | EXIT_LOAD_EFER | EXIT_SAVE_TIMER)) {
		vm_set(PREEMPTION_TIMER, 0xffffffff);
		CHECK_EQ(vm_run(), EXIT_VMCALL);
		CHECK(vm_get(PREEMPTION_TIMER) > 0xf0000000);
	}
}

/* ---- What an exit loads and saves ---- */

CODE(g_state, "mov $0x2b, %eax; mov %eax, %ds; mov $0x5a5a, %ecx; mov %rcx, %cr2; std; stc");

static void state(void)
{
	u64 flags;

	section("state after an exit");
	guest(g_state, 0);
	vm_regs.r9 = 99;
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	asm volatile("pushf; pop %0" : "=r"(flags));
	CHECK_EQ(vm_get(GUEST_DS), 0x2b);
	CHECK_EQ(vm_get(GUEST_DS_RIGHTS), 0xc0f3);
	CHECK_EQ(vm_get(GUEST_RFLAGS) & 0x401, 0x401);
	CHECK_EQ(vm_regs.r9, 99);
	CHECK_EQ(flags & 0x400, 0);
	{
		u32 ds;

		asm volatile("mov %%ds, %0" : "=r"(ds));
		CHECK_EQ(ds, SEL_DATA);
	}
	CHECK_EQ(rdmsr(MSR_EFER) & EFER_LMA, EFER_LMA);
	section("many entries");
	guest(g_cpuid, 0);
	for (int i = 0; i < 10000; i++) {
		vm_set(GUEST_RIP, (u64)g_cpuid);
		if (vm_run() != EXIT_CPUID)
			break;
	}
	CHECK_EQ(vm_get(EXIT_REASON), EXIT_CPUID);
}

int main(void)
{
	vmx_on();
	instructions();
	control_registers();
	tpr_shadow();
	io();
	msrs();
	exceptions();
	injection();
	interrupts();
	preemption_timer();
	state();
	vmx_off();
	return 0;
}
