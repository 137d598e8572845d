/* SPDX-License-Identifier: MIT */
/*
 * The process's log on standard error, and the errors that set-up code hands
 * to its user.
 *
 * Any thread may log; a line is written by one write(2). What a guest can
 * trigger goes through log_guest(), which is rate-limited per process.
 */
#ifndef NESTOR_BASE_LOG_H
#define NESTOR_BASE_LOG_H

#include "base/types.h"

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_line(enum log_level level, const char *fmt, ...) PRINTF(2, 3);

#define log_err(...)   log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* What the guest did wrong: LOG_DEBUG, at most a few hundred lines a run. */
void log_guest(const char *fmt, ...) PRINTF(1, 2);

/* One sentence for the user: what was attempted, on what, why it failed. */
struct err {
	char text[512];
};

/* Formats into @e (which may be NULL) and returns -1, so that a failing
 * function can `return err_set(e, "cannot open %s: %s", ...)`. */
int err_set(struct err *e, const char *fmt, ...) PRINTF(2, 3);

#endif
