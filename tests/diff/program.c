// SPDX-License-Identifier: MIT
/*
 * Random programs. An instruction comes from insn_gen(); its memory operand is
 * then replaced by one that reaches a chosen address, by what is known of the
 * registers: most accesses succeed, some are unaligned, cross pages or fault.
 */
#include "maker.h"

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

u32 mk_random(struct maker *m)
{
	return insn_gen_random(&m->seed);
}

unsigned mk_below(struct maker *m, unsigned n)
{
	return mk_random(m) % n;
}

u64 mk_random64(struct maker *m)
{
	u64 high = mk_random(m);

	return high << 32 | mk_random(m);
}

static bool one_row(const struct maker *m)
{
	return m->o->row >= 0;
}

/* ---- Rows by kind ---- */

enum { CLASS_INT, CLASS_X87, CLASS_MMX, CLASS_SSE, CLASS_AVX, NR_CLASSES, CLASS_FLAGS = NR_CLASSES, CLASS_STACK };

static struct {
	u16 row[4096];
	unsigned nr;
} classes[NR_CLASSES + 2];

static const struct cpu_model *model;

/* Own translators that jump are in templates; helpers that need nothing but registers
 * and memory are taken along. */
static bool row_usable(unsigned row)
{
	/* Not the decimal ones: their undefined flags differ (tests/unit/engine/bcd_test.c). */
	static const char helpers[] = " maskmovq maskmovdqu gather enter pusha popa salc pushf "
				      "push_sreg mov_from_sreg rdfsbase rdgsbase popf bound arpl ldmxcsr ";
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

static bool row_flags(unsigned row)
{
	static const char names[] = " ADC SBB RCL RCR INC DEC CMP TEST ADD SUB NEG SHL LAHF SAHF CMC STC CLC "
				    "BT CMOVB CMOVO CMOVZ CMOVBE CMOVL CMOVP SETB SETO SETZ SETBE SETL SETP "
				    "MOV NOT LEA XADD CMPXCHG ADCX ADOX PUSHFQ PUSHFD POPFQ MOVZX ";
	char word[40];

	snprintf(word, sizeof(word), " %s ", insn_row_name(row));
	return strstr(names, word);
}

static u64 pool[16384];

static u64 interesting(struct maker *m)
{
	unsigned k = mk_below(m, 64);

	switch (mk_below(m, 10)) {
	case 0:
		return mk_below(m, 256);
	case 1:
		return (u64)0 - mk_below(m, 256);
	case 2:
		return BIT(k);
	case 3:
		return BIT(k) - 1;
	case 4:
		return (u64)0 - BIT(k);
	case 5: /* a double of a near exponent */
		return (mk_random64(m) & 0x800fffffffffffff) | (u64)(1013 + mk_below(m, 20)) << 52;
	case 6: { /* two floats */
		u64 exponents = (u64)(117 + mk_below(m, 20)) << 55 | (u64)(117 + mk_below(m, 20)) << 23;

		return (mk_random64(m) & 0x807fffff807fffff) | exponents;
	}
	case 7:
		return mk_random(m);
	case 8: /* NaN, infinities, denormals */
		return mk_below(m, 2) ? mk_random64(m) | 0x7ff0000000000000 : mk_random64(m) & 0x800fffffffffffff;
	default:
		return mk_random64(m);
	}
}

void program_init(const struct cpu_model *cpu)
{
	struct maker m = { .seed = 12345 };

	model = cpu;
	for (unsigned row = 0; row < insn_nr_rows(); row++) {
		if (!row_usable(row))
			continue;
		classes[row_class(row)].row[classes[row_class(row)].nr++] = (u16)row;
		if (row_class(row) == CLASS_INT && row_flags(row))
			classes[CLASS_FLAGS].row[classes[CLASS_FLAGS].nr++] = (u16)row;
		if (!strncmp(insn_row_name(row), "PUSH", 4) || !strncmp(insn_row_name(row), "POP", 3))
			classes[CLASS_STACK].row[classes[CLASS_STACK].nr++] = (u16)row;
	}
	for (unsigned n = 0; n < ARRAY_SIZE(pool); n++)
		pool[n] = interesting(&m);
}

bool program_row_testable(unsigned row, bool code32)
{
	const struct insn_row *r = &insn_rows[row];

	return row_usable(row) && !(r->rules & (code32 ? RULE_ONLY64 : RULE_NO64));
}

/* ---- Items ---- */

struct item *mk_item(struct maker *m, const void *bytes, unsigned len)
{
	struct program *p = m->p;
	struct item *i = &p->item[p->nr < MAX_ITEMS ? p->nr++ : MAX_ITEMS - 1];

	*i = (struct item){ .len = (u8)len, .row = 0xffff };
	memcpy(i->bytes, bytes, len);
	return i;
}

struct insn_mode mk_mode(const struct program *p)
{
	return (struct insn_mode){ .code64 = !p->code32, .code32 = p->code32 };
}

/* MOV reg, imm: the register is known from here on. */
struct item *mk_mov(struct maker *m, unsigned reg, u64 v)
{
	u8 b[10] = { 0x48 | (reg >> 3), 0xb8 | (reg & 7) };
	struct item *i;

	m->known |= (u16)BIT(reg);
	m->value[reg] = v;
	if (m->p->code32) {
		m->value[reg] = (u32)v;
		memcpy(b + 2, &v, 4);
		return mk_item(m, b + 1, 5);
	}
	if (reg < 8 && v == (u32)v && mk_below(m, 2)) {
		memcpy(b + 2, &v, 4);
		return mk_item(m, b + 1, 5);
	}
	memcpy(b + 2, &v, 8);
	i = mk_item(m, b, 10);
	return i;
}

/* ---- Addresses ---- */

u64 mk_page(struct maker *m, bool high, bool write)
{
	unsigned k = mk_below(m, high ? 7 : 5);

	if (k < 3)
		return DATA_LOW + k * PAGE_SIZE;
	if (k < 5)
		return write || mk_below(m, 3) ? STACK + (k - 3) * PAGE_SIZE : DATA_RO;
	return DATA_HIGH + (k - 5) * PAGE_SIZE;
}

/* An address for an access of @size bytes. */
static u64 choose_target(struct maker *m, unsigned size, bool write, bool align, bool high)
{
	static const u64 bounds[] = { DATA_LOW + PAGE_SIZE, DATA_LOW + 2 * PAGE_SIZE, STACK + PAGE_SIZE };
	static const u64 edges[] = { DATA_LOW, DATA_RO, DATA_RO + PAGE_SIZE, STACK,
				     STACK + 2 * PAGE_SIZE };
	unsigned k = mk_below(m, 100);
	u64 a;

	size = size ? size : 1;
	if (!m->o->calm && k < 3) {
		a = edges[mk_below(m, ARRAY_SIZE(edges))] - size - 8 + mk_below(m, 2 * size + 16);
		return align && mk_below(m, 2) ? a & ~(u64)(size - 1) : a;
	}
	if (k < 15 && size > 1 && !align)
		return bounds[mk_below(m, ARRAY_SIZE(bounds))] - 1 - mk_below(m, size - 1);
	a = mk_page(m, high, write) + mk_below(m, PAGE_SIZE - size + 1);
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
	unsigned r = mk_below(m, extended ? 16 : 8);

	for (unsigned n = 0; n < 16; n++, r = (r + 1) & (extended ? 15 : 7))
		if (m->known & BIT(r))
			return r;
	return REG_NONE;
}

static struct form choose_form(struct maker *m, const struct insn *i, bool extended)
{
	struct form f = { .base = REG_NONE, .index = REG_NONE, .scale = (u8)(1u << mk_below(m, 4)) };
	unsigned k = mk_below(m, 10);

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

		return m->seg[implied ? SEG_DS : seg].base;
	}
	return i->seg_override == SEG_FS ? m->p->start.fs_base :
	       i->seg_override == SEG_GS ? m->p->start.gs_base : 0;
}

/* Is [off, off + size) inside of the operand's segment? */
static bool within(const struct maker *m, const struct insn *i, u32 off, unsigned size)
{
	const struct segment *s = &m->seg[i->mem.seg];

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

	return insn_decode(b, len, 0, mk_mode(m->p), &i) == DECODE_OK && i.len == len &&
	       i.row == was->row;
}

/* The absolute address in MOV AL, moffs and its like. */
static bool aim_moffs(struct maker *m, const struct insn *i)
{
	u64 off = choose_target(m, i->mem.size, i->mem.written, false, i->addrsize == 8) -
		  segment_base(m, i);
	struct item *it = mk_item(m, i->bytes, i->len);

	memcpy(it->bytes + i->len - i->addrsize, &off, i->addrsize);
	it->row = i->row;
	return true;
}

static bool mk_aim(struct maker *m, const struct insn *i)
{
	unsigned at = modrm_at(i);
	u8 b[INSN_MAX];

	for (unsigned tries = 0; tries < 20; tries++) {
		bool high = mk_below(m, 3) == 0 && !m->p->code32;
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
		if (!within(m, i, (u32)(target - segment_base(m, i)), i->mem.size) && mk_below(m, 12))
			continue;
		len = rewrite(i, f, (s32)want, m->p->code32, b);
		if (!len || !same_insn(m, b, len, i))
			continue;
		it = mk_item(m, b, len);
		it->row = i->row;
		if (f.rip) {
			u64 near = m->p->code >= CODE_HIGH ? DATA_HIGH + mk_below(m, 2 * PAGE_SIZE - 64) : target;

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
	u64 a = mk_page(m, addrsize == 8, m->o->calm || mk_below(m, 8)) + mk_below(m, PAGE_SIZE);

	if (mk_below(m, 4) == 0)
		a = DATA_LOW + PAGE_SIZE * mk_below(m, m->o->calm ? 2 : 5) - 20 + mk_below(m, 40) +
		    (m->o->calm ? PAGE_SIZE : 0);
	return a;
}

static u64 string_count(struct maker *m)
{
	switch (mk_below(m, 6)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return mk_below(m, 600);
	default:
		return mk_below(m, 24);
	}
}

static void prepare_string(struct maker *m, const struct insn *i)
{
	if (mk_below(m, 10) == 0 && !m->o->calm)
		return;
	if (mk_below(m, 3))
		mk_mov(m, RDI, string_address(m, i->addrsize) - m->seg[SEG_ES].base);
	if (mk_below(m, 3))
		mk_mov(m, RSI, string_address(m, i->addrsize) - segment_base(m, i));
	if (mk_below(m, 4) == 0 && (m->known & BIT(RSI))) /* onto itself, nearly */
		mk_mov(m, RDI, m->value[RSI] + segment_base(m, i) - m->seg[SEG_ES].base + mk_below(m, 40) - 20);
	if (i->rep)
		mk_mov(m, RCX, string_count(m));
}

static void prepare(struct maker *m, const struct insn *i)
{
	if (m->keep && (is(i, " movs stos lods scas cmps ")))
		return;
	if (is(i, " movs stos lods scas cmps ")) {
		prepare_string(m, i);
	} else if (is(i, " xlat maskmovq maskmovdqu ")) {
		unsigned reg = is(i, " xlat ") ? RBX : RDI;

		mk_mov(m, reg, mk_page(m, i->addrsize == 8, true) + mk_below(m, PAGE_SIZE - 256) -
					segment_base(m, i));
	} else if (is(i, " leave enter ")) {
		mk_mov(m, RBP, 0 - (u64)m->seg[SEG_SS].base + STACK + PAGE_SIZE - 64 + 8 * mk_below(m, 16) + (mk_below(m, 8) ? 0 : mk_below(m, 8)));
	} else if (is(i, " bt_mem ") && i->op[1].reg != RSP) {
		mk_mov(m, i->op[1].reg, (u64)(s64)(s32)(mk_below(m, 4000) - 2000));
	} else if (!strcmp(insn_name(i), "DIV") || !strcmp(insn_name(i), "IDIV")) {
		if (mk_below(m, 4))
			mk_mov(m, RDX, mk_below(m, 4));
		if (!mk_below(m, 3))
			mk_mov(m, RAX, mk_below(m, 1000));
	}
}

/* ---- One instruction of a row ---- */

static void forget(struct maker *m, const struct insn *i)
{
	m->known &= (u16)~i->gpr_written;
	if (is(i, " push pop pushf popf enter leave pusha popa push_sreg ")) {
		/* Near enough. */
		if (is(i, " push pop pushf popf push_sreg ") && !(i->gpr_written & ~(u16)BIT(RSP)))
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
	bool stack = is(i, " push pop enter leave pushf popf pusha popa push_sreg ");

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
		return i->op[0].kind == OPND_GPR && i->op[0].reg == RSP && mk_below(m, 8);
	return !stack && (i->gpr_written & BIT(RSP)) && mk_below(m, 16);
}

bool mk_row(struct maker *m, unsigned row)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		u8 b[INSN_MAX];
		unsigned len;
		struct insn i;

		if (!insn_gen(row, mk_mode(m->p), &m->seed, b, &len))
			return false;
		if (insn_decode(b, len, 0, mk_mode(m->p), &i) != DECODE_OK)
			return false;
		if (unwanted(m, &i) && !(one_row(m) && tries > 5 && !m->p->code32))
			continue;
		prepare(m, &i);
		if (i.has_mem && !(i.rules & RULE_NOREAD) && !is(&i, " xlat maskmovq maskmovdqu ") &&
		    (m->o->calm || mk_below(m, 40))) {
			if (i.has_modrm ? !mk_aim(m, &i) : !aim_moffs(m, &i))
				continue;
		} else {
			struct item *it = mk_item(m, b, len);

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

static bool uses(const struct insn *i, unsigned reg)
{
	return reg != REG_NONE && (i->gpr_written & BIT(reg));
}

static bool add_near(struct maker *m, unsigned row, const struct near *g)
{
	struct form f = { .base = g->base, .index = g->index, .scale = g->scale };
	u8 b[INSN_MAX], to[INSN_MAX];
	s32 disp = (s32)mk_below(m, mk_below(m, 8) ? 96 : 400) - 48;
	unsigned len;
	struct insn i;

	if (!insn_gen(row, mk_mode(m->p), &m->seed, b, &len) ||
	    insn_decode(b, len, 0, mk_mode(m->p), &i) != DECODE_OK)
		return false;
	if (!i.has_mem || !i.has_modrm || i.mem.vsib || (i.rules & RULE_NOREAD) || unwanted(m, &i) ||
	    i.addrsize < 4 || ((uses(&i, g->base) || uses(&i, g->index)) && mk_below(m, 8)))
		return false;
	if (((g->base | (g->index == REG_NONE ? 0 : g->index)) & 8) && !can_extend(m, &i))
		return false;
	if (i.rules & RULE_ALIGN && mk_below(m, 16))
		disp -= (s32)((g->at + (u64)disp) & (i.mem.size - 1u));
	else if (mk_below(m, 2) && i.mem.size)
		disp -= (s32)((g->at + (u64)disp) % i.mem.size);
	prepare(m, &i);
	len = rewrite(&i, f, disp, m->p->code32, to);
	if (!len || !same_insn(m, to, len, &i))
		return false;
	mk_item(m, to, len)->row = i.row;
	forget(m, &i);
	return true;
}

static unsigned choose_class(struct maker *m)
{
	static const u8 weights[][NR_CLASSES] = {
		{ 100, 0, 0, 0, 0 }, { 100, 0, 0, 0, 0 }, { 60, 10, 5, 12, 13 }, { 30, 70, 0, 0, 0 },
		{ 20, 20, 60, 0, 0 }, { 20, 0, 0, 70, 10 }, { 20, 0, 0, 10, 70 },
	};
	const u8 *w = weights[m->profile % ARRAY_SIZE(weights)];
	unsigned k = mk_below(m, 100), n = 0;

	while (n < NR_CLASSES - 1 && k >= w[n])
		k -= w[n++];
	return n;
}

void mk_insn(struct maker *m)
{
	unsigned k = choose_class(m);

	mk_row(m, classes[k].row[mk_below(m, classes[k].nr)]);
}

void mk_near(struct maker *m, const struct near *g)
{
	for (unsigned tries = 0; tries < 30; tries++) {
		unsigned k = mk_below(m, 3) ? CLASS_INT : choose_class(m);

		if (add_near(m, classes[k].row[mk_below(m, classes[k].nr)], g))
			return;
	}
}

void mk_flags(struct maker *m)
{
	mk_row(m, classes[CLASS_FLAGS].row[mk_below(m, classes[CLASS_FLAGS].nr)]);
}

void mk_stack(struct maker *m)
{
	mk_row(m, classes[CLASS_STACK].row[mk_below(m, classes[CLASS_STACK].nr)]);
}

unsigned mk_free_reg(struct maker *m)
{
	for (;;) {
		unsigned r = mk_below(m, m->p->code32 ? 8 : 16);

		if (r != RSP && !(m->keep & BIT(r)))
			return r;
	}
}

/* ---- The start ---- */

/* Data segments with bases and limits here and there, most of them around the data. */
static void start_segments(struct maker *m)
{
	for (unsigned n = 0; n < NR_SEGS; n++) {
		struct segment *s = &m->p->seg[n];

		*s = (struct segment){ .limit = 0xffffffff };
		if (n == SEG_CS || !m->p->segmented || mk_below(m, 3) == 0)
			continue;
		s->base = n == SEG_SS ? STACK - mk_below(m, 0x3000) : DATA_LOW - mk_below(m, 0x3000);
		if (mk_below(m, 4) == 0)
			s->base = mk_random(m);
		if (mk_below(m, 2))
			s->limit = n == SEG_SS ? 0x4fff : 0x1000 + mk_below(m, 0x6000);
		if (mk_below(m, 10) == 0 && s->limit == 0xffffffff) {
			s->down = true;
			s->limit = 0x1000 + mk_below(m, 0x100);
		}
		s->read_only = n != SEG_SS && !s->down && mk_below(m, 12) == 0;
		s->null = n != SEG_SS && n != SEG_DS && mk_below(m, 16) == 0;
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
		unsigned k = mk_below(m, 10);

		r->gpr[n] = k < 5 ? mk_page(m, true, true) + mk_below(m, PAGE_SIZE) :
			    k < 7 ? (u64)(s64)(s32)(mk_below(m, 129) - 64) : interesting(m);
		if (m->p->code32)
			r->gpr[n] = n < 8 ? (u32)r->gpr[n] : 0;
	}
	if (m->p->code32)
		for (unsigned n = 0; n < 8; n++)
			if (r->gpr[n] > 0x40000000 && mk_below(m, 2))
				r->gpr[n] = DATA_LOW + mk_below(m, 3 * PAGE_SIZE);
	r->gpr[RSP] = (u32)(0 - m->p->seg[SEG_SS].base) + STACK + PAGE_SIZE - 512 + 8 * mk_below(m, 128) + (mk_below(m, 8) ? 0 : mk_below(m, 8));
	if (mk_below(m, 40) == 0 && !m->o->calm)
		r->gpr[RSP] = STACK + (mk_below(m, 2) ? 16 : 2 * PAGE_SIZE - 16);
	if (m->p->code32)
		r->gpr[RSP] = (u32)r->gpr[RSP];
	m->known = 0xffff;
	memcpy(m->value, r->gpr, sizeof(m->value));
	r->fs_base = mk_below(m, 2) ? DATA_LOW + mk_below(m, 4096) : (u64)0 - mk_below(m, 65536);
	r->gs_base = mk_below(m, 2) ? 0 : DATA_HIGH - mk_below(m, 4096);
	r->rflags = (mk_random(m) & RFLAGS_ARITH) | RFLAGS_RSV1 | RFLAGS_IF | (mk_below(m, 4) ? 0 : RFLAGS_DF);
	/* Whether vectors of 16 bytes are checked is the processor's choice. */
	if (!m->o->calm && m->profile < 2 && mk_below(m, 20) == 0)
		r->rflags |= RFLAGS_AC;
}

static void start_x87(struct maker *m, u8 *x)
{
	static const u16 fcws[] = { 0x37f, 0x37f, 0x27f, 0x07f, 0xf7f, 0x77f, 0xb7f, 0x37e, 0x360 };
	u16 fcw = fcws[mk_below(m, m->o->calm ? 7 : ARRAY_SIZE(fcws))];
	u16 fsw = (u16)(mk_random(m) & 0x7f00);
	u8 ftw = mk_below(m, 3) ? 0xff : (u8)mk_random(m);

	if (mk_below(m, 4) == 0)
		fsw &= 0x3800, ftw = 0;
	memcpy(x, &fcw, 2);
	memcpy(x + 2, &fsw, 2);
	x[4] = ftw;
	for (unsigned n = 0; n < 8; n++) {
		u64 mantissa = mk_random64(m);
		u16 exponent = (u16)(16383 - 30 + mk_below(m, 60)) | (mk_random(m) & 0x8000);

		switch (mk_below(m, 10)) {
		case 0:
			mantissa = interesting(m);
			exponent = (u16)mk_random(m);
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
	u32 mxcsr = 0x1f80 | (mk_random(m) & 0xe07f & (mk_below(m, 2) ? 0x6000 : 0xe07f));

	memset(x, 0, sizeof(m->p->start.xsave));
	start_x87(m, x);
	if (!m->o->calm && mk_below(m, 8) == 0)
		mxcsr = mk_random(m) & 0xffc0; /* unmasked, nothing pending */
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
		memcpy(m->p->image + n, pool + mk_below(m, ARRAY_SIZE(pool) - 512), PAGE_SIZE);
}

static u64 choose_code(struct maker *m)
{
	u64 base = m->p->code32 || mk_below(m, 3) ? CODE_LOW : CODE_HIGH;

	if (mk_below(m, 4) == 0)
		return base + PAGE_SIZE - mk_below(m, 120);
	if (mk_below(m, 24) == 0 && !m->o->calm) /* the rest does not fit */
		return base + CODE_SIZE - 1 - mk_below(m, 60);
	return base + mk_below(m, 2000);
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

	mk_random(&m);
	p->seed = seed;
	p->code32 = o->code32;
	p->nr = 0;
	p->code = choose_code(&m);
	m.profile = mk_below(&m, 7);
	p->writable = mk_below(&m, 2);
	p->segmented = p->code32 && mk_below(&m, 2);
	start_segments(&m);
	memcpy(m.seg, p->seg, sizeof(m.seg));
	start_gprs(&m);
	start_vectors(&m);
	if (one_row(&m))
		return mk_row(&m, (unsigned)o->row);
	want = 1 + mk_below(&m, mk_below(&m, 8) ? o->max_items : MIN(2 * o->max_items, MAX_ITEMS - 8u));
	while (p->nr < want) {
		if (mk_below(&m, 5) == 0)
			mk_shape(&m);
		else
			mk_insn(&m);
		if (mk_below(&m, 10) == 0)
			mk_mov(&m, mk_free_reg(&m), mk_page(&m, true, true) + mk_below(&m, PAGE_SIZE));
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
		else if (i->fix == FIX_CODE)
			v = p->at[i->target] + i->address - (p->code32 ? p->seg[SEG_DS].base : end);
		if (i->fix)
			memcpy(i->bytes + i->fix_at, &v, i->fix_size);
		if (p->at[n] < base + CODE_SIZE)
			memcpy(code + (p->at[n] - base), i->bytes, MIN(i->len, base + CODE_SIZE - p->at[n]));
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
		if (n < p->nr && insn_decode(it->bytes, it->len, p->at[n], mk_mode(p), &i) == DECODE_OK)
			insn_format(&i, text, sizeof(text));
		printf("  %12llx  %-30s  %s\n", (unsigned long long)p->at[n], hex, text);
	}
}
