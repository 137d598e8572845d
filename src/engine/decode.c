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

	bool p66, p67;
	u8 table_map;
	u8 pp;		/* enum key_pp */
	u8 vvvv_raw;	/* as encoded, un-inverted: 0 is "unused" */
	bool evex_x, evex_r2, evex_v2; /* EVEX.X, R', V' un-inverted */
	const struct insn_plan *plan;
	u8 sizes[NR_OPND_SIZES];  /* of this instruction, by enum opnd_size */
	u8 regs[SLOT_IS4];	  /* register numbers by enum opnd_slot */
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

static const struct insn_plan *find_row(const struct cursor *c, const struct insn_slot *slot)
{
	const struct insn_key *k = &insn_keys[slot->first];
	u32 key;

	if (slot->count == 1 && !k->mask)
		return &insn_plans[slot->first];
	key = row_key(c);
	for (unsigned n = slot->count; n; n--, k++)
		if ((key & k->mask) == k->value)
			return &insn_plans[k - insn_keys];
	return NULL;
}

static u8 effective_opsize(const struct cursor *c)
{
	const struct insn_plan *plan = c->plan;
	bool p66 = c->p66 && !plan->p66_is_opcode;

	if (c->mode.code64) {
		if ((plan->rules & RULE_F64) || c->i->w)
			return 8;
		return p66 && plan->has_opsize ? 2 : plan->rules & RULE_DEF64 ? 8 : 4;
	}
	return c->mode.code32 != p66 || !plan->has_opsize ? 4 : 2;
}

static u8 mandatory_prefix(const struct cursor *c)
{
	static const u8 bytes[] = { 0, 0x66, 0xf3, 0xf2 };

	return c->plan->pp_fixed || c->i->enc != ENC_LEGACY ? bytes[c->pp] : 0;
}

static void set_sizes(struct cursor *c)
{
	const struct insn *i = c->i;
	u8 *sizes = c->sizes, opsize = i->opsize, vl = i->vl ? i->vl : 16;
	bool code64 = c->mode.code64;

	sizes[SZ_v - SZ_v] = opsize;
	sizes[SZ_z - SZ_v] = MIN(opsize, 4);
	sizes[SZ_y - SZ_v] = code64 && i->w ? 8 : 4;
	sizes[SZ_m - SZ_v] = code64 ? 8 : 4;
	sizes[SZ_x - SZ_v] = vl;
	sizes[SZ_h - SZ_v] = vl / 2;
	sizes[SZ_q - SZ_v] = vl / 4;
	sizes[SZ_o - SZ_v] = vl / 8;
	sizes[SZ_p - SZ_v] = opsize + 2;
	sizes[SZ_s - SZ_v] = code64 ? 10 : 6;
	sizes[SZ_a - SZ_v] = i->addrsize;
	sizes[SZ_ma - SZ_v] = 2 * opsize;
}

static void set_row(struct cursor *c, const struct insn_plan *plan)
{
	struct insn *i = c->i;

	c->plan = plan;
	if (!c->mode.code64 && plan->w_needs_64) {
		i->w = false;
		i->rex = 0;
	}
	if (i->opcode == 0x82 && i->map == MAP_1B)
		i->opcode = 0x80; /* the same, and re-emitted it exists in 64-bit mode */
	i->row = plan->row;
	i->how = plan->how;
	i->rules = plan->rules;
	i->gate = plan->gate;
	i->mand = mandatory_prefix(c);
	i->opsize = effective_opsize(c);
	if (!(plan->rules & RULE_REP))
		i->rep = 0;
	i->gate2 = NR_FEATURES;
	if (i->enc != ENC_LEGACY) {
		i->vl = 16 << (key_length(c) & 3);
		if ((plan->attr & ATTR_VL) && i->vl < 64)
			i->gate2 = FEAT_AVX512VL;
	}
	i->flags_read = plan->flags;
	i->flags_written = plan->flags >> 16;
	i->gpr_read = plan->impl;
	i->gpr_written = plan->impl >> 16;
	if (i->opsize == 2 && i->how == HOW_NATIVE && i->map == MAP_1B)
		i->gpr_read |= i->gpr_written; /* MUL, CWD: half a register */
	set_sizes(c);
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

/* Returns the base's three bits. */
static unsigned take_sib(struct cursor *c)
{
	struct insn *i = c->i;
	u8 sib = next_byte(c);
	unsigned index = (sib >> 3 & 7) | (i->rex & 2) << 2;

	i->mem.scale = 1 << (sib >> 6);
	if (c->plan->vsib) {
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

static void take_modrm(struct cursor *c)
{
	struct insn *i = c->i;

	i->reg = (i->modrm >> 3 & 7) | (i->rex & 4) << 1 | c->evex_r2 << 4;
	i->rm = (i->modrm & 7) | (i->rex & 1) << 3;
	if (i->modrm >= 0xc0 || c->plan->rm_is_reg)
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

static u8 size_in_bytes(const struct cursor *c, u8 size)
{
	return size & SZ_v ? c->sizes[size - SZ_v] : size;
}

static void set_gpr(struct cursor *c, struct operand *o)
{
	struct insn *i = c->i;
	u16 bit;

	if (o->size == 1 && (o->reg & 12) == 4 && !i->rex && i->enc == ENC_LEGACY) {
		o->kind = OPND_GPR8H;
		o->reg -= 4;
	}
	bit = 1 << o->reg;
	if (o->read | (o->written & (o->size < 4)))
		i->gpr_read |= bit;
	if (o->written)
		i->gpr_written |= bit;
}

static void set_reg(struct cursor *c, struct operand *o, const struct opnd_plan *p)
{
	o->size = size_in_bytes(c, p->rsize);
	o->kind = p->kind;
	o->slot = p->slot;
	o->reg = (c->regs[p->slot] & p->mask) | p->fixed;
	if (p->kind == OPND_GPR)
		set_gpr(c, o);
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

static void set_imm(struct cursor *c, unsigned bytes)
{
	struct insn *i = c->i;
	u64 v = next_bytes(c, bytes);

	if (i->imm_size)
		i->imm2 = v;
	else
		i->imm = v;
	i->imm_size += bytes;
}

static void set_signed_imm(struct cursor *c, unsigned bytes)
{
	set_imm(c, bytes);
	c->i->imm = sign_extend(c->i->imm, bytes);
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

/* VEX's fourth register in an immediate's upper half. */
static void set_is4(struct cursor *c, struct operand *o)
{
	set_imm(c, 1);
	o->slot = SLOT_IS4;
	o->reg = c->i->imm >> 4 & (c->mode.code64 ? 15 : 7);
}

static void set_other(struct cursor *c, struct operand *o, const struct opnd_plan *p)
{
	struct insn *i = c->i;

	o->kind = p->kind;
	switch (p->place) {
	case PL_IS:
		set_signed_imm(c, 1);
		o->size = size_in_bytes(c, p->rsize);
		break;
	case PL_I:
	case PL_J: set_signed_imm(c, o->size); break;
	case PL_ONE: i->imm = 1; break;
	case PL_AP:
		set_imm(c, i->opsize);
		set_imm(c, 2);
		break;
	case PL_O: set_moffs(c, o); break;
	case PL_X: i->mem.seg = effective_segment(i); break;
	case PL_L: set_is4(c, o); break;
	}
}

static void set_operand(struct cursor *c, struct operand *o, const struct opnd_plan *p)
{
	o->read = p->read;
	o->written = p->written;
	o->size = size_in_bytes(c, p->size);
	if (p->class == OC_REG || (p->class == OC_RM && !c->i->has_mem)) {
		set_reg(c, o, p);
	} else if (p->class <= OC_MEM) {
		set_mem(c, o);
	} else if (p->class == OC_IMM) {
		o->kind = OPND_IMM;
		set_imm(c, o->size);
	} else {
		set_other(c, o, p);
	}
}

static void set_regs(struct cursor *c)
{
	struct insn *i = c->i;

	i->vvvv = c->vvvv_raw & (c->mode.code64 ? 15 : 7);
	if (c->evex_v2 && !i->mem.vsib)
		i->vvvv |= 16;
	c->regs[SLOT_NONE] = 0;
	c->regs[SLOT_REG] = i->reg;
	c->regs[SLOT_RM] = i->rm | c->evex_x << 4;
	c->regs[SLOT_VVVV] = i->vvvv;
	c->regs[SLOT_OPCODE] = (i->opcode & 7) | (i->rex & 1) << 3;
}

static void set_operands(struct cursor *c)
{
	const struct insn_plan *plan = c->plan;

	set_regs(c);
	for (unsigned n = 0; n < plan->nr_ops; n++)
		set_operand(c, &c->i->op[n], &plan->op[n]);
	c->i->nr_ops = plan->nr_ops;
}

/* ---- What depends on operands ---- */

/* The memory operand as EVEX changes it: broadcast, and disp8 in units. */
static void set_evex_mem(struct cursor *c)
{
	struct insn *i = c->i;
	unsigned element = ATTR_ELEMENT(c->plan->attr);
	unsigned unit = i->mem.size;

	if (i->evex_b || (c->plan->attr & ATTR_T1))
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

	if (i->enc == ENC_EVEX) {
		if (i->has_mem)
			set_evex_mem(c);
		if (i->evex_aaa && !i->evex_z && i->op[0].kind == OPND_VEC)
			i->op[0].read = true; /* masked elements are kept */
	}
	if (i->rules & RULE_COUNT)
		set_count_flags(c);
	if (i->rep)
		set_rep(c);
}

/* ---- #UD ---- */

static bool evex_is_wrong(const struct cursor *c)
{
	const struct insn *i = c->i;
	u16 attr = c->plan->attr;
	bool rounding = i->evex_b && !i->has_mem;

	if (rounding ? !(attr & (ATTR_ER | ATTR_SAE)) : i->evex_b && !(attr & ATTR_BC))
		return true;
	if (!rounding && i->evex_ll == 3)
		return true;
	if ((i->evex_aaa && !(attr & ATTR_K)) || (!i->evex_aaa && (attr & ATTR_NOK0)))
		return true;
	if (i->evex_z && (!(attr & ATTR_Z) || !i->evex_aaa || i->op[0].kind == OPND_MEM))
		return true;
	return !c->plan->uses_vvvv && c->evex_v2 && !i->mem.vsib;
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

static bool operands_are_wrong(const struct cursor *c)
{
	for (unsigned n = 0; n < c->i->nr_ops; n++)
		if (operand_is_wrong(c, &c->i->op[n]))
			return true;
	return false;
}

static bool vex_is_wrong(const struct cursor *c)
{
	const struct insn *i = c->i;

	if (!c->plan->uses_vvvv && c->vvvv_raw)
		return true;
	if (i->enc == ENC_EVEX && evex_is_wrong(c))
		return true;
	return c->plan->vsib && (!i->mem.vsib || ((i->rules & RULE_GATHER) && gather_is_wrong(i)));
}

static bool is_wrong(const struct cursor *c)
{
	const struct insn *i = c->i;

	if (i->lock && !((i->rules & RULE_LOCKABLE) && i->has_mem))
		return true;
	if (i->enc != ENC_LEGACY && vex_is_wrong(c))
		return true;
	return c->plan->checked && operands_are_wrong(c);
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

/* TZCNT and LZCNT are BSF and BSR where they do not exist. */
static void drop_f3(struct cursor *c)
{
	u8 op = c->i->opcode;

	if (c->table_map == TM_0F &&
	    ((op == 0xbc && c->mode.no_tzcnt) || (op == 0xbd && c->mode.no_lzcnt)))
		c->pp = PP_NONE;
}

static enum decode_result decode(struct cursor *c)
{
	struct insn *i = c->i;
	const struct insn_slot *slot;
	const struct insn_plan *plan;
	u8 byte;

	do {
		byte = next_byte(c);
	} while (take_prefix(c, byte) && !c->short_of);
	i->addrsize = effective_addrsize(c);
	if (!take_opcode(c, byte) || c->short_of)
		return finish(c, DECODE_UD);
	if (c->pp == PP_F3)
		drop_f3(c);
	slot = &insn_slots[c->table_map][i->opcode];
	if (slot->has_modrm) {
		i->has_modrm = true;
		i->modrm = next_byte(c);
		if (c->short_of)
			return finish(c, DECODE_UD);
	}
	plan = find_row(c, slot);
	if (!plan)
		return finish(c, DECODE_UD);
	set_row(c, plan);
	if (i->has_modrm)
		take_modrm(c);
	set_operands(c);
	if (c->short_of)
		return finish(c, DECODE_UD);
	set_derived(c);
	return finish(c, is_wrong(c) ? DECODE_UD : DECODE_OK);
}

/* Not by an initializer or memset(): GCC would make them slow string stores. */
static void clear(struct insn *i)
{
	u64 *p = (u64 *)i;

	_Static_assert(sizeof(*i) % 8 == 0, "cleared by words");
#pragma GCC unroll 64
	for (unsigned n = 0; n < sizeof(*i) / 8; n++)
		p[n] = 0;
}

static void copy_bytes(struct insn *i, const u8 *bytes, unsigned avail)
{
	_Static_assert(INSN_MAX == 15, "copied as two overlapping words");
	if (likely(avail >= INSN_MAX)) {
		__builtin_memcpy(i->bytes, bytes, 8);
		__builtin_memcpy(i->bytes + 7, bytes + 7, 8);
		return;
	}
	for (unsigned n = 0; n < i->len; n++)
		i->bytes[n] = bytes[n];
}

enum decode_result insn_decode(const u8 *bytes, unsigned avail, gva_t rip, struct insn_mode mode,
			       struct insn *res)
{
	struct cursor c;
	enum decode_result r;

	clear(res);
	res->rip = rip;
	res->seg_override = REG_NONE;
	res->gate = res->gate2 = NR_FEATURES;
	res->mem.base = res->mem.index = REG_NONE;
	res->mem.scale = 1;
	c.bytes = bytes;
	c.pos = 0;
	c.end = MIN(avail, INSN_MAX);
	c.mode = mode;
	c.i = res;
	c.short_of = c.p66 = c.p67 = c.evex_x = c.evex_r2 = c.evex_v2 = false;
	c.pp = PP_NONE;
	c.vvvv_raw = 0;
	r = decode(&c);
	copy_bytes(res, bytes, avail);
	return r;
}
