// SPDX-License-Identifier: MIT
/*
 * One instruction in C: whatever cannot run inside a block (its memory operand
 * is a device, crosses a page, holds code; single steps; debug registers).
 *
 * A copied instruction runs here, too, as the host's own: in a thunk, a tiny
 * function that loads the guest registers it uses, executes it on a given host
 * address, and stores them back. There is no second semantics. Devices and
 * split operands go through a bounce buffer. Own translators (control flow,
 * stack) have a plain C twin below.
 */
#include "engine/step.h"

#include "engine/emit.h"
#include "engine/fpu.h"
#include "engine/helpers.h"
#include "engine/insn_table.h"
#include "engine/softvm.h"
#include "engine/tlb.h"
#include "engine/walk.h"
#include "engine/xl_fns.h"

/* ---- Fetch ---- */

struct insn_mode insn_mode_of(const struct soft_cpu *c, u64 bits)
{
	const struct cpu_model *m = c->vm->env.model;

	return (struct insn_mode){ .code64 = bits & MODE_CODE64, .code32 = bits & MODE_CODE32,
				   .no_tzcnt = !cpu_has(m, FEAT_BMI1),
				   .no_lzcnt = !cpu_has(m, FEAT_LZCNT) };
}

void step_fetch(struct soft_cpu *c, struct insn *i)
{
	const struct block_mode *m = &c->ctx->key.mode;
	struct insn_mode mode = insn_mode_of(c, m->bits);
	gva_t linear = mode.code64 ? c->s.rip : (u32)(c->s.rip + m->cs_base);
	unsigned first = MIN(PAGE_SIZE - (unsigned)(linear & 4095), INSN_MAX), have = first;
	enum decode_result r;
	u8 buf[INSN_MAX];

	__builtin_memset(buf, 0xff, sizeof(buf));
	phys_read(c, tlb_fetch(c, linear), buf, first);
	r = insn_decode(buf, have, c->s.rip, mode, i);
	if (r == DECODE_MORE && have < INSN_MAX) {
		gva_t next = linear + first;

		phys_read(c, tlb_fetch(c, mode.code64 ? next : (u32)next), buf + first,
			  INSN_MAX - first);
		have = INSN_MAX;
		r = insn_decode(buf, have, c->s.rip, mode, i);
	}
	if (r == DECODE_TOO_LONG || r == DECODE_MORE)
		cpu_raise(c, X86_GP, 0);
	if (r == DECODE_UD)
		cpu_raise(c, X86_UD, 0);
}

/* ---- Thunks ---- */

static u8 pick(u32 *busy, bool legacy)
{
	static const u8 order[] = { RDI, RSI, RBX, RBP, RDX, RCX, R8, R12, R13, R14, R15 };

	for (unsigned n = 0; n < ARRAY_SIZE(order); n++) {
		if ((*busy & BIT(order[n])) || (legacy && order[n] > RDI))
			continue;
		*busy |= (u32)BIT(order[n]);
		return order[n];
	}
	return R15;
}

static const u8 callee_saved[] = { RBX, RBP, R12, R13, R14, R15 };

static void push_pop(struct emitter *e, unsigned op, unsigned reg)
{
	if (reg & 8)
		em_byte(e, 0x41);
	em_byte(e, op | (reg & 7));
}

static void thunk_operands(struct remap *r, const struct insn *i, u8 for_rsp)
{
	*r = (struct remap){ .reg = i->reg, .rm = i->rm, .vvvv = i->vvvv, .opc = i->opcode & 7 };
	for (unsigned n = 0; n < i->nr_ops; n++) {
		const struct operand *o = &i->op[n];
		u8 h = o->reg == RSP ? for_rsp : o->reg;

		if (o->kind != OPND_GPR)
			continue;
		if (o->slot == SLOT_REG)
			r->reg = h;
		else if (o->slot == SLOT_RM)
			r->rm = h;
		else if (o->slot == SLOT_VVVV)
			r->vvvv = h;
		else if (o->slot == SLOT_OPCODE)
			r->opc = h;
	}
}

static bool has_high(const struct insn *i)
{
	for (unsigned n = 0; n < i->nr_ops; n++) {
		if (i->op[n].kind == OPND_GPR8H)
			return true;
	}
	return false;
}

/* void thunk(struct soft_cpu *c, void *operand) */
static u64 thunk_make(struct emitter *e, const struct insn *i)
{
	u32 used = i->gpr_read | i->gpr_written, busy = used | (u32)(BIT(RAX) | BIT(RSP));
	bool high = has_high(i);
	u8 mem = pick(&busy, true), rsp = pick(&busy, high), state = pick(&busy, false);
	s32 gpr = (s32)offsetof(struct soft_cpu, s.gpr), fl = (s32)offsetof(struct soft_cpu, flags);
	struct remap r;
	u64 start;

	while ((u64)e->p & 15)
		em_byte(e, 0xcc);
	start = em_here(e);
	for (unsigned n = 0; n < ARRAY_SIZE(callee_saved); n++)
		push_pop(e, 0x50, callee_saved[n]);
	push_pop(e, 0x50, RDI);
	em_load(e, 2, RAX, MREF(RDI, fl));
	em_byte(e, 0x04);
	em_byte(e, 0x7f);
	em_byte(e, 0x9e);
	em_mov_rr(e, 8, RAX, RSI); /* the operand's address, until registers are loaded */
	if (mem != RDI)
		em_mov_rr(e, 8, mem, RSI);
	for (unsigned g = 0; g < 16; g++) {
		if ((used & BIT(g)) && g != RDI && g != RAX && g != RSP)
			em_load(e, 8, g, MREF(RDI, gpr + 8 * (s32)g));
	}
	if (used & BIT(RSP))
		em_load(e, 8, rsp == RDI ? state : rsp, MREF(RDI, gpr + 8 * RSP));
	if (mem == RDI) {
		if (used & BIT(RSP) && rsp == RDI)
			rsp = state;
		if (used & BIT(RAX)) {
			/* RAX carries the address: load it last, by way of the stack. */
			em_mov_rr(e, 8, RDI, RAX);
			em_load(e, 8, RAX, MREF(RSP, 0));
			em_load(e, 8, RAX, MREF(RAX, gpr));
		} else {
			em_mov_rr(e, 8, RDI, RAX);
		}
	} else {
		if (used & BIT(RAX))
			em_load(e, 8, RAX, MREF(RDI, gpr));
		if (used & BIT(RDI))
			em_load(e, 8, RDI, MREF(RDI, gpr + 8 * RDI));
	}
	thunk_operands(&r, i, rsp);
	r.mem = MREF(mem, 0);
	xl_emit_copy(e, i, &r);
	if (state == rsp)
		state = mem;
	em_load(e, 8, state, MREF(RSP, 0));
	for (unsigned g = 0; g < 16; g++) {
		if (i->gpr_written & BIT(g))
			em_store(e, 8, MREF(state, gpr + 8 * (s32)g), g == RSP ? rsp : g);
	}
	em_byte(e, 0x9f);
	em_rr(e, 1, 0x0f90, 0, RAX);
	em_store(e, 2, MREF(state, fl), RAX);
	push_pop(e, 0x58, RAX);
	for (unsigned n = ARRAY_SIZE(callee_saved); n-- > 0;)
		push_pop(e, 0x58, callee_saved[n]);
	em_byte(e, 0xc3);
	return start;
}

/* Finds or makes the thunk; 0: the cache is full. */
static u64 thunk_get(struct soft_vm *vm, const struct insn *i, u64 *generation)
{
	struct code_cache *k = &vm->cache;
	u64 h = 0, code;
	struct thunk *t;

	for (unsigned n = 0; n < i->len; n++)
		h = (h ^ i->bytes[n]) * 0x100000001b3ull;
	h ^= (u64)i->opsize << 8 ^ i->addrsize;
	t = &vm->thunks[(h ^ h >> 32) % ARRAY_SIZE(vm->thunks)];
	pthread_mutex_lock(&k->lock);
	*generation = k->generation;
	if (t->code && t->generation == k->generation && t->len == i->len &&
	    t->opsize == i->opsize && t->addrsize == i->addrsize &&
	    !__builtin_memcmp(t->bytes, i->bytes, i->len)) {
		code = t->code;
	} else {
		code = thunk_make(&k->em, i);
		if (k->em.full)
			code = 0;
		*t = (struct thunk){ .len = i->len, .opsize = i->opsize, .addrsize = i->addrsize,
				     .code = code, .generation = k->generation };
		__builtin_memcpy(t->bytes, i->bytes, i->len);
	}
	pthread_mutex_unlock(&k->lock);
	return code;
}

static void thunk_run(struct soft_cpu *c, const struct insn *i, void *operand)
{
	for (;;) {
		u64 generation, code = thunk_get(c->vm, i, &generation);

		if (!code) {
			exec_flush_code(c);
			continue;
		}
		world_enter(c);
		if (generation == c->vm->cache.generation) {
			exec_set_stepping(c);
			((void (*)(struct soft_cpu *, void *))code)(c, operand);
			exec_set_stepping(NULL);
			world_leave(c);
			return;
		}
		world_leave(c);
	}
}

/* ---- Memory operands ---- */

enum { UNWRITTEN = 0xa5 };

/* An x87 store with an unmasked exception does not happen: then the buffer still is
 * as it was filled, and the exception pending. */
static bool store_suppressed(const struct insn *i, const u8 *p, unsigned size)
{
	u16 fsw;

	if (!(i->rules & RULE_X87))
		return false;
	__asm__ volatile("fnstsw %0" : "=a"(fsw));
	if (!(fsw & 0x80))
		return false;
	for (unsigned n = 0; n < size; n++) {
		if (p[n] != UNWRITTEN)
			return false;
	}
	return true;
}

/* Runs @i on a copy of its operand: keeps the address's low six bits, so that
 * alignment faults are the same; commits what it writes. */
static void run_bounced(struct soft_cpu *c, const struct insn *i, gva_t addr, unsigned size)
{
	u8 buf[192] __attribute__((aligned(64)));
	u8 *p = buf + (addr & 63);

	if (i->mem.written)
		guest_probe_write(c, addr, size, AS_CURRENT);
	if (i->mem.read || !i->mem.written)
		guest_copy_in(c, p, addr, size, AS_CURRENT);
	else
		__builtin_memset(p, UNWRITTEN, size);
	thunk_run(c, i, p);
	if (i->mem.written && !store_suppressed(i, p, size))
		guest_copy_out(c, addr, p, size, AS_CURRENT);
}

/* ---- Masked operands: what the mask leaves out is not accessed ---- */

/* VMASKMOV's mask is the sign bits of the vector in VEX.vvvv. */
static u64 vex_mask(struct soft_cpu *c, const struct insn *i, unsigned nr, unsigned each)
{
	const u8 *high = c->xbuf + c->vm->env.model->xsave_offset[2] + 16 * i->vvvv;
	u64 mask = 0;

	host_xsave(c, XCR0_SSE | XCR0_AVX);
	for (unsigned n = 0; n < nr; n++) {
		unsigned sign = each * (n + 1) - 1;
		const u8 *low = c->xbuf + FX_XMM + 16 * i->vvvv;

		if ((sign < 16 ? low[sign] : high[sign - 16]) & 0x80)
			mask |= BIT(n);
	}
	return mask;
}

static u64 evex_mask(struct soft_cpu *c, const struct insn *i, unsigned nr)
{
	u64 all = nr == 64 ? ~0ull : BIT(nr) - 1;

	if (!i->evex_aaa)
		return all;
	host_xsave(c, XCR0_AVX512);
	return load64(c->xbuf + c->vm->env.model->xsave_offset[5] + 8 * i->evex_aaa) & all;
}

/* One bit per element of the memory operand, and their size. Where elements and mask
 * do not match (scalars, broadcasts) all or nothing is accessed. */
static u64 touched(struct soft_cpu *c, const struct insn *i, unsigned *each)
{
	unsigned element = ATTR_ELEMENT(insn_rows[i->row].attr), nr;
	u64 mask;

	if (i->enc == ENC_VEX) {
		*each = i->opcode >= 0x8c ? (i->w ? 8 : 4) : i->opcode & 1 ? 8 : 4;
		return vex_mask(c, i, i->mem.size / *each, *each);
	}
	nr = element ? i->vl / element : 1;
	mask = evex_mask(c, i, nr);
	*each = i->mem.size / nr;
	if (!element || i->mem.size == element || *each * nr != i->mem.size) {
		*each = i->mem.size;
		return mask != 0;
	}
	if (insn_rows[i->row].rules & RULE_SCALAR_MEM) {
		/* VCOMPRESS, VEXPAND: as many as the mask has bits, next to each other. */
		nr = (unsigned)__builtin_popcountll(mask);
		mask = nr == 64 ? ~0ull : BIT(nr) - 1;
	}
	return mask;
}

static void run_masked(struct soft_cpu *c, const struct insn *i)
{
	u8 buf[128] __attribute__((aligned(64))) = { 0 };
	u64 off = insn_offset(c, i), wrap = i->addrsize == 8 ? ~0ull : BIT(8 * i->addrsize) - 1;
	u8 *p = buf + ((off + c->s.seg[i->mem.seg].base) & 63);
	gva_t at[64];
	unsigned each;
	u64 mask = touched(c, i, &each);

	for (unsigned n = 0; n < i->mem.size / each; n++) {
		if (!(mask & BIT(n)))
			continue;
		at[n] = seg_linear(c, i->mem.seg, (off + n * each) & wrap, each, i->mem.written);
		if (i->mem.written)
			guest_probe_write(c, at[n], each, AS_CURRENT);
		else
			guest_copy_in(c, p + n * each, at[n], each, AS_CURRENT);
	}
	thunk_run(c, i, p);
	for (unsigned n = 0; i->mem.written && n < i->mem.size / each; n++) {
		if (mask & BIT(n))
			guest_copy_out(c, at[n], p + n * each, each, AS_CURRENT);
	}
}

static void run_on_memory(struct soft_cpu *c, const struct insn *i, gva_t addr)
{
	unsigned size = i->mem.size, first = PAGE_SIZE - (unsigned)(addr & 4095);
	bool write = i->mem.written;
	struct place p, q = { 0 };

	if (unlikely(c->watching))
		guest_watch(c, addr, size, write);
	if (size <= 8)
		check_alignment(c, addr, size);
	p = tlb_place(c, c->ctx, addr, write);
	if (size > first) {
		q = tlb_place(c, c->ctx, addr + first, write);
		/* The second look may have displaced nothing of the first. */
	}
	if (p.host && (size <= first || q.host == p.host + first)) {
		thunk_run(c, i, p.host);
		if (write && (!p.plain || (size > first && !q.plain))) {
			smc_written(c->vm, p.gpa, MIN(size, first));
			if (size > first)
				smc_written(c->vm, q.gpa, size - first);
		}
	} else if (i->lock || (i->map == MAP_1B && (i->opcode | 1) == 0x87)) {
		/* A split or device operand of a locked instruction. A fault on
		 * the way must not leave the world stopped: look first. */
		guest_probe_write(c, addr, size, AS_CURRENT);
		world_stop(c->vm, c);
		run_bounced(c, i, addr, size);
		world_resume(c->vm);
	} else {
		run_bounced(c, i, addr, size);
	}
}

void step_before_operand(struct soft_cpu *c, const struct insn *i)
{
	bool has_base = i->mem.seg >= SEG_FS || !cpu_code64(c);
	u64 base = has_base ? c->s.seg[i->mem.seg].base : 0;

	if (insn_waits(i))
		fpu_check_pending(c);
	if ((i->rules & RULE_ALIGN) && (insn_offset(c, i) + base) & (i->mem.size - 1u))
		cpu_raise(c, X86_GP, 0);
	/* Ten bytes are reached as eight and two. */
	if (i->mem.size == 10 && !cpu_code64(c)) {
		gva_t at = insn_linear(c, i, 8, i->mem.written);

		tlb_place(c, c->ctx, at, i->mem.written);
		if ((at & 4095) > PAGE_SIZE - 8)
			tlb_place(c, c->ctx, (u32)(at + 7) & PAGE_MASK, i->mem.written);
	}
}

__attribute__((noinline)) static void vec_zero_low(bool all)
{
#define EACH(what) what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7)
#define UPPER(n) "vmovaps %%xmm" #n ", %%xmm" #n "\n\t"
#define ALL(n) "vxorps %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n\t"
	if (all)
		__asm__ volatile(EACH(ALL) : :);
	else
		__asm__ volatile(EACH(UPPER) : :);
#undef EACH
#undef UPPER
#undef ALL
}

static void step_native(struct soft_cpu *c, const struct insn *i)
{
	u8 none[64] __attribute__((aligned(64)));

	if (i->has_mem)
		step_before_operand(c, i);
	if (insn_is_vzero(i) && !cpu_code64(c))
		vec_zero_low(i->vl == 32);
	else if (i->has_mem && (i->rules & RULE_SCALAR_MEM))
		run_masked(c, i);
	else if (i->has_mem && !(i->rules & RULE_NOREAD))
		run_on_memory(c, i, insn_linear(c, i, i->mem.size, i->mem.written));
	else
		thunk_run(c, i, none);
	c->s.rip = insn_next(i);
}

/* ---- Twins of the own translators ---- */

static u64 stack_mask(const struct soft_cpu *c)
{
	return cpu_code64(c) ? ~0ull : c->s.seg[SEG_SS].ar & SEG_DB ? 0xffffffff : 0xffff;
}

static void set_sp(struct soft_cpu *c, u64 sp)
{
	u64 mask = stack_mask(c);

	c->s.gpr[RSP] = (c->s.gpr[RSP] & ~mask) | (sp & mask);
	if (mask == 0xffffffff)
		c->s.gpr[RSP] = (u32)c->s.gpr[RSP];
}

static void push(struct soft_cpu *c, unsigned size, u64 value)
{
	u64 sp = (c->s.gpr[RSP] - size) & stack_mask(c);
	gva_t at = seg_linear(c, SEG_SS, sp, size, true);

	check_alignment(c, at, size);
	guest_write(c, at, size, value, AS_CURRENT);
	set_sp(c, sp);
}

static u64 peek_stack(struct soft_cpu *c, u64 sp, unsigned size)
{
	gva_t at = seg_linear(c, SEG_SS, sp & stack_mask(c), size, false);

	check_alignment(c, at, size);
	return guest_read(c, at, size, AS_CURRENT);
}

static u64 operand_read(struct soft_cpu *c, const struct insn *i, unsigned n)
{
	const struct operand *o = &i->op[n];

	if (o->kind == OPND_IMM)
		return i->imm;
	if (o->kind == OPND_MEM) {
		gva_t at = insn_linear(c, i, o->size, false);

		check_alignment(c, at, o->size);
		return guest_read(c, at, o->size, AS_CURRENT);
	}
	return gpr_get(c, o->reg, o->size);
}

static void jump_to(struct soft_cpu *c, const struct insn *i, u64 target)
{
	c->s.rip = cpu_code64(c) ? target : i->opsize == 2 ? (u16)target : (u32)target;
}

/* Before anything is changed. */
static u64 checked_target(struct soft_cpu *c, u64 target)
{
	if (cpu_code64(c) && !canonical(target))
		cpu_raise(c, X86_GP, 0);
	return target;
}

static void next(struct soft_cpu *c, const struct insn *i)
{
	c->s.rip = cpu_code64(c) ? insn_next(i) : (u32)insn_next(i);
}

static bool condition(const struct soft_cpu *c, unsigned cc)
{
	bool cf = c->flags & 0x100, pf = c->flags & 0x400, zf = c->flags & 0x4000,
	     sf = c->flags & 0x8000, of = c->flags & 1;
	const bool value[8] = { of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of };

	return value[cc >> 1] != (cc & 1);
}

typedef void step_fn(struct soft_cpu *c, const struct insn *i);

static void step_jmp(struct soft_cpu *c, const struct insn *i)
{
	jump_to(c, i, insn_next(i) + i->imm);
}

static void step_jcc(struct soft_cpu *c, const struct insn *i)
{
	if (condition(c, i->opcode & 15))
		jump_to(c, i, insn_next(i) + i->imm);
	else
		next(c, i);
}

static void step_jmp_ind(struct soft_cpu *c, const struct insn *i)
{
	jump_to(c, i, checked_target(c, operand_read(c, i, 0)));
}

static void step_call(struct soft_cpu *c, const struct insn *i)
{
	push(c, i->opsize, insn_next(i));
	jump_to(c, i, insn_next(i) + i->imm);
}

static void step_call_ind(struct soft_cpu *c, const struct insn *i)
{
	u64 target = operand_read(c, i, 0);
	u64 sp = (c->s.gpr[RSP] - i->opsize) & stack_mask(c);
	gva_t at = seg_linear(c, SEG_SS, sp, i->opsize, true);

	check_alignment(c, at, i->opsize);
	guest_probe_write(c, at, i->opsize, AS_CURRENT);
	checked_target(c, target);
	push(c, i->opsize, insn_next(i));
	jump_to(c, i, target);
}

static void step_ret(struct soft_cpu *c, const struct insn *i)
{
	u64 target = checked_target(c, peek_stack(c, c->s.gpr[RSP], i->opsize));

	set_sp(c, c->s.gpr[RSP] + i->opsize + (i->imm_size ? (u16)i->imm : 0));
	jump_to(c, i, target);
}

static void step_loop(struct soft_cpu *c, const struct insn *i)
{
	u64 count = gpr_get(c, RCX, i->addrsize) - 1;
	bool go = i->addrsize == 8 ? count : count & (BIT(8 * i->addrsize) - 1);

	gpr_set(c, RCX, i->addrsize, count);
	if (i->opcode != 0xe2)
		go = go && condition(c, i->opcode == 0xe1 ? CC_E : CC_NE);
	if (go)
		jump_to(c, i, insn_next(i) + i->imm);
	else
		next(c, i);
}

static void step_jcxz(struct soft_cpu *c, const struct insn *i)
{
	if (gpr_get(c, RCX, i->addrsize) == 0)
		jump_to(c, i, insn_next(i) + i->imm);
	else
		next(c, i);
}

static void step_push(struct soft_cpu *c, const struct insn *i)
{
	push(c, i->opsize, operand_read(c, i, 0));
	next(c, i);
}

static void step_pop(struct soft_cpu *c, const struct insn *i)
{
	u64 old = c->s.gpr[RSP], value = peek_stack(c, old, i->opsize);

	set_sp(c, old + i->opsize);
	if (i->op[0].kind == OPND_MEM) {
		/* The address sees the new RSP; a fault must not. */
		u64 off = insn_offset(c, i);
		u64 sp = c->s.gpr[RSP];
		gva_t at;

		c->s.gpr[RSP] = old;
		at = seg_linear(c, i->mem.seg, off, i->opsize, true);
		check_alignment(c, at, i->opsize);
		guest_write(c, at, i->opsize, value, AS_CURRENT);
		c->s.gpr[RSP] = sp;
	} else {
		gpr_set(c, i->op[0].reg, i->opsize, value);
	}
	next(c, i);
}

static void step_leave(struct soft_cpu *c, const struct insn *i)
{
	u64 sp = c->s.gpr[RBP];
	u64 value = peek_stack(c, sp, i->opsize);

	set_sp(c, sp + i->opsize);
	gpr_set(c, RBP, i->opsize, value);
	next(c, i);
}

static void step_lea(struct soft_cpu *c, const struct insn *i)
{
	gpr_set(c, i->op[0].reg, i->opsize, insn_offset(c, i));
	next(c, i);
}

static void step_cld(struct soft_cpu *c, const struct insn *i)
{
	c->s.rflags &= ~RFLAGS_DF;
	next(c, i);
}

static void step_std(struct soft_cpu *c, const struct insn *i)
{
	c->s.rflags |= RFLAGS_DF;
	next(c, i);
}

static void step_nop(struct soft_cpu *c, const struct insn *i)
{
	next(c, i);
}

static void step_xlat(struct soft_cpu *c, const struct insn *i)
{
	u64 off = c->s.gpr[RBX] + (c->s.gpr[RAX] & 0xff);
	enum seg_reg seg = i->seg_override == REG_NONE ? SEG_DS : i->seg_override;

	off = i->addrsize == 8 ? off : off & (BIT(8 * i->addrsize) - 1);
	gpr_set(c, RAX, 1,
		guest_read(c, seg_linear(c, seg, off, 1, false), 1, AS_CURRENT));
	next(c, i);
}

static void step_bt_mem(struct soft_cpu *c, const struct insn *i)
{
	unsigned size = i->opsize, reg = i->op[1].reg;
	s64 bit = size == 8 ? (s64)c->s.gpr[reg] : size == 4 ? (s32)c->s.gpr[reg] :
							       (s16)c->s.gpr[reg];
	s64 whole = bit >> (size == 8 ? 6 : size == 4 ? 5 : 4);
	u64 off = insn_offset(c, i) + (u64)(whole * (s64)size);
	u64 saved = c->s.gpr[reg];
	gva_t addr;

	if (i->addrsize < 8)
		off &= BIT(8 * i->addrsize) - 1;
	addr = seg_linear(c, i->mem.seg, off, size, i->mem.written);
	/* All faults now: the register is changed for the thunk. */
	check_alignment(c, addr, size);
	if (i->mem.written)
		guest_probe_write(c, addr, size, AS_CURRENT);
	else
		guest_read(c, addr, size, AS_CURRENT);
	c->s.gpr[reg] = (u64)bit & (8 * size - 1);
	run_on_memory(c, i, addr);
	c->s.gpr[reg] = saved;
	next(c, i);
}

static void step_string(struct soft_cpu *c, const struct insn *i)
{
	if (helper_string(c, i) == HELPER_NEXT)
		next(c, i);
}

static void step_cli(struct soft_cpu *c, const struct insn *i)
{
	helper_cli(c, i);
	next(c, i);
}

static void step_sti(struct soft_cpu *c, const struct insn *i)
{
	helper_sti(c, i);
	next(c, i);
}

static void step_pushf(struct soft_cpu *c, const struct insn *i)
{
	helper_pushf(c, i);
	next(c, i);
}

static void step_cpuid(struct soft_cpu *c, const struct insn *i)
{
	helper_cpuid(c, i);
	next(c, i);
}

static void step_rdtsc(struct soft_cpu *c, const struct insn *i)
{
	helper_rdtsc(c, i);
	next(c, i);
}

static void step_rdtscp(struct soft_cpu *c, const struct insn *i)
{
	helper_rdtscp(c, i);
	next(c, i);
}

static void step_gather(struct soft_cpu *c, const struct insn *i)
{
	helper_gather(c, i);
	next(c, i);
}

static const struct {
	xl_fn *translator;
	step_fn *step;
} twins[] = {
	{ xl_jmp, step_jmp },	  { xl_jmp_ind, step_jmp_ind }, { xl_jcc, step_jcc },
	{ xl_call, step_call },	  { xl_call_ind, step_call_ind }, { xl_ret, step_ret },
	{ xl_loop, step_loop },	  { xl_jcxz, step_jcxz },	{ xl_push, step_push },
	{ xl_pop, step_pop },	  { xl_leave, step_leave },	{ xl_lea, step_lea },
	{ xl_cli, step_cli },	  { xl_sti, step_sti },		{ xl_pushf, step_pushf },
	{ xl_cld, step_cld },	  { xl_std, step_std },		{ xl_nop, step_nop },
	{ xl_xlat, step_xlat },	  { xl_bt_mem, step_bt_mem },	{ xl_movs, step_string },
	{ xl_stos, step_string }, { xl_lods, step_string },	{ xl_scas, step_string },
	{ xl_cmps, step_string }, { xl_cpuid, step_cpuid },	{ xl_rdtsc, step_rdtsc },
	{ xl_rdtscp, step_rdtscp }, { xl_gather, step_gather },
};

static void step_custom(struct soft_cpu *c, const struct insn *i)
{
	for (unsigned n = 0; n < ARRAY_SIZE(twins); n++) {
		if (twins[n].translator == insn_custom[i->row]) {
			twins[n].step(c, i);
			return;
		}
	}
	cpu_raise(c, X86_UD, 0);
}

/* ---- One instruction ---- */

/* Instruction breakpoints: SDM "Debug Registers". */
static u64 breakpoint_hit(const struct soft_cpu *c)
{
	gva_t linear = cpu_code64(c) ? c->s.rip : (u32)(c->s.rip + c->s.seg[SEG_CS].base);
	u64 hit = 0;

	if ((c->s.rflags & RFLAGS_RF) || c->s.rip == c->s.movss_shadow_rip)
		return 0;
	for (unsigned n = 0; n < 4; n++) {
		bool on = c->s.dr7 >> (2 * n) & 3;
		bool exec = (c->s.dr7 >> (16 + 4 * n) & 15) == 0;

		if (on && exec && c->s.dr[n] == linear)
			hit |= BIT(n);
	}
	return hit;
}

static void raise_debug(struct soft_cpu *c, u64 dr6)
{
	struct cpu_event e = { .vector = X86_DB, .type = EVENT_HW_EXC, .dr6 = dr6 };

	cpu_raise_event(c, &e);
}

void step_insn(struct soft_cpu *c)
{
	bool trap = c->s.rflags & RFLAGS_TF;
	u64 hit = c->s.dr7 & 0xff ? breakpoint_hit(c) : 0;
	helper_fn *refused;
	struct insn i;

	if (hit)
		raise_debug(c, hit);
	step_fetch(c, &i);
	if (unlikely(c->vm->rows))
		c->vm->rows[i.row] = 1;
	c->watching = c->s.dr7 & 0xff;
	c->watch_hits = 0;
	c->s.rflags &= ~RFLAGS_RF;
	refused = insn_refused(c, &i, &c->ctx->key.mode);
	if (refused)
		refused(c, &i);
	else if (i.how == HOW_NATIVE)
		step_native(c, &i);
	else if (i.how == HOW_CUSTOM)
		step_custom(c, &i);
	else if (insn_helper[i.row](c, &i) == HELPER_NEXT)
		next(c, &i);
	hit = c->watch_hits | c->debug_held | (trap ? BIT(14) : 0);
	c->watching = false;
	c->debug_held = 0;
	if (hit && c->s.movss_shadow_rip == c->s.rip && c->s.rip != ~0ull) /* ~0: no shadow */
		c->debug_held = hit & 15;
	else if (hit)
		raise_debug(c, hit);
}

/* ---- The debugger's view ---- */

bool debug_access(struct soft_cpu *c, gva_t addr, void *buf, unsigned size, bool write)
{
	u8 *p = buf;

	while (size) {
		unsigned n = MIN(size, PAGE_SIZE - (unsigned)(addr & 4095));
		struct walk w;
		void *host = NULL;

		if (walk(c, addr, WALK_READ, PRIV_SUPERVISOR_AC, true, &w))
			host = phys_host(c, w.gpa, n);
		if (!host)
			return false;
		__builtin_memcpy(write ? host : p, write ? p : host, n);
		if (write)
			smc_written(c->vm, w.gpa, n);
		p += n;
		addr += n;
		size -= n;
	}
	return true;
}
