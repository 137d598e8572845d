// SPDX-License-Identifier: MIT
/*
 * Segmentation: descriptor tables, loads of segment registers, logical to
 * linear addresses, and pushing and popping on any stack.
 */
#include "engine/seg.h"
#include "engine/step.h"

#include <string.h>

/* ---- Descriptor tables ---- */

/* Linear address of @sel's entry of @size bytes; false beyond the limit. */
static bool desc_address(const struct soft_cpu *c, u16 sel, unsigned size, gva_t *res)
{
	u64 base = c->s.gdtr.base;
	u32 limit = c->s.gdtr.limit;

	if (sel & SEL_TI) {
		if (c->s.ldtr.ar & SEG_UNUSABLE)
			return false;
		base = c->s.ldtr.base;
		limit = c->s.ldtr.limit;
	}
	if ((sel & ~7u) + size - 1 > limit)
		return false;
	*res = base + (sel & ~7u);
	if (!cpu_long_mode(c))
		*res = (u32)*res;
	return true;
}

bool desc_read(struct soft_cpu *c, u16 sel, u64 *desc)
{
	gva_t at;

	if (!desc_address(c, sel, 8, &at))
		return false;
	*desc = guest_read(c, at, 8, AS_SUPERVISOR);
	return true;
}

u64 desc_read_or(struct soft_cpu *c, u16 sel, unsigned vector, u32 ext)
{
	u64 d;

	if (!desc_read(c, sel, &d))
		cpu_raise(c, vector, SEL_ERROR(sel) | ext);
	return d;
}

bool desc_read_high(struct soft_cpu *c, u16 sel, u64 *high)
{
	gva_t at;

	if (!desc_address(c, sel, 16, &at))
		return false;
	*high = guest_read(c, at + 8, 8, AS_SUPERVISOR);
	return true;
}

void desc_set_bits(struct soft_cpu *c, u16 sel, u64 bits)
{
	gva_t at;
	u8 *p;

	if (!desc_address(c, sel, 8, &at))
		return;
	/* All bits that processors set are in the type: byte 5. */
	at += 5;
	guest_probe_write(c, at, 1, AS_SUPERVISOR);
	p = guest_host(c, at, 1, true, AS_SUPERVISOR);
	if (p)
		__atomic_fetch_or(p, (u8)(bits >> 40), __ATOMIC_SEQ_CST);
	else
		guest_write(c, at, 1, guest_read(c, at, 1, AS_SUPERVISOR) | (u8)(bits >> 40),
			    AS_SUPERVISOR);
}

struct seg desc_use(struct soft_cpu *c, u16 sel, u64 desc)
{
	if (desc_is_segment(desc) && !(desc & DESC_ACCESSED)) {
		desc_set_bits(c, sel, DESC_ACCESSED);
		desc |= DESC_ACCESSED;
	}
	return (struct seg){ desc_base(desc), desc_limit(desc), desc_ar(desc), sel };
}

/* ---- Loading ---- */

struct seg seg_null(u16 sel, unsigned dpl)
{
	return (struct seg){ 0, 0, SEG_UNUSABLE | dpl << 5, sel };
}

void seg_set_real(struct seg *s, u16 sel, bool vm86)
{
	s->sel = sel;
	s->base = (u32)sel << 4;
	if (vm86) {
		s->limit = 0xffff;
		s->ar = 0xf3;
		return;
	}
	/* Real mode leaves limit and access rights as they are ("unreal" mode; and CS stays a
	 * code segment when it goes back to protected mode without a far jump). */
	if (s->ar & SEG_UNUSABLE) {
		s->limit = 0xffff;
		s->ar = 0x93;
	}
}

struct seg seg_stack(struct soft_cpu *c, u16 sel, unsigned cpl, unsigned vector, u32 ext)
{
	u64 d;

	if (SEL_NULL(sel))
		cpu_raise(c, vector, ext);
	d = desc_read_or(c, sel, vector, ext);
	if (SEL_RPL(sel) != cpl || !desc_is_writable(d) || desc_dpl(d) != cpl)
		cpu_raise(c, vector, SEL_ERROR(sel) | ext);
	if (!desc_present(d))
		cpu_raise(c, X86_SS, SEL_ERROR(sel) | ext);
	return desc_use(c, sel, d);
}

static struct seg prepare_ss(struct soft_cpu *c, u16 sel)
{
	unsigned cpl = cpu_cpl(c);

	if (SEL_NULL(sel) && cpu_code64(c) && cpl < 3 && SEL_RPL(sel) == cpl)
		return seg_null(sel, cpl);
	return seg_stack(c, sel, cpl, X86_GP, 0);
}

static struct seg prepare_data(struct soft_cpu *c, u16 sel)
{
	u64 d;

	if (SEL_NULL(sel))
		return seg_null(sel, 0);
	d = desc_read_or(c, sel, X86_GP, 0);
	if (!desc_is_segment(d) || (desc_type(d) & (SEG_CODE | SEG_READABLE)) == SEG_CODE)
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	if (!desc_is_conforming(d) && desc_dpl(d) < MAX(SEL_RPL(sel), cpu_cpl(c)))
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	if (!desc_present(d))
		cpu_raise(c, X86_NP, SEL_ERROR(sel));
	return desc_use(c, sel, d);
}

void seg_prepare(struct soft_cpu *c, enum seg_reg seg, u16 sel, struct seg *res)
{
	if (!cpu_protected(c)) {
		*res = c->s.seg[seg];
		seg_set_real(res, sel, c->s.rflags & RFLAGS_VM);
	} else if (seg == SEG_SS) {
		*res = prepare_ss(c, sel);
	} else {
		*res = prepare_data(c, sel);
	}
}

void seg_commit(struct soft_cpu *c, enum seg_reg seg, const struct seg *s)
{
	struct seg *old = &c->s.seg[seg];

	/* In 64-bit mode only FS and GS have a base, and nobody a limit. */
	if (cpu_code64(c) ? !old->base != !s->base :
			    old->base != s->base || old->limit != s->limit || old->ar != s->ar)
		c->mode_changed = true;
	*old = *s;
}

void seg_load(struct soft_cpu *c, enum seg_reg seg, u16 sel)
{
	struct seg s;

	seg_prepare(c, seg, sel, &s);
	seg_commit(c, seg, &s);
}

/* A system segment in the GDT: raises for anything but types in @types. */
static struct seg prepare_system(struct soft_cpu *c, u16 sel, u32 types)
{
	u64 d, high;
	struct seg s;

	if (sel & SEL_TI)
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	d = desc_read_or(c, sel, X86_GP, 0);
	if (desc_is_segment(d) || !(types & BIT(desc_type(d))))
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	if (!desc_present(d))
		cpu_raise(c, X86_NP, SEL_ERROR(sel));
	s = (struct seg){ desc_base(d), desc_limit(d), desc_ar(d), sel };
	if (!cpu_long_mode(c))
		return s;
	if (!desc_read_high(c, sel, &high) || (high >> 40 & 0x1f))
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	s.base |= high << 32;
	if (!addr_canonical(s.base))
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	return s;
}

void ldtr_load(struct soft_cpu *c, u16 sel)
{
	if (SEL_NULL(sel))
		c->s.ldtr = seg_null(sel, 0);
	else
		c->s.ldtr = prepare_system(c, sel, BIT(DESC_LDT));
}

void tr_load(struct soft_cpu *c, u16 sel)
{
	struct seg s;

	if (SEL_NULL(sel))
		cpu_raise(c, X86_GP, 0);
	s = prepare_system(c, sel, cpu_long_mode(c) ? BIT(DESC_TSS) : BIT(DESC_TSS) | BIT(DESC_TSS16));
	desc_set_bits(c, sel, DESC_BUSY);
	s.ar |= DESC_BUSY >> 40;
	c->s.tr = s;
}

/* ---- Logical addresses ---- */

static bool type_allows(const struct seg *s, bool write)
{
	unsigned type = SEG_TYPE(s);

	if (type & SEG_CODE)
		return !write && (type & SEG_READABLE);
	return !write || (type & SEG_WRITABLE);
}

static bool limit_allows(const struct seg *s, u64 off, unsigned size)
{
	u64 last = off + (size ? size - 1 : 0);

	if ((SEG_TYPE(s) & (SEG_CODE | SEG_DOWN)) != SEG_DOWN)
		return last <= s->limit;
	return off > s->limit && last <= (s->ar & SEG_DB ? 0xffffffffu : 0xffffu);
}

static _Noreturn void raise_address(struct soft_cpu *c, enum seg_reg seg)
{
	cpu_raise(c, seg == SEG_SS ? X86_SS : X86_GP, 0);
}

gva_t seg_linear(struct soft_cpu *c, enum seg_reg seg, u64 off, unsigned size, bool write)
{
	const struct seg *s = &c->s.seg[seg];
	gva_t a;

	if (cpu_code64(c)) {
		a = seg >= SEG_FS ? s->base + off : off;
		if (!addr_canonical(a) || (size && !addr_canonical(a + size - 1)))
			raise_address(c, seg);
		return a;
	}
	if (cpu_protected(c) && ((s->ar & SEG_UNUSABLE) || !type_allows(s, write)))
		raise_address(c, seg);
	if (!limit_allows(s, off, size))
		raise_address(c, seg);
	return (u32)(s->base + off);
}

u64 insn_offset(struct soft_cpu *c, const struct insn *i)
{
	u64 a = i->mem.disp;

	if (i->mem.rip_relative)
		a += insn_next(i);
	if (i->mem.base != REG_NONE)
		a += c->s.gpr[i->mem.base];
	if (i->mem.index != REG_NONE && !i->mem.vsib)
		a += c->s.gpr[i->mem.index] * i->mem.scale;
	return i->addrsize == 8 ? a : a & (BIT(8 * i->addrsize) - 1);
}

gva_t insn_linear(struct soft_cpu *c, const struct insn *i, unsigned size, bool write)
{
	return seg_linear(c, i->mem.seg, insn_offset(c, i), size, write);
}

/* ---- Stacks ---- */

static gva_t stack_linear(struct soft_cpu *c, const struct stack *st, u64 sp, unsigned size)
{
	if (st->flat) {
		if (!addr_canonical(sp) || !addr_canonical(sp + size - 1))
			cpu_raise(c, X86_SS, st->error);
		return sp;
	}
	if (!limit_allows(st->ss, sp, size))
		cpu_raise(c, X86_SS, st->error);
	return (u32)(st->base + sp);
}

/* Of the program's own accesses; MODE_AC is never set for others. */
static void check_stack_alignment(struct soft_cpu *c, const struct stack *st, u64 sp, unsigned size)
{
	if (st->as == AS_CURRENT && c->ctx && unlikely(c->ctx->key.mode.bits & MODE_AC))
		check_alignment(c, stack_linear(c, st, sp & st->mask, size), size);
}

static u64 load(const u8 *from, unsigned size)
{
	u64 v = 0;

	if (size == 8)
		memcpy(&v, from, 8);
	else if (size == 4)
		memcpy(&v, from, 4);
	else
		memcpy(&v, from, 2);
	return v;
}

/* Value by value, in their order (the first that faults is in CR2), each where it comes to lie. */
static void push_slowly(struct soft_cpu *c, struct stack *st, const u64 *values, unsigned n,
			unsigned size)
{
	u64 sp = st->sp;

	for (unsigned k = 0; k < n; k++) {
		sp = (sp - size) & st->mask;
		guest_probe_write(c, stack_linear(c, st, sp, size), size, st->as);
	}
	sp = st->sp;
	for (unsigned k = 0; k < n; k++) {
		sp = (sp - size) & st->mask;
		guest_write(c, stack_linear(c, st, sp, size), size, values[k], st->as);
	}
	st->sp = sp;
}

static void store(u8 *to, u64 value, unsigned size)
{
	if (size == 8)
		memcpy(to, &value, 8);
	else if (size == 4)
		memcpy(to, &value, 4);
	else
		memcpy(to, &value, 2);
}

void stack_push(struct soft_cpu *c, struct stack *st, const u64 *values, unsigned n,
		unsigned size)
{
	unsigned total = n * size;
	u64 sp = st->sp - total;
	u8 *host = NULL;

	check_stack_alignment(c, st, st->sp - size, size);
	if (st->sp >= total && !c->watching) /* does not wrap around */
		host = guest_host(c, stack_linear(c, st, sp, total), total, true, st->as);
	if (!host) {
		push_slowly(c, st, values, n, size);
		return;
	}
	for (unsigned k = 0; k < n; k++)
		store(host + (n - 1 - k) * size, values[k], size);
	st->sp = sp;
}

void stack_probe(struct soft_cpu *c, const struct stack *st, unsigned size)
{
	guest_probe_write(c, stack_linear(c, st, st->sp, size), size, st->as);
}

u64 stack_pop(struct soft_cpu *c, struct stack *st, unsigned size)
{
	u64 v;

	check_stack_alignment(c, st, st->sp, size);
	v = guest_read(c, stack_linear(c, st, st->sp, size), size, st->as);
	st->sp = (st->sp + size) & st->mask;
	return v;
}

void stack_pop_all(struct soft_cpu *c, struct stack *st, u64 *values, unsigned n, unsigned size)
{
	unsigned total = n * size;
	const u8 *host = NULL;

	check_stack_alignment(c, st, st->sp, size);
	if (st->sp <= st->mask - total) /* does not wrap around */
		host = guest_host(c, stack_linear(c, st, st->sp, total), total, false, st->as);
	if (!host) {
		for (unsigned k = 0; k < n; k++)
			values[k] = stack_pop(c, st, size);
		return;
	}
	for (unsigned k = 0; k < n; k++)
		values[k] = load(host + k * size, size);
	st->sp += total;
}
