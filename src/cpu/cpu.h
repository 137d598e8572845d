/* SPDX-License-Identifier: MIT */
/*
 * The architectural state of one vCPU, as plain data: what is saved, restored,
 * shown by the debugger and compared by tests. Both engines speak it. Units and
 * layouts are the SDM's; a pointer or host time is never in here.
 *
 * The software engine keeps it live (between blocks); the KVM engine fills it
 * on request.
 */
#ifndef NESTOR_CPU_CPU_H
#define NESTOR_CPU_CPU_H

#include "base/types.h"

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum seg_reg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, NR_SEGS };

/* A segment register with its hidden part. @ar is in the format of a VMCS's
 * access-rights field: 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B,
 * 15 G, 16 unusable. @limit is in bytes (already scaled by G). */
struct seg {
	u64 base;
	u32 limit;
	u32 ar;
	u16 sel;
};

#define SEG_TYPE(s)	(((s)->ar) & 0xf)
#define SEG_S		BIT(4)
#define SEG_DPL(s)	(((s)->ar >> 5) & 3)
#define SEG_P		BIT(7)
#define SEG_AVL		BIT(12)
#define SEG_L		BIT(13)
#define SEG_DB		BIT(14)
#define SEG_G		BIT(15)
#define SEG_UNUSABLE	BIT(16)

struct desc_table {
	u64 base;
	u16 limit;
};

enum cpu_activity { CPU_ACTIVE, CPU_HLT, CPU_SHUTDOWN, CPU_WAIT_SIPI };

enum { NR_MTRR_VAR = 8, NR_MTRR_FIXED = 11, XSAVE_SIZE_MAX = 4096 };

struct cpu_msrs {
	u64 efer, star, lstar, cstar, fmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 tsc_aux, tsc_adjust, pat, misc_enable, spec_ctrl;
	u64 feature_control; /* IA32_FEATURE_CONTROL */
	u64 xss;
	u64 mtrr_def_type;
	u64 mtrr_fixed[NR_MTRR_FIXED];
	u64 mtrr_var[NR_MTRR_VAR][2]; /* base, mask */
	u64 mcg_status, debugctl;
};

struct cpu_state {
	u64 gpr[16];
	u64 rip;
	u64 rflags;
	struct seg seg[NR_SEGS];
	struct seg ldtr, tr;
	struct desc_table gdtr, idtr;
	u64 cr0, cr2, cr3, cr4;
	u64 cr8; /* the software engine keeps TPR in the LAPIC; filled on get_state */
	u64 dr[4], dr6, dr7;
	u64 pdpte[4]; /* PAE paging: loaded by MOV CR3 */
	u64 xcr0;
	u32 pkru;
	struct cpu_msrs msr;

	enum cpu_activity activity;
	/* STI, MOV SS and POP SS block events for one instruction: the block is in
	 * force while rip equals the address noted here. */
	u64 sti_shadow_rip, movss_shadow_rip; /* ~0 = none */
	bool nmi_blocked;
	u8 nmi_pending; /* at most 2; behind one in service 1 */
	bool init_pending, sipi_pending;
	u8 sipi_vector;

	u64 tsc_offset; /* guest TSC = host TSC + this (L1's; VMX adds its own) */

	/* x87, SSE, AVX, ...: the XSAVE area (standard format). The software
	 * engine keeps it in the host's registers while a vCPU thread runs guest
	 * code, and here otherwise. */
	u8 xsave[XSAVE_SIZE_MAX] __attribute__((aligned(64)));
};

/* IA32_MISC_ENABLE: fast strings; no branch trace store, no PEBS. */
#define MISC_ENABLE_RESET 0x1801ull

/* Reset values of the SDM's "Processor State After Reset"; @bsp decides
 * between CPU_ACTIVE and CPU_WAIT_SIPI. The TSC starts at zero: @tsc_offset is
 * the caller's, who knows the host's TSC and the other vCPUs. */
void cpu_state_reset(struct cpu_state *s, bool bsp);
/* What INIT changes (MSRs, FPU, TSC and caches survive). */
void cpu_state_init(struct cpu_state *s, bool bsp);

#endif
