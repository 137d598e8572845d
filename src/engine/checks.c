// SPDX-License-Identifier: MIT
/*
 * Which memory checks of a block can be shared.
 *
 * Instructions that use the same base and index with near displacements, with
 * neither register written between, form a group: its first member checks the
 * whole range at once, and the others find its host address ready. Theory of
 * why that is exact:
 *
 * - A check that passes says that the range lies in one page with the rights, so
 *   no member can fault on it; and rights are only taken away at safe points,
 *   which are at block boundaries.
 * - A check that fails never faults for a member to come: exec_slow() looks
 *   without side effects, and if the range is no good, the first member alone is
 *   stepped; if that happens often the block is translated anew without the group.
 * - A member behind a side exit may not be executed, so it may not ask for a right
 *   that the members before did not need: a write there joins only a group that
 *   writes anyway.
 */
#include "engine/xl.h"
#include "engine/xl_fns.h"

enum { MAX_SPAN = 128, NR_KEEP = 8 };

static bool can_share(const struct xl *x, const struct insn *i)
{
	return i->how == HOW_NATIVE && i->has_mem && i->has_modrm && !i->mem.vsib &&
	       !i->mem.rip_relative && i->mem.size && i->mem.size <= 64 && i->addrsize >= 4 &&
	       i->mem.base != REG_NONE && i->mem.base != RSP &&
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

/* Makes the group that instruction @first leads; false if it stays alone. */
static bool plan_group(struct xl *x, unsigned first, u8 keep)
{
	const struct insn *lead = &x->insn[first];
	s64 lo = lead->mem.disp, hi = lo + lead->mem.size;
	bool write = lead->mem.written, exits = false;
	unsigned members[XL_MAX_INSNS], nr = 0;

	for (unsigned n = first; n < x->nr; n++) {
		const struct insn *i = &x->insn[n];

		if (ends_groups(i))
			break;
		if (can_share(x, i) && !x->share[n].used && same_place(lead, i) &&
		    !(i->mem.written && exits && !write)) {
			s64 l = MIN(lo, i->mem.disp), h = MAX(hi, i->mem.disp + i->mem.size);

			if (h - l <= MAX_SPAN) {
				lo = l;
				hi = h;
				write |= i->mem.written;
				members[nr++] = n;
			}
		}
		exits |= i->how == HOW_CUSTOM && insn_custom[i->row] == xl_jcc;
		if (i->gpr_written & address_regs(lead))
			break;
	}
	for (unsigned m = 0; nr > 1 && m < nr; m++)
		x->share[members[m]] = (struct share){ .used = true, .leads = m == 0, .write = write,
						       .keep = keep, .span = (u8)(hi - lo),
						       .lo = lo };
	return nr > 1;
}

void xl_plan_shares(struct xl *x)
{
	u8 keep = 0;

	__builtin_memset(x->share, 0, sizeof(x->share));
	for (unsigned n = 0; n < x->nr && keep < NR_KEEP; n++) {
		const struct insn *i = &x->insn[n];

		const gva_t *alone = x->k->no_share[share_index(i->rip)];

		if (!x->share[n].used && can_share(x, i) && alone[0] != i->rip &&
		    alone[1] != i->rip)
			keep += plan_group(x, n, keep);
	}
}
