// SPDX-License-Identifier: MIT
/*
 * What random programs have besides single instructions: jumps, calls, loops, and
 * the shapes of compiled code that translations treat in a way of their own.
 */
#include "maker.h"

#include <string.h>

#include "engine/insn_table.h"
#include "x86/regs.h"

/* ---- Flow ---- */

static void add_rel(struct maker *m, const void *opcode, unsigned len, unsigned size, unsigned target)
{
	u8 b[8] = { 0 };
	struct item *i;

	memcpy(b, opcode, len);
	i = mk_item(m, b, len + size);
	i->fix = FIX_REL;
	i->fix_at = (u8)len;
	i->fix_size = (u8)size;
	i->target = target;
}

static void add_jcc(struct maker *m)
{
	unsigned cc = mk_below(m, 16), target = m->p->nr + 1 + mk_below(m, 5);
	u8 near[2] = { 0x0f, (u8)(0x80 | cc) }, shrt = (u8)(0x70 | cc);

	if (mk_below(m, 2))
		add_rel(m, near, 2, 4, target);
	else
		add_rel(m, &shrt, 1, 1, target);
}

static void add_jmp(struct maker *m)
{
	unsigned target = m->p->nr + 1 + mk_below(m, 4);

	if (mk_below(m, 2))
		add_rel(m, "\xe9", 1, 4, target);
	else
		add_rel(m, "\xeb", 1, 1, target);
}

static void add_loop_or_jcxz(struct maker *m)
{
	u8 b[2] = { 0x67, (u8)(0xe0 + mk_below(m, 4)) };
	bool prefix = mk_below(m, 4) == 0;

	if (mk_below(m, 2) && !(m->keep & BIT(RCX)))
		mk_mov(m, RCX, mk_below(m, 3));
	if (m->keep & BIT(RCX))
		b[1] = 0xe3;
	m->known &= (u16)~BIT(RCX);
	add_rel(m, b + !prefix, 1 + prefix, 1, m->p->nr + 1 + mk_below(m, 4));
}

static struct item *add_code_address(struct maker *m, unsigned reg, unsigned target)
{
	u8 b[10] = { 0x48 | (reg >> 3), 0xb8 | (reg & 7) };
	struct item *i = m->p->code32 ? mk_item(m, b + 1, 5) : mk_item(m, b, 10);

	m->known &= (u16)~BIT(reg);
	i->fix = FIX_ABS;
	i->fix_size = m->p->code32 ? 4 : 8;
	i->fix_at = (u8)(i->len - i->fix_size);
	i->target = target;
	return i;
}

/* JMP or CALL by a register or memory, or a RET to where a PUSH said. */
static void add_indirect(struct maker *m)
{
	unsigned reg = mk_free_reg(m), kind = mk_below(m, 5), at = m->p->nr;
	struct item *address = add_code_address(m, reg, at);
	u8 rex = reg & 8 ? 0x41 : 0, b[8];
	unsigned n = 0, mem = (u32)DATA_LOW + 8 * mk_below(m, 1000) - m->p->seg[SEG_DS].base;

	if (kind < 2) { /* jmp reg, call reg */
		if (rex)
			b[n++] = rex;
		b[n++] = 0xff;
		b[n++] = (u8)((kind ? 0xd0 : 0xe0) | (reg & 7));
		mk_item(m, b, n);
	} else if (kind == 2) { /* push reg; ret */
		if (rex)
			b[n++] = rex;
		b[n++] = (u8)(0x50 | (reg & 7));
		mk_item(m, b, n);
		if (mk_below(m, 2))
			mk_item(m, "\xc3", 1);
		else
			mk_item(m, "\xc2\x10\x00", 3);
	} else { /* mov [mem], reg; jmp or call [mem] */
		if (!m->p->code32)
			b[n++] = (u8)(0x48 | (reg & 8 ? 4 : 0));
		b[n++] = 0x89;
		b[n++] = (u8)(4 | (reg & 7) << 3);
		b[n++] = 0x25;
		memcpy(b + n, &mem, 4);
		mk_item(m, b, n + 4);
		memcpy(b, kind == 3 ? "\xff\x24\x25" : "\xff\x14\x25", 3);
		memcpy(b + 3, &mem, 4);
		mk_item(m, b, 7);
	}
	address = &m->p->item[at];
	address->target = m->p->nr + mk_below(m, 3);
}

/* call 1; jmp 2; 1: body; ret; 2: */
static void add_call_and_return(struct maker *m)
{
	unsigned first = m->p->nr;

	add_rel(m, "\xe8", 1, 4, first + 2);
	add_rel(m, "\xe9", 1, 4, 0);
	for (unsigned n = mk_below(m, 3); n > 0; n--)
		mk_insn(m);
	if (mk_below(m, 4))
		mk_item(m, "\xc3", 1);
	else
		mk_item(m, "\xf3\xc3", 2);
	m->p->item[first + 1].target = m->p->nr;
}

/* ---- Accesses near each other ---- */

/* The edges of what is mapped and of what may be written, and between pages. */
static u64 near_place(struct maker *m)
{
	static const u64 edges[] = { DATA_LOW + PAGE_SIZE, DATA_LOW + 2 * PAGE_SIZE, DATA_RO, STACK,
				     DATA_LOW, DATA_RO + PAGE_SIZE, STACK + 2 * PAGE_SIZE };
	unsigned k = mk_below(m, 10);

	if (k < 3 && !m->o->calm)
		return edges[mk_below(m, ARRAY_SIZE(edges))] - 64 + mk_below(m, 128);
	if (k < 5)
		return edges[mk_below(m, 2)] - 64 + mk_below(m, 128);
	return mk_page(m, !m->p->code32, true) + 64 + mk_below(m, PAGE_SIZE - 128);
}

static struct near begin_near(struct maker *m)
{
	struct near g = { .base = (u8)mk_free_reg(m), .index = REG_NONE, .scale = 1 };
	u64 value;

	g.at = near_place(m);
	if (mk_below(m, 4) == 0) {
		g.base = RSP;
		g.at = STACK + PAGE_SIZE - 256 + 8 * mk_below(m, 64);
	}
	value = g.at;
	if (mk_below(m, 3) == 0) {
		g.index = (u8)mk_free_reg(m);
		g.scale = (u8)(1u << mk_below(m, 4));
		if (g.index == g.base) {
			g.index = REG_NONE;
		} else {
			u64 n = mk_below(m, 64) - (mk_below(m, 2) ? 32u : 0u);

			mk_mov(m, g.index, n);
			value -= n * g.scale;
		}
	}
	if (m->p->segmented)
		value -= m->seg[g.base == RBP || g.base == RSP ? SEG_SS : SEG_DS].base;
	mk_mov(m, g.base, value);
	return g;
}

/* Something that does not end a group of accesses, mostly. */
static void between(struct maker *m, const struct near *g)
{
	if (g->base == RSP && mk_below(m, 3) == 0)
		mk_stack(m);
	switch (mk_below(m, 6)) {
	case 0:
		add_jcc(m);
		break;
	case 1:
		mk_flags(m);
		break;
	case 2:
		mk_insn(m);
		break;
	default:
		break;
	}
}

static void add_group(struct maker *m)
{
	struct near g = begin_near(m);

	for (unsigned n = 2 + mk_below(m, 7); n > 0; n--) {
		mk_near(m, &g);
		between(m, &g);
	}
}

static void add_flags(struct maker *m)
{
	for (unsigned n = 3 + mk_below(m, 8); n > 0; n--) {
		if (mk_below(m, 8) == 0)
			add_jcc(m);
		else
			mk_flags(m);
	}
}

/* ---- Loops ---- */

/* add reg, imm */
static void add_step(struct maker *m, unsigned reg)
{
	static const u8 steps[] = { 1, 4, 8, 16, 64, 0xf8, 0xc0 };
	u8 b[4] = { 0x48 | reg >> 3, 0x83, (u8)(0xc0 | (reg & 7)),
		    steps[mk_below(m, ARRAY_SIZE(steps))] };

	mk_item(m, b + m->p->code32, 4 - m->p->code32);
	m->known &= (u16)~BIT(reg);
}

static void loop_body(struct maker *m, const struct near *g)
{
	for (unsigned n = 1 + mk_below(m, 5); n > 0; n--) {
		unsigned k = mk_below(m, 16);

		if (k < 2)
			add_jcc(m);
		else if (k < 4)
			mk_flags(m);
		else if (g && k < 13)
			mk_near(m, g);
		else
			mk_insn(m);
	}
	if (g && mk_below(m, 2))
		add_step(m, g->base);
}

/* mov ecx, n; 1: body; loop 1 (or dec ecx; jnz 1) */
static void add_loop(struct maker *m)
{
	bool near = mk_below(m, 2);
	struct near g = { 0 };
	unsigned first;

	if (m->keep || m->nr_loops == ARRAY_SIZE(m->loop))
		return;
	m->keep = BIT(RCX);
	if (near)
		g = begin_near(m);
	m->loop[m->nr_loops].first = m->p->nr;
	mk_mov(m, RCX, mk_below(m, 12) ? 1 + mk_below(m, 6) : 1 + mk_below(m, 1200));
	m->known &= (u16)~BIT(RCX);
	first = m->p->nr;
	loop_body(m, near ? &g : NULL);
	m->keep = 0;
	for (unsigned n = first; n < m->p->nr; n++)
		if (m->p->item[n].fix == FIX_REL && m->p->item[n].target > m->p->nr)
			m->p->item[n].target = m->p->nr;
	if (mk_below(m, 2) || m->p->nr - first >= 7) {
		mk_item(m, "\xff\xc9", 2);
		add_rel(m, "\x0f\x85", 2, 4, first);
	} else {
		add_rel(m, "\xe2", 1, 1, first);
	}
	m->loop[m->nr_loops++].last = m->p->nr - 1;
}

/* push imm; popf: flags of any value */
static void add_popf(struct maker *m)
{
	u32 flags = (mk_random(m) & (RFLAGS_ARITH | RFLAGS_DF)) | RFLAGS_IF;
	u8 b[5] = { 0x68 };

	memcpy(b + 1, &flags, 4);
	mk_item(m, b, 5);
	mk_item(m, "\x9d", 1);
}

/* ---- Code that changes ---- */

/* mov reg, imm: what a write can change. */
static void add_victim(struct maker *m)
{
	unsigned reg = mk_below(m, 8);
	u8 b[5] = { (u8)(0xb8 | (reg == RSP || (m->keep & BIT(reg)) ? (unsigned)RAX : reg)) };

	mk_item(m, b, 5);
	m->known &= (u16)~BIT(b[0] & 7);
}

/* A write to the immediate of item @victim. */
static void add_patch(struct maker *m, unsigned victim)
{
	static const u8 opcodes[] = { 0xc6, 0xc7, 0x80, 0x81 }; /* mov, add; a byte or all */
	u8 b[10] = { opcodes[mk_below(m, 4)], 0x05 };
	bool all = b[0] & 1;
	struct item *i;

	for (unsigned n = 6; n < 10; n++)
		b[n] = (u8)mk_random(m);
	i = mk_item(m, b, all ? 10 : 7);
	i->fix = FIX_CODE;
	i->fix_at = 2;
	i->fix_size = 4;
	i->target = victim;
	i->address = all ? 1 : 1 + mk_below(m, 4);
}

static void add_changing(struct maker *m)
{
	unsigned first = m->p->nr, before = mk_below(m, 4);

	if (m->keep || m->nr_loops == ARRAY_SIZE(m->loop) || first + 12 > MAX_ITEMS)
		return;
	if (mk_below(m, 2)) { /* once, ahead of RIP */
		add_patch(m, first + 1);
		add_victim(m);
		return;
	}
	m->loop[m->nr_loops].first = first;
	mk_mov(m, RCX, 1 + mk_below(m, 20));
	m->keep = BIT(RCX);
	m->known &= (u16)~BIT(RCX);
	if (before == 0) {
		add_patch(m, first + 2);
		add_victim(m);
	} else {
		add_victim(m);
		while (--before)
			mk_insn(m);
		add_patch(m, first + 1);
	}
	m->keep = 0;
	for (unsigned n = first; n < m->p->nr; n++)
		if (m->p->item[n].fix == FIX_REL && m->p->item[n].target > m->p->nr)
			m->p->item[n].target = m->p->nr;
	mk_item(m, "\xff\xc9", 2);
	add_rel(m, "\x0f\x85", 2, 4, first + 1);
	m->loop[m->nr_loops++].last = m->p->nr - 1;
}

/* ---- Segment registers ---- */

static unsigned choose_selector(struct maker *m, unsigned seg)
{
	static const u8 flat[] = { 0x2b, 0x2b, 0x23, 0x33 };

	if (!m->p->code32)
		return seg >= SEG_FS || seg == SEG_SS ? 0x2b : mk_below(m, 2) ? 0 : flat[mk_below(m, 4)];
	if (m->p->segmented && mk_below(m, 4))
		return (seg == SEG_SS ? (unsigned)SEG_SS : mk_below(m, 8)) << 3 | 7;
	return seg == SEG_SS ? 0x2b : mk_below(m, 6) ? flat[mk_below(m, 3)] : 0;
}

static void note_segment(struct maker *m, unsigned seg, unsigned sel)
{
	m->seg[seg] = (struct segment){ .limit = 0xffffffff, .null = sel < 4 };
	if ((sel & 4) && sel >> 3 < NR_SEGS)
		m->seg[seg] = m->p->seg[sel >> 3];
}

/* mov reg, selector; mov seg, reg; or by the stack */
static void add_segment(struct maker *m)
{
	static const u8 segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS, SEG_ES, SEG_SS };
	unsigned seg = segs[mk_below(m, ARRAY_SIZE(segs))], sel = choose_selector(m, seg);
	unsigned reg = mk_free_reg(m) & 7;
	u8 b[2] = { 0x8e, (u8)(0xc0 | seg << 3 | (reg == RSP ? (unsigned)RAX : reg)) };

	if ((m->keep & BIT(b[1] & 7)) || m->nr_loops == ARRAY_SIZE(m->loop))
		return;
	m->loop[m->nr_loops].first = m->p->nr; /* no jump to the load: other selectors are Linux's */
	if (seg >= SEG_FS && mk_below(m, 3) == 0) { /* push imm8; pop fs, gs */
		u8 push[2] = { 0x6a, (u8)sel }, pop[2] = { 0x0f, seg == SEG_FS ? 0xa1 : 0xa9 };

		mk_item(m, push, 2);
		mk_item(m, pop, 2);
	} else {
		mk_mov(m, b[1] & 7, sel);
		mk_item(m, b, 2);
	}
	m->loop[m->nr_loops++].last = m->p->nr - 1;
	note_segment(m, seg, sel);
}

/* ---- Prefixes that mean nothing, and padding ---- */

static void add_padding(struct maker *m)
{
	static const struct {
		const char *bytes;
		u8 size;
	} kinds[] = {
		{ "\x90", 1 },
		{ "\x66\x90", 2 },
		{ "\xf3\x90", 2 },
		{ "\xf3\x0f\x1e\xfa", 4 },
		{ "\x0f\x1f\x44\x00\x00", 5 },
		{ "\x66\x0f\x1f\x44\x00\x00", 6 },
		{ "\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", 10 },
		{ "\x66\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", 11 },
		{ "\x66\x66\x66\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", 13 },
		{ "\x0f\x18\x08", 3 },
		{ "\x2e\x8d\x74\x26\x00", 5 },
		{ "\x0f\xae\xe8", 3 },
		{ "\x0f\xae\xf8", 3 },
		{ "\x3e\x89\xc0", 3 },
		{ "\x66\x66\x89\xc9", 4 },
	};
	unsigned n = mk_below(m, ARRAY_SIZE(kinds));

	if (!m->keep || kinds[n].size != 4)
		mk_item(m, kinds[n].bytes, kinds[n].size);
	m->known &= (u16)~(BIT(RAX) | BIT(RCX) | BIT(RSI));
}

/* Branch hints, BND, NOTRACK. */
static void add_prefixed_branch(struct maker *m)
{
	static const u8 prefixes[] = { 0x2e, 0x3e, 0xf2 };
	u8 b[3] = { prefixes[mk_below(m, 3)], 0x0f, (u8)(0x80 | mk_below(m, 16)) };

	if (mk_below(m, 2))
		add_rel(m, b, 3, 4, m->p->nr + 1 + mk_below(m, 4));
	else
		add_rel(m, "\xf2\xe9", 2, 4, m->p->nr + 1 + mk_below(m, 4));
}

void mk_shape(struct maker *m)
{
	static void (*const kinds[])(struct maker *m) = {
		add_jcc, add_jcc, add_jcc, add_jmp, add_loop_or_jcxz, add_indirect,
		add_call_and_return, add_loop, add_loop, add_popf, add_group, add_group, add_group,
		add_flags, add_flags, add_changing, add_segment, add_padding, add_prefixed_branch,
	};
	unsigned k = mk_below(m, ARRAY_SIZE(kinds));

	if (kinds[k] == add_changing && !m->p->writable)
		k = 0;
	kinds[k](m);
}
