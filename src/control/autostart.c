// SPDX-License-Identifier: MIT
/*
 * Automatic start and stop actions.
 *
 * The manager notes in host.json for which run of the machine (boot id) it has
 * done the automatic starts, before it does them: a manager that is killed in
 * the middle does not start anything twice. A VM "ran" when it has the mark
 * `autostart`: put there when the machine shut down in order, or when a worker's
 * record is found that is of an earlier run of the machine (monitor.c).
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/file.h"
#include "control/manager.h"
#include "control/rules.h"

/* ---- Start ---- */

static bool wants_start(struct entry *v)
{
	const char *action = v->config ? config_string(v->config, "automaticStartAction") : "Nothing";
	bool ran = store_has_mark(v->dir, "autostart");

	return !strcmp(action, "Start") || (ran && !strcmp(action, "StartIfRunning"));
}

static void start_one(struct entry *v)
{
	struct op_args a = { 0 };
	struct ctl_err e = { 0 };
	bool already;

	if (!op_run(v, API_START, &a, &already, &e)) {
		if (!already)
			store_log(v->dir, "started", "Started, since the machine has started.");
		return;
	}
	store_log(v->dir, "failed", e.text);
	log_warn("%s", e.text);
}

static void *start_thread(void *arg)
{
	struct entry *v = arg;
	struct timespec delay = { 0 };

	pthread_mutex_lock(&v->lock);
	delay.tv_sec = v->config ? (time_t)config_int(v->config, "automaticStartDelay") : 0;
	pthread_mutex_unlock(&v->lock);
	nanosleep(&delay, NULL);
	start_one(v);
	entry_put(v);
	return NULL;
}

static void in_thread(struct entry *v, void *(*fn)(void *))
{
	pthread_t thread;

	entry_get(v);
	if (pthread_create(&thread, NULL, fn, v))
		entry_put(v);
	else
		pthread_detach(thread);
}

static bool first_of_this_boot(struct manager *m)
{
	struct ctl_err e = { 0 };
	const char *last = config_string(m->host, "bootId");
	bool first = strcmp(last, m->boot_id);

	if (!first)
		return false;
	json_object_set_new(m->host, "bootId", json_string(m->boot_id));
	if (!file_replace_json(m->store.dir, "host.json", m->host, &e))
		return true;
	log_warn("no automatic starts: %s", e.text);
	return false;
}

void autostart_after_boot(struct manager *m)
{
	struct entry **all;

	if (!first_of_this_boot(m))
		return;
	unsigned nr = entries_all(m, &all);
	for (unsigned i = 0; i < nr; i++) {
		struct entry *v = all[i];

		pthread_mutex_lock(&v->lock);
		bool start = wants_start(v);
		store_set_mark(v->dir, "autostart", false, NULL);
		pthread_mutex_unlock(&v->lock);
		if (start)
			in_thread(v, start_thread);
		entry_put(v);
	}
	free(all);
}

/* ---- Stop ---- */

static enum api_op stop_action(struct entry *v)
{
	const char *action = v->config ? config_string(v->config, "automaticStopAction") : "TurnOff";

	return !strcmp(action, "Save") ? API_SAVE : !strcmp(action, "ShutDown") ? API_STOP : API_TURN_OFF;
}

static void *stop_thread(void *arg)
{
	struct op_args a = { .force = true, .timeout_s = 60 };
	struct entry *v = arg;
	struct ctl_err e = { 0 };
	bool already;

	pthread_mutex_lock(&v->lock);
	store_set_mark(v->dir, "autostart", true, NULL);
	enum api_op op = stop_action(v);
	pthread_mutex_unlock(&v->lock);
	if (op_run(v, op, &a, &already, &e)) {
		store_log(v->dir, "failed", e.text);
		op_run(v, API_TURN_OFF, &a, &already, &e);
	}
	return NULL;
}

static unsigned collect_running(struct entry **all, unsigned nr)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < nr; i++) {
		pthread_mutex_lock(&all[i]->lock);
		bool runs = all[i]->watched;
		pthread_mutex_unlock(&all[i]->lock);
		if (runs)
			all[kept++] = all[i];
		else
			entry_put(all[i]);
	}
	return kept;
}

void autostart_stop_all(struct manager *m)
{
	struct entry **all;
	unsigned nr = entries_all(m, &all);

	nr = collect_running(all, nr);
	pthread_t *threads = calloc(nr + 1, sizeof(*threads));
	bool *has = calloc(nr + 1, sizeof(*has));

	for (unsigned i = 0; i < nr && threads && has; i++)
		has[i] = !pthread_create(&threads[i], NULL, stop_thread, all[i]);
	for (unsigned i = 0; i < nr; i++) {
		if (has && has[i])
			pthread_join(threads[i], NULL);
		entry_put(all[i]);
	}
	free(threads);
	free(has);
	free(all);
}
