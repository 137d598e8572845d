// SPDX-License-Identifier: MIT
/* Own translators: PUSH, POP, LEAVE, and LEA, flags and bit strings. */
#include "engine/xl.h"
#include "engine/xl_fns.h"

static void move_rsp(struct xl *x, s32 by)
{
	em_lea(x->e, xl_code64(x) ? 8 : 4, HOST_RSP, MREF(HOST_RSP, by));
}

static void store_pushed(struct xl *x, const struct insn *i, unsigned size, struct mref to)
{
	if (i->op[0].kind == OPND_IMM) {
		em_store_imm(x->e, size, to, (s32)i->imm);
	} else if (i->op[0].kind == OPND_MEM) {
		em_load(x->e, 8, S1, MREF(RSP, OFF(spill[0])));
		em_store(x->e, size, to, S1);
	} else {
		u8 h = xl_host(i->op[0].reg);

		if (h == REG_NONE) {
			em_load(x->e, 8, S1, MREF_GPR(i->op[0].reg));
			h = S1;
		}
		em_store(x->e, size, to, h);
	}
}

void xl_push(struct xl *x, const struct insn *i)
{
	unsigned size = i->opsize;

	if (!xl_stack_plain(x)) {
		xl_step(x);
		return;
	}
	if (i->op[0].kind == OPND_MEM) {
		xl_free_flags(x);
		xl_operand(x, size, false);
		em_load(x->e, size, S1, MREF(S0, 0));
		em_store(x->e, 8, MREF(RSP, OFF(spill[0])), S1);
	}
	store_pushed(x, i, size, xl_stack_operand(x, -(s32)size, size, true));
	move_rsp(x, -(s32)size);
}

void xl_pop(struct xl *x, const struct insn *i)
{
	unsigned size = i->opsize;

	/* POP to memory computes its address with the new RSP: rare, stepped. */
	if (!xl_stack_plain(x) || i->op[0].kind == OPND_MEM) {
		xl_step(x);
		return;
	}
	em_load(x->e, size, S1, xl_stack_operand(x, 0, size, false));
	move_rsp(x, (s32)size);
	xl_put(x, i->op[0].reg, size, S1);
}

void xl_leave(struct xl *x, const struct insn *i)
{
	unsigned size = i->opsize;

	if (!xl_stack_plain(x) || size == 2) {
		xl_step(x);
		return;
	}
	xl_free_flags(x);
	xl_stack(x, RBP, 0, size, false);
	em_load(x->e, size, S1, MREF(S0, 0));
	em_lea(x->e, xl_code64(x) ? 8 : 4, HOST_RSP, MREF(RBP, (s32)size));
	em_mov_rr(x->e, size, RBP, S1);
}

/* Straight into the host's register. */
static bool lea_at_once(struct xl *x, const struct insn *i)
{
	unsigned size = MIN(i->opsize, i->addrsize);
	u8 to = xl_host(i->op[0].reg);
	struct mref m;

	if (to == REG_NONE || size == 2 || i->mem.base == REG_NONE)
		return false;
	m = MREF_X(xl_host(i->mem.base), REG_NONE, i->mem.scale, (s32)i->mem.disp);
	if (i->mem.index != REG_NONE)
		m.index = xl_host(i->mem.index);
	if (m.base == REG_NONE || (m.index == REG_NONE && i->mem.index != REG_NONE))
		return false;
	em_lea(x->e, size, to, m);
	return true;
}

void xl_lea(struct xl *x, const struct insn *i)
{
	if (i->mem.rip_relative && i->opsize == 8 && i->addrsize == 8 &&
	    xl_host(i->op[0].reg) != REG_NONE) {
		em_mov_imm(x->e, xl_host(i->op[0].reg), insn_next(i) + (u64)i->mem.disp);
		return;
	}
	if (lea_at_once(x, i))
		return;
	xl_address(x, i, false);
	xl_put(x, i->op[0].reg, i->opsize, S0);
}

/* DF is bit 10 of RFLAGS: bit 2 of its second byte. */
static void change_df(struct xl *x, bool set)
{
	xl_free_flags(x);
	em_rm(x->e, 1, 0x80, set ? 1 : 4, MREF(RSP, OFF(s.rflags) + 1));
	em_byte(x->e, set ? 0x04 : 0xfb);
	xl_clobbered(x);
}

void xl_cld(struct xl *x, const struct insn *i)
{
	(void)i;
	change_df(x, false);
}

void xl_std(struct xl *x, const struct insn *i)
{
	(void)i;
	change_df(x, true);
}

void xl_nop(struct xl *x, const struct insn *i)
{
	(void)x;
	(void)i;
}

void xl_xlat(struct xl *x, const struct insn *i)
{
	(void)i;
	xl_step(x);
}

/* BT and friends with a register offset: the operand's address moves by whole
 * operands, and the instruction then sees an offset inside one. */
void xl_bt_mem(struct xl *x, const struct insn *i)
{
	unsigned size = i->opsize, log = size == 8 ? 6 : 5;
	unsigned reg = i->op[1].reg;
	struct remap r = { .reg = S1, .mem = MREF(S0, 0) };

	if (size == 2 || !xl_segment_flat(x, i->mem.seg, i->mem.written) ||
	    i->addrsize != (xl_code64(x) ? 8 : 4)) {
		xl_step(x);
		return;
	}
	xl_free_flags(x);
	xl_address(x, i, true);
	xl_get(x, S1, reg);
	if (size == 4)
		em_rr(x->e, 8, 0x63, S1, S1); /* movsxd */
	em_rr(x->e, 8, 0xc1, 7, S1);
	em_byte(x->e, log);
	em_lea(x->e, xl_code64(x) ? 8 : 4, S0, MREF_X(S0, S1, (u8)size, 0));
	xl_kept(x, size, i->mem.written);
	xl_get(x, S1, reg);
	em_alu_imm(x->e, 4, 4, S1, (s32)(8 * size - 1));
	em_store(x->e, 8, MREF(RSP, OFF(spill[0])), S1);
	if (x->live_after[x->cur] & ~i->flags_written)
		xl_want_flags(x);
	em_load(x->e, 8, S1, MREF(RSP, OFF(spill[0])));
	em_native(x->e, i, &r);
	x->fl = FL_REG;
	x->remat = -1;
}
