/* SPDX-License-Identifier: MIT */
/*
 * The life of one VM: made from a struct vm_config, run to its end, taken
 * apart.
 *
 *	vm_create(&config, engine, &vm, &e);	everything but running
 *	end = vm_run(vm);			this thread becomes the VM's loop
 *	vm_destroy(vm);
 *
 * Threads: one per vCPU, and the loop's, which runs devices and everything here
 * that has no other note. vm_stop() may be called from any thread.
 *
 * Stop-the-world. vm_pause() returns when no vCPU runs guest code or a device
 * access, and it is called on the loop's thread (or before vm_run()), so devices
 * rest too; what the loop's thread then does has the VM to itself. Pauses
 * nest. It must not be called with a device's lock held: a vCPU may be waiting
 * for it.
 */
#ifndef NESTOR_VM_H
#define NESTOR_VM_H

#include "cpu/engine.h"
#include "vm/config.h"

struct vm;

enum vm_end_reason {
	VM_END_NONE,
	VM_END_POWEROFF,
	VM_END_RESET,	     /* only under no_reboot */
	VM_END_DEBUG_EXIT,   /* code: the status */
	VM_END_TRIPLE_FAULT, /* code: the vCPU */
	VM_END_TIMEOUT,
	VM_END_SAVE,	/* save_every_ns has passed: vm_save(), or vm_run() again */
	VM_END_STOPPED, /* vm_stop(): code is the caller's */
	VM_END_DIFFERENT, /* config.compare found a difference, logged */
	VM_END_ERROR,	/* ours or the host's, already logged */
};

struct vm_end {
	enum vm_end_reason reason;
	u32 code;
};

int vm_create(const struct vm_config *c, const struct engine_ops *engine, struct vm **res,
	      struct err *e);
void vm_destroy(struct vm *vm); /* accepts NULL */

/* Runs until the guest ends itself or vm_stop(); vCPUs have ended then and
 * pending output is written. */
struct vm_end vm_run(struct vm *vm);
void vm_stop(struct vm *vm, u32 code); /* any thread */

/* What a front panel has. Any thread. */
void vm_press_power_button(struct vm *vm);
void vm_press_reset(struct vm *vm);
/* Has the guest ended itself, or vm_stop() been called? The loop's thread. */
bool vm_is_ending(struct vm *vm);
/* Does a hypervisor run inside (struct engine_ops)? Pauses the VM for a moment
 * where that is needed. The loop's thread. */
bool vm_hypervisor_active(struct vm *vm);

void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/* Memory that comes and goes at run time. The guest's drivers follow the target in
 * their own time: below the memory at start by the balloon, above by virtio-mem.
 * All on the loop's thread. */
struct vm_memory {
	u64 boot;	/* bytes that it started with */
	u64 assigned;	/* bytes that the guest has now */
	u64 most;	/* the highest target */
	bool can_shrink, can_grow; /* its drivers run */
	u64 available;	/* what it could still use, as it says; ~0: not known */
	u64 nr_news;	/* counts answers to vm_poll_memory() */
};
void vm_get_memory(struct vm *vm, struct vm_memory *res);
/* @target: multiple of 2 MiB. To be called again now and then until that is assigned:
 * nothing is added while the balloon holds anything. */
void vm_set_memory(struct vm *vm, u64 target);
void vm_freeze_memory(struct vm *vm); /* no target: it stays as it is now */
void vm_poll_memory(struct vm *vm); /* asks the guest how its memory is used */

/* What the guest wants with the terminal is serial 0's affair; Ctrl-a x stops
 * the VM. */
struct loop *vm_loop(struct vm *vm);
unsigned vm_nr_cpus(const struct vm *vm);

/* Registers of one vCPU, the VM paused. */
int vm_get_cpu(struct vm *vm, unsigned index, struct cpu_state *s);
/* Registers of all vCPUs and what the engine knows, to standard error. */
void vm_dump(struct vm *vm);
void vm_get_stats(struct vm *vm, struct engine_stats *res);

#endif
