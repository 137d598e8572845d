// SPDX-License-Identifier: MIT
/* VMX instructions outside of a guest: where they are allowed, VMfailInvalid, VMfailValid and its
 * error numbers, VMCS fields of every width. SDM: "VMX Instruction Reference". */
#include "lib/vmx.h"

enum { UD = 6, GP = 13 };

static struct fault f;

static void nothing(void)
{
}

static void without_vmx_operation(u64 *region)
{
	section("outside VMX operation");
	write_cr4(read_cr4() & ~(u64)CR4_VMXE);
	EXPECT_FAULT(f, UD, 0, "push %0; vmxon (%%rsp); pop %%rax", "r"(region));
	EXPECT_FAULT(f, UD, 0, "vmcall");
	write_cr4(read_cr4() | rdmsr(MSR_VMX_CR4_FIXED0));
	EXPECT_FAULT(f, UD, 0, "vmxoff");
	EXPECT_FAULT(f, UD, 0, "vmlaunch");
	EXPECT_FAULT(f, UD, 0, "vmread %%rax, %%rcx");
	EXPECT_FAULT(f, UD, 0, "vmptrst -8(%%rsp)");
	section("VMXON's pointer");
	CHECK_EQ(vmxon((u64)region + 8), VMX_FAIL_INVALID);
	CHECK_EQ(vmxon(1ull << 51), VMX_FAIL_INVALID);
	*(u32 *)region ^= 1;
	CHECK_EQ(vmxon((u64)region), VMX_FAIL_INVALID);
	*(u32 *)region ^= 0x80000001;
	CHECK_EQ(vmxon((u64)region), VMX_FAIL_INVALID);
	*(u32 *)region ^= 0x80000000;
}

static void in_root_operation(u64 *region)
{
	u64 v, *vmcs = vmx_region();

	section("in VMX operation");
	CHECK_EQ(vmxon((u64)region), VMX_OK);
	CHECK_EQ(vmptrst(), ~0ull);
	CHECK_EQ(vmxon((u64)region), VMX_FAIL_INVALID); /* error 15, but no current VMCS to say it */
	CHECK_EQ(vmread(GUEST_RIP, &v), VMX_FAIL_INVALID);
	CHECK_EQ(vmwrite(GUEST_RIP, 1), VMX_FAIL_INVALID);
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr4", "r"(read_cr4() & ~(u64)CR4_VMXE));
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr0", "r"(read_cr0() & ~(u64)CR0_NE));
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr0", "r"(read_cr0() & ~(u64)CR0_PG));

	section("VMCLEAR, VMPTRLD");
	CHECK_EQ(vmclear((u64)vmcs), VMX_OK);
	CHECK_EQ(vmptrld((u64)vmcs), VMX_OK);
	CHECK_EQ(vmptrst(), (u64)vmcs);
	CHECK_EQ(vmclear((u64)vmcs + 4), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 2);
	CHECK_EQ(vmclear((u64)region), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 3);
	CHECK_EQ(vmptrld((u64)vmcs + 4), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 9);
	CHECK_EQ(vmptrld((u64)region), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 10);
	{
		u64 *other = vmx_region();

		*(u32 *)other ^= 2;
		CHECK_EQ(vmptrld((u64)other), VMX_FAIL_VALID);
		CHECK_EQ(vm_get(INSTRUCTION_ERROR), 11);
		CHECK_EQ(vmptrst(), (u64)vmcs);
	}
	CHECK_EQ(vmxon((u64)region), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 15);

	section("VMREAD, VMWRITE");
	CHECK_EQ(vmread(0x5555, &v), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 12);
	CHECK_EQ(vmwrite(0x5555, 1), VMX_FAIL_VALID);
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 12);
	CHECK_EQ(vmread(1ull << 32 | GUEST_RIP, &v), VMX_FAIL_VALID);
	if (!(rdmsr(0x485) >> 29 & 1)) {
		CHECK_EQ(vmwrite(EXIT_REASON, 1), VMX_FAIL_VALID);
		CHECK_EQ(vm_get(INSTRUCTION_ERROR), 13);
	}
	vm_set(GUEST_CS, 0x12345678);
	CHECK_EQ(vm_get(GUEST_CS), 0x5678);
	vm_set(EXCEPTION_BITMAP, 0x123456789abcdef0);
	CHECK_EQ(vm_get(EXCEPTION_BITMAP), 0x9abcdef0);
	vm_set(GUEST_RIP, 0x123456789abcdef0);
	CHECK_EQ(vm_get(GUEST_RIP), 0x123456789abcdef0);
	vm_set(TSC_OFFSET, 0x1122334455667788);
	CHECK_EQ(vm_get(TSC_OFFSET), 0x1122334455667788);
	CHECK_EQ(vm_get(TSC_OFFSET + 1), 0x11223344);
	vm_set(TSC_OFFSET + 1, 0x99);
	CHECK_EQ(vm_get(TSC_OFFSET), 0x9955667788);
	/* To and from memory. */
	asm volatile("push $0; vmread %1, (%%rsp); pop %0" : "=r"(v) : "r"((u64)GUEST_RIP) : "cc", "memory");
	CHECK_EQ(v, 0x123456789abcdef0);

	section("two VMCSs");
	{
		u64 *other = vmx_region();

		CHECK_EQ(vmclear((u64)other), VMX_OK);
		CHECK_EQ(vmptrld((u64)other), VMX_OK);
		vm_set(GUEST_RIP, 2);
		CHECK_EQ(vmptrld((u64)vmcs), VMX_OK);
		CHECK_EQ(vm_get(GUEST_RIP), 0x123456789abcdef0);
		CHECK_EQ(vmclear((u64)vmcs), VMX_OK);
		CHECK_EQ(vmptrst(), ~0ull);
		CHECK_EQ(vmptrld((u64)vmcs), VMX_OK);
		CHECK_EQ(vm_get(GUEST_RIP), 0x123456789abcdef0); /* VMCLEAR wrote it out */
		CHECK_EQ(vmptrld((u64)other), VMX_OK);
		CHECK_EQ(vm_get(GUEST_RIP), 2);
	}
}

/* Fields that any processor has, of all widths and groups. */
static const u16 fields[] = {
	GUEST_ES, GUEST_TR, HOST_ES, HOST_FS, HOST_TR, EXIT_MSR_STORE, TSC_OFFSET, LINK_POINTER,
	GUEST_DEBUGCTL, PIN_CONTROLS, EXCEPTION_BITMAP, PF_MASK, CR3_TARGETS, ENTRY_INTERRUPTION,
	GUEST_ES_LIMIT, GUEST_TR_RIGHTS, GUEST_ACTIVITY, GUEST_SYSENTER_CS, HOST_SYSENTER_CS, CR0_MASK,
	CR4_SHADOW, CR3_TARGET0, GUEST_CR3, GUEST_FS_BASE, GUEST_RSP, GUEST_PENDING_DEBUG, HOST_CR3,
	HOST_FS_BASE, HOST_GS_BASE, HOST_TR_BASE, HOST_SYSENTER_EIP, HOST_RSP, HOST_RIP,
};
enum { NR_FIELDS = sizeof(fields) / sizeof(fields[0]), NR_VMCS = 12 };

/* Many VMCSs active at once, each with values of its own. */
static void many_vmcs(void)
{
	u64 *vmcs[NR_VMCS];
	u32 bad = 0;

	section("many VMCSs");
	for (u32 i = 0; i < NR_VMCS; i++) {
		vmcs[i] = vmx_region();
		CHECK_EQ(vmclear((u64)vmcs[i]), VMX_OK);
		CHECK_EQ(vmptrld((u64)vmcs[i]), VMX_OK);
		for (u32 k = 0; k < NR_FIELDS; k++)
			vm_set(fields[k], i * 256 + k + 1);
	}
	for (u32 round = 0; round < 4; round++) {
		for (u32 i = 0; i < NR_VMCS; i++) {
			u32 n = (i * 7 + round) % NR_VMCS;

			if (round % 2)
				CHECK_EQ(vmclear((u64)vmcs[n]), VMX_OK);
			CHECK_EQ(vmptrld((u64)vmcs[n]), VMX_OK);
			for (u32 k = 0; k < NR_FIELDS; k++)
				bad += vm_get(fields[k]) != n * 256 + k + 1 + (round > 1 && fields[k] == HOST_FS_BASE);
			if (round == 1)
				vm_set(HOST_FS_BASE, vm_get(HOST_FS_BASE) + 1);
		}
	}
	CHECK_EQ(bad, 0);
}

static void launch_state(void)
{
	section("launch state");
	vm_new(nothing);
	asm volatile("clc; vmresume" : : : "cc", "memory");
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 5);
	vm_set(GUEST_RIP, (u64)(u8 *)nothing);
	vm_controls(CPU_CONTROLS, CPU_HLT);
	{
		static u8 code[] = { 0x0f, 0x01, 0xc1, 0x0f, 0x01, 0xc1 }; /* VMCALL twice */

		vm_set(GUEST_RIP, (u64)code);
		CHECK_EQ(vm_run(), EXIT_VMCALL);
		CHECK_EQ(vm_get(EXIT_LENGTH), 3);
		asm volatile("clc; vmlaunch" : : : "cc", "memory");
		CHECK_EQ(vm_get(INSTRUCTION_ERROR), 4);
		vm_skip();
		CHECK_EQ(vm_run(), EXIT_VMCALL);
	}
	/* Right after MOV SS an entry is refused. */
	asm volatile("mov %%ss, %%eax; mov %%eax, %%ss; vmresume" : : : "rax", "cc", "memory");
	CHECK_EQ(vm_get(INSTRUCTION_ERROR), 26);
	section("VMXOFF");
	asm volatile("vmxoff" : : : "cc", "memory");
	EXPECT_FAULT(f, UD, 0, "vmptrst -8(%%rsp)");
	EXPECT_FAULT(f, UD, 0, "vmxoff");
	CHECK(!FAULTS(f, "mov %0, %%cr4", "r"(read_cr4() & ~(u64)CR4_VMXE)));
}

int main(void)
{
	u64 *region;

	if (!vmx_supported()) {
		section("no VT-x exposed");
		EXPECT_FAULT(f, GP, 0, "mov $0x480, %%ecx; rdmsr");
		EXPECT_FAULT(f, GP, 0, "mov %0, %%cr4", "r"(read_cr4() | CR4_VMXE));
		EXPECT_FAULT(f, UD, 0, "vmxoff");
		return 0;
	}
	if (!(rdmsr(MSR_FEATURE_CONTROL) & 1))
		wrmsr(MSR_FEATURE_CONTROL, 5);
	EXPECT_FAULT(f, GP, 0, "mov $0x3a, %%ecx; mov $1, %%eax; xor %%edx, %%edx; wrmsr");
	write_cr0(read_cr0() | rdmsr(MSR_VMX_CR0_FIXED0));
	region = vmx_region();
	without_vmx_operation(region);
	in_root_operation(region);
	many_vmcs();
	launch_state();
	return 0;
}
