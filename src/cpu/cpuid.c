// SPDX-License-Identifier: MIT
/*
 * CPUID as computed from a processor model and a vCPU's state: feature bits from
 * the rows of x86/cpuid.def, and a function per leaf for what is no bit.
 *
 * Time. CPUID leaf 15H gives a crystal of the TSC's own frequency, ratio 1:1;
 * Linux then trusts the TSC without calibration, and takes the crystal for the
 * APIC timer's clock, which it is (cpu/lapic.c).
 */
#include "cpu/model_internal.h"

#include "x86/regs.h"

const struct feature features[NR_FEATURES] = {
#define FEATURE(name, leaf, subleaf, reg, bit, text)                                               \
	[FEAT_##name] = { #name, text, leaf, subleaf, reg, bit },
#include "x86/cpuid.def"
#undef FEATURE
};

enum { MAX_BASIC = 0x16, MAX_EXTENDED = 0x80000008, HYPERVISOR_BASE = 0x40000000,
       HYPERVISOR_TIMING = 0x40000010 };

static const char vendor[] = "GenuineIntel";
static const char signature[] = "NestorNestor";
static const char brand[48] = "Nestor Virtual Processor";

/* What CPUID depends on. */
struct query {
	const struct cpu_model *m;
	const struct cpu_state *s; /* may be NULL */
	u64 apic_base;
	unsigned index;
	u32 leaf, subleaf;
};

typedef void leaf_fn(const struct query *q, u32 r[4]);

static u32 text_word(const char *text, unsigned n)
{
	return (u8)text[4 * n] | (u32)(u8)text[4 * n + 1] << 8 | (u32)(u8)text[4 * n + 2] << 16 |
	       (u32)(u8)text[4 * n + 3] << 24;
}

static unsigned log2_up(unsigned n)
{
	unsigned bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* Logical processor IDs that a package reserves. */
static u32 package_ids(const struct cpu_model *m)
{
	return 1u << log2_up(m->nr_cpus);
}

static u64 query_xcr0(const struct query *q)
{
	return q->s ? q->s->xcr0 : XCR0_X87;
}

static void leaf_0(const struct query *q, u32 r[4])
{
	(void)q;
	r[EAX] = MAX_BASIC;
	r[EBX] = text_word(vendor, 0);
	r[EDX] = text_word(vendor, 1);
	r[ECX] = text_word(vendor, 2);
}

static void leaf_1(const struct query *q, u32 r[4])
{
	enum { OSXSAVE = 27, CLFLUSH_QWORDS = 8 };

	r[EAX] = CPU_SIGNATURE;
	r[EBX] = q->index << 24 | MIN(package_ids(q->m), 255u) << 16 | CLFLUSH_QWORDS << 8;
	if (q->s && (q->s->cr4 & CR4_OSXSAVE))
		r[ECX] |= 1u << OSXSAVE;
	if (!(q->apic_base & BIT(11)))
		r[EDX] &= ~(1u << features[FEAT_APIC].bit);
}

/* Caches are in leaf 4 (FFH); TLBs and prefetch as of a common server core. */
static void leaf_2(const struct query *q, u32 r[4])
{
	(void)q;
	r[EAX] = 0x76036301;
	r[EBX] = 0x00f0b5ff;
	r[EDX] = 0x00c30000;
}

static const struct {
	u8 type, level; /* type: 1 data, 2 instruction, 3 unified */
	u16 ways;
	u32 sets;
	bool shared; /* by the package */
} caches[] = {
	{ 1, 1, 8, 64, false },		/* 32 KiB */
	{ 2, 1, 8, 64, false },		/* 32 KiB */
	{ 3, 2, 16, 1024, false },	/* 1 MiB */
	{ 3, 3, 16, 16384, true },	/* 16 MiB */
};

static void leaf_4(const struct query *q, u32 r[4])
{
	u32 ids = package_ids(q->m);

	if (q->subleaf >= ARRAY_SIZE(caches))
		return;
	r[EAX] = caches[q->subleaf].type | (u32)caches[q->subleaf].level << 5 | 1u << 8 |
		 (caches[q->subleaf].shared ? ids - 1 : 0) << 14 | (MIN(ids, 64u) - 1) << 26;
	r[EBX] = 63 | (caches[q->subleaf].ways - 1u) << 22;
	r[ECX] = caches[q->subleaf].sets - 1;
	r[EDX] = caches[q->subleaf].shared ? 1u << 1 : 0; /* inclusive */
}

static void leaf_7(const struct query *q, u32 r[4])
{
	if (q->subleaf == 0 && (cpu_has(q->m, FEAT_AVX_VNNI) || cpu_has(q->m, FEAT_AVX512_BF16)))
		r[EAX] = 1;
}

/* One thread per core, all cores in one package. */
static void leaf_b(const struct query *q, u32 r[4])
{
	enum { SMT = 1, CORE = 2 };

	r[ECX] = q->subleaf & 0xff;
	r[EDX] = q->index;
	if (q->subleaf == 0) {
		r[EBX] = 1;
		r[ECX] |= SMT << 8;
	} else if (q->subleaf == 1) {
		r[EAX] = log2_up(q->m->nr_cpus);
		r[EBX] = q->m->nr_cpus;
		r[ECX] |= CORE << 8;
	}
}

u32 cpu_model_xsave_size(const struct cpu_model *m, u64 mask, bool compacted)
{
	u32 size = 512 + 64;

	for (unsigned i = 2; i < 63; i++) {
		if (!(mask & BIT(i)))
			continue;
		if (!compacted) {
			size = MAX(size, m->xsave_offset[i] + m->xsave_size[i]);
			continue;
		}
		if (m->xsave_aligned & BIT(i))
			size = ALIGN_UP(size, 64u);
		size += m->xsave_size[i];
	}
	return size;
}

static void leaf_d(const struct query *q, u32 r[4])
{
	const struct cpu_model *m = q->m;
	u64 xss = q->s ? q->s->msr.xss : 0;

	if (!cpu_has(m, FEAT_XSAVE))
		return;
	if (q->subleaf == 0) {
		r[EAX] = (u32)m->xcr0_allowed;
		r[EBX] = cpu_model_xsave_size(m, query_xcr0(q), false);
		r[ECX] = cpu_model_xsave_size(m, m->xcr0_allowed, false);
		r[EDX] = (u32)(m->xcr0_allowed >> 32);
	} else if (q->subleaf == 1) {
		if (cpu_has(m, FEAT_XSAVEC))
			r[EBX] = cpu_model_xsave_size(m, query_xcr0(q) | xss, true);
	} else if (q->subleaf < 63 && (m->xcr0_allowed & BIT(q->subleaf))) {
		r[EAX] = m->xsave_size[q->subleaf];
		r[EBX] = m->xsave_offset[q->subleaf];
		r[ECX] = (m->xsave_aligned & BIT(q->subleaf)) ? 2 : 0;
	}
}

static void leaf_15(const struct query *q, u32 r[4])
{
	r[EAX] = r[EBX] = 1;
	r[ECX] = (u32)q->m->tsc_hz;
	if (q->m->tsc_hz > UINT32_MAX) { /* TSC = crystal * 2 */
		r[EBX] = 2;
		r[ECX] = (u32)(q->m->tsc_hz / 2);
	}
}

static void leaf_16(const struct query *q, u32 r[4])
{
	u32 mhz = (u32)((q->m->tsc_hz + 500000) / 1000000);

	r[EAX] = r[EBX] = mhz;
	r[ECX] = 100;
}

static void leaf_hv_0(const struct query *q, u32 r[4])
{
	(void)q;
	r[EAX] = HYPERVISOR_TIMING;
	r[EBX] = text_word(signature, 0);
	r[ECX] = text_word(signature, 1);
	r[EDX] = text_word(signature, 2);
}

/* TSC and APIC timer in kHz, where VMware put them first. */
static void leaf_hv_timing(const struct query *q, u32 r[4])
{
	r[EAX] = r[EBX] = (u32)(q->m->tsc_hz / 1000);
}

static void leaf_ext_0(const struct query *q, u32 r[4])
{
	(void)q;
	r[EAX] = MAX_EXTENDED;
}

/* Intel processors have SYSCALL in 64-bit mode only, and say so. */
static void leaf_ext_1(const struct query *q, u32 r[4])
{
	bool code64 = !q->s || ((q->s->msr.efer & EFER_LMA) && (q->s->seg[SEG_CS].ar & SEG_L));

	if (!code64)
		r[EDX] &= ~(1u << features[FEAT_SYSCALL].bit);
}

static void leaf_brand(const struct query *q, u32 r[4])
{
	for (unsigned i = 0; i < 4; i++)
		r[i] = text_word(brand, (q->leaf - 0x80000002) * 4 + i);
}

static void leaf_ext_6(const struct query *q, u32 r[4])
{
	enum { WAYS_16 = 8, LINE = 64, SIZE_KIB = 1024 };

	(void)q;
	r[ECX] = SIZE_KIB << 16 | WAYS_16 << 12 | LINE;
}

static void leaf_ext_8(const struct query *q, u32 r[4])
{
	enum { LINEAR_BITS = 48 };

	r[EAX] = LINEAR_BITS << 8 | q->m->phys_bits;
}

static const struct {
	u32 leaf;
	leaf_fn *fn;
} leaves[] = {
	{ 0x0, leaf_0 },
	{ 0x1, leaf_1 },
	{ 0x2, leaf_2 },
	{ 0x4, leaf_4 },
	{ 0x7, leaf_7 },
	{ 0xb, leaf_b },
	{ 0xd, leaf_d },
	{ 0x15, leaf_15 },
	{ 0x16, leaf_16 },
	{ HYPERVISOR_BASE, leaf_hv_0 },
	{ HYPERVISOR_TIMING, leaf_hv_timing },
	{ 0x80000000, leaf_ext_0 },
	{ 0x80000001, leaf_ext_1 },
	{ 0x80000002, leaf_brand },
	{ 0x80000003, leaf_brand },
	{ 0x80000004, leaf_brand },
	{ 0x80000006, leaf_ext_6 },
	{ 0x80000008, leaf_ext_8 },
};

/* "If a value entered for CPUID.EAX is higher than the maximum input value ...
 * the data for the highest basic information leaf is returned." */
static u32 leaf_in_range(const struct cpu_model *m, u32 leaf)
{
	if (leaf <= MAX_BASIC || (leaf >= 0x80000000 && leaf <= MAX_EXTENDED))
		return leaf;
	if (cpu_has(m, FEAT_HYPERVISOR) && leaf >> 28 == HYPERVISOR_BASE >> 28)
		return leaf;
	return MAX_BASIC;
}

static bool leaf_has_subleaves(u32 leaf)
{
	return leaf == 0x4 || leaf == 0x7 || leaf == 0xb || leaf == 0xd;
}

static void fill_feature_bits(const struct query *q, u32 r[4])
{
	for (unsigned f = 0; f < NR_FEATURES; f++)
		if (features[f].leaf == q->leaf && features[f].subleaf == q->subleaf &&
		    cpu_has(q->m, (enum cpu_feature)f))
			r[features[f].reg] |= 1u << features[f].bit;
}

void cpu_model_cpuid(const struct cpu_model *m, const struct cpu_state *s, u64 apic_base,
		     unsigned index, u32 leaf, u32 subleaf, struct cpuid_regs *res)
{
	struct query q = { .m = m, .s = s, .apic_base = apic_base, .index = index };
	u32 r[4] = { 0, 0, 0, 0 };

	q.leaf = leaf_in_range(m, leaf);
	q.subleaf = leaf_has_subleaves(q.leaf) ? subleaf : 0;
	fill_feature_bits(&q, r);
	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
		if (leaves[i].leaf == q.leaf)
			leaves[i].fn(&q, r);
	*res = (struct cpuid_regs){ r[EAX], r[EBX], r[ECX], r[EDX] };
}
