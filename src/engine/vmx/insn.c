// SPDX-License-Identifier: MIT
/*
 * The VMX instructions (SDM chapter "VMX Instruction Reference"). Each helper
 * follows the order of the manual's pseudo-code: #UD, VM exit, #GP for
 * privilege, then VMfail or success.
 */
#include "engine/helpers.h"
#include "engine/vmx/vmx_internal.h"

/* Arithmetic flags after an instruction, in the form of soft_cpu.flags. */
enum { FLAGS_SUCCEED = 0x0200, FLAGS_INVALID = 0x0300, FLAGS_VALID = 0x4200 };

static enum helper_result end(struct soft_cpu *c, const struct insn *i)
{
	c->s.rip = insn_next(i);
	return HELPER_END;
}

static enum helper_result succeed(struct soft_cpu *c)
{
	c->flags = FLAGS_SUCCEED;
	return HELPER_NEXT;
}

/* VMfail(error): VMfailValid with a current VMCS, else VMfailInvalid. */
static enum helper_result vmfail(struct soft_cpu *c, u32 error)
{
	if (!c->vmx->cur) {
		c->flags = FLAGS_INVALID;
		return HELPER_NEXT;
	}
	c->vmx->cur->v.insn_error = error;
	c->flags = FLAGS_VALID;
	return HELPER_NEXT;
}

/* Those that end their block. */
static enum helper_result ended(struct soft_cpu *c, const struct insn *i, enum helper_result r)
{
	return r == HELPER_NEXT ? end(c, i) : r;
}

/* ---- What comes first ---- */

static bool mode_bad(const struct soft_cpu *c)
{
	return !cpu_protected(c) || (cpu_long_mode(c) && !cpu_code64(c));
}

/* #UD, the exit with @reason, #GP(0). VMX instructions with a memory operand
 * have its displacement as qualification. */
static void enter_insn(struct soft_cpu *c, const struct insn *i, u32 reason)
{
	if (!vmx_in_operation(c) || mode_bad(c))
		cpu_raise(c, X86_UD, 0);
	if (c->vmx_non_root)
		vmx_exit_insn(c, i, reason, vmx_displacement(i));
	if (cpu_cpl(c))
		cpu_raise(c, X86_GP, 0);
}

static bool pa_bad(const struct soft_cpu *c, gpa_t pa)
{
	return (pa & ~PAGE_MASK) || (pa & c->vmx->caps.phys_invalid);
}

static u64 read_operand(struct soft_cpu *c, const struct insn *i)
{
	return guest_read(c, insn_linear(c, i, 8, false), 8, AS_CURRENT);
}

static u32 revision_at(struct soft_cpu *c, gpa_t pa)
{
	u32 r;

	return phys_read(c, pa, &r, sizeof(r)) ? r : ~0u;
}

/* ---- VMXON, VMXOFF ---- */

static bool vmxon_forbidden(const struct soft_cpu *c)
{
	const u64 need = FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_NO_SMX;

	return cpu_cpl(c) || (c->s.msr.feature_control & need) != need ||
	       (c->s.cr0 & VMX_CR0_FIXED0) != VMX_CR0_FIXED0 ||
	       (c->s.cr4 & VMX_CR4_FIXED0) != VMX_CR4_FIXED0;
}

enum helper_result helper_vmxon(struct soft_cpu *c, const struct insn *i)
{
	gpa_t pa;

	if (!c->vmx || !i->has_mem || !(c->s.cr4 & CR4_VMXE) || mode_bad(c))
		cpu_raise(c, X86_UD, 0);
	if (c->vmx->in_operation) {
		enter_insn(c, i, EXIT_VMXON);
		return ended(c, i, vmfail(c, VMERR_VMXON_IN_ROOT));
	}
	if (vmxon_forbidden(c))
		cpu_raise(c, X86_GP, 0);
	pa = read_operand(c, i);
	if (pa_bad(c, pa) || revision_at(c, pa) != vmcs_revision()) {
		c->flags = FLAGS_INVALID;
		return end(c, i);
	}
	c->vmx->in_operation = true;
	c->vmx->vmxon_pa = pa;
	vmcs_forget_all(c->vmx);
	succeed(c);
	return end(c, i);
}

enum helper_result helper_vmxoff(struct soft_cpu *c, const struct insn *i)
{
	enter_insn(c, i, EXIT_VMXOFF);
	vmx_writeback_all(c);
	vmcs_forget_all(c->vmx);
	c->vmx->in_operation = false;
	cpu_request(c, REQ_EVENT); /* INIT is no longer blocked */
	succeed(c);
	return end(c, i);
}

/* ---- VMCLEAR, VMPTRLD, VMPTRST ---- */

enum helper_result helper_vmclear(struct soft_cpu *c, const struct insn *i)
{
	gpa_t pa;

	if (!i->has_mem)
		cpu_raise(c, X86_UD, 0);
	enter_insn(c, i, EXIT_VMCLEAR);
	pa = read_operand(c, i);
	if (pa_bad(c, pa))
		return ended(c, i, vmfail(c, VMERR_VMCLEAR_ADDR));
	if (pa == c->vmx->vmxon_pa)
		return ended(c, i, vmfail(c, VMERR_VMCLEAR_VMXON));
	vmcs_clear(c, pa);
	return ended(c, i, succeed(c));
}

enum helper_result helper_vmptrld(struct soft_cpu *c, const struct insn *i)
{
	gpa_t pa;

	if (!i->has_mem)
		cpu_raise(c, X86_UD, 0);
	enter_insn(c, i, EXIT_VMPTRLD);
	pa = read_operand(c, i);
	if (pa_bad(c, pa))
		return ended(c, i, vmfail(c, VMERR_VMPTRLD_ADDR));
	if (pa == c->vmx->vmxon_pa)
		return ended(c, i, vmfail(c, VMERR_VMPTRLD_VMXON));
	if (revision_at(c, pa) != vmcs_revision()) /* or the shadow-VMCS indicator is set */
		return ended(c, i, vmfail(c, VMERR_VMPTRLD_REVISION));
	c->vmx->cur = vmcs_activate(c, pa);
	return ended(c, i, succeed(c));
}

enum helper_result helper_vmptrst(struct soft_cpu *c, const struct insn *i)
{
	if (!i->has_mem)
		cpu_raise(c, X86_UD, 0);
	enter_insn(c, i, EXIT_VMPTRST);
	guest_write(c, insn_linear(c, i, 8, true), 8, c->vmx->cur ? c->vmx->cur->pa : ~0ull,
		    AS_CURRENT);
	return ended(c, i, succeed(c));
}

/* ---- VMREAD, VMWRITE ---- */

static unsigned operand_size(const struct soft_cpu *c)
{
	return cpu_code64(c) ? 8 : 4;
}

enum helper_result helper_vmread(struct soft_cpu *c, const struct insn *i)
{
	const unsigned size = operand_size(c);
	const struct vmcs_field *f;
	bool high;
	u64 value;

	enter_insn(c, i, EXIT_VMREAD);
	if (!c->vmx->cur)
		return vmfail(c, 0);
	f = vmcs_find(c->vmx, gpr_get(c, i->reg, size), &high);
	if (!f)
		return vmfail(c, VMERR_FIELD);
	value = vmcs_get(&c->vmx->cur->v, f, high);
	if (i->has_mem)
		guest_write(c, insn_linear(c, i, size, true), size, value, AS_CURRENT);
	else
		gpr_set(c, i->rm, size, value);
	return succeed(c);
}

enum helper_result helper_vmwrite(struct soft_cpu *c, const struct insn *i)
{
	const unsigned size = operand_size(c);
	const struct vmcs_field *f;
	bool high;
	u64 value;

	enter_insn(c, i, EXIT_VMWRITE);
	if (!c->vmx->cur)
		return vmfail(c, 0);
	if (i->has_mem)
		value = guest_read(c, insn_linear(c, i, size, false), size, AS_CURRENT);
	else
		value = gpr_get(c, i->rm, size);
	f = vmcs_find(c->vmx, gpr_get(c, i->reg, size), &high);
	if (!f)
		return vmfail(c, VMERR_FIELD);
	/* IA32_VMX_MISC[29] is 1: read-only fields may be written. */
	vmcs_put(c->vmx->cur, f, high, value);
	return succeed(c);
}

/* ---- VMLAUNCH, VMRESUME, VMCALL, VMFUNC ---- */

static bool blocked_by_mov_ss(const struct soft_cpu *c)
{
	return c->s.rip == c->s.movss_shadow_rip;
}

static enum helper_result enter_guest(struct soft_cpu *c, const struct insn *i, bool launch)
{
	const struct vmcs_slot *s;

	enter_insn(c, i, launch ? EXIT_VMLAUNCH : EXIT_VMRESUME);
	s = c->vmx->cur;
	if (!s)
		return ended(c, i, vmfail(c, 0));
	if (blocked_by_mov_ss(c))
		return ended(c, i, vmfail(c, VMERR_ENTRY_MOV_SS));
	if (launch && s->v.launched)
		return ended(c, i, vmfail(c, VMERR_LAUNCH_NOT_CLEAR));
	if (!launch && !s->v.launched)
		return ended(c, i, vmfail(c, VMERR_RESUME_NOT_LAUNCHED));
	vmx_entry(c, i, launch);
}

enum helper_result helper_vmlaunch(struct soft_cpu *c, const struct insn *i)
{
	return enter_guest(c, i, true);
}

enum helper_result helper_vmresume(struct soft_cpu *c, const struct insn *i)
{
	return enter_guest(c, i, false);
}

/* Unlike the others, exits from any mode and privilege. */
enum helper_result helper_vmcall(struct soft_cpu *c, const struct insn *i)
{
	if (!vmx_in_operation(c))
		cpu_raise(c, X86_UD, 0);
	if (c->vmx_non_root)
		vmx_exit_insn(c, i, EXIT_VMCALL, 0);
	if ((c->s.rflags & RFLAGS_VM) || (cpu_long_mode(c) && !cpu_code64(c)))
		cpu_raise(c, X86_UD, 0);
	if (cpu_cpl(c))
		cpu_raise(c, X86_GP, 0);
	return ended(c, i, vmfail(c, VMERR_VMCALL_IN_ROOT)); /* no dual-monitor treatment */
}

/* "Enable VM functions" is not advertised. */
enum helper_result helper_vmfunc(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}

/* ---- INVEPT, INVVPID ---- */

struct inv_desc {
	u64 lo, hi;
};

static u64 inv_type(const struct soft_cpu *c, const struct insn *i)
{
	return gpr_get(c, i->reg, operand_size(c));
}

static struct inv_desc read_desc(struct soft_cpu *c, const struct insn *i)
{
	struct inv_desc d;

	guest_copy_in(c, &d, insn_linear(c, i, sizeof(d), false), sizeof(d), AS_CURRENT);
	return d;
}

enum helper_result helper_invept(struct soft_cpu *c, const struct insn *i)
{
	enum { SINGLE = 1, ALL = 2 };
	struct inv_desc d;
	u64 type;

	if (!i->has_mem)
		cpu_raise(c, X86_UD, 0);
	enter_insn(c, i, EXIT_INVEPT);
	type = inv_type(c, i);
	if (type != SINGLE && type != ALL)
		return ended(c, i, vmfail(c, VMERR_INVALID_OPERAND));
	d = read_desc(c, i);
	if (type == SINGLE && !ept_pointer_valid(c, d.lo))
		return ended(c, i, vmfail(c, VMERR_INVALID_OPERAND));
	ept_cache_flush(c);
	if (type == SINGLE)
		tlb_flush_ept(c, d.lo);
	else
		tlb_flush_all_ept(c);
	return ended(c, i, succeed(c));
}

enum helper_result helper_invvpid(struct soft_cpu *c, const struct insn *i)
{
	enum { ADDR = 0, SINGLE = 1, ALL = 2, SINGLE_KEEP_GLOBALS = 3 };
	struct inv_desc d;
	u64 type;

	if (!i->has_mem)
		cpu_raise(c, X86_UD, 0);
	enter_insn(c, i, EXIT_INVVPID);
	type = inv_type(c, i);
	if (type > SINGLE_KEEP_GLOBALS)
		return ended(c, i, vmfail(c, VMERR_INVALID_OPERAND));
	d = read_desc(c, i);
	if (d.lo >> 16 || (type != ALL && !(u16)d.lo) || (type == ADDR && !addr_canonical(d.hi)))
		return ended(c, i, vmfail(c, VMERR_INVALID_OPERAND));
	switch (type) {
	case ADDR: tlb_flush_vpid_addr(c, (u16)d.lo, d.hi); break;
	case SINGLE: tlb_flush_vpid(c, (u16)d.lo, false); break;
	case ALL: tlb_flush_all_vpids(c); break;
	default: tlb_flush_vpid(c, (u16)d.lo, true);
	}
	return ended(c, i, succeed(c));
}
