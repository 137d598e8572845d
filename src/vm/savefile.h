/* SPDX-License-Identifier: MIT */
/*
 * A whole VM in a file, sparse and atomic: Save-VM and the resume from it.
 *
 *	vm_save_to(vm, fd, progress, opaque, &e);	vCPUs are paused
 *	vm_load_from(vm, fd, &e);			a fresh VM of the same
 *							configuration, before it runs
 *	savefile_discard(fd);				the VM goes on: the file is void
 *
 * The file's mark is written when all else is on disk, so that a file is whole
 * or none. Time stands still for the guest between the two. What is in the file
 * may be anybody's: it is checked. On the loop's thread or while it does not run;
 * savefile_complete() anywhere.
 */
#ifndef NESTOR_VM_SAVEFILE_H
#define NESTOR_VM_SAVEFILE_H

#include "vm/vm.h"

/* Called now and then with the part that is done. */
typedef void savefile_progress_fn(void *opaque, unsigned percent);

/* When it fails, the file is void and the VM may go on. */
int vm_save_to(struct vm *vm, int fd, savefile_progress_fn *progress, void *opaque, struct err *e);
int vm_load_from(struct vm *vm, int fd, struct err *e);
/* What struct vm_config must say of memory and max_memory for it to be loaded. */
int savefile_memory(int fd, u64 *memory, u64 *most, struct err *e);
int savefile_discard(int fd); /* 0 or -errno */
bool savefile_complete(int fd);

#endif
