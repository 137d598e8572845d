/* SPDX-License-Identifier: MIT */
/* Between step.c and its neighbours. */
#ifndef NESTOR_ENGINE_STEP_H
#define NESTOR_ENGINE_STEP_H

#include "engine/context.h"
#include "engine/soft.h"

helper_fn helper_string; /* MOVS, STOS, LODS, SCAS, CMPS (string.c) */

/* Reads and decodes the instruction at RIP; raises what the fetch or the
 * decoding faults with. */
void step_fetch(struct soft_cpu *c, struct insn *i);

/* What comes before any fault of the memory operand, even one of its address: a
 * pending x87 exception, #GP when it must be aligned. */
void step_before_operand(struct soft_cpu *c, const struct insn *i);

/* #AC of an operand of up to 8 bytes. With alignment checks in force everything is
 * stepped. */
static inline void check_alignment(struct soft_cpu *c, gva_t addr, unsigned size)
{
	if (unlikely(c->ctx->key.mode.bits & MODE_AC) && (addr & (size - 1)))
		cpu_raise(c, X86_AC, 0);
}

#endif
