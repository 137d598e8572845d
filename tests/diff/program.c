// SPDX-License-Identifier: MIT
/*
 * Random programs. An instruction comes from insn_gen(); its memory operand is
 * then replaced by one that reaches a chosen address, by what is known of the
 * registers: most accesses succeed, some are unaligned, cross pages or fault.
 */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/insn_gen.h"
#include "engine/insn_table.h"
#include "x86/regs.h"

const struct region regions[NR_REGIONS] = {
	{ DATA_LOW, 3, 0, true },
	{ DATA_RO, 1, 3 * PAGE_SIZE, false },
	{ STACK, 2, 4 * PAGE_SIZE, true },
	{ DATA_HIGH, 2, 6 * PAGE_SIZE, true },
};

struct maker {
	struct program *p;
	const struct program_options *o;
	u64 seed;
	unsigned profile;
	u16 known;     /* registers whose value is in value[] */
	u64 value[16];
	u16 keep;      /* registers that a loop counts with */
	struct {
		unsigned first, last;
	} loop[16];    /* nobody jumps into these */
	unsigned nr_loops;
};

static u32 rnd(struct maker *m)
{
	return insn_gen_random(&m->seed);
}

static unsigned below(struct maker *m, unsigned n)
{
	return rnd(m) % n;
}

static u64 rnd64(struct maker *m)
{
	u64 high = rnd(m);

	return high << 32 | rnd(m);
}

static bool one_row(const struct maker *m)
{
	return m->o->row >= 0;
}

/* ---- Rows by kind ---- */

enum { CLASS_INT, CLASS_X87, CLASS_MMX, CLASS_SSE, CLASS_AVX, NR_CLASSES };

static struct {
	u16 row[4096];
	unsigned nr;
} classes[NR_CLASSES];

static const struct cpu_model *model;

/* Own translators that jump are in templates; helpers that need nothing but registers
 * and memory are taken along. */
static bool row_usable(unsigned row)
{
	/* Not the decimal ones: their undefined flags differ (tests/unit/engine/bcd_test.c). */
	static const char helpers[] = " maskmovq maskmovdqu gather enter pusha popa salc pushf "
				      "push_sreg mov_from_sreg rdfsbase rdgsbase ";
	static const char custom[] = " push pop lea leave cld std xlat nop movs stos lods scas cmps bt_mem ";
	const struct insn_row *r = &insn_rows[row];
	char word[40];

	if (r->gate < NR_FEATURES && !model->has[r->gate])
		return false;
	/* AMD refuses PREFETCH of a register, a NOP on Intel. */
	if (r->map == TM_0F && r->opcode == 0x0d && !strcmp(r->name, "NOP"))
		return false;
	if (r->map >= TM_E0F || (r->rules & (RULE_CPL0 | RULE_IO | RULE_VMX)))
		return false;
	snprintf(word, sizeof(word), " %s ", r->function);
	switch (r->how) {
	case HOW_NATIVE:
		return true;
	case HOW_CUSTOM:
		return strstr(custom, word);
	case HOW_HELPER:
		return strstr(helpers, word);
	default:
		return false;
	}
}

static unsigned row_class(unsigned row)
{
	u32 rules = insn_rows[row].rules;

	return rules & RULE_AVX ? CLASS_AVX : rules & RULE_SSE ? CLASS_SSE :
	       rules & RULE_MMX ? CLASS_MMX : rules & RULE_X87 ? CLASS_X87 : CLASS_INT;
}

static u64 pool[16384];

static u64 interesting(struct maker *m)
{
	unsigned k = below(m, 64);

	switch (below(m, 10)) {
	case 0:
		return below(m, 256);
	case 1:
		return (u64)0 - below(m, 256);
	case 2:
		return BIT(k);
	case 3:
		return BIT(k) - 1;
	case 4:
		return (u64)0 - BIT(k);
	case 5: /* a double of a near exponent */
		return (rnd64(m) & 0x800fffffffffffff) | (u64)(1013 + below(m, 20)) << 52;
	case 6: { /* two floats */
		u64 exponents = (u64)(117 + below(m, 20)) << 55 | (u64)(117 + below(m, 20)) << 23;

		return (rnd64(m) & 0x807fffff807fffff) | exponents;
	}
	case 7:
		return rnd(m);
	case 8: /* NaN, infinities, denormals */
		return below(m, 2) ? rnd64(m) | 0x7ff0000000000000 : rnd64(m) & 0x800fffffffffffff;
	default:
		return rnd64(m);
	}
}

void program_init(const struct cpu_model *cpu)
{
	struct maker m = { .seed = 12345 };

	model = cpu;
	for (unsigned row = 0; row < insn_nr_rows(); row++)
		if (row_usable(row))
			classes[row_class(row)].row[classes[row_class(row)].nr++] = (u16)row;
	for (unsigned n = 0; n < ARRAY_SIZE(pool); n++)
		pool[n] = interesting(&m);
}

bool program_row_testable(unsigned row, bool code32)
{
	const struct insn_row *r = &insn_rows[row];

	return row_usable(row) && !(r->rules & (code32 ? RULE_ONLY64 : RULE_NO64));
}

/* ---- Items ---- */

static struct item *add(struct maker *m, const void *bytes, unsigned len)
{
	struct program *p = m->p;
	struct item *i = &p->item[p->nr < MAX_ITEMS ? p->nr++ : MAX_ITEMS - 1];

	*i = (struct item){ .len = (u8)len, .row = 0xffff };
	memcpy(i->bytes, bytes, len);
	return i;
}

static struct insn_mode mode_of(const struct program *p)
{
	return (struct insn_mode){ .code64 = !p->code32, .code32 = p->code32 };
}

/* MOV reg, imm: the register is known from here on. */
static struct item *add_mov(struct maker *m, unsigned reg, u64 v)
{
	u8 b[10] = { 0x48 | (reg >> 3), 0xb8 | (reg & 7) };
	struct item *i;

	m->known |= (u16)BIT(reg);
	m->value[reg] = v;
	if (m->p->code32) {
		m->value[reg] = (u32)v;
		memcpy(b + 2, &v, 4);
		return add(m, b + 1, 5);
	}
	if (reg < 8 && v == (u32)v && below(m, 2)) {
		memcpy(b + 2, &v, 4);
		return add(m, b + 1, 5);
	}
	memcpy(b + 2, &v, 8);
	i = add(m, b, 10);
	return i;
}

/* ---- Addresses ---- */

static u64 random_page(struct maker *m, bool high, bool write)
{
	unsigned k = below(m, high ? 7 : 5);

	if (k < 3)
		return DATA_LOW + k * PAGE_SIZE;
	if (k < 5)
		return write || below(m, 3) ? STACK + (k - 3) * PAGE_SIZE : DATA_RO;
	return DATA_HIGH + (k - 5) * PAGE_SIZE;
}

/* An address for an access of @size bytes. */
static u64 choose_target(struct maker *m, unsigned size, bool write, bool align, bool high)
{
	static const u64 bounds[] = { DATA_LOW + PAGE_SIZE, DATA_LOW + 2 * PAGE_SIZE, STACK + PAGE_SIZE };
	static const u64 edges[] = { DATA_LOW, DATA_RO, DATA_RO + PAGE_SIZE, STACK,
				     STACK + 2 * PAGE_SIZE };
	unsigned k = below(m, 100);
	u64 a;

	size = size ? size : 1;
	if (!m->o->calm && k < 3) {
		a = edges[below(m, ARRAY_SIZE(edges))] - size - 8 + below(m, 2 * size + 16);
		return align && below(m, 2) ? a & ~(u64)(size - 1) : a;
	}
	if (k < 15 && size > 1 && !align)
		return bounds[below(m, ARRAY_SIZE(bounds))] - 1 - below(m, size - 1);
	a = random_page(m, high, write) + below(m, PAGE_SIZE - size + 1);
	if (align ? m->o->calm || k < 97 : k < 60)
		a &= ~(u64)(size < 16 ? size - 1 : size > 64 ? 63 : size - 1);
	return a;
}

static unsigned nr_prefixes(const u8 *b)
{
	unsigned p = 0;

	while (b[p] == 0x66 || b[p] == 0x67 || b[p] == 0xf0 || (b[p] | 1) == 0xf3 ||
	       (b[p] & 0xe7) == 0x26 || (b[p] | 1) == 0x65)
		p++;
	return p;
}

/* Where ModRM is. */
static unsigned modrm_at(const struct insn *i)
{
	unsigned p = nr_prefixes(i->bytes);

	if (i->enc == ENC_VEX)
		return p + (i->bytes[p] == 0xc5 ? 3 : 4);
	if (i->rex)
		p++;
	return p + 1 + (i->map != MAP_1B) + (i->map > MAP_0F);
}

/* Bytes of ModRM, SIB and displacement in 32- and 64-bit addressing. */
static unsigned address_len(const u8 *b)
{
	unsigned mod = b[0] >> 6, rm = b[0] & 7, len = 1;

	if (mod == 3)
		return 1;
	if (rm == 4) {
		len++;
		if (mod == 0 && (b[1] & 7) == 5)
			return len + 4;
	} else if (mod == 0 && rm == 5) {
		return 5;
	}
	return len + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

struct form {
	u8 base, index, scale; /* REG_NONE: none */
	bool rip;
};

static bool has_high(const struct insn *i)
{
	for (unsigned n = 0; n < i->nr_ops; n++)
		if (i->op[n].kind == OPND_GPR8H)
			return true;
	return false;
}

/* Can the encoding have X and B? */
static bool can_extend(const struct maker *m, const struct insn *i)
{
	if (m->p->code32)
		return false;
	if (i->enc == ENC_VEX)
		return i->bytes[nr_prefixes(i->bytes)] == 0xc4;
	return i->rex || (!has_high(i) && i->len < INSN_MAX);
}

static unsigned known_reg(struct maker *m, bool extended)
{
	unsigned r = below(m, extended ? 16 : 8);

	for (unsigned n = 0; n < 16; n++, r = (r + 1) & (extended ? 15 : 7))
		if (m->known & BIT(r))
			return r;
	return REG_NONE;
}

static struct form choose_form(struct maker *m, const struct insn *i, bool extended)
{
	struct form f = { .base = REG_NONE, .index = REG_NONE, .scale = (u8)(1u << below(m, 4)) };
	unsigned k = below(m, 10);

	if (i->mem.vsib) {
		f.index = i->mem.index;
		f.base = known_reg(m, extended);
		return f;
	}
	if (k < 2 && !m->p->code32 && i->addrsize == 8)
		f.rip = true;
	else if (k < 9)
		f.base = known_reg(m, extended);
	if (!f.rip && k > 5)
		f.index = known_reg(m, extended);
	if (f.index == RSP)
		f.index = REG_NONE;
	return f;
}

static u64 segment_base(const struct maker *m, const struct insn *i)
{
	unsigned seg = i->has_mem || i->seg_override == REG_NONE ? i->mem.seg : i->seg_override;

	if (m->p->segmented) {
		bool implied = !i->has_mem && i->seg_override == REG_NONE && !(i->rules & RULE_REP);

		return m->p->seg[implied ? SEG_DS : seg].base;
	}
	return i->seg_override == SEG_FS ? m->p->start.fs_base :
	       i->seg_override == SEG_GS ? m->p->start.gs_base : 0;
}

/* Is [off, off + size) inside of the operand's segment? */
static bool within(const struct maker *m, const struct insn *i, u32 off, unsigned size)
{
	const struct segment *s = &m->p->seg[i->mem.seg];

	if (!m->p->segmented || i->mem.seg == SEG_CS)
		return true;
	if (s->null || (s->read_only && i->mem.written))
		return false;
	return s->down ? off > s->limit && off + size - 1 >= off :
			 off <= s->limit && size - 1 <= s->limit - off;
}

static void put_rex_bits(u8 *b, const struct insn *i, unsigned *at, struct form f)
{
	bool x = f.index != REG_NONE && f.index & 8, ex = f.base != REG_NONE && f.base & 8;
	unsigned rex_at = nr_prefixes(b);

	if (i->enc == ENC_VEX) {
		u8 *v = b + nr_prefixes(b);

		if (v[0] == 0xc4)
			v[1] = (u8)((v[1] & ~0x60) | (x ? 0 : 0x40) | (ex ? 0 : 0x20));
		return;
	}
	if (!i->rex) {
		if (!x && !ex)
			return;
		memmove(b + rex_at + 1, b + rex_at, INSN_MAX - 1 - rex_at);
		b[rex_at] = 0x40;
		++*at;
	}
	b[rex_at] = (u8)((b[rex_at] & ~3) | (x ? 2 : 0) | (ex ? 1 : 0));
}

/* Rewrites the memory operand of @i as @f with @disp; the new length, 0: too long. */
static unsigned rewrite(const struct insn *i, struct form f, s32 disp, bool code32, u8 *b)
{
	unsigned at = modrm_at(i), reg = i->bytes[at] & 0x38, old = address_len(i->bytes + at);
	unsigned tail = i->len - at - old, ss = f.scale == 8 ? 3 : f.scale == 4 ? 2 : f.scale == 2;
	u8 a[6], n = 0;

	memcpy(b, i->bytes, INSN_MAX);
	put_rex_bits(b, i, &at, f);
	if (f.rip) {
		a[n++] = (u8)(reg | 5);
		memcpy(a + n, &disp, 4);
		n += 4;
	} else {
		bool sib = f.index != REG_NONE || f.base == REG_NONE || (f.base & 7) == RSP;
		unsigned mod = f.base == REG_NONE ? 0 : disp == 0 && (f.base & 7) != RBP ? 0 :
			       disp == (s8)disp ? 1 : 2;

		if (f.base == REG_NONE && f.index == REG_NONE && code32)
			sib = false;
		a[n++] = (u8)(mod << 6 | reg | (sib ? 4u : f.base == REG_NONE ? 5u : f.base & 7u));
		if (sib)
			a[n++] = (u8)(ss << 6 | (f.index == REG_NONE ? 4u : f.index & 7u) << 3 |
				      (f.base == REG_NONE ? 5u : f.base & 7u));
		if (mod == 1)
			a[n++] = (u8)disp;
		if (mod == 2 || f.base == REG_NONE) {
			memcpy(a + n, &disp, 4);
			n += 4;
		}
	}
	if (at + n + tail > INSN_MAX)
		return 0;
	memcpy(b + at, a, n);
	memcpy(b + at + n, i->bytes + i->len - tail, tail);
	return at + n + tail;
}

static bool same_insn(const struct maker *m, const u8 *b, unsigned len, const struct insn *was)
{
	struct insn i;

	return insn_decode(b, len, 0, mode_of(m->p), &i) == DECODE_OK && i.len == len &&
	       i.row == was->row;
}

/* The absolute address in MOV AL, moffs and its like. */
static bool aim_moffs(struct maker *m, const struct insn *i)
{
	u64 off = choose_target(m, i->mem.size, i->mem.written, false, i->addrsize == 8) -
		  segment_base(m, i);
	struct item *it = add(m, i->bytes, i->len);

	memcpy(it->bytes + i->len - i->addrsize, &off, i->addrsize);
	it->row = i->row;
	return true;
}

static bool aim(struct maker *m, const struct insn *i)
{
	unsigned at = modrm_at(i);
	u8 b[INSN_MAX];

	for (unsigned tries = 0; tries < 20; tries++) {
		bool high = below(m, 3) == 0 && !m->p->code32;
		u64 target = choose_target(m, i->mem.size, i->mem.written, i->rules & RULE_ALIGN, high);
		struct form f = choose_form(m, i, can_extend(m, i));
		u64 want = target - segment_base(m, i);
		struct item *it;
		unsigned len;

		if (!i->mem.vsib && f.base != REG_NONE)
			want -= m->value[f.base];
		if (!i->mem.vsib && f.index != REG_NONE)
			want -= m->value[f.index] * f.scale;
		if (f.rip)
			want = 0;
		if (i->mem.vsib)
			want = f.base == REG_NONE ? target : target - m->value[f.base];
		if (i->addrsize == 8 ? (s64)want != (s32)want :
				       !m->p->code32 && target - segment_base(m, i) > 0xffffffff)
			continue;
		if (!within(m, i, (u32)(target - segment_base(m, i)), i->mem.size) && below(m, 12))
			continue;
		len = rewrite(i, f, (s32)want, m->p->code32, b);
		if (!len || !same_insn(m, b, len, i))
			continue;
		it = add(m, b, len);
		it->row = i->row;
		if (f.rip) {
			u64 near = m->p->code >= CODE_HIGH ? DATA_HIGH + below(m, 2 * PAGE_SIZE - 64) : target;

			it->fix = FIX_RIP;
			it->fix_at = (u8)(at + 1);
			it->fix_size = 4;
			it->address = near - segment_base(m, i);
			if (i->rules & RULE_ALIGN)
				it->address &= ~63ull;
			if ((s64)(it->address - m->p->code) != (s32)(it->address - m->p->code)) {
				m->p->nr--;
				continue;
			}
		}
		return true;
	}
	return false;
}

/* ---- What an instruction wants beforehand ---- */

static bool is(const struct insn *i, const char *functions)
{
	char word[40];

	snprintf(word, sizeof(word), " %s ", insn_row_function(i->row));
	return word[2] != ' ' && strstr(functions, word);
}

static u64 string_address(struct maker *m, unsigned addrsize)
{
	u64 a = random_page(m, addrsize == 8, true) + below(m, PAGE_SIZE);

	if (below(m, 4) == 0)
		a = DATA_LOW + PAGE_SIZE * (1 + below(m, 2)) - 20 + below(m, 40);
	return a;
}

static u64 string_count(struct maker *m)
{
	switch (below(m, 6)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return below(m, 600);
	default:
		return below(m, 24);
	}
}

static void prepare_string(struct maker *m, const struct insn *i)
{
	if (below(m, 10) == 0 && !m->o->calm)
		return;
	if (below(m, 3))
		add_mov(m, RDI, string_address(m, i->addrsize) - m->p->seg[SEG_ES].base);
	if (below(m, 3))
		add_mov(m, RSI, string_address(m, i->addrsize) - segment_base(m, i));
	if (i->rep)
		add_mov(m, RCX, string_count(m));
}

static void prepare(struct maker *m, const struct insn *i)
{
	if (m->keep && (is(i, " movs stos lods scas cmps ")))
		return;
	if (is(i, " movs stos lods scas cmps ")) {
		prepare_string(m, i);
	} else if (is(i, " xlat maskmovq maskmovdqu ")) {
		unsigned reg = is(i, " xlat ") ? RBX : RDI;

		add_mov(m, reg, random_page(m, i->addrsize == 8, true) + below(m, PAGE_SIZE - 256) -
					segment_base(m, i));
	} else if (is(i, " leave enter ")) {
		add_mov(m, RBP, 0 - (u64)m->p->seg[SEG_SS].base + STACK + PAGE_SIZE - 64 + 8 * below(m, 16) + (below(m, 8) ? 0 : below(m, 8)));
	} else if (is(i, " bt_mem ") && i->op[1].reg != RSP) {
		add_mov(m, i->op[1].reg, (u64)(s64)(s32)(below(m, 4000) - 2000));
	} else if (!strcmp(insn_name(i), "DIV") || !strcmp(insn_name(i), "IDIV")) {
		if (below(m, 4))
			add_mov(m, RDX, below(m, 4));
		if (!below(m, 3))
			add_mov(m, RAX, below(m, 1000));
	}
}

/* ---- One instruction of a row ---- */

static void forget(struct maker *m, const struct insn *i)
{
	m->known &= (u16)~i->gpr_written;
	if (is(i, " push pop pushf enter leave pusha popa push_sreg ")) {
		/* Near enough. */
		if (is(i, " push pop pushf push_sreg ") && !(i->gpr_written & ~(u16)BIT(RSP)))
			m->known |= (u16)BIT(RSP);
		if (m->value[RSP] - STACK < 64 || m->value[RSP] - STACK > 2 * PAGE_SIZE - 64)
			m->known &= (u16)~BIT(RSP);
	}
}

/* VPEXTRQ, VPINSRQ, VMOVQ of a general register outside 64-bit mode: W is ignored; AMD
 * refuses it. */
static bool amd_refuses_w(const struct insn *i)
{
	const u8 *vex = i->bytes + nr_prefixes(i->bytes);

	if (i->enc != ENC_VEX || vex[0] != 0xc4 || !(vex[2] & 0x80))
		return false;
	return i->map == MAP_0F3A ? i->opcode == 0x16 || i->opcode == 0x22 :
				    i->map == MAP_0F && (i->opcode | 0x10) == 0x7e;
}

static bool unwanted(struct maker *m, const struct insn *i)
{
	bool stack = is(i, " push pop enter leave pushf pusha popa push_sreg ");

	if (i->gpr_written & m->keep)
		return true;
	/* When these fault, processors have entered MMX state, looked at bytes that the
	 * mask leaves out, and pushed, or not. */
	if (is(i, " maskmovq maskmovdqu enter pusha popa ") && !m->o->calm)
		return true;
	if (m->p->code32 && amd_refuses_w(i))
		return true;
	if (m->p->code32 && i->addrsize == 2)
		return true;
	/* Without descriptors these have none. */
	if (m->p->code32 && !m->p->segmented &&
	    (i->mem.seg >= SEG_FS || (i->seg_override != REG_NONE && i->seg_override >= SEG_FS)))
		return true;
	/* AMD reads four bytes, Intel two. */
	if (i->opsize == 2 && i->has_mem && !strcmp(insn_name(i), "MOVSXD"))
		return true;
	if (m->p->code32 && i->has_mem && i->mem.seg == SEG_CS && i->mem.written)
		return true;
	if ((i->rules & RULE_REP) && m->keep && i->rep)
		return true;
	if (is(i, " pop "))
		return i->op[0].kind == OPND_GPR && i->op[0].reg == RSP && below(m, 8);
	return !stack && (i->gpr_written & BIT(RSP)) && below(m, 16);
}

static bool add_row(struct maker *m, unsigned row)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		u8 b[INSN_MAX];
		unsigned len;
		struct insn i;

		if (!insn_gen(row, mode_of(m->p), &m->seed, b, &len))
			return false;
		if (insn_decode(b, len, 0, mode_of(m->p), &i) != DECODE_OK)
			return false;
		if (unwanted(m, &i) && !(one_row(m) && tries > 5 && !m->p->code32))
			continue;
		prepare(m, &i);
		if (i.has_mem && !(i.rules & RULE_NOREAD) && !is(&i, " xlat maskmovq maskmovdqu ") &&
		    (m->o->calm || below(m, 40))) {
			if (i.has_modrm ? !aim(m, &i) : !aim_moffs(m, &i))
				continue;
		} else {
			struct item *it = add(m, b, len);

			it->row = (u16)row;
			/* How much ENTER has written when it faults depends on the processor. */
			if (is(&i, " enter ")) {
				it->bytes[len - 2] = 0;
				it->bytes[len - 1] &= 3;
			}
		}
		forget(m, &i);
		return true;
	}
	return false;
}

static unsigned choose_class(struct maker *m)
{
	static const u8 weights[][NR_CLASSES] = {
		{ 100, 0, 0, 0, 0 }, { 100, 0, 0, 0, 0 }, { 60, 10, 5, 12, 13 }, { 30, 70, 0, 0, 0 },
		{ 20, 20, 60, 0, 0 }, { 20, 0, 0, 70, 10 }, { 20, 0, 0, 10, 70 },
	};
	const u8 *w = weights[m->profile % ARRAY_SIZE(weights)];
	unsigned k = below(m, 100), n = 0;

	while (n < NR_CLASSES - 1 && k >= w[n])
		k -= w[n++];
	return n;
}

static void add_random(struct maker *m)
{
	unsigned k = choose_class(m);

	add_row(m, classes[k].row[below(m, classes[k].nr)]);
}

/* ---- Flow ---- */

static void add_rel(struct maker *m, const void *opcode, unsigned len, unsigned size, unsigned target)
{
	u8 b[8] = { 0 };
	struct item *i;

	memcpy(b, opcode, len);
	i = add(m, b, len + size);
	i->fix = FIX_REL;
	i->fix_at = (u8)len;
	i->fix_size = (u8)size;
	i->target = target;
}

static void add_jcc(struct maker *m)
{
	unsigned cc = below(m, 16), target = m->p->nr + 1 + below(m, 5);
	u8 near[2] = { 0x0f, (u8)(0x80 | cc) }, shrt = (u8)(0x70 | cc);

	if (below(m, 2))
		add_rel(m, near, 2, 4, target);
	else
		add_rel(m, &shrt, 1, 1, target);
}

static void add_jmp(struct maker *m)
{
	unsigned target = m->p->nr + 1 + below(m, 4);

	if (below(m, 2))
		add_rel(m, "\xe9", 1, 4, target);
	else
		add_rel(m, "\xeb", 1, 1, target);
}

static void add_loop_or_jcxz(struct maker *m)
{
	u8 b[2] = { 0x67, (u8)(0xe0 + below(m, 4)) };
	bool prefix = below(m, 4) == 0;

	if (below(m, 2) && !(m->keep & BIT(RCX)))
		add_mov(m, RCX, below(m, 3));
	if (m->keep & BIT(RCX))
		b[1] = 0xe3;
	m->known &= (u16)~BIT(RCX);
	add_rel(m, b + !prefix, 1 + prefix, 1, m->p->nr + 1 + below(m, 4));
}

static struct item *add_code_address(struct maker *m, unsigned reg, unsigned target)
{
	u8 b[10] = { 0x48 | (reg >> 3), 0xb8 | (reg & 7) };
	struct item *i = m->p->code32 ? add(m, b + 1, 5) : add(m, b, 10);

	m->known &= (u16)~BIT(reg);
	i->fix = FIX_ABS;
	i->fix_size = m->p->code32 ? 4 : 8;
	i->fix_at = (u8)(i->len - i->fix_size);
	i->target = target;
	return i;
}

static unsigned free_reg(struct maker *m)
{
	for (;;) {
		unsigned r = below(m, m->p->code32 ? 8 : 16);

		if (r != RSP && !(m->keep & BIT(r)))
			return r;
	}
}

/* JMP or CALL by a register or memory, or a RET to where a PUSH said. */
static void add_indirect(struct maker *m)
{
	unsigned reg = free_reg(m), kind = below(m, 5), at = m->p->nr;
	struct item *address = add_code_address(m, reg, at);
	u8 rex = reg & 8 ? 0x41 : 0, b[8];
	unsigned n = 0, mem = (u32)DATA_LOW + 8 * below(m, 1000) - m->p->seg[SEG_DS].base;

	if (kind < 2) { /* jmp reg, call reg */
		if (rex)
			b[n++] = rex;
		b[n++] = 0xff;
		b[n++] = (u8)((kind ? 0xd0 : 0xe0) | (reg & 7));
		add(m, b, n);
	} else if (kind == 2) { /* push reg; ret */
		if (rex)
			b[n++] = rex;
		b[n++] = (u8)(0x50 | (reg & 7));
		add(m, b, n);
		if (below(m, 2))
			add(m, "\xc3", 1);
		else
			add(m, "\xc2\x10\x00", 3);
	} else { /* mov [mem], reg; jmp or call [mem] */
		if (!m->p->code32)
			b[n++] = (u8)(0x48 | (reg & 8 ? 4 : 0));
		b[n++] = 0x89;
		b[n++] = (u8)(4 | (reg & 7) << 3);
		b[n++] = 0x25;
		memcpy(b + n, &mem, 4);
		add(m, b, n + 4);
		memcpy(b, kind == 3 ? "\xff\x24\x25" : "\xff\x14\x25", 3);
		memcpy(b + 3, &mem, 4);
		add(m, b, 7);
	}
	address = &m->p->item[at];
	address->target = m->p->nr + below(m, 3);
}

/* call 1; jmp 2; 1: body; ret; 2: */
static void add_call_and_return(struct maker *m)
{
	unsigned first = m->p->nr;

	add_rel(m, "\xe8", 1, 4, first + 2);
	add_rel(m, "\xe9", 1, 4, 0);
	for (unsigned n = below(m, 3); n > 0; n--)
		add_random(m);
	add(m, "\xc3", 1);
	m->p->item[first + 1].target = m->p->nr;
}

/* mov ecx, n; 1: body; loop 1 (or dec ecx; jnz 1) */
static void add_loop(struct maker *m)
{
	unsigned first;

	if (m->keep || m->nr_loops == ARRAY_SIZE(m->loop))
		return;
	m->loop[m->nr_loops].first = m->p->nr;
	add_mov(m, RCX, below(m, 30) ? 1 + below(m, 6) : 1 + below(m, 600));
	m->keep = BIT(RCX);
	m->known &= (u16)~BIT(RCX);
	first = m->p->nr;
	for (unsigned n = 1 + below(m, 5); n > 0; n--) {
		if (below(m, 8) == 0)
			add_jcc(m);
		else
			add_random(m);
	}
	m->keep = 0;
	for (unsigned n = first; n < m->p->nr; n++)
		if (m->p->item[n].fix == FIX_REL && m->p->item[n].target > m->p->nr)
			m->p->item[n].target = m->p->nr;
	if (below(m, 2)) {
		add_rel(m, "\x0f\x85", 2, 4, first);
		m->p->item[m->p->nr] = m->p->item[m->p->nr - 1];
		m->p->item[m->p->nr - 1] = (struct item){ .bytes = { 0xff, 0xc9 }, .len = 2, .row = 0xffff };
		m->p->nr++;
	} else if (m->p->nr - first < 7) {
		add_rel(m, "\xe2", 1, 1, first);
	}
	m->loop[m->nr_loops++].last = m->p->nr - 1;
}

/* push imm; popf: flags of any value */
static void add_popf(struct maker *m)
{
	u32 flags = (rnd(m) & (RFLAGS_ARITH | RFLAGS_DF)) | RFLAGS_IF;
	u8 b[5] = { 0x68 };

	memcpy(b + 1, &flags, 4);
	add(m, b, 5);
	add(m, "\x9d", 1);
}

static void add_flow(struct maker *m)
{
	static void (*const kinds[])(struct maker *m) = {
		add_jcc, add_jcc, add_jcc, add_jcc, add_jmp, add_loop_or_jcxz, add_indirect,
		add_call_and_return, add_loop, add_popf,
	};

	kinds[below(m, ARRAY_SIZE(kinds))](m);
}

/* ---- The start ---- */

/* Data segments with bases and limits here and there, most of them around the data. */
static void start_segments(struct maker *m)
{
	for (unsigned n = 0; n < NR_SEGS; n++) {
		struct segment *s = &m->p->seg[n];

		*s = (struct segment){ .limit = 0xffffffff };
		if (n == SEG_CS || !m->p->segmented || below(m, 3) == 0)
			continue;
		s->base = n == SEG_SS ? STACK - below(m, 0x3000) : DATA_LOW - below(m, 0x3000);
		if (below(m, 4) == 0)
			s->base = rnd(m);
		if (below(m, 2))
			s->limit = n == SEG_SS ? 0x4fff : 0x1000 + below(m, 0x6000);
		if (below(m, 10) == 0 && s->limit == 0xffffffff) {
			s->down = true;
			s->limit = 0x1000 + below(m, 0x100);
		}
		s->read_only = n != SEG_SS && !s->down && below(m, 12) == 0;
		s->null = n != SEG_SS && n != SEG_DS && below(m, 16) == 0;
		if (segment_in_pages(s))
			s->limit |= 0xfff;
		/* An offset that wraps around inside a page is not noticed: see QUIRKS. */
		if (s->limit == 0xffffffff)
			s->base &= (u32)PAGE_MASK;
	}
}

static void start_gprs(struct maker *m)
{
	struct regs *r = &m->p->start;

	for (unsigned n = 0; n < 16; n++) {
		unsigned k = below(m, 10);

		r->gpr[n] = k < 5 ? random_page(m, true, true) + below(m, PAGE_SIZE) :
			    k < 7 ? (u64)(s64)(s32)(below(m, 129) - 64) : interesting(m);
		if (m->p->code32)
			r->gpr[n] = n < 8 ? (u32)r->gpr[n] : 0;
	}
	if (m->p->code32)
		for (unsigned n = 0; n < 8; n++)
			if (r->gpr[n] > 0x40000000 && below(m, 2))
				r->gpr[n] = DATA_LOW + below(m, 3 * PAGE_SIZE);
	r->gpr[RSP] = (u32)(0 - m->p->seg[SEG_SS].base) + STACK + PAGE_SIZE - 512 + 8 * below(m, 128) + (below(m, 8) ? 0 : below(m, 8));
	if (below(m, 40) == 0 && !m->o->calm)
		r->gpr[RSP] = STACK + (below(m, 2) ? 16 : 2 * PAGE_SIZE - 16);
	if (m->p->code32)
		r->gpr[RSP] = (u32)r->gpr[RSP];
	m->known = 0xffff;
	memcpy(m->value, r->gpr, sizeof(m->value));
	r->fs_base = below(m, 2) ? DATA_LOW + below(m, 4096) : (u64)0 - below(m, 65536);
	r->gs_base = below(m, 2) ? 0 : DATA_HIGH - below(m, 4096);
	r->rflags = (rnd(m) & RFLAGS_ARITH) | RFLAGS_RSV1 | RFLAGS_IF | (below(m, 4) ? 0 : RFLAGS_DF);
	/* Whether vectors of 16 bytes are checked is the processor's choice. */
	if (!m->o->calm && m->profile < 2 && below(m, 20) == 0)
		r->rflags |= RFLAGS_AC;
}

static void start_x87(struct maker *m, u8 *x)
{
	static const u16 fcws[] = { 0x37f, 0x37f, 0x27f, 0x07f, 0xf7f, 0x77f, 0xb7f, 0x37e, 0x360 };
	u16 fcw = fcws[below(m, m->o->calm ? 7 : ARRAY_SIZE(fcws))];
	u16 fsw = (u16)(rnd(m) & 0x7f00);
	u8 ftw = below(m, 3) ? 0xff : (u8)rnd(m);

	if (below(m, 4) == 0)
		fsw &= 0x3800, ftw = 0;
	memcpy(x, &fcw, 2);
	memcpy(x + 2, &fsw, 2);
	x[4] = ftw;
	for (unsigned n = 0; n < 8; n++) {
		u64 mantissa = rnd64(m);
		u16 exponent = (u16)(16383 - 30 + below(m, 60)) | (rnd(m) & 0x8000);

		switch (below(m, 10)) {
		case 0:
			mantissa = interesting(m);
			exponent = (u16)rnd(m);
			break;
		case 1:
			mantissa = 0, exponent = 0;
			break;
		case 2:
			exponent = 0xffff;
			break;
		default:
			mantissa |= BIT(63);
		}
		memcpy(x + 32 + 16 * n, &mantissa, 8);
		memcpy(x + 40 + 16 * n, &exponent, 2);
	}
}

static void start_vectors(struct maker *m)
{
	u8 *x = m->p->start.xsave;
	u32 mxcsr = 0x1f80 | (rnd(m) & 0xe07f & (below(m, 2) ? 0x6000 : 0xe07f));

	memset(x, 0, sizeof(m->p->start.xsave));
	start_x87(m, x);
	if (!m->o->calm && below(m, 8) == 0)
		mxcsr = rnd(m) & 0xffc0; /* unmasked, nothing pending */
	memcpy(x + 24, &mxcsr, 4);
	for (unsigned n = 160; n < 416; n += 8) {
		u64 v = interesting(m);

		memcpy(x + n, &v, 8);
	}
	x[512] = 7;
	for (unsigned n = 576; n < XSAVE_USED; n += 8) {
		u64 v = interesting(m);

		memcpy(x + n, &v, 8);
	}
	for (unsigned n = 0; n < IMAGE_SIZE; n += PAGE_SIZE)
		memcpy(m->p->image + n, pool + below(m, ARRAY_SIZE(pool) - 512), PAGE_SIZE);
}

static u64 choose_code(struct maker *m)
{
	u64 base = m->p->code32 || below(m, 3) ? CODE_LOW : CODE_HIGH;

	if (below(m, 4) == 0)
		return base + PAGE_SIZE - below(m, 120);
	return base + below(m, 2000);
}

/* No jump past the end, and none into a loop from outside: its count is unknown there. */
static void limit_targets(struct maker *m)
{
	struct program *p = m->p;

	for (unsigned n = 0; n < p->nr; n++) {
		unsigned *t = &p->item[n].target;

		if (*t > p->nr)
			*t = p->nr;
		for (unsigned k = m->nr_loops; k-- > 0;) {
			unsigned first = m->loop[k].first, last = m->loop[k].last;

			if (*t > first && *t <= last && (n < first || n > last))
				*t = first;
		}
	}
}

bool program_make(struct program *p, u64 seed, const struct program_options *o)
{
	struct maker m = { .p = p, .o = o, .seed = seed * 0x9e3779b97f4a7c15ull + 1 };
	unsigned want;

	rnd(&m);
	p->seed = seed;
	p->code32 = o->code32;
	p->nr = 0;
	p->code = choose_code(&m);
	m.profile = below(&m, 7);
	p->segmented = p->code32 && below(&m, 2);
	start_segments(&m);
	start_gprs(&m);
	start_vectors(&m);
	if (one_row(&m))
		return add_row(&m, (unsigned)o->row);
	want = 1 + below(&m, o->max_items);
	while (p->nr < want) {
		if (below(&m, 7) == 0)
			add_flow(&m);
		else
			add_random(&m);
		if (below(&m, 10) == 0)
			add_mov(&m, free_reg(&m), random_page(&m, true, true) + below(&m, PAGE_SIZE));
	}
	limit_targets(&m);
	return true;
}

/* ---- Assembling ---- */

void program_assemble(struct program *p, u8 *code)
{
	u64 base = program_code_base(p), at = p->code;

	memset(code, 0xcc, CODE_SIZE);
	for (unsigned n = 0; n < p->nr; n++) {
		p->at[n] = at;
		at += p->item[n].removed ? 0 : p->item[n].len;
	}
	p->at[p->nr] = at;
	for (unsigned n = 0; n < p->nr; n++) {
		struct item *i = &p->item[n];
		u64 v = 0, end = p->at[n] + i->len;

		if (i->removed)
			continue;
		if (i->fix == FIX_REL)
			v = p->at[i->target] - end;
		else if (i->fix == FIX_RIP)
			v = i->address - end;
		else if (i->fix == FIX_ABS)
			v = p->at[i->target];
		if (i->fix)
			memcpy(i->bytes + i->fix_at, &v, i->fix_size);
		memcpy(code + (p->at[n] - base), i->bytes, i->len);
	}
}

void program_print(const struct program *p)
{
	for (unsigned n = 0; n <= p->nr; n++) {
		const struct item *it = &p->item[n];
		char text[128] = "int3", hex[2 * INSN_MAX + 1] = "cc";
		struct insn i;

		if (n < p->nr && it->removed)
			continue;
		for (unsigned k = 0; n < p->nr && k < it->len; k++)
			snprintf(hex + 2 * k, 3, "%02x", it->bytes[k]);
		if (n < p->nr && insn_decode(it->bytes, it->len, p->at[n], mode_of(p), &i) == DECODE_OK)
			insn_format(&i, text, sizeof(text));
		printf("  %12llx  %-30s  %s\n", (unsigned long long)p->at[n], hex, text);
	}
}
