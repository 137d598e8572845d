// SPDX-License-Identifier: MIT
/*
 * A decoded instruction as text, Intel syntax: for traces and dumps.
 */
#include "engine/insn_table.h"

/* A bounded output; no libc here. */
struct text {
	char *at, *end;
};

static void put_char(struct text *t, char ch)
{
	if (t->at + 1 < t->end)
		*t->at++ = ch;
}

static void put(struct text *t, const char *s)
{
	while (*s)
		put_char(t, *s++);
}

static void put_lower(struct text *t, const char *s)
{
	for (; *s; s++)
		put_char(t, *s >= 'A' && *s <= 'Z' ? *s | 0x20 : *s);
}

static void put_number(struct text *t, u64 v)
{
	char digits[20], *d = digits + sizeof(digits);

	*--d = 0;
	do {
		*--d = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v);
	put(t, "0x");
	put(t, d);
}

static void put_decimal(struct text *t, unsigned v)
{
	if (v >= 10)
		put_decimal(t, v / 10);
	put_char(t, '0' + v % 10);
}

static void put_numbered(struct text *t, const char *prefix, unsigned n)
{
	put(t, prefix);
	put_decimal(t, n);
}

static const char gpr_names[8][4] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
static const char byte_names[8][4] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };
static const char high_names[4][4] = { "ah", "ch", "dh", "bh" };
static const char seg_names[8][4] = { "es", "cs", "ss", "ds", "fs", "gs", "?", "?" };

static void put_gpr(struct text *t, unsigned reg, unsigned size)
{
	if (reg >= 8) {
		put_numbered(t, "r", reg);
		put(t, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
	} else if (size == 1) {
		put(t, byte_names[reg]);
	} else {
		put(t, size == 8 ? "r" : size == 4 ? "e" : "");
		put(t, gpr_names[reg]);
	}
}

static void put_vec(struct text *t, unsigned reg, unsigned size)
{
	put_numbered(t, size == 64 ? "zmm" : size == 32 ? "ymm" : "xmm", reg);
}

static u64 truncated(u64 v, unsigned size)
{
	return size >= 8 ? v : v & (BIT(8 * size) - 1);
}

static void put_displacement(struct text *t, const struct insn *i, bool first)
{
	s64 disp = i->mem.disp;

	if (i->mem.rip_relative) {
		put_number(t, insn_next(i) + disp);
	} else if (first) {
		put_number(t, truncated(disp, i->addrsize));
	} else if (disp < 0) {
		put(t, "-");
		put_number(t, -(u64)disp);
	} else if (disp) {
		put(t, "+");
		put_number(t, disp);
	}
}

static void put_mem(struct text *t, const struct insn *i)
{
	bool first = true;

	if (i->seg_override != REG_NONE) {
		put(t, seg_names[i->mem.seg]);
		put(t, ":");
	}
	put(t, "[");
	if (i->mem.base != REG_NONE) {
		put_gpr(t, i->mem.base, i->addrsize);
		first = false;
	}
	if (i->mem.index != REG_NONE) {
		if (!first)
			put(t, "+");
		if (i->mem.vsib)
			put_vec(t, i->mem.index, i->vl);
		else
			put_gpr(t, i->mem.index, i->addrsize);
		if (i->mem.scale > 1)
			put_numbered(t, "*", i->mem.scale);
		first = false;
	}
	put_displacement(t, i, first);
	put(t, "]");
}

static void put_size(struct text *t, unsigned size)
{
	static const char *const names[] = { [1] = "byte ", [2] = "word ", [4] = "dword ",
					     [8] = "qword ", [10] = "tbyte ", [16] = "xmmword ",
					     [32] = "ymmword ", [64] = "zmmword " };

	if (size < ARRAY_SIZE(names) && names[size])
		put(t, names[size]);
}

static void put_string(struct text *t, const struct insn *i, const struct operand *o)
{
	put_size(t, o->size);
	put(t, seg_names[o->kind == OPND_DI ? SEG_ES : i->mem.seg]);
	put(t, ":[");
	put_gpr(t, o->kind == OPND_DI ? RDI : RSI, i->addrsize);
	put(t, "]");
}

static void put_imm(struct text *t, const struct insn *i, unsigned n)
{
	bool second = n && i->op[n - 1].kind == OPND_IMM;

	put_number(t, second ? i->imm2 : truncated(i->imm, i->op[n].size == 1 ? 1 : i->op[0].size));
}

static void put_rel(struct text *t, const struct insn *i)
{
	put_number(t, truncated(insn_next(i) + i->imm, i->opsize));
}

static void put_far(struct text *t, const struct insn *i)
{
	put_number(t, i->imm2);
	put(t, ":");
	put_number(t, i->imm);
}

static void put_operand(struct text *t, const struct insn *i, unsigned n)
{
	const struct operand *o = &i->op[n];

	switch (o->kind) {
	case OPND_GPR: put_gpr(t, o->reg, o->size); break;
	case OPND_GPR8H: put(t, high_names[o->reg & 3]); break;
	case OPND_MEM:
		put_size(t, i->mem.size);
		put_mem(t, i);
		break;
	case OPND_IMM: put_imm(t, i, n); break;
	case OPND_REL: put_rel(t, i); break;
	case OPND_FAR: put_far(t, i); break;
	case OPND_VEC: put_vec(t, o->reg, o->size); break;
	case OPND_MMX: put_numbered(t, "mm", o->reg); break;
	case OPND_ST: put_numbered(t, "st", o->reg); break;
	case OPND_K: put_numbered(t, "k", o->reg); break;
	case OPND_SEG: put(t, seg_names[o->reg & 7]); break;
	case OPND_CR: put_numbered(t, "cr", o->reg); break;
	case OPND_DR: put_numbered(t, "dr", o->reg); break;
	case OPND_SI:
	case OPND_DI: put_string(t, i, o); break;
	}
}

static void put_mask(struct text *t, const struct insn *i)
{
	if (i->enc != ENC_EVEX || !i->evex_aaa)
		return;
	put_numbered(t, " {k", i->evex_aaa);
	put(t, i->evex_z ? "} {z}" : "}");
}

static void put_prefixes(struct text *t, const struct insn *i)
{
	if (i->lock)
		put(t, "lock ");
	if (i->rep)
		put(t, i->rep == 0xf2 ? "repne " : i->flags_read & FLAG_ZF ? "repe " : "rep ");
}

void insn_format(const struct insn *i, char *buf, size_t size)
{
	struct text t = { buf, buf + size };

	if (!size)
		return;
	put_prefixes(&t, i);
	put_lower(&t, insn_name(i));
	for (unsigned n = 0; n < i->nr_ops; n++) {
		put(&t, n ? ", " : " ");
		put_operand(&t, i, n);
		if (n == 0)
			put_mask(&t, i);
	}
	*t.at = 0;
}
