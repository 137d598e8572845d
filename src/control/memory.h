/* SPDX-License-Identifier: MIT */
/*
 * A running VM's memory, on the worker's side: resizing on demand, dynamic memory,
 * and what is told of it. While a hypervisor is active in the guest the amount stays
 * where it is. On the loop's thread.
 */
#ifndef NESTOR_CONTROL_MEMORY_H
#define NESTOR_CONTROL_MEMORY_H

#include "control/error.h"
#include "vm/vm.h"

struct memory {
	struct vm *vm;
	int meminfo_fd; /* the sandbox opens nothing */
	/* The configuration. */
	bool dynamic;
	u64 minimum, maximum;
	unsigned buffer, priority; /* percent */

	u64 target;   /* 0: stays as it is */
	bool frozen;  /* the devices were told to stay where they are */
	u64 demand;   /* bytes; 0: not known */
	u64 nr_news;  /* of struct vm_memory, when demand was computed */
	unsigned nr_ticks;
};

/* Before the sandbox. @config is the VM's "memory". */
void memory_init(struct memory *m, struct vm *vm, const json_t *config);
void memory_configure(struct memory *m, const json_t *config);

/* Once a second. */
void memory_tick(struct memory *m, bool hypervisor_active);

/* The guest follows in its own time; refused when it cannot. */
int memory_set_target(struct memory *m, u64 target, struct ctl_err *e);
void memory_give_up(struct memory *m); /* the target is where it is now */

/* Adds memoryAssigned, memoryDemand, memoryStatus. */
void memory_status(struct memory *m, json_t *to);

#endif
