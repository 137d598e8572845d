// SPDX-License-Identifier: MIT
/* nestor manager, worker and api-reference: processes of their own, and a page. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/options.h"
#include "control/api.h"
#include "control/manager.h"
#include "control/worker.h"

struct options {
	bool help, complete, report, stay;
};

#define FLAG_SETTER(name)                                                                          \
	static int set_##name(void *target, char *value, struct err *e)                            \
	{                                                                                          \
		(void)value;                                                                       \
		(void)e;                                                                           \
		((struct options *)target)->name = true;                                           \
		return 0;                                                                          \
	}
FLAG_SETTER(help)
FLAG_SETTER(complete)
FLAG_SETTER(report)
FLAG_SETTER(stay)

static const struct option_row rows[] = {
	{ "stay", NULL, "do not end by itself when nothing runs: for services", set_stay },
	{ "report", NULL, "say on descriptor 3 why it could not start: for our own use", set_report },
	{ "help", NULL, "this help", set_help },
	{ "complete", NULL, "list the options, for shells", set_complete },
};

static const struct option_table table = {
	.command = "nestor manager",
	.synopsis = "[--stay]",
	.about = "Keeps virtual machines and starts their processes. It starts by itself when something is\n"
		 "asked of it; there is one for each state folder ($NESTOR_HOME, else /var/lib/nestor for\n"
		 "root, else ~/.local/state/nestor). Virtual machines go on without it.",
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
	.epilogue = "Exit status: 0 ended in order, 125 could not start.\n",
};

int cmd_manager(int argc, char **argv)
{
	struct options o = { 0 };
	struct err e;

	if (options_parse(&table, &o, argc, argv, &e)) {
		log_err("%s", e.text);
		return STATUS_NOT_STARTED;
	}
	if (o.help)
		options_help(&table, stdout);
	else if (o.complete)
		options_complete(&table, stdout);
	else
		return manager_main(o.report, o.stay) ? STATUS_NOT_STARTED : STATUS_OK;
	return STATUS_OK;
}

int cmd_worker(int argc, char **argv)
{
	(void)argv;
	if (argc) {
		log_err("nestor worker is started by the manager alone");
		return STATUS_NOT_STARTED;
	}
	return worker_main();
}

int cmd_api_reference(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	api_print_reference(stdout);
	return STATUS_OK;
}
