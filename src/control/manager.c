// SPDX-License-Identifier: MIT
/*
 * The manager's process: start, the loop that accepts connections, its end.
 *
 * It ends by itself when nothing runs and nobody has asked for long. A client may
 * connect at that very moment: the socket's name goes first, then who is already
 * connected is served after all, and others start a new manager, which waits for
 * the lock in vain until this one has ended, and is started again.
 */
#include "control/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/spawn.h"

enum { MAX_THREADS = 256, IDLE_S = 600, END_LIMIT_S = 5 };

/* ---- What the starter is told ---- */

static void report(struct manager *m, const struct ctl_err *e)
{
	if (!m->report)
		return;
	if (e) {
		json_t *j = json_pack("{s:o}", "error", ctl_error_to_json(e));

		json_dumpfd(j, SPAWN_FIRST_FD, JSON_COMPACT);
		json_decref(j);
	}
	close(SPAWN_FIRST_FD);
	m->report = false;
}

/* ---- Connections ---- */

struct connection {
	struct manager *m;
	int fd;
};

static void *connection_thread(void *arg)
{
	struct connection *c = arg;
	struct manager *m = c->m;

	routes_serve(m, c->fd);
	free(c);
	pthread_mutex_lock(&m->lock);
	m->nr_threads--;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static bool may_have_one_more(struct manager *m)
{
	pthread_mutex_lock(&m->lock);
	bool may = m->nr_threads < MAX_THREADS;
	m->nr_threads += may;
	pthread_mutex_unlock(&m->lock);
	return may;
}

static void start_thread(struct manager *m, int fd)
{
	struct connection *c = may_have_one_more(m) ? malloc(sizeof(*c)) : NULL;
	pthread_t thread;

	if (!c) {
		close(fd);
		return;
	}
	*c = (struct connection){ m, fd };
	if (!pthread_create(&thread, NULL, connection_thread, c)) {
		pthread_detach(thread);
		return;
	}
	close(fd);
	free(c);
	pthread_mutex_lock(&m->lock);
	m->nr_threads--;
	pthread_mutex_unlock(&m->lock);
}

/* True when there was one. */
static bool accept_one(struct manager *m)
{
	int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		start_thread(m, fd);
	return fd >= 0;
}

static int start_listening(struct manager *m, struct ctl_err *e)
{
	unlinkat(m->store.dir, "api.sock", 0);
	m->listen_fd = paths_listen(m->store.path, "api.sock");
	if (m->listen_fd < 0)
		return ctl_error_errno(e, -m->listen_fd, "Cannot make the socket %s/api.sock", m->store.path);
	fcntl(m->listen_fd, F_SETFL, O_NONBLOCK);
	return 0;
}

/* ---- The end ---- */

static u64 idle_limit(void)
{
	const char *s = getenv("NESTOR_IDLE_SECONDS"); /* for tests */

	return (s ? strtoull(s, NULL, 10) : IDLE_S) * NSEC_PER_SEC;
}

static bool is_idle(struct manager *m)
{
	if (m->stay)
		return false;
	pthread_mutex_lock(&m->lock);
	bool idle = !m->nr_connections && !m->nr_monitors && clock_ns() - m->last_use > idle_limit();
	pthread_mutex_unlock(&m->lock);
	return idle;
}

/* False when somebody came at the last moment. */
static bool stop_listening(struct manager *m)
{
	unlinkat(m->store.dir, "api.sock", 0);
	bool came = accept_one(m);
	struct ctl_err e;

	close(m->listen_fd);
	m->listen_fd = -1;
	return !came || start_listening(m, &e);
}

/* Requests on their way get their answers. */
static void wait_threads(struct manager *m)
{
	u64 limit = clock_ns() + END_LIMIT_S * NSEC_PER_SEC;
	struct timespec ts = { (time_t)(limit / NSEC_PER_SEC), (long)(limit % NSEC_PER_SEC) };

	m->ending = true;
	events_close(m->events);
	pthread_mutex_lock(&m->lock);
	while (m->nr_threads && !pthread_cond_timedwait(&m->changed, &m->lock, &ts))
		;
	pthread_mutex_unlock(&m->lock);
}

/* ---- The loop ---- */

static volatile sig_atomic_t end_signal;
static int wake_fd; /* the process's, for its signal handler */

static void signal_arrived(int sig)
{
	u64 one = 1;

	end_signal = sig;
	if (write(wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void catch_signals(struct manager *m)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct sigaction sa = { .sa_handler = signal_arrived };

	wake_fd = m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void loop(struct manager *m)
{
	struct pollfd p[2] = { { .fd = m->listen_fd, .events = POLLIN },
			       { .fd = m->wake_fd, .events = POLLIN } };

	while (!end_signal) {
		if (poll(p, 2, 1000) < 0 && errno != EINTR)
			break;
		while (accept_one(m))
			;
		if (is_idle(m) && stop_listening(m))
			break;
		p[0].fd = m->listen_fd;
	}
	if (m->listen_fd >= 0)
		unlinkat(m->store.dir, "api.sock", 0);
	wait_threads(m);
}

/* ---- Start ---- */

static int prepare(struct manager *m, struct ctl_err *e)
{
	char path[STATE_PATH_MAX];

	pthread_condattr_t attr;
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->changed, &attr);
	pthread_condattr_destroy(&attr);
	m->last_use = clock_ns();
	store_boot_id(m->boot_id);
	if (events_create(&m->events))
		return ctl_error(e, CTL_OUT_OF_MEMORY, "There is not enough memory.");
	if (paths_state_folder(path, e) || store_open(&m->store, path, e) || host_load(m, e))
		return -1;
	entries_load(m);
	return start_listening(m, e);
}

int manager_main(bool report_wanted, bool stay)
{
	struct manager *m = calloc(1, sizeof(*m));
	struct ctl_err e = { 0 };

	if (!m)
		return 1;
	m->report = report_wanted;
	m->stay = stay;
	if (report_wanted)
		fcntl(SPAWN_FIRST_FD, F_SETFD, FD_CLOEXEC);
	catch_signals(m);
	if (prepare(m, &e)) {
		bool other = m->store.was_locked; /* it is served by another manager: fine */
		report(m, other ? NULL : &e);
		if (!other || !report_wanted)
			log_err("%s", other ? "the manager is already running" : e.text);
		return other && report_wanted ? 0 : 1;
	}
	if (chdir("/"))
		log_debug("cannot leave the current folder");
	autostart_after_boot(m);
	report(m, NULL);
	loop(m);
	/* Threads that watch workers still run: memory is left to the kernel. */
	fflush(NULL);
	_exit(0);
}
