// SPDX-License-Identifier: MIT
/* The log on standard error: one write(2) a line, filtered by level. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GUEST_LINES_MAX = 200 };

static _Atomic int log_level = LOG_WARN;
static _Atomic int guest_lines;

void log_set_level(enum log_level level)
{
	log_level = (int)level;
}

enum log_level log_get_level(void)
{
	return (enum log_level)log_level;
}

__attribute__((format(printf, 2, 0)))
static void log_write(const char *prefix, const char *fmt, va_list ap)
{
	char line[1024];
	int n = snprintf(line, sizeof(line), "nestor: %s", prefix);
	int len = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);

	n = len < 0 ? n : MIN(n + len, (int)sizeof(line) - 2);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const prefix[] = { "", "warning: ", "", "debug: " };
	va_list ap;

	if ((int)level > log_level)
		return;
	va_start(ap, fmt);
	log_write(prefix[level], fmt, ap);
	va_end(ap);
}

void log_guest(const char *fmt, ...)
{
	va_list ap;

	if (log_level < LOG_DEBUG || atomic_fetch_add(&guest_lines, 1) >= GUEST_LINES_MAX)
		return;
	va_start(ap, fmt);
	log_write("guest: ", fmt, ap);
	va_end(ap);
}

int err_set(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}
