/* SPDX-License-Identifier: MIT */
/* A VM's parts, for the files of vm/. */
#ifndef NESTOR_VM_INTERNAL_H
#define NESTOR_VM_INTERNAL_H

#include <pthread.h>

#include "cpu/model.h"
#include "machine/pc.h"
#include "vm/gdb.h"
#include "vm/serial.h"
#include "vm/vm.h"

struct vm_devices;

struct vm_cpu {
	struct vm *vm;
	unsigned index;
	struct engine_vcpu *engine;
	pthread_t thread;
	bool started;
	/* Under vm->lock: */
	bool parked; /* not inside engine->run() */
	bool held;   /* shut down, or stopped for the debugger: does not run on its own */
};

struct vm {
	struct vm_config config;
	const struct engine_ops *ops;
	struct engine_vm *engine;
	struct cpu_model model;
	struct machine_env env;
	struct loop *loop;
	struct pc *pc;
	struct vm_devices *devices;
	struct serial *serials[VM_MAX_SERIALS];
	struct gdb *gdb;
	struct timer timeout, save;
	struct cpu_state *state; /* scratch of the loop's thread */
	struct vm_cpu *cpus;	 /* config.nr_cpus of them */

	/* Guards what follows and vm_cpu's marked members; a leaf lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned pause_count;
	bool quit;
	struct vm_end end;	 /* the first that came; on its way to the loop */
	struct loop_work end_work;
};

/* vcpu.c */
int vcpus_start(struct vm *vm, struct err *e); /* paused: vm_resume() sets them off */
void vcpus_end(struct vm *vm);		       /* all threads have ended after it */
void vcpus_kick(struct vm *vm);
void vcpus_release(struct vm *vm); /* those held may run again; the VM is paused */

/* vm.c: the guest or the engine ended something. Any thread, locks held. */
void vm_note_end(struct vm *vm, enum vm_end_reason reason, u32 code);

void vm_hurry_serials(struct vm *vm, bool on);
void vm_connect_serial(struct vm *vm, struct serial *s, serial_receive_fn *fn, void *opaque);

/* devices.c: what the configuration asks for beyond the board's own. */
int devices_create(struct vm *vm, struct err *e);
u64 devices_hot_memory(const struct vm_config *c); /* size of the region for virtio-mem */
void devices_reset(struct vm *vm);   /* power-on; vCPUs are not running */
void devices_begin(struct vm *vm);   /* the VM is made */
void devices_abandon(struct vm *vm); /* the VM was never made */
void devices_hurry(struct vm *vm, bool on); /* serial_hurry() */
void devices_close(struct vm *vm);   /* output that waits for a reader is given up */
void devices_drain(struct vm *vm);   /* no request is in flight after it */
int devices_save(struct vm *vm, struct state_buf *b);
int devices_load(struct vm *vm, struct state_buf *b, struct err *e);
void devices_destroy(struct vm *vm); /* accepts half-built ones */

/* snapshot.c: all but memory; @memory loads that in its turn. */
typedef int snapshot_memory_fn(struct vm *vm, void *arg, struct err *e);
int snapshot_save_state(struct vm *vm, struct state_buf *b, struct err *e);
int snapshot_load_state(struct vm *vm, struct state_buf *b, snapshot_memory_fn *memory, void *arg,
			struct err *e);
/* What struct vm_config must say of memory for it to be loaded. */
int snapshot_peek_memory(struct state_buf *b, u64 *memory, u64 *most, struct err *e);
void snapshot_clear_slot(struct mem *m, const struct mem_slot *slot);
/* A byte per page, odd where the host has it at all: looking at others would make
 * them. NULL: not known, look at all. free() it. */
u8 *snapshot_resident(const struct mem_slot *slot);

#endif
