/* SPDX-License-Identifier: MIT */
/* The own translators, by the names that insn.def gives them. */
#ifndef NESTOR_ENGINE_XL_FNS_H
#define NESTOR_ENGINE_XL_FNS_H

#include "engine/xl.h"

xl_fn xl_jmp, xl_jmp_ind, xl_jcc, xl_call, xl_call_ind, xl_ret, xl_loop, xl_jcxz;
xl_fn xl_push, xl_pop, xl_lea, xl_leave, xl_cld, xl_std, xl_xlat, xl_nop, xl_bt_mem;
xl_fn xl_cli, xl_sti, xl_pushf, xl_cpuid, xl_rdtsc, xl_rdtscp, xl_gather;
xl_fn xl_movs, xl_stos, xl_lods, xl_scas, xl_cmps;

#endif
