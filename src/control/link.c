// SPDX-License-Identifier: MIT
/* Calls to a worker: answers find their callers by number. */
#include "control/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control/http.h"
#include "control/paths.h"

struct waiting {
	u64 id;
	json_t *answer;
	struct waiting *next;
};

struct link {
	struct http_conn conn; /* for its lines; read by the monitor */
	pthread_mutex_t lock;  /* all below, and writing */
	pthread_cond_t changed;
	u64 last_id;
	bool gone;
	struct waiting *waiting;
};

static int connect_worker(int dir)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
	return paths_connect(path, "worker.sock");
}

int link_create(int dir, struct link **res)
{
	int fd = connect_worker(dir);
	struct link *l = fd < 0 ? NULL : calloc(1, sizeof(*l));
	pthread_condattr_t attr;

	if (fd < 0)
		return fd;
	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	http_init(&l->conn, fd, HTTP_RESPONSE);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	*res = l;
	return 0;
}

void link_destroy(struct link *l)
{
	if (!l)
		return;
	http_free(&l->conn);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* ---- Calling ---- */

static int take_answer(const json_t *answer, json_t **res, struct ctl_err *e)
{
	json_t *err = json_object_get(answer, "error");

	if (err)
		return ctl_error_from_json(e, err);
	if (res)
		*res = json_incref(json_object_get(answer, "result"));
	return 0;
}

static void unlist(struct link *l, struct waiting *w)
{
	for (struct waiting **p = &l->waiting; *p; p = &(*p)->next)
		if (*p == w) {
			*p = w->next;
			return;
		}
}

static struct timespec in_ms(int ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000 + 1;
	ts.tv_nsec += (ms % 1000) * 1000000l - 1000000000l;
	if (ts.tv_nsec < 0) {
		ts.tv_sec--;
		ts.tv_nsec += 1000000000l;
	}
	return ts;
}

/* The answer, or NULL: time is over or the worker gone. */
static json_t *wait_answer(struct link *l, struct waiting *w, int timeout_ms)
{
	struct timespec limit = in_ms(timeout_ms);

	while (!w->answer && !l->gone)
		if (pthread_cond_timedwait(&l->changed, &l->lock, &limit))
			break;
	unlist(l, w);
	return w->answer;
}

int link_call(struct link *l, const char *verb, json_t *args, int timeout_ms, json_t **res,
	      struct ctl_err *e)
{
	pthread_mutex_lock(&l->lock);
	struct waiting w = { .id = ++l->last_id, .next = l->waiting };
	json_t *request = json_pack("{s:I, s:s, s:o}", "id", (json_int_t)w.id, "verb", verb, "args",
				    args ? args : json_object());
	int r = l->gone ? -EPIPE : http_write_line(l->conn.fd, request);
	bool gone = l->gone;
	if (!r) {
		l->waiting = &w;
		wait_answer(l, &w, timeout_ms);
		gone = l->gone;
	}
	pthread_mutex_unlock(&l->lock);
	json_decref(request);
	if (!w.answer && !r && !gone)
		return ctl_error(e, CTL_TIMEOUT, "The virtual machine's process does not answer.");
	if (!w.answer)
		return ctl_error(e, CTL_LOST, "The virtual machine's process has ended.");
	r = take_answer(w.answer, res, e);
	json_decref(w.answer);
	return r;
}

void link_poke(struct link *l)
{
	static const char line[] = "{\"verb\": \"poke\"}\n";

	pthread_mutex_lock(&l->lock);
	ssize_t n = send(l->conn.fd, line, sizeof(line) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)n; /* busy or gone: there is no fresh status then */
	pthread_mutex_unlock(&l->lock);
}

/* ---- Reading ---- */

static void dispatch(struct link *l, json_t *j, u64 id)
{
	pthread_mutex_lock(&l->lock);
	for (struct waiting *w = l->waiting; w; w = w->next)
		if (w->id == id && !w->answer)
			w->answer = json_incref(j);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

json_t *link_read(struct link *l)
{
	char *line;

	while (http_read_line(&l->conn, &line) == 1) {
		json_t *j = json_loads(line, 0, NULL);
		json_t *id = json_object_get(j, "id");

		free(line);
		if (j && !id)
			return j;
		if (id)
			dispatch(l, j, (u64)json_integer_value(id));
		json_decref(j);
	}
	pthread_mutex_lock(&l->lock);
	l->gone = true;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* ---- Consoles ---- */

int link_open_console(int dir, json_t *args, u64 *from, struct ctl_err *e)
{
	struct http_conn conn;
	char *line;
	int fd = connect_worker(dir);
	json_t *request = json_pack("{s:i, s:s, s:o}", "id", 1, "verb", "console", "args", args);

	if (fd < 0) {
		json_decref(request);
		return ctl_error_errno(e, -fd, "Cannot connect to the virtual machine's process");
	}
	http_init(&conn, fd, HTTP_RESPONSE);
	conn.piece = 1; /* the bytes after the line are the console's */
	json_t *j = NULL, *res = NULL;
	if (!http_write_line(fd, request))
		while (!j && http_read_line(&conn, &line) == 1) {
			j = json_loads(line, 0, NULL);
			free(line);
			if (!json_object_get(j, "id")) { /* an event */
				json_decref(j);
				j = NULL;
			}
		}
	json_decref(request);
	int r = j ? take_answer(j, &res, e) : ctl_error(e, CTL_LOST, "The virtual machine's process "
							"has ended.");
	json_decref(j);
	*from = (u64)json_integer_value(json_object_get(res, "from"));
	json_decref(res);
	if (r)
		close(fd);
	return r ? -1 : fd;
}
