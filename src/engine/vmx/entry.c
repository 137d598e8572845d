// SPDX-License-Identifier: MIT
/*
 * VM entries (SDM chapter "VM Entries"): checks, loading of guest state and
 * MSRs, event injection.
 *
 * vmx_entry() is called with the VMLAUNCH or VMRESUME itself already found
 * good. It ends by unwinding into exec.c's loop, in the guest; or after the
 * instruction, with VMfail; or in the host, when guest state is bad.
 */
#include "engine/vmx/vmx_internal.h"

/* Bits of CR0 that entries and exits leave alone. */
#define CR0_KEPT (CR0_ET | CR0_CD | CR0_NW | 0x1ffaffc0ull)

/* ---- PDPTEs ---- */

bool vmx_load_pdptes(struct soft_cpu *c, u64 cr3, u64 pdpte[4])
{
	const u64 reserved = c->vmx->caps.phys_invalid | 0x1e6;

	if (!phys_read(c, cr3 & 0xffffffe0, pdpte, 32))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if ((pdpte[i] & 1) && (pdpte[i] & reserved))
			return false;
	return true;
}

static bool pae_paging(const struct soft_cpu *c)
{
	return (c->s.cr0 & CR0_PG) && (c->s.cr4 & CR4_PAE) && !cpu_long_mode(c);
}

static void load_pdptes(struct soft_cpu *c, const struct vmcs *v)
{
	if (!pae_paging(c))
		return;
	if (!(c->vmx->proc2 & PROC2_EPT)) {
		vmx_load_pdptes(c, c->s.cr3, c->s.pdpte); /* the checks have read them */
		return;
	}
	c->s.pdpte[0] = v->guest_pdpte0;
	c->s.pdpte[1] = v->guest_pdpte1;
	c->s.pdpte[2] = v->guest_pdpte2;
	c->s.pdpte[3] = v->guest_pdpte3;
}

/* ---- MSR areas ---- */

struct msr_entry {
	u32 index, reserved;
	u64 value;
};

/* What an area may not name whatever WRMSR and RDMSR say. */
static bool msr_load_allowed(const struct soft_cpu *c, const struct msr_entry *e)
{
	const u64 x2apic = BIT(10), enabled = BIT(11);

	if (e->reserved || e->index == 0xc0000100 || e->index == 0xc0000101 || e->index == 0x9b ||
	    e->index == 0x79)
		return false;
	return e->index >> 8 != 8 || (c->lapic.apic_base & (x2apic | enabled)) != (x2apic | enabled);
}
static bool msr_store_allowed(const struct soft_cpu *c, const struct msr_entry *e)
{
	const u64 x2apic = BIT(10), enabled = BIT(11);

	if (e->reserved || e->index == 0x9e)
		return false;
	return e->index >> 8 != 8 || (c->lapic.apic_base & (x2apic | enabled)) != (x2apic | enabled);
}

unsigned vmx_msr_load(struct soft_cpu *c, gpa_t addr, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		struct msr_entry e;

		if (n == VMX_MSR_LIST_MAX || !phys_read(c, addr + n * sizeof(e), &e, sizeof(e)) ||
		    !msr_load_allowed(c, &e) || !msr_write(c, e.index, e.value))
			return n + 1;
	}
	return 0;
}

unsigned vmx_msr_store(struct soft_cpu *c, gpa_t addr, unsigned count)
{
	for (unsigned n = 0; n < count; n++) {
		struct msr_entry e;
		gpa_t at = addr + n * sizeof(e);

		if (n == VMX_MSR_LIST_MAX || !phys_read(c, at, &e, sizeof(e)) ||
		    !msr_store_allowed(c, &e) || !msr_read(c, e.index, &e.value) ||
		    !phys_write(c, at + offsetof(struct msr_entry, value), &e.value, sizeof(e.value)))
			return n + 1;
	}
	return 0;
}

/* ---- Loading Guest State ---- */

static void load_efer(struct soft_cpu *c, const struct vmcs *v)
{
	const u64 lma = v->entry_controls & VMENTRY_IA32E_GUEST ? EFER_LMA : 0;
	u64 e = c->s.msr.efer;

	if (v->entry_controls & VMENTRY_LOAD_EFER) {
		c->s.msr.efer = v->guest_efer;
		return;
	}
	e = (e & ~EFER_LMA) | lma;
	if (c->s.cr0 & CR0_PG)
		e = (e & ~EFER_LME) | (lma ? EFER_LME : 0);
	c->s.msr.efer = e;
}

static void load_registers(struct soft_cpu *c, const struct vmcs *v)
{
	c->s.cr0 = (v->guest_cr0 & ~CR0_KEPT) | (c->s.cr0 & CR0_KEPT);
	c->s.cr3 = v->guest_cr3;
	c->s.cr4 = v->guest_cr4;
	if (v->entry_controls & VMENTRY_LOAD_DEBUG) {
		c->s.dr7 = (v->guest_dr7 & ~(BIT(12) | BIT(14) | BIT(15))) | BIT(10);
		c->s.msr.debugctl = v->guest_debugctl;
	}
	c->s.msr.sysenter_cs = v->guest_sysenter_cs;
	c->s.msr.sysenter_esp = v->guest_sysenter_esp;
	c->s.msr.sysenter_eip = v->guest_sysenter_eip;
	load_efer(c, v);
	if (v->entry_controls & VMENTRY_LOAD_PAT)
		c->s.msr.pat = v->guest_pat;
	c->s.gpr[RSP] = v->guest_rsp;
	c->s.rip = v->guest_rip;
	cpu_set_rflags(c, v->guest_rflags);
}

#define LOAD_SEG(to, name)                                                                         \
	(*(to) = (struct seg){ v->guest_##name##_base, v->guest_##name##_limit,                   \
				v->guest_##name##_ar, v->guest_##name##_sel })

static void load_segments(struct soft_cpu *c, const struct vmcs *v)
{
	LOAD_SEG(&c->s.seg[SEG_ES], es);
	LOAD_SEG(&c->s.seg[SEG_CS], cs);
	LOAD_SEG(&c->s.seg[SEG_SS], ss);
	LOAD_SEG(&c->s.seg[SEG_DS], ds);
	LOAD_SEG(&c->s.seg[SEG_FS], fs);
	LOAD_SEG(&c->s.seg[SEG_GS], gs);
	LOAD_SEG(&c->s.ldtr, ldtr);
	LOAD_SEG(&c->s.tr, tr);
	c->s.seg[SEG_CS].ar &= ~(u32)SEG_UNUSABLE;
	c->s.gdtr = (struct desc_table){ v->guest_gdtr_base, (u16)v->guest_gdtr_limit };
	c->s.idtr = (struct desc_table){ v->guest_idtr_base, (u16)v->guest_idtr_limit };
}

static void load_non_register(struct soft_cpu *c, const struct vmcs *v)
{
	const u32 blocked = v->guest_interruptibility;

	c->s.activity = (enum cpu_activity)v->guest_activity;
	c->s.sti_shadow_rip = blocked & INTRBL_STI ? c->s.rip : ~0ull;
	c->s.movss_shadow_rip = blocked & INTRBL_MOVSS ? c->s.rip : ~0ull;
	if (v->pin_controls & PIN_VIRTUAL_NMIS) {
		c->vmx->virtual_nmi_blocked = blocked & INTRBL_NMI;
		c->s.nmi_blocked = false;
	} else {
		c->vmx->virtual_nmi_blocked = false;
		c->s.nmi_blocked = blocked & INTRBL_NMI;
	}
}

void vmx_set_non_root(struct soft_cpu *c, const struct vmcs *v)
{
	struct vmx *x = c->vmx;

	x->pin = v->pin_controls;
	x->proc = v->proc_controls;
	x->proc2 = vmcs_proc2(v);
	x->iret_rip = ~0ull;
	c->vmx_non_root = true;
	c->vpid = x->proc2 & PROC2_VPID ? v->vpid : 0;
	c->eptp = x->proc2 & PROC2_EPT ? v->ept_pointer : 0;
	c->mode_changed = true;
}

/* ---- Event Injection ---- */

static bool is_software(unsigned type)
{
	return type == EVENT_SW_INT || type == EVENT_PRIV_SW_EXC || type == EVENT_SW_EXC;
}

static void inject_nmi_blocking(struct soft_cpu *c)
{
	if (c->vmx->pin & PIN_VIRTUAL_NMIS)
		c->vmx->virtual_nmi_blocked = true;
	else
		c->s.nmi_blocked = true;
}

/* Sets c->event; exec.c's loop delivers it before it looks at anything else. */
static void inject(struct soft_cpu *c, const struct vmcs *v)
{
	const u32 info = v->entry_intr_info;
	struct cpu_event e = {
		.pending = true,
		.vector = (u8)info,
		.type = INTR_TYPE(info),
		.has_error = info & INTR_ERROR_VALID,
		.error = v->entry_error_code,
		.injected = true,
	};

	if (is_software(e.type))
		e.insn_len = (u8)v->entry_insn_len;
	if (e.type == EVENT_NMI)
		inject_nmi_blocking(c);
	c->s.activity = CPU_ACTIVE;
	c->event = e;
}

/* "Delivery of Pending Debug Exceptions after VM Entry": a trap before the
 * guest's first instruction, or after it while MOV SS blocks. */
static void pending_debug(struct soft_cpu *c, const struct vmcs *v)
{
	const u64 p = v->guest_pending_dbg;

	if (!(p & (PENDING_DBG_ENABLED_BP | PENDING_DBG_BS)) || c->s.activity > CPU_HLT)
		return;
	if (v->guest_interruptibility & INTRBL_MOVSS) {
		c->debug_held = p & 0xf;
		c->single_step |= c->debug_held;
		return;
	}
	c->s.activity = CPU_ACTIVE;
	c->event = (struct cpu_event){ .pending = true, .vector = X86_DB, .type = EVENT_HW_EXC,
				       .dr6 = p & (0xf | PENDING_DBG_BS) };
}

static void start_guest(struct soft_cpu *c, const struct vmcs *v)
{
	if (v->entry_intr_info & INTR_VALID)
		inject(c, v);
	else
		pending_debug(c, v);
	if (v->pin_controls & PIN_PREEMPTION_TIMER)
		vmx_timer_start(c, v->preemption_timer);
	/* Windows, and what came while the host ran. */
	cpu_request(c, REQ_EVENT);
	c->stats.exits_vmx++;
	exec_unwind(c);
}

/* ---- The entry ---- */

static _Noreturn void fail(struct soft_cpu *c, const struct insn *i, u32 error)
{
	c->vmx->cur->v.insn_error = error;
	c->flags = 0x4200; /* VMfailValid: ZF alone */
	c->s.rip = insn_next(i);
	exec_unwind(c);
}

static void log_row(void *arg)
{
	const struct entry_check *row = arg;

	log_guest("VM entry fails, not so: %s (SDM, %s)", row->text, row->heading);
}

/* A check failed: VMfail, or the exit to a host that is known to be good. */
static _Noreturn void check_failed(struct soft_cpu *c, const struct insn *i,
				   const struct entry_check *row)
{
	vec_saved(c, log_row, (void *)row);
	if (row->kind == CHECK_CONTROLS)
		fail(c, i, VMERR_ENTRY_CONTROLS);
	if (row->kind == CHECK_HOST)
		fail(c, i, VMERR_ENTRY_HOST_STATE);
	vmx_entry_failed(c, EXIT_ENTRY_GUEST_STATE, row->qualification);
}

void vmx_entry(struct soft_cpu *c, const struct insn *i, bool launch)
{
	struct vmcs_slot *slot = c->vmx->cur;
	struct vmcs *v = &slot->v;
	const struct entry_check *bad = checks_run(c, v, slot->dirty | G_ALWAYS);
	unsigned n;

	if (bad)
		check_failed(c, i, bad);
	slot->dirty = 0;
	load_registers(c, v);
	load_segments(c, v);
	vmx_set_non_root(c, v);
	if (!c->vpid)
		tlb_flush_vpid(c, 0, false);
	load_pdptes(c, v);
	load_non_register(c, v);
	n = vmx_msr_load(c, v->entry_msr_load_addr, v->entry_msr_load_count);
	if (n)
		vmx_entry_failed(c, EXIT_ENTRY_MSR_LOAD, n);
	if (launch)
		v->launched = 1;
	start_guest(c, v);
	__builtin_unreachable();
}
