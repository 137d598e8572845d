// SPDX-License-Identifier: MIT
/*
 * Where the guest's arithmetic flags are while a block is translated (xl.h):
 * saved to their slot, left in EFLAGS, or made again by the comparison.
 */
#include "engine/xl.h"

/* What the result depends on. A shift says that it reads all flags, since a count of
 * zero keeps them; but only RCL and RCR need any when nobody wants them afterwards. */
u16 xl_flags_needed(const struct insn *i, u16 after)
{
	bool through_carry = i->map == MAP_1B && (i->modrm >> 4 & 3) == 1;

	if (!(i->rules & RULE_COUNT) || after)
		return i->flags_read;
	return through_carry ? FLAG_CF : 0;
}

u16 xl_live_before(const struct xl *x, unsigned n)
{
	const struct insn *i = &x->insn[n];
	u16 read = xl_flags_needed(i, x->live_after[n]);

	if (i->how == HOW_HELPER || i->how == HOW_UD)
		read = FLAGS_ARITH;
	return ((x->live_after[n] & ~i->flags_written) | read) & FLAGS_ARITH;
}

bool xl_flags_live(const struct xl *x)
{
	return x->cur < x->nr && xl_live_before(x, x->cur);
}

/* LAHF and SETO, by way of S1: nothing but the slot changes. */
void xl_save_flags(struct xl *x)
{
	struct emitter *e = x->e;

	em_mov_rr(e, 8, S1, RAX);
	em_byte(e, 0x9f);
	em_rr(e, 1, 0x0f90, 0, RAX);
	em_store(e, 2, MREF(RSP, OFF(flags)), RAX);
	em_mov_rr(e, 8, RAX, S1);
}

/* OF from AL + 7fH, the others by SAHF. */
static void load_flags(struct xl *x)
{
	struct emitter *e = x->e;

	em_mov_rr(e, 8, S1, RAX);
	em_load(e, 2, RAX, MREF(RSP, OFF(flags)));
	em_byte(e, 0x04);
	em_byte(e, 0x7f);
	em_byte(e, 0x9e);
	em_mov_rr(e, 8, RAX, S1);
}

/* The CMP or TEST again: its registers still have their values. Uses S1. */
void xl_remat(struct xl *x, unsigned n)
{
	const struct insn *i = &x->insn[n];
	struct remap r = { .reg = i->reg & 15, .rm = i->rm & 15 };

	for (unsigned k = 0; k < i->nr_ops; k++) {
		const struct operand *o = &i->op[k];
		u8 host;

		if (o->kind != OPND_GPR || o->slot == SLOT_NONE)
			continue;
		host = xl_host(o->reg);
		if (host == REG_NONE) {
			host = S1; /* xl_can_remat() allows one such register */
			xl_get(x, host, o->reg);
		}
		if (o->slot == SLOT_REG)
			r.reg = host;
		else
			r.rm = host;
	}
	em_native(x->e, i, &r);
}

bool xl_can_remat(const struct insn *i)
{
	u16 in_memory = 0; /* guest registers that need a temporary */
	bool cmp = !i->has_mem && i->enc == ENC_LEGACY && i->map == MAP_1B &&
		   ((i->opcode >= 0x38 && i->opcode <= 0x3d) || i->opcode == 0x84 ||
		    i->opcode == 0x85 || i->opcode == 0xa8 || i->opcode == 0xa9 ||
		    ((i->opcode == 0x80 || i->opcode == 0x81 || i->opcode == 0x83) &&
		     (i->modrm >> 3 & 7) == 7) ||
		    ((i->opcode == 0xf6 || i->opcode == 0xf7) && (i->modrm >> 3 & 7) < 2));

	for (unsigned k = 0; k < i->nr_ops; k++) {
		const struct operand *o = &i->op[k];

		if (o->kind == OPND_GPR && xl_host(o->reg) == REG_NONE)
			in_memory |= (u16)BIT(o->reg);
	}
	return cmp && i->how == HOW_NATIVE && !(in_memory & (in_memory - 1));
}

void xl_free_flags(struct xl *x)
{
	if (x->fl != FL_REG)
		return;
	if (!xl_flags_live(x))
		x->fl = FL_DEAD;
	else if (x->remat >= 0)
		x->fl = FL_REMAT;
	else {
		xl_save_flags(x);
		x->fl = FL_BOTH;
	}
}

void xl_clobbered(struct xl *x)
{
	if (x->fl == FL_BOTH)
		x->fl = FL_SLOT;
	else if (x->fl == FL_REG)
		x->fl = FL_DEAD;
}

void xl_want_flags(struct xl *x)
{
	if (x->fl == FL_SLOT) {
		load_flags(x);
		x->fl = FL_BOTH;
	} else if (x->fl == FL_REMAT) {
		xl_remat(x, (unsigned)x->remat);
		x->fl = FL_REG;
	}
}

void xl_flags_to_slot(struct xl *x, u16 live)
{
	if (!live)
		return;
	if (x->fl == FL_REMAT)
		xl_want_flags(x);
	if (x->fl == FL_REG) {
		xl_save_flags(x);
		x->fl = FL_BOTH;
	}
}
