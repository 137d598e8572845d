// SPDX-License-Identifier: MIT
/*
 * EPT: violations and misconfigurations with their qualification, rights by level, large pages,
 * accessed and dirty flags, INVEPT and INVVPID; guests in real mode and with paging off.
 * SDM: "EPT Translation Mechanism", "EPT-Induced VM Exits", "Unrestricted Guest".
 */
#include "lib/vmx.h"

#define CODE(name, text) extern u8 name[]; asm(".text\n" #name ":\n" text "; vmcall; ud2\n")

enum { R = 1, W = 2, X = 4, RWX = 7, MT_WB = 6 << 3, EPT_PS = 0x80, EPT_A = 0x100, EPT_D = 0x200 };

static u64 *ept_pml4, *ept_pd;
static u64 eptp;
static const u64 area = 0x3000000; /* 48 MiB: 2 MiB of it are mapped in small pages */
static u64 *small;

/* All 4 GiB one to one in large pages, and a table of small ones for the area. */
static void ept_build(bool accessed_dirty)
{
	u64 *pdpt = page_alloc();

	ept_pml4 = page_alloc();
	ept_pd = page_alloc();
	for (int i = 1; i < 4; i++)
		page_alloc();
	small = page_alloc();
	ept_pml4[0] = (u64)pdpt | RWX;
	for (u64 i = 0; i < 4; i++)
		pdpt[i] = ((u64)ept_pd + i * 4096) | RWX;
	for (u64 i = 0; i < 2048; i++)
		ept_pd[i] = i << 21 | RWX | EPT_PS | (i >= 2032 ? 0 : MT_WB);
	for (u64 i = 0; i < 512; i++)
		small[i] = (area + i * 4096) | RWX | MT_WB;
	ept_pd[area >> 21] = (u64)small | RWX;
	eptp = (u64)ept_pml4 | 3 << 3 | 6 | (accessed_dirty ? 0x40 : 0);
}

static enum vmx_result invept(u64 type, u64 p)
{
	u64 d[2] = { p, 0 };
	u8 c, z;

	asm volatile("invept %2, %3; setc %0; setz %1"
		     : "=q"(c), "=q"(z) : "m"(d), "r"(type) : "cc", "memory");
	return c ? VMX_FAIL_INVALID : z ? VMX_FAIL_VALID : VMX_OK;
}

static enum vmx_result invvpid(u64 type, u64 vpid, u64 va)
{
	u64 d[2] = { vpid, va };
	u8 c, z;

	asm volatile("invvpid %2, %3; setc %0; setz %1"
		     : "=q"(c), "=q"(z) : "m"(d), "r"(type) : "cc", "memory");
	return c ? VMX_FAIL_INVALID : z ? VMX_FAIL_VALID : VMX_OK;
}

static void guest(u8 *code, u32 more)
{
	vm_new((void (*)(void))code);
	vm_controls(CPU_CONTROLS, CPU_SECONDARY);
	CHECK(vm_controls(CPU_CONTROLS2, CPU2_EPT | more));
	vm_set(EPT_POINTER, eptp);
}

CODE(g_read, "mov (%rbx), %rax");
CODE(g_write, "movq $0x1234, (%rbx)");
CODE(g_rmw, "addq $1, (%rbx)");
CODE(g_call, "call *%rbx");
CODE(g_cpuid_loop, "1: cpuid; jmp 1b");

/* The exit of code at area + offset under entry bits; checks the qualification's low bits. */
static void violates(u8 *code, u64 entry_bits, u64 offset, u32 want)
{
	u64 *e = &small[offset >> 12], old = *e;

	*e = (area + (offset & ~4095ull)) | entry_bits;
	invept(1, eptp);
	guest(code, 0);
	vm_regs.rbx = area + offset;
	CHECK_EQ(vm_run(), EXIT_EPT);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION) & 0x1ff, want);
	CHECK_EQ(vm_get(GUEST_PHYSICAL), area + offset);
	CHECK_EQ(vm_get(GUEST_LINEAR), area + offset);
	*e = old;
	invept(1, eptp);
}

static void violations(void)
{
	u64 cap = rdmsr(MSR_VMX_EPT_VPID);

	section("EPT violations");
	violates(g_read, 0, 0x5008, 1 | 0x180);
	violates(g_write, 0, 0x5010, 2 | 0x180);
	violates(g_call, 0, 0x5010, 4 | 0x180);
	violates(g_write, R | MT_WB, 0x6000, 2 | R << 3 | 0x180);
	violates(g_call, R | W | MT_WB, 0x7123, 4 | (R | W) << 3 | 0x180);
	if (cap & 1) {
		violates(g_read, X | MT_WB, 0x8000, 1 | X << 3 | 0x180);
		violates(g_write, X | MT_WB, 0x8000, 2 | X << 3 | 0x180);
	}
	section("EPT violation in a page walk");
	{
		/* The guest's own tables lie in the area. */
		u64 *pml4 = (u64 *)(area + 0x10000), *pdpt = (u64 *)(area + 0x11000);

		memcpy(pml4, boot_pml4, 4096);
		memcpy(pdpt, boot_pdpt, 4096);
		pml4[0] = (u64)pdpt | 7;
		small[0x11] = 0;
		invept(1, eptp);
		guest(g_read, 0);
		vm_set(GUEST_CR3, (u64)pml4);
		vm_regs.rbx = area;
		CHECK_EQ(vm_run(), EXIT_EPT);
		CHECK_EQ(vm_get(EXIT_QUALIFICATION) & 0x180, 0x80); /* not the final address */
		CHECK_EQ(vm_get(GUEST_PHYSICAL), (u64)pdpt);
		small[0x11] = (area + 0x11000) | RWX | MT_WB;
		/* Walks write accessed flags: a read-only table is a violation. */
		small[0x10] = (area + 0x10000) | R | MT_WB;
		pml4[0] &= ~(u64)PTE_A;
		invept(1, eptp);
		guest(g_read, 0);
		vm_set(GUEST_CR3, (u64)pml4);
		vm_regs.rbx = area;
		CHECK_EQ(vm_run(), EXIT_EPT);
		CHECK_EQ(vm_get(EXIT_QUALIFICATION) & 0x182, 0x82);
		CHECK_EQ(vm_get(GUEST_PHYSICAL), (u64)pml4);
		small[0x10] = (area + 0x10000) | RWX | MT_WB;
		invept(1, eptp);
		CHECK_EQ(vm_run(), EXIT_VMCALL); /* and goes on */
		CHECK_EQ(pml4[0] & PTE_A, PTE_A);
	}
	section("resolved and resumed");
	small[9] = 0;
	invept(1, eptp);
	*(u64 *)(area + 0x9000) = 41;
	guest(g_rmw, 0);
	vm_regs.rbx = area + 0x9000;
	CHECK_EQ(vm_run(), EXIT_EPT);
	CHECK_EQ(vm_get(EXIT_QUALIFICATION) & 6, 2); /* a write, whether or not a read too */
	small[9] = (area + 0x9000) | RWX | MT_WB; /* no INVEPT: nothing was cached */
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(*(u64 *)(area + 0x9000), 42);
	section("another page behind a guest-physical address");
	*(u64 *)(area + 0xa000) = 100;
	small[9] = (area + 0xa000) | RWX | MT_WB;
	invept(2, 0);
	guest(g_read, 0);
	vm_regs.rbx = area + 0x9000;
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_regs.rax, 100);
	small[9] = (area + 0x9000) | RWX | MT_WB;
	invept(2, 0);
}

static void misconfigured(u64 entry)
{
	small[0x20] = entry;
	invept(1, eptp);
	guest(g_read, 0);
	vm_regs.rbx = area + 0x20008;
	CHECK_EQ(vm_run(), EXIT_EPT_MISCONFIG);
	CHECK_EQ(vm_get(GUEST_PHYSICAL), area + 0x20008);
	small[0x20] = (area + 0x20000) | RWX | MT_WB;
	invept(1, eptp);
}

static void misconfigurations(void)
{
	section("EPT misconfigurations");
	misconfigured((area + 0x20000) | W | MT_WB);
	misconfigured((area + 0x20000) | W | X | MT_WB);
	misconfigured((area + 0x20000) | RWX | 2 << 3); /* memory types 2, 3 and 7 are reserved */
	misconfigured((area + 0x20000) | RWX | 7 << 3);
	misconfigured(1ull << 51 | RWX | MT_WB);
	if (!(rdmsr(MSR_VMX_EPT_VPID) & 1))
		misconfigured((area + 0x20000) | X | MT_WB);
	section("a large page with address bits");
	ept_pd[5] |= 1 << 13;
	invept(1, eptp);
	guest(g_read, 0);
	vm_regs.rbx = 5 << 21;
	CHECK_EQ(vm_run(), EXIT_EPT_MISCONFIG);
	ept_pd[5] &= ~(1ull << 13);
	invept(1, eptp);
}

static void accessed_and_dirty(void)
{
	if (!(rdmsr(MSR_VMX_EPT_VPID) >> 21 & 1))
		return;
	section("EPT accessed and dirty flags");
	ept_build(true);
	invept(2, 0);
	guest(g_read, 0);
	vm_regs.rbx = area + 0x3000;
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(small[3] & (EPT_A | EPT_D), EPT_A);
	CHECK_EQ(ept_pml4[0] & EPT_A, EPT_A);
	CHECK_EQ(ept_pd[area >> 21] & EPT_A, EPT_A);
	guest(g_write, 0);
	vm_regs.rbx = area + 0x3000;
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(small[3] & (EPT_A | EPT_D), EPT_A | EPT_D);
	CHECK_EQ(small[4] & (EPT_A | EPT_D), 0);
	small[3] &= ~(u64)(EPT_A | EPT_D);
	invept(1, eptp);
	guest(g_write, 0);
	vm_regs.rbx = area + 0x3000;
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(small[3] & (EPT_A | EPT_D), EPT_A | EPT_D);
}

static void invalidations(void)
{
	u64 cap = rdmsr(MSR_VMX_EPT_VPID);

	section("INVEPT and INVVPID");
	guest(g_read, 0);
	CHECK_EQ(invept(1, eptp), VMX_OK);
	CHECK_EQ(invept(2, 0), VMX_OK);
	CHECK_EQ(invept(3, eptp), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 28);
	CHECK_EQ(invept(1, eptp | 7), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 28);
	if (!vm_has2(CPU2_VPID))
		return;
	for (u64 type = 0; type < 4; type++) {
		if (cap >> (40 + type) & 1)
			CHECK_EQ(invvpid(type, 1, 0x1000), VMX_OK);
	}
	CHECK_EQ(invvpid(1, 0, 0), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 28);
	CHECK_EQ(invvpid(0, 1, 0x8000000000000000), VMX_FAIL_VALID);
	CHECK_EQ(invvpid(1, 0x10001, 0), VMX_FAIL_VALID);
	CHECK_EQ(invvpid(4, 1, 0), VMX_FAIL_VALID);
	section("VPID keeps two guests apart");
	{
		u64 va = 0x8000000000, *pml4 = page_alloc(), *pdpt = page_alloc(), *pd = page_alloc();
		u64 *pt = page_alloc();

		page_map(va, area + 0x30000, PTE_P | PTE_W);
		memcpy(pml4, boot_pml4, 4096);
		pml4[va >> 39] = (u64)pdpt | 7;
		pdpt[va >> 30 & 511] = (u64)pd | 7;
		pd[va >> 21 & 511] = (u64)pt | 7;
		pt[va >> 12 & 511] = (area + 0x31000) | 3;
		*(u64 *)(area + 0x30000) = 1;
		*(u64 *)(area + 0x31000) = 2;
		for (u32 i = 0; i < 20; i++) {
			guest(g_read, CPU2_VPID);
			vm_set(VPID, 1 + i % 2);
			vm_regs.rbx = va;
			if (i % 2)
				vm_set(GUEST_CR3, (u64)pml4);
			CHECK_EQ(vm_run(), EXIT_VMCALL);
			CHECK_EQ(vm_regs.rax, 1 + i % 2);
			CHECK_EQ(*(volatile u64 *)va, 1); /* the host's own */
		}
		pt[va >> 12 & 511] = (area + 0x30000) | 3;
		CHECK_EQ(invvpid(1, 2, 0), VMX_OK);
		guest(g_read, CPU2_VPID);
		vm_set(VPID, 2);
		vm_set(GUEST_CR3, (u64)pml4);
		vm_regs.rbx = va;
		CHECK_EQ(vm_run(), EXIT_VMCALL);
		CHECK_EQ(vm_regs.rax, 1);
		guest(g_read, CPU2_VPID);
		vm_set(VPID, 0);
		CHECK_EQ(vm_run(), RUN_FAILED + 7);
	}
}

/* ---- Unrestricted guests ---- */

asm(R"(
	.text
	.code16
	.globl real_guest, real_guest_end
real_guest:
	mov $0x700, %ax
	mov %ax, %ds
	movw $0x600d, 0x100
	mov $0xffff, %bx
	mov $0x1234, %cx
	.byte 0x0f, 0x01, 0xc1	/* vmcall */
	int $0x20
	.byte 0x0f, 0x01, 0xc1
	mov (%bx), %ax		/* beyond the limit: #GP through the vector table */
	.byte 0x0f, 0x01, 0xc1
	cpuid
real_guest_end:
	.code32
	.globl flat_guest
flat_guest:
	mov $0x77, %eax
	mov %eax, 0x7300
	mov %cr0, %ebx
	.byte 0x0f, 0x01, 0xc1
	.code64
)");
extern u8 real_guest[], real_guest_end[], flat_guest[];

static void set_segment(u32 i, u32 selector, u32 base, u32 limit, u32 rights)
{
	vm_set(GUEST_ES + 2 * i, selector);
	vm_set(GUEST_ES_BASE + 2 * i, base);
	vm_set(GUEST_ES_LIMIT + 2 * i, limit);
	vm_set(GUEST_ES_RIGHTS + 2 * i, rights);
}

/* The guest's area of low memory is 7000H; its vectors point back at itself. */
static void unrestricted(u8 *code, u32 cr0)
{
	guest(code, CPU2_UNRESTRICTED);
	vm_controls(ENTRY_CONTROLS, ENTRY_LOAD_EFER);
	vm_set(GUEST_EFER, 0);
	vm_set(GUEST_CR0, cr0);
	vm_set(GUEST_CR4, rdmsr(MSR_VMX_CR4_FIXED0));
	vm_set(GUEST_RSP, 0x800);
}

static void real_mode(void)
{
	u32 ne = CR0_NE | 0x10;

	if (!vm_has2(CPU2_UNRESTRICTED))
		return;
	section("a guest in real mode");
	memcpy((void *)0x7000, real_guest, (size_t)(real_guest_end - real_guest));
	asm volatile("movw $0, 0x7100; movl $0x07000000 + %c0, 0x80; movl $0x07000000 + %c1, 0x34"
		     : : "i"(17), "i"(17) : "memory"); /* INT 20H and #GP: to the first VMCALL */
	unrestricted(0, ne);
	for (u32 i = 0; i < 6; i++)
		set_segment(i, 0x700, 0x7000, 0xffff, i == 1 ? 0x9b : 0x93);
	vm_set(GUEST_IDTR_BASE, 0);
	vm_set(GUEST_IDTR_LIMIT, 0x3ff);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_regs.rcx, 0x1234);
	asm volatile("movzwl 0x7100, %0" : "=r"(ne));
	CHECK_EQ(ne, 0x600d);
	CHECK_EQ(vm_get(GUEST_RIP), 17);
	vm_skip();
	CHECK_EQ(vm_run(), EXIT_VMCALL); /* INT 20H came to 17 by the vector table */
	CHECK_EQ(vm_get(GUEST_RIP), 17);
	CHECK_EQ(vm_get(GUEST_RSP), 0x800 - 6);
	CHECK_EQ(vm_get(GUEST_ES_RIGHTS + 2), 0x9b); /* CS keeps its rights when real mode loads it */
	vm_set(GUEST_RIP, 25); /* the MOV at FFFFH */
	vm_set(EXCEPTION_BITMAP, 1 << 13);
	CHECK_EQ(vm_run(), EXIT_EXCEPTION);
	CHECK_EQ(vm_get(EXIT_INTERRUPTION), 0x8000030d); /* no error code in real mode */

	section("a guest with paging off");
	unrestricted(flat_guest, CR0_NE | 0x10 | CR0_PE);
	set_segment(1, SEL_CODE32, 0, 0xffffffff, 0xc09b);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	CHECK_EQ(vm_regs.rbx & ~0x60000000ull, CR0_NE | 0x10 | CR0_PE); /* CD and NW stay */
	asm volatile("movl 0x7300, %0" : "=r"(ne));
	CHECK_EQ(ne, 0x77);
}

static void many_exits(void)
{
	section("many exits under EPT");
	guest(g_cpuid_loop, 0);
	for (int i = 0; i < 20000 && vm_run() == EXIT_CPUID; i++)
		vm_skip();
	CHECK_EQ(vm_get(EXIT_REASON), EXIT_CPUID);
}

int main(void)
{
	vmx_on();
	if (!vm_has2(CPU2_EPT)) {
		print("no EPT here\n");
		return 0;
	}
	ept_build(false);
	invept(2, 0);
	violations();
	misconfigurations();
	accessed_and_dirty();
	invalidations();
	real_mode();
	many_exits();
	vmx_off();
	return 0;
}
