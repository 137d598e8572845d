// SPDX-License-Identifier: MIT
/*
 * Copied instructions: the guest's own, re-emitted with its operands remapped to
 * the host registers that hold them, or to temporaries.
 */
#include "engine/xl.h"

/* Which host registers stand in for the operands of one instruction. */
struct regalloc {
	struct remap map;
	u32 busy;     /* host registers that the instruction uses */
	bool high;    /* AH..BH: no REX, so nothing above RDI */
	struct {
		u8 guest, host;
		bool written;
	} temp[4];
	unsigned nr_temps;
	u8 spilled[3];
	unsigned nr_spilled;
};

static u8 alloc_spill(struct xl *x, struct regalloc *a)
{
	static const u8 candidates[] = { RBX, RSI, RDI, RDX, RCX, RAX, RBP };

	for (unsigned n = 0; n < ARRAY_SIZE(candidates); n++) {
		u8 r = candidates[n];

		if ((a->busy & BIT(r)) || a->nr_spilled == 2)
			continue;
		em_store(x->e, 8, MREF(RSP, OFF(spill) + 8 * (s32)a->nr_spilled), r);
		a->spilled[a->nr_spilled++] = r;
		a->busy |= (u32)BIT(r);
		return r;
	}
	x->failed = true;
	return RAX;
}

static u8 alloc_temp(struct xl *x, struct regalloc *a)
{
	if (!a->high && !(a->busy & BIT(S1))) {
		a->busy |= (u32)BIT(S1);
		return S1;
	}
	if (!a->high && !(a->busy & BIT(S0))) {
		a->busy |= (u32)BIT(S0);
		x->s0_keep = -1;
		return S0;
	}
	return alloc_spill(x, a);
}

/* The host register for guest register @g, loaded if @i reads any of it. */
static u8 alloc_operand(struct xl *x, struct regalloc *a, const struct insn *i, u8 g, bool written)
{
	u8 h = xl_host(g);

	if (h != REG_NONE && !(a->high && h > RDI))
		return h;
	for (unsigned n = 0; n < a->nr_temps; n++) {
		if (a->temp[n].guest == g) {
			a->temp[n].written |= written;
			return a->temp[n].host;
		}
	}
	h = alloc_temp(x, a);
	a->temp[a->nr_temps].guest = g;
	a->temp[a->nr_temps].host = h;
	a->temp[a->nr_temps++].written = written;
	if (i->gpr_read & BIT(g))
		xl_get(x, h, g);
	return h;
}

static void map_operands(struct xl *x, struct regalloc *a, const struct insn *i)
{
	a->map.reg = i->reg;
	a->map.rm = i->rm;
	a->map.vvvv = i->vvvv;
	a->map.opc = i->opcode & 7; /* AH..BH stay where they are */
	for (unsigned n = 0; n < i->nr_ops; n++) {
		const struct operand *o = &i->op[n];
		u8 h;

		if (o->kind != OPND_GPR || o->slot == SLOT_NONE)
			continue;
		h = alloc_operand(x, a, i, o->reg, o->written);
		if (o->slot == SLOT_REG)
			a->map.reg = h;
		else if (o->slot == SLOT_RM)
			a->map.rm = h;
		else if (o->slot == SLOT_VVVV)
			a->map.vvvv = h;
		else if (o->slot == SLOT_OPCODE)
			a->map.opc = h;
	}
}

static void put_back(struct xl *x, struct regalloc *a)
{
	for (unsigned n = 0; n < a->nr_temps; n++) {
		if (!a->temp[n].written)
			continue;
		if (xl_host(a->temp[n].guest) == REG_NONE)
			em_store(x->e, 8, MREF_GPR(a->temp[n].guest), a->temp[n].host);
		else
			em_mov_rr(x->e, 8, xl_host(a->temp[n].guest), a->temp[n].host);
	}
	for (unsigned n = 0; n < a->nr_spilled; n++)
		em_load(x->e, 8, a->spilled[n], MREF(RSP, OFF(spill) + 8 * (s32)n));
}

static bool is_high(const struct insn *i)
{
	for (unsigned n = 0; n < i->nr_ops; n++) {
		if (i->op[n].kind == OPND_GPR8H)
			return true;
	}
	return false;
}

void xl_emit_copy(struct emitter *e, const struct insn *i, const struct remap *r)
{
	/* INC and DEC of one byte are REX prefixes now; MOV moffs has no ModRM. */
	if (i->enc == ENC_LEGACY && i->map == MAP_1B && (i->opcode & 0xf0) == 0x40) {
		em_rr(e, i->opsize, 0xff, i->opcode >> 3 & 1, r->opc);
	} else if (i->has_mem && !i->has_modrm) {
		unsigned size = i->mem.size;

		if (i->opcode < 0xa2)
			em_rm(e, size, size == 1 ? 0x8a : 0x8b, RAX, r->mem);
		else
			em_store(e, size, r->mem, RAX);
	} else {
		em_native(e, i, r);
	}
}

static bool wants_flags(const struct xl *x, const struct insn *i)
{
	u16 after = x->live_after[x->cur];

	if (i->rules & RULE_COUNT)
		return after || xl_flags_needed(i, after);
	return i->flags_read || (i->flags_written && (after & ~i->flags_written & FLAGS_ARITH));
}

/* Registers 0 to 7 one by one: VMOVAPS to itself (28H), or VXORPS (57H). */
static void emit_vzero_low(struct xl *x, bool all)
{
	for (unsigned n = 0; n < 8; n++) {
		em_byte(x->e, 0xc5);
		em_byte(x->e, all ? 0xf8 ^ n << 3 : 0xf8);
		em_byte(x->e, all ? 0x57 : 0x28);
		em_byte(x->e, 0xc0 | n << 3 | n);
	}
}

/* Nothing but a move of all the operand's bytes to memory: no flags, no faults of
 * its own. */
static bool is_plain_store(const struct insn *i)
{
	bool cvtps2ph = i->map == MAP_0F3A && i->opcode == 0x1d;

	return i->mem.written && !i->mem.read && !i->flags_written && !i->flags_read &&
	       !i->gpr_written && i->enc != ENC_EVEX && !cvtps2ph && !is_high(i) &&
	       !(i->rules & (RULE_X87 | RULE_MMX | RULE_SCALAR_MEM | RULE_COUNT));
}

void xl_store_again(struct xl *x, const struct insn *i)
{
	struct regalloc a = { .busy = i->gpr_read | (u32)(BIT(RSP) | BIT(S0)) };

	a.map.mem = MREF(S0, 0);
	a.busy &= ~(u32)(BIT(R9) | BIT(S1));
	map_operands(x, &a, i);
	xl_emit_copy(x->e, i, &a.map);
	put_back(x, &a);
}

void xl_native(struct xl *x, const struct insn *i)
{
	struct cold *check = NULL;
	bool mem = i->has_mem && !(i->rules & RULE_NOREAD);
	struct regalloc a = { .high = is_high(i),
			      .busy = i->gpr_read | i->gpr_written | (u32)BIT(RSP) };

	if (insn_is_vzero(i) && !xl_code64(x)) {
		emit_vzero_low(x, i->vl == 32);
		return;
	}
	a.busy &= ~(u32)(BIT(R9) | BIT(R10) | BIT(R11));
	if (mem && i->mem.size == 0) {
		xl_step(x);
		return;
	}
	a.map.mem = MREF(S0, 0);
	if (mem) {
		if (x->share[x->cur].used) {
			xl_shared_operand(x, &x->share[x->cur], &a.map.mem);
		} else {
			xl_free_flags(x);
			xl_operand(x, i->mem.size, i->mem.written);
			if (is_plain_store(i) && x->nr_cold)
				check = &x->cold[x->nr_cold - 1];
		}
		a.busy |= (u32)BIT(S0);
	}
	if (wants_flags(x, i))
		xl_want_flags(x);
	if (mem && a.high) {
		u8 h = alloc_spill(x, &a);

		em_mov_rr(x->e, 8, h, S0);
		a.map.mem.base = h;
	}
	map_operands(x, &a, i);
	xl_emit_copy(x->e, i, &a.map);
	put_back(x, &a);
	if (check)
		check->after = em_here(x->e);
	if (i->flags_written || (i->rules & RULE_COUNT)) {
		x->fl = FL_REG;
		x->remat = xl_can_remat(i) ? (s8)x->cur : -1;
	}
}
