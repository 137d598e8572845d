// SPDX-License-Identifier: MIT
/*
 * nestor demo: boots a VM on the software engine, lets Debian's KVM in it start a second one, and
 * shows that the second's kernel ran: it answers a challenge made here, and KVM's exit counters in
 * the first rise.
 *
 * The guests speak through their serial consoles, one inside the other: lines "@nestor LEVEL WORD
 * VALUE..." written by tools/guest-init. demo_event() files each under its level; what is shown and
 * judged at the end comes from these records only.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sha256.h"
#include "cli/command.h"
#include "cli/options.h"

enum { MAX_DEPTH = 3, DEMO_INCOMPLETE = 3 };

/* What is known of one level; times are seconds since the demo began, 0 when it did not happen. */
struct level {
	double start, up, kvm, answer, off, end;
	char kernel[64], cpus[8];
	char cpu[64];	   /* "vmx ept", "no-vmx" */
	char kvm_says[128]; /* "loaded ept=Y ...", "failed" */
	char answer_text[80];
	u64 exits;	   /* the most its KVM counted for the guest inside */
	int status;	   /* of nestor run for the level, -1 unknown */
};

struct demo {
	const char *guest, *bare, *cpus, *memory, *kvm_intel, *append, *engine;
	unsigned depth, timeout;
	bool verbose, help;
	char challenge[33];
	struct timespec began;
	struct level level[MAX_DEPTH + 1]; /* by its number; [0] is this machine */
	char tail[16][240]; /* the last lines of the console, a ring */
	unsigned nr_lines;
};

static double elapsed(const struct demo *d)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - d->began.tv_sec) +
	       (double)(now.tv_nsec - d->began.tv_nsec) / 1e9;
}

static void tell(const struct demo *d, const char *fmt, ...) PRINTF(2, 3);
static void tell(const struct demo *d, const char *fmt, ...)
{
	va_list ap;

	printf("%7.2f s  ", elapsed(d));
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

/* ---- What the guests report ---- */

static void on_up(struct demo *d, unsigned n, char *rest)
{
	struct level *l = &d->level[n];

	l->up = elapsed(d);
	if (sscanf(rest, "%63s %*s cpus %7s", l->kernel, l->cpus) == 2)
		tell(d, "L%u is up: Linux %s, processors: %s", n, l->kernel, l->cpus);
}

static void on_cpu(struct demo *d, unsigned n, char *rest)
{
	struct level *l = &d->level[n];
	size_t len = strlen(l->cpu);

	snprintf(l->cpu + len, sizeof(l->cpu) - len, "%s%s", len ? " " : "", rest);
	tell(d, "L%u's /proc/cpuinfo %s", n,
	     !strncmp(rest, "no-", 3) ? "lacks the flag vmx" : rest);
}

static void on_kvm(struct demo *d, unsigned n, char *rest)
{
	struct level *l = &d->level[n];

	l->kvm = elapsed(d);
	snprintf(l->kvm_says, sizeof(l->kvm_says), "%s", rest);
	tell(d, "L%u's own KVM: %s", n, rest);
}

static void on_start(struct demo *d, unsigned n, char *rest)
{
	(void)rest;
	if (n < MAX_DEPTH) {
		d->level[n + 1].start = elapsed(d);
		tell(d, "L%u starts L%u: nestor run --engine kvm", n, n + 1);
	}
}

static void expected_answer(const struct demo *d, unsigned n, char hex[65])
{
	char text[64];

	snprintf(text, sizeof(text), "%s %u", d->challenge, n);
	sha256_hex(text, strlen(text), hex);
}

static void on_answer(struct demo *d, unsigned n, char *rest)
{
	struct level *l = &d->level[n];
	char want[65];

	expected_answer(d, n, want);
	snprintf(l->answer_text, sizeof(l->answer_text), "%s", rest);
	l->answer = elapsed(d);
	tell(d, "L%u answers the challenge: %.16s... (%s)", n, rest,
	     strcmp(rest, want) ? "WRONG" : "right");
}

static void on_exits(struct demo *d, unsigned n, char *rest)
{
	d->level[n].exits = strtoull(rest, NULL, 10);
	tell(d, "VM exits that L%u's KVM counted: %s", n, rest);
}

static void on_off(struct demo *d, unsigned n, char *rest)
{
	(void)rest;
	d->level[n].off = elapsed(d);
	tell(d, "L%u powers off", n);
}

/* "end M STATUS": nestor run of level M, started by level n, ended. */
static void on_end(struct demo *d, unsigned n, char *rest)
{
	unsigned m;
	int status;

	if (sscanf(rest, "%u %d", &m, &status) != 2 || m != n + 1 || m > MAX_DEPTH)
		return;
	d->level[m].end = elapsed(d);
	d->level[m].status = status;
	if (status)
		tell(d, "nestor run of L%u ended with status %d", m, status);
}

static const struct {
	const char *word;
	void (*act)(struct demo *d, unsigned n, char *rest);
} events[] = {
	{ "up", on_up },	 { "cpu", on_cpu },	{ "kvm", on_kvm }, { "start", on_start },
	{ "answer", on_answer }, { "exits", on_exits }, { "off", on_off }, { "end", on_end },
};

/* Files a line if it is a mark; guests are not trusted to write well-formed ones. */
static bool demo_event(struct demo *d, char *line)
{
	char *mark = strstr(line, "@nestor "), word[16];
	int used = 0;
	unsigned n;

	if (!mark || sscanf(mark, "@nestor %u %15s %n", &n, word, &used) < 2)
		return false;
	if (n < 1 || n > MAX_DEPTH)
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		if (!strcmp(word, events[i].word)) {
			events[i].act(d, n, mark + used);
			return true;
		}
	}
	return false;
}

static void demo_line(struct demo *d, char *line)
{
	size_t len = strcspn(line, "\r\n");

	line[len] = '\0';
	if (demo_event(d, line))
		return;
	snprintf(d->tail[d->nr_lines++ % ARRAY_SIZE(d->tail)], sizeof(d->tail[0]), "%.230s", line);
	if (d->verbose && len)
		printf("  | %s\n", line);
}

/* ---- The child ---- */

/* Starts this program with other arguments; its output comes through *fd. */
static pid_t spawn_self(const char *const argv[], int *fd)
{
	int out[2];
	pid_t pid;

	if (pipe(out))
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		execv("/proc/self/exe", (char *const *)argv);
		_exit(STATUS_NOT_STARTED);
	}
	close(out[1]);
	if (pid < 0)
		close(out[0]);
	*fd = out[0];
	return pid;
}

/* Hands each line of @fd to demo_line() until the end, or for @seconds; false on the time limit. */
static bool read_lines(struct demo *d, int fd, double seconds)
{
	double limit = elapsed(d) + seconds;
	char buf[1024];
	size_t len = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		double left = limit - elapsed(d);
		ssize_t n;

		if (left <= 0)
			return false;
		if (poll(&p, 1, (int)(left * 1000) + 1) <= 0)
			continue;
		n = read(fd, buf + len, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0 && buf[len] != '\n' && len < sizeof(buf) - 2) {
			len++;
			continue;
		}
		if (n > 0 || len) {
			buf[len + (n > 0)] = '\0';
			demo_line(d, buf);
			len = 0;
		}
		if (n <= 0)
			return true;
	}
}

/* Runs nestor with @argv to its end; its status, 124 on the time limit. */
static int run_self(struct demo *d, const char *const argv[], double seconds)
{
	int fd, status;
	pid_t pid = spawn_self(argv, &fd);

	if (pid < 0) {
		log_err("cannot start a process: %s", strerror(errno));
		return STATUS_NOT_STARTED;
	}
	if (!read_lines(d, fd, seconds)) {
		tell(d, "no end after %.0f s, so it is stopped", seconds);
		kill(pid, SIGTERM);
		usleep(500000);
		kill(pid, SIGKILL);
	}
	close(fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- The levels ---- */

static void show_host(struct demo *d)
{
	const char *argv[] = { "nestor", "probe", NULL };
	bool verbose = d->verbose;

	printf("This host:\n");
	d->verbose = true;
	run_self(d, argv, 30);
	d->verbose = verbose;
	d->nr_lines = 0;
}

/* A bare-metal guest, for when Linux does not boot. Its debug-exit status says how it went. */
static int run_bare(struct demo *d)
{
	const char *argv[] = { "nestor",   "run",      "--engine",   d->engine, "--memory",
			       "64M",	   "--kernel", d->bare,	     "--nic",	"none",
			       "--no-reboot", "--debug-exit", NULL };
	bool verbose = d->verbose;
	int status;

	tell(d, "a bare-metal guest instead:");
	d->verbose = true;
	status = run_self(d, argv, 30);
	d->verbose = verbose;
	return status;
}

/*
 * no_timer_check: Linux wants four timer ticks in 40 ms of a busy loop before it trusts the IOAPIC,
 * which a busy host may not give it; under hypervisors that it knows it does not ask.
 */
static int run_linux(struct demo *d)
{
	char kernel[512], initrd[512], append[1024], cpus[8];
	const char *argv[32] = { "nestor", "run", "--engine", d->engine, "--cpus", cpus,
				 "--memory", d->memory, "--kernel", kernel, "--initrd", initrd,
				 "--append", append, "--nic", "none", "--no-reboot" };
	const char **more = argv + 17;
	const char *inner_cpus = strchr(d->cpus, ',');
	int n;

	snprintf(cpus, sizeof(cpus), "%.*s", (int)strcspn(d->cpus, ","), d->cpus);
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", d->guest);
	snprintf(initrd, sizeof(initrd), "%s/initrd-%u", d->guest, d->depth);
	n = snprintf(append, sizeof(append),
		     "console=ttyS0 panic=-1 no_timer_check %snestor.run=demo nestor.level=1 nestor.depth=%u "
		     "nestor.challenge=%s nestor.cpus=%s",
		     d->verbose ? "" : "quiet nestor.quiet ", d->depth, d->challenge,
		     inner_cpus ? inner_cpus + 1 : "1");
	if (d->kvm_intel)
		n += snprintf(append + n, sizeof(append) - (size_t)n, " nestor.kvm_intel=%s",
			      d->kvm_intel);
	if (d->append)
		snprintf(append + n, sizeof(append) - (size_t)n, " %s", d->append);
	if (d->depth > 1)
		*more++ = "--expose-virtualization-extensions";
	tell(d, "L1 starts: nestor run --engine %s, %s processors, %s of memory", d->engine, cpus,
	     d->memory);
	d->level[1].start = elapsed(d);
	d->level[1].status = run_self(d, argv, d->timeout);
	d->level[1].end = elapsed(d);
	return d->level[1].status;
}

/* ---- The result ---- */

static void row(const char *what, double from, double to)
{
	if (from > 0 && to > 0)
		printf("  %-48s %7.2f s\n", what, to - from);
}

static void show_table(const struct demo *d)
{
	char text[80];

	printf("\nWhat took how long:\n");
	for (unsigned n = 1; n <= d->depth; n++) {
		const struct level *l = &d->level[n], *inner = n < d->depth ? l + 1 : NULL;

		snprintf(text, sizeof(text), "L%u: from its start to its first program", n);
		row(text, l->start, l->up);
		if (inner) {
			snprintf(text, sizeof(text), "L%u: loads KVM and starts L%u", n, n + 1);
			row(text, l->up, inner->start);
		}
	}
	for (unsigned n = d->depth; n >= 1; n--) {
		const struct level *l = &d->level[n];

		snprintf(text, sizeof(text), "L%u: power-off", n);
		row(text, l->off, l->end);
	}
	row("all of it", d->level[1].start, d->level[1].end);
}

/* What level n did not do, as a sentence's end; NULL when it did all. */
static const char *missing(const struct demo *d, unsigned n)
{
	const struct level *l = &d->level[n];
	char want[65];

	expected_answer(d, n, want);
	if (!l->up)
		return "did not reach its first program";
	if (!l->answer)
		return "did not answer";
	if (strcmp(l->answer_text, want))
		return "gave a wrong answer";
	if (n < d->depth && strncmp(l->cpu, "vmx", 3))
		return "has no vmx flag";
	if (n < d->depth && strncmp(l->kvm_says, "loaded", 6))
		return "could not load KVM";
	if (n < d->depth && !d->level[n + 1].start)
		return "did not start its guest";
	return NULL;
}

/* What was not right at level n although it ran. */
static const char *unclean(const struct demo *d, unsigned n)
{
	const struct level *l = &d->level[n];

	if (n < d->depth && !l->exits)
		return "counted no VM exit";
	if (!l->off || l->status)
		return "did not power off cleanly";
	return NULL;
}

static void show_tail(const struct demo *d)
{
	unsigned nr = ARRAY_SIZE(d->tail);
	unsigned from = d->nr_lines > nr ? d->nr_lines - nr : 0;

	if (d->verbose || !d->nr_lines)
		return;
	printf("\nThe console's last lines:\n");
	for (unsigned i = from; i < d->nr_lines; i++)
		printf("  | %s\n", d->tail[i % nr]);
}

static int judge(struct demo *d)
{
	for (unsigned n = 1; n <= d->depth; n++) {
		const char *what = missing(d, n);

		if (!what)
			continue;
		show_tail(d);
		if (!d->level[1].up && d->bare)
			run_bare(d);
		printf("\nMissing: L%u %s, so the demo got %u level%s deep of %u.\n", n, what, n - 1,
		       n == 2 ? "" : "s", d->depth);
		return DEMO_INCOMPLETE;
	}
	for (unsigned n = 1; n <= d->depth; n++) {
		const char *what = unclean(d, n);

		if (!what)
			continue;
		show_tail(d);
		printf("\nNot right: L%u %s (status %d).\n", n, what, d->level[n].status);
		return 1;
	}
	printf("\nL%u's kernel answered the challenge", d->depth);
	for (unsigned n = d->depth - 1; n >= 1; n--)
		printf("%s L%u's KVM ran it with %llu VM exits", n == d->depth - 1 ? ";" : ",", n,
		       (unsigned long long)d->level[n].exits);
	printf(". All levels powered off cleanly.\n");
	return 0;
}

static int make_challenge(struct demo *d)
{
	u8 bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -1;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		snprintf(d->challenge + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* ---- Options ---- */

static int set_string(const char **to, char *value)
{
	*to = value;
	return 0;
}

#define STRING_OPTION(name)                                                                        \
	static int set_##name(void *target, char *value, struct err *e)                            \
	{                                                                                          \
		(void)e;                                                                           \
		return set_string(&((struct demo *)target)->name, value);                          \
	}
STRING_OPTION(guest)
STRING_OPTION(bare)
STRING_OPTION(cpus)
STRING_OPTION(memory)
STRING_OPTION(kvm_intel)
STRING_OPTION(append)
STRING_OPTION(engine)

static int set_number(unsigned *to, const char *value, unsigned max, struct err *e)
{
	char *end;
	unsigned long v = strtoul(value, &end, 10);

	if (*end || end == value || v < 1 || v > max)
		return err_set(e, "'%s' is not a number from 1 to %u", value, max);
	*to = (unsigned)v;
	return 0;
}

static int set_depth(void *target, char *value, struct err *e)
{
	return set_number(&((struct demo *)target)->depth, value, MAX_DEPTH, e);
}

static int set_timeout(void *target, char *value, struct err *e)
{
	return set_number(&((struct demo *)target)->timeout, value, 86400, e);
}

static int set_verbose(void *target, char *value, struct err *e)
{
	(void)value;
	(void)e;
	((struct demo *)target)->verbose = true;
	return 0;
}

static int set_help(void *target, char *value, struct err *e)
{
	(void)value;
	(void)e;
	((struct demo *)target)->help = true;
	return 0;
}

static const struct option_row rows[] = {
	{ "guest", "DIR", "guest material, as tools/guest-image makes it", set_guest },
	{ "depth", "1..3", "how deep to nest (2)", set_depth },
	{ "cpus", "N[,N...]", "processors of L1, of L2, ... (2,1)", set_cpus },
	{ "memory", "SIZE", "memory of L1 (1G; 1536M for depth 3)", set_memory },
	{ "kvm-intel", "P=V,...", "parameters for kvm_intel in L1, such as ept=0", set_kvm_intel },
	{ "append", "TEXT", "more for L1's kernel command line", set_append },
	{ "engine", "NAME", "what runs L1: soft (default), kvm, auto", set_engine },
	{ "bare", "FILE", "bare-metal guest to fall back on", set_bare },
	{ "timeout", "SECONDS", "gives up after this time (300)", set_timeout },
	{ "verbose", NULL, "shows the guests' consoles", set_verbose },
	{ "help", NULL, "this text", set_help },
};

static const struct option_table options = {
	.command = "nestor demo",
	.synopsis = "--guest DIR [options]",
	.about = "Boots a VM in a VM on this machine and shows that it ran.",
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
};

int cmd_demo(int argc, char **argv)
{
	struct demo d = { .depth = 2, .cpus = "2,1", .timeout = 300, .engine = "soft" };
	struct err e = { "" };
	int r = options_parse(&options, &d, argc, argv, &e);

	if (!r && d.help) {
		options_help(&options, stdout);
		return STATUS_OK;
	}
	if (!r && !d.guest)
		r = err_set(&e, "--guest DIR is wanted; ./demo makes one and calls this");
	if (!r && make_challenge(&d))
		r = err_set(&e, "no random bytes from this host");
	if (r) {
		log_err("%s", e.text);
		return STATUS_NOT_STARTED;
	}
	if (!d.memory)
		d.memory = d.depth > 2 ? "1536M" : "1G";
	for (unsigned n = 0; n <= MAX_DEPTH; n++)
		d.level[n].status = -1;
	clock_gettime(CLOCK_MONOTONIC, &d.began);
	show_host(&d);
	printf("\nThe challenge made here: %s\n\n", d.challenge);
	run_linux(&d);
	show_table(&d);
	return judge(&d);
}
