// SPDX-License-Identifier: MIT
/*
 * Random encodings of a row: prefixes, opcode and ModRM are composed so that the
 * row's key matches, the rest is random, and the decoder has the last word.
 */
#include "insn_gen.h"

#include <string.h>

#include "engine/insn_table.h"

enum { TRIES = 64 };

u32 insn_gen_random(u64 *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (*seed >> 32) ^ (*seed >> 51);
}

struct gen {
	const struct insn_row *row;
	u32 mask, value; /* of the row's key */
	struct insn_mode mode;
	u64 *seed;
	u8 *out;
	unsigned len;
};

static bool one_in(struct gen *g, unsigned n)
{
	return insn_gen_random(g->seed) % n == 0;
}

static void put(struct gen *g, u8 byte)
{
	if (g->len < INSN_MAX)
		g->out[g->len++] = byte;
}

/* The key's bits from @at as the row wants them, random where it does not care. */
static unsigned key_bits(struct gen *g, unsigned at, unsigned width)
{
	unsigned all = (1u << width) - 1;
	unsigned mask = g->mask >> at & all, value = g->value >> at & all;

	return value | (insn_gen_random(g->seed) & all & ~mask);
}

static bool key_fixes(const struct gen *g, unsigned at)
{
	return g->mask >> at & 1;
}

/* ---- Legacy prefixes ---- */

static void put_segment(struct gen *g)
{
	static const u8 segments[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };

	if (one_in(g, 8))
		put(g, segments[insn_gen_random(g->seed) % ARRAY_SIZE(segments)]);
}

/* 67 where the row wants another address size, and now and then. */
static void put_address_size(struct gen *g)
{
	unsigned natural = g->mode.code64 ? 2 : g->mode.code32;
	bool fixed = key_fixes(g, KEY_ADDRSIZE);

	if (fixed ? key_bits(g, KEY_ADDRSIZE, 2) != natural : one_in(g, 8))
		put(g, 0x67);
}

static bool wants_p66(struct gen *g)
{
	bool def32 = g->mode.code64 || g->mode.code32;

	if (key_fixes(g, KEY_OPSIZE))
		return key_bits(g, KEY_OPSIZE, 2) != 2 && key_bits(g, KEY_OPSIZE, 2) != def32;
	return one_in(g, 4);
}

static void put_mandatory(struct gen *g)
{
	static const u8 bytes[] = { 0, 0x66, 0xf3, 0xf2 };
	bool fixed = key_fixes(g, KEY_PP) && key_fixes(g, KEY_PP + 1);
	unsigned pp = fixed ? key_bits(g, KEY_PP, 2) : PP_NONE;

	if (pp != PP_66 && !(fixed && pp == PP_NONE) && wants_p66(g))
		put(g, 0x66);
	if (pp)
		put(g, bytes[pp]);
	else if ((g->row->rules & RULE_REP) && one_in(g, 2))
		put(g, one_in(g, 2) ? 0xf2 : 0xf3);
}

static void put_lock(struct gen *g, u8 modrm)
{
	if ((g->row->rules & RULE_LOCKABLE) && modrm < 0xc0 && one_in(g, 4))
		put(g, 0xf0);
}

static void put_rex(struct gen *g)
{
	u8 rex = 0x40 | (insn_gen_random(g->seed) & 15);

	if (!g->mode.code64)
		return;
	if (key_fixes(g, KEY_W))
		rex = (rex & ~8) | key_bits(g, KEY_W, 1) << 3;
	if (key_fixes(g, KEY_OPSIZE))
		rex = (rex & ~8) | (key_bits(g, KEY_OPSIZE, 2) == 2 ? 8 : 0);
	if (key_fixes(g, KEY_REXB))
		rex = (rex & ~1) | key_bits(g, KEY_REXB, 1);
	if ((rex & 8) || one_in(g, 2))
		put(g, rex);
}

static void put_legacy(struct gen *g, u8 modrm)
{
	put_segment(g);
	put_address_size(g);
	put_lock(g, modrm);
	put_mandatory(g);
	put_rex(g);
	if (g->row->map != TM_1B)
		put(g, 0x0f);
	if (g->row->map == TM_38 || g->row->map == TM_3A)
		put(g, g->row->map == TM_38 ? 0x38 : 0x3a);
}

/* ---- VEX and EVEX ---- */

static bool uses_vvvv(const struct insn_row *row)
{
	for (unsigned n = 0; n < NR_OPERANDS; n++) {
		u8 place = opnd_specs[row->op[n]].place;

		if (place == PL_B || place == PL_H || place == PL_KV)
			return true;
	}
	return false;
}

/* R X B, un-inverted; only what the mode can encode. */
static u8 random_rxb(struct gen *g)
{
	return g->mode.code64 ? insn_gen_random(g->seed) & 7 : 0;
}

static u8 random_vvvv(struct gen *g)
{
	if (!uses_vvvv(g->row))
		return 0;
	return insn_gen_random(g->seed) & (g->mode.code64 ? 15 : 7);
}

static void put_vex(struct gen *g, unsigned map)
{
	u8 rxb = random_rxb(g), w = key_bits(g, KEY_W, 1), pp = key_bits(g, KEY_PP, 2);
	u8 l = key_bits(g, KEY_L, 2) & 1, low = (~random_vvvv(g) & 15) << 3 | l << 2 | pp;

	if (map == 1 && !(rxb & 3) && !w && one_in(g, 2)) {
		put(g, 0xc5);
		put(g, (~rxb & 4) << 5 | low);
		return;
	}
	put(g, 0xc4);
	put(g, (~rxb & 7) << 5 | map);
	put(g, w << 7 | low);
}

static void put_evex(struct gen *g, unsigned map)
{
	u8 rxb = random_rxb(g), w = key_bits(g, KEY_W, 1), pp = key_bits(g, KEY_PP, 2);
	bool high = g->mode.code64;
	u8 r2 = high && one_in(g, 2), v2 = high && uses_vvvv(g->row) && one_in(g, 2);
	u8 aaa = (g->row->attr & ATTR_K) ? insn_gen_random(g->seed) & 7 : 0;
	u8 z = aaa && (g->row->attr & ATTR_Z) && one_in(g, 2);
	u8 b = key_fixes(g, KEY_EVEXB) ? key_bits(g, KEY_EVEXB, 1) : one_in(g, 4);

	put(g, 0x62);
	put(g, (~rxb & 7) << 5 | !r2 << 4 | map);
	put(g, w << 7 | (~random_vvvv(g) & 15) << 3 | 4 | pp);
	put(g, z << 7 | key_bits(g, KEY_L, 2) << 5 | b << 4 | !v2 << 3 | aaa);
}

static void put_prefixes(struct gen *g, u8 modrm)
{
	u8 map = g->row->map;

	if (map < TM_V0F) {
		put_legacy(g, modrm);
		return;
	}
	put_segment(g);
	put_address_size(g);
	if (map < TM_E0F)
		put_vex(g, map - TM_V0F + 1);
	else
		put_evex(g, map - TM_E0F + 1);
}

/* ---- ModRM and the rest ---- */

static u8 random_modrm(struct gen *g)
{
	u8 modrm = key_bits(g, KEY_MODRM, 8);

	if (!key_fixes(g, KEY_MOD3))
		return modrm;
	if (key_bits(g, KEY_MOD3, 1))
		return modrm | 0xc0;
	return modrm >= 0xc0 ? modrm & 0x3f : modrm;
}

static void compose(struct gen *g)
{
	u8 modrm = random_modrm(g);
	bool has_modrm = insn_slots[g->row->map][g->row->opcode].has_modrm;

	g->len = 0;
	put_prefixes(g, has_modrm ? modrm : 0xff);
	put(g, g->row->opcode);
	if (has_modrm)
		put(g, modrm);
	while (g->len < INSN_MAX)
		put(g, insn_gen_random(g->seed));
}

static const struct insn_key *key_of(unsigned row)
{
	for (unsigned n = 0; n < insn_nr_rows(); n++)
		if (insn_plans[n].row == row)
			return &insn_keys[n];
	return NULL;
}

bool insn_gen(unsigned row, struct insn_mode mode, u64 *seed, u8 out[INSN_MAX], unsigned *len)
{
	const struct insn_key *k = key_of(row);
	struct gen g = { .row = &insn_rows[row], .mask = k->mask, .value = k->value, .mode = mode,
			 .seed = seed, .out = out };

	for (unsigned n = 0; n < TRIES; n++) {
		struct insn i;

		compose(&g);
		if (insn_decode(out, INSN_MAX, 0, mode, &i) == DECODE_OK && i.row == row) {
			*len = i.len;
			return true;
		}
	}
	return false;
}

/* ---- Undefined flags ---- */

static const struct {
	const char *names;
	u16 flags;
} undefined_flags[] = {
	{ " AND OR XOR TEST ", FLAG_AF },
	{ " MUL IMUL ", FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF },
	{ " DIV IDIV ", FLAGS_ARITH },
	{ " ROL ROR RCL RCR ", FLAG_OF },
	{ " SHL SHR SAR ", FLAG_OF | FLAG_AF | FLAG_CF },
	{ " SHLD SHRD ", FLAG_OF | FLAG_AF },
	{ " BT BTS BTR BTC ", FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ " BSF BSR ", FLAGS_ARITH & ~FLAG_ZF },
	{ " TZCNT LZCNT ", FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ " ANDN BLSR BLSMSK BLSI BZHI ", FLAG_AF | FLAG_PF },
	{ " BEXTR ", FLAG_AF | FLAG_SF | FLAG_PF },
	{ " DAA DAS ", FLAG_OF },
	{ " AAA AAS ", FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_PF },
	{ " AAM AAD ", FLAG_OF | FLAG_AF | FLAG_CF },
};

/* Shifts by an immediate: CF is undefined above the operand's width, OF above 1. */
static u16 shift_undefined(const struct insn *i, u16 flags)
{
	const struct operand *count = &i->op[i->nr_ops - 1];
	unsigned n = i->imm & (i->op[0].size == 8 ? 63 : 31);

	if (count->kind != OPND_IMM)
		return flags;
	if (n <= 1)
		flags &= ~FLAG_OF;
	if (n <= 8u * i->op[0].size)
		flags &= ~FLAG_CF;
	else if (i->nr_ops == 3) /* SHLD: all */
		flags = FLAGS_ARITH;
	return n ? flags : 0;
}

u16 insn_gen_undefined_flags(const struct insn *i)
{
	char word[40] = " ";

	strncat(word, insn_name(i), 20);
	strcat(word, " ");
	for (unsigned n = 0; n < ARRAY_SIZE(undefined_flags); n++) {
		if (!strstr(undefined_flags[n].names, word))
			continue;
		if (i->rules & RULE_COUNT)
			return shift_undefined(i, undefined_flags[n].flags);
		return undefined_flags[n].flags;
	}
	return 0;
}
