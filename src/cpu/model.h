/* SPDX-License-Identifier: MIT */
/*
 * The processor model: a named feature set that a VM keeps, never the host
 * passed through. CPUID leaves are computed from it; engine/msr.c asks it which
 * MSRs exist.
 *
 * Immutable once made; any thread.
 */
#ifndef NESTOR_CPU_MODEL_H
#define NESTOR_CPU_MODEL_H

#include "base/log.h"
#include "base/types.h"
#include "cpu/cpu.h"

/* One per row of x86/cpuid.def: FEAT_SSE3, FEAT_AVX2, FEAT_VMX, ... */
enum cpu_feature {
#define FEATURE(name, leaf, subleaf, reg, bit, text) FEAT_##name,
#include "x86/cpuid.def"
#undef FEATURE
	NR_FEATURES
};

struct cpu_model {
	char name[32];
	bool has[NR_FEATURES];
	bool vmx; /* ExposeVirtualizationExtensions */
	unsigned nr_cpus;
	u64 tsc_hz;
	u64 host_xcr0;	       /* what the host's XCR0 enables */
	u64 xcr0_allowed;      /* bits the guest may set */
	u8 phys_bits;
	u32 xsave_offset[64], xsave_size[64]; /* standard format, by component */
};

/* @spec is --cpu's: MODEL[,+FEATURE][,-FEATURE]; NULL for the default. */
int cpu_model_create(const char *spec, bool vmx, unsigned nr_cpus, struct cpu_model *res,
		     struct err *e);

static inline bool cpu_has(const struct cpu_model *m, enum cpu_feature f)
{
	return m->has[f];
}

/* What the SDM's CPUID returns on vCPU @index in state @s (OSXSAVE, APIC,
 * XSAVE sizes follow the state). */
struct cpuid_regs {
	u32 eax, ebx, ecx, edx;
};
void cpu_model_cpuid(const struct cpu_model *m, const struct cpu_state *s, u64 apic_base,
		     unsigned index, u32 leaf, u32 subleaf, struct cpuid_regs *res);

/* Lists the models and features for --cpu help. */
void cpu_model_list(void);

/* The host's TSC frequency in Hz, measured once. */
u64 host_tsc_hz(void);

#endif
