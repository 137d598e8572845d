/* SPDX-License-Identifier: MIT */
/* Finding the one VM that a command's argument names. */
#ifndef NESTOR_CLI_VMNAME_H
#define NESTOR_CLI_VMNAME_H

#include "control/client.h"

/* By name, upper and lower case taken as equal, or by id. *id has room for 40.
 * More than one of that name is an error. */
int vmname_find(struct client *c, const char *name, char id[40], struct ctl_err *e);
bool vmname_state_runs(const char *state); /* it has a process */

#endif
