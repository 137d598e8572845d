/* SPDX-License-Identifier: MIT */
/*
 * A vCPU's registers for people: the triple-fault report, SIGUSR2, the
 * debugger's monitor. Any thread.
 */
#ifndef NESTOR_CPU_DUMP_H
#define NESTOR_CPU_DUMP_H

#include "cpu/cpu.h"

/* Writes to standard error. */
void cpu_dump(const struct cpu_state *s, unsigned index);
/* The same as text; returns what snprintf() would. */
int cpu_format(const struct cpu_state *s, unsigned index, char *buf, size_t size);

#endif
