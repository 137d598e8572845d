// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hostmem.h"
#include "../../lib/test.h"

static char root[] = "/tmp/nestor-hostmem.XXXXXX";

static void put(const char *dir, const char *file, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", root, dir);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/%s/%s", root, dir, file);
	FILE *f = fopen(path, "w");
	CHECK(f);
	if (!f)
		return;
	fputs(text, f);
	fclose(f);
}

TEST(hostmem, limits_of_control_groups)
{
	char command[64];

	CHECK(mkdtemp(root));
	put(".", "memory.max", "max\n");
	put("a", "memory.max", "1000000\n");
	put("a/b", "memory.max", "2000000\n");
	CHECK_EQ(cgroup_memory_limit(root, "0::/a/b\n"), 1000000);
	CHECK_EQ(cgroup_memory_limit(root, "0::/\n"), UINT64_MAX);
	CHECK_EQ(cgroup_memory_limit(root, "0::/gone/b"), UINT64_MAX);
	put("memory", "memory.limit_in_bytes", "9223372036854771712\n");
	put("memory/x", "memory.limit_in_bytes", "5000\n");
	CHECK_EQ(cgroup_memory_limit(root, "3:cpu:/x\n5:memory:/x\n0::/\n"), 5000);
	CHECK_EQ(cgroup_memory_limit(root, "3:cpu:/x\n5:memory:/\n"), 9223372036854771712ull);
	/* In a container the group's path is not to be seen, its limit is the root's. */
	put(".", "memory.max", "7000\n");
	CHECK_EQ(cgroup_memory_limit(root, "0::/docker/0123\n"), 7000);
	CHECK_EQ(cgroup_memory_limit(root, ""), UINT64_MAX);
	CHECK_EQ(cgroup_memory_limit(root, "nonsense\n:\n::\n"), 7000);
	snprintf(command, sizeof(command), "rm -r %s", root);
	CHECK_EQ(system(command), 0);
}
