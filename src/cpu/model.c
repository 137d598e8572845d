// SPDX-License-Identifier: MIT
/*
 * Processor models.
 *
 * Theory of operation
 *
 * Every feature has a rule: from which model on it is part of a processor, what
 * the host must have for it, and which other feature it needs. The engine
 * copies unprivileged instructions to the host, so for those the host must have
 * the very same bit; what touches system state is our own C. A feature that
 * nothing emulates has no rule and cannot be had.
 *
 * Identity. We are an Intel processor of family 6, model 36H (Atom Saltwell),
 * whatever features are switched on. Linux decides by vendor, family and model
 * (arch/x86/kernel/cpu/common.c, cpu_vuln_whitelist) whether a processor
 * speculates; for this one it sets none of the bug bits, so that there are no
 * retpolines, page-table isolation, IBRS or IBPB writes, RSB filling, or flushes
 * on VM entry. With a newer model the bits of IA32_ARCH_CAPABILITIES would
 * switch off all but Spectre v2, whose cheapest mitigation still fills the RSB
 * in context switches. None of these mitigations has a meaning for translated
 * code: what a guest speculates is decided by our translation, not by its own
 * instructions. Systems that look at IA32_ARCH_CAPABILITIES instead find the
 * same said there.
 */
#include "cpu/model_internal.h"

#include <cpuid.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "x86/regs.h"

/* ---- Rules ---- */

enum level {
	NEVER,	  /* not emulated */
	COMPUTED, /* follows from the VM's shape */
	FLOOR,	  /* in all models and not removable: x86-64-v2 and what we are built on */
	V2,
	V3,
	V4,
	LATEST, /* in `max` where the host has it */
	ASKED,	/* only with +FEATURE */
};

/* What backs a feature: OURS, nothing of the host; SAME, the host's same bit;
 * else that feature of the host. */
enum { OURS = NR_FEATURES, SAME };

struct rule {
	u8 level;
	u8 host;
	u8 needs; /* another feature without which this one has no sense; FPU: none */
};

static const struct rule rules[NR_FEATURES] = {
#define RULE(name, lvl, backing, need)                                                             \
	[FEAT_##name] = { .level = lvl, .host = backing, .needs = FEAT_##need }
	RULE(FPU, FLOOR, SAME, FPU),
	RULE(VME, V2, OURS, FPU),
	RULE(DE, V2, OURS, FPU),
	RULE(PSE, FLOOR, OURS, FPU),
	RULE(TSC, FLOOR, SAME, FPU),
	RULE(MSR, FLOOR, OURS, FPU),
	RULE(PAE, FLOOR, OURS, FPU),
	RULE(MCE, FLOOR, OURS, FPU),
	RULE(CX8, FLOOR, SAME, FPU),
	RULE(APIC, FLOOR, OURS, FPU),
	RULE(SEP, FLOOR, OURS, FPU),
	RULE(MTRR, FLOOR, OURS, FPU),
	RULE(PGE, FLOOR, OURS, FPU),
	RULE(MCA, FLOOR, OURS, FPU),
	RULE(CMOV, FLOOR, SAME, FPU),
	RULE(PAT, FLOOR, OURS, FPU),
	RULE(PSE36, V2, OURS, FPU),
	RULE(CLFSH, FLOOR, SAME, FPU),
	RULE(MMX, FLOOR, SAME, FPU),
	RULE(FXSR, FLOOR, SAME, FPU),
	RULE(SSE, FLOOR, SAME, FPU),
	RULE(SSE2, FLOOR, SAME, FPU),
	RULE(SS, V2, OURS, FPU),
	RULE(HTT, COMPUTED, OURS, FPU), /* more than one logical processor in the package */
	RULE(SSE3, FLOOR, SAME, FPU),
	RULE(PCLMULQDQ, V3, SAME, FPU),
	RULE(VMX, COMPUTED, OURS, FPU), /* ExposeVirtualizationExtensions */
	RULE(SSSE3, FLOOR, SAME, FPU),
	RULE(FMA, V3, SAME, AVX),
	RULE(CX16, FLOOR, SAME, FPU),
	RULE(PCID, V2, OURS, FPU),
	RULE(SSE4_1, FLOOR, SAME, FPU),
	RULE(SSE4_2, FLOOR, SAME, FPU),
	RULE(X2APIC, V2, OURS, FPU),
	RULE(MOVBE, V3, SAME, FPU),
	RULE(POPCNT, FLOOR, SAME, FPU),
	RULE(TSC_DEADLINE, V2, OURS, FPU),
	RULE(AES, V3, SAME, FPU),
	RULE(XSAVE, V3, SAME, FPU),
	RULE(AVX, V3, SAME, XSAVE),
	RULE(F16C, V3, SAME, AVX),
	RULE(RDRAND, LATEST, SAME, FPU),
	RULE(HYPERVISOR, V2, OURS, FPU),
	RULE(ARAT, V2, OURS, FPU),
	RULE(FSGSBASE, V2, OURS, FPU),
	RULE(TSC_ADJUST, V2, OURS, FPU),
	RULE(BMI1, V3, SAME, AVX), /* most of it is VEX-encoded */
	RULE(AVX2, V3, SAME, AVX),
	RULE(FDP_EXCPTN_ONLY, V2, OURS, FPU),
	RULE(SMEP, V2, OURS, FPU),
	RULE(BMI2, V3, SAME, AVX),
	RULE(ERMS, LATEST, SAME, FPU),
	RULE(INVPCID, V2, OURS, PCID),
	RULE(ZERO_FCS_FDS, V2, OURS, FPU),
	RULE(AVX512F, V4, SAME, AVX2),
	RULE(AVX512DQ, V4, SAME, AVX512F),
	RULE(RDSEED, LATEST, SAME, FPU),
	RULE(ADX, LATEST, SAME, FPU),
	RULE(SMAP, V2, OURS, FPU),
	RULE(AVX512_IFMA, LATEST, SAME, AVX512F),
	RULE(CLFLUSHOPT, LATEST, SAME, FPU),
	RULE(CLWB, LATEST, SAME, FPU),
	RULE(AVX512CD, V4, SAME, AVX512F),
	RULE(SHA, LATEST, SAME, FPU),
	RULE(AVX512BW, V4, SAME, AVX512F),
	RULE(AVX512VL, V4, SAME, AVX512F),
	RULE(AVX512_VBMI, LATEST, SAME, AVX512BW),
	RULE(UMIP, V2, OURS, FPU),
	RULE(AVX512_VBMI2, LATEST, SAME, AVX512BW),
	RULE(GFNI, LATEST, SAME, FPU),
	RULE(VAES, LATEST, SAME, AVX),
	RULE(VPCLMULQDQ, LATEST, SAME, AVX),
	RULE(AVX512_VNNI, LATEST, SAME, AVX512F),
	RULE(AVX512_BITALG, LATEST, SAME, AVX512BW),
	RULE(AVX512_VPOPCNTDQ, LATEST, SAME, AVX512F),
	RULE(RDPID, LATEST, OURS, RDTSCP),
	/* Says that short REP MOVSB are fast, which translated ones are not. */
	RULE(FSRM, ASKED, SAME, FPU),
	RULE(ARCH_CAPABILITIES, V2, OURS, FPU),
	RULE(AVX_VNNI, LATEST, SAME, AVX2),
	RULE(AVX512_BF16, LATEST, SAME, AVX512F),
	RULE(XSAVEOPT, V3, SAME, XSAVE),
	RULE(XSAVEC, LATEST, SAME, XSAVE),
	RULE(XGETBV1, LATEST, SAME, XSAVE),
	RULE(XSAVES, LATEST, FEAT_XSAVEC, XSAVEC),
	RULE(LAHF, FLOOR, SAME, FPU),
	RULE(LZCNT, V3, SAME, FPU),
	RULE(PREFETCHW, LATEST, SAME, FPU),
	RULE(SYSCALL, FLOOR, OURS, FPU),
	RULE(NX, FLOOR, OURS, FPU),
	RULE(PDPE1GB, V2, OURS, FPU),
	RULE(RDTSCP, V2, OURS, FPU),
	RULE(LM, FLOOR, OURS, FPU),
	/* The guest's TSC is the host's, so this is as true as the host's own clock. */
	RULE(INVTSC, V2, OURS, FPU),
#undef RULE
};
_Static_assert(NR_FEATURES + 1 < 256, "features and backings are numbered in a byte");

static const struct {
	const char *name;
	enum level level;
	const char *text;
} models[] = {
	{ "nestor-v2", V2, "x86-64-v2: SSE4.2, POPCNT, CX16" },
	{ "nestor-v3", V3, "x86-64-v3: AVX2, BMI, FMA, MOVBE, F16C, LZCNT, AES" },
	{ "nestor-v4", V4, "x86-64-v4: AVX-512 F, BW, CD, DQ, VL" },
	{ "max", LATEST, "everything that this host can back (the default)" },
};

static unsigned feature_host(unsigned f)
{
	return rules[f].host == SAME ? f : rules[f].host;
}

static bool host_backs(const struct host_cpu *h, unsigned f)
{
	unsigned need = feature_host(f);

	return need == OURS || h->has[need];
}

/* ---- The host ---- */

static u64 read_xcr0(void)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (u64)hi << 32;
}

static void host_cpuid(u32 leaf, u32 subleaf, u32 r[4])
{
	u32 max = __get_cpuid_max(leaf & 0x80000000u, NULL);

	r[EAX] = r[EBX] = r[ECX] = r[EDX] = 0;
	if (leaf <= max)
		__cpuid_count(leaf, subleaf, r[EAX], r[EBX], r[ECX], r[EDX]);
}

/* AVX without the operating system's help is no AVX; then its dependents go. */
static void host_drop_unusable(struct host_cpu *h)
{
	if ((h->xcr0 & (XCR0_X87 | XCR0_SSE)) != (XCR0_X87 | XCR0_SSE))
		h->has[FEAT_XSAVE] = false;
	if (!(h->xcr0 & XCR0_AVX))
		h->has[FEAT_AVX] = false;
	if ((h->xcr0 & XCR0_AVX512) != XCR0_AVX512)
		h->has[FEAT_AVX512F] = false;
	for (unsigned round = 0; round < 4; round++)
		for (unsigned f = 0; f < NR_FEATURES; f++)
			if (!h->has[rules[f].needs] && rules[f].host == SAME)
				h->has[f] = false;
}

static void host_probe_xsave(struct host_cpu *h)
{
	u32 r[4];

	for (u32 i = 2; i < 63; i++) {
		if (!(h->xcr0 & BIT(i)))
			continue;
		host_cpuid(0xd, i, r);
		h->xsave_size[i] = r[EAX];
		h->xsave_offset[i] = r[EBX];
		if (r[ECX] & 2)
			h->xsave_aligned |= BIT(i);
	}
}

void host_cpu_probe(struct host_cpu *h)
{
	u32 r[4];

	memset(h, 0, sizeof(*h));
	for (unsigned f = 0; f < NR_FEATURES; f++) {
		host_cpuid(features[f].leaf, features[f].subleaf, r);
		h->has[f] = r[features[f].reg] >> features[f].bit & 1;
	}
	host_cpuid(1, 0, r);
	if (r[ECX] & bit_OSXSAVE)
		h->xcr0 = read_xcr0();
	host_cpuid(0x80000008, 0, r);
	h->phys_bits = (r[EAX] & 0xff) ? r[EAX] & 0xff : 36;
	host_drop_unusable(h);
	host_probe_xsave(h);
}

static u64 rdtsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* A pair of TSC and clock read as close together as we can get. */
static void read_both(u64 *tsc, u64 *ns)
{
	u64 best = ~0ull;

	for (int i = 0; i < 50; i++) {
		u64 before = rdtsc(), t = clock_ns(), after = rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			*ns = t;
		}
	}
}

static u64 measure_tsc_hz(void)
{
	struct timespec nap = { .tv_nsec = 30 * 1000 * 1000 };
	u64 t0, n0, t1, n1;

	read_both(&t0, &n0);
	nanosleep(&nap, NULL);
	read_both(&t1, &n1);
	return mul_div(t1 - t0, NSEC_PER_SEC, n1 - n0);
}

u64 host_tsc_hz(void)
{
	static _Atomic u64 hz; /* a constant of the host, measured by whoever asks first */

	if (!hz)
		hz = (measure_tsc_hz() + 500) / 1000 * 1000; /* CPUID speaks in kHz */
	return hz;
}

/* ---- Making a model ---- */

static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[64], n = (unsigned)strlen(b);

	if (n >= ARRAY_SIZE(row))
		return ~0u;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; *a; a++, i++) {
		unsigned diag = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			bool differ = tolower((u8)*a) != tolower((u8)b[j - 1]);
			unsigned best = MIN(diag + differ, MIN(row[j], row[j - 1]) + 1);

			diag = row[j];
			row[j] = best;
		}
	}
	return row[n];
}

static int find_feature(const char *name)
{
	for (int f = 0; f < NR_FEATURES; f++)
		if (!strcasecmp(name, features[f].name) ||
		    (features[f].text[0] && !strcasecmp(name, features[f].text)))
			return f;
	return -1;
}

static const char *nearest_feature(const char *name)
{
	const char *best = features[0].name;
	unsigned least = ~0u;

	for (unsigned f = 0; f < NR_FEATURES; f++) {
		unsigned d = edit_distance(name, features[f].name);

		if (rules[f].level == NEVER || d >= least)
			continue;
		least = d;
		best = features[f].name;
	}
	return best;
}

static const char *nearest_model(const char *name)
{
	const char *best = models[0].name;
	unsigned least = ~0u;

	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		unsigned d = edit_distance(name, models[i].name);

		if (d < least) {
			least = d;
			best = models[i].name;
		}
	}
	return best;
}

static int check_floor(const struct host_cpu *h, struct err *e)
{
	for (unsigned f = 0; f < NR_FEATURES; f++)
		if (rules[f].level == FLOOR && !host_backs(h, f))
			return err_set(e, "this host's processor has no %s: Nestor needs x86-64-v2",
				       features[f].name);
	return 0;
}

/* The features of a named model. `max` leaves out what the host has not; any
 * other model is what its name says, or is refused. */
static int fill_model(const struct host_cpu *h, enum level level, struct cpu_model *m,
		      struct err *e)
{
	for (unsigned f = 0; f < NR_FEATURES; f++) {
		if (rules[f].level < FLOOR || rules[f].level > level)
			continue;
		if (host_backs(h, f))
			m->has[f] = true;
		else if (level != LATEST)
			return err_set(e, "processor model %s needs %s, which this host's processor "
					  "does not have", m->name, features[f].name);
	}
	return 0;
}

static int start_model(const struct host_cpu *h, const char *name, struct cpu_model *m,
		       struct err *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		if (strcasecmp(name, models[i].name))
			continue;
		snprintf(m->name, sizeof(m->name), "%s", models[i].name);
		return fill_model(h, models[i].level, m, e);
	}
	return err_set(e, "unknown processor model '%s': the nearest is %s (--cpu help lists them)",
		       name, nearest_model(name));
}

static int add_feature(const struct host_cpu *h, unsigned f, struct cpu_model *m, struct err *e)
{
	if (rules[f].level == NEVER)
		return err_set(e, "processor feature %s is not emulated", features[f].name);
	if (f == FEAT_VMX)
		return err_set(e, "processor feature VMX comes with "
				  "--expose-virtualization-extensions");
	if (rules[f].level == COMPUTED)
		return err_set(e, "processor feature %s follows from the VM's shape",
			       features[f].name);
	if (!host_backs(h, f))
		return err_set(e, "processor feature %s needs a host processor that has %s; "
				  "this one has not", features[f].name,
			       features[feature_host(f)].name);
	for (; !m->has[f]; f = rules[f].needs)
		m->has[f] = true;
	return 0;
}

static int remove_feature(unsigned f, struct cpu_model *m, struct err *e)
{
	bool changed = true;

	if (rules[f].level == FLOOR || rules[f].level == COMPUTED)
		return err_set(e, "processor feature %s cannot be taken away", features[f].name);
	m->has[f] = false;
	while (changed) {
		changed = false;
		for (unsigned g = 0; g < NR_FEATURES; g++) {
			if (!m->has[g] || m->has[rules[g].needs])
				continue;
			m->has[g] = false;
			changed = true;
		}
	}
	return 0;
}

static int apply_change(const struct host_cpu *h, const char *word, struct cpu_model *m,
			struct err *e)
{
	int f;

	if (*word != '+' && *word != '-')
		return err_set(e, "'%s' in a processor model: write +FEATURE or -FEATURE", word);
	f = find_feature(word + 1);
	if (f < 0)
		return err_set(e, "unknown processor feature '%s': the nearest is %s", word + 1,
			       nearest_feature(word + 1));
	return *word == '+' ? add_feature(h, (unsigned)f, m, e)
			    : remove_feature((unsigned)f, m, e);
}

static int parse_spec(const struct host_cpu *h, const char *spec, struct cpu_model *m,
		      struct err *e)
{
	char text[256], *rest = text, *word;
	int r;

	if (strlen(spec) >= sizeof(text))
		return err_set(e, "the processor model is longer than %zu characters",
			       sizeof(text) - 1);
	strcpy(text, spec);
	word = strsep(&rest, ",");
	/* "+AVX2" alone changes the default model. */
	if (*word == '+' || *word == '-') {
		r = start_model(h, "max", m, e);
	} else {
		r = start_model(h, word, m, e);
		word = strsep(&rest, ",");
	}
	for (; !r && word; word = strsep(&rest, ","))
		r = apply_change(h, word, m, e);
	return r;
}

static u64 model_xcr0(const struct cpu_model *m)
{
	u64 v = XCR0_X87 | XCR0_SSE;

	if (cpu_has(m, FEAT_AVX))
		v |= XCR0_AVX;
	if (cpu_has(m, FEAT_AVX512F))
		v |= XCR0_AVX512;
	return v;
}

int cpu_model_create_on(const struct host_cpu *h, const char *spec, bool vmx, unsigned nr_cpus,
			struct cpu_model *res, struct err *e)
{
	struct cpu_model *m = res;

	memset(m, 0, sizeof(*m));
	m->vmx = vmx;
	m->nr_cpus = nr_cpus;
	if (check_floor(h, e) || parse_spec(h, spec && *spec ? spec : "max", m, e))
		return -1;
	m->has[FEAT_VMX] = vmx;
	m->has[FEAT_HTT] = nr_cpus > 1;
	m->host_xcr0 = h->xcr0;
	m->xcr0_allowed = model_xcr0(m);
	/* Not more than 46, as processors with 4-level paging have; not more than the
	 * host, whose own page tables hold guests under KVM. */
	m->phys_bits = MIN(h->phys_bits, 46);
	memcpy(m->xsave_offset, h->xsave_offset, sizeof(m->xsave_offset));
	memcpy(m->xsave_size, h->xsave_size, sizeof(m->xsave_size));
	m->xsave_aligned = h->xsave_aligned;
	return 0;
}

int cpu_model_create(const char *spec, bool vmx, unsigned nr_cpus, struct cpu_model *res,
		     struct err *e)
{
	struct host_cpu h;
	int r;

	host_cpu_probe(&h);
	r = cpu_model_create_on(&h, spec, vmx, nr_cpus, res, e);
	if (!r)
		res->tsc_hz = host_tsc_hz();
	return r;
}

void cpu_model_list(void)
{
	struct host_cpu h;

	host_cpu_probe(&h);
	printf("Processor models:\n");
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		printf("  %-10s %s\n", models[i].name, models[i].text);
	printf("Features, to be added or removed with ,+NAME and ,-NAME "
	       "(those in brackets this host cannot back):\n ");
	for (unsigned f = 0, column = 1; f < NR_FEATURES; f++) {
		bool backed = host_backs(&h, f);

		if (rules[f].level < V2)
			continue;
		if (column + strlen(features[f].name) + 3 > 78) {
			printf("\n ");
			column = 1;
		}
		column += (unsigned)printf(backed ? " %s" : " (%s)", features[f].name);
	}
	printf("\n");
}

/* ---- What else the model says ---- */

u64 cpu_model_arch_capabilities(void)
{
	enum {
		RDCL_NO = 0, SKIP_L1DFL_VMENTRY = 3, SSB_NO = 4, MDS_NO = 5, PSCHANGE_MC_NO = 6,
		TAA_NO = 8, SBDR_SSDP_NO = 13, FBSDP_NO = 14, PSDP_NO = 15, BHI_NO = 20,
		PBRSB_NO = 24, GDS_NO = 26, RFDS_NO = 27, ITS_NO = 62,
	};

	/* Not IBRS_ALL: there is no IA32_SPEC_CTRL. */
	return BIT(RDCL_NO) | BIT(SKIP_L1DFL_VMENTRY) | BIT(SSB_NO) | BIT(MDS_NO) |
	       BIT(PSCHANGE_MC_NO) | BIT(TAA_NO) | BIT(SBDR_SSDP_NO) | BIT(FBSDP_NO) |
	       BIT(PSDP_NO) | BIT(BHI_NO) | BIT(PBRSB_NO) | BIT(GDS_NO) | BIT(RFDS_NO) | BIT(ITS_NO);
}
