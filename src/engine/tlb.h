/* SPDX-License-Identifier: MIT */
/*
 * Filling the soft TLB, and guest memory as C code sees it. The verbs that
 * helpers use (guest_read() and so on) are in soft.h; here is what the
 * translator's slow path and step.c need besides.
 */
#ifndef NESTOR_ENGINE_TLB_H
#define NESTOR_ENGINE_TLB_H

#include "engine/context.h"
#include "engine/soft.h"
#include "engine/vmx/vmx.h"

/* Where an access leads. */
struct place {
	u8 *host;   /* the byte in RAM, NULL: a device's */
	gpa_t gpa;
	bool plain; /* a write needs no smc_written() afterwards */
};

/* Translates for a read or write inside one page and fills the TLB; raises
 * what the access faults with. @addr is canonical. */
struct place tlb_place(struct soft_cpu *c, struct context *x, gva_t addr, bool write);
/* L1-physical address of the instruction byte at linear address @addr; raises
 * the fetch's fault. */
gpa_t tlb_fetch(struct soft_cpu *c, gva_t addr);

u64 mmio_read(struct soft_cpu *c, gpa_t addr, unsigned size);
void mmio_write(struct soft_cpu *c, gpa_t addr, unsigned size, u64 value);

static inline bool canonical(gva_t addr)
{
	return (u64)((s64)(addr << 16) >> 16) == addr;
}

#endif
