/* SPDX-License-Identifier: MIT */
/*
 * Is there a saved state in a VM's folder? The worker writes saved.state and,
 * when all of it is on disk, the mark at its beginning; it takes the mark away
 * before the VM goes on from it (vm/savefile.h). A file without the mark is no
 * saved state.
 */
#ifndef NESTOR_CONTROL_SAVED_H
#define NESTOR_CONTROL_SAVED_H

#include "base/types.h"

bool saved_exists(int dir);
int saved_remove(int dir); /* 0 or -errno; also when there is none */

#endif
