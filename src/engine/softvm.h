/* SPDX-License-Identifier: MIT */
/*
 * A VM of the software engine, and what its vCPUs do to each other.
 *
 * Safe points. A vCPU's run_seq is odd while it may hold checked addresses, in
 * translated code. Whoever has removed rights (a write tag of a page that
 * becomes code) and found that a running vCPU had them waits until that vCPU's
 * run_seq has changed; it must itself be outside translated code, and holding
 * cache.lock is allowed, since nobody takes that lock with an odd run_seq.
 *
 * Stop-the-world. world_stop() makes every other vCPU wait in world_enter();
 * it is for flushing the cache and for locked operations on split or I/O
 * operands. Lock order: vm.world, then a device's lock, then cache.lock.
 */
#ifndef NESTOR_ENGINE_SOFTVM_H
#define NESTOR_ENGINE_SOFTVM_H

#include "cpu/trace.h"
#include "engine/cache.h"
#include "engine/soft.h"

enum { MAX_CPUS = 64 };

/* step.c's thunks, by instruction bytes. */
struct thunk {
	u8 bytes[INSN_MAX], len, opsize, addrsize;
	u64 code, generation;
};


struct soft_vm {
	struct machine_env env;
	unsigned nr_cpus;
	struct soft_cpu *cpus[MAX_CPUS];
	struct lapic_bus *lapics;
	struct code_cache cache;
	pthread_mutex_t world;	   /* held by who stops the world */
	_Atomic bool world_stopped;
	struct soft_cpu *world_owner; /* who stopped it: may go on itself */
	struct thunk thunks[1024];
	bool has_bmi2, has_fsgsbase;
	bool stats_on;
	u32 trace; /* TRACE_* */
	u8 *rows;  /* --trace rows=FILE: which rows of insn.def were met; or NULL */
	u64 xsave_mask; /* host state components that are saved around C code */
};

void world_stop(struct soft_vm *vm, struct soft_cpu *by);
void world_resume(struct soft_vm *vm);
/* Around translated code: run_seq becomes odd (waiting while the world is
 * stopped), and even again if it was odd. */
void world_enter(struct soft_cpu *c);
void world_leave(struct soft_cpu *c);
/* The vCPU that runs on this thread; and: if it is inside translated code (in
 * a helper), leave for as long as something may block; the caller enters again,
 * and exec.c sees when the code it came from is gone. */
void world_set_self(struct soft_cpu *c);
bool world_step_aside(struct soft_cpu **c);
/* Waits until @other is outside translated code, or has been since. */
void world_wait_safe(struct soft_cpu *other);

/* smc.c. Takes @gpa's page to the state "code": write tags gone everywhere.
 * NULL: metadata is full. cache.lock held. */
struct code_page *smc_make_code(struct soft_vm *vm, struct soft_cpu *by, gpa_t gpa);
/* Of a code_page.map: the bits of [gpa, gpa + size) of one page. */
u64 smc_pieces(gpa_t gpa, u64 size);
/* After a write to L1-physical memory: throws away what was translated from
 * there. Any thread; takes cache.lock when the page holds code. */
void smc_written(struct soft_vm *vm, gpa_t gpa, u64 size);

/* Stubs (stubs.c): made once per VM at the start of the cache. */
void stubs_create(struct soft_vm *vm);

/* translate.c: a new block for RIP, whose code is at @linear and @pa. NULL: when
 * cache.em.full, flush and try again; else the instruction must be stepped. */
struct block *translate_block(struct soft_cpu *c, gva_t linear, gpa_t pa);
/* Does the mode or the processor model refuse the instruction? Then the helper
 * that raises the fault. */
helper_fn *insn_refused(const struct soft_cpu *c, const struct insn *i, const struct block_mode *m);

/* What decoding depends on in blocks of mode @bits (MODE_*). */
struct insn_mode insn_mode_of(const struct soft_cpu *c, u64 bits);

/* Does a pending x87 exception come before its memory operand's faults? */
static inline bool insn_waits(const struct insn *i)
{
	bool store = i->map == MAP_1B && (i->opcode & 0xfb) == 0xd9 && (i->modrm >> 3 & 7) == 7;
	bool cvtpi2pd = i->map == MAP_0F && i->opcode == 0x2a; /* leaves MMX alone if from memory */

	return (i->rules & (RULE_X87 | RULE_MMX)) && !store && !cvtpi2pd; /* FNSTCW, FNSTSW */
}

/* VZEROUPPER and VZEROALL: outside 64-bit mode they leave registers 8 to 15 alone. */
static inline bool insn_is_vzero(const struct insn *i)
{
	return i->enc == ENC_VEX && i->map == MAP_0F && i->opcode == 0x77;
}

/* step.c: executes exactly the instruction at RIP in C. RIP is advanced, traps
 * raised. Ends normally or by cpu_raise(). */
void step_insn(struct soft_cpu *c);
/* The gdb stub's memory access. */
bool debug_access(struct soft_cpu *c, gva_t addr, void *buf, unsigned size, bool write);
struct soft_cpu *world_self(void);
/* Empties the code cache, with the world stopped. Not inside translated code. */
void exec_flush_code(struct soft_cpu *c);
void exec_trace_event(struct soft_cpu *c); /* --trace events: c->event is about to be delivered */
void exec_set_stepping(struct soft_cpu *c);

#endif
