/* SPDX-License-Identifier: MIT */
/*
 * Starting nestor's own processes, the manager and workers, so that they
 * outlive whoever started them. The program is this one (/proc/self/exe), or
 * $NESTOR_PROGRAM for programs that are not `nestor`. May be called in a program
 * with threads.
 */
#ifndef NESTOR_CONTROL_SPAWN_H
#define NESTOR_CONTROL_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

struct spawn {
	const char *const *args; /* NULL-terminated, without the program's name */
	int log_fd;		 /* standard output and error; input is /dev/null */
	const int *fds;		 /* become descriptors 3, 4, ... there */
	unsigned nr_fds;
	bool detached;		 /* not a child of ours: init's */
};

enum { SPAWN_FIRST_FD = 3, SPAWN_MAX_FDS = 4 };

/* The process (0 when detached), or -errno. All other descriptors are closed there. */
pid_t spawn_nestor(const struct spawn *s);

#endif
