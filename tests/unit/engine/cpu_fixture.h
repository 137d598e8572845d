/* SPDX-License-Identifier: MIT */
/*
 * A vCPU of the software engine without a run loop, for tests that call helpers
 * and event delivery directly: 16 MiB of RAM, descriptor tables and page tables
 * at fixed places, and modes to start in.
 *
 *	struct fix f = fix_long(0);		64-bit mode, CPL 0
 *	CHECK(!fix_insn(&f, "\xcf", 1));	IRETD: true if it raised; see f.c->event
 */
#ifndef NESTOR_TESTS_CPU_FIXTURE_H
#define NESTOR_TESTS_CPU_FIXTURE_H

#include "engine/softvm.h"

enum {
	FIX_PML4 = 0x1000, FIX_GDT = 0x4000, FIX_IDT = 0x5000, FIX_TSS = 0x6000, FIX_TSS2 = 0x6800,
	FIX_CODE = 0x8000, FIX_STACK0 = 0x18000, FIX_STACK3 = 0x20000, FIX_IST1 = 0x28000,
	FIX_DATA = 0x30000,
	/* Selectors. */
	CS64 = 0x08, DS0 = 0x10, CS32_3 = 0x1b, DS3 = 0x23, CS64_3 = 0x2b, CS32 = 0x30, TSS = 0x38,
	CONF = 0x48, CS16 = 0x50, ABSENT = 0x58, GATE = 0x60, TSS2 = 0x70, DS16 = 0x80,
};

struct fix {
	struct soft_cpu *c;
	u8 *ram;
	struct mem *mem;
};

struct fix fix_long(unsigned cpl);	/* 64-bit mode */
struct fix fix_protected(unsigned cpl); /* 32-bit protected mode, no paging, 32-bit TSS */
struct fix fix_real(void);
struct fix fix_vm86(unsigned iopl);

void fix_put(struct fix *f, u32 at, u64 value, unsigned size);
u64 fix_get(struct fix *f, u32 at, unsigned size);
void fix_desc(struct fix *f, u16 sel, u64 desc);
/* A gate of @type (14, 15, 6, ...) with @dpl to @sel:@off; 16 bytes in long mode. */
void fix_gate(struct fix *f, unsigned vector, unsigned type, unsigned dpl, u16 sel, u64 off);

/* Makes the instruction at RIP that @bytes (15) are the next for fix_run(); false: none
 * that a helper executes in this mode. */
bool fix_decode(struct fix *f, const u8 *bytes);
bool fix_run(struct fix *f);
/* Decodes and runs one instruction at RIP through its helper. True: it raised. */
bool fix_insn(struct fix *f, const char *bytes, unsigned size);
/* The guest's x87, SSE and AVX state around fix_insn(), as a standard XSAVE
 * area: loaded before, saved after, when @fix_fpu_on. */
extern u8 fix_fpu[XSAVE_SIZE_MAX];
extern bool fix_fpu_on;
/* Delivers c->event. True: the delivery raised (c->event is the second). */
bool fix_deliver(struct fix *f, unsigned vector, unsigned type, int error, unsigned insn_len);
bool fix_call(struct fix *f, void (*fn)(struct soft_cpu *c));
/* The same with c->event set, for event_deliver(). */
bool fix_call_with(struct fix *f, const struct cpu_event *e, void (*fn)(struct soft_cpu *c));

#endif
