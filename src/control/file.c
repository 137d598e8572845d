// SPDX-License-Identifier: MIT
/* Reading and replacing small files. */
#include "control/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t max, char **text, size_t *size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((u64)st.st_size > max)
		return -EFBIG;
	char *p = malloc((size_t)st.st_size + 1);
	size_t done = 0;
	if (!p)
		return -ENOMEM;
	while (done < (size_t)st.st_size) {
		ssize_t n = read(fd, p + done, (size_t)st.st_size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			free(p);
			return -errno;
		}
		if (!n)
			break;
		done += (size_t)n;
	}
	p[done] = 0;
	*text = p;
	*size = done;
	return 0;
}

int file_read(int dir, const char *name, size_t max, char **text, size_t *size)
{
	/* Not blocking: somebody may have put a pipe there. */
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r = fd < 0 ? -errno : read_all(fd, max, text, size);

	if (fd >= 0)
		close(fd);
	return r;
}

static int write_all(int fd, const char *p, size_t size)
{
	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

static int write_new(int dir, const char *name, const void *data, size_t size)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	int r = write_all(fd, data, size);
	if (!r && fsync(fd))
		r = -errno;
	if (close(fd) && !r)
		r = -errno;
	return r;
}

int file_replace(int dir, const char *name, const void *data, size_t size, struct ctl_err *e)
{
	char temp[80];

	snprintf(temp, sizeof(temp), "%.64s.new", name);
	int r = write_new(dir, temp, data, size);
	if (!r && renameat(dir, temp, dir, name))
		r = -errno;
	if (!r) {
		fsync(dir); /* renamed it is; a folder that cannot be synced undoes nothing */
		return 0;
	}
	unlinkat(dir, temp, 0);
	return ctl_error_errno(e, -r, "Cannot write %s", name);
}

int file_read_json(int dir, const char *name, json_t **res, struct ctl_err *e)
{
	json_error_t je;
	char *text;
	size_t size;
	int r = file_read(dir, name, FILE_TEXT_MAX, &text, &size);

	if (r)
		return ctl_error_errno(e, -r, "Cannot read %s", name);
	*res = json_loadb(text, size, JSON_REJECT_DUPLICATES, &je);
	free(text);
	if (!*res)
		return ctl_error(e, CTL_DAMAGED, "%s, line %d: %s.", name, je.line, je.text);
	return 0;
}

int file_replace_json(int dir, const char *name, const json_t *j, struct ctl_err *e)
{
	char *text = json_dumps(j, JSON_INDENT(2));

	if (!text)
		return ctl_error(e, CTL_OUT_OF_MEMORY, "There is not enough memory.");
	int r = file_replace(dir, name, text, strlen(text), e);
	free(text);
	return r;
}
