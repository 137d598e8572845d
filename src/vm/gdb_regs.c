// SPDX-License-Identifier: MIT
/*
 * gdb's registers as rows. The order within a feature and the names of the
 * first three are gdb's ("Standard Target Features", i386); the last is our own:
 * what a kernel's developer looks for.
 */
#include "vm/gdb_regs.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* How a register lies in struct cpu_state. */
enum how {
	PLAIN,	  /* little-endian bytes at the offset */
	SELECTOR, /* of a struct seg at the offset, shown as 32 bits */
	X87_16,	  /* 16 bits in the XSAVE area, shown as 32 */
	X87_TAG,  /* the abridged tag word */
	X87_HIGH, /* upper half of FIP or FDP, shown as 32 bits */
};

struct reg_row {
	const char *name;
	const char *type;
	u8 bytes;
	u8 how;
	u32 offset;
	const char *feature; /* set on the first row of each */
};

#define CPU(member)  offsetof(struct cpu_state, member)
#define XS(off)	     (offsetof(struct cpu_state, xsave) + (off))
#define GPR(n, r)    { n, "int64", 8, PLAIN, CPU(gpr[r]), NULL }
#define SEL(n, r)    { n, "int32", 4, SELECTOR, CPU(seg[r]), NULL }
#define ST(n, i)     { n, "i387_ext", 10, PLAIN, XS(32 + 16 * (i)), NULL }
#define X87(n, h, o) { n, "int", 4, h, XS(o), NULL }
#define XMM(n, i)    { n, "vec128", 16, PLAIN, XS(160 + 16 * (i)), NULL }
#define SYS(n, m)    { n, "int64", 8, PLAIN, CPU(m), NULL }

static const struct reg_row regs[] = {
	{ "rax", "int64", 8, PLAIN, CPU(gpr[RAX]), "org.gnu.gdb.i386.core" },
	GPR("rbx", RBX), GPR("rcx", RCX), GPR("rdx", RDX), GPR("rsi", RSI), GPR("rdi", RDI),
	{ "rbp", "data_ptr", 8, PLAIN, CPU(gpr[RBP]), NULL },
	{ "rsp", "data_ptr", 8, PLAIN, CPU(gpr[RSP]), NULL },
	GPR("r8", R8), GPR("r9", R9), GPR("r10", R10), GPR("r11", R11), GPR("r12", R12),
	GPR("r13", R13), GPR("r14", R14), GPR("r15", R15),
	{ "rip", "code_ptr", 8, PLAIN, CPU(rip), NULL },
	{ "eflags", "i386_eflags", 4, PLAIN, CPU(rflags), NULL },
	SEL("cs", SEG_CS), SEL("ss", SEG_SS), SEL("ds", SEG_DS), SEL("es", SEG_ES),
	SEL("fs", SEG_FS), SEL("gs", SEG_GS),
	ST("st0", 0), ST("st1", 1), ST("st2", 2), ST("st3", 3), ST("st4", 4), ST("st5", 5),
	ST("st6", 6), ST("st7", 7),
	X87("fctrl", X87_16, 0), X87("fstat", X87_16, 2), X87("ftag", X87_TAG, 4),
	X87("fiseg", X87_HIGH, 12), X87("fioff", PLAIN, 8), X87("foseg", X87_HIGH, 20),
	X87("fooff", PLAIN, 16), X87("fop", X87_16, 6),
	{ "xmm0", "vec128", 16, PLAIN, XS(160), "org.gnu.gdb.i386.sse" },
	XMM("xmm1", 1), XMM("xmm2", 2), XMM("xmm3", 3), XMM("xmm4", 4), XMM("xmm5", 5),
	XMM("xmm6", 6), XMM("xmm7", 7), XMM("xmm8", 8), XMM("xmm9", 9), XMM("xmm10", 10),
	XMM("xmm11", 11), XMM("xmm12", 12), XMM("xmm13", 13), XMM("xmm14", 14), XMM("xmm15", 15),
	{ "mxcsr", "i386_mxcsr", 4, PLAIN, XS(24), NULL },
	{ "fs_base", "int64", 8, PLAIN, CPU(seg[SEG_FS].base), "org.gnu.gdb.i386.segments" },
	{ "gs_base", "int64", 8, PLAIN, CPU(seg[SEG_GS].base), NULL },
	{ "k_gs_base", "int64", 8, PLAIN, CPU(msr.kernel_gs_base), "nestor.x86.system" },
	SYS("cr0", cr0), SYS("cr2", cr2), SYS("cr3", cr3), SYS("cr4", cr4), SYS("cr8", cr8),
	SYS("efer", msr.efer), SYS("cs_base", seg[SEG_CS].base), SYS("ss_base", seg[SEG_SS].base),
	SYS("ds_base", seg[SEG_DS].base), SYS("es_base", seg[SEG_ES].base),
	SYS("gdt_base", gdtr.base), SYS("idt_base", idtr.base), SYS("tr_base", tr.base),
	SYS("dr6", dr6), SYS("dr7", dr7), SYS("xcr0", xcr0),
};

enum { NR_CORE = 16 + 2 + 6 + 8 + 8 };

unsigned gdb_nr_regs(void)
{
	return ARRAY_SIZE(regs);
}

unsigned gdb_nr_core_regs(void)
{
	return NR_CORE + 17; /* with SSE: what gdb expects in `g` before it asks for more */
}

unsigned gdb_reg_size(unsigned n)
{
	return regs[n].bytes;
}

/* ---- The x87 tag word: FXSAVE keeps one bit a register, gdb wants two. ---- */

static u32 st_tag(const u8 *st)
{
	u64 mantissa;
	u16 exponent;

	memcpy(&mantissa, st, 8);
	memcpy(&exponent, st + 8, 2);
	exponent &= 0x7fff;
	if (exponent == 0x7fff)
		return 2; /* special */
	if (!exponent)
		return mantissa ? 2 : 1; /* denormal, zero */
	return mantissa >> 63 ? 0 : 2; /* valid, unnormal */
}

static u32 full_tag(const u8 *xsave)
{
	unsigned top = xsave[3] >> 3 & 7;
	u32 tag = 0;

	for (unsigned i = 0; i < 8; i++) { /* physical register */
		const u8 *st = xsave + 32 + 16 * ((i - top) & 7);
		tag |= (xsave[4] >> i & 1 ? st_tag(st) : 3) << (2 * i);
	}
	return tag;
}

static u8 abridged_tag(u32 tag)
{
	u8 res = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((tag >> (2 * i) & 3) != 3)
			res |= (u8)(1 << i);
	return res;
}

/* ---- Access ---- */

static u32 get_short(const u8 *at)
{
	u16 v;

	memcpy(&v, at, sizeof(v));
	return v;
}

void gdb_reg_get(const struct cpu_state *s, unsigned n, u8 *to)
{
	const struct reg_row *r = &regs[n];
	const u8 *at = (const u8 *)s + r->offset;
	u32 v;

	if (r->how == PLAIN) {
		memcpy(to, at, r->bytes);
		return;
	}
	if (r->how == SELECTOR)
		v = ((const struct seg *)(const void *)at)->sel;
	else if (r->how == X87_TAG)
		v = full_tag(s->xsave);
	else
		v = get_short(at);
	memcpy(to, &v, sizeof(v));
}

bool gdb_reg_set(struct cpu_state *s, unsigned n, const u8 *from)
{
	const struct reg_row *r = &regs[n];
	u8 *at = (u8 *)s + r->offset;

	switch ((enum how)r->how) {
	case PLAIN:
		memcpy(at, from, r->bytes);
		return true;
	case X87_16:
	case X87_HIGH:
		memcpy(at, from, 2);
		return true;
	case X87_TAG:
		*at = abridged_tag(get_short(from));
		return true;
	case SELECTOR: /* a selector alone, without its descriptor, means little */
		break;
	}
	u8 now[GDB_REG_MAX_SIZE];
	gdb_reg_get(s, n, now);
	return !memcmp(now, from, r->bytes);
}

/* ---- target.xml ---- */

struct text {
	char *buf;
	size_t size, len;
};

static void PRINTF(2, 3) add(struct text *t, const char *fmt, ...)
{
	bool room = t->len < t->size;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(room ? t->buf + t->len : NULL, room ? t->size - t->len : 0, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n;
}

static void add_flags(struct text *t, const char *id, const char *const *names, unsigned size)
{
	add(t, "<flags id=\"%s\" size=\"4\">", id);
	for (unsigned i = 0; i < size; i++)
		if (names[i])
			add(t, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", names[i], i, i);
	add(t, "</flags>");
}

static void add_types(struct text *t, const char *feature)
{
	static const char *const eflags[] = {
		"CF", NULL, "PF", NULL, "AF", NULL, "ZF", "SF", "TF", "IF", "DF", "OF", NULL, NULL,
		"NT", NULL, "RF", "VM", "AC", "VIF", "VIP", "ID",
	};
	static const char *const mxcsr[] = {
		"IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM",
		NULL, NULL, "FZ",
	};

	if (strstr(feature, "core"))
		add_flags(t, "i386_eflags", eflags, ARRAY_SIZE(eflags));
	if (!strstr(feature, "sse"))
		return;
	add(t, "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
	       "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	       "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
	       "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	       "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
	       "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	       "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
	       "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
	       "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
	       "<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/>"
	       "</union>");
	add_flags(t, "i386_mxcsr", mxcsr, ARRAY_SIZE(mxcsr));
}

int gdb_target_xml(char *buf, size_t size)
{
	struct text t = { .buf = buf, .size = size };

	add(&t, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
		"<architecture>i386:x86-64</architecture>");
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		const struct reg_row *r = &regs[i];

		if (r->feature) {
			add(&t, "%s<feature name=\"%s\">", i ? "</feature>" : "", r->feature);
			add_types(&t, r->feature);
		}
		add(&t, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"/>", r->name,
		    r->bytes * 8u, r->type, i);
	}
	add(&t, "</feature></target>");
	return (int)t.len;
}
