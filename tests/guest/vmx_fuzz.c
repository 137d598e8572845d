// SPDX-License-Identifier: MIT
/*
 * VMCSs with garbage in them: good ones with a few fields set to random values, entered again and
 * again. Whatever comes of it, this hypervisor goes on: the host area and the areas that a VM entry
 * or exit writes to stay good, and EPT lets the guest write nowhere.
 */
#include "lib/vmx.h"

static const struct {
	u32 encoding;
} fields[] = {
#define FIELD(enc, name, width, access, when, group) { enc },
#include "../../src/engine/vmx/vmcs.def"
#undef FIELD
};
enum { NR_FIELDS = sizeof(fields) / sizeof(fields[0]) };

static u64 good[NR_FIELDS];
static u64 ept_pml4[512] __attribute__((aligned(4096)));
static u64 ept_pdpt[512] __attribute__((aligned(4096)));
static u64 seed = 0x9e3779b97f4a7c15;

static u64 random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Read, execute, and no write, for the first 4 GiB. */
static u64 ept_read_only(void)
{
	ept_pml4[0] = (u64)ept_pdpt | 5;
	for (u64 n = 0; n < 4; n++)
		ept_pdpt[n] = n << 30 | 5 | 6 << 3 | 1 << 7;
	return (u64)ept_pml4 | 6 | 3 << 3;
}

static bool is_host(u32 f)
{
	return (f >> 10 & 3) == 3;
}

/* What must stay good: the host's area, what is written to memory, and what ends the guest's run. */
static bool keep(u32 f)
{
	return is_host(f) || f == EPT_POINTER || f == VIRTUAL_APIC || f == EXIT_MSR_STORE ||
	       f == EXIT_MSR_LOAD || f == ENTRY_MSR_LOAD || f == EXIT_MSR_STORE_COUNT ||
	       f == EXIT_MSR_LOAD_COUNT || f == ENTRY_MSR_LOAD_COUNT || f == PREEMPTION_TIMER ||
	       f == PIN_CONTROLS || f == CPU_CONTROLS2 || f == EXIT_CONTROLS;
}

static void guest(void)
{
	for (;;) {
		asm volatile("vmcall");
		asm volatile("mov %%cr0, %%rax; mov %%rax, %%cr0; sti; nop; cli; pushf; popf" : : : "rax",
			     "memory");
	}
}

static void remember(void)
{
	for (int n = 0; n < NR_FIELDS; n++)
		if (vmread(fields[n].encoding, &good[n]) != VMX_OK)
			good[n] = 0;
}

static void restore(void)
{
	for (int n = 0; n < NR_FIELDS; n++)
		vmwrite(fields[n].encoding, good[n]);
}

static u64 mutant(u64 old)
{
	switch (random64() % 6) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return random64();
	case 3: return random64() & 0xff;
	default: return old ^ 1ull << random64() % 64;
	}
}

static void mutate(void)
{
	int n = (int)(random64() % NR_FIELDS);
	u64 v = mutant(good[n]);

	if (keep(fields[n].encoding))
		return;
	if (fields[n].encoding == GUEST_ACTIVITY && v == 3)
		return; /* wait-for-SIPI: no timer ends it */
	vmwrite(fields[n].encoding, v);
}

/* A region that software filled itself: no launch of it can succeed. */
static void garbage_regions(void)
{
	u64 *region = vmx_region();

	section("regions full of garbage");
	for (int round = 0; round < 2000; round++) {
		bool failed;

		vmclear((u64)region);
		for (int n = 1; n < 512; n++)
			region[n] = random64();
		region[1] &= ~0xffffffffull; /* launch state, in this implementation */
		CHECK_EQ(vmptrld((u64)region), VMX_OK);
		asm volatile("vmlaunch; setbe %0" : "=q"(failed) : : "cc", "memory");
		CHECK(failed);
	}
}

int main(void)
{
	enum { ROUNDS = 50000 };
	u32 entered = 0, refused = 0, failed = 0;

	vmx_on();
	garbage_regions();
	vm_new(guest);
	vm_controls(PIN_CONTROLS, PIN_TIMER | PIN_NMIS | PIN_VIRTUAL_NMIS | PIN_INTERRUPTS);
	vm_controls(CPU_CONTROLS, CPU_SECONDARY | CPU_IO | CPU_TPR_SHADOW | CPU_HLT);
	vm_controls(CPU_CONTROLS2, CPU2_EPT | CPU2_UNRESTRICTED | CPU2_VPID);
	vm_set(EPT_POINTER, ept_read_only());
	vm_set(VIRTUAL_APIC, (u64)page_alloc());
	vm_set(PREEMPTION_TIMER, 300);
	vm_set(VPID, 1);
	remember();
	section("VMCSs with random fields");
	for (int round = 0; round < ROUNDS; round++) {
		restore();
		for (u64 n = random64() % 4 + 1; n; n--)
			mutate();
		for (int again = 0; again < 2; again++) {
			u32 r = vm_run();

			if (r & RUN_FAILED)
				refused++;
			else if (r & ENTRY_FAILURE)
				failed++;
			else
				entered++;
		}
	}
	CHECK(entered > ROUNDS / 8);
	CHECK(refused > ROUNDS / 20);
	CHECK(failed > ROUNDS / 20);
	restore();
	vm_set(PREEMPTION_TIMER, ~0u);
	CHECK_EQ(vm_run(), EXIT_VMCALL);
	vmx_off();
	return 0;
}
