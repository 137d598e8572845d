// SPDX-License-Identifier: MIT
/*
 * The decoder against an oracle (Zydis) and by hand-written cases.
 *
 * Random instructions, purely random and shaped like real ones, must be
 * accepted by both or by none, with the same length, mnemonic, memory operand,
 * operands, registers and flags. Departures are listed in tables below, each
 * with its reason.
 */
#include "engine/insn.h"

#include <Zydis/Zydis.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../lib/insn_gen.h"
#include "../../lib/test.h"
#include "cpu/model.h"

enum mode { MODE_64, MODE_32, MODE_16, NR_MODES };
static const struct insn_mode modes[NR_MODES] = {
	[MODE_64] = { .code64 = true }, [MODE_32] = { .code32 = true }, [MODE_16] = { 0 },
};
static const char *const mode_names[NR_MODES] = { "64", "32", "16" };

/* ---- The oracle ---- */

static void oracle_init(ZydisDecoder *d, enum mode m)
{
	static const ZydisMachineMode machine[NR_MODES] = {
		ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LEGACY_16,
	};
	static const ZydisStackWidth width[NR_MODES] = {
		ZYDIS_STACK_WIDTH_64, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_16,
	};
	/* Hints that are NOPs for us; KNC and AMD's branches exist nowhere here. */
	static const ZydisDecoderMode off[] = {
		ZYDIS_DECODER_MODE_KNC, ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
		ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYDIS_DECODER_MODE_CLDEMOTE,
		ZYDIS_DECODER_MODE_WBNOINVD,
	};

	ZydisDecoderInit(d, machine[m], width[m]);
	for (unsigned i = 0; i < ARRAY_SIZE(off); i++)
		ZydisDecoderEnableMode(d, off[i], ZYAN_FALSE);
}

/* Extensions that Zydis knows and that our processor never has. */
static bool oracle_isa_is_foreign(const ZydisDecodedInstruction *z)
{
	switch (z->meta.isa_ext) {
	case ZYDIS_ISA_EXT_AMD3DNOW: case ZYDIS_ISA_EXT_AMD_INVLPGB: case ZYDIS_ISA_EXT_AMX_BF16:
	case ZYDIS_ISA_EXT_AMX_INT8: case ZYDIS_ISA_EXT_AMX_TILE: case ZYDIS_ISA_EXT_CET:
	case ZYDIS_ISA_EXT_CLZERO: case ZYDIS_ISA_EXT_ENQCMD: case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_HRESET: case ZYDIS_ISA_EXT_KEYLOCKER: case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
	case ZYDIS_ISA_EXT_KNC: case ZYDIS_ISA_EXT_KNCE: case ZYDIS_ISA_EXT_KNCV:
	case ZYDIS_ISA_EXT_MCOMMIT: case ZYDIS_ISA_EXT_MONITORX: case ZYDIS_ISA_EXT_MOVDIR:
	case ZYDIS_ISA_EXT_PADLOCK: case ZYDIS_ISA_EXT_PCONFIG: case ZYDIS_ISA_EXT_PT:
	case ZYDIS_ISA_EXT_RDPRU: case ZYDIS_ISA_EXT_RTM: case ZYDIS_ISA_EXT_SERIALIZE:
	case ZYDIS_ISA_EXT_SGX: case ZYDIS_ISA_EXT_SGX_ENCLV: case ZYDIS_ISA_EXT_SMX:
	case ZYDIS_ISA_EXT_SNP: case ZYDIS_ISA_EXT_SSE4A: case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_TBM: case ZYDIS_ISA_EXT_TDX: case ZYDIS_ISA_EXT_TSX_LDTRK:
	case ZYDIS_ISA_EXT_UINTR: case ZYDIS_ISA_EXT_XOP: case ZYDIS_ISA_EXT_AVX_VNNI:
		return true;
	default:
		break;
	}
	switch (z->meta.isa_set) {
	case ZYDIS_ISA_SET_AVX512ER_512: case ZYDIS_ISA_SET_AVX512ER_SCALAR:
	case ZYDIS_ISA_SET_AVX512PF_512: case ZYDIS_ISA_SET_AVX512_4FMAPS_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR: case ZYDIS_ISA_SET_AVX512_4VNNIW_512:
	case ZYDIS_ISA_SET_AVX512_BF16_128: case ZYDIS_ISA_SET_AVX512_BF16_256:
	case ZYDIS_ISA_SET_AVX512_BF16_512: case ZYDIS_ISA_SET_AVX512_FP16_128:
	case ZYDIS_ISA_SET_AVX512_FP16_128N: case ZYDIS_ISA_SET_AVX512_FP16_256:
	case ZYDIS_ISA_SET_AVX512_FP16_512: case ZYDIS_ISA_SET_AVX512_FP16_SCALAR:
	case ZYDIS_ISA_SET_AVX512_VP2INTERSECT_128: case ZYDIS_ISA_SET_AVX512_VP2INTERSECT_256:
	case ZYDIS_ISA_SET_AVX512_VP2INTERSECT_512: case ZYDIS_ISA_SET_LWP:
		return true;
	default:
		return z->mnemonic == ZYDIS_MNEMONIC_RSM;
	}
}

static unsigned oracle_gpr(ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
		if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
			return r - ZYDIS_REGISTER_AH;
		break;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		break;
	default:
		return REG_NONE;
	}
	return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r));
}

struct oracle {
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	u16 gpr_read, gpr_written;
};

static void oracle_add_gprs(struct oracle *z, const ZydisDecodedOperand *o)
{
	unsigned r, partial = o->size < 32;

	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		if ((r = oracle_gpr(o->mem.base)) != REG_NONE)
			z->gpr_read |= 1 << r;
		if ((r = oracle_gpr(o->mem.index)) != REG_NONE)
			z->gpr_read |= 1 << r;
	}
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || (r = oracle_gpr(o->reg.value)) == REG_NONE)
		return;
	if ((o->actions & ZYDIS_OPERAND_ACTION_MASK_READ) || partial ||
	    (o->actions & ZYDIS_OPERAND_ACTION_CONDWRITE))
		z->gpr_read |= 1 << r;
	if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		z->gpr_written |= 1 << r;
}

/* Zydis overlooks that [r13d] without displacement is an absolute address after a SIB. */
static void oracle_fix_base(struct oracle *z, ZydisDecodedOperand *o)
{
	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.base == ZYDIS_REGISTER_R13D &&
	    z->i.raw.modrm.mod == 0 && z->i.raw.modrm.rm == 4) {
		o->mem.base = ZYDIS_REGISTER_NONE;
		o->mem.disp.has_displacement = true;
		o->mem.disp.value = z->i.raw.disp.value;
	}
}

static bool oracle_decode(const ZydisDecoder *d, const u8 *bytes, struct oracle *z)
{
	memset(z, 0, sizeof(*z));
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(d, bytes, INSN_MAX, &z->i, z->op)))
		return false;
	for (unsigned n = 0; n < z->i.operand_count; n++) {
		oracle_fix_base(z, &z->op[n]);
		oracle_add_gprs(z, &z->op[n]);
	}
	return !oracle_isa_is_foreign(&z->i);
}

/* ---- Comparison ---- */

/* Where we differ from Zydis on purpose: names of rows or of their functions
 * (patterns), the differences, and the reason. */
static const struct departure {
	const char *names, *differences, *reason;
} departures[] = {
	{ "nop ud0 ud1", "*", "operands that nothing reads: we name them, and access none" },
	{ "prefetch* clflush* clwb invlpg", "memory size",
	  "Zydis says a cache line; we check one byte's address, or none" },
	{ "fldenv fnstenv frstor fnsave fxsave fxrstor xsave* xrstor*", "memory size",
	  "the helper knows the layout; 0 in the table" },
	{ "movsxd", "memory size", "SDM: with 66 it moves r/m16; Zydis reads 32 bits" },
	{ "vblendm* vpblendm*", "operand read", "the mask chooses a source: the destination is not kept" },
	{ "lea", "memory size", "no memory is accessed" },
	{ "popa", "GPRs read", "the helper writes whole registers" },
	{ "syscall", "GPRs read", "the helper writes whole registers" },
	{ "bsf bsr", "* read", "a source of 0 keeps the destination" },
	{ "ffree ffreep", "operand read", "only the tag is written" },
	{ "lar lsl", "GPR operand size", "the source is a selector: 16 bits of any size" },
	{ "lar lsl", "operand read", "kept when the selector is bad" },
	{ "movmskps movmskpd pmovmskb pextrw vmovmsk* vpmovmskb vpextrw", "GPR operand size",
	  "32 and 64 bits are the same: the upper ones are 0" },
	{ "pextrb pinsr* vpextrb vpinsr* extractps vextractps", "GPR operand size", "likewise" },
	{ "int3 int1 int into sysenter sysexit", "GPRs *", "we name the stack pointer" },
	{ "leave", "GPRs read", "the old RSP is not read" },
	{ "vmfunc", "GPRs read", "leaf 0 takes an EPTP index in ECX" },
	{ "ins outs cmps scas movs stos lods", "GPRs written", "Zydis forgets RSI and RDI" },
	{ "syscall sysret int3 int1 int into iret popf pushf", "flags *",
	  "we name only arithmetic flags and DF" },
	{ "vptest vtestps vtestpd", "flags written", "SDM: OF, SF, AF, PF are cleared" },
	{ "vm* inv*", "flags written", "VMfail and VMsucceed set all six" },
};

static bool listed(const char *list, const char *word)
{
	char copy[200], *save;

	snprintf(copy, sizeof(copy), "%s", list);
	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		if (!fnmatch(p, word, FNM_CASEFOLD))
			return true;
	return false;
}

/* NULL when the difference is a known one. */
static const char *judge(const struct insn *i, const char *difference)
{
	if (!difference)
		return NULL;
	for (unsigned k = 0; k < ARRAY_SIZE(departures); k++)
		if (!fnmatch(departures[k].differences, difference, 0) &&
		    (listed(departures[k].names, insn_name(i)) ||
		     listed(departures[k].names, insn_row_function(i->row))))
			return NULL;
	return difference;
}

static const char *compare_names(const struct insn *i, const struct oracle *z)
{
	char ours[32], *p = ours;

	for (const char *s = insn_name(i); *s; s++)
		*p++ = *s >= 'A' && *s <= 'Z' ? *s | 0x20 : *s;
	*p = 0;
	if (!strcmp(ours, ZydisMnemonicGetString(z->i.mnemonic)))
		return NULL;
	return "mnemonic";
}

static const char *compare_memory(const struct insn *i, const struct oracle *z)
{
	const ZydisDecodedOperand *m = NULL;
	unsigned base, index;
	s64 disp;

	for (unsigned n = 0; n < z->i.operand_count_visible; n++)
		if (z->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    z->op[n].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			m = &z->op[n];
	if (i->nr_ops && (i->op[0].kind >= OPND_SI || i->op[1].kind >= OPND_SI))
		return i->has_mem ? "string with memory operand" : NULL;
	if (!m != !i->has_mem)
		return "has memory operand";
	if (!m)
		return NULL;
	base = oracle_gpr(m->mem.base);
	if ((m->mem.base == ZYDIS_REGISTER_RIP || m->mem.base == ZYDIS_REGISTER_EIP) !=
	    i->mem.rip_relative)
		return "rip-relative";
	if (base != i->mem.base)
		return "base";
	index = i->mem.vsib ? (unsigned)ZydisRegisterGetId(m->mem.index) : oracle_gpr(m->mem.index);
	if (index != i->mem.index)
		return "index";
	if (index != REG_NONE && m->mem.scale != i->mem.scale)
		return "scale";
	disp = m->mem.disp.has_displacement ? m->mem.disp.value : 0;
	if ((disp ^ i->mem.disp) & (BIT(8 * i->addrsize - 1) * 2 - 1))
		return "displacement";
	if (m->mem.segment - ZYDIS_REGISTER_ES != i->mem.seg && m->mem.type != ZYDIS_MEMOP_TYPE_AGEN)
		return "segment";
	if (m->size / 8 != i->mem.size)
		return "memory size";
	if (i->mem.read != !!(m->actions & ZYDIS_OPERAND_ACTION_MASK_READ) && i->mem.size)
		return "memory read";
	if (i->mem.written != !!(m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && i->mem.size)
		return "memory written";
	return NULL;
}

static const char *compare_register(const struct insn *i, const struct operand *o,
				    const ZydisDecodedOperand *z)
{
	ZydisRegister r = z->reg.value;
	u8 id = ZydisRegisterGetId(r);

	(void)i;
	switch (o->kind) {
	case OPND_GPR:
	case OPND_GPR8H:
		if (oracle_gpr(r) != o->reg)
			return "GPR operand";
		if ((r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) != (o->kind == OPND_GPR8H))
			return "high byte operand";
		return z->size / 8 == o->size ? NULL : "GPR operand size";
	case OPND_VEC:
		if (ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r) / 8 < o->size)
			return "vector operand size";
		return id == o->reg ? NULL : "vector operand";
	case OPND_MMX:
	case OPND_ST:
	case OPND_K:
	case OPND_CR:
	case OPND_DR:
		return id == o->reg ? NULL : "register operand";
	case OPND_SEG:
		return r - ZYDIS_REGISTER_ES == o->reg ? NULL : "segment operand";
	default:
		return "kind of register operand";
	}
}

static const char *compare_immediate(const struct insn *i, const struct operand *o,
				     const ZydisDecodedOperand *z, bool second)
{
	u64 mask = i->op[0].size >= 8 || o->kind == OPND_REL ? ~0ull : BIT(8 * i->op[0].size) - 1;
	u64 want = z->imm.value.u;

	if (second)
		return want == i->imm2 ? NULL : "second immediate";
	if (i->op[0].kind == OPND_VEC || i->op[0].kind == OPND_MMX || i->op[0].kind == OPND_K ||
	    (z->size == 8 && !z->imm.is_signed))
		mask = 0xff;
	return (want & mask) == (i->imm & mask) ? NULL : "immediate";
}

static const char *compare_operand(const struct insn *i, unsigned n, const ZydisDecodedOperand *z)
{
	const struct operand *o = &i->op[n];
	const char *why = NULL;
	bool read = z->actions & (ZYDIS_OPERAND_ACTION_MASK_READ | ZYDIS_OPERAND_ACTION_CONDWRITE);

	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		why = compare_register(i, o, z);
		/* Scalars that keep the rest of a vector: Zydis calls that a write. */
		if (!why && !read != !o->read && !(o->kind == OPND_VEC && o->size < 16) &&
		    !(o->kind == OPND_VEC && i->op[1].size < 16))
			return "operand read";
		if (!why && o->written != !!(z->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			return "operand written";
		return why;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return o->kind == OPND_MEM || o->kind >= OPND_SI ? NULL : "not a memory operand";
	case ZYDIS_OPERAND_TYPE_POINTER:
		return o->kind == OPND_FAR && i->imm2 == z->ptr.segment && i->imm == z->ptr.offset
			       ? NULL : "far pointer";
	default:
		if (o->kind != OPND_IMM && o->kind != OPND_REL)
			return "not an immediate";
		return compare_immediate(i, o, z, n && i->op[n - 1].kind == OPND_IMM);
	}
}

/* Fixed by the opcode: Zydis calls these implicit or hidden, we list some. */
static bool operand_is_implicit(const struct insn *i, unsigned n)
{
	const struct operand *o = &i->op[n];

	if (o->kind == OPND_IMM)
		return !i->imm_size;
	return o->slot == SLOT_NONE && o->kind != OPND_REL && o->kind != OPND_FAR &&
	       o->kind != OPND_MEM;
}

static unsigned skip_implicit(const struct insn *i, unsigned n)
{
	while (n < i->nr_ops && operand_is_implicit(i, n))
		n++;
	return n;
}

static const char *compare_operands(const struct insn *i, const struct oracle *z)
{
	unsigned ours = skip_implicit(i, 0);

	for (unsigned n = 0; n < z->i.operand_count_visible; n++) {
		const char *why;

		if (z->op[n].visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			continue;

		/* The writemask, which we keep in evex_aaa. */
		if (z->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    z->op[n].encoding == ZYDIS_OPERAND_ENCODING_MASK) {
			if (ZydisRegisterGetId(z->op[n].reg.value) != i->evex_aaa)
				return "mask";
			continue;
		}
		if (ours >= i->nr_ops)
			return "number of operands";
		why = compare_operand(i, ours, &z->op[n]);
		ours = skip_implicit(i, ours + 1);
		if (why)
			return why;
	}
	return ours == i->nr_ops ? NULL : "number of operands";
}

static const char *compare_gprs(const struct insn *i, const struct oracle *z)
{
	if (i->gpr_read != z->gpr_read)
		return "GPRs read";
	if (i->gpr_written != z->gpr_written)
		return "GPRs written";
	return NULL;
}

static const char *compare_flags(const struct insn *i, const struct oracle *z)
{
	const u32 known = FLAGS_ARITH | FLAG_DF;
	const ZydisAccessedFlags *f = z->i.cpu_flags;
	u32 read = f ? f->tested & known : 0, undefined = f ? f->undefined & known : 0;
	u32 defined = f ? (f->modified | f->set_0 | f->set_1) & known & ~f->undefined : 0;
	bool conditional = (i->rules & RULE_COUNT) || (i->rules & RULE_REP);
	/* A division leaves some flags alone, by processor and operands. */
	bool division = i->map == MAP_1B && (i->opcode | 1) == 0xf7 && (i->modrm & 0x30) == 0x30;

	if (division)
		return i->flags_read == undefined && i->flags_written == undefined ? NULL : "flags (division)";
	if (conditional) {
		if (i->flags_written & ~(defined | undefined))
			return "flags written (shift)";
		if (read & ~i->flags_read)
			return "flags read (shift)";
		return (defined & ~(i->flags_written | i->flags_read)) && i->flags_written ? "flags (shift)" : NULL;
	}
	if (i->flags_read != read)
		return "flags read";
	/* An undefined flag may or may not be taken as written. */
	if ((i->flags_written & ~undefined) != (defined & ~undefined))
		return "flags written";
	return NULL;
}

static const char *compare(const ZydisDecoder *d, enum mode mode, const u8 *bytes, struct insn *i,
			   struct oracle *z)
{
	enum decode_result r = insn_decode(bytes, INSN_MAX, 0x1000, modes[mode], i);
	bool ok = oracle_decode(d, bytes, z);
	const char *why;

	if ((r == DECODE_OK) != ok)
		return ok ? "we reject it" : "we accept it";
	if (!ok)
		return NULL;
	if (i->len != z->i.length)
		return "length";
	if ((why = judge(i, compare_names(i, z))) || (why = judge(i, compare_memory(i, z))) ||
	    (why = judge(i, compare_operands(i, z))) || (why = judge(i, compare_gprs(i, z))))
		return why;
	return judge(i, compare_flags(i, z));
}

/* ---- Random bytes ---- */

static u32 rnd(u64 *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

static void random_bytes(u64 *seed, u8 *out, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		out[k] = rnd(seed) >> 3;
}

/* A few prefixes, then an opcode in one of the maps, the rest at random. */
static void shaped_legacy(u64 *seed, u8 *out)
{
	static const u8 prefixes[] = { 0x66, 0x66, 0xf2, 0xf3, 0x67, 0x2e, 0x36, 0x64, 0x65, 0xf0, 0x3e };
	unsigned n = 0;

	while (n < 4 && rnd(seed) % 5 < 2)
		out[n++] = prefixes[rnd(seed) % ARRAY_SIZE(prefixes)];
	if (rnd(seed) % 2)
		out[n++] = 0x40 | rnd(seed) % 16;
	switch (rnd(seed) % 4) {
	case 0: break;
	case 1: out[n++] = 0x0f; break;
	case 2: out[n++] = 0x0f; out[n++] = 0x38; break;
	case 3: out[n++] = 0x0f; out[n++] = 0x3a; break;
	}
}

static void shaped_vex(u64 *seed, u8 *out)
{
	u8 p = rnd(seed) % 2 ? 0x78 : rnd(seed) & 0x78;

	out[0] = 0xc4;
	out[1] = 0xe0 | (rnd(seed) % 3 + 1);
	if (rnd(seed) % 2)
		out[1] ^= rnd(seed) & 0xe0;
	out[2] = (rnd(seed) & 0x87) | p;
}

static void shaped_evex(u64 *seed, u8 *out)
{
	out[0] = 0x62;
	out[1] = 0xf0 | (rnd(seed) % 3 + 1);
	if (rnd(seed) % 2)
		out[1] ^= rnd(seed) & 0xf0;
	out[2] = (rnd(seed) & 0x83) | 4 | (rnd(seed) % 2 ? 0x78 : rnd(seed) & 0x78);
	out[3] = (rnd(seed) & 0x60) | 8;
	if (rnd(seed) % 2)
		out[3] ^= rnd(seed) & 0x1f;
	if (rnd(seed) % 4 == 0)
		out[3] ^= 0x80;
}

static void random_insn(u64 *seed, u8 *out)
{
	random_bytes(seed, out, INSN_MAX);
	switch (rnd(seed) % 8) {
	case 0: break;
	case 1 ... 4: shaped_legacy(seed, out); break;
	case 5: shaped_vex(seed, out); break;
	default: shaped_evex(seed, out); break;
	}
}

/* ---- Reports: one line for each kind of difference and mnemonic ---- */

struct report {
	char seen[400][64];
	unsigned nr_seen, nr_differ;
};

static void report_add(struct report *r, enum mode mode, const u8 *bytes, const struct insn *i,
		       const struct oracle *z, const char *why)
{
	char hex[64], text[100] = "-", key[64];
	const char *name = z->i.mnemonic ? ZydisMnemonicGetString(z->i.mnemonic) : "-";

	r->nr_differ++;
	if (i->len && strstr(why, "reject") == NULL)
		insn_format(i, text, sizeof(text));
	snprintf(key, sizeof(key), "%s %s %.20s", why, name, strstr(why, "accept") ? text : "");
	for (unsigned k = 0; k < r->nr_seen; k++)
		if (!strcmp(r->seen[k], key))
			return;
	if (r->nr_seen == ARRAY_SIZE(r->seen))
		return;
	strcpy(r->seen[r->nr_seen++], key);
	for (unsigned k = 0; k < INSN_MAX; k++)
		sprintf(hex + 2 * k, "%02x", bytes[k]);
	test_fail(__FILE__, __LINE__,
		  "%s (%s bit): %s: oracle %s len %u r %x w %x fl %x/%x, ours %s len %u r %x w %x fl %x/%x", why,
		  mode_names[mode], hex, name, z->i.length, z->gpr_read, z->gpr_written,
		  z->i.cpu_flags ? z->i.cpu_flags->tested : 0,
		  z->i.cpu_flags ? z->i.cpu_flags->modified | z->i.cpu_flags->set_0 | z->i.cpu_flags->set_1 : 0, text, i->len,
		  i->gpr_read, i->gpr_written, i->flags_read, i->flags_written);
}

static void compare_random(enum mode mode, u64 seed, unsigned count)
{
	static struct report report;
	ZydisDecoder d;
	struct oracle z;
	struct insn i;
	u8 bytes[INSN_MAX];

	oracle_init(&d, mode);
	for (unsigned n = 0; n < count; n++) {
		const char *why;

		random_insn(&seed, bytes);
		why = compare(&d, mode, bytes, &i, &z);
		if (why)
			report_add(&report, mode, bytes, &i, &z, why);
	}
	CHECK_EQ(report.nr_differ, 0);
}

static unsigned count_from_env(void)
{
	const char *s = getenv("DECODE_COUNT");

	return s ? atoi(s) : 300000;
}

TEST(decode, agrees_with_oracle_64) { compare_random(MODE_64, 1, count_from_env()); }
TEST(decode, agrees_with_oracle_32) { compare_random(MODE_32, 2, count_from_env()); }
TEST(decode, agrees_with_oracle_16) { compare_random(MODE_16, 3, count_from_env()); }

/* ---- The generator ---- */

TEST(decode, every_row_can_be_generated)
{
	u64 seed = 7;

	for (unsigned row = 0; row < insn_nr_rows(); row++) {
		bool found = false;

		for (unsigned m = 0; m < NR_MODES && !found; m++) {
			u8 bytes[INSN_MAX];
			unsigned len;

			found = insn_gen(row, modes[m], &seed, bytes, &len);
		}
		if (!found)
			test_fail(__FILE__, __LINE__, "row %u: %s %s %02x never matches", row,
				  insn_row_name(row), insn_row_map(row), insn_row_opcode(row));
	}
}

/* Every row in every mode several times, so that rare ones are compared too. */
static void compare_rows(enum mode mode)
{
	static struct report report;
	ZydisDecoder d;
	struct oracle z;
	struct insn i;
	u64 seed = 11;
	u8 bytes[INSN_MAX];
	unsigned len;

	oracle_init(&d, mode);
	for (unsigned n = 0; n < insn_nr_rows() * 8; n++) {
		const char *why;

		if (!insn_gen(n / 8, modes[mode], &seed, bytes, &len))
			continue;
		why = compare(&d, mode, bytes, &i, &z);
		if (why)
			report_add(&report, mode, bytes, &i, &z, why);
	}
	CHECK_EQ(report.nr_differ, 0);
}

TEST(decode, rows_agree_with_oracle_64) { compare_rows(MODE_64); }
TEST(decode, rows_agree_with_oracle_32) { compare_rows(MODE_32); }
TEST(decode, rows_agree_with_oracle_16) { compare_rows(MODE_16); }

/* ---- By hand ---- */

static enum decode_result decode_hex(enum mode mode, const char *hex, struct insn *i)
{
	u8 bytes[32];
	unsigned n = 0, value;

	for (; sscanf(hex + 2 * n, "%2x", &value) == 1; n++)
		bytes[n] = value;
	return insn_decode(bytes, n, 0x1000, modes[mode], i);
}

TEST(decode, asks_for_more_bytes_and_refuses_too_many)
{
	struct insn i;

	CHECK_EQ(decode_hex(MODE_64, "48", &i), DECODE_MORE);
	CHECK_EQ(decode_hex(MODE_64, "488b", &i), DECODE_MORE);
	CHECK_EQ(decode_hex(MODE_64, "488b84", &i), DECODE_MORE);
	CHECK_EQ(decode_hex(MODE_64, "488b8424112233", &i), DECODE_MORE);
	CHECK_EQ(decode_hex(MODE_64, "488b842411223344", &i), DECODE_OK);
	CHECK_EQ(i.len, 8);
	CHECK_EQ(decode_hex(MODE_64, "c5", &i), DECODE_MORE);
	CHECK_EQ(decode_hex(MODE_32, "c5", &i), DECODE_MORE);
	CHECK_EQ(decode_hex(MODE_64, "666666666666666666666666666690", &i), DECODE_OK);
	CHECK_EQ(i.len, 15);
	CHECK_EQ(decode_hex(MODE_64, "66666666666666666666666666666690", &i), DECODE_TOO_LONG);
	CHECK_EQ(decode_hex(MODE_64, "66666666666666666666666666666666", &i), DECODE_TOO_LONG);
}

/* Any prefix of an instruction asks for more, and bytes behind it change nothing. */
TEST(decode, depends_on_its_own_bytes_only)
{
	u64 seed = 3;

	for (unsigned n = 0; n < 60000; n++) {
		u8 bytes[INSN_MAX], cut[INSN_MAX];
		struct insn i, j;

		random_insn(&seed, bytes);
		if (insn_decode(bytes, INSN_MAX, 0, modes[n % NR_MODES], &i) != DECODE_OK)
			continue;
		memset(cut, 0xcc, sizeof(cut));
		memcpy(cut, bytes, i.len);
		CHECK_EQ(insn_decode(cut, i.len, 0, modes[n % NR_MODES], &j), DECODE_OK);
		CHECK_EQ(j.len, i.len);
		CHECK_EQ(j.row, i.row);
		CHECK_EQ(j.imm, i.imm);
		CHECK_EQ(insn_decode(cut, rnd(&seed) % i.len, 0, modes[n % NR_MODES], &j), DECODE_MORE);
	}
}

TEST(decode, rex_counts_only_before_the_opcode)
{
	struct insn i;

	CHECK_EQ(decode_hex(MODE_64, "4801d8", &i), DECODE_OK);
	CHECK_EQ(i.opsize, 8);
	CHECK_EQ(decode_hex(MODE_64, "486601d8", &i), DECODE_OK);
	CHECK_EQ(i.opsize, 2);
	CHECK_EQ(i.rex, 0);
	CHECK_EQ(decode_hex(MODE_64, "664801d8", &i), DECODE_OK);
	CHECK_EQ(i.opsize, 8);
	CHECK_EQ(decode_hex(MODE_64, "88e0", &i), DECODE_OK); /* mov al, ah */
	CHECK_EQ(i.op[1].kind, OPND_GPR8H);
	CHECK_EQ(i.op[1].reg, RAX);
	CHECK_EQ(decode_hex(MODE_64, "4088e0", &i), DECODE_OK); /* mov al, spl */
	CHECK_EQ(i.op[1].kind, OPND_GPR);
	CHECK_EQ(i.op[1].reg, RSP);
}

TEST(decode, lock_needs_a_lockable_memory_destination)
{
	struct insn i;

	CHECK_EQ(decode_hex(MODE_64, "f00103", &i), DECODE_OK); /* lock add [rbx], eax */
	CHECK(i.lock);
	CHECK_EQ(decode_hex(MODE_64, "f001c3", &i), DECODE_UD);
	CHECK_EQ(decode_hex(MODE_64, "f00303", &i), DECODE_UD);
	CHECK_EQ(decode_hex(MODE_64, "f03903", &i), DECODE_UD);
	CHECK_EQ(decode_hex(MODE_64, "f0c5f877", &i), DECODE_UD);
}

TEST(decode, shift_counts_decide_about_flags)
{
	struct insn i;

	CHECK_EQ(decode_hex(MODE_64, "c1e003", &i), DECODE_OK);
	CHECK_EQ(i.flags_written, FLAGS_ARITH);
	CHECK_EQ(decode_hex(MODE_64, "c1e020", &i), DECODE_OK); /* 32 & 31 = 0 */
	CHECK_EQ(i.flags_written, 0);
	CHECK_EQ(decode_hex(MODE_64, "48c1e020", &i), DECODE_OK);
	CHECK_EQ(i.flags_written, FLAGS_ARITH);
	CHECK_EQ(decode_hex(MODE_64, "d3e0", &i), DECODE_OK);
	CHECK_EQ(i.flags_written, 0);
	CHECK_EQ(i.flags_read, FLAGS_ARITH);
	CHECK_EQ(decode_hex(MODE_64, "ffc0", &i), DECODE_OK);
	CHECK_EQ(i.flags_written, FLAGS_ARITH & ~FLAG_CF);
	CHECK_EQ(decode_hex(MODE_64, "f3a6", &i), DECODE_OK); /* rep cmpsb */
	CHECK_EQ(i.flags_written, 0);
	CHECK_EQ(i.rep, 0xf3);
}

/* What a 64-bit host would take otherwise must not be in the struct. */
TEST(decode, is_fit_for_emission_in_64_bit_mode)
{
	struct insn i;

	CHECK_EQ(decode_hex(MODE_32, "c4e1f96ec0", &i), DECODE_OK); /* vmovd xmm0, eax with W */
	CHECK(!i.w);
	CHECK_EQ(decode_hex(MODE_32, "c4e2f0f2c2", &i), DECODE_OK); /* andn with W */
	CHECK(!i.w);
	CHECK_EQ(i.op[0].size, 4);
	CHECK_EQ(decode_hex(MODE_32, "c4e2f598c2", &i), DECODE_OK); /* vfmadd132pd: W is the type */
	CHECK(i.w);
	CHECK_EQ(decode_hex(MODE_32, "8204241a", &i), DECODE_OK);
	CHECK_EQ(i.opcode, 0x80);
	CHECK_EQ(decode_hex(MODE_16, "0f28c1", &i), DECODE_OK); /* movaps: no 66, which would be movapd */
	CHECK_EQ(i.opsize, 4);
	CHECK_EQ(decode_hex(MODE_16, "0fc70f", &i), DECODE_OK);
	CHECK_EQ(i.opsize, 4);
	CHECK_EQ(decode_hex(MODE_16, "01c1", &i), DECODE_OK);
	CHECK_EQ(i.opsize, 2);
}

TEST(decode, formats)
{
	static const struct { const char *hex, *text; } cases[] = {
		{ "480343f8", "add rax, qword [rbx-0x8]" },
		{ "488d0500010000", "lea rax, [0x1107]" },
		{ "e8fbffffff", "call 0x1000" },
		{ "c4e2f598c2", "vfmadd132pd ymm0, ymm1, ymm2" },
		{ "f348a5", "rep movsq qword es:[rdi], qword ds:[rsi]" },
		{ "6683c0ff", "add ax, 0xffff" },
	};
	struct insn i;
	char text[80];

	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		CHECK_EQ(decode_hex(MODE_64, cases[n].hex, &i), DECODE_OK);
		insn_format(&i, text, sizeof(text));
		CHECK_STR(text, cases[n].text);
	}
	insn_format(&i, text, 5);
	CHECK_STR(text, "add ");
}

/* ---- Speed: printed, not judged ---- */

TEST(decode, speed)
{
	static const u8 code[] = {
		0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0x89, 0x7d, 0xec, 0x8b, 0x45, 0xec,
		0x48, 0x8d, 0x14, 0x85, 0x00, 0x00, 0x00, 0x00, 0x48, 0x01, 0xd0, 0x0f, 0xb6, 0x00,
		0x84, 0xc0, 0x74, 0x0a, 0xe8, 0x10, 0x20, 0x00, 0x00, 0xf2, 0x0f, 0x58, 0xc1,
		0x66, 0x0f, 0x6f, 0x06, 0xc5, 0xf5, 0xfe, 0xc2, 0xff, 0x15, 0x12, 0x34, 0x00, 0x00,
		0xc9, 0xc3,
	};
	enum { ROUNDS = 20000 };
	struct timespec from, to;
	unsigned count = 0;
	double ns;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned at = 0; at < sizeof(code); count++) {
			struct insn i;

			insn_decode(code + at, sizeof(code) - at, at, modes[MODE_64], &i);
			at += i.len;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	ns = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
	printf("decode: %.0f ns an instruction\n", ns / count);
}
