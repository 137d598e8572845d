// SPDX-License-Identifier: MIT
/*
 * What our VT-x offers: the capability MSRs, exactly as implemented. A control
 * is advertised by its presence in the tables here, and by nothing else: entry
 * checks, existence of VMCS fields and the MSRs follow from them.
 */
#include "engine/vmx/vmx_internal.h"

#include <errno.h>

/* Bits that software must set unless it knows better ("default1"): the plain
 * MSRs report all of them as required, the TRUE ones fewer. */
#define PIN_DEFAULT1	 0x00000016u
#define PROC_DEFAULT1	 0x0401e172u
#define VMEXIT_DEFAULT1	 0x00036dffu
#define VMENTRY_DEFAULT1 0x000011ffu
/* The default1 bits that may be 0: CR3 exiting, debug controls. */
#define PROC_DEFAULT1_FREE    (PROC_CR3_LOAD_EXITING | PROC_CR3_STORE_EXITING)
#define VMEXIT_DEFAULT1_FREE  VMEXIT_SAVE_DEBUG
#define VMENTRY_DEFAULT1_FREE VMENTRY_LOAD_DEBUG

#define PIN_OFFERED (PIN_EXTINT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER)
#define PROC_OFFERED                                                                               \
	(PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_HLT_EXITING | PROC_INVLPG_EXITING |    \
	 PROC_MWAIT_EXITING | PROC_RDPMC_EXITING | PROC_RDTSC_EXITING | PROC_CR3_LOAD_EXITING |    \
	 PROC_CR3_STORE_EXITING | PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING |                 \
	 PROC_TPR_SHADOW | PROC_NMI_WINDOW | PROC_MOV_DR_EXITING | PROC_UNCOND_IO_EXITING |        \
	 PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_MONITOR_EXITING | PROC_PAUSE_EXITING |          \
	 PROC_SECONDARY)
#define PROC2_OFFERED                                                                              \
	(PROC2_EPT | PROC2_DESC_TABLE_EXITING | PROC2_VPID | PROC2_WBINVD_EXITING |                \
	 PROC2_UNRESTRICTED_GUEST)
#define VMEXIT_OFFERED                                                                             \
	(VMEXIT_SAVE_DEBUG | VMEXIT_HOST_ADDR64 | VMEXIT_ACK_INTERRUPT | VMEXIT_SAVE_PAT |         \
	 VMEXIT_LOAD_PAT | VMEXIT_SAVE_EFER | VMEXIT_LOAD_EFER | VMEXIT_SAVE_TIMER)
#define VMENTRY_OFFERED                                                                            \
	(VMENTRY_LOAD_DEBUG | VMENTRY_IA32E_GUEST | VMENTRY_LOAD_PAT | VMENTRY_LOAD_EFER)

/* Secondary controls that come with an instruction. */
static const struct {
	u32 bit;
	enum cpu_feature feature;
} proc2_by_feature[] = {
	{ PROC2_RDTSCP, FEAT_RDTSCP },		{ PROC2_INVPCID, FEAT_INVPCID },
	{ PROC2_RDRAND_EXITING, FEAT_RDRAND },	{ PROC2_RDSEED_EXITING, FEAT_RDSEED },
	{ PROC2_XSAVES, FEAT_XSAVES },
};

static const struct {
	u64 bit;
	enum cpu_feature feature;
} cr4_by_feature[] = {
	{ CR4_VME | CR4_PVI, FEAT_VME }, { CR4_TSD, FEAT_TSC },	    { CR4_DE, FEAT_DE },
	{ CR4_PSE, FEAT_PSE },		 { CR4_PAE, FEAT_PAE },	    { CR4_MCE, FEAT_MCE },
	{ CR4_PGE, FEAT_PGE },		 { CR4_OSFXSR, FEAT_FXSR }, { CR4_OSXMMEXCPT, FEAT_SSE },
	{ CR4_UMIP, FEAT_UMIP },	 { CR4_VMXE, FEAT_VMX },    { CR4_FSGSBASE, FEAT_FSGSBASE },
	{ CR4_PCIDE, FEAT_PCID },	 { CR4_OSXSAVE, FEAT_XSAVE }, { CR4_SMEP, FEAT_SMEP },
	{ CR4_SMAP, FEAT_SMAP },	 { CR4_PKE, FEAT_PKU },
};

static const u64 ept_vpid_cap =
	EPTCAP_EXEC_ONLY | EPTCAP_WALK_4 | EPTCAP_UC | EPTCAP_WB | EPTCAP_2M | EPTCAP_1G |
	EPTCAP_INVEPT | EPTCAP_AD | EPTCAP_INVEPT_SINGLE | EPTCAP_INVEPT_ALL | EPTCAP_INVVPID |
	EPTCAP_INVVPID_ADDR | EPTCAP_INVVPID_SINGLE | EPTCAP_INVVPID_ALL |
	EPTCAP_INVVPID_SINGLE_KEEP_GLOBALS;

static void init_ctl(struct vmx_ctl_cap *cap, u32 default1, u32 free, u32 offered)
{
	cap->required = default1 & ~free;
	cap->allowed = default1 | offered;
}

void caps_init(struct vmx_caps *caps, const struct cpu_model *m)
{
	u32 proc2 = PROC2_OFFERED;

	for (unsigned i = 0; i < ARRAY_SIZE(proc2_by_feature); i++)
		if (cpu_has(m, proc2_by_feature[i].feature))
			proc2 |= proc2_by_feature[i].bit;
	init_ctl(&caps->ctl[CTL_PIN], PIN_DEFAULT1, 0, PIN_OFFERED);
	init_ctl(&caps->ctl[CTL_PROC], PROC_DEFAULT1, PROC_DEFAULT1_FREE, PROC_OFFERED);
	init_ctl(&caps->ctl[CTL_PROC2], 0, 0, proc2);
	init_ctl(&caps->ctl[CTL_EXIT], VMEXIT_DEFAULT1, VMEXIT_DEFAULT1_FREE, VMEXIT_OFFERED);
	init_ctl(&caps->ctl[CTL_ENTRY], VMENTRY_DEFAULT1, VMENTRY_DEFAULT1_FREE, VMENTRY_OFFERED);

	caps->cr4_fixed1 = CR4_PCE;
	for (unsigned i = 0; i < ARRAY_SIZE(cr4_by_feature); i++)
		if (cpu_has(m, cr4_by_feature[i].feature))
			caps->cr4_fixed1 |= cr4_by_feature[i].bit;
	caps->cr4_fixed1 |= CR4_VMXE;
	caps->efer_valid = EFER_SCE | EFER_LME | EFER_LMA | (cpu_has(m, FEAT_NX) ? EFER_NXE : 0);
	caps->ept_vpid = ept_vpid_cap;
	caps->phys_bits = m->phys_bits;
	caps->phys_invalid = ~(BIT(m->phys_bits) - 1);
}

static u64 basic(void)
{
	const u64 write_back = 6;

	return vmcs_revision() | (u64)PAGE_SIZE << 32 | write_back << 50 | VMX_BASIC_INOUT |
	       VMX_BASIC_TRUE_CTLS;
}

static u64 misc(void)
{
	const u64 store_lma = BIT(5), hlt = BIT(6), shutdown = BIT(7), wait_sipi = BIT(8);
	const u64 vmwrite_any = BIT(29), inject_len0 = BIT(30);

	return VMX_TIMER_SHIFT | store_lma | hlt | shutdown | wait_sipi |
	       (u64)VMX_NR_CR3_TARGETS << 16 | vmwrite_any | inject_len0;
}

static u64 ctl_msr(const struct vmx_ctl_cap *cap, u32 required)
{
	return (u64)cap->allowed << 32 | required;
}

bool vmx_cap_msr(const struct soft_cpu *c, u32 msr, u64 *value)
{
	const struct vmx_ctl_cap *ctl;
	u64 v;

	if (!c->vmx)
		return false;
	ctl = c->vmx->caps.ctl;
	switch (msr) {
	case MSR_IA32_VMX_BASIC:	  v = basic(); break;
	case MSR_IA32_VMX_PINBASED:	  v = ctl_msr(&ctl[CTL_PIN], PIN_DEFAULT1); break;
	case MSR_IA32_VMX_PROCBASED:	  v = ctl_msr(&ctl[CTL_PROC], PROC_DEFAULT1); break;
	case MSR_IA32_VMX_EXIT:		  v = ctl_msr(&ctl[CTL_EXIT], VMEXIT_DEFAULT1); break;
	case MSR_IA32_VMX_ENTRY:	  v = ctl_msr(&ctl[CTL_ENTRY], VMENTRY_DEFAULT1); break;
	case MSR_IA32_VMX_MISC:		  v = misc(); break;
	case MSR_IA32_VMX_CR0_FIXED0:	  v = VMX_CR0_FIXED0; break;
	case MSR_IA32_VMX_CR0_FIXED1:	  v = VMX_CR0_FIXED1; break;
	case MSR_IA32_VMX_CR4_FIXED0:	  v = VMX_CR4_FIXED0; break;
	case MSR_IA32_VMX_CR4_FIXED1:	  v = c->vmx->caps.cr4_fixed1; break;
	case MSR_IA32_VMX_VMCS_ENUM:	  v = vmcs_max_index(c->vmx) << 1; break;
	case MSR_IA32_VMX_PROCBASED2:	  v = ctl_msr(&ctl[CTL_PROC2], 0); break;
	case MSR_IA32_VMX_EPT_VPID_CAP:	  v = c->vmx->caps.ept_vpid; break;
	case MSR_IA32_VMX_TRUE_PINBASED:
		v = ctl_msr(&ctl[CTL_PIN], ctl[CTL_PIN].required);
		break;
	case MSR_IA32_VMX_TRUE_PROCBASED:
		v = ctl_msr(&ctl[CTL_PROC], ctl[CTL_PROC].required);
		break;
	case MSR_IA32_VMX_TRUE_EXIT:
		v = ctl_msr(&ctl[CTL_EXIT], ctl[CTL_EXIT].required);
		break;
	case MSR_IA32_VMX_TRUE_ENTRY:
		v = ctl_msr(&ctl[CTL_ENTRY], ctl[CTL_ENTRY].required);
		break;
	default: return false; /* IA32_VMX_VMFUNC: no VM functions */
	}
	*value = v;
	return true;
}

bool vmx_cr_allowed(const struct soft_cpu *c, unsigned cr, u64 value)
{
	u64 fixed0, fixed1;

	if (!c->vmx || !c->vmx->in_operation)
		return true;
	if (cr == 0) {
		fixed0 = VMX_CR0_FIXED0;
		fixed1 = VMX_CR0_FIXED1;
		if (c->vmx_non_root && vmx_has(c, PROC2_UNRESTRICTED_GUEST))
			fixed0 &= ~(CR0_PE | CR0_PG);
	} else {
		fixed0 = VMX_CR4_FIXED0;
		fixed1 = c->vmx->caps.cr4_fixed1;
	}
	return (value & fixed0) == fixed0 && !(value & ~fixed1);
}
