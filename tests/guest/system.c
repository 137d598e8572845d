// SPDX-License-Identifier: MIT
/* System instructions: SYSCALL, SYSENTER, segment bases, MSRs, XSAVE's registers, CPUID. */
#include "lib/lib.h"

enum { UD = 6, GP = 13 };
enum { STAR = 0xc0000081, LSTAR, CSTAR, SFMASK, FS_BASE = 0xc0000100, GS_BASE, KERNEL_GS_BASE, TSC_AUX };

static struct fault f;
static u8 user_stack[4096] __attribute__((aligned(16)));
extern u64 user_saved_rsp;
extern u8 syscall_entry[], sysenter_entry[];
u64 entry_rcx, entry_r11, entry_rflags, entry_cs, entry_ss, entry_rsp;

/* Both entries note what they see and go back to level 3. */
asm(R"(
	.text
	.globl syscall_entry, sysenter_entry
syscall_entry:
	mov %rcx, entry_rcx
	mov %r11, entry_r11
	pushfq			/* on the user's stack, which is mapped */
	popq entry_rflags
	mov %cs, entry_cs
	mov %ss, entry_ss
	add $1, %rax
	sysretq
sysenter_entry:
	mov %rsp, entry_rsp
	mov %cs, entry_cs
	mov %ss, entry_ss
	mov user_stack_now, %rcx
	lea sysenter_back(%rip), %rdx
	add $2, %rax
	sysexitq
)");
u64 user_stack_now;

static u64 do_syscall(u64 x)
{
	u64 r;

	asm volatile("stc; std; syscall; cld" : "=a"(r) : "0"(x) : "rcx", "r11", "memory", "cc");
	return r;
}

static u64 do_sysenter(u64 x)
{
	u64 r;

	asm volatile("mov %%rsp, user_stack_now; sysenter; .globl sysenter_back; sysenter_back:"
		     : "=a"(r) : "0"(x) : "rcx", "rdx", "memory", "cc");
	return r;
}

static u64 selectors_now(u64 x)
{
	u32 cs, ss;

	(void)x;
	asm volatile("mov %%cs, %0; mov %%ss, %1" : "=r"(cs), "=r"(ss));
	return cs | ss << 16;
}

static u64 syscall_then_selectors(u64 x)
{
	do_syscall(x);
	return selectors_now(x);
}

static u64 user(u64 (*fn)(u64), u64 x)
{
	return user_call(fn, x, user_stack + sizeof(user_stack));
}

static void system_calls(void)
{
	section("SYSCALL");
	page_allow_user(true);
	wrmsr(STAR, (u64)(SEL_UCODE32 | 3) << 48 | (u64)SEL_CODE64 << 32);
	wrmsr(LSTAR, (u64)syscall_entry);
	wrmsr(SFMASK, 0x700); /* TF, IF, DF */
	EXPECT_FAULT(f, UD, 0, "syscall");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	CHECK_EQ(user(do_syscall, 41), 42);
	CHECK_EQ(entry_cs, SEL_CODE64);
	CHECK_EQ(entry_ss, SEL_DATA);
	CHECK_EQ(entry_rflags & 0x700, 0);
	CHECK(entry_rflags & 1 || on_qemu_tcg());
	CHECK_EQ(entry_r11 & 0x401, 0x401);
	CHECK_EQ(*(u16 *)(entry_rcx - 2), 0x050f);
	CHECK_EQ(user(syscall_then_selectors, 1), (SEL_UCODE64 | 3) | (SEL_UDATA | 3) << 16);
	if (cpuid(0, 0).ebx != 0x756e6547) /* "Genu": AMD's has none in 64-bit mode */
		return;
	section("SYSENTER");
	gdt[SEL_SPARE / 8] = gdt[SEL_CODE64 / 8];
	gdt[SEL_SPARE / 8 + 1] = gdt[SEL_DATA / 8];
	gdt[SEL_SPARE / 8 + 4] = gdt[SEL_UCODE64 / 8]; /* where SYSEXIT goes: CS+32, CS+40 */
	gdt[SEL_SPARE / 8 + 5] = gdt[SEL_UDATA / 8];
	wrmsr(0x174, SEL_SPARE);
	wrmsr(0x175, (u64)user_stack + 2048);
	wrmsr(0x176, (u64)sysenter_entry);
	CHECK_EQ(user(do_sysenter, 40), 42);
	CHECK_EQ(entry_cs, SEL_SPARE);
	CHECK_EQ(entry_ss, SEL_SPARE + 8);
	CHECK_EQ(entry_rsp, (u64)user_stack + 2048);
	wrmsr(0x174, 0);
	EXPECT_FAULT(f, GP, 0, "sysenter");
	page_allow_user(false);
}

static void segment_bases(void)
{
	static u64 a[4] = { 1, 2, 3, 4 };
	u64 v;

	section("segment bases");
	wrmsr(FS_BASE, (u64)&a[0]);
	wrmsr(GS_BASE, (u64)&a[1]);
	wrmsr(KERNEL_GS_BASE, (u64)&a[2]);
	asm volatile("mov %%fs:0, %0" : "=r"(v));
	CHECK_EQ(v, 1);
	asm volatile("mov %%gs:0, %0" : "=r"(v));
	CHECK_EQ(v, 2);
	asm volatile("swapgs; mov %%gs:0, %0" : "=r"(v));
	CHECK_EQ(v, 3);
	CHECK_EQ(rdmsr(GS_BASE), (u64)&a[2]);
	CHECK_EQ(rdmsr(KERNEL_GS_BASE), (u64)&a[1]);
	asm volatile("mov %%gs:8(%1), %0" : "=r"(v) : "r"(-8ll));
	CHECK_EQ(v, 3);
	if (!on_qemu_tcg())
		EXPECT_FAULT(f, GP, 0, "mov $0xc0000101, %%ecx; xor %%eax, %%eax;"
				       "mov $0x800000, %%edx; wrmsr");
	if (cpuid(7, 0).ebx & 1) {
		EXPECT_FAULT(f, UD, 0, "rdfsbase %%rax");
		write_cr4(read_cr4() | CR4_FSGSBASE);
		asm volatile("rdfsbase %0" : "=r"(v));
		CHECK_EQ(v, (u64)&a[0]);
		asm volatile("wrgsbase %0" : : "r"(&a[3]));
		CHECK_EQ(rdmsr(GS_BASE), (u64)&a[3]);
		asm volatile("mov %%gs:0, %0" : "=r"(v));
		CHECK_EQ(v, 4);
		asm volatile("wrfsbase %0" : : "r"((u32)(u64)&a[2]));
		CHECK_EQ(rdmsr(FS_BASE), (u64)&a[2]);
		if (!on_qemu_tcg())
			EXPECT_FAULT(f, GP, 0, "mov $0x800000, %%rax; shl $24, %%rax; wrfsbase %%rax");
		write_cr4(read_cr4() & ~(u64)CR4_FSGSBASE);
	}
	/* A selector load replaces the base by the descriptor's 32 bits. */
	asm volatile("mov %0, %%gs" : : "r"(SEL_DATA));
	CHECK_EQ(rdmsr(GS_BASE), 0);
	wrmsr(FS_BASE, 0);
}

static u64 fs_selector(u64 x)
{
	u32 sel;

	(void)x;
	asm volatile("mov %%fs, %0" : "=r"(sel));
	return sel;
}

/* Level 3 may not keep a segment of DPL 0; in 64-bit mode its base goes on to count. */
static void segments_going_out(void)
{
	section("segments on the way to level 3");
	page_allow_user(true);
	asm volatile("mov %0, %%fs" : : "r"(SEL_DATA));
	wrmsr(FS_BASE, 0x1234000);
	CHECK_EQ(user(fs_selector, 0), 0);
	CHECK_EQ(rdmsr(FS_BASE), 0x1234000);
	asm volatile("mov %0, %%fs" : : "r"(SEL_UDATA | 3));
	wrmsr(FS_BASE, 0x5678000);
	CHECK_EQ(user(fs_selector, 0), SEL_UDATA | 3);
	CHECK_EQ(rdmsr(FS_BASE), 0x5678000);
	asm volatile("mov %0, %%fs" : : "r"(0));
	page_allow_user(false);
}

static void tables(void)
{
	u8 t[10];
	u64 v;

	section("descriptor tables");
	asm volatile("sgdt %0" : "=m"(t));
	CHECK_EQ(*(u64 *)(t + 2), (u64)gdt);
	asm volatile("sidt %0" : "=m"(t));
	CHECK_EQ(*(u16 *)t, 4095);
	v = ~0ull;
	asm volatile("str %0" : "=r"(v));
	CHECK_EQ(v, SEL_TSS);
	asm volatile("sldt %0" : "=r"(v));
	CHECK_EQ(v, 0);
	asm volatile("smsw %0" : "=r"(v));
	CHECK_EQ(v & 0xffff, read_cr0() & 0xffff);
	asm volatile("lar %1, %0" : "=r"(v) : "r"((u64)SEL_CODE64));
	CHECK_EQ(v & 0xf0ff00, 0xa09b00);
	asm volatile("lsl %1, %0" : "=r"(v) : "r"((u64)SEL_DATA));
	CHECK_EQ(v, 0xffffffff);
	asm volatile("mov $1, %%eax; lar %1, %%eax; setz %%al; movzx %%al, %0"
		     : "=r"(v) : "r"(0x1000) : "rax", "cc");
	CHECK_EQ(v & 0xff, 0);
	asm volatile("verw %w1; setz %%al; movzx %%al, %0" : "=r"(v) : "r"(SEL_DATA) : "rax", "cc");
	CHECK_EQ(v & 0xff, 1);
	asm volatile("verw %w1; setz %%al; movzx %%al, %0" : "=r"(v) : "r"(SEL_CODE64) : "rax", "cc");
	CHECK_EQ(v & 0xff, 0);
}

static void xsave(void)
{
	static u8 area[4096] __attribute__((aligned(64)));
	u32 lo, hi;

	if (!(cpuid(1, 0).ecx & 1 << 26))
		return;
	section("XSAVE");
	EXPECT_FAULT(f, UD, 0, "xor %%ecx, %%ecx; xgetbv");
	CHECK_EQ(cpuid(1, 0).ecx >> 27 & 1, 0);
	write_cr4(read_cr4() | CR4_OSXSAVE);
	CHECK_EQ(cpuid(1, 0).ecx >> 27 & 1, 1);
	asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	CHECK_EQ(lo, 1);
	EXPECT_FAULT(f, GP, 0, "xor %%ecx, %%ecx; mov $2, %%eax; xor %%edx, %%edx; xsetbv");
	EXPECT_FAULT(f, GP, 0, "xor %%ecx, %%ecx; mov $5, %%eax; xor %%edx, %%edx; xsetbv");
	EXPECT_FAULT(f, GP, 0, "mov $5, %%ecx; xgetbv");
	asm volatile("xsetbv" : : "a"(3), "d"(0), "c"(0));
	CHECK_EQ(cpuid(0xd, 0).ebx, 576);
	if (cpuid(0xd, 0).eax & 4) {
		EXPECT_FAULT(f, UD, 0, "vxorps %%ymm0, %%ymm0, %%ymm0");
		asm volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
		CHECK_EQ(cpuid(0xd, 0).ebx, 832);
		CHECK(!FAULTS(f, "vpcmpeqd %%xmm3, %%xmm3, %%xmm3; vinsertf128 $1, %%xmm3, %%ymm3, %%ymm3"));
	}
	/* Save, change, restore; what is in its initial state is marked so. */
	asm volatile("fninit; movq %0, %%xmm3" : : "r"(0x1122334455667788));
	memset(area, 0xff, sizeof(area));
	memset(area + 512, 0, 64);
	asm volatile("xsave (%0)" : : "r"(area), "a"(3), "d"(0) : "memory");
	CHECK_EQ(*(u64 *)(area + 160 + 3 * 16), 0x1122334455667788);
	CHECK_EQ(*(u64 *)(area + 512) & 2, 2);
	asm volatile("pxor %%xmm3, %%xmm3; xrstor (%0); movq %%xmm3, %%rcx; mov %%rcx, %1"
		     : : "r"(area), "m"(entry_rcx), "a"(3), "d"(0) : "rcx", "memory");
	CHECK_EQ(entry_rcx, 0x1122334455667788);
	*(u64 *)(area + 512) = 0; /* everything initial */
	asm volatile("xrstor (%0); movq %%xmm3, %%rcx; mov %%rcx, %1"
		     : : "r"(area), "m"(entry_rcx), "a"(3), "d"(0) : "rcx", "memory");
	CHECK_EQ(entry_rcx, 0);
	*(u64 *)(area + 512) = 1ull << 40;
	EXPECT_FAULT(f, GP, 0, "mov $3, %%eax; xor %%edx, %%edx; xrstor (%0)", "r"(area));
	EXPECT_FAULT(f, GP, 0, "mov $3, %%eax; xor %%edx, %%edx; xsave (%0)", "r"(area + 8));
	write_cr4(read_cr4() & ~(u64)CR4_OSXSAVE);
}

static void msrs(void)
{
	section("MSRs");
	CHECK_EQ(rdmsr(0x1b) & ~0xf00ull, 0xfee00000);
	CHECK_EQ(rdmsr(0x1b) & 0x900, 0x900);
	CHECK_EQ(rdmsr(MSR_EFER) & 0xd00, 0xd00);
	CHECK(rdmsr(0xfe) & 0xff); /* MTRRcap: some variable ranges */
	wrmsr(0x277, 0x0007040600070406); /* PAT */
	CHECK_EQ(rdmsr(0x277), 0x0007040600070406);
	if (!on_qemu_tcg()) {
		EXPECT_FAULT(f, GP, 0, "mov $0x277, %%ecx; mov $2, %%eax; xor %%edx, %%edx; wrmsr");
		EXPECT_FAULT(f, GP, 0, "mov $0xc0000080, %%ecx; rdmsr; and $~0x100, %%eax; wrmsr");
	}
	if (cpuid(0x80000001, 0).edx & 1 << 27) {
		u32 aux;

		wrmsr(TSC_AUX, 77);
		asm volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
		CHECK_EQ(aux, 77);
	}
}

static void cpuid_leaves(void)
{
	struct cpuid c = cpuid(0, 0);

	section("CPUID");
	CHECK(c.eax >= 7);
	c = cpuid(1, 0);
	CHECK(c.edx & 1 << 0 && c.edx & 1 << 9 && c.edx & 1 << 26); /* FPU, APIC, SSE2 */
	CHECK(cpuid(0x80000000, 0).eax >= 0x80000008u);
	c = cpuid(0x80000008, 0);
	CHECK((c.eax >> 8 & 0xff) == 48 || on_qemu_tcg());
	CHECK(cpuid(0x80000001, 0).edx & 1 << 29);
	write_cr4(read_cr4() | CR4_OSXSAVE);
	CHECK_EQ(cpuid(1, 0).ecx >> 27 & 1, 1);
	write_cr4(read_cr4() & ~(u64)CR4_OSXSAVE);
	CHECK_EQ(cpuid(1, 0).ecx >> 27 & 1, 0);
}

int main(void)
{
	cpuid_leaves();
	msrs();
	tables();
	segment_bases();
	segments_going_out();
	xsave();
	system_calls();
	return 0;
}
