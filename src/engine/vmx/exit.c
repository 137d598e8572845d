// SPDX-License-Identifier: MIT
/*
 * VM exits (SDM chapter "VM Exits"): exit information, saving of guest state,
 * loading of host state. Everything ends in exec_unwind(), in the host.
 */
#include "engine/compare.h"
#include "engine/softvm.h"
#include "engine/vmx/vmx_internal.h"

#define CR0_KEPT (CR0_ET | CR0_CD | CR0_NW | 0x1ffaffc0ull)

/* ---- Recording VM-Exit Information ---- */

/* In real-address mode no exception has an error code. */
static u32 event_info(const struct soft_cpu *c, const struct cpu_event *e)
{
	bool has_error = e->has_error && c->s.cr0 & CR0_PE;

	return INTR_VALID | e->vector | (u32)e->type << 8 | (has_error ? INTR_ERROR_VALID : 0);
}

/* What was being delivered through the IDT. */
static void record_vectoring(struct soft_cpu *c, struct vmcs *v, const struct vmx_exit_info *x)
{
	const struct cpu_event *e = &c->vectoring;

	v->idt_vectoring_info = 0;
	if (!e->pending || x->no_vectoring)
		return;
	v->idt_vectoring_info = event_info(c, e);
	v->idt_vectoring_error = e->error;
	if (e->type >= EVENT_SW_INT)
		v->exit_insn_len = e->insn_len;
}

static void record(struct soft_cpu *c, struct vmcs *v, const struct vmx_exit_info *x)
{
	v->exit_reason = x->reason;
	v->exit_qualification = x->qualification;
	v->exit_intr_info = x->intr_info;
	v->exit_error_code = x->error_code;
	v->exit_insn_len = x->insn_len;
	v->exit_insn_info = x->insn_info;
	if (x->has_gla)
		v->guest_linear_address = x->gla;
	if (x->has_gpa)
		v->guest_physical_address = x->gpa;
	record_vectoring(c, v, x);
	v->entry_intr_info &= ~(u32)INTR_VALID;
}

/* ---- Saving Guest State ---- */

/* Those whose saved flags have RF set. */
static bool faults(const struct cpu_event *e)
{
	return e->type == EVENT_HW_EXC && e->vector != X86_DB && e->vector != X86_DF &&
	       e->vector != X86_MC;
}

static u64 saved_rflags(const struct soft_cpu *c, const struct vmx_exit_info *x)
{
	u64 f = cpu_rflags(c);

	if (x->insn_len && !x->intr_info)
		return f & ~RFLAGS_RF;
	/* While delivering, what delivery would have pushed. */
	if (c->vectoring.pending && x->reason != EXIT_EXCEPTION_NMI)
		return faults(&c->vectoring) ? f | RFLAGS_RF : f;
	return x->fault_like ? f | RFLAGS_RF : f;
}

static void save_registers(struct soft_cpu *c, struct vmcs *v, const struct vmx_exit_info *x)
{
	v->guest_cr0 = c->s.cr0;
	v->guest_cr3 = c->s.cr3;
	v->guest_cr4 = c->s.cr4;
	v->guest_sysenter_cs = (u32)c->s.msr.sysenter_cs;
	v->guest_sysenter_esp = c->s.msr.sysenter_esp;
	v->guest_sysenter_eip = c->s.msr.sysenter_eip;
	if (v->exit_controls & VMEXIT_SAVE_DEBUG) {
		v->guest_dr7 = c->s.dr7;
		v->guest_debugctl = c->s.msr.debugctl;
	}
	if (v->exit_controls & VMEXIT_SAVE_PAT)
		v->guest_pat = c->s.msr.pat;
	if (v->exit_controls & VMEXIT_SAVE_EFER)
		v->guest_efer = c->s.msr.efer;
	if (cpu_long_mode(c) != !!(v->entry_controls & VMENTRY_IA32E_GUEST)) {
		v->entry_controls ^= VMENTRY_IA32E_GUEST;
		c->vmx->cur->dirty |= G_CTL; /* other fields may not fit it */
	}
	v->guest_rsp = c->s.gpr[RSP];
	v->guest_rip = c->s.rip;
	v->guest_rflags = saved_rflags(c, x);
}

#define SAVE_SEG(name, from)                                                                       \
	do {                                                                                       \
		const struct seg *s_ = (from);                                                     \
		v->guest_##name##_sel = s_->sel;                                                   \
		v->guest_##name##_base = s_->base;                                                 \
		v->guest_##name##_limit = s_->limit;                                               \
		v->guest_##name##_ar = s_->ar;                                                     \
	} while (0)

static void save_segments(const struct soft_cpu *c, struct vmcs *v)
{
	SAVE_SEG(es, &c->s.seg[SEG_ES]);
	SAVE_SEG(cs, &c->s.seg[SEG_CS]);
	SAVE_SEG(ss, &c->s.seg[SEG_SS]);
	SAVE_SEG(ds, &c->s.seg[SEG_DS]);
	SAVE_SEG(fs, &c->s.seg[SEG_FS]);
	SAVE_SEG(gs, &c->s.seg[SEG_GS]);
	SAVE_SEG(ldtr, &c->s.ldtr);
	SAVE_SEG(tr, &c->s.tr);
	v->guest_gdtr_base = c->s.gdtr.base;
	v->guest_gdtr_limit = c->s.gdtr.limit;
	v->guest_idtr_base = c->s.idtr.base;
	v->guest_idtr_limit = c->s.idtr.limit;
}

static u32 interruptibility(const struct soft_cpu *c)
{
	const bool nmi = c->vmx->pin & PIN_VIRTUAL_NMIS ? c->vmx->virtual_nmi_blocked
							: c->s.nmi_blocked;

	if (c->s.rip == c->s.movss_shadow_rip)
		return INTRBL_MOVSS | (nmi ? INTRBL_NMI : 0);
	return (c->s.rip == c->s.sti_shadow_rip ? INTRBL_STI : 0) | (nmi ? INTRBL_NMI : 0);
}

/* Debug traps that MOV SS holds back, or a single step that a trap-like exit
 * took the place of, stay pending. */
static u64 pending_debug(const struct soft_cpu *c, const struct vmx_exit_info *x)
{
	const bool step = (c->s.rflags & RFLAGS_TF) && !(c->s.msr.debugctl & 2);
	const bool is_db = x->reason == EXIT_EXCEPTION_NMI && (x->intr_info & 0xff) == X86_DB;
	u64 held = c->debug_held ? c->debug_held | PENDING_DBG_ENABLED_BP : 0;

	if (is_db)
		return 0;
	if (x->reason == EXIT_TPR_BELOW_THRESHOLD)
		return step ? PENDING_DBG_BS : 0;
	if (c->s.rip != c->s.movss_shadow_rip)
		return 0;
	return held | (step ? PENDING_DBG_BS : 0);
}

static void save_non_register(struct soft_cpu *c, struct vmcs *v, const struct vmx_exit_info *x)
{
	v->guest_activity = c->s.activity;
	v->guest_interruptibility = interruptibility(c);
	v->guest_pending_dbg = pending_debug(c, x);
	if (v->pin_controls & PIN_PREEMPTION_TIMER) {
		u32 left = vmx_timer_stop(c);

		if (v->exit_controls & VMEXIT_SAVE_TIMER)
			v->preemption_timer = left;
	}
	if (c->vmx->proc2 & PROC2_EPT) {
		v->guest_pdpte0 = c->s.pdpte[0];
		v->guest_pdpte1 = c->s.pdpte[1];
		v->guest_pdpte2 = c->s.pdpte[2];
		v->guest_pdpte3 = c->s.pdpte[3];
	}
}

/* ---- Loading Host State ---- */

static void load_host_registers(struct soft_cpu *c, const struct vmcs *v)
{
	const bool host64 = v->exit_controls & VMEXIT_HOST_ADDR64;

	c->s.cr0 = (v->host_cr0 & ~CR0_KEPT) | (c->s.cr0 & CR0_KEPT);
	c->s.cr3 = v->host_cr3;
	c->s.cr4 = host64 ? v->host_cr4 | CR4_PAE : v->host_cr4 & ~CR4_PCIDE;
	c->s.dr7 = 0x400;
	c->s.msr.debugctl = 0;
	c->s.msr.sysenter_cs = v->host_sysenter_cs;
	c->s.msr.sysenter_esp = v->host_sysenter_esp;
	c->s.msr.sysenter_eip = v->host_sysenter_eip;
	if (v->exit_controls & VMEXIT_LOAD_PAT)
		c->s.msr.pat = v->host_pat;
	if (v->exit_controls & VMEXIT_LOAD_EFER)
		c->s.msr.efer = v->host_efer;
	c->s.msr.efer &= ~(EFER_LMA | EFER_LME);
	c->s.msr.efer |= host64 ? EFER_LMA | EFER_LME : 0;
	c->s.gpr[RSP] = v->host_rsp;
	c->s.rip = v->host_rip;
	cpu_set_rflags(c, RFLAGS_RSV1);
}

static void load_host_segment(struct seg *s, u16 sel, u64 base)
{
	const u32 flat_data = 3 | SEG_S | SEG_P | SEG_DB | SEG_G;

	*s = (struct seg){ base, 0xffffffff, sel ? flat_data : (u32)SEG_UNUSABLE, sel };
}

static void load_host_segments(struct soft_cpu *c, const struct vmcs *v)
{
	const u32 code = 11 | SEG_S | SEG_P | SEG_G;
	const bool host64 = v->exit_controls & VMEXIT_HOST_ADDR64;

	c->s.seg[SEG_CS] = (struct seg){ 0, 0xffffffff, code | (host64 ? SEG_L : SEG_DB),
					 v->host_cs_sel };
	load_host_segment(&c->s.seg[SEG_SS], v->host_ss_sel, 0);
	load_host_segment(&c->s.seg[SEG_DS], v->host_ds_sel, 0);
	load_host_segment(&c->s.seg[SEG_ES], v->host_es_sel, 0);
	load_host_segment(&c->s.seg[SEG_FS], v->host_fs_sel, v->host_fs_base);
	load_host_segment(&c->s.seg[SEG_GS], v->host_gs_sel, v->host_gs_base);
	c->s.tr = (struct seg){ v->host_tr_base, 0x67, 11 | SEG_P, v->host_tr_sel };
	c->s.ldtr = (struct seg){ 0, 0, SEG_UNUSABLE, 0 };
	c->s.gdtr = (struct desc_table){ v->host_gdtr_base, 0xffff };
	c->s.idtr = (struct desc_table){ v->host_idtr_base, 0xffff };
}

static void load_host(struct soft_cpu *c, const struct vmcs *v)
{
	load_host_registers(c, v);
	load_host_segments(c, v);
	if ((c->s.cr4 & CR4_PAE) && !cpu_long_mode(c) &&
	    !vmx_load_pdptes(c, c->s.cr3, c->s.pdpte))
		vmx_abort(c, VMABORT_PDPTE);
	if (vmx_msr_load(c, v->exit_msr_load_addr, v->exit_msr_load_count))
		vmx_abort(c, VMABORT_MSR_LOAD);
}

/* ---- Leaving non-root operation ---- */

static void leave_non_root(struct soft_cpu *c)
{
	struct vmx *x = c->vmx;

	x->pin = x->proc = x->proc2 = 0;
	c->vmx_non_root = false;
	c->vpid = 0;
	c->eptp = 0;
	c->mode_changed = true;
	c->event.pending = c->vectoring.pending = false;
	c->s.sti_shadow_rip = c->s.movss_shadow_rip = ~0ull;
	c->debug_held = 0;
	c->s.activity = CPU_ACTIVE;
	if (c->shadow_step)
		c->shadow_step = c->single_step = false;
}

/* VPID 0 is what root operation and guests without VPIDs share. */
static void flush_without_vpid(struct soft_cpu *c, const struct vmcs *v)
{
	if (!(vmcs_proc2(v) & PROC2_VPID))
		tlb_flush_vpid(c, 0, false);
}

/* --trace vmx. Of the VMCS: it has all there is to say, and is not yet the host's. */
static void trace_exit(void *arg)
{
	const struct soft_cpu *c = arg;
	const struct vmcs *v = &c->vmx->cur->v;

	log_line(LOG_ERR, "cpu %u: exit %x qualification %llx interruption %x vectoring %x at %llx",
		 c->index, v->exit_reason, (unsigned long long)v->exit_qualification,
		 v->exit_intr_info, v->idt_vectoring_info, (unsigned long long)c->s.rip);
}

static void trace(struct soft_cpu *c)
{
	if (unlikely(c->vm->trace & TRACE_VMX))
		vec_saved(c, trace_exit, c);
}

void vmx_exit_with(struct soft_cpu *c, const struct vmx_exit_info *x)
{
	struct vmcs *v = &c->vmx->cur->v;
	const bool by_nmi = x->reason == EXIT_EXCEPTION_NMI && INTR_TYPE(x->intr_info) == EVENT_NMI;

	if (unlikely(c->comparing))
		compare_stop(c);
	record(c, v, x);
	trace(c);
	save_registers(c, v, x);
	save_segments(c, v);
	save_non_register(c, v, x);
	leave_non_root(c);
	if (by_nmi)
		c->s.nmi_blocked = true;
	if (vmx_msr_store(c, v->exit_msr_store_addr, v->exit_msr_store_count))
		vmx_abort(c, VMABORT_MSR_STORE);
	load_host(c, v);
	flush_without_vpid(c, v);
	cpu_request(c, REQ_EVENT);
	exec_unwind(c);
}

void vmx_exit(struct soft_cpu *c, u32 reason, u64 qualification)
{
	struct vmx_exit_info x = { .reason = reason, .qualification = qualification };

	vmx_exit_with(c, &x);
}

void vmx_entry_failed(struct soft_cpu *c, u32 reason, u64 qualification)
{
	struct vmcs *v = &c->vmx->cur->v;

	v->exit_reason = reason | EXIT_ENTRY_FAILURE;
	v->exit_qualification = qualification;
	trace(c);
	leave_non_root(c);
	load_host(c, v);
	flush_without_vpid(c, v);
	exec_unwind(c);
}

/* SDM "VMX Aborts": the processor shuts down and only RESET revives it. */
void vmx_abort(struct soft_cpu *c, u32 indicator)
{
	phys_write(c, c->vmx->cur->pa + offsetof(struct vmcs, abort), &indicator, sizeof(indicator));
	cpu_shutdown(c);
}

/* ---- Events ---- */

static bool page_fault_exits(const struct vmcs *v, const struct cpu_event *e)
{
	const bool bit = v->exception_bitmap & BIT(X86_PF);
	const bool match = (e->error & v->pfec_mask) == v->pfec_match;

	return bit == match;
}

static bool exception_exits(const struct vmcs *v, const struct cpu_event *e)
{
	if (e->type != EVENT_HW_EXC && e->type != EVENT_SW_EXC && e->type != EVENT_PRIV_SW_EXC)
		return false;
	if (e->vector == X86_PF)
		return page_fault_exits(v, e);
	return v->exception_bitmap >> (e->vector & 31) & 1;
}

static u64 event_qualification(const struct cpu_event *e)
{
	if (e->type != EVENT_HW_EXC)
		return 0;
	if (e->vector == X86_PF)
		return e->cr2;
	return e->vector == X86_DB ? e->dr6 & (0xf | BIT(13) | BIT(14)) : 0;
}

void vmx_intercept_event(struct soft_cpu *c, const struct cpu_event *e)
{
	struct vmx_exit_info x = { .reason = EXIT_EXCEPTION_NMI };

	if (!c->vmx_non_root || e->injected || !exception_exits(&c->vmx->cur->v, e))
		return;
	x.intr_info = event_info(c, e);
	x.error_code = e->error;
	x.qualification = event_qualification(e);
	x.insn_len = e->type >= EVENT_SW_INT ? e->insn_len : 0;
	x.fault_like = faults(e);
	x.no_vectoring = e->type == EVENT_HW_EXC && e->vector == X86_DF;
	if (c->vmx->iret_rip == c->s.rip && !c->vectoring.pending && !x.no_vectoring)
		x.intr_info |= INTR_NMI_UNBLOCK;
	vmx_exit_with(c, &x);
}

void vmx_check_triple_fault(struct soft_cpu *c)
{
	struct vmx_exit_info x = { .reason = EXIT_TRIPLE_FAULT, .no_vectoring = true };

	if (c->vmx_non_root)
		vmx_exit_with(c, &x);
}

void vmx_check_task_switch(struct soft_cpu *c, u16 sel, unsigned source, u8 insn_len)
{
	struct vmx_exit_info x = { .reason = EXIT_TASK_SWITCH,
				   .qualification = sel | (u64)source << 30,
				   .insn_len = insn_len };

	if (c->vmx_non_root)
		vmx_exit_with(c, &x);
}
