// SPDX-License-Identifier: MIT
/* Every VM-entry check, with values that pass and values that do not. */
#include "engine/vmx/vmx_internal.h"

#include <string.h>

#include "../../lib/test.h"
#include "vmx_fake.h"

enum { AR_CODE64 = 0xa09b, AR_CODE32 = 0xc09b, AR_DATA = 0xc093, AR_TSS = 0x8b };

static void set_seg_ars(struct vmcs *v, u32 ar)
{
	v->guest_es_ar = v->guest_ss_ar = v->guest_ds_ar = v->guest_fs_ar = v->guest_gs_ar = ar;
}

static void good_controls(const struct vmx_caps *caps, struct vmcs *v)
{
	v->pin_controls = caps->ctl[CTL_PIN].required;
	v->proc_controls = caps->ctl[CTL_PROC].required | PROC_SECONDARY;
	v->proc2_controls = 0;
	v->exit_controls = caps->ctl[CTL_EXIT].required | VMEXIT_HOST_ADDR64;
	v->entry_controls = caps->ctl[CTL_ENTRY].required | VMENTRY_IA32E_GUEST;
	v->vmcs_link_pointer = ~0ull;
}

static void good_host(struct vmcs *v)
{
	v->host_cr0 = VMX_CR0_FIXED0;
	v->host_cr4 = CR4_VMXE | CR4_PAE;
	v->host_cs_sel = 0x10;
	v->host_ss_sel = 0x18;
	v->host_tr_sel = 0x40;
	v->host_rip = 0xffffffff81000000;
}

static void good_guest(struct vmcs *v)
{
	v->guest_cr0 = VMX_CR0_FIXED0;
	v->guest_cr4 = CR4_VMXE | CR4_PAE;
	v->guest_rflags = RFLAGS_RSV1;
	v->guest_cs_sel = 0x8;
	v->guest_cs_ar = AR_CODE64;
	v->guest_es_sel = v->guest_ss_sel = v->guest_ds_sel = 0x10;
	v->guest_es_limit = v->guest_cs_limit = v->guest_ss_limit = v->guest_ds_limit =
		v->guest_fs_limit = v->guest_gs_limit = 0xffffffff;
	set_seg_ars(v, AR_DATA);
	v->guest_tr_sel = 0x18;
	v->guest_tr_limit = 0x67;
	v->guest_tr_ar = AR_TSS;
	v->guest_ldtr_ar = SEG_UNUSABLE;
	v->guest_rip = 0x1000;
	v->guest_dr7 = 0x400;
}

static struct vmcs *good_vmcs(struct soft_cpu *c)
{
	struct vmcs_slot *s = &c->vmx->slots[0];

	memset(&s->v, 0, sizeof(s->v));
	c->vmx->cur = s;
	c->s.msr.efer = EFER_LMA | EFER_LME;
	good_controls(&c->vmx->caps, &s->v);
	good_host(&s->v);
	good_guest(&s->v);
	return &s->v;
}

/* Variations of the good VMCS that a case may start from. */
enum base { PLAIN, UNRESTRICTED, VM86, PROT32, HOST32, PAE_EPT, TPR, NMI, INJECT };

static void make_base(struct soft_cpu *c, struct vmcs *v, enum base base)
{
	switch (base) {
	case PLAIN: break;
	case PAE_EPT:
		v->entry_controls &= ~(u32)VMENTRY_IA32E_GUEST;
		v->guest_cs_ar = AR_CODE32;
		v->proc2_controls = PROC2_EPT;
		v->ept_pointer = 0x101e;
		break;
	case UNRESTRICTED:
		v->proc2_controls = PROC2_EPT | PROC2_UNRESTRICTED_GUEST;
		v->ept_pointer = 0x101e;
		break;
	case PROT32:
		v->entry_controls &= ~(u32)VMENTRY_IA32E_GUEST;
		v->guest_cs_ar = AR_CODE32;
		v->guest_cr4 = CR4_VMXE;
		break;
	case VM86:
		v->entry_controls &= ~(u32)VMENTRY_IA32E_GUEST;
		v->guest_cr4 = CR4_VMXE;
		v->guest_rflags = RFLAGS_RSV1 | RFLAGS_VM;
		v->guest_es_sel = v->guest_cs_sel = v->guest_ss_sel = v->guest_ds_sel =
			v->guest_fs_sel = v->guest_gs_sel = 0x100;
		v->guest_es_base = v->guest_cs_base = v->guest_ss_base = v->guest_ds_base =
			v->guest_fs_base = v->guest_gs_base = 0x1000;
		v->guest_es_limit = v->guest_cs_limit = v->guest_ss_limit = v->guest_ds_limit =
			v->guest_fs_limit = v->guest_gs_limit = 0xffff;
		set_seg_ars(v, 0xf3);
		v->guest_cs_ar = 0xf3;
		break;
	case HOST32:
		c->s.msr.efer = 0;
		v->exit_controls &= ~(u32)VMEXIT_HOST_ADDR64;
		v->host_rip = 0x1000;
		make_base(c, v, PROT32);
		break;
	case TPR:
		v->proc_controls |= PROC_TPR_SHADOW;
		v->virtual_apic_addr = 0x3000;
		break;
	case NMI: v->pin_controls |= PIN_NMI_EXITING | PIN_VIRTUAL_NMIS; break;
	case INJECT: v->entry_intr_info = INTR_VALID | EVENT_HW_EXC << 8 | X86_UD; break;
	}
}

static const struct entry_check *run_all(struct soft_cpu *c, const struct vmcs *v)
{
	return checks_run(c, v, G_ALL | G_ALWAYS);
}

/* One case: a base, up to three fields set, and the text of the row that then
 * fails first (NULL: none does). */
struct set {
	u16 field;
	u64 value;
};
struct test_case {
	enum base base;
	const char *fails;
	struct set set[3];
};

#define PIN_REQ 0x16u
#define CTL_REQ(word) (c->vmx->caps.ctl[word].required)
#define F(name, value) { VMCS_##name, value }
#define NONCANONICAL 0x0000800000000000ull
#define BEYOND BIT(60)

#define PROC_REQ  0x04006172u
#define EXIT_REQ  (0x00036dfbu | VMEXIT_HOST_ADDR64)
#define ENTRY_REQ (0x000011fbu | VMENTRY_IA32E_GUEST)
#define INFO(type, vector) (INTR_VALID | (type) << 8 | (vector))

static const struct test_case cases[] = {
	/* VM-execution controls */
	{ PLAIN, "reserved bits of the pin-based controls", { F(pin_controls, 0) } },
	{ PLAIN, "reserved bits of the pin-based controls", { F(pin_controls, PIN_REQ | BIT(7)) } },
	{ PLAIN, NULL, { F(pin_controls, PIN_REQ | PIN_EXTINT_EXITING | PIN_PREEMPTION_TIMER) } },
	{ PLAIN, "reserved bits of the primary processor-based controls", { F(proc_controls, 0) } },
	{ PLAIN, "reserved bits of the primary processor-based controls",
	  { F(proc_controls, PROC_REQ | PROC_MONITOR_TRAP) } },
	{ PLAIN, "reserved bits of the primary processor-based controls",
	  { F(proc_controls, PROC_REQ | PROC_TERTIARY) } },
	{ PLAIN, "reserved bits of the secondary processor-based controls",
	  { F(proc2_controls, PROC2_VMFUNC) } },
	{ PLAIN, NULL, { F(proc2_controls, PROC2_VMFUNC), F(proc_controls, PROC_REQ) } },
	{ PLAIN, "CR3-target count is at most 4", { F(cr3_target_count, 5) } },
	{ PLAIN, NULL, { F(cr3_target_count, 4) } },
	{ PLAIN, "I/O-bitmap addresses",
	  { F(proc_controls, PROC_REQ | PROC_IO_BITMAPS), F(io_bitmap_a, 0x1001) } },
	{ PLAIN, "I/O-bitmap addresses",
	  { F(proc_controls, PROC_REQ | PROC_IO_BITMAPS), F(io_bitmap_b, BEYOND) } },
	{ PLAIN, NULL, { F(proc_controls, PROC_REQ | PROC_IO_BITMAPS), F(io_bitmap_b, 0x7000) } },
	{ PLAIN, NULL, { F(io_bitmap_b, BEYOND) } },
	{ PLAIN, "MSR-bitmap address",
	  { F(proc_controls, PROC_REQ | PROC_MSR_BITMAPS), F(msr_bitmap, 0x10) } },
	{ TPR, NULL, { F(virtual_apic_addr, 0x4000) } },
	{ TPR, "virtual-APIC address", { F(virtual_apic_addr, 0x4001) } },
	{ TPR, "virtual-APIC address", { F(virtual_apic_addr, BEYOND) } },
	{ TPR, "bits 31:4 of the TPR threshold are 0", { F(tpr_threshold, 0x10) } },
	{ TPR, "TPR threshold is at most VTPR's bits 7:4", { F(tpr_threshold, 1) } },
	{ PLAIN, "virtual NMIs need NMI exiting", { F(pin_controls, PIN_REQ | PIN_VIRTUAL_NMIS) } },
	{ NMI, NULL, { F(proc_controls, PROC_REQ | PROC_NMI_WINDOW) } },
	{ PLAIN, "NMI-window exiting needs virtual NMIs",
	  { F(proc_controls, PROC_REQ | PROC_NMI_WINDOW) } },
	{ PLAIN, "VPID is not 0", { F(proc2_controls, PROC2_VPID) } },
	{ PLAIN, NULL, { F(proc2_controls, PROC2_VPID), F(vpid, 1) } },
	{ UNRESTRICTED, NULL, { F(ept_pointer, 0x105e) } },
	{ UNRESTRICTED, NULL, { F(ept_pointer, 0x1018) } },
	{ UNRESTRICTED, "EPT pointer", { F(ept_pointer, 0x101d) } },
	{ UNRESTRICTED, "EPT pointer", { F(ept_pointer, 0x1016) } },
	{ UNRESTRICTED, "EPT pointer", { F(ept_pointer, 0x1026) } },
	{ UNRESTRICTED, "EPT pointer", { F(ept_pointer, 0x109e) } },
	{ UNRESTRICTED, "EPT pointer", { F(ept_pointer, BEYOND | 0x1e) } },
	{ PLAIN, "unrestricted guest needs EPT", { F(proc2_controls, PROC2_UNRESTRICTED_GUEST) } },
	/* VM-exit controls */
	{ PLAIN, "reserved bits of the VM-exit controls", { F(exit_controls, 0) } },
	{ PLAIN, "reserved bits of the VM-exit controls",
	  { F(exit_controls, EXIT_REQ | VMEXIT_LOAD_PERF_GLOBAL) } },
	{ PLAIN, "saving the VMX-preemption timer needs its activation",
	  { F(exit_controls, EXIT_REQ | VMEXIT_SAVE_TIMER) } },
	{ PLAIN, NULL,
	  { F(exit_controls, EXIT_REQ | VMEXIT_SAVE_TIMER),
	    F(pin_controls, PIN_REQ | PIN_PREEMPTION_TIMER) } },
	{ PLAIN, "VM-exit MSR-store address",
	  { F(exit_msr_store_count, 1), F(exit_msr_store_addr, 8) } },
	{ PLAIN, "VM-exit MSR-store address",
	  { F(exit_msr_store_count, 1), F(exit_msr_store_addr, BEYOND) } },
	{ PLAIN, NULL, { F(exit_msr_store_count, 0), F(exit_msr_store_addr, 8) } },
	{ PLAIN, "VM-exit MSR-load address",
	  { F(exit_msr_load_count, 2), F(exit_msr_load_addr, 8) } },
	/* VM-entry controls */
	{ PLAIN, "reserved bits of the VM-entry controls", { F(entry_controls, 0) } },
	{ PLAIN, "reserved bits of the VM-entry controls",
	  { F(entry_controls, ENTRY_REQ | VMENTRY_SMM) } },
	{ PLAIN, "interruption type is not reserved", { F(entry_intr_info, INFO(1u, 3)) } },
	{ PLAIN, "interruption type is not reserved", { F(entry_intr_info, INFO(7u, 0)) } },
	{ PLAIN, NULL, { F(entry_intr_info, 1u << 8 | 3) } },
	{ PLAIN, "vector is consistent with the interruption type",
	  { F(entry_intr_info, INFO(EVENT_NMI, 3)) } },
	{ PLAIN, NULL, { F(entry_intr_info, INFO(EVENT_NMI, 2)) } },
	{ PLAIN, "vector is consistent with the interruption type",
	  { F(entry_intr_info, INFO(EVENT_HW_EXC, 32)) } },
	{ PLAIN, "deliver-error-code is right for the exception",
	  { F(entry_intr_info, INFO(EVENT_HW_EXC, X86_GP)) } },
	{ PLAIN, NULL, { F(entry_intr_info, INFO(EVENT_HW_EXC, X86_GP) | INTR_ERROR_VALID) } },
	{ PLAIN, "deliver-error-code is right for the exception",
	  { F(entry_intr_info, INFO(EVENT_HW_EXC, X86_UD) | INTR_ERROR_VALID) } },
	{ PLAIN, "deliver-error-code is right for the exception",
	  { F(entry_intr_info, INFO(EVENT_SW_INT, X86_GP) | INTR_ERROR_VALID) } },
	{ PLAIN, "reserved bits of the interruption information are 0",
	  { F(entry_intr_info, INFO(EVENT_HW_EXC, X86_UD) | BIT(12)) } },
	{ PLAIN, "bits 31:16 of the error code are 0",
	  { F(entry_intr_info, INFO(EVENT_HW_EXC, X86_GP) | INTR_ERROR_VALID),
	    F(entry_error_code, 0x10000) } },
	{ PLAIN, "VM-entry instruction length is 0 to 15",
	  { F(entry_intr_info, INFO(EVENT_SW_INT, 0x80)), F(entry_insn_len, 16) } },
	{ PLAIN, NULL, { F(entry_intr_info, INFO(EVENT_SW_INT, 0x80)), F(entry_insn_len, 0) } },
	{ PLAIN, "VM-entry MSR-load address",
	  { F(entry_msr_load_count, 1), F(entry_msr_load_addr, 1) } },
	/* Host state */
	{ PLAIN, "host CR0", { F(host_cr0, CR0_PE | CR0_PG) } },
	{ PLAIN, "host CR0", { F(host_cr0, VMX_CR0_FIXED0 | BIT(32)) } },
	{ PLAIN, "host CR4", { F(host_cr4, CR4_PAE) } },
	{ PLAIN, "host CR4", { F(host_cr4, CR4_PAE | CR4_VMXE | CR4_SMXE) } },
	{ PLAIN, "host CR3 is within the physical-address width", { F(host_cr3, BEYOND) } },
	{ PLAIN, "host SYSENTER_ESP and SYSENTER_EIP are canonical",
	  { F(host_sysenter_esp, NONCANONICAL) } },
	{ PLAIN, "host SYSENTER_ESP and SYSENTER_EIP are canonical",
	  { F(host_sysenter_eip, NONCANONICAL) } },
	{ PLAIN, "host IA32_PAT",
	  { F(exit_controls, EXIT_REQ | VMEXIT_LOAD_PAT), F(host_pat, 0x0007040600070402) } },
	{ PLAIN, NULL,
	  { F(exit_controls, EXIT_REQ | VMEXIT_LOAD_PAT), F(host_pat, 0x0007040600070406) } },
	{ PLAIN, "host IA32_EFER",
	  { F(exit_controls, EXIT_REQ | VMEXIT_LOAD_EFER), F(host_efer, EFER_LMA) } },
	{ PLAIN, "host IA32_EFER",
	  { F(exit_controls, EXIT_REQ | VMEXIT_LOAD_EFER),
	    F(host_efer, EFER_LMA | EFER_LME | BIT(1)) } },
	{ PLAIN, NULL,
	  { F(exit_controls, EXIT_REQ | VMEXIT_LOAD_EFER),
	    F(host_efer, EFER_LMA | EFER_LME | EFER_NXE) } },
	{ PLAIN, "RPL and TI of host selectors are 0", { F(host_ds_sel, 4) } },
	{ PLAIN, "RPL and TI of host selectors are 0", { F(host_tr_sel, 0x41) } },
	{ PLAIN, "host CS and TR are not null", { F(host_cs_sel, 0) } },
	{ PLAIN, "host CS and TR are not null", { F(host_tr_sel, 0) } },
	{ PLAIN, NULL, { F(host_ss_sel, 0) } },
	{ HOST32, NULL, { F(host_cr3, 0) } },
	{ HOST32, "SS of a 32-bit host is not null", { F(host_ss_sel, 0) } },
	{ PLAIN, "host base addresses are canonical", { F(host_gdtr_base, NONCANONICAL) } },
	{ PLAIN, "host base addresses are canonical", { F(host_tr_base, NONCANONICAL) } },
	{ PLAIN, "host address-space size fits IA32_EFER.LMA",
	  { F(exit_controls, EXIT_REQ & ~VMEXIT_HOST_ADDR64) } },
	{ HOST32, "host address-space size fits IA32_EFER.LMA", { F(exit_controls, EXIT_REQ) } },
	{ HOST32, "a 32-bit host has no 64-bit guest, no PCIDs, RIP below 4 GiB",
	  { F(host_rip, BIT(32)) } },
	{ HOST32, "a 32-bit host has no 64-bit guest, no PCIDs, RIP below 4 GiB",
	  { F(host_cr4, CR4_VMXE | CR4_PCIDE) } },
	{ PLAIN, "a 64-bit host has PAE and a canonical RIP", { F(host_cr4, CR4_VMXE) } },
	{ PLAIN, "a 64-bit host has PAE and a canonical RIP", { F(host_rip, NONCANONICAL) } },
	/* Guest registers */
	{ PLAIN, "guest CR0", { F(guest_cr0, CR0_PE | CR0_NE) } },
	{ PROT32, "guest CR0", { F(guest_cr0, 0x20) } },
	{ UNRESTRICTED, "guest CR0", { F(guest_cr0, CR0_PE | CR0_PG) } },
	{ UNRESTRICTED, "guest CR0.PG needs CR0.PE", { F(guest_cr0, CR0_NE | CR0_PG) } },
	{ PLAIN, "guest CR4", { F(guest_cr4, CR4_PAE) } },
	{ PLAIN, "guest CR4", { F(guest_cr4, CR4_PAE | CR4_VMXE | BIT(63)) } },
	{ PLAIN, "guest IA32_DEBUGCTL",
	  { F(entry_controls, ENTRY_REQ | VMENTRY_LOAD_DEBUG), F(guest_debugctl, BIT(2)) } },
	{ PLAIN, NULL, { F(guest_debugctl, BIT(2)) } },
	{ PLAIN, "IA-32e mode guest needs paging and PAE, others no PCIDs",
	  { F(guest_cr4, CR4_VMXE) } },
	{ PROT32, "IA-32e mode guest needs paging and PAE, others no PCIDs",
	  { F(guest_cr4, CR4_VMXE | CR4_PCIDE) } },
	{ PLAIN, "guest CR3 is within the physical-address width", { F(guest_cr3, BIT(63)) } },
	{ PLAIN, "bits 63:32 of guest DR7 are 0",
	  { F(entry_controls, ENTRY_REQ | VMENTRY_LOAD_DEBUG), F(guest_dr7, BIT(32)) } },
	{ PLAIN, "guest SYSENTER_ESP and SYSENTER_EIP are canonical",
	  { F(guest_sysenter_eip, NONCANONICAL) } },
	{ PLAIN, "guest IA32_PAT",
	  { F(entry_controls, ENTRY_REQ | VMENTRY_LOAD_PAT), F(guest_pat, 8) } },
	{ PLAIN, "guest IA32_PAT",
	  { F(entry_controls, ENTRY_REQ | VMENTRY_LOAD_PAT), F(guest_pat, 0x0300000000000000) } },
	{ PLAIN, "guest IA32_EFER",
	  { F(entry_controls, ENTRY_REQ | VMENTRY_LOAD_EFER), F(guest_efer, EFER_LME) } },
	{ PLAIN, "guest IA32_EFER",
	  { F(entry_controls, ENTRY_REQ | VMENTRY_LOAD_EFER), F(guest_efer, EFER_LMA) } },
	{ PLAIN, NULL,
	  { F(entry_controls, ENTRY_REQ | VMENTRY_LOAD_EFER), F(guest_efer, EFER_LMA | EFER_LME) } },
	/* Guest segments */
	{ PLAIN, "TI of TR is 0", { F(guest_tr_sel, 0x1c) } },
	{ PLAIN, NULL, { F(guest_ldtr_sel, 4) } },
	{ PLAIN, "TI of LDTR is 0", { F(guest_ldtr_sel, 4), F(guest_ldtr_ar, 0x82) } },
	{ PLAIN, "RPL of SS is RPL of CS", { F(guest_ss_sel, 3) } },
	{ VM86, NULL, { F(guest_ss_sel, 0x100) } },
	{ VM86, "virtual-8086 base addresses", { F(guest_gs_base, 0x1010) } },
	{ PLAIN, "bases of TR, FS, GS, LDTR are canonical", { F(guest_fs_base, NONCANONICAL) } },
	{ PLAIN, NULL, { F(guest_ldtr_base, NONCANONICAL) } },
	{ PLAIN, "bases of CS, SS, DS, ES are below 4 GiB", { F(guest_cs_base, BIT(32)) } },
	{ PLAIN, "bases of CS, SS, DS, ES are below 4 GiB", { F(guest_ds_base, BIT(32)) } },
	{ PLAIN, NULL, { F(guest_ds_base, BIT(32)), F(guest_ds_ar, SEG_UNUSABLE) } },
	{ VM86, "virtual-8086 limits", { F(guest_cs_limit, 0xfffff) } },
	{ VM86, "virtual-8086 access rights", { F(guest_ds_ar, 0x93) } },
	{ PLAIN, "segment types", { F(guest_cs_ar, 0xa09a) } },
	{ PLAIN, "segment types", { F(guest_cs_ar, AR_DATA) } },
	{ UNRESTRICTED, NULL, { F(guest_cs_ar, AR_DATA) } },
	{ PLAIN, "segment types", { F(guest_ss_ar, AR_CODE32) } },
	{ PLAIN, NULL, { F(guest_ss_ar, 0xc097) } },
	{ PLAIN, "segment types", { F(guest_ds_ar, 0xc099) } }, /* execute-only */
	{ PLAIN, "segment types", { F(guest_ds_ar, 0xc092) } }, /* not accessed */
	{ PLAIN, "S of segments is 1", { F(guest_es_ar, 0xc083) } },
	{ PLAIN, "DPL of CS, DS, ES, FS, GS", { F(guest_cs_ar, AR_CODE64 | 3 << 5) } },
	{ PLAIN, "DPL of CS, DS, ES, FS, GS", { F(guest_ds_sel, 0x13) } },
	{ UNRESTRICTED, NULL, { F(guest_ds_sel, 0x13) } },
	{ UNRESTRICTED, "DPL of CS, DS, ES, FS, GS", { F(guest_cs_ar, AR_DATA | 3 << 5) } },
	{ PLAIN, "DPL of SS",
	  { F(guest_cs_ar, 0xa09f), F(guest_ss_ar, AR_DATA | 3 << 5) } }, /* conforming CS */
	{ UNRESTRICTED, "DPL of SS", { F(guest_cs_ar, AR_DATA), F(guest_ss_ar, AR_DATA | 1 << 5) } },
	{ PLAIN, "segments are present", { F(guest_fs_ar, 0xc013) } },
	{ PLAIN, NULL, { F(guest_fs_ar, 0xc013 | SEG_UNUSABLE) } },
	{ PLAIN, "reserved access rights are 0", { F(guest_gs_ar, AR_DATA | BIT(8)) } },
	{ PLAIN, "reserved access rights are 0", { F(guest_gs_ar, AR_DATA | BIT(17)) } },
	{ PLAIN, "64-bit CS has D/B 0", { F(guest_cs_ar, AR_CODE64 | SEG_DB) } },
	{ PLAIN, "granularity fits the limit", { F(guest_ds_ar, 0x4093) } },
	{ PLAIN, "granularity fits the limit", { F(guest_ds_limit, 0xff) } },
	{ PLAIN, NULL, { F(guest_ds_limit, 0xff), F(guest_ds_ar, 0x4093) } },
	{ PLAIN, "access rights of TR", { F(guest_tr_ar, 0x83) } },
	{ PROT32, NULL, { F(guest_tr_ar, 0x83) } },
	{ PLAIN, "access rights of TR", { F(guest_tr_ar, 0x89) } },
	{ PLAIN, "access rights of TR", { F(guest_tr_ar, AR_TSS | SEG_UNUSABLE) } },
	{ PLAIN, "access rights of TR", { F(guest_tr_ar, AR_TSS | SEG_S) } },
	{ PLAIN, "access rights of LDTR", { F(guest_ldtr_ar, 0x8b) } },
	{ PLAIN, NULL, { F(guest_ldtr_ar, 0x82) } },
	{ PLAIN, "GDTR and IDTR bases are canonical", { F(guest_idtr_base, NONCANONICAL) } },
	{ PLAIN, "GDTR and IDTR limits are below 64 KiB", { F(guest_gdtr_limit, 0x10000) } },
	/* RIP, RFLAGS */
	{ PLAIN, "guest RIP", { F(guest_rip, BIT(48)) } },
	{ PLAIN, NULL, { F(guest_rip, NONCANONICAL) } }, /* bits 63:48 are identical */
	{ PROT32, "guest RIP", { F(guest_rip, BIT(32)) } },
	{ PLAIN, "reserved bits of RFLAGS", { F(guest_rflags, 0) } },
	{ PLAIN, "reserved bits of RFLAGS", { F(guest_rflags, 2 | BIT(22)) } },
	{ PLAIN, "reserved bits of RFLAGS", { F(guest_rflags, 2 | BIT(15)) } },
	{ UNRESTRICTED, "RFLAGS.VM needs protected mode outside IA-32e mode",
	  { F(entry_controls, ENTRY_REQ & ~VMENTRY_IA32E_GUEST), F(guest_cr0, CR0_NE),
	    F(guest_tr_sel, 0x18) } },
	{ PLAIN, "an injected interrupt needs RFLAGS.IF",
	  { F(entry_intr_info, INFO(EVENT_EXTINT, 0x30)) } },
	{ PLAIN, NULL,
	  { F(entry_intr_info, INFO(EVENT_EXTINT, 0x30)), F(guest_rflags, 2 | RFLAGS_IF) } },
	/* Non-register state */
	{ PLAIN, "activity state is supported", { F(guest_activity, 4) } },
	{ PLAIN, NULL, { F(guest_activity, 3) } },
	{ VM86, "HLT state needs DPL 0 of SS", { F(guest_activity, CPU_HLT) } },
	{ PLAIN, "blocking by STI or MOV SS needs the active state",
	  { F(guest_activity, CPU_HLT), F(guest_interruptibility, INTRBL_MOVSS) } },
	{ INJECT, "the event may be injected into the activity state",
	  { F(guest_activity, CPU_HLT) } },
	{ PLAIN, NULL,
	  { F(guest_activity, CPU_HLT), F(entry_intr_info, INFO(EVENT_HW_EXC, X86_DB)) } },
	{ PLAIN, "the event may be injected into the activity state",
	  { F(guest_activity, CPU_SHUTDOWN), F(entry_intr_info, INFO(EVENT_HW_EXC, X86_DB)) } },
	{ PLAIN, "the event may be injected into the activity state",
	  { F(guest_activity, CPU_WAIT_SIPI), F(entry_intr_info, INFO(EVENT_NMI, 2)) } },
	{ PLAIN, "reserved bits of the interruptibility state are 0",
	  { F(guest_interruptibility, BIT(5)) } },
	{ PLAIN, "no blocking by STI and MOV SS at once",
	  { F(guest_interruptibility, 3), F(guest_rflags, 2 | RFLAGS_IF) } },
	{ PLAIN, "blocking by STI needs RFLAGS.IF", { F(guest_interruptibility, INTRBL_STI) } },
	{ PLAIN, "no interrupt is injected in a shadow",
	  { F(guest_interruptibility, INTRBL_STI), F(guest_rflags, 2 | RFLAGS_IF),
	    F(entry_intr_info, INFO(EVENT_EXTINT, 0x30)) } },
	{ PLAIN, "no NMI is injected while blocked by MOV SS",
	  { F(guest_interruptibility, INTRBL_MOVSS), F(entry_intr_info, INFO(EVENT_NMI, 2)) } },
	{ PLAIN, "no blocking by SMI outside SMM", { F(guest_interruptibility, INTRBL_SMI) } },
	{ NMI, "no NMI is injected under virtual-NMI blocking",
	  { F(guest_interruptibility, INTRBL_NMI), F(entry_intr_info, INFO(EVENT_NMI, 2)) } },
	{ PLAIN, NULL,
	  { F(guest_interruptibility, INTRBL_NMI), F(entry_intr_info, INFO(EVENT_NMI, 2)) } },
	{ PLAIN, "no enclave interruption", { F(guest_interruptibility, INTRBL_ENCLAVE) } },
	{ PLAIN, "reserved bits of the pending debug exceptions are 0",
	  { F(guest_pending_dbg, BIT(13)) } },
	{ PLAIN, "pending BS fits RFLAGS.TF",
	  { F(guest_activity, CPU_HLT), F(guest_rflags, 2 | RFLAGS_TF) } },
	{ PLAIN, NULL,
	  { F(guest_activity, CPU_HLT), F(guest_rflags, 2 | RFLAGS_TF),
	    F(guest_pending_dbg, PENDING_DBG_BS) } },
	{ PLAIN, "pending BS fits RFLAGS.TF",
	  { F(guest_interruptibility, INTRBL_MOVSS), F(guest_pending_dbg, PENDING_DBG_BS) } },
	{ PLAIN, "VMCS link pointer", { F(vmcs_link_pointer, 0x1001) } },
	{ PLAIN, "VMCS link pointer", { F(vmcs_link_pointer, 0x9000) } },
	{ PLAIN, "VMCS link pointer", { F(vmcs_link_pointer, BEYOND) } },
	/* PDPTEs */
	{ PAE_EPT, NULL, { F(guest_pdpte0, 0x1e6) } },
	{ PAE_EPT, "PDPTEs", { F(guest_pdpte3, 0x1e7) } },
	{ PAE_EPT, "PDPTEs", { F(guest_pdpte1, BEYOND | 1) } },
	{ PAE_EPT, NULL, { F(guest_pdpte2, 0x5019) } },
	{ PLAIN, NULL, { F(guest_pdpte2, 0x1e7) } },
};

static void check_case(struct soft_cpu *c, const struct test_case *t, unsigned nr)
{
	struct vmcs *v = good_vmcs(c);
	const struct entry_check *row;

	make_base(c, v, t->base);
	for (unsigned n = 0; n < ARRAY_SIZE(t->set); n++) {
		bool high;
		const struct vmcs_field *f = vmcs_find(c->vmx, t->set[n].field, &high);

		/* Encoding 0 is the VPID: an unused entry sets nothing. */
		if (t->set[n].field || t->set[n].value)
			vmcs_put(c->vmx->cur, f, high, t->set[n].value);
	}
	if (t->base == UNRESTRICTED && t->fails && !strncmp(t->fails, "RFLAGS.VM", 9)) {
		v->guest_rflags |= RFLAGS_VM;
		v->guest_es_sel = v->guest_cs_sel = v->guest_ss_sel = v->guest_ds_sel = 0;
		v->guest_es_limit = v->guest_cs_limit = v->guest_ss_limit = v->guest_ds_limit =
			v->guest_fs_limit = v->guest_gs_limit = 0xffff;
		set_seg_ars(v, 0xf3);
		v->guest_cs_ar = 0xf3;
	}
	row = run_all(c, v);
	if ((row ? row->text : NULL) != t->fails && (!row || !t->fails || strcmp(row->text, t->fails)))
		test_fail(__FILE__, __LINE__, "case %u: failed \"%s\", want \"%s\"", nr,
			  row ? row->text : "nothing", t->fails ? t->fails : "nothing");
}

TEST(vmx_checks, each_base_passes)
{
	struct soft_cpu *c = fake_cpu();

	for (enum base b = PLAIN; b <= INJECT; b++) {
		const struct test_case t = { b, NULL, { { 0, 0 } } };

		check_case(c, &t, 1000 + b);
	}
}

TEST(vmx_checks, good_and_bad_values)
{
	struct soft_cpu *c = fake_cpu();

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		check_case(c, &cases[i], i);
}

TEST(vmx_checks, every_row_has_a_bad_value)
{
	for (unsigned r = 0; r < nr_entry_checks; r++) {
		bool found = false;

		for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
			found |= cases[i].fails && !strcmp(cases[i].fails, entry_checks[r].text);
		if (!found)
			test_fail(__FILE__, __LINE__, "no case fails \"%s\"", entry_checks[r].text);
	}
}

TEST(vmx_checks, vtpr_in_memory)
{
	struct soft_cpu *c = fake_cpu();
	struct vmcs *v = good_vmcs(c);
	u32 vtpr = 0x50;

	make_base(c, v, TPR);
	v->tpr_threshold = 5;
	CHECK(run_all(c, v));
	phys_write(c, v->virtual_apic_addr + 0x80, &vtpr, sizeof(vtpr));
	CHECK(!run_all(c, v));
	v->tpr_threshold = 6;
	CHECK(run_all(c, v));
}

TEST(vmx_checks, pdptes_in_memory)
{
	struct soft_cpu *c = fake_cpu();
	struct vmcs *v = good_vmcs(c);
	u64 e = 0x2001;

	make_base(c, v, PROT32);
	v->guest_cr4 |= CR4_PAE;
	v->guest_cr3 = 0x8020;
	CHECK(!run_all(c, v));
	phys_write(c, 0x8020 + 24, &e, sizeof(e));
	CHECK(!run_all(c, v));
	e = 0x2003;
	phys_write(c, 0x8020 + 24, &e, sizeof(e));
	CHECK_EQ(run_all(c, v)->qualification, ENTRY_FAIL_PDPTE);
}

TEST(vmx_checks, link_pointer_to_a_vmcs)
{
	struct soft_cpu *c = fake_cpu();
	struct vmcs *v = good_vmcs(c);
	u32 revision = vmcs_revision();

	v->vmcs_link_pointer = 0xa000;
	CHECK_EQ(run_all(c, v)->qualification, ENTRY_FAIL_LINK);
	phys_write(c, 0xa000, &revision, sizeof(revision));
	CHECK(!run_all(c, v));
}
