/* SPDX-License-Identifier: MIT */
/*
 * The run loop's C side of translated code: what the stubs call. Only stubs.c
 * and exec.c need this.
 */
#ifndef NESTOR_ENGINE_EXEC_H
#define NESTOR_ENGINE_EXEC_H

#include "engine/cache.h"
#include "engine/soft.h"

enum helper_result exec_helper(struct soft_cpu *c, const struct helper_site *site);
/* False: the check shall be tried again; true: cpu.arg[1] is the host address. */
bool exec_slow(struct soft_cpu *c, gva_t addr, u32 what, u64 pc);
void exec_commit(struct soft_cpu *c);
gva_t exec_segment(struct soft_cpu *c, const struct helper_site *site);

/* Runs @fn(@c); true when it was left by exec_unwind() instead of returning. */
bool exec_protect(struct soft_cpu *c, void (*fn)(struct soft_cpu *c));

/* Host signals at translated code: SIGFPE, SIGILL, SIGSEGV, SIGBUS. */
void exec_install_signals(void);

#endif
