// SPDX-License-Identifier: MIT
/*
 * The translator: a block of guest instructions becomes host code. Copied
 * instructions are re-emitted here with their operands remapped; own
 * translators are in xl_*.c; everything else is a call of a C helper. xl.h
 * describes what they share.
 */
#include "engine/debug.h"
#include "engine/tlb.h"
#include "engine/xl.h"

/* ---- Flags ---- */

/* What the result depends on. A shift says that it reads all flags, since a count of
 * zero keeps them; but only RCL and RCR need any when nobody wants them afterwards. */
static u16 flags_needed(const struct insn *i, u16 after)
{
	bool through_carry = i->map == MAP_1B && (i->modrm >> 4 & 3) == 1;

	if (!(i->rules & RULE_COUNT) || after)
		return i->flags_read;
	return through_carry ? FLAG_CF : 0;
}

static u16 live_before(const struct xl *x, unsigned n)
{
	const struct insn *i = &x->insn[n];
	u16 read = flags_needed(i, x->live_after[n]);

	if (i->how == HOW_HELPER || i->how == HOW_UD)
		read = FLAGS_ARITH;
	return ((x->live_after[n] & ~i->flags_written) | read) & FLAGS_ARITH;
}

bool xl_flags_live(const struct xl *x)
{
	return x->cur < x->nr && live_before(x, x->cur);
}

/* LAHF and SETO, by way of S1: nothing but the slot changes. */
static void save_flags(struct xl *x)
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
static void emit_remat(struct xl *x, unsigned n)
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
			host = S1; /* can_remat() allows one such register */
			xl_get(x, host, o->reg);
		}
		if (o->slot == SLOT_REG)
			r.reg = host;
		else
			r.rm = host;
	}
	em_native(x->e, i, &r);
}

static bool can_remat(const struct insn *i)
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
		save_flags(x);
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
		emit_remat(x, (unsigned)x->remat);
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
		save_flags(x);
		x->fl = FL_BOTH;
	}
}

/* ---- Guest registers ---- */

void xl_get(struct xl *x, unsigned host, unsigned g)
{
	u8 h = xl_host(g);

	if (h == REG_NONE)
		em_load(x->e, 8, host, MREF_GPR(g));
	else if (h != host)
		em_mov_rr(x->e, 8, host, h);
}

void xl_put(struct xl *x, unsigned g, unsigned size, unsigned host)
{
	u8 h = xl_host(g);

	if (h != REG_NONE) {
		em_rr(x->e, size, size == 1 ? 0x88 : 0x89, host, h);
		return;
	}
	if (size == 4) {
		em_mov_rr(x->e, 4, host, host);
		size = 8;
	}
	em_store(x->e, size, MREF_GPR(g), host);
}

/* ---- Memory ---- */

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

static struct cold *cold_add(struct xl *x, int kind, u8 *patch)
{
	struct cold *k;

	if (x->nr_cold == XL_MAX_COLD) {
		x->failed = true;
		return &x->cold[0];
	}
	k = &x->cold[x->nr_cold++];
	*k = (struct cold){ .patch = patch, .insn = (u8)x->cur, .fl = x->fl, .remat = x->remat };
	k->kind = kind;
	return k;
}

/* The check by a page slot: see context.h. */
static struct cold *emit_slot_check(struct xl *x, unsigned size, bool write, unsigned slot)
{
	struct emitter *e = x->e;
	u64 retry = em_here(e);
	s32 off = (s32)CTX_SLOT_OFF(slot);
	struct cold *k;

	em_mov_rr(e, 8, S1, S0);
	em_rm(e, 8, 0x2b, S1, MREF_GS(REG_NONE, off));
	em_alu_imm(e, 8, 7, S1, (s32)(PAGE_SIZE - size));
	k = cold_add(x, COLD_SLOW, em_jcc(e, CC_A, 0));
	k->back = retry;
	k->what = size | (write ? 0x100 : 0) | (slot + 1) << 16;
	em_rm(e, 8, 0x03, S0, MREF_GS(REG_NONE, off + 8));
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

/* S0: linear address in, host address out. Clobbers EFLAGS and S1. */
static struct cold *emit_tlb_check(struct xl *x, unsigned size, bool write)
{
	struct emitter *e = x->e;
	u64 retry = em_here(e);
	s32 tag = write ? offsetof(struct tlb_entry, wtag) : offsetof(struct tlb_entry, rtag);
	struct cold *k;

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
	k = cold_add(x, COLD_SLOW, em_jcc(e, CC_A, 0));
	k->back = retry;
	k->what = size | (write ? 0x100 : 0);
	em_rm(e, 8, 0x03, S0, MREF_GS(S1, (s32)offsetof(struct tlb_entry, host)));
	return k;
}

static struct cold *emit_check(struct xl *x, unsigned size, bool write, unsigned base)
{
	int slot = choose_slot(x, base, write);

	return slot < 0 ? emit_tlb_check(x, size, write) :
			  emit_slot_check(x, size, write, (unsigned)slot);
}

static struct helper_site *make_site(struct xl *x, const struct insn *i, helper_fn *fn)
{
	struct helper_site *s = cache_meta(x->k, sizeof(*s));

	if (!s) {
		x->failed = true;
		return NULL;
	}
	s->insn = *i;
	s->fn = fn;
	return s;
}

/* Address of a memory operand; outside flat segments by C, which checks. */
static void emit_linear(struct xl *x, const struct insn *i, bool write)
{
	if (xl_segment_flat(x, i->mem.seg, write)) {
		xl_address(x, i, true);
	} else {
		em_mov_imm(x->e, S1, (u64)make_site(x, i, NULL));
		em_call(x->e, x->k->stub.segment);
	}
}

/* The same address with the group's lowest displacement. */
static struct insn at_lowest(const struct insn *i, const struct share *g)
{
	struct insn low = *i;

	low.mem.disp = g->lo;
	return low;
}

/* The current instruction's operand by way of a shared check: only the leader
 * touches flags. */
static void shared_operand(struct xl *x, const struct share *g, struct mref *m)
{
	const struct insn *i = &x->insn[x->cur];
	s32 keep = OFF(addend) + 8 * (s32)g->keep;

	if (g->leads) {
		struct insn low = at_lowest(i, g);

		xl_free_flags(x);
		xl_address(x, &low, true);
		emit_check(x, g->span, g->write, REG_NONE)->what |= WHAT_SHARED;
		xl_clobbered(x);
		em_store(x->e, 8, MREF(RSP, keep), S0);
	} else {
		em_load(x->e, 8, S0, MREF(RSP, keep));
	}
	*m = MREF(S0, (s32)(i->mem.disp - g->lo));
}

void xl_operand(struct xl *x, unsigned size, bool write)
{
	const struct insn *i = &x->insn[x->cur];
	bool stack = i->mem.base == RSP && i->mem.index == REG_NONE && i->mem.seg == SEG_SS;

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

/* ---- Leaving ---- */

static bool same_page(const struct xl *x, gva_t rip)
{
	u64 base = x->mode.cs_base;

	return (((rip + base) ^ (x->rip + base)) & PAGE_MASK) == 0;
}

static void emit_jump_cache(struct xl *x, gva_t target)
{
	struct emitter *e = x->e;

	em_mov_imm(e, S0, target);
	em_load(e, 4, S1, MREF_GS(REG_NONE, (s32)(CTX_JUMP_OFF + 4 * (target & (JUMP_SIZE - 1)))));
	em_jmp_reg(e, S1);
}

void xl_exit(struct xl *x, gva_t target)
{
	x->ended = true;
	if (same_page(x, target)) {
		struct cold *k = cold_add(x, COLD_CHAIN, em_jmp_atomic(x->e, 0));

		k->target = target;
	} else {
		emit_jump_cache(x, target);
	}
}

void xl_exit_indirect(struct xl *x)
{
	struct emitter *e = x->e;

	x->ended = true;
	if (xl_code64(x))
		em_store_imm(e, 4, MREF(RSP, OFF(branch_at)), (s32)em_here(e));
	em_rr(e, 4, 0x0fb7, S1, S0);
	em_load(e, 4, S1, (struct mref){ .base = REG_NONE, .index = S1, .scale = 4, .gs = true,
					 .disp = (s32)CTX_JUMP_OFF });
	em_jmp_reg(e, S1);
}

void xl_side_exit(struct xl *x, unsigned cc, gva_t target)
{
	bool save = x->live_taken[x->cur] && (x->fl == FL_REG || x->fl == FL_REMAT);
	bool chain = same_page(x, target) && !save;
	u8 *at = em_jcc_atomic(x->e, cc, 0);
	struct cold *k = cold_add(x, chain ? COLD_CHAIN : COLD_EXIT, at);

	k->target = target;
	if (!save)
		k->fl = FL_DEAD;
}

gva_t xl_target(const struct xl *x)
{
	const struct insn *i = &x->insn[x->cur];
	gva_t t = insn_next(i) + i->imm;

	if (xl_code64(x))
		return t;
	return i->opsize == 2 ? (u16)t : (u32)t;
}

void xl_helper(struct xl *x, helper_fn *fn, bool ends)
{
	struct helper_site *s = make_site(x, &x->insn[x->cur], fn);

	xl_flags_to_slot(x, FLAGS_ARITH);
	em_mov_imm(x->e, S1, (u64)s);
	em_call(x->e, x->k->stub.helper);
	x->fl = FL_SLOT;
	x->remat = -1;
	if (ends)
		x->ended = true;
}

static enum helper_result helper_step(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	world_leave(c);
	step_insn(c);
	return HELPER_END;
}

void xl_step(struct xl *x)
{
	xl_helper(x, helper_step, true);
}

/* ---- Copied instructions ---- */

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
		return S0;
	}
	return alloc_spill(x, a);
}

/* The host register for guest register @g, loaded. */
static u8 alloc_operand(struct xl *x, struct regalloc *a, u8 g, bool written)
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
		h = alloc_operand(x, a, o->reg, o->written);
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
		return after || flags_needed(i, after);
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

static void xl_native(struct xl *x, const struct insn *i)
{
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
			shared_operand(x, &x->share[x->cur], &a.map.mem);
		} else {
			xl_free_flags(x);
			xl_operand(x, i->mem.size, i->mem.written);
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
	if (i->flags_written || (i->rules & RULE_COUNT)) {
		x->fl = FL_REG;
		x->remat = can_remat(i) ? (s8)x->cur : -1;
	}
}

/* ---- One instruction ---- */

static bool fpu_allowed(u64 m, const struct insn *i, unsigned *vector)
{
	*vector = X86_UD;
	if (i->rules & RULE_AVX512)
		return (m & MODE_AVX512) && ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_AVX)
		return (m & MODE_AVX) && !(m & MODE_REAL) && ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_SSE)
		return (m & MODE_OSFXSR) && !(m & MODE_FPU_EM) &&
		       ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_MMX)
		return !(m & MODE_FPU_EM) && ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_X87) {
		bool wait = i->map == MAP_1B && i->opcode == 0x9b;

		*vector = X86_NM;
		return wait ? (m & (MODE_FPU_TS | MODE_FPU_MP)) != (MODE_FPU_TS | MODE_FPU_MP) :
			      !(m & (MODE_FPU_EM | MODE_FPU_TS));
	}
	return true;
}

static enum helper_result helper_raise_ud(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}

static enum helper_result helper_raise_nm(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_NM, 0);
}

static enum helper_result helper_raise_gp(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_GP, 0);
}

helper_fn *insn_refused(const struct soft_cpu *c, const struct insn *i, const struct block_mode *m)
{
	unsigned vector;

	if (i->how == HOW_UD)
		return helper_raise_ud;
	if (i->gate < NR_FEATURES && !c->vm->env.model->has[i->gate])
		return helper_raise_ud;
	if (i->gate2 < NR_FEATURES && !c->vm->env.model->has[i->gate2])
		return helper_raise_ud;
	if ((i->rules & RULE_PROT) && (m->bits & MODE_REAL))
		return helper_raise_ud;
	if (!fpu_allowed(m->bits, i, &vector))
		return vector == X86_NM ? helper_raise_nm : helper_raise_ud;
	if ((i->rules & RULE_CPL0) && (m->bits >> MODE_CPL_SHIFT & 3) && i->how != HOW_HELPER)
		return helper_raise_gp;
	return NULL;
}

/* A guest register that the re-emitted comparison needs is about to change. */
static void keep_remat(struct xl *x, const struct insn *i)
{
	if (x->remat < 0 || !(i->gpr_written & x->insn[x->remat].gpr_read))
		return;
	if (x->fl == FL_REMAT) {
		if (xl_flags_live(x))
			xl_flags_to_slot(x, FLAGS_ARITH);
		else
			x->fl = FL_DEAD;
	}
	x->remat = -1;
}

static void translate_insn(struct xl *x, const struct insn *i)
{
	helper_fn *refused = insn_refused(x->c, i, &x->mode);

	if (unlikely(x->vm->rows))
		x->vm->rows[i->row] = 1;
	if (refused) {
		xl_helper(x, refused, true);
		x->b->insns_by[2]++;
		return;
	}
	/* A high-byte operand may alias a register of the comparison. */
	keep_remat(x, i);
	switch (i->how) {
	case HOW_NATIVE:
		xl_native(x, i);
		x->b->insns_by[0]++;
		break;
	case HOW_CUSTOM:
		insn_custom[i->row](x, i);
		x->b->insns_by[1]++;
		break;
	default:
		xl_helper(x, insn_helper[i->row], i->rules & RULE_ENDS_BLOCK);
		x->b->insns_by[2]++;
	}
}

/* ---- Reading the guest's instructions ---- */

static struct insn_mode decode_mode(const struct xl *x)
{
	return insn_mode_of(x->c, x->mode.bits);
}

static bool is_jcc(const struct insn *i)
{
	return i->how == HOW_CUSTOM && i->nr_ops && i->op[0].kind == OPND_REL &&
	       ((i->map == MAP_1B && (i->opcode & 0xf0) == 0x70) ||
		(i->map == MAP_0F && (i->opcode & 0xf0) == 0x80));
}

/* Which flags the code at @rip may want; all, unless it is near and plain. */
static u16 lookahead(struct xl *x, gva_t rip)
{
	u16 open = FLAGS_ARITH, want = 0;

	for (unsigned n = 0; n < 6 && open; n++) {
		s64 off = (s64)(rip - x->rip);
		struct insn i;

		if (!same_page(x, rip) || x->b->pa2 ||
		    insn_decode(x->bytes + off, (unsigned)(x->avail - off), rip, decode_mode(x), &i) !=
			    DECODE_OK)
			break;
		x->looked |= smc_pieces(x->b->pa + (u64)off, i.len);
		if (i.how == HOW_HELPER || i.how == HOW_UD)
			break;
		want |= open & i.flags_read;
		open &= (u16)~i.flags_written;
		if (i.rules & RULE_ENDS_BLOCK || is_jcc(&i))
			break;
		rip = insn_next(&i);
	}
	return want | open;
}

static void read_insns(struct xl *x)
{
	gva_t rip = x->rip;
	unsigned off = 0;

	while (x->nr < XL_MAX_INSNS && off < x->avail) {
		if (x->mode.bits & MODE_DEBUG && off && debug_breakpoint(x->c, rip))
			return;
		struct insn *i = &x->insn[x->nr];
		enum decode_result r = insn_decode(x->bytes + off, MIN(x->avail - off, INSN_MAX),
						   rip, decode_mode(x), i);

		if (r == DECODE_UD || r == DECODE_TOO_LONG) {
			*i = (struct insn){ .rip = rip, .how = HOW_UD, .rules = RULE_ENDS_BLOCK,
					    .gate = NR_FEATURES, .gate2 = NR_FEATURES };
			i->len = 1;
			if (r == DECODE_TOO_LONG)
				return; /* step.c raises #GP */
		} else if (r != DECODE_OK) {
			return;
		}
		x->nr++;
		off += i->len;
		rip += i->len;
		if (i->rules & RULE_ENDS_BLOCK && !is_jcc(i))
			return;
	}
}

/* JMP and CALL rel: the one successor is known. */
static bool is_direct(const struct insn *i)
{
	return i->how == HOW_CUSTOM && i->map == MAP_1B &&
	       (i->opcode == 0xe8 || i->opcode == 0xe9 || i->opcode == 0xeb);
}

/* Does the block jump back to its own start? */
static bool is_loop(struct xl *x)
{
	for (x->cur = 0; x->cur < x->nr; x->cur++) {
		const struct insn *i = &x->insn[x->cur];

		if ((is_jcc(i) || is_direct(i)) && i->opcode != 0xe8 && xl_target(x) == x->rip)
			return true;
	}
	return false;
}

static void find_live(struct xl *x)
{
	const struct insn *last = &x->insn[x->nr - 1];
	u16 live = FLAGS_ARITH;

	x->cur = x->nr - 1;
	if (!(last->rules & RULE_ENDS_BLOCK) || is_jcc(last))
		live = lookahead(x, insn_next(last));
	else if (is_direct(last))
		live = lookahead(x, xl_target(x));
	for (unsigned n = x->nr; n-- > 0;) {
		x->cur = n;
		x->live_taken[n] = FLAGS_ARITH;
		if (is_jcc(&x->insn[n])) {
			x->live_taken[n] = lookahead(x, xl_target(x));
			live |= x->live_taken[n];
		}
		x->live_after[n] = live;
		live = live_before(x, n);
	}
}

/* ---- The block ---- */

static void emit_prologue(struct xl *x)
{
	struct emitter *e = x->e;
	struct block *b = x->b;

	while ((u64)e->p & 15)
		em_byte(e, 0xcc);
	/* The compared RIP must be 4-aligned: invalidation changes it. */
	b->entry = em_here(e);
	if ((s64)x->rip == (s32)x->rip) {
		em_byte(e, 0x90);
		b->entry = em_here(e);
		em_byte(e, 0x49);
		em_byte(e, 0x81);
		em_byte(e, 0xfa);
		b->verify = e->p;
		em_u32(e, (u32)x->rip);
	} else {
		em_byte(e, 0x66);
		em_byte(e, 0x90);
		b->entry = em_here(e);
		em_byte(e, 0x49);
		em_byte(e, 0xbb);
		b->verify = e->p;
		em_u64(e, x->rip);
		em_rr(e, 8, 0x3b, S0, S1);
	}
	em_jcc(e, CC_NE, x->k->stub.jump_miss);
	b->chain_back = em_here(e);
	em_alu_mem_imm(e, 4, 7, MREF(RSP, OFF(request)), 0);
	cold_add(x, COLD_POLL, em_jcc(e, CC_NE, 0))->target = x->rip;
	b->body = b->chain = em_here(e);
	if (b->count) {
		em_mov_imm(e, S0, (u64)b->count);
		em_load(e, 8, S1, MREF(S0, 0));
		em_lea(e, 8, S1, MREF(S1, 1));
		em_store(e, 8, MREF(S0, 0), S1);
	}
}

static void emit_slow(struct xl *x, const struct cold *k)
{
	struct emitter *e = x->e;
	const struct insn *i = &x->insn[k->insn];

	if (k->fl == FL_REMAT) {
		emit_remat(x, (unsigned)k->remat);
		save_flags(x);
	}
	if (k->stack == ADDRESS_KEPT) {
		em_load(e, 8, S0, MREF(RSP, OFF(arg[2])));
	} else if (k->stack) {
		stack_address(x, (unsigned)k->stack - 1, k->disp);
	} else if (k->what & WHAT_SHARED) {
		struct insn low = at_lowest(i, &x->share[k->insn]);

		xl_address(x, &low, true);
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
				  (insn_waits(i) ? WHAT_WAITS : 0));
	em_call(e, x->k->stub.slow);
	em_jmp(e, k->back);
}

static void emit_cold(struct xl *x, const struct cold *k)
{
	struct emitter *e = x->e;

	em_patch_rel32(e, k->patch, em_here(e));
	switch (k->kind) {
	case COLD_SLOW:
		emit_slow(x, k);
		break;
	case COLD_POLL:
		em_mov_imm(e, S0, k->target);
		em_jmp(e, x->k->stub.leave);
		break;
	case COLD_EXIT:
		if (k->fl == FL_REMAT)
			emit_remat(x, (unsigned)k->remat);
		if (k->fl != FL_DEAD)
			save_flags(x);
		if (!same_page(x, k->target)) {
			emit_jump_cache(x, k->target);
			break;
		}
		{
			u8 *at = em_jmp_atomic(e, 0);
			struct cold chain = { .kind = COLD_CHAIN, .patch = at, .insn = k->insn,
					      .target = k->target };

			emit_cold(x, &chain);
		}
		break;
	case COLD_CHAIN:
		em_mov_imm(e, S0, k->target);
		em_call(e, x->k->stub.chain);
		em_u32(e, (u32)((u64)k->patch + (u64)e->delta) |
				  (k->target <= x->insn[k->insn].rip ? 1u << 31 : 0));
		break;
	}
}

static void emit_block(struct xl *x)
{
	struct block *b = x->b;
	const struct insn *last = &x->insn[x->nr - 1];

	emit_prologue(x);
	x->fl = FL_SLOT;
	x->remat = -1;
	for (x->cur = 0; x->cur < x->nr && !x->ended; x->cur++) {
		const struct insn *i = &x->insn[x->cur];

		b->sites[x->cur] = (struct site){ .host = (u32)(em_here(x->e) - b->entry),
						  .guest = (u16)(i->rip - x->rip) };
		translate_insn(x, i);
	}
	if (!x->ended) {
		gva_t next = insn_next(last);

		x->cur = x->nr - 1;
		xl_flags_to_slot(x, x->live_after[x->cur]);
		xl_exit(x, xl_code64(x) ? next : (u32)next);
	}
	for (unsigned n = 0; n < x->nr_cold; n++)
		emit_cold(x, &x->cold[n]);
	if (b->pa2) {
		b->chain = b->chain_back = em_here(x->e);
		emit_jump_cache(x, x->rip);
	}
	b->end = em_here(x->e);
}

/* One instruction that runs on into the page at @pa2. */
static bool read_crossing(struct xl *x, gpa_t pa2, u8 buf[INSN_MAX])
{
	const u8 *second = phys_host(x->c, pa2, INSN_MAX);
	struct code_page *p;

	if (!second)
		return false;
	p = smc_make_code(x->vm, x->c, pa2);
	if (!p) {
		x->k->em.full = true;
		return false;
	}
	atomic_fetch_or(&p->map, 1); /* before it is read: see translate_locked() */
	__builtin_memcpy(buf, x->bytes, x->avail);
	__builtin_memcpy(buf + x->avail, second, INSN_MAX - x->avail);
	x->bytes = buf;
	x->nr = 1;
	return insn_decode(buf, INSN_MAX, x->rip, decode_mode(x), &x->insn[0]) == DECODE_OK &&
	       x->insn[0].len > x->avail;
}

static struct block *new_block(struct xl *x, gpa_t pa, gpa_t pa2)
{
	struct code_cache *k = x->k;
	struct block *b = cache_meta(k, sizeof(*b));
	struct site *sites = cache_meta(k, x->nr * sizeof(*sites));
	u64 *count = x->mode.bits & MODE_STATS ? cache_meta(k, sizeof(*count)) : NULL;

	if (!b || !sites || k->nr_blocks >= k->max_blocks)
		return NULL;
	*b = (struct block){ .pa = pa, .pa2 = pa2, .rip = x->rip, .mode = x->mode, .sites = sites,
			     .count = count, .nr_insns = (u16)x->nr,
			     .size = (u16)(insn_next(&x->insn[x->nr - 1]) - x->rip) };
	if (count)
		*count = 0;
	return b;
}

static struct block *translate_page(struct xl *x, gpa_t pa, gpa_t pa2)
{
	struct code_cache *k = x->k;
	u8 *start = k->em.p;
	u8 buf[INSN_MAX];

	if (pa2 ? !read_crossing(x, pa2, buf) : (read_insns(x), x->nr == 0))
		return NULL;
	x->b = new_block(x, pa, pa2);
	if (!x->b) {
		k->em.full = true;
		return NULL;
	}
	x->loop = is_loop(x);
	find_live(x);
	xl_plan_shares(x);
	emit_block(x);
	if (k->em.full)
		return NULL;
	if (x->failed) {
		k->em.p = start;
		return NULL;
	}
	cache_add(k, x->b);
	x->c->stats.translations++;
	return x->b;
}

/* @pa2: the second page of a crossing first instruction, else 0. From before the
 * first byte is read until the block is known, all of its page counts as read: who
 * writes there meanwhile finds that, and waits for the lock to throw it away. */
static struct block *translate_locked(struct xl *x, gpa_t pa, gpa_t pa2)
{
	struct code_page *p = smc_make_code(x->vm, x->c, pa);
	struct block *b;
	u64 map;

	if (!p) {
		x->k->em.full = true;
		return NULL;
	}
	map = atomic_exchange(&p->map, ~0ull);
	x->looked = 0;
	b = translate_page(x, pa, pa2);
	if (b)
		map |= x->looked | smc_pieces(pa, MIN(b->size, PAGE_SIZE - (pa & 4095)));
	atomic_store(&p->map, map);
	return b;
}

/* The second page's address when the instruction at @linear crosses into it,
 * else 0. Before the lock is taken, since the walk may fault. */
static gpa_t second_page(struct soft_cpu *c, gva_t linear, const u8 *bytes)
{
	u64 m = c->ctx->key.mode.bits;
	unsigned avail = PAGE_SIZE - (unsigned)(linear & 4095);
	struct insn_mode mode = insn_mode_of(c, m);
	struct insn i;

	if (avail >= INSN_MAX || insn_decode(bytes, avail, c->s.rip, mode, &i) != DECODE_MORE)
		return 0;
	return tlb_fetch(c, (linear & PAGE_MASK) + PAGE_SIZE) & PAGE_MASK;
}

struct block *translate_block(struct soft_cpu *c, gva_t linear, gpa_t pa)
{
	struct code_cache *k = &c->vm->cache;
	static __thread struct xl x; /* too large for a vCPU's stack */
	const u8 *bytes = phys_host(c, pa, 1);
	struct block *b;
	gpa_t pa2;

	if (!bytes)
		return NULL;
	pa2 = second_page(c, linear, bytes);
	pthread_mutex_lock(&k->lock);
	b = cache_find(k, pa, c->s.rip, &c->ctx->key.mode);
	if (!b && !k->em.full) {
		x.c = c;
		x.vm = c->vm;
		x.k = k;
		x.e = &k->em;
		x.mode = c->ctx->key.mode;
		x.rip = c->s.rip;
		x.bytes = bytes;
		x.avail = PAGE_SIZE - (unsigned)(pa & 4095);
		x.nr = x.nr_cold = 0;
		x.ended = x.failed = false;
		b = translate_locked(&x, pa, pa2);
	}
	pthread_mutex_unlock(&k->lock);
	return b;
}
