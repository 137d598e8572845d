// SPDX-License-Identifier: MIT
/*
 * Helpers around the stack, segment registers and the interrupt flag: what is
 * too rare, or too tied to system state, for a translator of its own.
 */
#include "engine/helpers.h"
#include "engine/seg.h"
#include "engine/vmx/vmx.h"

/* ZF in cpu.flags. */
#define LAHF_ZF 0x4000u

static u64 next_rip(const struct soft_cpu *c, const struct insn *i)
{
	return cpu_code64(c) ? insn_next(i) : (u32)insn_next(i);
}

/* A 16-bit operand: register or memory. */
static u16 read_word(struct soft_cpu *c, const struct insn *i, const struct operand *o)
{
	if (o->kind == OPND_MEM)
		return guest_read(c, insn_linear(c, i, 2, false), 2, AS_CURRENT);
	return c->s.gpr[o->reg];
}

static void push_one(struct soft_cpu *c, unsigned size, u64 value)
{
	struct stack st = stack_current(c);

	stack_push(c, &st, &value, 1, size);
	stack_commit(c, &st);
}

/* ---- Segment registers ---- */

/* The next instruction is not interrupted, unless this one itself was such a
 * next instruction. */
static void movss_shadow(struct soft_cpu *c, const struct insn *i)
{
	if (c->s.movss_shadow_rip != c->s.rip)
		c->s.movss_shadow_rip = next_rip(c, i);
	else
		c->s.movss_shadow_rip = ~0ull;
}

enum helper_result helper_mov_to_sreg(struct soft_cpu *c, const struct insn *i)
{
	enum seg_reg seg = i->op[0].reg;

	seg_load(c, seg, read_word(c, i, &i->op[1]));
	if (seg == SEG_SS)
		movss_shadow(c, i);
	return insn_done(c, i, c->mode_changed);
}

enum helper_result helper_mov_from_sreg(struct soft_cpu *c, const struct insn *i)
{
	u16 sel = c->s.seg[i->op[1].reg].sel;

	if (i->op[0].kind == OPND_MEM)
		guest_write(c, insn_linear(c, i, 2, true), 2, sel, AS_CURRENT);
	else
		gpr_set(c, i->op[0].reg, i->opsize, sel);
	return insn_done(c, i, false);
}

enum helper_result helper_push_sreg(struct soft_cpu *c, const struct insn *i)
{
	push_one(c, i->opsize, c->s.seg[i->op[0].reg].sel);
	return insn_done(c, i, false);
}

enum helper_result helper_pop_sreg(struct soft_cpu *c, const struct insn *i)
{
	enum seg_reg seg = i->op[0].reg;
	struct stack st = stack_current(c);
	u16 sel = stack_pop(c, &st, i->opsize);
	struct seg s;

	seg_prepare(c, seg, sel, &s);
	stack_commit(c, &st); /* by the old SS's size */
	seg_commit(c, seg, &s);
	if (seg == SEG_SS)
		movss_shadow(c, i);
	return insn_done(c, i, c->mode_changed);
}

static enum seg_reg load_far_seg(const struct insn *i)
{
	switch (i->opcode) {
	case 0xc4:
		return SEG_ES;
	case 0xc5:
		return SEG_DS;
	case 0xb2:
		return SEG_SS;
	case 0xb4:
		return SEG_FS;
	default:
		return SEG_GS;
	}
}

/* LES, LDS, LSS, LFS, LGS */
enum helper_result helper_load_far(struct soft_cpu *c, const struct insn *i)
{
	gva_t at = insn_linear(c, i, i->opsize + 2, false);
	u64 off = guest_read(c, at, i->opsize, AS_CURRENT);
	u16 sel = guest_read(c, at + i->opsize, 2, AS_CURRENT);
	enum seg_reg seg = load_far_seg(i);

	seg_load(c, seg, sel);
	gpr_set(c, i->op[0].reg, i->opsize, off);
	return insn_done(c, i, c->mode_changed);
}

enum helper_result helper_arpl(struct soft_cpu *c, const struct insn *i)
{
	const struct operand *dst = &i->op[0];
	bool memory = dst->kind == OPND_MEM;
	gva_t at = memory ? insn_linear(c, i, 2, false) : 0;
	u16 sel, rpl = SEL_RPL(c->s.gpr[i->op[1].reg]);

	/* Memory is written only if it changes, and read before. */
	sel = memory ? guest_read(c, at, 2, AS_CURRENT) : c->s.gpr[dst->reg];
	if (SEL_RPL(sel) >= rpl) {
		c->flags &= ~LAHF_ZF;
		return insn_done(c, i, false);
	}
	sel = (sel & ~3u) | rpl;
	if (memory)
		guest_write(c, insn_linear(c, i, 2, true), 2, sel, AS_CURRENT);
	else
		gpr_set(c, dst->reg, 2, sel);
	c->flags |= LAHF_ZF;
	return insn_done(c, i, false);
}

enum helper_result helper_bound(struct soft_cpu *c, const struct insn *i)
{
	unsigned size = i->opsize, up = 64 - 8 * size;
	u64 off = insn_offset(c, i);
	s64 v = (s64)(c->s.gpr[i->op[0].reg] << up), low, high;

	low = (s64)(guest_read(c, seg_linear(c, i->mem.seg, off, size, false), size, AS_CURRENT) << up);
	off += size;
	high = (s64)(guest_read(c, seg_linear(c, i->mem.seg, off, size, false), size, AS_CURRENT) << up);

	if (v < low || v > high)
		cpu_raise(c, X86_BR, 0);
	return insn_done(c, i, false);
}

/* ---- Frames ---- */

enum helper_result helper_enter(struct soft_cpu *c, const struct insn *i)
{
	struct stack st = stack_current(c), chain = st;
	unsigned size = i->opsize, level = i->imm2 & 31, n = 0;
	/* All of ESP, even if only SP moves. */
	u64 values[33], frame = ((st.sp - size) & st.mask) | ((u32)c->s.gpr[RSP] & ~st.mask);

	values[n++] = c->s.gpr[RBP];
	for (unsigned k = 1; k < level; k++) {
		chain.sp = (c->s.gpr[RBP] - k * size) & st.mask;
		values[n++] = stack_pop(c, &chain, size);
	}
	if (level)
		values[n++] = frame;
	/* The last byte allocated must be writable too. */
	chain.sp = (st.sp - n * size - (u16)i->imm) & st.mask;
	if ((u16)i->imm)
		stack_probe(c, &chain, 1);
	stack_push(c, &st, values, n, size);
	st.sp = chain.sp;
	stack_commit(c, &st);
	gpr_set(c, RBP, size, frame);
	return insn_done(c, i, false);
}

enum helper_result helper_pusha(struct soft_cpu *c, const struct insn *i)
{
	struct stack st = stack_current(c);

	stack_push(c, &st, c->s.gpr, 8, i->opsize); /* in the order of their numbers */
	stack_commit(c, &st);
	return insn_done(c, i, false);
}

enum helper_result helper_popa(struct soft_cpu *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	u64 v[8];

	for (int k = 7; k >= 0; k--)
		v[k] = stack_pop(c, &st, i->opsize);
	for (unsigned k = 0; k < 8; k++)
		if (k != RSP)
			gpr_set(c, k, i->opsize, v[k]);
	stack_commit(c, &st);
	return insn_done(c, i, false);
}

/* ---- RFLAGS ---- */

enum helper_result helper_pushf(struct soft_cpu *c, const struct insn *i)
{
	u64 flags = cpu_rflags(c);

	if (vm86_restricted(c)) {
		vme_check(c, i->opsize);
		flags = vme_flags(flags);
	}
	push_one(c, i->opsize, flags & ~(RFLAGS_VM | RFLAGS_RF));
	return insn_done(c, i, false);
}

/* The block goes on unless it must not: something waits, or the mode is
 * another. */
static enum helper_result done_or_poll(struct soft_cpu *c, const struct insn *i)
{
	return insn_done(c, i, c->mode_changed || atomic_load(&c->request));
}

static u64 popf_mask(const struct soft_cpu *c, unsigned size)
{
	u64 mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
	unsigned cpl = cpu_cpl(c);

	if (size > 2)
		mask |= RFLAGS_AC | RFLAGS_ID | RFLAGS_RF;
	if (cpl <= cpu_iopl(c))
		mask |= RFLAGS_IF;
	if (cpl == 0)
		mask |= RFLAGS_IOPL | (size > 2 ? RFLAGS_VIF | RFLAGS_VIP : 0);
	return mask;
}

enum helper_result helper_popf(struct soft_cpu *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	u64 old = cpu_rflags(c), mask = popf_mask(c, i->opsize), flags;

	if (vm86_restricted(c)) {
		vme_check(c, i->opsize);
		flags = vme_load(c, stack_pop(c, &st, 2));
	} else {
		/* RF, VIF and VIP are not loaded: they become 0. */
		flags = stack_pop(c, &st, i->opsize) & ~(RFLAGS_RF | RFLAGS_VIF | RFLAGS_VIP);
		flags = (old & ~mask) | (flags & mask) | RFLAGS_RSV1;
	}
	stack_commit(c, &st);
	cpu_set_rflags(c, flags);
	if ((flags ^ old) & (RFLAGS_TF | RFLAGS_AC))
		c->mode_changed = true;
	if (flags & ~old & RFLAGS_IF)
		event_recheck(c);
	return done_or_poll(c, i);
}

/* CLI and STI without the privilege: do they act on VIF? Raises #GP(0) if not. */
static void check_virtual_if(struct soft_cpu *c)
{
	u64 feature = c->s.rflags & RFLAGS_VM ? CR4_VME : CR4_PVI;

	if (!(c->s.cr4 & feature) || cpu_cpl(c) != 3)
		cpu_raise(c, X86_GP, 0);
}

enum helper_result helper_cli(struct soft_cpu *c, const struct insn *i)
{
	if (cpu_cpl(c) <= cpu_iopl(c)) {
		c->s.rflags &= ~RFLAGS_IF;
	} else {
		check_virtual_if(c);
		c->s.rflags &= ~RFLAGS_VIF;
	}
	return insn_done(c, i, false);
}

enum helper_result helper_sti(struct soft_cpu *c, const struct insn *i)
{
	if (cpu_cpl(c) > cpu_iopl(c)) {
		check_virtual_if(c);
		if (c->s.rflags & RFLAGS_VIP)
			cpu_raise(c, X86_GP, 0);
		c->s.rflags |= RFLAGS_VIF;
	} else if (!(c->s.rflags & RFLAGS_IF)) {
		c->s.rflags |= RFLAGS_IF;
		c->s.sti_shadow_rip = next_rip(c, i);
		event_recheck(c);
	}
	return done_or_poll(c, i);
}

enum helper_result helper_hlt(struct soft_cpu *c, const struct insn *i)
{
	if (cpu_cpl(c))
		cpu_raise(c, X86_GP, 0);
	vmx_check_hlt(c, i);
	c->s.activity = CPU_HLT;
	c->stats.exits_hlt++;
	c->s.rip = next_rip(c, i);
	return HELPER_END;
}
