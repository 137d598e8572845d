// SPDX-License-Identifier: MIT
/* insn.def as an array, and its index by opcode. */
#include "engine/insn_table.h"

#include "cpu/model.h"

/* ---- The vocabulary of insn.def's columns ---- */

#define SELECT(mask, value) ((u64)(mask) << 32 | (u32)(value))
#define BITS(at, width, value) SELECT(((1u << (width)) - 1) << (at), (u32)(value) << (at))

#define X(n)  BITS(KEY_MODRM + 3, 3, (n) & 7)
#define RM(n) BITS(KEY_MODRM, 3, n)
#define MEM   BITS(KEY_MOD3, 1, 0)
#define REG   BITS(KEY_MOD3, 1, 1)
#define W0    BITS(KEY_W, 1, 0)
#define W1    BITS(KEY_W, 1, 1)
#define L0    BITS(KEY_L, 2, 0)
#define L1    BITS(KEY_L, 2, 1)
#define L2    BITS(KEY_L, 2, 2)
#define O16   BITS(KEY_OPSIZE, 2, 0)
#define O32   BITS(KEY_OPSIZE, 2, 1)
#define O64   BITS(KEY_OPSIZE, 2, 2)
#define A16   BITS(KEY_ADDRSIZE, 2, 0)
#define A32   BITS(KEY_ADDRSIZE, 2, 1)
#define A64   BITS(KEY_ADDRSIZE, 2, 2)
#define B0    BITS(KEY_REXB, 1, 0)
#define M64   BITS(KEY_MODE64, 1, 1)
#define MNO64 BITS(KEY_MODE64, 1, 0)
#define MASKED BITS(KEY_MASKED, 1, 1)

#define PFX___ 0
#define PFX_NP BITS(KEY_PP, 2, PP_NONE)
#define PFX_66 BITS(KEY_PP, 2, PP_66)
#define PFX_F3 BITS(KEY_PP, 2, PP_F3)
#define PFX_F2 BITS(KEY_PP, 2, PP_F2)
#define PFX_NF BITS(KEY_PP + 1, 1, 0)

enum { rA = 1 << RAX, rC = 1 << RCX, rD = 1 << RDX, rB = 1 << RBX, rSP = 1 << RSP, rBP = 1 << RBP,
       rSI = 1 << RSI, rDI = 1 << RDI, rR11 = 1 << R11 };
#define IR(regs) ((u32)(regs))
#define IW(regs) ((u32)(regs) << 16)

enum {
	FL_C = FLAG_CF, FL_P = FLAG_PF, FL_A = FLAG_AF, FL_Z = FLAG_ZF, FL_S = FLAG_SF,
	FL_O = FLAG_OF, FL_D = FLAG_DF,
	FL_AC = FL_A | FL_C, FL_OC = FL_O | FL_C, FL_CZ = FL_C | FL_Z, FL_OS = FL_O | FL_S,
	FL_OSZ = FL_OS | FL_Z, FL_OSZC = FL_OSZ | FL_C, FL_SZ = FL_S | FL_Z, FL_OZC = FL_O | FL_Z | FL_C, FL_ZPC = FL_Z | FL_P | FL_C,
	FL_OSZAP = FL_OSZ | FL_A | FL_P, FL_OSZAPC = FL_OSZAP | FL_C,
	FL_SZAPC = FL_OSZAPC & ~FL_O, FL_ALL = FL_OSZAPC | FL_D,
};
#define R(set) ((u32)FL_##set)
#define W(set) ((u32)FL_##set << 16)

enum { FEAT_BASE = NR_FEATURES };

/* Rules, by their short names. */
enum {
	__ = 0,
	LOCKABLE = RULE_LOCKABLE, CPL0 = RULE_CPL0, NO64 = RULE_NO64, ONLY64 = RULE_ONLY64,
	DEF64 = RULE_DEF64, F64 = RULE_F64, REP = RULE_REP, IO = RULE_IO, PROT = RULE_PROT,
	SSE = RULE_SSE, AVX = RULE_AVX, X87 = RULE_X87, MMX = RULE_MMX, FPFAULT = RULE_FPFAULT,
	ENDS_BLOCK = RULE_ENDS_BLOCK, VMX = RULE_VMX, ALIGN = RULE_ALIGN, SCALAR_MEM = RULE_SCALAR_MEM,
	NOREAD = RULE_NOREAD, XACQ = RULE_XACQ, COUNT = RULE_COUNT, GATHER = RULE_GATHER,
};

/* EVEX attributes. */
enum {
	K = ATTR_K, Z = ATTR_Z, BC = ATTR_BC, ER = ATTR_ER, SAE = ATTR_SAE, T1 = ATTR_T1,
	NOK0 = ATTR_NOK0, VL = ATTR_VL, E1 = ATTR_E1, E2 = ATTR_E2, E4 = ATTR_E4, E8 = ATTR_E8,
};

#define HOW_IS_NATIVE    .how = HOW_NATIVE, .function = ""
#define HOW_IS_UD        .how = HOW_UD, .function = ""
#define HOW_IS_HELPER(f) .how = HOW_HELPER, .function = #f
#define HOW_IS_CUSTOM(f) .how = HOW_CUSTOM, .function = #f

#define ROW(nm, mp, pfx, opc, ext, o1, o2, o3, o4, ac, fl, im, at, gt, rl, hw)                     \
	{ .name = #nm, .select = (PFX_##pfx) | (ext), .rules = rl, .flags = fl, .impl = im,        \
	  .attr = at, .map = TM_##mp, .opcode = opc, .gate = FEAT_##gt,                            \
	  .op = { O_##o1, O_##o2, O_##o3, O_##o4 }, .acc = #ac, HOW_IS_##hw },
#define INSN(nm, mp, pfx, opc, ext, o1, o2, o3, o4, ac, fl, im, gt, rl, hw)                        \
	ROW(nm, mp, pfx, opc, ext, o1, o2, o3, o4, ac, fl, im, 0, gt, rl, hw)
#define EINSN(nm, mp, pfx, opc, ext, o1, o2, o3, o4, ac, fl, at, gt, rl, hw)                       \
	ROW(nm, mp, pfx, opc, ext, o1, o2, o3, o4, ac, fl, 0, at, gt, (rl) | RULE_AVX512 | PROT, hw)

const struct insn_row insn_rows[] = {
#include "engine/insn.def"
};

const struct opnd_spec opnd_specs[NR_OPND_LETTERS] = {
#define OPND(letters, place, size, rsize) { PL_##place, SIZE_##size, SIZE_##rsize },
#define SIZE_0	0
#define SIZE_1	1
#define SIZE_2	2
#define SIZE_4	4
#define SIZE_8	8
#define SIZE_10 10
#define SIZE_16 16
#define SIZE_32 32
#define SIZE_64 64
#define SIZE_v	SZ_v
#define SIZE_z	SZ_z
#define SIZE_y	SZ_y
#define SIZE_m	SZ_m
#define SIZE_x	SZ_x
#define SIZE_h	SZ_h
#define SIZE_q	SZ_q
#define SIZE_o	SZ_o
#define SIZE_p	SZ_p
#define SIZE_s	SZ_s
#define SIZE_a	SZ_a
#define SIZE_ma SZ_ma
#include "engine/insn_opnd.def"
};

enum { NR_ROWS = ARRAY_SIZE(insn_rows) };
_Static_assert(NR_ROWS < 0xffff, "insn.row has 16 bits");
_Static_assert(NR_FEATURES < 0xff, "insn.gate has 8 bits");

struct insn_key insn_keys[NR_ROWS];
struct insn_plan insn_plans[NR_ROWS];
struct insn_slot insn_slots[NR_TABLE_MAPS][256];

static bool place_in(u8 place, u64 set)
{
	return set & BIT(place);
}

#define PLACES_REG_ONLY (BIT(PL_R) | BIT(PL_U) | BIT(PL_N) | BIT(PL_KR) | BIT(PL_STI))
#define PLACES_MEM_ONLY (BIT(PL_M) | BIT(PL_VSIBX) | BIT(PL_VSIBH))
#define PLACES_MODRM                                                                               \
	(PLACES_REG_ONLY | PLACES_MEM_ONLY | BIT(PL_E) | BIT(PL_RR) | BIT(PL_G) | BIT(PL_SREG) |   \
	 BIT(PL_CR) | BIT(PL_DR) | BIT(PL_P) | BIT(PL_Q) | BIT(PL_V) | BIT(PL_W) | BIT(PL_KG) | BIT(PL_K))
#define PLACES_GPR  (BIT(PL_E) | BIT(PL_R) | BIT(PL_G) | BIT(PL_B))
#define PLACES_VVVV (BIT(PL_B) | BIT(PL_H) | BIT(PL_KV))

/* Does an operand of @row stand in one of the places @set? */
static bool row_has(const struct insn_row *row, u64 set)
{
	for (unsigned i = 0; i < NR_OPERANDS; i++)
		if (place_in(opnd_specs[row->op[i]].place, set))
			return true;
	return false;
}

/* What the row says, and what follows from its operand letters and rules. */
static u64 row_select(const struct insn_row *row)
{
	u64 s = row->select;

	if (row_has(row, PLACES_REG_ONLY))
		s |= REG;
	if (row_has(row, PLACES_MEM_ONLY))
		s |= MEM;
	if (row->rules & RULE_NO64)
		s |= MNO64;
	if (row->rules & RULE_ONLY64)
		s |= M64;
	return s;
}

static bool row_has_modrm(const struct insn_row *row)
{
	const u64 modrm_bits = (u64)0x1ff << 32;

	return row_has(row, PLACES_MODRM) || (row->select & modrm_bits);
}

static unsigned row_slot(const struct insn_row *row)
{
	return row->map * 256 + row->opcode;
}

/* ---- Plans ---- */

static const struct place_info {
	u8 class, kind, slot, mask, fixed;
} places[] = {
	[PL_E] = { OC_RM, OPND_GPR, SLOT_RM, 15, 0 },
	[PL_R] = { OC_RM, OPND_GPR, SLOT_RM, 15, 0 },
	[PL_RR] = { OC_REG, OPND_GPR, SLOT_RM, 15, 0 },
	[PL_M] = { OC_MEM, OPND_MEM, SLOT_RM, 0, 0 },
	[PL_G] = { OC_REG, OPND_GPR, SLOT_REG, 15, 0 },
	[PL_B] = { OC_REG, OPND_GPR, SLOT_VVVV, 15, 0 },
	[PL_Z] = { OC_REG, OPND_GPR, SLOT_OPCODE, 15, 0 },
	[PL_A] = { OC_REG, OPND_GPR, SLOT_NONE, 0, RAX },
	[PL_C] = { OC_REG, OPND_GPR, SLOT_NONE, 0, RCX },
	[PL_D] = { OC_REG, OPND_GPR, SLOT_NONE, 0, RDX },
	[PL_SREG] = { OC_REG, OPND_SEG, SLOT_REG, 7, 0 },
	[PL_SFIX0] = { OC_REG, OPND_SEG, SLOT_NONE, 0, 0 },
	[PL_SFIX1] = { OC_REG, OPND_SEG, SLOT_NONE, 0, 1 },
	[PL_SFIX2] = { OC_REG, OPND_SEG, SLOT_NONE, 0, 2 },
	[PL_SFIX3] = { OC_REG, OPND_SEG, SLOT_NONE, 0, 3 },
	[PL_SFIX4] = { OC_REG, OPND_SEG, SLOT_NONE, 0, 4 },
	[PL_SFIX5] = { OC_REG, OPND_SEG, SLOT_NONE, 0, 5 },
	[PL_CR] = { OC_REG, OPND_CR, SLOT_REG, 15, 0 },
	[PL_DR] = { OC_REG, OPND_DR, SLOT_REG, 15, 0 },
	[PL_I] = { OC_IMM, OPND_IMM, SLOT_NONE, 0, 0 },
	[PL_IS] = { OC_OTHER, OPND_IMM, SLOT_NONE, 0, 0 },
	[PL_ONE] = { OC_OTHER, OPND_IMM, SLOT_NONE, 0, 0 },
	[PL_J] = { OC_OTHER, OPND_REL, SLOT_NONE, 0, 0 },
	[PL_AP] = { OC_OTHER, OPND_FAR, SLOT_NONE, 0, 0 },
	[PL_O] = { OC_OTHER, OPND_MEM, SLOT_NONE, 0, 0 },
	[PL_X] = { OC_OTHER, OPND_SI, SLOT_NONE, 0, 0 },
	[PL_Y] = { OC_OTHER, OPND_DI, SLOT_NONE, 0, 0 },
	[PL_ST] = { OC_REG, OPND_ST, SLOT_NONE, 0, 0 },
	[PL_STI] = { OC_REG, OPND_ST, SLOT_RM, 7, 0 },
	[PL_P] = { OC_REG, OPND_MMX, SLOT_REG, 7, 0 },
	[PL_Q] = { OC_RM, OPND_MMX, SLOT_RM, 7, 0 },
	[PL_N] = { OC_RM, OPND_MMX, SLOT_RM, 7, 0 },
	[PL_V] = { OC_REG, OPND_VEC, SLOT_REG, 31, 0 },
	[PL_W] = { OC_RM, OPND_VEC, SLOT_RM, 31, 0 },
	[PL_U] = { OC_RM, OPND_VEC, SLOT_RM, 31, 0 },
	[PL_H] = { OC_REG, OPND_VEC, SLOT_VVVV, 31, 0 },
	[PL_L] = { OC_OTHER, OPND_VEC, SLOT_IS4, 0, 0 },
	[PL_VFIX] = { OC_REG, OPND_VEC, SLOT_NONE, 0, 0 },
	[PL_VSIBX] = { OC_MEM, OPND_MEM, SLOT_RM, 0, 0 },
	[PL_VSIBH] = { OC_MEM, OPND_MEM, SLOT_RM, 0, 0 },
	[PL_KG] = { OC_REG, OPND_K, SLOT_REG, 7, 0 },
	[PL_KV] = { OC_REG, OPND_K, SLOT_VVVV, 7, 0 },
	[PL_KR] = { OC_RM, OPND_K, SLOT_RM, 7, 0 },
	[PL_K] = { OC_RM, OPND_K, SLOT_RM, 7, 0 },
};

static struct opnd_plan plan_operand(const struct insn_row *row, unsigned n)
{
	const struct opnd_spec *spec = &opnd_specs[row->op[n]];
	const struct place_info *p = &places[spec->place];
	char acc = row->acc[n];
	struct opnd_plan plan = {
		.class = p->class, .kind = p->kind, .slot = p->slot, .mask = p->mask,
		.fixed = p->fixed, .size = spec->size, .rsize = spec->rsize, .place = spec->place,
		.read = acc == 'r' || acc == 'x', .written = acc == 'w' || acc == 'x',
	};

	/* Sign-extended: they are 64-bit operations' too. */
	if (spec->place == PL_I && spec->size == SZ_z)
		plan.class = OC_OTHER;
	return plan;
}

/* Does the operand size mean anything? Where it does not, 66 is noise and must not
 * be re-emitted. Helpers and own translators are told it in any case. */
static bool row_has_opsize(const struct insn_row *row)
{
	u32 mask = row->select >> 32;

	if (row->how != HOW_NATIVE || (mask >> KEY_OPSIZE & 3))
		return true;
	for (unsigned i = 0; i < NR_OPERANDS; i++) {
		const struct opnd_spec *o = &opnd_specs[row->op[i]];

		if (o->size == SZ_v || o->size == SZ_z || o->size == SZ_p || o->size == SZ_ma)
			return true;
	}
	return false;
}

static struct insn_plan plan_row(unsigned row)
{
	const struct insn_row *r = &insn_rows[row];
	u32 mask = r->select >> 32, value = (u32)r->select;
	bool pp_fixed = (mask >> KEY_PP & 3) == 3;
	struct insn_plan p = {
		.rules = r->rules, .flags = r->flags, .impl = r->impl, .row = row,
		.attr = r->attr, .how = r->how, .gate = r->gate,
		.uses_vvvv = row_has(r, PLACES_VVVV),
		.vsib = row_has(r, BIT(PL_VSIBX) | BIT(PL_VSIBH)),
		.rm_is_reg = row_has(r, BIT(PL_RR)),
		.pp_fixed = pp_fixed,
		.p66_is_opcode = pp_fixed && (value >> KEY_PP & 3) == PP_66,
		.has_opsize = row_has_opsize(r),
		.w_needs_64 = !(mask >> KEY_W & 1) || row_has(r, PLACES_GPR),
		.checked = row_has(r, BIT(PL_SREG) | BIT(PL_CR) | BIT(PL_DR) | BIT(PL_KG) | BIT(PL_KV)) ||
			   r->map >= TM_E0F,
	};

	for (unsigned i = 0; i < NR_OPERANDS && r->op[i]; i++) {
		p.op[i] = plan_operand(r, i);
		p.nr_ops++;
	}
	return p;
}

static void index_add(unsigned row, u16 at)
{
	u64 s = row_select(&insn_rows[row]);

	insn_keys[at] = (struct insn_key){ .mask = s >> 32, .value = (u32)s };
	insn_plans[at] = plan_row(row);
}

/* ---- The index ---- */

/* A counting sort of the rows by slot that keeps their order. */
__attribute__((constructor)) static void index_build(void)
{
	struct insn_slot *slots = &insn_slots[0][0];
	u16 at = 0;

	for (unsigned i = 0; i < NR_ROWS; i++) {
		struct insn_slot *s = &slots[row_slot(&insn_rows[i])];

		s->count++;
		s->has_modrm |= row_has_modrm(&insn_rows[i]);
	}
	for (unsigned i = 0; i < NR_TABLE_MAPS * 256; i++) {
		slots[i].first = at;
		at += slots[i].count;
		slots[i].count = 0;
	}
	for (unsigned i = 0; i < NR_ROWS; i++) {
		struct insn_slot *s = &slots[row_slot(&insn_rows[i])];

		index_add(i, s->first + s->count++);
	}
}

/* ---- Rows by number ---- */

unsigned insn_nr_rows(void)
{
	return NR_ROWS;
}

const char *insn_row_name(unsigned row)
{
	return insn_rows[row].name;
}

const char *insn_row_map(unsigned row)
{
	static const char names[NR_TABLE_MAPS][4] = { "1B", "0F", "38", "3A", "V0F",
						      "V38", "V3A", "E0F", "E38", "E3A" };

	return names[insn_rows[row].map];
}

u8 insn_row_opcode(unsigned row)
{
	return insn_rows[row].opcode;
}

enum insn_how insn_row_how(unsigned row)
{
	return insn_rows[row].how;
}

const char *insn_row_function(unsigned row)
{
	return insn_rows[row].function;
}

const char *insn_name(const struct insn *i)
{
	return insn_rows[i->row].name;
}
