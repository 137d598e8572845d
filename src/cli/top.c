// SPDX-License-Identifier: MIT
/* nestor top: all VMs with what they use, live. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/vmname.h"
#include "control/rules.h"
#include "vm/config.h"
#include "vm/terminal.h"

struct top {
	bool help, complete, once;
	u64 every_ns;
};

#define FLAG_SETTER(name)                                                                          \
	static int set_##name(void *target, char *value, struct err *e)                            \
	{                                                                                          \
		(void)value;                                                                       \
		(void)e;                                                                           \
		((struct top *)target)->name = true;                                               \
		return 0;                                                                          \
	}
FLAG_SETTER(help)
FLAG_SETTER(complete)
FLAG_SETTER(once)

static int set_every(void *target, char *value, struct err *e)
{
	return vm_parse_seconds("--every", value, &((struct top *)target)->every_ns, e);
}

static const struct option_row rows[] = {
	{ "every", "SECONDS", "how often (2)", set_every },
	{ "once", NULL, "print one table; so it does without a terminal", set_once },
	{ "help", NULL, "this help", set_help },
	{ "complete", NULL, "list the options, for shells", set_complete },
};

static const struct option_table table = {
	.command = "nestor top",
	.synopsis = "[OPTION]...",
	.about = "Shows virtual machines with the part of this machine's processors and memory they use, how\n"
		 "often a second they need their host, and whether a hypervisor runs inside.",
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
	.epilogue = "q ends.\n",
};

/* ---- The table ---- */

static const char *hypervisor(const json_t *vm)
{
	if (config_bool(vm, "hypervisorActive"))
		return "active";
	return config_bool(vm, "processor.exposeVirtualizationExtensions") ? "exposed" : "-";
}

static void uptime(const json_t *vm, char *text, size_t size)
{
	u64 s = (u64)config_int(vm, "uptime") / 1000;

	snprintf(text, size, "%llu:%02llu:%02llu", (unsigned long long)s / 3600,
		 (unsigned long long)s / 60 % 60, (unsigned long long)s % 60);
}

/* Busiest first; those that do not run by name. */
static int compare(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	s64 d = config_int(y, "cpuUsage") - config_int(x, "cpuUsage");
	int runs = vmname_state_runs(config_string(y, "state")) - vmname_state_runs(config_string(x, "state"));

	return runs ? runs : d ? (d > 0) - (d < 0) :
	       strcmp(config_string(x, "name"), config_string(y, "name"));
}

static void print_vm(const json_t *vm, const char *end)
{
	char up[32];

	uptime(vm, up, sizeof(up));
	printf("%-24.24s %-10s %5lld %8lld %9lld %10s %10s %s%s", config_string(vm, "name"),
	       config_string(vm, "state"), (long long)config_int(vm, "cpuUsage"),
	       (long long)config_int(vm, "memoryAssigned") >> 20, (long long)config_int(vm, "exitsPerSecond"),
	       hypervisor(vm), up, config_string(vm, "engineInUse"), end);
}

static void print_all(json_t *all, const char *end)
{
	size_t nr = json_array_size(all);
	json_t **sorted = calloc(nr + 1, sizeof(*sorted));

	printf("%-24s %-10s %5s %8s %9s %10s %10s %s%s", "NAME", "STATE", "CPU%", "MEMORY M", "EXITS/S",
	       "HYPERVISOR", "UPTIME", "ENGINE", end);
	for (size_t i = 0; sorted && i < nr; i++)
		sorted[i] = json_array_get(all, i);
	if (sorted)
		qsort(sorted, nr, sizeof(*sorted), compare);
	for (size_t i = 0; sorted && i < nr; i++)
		print_vm(sorted[i], end);
	free(sorted);
}

/* ---- Live ---- */

static int fail(const struct ctl_err *e)
{
	terminal_restore();
	log_err("%s", e->text);
	return STATUS_NOT_STARTED;
}

static bool asked_to_end(const struct top *t)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char key = 0;

	if (poll(&p, 1, (int)MIN(t->every_ns / 1000000, 1u << 30)) <= 0)
		return false;
	return read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q' || key == 3;
}

static int show(struct client *c, bool live, struct ctl_err *e)
{
	json_t *all;

	if (client_list_vms(c, &all, e))
		return -1;
	if (live)
		printf("\033[H\033[J");
	print_all(all, live ? "\r\n" : "\n");
	fflush(stdout);
	json_decref(all);
	return 0;
}

static int run(const struct top *t)
{
	bool live = !t->once && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	struct client *c;
	struct ctl_err e;

	if (client_open(&c, &e))
		return fail(&e);
	if (live)
		terminal_raw();
	int r;
	do
		r = show(c, live, &e);
	while (!r && live && !asked_to_end(t));
	terminal_restore();
	client_close(c);
	return r ? fail(&e) : STATUS_OK;
}

int cmd_top(int argc, char **argv)
{
	struct top t = { .every_ns = 2 * NSEC_PER_SEC };
	struct err e;

	if (options_parse(&table, &t, argc, argv, &e)) {
		log_err("%s", e.text);
		return STATUS_NOT_STARTED;
	}
	if (t.help || t.complete) {
		(t.help ? options_help : options_complete)(&table, stdout);
		return STATUS_OK;
	}
	return run(&t);
}
