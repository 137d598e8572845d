/* SPDX-License-Identifier: MIT */
/*
 * The gdb remote stub: one debugger at a time over TCP, a vCPU is a thread.
 *
 *	gdb_create(vm, "1234", &g, &e);		listens; holds the VM until a
 *						debugger lets it go
 *	gdb_cpu_stopped(g, i);			vCPU i met a breakpoint or step
 *	gdb_destroy(g);				the loop has stopped
 *
 * All but gdb_cpu_stopped() run on the loop's thread or while it does not run.
 * While the debugger has the VM, it holds one vm_pause().
 */
#ifndef NESTOR_VM_GDB_H
#define NESTOR_VM_GDB_H

#include "base/log.h"

struct gdb;
struct vm;

/* @address is PORT or HOST:PORT; without a host, this machine only. */
int gdb_create(struct vm *vm, const char *address, struct gdb **res, struct err *e);
void gdb_destroy(struct gdb *g); /* accepts NULL */
void gdb_cpu_stopped(struct gdb *g, unsigned index); /* any thread */

#endif
