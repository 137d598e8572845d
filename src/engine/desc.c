// SPDX-License-Identifier: MIT
/*
 * Instructions about descriptor tables and descriptors: LGDT, LIDT, LLDT, LTR
 * and their stores; LAR, LSL, VERR, VERW.
 */
#include "engine/sys.h"

#include "engine/helpers.h"
#include "engine/vmx/vmx.h"

/* ---- GDTR and IDTR ---- */

/* In memory: 16 bits of limit, then 32 or 64 of base. */
static unsigned pseudo_size(const struct soft_cpu *c)
{
	return cpu_code64(c) ? 10 : 6;
}

static enum helper_result store_table(struct soft_cpu *c, const struct insn *i,
				      const struct desc_table *t)
{
	unsigned size = pseudo_size(c);
	u8 bytes[10];
	u64 base = t->base;

	check_umip(c);
	if (c->vmx_non_root)
		vmx_check_gdtr_idtr(c, i);
	if (size == 6 && i->opsize == 2)
		base &= 0xffffff; /* as the 286 had it, the top byte zero */
	__builtin_memcpy(bytes, &t->limit, 2);
	__builtin_memcpy(bytes + 2, &base, 8);
	guest_copy_out(c, insn_linear(c, i, size, true), bytes, size, AS_CURRENT);
	return insn_done(c, i, false);
}

static enum helper_result load_table(struct soft_cpu *c, const struct insn *i,
				     struct desc_table *t)
{
	unsigned size = pseudo_size(c);
	u8 bytes[10] = { 0 };
	struct desc_table n;

	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_gdtr_idtr(c, i);
	guest_copy_in(c, bytes, insn_linear(c, i, size, false), size, AS_CURRENT);
	__builtin_memcpy(&n.limit, bytes, 2);
	__builtin_memcpy(&n.base, bytes + 2, 8);
	if (size == 6 && i->opsize == 2)
		n.base &= 0xffffff;
	if (!addr_canonical(n.base))
		cpu_raise(c, X86_GP, 0);
	*t = n;
	return insn_done(c, i, false);
}

enum helper_result helper_sgdt(struct soft_cpu *c, const struct insn *i)
{
	return store_table(c, i, &c->s.gdtr);
}

enum helper_result helper_sidt(struct soft_cpu *c, const struct insn *i)
{
	return store_table(c, i, &c->s.idtr);
}

enum helper_result helper_lgdt(struct soft_cpu *c, const struct insn *i)
{
	return load_table(c, i, &c->s.gdtr);
}

enum helper_result helper_lidt(struct soft_cpu *c, const struct insn *i)
{
	return load_table(c, i, &c->s.idtr);
}

/* ---- LDTR and TR ---- */

enum helper_result helper_sldt(struct soft_cpu *c, const struct insn *i)
{
	check_umip(c);
	if (c->vmx_non_root)
		vmx_check_ldtr_tr(c, i);
	operand_write(c, i, 0, c->s.ldtr.sel);
	return insn_done(c, i, false);
}

enum helper_result helper_str(struct soft_cpu *c, const struct insn *i)
{
	check_umip(c);
	if (c->vmx_non_root)
		vmx_check_ldtr_tr(c, i);
	operand_write(c, i, 0, c->s.tr.sel);
	return insn_done(c, i, false);
}

enum helper_result helper_lldt(struct soft_cpu *c, const struct insn *i)
{
	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_ldtr_tr(c, i);
	ldtr_load(c, (u16)operand_read(c, i, 0));
	return insn_done(c, i, false);
}

enum helper_result helper_ltr(struct soft_cpu *c, const struct insn *i)
{
	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_ldtr_tr(c, i);
	tr_load(c, (u16)operand_read(c, i, 0));
	return insn_done(c, i, false);
}

/* ---- Looking at descriptors ---- */

/* System types that LAR and LSL know, in IA-32e mode and outside. */
enum {
	LAR_LONG = BIT(DESC_LDT) | BIT(DESC_TSS) | BIT(DESC_TSS_BUSY) | BIT(DESC_CALL),
	LAR_LEGACY = LAR_LONG | BIT(DESC_TSS16) | BIT(DESC_TSS16_BUSY) | BIT(DESC_CALL16) |
		     BIT(DESC_TASK),
	LSL_LONG = BIT(DESC_LDT) | BIT(DESC_TSS) | BIT(DESC_TSS_BUSY),
	LSL_LEGACY = LSL_LONG | BIT(DESC_TSS16) | BIT(DESC_TSS16_BUSY),
};

static void set_zf(struct soft_cpu *c, bool on)
{
	const u16 zf = FLAG_ZF << 8;

	c->flags = on ? c->flags | zf : (u16)(c->flags & ~zf);
}

/* Reads the descriptor that @sel names if it can be seen from here: inside its
 * table, and of a privilege that CPL and RPL reach. */
static bool visible(struct soft_cpu *c, u16 sel, u64 *d)
{
	if (SEL_NULL(sel) || !desc_read(c, sel, d))
		return false;
	return desc_is_conforming(*d) || desc_dpl(*d) >= MAX(cpu_cpl(c), SEL_RPL(sel));
}

static bool known_type(const struct soft_cpu *c, u64 d, u32 in_long, u32 in_legacy)
{
	return desc_is_segment(d) || ((cpu_long_mode(c) ? in_long : in_legacy) & BIT(desc_type(d)));
}

static u16 selector_operand(struct soft_cpu *c, const struct insn *i, unsigned n)
{
	return (u16)operand_read(c, i, n);
}

enum helper_result helper_lar(struct soft_cpu *c, const struct insn *i)
{
	u16 sel = selector_operand(c, i, 1);
	u64 d;
	bool ok = visible(c, sel, &d) && known_type(c, d, LAR_LONG, LAR_LEGACY);

	if (ok)
		gpr_set(c, i->op[0].reg, i->op[0].size, d >> 32 & (i->opsize == 2 ? 0xff00 : 0xf0ff00));
	set_zf(c, ok);
	return insn_done(c, i, false);
}

enum helper_result helper_lsl(struct soft_cpu *c, const struct insn *i)
{
	u16 sel = selector_operand(c, i, 1);
	u64 d;
	bool ok = visible(c, sel, &d) && known_type(c, d, LSL_LONG, LSL_LEGACY);

	if (ok)
		gpr_set(c, i->op[0].reg, i->op[0].size, desc_limit(d));
	set_zf(c, ok);
	return insn_done(c, i, false);
}

enum helper_result helper_verr(struct soft_cpu *c, const struct insn *i)
{
	u16 sel = selector_operand(c, i, 0);
	u64 d;

	set_zf(c, visible(c, sel, &d) && desc_is_segment(d) &&
			  (!desc_is_code(d) || (desc_type(d) & SEG_READABLE)));
	return insn_done(c, i, false);
}

enum helper_result helper_verw(struct soft_cpu *c, const struct insn *i)
{
	u16 sel = selector_operand(c, i, 0);
	u64 d;

	set_zf(c, visible(c, sel, &d) && desc_is_writable(d));
	return insn_done(c, i, false);
}
