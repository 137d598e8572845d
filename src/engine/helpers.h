/* SPDX-License-Identifier: MIT */
/*
 * Prototypes of all helper functions that insn.def names: see helper_fn in
 * soft.h for the rules they keep. Each is defined in the file of its subject.
 */
#ifndef NESTOR_ENGINE_HELPERS_H
#define NESTOR_ENGINE_HELPERS_H

#include "engine/soft.h"

/* far.c */
helper_fn helper_int3, helper_int1, helper_int, helper_into, helper_call_far, helper_jmp_far,
	helper_ret_far, helper_iret, helper_syscall, helper_sysret, helper_sysenter, helper_sysexit;
/* flow.c */
helper_fn helper_bound, helper_enter, helper_pusha, helper_popa, helper_pushf, helper_popf,
	helper_push_sreg, helper_pop_sreg, helper_mov_from_sreg, helper_mov_to_sreg,
	helper_load_far, helper_arpl, helper_hlt, helper_cli, helper_sti;
/* sys.c and its neighbours */
helper_fn helper_lar, helper_lsl, helper_verr, helper_verw, helper_sgdt, helper_sidt, helper_lgdt,
	helper_lidt, helper_sldt, helper_str, helper_lldt, helper_ltr, helper_rdfsbase,
	helper_rdgsbase, helper_wrfsbase, helper_wrgsbase, helper_swapgs, helper_mov_from_cr,
	helper_mov_to_cr, helper_mov_from_dr, helper_mov_to_dr, helper_smsw, helper_lmsw,
	helper_clts, helper_invd, helper_wbinvd, helper_invlpg, helper_invpcid, helper_clac,
	helper_stac, helper_rdmsr, helper_wrmsr, helper_rdtsc, helper_rdtscp, helper_rdpmc,
	helper_cpuid, helper_rdpid, helper_xgetbv, helper_xsetbv, helper_rdpkru, helper_wrpkru,
	helper_monitor, helper_mwait, helper_umonitor, helper_umwait, helper_tpause, helper_pause,
	helper_rdrand, helper_rdseed,
	helper_in, helper_out, helper_ins, helper_outs;
/* bcd.c */
helper_fn helper_daa, helper_das, helper_aaa, helper_aas, helper_aam, helper_aad, helper_salc;
/* fpu.c, xsave.c, gather.c */
helper_fn helper_fnstenv, helper_fldenv, helper_fnsave, helper_frstor, helper_fxsave,
	helper_fxrstor, helper_xsave, helper_xsaveopt, helper_xsavec, helper_xsaves, helper_xrstor,
	helper_xrstors, helper_maskmovq, helper_maskmovdqu, helper_ldmxcsr, helper_gather, helper_scatter;
/* vmx/insn.c */
helper_fn helper_vmcall, helper_vmlaunch, helper_vmresume, helper_vmxoff, helper_vmxon,
	helper_vmptrld, helper_vmptrst, helper_vmclear, helper_vmread, helper_vmwrite,
	helper_invept, helper_invvpid, helper_vmfunc;

#endif
