// SPDX-License-Identifier: MIT
/*
 * The process of one VM.
 *
 * Theory of operation
 *
 * All is opened first, then the sandbox is entered, then the guest runs. The main
 * thread is the VM's loop; it also serves the control socket, so that a verb has
 * the devices to itself. How it ended is written to worker.json and the VM's log
 * before the lock goes with the process; a worker that is killed leaves the record
 * of one that runs, and whoever looks at it without the lock held knows.
 *
 * Saving: the file is whole when its mark is on disk (vm/savefile.h), and from then
 * on the VM does not run here any more; nobody else's consent is needed. The mark
 * goes away before a VM that came from the file takes its first step.
 */
#include "control/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "control/events.h"
#include "control/file.h"
#include "control/hub.h"
#include "control/memory.h"
#include "control/paths.h"
#include "control/rules.h"
#include "control/sandbox.h"
#include "control/spawn.h"
#include "control/store.h"
#include "vm/engine.h"
#include "vm/savefile.h"
#include "vm/vm.h"

enum {
	REPORT_FD = SPAWN_FIRST_FD,
	LOCK_FD,
	FOLDER_FD,
	LINE_MAX = 16 << 10,
	RECORD_SIZE = 512,
	NR_PORTS = 2,
};
#define TICK_NS	       NSEC_PER_SEC
#define ACTIVE_FRESH_NS (NSEC_PER_SEC / 5)

struct conn {
	struct worker *w;
	int fd; /* -1: gone */
	size_t len;
	char line[LINE_MAX];
	struct conn *next;
};

struct worker {
	json_t *config;
	struct vm_config vc;
	struct vm_engine_choice engine;
	struct vm *vm;
	struct memory memory;
	struct loop *loop;
	struct hub *hubs[NR_PORTS];
	int record_fd, log_fd, saved_fd, listen_fd, signal_fd;
	struct conn *conns;
	struct timer tick;
	bool paused;
	bool restored;
	const char *end_text; /* why vm_stop() was called */

	/* For status. */
	u64 started; /* clock_ns() */
	u64 sampled, cpu_then, exits_then;
	unsigned cpu_usage;
	u64 exits_rate;
	bool active;
	u64 active_asked;
};

/* ---- Record and log: their files are open ---- */

/* 0 or -errno. */
static int write_record(struct worker *w, const char *phase)
{
	char text[RECORD_SIZE], boot[BOOT_ID_SIZE];

	store_boot_id(boot);
	int n = snprintf(text, sizeof(text), "{\"pid\": %d, \"phase\": \"%s\"%s%s%s}", (int)getpid(), phase,
			 *boot ? ", \"bootId\": \"" : "", boot, *boot ? "\"" : "");
	memset(text + n, ' ', sizeof(text) - (size_t)n);
	text[sizeof(text) - 1] = '\n';
	ssize_t done = pwrite(w->record_fd, text, sizeof(text), 0);
	return done < 0 ? -errno : done < (ssize_t)sizeof(text) ? -ENOSPC : 0;
}

static void write_log(struct worker *w, const char *type, const char *text)
{
	char now[32], *line = NULL;

	time_now_text(now);
	json_t *j = json_pack("{s:s, s:s, s:s}", "time", now, "type", type, "text", text);
	char *plain = j ? json_dumps(j, JSON_COMPACT) : NULL;
	int n = plain ? asprintf(&line, "%s\n", plain) : -1;
	if (n > 0 && write(w->log_fd, line, (size_t)n) != n)
		log_err("cannot write events.log: %s", strerror(errno));
	if (n >= 0)
		free(line);
	free(plain);
	json_decref(j);
}

/* ---- Status ---- */

static u64 cpu_time_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static u64 nr_exits(struct worker *w)
{
	struct engine_stats s;

	vm_get_stats(w->vm, &s);
	return s.exits_mmio + s.exits_pio + s.exits_hlt;
}

static void sample(struct worker *w)
{
	u64 now = clock_ns(), cpu = cpu_time_ns(), exits = nr_exits(w);
	u64 wall = now - w->sampled, cpus = (u64)sysconf(_SC_NPROCESSORS_ONLN);

	if (w->sampled && wall) {
		w->cpu_usage = (unsigned)MIN((cpu - w->cpu_then) * 100 / (wall * MAX(cpus, 1)), 100);
		w->exits_rate = mul_div(exits - w->exits_then, NSEC_PER_SEC, wall);
	}
	w->sampled = now;
	w->cpu_then = cpu;
	w->exits_then = exits;
}

static bool hypervisor_active(struct worker *w)
{
	u64 now = clock_ns();

	if (now - w->active_asked >= ACTIVE_FRESH_NS) {
		w->active = vm_hypervisor_active(w->vm);
		w->active_asked = now;
	}
	return w->active;
}

static json_t *status(struct worker *w)
{
	static const char *const ports[NR_PORTS] = { "com1", "com2" };
	json_t *j = json_pack(
		"{s:s, s:I, s:i, s:I, s:b, s:s, s:s, s:i}", "state", w->paused ? "Paused" : "Running",
		"uptime", (json_int_t)((clock_ns() - w->started) / 1000000), "cpuUsage", (int)w->cpu_usage,
		"exitsPerSecond",
		(json_int_t)w->exits_rate, "hypervisorActive", (int)hypervisor_active(w), "engineInUse",
		!strcmp(w->engine.ops->name, "kvm") ? "Kvm" : "Software", "engineReason", w->engine.why,
		"workerPid", (int)getpid());

	memory_status(&w->memory, j);
	for (unsigned i = 0; i < NR_PORTS; i++)
		if (*hub_pty(w->hubs[i]))
			json_object_set_new(j, ports[i], json_string(hub_pty(w->hubs[i])));
	return j;
}

/* ---- Connections ---- */

static void conn_drop(struct conn *c)
{
	if (c->fd < 0)
		return;
	loop_del_fd(c->w->loop, c->fd);
	close(c->fd);
	c->fd = -1;
}

/* Who does not read is dropped: the loop never waits. */
static void conn_send(struct conn *c, json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT), *line = NULL;
	int n = text ? asprintf(&line, "%s\n", text) : -1;

	json_decref(j);
	if (n > 0 && c->fd >= 0 && send(c->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		conn_drop(c);
	if (n >= 0)
		free(line);
	free(text);
}

static void conns_reap(struct worker *w)
{
	for (struct conn **p = &w->conns, *c; (c = *p);) {
		if (c->fd < 0) {
			*p = c->next;
			free(c);
		} else {
			p = &c->next;
		}
	}
}

static void send_status(struct conn *c)
{
	conn_send(c, json_pack("{s:s, s:o}", "event", "status", "status", status(c->w)));
}

static void tell_all(struct worker *w)
{
	for (struct conn *c = w->conns; c; c = c->next)
		if (c->fd >= 0)
			send_status(c);
}

static void tick(void *arg)
{
	struct worker *w = arg;

	sample(w);
	if (!w->paused)
		memory_tick(&w->memory, hypervisor_active(w));
	tell_all(w);
	conns_reap(w);
	timer_set(&w->tick, clock_ns() + TICK_NS);
}

/* ---- Verbs ---- */

/* 0: *res is the answer (NULL: {}); -1: @e is. 1: there is none. */
typedef int verb_fn(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e);

static int verb_poke(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	(void)args;
	(void)res;
	(void)e;
	send_status(c);
	return 1;
}

static int verb_pause(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	struct worker *w = c->w;

	(void)args;
	(void)e;
	if (!w->paused)
		vm_pause(w->vm);
	w->paused = true;
	*res = status(w);
	tell_all(w);
	return 0;
}

static int verb_resume(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	struct worker *w = c->w;

	(void)args;
	(void)e;
	if (w->paused)
		vm_resume(w->vm);
	w->paused = false;
	*res = status(w);
	tell_all(w);
	return 0;
}

static int stop(struct worker *w, const char *text)
{
	w->end_text = text;
	vm_stop(w->vm, 0);
	return 0;
}

static int verb_off(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	(void)args;
	(void)res;
	(void)e;
	return stop(c->w, "It was turned off.");
}

static int verb_shutdown(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	(void)args;
	(void)res;
	(void)e;
	write_log(c->w, "shutdown", "The power button was pressed.");
	vm_press_power_button(c->w->vm);
	return 0;
}

static int verb_reset(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	write_log(c->w, "reset", "It was reset.");
	vm_press_reset(c->w->vm);
	return verb_resume(c, args, res, e);
}

static void save_progress(void *opaque, unsigned percent)
{
	conn_send(opaque, json_pack("{s:s, s:i}", "event", "progress", "progress", (int)percent));
}

static int verb_save(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	struct worker *w = c->w;
	struct err why;

	(void)args;
	(void)res;
	vm_pause(w->vm);
	if (vm_is_ending(w->vm)) {
		vm_resume(w->vm);
		return ctl_error(e, CTL_OPERATION_FAILED, "The guest has just ended by itself.");
	}
	if (!vm_save_to(w->vm, w->saved_fd, save_progress, c, &why))
		return stop(w, "It was saved.");
	vm_resume(w->vm);
	write_log(w, "failed", why.text);
	return worker_error(e, &why);
}

/* "memory": the configuration as it becomes; "target": what the guest shall have, or
 * "giveUp": it stays as it is. */
static int verb_set_memory(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	struct worker *w = c->w;
	const json_t *target = json_object_get(args, "target");

	(void)res;
	if (json_object_get(args, "memory"))
		memory_configure(&w->memory, json_object_get(args, "memory"));
	if (json_object_get(args, "giveUp"))
		memory_give_up(&w->memory);
	if (!target)
		return 0;
	w->active_asked = 0; /* the truth, not what it was a moment ago */
	if (hypervisor_active(w))
		return ctl_error(e, CTL_WRONG_STATE, RULES_HYPERVISOR_ACTIVE);
	return memory_set_target(&w->memory, (u64)json_integer_value(target), e);
}

/* The answer goes out first; then the connection is the console's. */
static int verb_console(struct conn *c, const json_t *args, json_t **res, struct ctl_err *e)
{
	s64 port = config_int(args, "port");
	u64 from = (u64)config_int(args, "from");

	(void)res;
	if (port < 1 || port > NR_PORTS)
		return ctl_error(e, CTL_NOT_FOUND, "There is no serial port %lld.", (long long)port);
	struct hub *h = c->w->hubs[port - 1];
	from = hub_first(h, from);
	conn_send(c, json_pack("{s:i, s:{s:I}}", "id", 1, "result", "from", (json_int_t)from));
	if (c->fd < 0)
		return 1;
	int fd = c->fd;
	loop_del_fd(c->w->loop, fd);
	c->fd = -1;
	if (hub_attach(h, fd, from))
		close(fd);
	return 1;
}

static const struct {
	const char *name;
	verb_fn *run;
} verbs[] = {
	{ "poke", verb_poke },	 { "pause", verb_pause },	  { "resume", verb_resume },
	{ "off", verb_off },	 { "shutdown", verb_shutdown },	  { "reset", verb_reset },
	{ "save", verb_save },	 { "set-memory", verb_set_memory }, { "console", verb_console },
};

static int run_verb(struct conn *c, const json_t *request, json_t **res, struct ctl_err *e)
{
	const char *name = config_string(request, "verb");

	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(name, verbs[i].name))
			return verbs[i].run(c, json_object_get(request, "args"), res, e);
	return ctl_error(e, CTL_NOT_FOUND, "There is no verb '%s'.", name);
}

static void serve_line(struct conn *c, const char *line)
{
	json_t *request = json_loads(line, 0, NULL), *res = NULL;
	struct ctl_err e = { 0 };

	int r = run_verb(c, request, &res, &e);
	json_t *answer = json_pack("{s:I}", "id", (json_int_t)config_int(request, "id"));
	if (r < 0)
		json_object_set_new(answer, "error", ctl_error_to_json(&e));
	else
		json_object_set_new(answer, "result", res ? res : json_object());
	if (r == 1)
		json_decref(answer);
	else
		conn_send(c, answer);
	json_decref(request);
}

static void serve_lines(struct conn *c)
{
	char *end;

	while (c->fd >= 0 && (end = memchr(c->line, '\n', c->len))) {
		size_t n = (size_t)(end - c->line) + 1;
		char line[LINE_MAX];

		memcpy(line, c->line, n - 1);
		line[n - 1] = 0;
		memmove(c->line, c->line + n, c->len - n);
		c->len -= n;
		serve_line(c, line);
	}
	if (c->len == LINE_MAX)
		conn_drop(c);
}

static void conn_readable(void *arg, u32 events)
{
	struct conn *c = arg;
	struct worker *w = c->w;

	(void)events;
	ssize_t n = recv(c->fd, c->line + c->len, LINE_MAX - c->len, MSG_DONTWAIT);
	if (n > 0) {
		c->len += (size_t)n;
		serve_lines(c);
	} else if (!n || (errno != EAGAIN && errno != EINTR)) {
		conn_drop(c);
	}
	conns_reap(w);
}

static void accept_conn(void *arg, u32 events)
{
	struct worker *w = arg;
	int fd = accept4(w->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct conn *c = fd < 0 ? NULL : calloc(1, sizeof(*c));

	(void)events;
	if (!c || loop_add_fd(w->loop, fd, EPOLLIN, conn_readable, c)) {
		if (fd >= 0)
			close(fd);
		free(c);
		return;
	}
	c->w = w;
	c->fd = fd;
	c->next = w->conns;
	w->conns = c;
	send_status(c);
}

/* ---- Start ---- */

static int open_own(const char *name, int flags, int *fd, struct ctl_err *e)
{
	*fd = openat(FOLDER_FD, name, flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *fd < 0 ? ctl_error_errno(e, errno, "Cannot open %s", name) : 0;
}

static int read_config(struct worker *w, struct ctl_err *e)
{
	char id[STORE_ID_SIZE];

	if (file_read_json(FOLDER_FD, "config.json", &w->config, e))
		return -1;
	snprintf(id, sizeof(id), "%s", config_string(w->config, "id"));
	return store_check_config(w->config, id, e);
}

static int create_hubs(struct worker *w, struct ctl_err *e)
{
	static const char *const paths[NR_PORTS] = { "com1.path", "com2.path" };
	struct err why;

	for (unsigned i = 0; i < NR_PORTS; i++) {
		if (hub_create(config_string(w->config, paths[i]), &w->hubs[i], &why))
			return worker_error(e, &why);
		w->vc.serials[w->vc.nr_serials++] = hub_serial(w->hubs[i]);
	}
	return 0;
}

/* SIGTERM is an event of the loop. Before any thread is made: all inherit the mask. */
static void block_signals(struct worker *w)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void signal_arrived(void *arg, u32 events)
{
	struct worker *w = arg;
	struct signalfd_siginfo si;

	(void)events;
	if (read(w->signal_fd, &si, sizeof(si)) == sizeof(si))
		stop(w, "Its process was told to end by a signal.");
}

static int create_vm(struct worker *w, struct ctl_err *e)
{
	struct err why;

	if (vm_engine_choose(&w->vc, &w->engine, &why))
		return worker_error(e, &why);
	if (!w->engine.why[0])
		snprintf(w->engine.why, sizeof(w->engine.why), "%s, as asked for",
			 w->vc.engine == VM_ENGINE_KVM ? "KVM" : "the software engine");
	block_signals(w);
	if (vm_create(&w->vc, w->engine.ops, &w->vm, &why))
		return worker_error(e, &why);
	w->loop = vm_loop(w->vm);
	for (unsigned i = 0; i < NR_PORTS; i++)
		if (hub_start(w->hubs[i], w->loop, &why))
			return worker_error(e, &why);
	return 0;
}

/* Its memory may have another size at start than the configuration says now. */
static int open_saved(struct worker *w, struct ctl_err *e)
{
	struct err why;

	if (open_own("saved.state", O_RDWR, &w->saved_fd, e))
		return -1;
	w->restored = savefile_complete(w->saved_fd);
	if (w->restored && savefile_memory(w->saved_fd, &w->vc.memory, &w->vc.max_memory, &why))
		return worker_error(e, &why);
	return 0;
}

static int load_saved(struct worker *w, struct ctl_err *e)
{
	struct err why;

	if (w->restored && vm_load_from(w->vm, w->saved_fd, &why))
		return worker_error(e, &why);
	memory_init(&w->memory, w->vm, json_object_get(w->config, "memory"));
	return 0;
}

static int listen_and_watch(struct worker *w, struct ctl_err *e)
{
	char folder[32];

	snprintf(folder, sizeof(folder), "/proc/self/fd/%d", FOLDER_FD);
	unlinkat(FOLDER_FD, "worker.sock", 0);
	w->listen_fd = paths_listen(folder, "worker.sock");
	if (w->listen_fd < 0)
		return ctl_error_errno(e, -w->listen_fd, "Cannot make the socket worker.sock");
	timer_init(&w->tick, w->loop, tick, w);
	if (loop_add_fd(w->loop, w->listen_fd, EPOLLIN, accept_conn, w) ||
	    loop_add_fd(w->loop, w->signal_fd, EPOLLIN, signal_arrived, w))
		return ctl_error(e, CTL_OUT_OF_MEMORY, "There is not enough memory.");
	return 0;
}

static int prepare(struct worker *w, struct ctl_err *e)
{
	struct err why;

	if (read_config(w, e) || worker_config_fill(w->config, &w->vc, e) || create_hubs(w, e) ||
	    open_saved(w, e) || create_vm(w, e) || load_saved(w, e) || listen_and_watch(w, e) ||
	    open_own("events.log", O_WRONLY | O_APPEND, &w->log_fd, e) ||
	    open_own("worker.json", O_WRONLY | O_TRUNC, &w->record_fd, e))
		return -1;
	int r = write_record(w, "running");
	if (r)
		return ctl_error_errno(e, -r, "Cannot write worker.json");
	if (sandbox_enter(&why))
		return worker_error(e, &why);
	r = savefile_discard(w->saved_fd);
	return r ? ctl_error_errno(e, -r, "Cannot write saved.state") : 0;
}

static void report(json_t *j)
{
	signal(SIGPIPE, SIG_IGN); /* the manager may be gone: no matter */
	json_dumpfd(j, REPORT_FD, JSON_COMPACT);
	json_decref(j);
	close(REPORT_FD);
}

/* ---- The end ---- */

static const char *end_text(struct worker *w, struct vm_end end, char *buf, size_t size)
{
	switch (end.reason) {
	case VM_END_POWEROFF:
		return "The guest turned itself off.";
	case VM_END_STOPPED:
		return w->end_text ? w->end_text : "It was stopped.";
	case VM_END_TRIPLE_FAULT:
		snprintf(buf, size, "Virtual processor %u had a triple fault.", end.code);
		return buf;
	default:
		return "Its engine failed: worker.log in its folder says more.";
	}
}

static void run(struct worker *w)
{
	char text[400];

	snprintf(text, sizeof(text), "%s Engine: %s.", w->restored ? "Resumed from its saved state." :
		 "Started.", w->engine.why);
	write_log(w, "started", text);
	w->started = clock_ns();
	sample(w);
	timer_set(&w->tick, w->started + TICK_NS);
	struct vm_end end = vm_run(w->vm);
	for (unsigned i = 0; i < NR_PORTS; i++)
		hub_flush(w->hubs[i]);
	write_log(w, "off", end_text(w, end, text, sizeof(text)));
	int r = write_record(w, "ended"); /* over the same bytes: needs no room */
	if (r)
		log_err("cannot write worker.json: %s", strerror(-r));
}

int worker_main(void)
{
	struct worker *w = calloc(1, sizeof(*w));
	struct ctl_err e = { 0 };

	if (!w)
		return 1;
	for (int fd = REPORT_FD; fd <= FOLDER_FD; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	umask(0077);
	if (prepare(w, &e)) {
		unlinkat(FOLDER_FD, "worker.json", 0);
		report(json_pack("{s:o}", "error", ctl_error_to_json(&e)));
		return 1;
	}
	w->started = clock_ns();
	report(json_pack("{s:b}", "ready", 1));
	run(w);
	/* Threads and memory go with the process, and the lock with it. */
	fflush(NULL);
	_exit(0);
}
