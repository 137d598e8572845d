// SPDX-License-Identifier: MIT
/*
 * Operations on a VM. Each runs on the thread of who asks for it. entry.lock is
 * held, except while something is waited for; the VM is busy then, so that no
 * second operation comes in between, and what the worker says meanwhile does not
 * change the state that is shown.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/manager.h"
#include "control/rules.h"
#include "control/saved.h"
#include "control/spawn.h"
#include "vm/host.h"

enum {
	ANSWER_MS = 20000,
	SAVE_MS = 3600 * 1000,
	END_S = 30, /* for a worker that was told to end */
	START_S = 600,
};

struct op_row {
	unsigned from;	  /* states in which it may begin */
	unsigned already; /* states in which there is nothing to do */
	enum vm_state during;
	const char *what; /* "'X' failed to WHAT." */
	int (*run)(struct entry *v, const struct op_args *a, struct ctl_err *e);
};

static u64 in_seconds(unsigned s)
{
	return clock_ns() + s * NSEC_PER_SEC;
}

/* Waits for the end of the worker that was there in run number @run. */
static bool wait_end(struct entry *v, u64 run, u64 limit)
{
	while (v->runs == run && v->watched)
		if (!entry_wait(v, limit) && v->runs == run)
			return false;
	return true;
}

/* ---- Start ---- */

static int check_memory(struct entry *v, struct ctl_err *e)
{
	u64 wanted = (u64)config_int(v->config, "memory.startupBytes");
	struct host_info h;

	host_info_get(&h);
	if (wanted <= h.mem_free + h.swap_free)
		return 0;
	return ctl_error(e, CTL_OUT_OF_MEMORY, "Not enough memory in the system to start the virtual "
			 "machine %s.\nCould not initialize memory: Not enough memory resources are "
			 "available to complete this operation. (0x8007000E).\n'%s' wants %llu megabytes, "
			 "and this machine has %llu free.", entry_name(v), entry_name(v),
			 (unsigned long long)wanted >> 20, (unsigned long long)(h.mem_free + h.swap_free) >> 20);
}

/* Worker's descriptors: 3 report, 4 lock, 5 folder. */
static int spawn_worker(struct entry *v, int report_fd, struct ctl_err *e)
{
	static const char *const args[] = { "worker", NULL };
	int log = openat(v->dir, "worker.log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int lock = log < 0 ? -1 : store_lock_worker(v->dir);
	int err = errno;

	if (log < 0 || lock < 0) {
		if (log >= 0)
			close(log);
		return ctl_error_errno(e, err, "Cannot write %s/vms/%s/worker.%s", v->m->store.path, v->id,
				       log < 0 ? "log" : "lock");
	}
	const int fds[] = { report_fd, lock, v->dir };
	struct spawn s = { args, log, fds, ARRAY_SIZE(fds), false };
	pid_t pid = spawn_nestor(&s);
	close(lock);
	close(log);
	if (pid < 0)
		return ctl_error_errno(e, -pid, "Cannot start a process");
	monitor_attach(v, pid);
	return 0;
}

/* {"ready": ...} or {"error": ...}; neither: it died. Without the lock. */
static int read_report(int fd, struct ctl_err *e)
{
	FILE *f = fdopen(fd, "r");
	json_t *j = f ? json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	json_t *err = json_object_get(j, "error");
	int r = 0;

	if (f)
		fclose(f);
	else
		close(fd);
	if (err)
		r = ctl_error_from_json(e, err);
	else if (!j)
		r = ctl_error(e, CTL_OPERATION_FAILED, "Its process ended while it was starting; worker.log in "
			      "its folder may say why.");
	json_decref(j);
	return r;
}

static int op_start(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	int fds[2];
	u64 run = v->runs;

	(void)a;
	if (check_memory(v, e) || store_set_mark(v->dir, "autostart", false, e))
		return -1;
	if (pipe2(fds, O_CLOEXEC))
		return ctl_error_errno(e, errno, "Cannot make a pipe");
	int r = spawn_worker(v, fds[1], e);
	close(fds[1]);
	if (r) {
		close(fds[0]);
		return r;
	}
	pthread_mutex_unlock(&v->lock);
	r = read_report(fds[0], e);
	pthread_mutex_lock(&v->lock);
	if (r) {
		wait_end(v, run, in_seconds(END_S));
		return r;
	}
	u64 limit = in_seconds(START_S);
	while (v->runs == run && !v->status)
		if (!entry_wait(v, limit))
			break;
	return 0; /* a guest that has already ended did run */
}

/* ---- The others ---- */

static int op_turn_off(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	u64 run = v->runs;

	(void)a;
	struct ctl_err why;
	entry_call(v, "off", NULL, ANSWER_MS, NULL, &why);
	if (wait_end(v, run, in_seconds(END_S)))
		return 0;
	/* It does not listen. Its lock says that it is still this process. */
	pid_t pid = v->worker ? v->worker : (pid_t)json_integer_value(json_object_get(v->status, "workerPid"));
	if (pid > 1 && store_worker_alive(v->dir))
		kill(pid, SIGKILL);
	if (wait_end(v, run, in_seconds(END_S)))
		return 0;
	return ctl_error(e, CTL_OPERATION_FAILED, "Its process %d cannot be ended.", (int)pid);
}

static int op_stop(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	u64 run = v->runs, limit = in_seconds((unsigned)a->timeout_s);

	if (entry_call(v, "shutdown", NULL, ANSWER_MS, NULL, e) && v->runs == run)
		return -1;
	if (wait_end(v, run, limit))
		return 0;
	if (a->force)
		return op_turn_off(v, a, e);
	return ctl_error(e, CTL_TIMEOUT, "The guest did not react to its power button within %d seconds. "
			 "With -Force it is turned off then, with -TurnOff at once.", a->timeout_s);
}

static int op_save(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	u64 run = v->runs;

	(void)a;
	int r = entry_call(v, "save", NULL, SAVE_MS, NULL, e);
	if (r && e->kind != CTL_LOST)
		return r;
	if (!wait_end(v, run, in_seconds(END_S)))
		return ctl_error(e, CTL_OPERATION_FAILED, "Its process does not end.");
	if (saved_exists(v->dir))
		return 0;
	return ctl_error(e, CTL_OPERATION_FAILED, "It ended before it was saved.");
}

static int call_worker(struct entry *v, const char *verb, struct ctl_err *e)
{
	json_t *res = NULL;
	int r = entry_call(v, verb, NULL, ANSWER_MS, &res, e);

	/* The answer is the new status, so that the state is right at once. */
	if (!r && json_object_get(res, "state")) {
		json_decref(v->status);
		v->status = json_incref(res);
	}
	json_decref(res);
	return r;
}

static int op_pause(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	(void)a;
	return call_worker(v, "pause", e);
}

static int op_resume(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	(void)a;
	return call_worker(v, "resume", e);
}

static int op_reset(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	(void)a;
	return call_worker(v, "reset", e);
}

static int op_remove_saved(struct entry *v, const struct op_args *a, struct ctl_err *e)
{
	(void)a;
	int r = saved_remove(v->dir);
	if (r)
		return ctl_error_errno(e, -r, "Cannot remove its saved state");
	store_log(v->dir, "off", "The saved state was removed.");
	return 0;
}

/* ---- The table ---- */

#define IN(state) (1u << STATE_##state)

static const struct op_row ops[API_NR_OPS] = {
	[API_START] = { IN(OFF) | IN(SAVED) | IN(PAUSED), IN(RUNNING), STATE_STARTING, "start", op_start },
	[API_STOP] = { IN(RUNNING), IN(OFF), STATE_STOPPING, "stop", op_stop },
	[API_TURN_OFF] = { IN(RUNNING) | IN(PAUSED) | IN(STARTING) | IN(STOPPING), IN(OFF),
			   STATE_STOPPING, "stop", op_turn_off },
	[API_SAVE] = { IN(RUNNING) | IN(PAUSED), IN(SAVED), STATE_SAVING, "save", op_save },
	[API_PAUSE] = { IN(RUNNING), IN(PAUSED), STATE_PAUSING, "pause", op_pause },
	[API_RESUME] = { IN(PAUSED), IN(RUNNING), STATE_RESUMING, "resume", op_resume },
	[API_RESET] = { IN(RUNNING) | IN(PAUSED), 0, STATE_RESET, "restart", op_reset },
	[API_REMOVE_SAVED_STATE] = { IN(SAVED), 0, STATE_SAVED, "remove its saved state", op_remove_saved },
};

/* "'X' failed to start." first, then why. */
static int say_what(struct entry *v, const struct op_row *row, struct ctl_err *e)
{
	char why[sizeof(e->text)];

	memcpy(why, e->text, sizeof(why));
	ctl_error_target(e, entry_name(v));
	if (!strcmp(row->what, "stop"))
		snprintf(e->text, sizeof(e->text), "Failed to stop.");
	else
		snprintf(e->text, sizeof(e->text), "'%.400s' failed to %s.", entry_name(v), row->what);
	return ctl_error_add(e, "%s", why);
}

static int check_state(struct entry *v, enum api_op op, const struct op_row *row, struct ctl_err *e)
{
	/* Pulling the plug is always possible. */
	bool free = !v->busy || (op == API_TURN_OFF && v->link);

	if (entry_damaged(v, e))
		return -1;
	if (free && (row->from & (1u << v->state)))
		return 0;
	return rules_wrong_state(v->config, e, "is %s and cannot %s now.", vm_state_names[v->state],
				 row->what);
}

/* A second operation in the midst of another (turning off) leaves the end of it
 * to the first. */
static int run_checked(struct entry *v, const struct op_row *row, const struct op_args *a,
		       struct ctl_err *e)
{
	bool first = !v->busy;

	v->busy = true;
	entry_set_state(v, row->during);
	int r = row->run(v, a, e);
	if (first)
		v->busy = false;
	if (!v->busy || !v->watched)
		entry_set_state(v, entry_true_state(v));
	return r ? say_what(v, row, e) : 0;
}

int op_run(struct entry *v, enum api_op op, const struct op_args *a, bool *already,
	   struct ctl_err *e)
{
	pthread_mutex_lock(&v->lock);
	entry_refresh(v);
	if (op == API_START && v->state == STATE_PAUSED)
		op = API_RESUME;
	const struct op_row *row = &ops[op];
	*already = !v->busy && (row->already & (1u << v->state));
	int r = *already ? 0 : check_state(v, op, row, e);
	if (!*already && !r)
		r = run_checked(v, row, a, e);
	pthread_mutex_unlock(&v->lock);
	return r;
}
