// SPDX-License-Identifier: MIT
/*
 * The decoder's driver: from bytes to a row of insn.def and its operands.
 *
 * Theory of operation
 *
 * Prefixes and opcode give a table map and an opcode byte; the slot's rows are
 * tried in order against one key (insn_table.h). Then ModRM, displacement and
 * immediates are read, and last the checks that make #UD of bytes that have a
 * row: LOCK, VEX.vvvv, register numbers that do not exist. The order matters
 * only for the length: an instruction of more than 15 bytes is #GP(0) first.
 *
 * Compiled with -mgeneral-regs-only and free of calls into libc: it runs while
 * the guest's vector state is live.
 */
#include "engine/insn.h"

#include "cpu/model.h"
#include "engine/insn_table.h"

struct cursor {
	const u8 *bytes;
	unsigned pos, end;
	bool short_of; /* a read went past the end */
	struct insn_mode mode;
	struct insn *i;

	bool p66, p67, p_f2, p_f3;
	u8 nr_prefixes; /* legacy ones that VEX and EVEX forbid: 66, F2, F3, F0, REX */
	u8 table_map;
	u8 pp;		/* enum key_pp */
	u8 vvvv_raw;	/* as encoded, un-inverted: 0 is "unused" */
	bool evex_x, evex_r2, evex_v2; /* EVEX.X, R', V' un-inverted */
	const struct insn_row *row;
};

static u8 next_byte(struct cursor *c)
{
	if (c->pos < c->end)
		return c->bytes[c->pos++];
	c->short_of = true;
	return 0;
}

static u64 next_bytes(struct cursor *c, unsigned n)
{
	u64 v = 0;

	if (c->end - c->pos < n) {
		c->short_of = true;
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		v |= (u64)c->bytes[c->pos + i] << (8 * i);
	c->pos += n;
	return v;
}

static u64 sign_extend(u64 v, unsigned bytes)
{
	unsigned shift = 64 - 8 * bytes;

	return (u64)((s64)(v << shift) >> shift);
}

/* ---- Prefixes ---- */

enum { PC_NONE, PC_66, PC_67, PC_F2, PC_F3, PC_LOCK, PC_SEG, PC_FSGS, PC_REX };

static const u8 prefix_class[256] = {
	[0x66] = PC_66, [0x67] = PC_67, [0xf2] = PC_F2, [0xf3] = PC_F3, [0xf0] = PC_LOCK,
	[0x26] = PC_SEG, [0x2e] = PC_SEG, [0x36] = PC_SEG, [0x3e] = PC_SEG,
	[0x64] = PC_FSGS, [0x65] = PC_FSGS, [0x40 ... 0x4f] = PC_REX,
};

static void prefix_rep(struct cursor *c, u8 byte)
{
	c->i->rep = byte;
	c->pp = byte == 0xf2 ? PP_F2 : PP_F3; /* the last one wins, over 66 too */
}

static void prefix_segment(struct cursor *c, u8 byte)
{
	if (byte >= 0x64)
		c->i->seg_override = byte == 0x64 ? SEG_FS : SEG_GS;
	else if (!c->mode.code64) /* 64-bit mode ignores ES, CS, SS, DS */
		c->i->seg_override = (byte >> 3) & 3;
}

/* Takes one prefix; false when @byte is none. A REX counts only directly
 * before the opcode. */
static bool take_prefix(struct cursor *c, u8 byte)
{
	u8 class = prefix_class[byte];

	if (class == PC_NONE || (class == PC_REX && !c->mode.code64))
		return false;
	c->i->rex = class == PC_REX ? byte : 0;
	if (class == PC_66) {
		c->p66 = true;
		if (c->pp == PP_NONE)
			c->pp = PP_66;
	} else if (class == PC_67) {
		c->p67 = true;
	} else if (class == PC_F2 || class == PC_F3) {
		prefix_rep(c, byte);
	} else if (class == PC_LOCK) {
		c->i->lock = true;
	} else if (class != PC_REX) {
		prefix_segment(c, byte);
	}
	return true;
}

/* ---- Opcode maps, VEX, EVEX ---- */

static u8 map_by_number(enum insn_enc enc, unsigned n)
{
	static const u8 maps[3][4] = {
		[ENC_LEGACY] = { TM_1B, TM_0F, TM_38, TM_3A },
		[ENC_VEX] = { NR_TABLE_MAPS, TM_V0F, TM_V38, TM_V3A },
		[ENC_EVEX] = { NR_TABLE_MAPS, TM_E0F, TM_E38, TM_E3A },
	};

	return maps[enc][n];
}

static bool vex_forbids_prefixes(const struct cursor *c)
{
	return c->pp != PP_NONE || c->p66 || c->i->lock || c->i->rex;
}

static bool set_vex_map(struct cursor *c, enum insn_enc enc, unsigned n)
{
	if (n == 0 || n > 3 || vex_forbids_prefixes(c))
		return false;
	c->i->enc = enc;
	c->i->map = n;
	c->table_map = map_by_number(enc, n);
	return true;
}

/* C5: R vvvv L pp */
static bool take_vex2(struct cursor *c)
{
	u8 b = next_byte(c);

	if (!set_vex_map(c, ENC_VEX, MAP_0F))
		return false;
	c->pp = b & 3;
	c->i->rex = b & 0x80 ? 0 : 4;
	c->vvvv_raw = ~(b >> 3) & 15;
	c->i->evex_ll = (b >> 2) & 1;
	return true;
}

/* C4: R X B mmmmm, W vvvv L pp */
static bool take_vex3(struct cursor *c)
{
	u8 b1 = next_byte(c), b2 = next_byte(c);

	if (!set_vex_map(c, ENC_VEX, b1 & 31))
		return false;
	c->pp = b2 & 3;
	c->i->rex = (~b1 >> 5) & 7;
	c->i->w = b2 >> 7;
	c->vvvv_raw = ~(b2 >> 3) & 15;
	c->i->evex_ll = (b2 >> 2) & 1;
	return true;
}

/* 62: R X B R' 0 mmm, W vvvv 1 pp, z L'L b V' aaa */
static bool take_evex(struct cursor *c)
{
	u8 b1 = next_byte(c), b2 = next_byte(c), b3 = next_byte(c);

	if ((b1 & 0x0c) || !(b2 & 4) || !set_vex_map(c, ENC_EVEX, b1 & 3))
		return false;
	c->pp = b2 & 3;
	c->i->rex = (~b1 >> 5) & 7;
	c->evex_x = !(b1 & 0x40);
	c->evex_r2 = !(b1 & 0x10);
	c->i->w = b2 >> 7;
	c->vvvv_raw = ~(b2 >> 3) & 15;
	c->i->evex_z = b3 >> 7;
	c->i->evex_ll = (b3 >> 5) & 3;
	c->i->evex_b = (b3 >> 4) & 1;
	c->evex_v2 = !(b3 & 8);
	c->i->evex_aaa = b3 & 7;
	return c->mode.code64 || !c->evex_v2;
}

/* Outside 64-bit mode C4, C5 and 62 are VEX and EVEX only where LES, LDS and
 * BOUND would have a register operand. */
static bool vex_here(const struct cursor *c)
{
	return c->mode.code64 || (c->pos < c->end && c->bytes[c->pos] >= 0xc0);
}

static void take_legacy_map(struct cursor *c, u8 byte)
{
	unsigned n = MAP_1B;

	if (byte == 0x0f) {
		byte = next_byte(c);
		n = MAP_0F;
		if (byte == 0x38 || byte == 0x3a) {
			n = byte == 0x38 ? MAP_0F38 : MAP_0F3A;
			byte = next_byte(c);
		}
	}
	c->i->map = n;
	c->i->opcode = byte;
	c->i->w = c->i->rex & 8;
	c->table_map = map_by_number(ENC_LEGACY, n);
}

static bool take_vex(struct cursor *c, u8 byte)
{
	bool ok = byte == 0xc5 ? take_vex2(c) : byte == 0xc4 ? take_vex3(c) : take_evex(c);

	if (!ok)
		return false;
	if (!c->mode.code64) { /* R and X are known to be 0, the others are ignored */
		c->i->rex = 0;
		c->evex_x = c->evex_r2 = false;
	}
	if (c->i->w)
		c->i->rex |= 8;
	c->i->rep = 0;
	c->i->opcode = next_byte(c);
	return true;
}

static bool take_opcode(struct cursor *c, u8 byte)
{
	if (unlikely(byte == 0xc4 || byte == 0xc5 || byte == 0x62)) {
		if (!c->mode.code64 && c->pos >= c->end)
			c->short_of = true;
		if (vex_here(c))
			return take_vex(c, byte);
	}
	take_legacy_map(c, byte);
	return true;
}

/* ---- The row ---- */

static unsigned key_length(const struct cursor *c)
{
	const struct insn *i = c->i;

	if (i->enc == ENC_EVEX && i->evex_b && i->modrm >= 0xc0)
		return 2; /* L'L is the rounding mode */
	return i->evex_ll;
}

static u32 row_key(const struct cursor *c)
{
	const struct insn *i = c->i;
	bool def32 = c->mode.code64 || c->mode.code32;
	unsigned opsize = i->w && c->mode.code64 ? 2 : def32 != c->p66;
	unsigned addrsize = __builtin_ctz(i->addrsize) - 1;

	return i->modrm << KEY_MODRM | (i->modrm >= 0xc0) << KEY_MOD3 | c->pp << KEY_PP |
	       i->w << KEY_W | key_length(c) << KEY_L | opsize << KEY_OPSIZE |
	       addrsize << KEY_ADDRSIZE | (i->rex & 1) << KEY_REXB |
	       c->mode.code64 << KEY_MODE64 | (i->evex_aaa != 0) << KEY_MASKED |
	       i->evex_b << KEY_EVEXB;
}

static const struct insn_match *find_row(const struct cursor *c, const struct insn_slot *slot)
{
	const struct insn_match *m = &insn_matches[slot->first];
	u32 key = row_key(c);

	for (unsigned n = slot->count; n; n--, m++)
		if ((key & m->mask) == m->value)
			return m;
	return NULL;
}

static u8 effective_opsize(const struct cursor *c, const struct insn_match *m)
{
	u32 rules = c->row->rules;
	bool p66_is_opcode = (m->mask >> KEY_PP & 3) == 3 && (m->value >> KEY_PP & 3) == PP_66;
	bool p66 = c->p66 && !p66_is_opcode;

	if (c->mode.code64) {
		if ((rules & RULE_F64) || c->i->w)
			return 8;
		return p66 ? 2 : rules & RULE_DEF64 ? 8 : 4;
	}
	return c->mode.code32 != p66 ? 4 : 2;
}

static u8 mandatory_prefix(const struct cursor *c, const struct insn_match *m)
{
	static const u8 bytes[] = { 0, 0x66, 0xf3, 0xf2 };

	if (c->i->enc == ENC_LEGACY && (m->mask >> KEY_PP & 3) != 3)
		return 0;
	return bytes[c->pp];
}

static void set_row(struct cursor *c, const struct insn_match *m)
{
	struct insn *i = c->i;
	const struct insn_row *row = &insn_rows[m->row];

	c->row = row;
	i->row = m->row;
	i->how = row->how;
	i->rules = row->rules;
	i->gate = row->gate;
	i->gate2 = (row->attr & ATTR_VL) && key_length(c) < 2 ? FEAT_AVX512VL : NR_FEATURES;
	i->mand = mandatory_prefix(c, m);
	i->opsize = effective_opsize(c, m);
	if (!(row->rules & RULE_REP))
		i->rep = 0;
	if (i->enc != ENC_LEGACY)
		i->vl = 16 << (key_length(c) & 3);
	i->flags_read = row->flags;
	i->flags_written = row->flags >> 16;
	i->gpr_read = row->impl;
	i->gpr_written = row->impl >> 16;
	if (i->opsize == 2 && i->how == HOW_NATIVE && i->map == MAP_1B)
		i->gpr_read |= i->gpr_written; /* MUL, CWD: half a register */
}

/* ---- ModRM ---- */

static void take_modrm16(struct cursor *c)
{
	static const u8 base[8] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
	static const u8 index[8] = { RSI, RDI, RSI, RDI, REG_NONE, REG_NONE, REG_NONE, REG_NONE };
	struct insn *i = c->i;
	unsigned mod = i->modrm >> 6, rm = i->modrm & 7;

	i->mem.base = base[rm];
	i->mem.index = index[rm];
	if (mod == 0 && rm == 6) {
		i->mem.base = REG_NONE;
		i->mem.disp = sign_extend(next_bytes(c, 2), 2);
	} else if (mod) {
		i->mem.disp = sign_extend(next_bytes(c, mod), mod);
	}
}

static bool operand_is_vsib(const struct cursor *c, unsigned n)
{
	u8 place = opnd_specs[c->row->op[n]].place;

	return place >= PL_VSIBX && place <= PL_VSIBD;
}

static bool row_is_vsib(const struct cursor *c)
{
	return operand_is_vsib(c, 0) || operand_is_vsib(c, 1);
}

/* Returns the base's three bits. */
static unsigned take_sib(struct cursor *c)
{
	struct insn *i = c->i;
	u8 sib = next_byte(c);
	unsigned index = (sib >> 3 & 7) | (i->rex & 2) << 2;

	i->mem.scale = 1 << (sib >> 6);
	if (row_is_vsib(c)) {
		i->mem.vsib = true;
		i->mem.index = index | c->evex_v2 << 4;
	} else if (index != 4) {
		i->mem.index = index;
	}
	return sib & 7;
}

static void take_modrm32(struct cursor *c)
{
	struct insn *i = c->i;
	unsigned mod = i->modrm >> 6, base = i->modrm & 7;
	bool sib = base == 4;

	if (sib)
		base = take_sib(c);
	i->mem.base = base | (i->rex & 1) << 3;
	if (mod == 0 && base == 5) {
		i->mem.base = REG_NONE;
		i->mem.rip_relative = c->mode.code64 && !sib;
		mod = 2;
	}
	if (mod == 1)
		i->mem.disp = sign_extend(next_byte(c), 1);
	else if (mod == 2)
		i->mem.disp = sign_extend(next_bytes(c, 4), 4);
}

static u8 effective_segment(const struct insn *i)
{
	if (i->seg_override != REG_NONE)
		return i->seg_override;
	return i->mem.base == RSP || i->mem.base == RBP ? SEG_SS : SEG_DS;
}

static bool modrm_is_register(const struct cursor *c)
{
	return c->i->modrm >= 0xc0 || opnd_specs[c->row->op[0]].place == PL_RR ||
	       opnd_specs[c->row->op[1]].place == PL_RR;
}

static void take_modrm(struct cursor *c)
{
	struct insn *i = c->i;

	i->reg = (i->modrm >> 3 & 7) | (i->rex & 4) << 1 | c->evex_r2 << 4;
	i->rm = (i->modrm & 7) | (i->rex & 1) << 3;
	if (modrm_is_register(c))
		return;
	i->has_mem = true;
	if (i->addrsize == 2)
		take_modrm16(c);
	else
		take_modrm32(c);
	i->mem.seg = effective_segment(i);
	if (i->mem.base != REG_NONE)
		i->gpr_read |= 1 << i->mem.base;
	if (i->mem.index != REG_NONE && !i->mem.vsib)
		i->gpr_read |= 1 << i->mem.index;
}

/* ---- Operands ---- */

static unsigned size_in_bytes(const struct cursor *c, unsigned size)
{
	const struct insn *i = c->i;
	unsigned vl = i->enc == ENC_LEGACY ? 16 : i->vl;

	if (size < SZ_v)
		return size;
	switch (size) {
	case SZ_v: return i->opsize;
	case SZ_z: return MIN(i->opsize, 4);
	case SZ_y: return c->mode.code64 && i->w ? 8 : 4;
	case SZ_m: return c->mode.code64 ? 8 : 4;
	case SZ_x: return vl;
	case SZ_h: return vl / 2;
	case SZ_q: return vl / 4;
	case SZ_o: return vl / 8;
	case SZ_p: return i->opsize + 2;
	case SZ_s: return c->mode.code64 ? 10 : 6;
	case SZ_a: return i->addrsize;
	default: return 2 * i->opsize; /* SZ_ma */
	}
}

static void set_reg(struct operand *o, u8 kind, u8 slot, u8 reg)
{
	o->kind = kind;
	o->slot = slot;
	o->reg = reg;
}

static void set_gpr(struct cursor *c, struct operand *o, u8 slot, u8 reg)
{
	struct insn *i = c->i;
	u16 bit;

	set_reg(o, OPND_GPR, slot, reg);
	if (o->size == 1 && reg >= 4 && reg < 8 && !i->rex && i->enc == ENC_LEGACY && slot != SLOT_NONE)
		set_reg(o, OPND_GPR8H, slot, reg - 4);
	bit = 1 << o->reg;
	if (o->read || (o->written && o->size < 4))
		i->gpr_read |= bit;
	if (o->written)
		i->gpr_written |= bit;
}

static void set_mem(struct cursor *c, struct operand *o)
{
	struct insn *i = c->i;

	o->kind = OPND_MEM;
	o->slot = SLOT_RM;
	i->mem.read = o->read;
	i->mem.written = o->written;
	i->mem.size = o->read || o->written ? o->size : 0;
}

/* A register or memory by ModRM.rm. */
static void set_rm(struct cursor *c, struct operand *o, const struct opnd_spec *spec, u8 kind)
{
	struct insn *i = c->i;

	if (i->has_mem) {
		set_mem(c, o);
		return;
	}
	o->size = size_in_bytes(c, spec->rsize);
	if (kind == OPND_GPR)
		set_gpr(c, o, SLOT_RM, i->rm);
	else if (kind == OPND_VEC)
		set_reg(o, kind, SLOT_RM, i->rm | c->evex_x << 4);
	else
		set_reg(o, kind, SLOT_RM, i->rm & 7);
}

static void set_imm(struct cursor *c, struct operand *o, unsigned bytes)
{
	struct insn *i = c->i;
	u64 v = next_bytes(c, bytes);

	o->kind = OPND_IMM;
	if (i->imm_size)
		i->imm2 = v;
	else
		i->imm = v;
	i->imm_size += bytes;
}

/* Iz: sign-extended, it is a 64-bit operation's too. */
static void set_imm_z(struct cursor *c, struct operand *o)
{
	set_imm(c, o, o->size);
	if (o->size >= 2)
		c->i->imm = sign_extend(c->i->imm, o->size);
}

static void set_rel(struct cursor *c, struct operand *o)
{
	set_imm(c, o, o->size);
	o->kind = OPND_REL;
	c->i->imm = sign_extend(c->i->imm, o->size);
}

static void set_far(struct cursor *c, struct operand *o)
{
	set_imm(c, o, c->i->opsize);
	set_imm(c, o, 2);
	o->kind = OPND_FAR;
}

/* An absolute address in the instruction. */
static void set_moffs(struct cursor *c, struct operand *o)
{
	struct insn *i = c->i;

	i->has_mem = true;
	i->mem.disp = next_bytes(c, i->addrsize);
	i->mem.seg = effective_segment(i);
	set_mem(c, o);
	o->slot = SLOT_NONE;
}

static void set_string(struct cursor *c, struct operand *o, u8 kind)
{
	struct insn *i = c->i;

	o->kind = kind;
	if (kind == OPND_SI)
		i->mem.seg = effective_segment(i);
}

/* VEX's fourth register in an immediate's upper half. */
static void set_is4(struct cursor *c, struct operand *o)
{
	u8 reg = next_byte(c);

	c->i->imm = reg;
	c->i->imm_size = 1;
	set_reg(o, OPND_VEC, SLOT_IS4, reg >> 4 & (c->mode.code64 ? 15 : 7));
}

static void set_operand(struct cursor *c, unsigned n)
{
	struct insn *i = c->i;
	struct operand *o = &i->op[n];
	const struct opnd_spec *spec = &opnd_specs[c->row->op[n]];
	char acc = c->row->acc[n];

	o->read = acc == 'r' || acc == 'x';
	o->written = acc == 'w' || acc == 'x';
	o->size = size_in_bytes(c, spec->size);
	switch (spec->place) {
	case PL_E:
	case PL_R:
	case PL_RR: set_rm(c, o, spec, OPND_GPR); break;
	case PL_M:
	case PL_VSIBX:
	case PL_VSIBH:
	case PL_VSIBD: set_mem(c, o); break;
	case PL_G: set_gpr(c, o, SLOT_REG, i->reg & 15); break;
	case PL_B: set_gpr(c, o, SLOT_VVVV, i->vvvv); break;
	case PL_Z: set_gpr(c, o, SLOT_OPCODE, (i->opcode & 7) | (i->rex & 1) << 3); break;
	case PL_A: set_gpr(c, o, SLOT_NONE, RAX); break;
	case PL_C: set_gpr(c, o, SLOT_NONE, RCX); break;
	case PL_D: set_gpr(c, o, SLOT_NONE, RDX); break;
	case PL_SREG: set_reg(o, OPND_SEG, SLOT_REG, i->reg & 7); break;
	case PL_SFIX0 ... PL_SFIX5: set_reg(o, OPND_SEG, SLOT_NONE, spec->place - PL_SFIX0); break;
	case PL_CR: set_reg(o, OPND_CR, SLOT_REG, i->reg); break;
	case PL_DR: set_reg(o, OPND_DR, SLOT_REG, i->reg); break;
	case PL_I: spec->size == SZ_z ? set_imm_z(c, o) : set_imm(c, o, o->size); break;
	case PL_IS:
		set_imm(c, o, 1);
		i->imm = sign_extend(i->imm, 1);
		o->size = size_in_bytes(c, spec->rsize);
		break;
	case PL_ONE:
		o->kind = OPND_IMM;
		i->imm = 1;
		break;
	case PL_J: set_rel(c, o); break;
	case PL_AP: set_far(c, o); break;
	case PL_O: set_moffs(c, o); break;
	case PL_X: set_string(c, o, OPND_SI); break;
	case PL_Y: set_string(c, o, OPND_DI); break;
	case PL_ST: set_reg(o, OPND_ST, SLOT_NONE, 0); break;
	case PL_STI: set_reg(o, OPND_ST, SLOT_RM, i->rm & 7); break;
	case PL_P: set_reg(o, OPND_MMX, SLOT_REG, i->reg & 7); break;
	case PL_Q:
	case PL_N: set_rm(c, o, spec, OPND_MMX); break;
	case PL_V: set_reg(o, OPND_VEC, SLOT_REG, i->reg); break;
	case PL_W:
	case PL_U: set_rm(c, o, spec, OPND_VEC); break;
	case PL_H: set_reg(o, OPND_VEC, SLOT_VVVV, i->vvvv); break;
	case PL_L: set_is4(c, o); break;
	case PL_VFIX: set_reg(o, OPND_VEC, SLOT_NONE, 0); break;
	case PL_KG: set_reg(o, OPND_K, SLOT_REG, i->reg & 7); break;
	case PL_KV: set_reg(o, OPND_K, SLOT_VVVV, i->vvvv & 7); break;
	case PL_KR:
	case PL_K: set_rm(c, o, spec, OPND_K); break;
	}
}

static void set_operands(struct cursor *c)
{
	struct insn *i = c->i;
	unsigned n;

	i->vvvv = c->vvvv_raw & (c->mode.code64 ? 15 : 7);
	if (i->enc == ENC_EVEX && !i->mem.vsib)
		i->vvvv |= c->evex_v2 << 4;
	for (n = 0; n < NR_OPERANDS && c->row->op[n]; n++)
		set_operand(c, n);
	i->nr_ops = n;
}

/* ---- What depends on operands ---- */

/* The memory operand as EVEX changes it: broadcast, and disp8 in units. */
static void set_evex_mem(struct cursor *c)
{
	struct insn *i = c->i;
	unsigned element = ATTR_ELEMENT(c->row->attr);
	unsigned unit = i->mem.size;

	if (i->evex_b || (c->row->attr & ATTR_T1))
		unit = element;
	if (i->evex_b)
		i->mem.size = element;
	if (i->modrm >> 6 == 1)
		i->mem.disp *= unit;
	if (i->evex_aaa)
		i->rules |= RULE_SCALAR_MEM;
}

/* A count of zero keeps the flags: known for an immediate, possible for CL. */
static void set_count_flags(struct cursor *c)
{
	struct insn *i = c->i;
	const struct operand *count = &i->op[i->nr_ops - 1];

	if (count->kind == OPND_IMM && (i->imm & (i->opsize == 8 && i->op[0].size == 8 ? 63 : 31)))
		return;
	if (count->kind != OPND_IMM)
		i->flags_read |= i->flags_written;
	i->flags_written = 0;
}

/* A counted repetition may be of zero elements. */
static void set_rep(struct cursor *c)
{
	struct insn *i = c->i;

	i->gpr_read |= 1 << RCX;
	i->gpr_written |= 1 << RCX;
	i->gpr_read |= i->gpr_written;
	i->flags_read |= i->flags_written;
	i->flags_written = 0;
}

static void set_derived(struct cursor *c)
{
	struct insn *i = c->i;

	if (i->has_mem && i->enc == ENC_EVEX)
		set_evex_mem(c);
	if (i->evex_aaa && !i->evex_z && i->op[0].kind == OPND_VEC)
		i->op[0].read = true; /* masked elements are kept */
	if (i->rules & RULE_COUNT)
		set_count_flags(c);
	if (i->rep)
		set_rep(c);
}

/* ---- #UD ---- */

static bool evex_is_wrong(const struct cursor *c, const struct insn_match *m)
{
	const struct insn *i = c->i;
	u16 attr = c->row->attr;
	bool rounding = i->evex_b && !i->has_mem;

	if (rounding ? !(attr & (ATTR_ER | ATTR_SAE)) : i->evex_b && !(attr & ATTR_BC))
		return true;
	if (!rounding && i->evex_ll == 3)
		return true;
	if ((i->evex_aaa && !(attr & ATTR_K)) || (!i->evex_aaa && (attr & ATTR_NOK0)))
		return true;
	if (i->evex_z && (!(attr & ATTR_Z) || !i->evex_aaa || i->op[0].kind == OPND_MEM))
		return true;
	return !m->uses_vvvv && c->evex_v2 && !i->mem.vsib;
}

static bool operand_is_wrong(const struct cursor *c, const struct operand *o)
{
	const struct insn *i = c->i;

	switch (o->kind) {
	case OPND_SEG:
		return o->reg > SEG_GS || (o->reg == SEG_CS && o->written);
	case OPND_CR: return !(BIT(o->reg) & (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8)));
	case OPND_DR: return o->reg > 7;
	case OPND_K:
		return (o->slot == SLOT_REG && i->reg > 7) ||
		       (o->slot == SLOT_VVVV && i->vvvv > 7);
	case OPND_GPR:
		return i->enc == ENC_EVEX && ((o->slot == SLOT_REG && c->evex_r2) ||
					      (o->slot == SLOT_VVVV && c->evex_v2));
	default: return false;
	}
}

/* Gathers: destination, index and mask must differ. */
static bool gather_is_wrong(const struct insn *i)
{
	u8 dest = i->op[0].reg, index = i->mem.index;

	if (i->enc == ENC_EVEX)
		return i->op[0].kind == OPND_VEC && dest == index;
	return dest == index || dest == i->vvvv || index == i->vvvv;
}

static bool is_wrong(const struct cursor *c, const struct insn_match *m)
{
	const struct insn *i = c->i;

	if (i->lock && !((i->rules & RULE_LOCKABLE) && i->has_mem))
		return true;
	if (i->enc != ENC_LEGACY && !m->uses_vvvv && c->vvvv_raw)
		return true;
	if (i->enc == ENC_EVEX && evex_is_wrong(c, m))
		return true;
	for (unsigned n = 0; n < i->nr_ops; n++)
		if (i->op[n].kind >= OPND_GPR && operand_is_wrong(c, &i->op[n]))
			return true;
	if (row_is_vsib(c) && !i->mem.vsib)
		return true;
	return (i->rules & RULE_GATHER) && gather_is_wrong(i);
}

/* ---- Entry ---- */

static u8 effective_addrsize(const struct cursor *c)
{
	if (c->mode.code64)
		return c->p67 ? 4 : 8;
	return c->mode.code32 != c->p67 ? 4 : 2;
}

static enum decode_result finish(struct cursor *c, enum decode_result r)
{
	c->i->len = c->pos;
	if (c->short_of)
		return c->end == INSN_MAX ? DECODE_TOO_LONG : DECODE_MORE;
	return r;
}

static enum decode_result decode(struct cursor *c)
{
	struct insn *i = c->i;
	const struct insn_slot *slot;
	const struct insn_match *m;
	u8 byte;

	do {
		byte = next_byte(c);
	} while (take_prefix(c, byte) && !c->short_of);
	i->addrsize = effective_addrsize(c);
	if (!take_opcode(c, byte) || c->short_of)
		return finish(c, DECODE_UD);
	slot = &insn_slots[c->table_map][i->opcode];
	if (slot->has_modrm) {
		i->has_modrm = true;
		i->modrm = next_byte(c);
		if (c->short_of)
			return finish(c, DECODE_UD);
	}
	m = find_row(c, slot);
	if (!m)
		return finish(c, DECODE_UD);
	set_row(c, m);
	if (i->has_modrm)
		take_modrm(c);
	set_operands(c);
	if (c->short_of)
		return finish(c, DECODE_UD);
	set_derived(c);
	return finish(c, is_wrong(c, m) ? DECODE_UD : DECODE_OK);
}

enum decode_result insn_decode(const u8 *bytes, unsigned avail, gva_t rip, struct insn_mode mode,
			       struct insn *res)
{
	struct cursor c = { .bytes = bytes, .end = MIN(avail, INSN_MAX), .mode = mode, .i = res };
	enum decode_result r;

	*res = (struct insn){ .rip = rip, .seg_override = REG_NONE, .gate = NR_FEATURES,
			      .gate2 = NR_FEATURES,
			      .mem = { .base = REG_NONE, .index = REG_NONE, .scale = 1 } };
	r = decode(&c);
	for (unsigned n = 0; n < res->len; n++)
		res->bytes[n] = bytes[n];
	return r;
}
