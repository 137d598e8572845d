// SPDX-License-Identifier: MIT
/* Exceptions of 64-bit mode: which vector, error code, CR2, DR6 and saved RIP, and their order. */
#include "lib/lib.h"

enum { DE = 0, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC, XM = 19 };
enum { DR6_B0 = 1, DR6_BD = 0x2000, DR6_BS = 0x4000 };

static struct fault f;
extern u8 isr_stubs[];
static u8 ist_stack[2][8192] __attribute__((aligned(16)));
static const u64 far_va = 0x4000000000; /* nothing is mapped from here on */
#define NON_CANONICAL 0x8000000000000000ull

static int byte_at(u64 va, int i)
{
	return va < 0x4000000 ? ((u8 *)va)[i] : -1;
}

static void divide_errors(void)
{
	section("#DE");
	EXPECT_FAULT(f, DE, 0, "xor %%ecx, %%ecx; div %%ecx");
	CHECK_EQ(byte_at(f.regs.rip, 0), 0xf7);
	EXPECT_FAULT(f, DE, 0, "mov $2, %%edx; mov $1, %%ecx; div %%ecx");
	EXPECT_FAULT(f, DE, 0, "mov %0, %%rax; cqo; mov $-1, %%rcx; idiv %%rcx", "r"(1ull << 63));
	CHECK_EQ(f.regs.rcx, ~0ull);
	CHECK_EQ(f.regs.rdx, ~0ull);
}

static void software_interrupts(void)
{
	section("INT3, INT n");
	EXPECT_FAULT(f, BP, 0, "int3");
	CHECK_EQ(byte_at(f.regs.rip - 1, 0), 0xcc);
	EXPECT_FAULT(f, OF, 0, "int $4");
	CHECK_EQ(byte_at(f.regs.rip - 2, 0), 0xcd);
	EXPECT_FAULT(f, UD, 0, "int $6");
	CHECK_EQ(byte_at(f.regs.rip - 2, 0), 0xcd);
}

static void undefined_opcodes(void)
{
	section("#UD");
	EXPECT_FAULT(f, UD, 0, "ud2");
	CHECK_EQ(byte_at(f.regs.rip, 1), 0x0b);
	EXPECT_FAULT(f, UD, 0, ".byte 0xf0, 0x01, 0xc0"); /* lock add %eax, %eax */
	if (!on_qemu_tcg())
		EXPECT_FAULT(f, UD, 0, ".byte 0xf0, 0x89, 0x00"); /* lock mov %eax, (%rax) */
	EXPECT_FAULT(f, UD, 0, ".byte 0x06");		  /* push es */
	EXPECT_FAULT(f, UD, 0, ".byte 0x27");		  /* daa */
	EXPECT_FAULT(f, UD, 0, ".byte 0xea");		  /* jmp far, direct */
	EXPECT_FAULT(f, UD, 0, ".byte 0xd6");		  /* salc */
	EXPECT_FAULT(f, UD, 0, ".byte 0x8e, 0xc8");	  /* mov %eax, %cs */
	EXPECT_FAULT(f, UD, 0, ".byte 0x8d, 0xc0");	  /* lea of a register */
	EXPECT_FAULT(f, UD, 0, ".byte 0x0f, 0xff, 0xc0"); /* ud0 */
	EXPECT_FAULT(f, UD, 0, ".byte 0xfe, 0xd0");	  /* group 4 /2 */
	EXPECT_FAULT(f, UD, 0, "mov %%cr1, %%rax");
	CHECK(!FAULTS(f, ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, "
			 "0x66, 0x66, 0x66, 0x90"));
	EXPECT_FAULT(f, GP, 0, ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, "
			       "0x66, 0x66, 0x66, 0x66, 0x66, 0x90");
}

static void device_not_available(void)
{
	section("#NM");
	write_cr0(read_cr0() | CR0_TS);
	EXPECT_FAULT(f, NM, 0, "fnop");
	EXPECT_FAULT(f, NM, 0, "fwait");
	EXPECT_FAULT(f, NM, 0, "xorps %%xmm0, %%xmm0");
	EXPECT_FAULT(f, NM, 0, "fxsave (%0)", "r"(page_alloc()));
	CHECK(!FAULTS(f, "prefetchnta (%0)", "r"(far_va)));
	asm volatile("clts");
	CHECK(!FAULTS(f, "fnop"));
	write_cr0(read_cr0() | CR0_EM);
	EXPECT_FAULT(f, NM, 0, "fnop");
	EXPECT_FAULT(f, UD, 0, "xorps %%xmm0, %%xmm0");
	write_cr0(read_cr0() & ~CR0_EM);
	write_cr4(read_cr4() & ~CR4_OSFXSR);
	EXPECT_FAULT(f, UD, 0, "xorps %%xmm0, %%xmm0");
	write_cr4(read_cr4() | CR4_OSFXSR);
}

static void stack_addresses(void)
{
	EXPECT_FAULT(f, SS, 0, "mov %0, %%rbp; mov (%%rbp), %%eax", "r"(NON_CANONICAL));
	idt_set(SS, isr_stubs + 16 * SS, 1, 0);
	EXPECT_FAULT(f, SS, 0, "mov %0, %%rsp; push %%rax", "r"(NON_CANONICAL));
	CHECK_EQ(f.regs.rsp, NON_CANONICAL);
	idt_set(SS, isr_stubs + 16 * SS, 0, 0);
}

static void control_registers(void)
{
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr4", "r"(read_cr4() | 1ull << 31));
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr4", "r"(read_cr4() & ~CR4_PAE));
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr0", "r"(read_cr0() | 1ull << 32));
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr0", "r"(read_cr0() & ~(u64)CR0_PE));
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr8", "r"(16ull));
	EXPECT_FAULT(f, GP, 0, "mov $0x12345678, %%ecx; rdmsr");
	EXPECT_FAULT(f, GP, 0, "mov $0xc0000082, %%ecx; xor %%eax, %%eax; mov $0x80000000, %%edx;"
			       "wrmsr"); /* LSTAR */
	EXPECT_FAULT(f, GP, 0, "mov $0xc0000080, %%ecx; rdmsr; or $1, %%edx; wrmsr"); /* EFER */
}

static void protection(void)
{
	section("#GP and #SS of addresses");
	EXPECT_FAULT(f, GP, 0, "mov (%0), %%eax", "r"(NON_CANONICAL));
	EXPECT_FAULT(f, GP, 0, "mov %%eax, (%0)", "r"(NON_CANONICAL));
	if (!on_qemu_tcg()) /* which says #GP */
		stack_addresses();
	EXPECT_FAULT(f, GP, 0, "jmp *%0", "r"(NON_CANONICAL));
	CHECK(byte_at(f.regs.rip, 0) == 0xff || on_qemu_tcg());
	section("#GP of instructions");
	if (!on_qemu_tcg()) /* which does not look */
		control_registers();
	EXPECT_FAULT(f, GP, 0, "movaps (%0), %%xmm0", "r"((u64)page_alloc() + 8));
	CHECK_EQ(byte_at(f.regs.rip, 0), 0x0f);
	EXPECT_FAULT(f, GP, 0, "fxsave (%0)", "r"((u64)page_alloc() + 8));
	EXPECT_FAULT(f, GP, 0, "cmpxchg16b (%0)", "r"((u64)page_alloc() + 8));
}

static void selectors(void)
{
	gdt[SEL_SPARE / 8] = descriptor(0, 0xfffff, 0x13, 0xc);	     /* data, not present */
	gdt[SEL_SPARE / 8 + 1] = descriptor(0, 0xfffff, 0x91, 0xc);  /* read-only data */
	gdt[SEL_SPARE / 8 + 2] = descriptor(0, 0xfffff, 0x99, 0xc);  /* execute-only */
	gdt[SEL_SPARE / 8 + 3] = descriptor(0, 0xfffff, 0x92, 0xc);  /* data, not yet accessed */
	gdt[SEL_SPARE / 8 + 4] = descriptor(0, 0xfffff, 0x9b, 0xe);  /* code, L and D */
	section("selectors");
	EXPECT_FAULT(f, GP, 0x1000, "mov %0, %%ds", "r"(0x1003));
	EXPECT_FAULT(f, GP, 0x1004, "mov %0, %%es", "r"(0x1004)); /* no LDT */
	EXPECT_FAULT(f, NP, SEL_SPARE, "mov %0, %%ds", "r"(SEL_SPARE));
	EXPECT_FAULT(f, SS, SEL_SPARE, "mov %0, %%ss", "r"(SEL_SPARE));
	EXPECT_FAULT(f, GP, SEL_SPARE + 8, "mov %0, %%ss", "r"(SEL_SPARE + 8));
	CHECK(!FAULTS(f, "mov %0, %%ds", "r"(SEL_SPARE + 8)));
	EXPECT_FAULT(f, GP, SEL_SPARE + 16, "mov %0, %%ds", "r"(SEL_SPARE + 16));
	EXPECT_FAULT(f, GP, SEL_DATA, "mov %0, %%ss", "r"(SEL_DATA + 3));
	EXPECT_FAULT(f, GP, SEL_TSS, "mov %0, %%fs", "r"(SEL_TSS));
	EXPECT_FAULT(f, GP, SEL_TSS, "ltr %w0", "r"(SEL_TSS)); /* busy */
	CHECK(!FAULTS(f, "mov %0, %%gs", "r"(SEL_SPARE + 24)));
	CHECK_EQ(gdt[SEL_SPARE / 8 + 3] >> 40 & 1, 1); /* the processor sets Accessed */
	CHECK(!FAULTS(f, "mov %0, %%ss; mov %1, %%ss", "r"(0), "r"(SEL_DATA)));
	EXPECT_FAULT(f, GP, SEL_DATA, "pushq %0; push $1f; lretq; 1:", "r"((u64)SEL_DATA));
	if (!on_qemu_tcg())
		EXPECT_FAULT(f, GP, SEL_SPARE + 32, "pushq %0; push $1f; lretq; 1:",
			     "r"((u64)SEL_SPARE + 32));
	EXPECT_FAULT(f, GP, 0, "pushq $0; push $1f; lretq; 1:");
	CHECK(!FAULTS(f, "pushq %0; push $1f; lretq; 1:", "r"((u64)SEL_CODE64)));
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%fs; mov %1, %%gs" : : "r"(SEL_DATA),
		     "r"(0));
}

static void gates(void)
{
	if (on_qemu_tcg())
		return; /* its error codes count in units of 16 bytes */
	section("gates");
	idt_type(0x90, 0x0e); /* not present */
	EXPECT_FAULT(f, NP, 0x90 * 8 + 2, "int $0x90");
	idt_type(0x90, 0x85); /* a task gate */
	EXPECT_FAULT(f, GP, 0x90 * 8 + 2, "int $0x90");
	idt_type(0x90, 0x8e);
	EXPECT_FAULT(f, 0x90, 0, "int $0x90");
}

/* ---- Page faults ---------------------------------------------------------------------------- */

static void page_faults(void)
{
	u64 *ro, *e;
	u64 va = far_va + 0x10000;

	section("#PF");
	EXPECT_FAULT(f, PF, 0, "mov 4(%0), %%eax", "r"(far_va));
	CHECK_EQ(f.cr2, far_va + 4);
	EXPECT_FAULT(f, PF, 2, "mov %%eax, 8(%0)", "r"(far_va));
	CHECK_EQ(f.cr2, far_va + 8);
	if (!on_qemu_tcg()) { /* which reads first */
		EXPECT_FAULT(f, PF, 2, "incl (%0)", "r"(far_va));
		EXPECT_FAULT(f, PF, 2, "lock incl (%0)", "r"(far_va));
		EXPECT_FAULT(f, PF, 2, "xchg %%eax, (%0)", "r"(far_va));
		EXPECT_FAULT(f, PF, 2, "cmpxchg %%ecx, (%0)", "r"(far_va));
	}
	EXPECT_FAULT(f, PF, 0x10, "jmp *%0", "r"(far_va + 0x123));
	CHECK_EQ(f.cr2, far_va + 0x123);
	CHECK_EQ(f.regs.rip, far_va + 0x123);

	e = page_map(va, (u64)page_alloc(), PTE_P | PTE_W);
	ro = page_map(va + 4096, (u64)page_alloc(), PTE_P);
	EXPECT_FAULT(f, PF, 3, "mov %%eax, (%0)", "r"(va + 4096));
	EXPECT_FAULT(f, PF, 3, "addl $1, (%0)", "r"(va + 4096));
	CHECK(!FAULTS(f, "mov (%0), %%eax", "r"(va + 4096)));
	/* A store across both pages: CR2 is in the second, and the first has not changed. */
	EXPECT_FAULT(f, PF, 3, "movq $-1, (%0)", "r"(va + 4092));
	CHECK_EQ(f.cr2, va + 4096);
	CHECK_EQ(*(u32 *)(va + 4092), 0);
	EXPECT_FAULT(f, PF, 0, "mov (%0), %%rax", "r"(va + 8190));
	CHECK_EQ(f.cr2, va + 8192);
	idt_set(PF, isr_stubs + 16 * PF, 1, 0);
	EXPECT_FAULT(f, PF, 2, "mov %0, %%rsp; push %%rax", "r"(va + 8200));
	CHECK_EQ(f.cr2, va + 8192);
	CHECK_EQ(f.regs.rsp, va + 8200);
	idt_set(PF, isr_stubs + 16 * PF, 0, 0);
	write_cr0(read_cr0() & ~(u64)CR0_WP);
	CHECK(!FAULTS(f, "movl $7, (%0)", "r"(va + 4096)));
	write_cr0(read_cr0() | CR0_WP);

	section("#PF: reserved bits, no-execute");
	*e |= 1ull << 51;
	invlpg(va);
	if (!on_qemu_tcg()) { /* which leaves P out */
		EXPECT_FAULT(f, PF, 9, "mov (%0), %%eax", "r"(va));
		EXPECT_FAULT(f, PF, 0xb, "mov %%eax, (%0)", "r"(va));
	}
	*e &= ~(1ull << 51);
	invlpg(va);
	*(u8 *)va = 0xc3;
	CHECK(!FAULTS(f, "call *%0", "r"(va)));
	*e |= PTE_NX;
	invlpg(va);
	EXPECT_FAULT(f, PF, 0x11, "call *%0", "r"(va));
	CHECK_EQ(f.regs.rip, va);
	*ro = 0;
	invlpg(va + 4096);
	EXPECT_FAULT(f, PF, 0, "mov (%0), %%eax", "r"(va + 4096));
}

/* ---- Level 3 -------------------------------------------------------------------------------- */

static u64 user_insn;
static u8 user_stack[4096] __attribute__((aligned(16)));

static u64 user_do(u64 what)
{
	switch (what) {
	case 0: asm volatile("hlt"); break;
	case 1: asm volatile("mov %%cr0, %%rax" : : : "rax"); break;
	case 2: asm volatile("rdmsr" : : "c"(MSR_EFER) : "rax", "rdx"); break;
	case 3: asm volatile("cli"); break;
	case 4: asm volatile("lgdt (%0)" : : "r"(&user_insn)); break;
	case 5: asm volatile("outb %%al, $0x80" : : "a"(0)); break;
	case 6: asm volatile("int $0x81"); break;
	case 7: asm volatile("invlpg (%0)" : : "r"(&user_insn)); break;
	case 8: asm volatile("mov (%0), %%eax" : : "r"(far_va + 0x20000) : "rax"); break;
	case 9: asm volatile("mov %%eax, (%0)" : : "r"(far_va + 0x20000) : "rax"); break;
	case 10: asm volatile("mov (%0), %%eax" : : "r"(far_va + 0x21000) : "rax"); break;
	case 11: asm volatile("mov %%eax, (%0)" : : "r"(far_va + 0x22000)); break;
	case 12: asm volatile("jmp *%0" : : "r"(far_va + 0x20000)); break;
	case 13: asm volatile("pushf; orl $0x40000, (%%rsp); popf; mov 1(%0), %%eax" : :
			      "r"(&user_insn) : "rax"); break;
	case 14: asm volatile("int3"); break;
	case 15: asm volatile("wbinvd"); break;
	case 16: asm volatile("mov %0, %%ds" : : "r"(SEL_DATA)); break;
	case 17: asm volatile("clts"); break;
	case 18: asm volatile("swapgs"); break;
	}
	return what + 100;
}

static void user_call_it(void *arg)
{
	user_call(user_do, (u64)arg, user_stack + sizeof(user_stack));
}

static bool user_faults(u64 what, u64 vector, u64 error)
{
	return catch(user_call_it, (void *)what, &f) && f.vector == vector && f.error == error &&
	       (f.regs.cs & 3) == 3 && (f.regs.ss & 3) == 3;
}

static void level_3(void)
{
	section("level 3");
	page_allow_user(true);
	CHECK_EQ(user_call(user_do, 50, user_stack + sizeof(user_stack)), 150);
	CHECK(user_faults(0, GP, 0));
	CHECK(user_faults(1, GP, 0));
	CHECK(user_faults(2, GP, 0));
	CHECK(user_faults(3, GP, 0));
	CHECK(user_faults(4, GP, 0));
	CHECK(user_faults(5, GP, 0));
	CHECK(on_qemu_tcg() || user_faults(6, GP, 0x81 * 8 + 2));
	CHECK(user_faults(7, GP, 0));
	page_map(far_va + 0x20000, (u64)page_alloc(), PTE_P | PTE_W);
	page_map(far_va + 0x22000, (u64)page_alloc(), PTE_P | PTE_U);
	CHECK(user_faults(8, PF, 5));
	CHECK_EQ(f.cr2, far_va + 0x20000);
	CHECK(user_faults(9, PF, 7));
	CHECK(user_faults(10, PF, 4));
	CHECK(user_faults(11, PF, 7));
	CHECK(user_faults(12, PF, 0x15));
	CHECK_EQ(f.regs.rip, far_va + 0x20000);
	CHECK(user_faults(14, BP, 0));
	CHECK(user_faults(15, GP, 0));
	CHECK(user_faults(16, GP, SEL_DATA));
	CHECK(user_faults(17, GP, 0));
	CHECK(user_faults(18, GP, 0));
	if (!on_qemu_tcg()) {
		write_cr0(read_cr0() | CR0_AM);
		CHECK(user_faults(13, AC, 0));
		write_cr0(read_cr0() & ~(u64)CR0_AM);
	}
	page_allow_user(false);
}

/* ---- Double faults -------------------------------------------------------------------------- */

static void double_faults(void)
{
	section("#DF");
	idt_set(DF, isr_stubs + 16 * DF, 1, 0);
	idt_type(UD, 0x0e); /* not present: a benign fault first, so #NP with EXT */
	if (!on_qemu_tcg())
		EXPECT_FAULT(f, NP, UD * 8 + 3, "ud2");
	idt_type(UD, 0x8e);
	idt_type(GP, 0x0e); /* contributory after contributory */
	EXPECT_FAULT(f, DF, 0, "mov (%0), %%eax", "r"(NON_CANONICAL));
	idt_type(GP, 0x8e);
	/* A fault while the stack is unusable: benign (#UD), then #PF, which has a stack of its own. */
	idt_set(PF, isr_stubs + 16 * PF, 2, 0);
	EXPECT_FAULT(f, PF, 2, "mov %0, %%rsp; ud2", "r"(far_va));
	CHECK_EQ(f.cr2, far_va - 8);
	CHECK_EQ(byte_at(f.regs.rip, 1), 0x0b);
	CHECK_EQ(f.regs.rsp, far_va);
	idt_set(PF, isr_stubs + 16 * PF, 0, 0);
	/* #PF, then #PF: double fault. */
	EXPECT_FAULT(f, DF, 0, "mov %0, %%rsp; mov (%0), %%eax", "r"(far_va));
	CHECK_EQ(f.cr2, far_va - 8);
	idt_set(DF, isr_stubs + 16 * DF, 0, 0);
}

/* ---- Debug exceptions ----------------------------------------------------------------------- */

static volatile u64 steps[16];
static volatile u64 step_dr6;
static volatile u32 nr_steps;

static void on_step(struct regs *r)
{
	u64 dr6;

	asm volatile("mov %%dr6, %0; mov %1, %%dr6" : "=&r"(dr6) : "r"(0xffff0ff0ull));
	if (nr_steps < 16)
		steps[nr_steps] = r->rip;
	step_dr6 = dr6;
	nr_steps++;
	if (dr6 & DR6_B0)
		r->rflags |= 1 << 16; /* RF: past an instruction breakpoint */
}

static void write_dr7(u64 v)
{
	asm volatile("mov %0, %%dr7" : : "r"(v));
}

static void general_detect(void)
{
	u64 a;

	section("#DB: general detect");
	asm volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
	write_dr7(0x2400);
	EXPECT_FAULT(f, DB, 0, "mov %%dr0, %%rax");
	CHECK_EQ(f.dr6 & (DR6_BD | DR6_BS | 15), DR6_BD);
	CHECK_EQ(byte_at(f.regs.rip, 1), 0x21);
	asm volatile("mov %%dr7, %0" : "=r"(a));
	CHECK_EQ(a, 0x400); /* delivery clears GD */
	EXPECT_FAULT(f, GP, 0, "mov %0, %%dr7", "r"(1ull << 32));
}

static void icebp(void)
{
	u64 a;

	nr_steps = 0;
	asm volatile("1: .byte 0xf1; 2: lea 2b(%%rip), %0" : "=r"(a));
	CHECK_EQ(nr_steps, 1);
	CHECK_EQ(steps[0], a);
	CHECK_EQ(step_dr6 & (DR6_BS | 15), 0);
}

static volatile u64 nr_breakpoints;

static void on_breakpoint(struct regs *r)
{
	(void)r;
	nr_breakpoints++;
}

/* SDM "Masking Exceptions and Interrupts When Switching Stacks". */
static void mov_ss(void)
{
	static u32 selector;
	u64 a;

	section("#DB: MOV SS with breakpoints");
	isr_set(BP, on_breakpoint);
	asm volatile("mov %%ss, %0; mov %1, %%dr0" : "=m"(selector) : "r"(&selector));
	write_dr7(0xf0402);
	nr_steps = nr_breakpoints = 0;
	asm volatile("mov %1, %%ss; int3; 1: lea 1b(%%rip), %0" : "=r"(a) : "m"(selector));
	CHECK_EQ(nr_breakpoints, 1);
	CHECK_EQ(nr_steps, 1); /* at the handler's first instruction */
	CHECK(steps[0] != a);
	CHECK_EQ(step_dr6 & (DR6_BS | 15), DR6_B0);
	nr_steps = 0;
	asm volatile("mov %1, %%ss; .byte 0xf1; 1: lea 1b(%%rip), %0" : "=r"(a) : "m"(selector));
	CHECK_EQ(nr_steps, 1);
	CHECK_EQ(steps[0], a);
	CHECK_EQ(step_dr6 & (DR6_BS | 15), DR6_B0);
	nr_steps = 0;
	asm volatile("mov %1, %%ss; int $1; 1: lea 1b(%%rip), %0" : "=r"(a) : "m"(selector));
	CHECK_EQ(nr_steps, 2); /* the first at the handler of the second */
	CHECK_EQ(steps[1], a);

	nr_steps = 0;
	asm volatile("lea 1f(%%rip), %0; mov %0, %%dr0; mov %2, %%dr7; mov %1, %%ss; 1: nop; nop"
		     : "=&r"(a) : "m"(selector), "r"(0x402ull));
	CHECK_EQ(nr_steps, 0); /* none at the instruction after it */
	write_dr7(0x400);
	isr_set(BP, NULL);
}

static void debug(void)
{
	static u32 watched;
	u64 a, b, c, d;

	section("#DB: single step");
	isr_set(DB, on_step);
	nr_steps = 0;
	asm volatile("pushf; orl $0x100, (%%rsp); popf\n"
		     "1: nop\n"
		     "2: lea 1(%%rax), %%eax\n"
		     "3: pushf; 4: andl $~0x100, (%%rsp); 5: popf\n"
		     "6: nop\n"
		     "lea 2b(%%rip), %0; lea 3b(%%rip), %1; lea 4b(%%rip), %2; lea 6b(%%rip), %3"
		     : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : : "rax", "cc", "memory");
	CHECK_EQ(nr_steps, 5);
	CHECK_EQ(steps[0], a);
	CHECK_EQ(steps[1], b);
	CHECK_EQ(steps[2], c);
	CHECK_EQ(steps[4], d); /* the POPF that clears TF still traps */
	CHECK_EQ(step_dr6 & (DR6_BS | 15), DR6_BS);

	section("#DB: POP SS holds it back");
	nr_steps = 0;
	asm volatile("mov %%ss, %%ecx; pushf; orl $0x100, (%%rsp); popf\n"
		     "mov %%ecx, %%ss; nop; 1: pushf; andl $~0x100, (%%rsp); popf\n"
		     "lea 1b(%%rip), %0" : "=r"(a) : : "rcx", "cc", "memory");
	CHECK_EQ(nr_steps, 4);
	CHECK_EQ(steps[0], a);

	section("#DB: a string steps per element");
	nr_steps = 0;
	asm volatile("mov $3, %%ecx; lea %0, %%rdi; pushf; orl $0x100, (%%rsp); popf\n"
		     "rep stosb\n"
		     "pushf; andl $~0x100, (%%rsp); popf"
		     : "=m"(watched) : : "rcx", "rdi", "cc", "memory");
	CHECK_EQ(nr_steps, 6);

	section("#DB: ICEBP, DR7");
	if (!on_qemu_tcg())
		icebp();
	nr_steps = 0;
	asm volatile("mov %0, %%dr0" : : "r"(&watched));
	write_dr7(0xd0402); /* write of 4 bytes at DR0, global */
	asm volatile("movl $5, %1; 1: nop; lea 1b(%%rip), %0" : "=r"(a), "=m"(watched));
	CHECK_EQ(nr_steps, 1);
	CHECK_EQ(steps[0], a);
	CHECK_EQ(step_dr6 & (DR6_BS | 15), DR6_B0);
	CHECK_EQ(watched, 5);
	asm volatile("mov %0, %%eax" : : "m"(watched) : "rax");
	CHECK_EQ(nr_steps, 1); /* it reads */
	write_dr7(0xf0402); /* reads too */
	asm volatile("mov %0, %%eax; nop" : : "m"(watched) : "rax");
	CHECK_EQ(nr_steps, 2);
	asm volatile("mov %0, %%eax; nop" : : "m"(*(&watched + 1)) : "rax");
	CHECK_EQ(nr_steps, 2);
	asm volatile("movb $1, 3+%0; nop" : "=m"(watched));
	CHECK_EQ(nr_steps, 3);

	nr_steps = 0;
	asm volatile("lea 1f(%%rip), %0; mov %0, %%dr0; mov %1, %%dr7; nop; 1: nop; nop"
		     : "=&r"(a) : "r"(0x402ull)); /* instruction at DR0 */
	CHECK_EQ(nr_steps, 1);
	CHECK_EQ(steps[0], a);
	CHECK_EQ(step_dr6 & (DR6_BS | 15), DR6_B0);
	write_dr7(0x400);
	if (!on_qemu_tcg())
		mov_ss();

	isr_set(DB, NULL);
	if (!on_qemu_tcg())
		general_detect();
}

static void returns(void)
{
	section("IRET");
	EXPECT_FAULT(f, GP, 0, "mov %%rsp, %%rax; push $0x10; push %%rax; push $2; push $8; push %0; iretq",
		     "r"(NON_CANONICAL));
	EXPECT_FAULT(f, GP, 0,
		     "mov %%rsp, %%rax; push $0x10; push %%rax; push $2; push $0; push $1f; iretq; 1:");
	EXPECT_FAULT(f, GP, 0, "mov %%rsp, %%rax; pushf; orl $0x4000, (%%rsp); popf; push $0x10;"
			       "push %%rax; push $2; push $8; push $1f; iretq; 1:");
	asm volatile("pushf; andl $~0x4000, (%%rsp); popf" : : : "cc", "memory");
	CHECK(!FAULTS(f, "mov %%rsp, %%rax; push $0x10; push %%rax; push $2; push $8; push $1f; iretq; 1:"));
}

int main(void)
{
	tss.ist[0] = (u64)ist_stack[0] + sizeof(ist_stack[0]);
	tss.ist[1] = (u64)ist_stack[1] + sizeof(ist_stack[1]);
	divide_errors();
	software_interrupts();
	undefined_opcodes();
	device_not_available();
	protection();
	selectors();
	gates();
	page_faults();
	level_3();
	double_faults();
	debug();
	returns();
	return 0;
}
