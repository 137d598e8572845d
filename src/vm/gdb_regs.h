/* SPDX-License-Identifier: MIT */
/*
 * The registers that the gdb stub shows: a table between gdb's numbers, names
 * and types and struct cpu_state. Pure functions.
 */
#ifndef NESTOR_VM_GDB_REGS_H
#define NESTOR_VM_GDB_REGS_H

#include "cpu/cpu.h"

enum { GDB_REG_MAX_SIZE = 16 };

unsigned gdb_nr_regs(void);
unsigned gdb_nr_core_regs(void);   /* the first ones, which are what `g` carries */
unsigned gdb_reg_size(unsigned n); /* bytes */
void gdb_reg_get(const struct cpu_state *s, unsigned n, u8 *to);
/* False when the register cannot be set. */
bool gdb_reg_set(struct cpu_state *s, unsigned n, const u8 *from);

/* target.xml; returns what snprintf() would. */
int gdb_target_xml(char *buf, size_t size);

#endif
