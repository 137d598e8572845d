// SPDX-License-Identifier: MIT
/* VT-x for test guests. */
#include "lib/vmx.h"

struct vm_regs vm_regs;
static bool launched;
static u8 vm_stack[16384] __attribute__((aligned(16)));

u32 vm_enter(u64 resume);

/*
 * Loads the guest's general registers, enters it, and stores them at the exit. Comes back with 0
 * after an exit, 1 for VMfailInvalid, 2 for VMfailValid.
 */
asm(R"(
	.text
	.globl vm_enter, vm_exit_entry
vm_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov $0x6c14, %eax	/* HOST_RSP */
	vmwrite %rsp, %rax
	test %rdi, %rdi
	mov vm_regs + 0, %rax
	mov vm_regs + 8, %rcx
	mov vm_regs + 16, %rdx
	mov vm_regs + 24, %rbx
	mov vm_regs + 32, %rbp
	mov vm_regs + 40, %rsi
	mov vm_regs + 48, %rdi
	mov vm_regs + 56, %r8
	mov vm_regs + 64, %r9
	mov vm_regs + 72, %r10
	mov vm_regs + 80, %r11
	mov vm_regs + 88, %r12
	mov vm_regs + 96, %r13
	mov vm_regs + 104, %r14
	mov vm_regs + 112, %r15
	jnz 1f
	vmlaunch
	jmp 2f
1:	vmresume
2:	mov $1, %eax
	jc 3f
	mov $2, %eax
3:	jmp 4f
vm_exit_entry:
	mov %rax, vm_regs + 0
	mov %rcx, vm_regs + 8
	mov %rdx, vm_regs + 16
	mov %rbx, vm_regs + 24
	mov %rbp, vm_regs + 32
	mov %rsi, vm_regs + 40
	mov %rdi, vm_regs + 48
	mov %r8, vm_regs + 56
	mov %r9, vm_regs + 64
	mov %r10, vm_regs + 72
	mov %r11, vm_regs + 80
	mov %r12, vm_regs + 88
	mov %r13, vm_regs + 96
	mov %r14, vm_regs + 104
	mov %r15, vm_regs + 112
	xor %eax, %eax
4:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
)");
extern u8 vm_exit_entry[];

#define VMX_INSN(name, text)                                                                       \
	enum vmx_result name(u64 pa)                                                               \
	{                                                                                          \
		u8 c, z;                                                                           \
		asm volatile(text " %2; setc %0; setz %1"                                          \
			     : "=q"(c), "=q"(z) : "m"(pa) : "cc", "memory");                       \
		return c ? VMX_FAIL_INVALID : z ? VMX_FAIL_VALID : VMX_OK;                         \
	}
VMX_INSN(vmxon, "vmxon")
VMX_INSN(vmclear, "vmclear")
VMX_INSN(vmptrld, "vmptrld")

enum vmx_result vmread(u64 field, u64 *v)
{
	u8 c, z;
	u64 value = 0;

	asm volatile("vmread %3, %2; setc %0; setz %1"
		     : "=q"(c), "=q"(z), "+r"(value) : "r"(field) : "cc", "memory");
	*v = value;
	return c ? VMX_FAIL_INVALID : z ? VMX_FAIL_VALID : VMX_OK;
}

enum vmx_result vmwrite(u64 field, u64 v)
{
	u8 c, z;

	asm volatile("vmwrite %2, %3; setc %0; setz %1"
		     : "=q"(c), "=q"(z) : "r"(v), "r"(field) : "cc", "memory");
	return c ? VMX_FAIL_INVALID : z ? VMX_FAIL_VALID : VMX_OK;
}

u64 vmptrst(void)
{
	u64 pa;

	asm volatile("vmptrst %0" : "=m"(pa) : : "cc", "memory");
	return pa;
}

bool vmx_supported(void)
{
	return cpuid(1, 0).ecx >> 5 & 1;
}

u64 *vmx_region(void)
{
	u64 *p = page_alloc();

	*(u32 *)p = (u32)rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
	return p;
}

void vmx_on(void)
{
	if (!vmx_supported()) {
		print("no VT-x here\n");
		check(true, "", 0, "");
		finish();
	}
	if (!(rdmsr(MSR_FEATURE_CONTROL) & 1))
		wrmsr(MSR_FEATURE_CONTROL, 5);
	write_cr0(read_cr0() | rdmsr(MSR_VMX_CR0_FIXED0));
	write_cr4(read_cr4() | rdmsr(MSR_VMX_CR4_FIXED0));
	CHECK_EQ(vmxon((u64)vmx_region()), VMX_OK);
}

void vmx_off(void)
{
	asm volatile("vmxoff" : : : "cc", "memory");
	write_cr4(read_cr4() & ~(u64)CR4_VMXE);
}

void vm_set(u32 field, u64 v)
{
	enum vmx_result r = vmwrite(field, v);

	check(r == VMX_OK, __FILE__, __LINE__, "VMWRITE of field %x: %d", field, (int)r);
}

u64 vm_get(u32 field)
{
	u64 v;
	enum vmx_result r = vmread(field, &v);

	check(r == VMX_OK, __FILE__, __LINE__, "VMREAD of field %x: %d", field, (int)r);
	return v;
}

static u32 capability_msr(u32 field)
{
	bool exact = rdmsr(MSR_VMX_BASIC) >> 55 & 1;

	switch (field) {
	case PIN_CONTROLS: return exact ? 0x48d : 0x481;
	case CPU_CONTROLS: return exact ? 0x48e : 0x482;
	case EXIT_CONTROLS: return exact ? 0x48f : 0x483;
	case ENTRY_CONTROLS: return exact ? 0x490 : 0x484;
	default: return MSR_VMX_PROCBASED2;
	}
}

bool vm_controls(u32 field, u32 bits)
{
	u64 cap = rdmsr(capability_msr(field));

	vm_set(field, (u32)cap | (bits & (u32)(cap >> 32)));
	return (bits & ~(u32)(cap >> 32)) == 0;
}

bool vm_has2(u32 bits)
{
	if (!(rdmsr(capability_msr(CPU_CONTROLS)) >> 63))
		return false;
	return !(bits & ~(u32)(rdmsr(MSR_VMX_PROCBASED2) >> 32));
}

struct segment_row {
	u32 field, value, rights;
};

static const struct segment_row segments[] = {
	{ GUEST_ES, SEL_DATA, 0xc093 }, { GUEST_CS, SEL_CODE64, 0xa09b },
	{ GUEST_SS, SEL_DATA, 0xc093 }, { GUEST_DS, SEL_DATA, 0xc093 },
	{ GUEST_FS, SEL_DATA, 0xc093 }, { GUEST_GS, SEL_DATA, 0xc093 },
	{ GUEST_LDTR, 0, 0x10082 },	{ GUEST_TR, SEL_TSS, 0x8b },
};

static void set_guest(void (*fn)(void))
{
	u8 table[10];

	for (u32 i = 0; i < 8; i++) {
		vm_set(segments[i].field, segments[i].value);
		vm_set(GUEST_ES_BASE + 2 * i, 0);
		vm_set(GUEST_ES_LIMIT + 2 * i, i < 6 ? 0xffffffff : i == 7 ? sizeof(tss) - 1 : 0xfff);
		vm_set(GUEST_ES_RIGHTS + 2 * i, segments[i].rights);
	}
	vm_set(GUEST_TR_BASE, (u64)&tss);
	asm volatile("sgdt %0" : "=m"(table));
	vm_set(GUEST_GDTR_BASE, *(u64 *)(table + 2));
	vm_set(GUEST_GDTR_LIMIT, *(u16 *)table);
	vm_set(HOST_GDTR_BASE, *(u64 *)(table + 2));
	asm volatile("sidt %0" : "=m"(table));
	vm_set(GUEST_IDTR_BASE, *(u64 *)(table + 2));
	vm_set(GUEST_IDTR_LIMIT, *(u16 *)table);
	vm_set(HOST_IDTR_BASE, *(u64 *)(table + 2));
	vm_set(GUEST_CR0, read_cr0());
	vm_set(GUEST_CR3, read_cr3());
	vm_set(GUEST_CR4, read_cr4());
	vm_set(GUEST_DR7, 0x400);
	vm_set(GUEST_RSP, (u64)vm_stack + sizeof(vm_stack) - 8);
	vm_set(GUEST_RIP, (u64)fn);
	vm_set(GUEST_RFLAGS, 2);
	vm_set(GUEST_EFER, rdmsr(MSR_EFER));
	vm_set(GUEST_PAT, 0x0007040600070406);
	vm_set(LINK_POINTER, ~0ull);
}

static void set_host(void)
{
	for (u32 f = HOST_ES; f < HOST_TR; f += 2)
		vm_set(f, f == HOST_CS ? SEL_CODE64 : f == HOST_FS || f == HOST_GS ? 0 : SEL_DATA);
	vm_set(HOST_TR, SEL_TSS);
	vm_set(HOST_TR_BASE, (u64)&tss);
	vm_set(HOST_CR0, read_cr0());
	vm_set(HOST_CR3, read_cr3());
	vm_set(HOST_CR4, read_cr4());
	vm_set(HOST_EFER, rdmsr(MSR_EFER));
	vm_set(HOST_PAT, 0x0007040600070406);
	vm_set(HOST_RIP, (u64)vm_exit_entry);
}

/* Every field that the tests do not set: VMCLEAR does not zero them for us. */
static const u16 zeroed[] = {
	EXCEPTION_BITMAP, PF_MASK, PF_MATCH, CR3_TARGETS, EXIT_MSR_STORE_COUNT,
	EXIT_MSR_LOAD_COUNT, ENTRY_MSR_LOAD_COUNT, ENTRY_INTERRUPTION, ENTRY_ERROR_CODE,
	ENTRY_LENGTH, GUEST_INTERRUPTIBILITY, GUEST_ACTIVITY, GUEST_SYSENTER_CS,
	HOST_SYSENTER_CS, CR0_MASK, CR4_MASK, CR0_SHADOW, CR4_SHADOW, GUEST_PENDING_DEBUG,
	GUEST_SYSENTER_ESP, GUEST_SYSENTER_EIP, HOST_SYSENTER_ESP, HOST_SYSENTER_EIP,
	HOST_FS_BASE, HOST_GS_BASE, TSC_OFFSET, GUEST_DEBUGCTL,
};

u64 *vm_new(void (*fn)(void))
{
	u64 *vmcs = vmx_region();

	CHECK_EQ(vmclear((u64)vmcs), VMX_OK);
	CHECK_EQ(vmptrld((u64)vmcs), VMX_OK);
	for (u32 i = 0; i < sizeof(zeroed) / sizeof(zeroed[0]); i++)
		vm_set(zeroed[i], 0);
	vm_controls(PIN_CONTROLS, 0);
	vm_controls(CPU_CONTROLS, 0);
	vm_controls(EXIT_CONTROLS, EXIT_HOST64 | EXIT_SAVE_EFER | EXIT_LOAD_EFER);
	vm_controls(ENTRY_CONTROLS, ENTRY_64 | ENTRY_LOAD_EFER);
	set_guest(fn);
	set_host();
	memset(&vm_regs, 0, sizeof(vm_regs));
	launched = false;
	return vmcs;
}

u32 vm_run(void)
{
	u32 r = vm_enter(launched);

	if (r)
		return RUN_FAILED + (r == 1 ? 0 : (u32)vm_get(INSTRUCTION_ERROR));
	if (!(vm_get(EXIT_REASON) & ENTRY_FAILURE))
		launched = true;
	return (u32)vm_get(EXIT_REASON);
}

void vm_skip(void)
{
	vm_set(GUEST_RIP, vm_get(GUEST_RIP) + vm_get(EXIT_LENGTH));
}
