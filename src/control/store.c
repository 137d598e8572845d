// SPDX-License-Identifier: MIT
/* The state folder. */
#include "control/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/api.h"
#include "control/events.h"
#include "control/file.h"
#include "control/rules.h"

enum { LOG_MAX = 512 << 10 };
#define NEW_PREFIX  ".new-"
#define GONE_PREFIX ".gone-"

/* ---- Opening ---- */

static int open_folder(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int take_lock(struct store *s, struct ctl_err *e)
{
	s->lock = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock < 0)
		return ctl_error_errno(e, errno, "Cannot write %s/lock", s->path);
	if (!flock(s->lock, LOCK_EX | LOCK_NB))
		return 0;
	s->was_locked = errno == EWOULDBLOCK;
	return ctl_error_errno(e, errno, "Cannot lock %s/lock", s->path);
}

int store_open(struct store *s, const char *path, struct ctl_err *e)
{
	memset(s, 0, sizeof(*s));
	s->dir = s->vms = s->lock = -1;
	snprintf(s->path, sizeof(s->path), "%s", path);
	if (paths_make_folder(path, e))
		return -1;
	s->dir = open_folder(AT_FDCWD, path);
	if (s->dir < 0)
		return ctl_error_errno(e, errno, "Cannot open the folder %s", path);
	if (take_lock(s, e))
		return -1;
	if (mkdirat(s->dir, "vms", 0700) && errno != EEXIST)
		return ctl_error_errno(e, errno, "Cannot make the folder %s/vms", path);
	s->vms = open_folder(s->dir, "vms");
	return s->vms < 0 ? ctl_error_errno(e, errno, "Cannot open the folder %s/vms", path) : 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void store_close(struct store *s)
{
	close_fd(s->vms);
	close_fd(s->lock);
	close_fd(s->dir);
	s->dir = s->vms = s->lock = -1;
}

/* ---- Ids ---- */

bool store_id_valid(const char *id)
{
	for (unsigned i = 0; i < STORE_ID_SIZE - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? id[i] != '-' : !strchr("0123456789abcdef", id[i]) || !id[i])
			return false;
	}
	return !id[STORE_ID_SIZE - 1];
}

/* RFC 9562, UUID version 4. */
void store_new_id(char id[STORE_ID_SIZE])
{
	u8 b[16];

	while (getrandom(b, sizeof(b), 0) != sizeof(b))
		;
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	for (unsigned i = 0, n = 0; i < sizeof(b); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			id[n++] = '-';
		n += (unsigned)snprintf(id + n, 3, "%02x", b[i]);
	}
}

void store_boot_id(char id[BOOT_ID_SIZE])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	id[0] = 0;
	if (f && fgets(id, BOOT_ID_SIZE, f))
		id[strcspn(id, "\n")] = 0;
	if (f)
		fclose(f);
}

/* ---- Folders ---- */

/* Only what we made: a disk that somebody put there stays. */
static const char *const our_files[] = {
	"config.json", "config.json.new", "events.log",	 "events.log.1", "worker.lock", "worker.json",
	"worker.sock", "worker.log",	  "saved.state", "autostart",	 "autostart.new",
};

/* A folder with foreign files goes to the state folder's top. */
static void remove_folder(struct store *s, const char *name)
{
	int dir = open_folder(s->vms, name);
	char left[80];

	if (dir < 0)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(our_files); i++)
		unlinkat(dir, our_files[i], 0);
	close(dir);
	if (!unlinkat(s->vms, name, AT_REMOVEDIR))
		return;
	snprintf(left, sizeof(left), "left-%.60s", name + 1);
	if (renameat(s->vms, name, s->dir, left))
		log_warn("cannot remove %s/vms/%s: %s", s->path, name, strerror(errno));
}

static bool unfinished(const char *name)
{
	return !strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) ||
	       !strncmp(name, GONE_PREFIX, strlen(GONE_PREFIX));
}

void store_scan(struct store *s, void (*fn)(void *opaque, const char *id), void *opaque)
{
	int fd = open_folder(s->vms, ".");
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		if (unfinished(entry->d_name))
			remove_folder(s, entry->d_name);
		else if (store_id_valid(entry->d_name))
			fn(opaque, entry->d_name);
	}
	if (d)
		closedir(d);
}

static int fill_folder(struct store *s, const char *name, const char *id, const json_t *config,
		       int *dir, struct ctl_err *e)
{
	if (mkdirat(s->vms, name, 0700))
		return ctl_error_errno(e, errno, "Cannot make the folder %s/vms/%s", s->path, id);
	*dir = open_folder(s->vms, name);
	if (*dir < 0)
		return ctl_error_errno(e, errno, "Cannot open the folder %s/vms/%s", s->path, id);
	if (store_write_config(*dir, config, e))
		return -1;
	if (renameat(s->vms, name, s->vms, id))
		return ctl_error_errno(e, errno, "Cannot make the folder %s/vms/%s", s->path, id);
	fsync(s->vms);
	return 0;
}

int store_create_vm(struct store *s, const char *id, const json_t *config, int *dir,
		    struct ctl_err *e)
{
	char name[64];

	snprintf(name, sizeof(name), NEW_PREFIX "%s", id);
	*dir = -1;
	if (!fill_folder(s, name, id, config, dir, e))
		return 0;
	close_fd(*dir);
	*dir = -1;
	remove_folder(s, name);
	return -1;
}

int store_open_vm(struct store *s, const char *id, struct ctl_err *e)
{
	int dir = open_folder(s->vms, id);

	return dir < 0 ? ctl_error_errno(e, errno, "Cannot open the folder %s/vms/%s", s->path, id) : dir;
}

int store_remove_vm(struct store *s, const char *id, struct ctl_err *e)
{
	char name[64];

	snprintf(name, sizeof(name), GONE_PREFIX "%s", id);
	if (renameat(s->vms, id, s->vms, name))
		return ctl_error_errno(e, errno, "Cannot remove the folder %s/vms/%s", s->path, id);
	fsync(s->vms);
	remove_folder(s, name);
	return 0;
}

/* ---- Configurations ---- */

int store_write_config(int dir, const json_t *config, struct ctl_err *e)
{
	return file_replace_json(dir, "config.json", config, e);
}

int store_check_config(json_t *config, const char *id, struct ctl_err *e)
{
	if (api_check(&api_vm, config, API_FOR_STORE, e))
		return -1;
	if (api_fill_defaults(&api_vm, config))
		return ctl_error(e, CTL_OUT_OF_MEMORY, "There is not enough memory.");
	if (strcmp(config_string(config, "id"), id))
		return ctl_error(e, CTL_DAMAGED, "The id in it is not that of its folder.");
	return rules_check(config, e);
}

int store_read_config(int dir, const char *id, json_t **config, struct ctl_err *e)
{
	if (file_read_json(dir, "config.json", config, e))
		return -1;
	if (!store_check_config(*config, id, e))
		return 0;
	json_decref(*config);
	*config = NULL;
	return -1;
}

/* ---- Logs and marks ---- */

static int open_log(int dir)
{
	int fd = openat(dir, "events.log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_size < LOG_MAX)
		return fd;
	close(fd);
	renameat(dir, "events.log", dir, "events.log.1");
	return openat(dir, "events.log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

void store_log(int dir, const char *type, const char *text)
{
	int fd = open_log(dir);
	char now[32], *line = NULL;

	if (fd < 0)
		return;
	time_now_text(now);
	json_t *j = json_pack("{s:s, s:s, s:s}", "time", now, "type", type, "text", text);
	char *plain = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int n = plain ? asprintf(&line, "%s\n", plain) : -1;
	if (n > 0 && write(fd, line, (size_t)n) != n)
		log_warn("cannot write to a virtual machine's log: %s", strerror(errno));
	if (n >= 0)
		free(line);
	free(plain);
	json_decref(j);
	close(fd);
}

static void read_log_file(int dir, const char *name, json_t *to)
{
	char *text, *rest;
	size_t size;

	if (file_read(dir, name, 2 * LOG_MAX, &text, &size))
		return;
	rest = text;
	for (char *line; (line = strsep(&rest, "\n"));) {
		json_t *j = *line ? json_loads(line, 0, NULL) : NULL;

		if (j)
			json_array_append_new(to, j);
	}
	free(text);
}

json_t *store_read_log(int dir)
{
	json_t *a = json_array();

	read_log_file(dir, "events.log.1", a);
	read_log_file(dir, "events.log", a);
	return a;
}

int store_set_mark(int dir, const char *name, bool on, struct ctl_err *e)
{
	if (on)
		return file_replace(dir, name, "", 0, e);
	if (unlinkat(dir, name, 0) && errno != ENOENT)
		return ctl_error_errno(e, errno, "Cannot remove %s", name);
	return 0;
}

bool store_has_mark(int dir, const char *name)
{
	return !faccessat(dir, name, F_OK, 0);
}

/* ---- The worker's lock ---- */

static int open_worker_lock(int dir)
{
	return openat(dir, "worker.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

int store_lock_worker(int dir)
{
	int fd = open_worker_lock(dir);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		return -1;
	}
	return fd;
}

bool store_worker_alive(int dir)
{
	int fd = openat(dir, "worker.lock", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	bool alive = flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;
	close(fd);
	return alive;
}

void store_wait_worker_end(int dir)
{
	int fd = openat(dir, "worker.lock", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	while (flock(fd, LOCK_SH) && errno == EINTR)
		;
	close(fd);
}
