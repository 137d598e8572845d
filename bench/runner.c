// SPDX-License-Identifier: MIT
/*
 * Measures and prints the table of `make bench`. All systems are up at the same
 * time and idle, except the one that is measured; each row runs in turns, host,
 * L1, L2, QEMU's L1, QEMU's L2, and again, so that what else this machine does
 * meets all alike. A cell is the median of the runs against the host's median,
 * with the median deviation. bench/run calls this with what it built.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "system.h"

enum { MAX_RUNS = 15, RAM = 1024 /* MiB, of each guest */ };
enum which { NATIVE, L1, L2, QEMU1, QEMU2, NR_SYSTEMS };
enum group { INTEGER, FLOAT, MEMORY, KERNEL, MACHINE };

struct row {
	const char *name, *title;
	enum group group;
	int per_unit; /* operations in a unit of work, for the host's column */
};

static const struct row rows[] = {
	{ "mix", "integer mix", INTEGER, 1 },
	{ "sha256", "SHA-256, 16 KiB", INTEGER, 1 },
	{ "quicksort", "quicksort, 4096 words", INTEGER, 1 },
	{ "hash", "hash table", INTEGER, 1 },
	{ "chase", "pointer chase, 4 MiB", INTEGER, 4096 },
	{ "indirect", "indirect calls", INTEGER, 5000 },
	{ "calls", "recursive calls", INTEGER, 1 },
	{ "interpreter", "byte code interpreter", INTEGER, 10000 },
	{ "dgemm", "dgemm 64, SSE2", FLOAT, 1 },
	{ "dgemm-avx2", "dgemm 64, AVX2", FLOAT, 1 },
	{ "nbody", "n-body", FLOAT, 1 },
	{ "copy", "memory copy, 4 MiB", MEMORY, 1 },
	{ "triad", "triad, 6 MiB", MEMORY, 1 },
	{ "unaligned", "unaligned loads, 256 KiB", MEMORY, 1 },
	{ "small", "small copies", MEMORY, 1000 },
	{ "far", "random words of 64 MiB", MEMORY, 10000 },
	{ "gather", "AVX2 gather, masked", MEMORY, 1000 },
	{ "getppid", "getppid", KERNEL, 100 },
	{ "fork", "fork, wait", KERNEL, 1 },
	{ "exec", "fork, exec, wait", KERNEL, 1 },
	{ "pipe", "pipe round trip", KERNEL, 20 },
	{ "fault", "page fault", KERNEL, 256 },
	{ "mmap", "mmap, touch, munmap", KERNEL, 10 },
	{ "signal", "signal to itself", KERNEL, 20 },
	{ "file", "file in the page cache", KERNEL, 1 },
	{ "cpuid", "CPUID", MACHINE, 20 },
	{ "port", "port I/O", MACHINE, 20 },
};

enum { NR_ROWS = sizeof(rows) / sizeof(rows[0]) };

/* Medians of several runs; nr 0: none. */
struct cell {
	double value[MAX_RUNS];
	int nr;
	char why[48];
};

struct bench {
	const char *nestor, *load, *kernel, *initrd, *logs, *only;
	int runs, boots;
	double slice; /* seconds that one measurement takes */
	bool with_qemu, with_smp, with_shares;
	struct system system[NR_SYSTEMS];
	struct cell cell[NR_ROWS][NR_SYSTEMS];
	struct cell boot[2][NR_SYSTEMS]; /* of L1; of L2 in L1 */
	struct cell speedup[NR_SYSTEMS];
	double idle[NR_SYSTEMS];   /* CPUs used when idle */
	double beside[NR_SYSTEMS]; /* MiB resident beside the guest's memory */
};

static const char *const titles[] = { "host", "L1", "L2", "QEMU L1", "QEMU L2" };

/* ---- Numbers ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_of(const double *value, int nr)
{
	double v[MAX_RUNS];

	if (!nr)
		return 0;
	memcpy(v, value, (size_t)nr * sizeof(*v));
	qsort(v, (size_t)nr, sizeof(*v), by_value);
	return nr % 2 ? v[nr / 2] : (v[nr / 2 - 1] + v[nr / 2]) / 2;
}

static double median(const struct cell *c)
{
	return median_of(c->value, c->nr);
}

/* The median deviation from the median, in percent of it. */
static double spread(const struct cell *c)
{
	double m = median(c), off[MAX_RUNS];

	for (int i = 0; i < c->nr; i++)
		off[i] = fabs(c->value[i] - m);
	return m > 0 ? 100 * median_of(off, c->nr) / m : 0;
}

static void add(struct cell *c, double value)
{
	if (c->nr < MAX_RUNS)
		c->value[c->nr++] = value;
}

static double ratio(const struct bench *b, int row, int which)
{
	double host = median(&b->cell[row][NATIVE]), x = median(&b->cell[row][which]);

	return host > 0 && x > 0 ? x / host : 0;
}

/* ---- Starting the systems ---- */

static const char *append_of(enum which w, int cpus)
{
	static char text[256];

	snprintf(text, sizeof(text),
		 "console=ttyS0 quiet loglevel=1 panic=-1 nestor.cpus=%d nestor.run=script "
		 "nestor.script=LiAvYmVuY2gvZ3Vlc3QK %s", /* ". /bench/guest" */
		 cpus, w == L2 || w == QEMU2 ? "bench.nest" : "");
	return text;
}

static int start(struct bench *b, enum which w, int cpus, const char *extra)
{
	char count[8], log[256];
	const char *nestor[] = { b->nestor,
				 "run",
				 "--engine",
				 "soft",
				 "--quiet",
				 "--no-reboot",
				 "--expose-virtualization-extensions",
				 "--memory",
				 "1024M",
				 "--cpus",
				 count,
				 "--kernel",
				 b->kernel,
				 "--initrd",
				 b->initrd,
				 "--append",
				 append_of(w, cpus),
				 extra,
				 NULL };
	const char *qemu[] = { "qemu-system-x86_64",
			       "-machine",
			       "q35",
			       "-accel",
			       "tcg",
			       "-cpu",
			       "max",
			       "-m",
			       "1G",
			       "-smp",
			       count,
			       "-display",
			       "none",
			       "-serial",
			       "stdio",
			       "-monitor",
			       "none",
			       "-nic",
			       "none",
			       "-no-reboot",
			       "-kernel",
			       b->kernel,
			       "-initrd",
			       b->initrd,
			       "-append",
			       append_of(w, cpus),
			       NULL };
	const char *host[] = { b->load, NULL };
	const char **argv = w == NATIVE ? host : w == QEMU1 || w == QEMU2 ? qemu : nestor;

	snprintf(count, sizeof(count), "%d", cpus);
	snprintf(log, sizeof(log), "%s/%s, %d.log", b->logs, titles[w], cpus);
	return system_start(&b->system[w], (char *const *)argv, log);
}

/* Waits until the load in it waits for work, taking the time of each level's boot. */
static void wait_ready(struct bench *b, enum which w)
{
	struct system *s = &b->system[w];
	double up, from, inner, waited[3];

	if (w != NATIVE) {
		if (system_expect(s, "@nestor 1 up", 60, NULL, 0, &up))
			goto out;
		waited[0] = system_waited(s);
		add(&b->boot[0][w == L2	     ? L1
				: w == QEMU2 ? QEMU1
					     : w],
		    up - s->started - waited[0]);
	}
	if (w == L2 || w == QEMU2) {
		if (system_expect(s, "@nestor 1 start 2", 60, NULL, 0, &from))
			goto out;
		waited[1] = system_waited(s);
		if (system_expect(s, "@nestor 2 up", 200, NULL, 0, &inner))
			goto out;
		waited[2] = system_waited(s);
		add(&b->boot[1][w], inner - from - (waited[2] - waited[1]));
	}
	if (!system_expect(s, "@ready", 60, NULL, 0, NULL))
		return;
out:
	fprintf(stderr, "bench: %s: %s\n", titles[w], s->trouble);
	system_stop(s);
}

static bool wanted(const struct bench *b, enum which w)
{
	return b->with_qemu || w < QEMU1;
}

static void start_all(struct bench *b, int cpus)
{
	for (enum which w = 0; w < NR_SYSTEMS; w++) {
		if (!wanted(b, w))
			continue;
		fprintf(stderr, "bench: %s with %d vCPU%s\n", titles[w], cpus, cpus > 1 ? "s" : "");
		if (start(b, w, cpus, NULL))
			fprintf(stderr, "bench: %s: %s\n", titles[w], b->system[w].trouble);
		else
			wait_ready(b, w);
	}
}

static void stop_all(struct bench *b)
{
	for (enum which w = 0; w < NR_SYSTEMS; w++)
		system_stop(&b->system[w]);
}

/* Boots that are only timed; the ones that stay up are timed as well. */
static void time_boots(struct bench *b)
{
	for (int i = 1; i < b->boots; i++)
		for (enum which w = L2; w < NR_SYSTEMS; w += QEMU2 - L2) {
			if (!wanted(b, w))
				continue;
			fprintf(stderr, "bench: boot %d of %s\n", i, titles[w]);
			if (!start(b, w, 1, NULL))
				wait_ready(b, w);
			system_stop(&b->system[w]);
		}
}

/* ---- Measuring ---- */

/* How many units take about the slice; 0 if the row cannot be run there. */
static unsigned long long calibrate(struct bench *b, enum which w, const char *row)
{
	struct system *s = &b->system[w];
	unsigned long long count = 1;
	double t = 0;

	for (;;) {
		if (system_measure(s, row, count, 60, &t))
			return 0;
		if (t > b->slice / 4 || count > 1ULL << 40)
			break;
		count *= t < b->slice / 64 ? 8 : 2;
	}
	t = b->slice * (double)count / t;
	return t < 1 ? 1 : (unsigned long long)t;
}

static void measure_row(struct bench *b, int row)
{
	unsigned long long count[NR_SYSTEMS] = { 0 };
	double t;

	for (enum which w = 0; w < NR_SYSTEMS; w++) {
		if (!b->system[w].pid)
			continue;
		count[w] = calibrate(b, w, rows[row].name);
		if (!count[w])
			snprintf(b->cell[row][w].why, sizeof(b->cell[row][w].why), "%s",
				 b->system[w].trouble);
	}
	for (int i = 0; i < b->runs; i++)
		for (enum which w = 0; w < NR_SYSTEMS; w++)
			if (count[w] &&
			    !system_measure(&b->system[w], rows[row].name, count[w], 60, &t))
				add(&b->cell[row][w], t / (double)count[w]);
}

static bool chosen(const struct bench *b, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = b->only; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, name, len) == 0 && (!at[len] || at[len] == ','))
			return true;
	}
	return !b->only;
}

static void measure_rows(struct bench *b)
{
	for (int i = 0; i < NR_ROWS; i++) {
		if (!chosen(b, rows[i].name))
			continue;
		fprintf(stderr, "bench: %s\n", rows[i].title);
		measure_row(b, i);
	}
}

static void measure_idle(struct bench *b)
{
	double seconds = 4, before[NR_SYSTEMS];

	for (enum which w = 0; w < NR_SYSTEMS; w++)
		before[w] = system_cpu_time(&b->system[w]);
	usleep((useconds_t)(seconds * 1e6));
	for (enum which w = 0; w < NR_SYSTEMS; w++)
		b->idle[w] = (system_cpu_time(&b->system[w]) - before[w]) / seconds;
}

static void measure_memory(struct bench *b)
{
	for (enum which w = 0; w < NR_SYSTEMS; w++)
		b->beside[w] = b->system[w].pid ? system_rss_beside(&b->system[w], RAM) : 0;
}

/* What two vCPUs do in the time of one: twice the work over the time it takes. */
static void measure_smp(struct bench *b)
{
	double alone, pair;

	start_all(b, 2);
	for (int i = 0; i < b->runs; i++)
		for (enum which w = 0; w < NR_SYSTEMS; w++) {
			if (!b->system[w].pid ||
			    system_measure(&b->system[w], "alone", 1, 60, &alone) ||
			    system_measure(&b->system[w], "pair", 1, 60, &pair))
				continue;
			add(&b->speedup[w], 2 * alone / pair);
		}
	stop_all(b);
}

/* ---- Shares: what kind of instructions a row consists of, by --stats ---- */

struct shares {
	double all, own, helper;
};

static int shares_of_run(struct bench *b, const char *row, unsigned long long count,
			 struct shares *res)
{
	struct system *s = &b->system[L1];
	double own, helper, native, t;
	char rest[128];
	int r = -1;

	if (start(b, L1, 1, "--stats") || system_expect(s, "@ready", 60, NULL, 0, NULL))
		goto out;
	if (count && system_measure(s, row, count, 60, &t))
		goto out;
	system_send(s, "quit\n");
	if (system_expect(s, "instructions", 30, rest, sizeof(rest), NULL) ||
	    sscanf(rest, " %lf: %lf %% native, %lf %% own translator, %lf", &res->all, &native,
		   &own, &helper) != 4)
		goto out;
	res->own = res->all * own / 100;
	res->helper = res->all * helper / 100;
	r = 0;
out:
	system_stop(s);
	return r;
}

static void print_shares(struct bench *b)
{
	struct shares base, with;

	printf("\nShares of guest instructions in L1, without those of its boot:\n");
	if (shares_of_run(b, NULL, 0, &base)) {
		printf("  %s\n", b->system[L1].trouble);
		return;
	}
	for (int i = 0; i < NR_ROWS; i++) {
		double unit = median(&b->cell[i][L1]), all;

		if (rows[i].group > MEMORY || unit <= 0)
			continue;
		if (shares_of_run(b, rows[i].name, (unsigned long long)(2 / unit) + 1, &with)) {
			printf("  %-24s %s\n", rows[i].title, b->system[L1].trouble);
			continue;
		}
		all = with.all - base.all;
		if (all < base.all / 20) { /* such as REP MOVS: less than --stats rounds */
			printf("  %-24s %6.1f million instructions only\n", rows[i].title,
			       all / 1e6);
			continue;
		}
		printf("  %-24s %6.2f %% own translator, %5.2f %% helper\n", rows[i].title,
		       100 * (with.own - base.own) / all, 100 * (with.helper - base.helper) / all);
	}
}

/* ---- The table ---- */

static void print_time(double seconds)
{
	if (seconds <= 0)
		printf("%14s", "-");
	else if (seconds < 1e-6)
		printf("%11.1f ns", seconds * 1e9);
	else if (seconds < 1e-3)
		printf("%11.2f us", seconds * 1e6);
	else if (seconds < 1)
		printf("%11.2f ms", seconds * 1e3);
	else
		printf("%11.2f s ", seconds);
}

static void print_value(double value, const struct cell *c)
{
	if (value > 0)
		printf("%9.2f +-%2.0f%%", value, spread(c));
	else
		printf("%14s", "-");
}

static void print_header(const char *first)
{
	printf("\n%-24s%14s", first, titles[NATIVE]);
	for (int w = L1; w < NR_SYSTEMS; w++)
		printf("%14s", titles[w]);
	printf("\n");
}

static void print_rows(const struct bench *b)
{
	print_header("Slowdown against host");
	for (int i = 0; i < NR_ROWS; i++) {
		if (!chosen(b, rows[i].name))
			continue;
		printf("%-24s", rows[i].title);
		print_time(median(&b->cell[i][NATIVE]) / rows[i].per_unit);
		for (int w = L1; w < NR_SYSTEMS; w++)
			print_value(ratio(b, i, w), &b->cell[i][w]);
		printf("\n");
		for (int w = 0; w < NR_SYSTEMS; w++)
			if (b->cell[i][w].why[0])
				printf("%24s%s: %s\n", "", titles[w], b->cell[i][w].why);
	}
}

/* Times as such, where a ratio to this host says little or does not exist. */
static void print_times(const struct bench *b)
{
	print_header("Times");
	for (int i = 0; i < NR_ROWS; i++) {
		if (rows[i].group != MACHINE || !chosen(b, rows[i].name))
			continue;
		printf("%-24s", rows[i].title);
		for (int w = 0; w < NR_SYSTEMS; w++)
			print_time(median(&b->cell[i][w]) / rows[i].per_unit);
		printf("\n");
	}
	for (int level = 0; level < 2; level++) {
		printf("%-24s", level ? "boot of L2 in L1" : "boot of L1");
		for (int w = 0; w < NR_SYSTEMS; w++)
			print_time(median(&b->boot[level][w]));
		printf("\n");
	}
}

static void print_line(const char *title, const double *v, int decimals)
{
	printf("%-24s", title);
	for (int w = 0; w < NR_SYSTEMS; w++)
		if (v[w] > 0)
			printf("%14.*f", decimals, v[w]);
		else
			printf("%14s", "-");
	printf("\n");
}

static void print_host_view(const struct bench *b)
{
	double speedup[NR_SYSTEMS], idle[NR_SYSTEMS];

	for (int w = 0; w < NR_SYSTEMS; w++) {
		speedup[w] = median(&b->speedup[w]);
		idle[w] = 100 * b->idle[w];
	}
	print_header("Seen from the host");
	print_line("two vCPUs against one", speedup, 2);
	print_line("idle, % of a core", idle, 2);
	print_line("MiB beside guest memory", b->beside, 0);
}

/* Geometric mean over a group's rows of system w against system `to`. */
static double mean(const struct bench *b, int from, int until, enum which w, enum which to)
{
	double sum = 0;
	int nr = 0;

	for (int i = 0; i < NR_ROWS; i++) {
		double x = median(&b->cell[i][w]), y = median(&b->cell[i][to]);

		if ((int)rows[i].group < from || (int)rows[i].group > until || x <= 0 || y <= 0)
			continue;
		sum += log(x / y);
		nr++;
	}
	return nr ? exp(sum / nr) : 0;
}

static void print_goal(const char *what, double value, double limit, bool below)
{
	if (value <= 0)
		return;
	printf("  %-52s %8.2f  goal %s %-5g %s\n", what, value, below ? "<=" : ">=", limit,
	       (below ? value <= limit : value >= limit) ? "reached" : "MISSED");
}

static void print_slower(const struct bench *b)
{
	for (int i = 0; i < NR_ROWS; i++)
		for (int level = 0; level < 2; level++) {
			double ours = median(&b->cell[i][L1 + level]);
			double qemu = median(&b->cell[i][QEMU1 + level]);

			if (ours > qemu && qemu > 0)
				printf("  slower than QEMU in L%d: %s, %.2f times\n", level + 1,
				       rows[i].title, ours / qemu);
		}
}

static void print_goals(const struct bench *b)
{
	double l2_boot = median(&b->boot[1][L2]), qemu_boot = median(&b->boot[1][QEMU2]);

	printf("\nGoals\n");
	print_goal("integer rows in L1, geometric mean", mean(b, INTEGER, INTEGER, L1, NATIVE), 3,
		   true);
	for (int i = 0; i < NR_ROWS; i++)
		if (rows[i].group == FLOAT)
			print_goal(rows[i].title, ratio(b, i, L1), 2.5, true);
	print_goal("L2 against L1 on CPU rows, geometric mean", mean(b, INTEGER, MEMORY, L2, L1),
		   1.2, true);
	for (int i = 0; i < NR_ROWS; i++)
		if (strcmp(rows[i].name, "cpuid") == 0)
			print_goal("CPUID in L2, us",
				   median(&b->cell[i][L2]) / rows[i].per_unit * 1e6, 10, true);
	if (qemu_boot > 0)
		print_goal("boot of L2 against QEMU's", l2_boot / qemu_boot, 0.5, true);
	print_goal("two vCPUs against one in L1", median(&b->speedup[L1]), 1.7, false);
	print_goal("idle L1, % of a core", 100 * b->idle[L1], 2, true);
	print_goal("MiB beside L1's memory", b->beside[L1], 200, true);
	print_slower(b);
}

/* ---- Command line ---- */

static void usage(FILE *f)
{
	fputs("usage: bench/run [--quick] [--rows NAME,...] [--runs N] [--no-qemu] [--no-smp] "
	      "[--shares]\n"
	      "  --quick    shorter and fewer runs, about 3 minutes\n"
	      "  --rows     only these rows:",
	      f);
	for (int i = 0; i < NR_ROWS; i++)
		fprintf(f, " %s", rows[i].name);
	fputs("\n  --runs     of each measurement (5)\n"
	      "  --no-qemu  without QEMU, also where it is installed\n"
	      "  --no-smp   without the row of two vCPUs\n"
	      "  --shares   also: which part of the instructions are helpers, by row\n",
	      f);
}

static const struct option options[] = { { "nestor", required_argument, NULL, 'n' },
					 { "load", required_argument, NULL, 'l' },
					 { "kernel", required_argument, NULL, 'k' },
					 { "initrd", required_argument, NULL, 'i' },
					 { "logs", required_argument, NULL, 'o' },
					 { "rows", required_argument, NULL, 'r' },
					 { "runs", required_argument, NULL, 'N' },
					 { "quick", no_argument, NULL, 'q' },
					 { "no-qemu", no_argument, NULL, 'Q' },
					 { "no-smp", no_argument, NULL, 'S' },
					 { "shares", no_argument, NULL, 's' },
					 { "help", no_argument, NULL, 'h' },
					 { NULL, 0, NULL, 0 } };

static void be_quick(struct bench *b)
{
	b->runs = 3;
	b->boots = 1;
	b->slice = 0.12;
}

_Noreturn static void refuse(const char *what, const char *value)
{
	fprintf(stderr, "bench: %s%s; --help says more\n", what, value);
	exit(125);
}

/* Every name of --rows is a row's; the list is not an option that lost its value. */
static void check_rows(const char *list)
{
	char *copy = strdup(list), *rest = copy, *name;

	if (!copy || !*list || !strncmp(list, "--", 2))
		refuse("--rows needs the names of rows", "");
	while ((name = strsep(&rest, ","))) {
		int i = 0;

		while (i < NR_ROWS && strcmp(rows[i].name, name))
			i++;
		if (i == NR_ROWS)
			refuse("there is no row ", name);
	}
	free(copy);
}

static int number_of_runs(const char *value)
{
	char *end;
	long n = strtol(value, &end, 10);

	if (end == value || *end || n < 1 || n > MAX_RUNS)
		refuse("--runs needs a small number, not ", value);
	return (int)n;
}

static void take_option(struct bench *b, int o)
{
	switch (o) {
	case 'n':
		b->nestor = optarg;
		break;
	case 'l':
		b->load = optarg;
		break;
	case 'k':
		b->kernel = optarg;
		break;
	case 'i':
		b->initrd = optarg;
		break;
	case 'o':
		b->logs = optarg;
		break;
	case 'r':
		check_rows(optarg);
		b->only = optarg;
		break;
	case 'N':
		b->runs = number_of_runs(optarg);
		break;
	case 'q':
		be_quick(b);
		break;
	case 'Q':
		b->with_qemu = false;
		break;
	case 'S':
		b->with_smp = false;
		break;
	case 's':
		b->with_shares = true;
		break;
	case 'h':
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(125);
	}
}

static void print_heading(void)
{
	double load[3] = { 0 };
	char host[64] = "?";

	gethostname(host, sizeof(host) - 1);
	getloadavg(load, 3);
	printf("%s: %ld processors, load at the start %.1f\n", host, sysconf(_SC_NPROCESSORS_ONLN),
	       load[0]);
}

int main(int argc, char **argv)
{
	static struct bench b = { .runs = 5, .boots = 3, .slice = 0.25, .with_smp = true };
	int o;

	b.with_qemu = system("command -v qemu-system-x86_64 >/dev/null") == 0;
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&b, o);
	if (optind < argc)
		refuse("unexpected argument ", argv[optind]);
	if (!b.nestor || !b.load || !b.kernel || !b.initrd || !b.logs) {
		usage(stderr);
		return 125;
	}
	signal(SIGPIPE, SIG_IGN);
	alarm(1500);
	print_heading();
	time_boots(&b);
	start_all(&b, 1);
	measure_idle(&b);
	measure_rows(&b);
	measure_memory(&b);
	stop_all(&b);
	if (b.with_smp)
		measure_smp(&b);
	print_rows(&b);
	print_times(&b);
	print_host_view(&b);
	print_goals(&b);
	if (b.with_shares)
		print_shares(&b);
	return 0;
}
