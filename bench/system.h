// SPDX-License-Identifier: MIT
/*
 * A system under measurement: bench/load on this host, or in a guest, or in a
 * guest's guest, with its console at our end of a pair of pipes.
 *
 *	system_start(s, argv, "l1.log");
 *	system_expect(s, "@ready", 60, NULL, 0, &when);
 *	system_measure(s, "mix", 1000, 60, &seconds);
 *	system_stop(s);
 *
 * All times are this host's monotonic clock, taken when the bytes arrive. What
 * a busy host takes away is taken off: the time that the process stood ready to
 * run and got no processor, as the kernel accounts it (of the thread that waited
 * most). One thread. Functions return 0, or -1 with a sentence in s->trouble; a system in
 * trouble that is not over may be used on, except after a time-out.
 */
#ifndef BENCH_SYSTEM_H
#define BENCH_SYSTEM_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct system {
	const char *title;
	pid_t pid; /* 0: not running */
	int to, from;
	FILE *log;
	char text[8192]; /* what came and was not yet looked at */
	size_t len;
	double arrived; /* when the last of it came */
	double started;
	char trouble[160]; /* why it cannot be used, or the last row could not be run */
};

double now(void);

int system_start(struct system *s, char *const *argv, const char *log);

/* Waits for a line with `mark` in it; what follows the mark goes to rest, the time to when. */
int system_expect(struct system *s, const char *mark, double timeout, char *rest, size_t size,
		  double *when);

/* `count` units of the row's work. */
int system_measure(struct system *s, const char *row, unsigned long long count, double timeout,
		   double *seconds);

/* How long it has waited for a processor since it started; not exact with several vCPUs. */
double system_waited(const struct system *s);

void system_send(struct system *s, const char *line);
void system_stop(struct system *s);

/* CPU time that the process and its threads have used, in seconds. */
double system_cpu_time(const struct system *s);

/* Resident memory, in MiB, that is not in the mapping of ram MiB. */
double system_rss_beside(const struct system *s, unsigned long ram);

#endif
