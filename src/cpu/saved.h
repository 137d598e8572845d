/* SPDX-License-Identifier: MIT */
/* The rows by which a struct cpu_state is saved. */
#ifndef NESTOR_CPU_SAVED_H
#define NESTOR_CPU_SAVED_H

struct state_desc;

extern const struct state_desc cpu_state_desc;

#endif
