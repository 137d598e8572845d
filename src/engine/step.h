/* SPDX-License-Identifier: MIT */
/* Between step.c and its neighbours. */
#ifndef NESTOR_ENGINE_STEP_H
#define NESTOR_ENGINE_STEP_H

#include "engine/soft.h"

helper_fn helper_string; /* MOVS, STOS, LODS, SCAS, CMPS (string.c) */

/* Reads and decodes the instruction at RIP; raises what the fetch or the
 * decoding faults with. */
void step_fetch(struct soft_cpu *c, struct insn *i);

#endif
