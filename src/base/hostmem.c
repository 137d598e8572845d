// SPDX-License-Identifier: MIT
/*
 * The host's memory, and limits of control groups of both versions: each line of
 * /proc/self/cgroup names our group in one hierarchy, and the groups around it have limits too.
 * In a container the path may be that of the host while only "/" can be seen: the root is always
 * looked at.
 */
#include "base/hostmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

enum { PATH_SIZE = 4096 };

u64 host_memory(void)
{
	struct sysinfo si;

	if (sysinfo(&si))
		return UINT64_MAX;
	return ((u64)si.totalram + si.totalswap) * si.mem_unit;
}

/* "max", or a number; version 1 says no limit by an enormous one. */
static u64 read_limit(const char *dir, const char *file)
{
	char path[PATH_SIZE + 64];
	unsigned long long v;
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "re");
	if (!f)
		return UINT64_MAX;
	n = fscanf(f, "%llu", &v);
	fclose(f);
	return n == 1 ? v : UINT64_MAX;
}

/* The least limit of @base/@group and of all groups around it. */
static u64 least_limit(const char *base, const char *group, const char *file)
{
	size_t base_len = strlen(base);
	char dir[PATH_SIZE];
	u64 least = UINT64_MAX;

	snprintf(dir, sizeof(dir), "%s%s", base, group);
	for (;;) {
		char *slash = strrchr(dir, '/');

		least = MIN(least, read_limit(dir, file));
		if (!slash || slash < dir + base_len)
			return least;
		*slash = 0;
	}
}

/* One line: "ID:CONTROLLERS:GROUP"; version 2 names no controllers. */
static u64 limit_of_line(const char *root, char *line)
{
	char base[PATH_SIZE];
	char *controllers = strchr(line, ':');
	char *group = controllers ? strchr(++controllers, ':') : NULL;

	if (!group)
		return UINT64_MAX;
	*group++ = 0;
	if (!*controllers) {
		u64 v = least_limit(root, group, "memory.max");

		snprintf(base, sizeof(base), "%s/unified", root);
		return MIN(v, least_limit(base, group, "memory.max"));
	}
	if (!strstr(controllers, "memory"))
		return UINT64_MAX;
	snprintf(base, sizeof(base), "%s/memory", root);
	return least_limit(base, group, "memory.limit_in_bytes");
}

u64 cgroup_memory_limit(const char *root, const char *self)
{
	char *copy = strdup(self), *rest = copy, *line;
	u64 least = UINT64_MAX;

	while ((line = strsep(&rest, "\n"))) {
		u64 v = limit_of_line(root ? root : "/sys/fs/cgroup", line);

		least = MIN(least, v);
	}
	free(copy);
	return least;
}

u64 host_cgroup_limit(void)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char text[8192] = "";

	if (!f)
		return UINT64_MAX;
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	return cgroup_memory_limit(NULL, text);
}
