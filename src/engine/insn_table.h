/* SPDX-License-Identifier: MIT */
/*
 * The instruction table in memory: insn.def's rows, and the index by opcode.
 * Internal to decode.c, insn_table.c, insn_format.c and the tests' generator.
 *
 * Theory of operation
 *
 * Everything that chooses between the rows of one opcode is put in one 32-bit
 * key; each row has a mask and a value, and the first row of its opcode with
 * (key & mask) == value is the instruction. Rows of one opcode stand together
 * in insn_keys[], in insn.def's order; insn_slots[] says where; insn_plans[] holds,
 * beside each key, what decode.c needs of the row. All three are made by a
 * constructor and constant from then on.
 */
#ifndef NESTOR_ENGINE_INSN_TABLE_H
#define NESTOR_ENGINE_INSN_TABLE_H

#include "engine/insn.h"

/* Bits of the key. */
enum {
	KEY_MODRM = 0,	  /* the whole byte */
	KEY_MOD3 = 8,	  /* mod == 3 */
	KEY_PP = 9,	  /* two bits: enum key_pp */
	KEY_W = 11,
	KEY_L = 12,	  /* two bits: 0, 1, 2 for 128, 256, 512 */
	KEY_OPSIZE = 14,  /* two bits: 0, 1, 2 for 16, 32, 64 */
	KEY_ADDRSIZE = 16, /* likewise */
	KEY_REXB = 18,
	KEY_MODE64 = 19,
	KEY_MASKED = 20,  /* EVEX.aaa != 0 */
	KEY_EVEXB = 21,
};
enum key_pp { PP_NONE, PP_66, PP_F3, PP_F2 };

enum table_map {
	TM_1B, TM_0F, TM_38, TM_3A, TM_V0F, TM_V38, TM_V3A, TM_E0F, TM_E38, TM_E3A, NR_TABLE_MAPS,
};

enum opnd_place {
	PL_NONE, PL_E, PL_R, PL_RR, PL_M, PL_G, PL_B, PL_Z, PL_A, PL_C, PL_D,
	PL_SREG, PL_SFIX0, PL_SFIX1, PL_SFIX2, PL_SFIX3, PL_SFIX4, PL_SFIX5, PL_CR, PL_DR,
	PL_I, PL_IS, PL_ONE, PL_J, PL_AP, PL_O, PL_X, PL_Y,
	PL_ST, PL_STI, PL_P, PL_Q, PL_N,
	PL_V, PL_W, PL_U, PL_H, PL_L, PL_VFIX, PL_VSIBX, PL_VSIBH,
	PL_KG, PL_KV, PL_KR, PL_K,
};

/* Sizes that depend on prefixes; smaller numbers are bytes. */
enum opnd_size {
	SZ_v = 0x80, SZ_z, SZ_y, SZ_m, SZ_x, SZ_h, SZ_q, SZ_o, SZ_p, SZ_s, SZ_a, SZ_ma, SZ_END,
};
enum { NR_OPND_SIZES = SZ_END - SZ_v };

enum opnd_letters {
#define OPND(letters, place, size, rsize) O_##letters,
#include "engine/insn_opnd.def"
	NR_OPND_LETTERS
};

struct opnd_spec {
	u8 place, size, rsize;
};
extern const struct opnd_spec opnd_specs[NR_OPND_LETTERS];

/* insn_row.attr */
enum {
	ATTR_K = 1, ATTR_Z = 2, ATTR_BC = 4, ATTR_ER = 8, ATTR_SAE = 16, ATTR_T1 = 32, ATTR_NOK0 = 64,
	ATTR_VL = 128,
	ATTR_E1 = 0x100, ATTR_E2 = 0x200, ATTR_E4 = 0x400, ATTR_E8 = 0x800,
};
#define ATTR_ELEMENT(attr) ((attr) >> 8) /* bytes */

struct insn_row {
	const char *name;
	const char *function;
	u64 select; /* mask in the upper half, value in the lower */
	u32 rules;
	u32 flags, impl; /* read in the lower half, written in the upper */
	u16 attr;
	u8 map, opcode, how, gate;
	u8 op[NR_OPERANDS];
	char acc[NR_OPERANDS + 1];
};
extern const struct insn_row insn_rows[];

/* What decode.c does for an operand: a row's letters, looked up once. */
enum opnd_class {
	OC_REG, /* a register: (number in @slot & @mask) | @fixed */
	OC_RM,	/* the same with SLOT_RM, or memory */
	OC_MEM,
	OC_IMM, /* of @size bytes, zero-extended */
	OC_OTHER, /* by @place */
};
struct opnd_plan {
	u8 class, kind, slot, mask, fixed;
	u8 size, rsize; /* of memory, of a register: enum opnd_size */
	u8 place : 6;
	u8 read : 1, written : 1;
};
_Static_assert(sizeof(struct opnd_plan) == 8, "four of them in half a cache line");

struct insn_plan {
	struct opnd_plan op[NR_OPERANDS];
	u32 rules, flags, impl;
	u16 row, attr;
	u8 how, gate, nr_ops;
	bool uses_vvvv : 1;
	bool vsib : 1;
	bool rm_is_reg : 1;	/* whatever ModRM.mod says */
	bool pp_fixed : 1;	/* the row names one of none, 66, F3, F2 */
	bool p66_is_opcode : 1;
	bool has_opsize : 1;	/* the operand size shows in an operand, or chooses the row */
	bool w_needs_64 : 1;	/* outside 64-bit mode W is ignored: a general register's size */
	bool checked : 1;	/* some register numbers do not exist */
};

struct insn_key {
	u32 mask, value;
};
struct insn_slot {
	u16 first;
	u8 count;
	bool has_modrm;
};
extern struct insn_key insn_keys[];	/* by slot, then as in insn.def */
extern struct insn_plan insn_plans[];	/* the same order */
extern struct insn_slot insn_slots[NR_TABLE_MAPS][256];

#endif
