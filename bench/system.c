// SPDX-License-Identifier: MIT
/*
 * Processes whose console we read: starting, reading marks with their time of
 * arrival, ending. See system.h.
 */
#include "system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int trouble(struct system *s, const char *what)
{
	snprintf(s->trouble, sizeof(s->trouble), "%s", what);
	return -1;
}

static void become(char *const *argv, int in, int out, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(in, 0);
	dup2(out, 1);
	dup2(out, 2);
	execvp(argv[0], argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int system_start(struct system *s, char *const *argv, const char *log)
{
	int to[2], from[2];
	pid_t me = getpid();

	*s = (struct system){ .title = s->title };
	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		return trouble(s, strerror(errno));
	s->log = fopen(log, "we");
	s->started = now();
	s->pid = fork();
	if (s->pid == 0)
		become(argv, to[0], from[1], me);
	close(to[0]);
	close(from[1]);
	s->to = to[1];
	s->from = from[0];
	return s->pid < 0 ? trouble(s, strerror(errno)) : 0;
}

void system_send(struct system *s, const char *line)
{
	if (write(s->to, line, strlen(line)) < 0)
		trouble(s, strerror(errno));
}

/* Reads what there is, waiting until the deadline for something. */
static int take_text(struct system *s, double deadline)
{
	struct pollfd p = { .fd = s->from, .events = POLLIN };
	double left = deadline - now();
	ssize_t n;

	if (s->len == sizeof(s->text) - 1)
		s->len = 0; /* an endless line */
	if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) == 0)
		return trouble(s, "no answer in time");
	n = read(s->from, s->text + s->len, sizeof(s->text) - 1 - s->len);
	s->arrived = now();
	if (n <= 0)
		return trouble(s, "ended early (see its log)");
	if (s->log) {
		fwrite(s->text + s->len, 1, (size_t)n, s->log);
		fflush(s->log);
	}
	s->len += (size_t)n;
	return 0;
}

/* Takes the first whole line out of the text, if there is one. */
static bool take_line(struct system *s, char *line, size_t size)
{
	char *end = memchr(s->text, '\n', s->len);
	size_t len = end ? (size_t)(end - s->text) : 0;

	if (!end)
		return false;
	snprintf(line, size, "%.*s", (int)len, s->text);
	line[strcspn(line, "\r")] = '\0';
	s->len -= len + 1;
	memmove(s->text, end + 1, s->len);
	return true;
}

int system_expect(struct system *s, const char *mark, double timeout, char *rest, size_t size,
		  double *when)
{
	double deadline = now() + timeout;
	char line[512];

	for (;;) {
		while (take_line(s, line, sizeof(line))) {
			const char *at = strstr(line, mark), *wrong = strstr(line, "@x ");

			if (at && rest)
				snprintf(rest, size, "%s", at + strlen(mark));
			if (at && when)
				*when = s->arrived;
			if (at)
				return 0;
			if (wrong)
				return trouble(s, wrong + 3);
		}
		if (take_text(s, deadline))
			return -1;
	}
}

/* ---- Waiting for a processor ---- */

enum { MAX_THREADS = 64 };

struct delays {
	int nr;
	long tid[MAX_THREADS];
	double wait[MAX_THREADS];
};

static bool read_delay(pid_t pid, long tid, double *seconds)
{
	unsigned long long wait;
	char path[64];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/proc/%d/task/%ld/schedstat", (int)pid, tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fscanf(f, "%*u %llu", &wait) == 1;
	*seconds = ok ? (double)wait * 1e-9 : 0;
	fclose(f);
	return ok;
}

static void read_delays(const struct system *s, struct delays *res)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	res->nr = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)s->pid);
	d = opendir(path);
	while (d && (e = readdir(d)) && res->nr < MAX_THREADS) {
		res->tid[res->nr] = atol(e->d_name);
		if (res->tid[res->nr] && read_delay(s->pid, res->tid[res->nr], &res->wait[res->nr]))
			res->nr++;
	}
	if (d)
		closedir(d);
}

/* How long the thread that waited most has waited since. */
static double waited_since(const struct system *s, const struct delays *before)
{
	double most = 0, wait;

	for (int i = 0; i < before->nr; i++)
		if (read_delay(s->pid, before->tid[i], &wait) && wait - before->wait[i] > most)
			most = wait - before->wait[i];
	return most;
}

double system_waited(const struct system *s)
{
	struct delays d;
	double most = 0;

	read_delays(s, &d);
	for (int i = 0; i < d.nr; i++)
		if (d.wait[i] > most)
			most = d.wait[i];
	return most;
}

int system_measure(struct system *s, const char *row, unsigned long long count, double timeout,
		   double *seconds)
{
	double begin, end, waited;
	struct delays before;
	char line[96];

	snprintf(line, sizeof(line), "%s %llu\n", row, count);
	system_send(s, line);
	if (system_expect(s, "@b", timeout, NULL, 0, &begin))
		return -1;
	read_delays(s, &before);
	if (system_expect(s, "@e", timeout, NULL, 0, &end))
		return -1;
	waited = waited_since(s, &before);
	*seconds = end - begin > waited ? end - begin - waited : 0;
	return 0;
}

void system_stop(struct system *s)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	close(s->to);
	close(s->from);
	if (s->log)
		fclose(s->log);
	s->log = NULL;
	s->pid = 0;
}

double system_cpu_time(const struct system *s)
{
	clockid_t clock;
	struct timespec t;

	if (s->pid <= 0 || clock_getcpuclockid(s->pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double system_rss_beside(const struct system *s, unsigned long ram)
{
	unsigned long kib, size = 0, sum = 0;
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)s->pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Size: %lu", &kib) == 1)
			size = kib;
		else if (sscanf(line, "Rss: %lu", &kib) == 1 && size < ram * 1024)
			sum += kib;
	}
	fclose(f);
	return (double)sum / 1024;
}
