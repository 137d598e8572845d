/* SPDX-License-Identifier: MIT */
/*
 * `nestor worker`: the process of one VM. The manager starts it with descriptors
 *
 *	3  a pipe: {"ready": true} or {"error": {...}} is written to it once
 *	4  worker.lock, locked; held until the process is gone
 *	5  the VM's folder
 *
 * and from then on it needs no manager. See link.h for what it says on its
 * socket, store.h for the files.
 */
#ifndef NESTOR_CONTROL_WORKER_H
#define NESTOR_CONTROL_WORKER_H

#include <jansson.h>

#include "control/error.h"
#include "vm/config.h"

int worker_main(void); /* the exit status */

/* worker_config.c: @config is complete and outlives @vc. Boot files are opened. */
int worker_config_fill(const json_t *config, struct vm_config *vc, struct ctl_err *e);
/* A sentence of the layers below, as a record. Returns -1. */
int worker_error(struct ctl_err *to, const struct err *from);

#endif
