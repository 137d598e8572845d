/* SPDX-License-Identifier: MIT */
/*
 * What the files of system instructions (sys.c, cr.c, desc.c, io.c, msr.c) share.
 * The vCPU's own thread only. Shared with event.c and VMX are the verbs of soft.h.
 */
#ifndef NESTOR_ENGINE_SYS_H
#define NESTOR_ENGINE_SYS_H

#include "engine/seg.h"
#include "engine/soft.h"
#include "engine/softvm.h"

static inline const struct cpu_model *cpu_model(const struct soft_cpu *c)
{
	return c->vm->env.model;
}

/* RULE_CPL0 of a HELPER row is left to the helper, since VMX has its say in the
 * order of checks. */
static inline void need_cpl0(struct soft_cpu *c)
{
	if (unlikely(cpu_cpl(c)))
		cpu_raise(c, X86_GP, 0);
}

/* SGDT, SIDT, SLDT, STR and SMSW are privileged under CR4.UMIP. */
static inline void check_umip(struct soft_cpu *c)
{
	if ((c->s.cr4 & CR4_UMIP) && cpu_cpl(c))
		cpu_raise(c, X86_GP, 0);
}

/* Operand 0 or 1 when it is a register or memory of at most 8 bytes; a selector
 * or machine status word in memory has two. */
u64 operand_read(struct soft_cpu *c, const struct insn *i, unsigned n);
void operand_write(struct soft_cpu *c, const struct insn *i, unsigned n, u64 value);

/* Linear address of the memory operand with no check of limit or canonicity. */
gva_t insn_linear_unchecked(struct soft_cpu *c, const struct insn *i);

/* FS or GS base in 64-bit mode; true when that changes the mode of blocks. */
bool seg_set_base(struct soft_cpu *c, enum seg_reg seg, u64 base);

#endif
