/* SPDX-License-Identifier: MIT */
/*
 * Hardware task switches, and what is read from a TSS on a change of privilege.
 * The vCPU's own thread only.
 */
#ifndef NESTOR_ENGINE_TASK_H
#define NESTOR_ENGINE_TASK_H

#include "engine/soft.h"

enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_EVENT }; /* as the VM exit numbers them */

/* Switches to the task of TSS selector @sel (already found present and of a
 * legal type by whoever read the gate or the instruction's operand; checked
 * here again as the SDM's "Task Switching" says). @next_rip: what the old task
 * goes on at. Errors before the commit point are raised in the old task, later
 * ones in the new. @e: the event behind TASK_EVENT, whose error code is pushed on
 * the new task's stack; else NULL. Ends with RIP set. */
void task_switch(struct soft_cpu *c, u16 sel, enum task_source source, u64 next_rip,
		 const struct cpu_event *e, u8 insn_len);
/* The task gate that @desc, named by @gate_sel, is. Raises what is wrong with it;
 * privilege is the caller's. Returns the TSS selector. */
u16 task_gate_check(struct soft_cpu *c, u64 desc, u32 ext);
/* SS:ESP for privilege @cpl from the current TSS of 16 or 32 bits. */
void task_stack(struct soft_cpu *c, unsigned cpl, u32 ext, u16 *ss, u32 *esp);
/* RSPn (@slot = n) or ISTn (@slot = 3 + n) of the 64-bit TSS. */
u64 task_stack64(struct soft_cpu *c, unsigned slot, u32 ext);

#endif
