/* SPDX-License-Identifier: MIT */
/*
 * Runs a program on the host CPU, in a child process: its pages are mapped at their
 * own addresses and nothing else is below 4 GiB, its registers are loaded, and
 * whatever signal ends it is caught. A seccomp filter refuses system calls from there.
 *
 *	native_create(&n);		before the engine maps anything
 *	program_assemble(&n->program, n->code);
 *	native_execute(n);			n->outcome
 */
#ifndef NESTOR_TESTS_NATIVE_H
#define NESTOR_TESTS_NATIVE_H

#include "program.h"

struct native {
	struct program program;
	struct outcome outcome;
	u8 code[CODE_SIZE];
	int to_child, from_child;
};

/* Shared with the child. NULL when the pages cannot be had. */
struct native *native_create(void);
void native_execute(struct native *n);

#endif
