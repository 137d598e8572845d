// SPDX-License-Identifier: MIT
/*
 * A thread per running VM that listens to its worker, from the moment the worker
 * has its lock until it has let go of it, whoever started it: this manager or one
 * before it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/file.h"
#include "control/manager.h"
#include "control/rules.h"

enum { CONNECT_EVERY_MS = 10, REFRESH_MS = 30, SETTLE_S = 5 };

/* ---- Calls ---- */

bool entry_wait(struct entry *v, u64 limit)
{
	struct timespec ts = { (time_t)(limit / NSEC_PER_SEC), (long)(limit % NSEC_PER_SEC) };

	return !pthread_cond_timedwait(&v->changed, &v->lock, &ts);
}

int entry_call(struct entry *v, const char *verb, json_t *args, int timeout_ms, json_t **res,
	       struct ctl_err *e)
{
	struct link *l = v->link;

	if (!l) {
		json_decref(args);
		return ctl_error(e, CTL_LOST, "The virtual machine's process does not answer.");
	}
	v->link_users++;
	pthread_mutex_unlock(&v->lock);
	int r = link_call(l, verb, args, timeout_ms, res, e);
	pthread_mutex_lock(&v->lock);
	v->link_users--;
	pthread_cond_broadcast(&v->changed);
	return r;
}

enum vm_state entry_true_state(struct entry *v)
{
	const char *s = json_string_value(json_object_get(v->status, "state"));

	if (!v->watched)
		return entry_rest_state(v);
	if (!s)
		return STATE_STARTING;
	return !strcmp(s, "Paused") ? STATE_PAUSED : STATE_RUNNING;
}

/* ---- Events ---- */

static void take_status(struct entry *v, json_t *event)
{
	json_decref(v->status);
	v->status = json_incref(json_object_get(event, "status"));
	v->nr_status++;
	pthread_cond_broadcast(&v->changed);
	if (!v->busy)
		entry_set_state(v, entry_true_state(v));
}

static void take_event(struct entry *v, json_t *event)
{
	const char *type = json_string_value(json_object_get(event, "event"));

	pthread_mutex_lock(&v->lock);
	if (type && !strcmp(type, "status"))
		take_status(v, event);
	if (type && !strcmp(type, "progress")) {
		v->progress = (unsigned)json_integer_value(json_object_get(event, "progress"));
		entry_post(v, "progress", NULL);
	}
	pthread_mutex_unlock(&v->lock);
}

/* 0: nothing to wait for. */
static u64 poke(struct entry *v)
{
	pthread_mutex_lock(&v->lock);
	u64 seen = v->link && v->status && !v->busy ? v->nr_status : 0;
	if (seen)
		link_poke(v->link);
	pthread_mutex_unlock(&v->lock);
	return seen;
}

void monitor_refresh(struct entry **all, unsigned nr)
{
	u64 limit = clock_ns() + REFRESH_MS * 1000000ull;
	u64 *seen = calloc(nr + 1, sizeof(*seen));

	for (unsigned i = 0; seen && i < nr; i++)
		seen[i] = poke(all[i]);
	for (unsigned i = 0; seen && i < nr; i++) {
		struct entry *v = all[i];

		if (!seen[i])
			continue;
		pthread_mutex_lock(&v->lock);
		while (v->nr_status == seen[i] && v->watched)
			if (!entry_wait(v, limit))
				break;
		pthread_mutex_unlock(&v->lock);
	}
	free(seen);
}

void monitor_settle(struct entry **all, unsigned nr)
{
	u64 limit = clock_ns() + SETTLE_S * NSEC_PER_SEC;

	for (unsigned i = 0; i < nr; i++) {
		struct entry *v = all[i];

		pthread_mutex_lock(&v->lock);
		while (v->watched && !v->status)
			if (!entry_wait(v, limit))
				break;
		pthread_mutex_unlock(&v->lock);
	}
}

/* ---- The end of a worker ---- */

/* How our own child ended; "" when it was an earlier manager's. */
static void exit_text(pid_t child, char *text, size_t size)
{
	int status = 0;

	text[0] = 0;
	if (!child || waitpid(child, &status, 0) != child)
		return;
	if (WIFSIGNALED(status))
		snprintf(text, size, ": killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		snprintf(text, size, " with status %d", WEXITSTATUS(status));
}

/* What worker.json says of an end in order, or what else is known. An end in
 * order was put into the log by the worker. */
static void note_end(struct entry *v, const char *how)
{
	struct ctl_err e;
	char text[256], boot[BOOT_ID_SIZE];
	json_t *record = NULL;

	if (file_read_json(v->dir, "worker.json", &record, &e))
		return; /* it had not come so far */
	store_boot_id(boot);
	const char *then = json_string_value(json_object_get(record, "bootId"));
	const char *phase = json_string_value(json_object_get(record, "phase"));
	if (then && strcmp(then, boot)) {
		store_set_mark(v->dir, "autostart", true, NULL); /* it ran then */
		snprintf(text, sizeof(text), "The machine went down while the virtual machine ran.");
		store_log(v->dir, "off", text);
	} else if (!phase || strcmp(phase, "ended")) {
		snprintf(text, sizeof(text), "The virtual machine's process (%lld) ended unexpectedly%s.",
			 (long long)json_integer_value(json_object_get(record, "pid")),
			 *how ? how : ": it was killed or crashed");
		store_log(v->dir, "off", text);
		entry_post(v, "log", text);
	}
	json_decref(record);
	unlinkat(v->dir, "worker.json", 0);
	unlinkat(v->dir, "worker.sock", 0);
}

static void worker_ended(struct entry *v)
{
	char how[128];

	store_wait_worker_end(v->dir);
	exit_text(v->worker, how, sizeof(how));
	pthread_mutex_lock(&v->lock);
	json_decref(v->status);
	v->status = NULL;
	v->worker = 0;
	v->watched = false;
	v->runs++;
	note_end(v, how);
	pthread_cond_broadcast(&v->changed);
	if (!v->busy)
		entry_set_state(v, entry_rest_state(v));
	pthread_mutex_unlock(&v->lock);
}

/* ---- The thread ---- */

/* Until it listens or is gone. */
static struct link *connect_link(struct entry *v)
{
	struct timespec pause = { .tv_nsec = CONNECT_EVERY_MS * 1000000 };
	struct link *l;

	while (link_create(v->dir, &l)) {
		if (!store_worker_alive(v->dir))
			return NULL;
		nanosleep(&pause, NULL);
	}
	return l;
}

static void listen_to(struct entry *v, struct link *l)
{
	json_t *event;

	pthread_mutex_lock(&v->lock);
	v->link = l;
	pthread_mutex_unlock(&v->lock);
	while ((event = link_read(l))) {
		take_event(v, event);
		json_decref(event);
	}
	pthread_mutex_lock(&v->lock);
	v->link = NULL;
	while (v->link_users)
		pthread_cond_wait(&v->changed, &v->lock);
	pthread_mutex_unlock(&v->lock);
	link_destroy(l);
}

static void count_monitors(struct manager *m, int change)
{
	pthread_mutex_lock(&m->lock);
	m->nr_monitors += (unsigned)change;
	m->last_use = clock_ns();
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

static void *monitor_thread(void *arg)
{
	struct entry *v = arg;
	struct manager *m = v->m;
	struct link *l;

	/* A worker drops who does not read fast enough, and is connected to again. */
	while ((l = connect_link(v)))
		listen_to(v, l);
	worker_ended(v);
	entry_put(v);
	count_monitors(m, -1);
	return NULL;
}

void monitor_attach(struct entry *v, pid_t child)
{
	pthread_t thread;

	/* A child that has already failed is to be waited for, too. */
	if (!child && !store_worker_alive(v->dir)) {
		note_end(v, "");
		return;
	}
	entry_get(v);
	count_monitors(v->m, 1);
	v->worker = child;
	v->watched = true;
	if (!v->busy)
		v->state = STATE_STARTING;
	int r = pthread_create(&thread, NULL, monitor_thread, v);
	if (!r) {
		pthread_detach(thread);
		return;
	}
	log_err("cannot watch a virtual machine: %s", strerror(r));
	v->watched = false;
	entry_put(v);
	count_monitors(v->m, -1);
}
