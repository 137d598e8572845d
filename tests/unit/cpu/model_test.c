// SPDX-License-Identifier: MIT
#include "cpu/model.h"

#include <string.h>

#include "../../lib/test.h"
#include "x86/regs.h"

/* A host with everything. */
static struct host_cpu full_host(void)
{
	struct host_cpu h;

	memset(&h, 0, sizeof(h));
	memset(h.has, true, sizeof(h.has));
	h.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;
	h.phys_bits = 48;
	h.xsave_offset[2] = 576;
	h.xsave_size[2] = 256;
	h.xsave_offset[5] = 1088;
	h.xsave_size[5] = 64;
	h.xsave_offset[6] = 1152;
	h.xsave_size[6] = 512;
	h.xsave_offset[7] = 1664;
	h.xsave_size[7] = 1024;
	h.xsave_aligned = BIT(6);
	return h;
}

static int make(const struct host_cpu *h, const char *spec, struct cpu_model *m, struct err *e)
{
	int r = cpu_model_create_on(h, spec, false, 2, m, e);

	m->tsc_hz = 2400000000ull;
	return r;
}

static struct cpuid_regs cpuid(const struct cpu_model *m, const struct cpu_state *s, u32 leaf,
			       u32 subleaf)
{
	struct cpuid_regs r;

	cpu_model_cpuid(m, s, 0xfee00900, 1, leaf, subleaf, &r);
	return r;
}

TEST(model, levels)
{
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct err e;

	CHECK_EQ(make(&h, "nestor-v2", &m, &e), 0);
	CHECK(cpu_has(&m, FEAT_SSE4_2) && !cpu_has(&m, FEAT_AVX) && !cpu_has(&m, FEAT_XSAVE));
	CHECK_EQ(make(&h, "nestor-v3", &m, &e), 0);
	CHECK(cpu_has(&m, FEAT_AVX2) && !cpu_has(&m, FEAT_AVX512F));
	CHECK_EQ(m.xcr0_allowed, 7);
	CHECK_EQ(make(&h, "nestor-v4", &m, &e), 0);
	CHECK(cpu_has(&m, FEAT_AVX512VL) && !cpu_has(&m, FEAT_SHA));
	CHECK_EQ(m.xcr0_allowed, 0xe7);
	CHECK_EQ(make(&h, NULL, &m, &e), 0);
	CHECK(cpu_has(&m, FEAT_SHA) && cpu_has(&m, FEAT_XSAVES));
	CHECK_STR(m.name, "max");
}

TEST(model, what_is_not_emulated_is_never_shown)
{
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct err e;

	CHECK_EQ(make(&h, "max", &m, &e), 0);
	CHECK(!cpu_has(&m, FEAT_MONITOR) && !cpu_has(&m, FEAT_PDCM) && !cpu_has(&m, FEAT_PKU));
	CHECK(!cpu_has(&m, FEAT_VMX) && !cpu_has(&m, FEAT_WAITPKG) && !cpu_has(&m, FEAT_OSPKE));
	CHECK_EQ(make(&h, "max,+MONITOR", &m, &e), -1);
	CHECK_STR(e.text, "processor feature MONITOR is not emulated");
}

TEST(model, weak_host)
{
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct err e;

	h.has[FEAT_AVX2] = false;
	CHECK_EQ(make(&h, "nestor-v3", &m, &e), -1);
	CHECK(strstr(e.text, "nestor-v3 needs AVX2"));
	CHECK_EQ(make(&h, "nestor-v2,+AVX2", &m, &e), -1);
	CHECK(strstr(e.text, "AVX2"));
	CHECK_EQ(make(&h, "max", &m, &e), 0);
	CHECK(!cpu_has(&m, FEAT_AVX2));
	h.has[FEAT_POPCNT] = false;
	CHECK_EQ(make(&h, "max", &m, &e), -1);
	CHECK(strstr(e.text, "POPCNT: Nestor needs x86-64-v2"));
}

TEST(model, changes)
{
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct err e;

	CHECK_EQ(make(&h, "nestor-v2,+avx2", &m, &e), 0);
	CHECK(cpu_has(&m, FEAT_AVX2) && cpu_has(&m, FEAT_AVX) && cpu_has(&m, FEAT_XSAVE));
	CHECK_EQ(make(&h, "max,-AVX", &m, &e), 0);
	CHECK(!cpu_has(&m, FEAT_AVX2) && !cpu_has(&m, FEAT_AVX512BW) && !cpu_has(&m, FEAT_FMA));
	CHECK_EQ(m.xcr0_allowed, 3);
	CHECK_EQ(make(&h, "-smep", &m, &e), 0);
	CHECK(!cpu_has(&m, FEAT_SMEP) && cpu_has(&m, FEAT_AVX2));
}

TEST(model, errors_name_the_nearest)
{
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct err e;

	CHECK_EQ(make(&h, "nestor-v9", &m, &e), -1);
	CHECK(strstr(e.text, "the nearest is nestor-v"));
	CHECK_EQ(make(&h, "max,+AVX22", &m, &e), -1);
	CHECK(strstr(e.text, "the nearest is AVX2"));
	CHECK_EQ(make(&h, "max,AVX2", &m, &e), -1);
	CHECK(strstr(e.text, "write +FEATURE or -FEATURE"));
	CHECK_EQ(make(&h, "max,+VMX", &m, &e), -1);
	CHECK(strstr(e.text, "--expose-virtualization-extensions"));
	CHECK_EQ(make(&h, "max,-LM", &m, &e), -1);
	CHECK_EQ(make(&h, "max,+", &m, &e), -1);
	CHECK_EQ(make(&h, "", &m, &e), 0);
}

TEST(model, cpuid_follows_state)
{
	static struct cpu_state s;
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct cpuid_regs r;

	make(&h, "max", &m, NULL);
	cpu_state_reset(&s, true);
	r = cpuid(&m, &s, 1, 0);
	CHECK_EQ(r.eax, CPU_SIGNATURE);
	CHECK_EQ(r.ebx >> 24, 1);
	CHECK_EQ(r.ecx >> 27 & 1, 0);
	CHECK_EQ(r.edx >> 9 & 1, 1);
	CHECK_EQ(r.edx >> 28 & 1, 1);
	s.cr4 |= CR4_OSXSAVE;
	CHECK_EQ(cpuid(&m, &s, 1, 0).ecx >> 27 & 1, 1);
	cpu_model_cpuid(&m, &s, 0xfee00000, 1, 1, 0, &r);
	CHECK_EQ(r.edx >> 9 & 1, 0);

	CHECK_EQ(cpuid(&m, &s, 0xd, 0).ebx, 576);
	CHECK_EQ(cpuid(&m, &s, 0xd, 0).ecx, 2688);
	s.xcr0 = 0xe7;
	CHECK_EQ(cpuid(&m, &s, 0xd, 0).ebx, 2688);
	/* 576 + 256, opmask at 832, ZMM_Hi256 aligned to 896 */
	CHECK_EQ(cpuid(&m, &s, 0xd, 1).ebx, 896 + 512 + 1024);
	CHECK_EQ(cpuid(&m, &s, 0xd, 6).ecx, 2);
	CHECK_EQ(cpuid(&m, &s, 0xd, 9).eax, 0);

	CHECK_EQ(cpuid(&m, &s, 0x80000001, 0).edx >> 11 & 1, 0);
	s.msr.efer = EFER_LMA;
	s.seg[SEG_CS].ar |= SEG_L;
	CHECK_EQ(cpuid(&m, &s, 0x80000001, 0).edx >> 11 & 1, 1);
}

TEST(model, cpuid_limits)
{
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct cpuid_regs r, top;

	make(&h, "max", &m, NULL);
	r = cpuid(&m, NULL, 0, 0);
	CHECK_EQ(r.ebx, 0x756e6547);
	top = cpuid(&m, NULL, r.eax, 0);
	r = cpuid(&m, NULL, 0x1234, 0);
	CHECK(!memcmp(&r, &top, sizeof(r)) && r.eax == 2400);
	r = cpuid(&m, NULL, 0x80000100, 0);
	CHECK(!memcmp(&r, &top, sizeof(r)));
	r = cpuid(&m, NULL, 0x40000000, 0);
	CHECK(!memcmp(&r.ebx, "NestorNestor", 12));
	CHECK_EQ(cpuid(&m, NULL, 0x40000010, 0).eax, 2400000);
	CHECK_EQ(cpuid(&m, NULL, 0x40000001, 0).eax, 0);
	CHECK_EQ(cpuid(&m, NULL, 0xa, 0).eax, 0);
	CHECK_EQ(cpuid(&m, NULL, 7, 5).ebx, 0);
	CHECK_EQ(cpuid(&m, NULL, 0x15, 0).ecx, 2400000000u);
}

TEST(model, topology)
{
	struct host_cpu h = full_host();
	struct cpu_model m;
	struct cpuid_regs r;

	cpu_model_create_on(&h, "max", true, 3, &m, NULL);
	CHECK(cpu_has(&m, FEAT_VMX));
	r = cpuid(&m, NULL, 0xb, 0);
	CHECK(r.eax == 0 && r.ebx == 1 && r.ecx == 0x100 && r.edx == 1);
	r = cpuid(&m, NULL, 0xb, 1);
	CHECK(r.eax == 2 && r.ebx == 3 && r.ecx == 0x201 && r.edx == 1);
	r = cpuid(&m, NULL, 0xb, 2);
	CHECK(r.eax == 0 && r.ebx == 0 && r.ecx == 2 && r.edx == 1);
	CHECK_EQ(cpuid(&m, NULL, 1, 0).ebx >> 16 & 0xff, 4);
	CHECK_EQ(cpuid(&m, NULL, 4, 0).eax >> 26, 3);
	CHECK_EQ(cpuid(&m, NULL, 4, 4).eax, 0);
}

TEST(model, this_host_backs_max)
{
	struct cpu_model m;
	struct err e = { "" };

	if (cpu_model_create(NULL, false, 1, &m, &e))
		test_fail(__FILE__, __LINE__, "%s", e.text);
	CHECK(m.tsc_hz > 100000000 && m.tsc_hz < 20000000000ull);
	CHECK(m.phys_bits >= 36 && m.phys_bits <= 46);
}
