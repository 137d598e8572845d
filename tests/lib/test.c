// SPDX-License-Identifier: MIT
/* The unit-test runner: each test in a child process, with a time limit.
 * Arguments select by substring of "group.name"; -l lists. */
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_SKIPPED = 77, SECONDS_PER_TEST = 120 };

static struct test *tests, **tests_end = &tests;
static int failures;

void test_register(struct test *t)
{
	*tests_end = t;
	tests_end = &t->next;
}

void test_skip(const char *reason)
{
	printf("  skipped: %s\n", reason);
	fflush(stdout);
	_exit(EXIT_SKIPPED);
}

void test_keep(void *p)
{
	static void *volatile kept[4096]; /* only read by the leak checker */
	static unsigned nr;

	if (nr < ARRAY_SIZE(kept))
		kept[nr++] = p;
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (++failures > 20)
		return;
	printf("  %s:%d: ", file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static int run_one(const struct test *t)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		alarm(SECONDS_PER_TEST);
		t->fn();
		fflush(stdout);
		exit(failures ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) < 0)
		return 1;
	if (WIFSIGNALED(status))
		printf("  killed by signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static bool selected(const struct test *t, int argc, char **argv)
{
	char full[256];

	snprintf(full, sizeof(full), "%s.%s", t->group, t->name);
	for (int i = 1; i < argc; i++) {
		if (strstr(full, argv[i]))
			return true;
	}
	return argc < 2;
}

int main(int argc, char **argv)
{
	int passed = 0, failed = 0, skipped = 0;

	if (argc == 2 && !strcmp(argv[1], "-l")) {
		for (struct test *t = tests; t; t = t->next)
			printf("%s.%s\n", t->group, t->name);
		return 0;
	}
	for (struct test *t = tests; t; t = t->next) {
		int r;

		if (!selected(t, argc, argv))
			continue;
		r = run_one(t);
		passed += r == 0;
		skipped += r == EXIT_SKIPPED;
		if (r && r != EXIT_SKIPPED) {
			failed++;
			printf("FAIL %s.%s\n", t->group, t->name);
		}
	}
	printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed ? 1 : 0;
}
