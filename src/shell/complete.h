/* SPDX-License-Identifier: MIT */
/* What could stand where the cursor is: cmdlets, parameters, values, VMs, variables, files. */
#ifndef NESTOR_SHELL_COMPLETE_H
#define NESTOR_SHELL_COMPLETE_H

#include <jansson.h>

#include "shell/shell.h"

/* Words that could replace the one between @start and the end of @line (up to the
 * cursor). New reference to an array of strings. */
json_t *complete_new(struct shell *sh, const char *line, size_t *start);

#endif
