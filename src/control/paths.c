// SPDX-License-Identifier: MIT
/* The state folder and the sockets in it. */
#include "control/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char *absolute_env(const char *name)
{
	const char *s = getenv(name);

	return s && *s == '/' ? s : NULL; /* as the XDG specification wants */
}

int paths_state_folder(char path[STATE_PATH_MAX], struct ctl_err *e)
{
	const char *own = getenv("NESTOR_HOME"), *state = absolute_env("XDG_STATE_HOME");
	const char *home = absolute_env("HOME");
	int n;

	if (own && *own)
		n = *own == '/' ? snprintf(path, STATE_PATH_MAX, "%s", own) : -1;
	else if (!geteuid())
		n = snprintf(path, STATE_PATH_MAX, "/var/lib/nestor");
	else if (state)
		n = snprintf(path, STATE_PATH_MAX, "%s/nestor", state);
	else
		n = home ? snprintf(path, STATE_PATH_MAX, "%s/.local/state/nestor", home) : -1;
	if (n > 0 && n < STATE_PATH_MAX)
		return 0;
	return ctl_error(e, CTL_INVALID_ARGUMENT, "There is no state folder: %s.",
			 n >= STATE_PATH_MAX ? "its name is too long" :
			 own && *own ? "NESTOR_HOME is not an absolute path" : "HOME is not set");
}

static int make_one(const char *path, mode_t mode)
{
	struct stat st;

	if (!mkdir(path, mode))
		return 0;
	int err = errno;
	return err == EEXIST || (!stat(path, &st) && S_ISDIR(st.st_mode)) ? 0 : err;
}

int paths_make_folder(const char *path, struct ctl_err *e)
{
	char part[STATE_PATH_MAX];
	int err = 0;

	for (const char *s = strchr(path + 1, '/'); s && !err; s = strchr(s + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(s - path), path);
		err = make_one(part, 0755);
	}
	err = err ? err : make_one(path, 0700);
	return err ? ctl_error_errno(e, err, "Cannot make the folder %s", path) : 0;
}

/* ---- Sockets ---- */

/* The folder's descriptor stands for its name. */
static int folder_address(const char *path, const char *name, struct sockaddr_un *a)
{
	int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (dir < 0)
		return -errno;
	snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s", dir, name);
	return dir;
}

static int with_socket(const char *path, const char *name,
		       int (*call)(int fd, const struct sockaddr *a, socklen_t len))
{
	struct sockaddr_un a;
	int dir = folder_address(path, name, &a);
	int fd = dir < 0 ? dir : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = fd < 0 ? errno : 0;

	if (dir < 0)
		return dir;
	if (fd >= 0 && call(fd, (struct sockaddr *)&a, sizeof(a))) {
		err = errno;
		close(fd);
	}
	close(dir);
	return err ? -err : fd;
}

static int bind_and_listen(int fd, const struct sockaddr *a, socklen_t len)
{
	mode_t old = umask(0077);
	int r = bind(fd, a, len);

	umask(old);
	return r ? r : listen(fd, 128);
}

int paths_listen(const char *path, const char *name)
{
	return with_socket(path, name, bind_and_listen);
}

int paths_connect(const char *path, const char *name)
{
	return with_socket(path, name, connect);
}
