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

/* CPUID leaf 1 EAX and EDX at reset: family 6, model 36H, stepping 1. Linux knows
 * this model (Atom Saltwell) as one without speculative execution, the only
 * identity with which it skips every mitigation: see model.c. */
#define CPU_SIGNATURE 0x00030661u

struct cpu_model {
	char name[32];
	bool has[NR_FEATURES];
	bool vmx; /* ExposeVirtualizationExtensions */
	unsigned nr_cpus;
	u64 tsc_hz;
	u64 host_xcr0;	       /* what the host's XCR0 enables */
	u64 xcr0_allowed;      /* bits the guest may set */
	u8 phys_bits;
	u32 xsave_offset[64], xsave_size[64]; /* standard format, by component: the host's */
	u64 xsave_aligned; /* components that the compacted format aligns to 64 bytes */
};

/* What the host's processor offers to user programs. */
struct host_cpu {
	bool has[NR_FEATURES]; /* usable: AVX needs the host's XCR0, too */
	u64 xcr0;
	u8 phys_bits;
	u32 xsave_offset[64], xsave_size[64];
	u64 xsave_aligned;
};
void host_cpu_probe(struct host_cpu *h);

/* @spec is --cpu's: MODEL[,+FEATURE][,-FEATURE]; NULL for the default. */
int cpu_model_create(const char *spec, bool vmx, unsigned nr_cpus, struct cpu_model *res,
		     struct err *e);
/* The same for a host that a test made up; @tsc_hz is left for the caller. */
int cpu_model_create_on(const struct host_cpu *h, const char *spec, bool vmx, unsigned nr_cpus,
			struct cpu_model *res, struct err *e);

static inline bool cpu_has(const struct cpu_model *m, enum cpu_feature f)
{
	return m->has[f];
}

/* Bytes of an XSAVE area with the components of @mask (legacy region and header
 * always included). */
u32 cpu_model_xsave_size(const struct cpu_model *m, u64 mask, bool compacted);

/* IA32_ARCH_CAPABILITIES. */
u64 cpu_model_arch_capabilities(void);

/* What the SDM's CPUID returns on vCPU @index in state @s (OSXSAVE, APIC,
 * XSAVE sizes follow the state; NULL: a 64-bit kernel just started). */
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
