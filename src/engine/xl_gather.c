// SPDX-License-Identifier: MIT
/*
 * Own translator: AVX2's gathers. Vectors are stored to cpu.xbuf, each element
 * whose mask bit is set is loaded through the soft TLB, and the result is loaded
 * when all are there. Nothing the guest sees has changed until then, so whatever
 * the TLB does not have is left to helper_gather(), from the beginning.
 */
#include "engine/helpers.h"
#include "engine/xl.h"
#include "engine/xl_fns.h"

enum { DEST = 0, INDEX = 32, MASK = 64 };

#define MREF_BUF(off) MREF(RSP, OFF(xbuf) + (s32)(off))

/* VMOVUPS between a register and the buffer. */
static void move_vec(struct xl *x, bool store, bool wide, unsigned reg, unsigned off)
{
	struct emitter *e = x->e;

	em_byte(e, 0xc4);
	em_byte(e, (reg & 8 ? 0 : 0x80) | 0x61);
	em_byte(e, wide ? 0x7c : 0x78);
	em_byte(e, store ? 0x11 : 0x10);
	em_byte(e, 0x84 | (reg & 7) << 3);
	em_byte(e, 0x24);
	em_u32(e, (u32)MREF_BUF(off).disp);
}

/* VPXOR of a register with itself. */
static void clear_vec(struct xl *x, unsigned reg)
{
	struct emitter *e = x->e;

	em_byte(e, 0xc4);
	em_byte(e, (reg & 8 ? 0 : 0x80) | 0x40 | (reg & 8 ? 0 : 0x20) | 1);
	em_byte(e, (~reg & 15) << 3 | 1);
	em_byte(e, 0xef);
	em_byte(e, 0xc0 | (reg & 7) << 3 | (reg & 7));
}

/* S0 = linear address of element @n. */
static void element_address(struct xl *x, const struct insn *i, unsigned n, unsigned idx)
{
	struct mref at = MREF_X(REG_NONE, S0, i->mem.scale, (s32)i->mem.disp);

	if (idx == 4)
		em_rm(x->e, 8, 0x63, S0, MREF_BUF(INDEX + 4 * n)); /* movsxd */
	else
		em_load(x->e, 8, S0, MREF_BUF(INDEX + 8 * n));
	if (i->mem.base != REG_NONE) {
		at.base = xl_host(i->mem.base);
		if (at.base == REG_NONE) {
			em_load(x->e, 8, S1, MREF_GPR(i->mem.base));
			at.base = S1;
		}
	}
	em_lea(x->e, 8, S0, at);
}

/* Returns the jump that is taken where the TLB does not have the element. */
static u8 *gather_element(struct xl *x, const struct insn *i, unsigned n, unsigned elem, unsigned idx)
{
	u8 *skip, *miss;

	em_alu_mem_imm(x->e, elem, 7, MREF_BUF(MASK + elem * n), 0);
	skip = em_jcc(x->e, CC_NS, 0);
	element_address(x, i, n, idx);
	miss = xl_tlb_lookup(x, elem, false);
	em_load(x->e, elem, S1, MREF(S0, 0));
	em_store(x->e, elem, MREF_BUF(DEST + elem * n), S1);
	em_patch_rel32(x->e, skip, em_here(x->e));
	return miss;
}

void xl_gather(struct xl *x, const struct insn *i)
{
	unsigned elem = i->w ? 8 : 4, idx = i->opcode & 1 ? 8 : 4, nr = i->vl / MAX(elem, idx);
	struct emitter *e = x->e;
	u8 *miss[8], *done;

	if (!xl_code64(x) || i->mem.seg >= SEG_FS || i->addrsize != 8) {
		xl_helper(x, helper_gather, false);
		return;
	}
	/* The helper and the way around it must leave the flags in the same place. */
	xl_flags_to_slot(x, FLAGS_ARITH);
	x->fl = FL_SLOT;
	x->remat = -1;
	move_vec(x, true, true, i->reg, DEST);
	move_vec(x, true, true, i->mem.index, INDEX);
	move_vec(x, true, true, i->vvvv, MASK);
	for (unsigned n = 0; n < nr; n++)
		miss[n] = gather_element(x, i, n, elem, idx);
	if (nr * elem == 8)
		em_store_imm(e, 8, MREF_BUF(DEST + 8), 0);
	move_vec(x, false, nr * elem == 32, i->reg, DEST);
	clear_vec(x, i->vvvv);
	done = em_jmp32(e, 0);
	for (unsigned n = 0; n < nr; n++)
		em_patch_rel32(e, miss[n], em_here(e));
	xl_helper(x, helper_gather, false);
	em_patch_rel32(e, done, em_here(e));
}
