// SPDX-License-Identifier: MIT
/* The saved state in a VM's folder. */
#include "control/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "vm/savefile.h"

bool saved_exists(int dir)
{
	int fd = openat(dir, "saved.state", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool complete = fd >= 0 && savefile_complete(fd);

	if (fd >= 0)
		close(fd);
	return complete;
}

int saved_remove(int dir)
{
	if (unlinkat(dir, "saved.state", 0) && errno != ENOENT)
		return -errno;
	fsync(dir);
	return 0;
}
