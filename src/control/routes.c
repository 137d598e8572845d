// SPDX-License-Identifier: MIT
/* One connection's requests: from the route's row to its handler and back. */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/http.h"
#include "control/manager.h"
#include "control/rules.h"

enum { PUMP_SIZE = 4096 };

struct request {
	struct manager *m;
	struct http_conn *conn;
	const struct http_msg *msg;
	const struct api_route *route;
	char parts[API_MAX_PARTS][API_PART_SIZE];
	json_t *body;
	struct entry *v;  /* of {id} */
	json_t *answer;
	bool done; /* the handler has answered by itself; the connection ends */
};

typedef int handler_fn(struct request *r, struct ctl_err *e);

/* ---- Host ---- */

static int get_api(struct request *r, struct ctl_err *e)
{
	(void)e;
	r->answer = api_to_json();
	return 0;
}

static int get_host(struct request *r, struct ctl_err *e)
{
	(void)e;
	r->answer = host_to_json(r->m);
	return 0;
}

static int set_host(struct request *r, struct ctl_err *e)
{
	return host_change(r->m, r->body, e) ? -1 : get_host(r, e);
}

static int get_versions(struct request *r, struct ctl_err *e)
{
	(void)e;
	r->answer = json_array();
	for (unsigned i = 0; i < api_nr_versions; i++) {
		const struct api_version_row *v = &api_versions[i];

		json_array_append_new(r->answer, json_pack("{s:s, s:s, s:b}", "version", v->version, "name",
							   v->name, "isDefault",
							   !strcmp(v->version, api_default_version)));
	}
	return 0;
}

static int host_stop(struct request *r, struct ctl_err *e)
{
	(void)e;
	autostart_stop_all(r->m);
	return 0;
}

/* ---- VMs ---- */

static int list_vms(struct request *r, struct ctl_err *e)
{
	struct entry **all;
	unsigned nr = entries_all(r->m, &all);

	(void)e;
	monitor_refresh(all, nr);
	r->answer = json_array();
	for (unsigned i = 0; i < nr; i++) {
		pthread_mutex_lock(&all[i]->lock);
		entry_refresh(all[i]);
		if (!all[i]->removed)
			json_array_append_new(r->answer, entry_to_json(all[i]));
		pthread_mutex_unlock(&all[i]->lock);
		entry_put(all[i]);
	}
	free(all);
	return 0;
}

static int create_vm(struct request *r, struct ctl_err *e)
{
	return settings_create(r->m, r->body, &r->answer, e);
}

static void answer_vm(struct request *r)
{
	pthread_mutex_lock(&r->v->lock);
	entry_refresh(r->v);
	r->answer = entry_to_json(r->v);
	pthread_mutex_unlock(&r->v->lock);
}

static int get_vm(struct request *r, struct ctl_err *e)
{
	(void)e;
	monitor_refresh(&r->v, 1);
	answer_vm(r);
	return 0;
}

/* A change of the store, with the VM's lock. */
static int change_vm(struct request *r, struct ctl_err *e)
{
	struct entry *v = r->v;
	int res;

	pthread_mutex_lock(&v->lock);
	entry_refresh(v);
	if (r->route->op == API_SET_VM)
		res = settings_change(v, r->body, e);
	else if (r->route->op == API_UPDATE_VERSION)
		res = settings_update_version(v, e);
	else
		res = settings_drive(v, r->route->op, r->parts[1], r->body, e);
	pthread_mutex_unlock(&v->lock);
	if (!res)
		answer_vm(r);
	return res;
}

static int remove_vm(struct request *r, struct ctl_err *e)
{
	pthread_mutex_lock(&r->v->lock);
	entry_refresh(r->v);
	int res = settings_remove(r->v, e);
	pthread_mutex_unlock(&r->v->lock);
	if (!res)
		entry_unlist(r->v);
	return res;
}

static int get_vm_events(struct request *r, struct ctl_err *e)
{
	(void)e;
	r->answer = store_read_log(r->v->dir);
	return 0;
}

static int operate(struct request *r, struct ctl_err *e)
{
	struct op_args a = { .force = config_bool(r->body, "force"), .timeout_s = 300 };
	json_t *timeout = json_object_get(r->body, "timeout");
	bool already;

	if (timeout)
		a.timeout_s = (int)json_integer_value(timeout);
	if (op_run(r->v, r->route->op, &a, &already, e))
		return -1;
	answer_vm(r);
	if (already)
		json_object_set_new(r->answer, "already", json_true());
	return 0;
}

/* ---- Streams ---- */

static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static int get_events(struct request *r, struct ctl_err *e)
{
	int fd = r->conn->fd;
	u64 seq = events_last(r->m->events);

	(void)e;
	r->done = true;
	if (http_write_stream_head(fd))
		return 0;
	while (!hung_up(fd) && !r->m->ending) {
		json_t *event = events_next(r->m->events, seq, 2000);
		bool ours = json_object_get(event, "id"); /* the others are among threads */
		int res = ours ? http_write_line(fd, event) : event ? 0 : http_write_all(fd, "\n", 1);

		if (event)
			seq = (u64)json_integer_value(json_object_get(event, "seq"));
		json_decref(event);
		if (res)
			break;
	}
	return 0;
}

static bool pump(int from, int to)
{
	char buf[PUMP_SIZE];
	ssize_t n = read(from, buf, sizeof(buf));

	return n > 0 ? !http_write_all(to, buf, (size_t)n) : n < 0 && errno == EINTR;
}

static void pump_both(int a, int b)
{
	struct pollfd p[2] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if ((p[0].revents && !pump(a, b)) || (p[1].revents && !pump(b, a)))
			return;
	}
}

static int console(struct request *r, struct ctl_err *e)
{
	char head[256];
	u64 from;
	json_t *args = json_pack("{s:I, s:I}", "port",
				 (json_int_t)http_query_number(r->msg->target, "port", 1), "from",
				 (json_int_t)http_query_number(r->msg->target, "from", 0));

	if (!r->msg->upgrade) {
		json_decref(args);
		return ctl_error(e, CTL_INVALID_ARGUMENT, "The console wants `Upgrade: nestor-console`.");
	}
	pthread_mutex_lock(&r->v->lock);
	bool runs = r->v->link;
	if (!runs)
		rules_wrong_state(r->v->config, e, "is %s and has no console now.",
				  vm_state_names[r->v->state]);
	pthread_mutex_unlock(&r->v->lock);
	int fd = runs ? link_open_console(r->v->dir, args, &from, e) : -1;
	if (!runs)
		json_decref(args);
	if (fd < 0)
		return -1;
	r->done = true;
	int n = snprintf(head, sizeof(head), "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
			 "Upgrade: nestor-console\r\nNestor-From: %llu\r\n\r\n", (unsigned long long)from);
	if (!http_write_all(r->conn->fd, head, (size_t)n))
		pump_both(r->conn->fd, fd);
	close(fd);
	return 0;
}

/* ---- The table, in the order of the API's ---- */

static handler_fn *const handlers[API_NR_OPS] = {
	[API_GET_API] = get_api,
	[API_GET_HOST] = get_host,
	[API_SET_HOST] = set_host,
	[API_GET_VERSIONS] = get_versions,
	[API_HOST_STOP] = host_stop,
	[API_GET_EVENTS] = get_events,
	[API_LIST_VMS] = list_vms,
	[API_CREATE_VM] = create_vm,
	[API_GET_VM] = get_vm,
	[API_SET_VM] = change_vm,
	[API_REMOVE_VM] = remove_vm,
	[API_ADD_DISK] = change_vm,
	[API_SET_DISK] = change_vm,
	[API_REMOVE_DISK] = change_vm,
	[API_ADD_DVD] = change_vm,
	[API_SET_DVD] = change_vm,
	[API_REMOVE_DVD] = change_vm,
	[API_GET_VM_EVENTS] = get_vm_events,
	[API_START] = operate,
	[API_STOP] = operate,
	[API_TURN_OFF] = operate,
	[API_SAVE] = operate,
	[API_PAUSE] = operate,
	[API_RESUME] = operate,
	[API_RESET] = operate,
	[API_REMOVE_SAVED_STATE] = operate,
	[API_UPDATE_VERSION] = change_vm,
	[API_CONSOLE] = console,
};

/* ---- Running a handler ---- */

static int parse_body(struct request *r, struct ctl_err *e)
{
	json_error_t je;

	if (!r->route->body) {
		r->body = json_object();
		return 0;
	}
	r->body = r->msg->body_len ? json_loadb(r->msg->body, r->msg->body_len, JSON_REJECT_DUPLICATES, &je) :
				     json_object();
	if (!r->body)
		return ctl_error(e, CTL_INVALID_ARGUMENT, "The request is not JSON: line %d: %s.", je.line,
				 je.text);
	/* Settings are checked where they are made. */
	bool settings = r->route->op == API_CREATE_VM || r->route->op == API_SET_VM ||
			!strncmp(r->route->path, "/v1/vms/{id}/d", 14) || r->route->op == API_SET_HOST;
	return settings ? 0 : api_check(r->route->body, r->body, API_FOR_CREATION, e);
}

static int find_route(struct request *r, struct ctl_err *e)
{
	char path[HTTP_TARGET_MAX];
	bool path_known;

	snprintf(path, sizeof(path), "%.*s", (int)strcspn(r->msg->target, "?"), r->msg->target);
	r->route = api_find_route(r->msg->method, path, r->parts, &path_known);
	if (!r->route)
		return ctl_error(e, path_known ? CTL_NOT_AVAILABLE : CTL_NOT_FOUND, "There is no %s %s.",
				 r->msg->method, path);
	if (strncmp(r->route->path, "/v1/vms/{id}", 12))
		return 0;
	r->v = entry_find(r->m, r->parts[0], e);
	return r->v ? 0 : -1;
}

static int handle(struct request *r, struct ctl_err *e)
{
	if (find_route(r, e) || parse_body(r, e))
		return -1;
	return handlers[r->route->op](r, e);
}

static json_t *error_body(const struct ctl_err *e)
{
	return json_pack("{s:o}", "error", ctl_error_to_json(e));
}

/* ---- Progress: the operation runs in a second thread ---- */

struct progress {
	struct request *r;
	struct ctl_err *e;
	int result;
	atomic_bool over;
};

static void *progress_thread(void *arg)
{
	struct progress *p = arg;

	p->result = handle(p->r, p->e);
	p->over = true;
	json_t *wake = json_pack("{s:s}", "type", "done"); /* wakes the other thread */
	events_post(p->r->m->events, wake);
	return NULL;
}

static void report_event(struct request *r, const json_t *event)
{
	json_t *percent = json_object_get(event, "progress");
	const char *id = json_string_value(json_object_get(event, "id"));

	if (!percent || !id || strcasecmp(id, r->parts[0]))
		return;
	json_t *line = json_pack("{s:O}", "progress", percent);
	http_write_line(r->conn->fd, line);
	json_decref(line);
}

static void end_stream(struct request *r, int result, const struct ctl_err *e)
{
	json_t *line = result ? error_body(e) :
				json_pack("{s:o}", "result", r->answer ? json_incref(r->answer) : json_null());

	http_write_line(r->conn->fd, line);
	json_decref(line);
}

static void with_progress(struct request *r)
{
	struct ctl_err e = { 0 };
	struct progress p = { .r = r, .e = &e };
	u64 seq = events_last(r->m->events);
	pthread_t thread;

	http_write_stream_head(r->conn->fd);
	if (pthread_create(&thread, NULL, progress_thread, &p)) {
		progress_thread(&p);
	} else {
		while (!p.over) {
			json_t *event = events_next(r->m->events, seq, 1000);

			if (event) {
				seq = (u64)json_integer_value(json_object_get(event, "seq"));
				report_event(r, event);
			}
			json_decref(event);
		}
		pthread_join(thread, NULL);
	}
	end_stream(r, p.result, &e);
	r->done = true;
}

/* ---- A connection ---- */

static void request_free(struct request *r)
{
	json_decref(r->body);
	json_decref(r->answer);
	if (r->v)
		entry_put(r->v);
}

/* False when the connection is to be closed. */
static bool serve_one(struct manager *m, struct http_conn *conn, const struct http_msg *msg)
{
	struct request r = { .m = m, .conn = conn, .msg = msg };
	struct ctl_err e = { 0 };

	if (!strcmp(msg->method, "POST") && http_query_number(msg->target, "progress", 0)) {
		with_progress(&r);
		request_free(&r);
		return false;
	}
	int res = handle(&r, &e);
	json_t *body = res ? error_body(&e) : r.answer ? json_incref(r.answer) : json_object();
	bool sent = r.done || !http_write_answer(conn->fd, res ? ctl_error_status(&e) : 200, body);
	json_decref(body);
	request_free(&r);
	return sent && !r.done && msg->keep_alive;
}

static void count(struct manager *m, int change)
{
	pthread_mutex_lock(&m->lock);
	m->nr_connections += (unsigned)change;
	m->last_use = clock_ns();
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

/* Waits for the next request; false when the manager is about to end. */
static bool next_request(struct manager *m, struct http_conn *conn)
{
	struct pollfd p = { .fd = conn->fd, .events = POLLIN };

	while (!conn->len && !m->ending)
		if (poll(&p, 1, 500))
			return true;
	return conn->len;
}

void routes_serve(struct manager *m, int fd)
{
	struct http_conn conn;
	struct http_msg msg;
	int r = 1;

	http_init(&conn, fd, HTTP_REQUEST);
	while (r == 1 && next_request(m, &conn)) {
		r = http_read(&conn, &msg, false);
		if (r != 1)
			break;
		count(m, 1);
		bool more = serve_one(m, &conn, &msg);
		http_msg_free(&msg);
		count(m, -1);
		if (!more)
			break;
	}
	if (r < 0 && r != -ECONNRESET) {
		struct ctl_err e;

		ctl_error(&e, CTL_INVALID_ARGUMENT, "The request is not HTTP as it should be.");
		json_t *body = error_body(&e);
		http_write_answer(fd, 400, body);
		json_decref(body);
	}
	http_free(&conn);
}
