// SPDX-License-Identifier: MIT
/*
 * The API's client.
 *
 * Theory of operation
 *
 * One connection, kept open between calls and made anew when the manager has
 * gone. A request that could not be sent was not received whole, so it may be
 * sent again; one that was sent and got no answer is repeated only if it is a
 * GET. A manager that is not there is started; when several clients do that at
 * once, the state folder's lock lets one manager live, and all connect to it.
 */
#include "control/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/http.h"
#include "control/paths.h"
#include "control/spawn.h"

enum { START_LIMIT_MS = 15000, RETRY_MS = 20, MAX_TRIES = 5 };

struct client {
	char folder[STATE_PATH_MAX];
	struct http_conn conn;	/* fd -1: not connected */
	struct http_conn watch; /* events */
};

/* ---- Connecting, and starting the manager ---- */

/* What the manager said before it gave up, if anything. */
static int report_of(int fd, struct ctl_err *e)
{
	json_error_t je;
	FILE *f = fdopen(fd, "r");
	json_t *j = f ? json_loadf(f, 0, &je) : NULL;

	if (f)
		fclose(f);
	else
		close(fd);
	if (!j)
		return 0;
	ctl_error_from_json(e, json_object_get(j, "error"));
	json_decref(j);
	return -1;
}

static int start_manager(const char *folder, struct ctl_err *e)
{
	static const char *const args[] = { "manager", "--report", NULL };
	char log[STATE_PATH_MAX + 16];
	int pipe_fds[2];

	if (paths_make_folder(folder, e))
		return -1;
	snprintf(log, sizeof(log), "%s/manager.log", folder);
	int log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log_fd < 0)
		return ctl_error_errno(e, errno, "Cannot write %s", log);
	if (pipe2(pipe_fds, O_CLOEXEC)) {
		close(log_fd);
		return ctl_error_errno(e, errno, "Cannot make a pipe");
	}
	struct spawn s = { args, log_fd, &pipe_fds[1], 1, true };
	pid_t r = spawn_nestor(&s);
	close(log_fd);
	close(pipe_fds[1]);
	if (r < 0) {
		close(pipe_fds[0]);
		return ctl_error_errno(e, -r, "Cannot start the manager");
	}
	return report_of(pipe_fds[0], e);
}

static bool worth_starting(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED;
}

static int connect_to(struct client *c, int *fd, struct ctl_err *e)
{
	u64 limit = clock_ns() + START_LIMIT_MS * 1000000ull;
	struct timespec pause = { .tv_nsec = RETRY_MS * 1000000 };

	for (unsigned i = 0;; i++) {
		*fd = paths_connect(c->folder, "api.sock");
		if (*fd >= 0)
			return 0;
		if (!worth_starting(*fd))
			return ctl_error_errno(e, -*fd, "Cannot connect to the manager at %s/api.sock",
					       c->folder);
		if (clock_ns() > limit)
			return ctl_error(e, CTL_NO_MANAGER, "The manager of %s does not answer. "
					 "%s/manager.log may say why.", c->folder, c->folder);
		if (i % 50 == 0 && start_manager(c->folder, e))
			return -1;
		if (i)
			nanosleep(&pause, NULL);
	}
}

static int ensure_connected(struct client *c, struct ctl_err *e)
{
	int fd;

	if (c->conn.fd >= 0)
		return 0;
	if (connect_to(c, &fd, e))
		return -1;
	http_init(&c->conn, fd, HTTP_RESPONSE);
	return 0;
}

int client_open(struct client **res, struct ctl_err *e)
{
	struct client *c = calloc(1, sizeof(*c));

	memset(e, 0, sizeof(*e));
	if (!c)
		return ctl_error(e, CTL_OUT_OF_MEMORY, "There is not enough memory.");
	c->conn.fd = c->watch.fd = -1;
	if (paths_state_folder(c->folder, e) || ensure_connected(c, e)) {
		free(c);
		return -1;
	}
	*res = c;
	return 0;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	http_free(&c->conn);
	http_free(&c->watch);
	free(c);
}

/* ---- Requests ---- */

static int lost(struct ctl_err *e, int r)
{
	return ctl_error(e, CTL_LOST, "The manager went away before it answered (%s). What was asked "
			 "for has been done entirely or not at all.",
			 r ? strerror(-r) : "the connection was closed");
}

/* An answer's body, or the error in it. */
static int take_answer(const struct http_msg *m, json_t **res, struct ctl_err *e)
{
	json_error_t je;
	json_t *j = m->body ? json_loads(m->body, JSON_DECODE_ANY, &je) : json_null();

	if (!j)
		return ctl_error(e, CTL_OPERATION_FAILED, "The manager's answer is not JSON: %s.",
				 je.text);
	if (m->status >= 400) {
		ctl_error_from_json(e, json_object_get(j, "error"));
		json_decref(j);
		return -1;
	}
	if (res)
		*res = j;
	else
		json_decref(j);
	return 0;
}

/* Sends it and reads the answer's head or all of it. > 0: try again. */
static int try_call(struct client *c, const char *method, const char *path, const json_t *body,
		    bool head_only, struct http_msg *m, struct ctl_err *e)
{
	if (ensure_connected(c, e))
		return -1;
	int r = http_write_request(c->conn.fd, method, path, "", body);
	bool sent = !r;
	r = r ? r : http_read(&c->conn, m, head_only);
	if (r == 1) {
		if (!m->keep_alive && !head_only)
			http_free(&c->conn);
		return 0;
	}
	http_free(&c->conn);
	/* What could not be sent whole was not received whole. */
	if (!sent || !strcmp(method, "GET"))
		return 1;
	return lost(e, r);
}

static int call(struct client *c, const char *method, const char *path, const json_t *body,
		bool head_only, struct http_msg *m, struct ctl_err *e)
{
	for (unsigned i = 0; i < MAX_TRIES; i++) {
		int r = try_call(c, method, path, body, head_only, m, e);

		if (r <= 0)
			return r;
	}
	return lost(e, 0);
}

int client_call(struct client *c, const char *method, const char *path, json_t *body,
		json_t **res, struct ctl_err *e)
{
	struct http_msg m;

	memset(e, 0, sizeof(*e));
	int r = call(c, method, path, body, false, &m, e);
	json_decref(body);
	if (r)
		return -1;
	r = take_answer(&m, res, e);
	http_msg_free(&m);
	return r;
}

/* ---- Verbs ---- */

static int vm_call(struct client *c, const char *method, const char *id, const char *rest,
		   json_t *body, json_t **res, struct ctl_err *e)
{
	char path[256];

	snprintf(path, sizeof(path), "/v1/vms/%.64s%.128s", id, rest);
	return client_call(c, method, path, body, res, e);
}

int client_list_vms(struct client *c, json_t **res, struct ctl_err *e)
{
	return client_call(c, "GET", "/v1/vms", NULL, res, e);
}

int client_get_vm(struct client *c, const char *id, json_t **res, struct ctl_err *e)
{
	return vm_call(c, "GET", id, "", NULL, res, e);
}

int client_create_vm(struct client *c, json_t *settings, json_t **res, struct ctl_err *e)
{
	return client_call(c, "POST", "/v1/vms", settings ? settings : json_object(), res, e);
}

int client_set_vm(struct client *c, const char *id, json_t *change, json_t **res,
		  struct ctl_err *e)
{
	return vm_call(c, "PATCH", id, "", change, res, e);
}

int client_remove_vm(struct client *c, const char *id, struct ctl_err *e)
{
	return vm_call(c, "DELETE", id, "", NULL, NULL, e);
}

static int drive_call(struct client *c, const char *method, const char *id, const char *kind,
		      const char *where, json_t *body, json_t **res, struct ctl_err *e)
{
	char rest[128];

	snprintf(rest, sizeof(rest), "/%.8s%s%.64s", kind, *where ? "/" : "", where);
	return vm_call(c, method, id, rest, body, res, e);
}

int client_add_drive(struct client *c, const char *id, const char *kind, json_t *drive,
		     json_t **res, struct ctl_err *e)
{
	return drive_call(c, "POST", id, kind, "", drive, res, e);
}

int client_set_drive(struct client *c, const char *id, const char *kind, const char *where,
		     json_t *change, json_t **res, struct ctl_err *e)
{
	return drive_call(c, "PATCH", id, kind, where, change, res, e);
}

int client_remove_drive(struct client *c, const char *id, const char *kind, const char *where,
			json_t **res, struct ctl_err *e)
{
	return drive_call(c, "DELETE", id, kind, where, NULL, res, e);
}

int client_get_vm_events(struct client *c, const char *id, json_t **res, struct ctl_err *e)
{
	return vm_call(c, "GET", id, "/events", NULL, res, e);
}

int client_get_host(struct client *c, json_t **res, struct ctl_err *e)
{
	return client_call(c, "GET", "/v1/host", NULL, res, e);
}

int client_set_host(struct client *c, json_t *change, json_t **res, struct ctl_err *e)
{
	return client_call(c, "PATCH", "/v1/host", change, res, e);
}

int client_get_versions(struct client *c, json_t **res, struct ctl_err *e)
{
	return client_call(c, "GET", "/v1/host/versions", NULL, res, e);
}

/* ---- Operations with progress ---- */

/* Lines until one has a result or an error. */
static int follow(struct client *c, client_progress_fn *progress, void *opaque, json_t **res,
		  struct ctl_err *e)
{
	char *line;
	int r;

	while ((r = http_read_line(&c->conn, &line)) == 1) {
		json_t *j = json_loads(line, 0, NULL);
		json_t *percent = json_object_get(j, "progress");
		json_t *result = json_object_get(j, "result"), *err = json_object_get(j, "error");

		free(line);
		if (result && res)
			*res = json_incref(result);
		if (err)
			ctl_error_from_json(e, err);
		if (percent)
			progress(opaque, (unsigned)json_integer_value(percent));
		json_decref(j);
		if (result || err)
			return err ? -1 : 0;
	}
	return lost(e, r);
}

static int do_with_progress(struct client *c, const char *path, const json_t *args,
			    client_progress_fn *progress, void *opaque, json_t **res,
			    struct ctl_err *e)
{
	struct http_msg m;

	if (call(c, "POST", path, args, true, &m, e))
		return -1;
	int r = follow(c, progress, opaque, res, e);
	http_free(&c->conn); /* the stream ends the connection */
	return r;
}

int client_do(struct client *c, const char *id, const char *verb, json_t *args,
	      client_progress_fn *progress, void *opaque, json_t **res, struct ctl_err *e)
{
	char path[256];

	memset(e, 0, sizeof(*e));
	snprintf(path, sizeof(path), "/v1/vms/%.64s/%.32s%s", id, verb, progress ? "?progress=1" : "");
	if (!progress)
		return client_call(c, "POST", path, args ? args : json_object(), res, e);
	if (!args)
		args = json_object();
	int r = do_with_progress(c, path, args, progress, opaque, res, e);
	json_decref(args);
	return r;
}

/* ---- Streams ---- */

int client_watch(struct client *c, struct ctl_err *e)
{
	struct http_msg m;
	int fd;

	memset(e, 0, sizeof(*e));
	http_free(&c->watch);
	if (connect_to(c, &fd, e))
		return -1;
	http_init(&c->watch, fd, HTTP_RESPONSE);
	int r = http_write_request(fd, "GET", "/v1/events", "", NULL);
	r = r ? r : http_read(&c->watch, &m, true);
	if (r == 1 && m.status == 200)
		return 0;
	http_free(&c->watch);
	return lost(e, r < 0 ? r : 0);
}

static bool has_line(const struct http_conn *c)
{
	return memchr(c->buf, '\n', c->len);
}

int client_next_event(struct client *c, int timeout_ms, json_t **res, struct ctl_err *e)
{
	u64 limit = clock_ns() + (u64)timeout_ms * 1000000;
	char *line;

	*res = NULL;
	memset(e, 0, sizeof(*e));
	if (c->watch.fd < 0)
		return lost(e, 0);
	for (;;) {
		struct pollfd p = { .fd = c->watch.fd, .events = POLLIN };
		u64 now = clock_ns();
		int wait = timeout_ms < 0 ? -1 : now < limit ? (int)((limit - now) / 1000000) + 1 : 0;

		if (!has_line(&c->watch) && poll(&p, 1, wait) <= 0)
			return 0;
		int r = http_read_line(&c->watch, &line);
		if (r != 1) {
			http_free(&c->watch);
			return lost(e, r);
		}
		*res = *line ? json_loads(line, 0, NULL) : NULL;
		free(line);
		if (*res)
			return 0;
	}
}

int client_console(struct client *c, const char *id, unsigned port, u64 *from, int *fd,
		   struct ctl_err *e)
{
	static const char upgrade[] = "Connection: Upgrade\r\nUpgrade: nestor-console\r\n";
	struct http_conn conn;
	struct http_msg m;
	char path[256];

	memset(e, 0, sizeof(*e));
	snprintf(path, sizeof(path), "/v1/vms/%.64s/console?port=%u&from=%llu", id, port,
		 (unsigned long long)*from);
	if (connect_to(c, fd, e))
		return -1;
	http_init(&conn, *fd, HTTP_RESPONSE);
	conn.piece = 1; /* what follows the head stays in the descriptor */
	int r = http_write_request(*fd, "GET", path, upgrade, NULL);
	r = r ? r : http_read(&conn, &m, false);
	if (r != 1) {
		http_free(&conn);
		return lost(e, r);
	}
	if (m.status == 101) {
		*from = m.from;
		http_msg_free(&m);
		return 0;
	}
	r = take_answer(&m, NULL, e);
	http_msg_free(&m);
	http_free(&conn);
	return r ? r : lost(e, 0);
}
