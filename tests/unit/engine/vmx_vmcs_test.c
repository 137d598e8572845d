// SPDX-License-Identifier: MIT
/* The VMCS table, its accessors, the cache of active VMCSs, the capability MSRs. */
#include "engine/vmx/vmx_internal.h"

#include <string.h>

#include "../../lib/test.h"
#include "vmx_fake.h"

TEST(vmcs, rows_are_sorted_unique_and_sized_by_their_encoding)
{
	static const u8 size_of_width[] = { 2, 8, 4, 8 };

	for (unsigned i = 0; i < vmcs_nr_fields; i++) {
		const struct vmcs_field *f = &vmcs_fields[i];

		CHECK_EQ(f->size, size_of_width[f->encoding >> 13 & 3]);
		CHECK(!(f->encoding & 0x9001)); /* reserved bits, access type */
		CHECK((f->encoding >> 1 & 0x1ff) < 32);
		CHECK(!i || f->encoding > vmcs_fields[i - 1].encoding);
		CHECK(!f->read_only == ((f->encoding >> 10 & 3) != 1));
		CHECK(f->offset + f->size <= (int)sizeof(struct vmcs));
	}
}

TEST(vmcs, every_existing_field_reads_back_alone)
{
	struct soft_cpu *c = fake_cpu();
	struct vmcs_slot *s = &c->vmx->slots[0];
	unsigned found = 0;
	bool high;

	memset(&s->v, 0, sizeof(s->v));
	for (unsigned i = 0; i < vmcs_nr_fields; i++) {
		const struct vmcs_field *f = vmcs_find(c->vmx, vmcs_fields[i].encoding, &high);

		if (!f)
			continue;
		found++;
		CHECK_EQ(f->encoding, vmcs_fields[i].encoding);
		vmcs_put(s, f, false, ~0ull);
		CHECK_EQ(vmcs_get(&s->v, f, false), f->size == 8 ? ~0ull : BIT(8 * f->size) - 1);
		vmcs_put(s, f, false, 0);
		for (unsigned n = VMCS_HEADER_SIZE; n < sizeof(s->v); n++)
			CHECK_EQ(((u8 *)&s->v)[n], 0);
	}
	CHECK(found > 120);
}

TEST(vmcs, high_halves)
{
	struct soft_cpu *c = fake_cpu();
	struct vmcs_slot *s = &c->vmx->slots[0];
	const struct vmcs_field *f;
	bool high;

	f = vmcs_find(c->vmx, VMCS_ept_pointer + 1, &high);
	CHECK(f && high);
	s->v.ept_pointer = 0x1122334455667788;
	CHECK_EQ(vmcs_get(&s->v, f, true), 0x11223344);
	vmcs_put(s, f, true, 0xffffffffcafef00dull);
	CHECK_EQ(s->v.ept_pointer, 0xcafef00d55667788);
	CHECK(!vmcs_find(c->vmx, VMCS_guest_rip + 1, &high));
	CHECK(!vmcs_find(c->vmx, VMCS_exit_reason + 1, &high));
}

TEST(vmcs, unsupported_components)
{
	static const u64 bad[] = { 0x482c, 0x0006, 0x0814, 0xffff, 0x10000, 1ull << 32, ~0ull,
				   0x6828, 0x2034, 0x1000, 0x40000800,
				   VMCS_posted_vector, VMCS_pml_addr, VMCS_guest_perf_global };
	struct soft_cpu *c = fake_cpu();
	bool high;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(!vmcs_find(c->vmx, bad[i], &high));
}

TEST(vmcs, writes_mark_their_group_only_when_they_change_something)
{
	struct soft_cpu *c = fake_cpu();
	struct vmcs_slot *s = &c->vmx->slots[0];
	bool high;

	s->dirty = 0;
	vmcs_put(s, vmcs_find(c->vmx, VMCS_guest_rip, &high), false, s->v.guest_rip);
	CHECK_EQ(s->dirty, 0);
	vmcs_put(s, vmcs_find(c->vmx, VMCS_guest_rip, &high), false, s->v.guest_rip + 1);
	CHECK_EQ(s->dirty, G_RIP);
	s->dirty = 0;
	vmcs_put(s, vmcs_find(c->vmx, VMCS_proc_controls, &high), false,
		 s->v.proc_controls ^ PROC_INTERRUPT_WINDOW);
	CHECK_EQ(s->dirty, G_PROC);
	vmcs_put(s, vmcs_find(c->vmx, VMCS_proc_controls, &high), false,
		 s->v.proc_controls ^ PROC_HLT_EXITING);
	CHECK_EQ(s->dirty, G_PROC | G_CTL);
}

TEST(vmcs, cache_keeps_several_and_survives_eviction)
{
	struct soft_cpu *c = fake_cpu();
	const unsigned nr = NR_VMCS_SLOTS + 5;

	for (unsigned i = 0; i < nr; i++) {
		c->vmx->cur = vmcs_activate(c, 0x10000 + i * PAGE_SIZE);
		c->vmx->cur->v.guest_rip = 1000 + i;
		c->vmx->cur->v.launched = i & 1;
	}
	for (unsigned i = 0; i < nr; i++) {
		c->vmx->cur = vmcs_activate(c, 0x10000 + i * PAGE_SIZE);
		CHECK_EQ(c->vmx->cur->v.guest_rip, 1000 + i);
		CHECK_EQ(c->vmx->cur->v.launched, i & 1);
	}
}

TEST(vmcs, clear_writes_back_and_leaves_the_header_alone)
{
	struct soft_cpu *c = fake_cpu();
	struct vmcs image;
	u32 revision = vmcs_revision();

	phys_write(c, 0x5000, &revision, sizeof(revision));
	c->vmx->cur = vmcs_activate(c, 0x5000);
	c->vmx->cur->v.guest_rsp = 0x1234;
	c->vmx->cur->v.launched = 1;
	c->vmx->cur->v.revision = 99; /* not ours to write */
	vmcs_clear(c, 0x5000);
	CHECK(!c->vmx->cur);
	phys_read(c, 0x5000, &image, sizeof(image));
	CHECK_EQ(image.revision, revision);
	CHECK_EQ(image.launched, 0);
	CHECK_EQ(image.guest_rsp, 0x1234);
}

TEST(vmcs, garbage_in_memory_becomes_a_valid_launch_state)
{
	struct soft_cpu *c = fake_cpu();
	u8 junk[PAGE_SIZE];

	memset(junk, 0xa5, sizeof(junk));
	phys_write(c, 0x6000, junk, sizeof(junk));
	CHECK_EQ(vmcs_activate(c, 0x6000)->v.launched, 0);
	CHECK_EQ(vmcs_activate(c, 1ull << 40)->v.guest_rip, 0); /* no RAM there */
}

TEST(vmx_caps, control_msrs_are_consistent)
{
	static const u32 plain[] = { MSR_IA32_VMX_PINBASED, MSR_IA32_VMX_PROCBASED,
				     MSR_IA32_VMX_EXIT, MSR_IA32_VMX_ENTRY };
	static const u32 exact[] = { MSR_IA32_VMX_TRUE_PINBASED, MSR_IA32_VMX_TRUE_PROCBASED,
				     MSR_IA32_VMX_TRUE_EXIT, MSR_IA32_VMX_TRUE_ENTRY };
	static const u32 default1[] = { 0x16, 0x0401e172, 0x00036dff, 0x000011ff };
	struct soft_cpu *c = fake_cpu();

	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		u64 p = 0, t = 0;

		CHECK(vmx_cap_msr(c, plain[i], &p) && vmx_cap_msr(c, exact[i], &t));
		CHECK_EQ((u32)p, default1[i]);
		CHECK_EQ(p >> 32, t >> 32);
		CHECK_EQ((u32)t & ~(u32)p, 0);
		CHECK_EQ((u32)t & ~(u32)(t >> 32), 0); /* required are allowed */
	}
}

/* What vmx_vmcs_config of Linux 6.1 and 6.12 insists on. */
TEST(vmx_caps, linux_minimum)
{
	struct soft_cpu *c = fake_cpu();
	const struct vmx_ctl_cap *ctl = c->vmx->caps.ctl;
	const u32 pin = PIN_EXTINT_EXITING | PIN_NMI_EXITING;
	const u32 proc = PROC_HLT_EXITING | PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING |
			 PROC_CR3_LOAD_EXITING | PROC_CR3_STORE_EXITING | PROC_UNCOND_IO_EXITING |
			 PROC_MOV_DR_EXITING | PROC_TSC_OFFSETTING | PROC_MWAIT_EXITING |
			 PROC_MONITOR_EXITING | PROC_INVLPG_EXITING | PROC_RDPMC_EXITING |
			 PROC_INTERRUPT_WINDOW;
	const u32 exit = VMEXIT_SAVE_DEBUG | VMEXIT_ACK_INTERRUPT | VMEXIT_HOST_ADDR64;
	const u32 entry = VMENTRY_LOAD_DEBUG | VMENTRY_IA32E_GUEST;
	u64 v;

	CHECK_EQ(ctl[CTL_PIN].allowed & pin, pin);
	CHECK_EQ(ctl[CTL_PROC].allowed & proc, proc);
	CHECK_EQ(ctl[CTL_EXIT].allowed & exit, exit);
	CHECK_EQ(ctl[CTL_ENTRY].allowed & entry, entry);
	vmx_cap_msr(c, MSR_IA32_VMX_BASIC, &v);
	CHECK_EQ(v >> 32 & 0x1fff, PAGE_SIZE);
	CHECK_EQ(v >> 48 & 1, 0);
	CHECK_EQ(v >> 50 & 15, 6);
	CHECK_EQ(v >> 31 & 1, 0);
}

TEST(vmx_caps, misc)
{
	struct soft_cpu *c = fake_cpu();
	struct vmx *x = c->vmx;
	u64 v;

	CHECK(vmx_cap_msr(c, MSR_IA32_VMX_VMCS_ENUM, &v));
	CHECK_EQ(v, 0x17 << 1); /* the preemption timer, 482EH */
	CHECK(vmx_cap_msr(c, MSR_IA32_VMX_CR4_FIXED1, &v));
	CHECK((v & (CR4_VMXE | CR4_PAE)) == (CR4_VMXE | CR4_PAE));
	CHECK(!vmx_cap_msr(c, MSR_IA32_VMX_VMFUNC, &v));
	CHECK(!vmx_cap_msr(c, 0x492, &v));
	c->vmx = NULL;
	CHECK(!vmx_cap_msr(c, MSR_IA32_VMX_BASIC, &v));
	c->vmx = x;
}

TEST(vmx_caps, control_registers_in_vmx_operation)
{
	struct soft_cpu *c = fake_cpu();

	CHECK(vmx_cr_allowed(c, 0, 0));
	c->vmx->in_operation = true;
	CHECK(vmx_cr_allowed(c, 0, CR0_PE | CR0_PG | CR0_NE));
	CHECK(!vmx_cr_allowed(c, 0, CR0_PE | CR0_NE));
	CHECK(!vmx_cr_allowed(c, 0, CR0_PE | CR0_PG));
	CHECK(vmx_cr_allowed(c, 4, CR4_VMXE | CR4_PAE));
	CHECK(!vmx_cr_allowed(c, 4, CR4_PAE));
	CHECK(!vmx_cr_allowed(c, 4, CR4_VMXE | CR4_SMXE));
	c->vmx_non_root = true;
	c->vmx->proc2 = PROC2_UNRESTRICTED_GUEST;
	CHECK(vmx_cr_allowed(c, 0, CR0_NE));
	CHECK(!vmx_cr_allowed(c, 0, 0));
}
