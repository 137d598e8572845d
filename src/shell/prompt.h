/* SPDX-License-Identifier: MIT */
/* The interactive prompt: lines with editing, history and completion. One thread. */
#ifndef NESTOR_SHELL_PROMPT_H
#define NESTOR_SHELL_PROMPT_H

#include "shell/shell.h"

/* Runs what is typed on standard input until `exit` or the end; the exit status. */
int prompt_run(struct shell *sh);

#endif
