/* SPDX-License-Identifier: MIT */
/* Runs scripts and keeps what they write. */
#ifndef NESTOR_TESTS_SHELL_FIXTURE_H
#define NESTOR_TESTS_SHELL_FIXTURE_H

#include <stdbool.h>

struct ran {
	char *out, *err;
	int status;
};

struct ran run_script(const char *text);
struct ran run_words(bool json, int argc, const char **argv);
void ran_free(struct ran *r);

/* Rows of a test: what a script writes to standard output; and a piece of what it
 * writes to standard error, NULL for nothing. */
struct script_row {
	const char *script, *out, *err;
};

void check_script(const char *file, int line, const struct script_row *row);

#define CHECK_SCRIPTS(rows)                                                                        \
	do {                                                                                       \
		for (unsigned i_ = 0; i_ < sizeof(rows) / sizeof((rows)[0]); i_++)                 \
			check_script(__FILE__, __LINE__, &(rows)[i_]);                             \
	} while (0)

#endif
