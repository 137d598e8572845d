/* SPDX-License-Identifier: MIT */
/*
 * The user's terminal in raw mode, and back. There is one per process, so its
 * state is the process's.
 *
 * terminal_restore() may be called from anywhere, signal handlers included,
 * and any number of times. After terminal_guard(), exits by exit() and by a fatal
 * signal restore by themselves; call it before an engine is created, whose own
 * handlers of those signals pass on what is not the guest's.
 */
#ifndef NESTOR_VM_TERMINAL_H
#define NESTOR_VM_TERMINAL_H

#include "base/types.h"

void terminal_guard(void);
/* Does nothing unless standard input is a terminal whose foreground we are. */
void terminal_raw(void);
void terminal_restore(void);
bool terminal_is_raw(void);

#endif
