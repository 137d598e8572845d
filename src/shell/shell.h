/* SPDX-License-Identifier: MIT */
/*
 * The shell: a subset of PowerShell's language with the cmdlets of its tables.
 *
 *	struct shell *sh = shell_create(stdout, stderr);
 *	shell_run(sh, "Get-VM | fl", 11, NULL);
 *	status = shell_status(sh);
 *	shell_destroy(sh);
 *
 * One thread.
 */
#ifndef NESTOR_SHELL_SHELL_H
#define NESTOR_SHELL_SHELL_H

#include <stdio.h>

#include "base/types.h"

struct shell;

struct shell *shell_create(FILE *out, FILE *err);
void shell_destroy(struct shell *sh);

/* Objects and errors as JSON, one a line, in place of tables. */
void shell_set_json(struct shell *sh, bool json);
/* Questions may be asked, and answered on the terminal. */
void shell_set_interactive(struct shell *sh, bool interactive);

/* Runs a script; @file is its name for messages, or NULL. False when it ended by
 * `exit`. Errors are written, and seen in shell_status(). */
bool shell_run(struct shell *sh, const char *text, size_t len, const char *file);
/* Whether more lines can make a script of this text that is none yet. */
bool shell_wants_more(const char *text, size_t len);
/* One cmdlet with program arguments: true, 1 and $true are all true there. */
void shell_run_args(struct shell *sh, int argc, char **argv);

/* Whether @word is a cmdlet's name or alias, or text that only a script can be. */
bool shell_knows(const char *word);

/* The exit status: that of `exit`, or 1 when an error was written. */
int shell_status(const struct shell *sh);
/* That of `exit` only. */
int shell_exit_code(const struct shell *sh);

#endif
