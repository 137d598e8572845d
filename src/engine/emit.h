/* SPDX-License-Identifier: MIT */
/*
 * Host bytes: an x86-64 assembler for the few dozen forms that translated code
 * is made of, and the re-encoder of guest instructions.
 *
 * An emitter writes to @p (the writable mapping of the code cache) and knows
 * by @delta where the same byte is executed. Overflow sets @full and writes
 * nothing more; the caller then flushes the cache and starts again.
 */
#ifndef NESTOR_ENGINE_EMIT_H
#define NESTOR_ENGINE_EMIT_H

#include "base/types.h"
#include "engine/insn.h"

struct emitter {
	u8 *p, *end;
	s64 delta; /* executable address = writable address + delta */
	bool full;
};

/* A memory operand [seg: base + index * scale + disp]. */
struct mref {
	u8 base;  /* host register or REG_NONE */
	u8 index; /* host register or REG_NONE */
	u8 scale;
	bool gs;
	s32 disp;
};

#define MREF(b, d)    ((struct mref){ .base = (b), .index = REG_NONE, .scale = 1, .disp = (d) })
#define MREF_GS(b, d) ((struct mref){ .base = (b), .index = REG_NONE, .scale = 1, .gs = true, .disp = (d) })
#define MREF_X(b, x, s, d) ((struct mref){ .base = (b), .index = (x), .scale = (s), .disp = (d) })

void em_byte(struct emitter *e, unsigned v);
void em_u32(struct emitter *e, u32 v);
void em_u64(struct emitter *e, u64 v);
static inline u64 em_here(const struct emitter *e) /* executable address */
{
	return (u64)e->p + (u64)e->delta;
}

/* Opcode @op is 1 to 3 bytes, most significant first (0x0fb7). @size 1, 2, 4, 8
 * is the operand size (REX.W, 66, and REX for byte registers). */
void em_rm(struct emitter *e, unsigned size, u32 op, unsigned reg, struct mref m);
void em_rr(struct emitter *e, unsigned size, u32 op, unsigned reg, unsigned rm);

void em_mov_rr(struct emitter *e, unsigned size, unsigned dst, unsigned src);
void em_load(struct emitter *e, unsigned size, unsigned dst, struct mref m); /* 4: zero-extends; 1, 2: movzx */
void em_store(struct emitter *e, unsigned size, struct mref m, unsigned src);
void em_store_imm(struct emitter *e, unsigned size, struct mref m, s32 imm);
void em_mov_imm(struct emitter *e, unsigned dst, u64 imm); /* the shortest; keeps flags */
void em_lea(struct emitter *e, unsigned size, unsigned dst, struct mref m);
/* @ext 0 add, 1 or, 4 and, 5 sub, 7 cmp */
void em_alu_imm(struct emitter *e, unsigned size, unsigned ext, unsigned reg, s32 imm);
void em_alu_mem_imm(struct emitter *e, unsigned size, unsigned ext, struct mref m, s32 imm);

/* Jumps to executable addresses. The ones that return a pointer are patched
 * later by em_patch_rel32() through it (writable address of the rel32). */
void em_jmp(struct emitter *e, u64 target);
void em_call(struct emitter *e, u64 target);
u8 *em_jcc(struct emitter *e, unsigned cc, u64 target); /* @target 0: to be patched */
u8 *em_jmp32(struct emitter *e, u64 target);
/* As above, with the rel32 4-aligned, for patching while others execute it. */
u8 *em_jcc_atomic(struct emitter *e, unsigned cc, u64 target);
u8 *em_jmp_atomic(struct emitter *e, u64 target);
void em_patch_rel32(const struct emitter *e, u8 *at, u64 target);
void em_jmp_reg(struct emitter *e, unsigned reg);

/* Where a re-encoded guest instruction finds its operands. */
struct remap {
	u8 reg, rm, vvvv, opc; /* host numbers for the ModRM.reg, ModRM.rm, VVVV and opcode registers */
	struct mref mem;       /* used when the instruction has a memory operand */
};
/* Re-emits @i with the registers of @r. The memory operand becomes r->mem. */
void em_native(struct emitter *e, const struct insn *i, const struct remap *r);

enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE,
       CC_LE, CC_G };

#endif
