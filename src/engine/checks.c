// SPDX-License-Identifier: MIT
/*
 * Which memory checks of a block can be shared.
 *
 * Instructions that use the same base and index with near displacements, with
 * neither register written between, form a group: its first member checks the
 * whole range at once, and the others find its host address ready. So do PUSH, POP,
 * CALL, RET and what else goes through RSP, where RSP moves by known amounts. Theory
 * of why that is exact:
 *
 * - A check that passes says that the range lies in one page with the rights, so
 *   no member can fault on it; and rights are only taken away at safe points,
 *   which are at block boundaries.
 * - A check that fails never faults for a member to come: exec_slow() looks
 *   without side effects, and if the range is no good, the first member alone is
 *   stepped, and what follows is a block without groups (cpu.straddled); if that
 *   happens often the block is translated anew without this one.
 * - A member behind a side exit may not be executed, so it may not ask for a right
 *   that the members before did not need: a write there joins only a group that
 *   writes anyway.
 */
#include "engine/xl.h"
#include "engine/xl_fns.h"

enum { MAX_SPAN = 128, NR_KEEP = 16 };

struct span {
	s64 disp;
	unsigned size;
	bool write;
};

static bool can_share(const struct xl *x, const struct insn *i)
{
	return i->how == HOW_NATIVE && i->has_mem && i->has_modrm && !i->mem.vsib &&
	       !i->mem.rip_relative && i->mem.size && i->mem.size <= 64 && i->addrsize >= 4 &&
	       i->mem.base != REG_NONE && i->mem.index != RSP &&
	       !(i->rules & (RULE_NOREAD | RULE_SCALAR_MEM | RULE_X87 | RULE_MMX)) &&
	       xl_segment_flat(x, i->mem.seg, true);
}

static bool same_place(const struct insn *a, const struct insn *b)
{
	return a->mem.base == b->mem.base && a->mem.index == b->mem.index &&
	       a->mem.scale == b->mem.scale && a->mem.seg == b->mem.seg &&
	       a->addrsize == b->addrsize;
}

static u16 address_regs(const struct insn *i)
{
	return (u16)(BIT(i->mem.base) | (i->mem.index == REG_NONE ? 0 : BIT(i->mem.index)));
}

/* After these, C code may have changed what an address means. */
static bool ends_groups(const struct insn *i)
{
	xl_fn *fn = insn_custom[i->row];

	if (i->how == HOW_NATIVE)
		return false;
	return i->how != HOW_CUSTOM ||
	       (fn != xl_jcc && fn != xl_push && fn != xl_pop && fn != xl_lea && fn != xl_nop);
}

/* ---- The stack ---- */

/* What @i accesses through RSP, [RSP + @m->disp]; false if nothing, or not plainly. */
static bool stack_access(const struct xl *x, const struct insn *i, struct span *m)
{
	xl_fn *fn = insn_custom[i->row];

	if (i->how == HOW_NATIVE) {
		*m = (struct span){ i->mem.disp, i->mem.size, i->mem.written };
		return i->mem.base == RSP && i->mem.index == REG_NONE && i->addrsize == 8 &&
		       i->mem.seg == SEG_SS && can_share(x, i);
	}
	if (i->how != HOW_CUSTOM || i->opsize != 8 || i->has_mem)
		return false;
	if (fn == xl_push || fn == xl_call)
		*m = (struct span){ -8, 8, true };
	else
		*m = (struct span){ 0, 8, false };
	return fn == xl_push || fn == xl_call || fn == xl_pop || fn == xl_ret;
}

/* By how much @i moves RSP; false: nobody knows. */
static bool stack_move(const struct insn *i, s64 *by)
{
	xl_fn *fn = insn_custom[i->row];
	unsigned op = i->modrm >> 3 & 7;

	*by = 0;
	if (!(i->gpr_written & BIT(RSP)))
		return true;
	if (i->opsize != 8)
		return false;
	if (i->how == HOW_CUSTOM && (fn == xl_push || fn == xl_pop)) {
		*by = fn == xl_push ? -8 : 8;
		return fn == xl_push || (!i->has_mem && i->op[0].reg != RSP);
	}
	if (i->how == HOW_CUSTOM && fn == xl_lea) {
		*by = i->mem.disp;
		return i->mem.base == RSP && i->mem.index == REG_NONE && i->addrsize == 8;
	}
	*by = op == 5 ? -(s64)i->imm : (s64)i->imm;
	return i->how == HOW_NATIVE && i->enc == ENC_LEGACY && i->map == MAP_1B && !i->has_mem &&
	       (i->opcode == 0x81 || i->opcode == 0x83) && (op == 0 || op == 5);
}

/* ---- Groups ---- */

/* A group that grows. Displacements are from the registers as the leader has them. */
struct group {
	const struct insn *lead;
	bool stack, write, exits;
	s64 lo, hi, moved; /* @moved: by how much RSP has, since the leader */
	unsigned nr, member[XL_MAX_INSNS];
	s64 at[XL_MAX_INSNS];
};

static bool access_of(const struct xl *x, const struct group *g, const struct insn *i, struct span *m)
{
	if (g->stack)
		return stack_access(x, i, m);
	*m = (struct span){ i->mem.disp, i->mem.size, i->mem.written };
	return can_share(x, i) && same_place(g->lead, i);
}

static void try_member(struct xl *x, struct group *g, unsigned n)
{
	struct span m;
	s64 lo, hi;

	if (x->share[n].used || !access_of(x, g, &x->insn[n], &m) ||
	    (m.write && g->exits && !g->write))
		return;
	m.disp += g->moved;
	lo = g->nr ? MIN(g->lo, m.disp) : m.disp;
	hi = g->nr ? MAX(g->hi, m.disp + m.size) : m.disp + m.size;
	if (hi - lo > MAX_SPAN)
		return;
	g->lo = lo;
	g->hi = hi;
	g->write |= m.write;
	g->at[g->nr] = m.disp;
	g->member[g->nr++] = n;
}

/* May there be members behind @i? */
static bool goes_on(struct group *g, const struct insn *i)
{
	s64 by;

	if (ends_groups(i))
		return false;
	g->exits |= i->how == HOW_CUSTOM && insn_custom[i->row] == xl_jcc;
	if (!g->stack)
		return !(i->gpr_written & address_regs(g->lead));
	if (!stack_move(i, &by))
		return false;
	g->moved += by;
	return true;
}

/* Makes the group that instruction @first leads; false if it stays alone. */
static bool plan_group(struct xl *x, unsigned first, bool stack, u8 keep)
{
	struct group g = { .lead = &x->insn[first], .stack = stack };

	for (unsigned n = first; n < x->nr; n++) {
		try_member(x, &g, n);
		if (!goes_on(&g, &x->insn[n]))
			break;
	}
	for (unsigned m = 0; g.nr > 1 && m < g.nr; m++)
		x->share[g.member[m]] = (struct share){
			.used = true, .leads = m == 0, .write = g.write, .keep = keep, .stack = stack,
			.span = (u8)(g.hi - g.lo), .off = (u8)(g.at[m] - g.lo), .lo = g.lo };
	return g.nr > 1;
}

static bool shall_not_lead(const struct xl *x, const struct insn *i)
{
	const gva_t *alone = x->k->no_share[share_index(i->rip)];

	return alone[0] == i->rip || alone[1] == i->rip;
}

void xl_plan_shares(struct xl *x)
{
	u8 keep = 0;

	__builtin_memset(x->share, 0, sizeof(x->share));
	if (x->rip == x->c->straddled)
		return;
	for (unsigned n = 0; n < x->nr && keep < NR_KEEP; n++) {
		const struct insn *i = &x->insn[n];
		struct span m;
		bool stack = xl_code64(x) && stack_access(x, i, &m);

		if (!x->share[n].used && !shall_not_lead(x, i) &&
		    (stack || (can_share(x, i) && i->mem.base != RSP)))
			keep += plan_group(x, n, stack, keep);
	}
}
