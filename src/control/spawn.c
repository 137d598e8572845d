// SPDX-License-Identifier: MIT
/*
 * Starting our own processes. Between fork() and exec only async-signal-safe
 * functions are called: other threads may hold any lock.
 */
#include "control/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"

enum { MAX_ARGS = 16, COULD_NOT = 127 };

static const char *program(void)
{
	const char *p = getenv("NESTOR_PROGRAM");

	return p && *p ? p : "/proc/self/exe";
}

/* 0, 1, 2 and those that follow as wanted; nothing else stays open. All are first
 * moved out of the way of the numbers that are about to be set. */
static bool arrange_fds(const struct spawn *s)
{
	int fds[SPAWN_FIRST_FD + SPAWN_MAX_FDS] = { open("/dev/null", O_RDONLY), s->log_fd, s->log_fd };
	int nr = SPAWN_FIRST_FD + (int)MIN(s->nr_fds, (unsigned)SPAWN_MAX_FDS);

	for (int i = SPAWN_FIRST_FD; i < nr; i++)
		fds[i] = s->fds[i - SPAWN_FIRST_FD];
	for (int i = 0; i < nr; i++)
		if ((fds[i] = fcntl(fds[i], F_DUPFD, nr)) < 0)
			return false;
	for (int i = 0; i < nr; i++)
		if (dup2(fds[i], i) < 0)
			return false;
	return !close_range((unsigned)nr, ~0u, 0);
}

static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become(const struct spawn *s, char *const *argv)
{
	setsid();
	if (s->detached && fork() != 0) /* so that it is nobody's child but init's */
		_exit(0);
	reset_signals();
	if (arrange_fds(s))
		execv(program(), argv);
	_exit(COULD_NOT);
}

pid_t spawn_nestor(const struct spawn *s)
{
	char *argv[MAX_ARGS + 2] = { (char *)"nestor" };

	for (unsigned i = 0; i < MAX_ARGS && s->args[i]; i++)
		argv[i + 1] = (char *)s->args[i];
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		become(s, argv);
	if (!s->detached)
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}
