// SPDX-License-Identifier: MIT
/* The assembler of emit.h. SDM: "Instruction Format". */
#include "engine/emit.h"

void em_byte(struct emitter *e, unsigned v)
{
	if (e->p >= e->end) {
		e->full = true;
		return;
	}
	*e->p++ = (u8)v;
}

void em_u32(struct emitter *e, u32 v)
{
	for (unsigned n = 0; n < 4; n++)
		em_byte(e, v >> (8 * n) & 0xff);
}

void em_u64(struct emitter *e, u64 v)
{
	em_u32(e, (u32)v);
	em_u32(e, (u32)(v >> 32));
}

static void em_opcode(struct emitter *e, u32 op)
{
	if (op > 0xffff)
		em_byte(e, op >> 16 & 0xff);
	if (op > 0xff)
		em_byte(e, op >> 8 & 0xff);
	em_byte(e, op & 0xff);
}

static bool fits8(s64 v)
{
	return v == (s8)v;
}

/* ModRM, SIB and displacement of @m, with @reg's low three bits. */
static void em_modrm_mem(struct emitter *e, unsigned reg, struct mref m)
{
	bool has_index = m.index != REG_NONE;
	unsigned ss = m.scale == 8 ? 3 : m.scale == 4 ? 2 : m.scale == 2 ? 1 : 0;
	unsigned r = (reg & 7) << 3;
	unsigned mod;

	if (m.base == REG_NONE) {
		em_byte(e, r | 4);
		em_byte(e, ss << 6 | (has_index ? (m.index & 7u) << 3 : 4 << 3) | 5);
		em_u32(e, (u32)m.disp);
		return;
	}
	mod = m.disp == 0 && (m.base & 7) != 5 ? 0 : fits8(m.disp) ? 1 : 2;
	if (has_index || (m.base & 7) == 4) {
		em_byte(e, mod << 6 | r | 4);
		em_byte(e, ss << 6 | (has_index ? (m.index & 7u) << 3 : 4 << 3) | (m.base & 7));
	} else {
		em_byte(e, mod << 6 | r | (m.base & 7));
	}
	if (mod == 1)
		em_byte(e, (u8)m.disp);
	else if (mod == 2)
		em_u32(e, (u32)m.disp);
}

static unsigned rex_xb(struct mref m)
{
	return (m.index != REG_NONE && m.index & 8 ? 2u : 0) |
	       (m.base != REG_NONE && m.base & 8 ? 1u : 0);
}

void em_rm(struct emitter *e, unsigned size, u32 op, unsigned reg, struct mref m)
{
	unsigned rex = (size == 8 ? 8u : 0) | (reg & 8 ? 4u : 0) | rex_xb(m);

	if (m.gs)
		em_byte(e, 0x65);
	if (size == 2)
		em_byte(e, 0x66);
	if (rex || (size == 1 && reg >= 4))
		em_byte(e, 0x40 | rex);
	em_opcode(e, op);
	em_modrm_mem(e, reg, m);
}

void em_rr(struct emitter *e, unsigned size, u32 op, unsigned reg, unsigned rm)
{
	unsigned rex = (size == 8 ? 8u : 0) | (reg & 8 ? 4u : 0) | (rm & 8 ? 1u : 0);

	if (size == 2)
		em_byte(e, 0x66);
	if (rex || (size == 1 && (reg >= 4 || rm >= 4)))
		em_byte(e, 0x40 | rex);
	em_opcode(e, op);
	em_byte(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void em_mov_rr(struct emitter *e, unsigned size, unsigned dst, unsigned src)
{
	em_rr(e, size, size == 1 ? 0x8a : 0x8b, dst, src);
}

void em_load(struct emitter *e, unsigned size, unsigned dst, struct mref m)
{
	if (size >= 4)
		em_rm(e, size, 0x8b, dst, m);
	else
		em_rm(e, 4, size == 2 ? 0x0fb7 : 0x0fb6, dst, m);
}

void em_store(struct emitter *e, unsigned size, struct mref m, unsigned src)
{
	em_rm(e, size, size == 1 ? 0x88 : 0x89, src, m);
}

void em_store_imm(struct emitter *e, unsigned size, struct mref m, s32 imm)
{
	em_rm(e, size, size == 1 ? 0xc6 : 0xc7, 0, m);
	if (size == 1)
		em_byte(e, (u8)imm);
	else if (size == 2) {
		em_byte(e, imm & 0xff);
		em_byte(e, imm >> 8 & 0xff);
	} else
		em_u32(e, (u32)imm);
}

void em_mov_imm(struct emitter *e, unsigned dst, u64 imm)
{
	if (imm == (u32)imm) {
		if (dst & 8)
			em_byte(e, 0x41);
		em_byte(e, 0xb8 | (dst & 7));
		em_u32(e, (u32)imm);
	} else if ((s64)imm == (s32)imm) {
		em_rr(e, 8, 0xc7, 0, dst);
		em_u32(e, (u32)imm);
	} else {
		em_byte(e, 0x48 | (dst & 8 ? 1 : 0));
		em_byte(e, 0xb8 | (dst & 7));
		em_u64(e, imm);
	}
}

void em_lea(struct emitter *e, unsigned size, unsigned dst, struct mref m)
{
	m.gs = false;
	em_rm(e, size, 0x8d, dst, m);
}

void em_alu_imm(struct emitter *e, unsigned size, unsigned ext, unsigned reg, s32 imm)
{
	if (fits8(imm)) {
		em_rr(e, size, 0x83, ext, reg);
		em_byte(e, (u8)imm);
	} else {
		em_rr(e, size, 0x81, ext, reg);
		em_u32(e, (u32)imm);
	}
}

void em_alu_mem_imm(struct emitter *e, unsigned size, unsigned ext, struct mref m, s32 imm)
{
	if (fits8(imm)) {
		em_rm(e, size, 0x83, ext, m);
		em_byte(e, (u8)imm);
	} else {
		em_rm(e, size, 0x81, ext, m);
		em_u32(e, (u32)imm);
	}
}

void em_patch_rel32(const struct emitter *e, u8 *at, u64 target)
{
	u64 next = (u64)at + (u64)e->delta + 4;

	if (!e->full)
		__atomic_store_n((u32 *)(void *)at, (u32)(target - next), __ATOMIC_RELEASE);
}

static u8 *em_rel32(struct emitter *e, u64 target)
{
	u8 *at = e->p;

	em_u32(e, (u32)(target - (em_here(e) + 4)));
	return at;
}

void em_jmp(struct emitter *e, u64 target)
{
	em_byte(e, 0xe9);
	em_rel32(e, target);
}

void em_call(struct emitter *e, u64 target)
{
	em_byte(e, 0xe8);
	em_rel32(e, target);
}

u8 *em_jcc(struct emitter *e, unsigned cc, u64 target)
{
	em_byte(e, 0x0f);
	em_byte(e, 0x80 | cc);
	return em_rel32(e, target);
}

u8 *em_jmp32(struct emitter *e, u64 target)
{
	em_byte(e, 0xe9);
	return em_rel32(e, target);
}

/* One NOP of up to three bytes so that the byte after @skip more is 4-aligned. */
static void em_align_field(struct emitter *e, unsigned skip)
{
	switch (-(unsigned)((u64)e->p + skip) & 3) {
	case 1:
		em_byte(e, 0x90);
		break;
	case 2:
		em_byte(e, 0x66);
		em_byte(e, 0x90);
		break;
	case 3:
		em_byte(e, 0x0f);
		em_byte(e, 0x1f);
		em_byte(e, 0x00);
		break;
	default:
		break;
	}
}

u8 *em_jcc_atomic(struct emitter *e, unsigned cc, u64 target)
{
	em_align_field(e, 2);
	return em_jcc(e, cc, target);
}

u8 *em_jmp_atomic(struct emitter *e, u64 target)
{
	em_align_field(e, 1);
	return em_jmp32(e, target);
}

void em_jmp_reg(struct emitter *e, unsigned reg)
{
	em_rr(e, 4, 0xff, 4, reg);
}

/* ---- Re-encoding ---- */

static void em_imm_bytes(struct emitter *e, const struct insn *i)
{
	/* Four bits name a register; outside 64-bit mode three of them do. */
	for (unsigned n = 0; n < i->nr_ops; n++) {
		if (i->op[n].slot == SLOT_IS4) {
			em_byte(e, (unsigned)i->op[n].reg << 4 | (i->bytes[i->len - 1] & 15u));
			return;
		}
	}
	for (unsigned n = 0; n < i->imm_size; n++)
		em_byte(e, i->bytes[i->len - i->imm_size + n]);
}

/* AH..BH there stay what they are. */
static bool uses_opcode_reg(const struct insn *i)
{
	for (unsigned n = 0; n < i->nr_ops; n++) {
		if (i->op[n].slot == SLOT_OPCODE && i->op[n].kind == OPND_GPR)
			return true;
	}
	return false;
}

/* SPL..DIL exist only with a REX; AH..BH only without. */
static bool needs_empty_rex(const struct insn *i)
{
	for (unsigned n = 0; n < i->nr_ops; n++) {
		if (i->op[n].kind == OPND_GPR && i->op[n].size == 1 && i->op[n].slot != SLOT_NONE)
			return true;
		if (i->op[n].kind == OPND_GPR8H)
			return false;
	}
	return false;
}

static bool has_high_byte(const struct insn *i)
{
	for (unsigned n = 0; n < i->nr_ops; n++) {
		if (i->op[n].kind == OPND_GPR8H)
			return true;
	}
	return false;
}

static void em_legacy(struct emitter *e, const struct insn *i, const struct remap *r)
{
	bool opc_reg = uses_opcode_reg(i);
	unsigned rm_bits = i->has_mem ? rex_xb(r->mem) : opc_reg ? (r->opc & 8 ? 1u : 0) :
								   (r->rm & 8 ? 1u : 0);
	unsigned rex = (i->w ? 8u : 0) | rm_bits;
	bool integer = !(i->rules & (RULE_SSE | RULE_AVX | RULE_MMX | RULE_X87));
	unsigned op = i->opcode;

	if (i->has_modrm && r->reg & 8)
		rex |= 4;
	if (i->has_mem && r->mem.gs)
		em_byte(e, 0x65);
	if (i->lock)
		em_byte(e, 0xf0);
	if ((i->opsize == 2 && integer) || i->mand == 0x66)
		em_byte(e, 0x66);
	if (i->mand == 0xf2 || i->mand == 0xf3)
		em_byte(e, i->mand);
	if (rex || (needs_empty_rex(i) && !has_high_byte(i)))
		em_byte(e, 0x40 | rex);
	if (i->map != MAP_1B)
		em_byte(e, 0x0f);
	if (i->map == MAP_0F38)
		em_byte(e, 0x38);
	if (i->map == MAP_0F3A)
		em_byte(e, 0x3a);
	if (opc_reg)
		op = (op & ~7u) | (r->opc & 7);
	em_byte(e, op);
}

static void em_vex(struct emitter *e, const struct insn *i, const struct remap *r)
{
	unsigned xb = i->has_mem ? rex_xb(r->mem) : (r->rm & 8 ? 1u : 0);
	unsigned pp = i->mand == 0x66 ? 1 : i->mand == 0xf3 ? 2 : i->mand == 0xf2 ? 3 : 0;

	if (i->has_mem && r->mem.gs)
		em_byte(e, 0x65);
	em_byte(e, 0xc4);
	em_byte(e, (r->reg & 8 ? 0 : 0x80u) | (xb & 2 ? 0 : 0x40u) | (xb & 1 ? 0 : 0x20u) | i->map);
	em_byte(e, (i->w ? 0x80u : 0) | (~(unsigned)r->vvvv & 15) << 3 | (i->vl == 32 ? 4u : 0) | pp);
	em_byte(e, i->opcode);
}

static void em_evex(struct emitter *e, const struct insn *i, const struct remap *r)
{
	unsigned xb = i->has_mem ? rex_xb(r->mem) : (r->rm & 8 ? 1u : 0) | (r->rm & 16 ? 2u : 0);
	unsigned pp = i->mand == 0x66 ? 1 : i->mand == 0xf3 ? 2 : i->mand == 0xf2 ? 3 : 0;

	if (i->has_mem && r->mem.gs)
		em_byte(e, 0x65);
	em_byte(e, 0x62);
	em_byte(e, (r->reg & 8 ? 0 : 0x80u) | (xb & 2 ? 0 : 0x40u) | (xb & 1 ? 0 : 0x20u) |
			   (r->reg & 16 ? 0 : 0x10u) | i->map);
	em_byte(e, (i->w ? 0x80u : 0) | (~(unsigned)r->vvvv & 15) << 3 | 4 | pp);
	em_byte(e, (i->evex_z ? 0x80u : 0) | (unsigned)i->evex_ll << 5 | (i->evex_b ? 0x10u : 0) |
			   (r->vvvv & 16 ? 0 : 8u) | i->evex_aaa);
	em_byte(e, i->opcode);
}

void em_native(struct emitter *e, const struct insn *i, const struct remap *r)
{
	if (i->enc == ENC_VEX)
		em_vex(e, i, r);
	else if (i->enc == ENC_EVEX)
		em_evex(e, i, r);
	else
		em_legacy(e, i, r);
	if (i->has_mem && i->has_modrm) {
		struct mref m = r->mem;

		/* EVEX scales an 8-bit displacement: keep to none, or 32 bits. */
		if (i->enc == ENC_EVEX && m.disp && fits8(m.disp)) {
			em_byte(e, 0x80 | (r->reg & 7u) << 3 | 4);
			em_byte(e, (m.index == REG_NONE ? 4u : m.index & 7u) << 3 | (m.base & 7u));
			em_u32(e, (u32)m.disp);
		} else {
			em_modrm_mem(e, r->reg, m);
		}
	} else if (i->has_modrm) {
		em_byte(e, 0xc0 | (r->reg & 7u) << 3 | (r->rm & 7u));
	}
	em_imm_bytes(e, i);
}
