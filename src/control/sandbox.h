/* SPDX-License-Identifier: MIT */
/*
 * What a worker gives up before its guest runs: new privileges, and all system
 * calls but those that a running VM needs. Opening files, sockets and processes
 * is not among them; everything is open by then. For all threads of the process,
 * for good.
 */
#ifndef NESTOR_CONTROL_SANDBOX_H
#define NESTOR_CONTROL_SANDBOX_H

#include "base/log.h"

/* 0, or -1 and why. NESTOR_SANDBOX=off in the environment: does nothing, for
 * debuggers and sanitizers. */
int sandbox_enter(struct err *e);

#endif
