/* SPDX-License-Identifier: MIT */
/*
 * What --trace LIST may name. An engine that can trace asks trace_parse() once
 * and then tests bits.
 */
#ifndef NESTOR_CPU_TRACE_H
#define NESTOR_CPU_TRACE_H

#include "base/log.h"
#include "base/types.h"

enum { TRACE_EVENTS = 1, TRACE_BLOCKS = 2, TRACE_VMX = 4 };

struct trace_list {
	u32 points;	/* TRACE_... */
	char rows[256]; /* the file of rows=FILE, "" without */
};

/* @list may be NULL: nothing is traced. -1 and a sentence for what is unknown. */
int trace_parse(const char *list, struct trace_list *res, struct err *e);
/* Prints names and meanings to standard output. */
void trace_help(void);

#endif
