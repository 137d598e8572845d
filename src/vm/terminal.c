// SPDX-License-Identifier: MIT
/*
 * Raw mode of standard input's terminal. The saved settings are the process's:
 * a handler of a fatal signal needs them.
 */
#include "vm/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t raw;

/* A background process that touches the terminal would be stopped. */
static bool in_foreground(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

void terminal_restore(void)
{
	if (!raw)
		return;
	raw = 0;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
}

static void fatal_signal(int sig)
{
	terminal_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

void terminal_guard(void)
{
	static const int fatal[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGXCPU };
	static bool done;

	if (done)
		return;
	done = true;
	atexit(terminal_restore);
	for (unsigned i = 0; i < ARRAY_SIZE(fatal); i++)
		signal(fatal[i], fatal_signal);
}

void terminal_raw(void)
{
	struct termios t;

	if (raw || !in_foreground() || tcgetattr(STDIN_FILENO, &saved))
		return;
	t = saved;
	cfmakeraw(&t);
	if (!tcsetattr(STDIN_FILENO, TCSADRAIN, &t))
		raw = 1;
}

bool terminal_is_raw(void)
{
	return raw;
}
