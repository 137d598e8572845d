/* SPDX-License-Identifier: MIT */
/* How much memory this process may have. Any thread; reads files of /proc and /sys each time. */
#ifndef NESTOR_BASE_HOSTMEM_H
#define NESTOR_BASE_HOSTMEM_H

#include "base/types.h"

/* The host's RAM and swap, in bytes. */
u64 host_memory(void);
/* What the control groups that we are in allow; UINT64_MAX without a limit. @root is where the
 * hierarchies are mounted, NULL for the usual place; @self is /proc/self/cgroup's text. */
u64 cgroup_memory_limit(const char *root, const char *self);
u64 host_cgroup_limit(void);

#endif
