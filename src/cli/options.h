/* SPDX-License-Identifier: MIT */
/*
 * Options of a sub-command as a table: parsing, help, completion and the hint
 * for a mistyped name all come from it.
 *
 *	static const struct option_row rows[] = {
 *		{ "cpus", "N", "number of vCPUs", set_cpus },
 *		{ "quiet", NULL, "say nothing", set_quiet },
 *	};
 *
 * An option is given as `--cpus 2` or `--cpus=2`.
 */
#ifndef NESTOR_CLI_OPTIONS_H
#define NESTOR_CLI_OPTIONS_H

#include <stdio.h>

#include "base/log.h"

struct option_row {
	const char *name; /* without the dashes */
	const char *arg;  /* what the help calls the value (a STRING may be empty); NULL: takes none */
	const char *help;
	/* @value is NULL when there is none; it may be kept. -1 and a sentence. */
	int (*set)(void *target, char *value, struct err *e);
};

struct option_table {
	const char *command;  /* "nestor run" */
	const char *synopsis; /* what follows the command's name in the usage line */
	const char *about;
	const struct option_row *rows;
	unsigned nr_rows;
	const char *epilogue; /* printed after the options, may be NULL */
};

/* 0, or -1 with a sentence. Nothing but options is allowed. */
int options_parse(const struct option_table *t, void *target, int argc, char **argv, struct err *e);
void options_help(const struct option_table *t, FILE *to);
/* One option a line, for the shells' completion. */
void options_complete(const struct option_table *t, FILE *to);

/* The candidate that @word was probably meant to be, or NULL. @get(i) names
 * candidate i of @nr. */
const char *nearest_word(const char *word, const char *(*get)(const void *from, unsigned i),
			 const void *from, unsigned nr);

#endif
