/* SPDX-License-Identifier: MIT */
/*
 * A decoded guest instruction, and the decoder.
 *
 * Rows of insn.def say everything that is known of an instruction; the decoder
 * (decode.c) matches bytes to a row and fills a struct insn: which operands,
 * where they are encoded, what is read and written. The translator, the trace,
 * the tests and the CPUID check all read the same struct.
 *
 * Pure: no guest state is touched, any thread may decode.
 */
#ifndef NESTOR_ENGINE_INSN_H
#define NESTOR_ENGINE_INSN_H

#include "base/types.h"
#include "cpu/cpu.h"

/* How the translator makes an instruction happen. NATIVE: re-emitted with
 * operands remapped. HELPER: one C function, helper_NAME() of the row.
 * CUSTOM: its own translator, xl_NAME(). */
enum insn_how { HOW_NATIVE, HOW_HELPER, HOW_CUSTOM, HOW_UD };

enum insn_enc { ENC_LEGACY, ENC_VEX, ENC_EVEX };
enum insn_map { MAP_1B, MAP_0F, MAP_0F38, MAP_0F3A };

/* Row rules, a mask. */
enum {
	RULE_LOCKABLE = 1 << 0,	  /* LOCK is legal with a memory destination */
	RULE_CPL0 = 1 << 1,	  /* #GP(0) when CPL > 0 */
	RULE_NO64 = 1 << 2,	  /* #UD in 64-bit mode */
	RULE_ONLY64 = 1 << 3,	  /* #UD outside 64-bit mode */
	RULE_DEF64 = 1 << 4,	  /* operand size is 64 by default in 64-bit mode (push, jmp, ...) */
	RULE_F64 = 1 << 5,	  /* operand size is 64 whatever the prefixes (near branches) */
	RULE_REP = 1 << 6,	  /* F2/F3 repeat it: a string instruction */
	RULE_IO = 1 << 7,	  /* IOPL and I/O permission map */
	RULE_PROT = 1 << 8,	  /* #UD in real and virtual-8086 mode */
	RULE_SSE = 1 << 9,	  /* CR0.EM, CR4.OSFXSR, CR0.TS */
	RULE_AVX = 1 << 10,	  /* CR4.OSXSAVE, XCR0, CR0.TS */
	RULE_AVX512 = 1 << 11,
	RULE_X87 = 1 << 12,	  /* CR0.EM, CR0.TS; may raise pending #MF first */
	RULE_MMX = 1 << 13,
	RULE_FPFAULT = 1 << 14,	  /* the host may raise SIGFPE or SIGSEGV(SI_KERNEL) here: guest's fault */
	RULE_ENDS_BLOCK = 1 << 15, /* changes flow or mode: last of its block */
	RULE_VMX = 1 << 16,	  /* #UD unless CR4.VMXE etc.: the helper decides */
	RULE_ALIGN = 1 << 17,	  /* memory operand must be aligned to its size (#GP), host checks it */
	RULE_SCALAR_MEM = 1 << 18, /* memory operand need not be contiguous checked as a whole */
	RULE_NOREAD = 1 << 19,	  /* the memory operand's bytes are not accessed (LEA, NOP Ev, prefetch, INVLPG) */
	RULE_XACQ = 1 << 20,	  /* F2/F3 are hints to be dropped */
	RULE_COUNT = 1 << 21,	  /* a shift: a count of 0 keeps all flags */
	RULE_GATHER = 1 << 22,	  /* register operands must differ */
};

enum opnd_kind {
	OPND_NONE,
	OPND_GPR,   /* @reg 0..15, @size 1, 2, 4, 8 */
	OPND_GPR8H, /* AH, CH, DH, BH: @reg is 0..3, the register that holds it */
	OPND_MEM,   /* the one memory operand, see insn.mem */
	OPND_IMM,
	OPND_REL,   /* branch displacement, in insn.imm */
	OPND_FAR,   /* ptr16:16/32, offset in insn.imm, selector in insn.imm2 */
	OPND_VEC,   /* XMM, YMM, ZMM: @reg 0..31, @size 16, 32, 64 or less for scalars */
	OPND_MMX,
	OPND_ST,    /* ST(reg) */
	OPND_K,	    /* opmask */
	OPND_SEG,
	OPND_CR,
	OPND_DR,
	OPND_SI, /* a string element at seg:rSI, seg in insn.mem.seg; has_mem is false */
	OPND_DI, /* a string element at ES:rDI; has_mem is false */
};

/* Where the operand's register number is encoded. */
enum opnd_slot { SLOT_NONE, SLOT_REG, SLOT_RM, SLOT_VVVV, SLOT_OPCODE, SLOT_IS4 };

struct operand {
	u8 kind; /* enum opnd_kind */
	u8 slot; /* enum opnd_slot; SLOT_NONE: fixed by the opcode (AL, CL, DX, ...) */
	u8 reg;
	u8 size; /* bytes */
	bool read, written;
};

enum { NR_OPERANDS = 4, INSN_MAX = 15, REG_NONE = 0xff };

/* EFLAGS masks, at their own bit positions. */
enum { FLAG_CF = 1, FLAG_PF = 4, FLAG_AF = 0x10, FLAG_ZF = 0x40, FLAG_SF = 0x80, FLAG_DF = 0x400,
       FLAG_OF = 0x800, FLAGS_ARITH = 0x8d5 };

struct insn_row; /* insn_row_name() and friends; rows are numbered by insn.row */

/* What decoding depends on besides the bytes. */
struct insn_mode {
	bool code64;  /* CS.L in long mode */
	bool code32;  /* CS.D (when not code64) */
	bool no_tzcnt, no_lzcnt; /* F3 before BSF, BSR means nothing: BMI1, LZCNT not there */
};

struct insn {
	gva_t rip; /* linear-address offset (RIP) of the first byte */
	u8 bytes[INSN_MAX];
	u8 len;

	u16 row; /* index of the row in insn.def */
	u8 how;	 /* enum insn_how */
	u32 rules;
	u8 gate; /* enum cpu_feature that must be there; NR_FEATURES = none */
	u8 gate2; /* another one (AVX512VL), or NR_FEATURES */

	u8 enc; /* enum insn_enc */
	u8 map, opcode;
	u8 mand;     /* mandatory prefix: 0, 0x66, 0xf3, 0xf2 */
	u8 rex;	     /* the REX byte or 0 (VEX and EVEX: their W,R,X,B in the same places, 0x40 unset) */
	u8 rep;	     /* 0, 0xf2, 0xf3: a repeat prefix of a string instruction */
	bool lock;
	u8 seg_override; /* enum seg_reg or REG_NONE */
	u8 opsize;   /* 2, 4, 8: effective operand size */
	u8 addrsize; /* 2, 4, 8 */

	bool has_modrm;
	u8 modrm;    /* the byte itself */
	u8 reg, rm;  /* with REX/VEX/EVEX extension bits, 0..31 */
	u8 vvvv;     /* 0..31 */
	u8 vl;	     /* vector length in bytes: 16, 32, 64; 0 for legacy */
	bool w;
	u8 evex_aaa;
	bool evex_z, evex_b;
	u8 evex_ll;  /* L'L as encoded (rounding mode with evex_b and a register) */

	/* The memory operand; valid when has_mem. */
	bool has_mem;
	struct {
		u8 seg;	  /* enum seg_reg in effect */
		u8 base;  /* GPR or REG_NONE */
		u8 index; /* GPR or REG_NONE; a vector register when vsib */
		u8 scale; /* 1, 2, 4, 8 */
		bool rip_relative; /* @disp is from the end of the instruction */
		bool vsib;
		s64 disp; /* disp8*N already scaled */
		u8 size;  /* bytes accessed, 0 when none or special (XSAVE, ...) */
		bool read, written;
	} mem;

	/* Sign-extended to 64 bits where the operand is wider than the encoding, and
	 * for 16- and 32-bit immediates of ALU operations and PUSH; otherwise
	 * zero-extended (8-bit operands, shift counts, ports, MOV Zv, RET). Relative
	 * branches: the signed displacement from insn_next(). */
	u64 imm;
	u8 imm_size; /* bytes in the encoding, at the end (both immediates) */
	u16 imm2;    /* ENTER's second, far pointer's selector */

	struct operand op[NR_OPERANDS];
	u8 nr_ops;

	/* Masks over all operands, implicit ones and address registers. A write that keeps
	 * part of the register (8 and 16 bits, CMOV, BSF) counts as read too. */
	u16 gpr_read, gpr_written;
	u16 flags_read;
	u16 flags_written; /* bits that are always overwritten, defined or undefined, never dependent
			    * on the old value (a shift by CL may keep all: those count as read) */
};

enum decode_result {
	DECODE_OK,
	DECODE_UD,	/* #UD; len is where the decoder stopped */
	DECODE_MORE,	/* @avail bytes were not enough (and < 15) */
	DECODE_TOO_LONG, /* more than 15 bytes: #GP(0) */
};

enum decode_result insn_decode(const u8 *bytes, unsigned avail, gva_t rip, struct insn_mode mode,
			       struct insn *res);

const char *insn_name(const struct insn *i); /* the row's mnemonic, in capitals */

/* Rows by number: for dispatch tables, tests and coverage. */
unsigned insn_nr_rows(void);
const char *insn_row_name(unsigned row);
const char *insn_row_map(unsigned row);	     /* "1B", "0F", "V38", "E3A", ... */
u8 insn_row_opcode(unsigned row);
enum insn_how insn_row_how(unsigned row);
const char *insn_row_function(unsigned row); /* F of HELPER(F) and CUSTOM(F), else "" */
/* "add rax, [rbx+8]": for traces and dumps; not for parsing. */
void insn_format(const struct insn *i, char *buf, size_t size);

/* Host functions by row, from the last column of insn.def:
 *
 *	static helper_fn *const helpers[] = {
 *	#define NATIVE NULL
 *	#define UD NULL
 *	#define CUSTOM(f) NULL
 *	#define HELPER(f) helper_##f
 *	#define INSN(name, map, pfx, op, ext, o1, o2, o3, o4, acc, fl, impl, gate, rules, how) how,
 *	#define EINSN(name, map, pfx, op, ext, o1, o2, o3, o4, acc, fl, attr, gate, rules, how) how,
 *	#include "engine/insn.def"
 *	};
 */

static inline gva_t insn_next(const struct insn *i)
{
	return i->rip + i->len;
}

#endif
