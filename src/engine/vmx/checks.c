// SPDX-License-Identifier: MIT
/*
 * VM-entry checks, one row each, in the order and under the headings of the SDM
 * chapter "VM Entries". A row names the groups of fields that it reads: it runs
 * only when one of them was written since the last entry that passed.
 *
 * Rows for what is not advertised are missing on purpose: the reserved-bits
 * rows refuse those controls.
 */
#include "engine/vmx/vmx_internal.h"

#define CHECK_FN(name) static bool name(struct soft_cpu *c, const struct vmcs *v)
#define UNUSED_CPU (void)c

/* ---- What several rows ask ---- */

static bool address_ok(struct soft_cpu *c, u64 addr, unsigned align)
{
	return !(addr & (align - 1)) && !(addr & c->vmx->caps.phys_invalid);
}

static bool msr_area_ok(struct soft_cpu *c, u64 addr, u32 count)
{
	u64 last = addr + (u64)count * 16 - 1;

	return !count || (address_ok(c, addr, 16) && !(last & c->vmx->caps.phys_invalid));
}

static bool ctl_ok(const struct vmx_ctl_cap *cap, u32 value)
{
	return (value & cap->required) == cap->required && !(value & ~cap->allowed);
}

static bool has_tpr_shadow(const struct vmcs *v)
{
	return v->proc_controls & PROC_TPR_SHADOW;
}
static bool unrestricted(const struct vmcs *v)
{
	return vmcs_proc2(v) & PROC2_UNRESTRICTED_GUEST;
}
static bool ia32e_guest(const struct vmcs *v)
{
	return v->entry_controls & VMENTRY_IA32E_GUEST;
}
static bool host64(const struct vmcs *v)
{
	return v->exit_controls & VMEXIT_HOST_ADDR64;
}
static bool guest_vm86(const struct vmcs *v)
{
	return v->guest_rflags & RFLAGS_VM;
}
static bool injecting(const struct vmcs *v)
{
	return v->entry_intr_info & INTR_VALID;
}
static bool injecting_type(const struct vmcs *v, unsigned type)
{
	return injecting(v) && INTR_TYPE(v->entry_intr_info) == type;
}
static unsigned inject_vector(const struct vmcs *v)
{
	return v->entry_intr_info & 0xff;
}

/* ---- Checks on VMX Controls: VM-Execution Control Fields ---- */

CHECK_FN(pin_reserved)
{
	return ctl_ok(&c->vmx->caps.ctl[CTL_PIN], v->pin_controls);
}
CHECK_FN(proc_reserved)
{
	return ctl_ok(&c->vmx->caps.ctl[CTL_PROC], v->proc_controls);
}
CHECK_FN(proc2_reserved)
{
	return ctl_ok(&c->vmx->caps.ctl[CTL_PROC2], vmcs_proc2(v));
}
CHECK_FN(cr3_targets)
{
	UNUSED_CPU;
	return v->cr3_target_count <= VMX_NR_CR3_TARGETS;
}
CHECK_FN(io_bitmaps)
{
	return !(v->proc_controls & PROC_IO_BITMAPS) ||
	       (address_ok(c, v->io_bitmap_a, PAGE_SIZE) && address_ok(c, v->io_bitmap_b, PAGE_SIZE));
}
CHECK_FN(msr_bitmap)
{
	return !(v->proc_controls & PROC_MSR_BITMAPS) || address_ok(c, v->msr_bitmap, PAGE_SIZE);
}
CHECK_FN(virtual_apic_addr)
{
	return !has_tpr_shadow(v) || address_ok(c, v->virtual_apic_addr, PAGE_SIZE);
}
CHECK_FN(tpr_threshold_reserved)
{
	UNUSED_CPU;
	return !has_tpr_shadow(v) || !(v->tpr_threshold & ~0xfu);
}
CHECK_FN(tpr_threshold_vtpr)
{
	u32 vtpr = 0;

	if (!has_tpr_shadow(v) || !(v->tpr_threshold & 0xf))
		return true;
	phys_read(c, v->virtual_apic_addr + 0x80, &vtpr, sizeof(vtpr));
	return (v->tpr_threshold & 0xf) <= (vtpr >> 4 & 0xf);
}
CHECK_FN(virtual_nmis)
{
	UNUSED_CPU;
	return !(v->pin_controls & PIN_VIRTUAL_NMIS) || (v->pin_controls & PIN_NMI_EXITING);
}
CHECK_FN(nmi_window)
{
	UNUSED_CPU;
	return !(v->proc_controls & PROC_NMI_WINDOW) || (v->pin_controls & PIN_VIRTUAL_NMIS);
}
CHECK_FN(vpid_zero)
{
	UNUSED_CPU;
	return !(vmcs_proc2(v) & PROC2_VPID) || v->vpid;
}
CHECK_FN(ept_pointer)
{
	return !(vmcs_proc2(v) & PROC2_EPT) || ept_pointer_valid(c, v->ept_pointer);
}
CHECK_FN(unrestricted_ept)
{
	UNUSED_CPU;
	return !unrestricted(v) || (vmcs_proc2(v) & PROC2_EPT);
}

/* ---- VM-Exit Control Fields ---- */

CHECK_FN(exit_reserved)
{
	return ctl_ok(&c->vmx->caps.ctl[CTL_EXIT], v->exit_controls);
}
CHECK_FN(save_timer)
{
	UNUSED_CPU;
	return !(v->exit_controls & VMEXIT_SAVE_TIMER) || (v->pin_controls & PIN_PREEMPTION_TIMER);
}
CHECK_FN(exit_msr_store)
{
	return msr_area_ok(c, v->exit_msr_store_addr, v->exit_msr_store_count);
}
CHECK_FN(exit_msr_load)
{
	return msr_area_ok(c, v->exit_msr_load_addr, v->exit_msr_load_count);
}

/* ---- VM-Entry Control Fields ---- */

CHECK_FN(entry_reserved)
{
	return ctl_ok(&c->vmx->caps.ctl[CTL_ENTRY], v->entry_controls);
}
CHECK_FN(inject_type)
{
	unsigned type = INTR_TYPE(v->entry_intr_info);

	UNUSED_CPU;
	return !injecting(v) || (type != 1 && type != 7); /* 7: needs the monitor trap flag */
}
CHECK_FN(inject_vector_fits)
{
	UNUSED_CPU;
	if (injecting_type(v, EVENT_NMI))
		return inject_vector(v) == X86_NMI;
	return !injecting_type(v, EVENT_HW_EXC) || inject_vector(v) <= 31;
}
CHECK_FN(inject_error_code)
{
	const u32 with_error = BIT(X86_DF) | BIT(X86_TS) | BIT(X86_NP) | BIT(X86_SS) | BIT(X86_GP) |
			       BIT(X86_PF) | BIT(X86_AC);
	bool must;

	UNUSED_CPU;
	if (!injecting(v))
		return true;
	must = (!unrestricted(v) || (v->guest_cr0 & CR0_PE)) && injecting_type(v, EVENT_HW_EXC) &&
	       (with_error & BIT(inject_vector(v) & 31));
	return must == !!(v->entry_intr_info & INTR_ERROR_VALID);
}
CHECK_FN(inject_reserved)
{
	UNUSED_CPU;
	return !injecting(v) || !(v->entry_intr_info & 0x7ffff000);
}
CHECK_FN(inject_error_reserved)
{
	UNUSED_CPU;
	return !injecting(v) || !(v->entry_intr_info & INTR_ERROR_VALID) ||
	       !(v->entry_error_code & 0xffff0000);
}
CHECK_FN(inject_insn_len)
{
	UNUSED_CPU;
	return !(injecting_type(v, EVENT_SW_INT) || injecting_type(v, EVENT_PRIV_SW_EXC) ||
		 injecting_type(v, EVENT_SW_EXC)) ||
	       v->entry_insn_len <= INSN_MAX;
}
CHECK_FN(entry_msr_load)
{
	return msr_area_ok(c, v->entry_msr_load_addr, v->entry_msr_load_count);
}

/* ---- Checks on Host Control Registers, MSRs, and SSP ---- */

CHECK_FN(host_cr0)
{
	UNUSED_CPU;
	return (v->host_cr0 & VMX_CR0_FIXED0) == VMX_CR0_FIXED0 && !(v->host_cr0 & ~VMX_CR0_FIXED1);
}
CHECK_FN(host_cr4)
{
	return (v->host_cr4 & VMX_CR4_FIXED0) == VMX_CR4_FIXED0 &&
	       !(v->host_cr4 & ~c->vmx->caps.cr4_fixed1);
}
CHECK_FN(host_cr3)
{
	return !(v->host_cr3 & c->vmx->caps.phys_invalid);
}
CHECK_FN(host_sysenter)
{
	UNUSED_CPU;
	return addr_canonical(v->host_sysenter_esp) && addr_canonical(v->host_sysenter_eip);
}
CHECK_FN(host_pat)
{
	UNUSED_CPU;
	return !(v->exit_controls & VMEXIT_LOAD_PAT) || pat_valid(v->host_pat);
}
CHECK_FN(host_efer)
{
	const u64 long_bits = EFER_LMA | EFER_LME;

	return !(v->exit_controls & VMEXIT_LOAD_EFER) ||
	       (!(v->host_efer & ~c->vmx->caps.efer_valid) &&
		(v->host_efer & long_bits) == (host64(v) ? long_bits : 0));
}

/* ---- Checks on Host Segment and Descriptor-Table Registers ---- */

CHECK_FN(host_selectors)
{
	u16 all = v->host_es_sel | v->host_cs_sel | v->host_ss_sel | v->host_ds_sel |
		  v->host_fs_sel | v->host_gs_sel | v->host_tr_sel;

	UNUSED_CPU;
	return !(all & 7);
}
CHECK_FN(host_cs_tr)
{
	UNUSED_CPU;
	return v->host_cs_sel && v->host_tr_sel;
}
CHECK_FN(host_ss)
{
	UNUSED_CPU;
	return host64(v) || v->host_ss_sel;
}
CHECK_FN(host_bases)
{
	UNUSED_CPU;
	return addr_canonical(v->host_fs_base) && addr_canonical(v->host_gs_base) &&
	       addr_canonical(v->host_gdtr_base) && addr_canonical(v->host_idtr_base) &&
	       addr_canonical(v->host_tr_base);
}

/* ---- Checks Related to Address-Space Size ---- */

CHECK_FN(size_now)
{
	if (cpu_long_mode(c))
		return host64(v);
	return !ia32e_guest(v) && !host64(v);
}
CHECK_FN(size_host32)
{
	UNUSED_CPU;
	return host64(v) || (!ia32e_guest(v) && !(v->host_cr4 & CR4_PCIDE) && !(v->host_rip >> 32));
}
CHECK_FN(size_host64)
{
	UNUSED_CPU;
	return !host64(v) || ((v->host_cr4 & CR4_PAE) && addr_canonical(v->host_rip));
}

/* ---- Checks on Guest Control Registers, Debug Registers, and MSRs ---- */

CHECK_FN(guest_cr0)
{
	u64 fixed0 = VMX_CR0_FIXED0;

	UNUSED_CPU;
	if (unrestricted(v))
		fixed0 &= ~(CR0_PE | CR0_PG);
	return (v->guest_cr0 & fixed0) == fixed0 && !(v->guest_cr0 & ~VMX_CR0_FIXED1);
}
CHECK_FN(guest_paging)
{
	UNUSED_CPU;
	return !(v->guest_cr0 & CR0_PG) || (v->guest_cr0 & CR0_PE);
}
CHECK_FN(guest_cr4)
{
	return (v->guest_cr4 & VMX_CR4_FIXED0) == VMX_CR4_FIXED0 &&
	       !(v->guest_cr4 & ~c->vmx->caps.cr4_fixed1);
}
CHECK_FN(guest_debugctl)
{
	const u64 valid = 3; /* LBR, BTF */

	UNUSED_CPU;
	return !(v->entry_controls & VMENTRY_LOAD_DEBUG) || !(v->guest_debugctl & ~valid);
}
CHECK_FN(guest_ia32e)
{
	UNUSED_CPU;
	if (ia32e_guest(v))
		return (v->guest_cr0 & CR0_PG) && (v->guest_cr4 & CR4_PAE);
	return !(v->guest_cr4 & CR4_PCIDE);
}
CHECK_FN(guest_cr3)
{
	return !(v->guest_cr3 & c->vmx->caps.phys_invalid);
}
CHECK_FN(guest_dr7)
{
	UNUSED_CPU;
	return !(v->entry_controls & VMENTRY_LOAD_DEBUG) || !(v->guest_dr7 >> 32);
}
CHECK_FN(guest_sysenter)
{
	UNUSED_CPU;
	return addr_canonical(v->guest_sysenter_esp) && addr_canonical(v->guest_sysenter_eip);
}
CHECK_FN(guest_pat)
{
	UNUSED_CPU;
	return !(v->entry_controls & VMENTRY_LOAD_PAT) || pat_valid(v->guest_pat);
}
CHECK_FN(guest_efer)
{
	const u64 e = v->guest_efer;

	if (!(v->entry_controls & VMENTRY_LOAD_EFER))
		return true;
	return !(e & ~c->vmx->caps.efer_valid) && !!(e & EFER_LMA) == ia32e_guest(v) &&
	       (!(v->guest_cr0 & CR0_PG) || !!(e & EFER_LMA) == !!(e & EFER_LME));
}

/* ---- Checks on Guest Segment Registers ---- */

/* The guest's segment registers as one array, so that rows can loop. */
struct vseg {
	u64 base;
	u32 limit, ar;
	u16 sel;
	u8 nr; /* enum seg_reg, or VSEG_LDTR, VSEG_TR */
};
enum { VSEG_LDTR = NR_SEGS, VSEG_TR, NR_VSEGS };

static struct vseg guest_seg(const struct vmcs *v, unsigned nr)
{
#define VSEG(n, reg) case n: \
	return (struct vseg){ v->guest_##reg##_base, v->guest_##reg##_limit, v->guest_##reg##_ar, \
			      v->guest_##reg##_sel, n }
	switch (nr) {
	VSEG(SEG_ES, es);
	VSEG(SEG_CS, cs);
	VSEG(SEG_SS, ss);
	VSEG(SEG_DS, ds);
	VSEG(SEG_FS, fs);
	VSEG(SEG_GS, gs);
	VSEG(VSEG_LDTR, ldtr);
	default:
	VSEG(VSEG_TR, tr);
	}
#undef VSEG
}
static bool usable(u32 ar)
{
	return !(ar & SEG_UNUSABLE);
}
static unsigned ar_type(u32 ar)
{
	return ar & 0xf;
}
static unsigned ar_dpl(u32 ar)
{
	return ar >> 5 & 3;
}
static bool granularity_ok(u32 limit, u32 ar)
{
	return ((limit & 0xfff) == 0xfff || !(ar & SEG_G)) && (!(limit >> 20) || (ar & SEG_G));
}

CHECK_FN(sel_tr)
{
	UNUSED_CPU;
	return !(v->guest_tr_sel & 4);
}
CHECK_FN(sel_ldtr)
{
	UNUSED_CPU;
	return !usable(v->guest_ldtr_ar) || !(v->guest_ldtr_sel & 4);
}
CHECK_FN(sel_ss)
{
	UNUSED_CPU;
	return guest_vm86(v) || unrestricted(v) ||
	       (v->guest_ss_sel & 3) == (v->guest_cs_sel & 3);
}
CHECK_FN(base_vm86)
{
	UNUSED_CPU;
	for (unsigned n = 0; guest_vm86(v) && n < NR_SEGS; n++) {
		struct vseg s = guest_seg(v, n);

		if (s.base != (u64)s.sel << 4)
			return false;
	}
	return true;
}
CHECK_FN(base_canonical)
{
	UNUSED_CPU;
	return addr_canonical(v->guest_tr_base) && addr_canonical(v->guest_fs_base) &&
	       addr_canonical(v->guest_gs_base) &&
	       (!usable(v->guest_ldtr_ar) || addr_canonical(v->guest_ldtr_base));
}
CHECK_FN(base_32bit)
{
	UNUSED_CPU;
	return !(v->guest_cs_base >> 32) && !(usable(v->guest_ss_ar) && v->guest_ss_base >> 32) &&
	       !(usable(v->guest_ds_ar) && v->guest_ds_base >> 32) &&
	       !(usable(v->guest_es_ar) && v->guest_es_base >> 32);
}
CHECK_FN(limit_vm86)
{
	UNUSED_CPU;
	for (unsigned n = 0; guest_vm86(v) && n < NR_SEGS; n++)
		if (guest_seg(v, n).limit != 0xffff)
			return false;
	return true;
}
CHECK_FN(ar_vm86)
{
	UNUSED_CPU;
	for (unsigned n = 0; guest_vm86(v) && n < NR_SEGS; n++)
		if (guest_seg(v, n).ar != 0xf3)
			return false;
	return true;
}

/* The rest of the rows on access rights: each holds for the usable ones of ES,
 * CS, SS, DS, FS, GS outside virtual-8086 mode; CS is always usable. */
static bool each_seg(const struct vmcs *v, bool (*ok)(const struct vmcs *, const struct vseg *))
{
	for (unsigned n = 0; !guest_vm86(v) && n < NR_SEGS; n++) {
		struct vseg s = guest_seg(v, n);

		if ((n == SEG_CS || usable(s.ar)) && !ok(v, &s))
			return false;
	}
	return true;
}
static bool type_ok(const struct vmcs *v, const struct vseg *s)
{
	const unsigned t = ar_type(s->ar);

	switch (s->nr) {
	case SEG_CS: return (t & 9) == 9 || (t == 3 && unrestricted(v));
	case SEG_SS: return t == 3 || t == 7;
	default: return (t & 1) && (!(t & 8) || (t & 2));
	}
}
static bool s_ok(const struct vmcs *v, const struct vseg *s)
{
	(void)v;
	return s->ar & SEG_S;
}
static bool present_ok(const struct vmcs *v, const struct vseg *s)
{
	(void)v;
	return s->ar & SEG_P;
}
static bool reserved_ok(const struct vmcs *v, const struct vseg *s)
{
	(void)v;
	return !(s->ar & 0xfffe0f00);
}
static bool g_ok(const struct vmcs *v, const struct vseg *s)
{
	(void)v;
	return granularity_ok(s->limit, s->ar);
}
static bool dpl_ok(const struct vmcs *v, const struct vseg *s)
{
	const unsigned t = ar_type(s->ar), dpl = ar_dpl(s->ar), ss_dpl = ar_dpl(v->guest_ss_ar);

	switch (s->nr) {
	case SEG_CS:
		if (t == 3)
			return dpl == 0;
		return t == 9 || t == 11 ? dpl == ss_dpl : dpl <= ss_dpl;
	case SEG_SS: return true; /* dpl_ss */
	default: return unrestricted(v) || t > 11 || dpl >= (s->sel & 3u);
	}
}
CHECK_FN(ar_type_fits)
{
	UNUSED_CPU;
	return each_seg(v, type_ok);
}
CHECK_FN(ar_s)
{
	UNUSED_CPU;
	return each_seg(v, s_ok);
}
CHECK_FN(ar_dpl_fits)
{
	UNUSED_CPU;
	return each_seg(v, dpl_ok);
}
/* Checked whether SS is usable or not: its DPL is CPL. */
CHECK_FN(ar_dpl_ss)
{
	const unsigned dpl = ar_dpl(v->guest_ss_ar);

	UNUSED_CPU;
	if (guest_vm86(v))
		return true;
	if (!unrestricted(v) && dpl != (v->guest_ss_sel & 3u))
		return false;
	return dpl == 0 || (ar_type(v->guest_cs_ar) != 3 && (v->guest_cr0 & CR0_PE));
}
CHECK_FN(ar_present)
{
	UNUSED_CPU;
	return each_seg(v, present_ok);
}
CHECK_FN(ar_reserved)
{
	UNUSED_CPU;
	return each_seg(v, reserved_ok);
}
CHECK_FN(ar_cs_db)
{
	UNUSED_CPU;
	return guest_vm86(v) || !ia32e_guest(v) || !(v->guest_cs_ar & SEG_L) ||
	       !(v->guest_cs_ar & SEG_DB);
}
CHECK_FN(ar_g)
{
	UNUSED_CPU;
	return each_seg(v, g_ok);
}
CHECK_FN(ar_tr)
{
	const u32 ar = v->guest_tr_ar;
	const unsigned t = ar_type(ar);

	UNUSED_CPU;
	return (t == 11 || (t == 3 && !ia32e_guest(v))) && !(ar & SEG_S) && (ar & SEG_P) &&
	       !(ar & 0xfffe0f00) && usable(ar) && granularity_ok(v->guest_tr_limit, ar);
}
CHECK_FN(ar_ldtr)
{
	const u32 ar = v->guest_ldtr_ar;

	UNUSED_CPU;
	return !usable(ar) || (ar_type(ar) == 2 && !(ar & SEG_S) && (ar & SEG_P) &&
			       !(ar & 0xfffe0f00) && granularity_ok(v->guest_ldtr_limit, ar));
}

/* ---- Checks on Guest Descriptor-Table Registers ---- */

CHECK_FN(table_bases)
{
	UNUSED_CPU;
	return addr_canonical(v->guest_gdtr_base) && addr_canonical(v->guest_idtr_base);
}
CHECK_FN(table_limits)
{
	UNUSED_CPU;
	return !(v->guest_gdtr_limit >> 16) && !(v->guest_idtr_limit >> 16);
}

/* ---- Checks on Guest RIP, RFLAGS, and SSP ---- */

CHECK_FN(guest_rip)
{
	UNUSED_CPU;
	if (ia32e_guest(v) && (v->guest_cs_ar & SEG_L))
		return v->guest_rip >> 48 == 0 || v->guest_rip >> 48 == 0xffff;
	return !(v->guest_rip >> 32);
}
CHECK_FN(rflags_reserved)
{
	const u64 zero = ~(u64)0x3fffff | BIT(15) | BIT(5) | BIT(3);

	UNUSED_CPU;
	return !(v->guest_rflags & zero) && (v->guest_rflags & RFLAGS_RSV1);
}
CHECK_FN(rflags_vm)
{
	UNUSED_CPU;
	return !guest_vm86(v) || (!ia32e_guest(v) && (v->guest_cr0 & CR0_PE));
}
CHECK_FN(rflags_if)
{
	UNUSED_CPU;
	return !injecting_type(v, EVENT_EXTINT) || (v->guest_rflags & RFLAGS_IF);
}

/* ---- Checks on Guest Non-Register State ---- */

static bool shadowed(const struct vmcs *v)
{
	return v->guest_interruptibility & (INTRBL_STI | INTRBL_MOVSS);
}
CHECK_FN(activity_supported)
{
	UNUSED_CPU;
	return v->guest_activity <= CPU_WAIT_SIPI;
}
CHECK_FN(activity_hlt_dpl)
{
	UNUSED_CPU;
	return v->guest_activity != CPU_HLT || !ar_dpl(v->guest_ss_ar);
}
CHECK_FN(activity_shadow)
{
	UNUSED_CPU;
	return !shadowed(v) || v->guest_activity == CPU_ACTIVE;
}
CHECK_FN(activity_inject)
{
	const unsigned type = INTR_TYPE(v->entry_intr_info), vector = inject_vector(v);

	UNUSED_CPU;
	if (!injecting(v))
		return true;
	switch (v->guest_activity) {
	case CPU_HLT:
		return type == EVENT_EXTINT || type == EVENT_NMI ||
		       (type == EVENT_HW_EXC && (vector == X86_DB || vector == X86_MC));
	case CPU_SHUTDOWN:
		return type == EVENT_NMI || (type == EVENT_HW_EXC && vector == X86_MC);
	case CPU_WAIT_SIPI: return false;
	default: return true;
	}
}
CHECK_FN(intrbl_reserved)
{
	UNUSED_CPU;
	return !(v->guest_interruptibility & ~0x1fu);
}
CHECK_FN(intrbl_both)
{
	UNUSED_CPU;
	return (v->guest_interruptibility & (INTRBL_STI | INTRBL_MOVSS)) !=
	       (INTRBL_STI | INTRBL_MOVSS);
}
CHECK_FN(intrbl_sti)
{
	UNUSED_CPU;
	return !(v->guest_interruptibility & INTRBL_STI) || (v->guest_rflags & RFLAGS_IF);
}
CHECK_FN(intrbl_extint)
{
	UNUSED_CPU;
	return !injecting_type(v, EVENT_EXTINT) || !shadowed(v);
}
CHECK_FN(intrbl_nmi_movss)
{
	UNUSED_CPU;
	return !injecting_type(v, EVENT_NMI) || !(v->guest_interruptibility & INTRBL_MOVSS);
}
CHECK_FN(intrbl_smi)
{
	UNUSED_CPU;
	return !(v->guest_interruptibility & INTRBL_SMI);
}
CHECK_FN(intrbl_nmi)
{
	UNUSED_CPU;
	return !(v->pin_controls & PIN_VIRTUAL_NMIS) || !injecting_type(v, EVENT_NMI) ||
	       !(v->guest_interruptibility & INTRBL_NMI);
}
CHECK_FN(intrbl_enclave)
{
	UNUSED_CPU;
	return !(v->guest_interruptibility & INTRBL_ENCLAVE);
}
CHECK_FN(pending_dbg_reserved)
{
	const u64 valid = 0xf | PENDING_DBG_ENABLED_BP | PENDING_DBG_BS;

	UNUSED_CPU;
	return !(v->guest_pending_dbg & ~valid);
}
CHECK_FN(pending_dbg_bs)
{
	u64 debugctl = v->entry_controls & VMENTRY_LOAD_DEBUG ? v->guest_debugctl
							      : c->s.msr.debugctl;
	bool step = (v->guest_rflags & RFLAGS_TF) && !(debugctl & 2);

	if (!shadowed(v) && v->guest_activity != CPU_HLT)
		return true;
	return step == !!(v->guest_pending_dbg & PENDING_DBG_BS);
}
CHECK_FN(link_pointer)
{
	u32 revision;

	if (v->vmcs_link_pointer == ~0ull)
		return true;
	return address_ok(c, v->vmcs_link_pointer, PAGE_SIZE) &&
	       phys_read(c, v->vmcs_link_pointer, &revision, sizeof(revision)) &&
	       revision == vmcs_revision();
}

/* ---- Checks on Guest Page-Directory-Pointer-Table Entries ---- */

CHECK_FN(pdptes)
{
	const u64 reserved = c->vmx->caps.phys_invalid | 0x1e6;
	u64 p[4];

	if (!(v->guest_cr0 & CR0_PG) || !(v->guest_cr4 & CR4_PAE) || ia32e_guest(v))
		return true;
	if (!(vmcs_proc2(v) & PROC2_EPT))
		return vmx_load_pdptes(c, v->guest_cr3, p);
	p[0] = v->guest_pdpte0;
	p[1] = v->guest_pdpte1;
	p[2] = v->guest_pdpte2;
	p[3] = v->guest_pdpte3;
	for (unsigned i = 0; i < 4; i++)
		if ((p[i] & 1) && (p[i] & reserved))
			return false;
	return true;
}

/* ---- The rows ---- */

#define EXECUTION "VM-Execution Control Fields"
#define EXITS	  "VM-Exit Control Fields"
#define ENTRIES	  "VM-Entry Control Fields"
#define HOST_REGS "Checks on Host Control Registers, MSRs, and SSP"
#define HOST_SEGS "Checks on Host Segment and Descriptor-Table Registers"
#define SIZES	  "Checks Related to Address-Space Size"
#define REGS	  "Checks on Guest Control Registers, Debug Registers, and MSRs"
#define SEGS	  "Checks on Guest Segment Registers"
#define TABLES	  "Checks on Guest Descriptor-Table Registers"
#define RIPS	  "Checks on Guest RIP, RFLAGS, and SSP"
#define NONREG	  "Checks on Guest Non-Register State"
#define PDPTES	  "Checks on Guest Page-Directory-Pointer-Table Entries"

/* clang-format off */
#define CTL(heading, inputs, fn, text)	{ heading, text, CHECK_CONTROLS, inputs, 0, fn }
#define HOST(heading, inputs, fn, text)	{ heading, text, CHECK_HOST, inputs, 0, fn }
#define GUEST(heading, inputs, fn, text) { heading, text, CHECK_GUEST, inputs, ENTRY_FAIL_DEFAULT, fn }
#define GUESTQ(heading, inputs, qual, fn, text) { heading, text, CHECK_GUEST, inputs, qual, fn }

const struct entry_check entry_checks[] = {
CTL(EXECUTION, G_CTL, pin_reserved, "reserved bits of the pin-based controls"),
CTL(EXECUTION, G_CTL | G_PROC, proc_reserved, "reserved bits of the primary processor-based controls"),
CTL(EXECUTION, G_CTL, proc2_reserved, "reserved bits of the secondary processor-based controls"),
CTL(EXECUTION, G_CTL, cr3_targets, "CR3-target count is at most 4"),
CTL(EXECUTION, G_CTL, io_bitmaps, "I/O-bitmap addresses"),
CTL(EXECUTION, G_CTL, msr_bitmap, "MSR-bitmap address"),
CTL(EXECUTION, G_CTL, virtual_apic_addr, "virtual-APIC address"),
CTL(EXECUTION, G_CTL | G_TPR, tpr_threshold_reserved, "bits 31:4 of the TPR threshold are 0"),
CTL(EXECUTION, G_ALWAYS, tpr_threshold_vtpr, "TPR threshold is at most VTPR's bits 7:4"),
CTL(EXECUTION, G_CTL, virtual_nmis, "virtual NMIs need NMI exiting"),
CTL(EXECUTION, G_CTL | G_PROC, nmi_window, "NMI-window exiting needs virtual NMIs"),
CTL(EXECUTION, G_CTL, vpid_zero, "VPID is not 0"),
CTL(EXECUTION, G_CTL, ept_pointer, "EPT pointer"),
CTL(EXECUTION, G_CTL, unrestricted_ept, "unrestricted guest needs EPT"),

CTL(EXITS, G_CTL, exit_reserved, "reserved bits of the VM-exit controls"),
CTL(EXITS, G_CTL, save_timer, "saving the VMX-preemption timer needs its activation"),
CTL(EXITS, G_CTL, exit_msr_store, "VM-exit MSR-store address"),
CTL(EXITS, G_CTL, exit_msr_load, "VM-exit MSR-load address"),

CTL(ENTRIES, G_CTL, entry_reserved, "reserved bits of the VM-entry controls"),
CTL(ENTRIES, G_INJ, inject_type, "interruption type is not reserved"),
CTL(ENTRIES, G_INJ, inject_vector_fits, "vector is consistent with the interruption type"),
CTL(ENTRIES, G_INJ | G_CTL | G_CR, inject_error_code, "deliver-error-code is right for the exception"),
CTL(ENTRIES, G_INJ, inject_reserved, "reserved bits of the interruption information are 0"),
CTL(ENTRIES, G_INJ, inject_error_reserved, "bits 31:16 of the error code are 0"),
CTL(ENTRIES, G_INJ, inject_insn_len, "VM-entry instruction length is 0 to 15"),
CTL(ENTRIES, G_CTL, entry_msr_load, "VM-entry MSR-load address"),

HOST(HOST_REGS, G_HOST, host_cr0, "host CR0"),
HOST(HOST_REGS, G_HOST, host_cr4, "host CR4"),
HOST(HOST_REGS, G_HOST, host_cr3, "host CR3 is within the physical-address width"),
HOST(HOST_REGS, G_HOST, host_sysenter, "host SYSENTER_ESP and SYSENTER_EIP are canonical"),
HOST(HOST_REGS, G_HOST | G_CTL, host_pat, "host IA32_PAT"),
HOST(HOST_REGS, G_HOST | G_CTL, host_efer, "host IA32_EFER"),
HOST(HOST_SEGS, G_HOST, host_selectors, "RPL and TI of host selectors are 0"),
HOST(HOST_SEGS, G_HOST, host_cs_tr, "host CS and TR are not null"),
HOST(HOST_SEGS, G_HOST | G_CTL, host_ss, "SS of a 32-bit host is not null"),
HOST(HOST_SEGS, G_HOST, host_bases, "host base addresses are canonical"),
HOST(SIZES, G_ALWAYS, size_now, "host address-space size fits IA32_EFER.LMA"),
HOST(SIZES, G_HOST | G_CTL, size_host32, "a 32-bit host has no 64-bit guest, no PCIDs, RIP below 4 GiB"),
HOST(SIZES, G_HOST | G_CTL, size_host64, "a 64-bit host has PAE and a canonical RIP"),

GUEST(REGS, G_CR | G_CTL, guest_cr0, "guest CR0"),
GUEST(REGS, G_CR, guest_paging, "guest CR0.PG needs CR0.PE"),
GUEST(REGS, G_CR, guest_cr4, "guest CR4"),
GUEST(REGS, G_CR | G_CTL, guest_debugctl, "guest IA32_DEBUGCTL"),
GUEST(REGS, G_CR | G_CTL, guest_ia32e, "IA-32e mode guest needs paging and PAE, others no PCIDs"),
GUEST(REGS, G_CR, guest_cr3, "guest CR3 is within the physical-address width"),
GUEST(REGS, G_CR | G_CTL, guest_dr7, "bits 63:32 of guest DR7 are 0"),
GUEST(REGS, G_CR, guest_sysenter, "guest SYSENTER_ESP and SYSENTER_EIP are canonical"),
GUEST(REGS, G_CR | G_CTL, guest_pat, "guest IA32_PAT"),
GUEST(REGS, G_CR | G_CTL, guest_efer, "guest IA32_EFER"),

GUEST(SEGS, G_SEG, sel_tr, "TI of TR is 0"),
GUEST(SEGS, G_SEG, sel_ldtr, "TI of LDTR is 0"),
GUEST(SEGS, G_SEG | G_FLAGS | G_CTL, sel_ss, "RPL of SS is RPL of CS"),
GUEST(SEGS, G_SEG | G_FLAGS, base_vm86, "virtual-8086 base addresses"),
GUEST(SEGS, G_SEG, base_canonical, "bases of TR, FS, GS, LDTR are canonical"),
GUEST(SEGS, G_SEG, base_32bit, "bases of CS, SS, DS, ES are below 4 GiB"),
GUEST(SEGS, G_SEG | G_FLAGS, limit_vm86, "virtual-8086 limits"),
GUEST(SEGS, G_SEG | G_FLAGS, ar_vm86, "virtual-8086 access rights"),
GUEST(SEGS, G_SEG | G_FLAGS | G_CTL, ar_type_fits, "segment types"),
GUEST(SEGS, G_SEG | G_FLAGS, ar_s, "S of segments is 1"),
GUEST(SEGS, G_SEG | G_FLAGS | G_CTL, ar_dpl_fits, "DPL of CS, DS, ES, FS, GS"),
GUEST(SEGS, G_SEG | G_FLAGS | G_CTL | G_CR, ar_dpl_ss, "DPL of SS"),
GUEST(SEGS, G_SEG | G_FLAGS, ar_present, "segments are present"),
GUEST(SEGS, G_SEG | G_FLAGS, ar_reserved, "reserved access rights are 0"),
GUEST(SEGS, G_SEG | G_FLAGS | G_CTL, ar_cs_db, "64-bit CS has D/B 0"),
GUEST(SEGS, G_SEG | G_FLAGS, ar_g, "granularity fits the limit"),
GUEST(SEGS, G_SEG | G_CTL, ar_tr, "access rights of TR"),
GUEST(SEGS, G_SEG, ar_ldtr, "access rights of LDTR"),

GUEST(TABLES, G_SEG, table_bases, "GDTR and IDTR bases are canonical"),
GUEST(TABLES, G_SEG, table_limits, "GDTR and IDTR limits are below 64 KiB"),

GUEST(RIPS, G_RIP | G_SEG | G_CTL, guest_rip, "guest RIP"),
GUEST(RIPS, G_FLAGS, rflags_reserved, "reserved bits of RFLAGS"),
GUEST(RIPS, G_FLAGS | G_CR | G_CTL, rflags_vm, "RFLAGS.VM needs protected mode outside IA-32e mode"),
GUEST(RIPS, G_FLAGS | G_INJ, rflags_if, "an injected interrupt needs RFLAGS.IF"),

GUEST(NONREG, G_NONREG, activity_supported, "activity state is supported"),
GUEST(NONREG, G_NONREG | G_SEG, activity_hlt_dpl, "HLT state needs DPL 0 of SS"),
GUEST(NONREG, G_NONREG, activity_shadow, "blocking by STI or MOV SS needs the active state"),
GUEST(NONREG, G_NONREG | G_INJ, activity_inject, "the event may be injected into the activity state"),
GUEST(NONREG, G_NONREG, intrbl_reserved, "reserved bits of the interruptibility state are 0"),
GUEST(NONREG, G_NONREG, intrbl_both, "no blocking by STI and MOV SS at once"),
GUEST(NONREG, G_NONREG | G_FLAGS, intrbl_sti, "blocking by STI needs RFLAGS.IF"),
GUEST(NONREG, G_NONREG | G_INJ, intrbl_extint, "no interrupt is injected in a shadow"),
GUEST(NONREG, G_NONREG | G_INJ, intrbl_nmi_movss, "no NMI is injected while blocked by MOV SS"),
GUEST(NONREG, G_NONREG, intrbl_smi, "no blocking by SMI outside SMM"),
GUEST(NONREG, G_NONREG | G_INJ | G_CTL, intrbl_nmi, "no NMI is injected under virtual-NMI blocking"),
GUEST(NONREG, G_NONREG, intrbl_enclave, "no enclave interruption"),
GUEST(NONREG, G_NONREG, pending_dbg_reserved, "reserved bits of the pending debug exceptions are 0"),
GUEST(NONREG, G_NONREG | G_FLAGS | G_CR | G_CTL, pending_dbg_bs, "pending BS fits RFLAGS.TF"),
GUESTQ(NONREG, G_NONREG, ENTRY_FAIL_LINK, link_pointer, "VMCS link pointer"),

GUESTQ(PDPTES, G_ALWAYS, ENTRY_FAIL_PDPTE, pdptes, "PDPTEs"),
};
/* clang-format on */
const unsigned nr_entry_checks = ARRAY_SIZE(entry_checks);

static_assert(ARRAY_SIZE(entry_checks) <= 64 * CHECK_WORDS, "a bit per row");

void checks_init(struct vmx *x)
{
	__builtin_memset(x->check_rows, 0, sizeof(x->check_rows));
	for (unsigned i = 0; i < nr_entry_checks; i++)
		for (unsigned g = 0; g < NR_GROUPS; g++)
			if (entry_checks[i].inputs & BIT(g))
				x->check_rows[g][i / 64] |= BIT(i % 64);
}

const struct entry_check *checks_run(struct soft_cpu *c, const struct vmcs *v, u32 dirty)
{
	u64 rows[CHECK_WORDS] = { 0 };

	for (u32 groups = dirty; groups; groups &= groups - 1) {
		const u64 *of_group = c->vmx->check_rows[__builtin_ctz(groups)];

		for (unsigned w = 0; w < CHECK_WORDS; w++)
			rows[w] |= of_group[w];
	}
	for (unsigned w = 0; w < CHECK_WORDS; w++) {
		for (u64 left = rows[w]; left; left &= left - 1) {
			const struct entry_check *row =
				&entry_checks[w * 64 + (unsigned)__builtin_ctzll(left)];

			if (!row->ok(c, v))
				return row;
		}
	}
	return NULL;
}
