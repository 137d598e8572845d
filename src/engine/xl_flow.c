// SPDX-License-Identifier: MIT
/* Own translators: jumps, calls, returns, loops. */
#include "engine/xl.h"
#include "engine/xl_fns.h"

void xl_jmp(struct xl *x, const struct insn *i)
{
	(void)i;
	xl_flags_to_slot(x, x->live_after[x->cur]);
	xl_exit(x, xl_target(x));
}

void xl_jcc(struct xl *x, const struct insn *i)
{
	xl_want_flags(x);
	xl_side_exit(x, i->opcode & 15, xl_target(x));
}

/* spill[0] = the target of an indirect branch; flags are saved and free. */
static void load_target(struct xl *x, const struct insn *i)
{
	xl_flags_to_slot(x, FLAGS_ARITH);
	if (i->has_mem) {
		xl_operand(x, i->opsize, false);
		em_load(x->e, i->opsize, S1, MREF(S0, 0));
	} else {
		xl_get(x, S1, i->op[0].reg);
		if (i->opsize < 8)
			em_rr(x->e, 4, i->opsize == 2 ? 0x0fb7 : 0x8b, S1, S1);
	}
	xl_clobbered(x);
	em_store(x->e, 8, MREF(RSP, OFF(spill[0])), S1);
}

void xl_jmp_ind(struct xl *x, const struct insn *i)
{
	load_target(x, i);
	em_load(x->e, 8, S0, MREF(RSP, OFF(spill[0])));
	xl_exit_indirect(x);
}

static void move_rsp(struct xl *x, s32 by)
{
	em_lea(x->e, xl_code64(x) ? 8 : 4, HOST_RSP, MREF(HOST_RSP, by));
}

/* @indirect: what was on the stack goes to spill[1], in case that the target is none. */
static void push_return(struct xl *x, const struct insn *i, bool indirect)
{
	gva_t next = insn_next(i);
	unsigned size = i->opsize;
	struct mref to;

	to = xl_stack_operand(x, -(s32)size, size, true);
	if (indirect && size == 8) {
		em_load(x->e, 8, S1, to);
		em_store(x->e, 8, MREF(RSP, OFF(spill[1])), S1);
	}
	if ((s64)next == (s32)next || size < 8) {
		em_store_imm(x->e, size, to, (s32)next);
	} else {
		em_mov_imm(x->e, S1, next);
		em_store(x->e, 8, to, S1);
	}
	move_rsp(x, -(s32)size);
}

void xl_call(struct xl *x, const struct insn *i)
{
	if (!xl_stack_plain(x)) {
		xl_step(x);
		return;
	}
	xl_flags_to_slot(x, x->live_after[x->cur]);
	push_return(x, i, false);
	xl_exit(x, xl_target(x));
}

void xl_call_ind(struct xl *x, const struct insn *i)
{
	if (!xl_stack_plain(x)) {
		xl_step(x);
		return;
	}
	load_target(x, i);
	push_return(x, i, true);
	em_load(x->e, 8, S0, MREF(RSP, OFF(spill[0])));
	xl_exit_indirect(x);
}

void xl_ret(struct xl *x, const struct insn *i)
{
	unsigned size = i->opsize;

	if (!xl_stack_plain(x)) {
		xl_step(x);
		return;
	}
	xl_flags_to_slot(x, FLAGS_ARITH);
	em_load(x->e, size, S0, xl_stack_operand(x, 0, size, false));
	move_rsp(x, (s32)size + (i->imm_size ? (u16)i->imm : 0));
	xl_exit_indirect(x);
}

/* JRCXZ or JECXZ over @skip bytes that follow; patched by the caller. */
static u8 *jump_if_rcx_zero(struct xl *x, const struct insn *i)
{
	if (i->addrsize == 4)
		em_byte(x->e, 0x67);
	em_byte(x->e, 0xe3);
	em_byte(x->e, 0);
	return x->e->p - 1;
}

static void land(struct xl *x, u8 *from)
{
	if (!x->e->full)
		*from = (u8)(x->e->p - (from + 1));
}

void xl_jcxz(struct xl *x, const struct insn *i)
{
	gva_t target = xl_target(x);
	u8 *zero, *over;

	if (i->addrsize == 2) {
		xl_step(x);
		return;
	}
	xl_flags_to_slot(x, FLAGS_ARITH);
	zero = jump_if_rcx_zero(x, i);
	em_byte(x->e, 0xeb);
	em_byte(x->e, 0);
	over = x->e->p - 1;
	land(x, zero);
	xl_exit(x, target);
	land(x, over);
	xl_exit(x, xl_code64(x) ? insn_next(i) : (u32)insn_next(i));
}

void xl_loop(struct xl *x, const struct insn *i)
{
	unsigned size = i->addrsize;
	u8 *zero, *other = NULL;

	if (size == 2) {
		xl_step(x);
		return;
	}
	xl_flags_to_slot(x, FLAGS_ARITH);
	if (i->opcode != 0xe2)
		xl_want_flags(x);
	em_lea(x->e, size, RCX, MREF(RCX, -1));
	zero = jump_if_rcx_zero(x, i);
	if (i->opcode != 0xe2) {
		em_byte(x->e, 0x70 | (i->opcode == 0xe1 ? CC_NE : CC_E));
		em_byte(x->e, 0);
		other = x->e->p - 1;
	}
	xl_exit(x, xl_target(x));
	land(x, zero);
	if (other)
		land(x, other);
	xl_exit(x, xl_code64(x) ? insn_next(i) : (u32)insn_next(i));
}
