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
 * in insn_matches[], in insn.def's order; insn_slots[] says where. Both are
 * made by a constructor and constant from then on.
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
	PL_V, PL_W, PL_U, PL_H, PL_L, PL_VFIX, PL_VSIBX, PL_VSIBH, PL_VSIBD,
	PL_KG, PL_KV, PL_KR, PL_K,
};

/* Sizes that depend on prefixes; smaller numbers are bytes. */
enum opnd_size {
	SZ_v = 100, SZ_z, SZ_y, SZ_m, SZ_x, SZ_h, SZ_q, SZ_o, SZ_p, SZ_s, SZ_a, SZ_ma,
};

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

struct insn_match {
	u32 mask, value;
	u16 row;
	bool uses_vvvv;
};
struct insn_slot {
	u16 first;
	u8 count;
	bool has_modrm;
};
extern struct insn_match insn_matches[];
extern struct insn_slot insn_slots[NR_TABLE_MAPS][256];

#endif
