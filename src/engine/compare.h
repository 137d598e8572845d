/* SPDX-License-Identifier: MIT */
/*
 * Lockstep compare (nestor run --compare N): a tool that finds wrong translations.
 *
 * The first N executions of every block happen twice from the same state: as the
 * translated block, whose results are taken back, and then instruction by
 * instruction (step.c). Registers, flags, vector and x87 state, what was written to
 * memory and the fault at the end must be the same; the first difference is
 * reported, and run() returns VCPU_STOP_DIFFERENT. Every few seconds everything is
 * translated anew, and compared again.
 *
 * What cannot be taken back ends the compared part: helpers (but for strings),
 * devices, VM exits, operands that step.c has to reach anyway.
 *
 * One vCPU. The VM's loop stands still meanwhile, so that no device writes memory;
 * disks' threads do not, but write where no program does.
 */
#ifndef NESTOR_ENGINE_COMPARE_H
#define NESTOR_ENGINE_COMPARE_H

#include "engine/softvm.h"

int compare_create(struct soft_cpu *c, unsigned times);
void compare_destroy(struct soft_cpu *c);

/* Executes @b, where the vCPU is, twice, unless that has been done often enough: then it
 * returns false. */
bool compare_block(struct soft_cpu *c, struct block *b);
/* Time to translate anew? */
bool compare_is_old(struct soft_cpu *c);
bool compare_failed(const struct soft_cpu *c);

/* From the engine's slow sides, while c->comparing: what follows has effects that cannot
 * be taken back. Does not return. */
_Noreturn void compare_stop(struct soft_cpu *c);
/* The page at @host is about to be written. */
void compare_note_write(struct soft_cpu *c, u8 *host);
/* A helper is about to run: ends the compared part unless it can be taken back. */
void compare_check_helper(struct soft_cpu *c, const struct helper_site *site);

/* exec.c: enters the block, once, and undoes a branch to nowhere. */
void exec_enter_block(struct soft_cpu *c, const struct block *b);

#endif
