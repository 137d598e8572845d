// SPDX-License-Identifier: MIT
/*
 * Memory operands of translated code: the address, its check against the soft
 * TLB or a page slot (context.h), or a check that several share (checks.c), and
 * the way out of line for what fails.
 */
#include "engine/tlb.h"
#include "engine/xl.h"

bool xl_segment_flat(const struct xl *x, unsigned seg, bool write)
{
	if (xl_code64(x))
		return true;
	return (x->mode.bits & MODE_SEG_FLAT(seg)) && !(write && seg == SEG_CS);
}

bool xl_stack_plain(const struct xl *x)
{
	const u64 flat = MODE_SEG_ZERO(SEG_SS) | MODE_SEG_FLAT(SEG_SS) | MODE_SS32;

	return xl_code64(x) || (x->mode.bits & flat) == flat;
}

static u8 address_reg(struct xl *x, u8 g, u8 temp)
{
	u8 h = xl_host(g);

	if (h != REG_NONE)
		return h;
	em_load(x->e, 8, temp, MREF_GPR(g));
	return temp;
}

void xl_address(struct xl *x, const struct insn *i, bool with_segment)
{
	struct emitter *e = x->e;
	unsigned size = i->addrsize == 8 ? 8 : 4;
	unsigned seg = i->mem.seg;

	x->s0_keep = -1;
	if (i->mem.rip_relative) {
		u64 a = insn_next(i) + (u64)i->mem.disp;

		em_mov_imm(e, S0, i->addrsize == 8 ? a : (u32)a);
	} else if (i->mem.base == REG_NONE && i->mem.index == REG_NONE) {
		em_mov_imm(e, S0, i->addrsize == 8 ? (u64)i->mem.disp :
				  i->addrsize == 4 ? (u32)i->mem.disp : (u16)i->mem.disp);
	} else {
		struct mref m = { .base = REG_NONE, .index = REG_NONE, .scale = i->mem.scale,
				  .disp = (s32)i->mem.disp };

		if (i->mem.base != REG_NONE)
			m.base = address_reg(x, i->mem.base, S0);
		if (i->mem.index != REG_NONE)
			m.index = address_reg(x, i->mem.index, S1);
		em_lea(e, size, S0, m);
		if (i->addrsize == 2)
			em_rr(e, 4, 0x0fb7, S0, S0);
	}
	if (!with_segment)
		return;
	if (seg >= SEG_FS || (!xl_code64(x) && !(x->mode.bits & MODE_SEG_ZERO(seg)))) {
		/* Only FS and GS have bases in 64-bit mode. */
		em_rm(e, xl_code64(x) ? 8 : 4, 0x03, S0,
		      MREF(RSP, OFF(s.seg) + (s32)(seg * sizeof(struct seg)) +
					(s32)offsetof(struct seg, base)));
	}
}

/* The check by a page slot: see context.h. */
static struct cold *emit_slot_check(struct xl *x, unsigned size, bool write, unsigned slot)
{
	struct emitter *e = x->e;
	u64 retry = em_here(e);
	s32 off = (s32)CTX_SLOT_OFF(slot);
	struct cold *k;

	em_rm(e, 8, 0x2b, S0, MREF_GS(REG_NONE, off));
	em_alu_imm(e, 8, 7, S0, (s32)(PAGE_SIZE - size));
	k = xl_cold(x, COLD_SLOW, em_jcc(e, CC_A, 0));
	k->back = retry;
	k->what = size | (write ? 0x100 : 0) | (slot + 1) << 16;
	em_rm(e, 8, 0x03, S0, MREF_GS(REG_NONE, off + 8));
	k->done = em_here(e);
	return k;
}

/* The slot for an access through @base (REG_NONE: any), or -1. */
static int choose_slot(struct xl *x, unsigned base, bool write)
{
	const struct insn *i = &x->insn[x->cur];

	if (base == RSP)
		return write ? SLOT_STACK_WRITE : SLOT_STACK;
	if (!x->loop || x->k->no_slot[no_slot_index(i->rip)] == i->rip)
		return -1;
	x->k->next_slot = (x->k->next_slot + 1) % (NR_SLOTS - SLOT_SITES);
	return (int)(SLOT_SITES + x->k->next_slot);
}

u8 *xl_tlb_lookup(struct xl *x, unsigned size, bool write)
{
	struct emitter *e = x->e;
	s32 tag = write ? offsetof(struct tlb_entry, wtag) : offsetof(struct tlb_entry, rtag);
	u8 *miss;

	if (x->vm->has_bmi2) {
		/* rorx r11, r10, PAGE_SHIFT - TLB_SHIFT */
		em_byte(e, 0xc4);
		em_byte(e, 0x43);
		em_byte(e, 0xfb);
		em_byte(e, 0xf0);
		em_byte(e, 0xda);
		em_byte(e, PAGE_SHIFT - TLB_SHIFT);
	} else {
		em_mov_rr(e, 8, S1, S0);
		em_rr(e, 8, 0xc1, 5, S1);
		em_byte(e, PAGE_SHIFT - TLB_SHIFT);
	}
	em_alu_imm(e, 4, 4, S1, (TLB_SIZE - 1) << TLB_SHIFT);
	em_rm(e, 8, 0x2b, S0, MREF_GS(S1, tag));
	em_alu_imm(e, 8, 7, S0, (s32)(PAGE_SIZE - size));
	miss = em_jcc(e, CC_A, 0);
	em_rm(e, 8, 0x03, S0, MREF_GS(S1, (s32)offsetof(struct tlb_entry, host)));
	return miss;
}

static struct cold *emit_tlb_check(struct xl *x, unsigned size, bool write)
{
	u64 retry = em_here(x->e);
	struct cold *k = xl_cold(x, COLD_SLOW, xl_tlb_lookup(x, size, write));

	k->back = retry;
	k->what = size | (write ? 0x100 : 0);
	k->done = em_here(x->e);
	return k;
}

static struct cold *emit_check(struct xl *x, unsigned size, bool write, unsigned base)
{
	int slot = choose_slot(x, base, write);

	return slot < 0 ? emit_tlb_check(x, size, write) :
			  emit_slot_check(x, size, write, (unsigned)slot);
}

/* Address of a memory operand; outside flat segments by C, which checks. */
static void emit_linear(struct xl *x, const struct insn *i, bool write)
{
	x->s0_keep = -1;
	if (xl_segment_flat(x, i->mem.seg, write)) {
		xl_address(x, i, true);
	} else {
		em_mov_imm(x->e, S1, (u64)xl_site(x, i, NULL));
		em_call(x->e, x->k->stub.segment);
	}
}

/* S0 = the lowest linear address of the group that @i leads. */
static void lowest_address(struct xl *x, const struct insn *i, const struct share *g)
{
	struct insn low = *i;

	low.mem.disp = g->lo;
	if (g->stack)
		em_lea(x->e, 8, S0, MREF(HOST_RSP, (s32)g->lo));
	else
		xl_address(x, &low, true);
}

/* The current instruction's operand by way of a shared check: only the leader
 * touches flags. */
void xl_shared_operand(struct xl *x, const struct share *g, struct mref *m)
{
	const struct insn *i = &x->insn[x->cur];
	s32 keep = OFF(addend) + 8 * (s32)g->keep;

	if (g->leads) {
		xl_free_flags(x);
		lowest_address(x, i, g);
		emit_check(x, g->span, g->write, g->stack ? RSP : REG_NONE)->what |= WHAT_SHARED;
		xl_clobbered(x);
		em_store(x->e, 8, MREF(RSP, keep), S0);
	} else if (x->s0_keep != g->keep) {
		em_load(x->e, 8, S0, MREF(RSP, keep));
	}
	x->s0_keep = (s8)g->keep;
	*m = MREF(S0, g->off);
}

void xl_operand(struct xl *x, unsigned size, bool write)
{
	const struct insn *i = &x->insn[x->cur];
	bool stack = i->mem.base == RSP && i->mem.index == REG_NONE && i->mem.seg == SEG_SS;

	/* C may raise a fault, or step the instruction and leave the block. */
	if (x->fl == FL_REMAT && !xl_segment_flat(x, i->mem.seg, write))
		xl_flags_to_slot(x, FLAGS_ARITH);
	emit_linear(x, i, write);
	emit_check(x, size, write, stack ? RSP : REG_NONE);
	xl_clobbered(x);
}

void xl_kept(struct xl *x, unsigned size, bool write)
{
	em_store(x->e, 8, MREF(RSP, OFF(arg[2])), S0);
	emit_check(x, size, write, REG_NONE)->stack = ADDRESS_KEPT;
	xl_clobbered(x);
}

static void stack_address(struct xl *x, unsigned base, s32 disp)
{
	em_lea(x->e, xl_code64(x) ? 8 : 4, S0, MREF(xl_host(base), disp));
}

void xl_stack(struct xl *x, unsigned base, s32 disp, unsigned size, bool write)
{
	struct cold *k;

	stack_address(x, base, disp);
	k = emit_check(x, size, write, base);
	k->stack = (s8)(base + 1);
	k->disp = disp;
	xl_clobbered(x);
}

/* Behind the call of the slow stub: S0 is where the operand's bytes are, or go to. */
static void emit_crossing(struct xl *x, const struct cold *k)
{
	struct emitter *e = x->e;

	if (!(k->what & 0x100)) {
		em_jmp(e, k->done);
		return;
	}
	xl_store_again(x, &x->insn[k->insn]);
	em_call(e, x->k->stub.commit);
	em_jmp(e, k->after);
}

struct mref xl_stack_operand(struct xl *x, s32 disp, unsigned size, bool write)
{
	const struct share *g = &x->share[x->cur];
	struct mref m = MREF(S0, 0);

	if (g->used) {
		xl_shared_operand(x, g, &m);
	} else {
		xl_free_flags(x);
		xl_stack(x, RSP, disp, size, write);
	}
	return m;
}

void xl_slow(struct xl *x, const struct cold *k)
{
	struct emitter *e = x->e;
	const struct insn *i = &x->insn[k->insn];
	bool crosses = !(k->what & WHAT_SHARED) && (!(k->what & 0x100) || k->after);

	if (k->fl == FL_REMAT) {
		xl_remat(x, (unsigned)k->remat);
		xl_save_flags(x);
	}
	if (k->stack == ADDRESS_KEPT) {
		em_load(e, 8, S0, MREF(RSP, OFF(arg[2])));
	} else if (k->stack) {
		stack_address(x, (unsigned)k->stack - 1, k->disp);
	} else if (k->what & WHAT_SHARED) {
		lowest_address(x, i, &x->share[k->insn]);
	} else {
		emit_linear(x, i, i->mem.written);
	}
	if ((s64)i->rip == (s32)i->rip) {
		em_store_imm(e, 8, MREF(RSP, OFF(s.rip)), (s32)i->rip);
	} else {
		em_mov_imm(e, S1, i->rip);
		em_store(e, 8, MREF(RSP, OFF(s.rip)), S1);
	}
	em_mov_imm(e, S1, k->what | (i->rules & RULE_ALIGN ? WHAT_ALIGNED : 0) |
				  (i->rules & RULE_SCALAR_MEM ? WHAT_MASKED : 0) |
				  (insn_waits(i) ? WHAT_WAITS : 0) | (crosses ? WHAT_CROSSES : 0));
	em_call(e, k->what >> 16 ? x->k->stub.slot : x->k->stub.slow);
	if (crosses) {
		em_byte(e, 0x75); /* jne over the jump */
		em_byte(e, 5);
	}
	em_jmp(e, k->back);
	if (crosses)
		emit_crossing(x, k);
}
