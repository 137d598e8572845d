// SPDX-License-Identifier: MIT
/*
 * What the rows of insn.def say beside operands (gate, alignment, exceptions,
 * LOCK, privilege, sizes), compared with what Zydis knows of the same bytes.
 * Each row is tried in several random encodings; departures are in tables.
 */
#include "engine/insn.h"

#include <Zydis/Zydis.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "../../lib/insn_gen.h"
#include "../../lib/test.h"
#include "cpu/model.h"

enum { TRIES = 6 };

static const struct insn_mode mode64 = { .code64 = true }, mode32 = { .code32 = true };

/* ---- Gates ---- */

/* FEAT_ of each instruction set; NR_FEATURES: no bit of its own. */
static const struct {
	ZydisISASet set;
	u8 gate;
} gates[] = {
	{ ZYDIS_ISA_SET_ADOX_ADCX, FEAT_ADX },
	{ ZYDIS_ISA_SET_AES, FEAT_AES },
	{ ZYDIS_ISA_SET_AVX, FEAT_AVX },
	{ ZYDIS_ISA_SET_AVX2, FEAT_AVX2 },
	{ ZYDIS_ISA_SET_AVX2GATHER, FEAT_AVX2 },
	{ ZYDIS_ISA_SET_AVX512BW_128, FEAT_AVX512BW },
	{ ZYDIS_ISA_SET_AVX512BW_128N, FEAT_AVX512BW },
	{ ZYDIS_ISA_SET_AVX512BW_256, FEAT_AVX512BW },
	{ ZYDIS_ISA_SET_AVX512BW_512, FEAT_AVX512BW },
	{ ZYDIS_ISA_SET_AVX512BW_KOP, FEAT_AVX512BW },
	{ ZYDIS_ISA_SET_AVX512CD_128, FEAT_AVX512CD },
	{ ZYDIS_ISA_SET_AVX512CD_256, FEAT_AVX512CD },
	{ ZYDIS_ISA_SET_AVX512CD_512, FEAT_AVX512CD },
	{ ZYDIS_ISA_SET_AVX512DQ_128, FEAT_AVX512DQ },
	{ ZYDIS_ISA_SET_AVX512DQ_128N, FEAT_AVX512DQ },
	{ ZYDIS_ISA_SET_AVX512DQ_256, FEAT_AVX512DQ },
	{ ZYDIS_ISA_SET_AVX512DQ_512, FEAT_AVX512DQ },
	{ ZYDIS_ISA_SET_AVX512DQ_KOP, FEAT_AVX512DQ },
	{ ZYDIS_ISA_SET_AVX512DQ_SCALAR, FEAT_AVX512DQ },
	{ ZYDIS_ISA_SET_AVX512F_128, FEAT_AVX512F },
	{ ZYDIS_ISA_SET_AVX512F_128N, FEAT_AVX512F },
	{ ZYDIS_ISA_SET_AVX512F_256, FEAT_AVX512F },
	{ ZYDIS_ISA_SET_AVX512F_512, FEAT_AVX512F },
	{ ZYDIS_ISA_SET_AVX512F_KOP, FEAT_AVX512F },
	{ ZYDIS_ISA_SET_AVX512F_SCALAR, FEAT_AVX512F },
	{ ZYDIS_ISA_SET_AVX512_BITALG_128, FEAT_AVX512_BITALG },
	{ ZYDIS_ISA_SET_AVX512_BITALG_256, FEAT_AVX512_BITALG },
	{ ZYDIS_ISA_SET_AVX512_BITALG_512, FEAT_AVX512_BITALG },
	{ ZYDIS_ISA_SET_AVX512_GFNI_128, FEAT_GFNI },
	{ ZYDIS_ISA_SET_AVX512_GFNI_256, FEAT_GFNI },
	{ ZYDIS_ISA_SET_AVX512_GFNI_512, FEAT_GFNI },
	{ ZYDIS_ISA_SET_AVX512_IFMA_128, FEAT_AVX512_IFMA },
	{ ZYDIS_ISA_SET_AVX512_IFMA_256, FEAT_AVX512_IFMA },
	{ ZYDIS_ISA_SET_AVX512_IFMA_512, FEAT_AVX512_IFMA },
	{ ZYDIS_ISA_SET_AVX512_VAES_128, FEAT_VAES },
	{ ZYDIS_ISA_SET_AVX512_VAES_256, FEAT_VAES },
	{ ZYDIS_ISA_SET_AVX512_VAES_512, FEAT_VAES },
	{ ZYDIS_ISA_SET_AVX512_VBMI2_128, FEAT_AVX512_VBMI2 },
	{ ZYDIS_ISA_SET_AVX512_VBMI2_256, FEAT_AVX512_VBMI2 },
	{ ZYDIS_ISA_SET_AVX512_VBMI2_512, FEAT_AVX512_VBMI2 },
	{ ZYDIS_ISA_SET_AVX512_VBMI_128, FEAT_AVX512_VBMI },
	{ ZYDIS_ISA_SET_AVX512_VBMI_256, FEAT_AVX512_VBMI },
	{ ZYDIS_ISA_SET_AVX512_VBMI_512, FEAT_AVX512_VBMI },
	{ ZYDIS_ISA_SET_AVX512_VNNI_128, FEAT_AVX512_VNNI },
	{ ZYDIS_ISA_SET_AVX512_VNNI_256, FEAT_AVX512_VNNI },
	{ ZYDIS_ISA_SET_AVX512_VNNI_512, FEAT_AVX512_VNNI },
	{ ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_128, FEAT_VPCLMULQDQ },
	{ ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_256, FEAT_VPCLMULQDQ },
	{ ZYDIS_ISA_SET_AVX512_VPCLMULQDQ_512, FEAT_VPCLMULQDQ },
	{ ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_128, FEAT_AVX512_VPOPCNTDQ },
	{ ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_256, FEAT_AVX512_VPOPCNTDQ },
	{ ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_512, FEAT_AVX512_VPOPCNTDQ },
	{ ZYDIS_ISA_SET_AVXAES, FEAT_AES },
	{ ZYDIS_ISA_SET_AVX_GFNI, FEAT_GFNI },
	{ ZYDIS_ISA_SET_BMI1, FEAT_BMI1 },
	{ ZYDIS_ISA_SET_BMI2, FEAT_BMI2 },
	{ ZYDIS_ISA_SET_CLFLUSHOPT, FEAT_CLFLUSHOPT },
	{ ZYDIS_ISA_SET_CLFSH, FEAT_CLFSH },
	{ ZYDIS_ISA_SET_CLWB, FEAT_CLWB },
	{ ZYDIS_ISA_SET_CMOV, FEAT_CMOV },
	{ ZYDIS_ISA_SET_CMPXCHG16B, FEAT_CX16 },
	{ ZYDIS_ISA_SET_F16C, FEAT_F16C },
	{ ZYDIS_ISA_SET_FAT_NOP, NR_FEATURES },
	{ ZYDIS_ISA_SET_FCMOV, FEAT_CMOV },
	{ ZYDIS_ISA_SET_FMA, FEAT_FMA },
	{ ZYDIS_ISA_SET_FXSAVE, FEAT_FXSR },
	{ ZYDIS_ISA_SET_FXSAVE64, FEAT_FXSR },
	{ ZYDIS_ISA_SET_GFNI, FEAT_GFNI },
	{ ZYDIS_ISA_SET_I186, NR_FEATURES },
	{ ZYDIS_ISA_SET_I286PROTECTED, NR_FEATURES },
	{ ZYDIS_ISA_SET_I286REAL, NR_FEATURES },
	{ ZYDIS_ISA_SET_I386, NR_FEATURES },
	{ ZYDIS_ISA_SET_I486, NR_FEATURES },
	{ ZYDIS_ISA_SET_I486REAL, NR_FEATURES },
	{ ZYDIS_ISA_SET_I86, NR_FEATURES },
	{ ZYDIS_ISA_SET_INVPCID, FEAT_INVPCID },
	{ ZYDIS_ISA_SET_LAHF, NR_FEATURES },
	{ ZYDIS_ISA_SET_LONGMODE, NR_FEATURES },
	{ ZYDIS_ISA_SET_LZCNT, FEAT_LZCNT },
	{ ZYDIS_ISA_SET_MONITOR, FEAT_MONITOR },
	{ ZYDIS_ISA_SET_MOVBE, FEAT_MOVBE },
	{ ZYDIS_ISA_SET_PAUSE, NR_FEATURES },
	{ ZYDIS_ISA_SET_PCLMULQDQ, FEAT_PCLMULQDQ },
	{ ZYDIS_ISA_SET_PENTIUMMMX, FEAT_MMX },
	{ ZYDIS_ISA_SET_PKU, FEAT_PKU },
	{ ZYDIS_ISA_SET_POPCNT, FEAT_POPCNT },
	{ ZYDIS_ISA_SET_PPRO, NR_FEATURES },
	{ ZYDIS_ISA_SET_PREFETCH_NOP, NR_FEATURES },
	{ ZYDIS_ISA_SET_RDPID, FEAT_RDPID },
	{ ZYDIS_ISA_SET_RDPMC, NR_FEATURES },
	{ ZYDIS_ISA_SET_RDRAND, FEAT_RDRAND },
	{ ZYDIS_ISA_SET_RDSEED, FEAT_RDSEED },
	{ ZYDIS_ISA_SET_RDTSCP, FEAT_RDTSCP },
	{ ZYDIS_ISA_SET_RDWRFSGS, FEAT_FSGSBASE },
	{ ZYDIS_ISA_SET_SHA, FEAT_SHA },
	{ ZYDIS_ISA_SET_SMAP, FEAT_SMAP },
	{ ZYDIS_ISA_SET_SSE, FEAT_SSE },
	{ ZYDIS_ISA_SET_SSE2, FEAT_SSE2 },
	{ ZYDIS_ISA_SET_SSE2MMX, FEAT_SSE2 },
	{ ZYDIS_ISA_SET_SSE3, FEAT_SSE3 },
	{ ZYDIS_ISA_SET_SSE3X87, FEAT_SSE3 },
	{ ZYDIS_ISA_SET_SSE4, FEAT_SSE4_1 },
	{ ZYDIS_ISA_SET_SSE42, FEAT_SSE4_2 },
	{ ZYDIS_ISA_SET_SSEMXCSR, FEAT_SSE },
	{ ZYDIS_ISA_SET_SSE_PREFETCH, NR_FEATURES },
	{ ZYDIS_ISA_SET_SSSE3, FEAT_SSSE3 },
	{ ZYDIS_ISA_SET_SSSE3MMX, FEAT_SSSE3 },
	{ ZYDIS_ISA_SET_VAES, FEAT_VAES },
	{ ZYDIS_ISA_SET_VMFUNC, FEAT_VMX },
	{ ZYDIS_ISA_SET_VPCLMULQDQ, FEAT_VPCLMULQDQ },
	{ ZYDIS_ISA_SET_VTX, FEAT_VMX },
	{ ZYDIS_ISA_SET_WAITPKG, FEAT_WAITPKG },
	{ ZYDIS_ISA_SET_X87, FEAT_FPU },
	{ ZYDIS_ISA_SET_XSAVE, FEAT_XSAVE },
	{ ZYDIS_ISA_SET_XSAVEC, FEAT_XSAVEC },
	{ ZYDIS_ISA_SET_XSAVEOPT, FEAT_XSAVEOPT },
	{ ZYDIS_ISA_SET_XSAVES, FEAT_XSAVES },
};

static bool gate_known(ZydisISASet set, u8 *gate)
{
	for (unsigned k = 0; k < ARRAY_SIZE(gates); k++) {
		if (gates[k].set == set) {
			*gate = gates[k].gate;
			return true;
		}
	}
	return false;
}

/* ---- Comparisons: NULL or what differs ---- */

static const struct departure {
	const char *names, *difference, *reason;
} departures[] = {
	{ "rdtsc rdmsr wrmsr syscall sysret sysenter sysexit swapgs cmpxchg8b", "gate",
	  "Zydis gives the processor that had it first" },
	{ "pshufw psadbw pmulhuw pminub pminsw pmaxub pmaxsw pinsrw pextrw pavgb pavgw movntq maskmovq",
	  "gate", "on MMX registers, but of SSE" },
	{ "fcomi fcomip fucomi fucomip", "gate", "as FCMOV: the SDM wants CMOV and FPU" },
	{ "vpclmulqdq", "gate", "PCLMULQDQ for 128 bits by VEX" },
	{ "prefetchwt1", "gate", "a NOP where it is not known" },
	{ "movups movupd movdqu lddqu pcmp?str?", "alignment", "the exceptions that their class allows" },
	{ "sha*", "alignment", "AMD does without: the host decides" },
	{ "cmpxchg16b cvtpd2pi cvttpd2pi", "alignment", "SDM: #GP when not aligned on 16 bytes" },
	{ "div idiv ldmxcsr vldmxcsr", "exceptions", "#DE, #GP: the host raises them" },
	{ "vcvtph2ps vcvtps2ph", "exceptions", "class 11 has floating-point exceptions" },
	{ "vucomis? vcomis? vcvts?2?si vcvts?2si vcvttss2* vcvttsd2* vcvt*si2s?", "exceptions",
	  "class E3NF has them too" },
	{ "vcvtdq2pd vcvtudq2pd", "exceptions", "cannot happen; the rule is only permission" },
	{ "clac stac monitor mwait vm* inv*", "privilege", "#UD, or after other checks: the helper's" },
	{ "lgdt", "privilege", "Zydis forgets it" },
	{ "sbb", "undefined flags", "SDM: all six by the result" },
	{ "bextr", "undefined flags", "SDM: AF, SF, PF" },
	{ "fisttp", "unit", "Zydis: SSE3" },
	{ "emms stmxcsr ldmxcsr cvt*", "unit", "Zydis names no register of the unit" },
	{ "mov rd?id rd*base wr*base umonitor umwait tpause", "operand size", "the register's is the mode's" },
	{ "nop", "operand size", "not used" },
};

static bool departs(const struct insn *i, const char *difference)
{
	for (unsigned k = 0; k < ARRAY_SIZE(departures); k++) {
		char copy[300], *save;

		if (strcmp(departures[k].difference, difference))
			continue;
		snprintf(copy, sizeof(copy), "%s", departures[k].names);
		for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
			if (!fnmatch(p, insn_name(i), FNM_CASEFOLD))
				return true;
	}
	return false;
}

static bool compare_gate(const struct insn *i, const ZydisDecodedInstruction *z)
{
	u8 gate;

	return gate_known(z->meta.isa_set, &gate) && gate == i->gate;
}

static bool needs_alignment(const struct insn *i, const ZydisDecodedInstruction *z)
{
	switch (z->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE1:
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE4:
	case ZYDIS_EXCEPTION_CLASS_AVX1:
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E1NF:
		return i->mem.size >= 16;
	default:
		return false;
	}
}

static bool raises_fp_exceptions(const ZydisDecodedInstruction *z)
{
	switch (z->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
		return true;
	default:
		return false;
	}
}

static u32 unit_rules(const ZydisDecodedInstruction *z)
{
	switch (z->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		return z->meta.isa_ext == ZYDIS_ISA_EXT_BMI1 || z->meta.isa_ext == ZYDIS_ISA_EXT_BMI2 ? 0
		       : z->meta.isa_ext == ZYDIS_ISA_EXT_AVX512VEX ? RULE_AVX512 : RULE_AVX;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		return RULE_AVX512;
	default:
		return z->meta.isa_ext == ZYDIS_ISA_EXT_X87 ? RULE_X87 : 0;
	}
}

static bool uses_class(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops,
		       ZydisRegisterClass class)
{
	for (unsigned n = 0; n < z->operand_count; n++)
		if (ops[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(ops[n].reg.value) == class)
			return true;
	return false;
}

static bool compare_units(const struct insn *i, const ZydisDecodedInstruction *z,
			  const ZydisDecodedOperand *ops)
{
	u32 want = unit_rules(z);
	const u32 all = RULE_X87 | RULE_MMX | RULE_SSE | RULE_AVX | RULE_AVX512;

	if (uses_class(z, ops, ZYDIS_REGCLASS_MMX))
		want |= RULE_MMX;
	if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && uses_class(z, ops, ZYDIS_REGCLASS_XMM))
		want |= RULE_SSE;
	return (i->rules & all) == want;
}

static bool compare_vl(const struct insn *i, const ZydisDecodedInstruction *z)
{
	return z->avx.vector_length <= 128 || i->vl == z->avx.vector_length / 8;
}

/* Shifts depend on their counts: ours may be fewer. */
static bool compare_undefined(const struct insn *i, const ZydisDecodedInstruction *z)
{
	u16 theirs = z->cpu_flags ? z->cpu_flags->undefined & FLAGS_ARITH : 0;
	u16 ours = insn_gen_undefined_flags(i);

	return (i->rules & RULE_COUNT) || ours == theirs;
}

static bool shows_opsize(const struct insn *i)
{
	return i->nr_ops && i->op[0].kind == OPND_GPR && i->op[0].slot && i->op[0].size > 1 && i->enc == ENC_LEGACY &&
	       i->map <= MAP_0F && !(i->rules & RULE_SSE);
}

static const char *compare(const struct insn *i, const ZydisDecodedInstruction *z,
			   const ZydisDecodedOperand *ops)
{
	bool fp = i->rules & RULE_FPFAULT;

	if (!compare_gate(i, z) && !departs(i, "gate"))
		return "gate";
	if (i->has_mem && needs_alignment(i, z) != !!(i->rules & RULE_ALIGN) && !departs(i, "alignment"))
		return "alignment";
	if (!(i->rules & (RULE_X87 | RULE_MMX)) && fp != raises_fp_exceptions(z) &&
	    !departs(i, "exceptions"))
		return "exceptions";
	if (i->has_mem && !(i->rules & RULE_LOCKABLE) != !(z->attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK) &&
	    !departs(i, "lock"))
		return "lock";
	if (!(i->rules & RULE_CPL0) != !(z->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) &&
	    !departs(i, "privilege"))
		return "privilege";
	if (i->addrsize != z->address_width / 8 && !departs(i, "address size"))
		return "address size";
	if (shows_opsize(i) && i->opsize != z->operand_width / 8 && !departs(i, "operand size"))
		return "operand size";
	if (!compare_units(i, z, ops) && !departs(i, "unit"))
		return "unit";
	if (!compare_undefined(i, z) && !departs(i, "undefined flags"))
		return "undefined flags";
	if (!compare_vl(i, z) && !departs(i, "vector length"))
		return "vector length";
	return NULL;
}

static void compare_all(struct insn_mode mode, ZydisMachineMode machine, ZydisStackWidth width)
{
	u64 seed = 5;
	ZydisDecoder d;

	ZydisDecoderInit(&d, machine, width);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_FALSE);
	ZydisDecoderEnableMode(&d, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
	for (unsigned n = 0; n < insn_nr_rows() * TRIES; n++) {
		ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
		ZydisDecodedInstruction z;
		struct insn i;
		u8 bytes[INSN_MAX];
		unsigned len;
		const char *why;

		if (!insn_gen(n / TRIES, mode, &seed, bytes, &len))
			continue;
		insn_decode(bytes, len, 0, mode, &i);
		if (i.how == HOW_UD || !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, bytes, len, &z, ops)))
			continue;
		why = compare(&i, &z, ops);
		if (why) {
			char text[100];

			insn_format(&i, text, sizeof(text));
			test_fail(__FILE__, __LINE__, "%s: %s (row %u), Zydis: set %s, class %u", why, text,
				  i.row, ZydisISASetGetString(z.meta.isa_set), z.meta.exception_class);
			n += TRIES - n % TRIES - 1;
		}
	}
}

TEST(insn_rows, agree_with_oracle_64)
{
	compare_all(mode64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
}

TEST(insn_rows, agree_with_oracle_32)
{
	compare_all(mode32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
}
