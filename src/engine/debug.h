/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints and steps for a debugger. While a vCPU has breakpoints its blocks
 * are translated under MODE_DEBUG: none runs over a breakpoint, and every one
 * returns to the run loop, which asks debug_stops() before each.
 */
#ifndef NESTOR_ENGINE_DEBUG_H
#define NESTOR_ENGINE_DEBUG_H

#include "engine/soft.h"

int soft_set_debug(struct engine_vcpu *v, const struct engine_debug *d); /* engine_ops */

/* Is there a breakpoint at this RIP? The translator ends blocks before it. */
bool debug_breakpoint(const struct soft_cpu *c, gva_t rip);
/* c->debugging is set, the next instruction is about to run: stop instead? */
bool debug_stops(struct soft_cpu *c);

#endif
