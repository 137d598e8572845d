/* SPDX-License-Identifier: MIT */
/*
 * What a CPU engine offers to the VM above it, and what it is given.
 *
 * vm/ creates an engine VM with a struct machine_env, then vCPUs; each vCPU's
 * thread calls run() in a loop. Everything that a guest does with memory, ports
 * and devices happens inside run(), through the env's buses. run() returns when
 * somebody kicked the vCPU with stop requested, or the guest did something that
 * ends or resets the machine.
 */
#ifndef NESTOR_CPU_ENGINE_H
#define NESTOR_CPU_ENGINE_H

#include "base/log.h"
#include "base/loop.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "bus/mem.h"
#include "cpu/cpu.h"

struct cpu_model; /* cpu/model.h */
struct lapic;	  /* cpu/lapic.h */
struct state_buf; /* base/state.h */
struct engine_vm;
struct engine_vcpu;

enum vcpu_stop {
	VCPU_STOP_KICKED,	/* stop was requested by kick() */
	VCPU_STOP_TRIPLE_FAULT, /* shutdown: the machine decides what follows */
	VCPU_STOP_ERROR,	/* the engine itself failed; it has logged why */
	VCPU_STOP_DIFFERENT,	/* env.compare found a difference and has logged it */
	VCPU_STOP_DEBUG,	/* a breakpoint or step of set_debug(); rip is the next to run */
};

/* What a debugger wants of a vCPU. A breakpoint stops before the instruction
 * at that RIP runs; the debugger itself removes it to step over it. */
enum { ENGINE_MAX_BREAKPOINTS = 32 };
struct engine_debug {
	bool single_step; /* stop after one instruction */
	unsigned nr_breakpoints;
	gva_t breakpoint[ENGINE_MAX_BREAKPOINTS];
};

/* All outlive the engine's VM. */
struct machine_env {
	struct mem *mem;
	struct io_bus *pio, *mmio;
	struct loop *loop; /* timers */
	const struct cpu_model *model;
	unsigned nr_cpus;
	/* Where the board's PIC delivers: acknowledges and returns the vector of
	 * the highest pending PIC interrupt, or -1. Called on vCPU 0's thread. */
	int (*extint_ack)(void *opaque);
	void *extint_opaque;
	const char *trace; /* --trace LIST, or NULL */
	unsigned compare;  /* how often each translation is compared with its instructions */
	bool count_insns;  /* fill insns_* of struct engine_stats (costs speed) */
};

struct engine_stats {
	u64 insns_native, insns_own, insns_helper; /* guest instructions executed, by kind */
	u64 blocks, translations, code_bytes, flushes;
	u64 exits_mmio, exits_pio, exits_hlt, exits_vmx;
};

struct engine_ops {
	const char *name;
	/* Does the engine bring its own interrupt chips (KVM)? Else the board's
	 * are used, and LAPICs of cpu/lapic.c. */
	bool has_irqchip;
	int (*vm_create)(const struct machine_env *env, struct engine_vm **res, struct err *e);
	void (*vm_destroy)(struct engine_vm *vm);
	/* Power-on state of the engine's own chips, vCPUs not running; may be NULL.
	 * vCPU registers are set by set_state(), LAPICs of lapic() by their owner. */
	int (*vm_reset)(struct engine_vm *vm);
	int (*vcpu_create)(struct engine_vm *vm, unsigned index, struct engine_vcpu **res,
			   struct err *e);
	void (*vcpu_destroy)(struct engine_vcpu *vcpu);
	enum vcpu_stop (*run)(struct engine_vcpu *vcpu); /* the vCPU's own thread */
	void (*kick)(struct engine_vcpu *vcpu);		 /* any thread: make run() return soon */
	/* With the vCPU not running. */
	int (*get_state)(struct engine_vcpu *vcpu, struct cpu_state *s);
	int (*set_state)(struct engine_vcpu *vcpu, const struct cpu_state *s);
	/* Saves what get_state() and lapic() do not give: events on their way,
	 * VMX, the engine's own chips. Loaded after those two. The guest's memory
	 * is saved after, loaded before. */
	int (*save)(struct engine_vcpu *vcpu, struct state_buf *b);
	int (*load)(struct engine_vcpu *vcpu, struct state_buf *b, struct err *e);
	/* The vCPU's LAPIC, NULL where has_irqchip. */
	struct lapic *(*lapic)(struct engine_vcpu *vcpu);
	/* Where devices' interrupts go, when has_irqchip. */
	const struct irq_sink *(*irq_sink)(struct engine_vm *vm);
	void (*stats)(struct engine_vm *vm, struct engine_stats *res);
	/* Does a hypervisor run in the guest on this vCPU: VMXON done and not left
	 * (or EFER.SVME set)? The vCPU is not running. NULL: never. */
	bool (*hypervisor_active)(struct engine_vcpu *vcpu);
	/* Writes registers and what is known to stderr; any thread, best effort. */
	void (*dump)(struct engine_vcpu *vcpu);
	/* For the debugger, vCPU stopped: reads or writes linear addresses. */
	bool (*peek)(struct engine_vcpu *vcpu, gva_t addr, void *to, unsigned size);
	bool (*poke)(struct engine_vcpu *vcpu, gva_t addr, const void *from, unsigned size);
	/* The vCPU stopped; replaces the earlier wish. May be NULL. -ENOSPC: too
	 * many breakpoints. */
	int (*set_debug)(struct engine_vcpu *vcpu, const struct engine_debug *d);
};

extern const struct engine_ops soft_engine; /* engine/exec.c */
extern const struct engine_ops kvm_engine;  /* kvm/kvm.c */

#endif
