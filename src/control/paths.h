/* SPDX-License-Identifier: MIT */
/*
 * Where everything is: the state folder, and Unix sockets in it. The name of
 * a socket may be longer than sockaddr_un takes; it is reached through its
 * folder's descriptor then. Any thread.
 */
#ifndef NESTOR_CONTROL_PATHS_H
#define NESTOR_CONTROL_PATHS_H

#include "control/error.h"

enum { STATE_PATH_MAX = 3072 };

/* $NESTOR_HOME, or /var/lib/nestor for root, or $XDG_STATE_HOME/nestor or
 * ~/.local/state/nestor. Absolute. */
int paths_state_folder(char path[STATE_PATH_MAX], struct ctl_err *e);
/* Makes it, and its parents, for this user alone. */
int paths_make_folder(const char *path, struct ctl_err *e);

/* Sockets @name in the folder @path; a descriptor or -errno. */
int paths_listen(const char *path, const char *name);
int paths_connect(const char *path, const char *name);

#endif
