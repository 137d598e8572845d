/* SPDX-License-Identifier: MIT */
/*
 * A whole VM as data: memory, chips, devices, vCPUs. Taken from a VM that is
 * paused or whose vCPUs have ended, put into a fresh one of the same
 * configuration before it runs.
 *
 *	vm_save(vm, &s, &e);
 *	vm_destroy(vm); ... vm_create(config, engine, &vm, &e);
 *	vm_load(vm, &s, &e);
 *	vm_snapshot_free(&s);
 *
 * Time stands still for the guest between the two: its TSC and the VM's clock go
 * on where they were. On the loop's thread or while it does not run.
 */
#ifndef NESTOR_VM_SNAPSHOT_H
#define NESTOR_VM_SNAPSHOT_H

#include "base/state.h"
#include "vm/vm.h"

/* A page that is not all zeroes. */
struct vm_page {
	gpa_t gpa;
	u8 data[PAGE_SIZE];
};

struct vm_snapshot {
	struct state_buf state;
	struct vm_page *pages;
	size_t nr_pages, max_pages;
};

int vm_save(struct vm *vm, struct vm_snapshot *s, struct err *e);
int vm_load(struct vm *vm, struct vm_snapshot *s, struct err *e);
void vm_snapshot_free(struct vm_snapshot *s);

#endif
