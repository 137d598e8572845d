// SPDX-License-Identifier: MIT
/* nestor api: one request to the manager, for scripts and the curious. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "control/client.h"

static const char usage[] =
	"usage: nestor api METHOD PATH [JSON]\n\n"
	"Sends one request to the manager, starting it when there is none, and prints the answer as\n"
	"JSON: `nestor api GET /v1/vms`. `nestor api-reference` lists the requests.\n\n"
	"Exit status: 0, or 1 with the error record on standard error.\n";

static int fail(const struct ctl_err *e)
{
	json_t *j = ctl_error_to_json(e);

	json_dumpf(j, stderr, JSON_INDENT(2));
	fputc('\n', stderr);
	json_decref(j);
	return 1;
}

static int request(const char *method, const char *path, json_t *body)
{
	struct client *c;
	struct ctl_err e;
	json_t *res = NULL;

	if (client_open(&c, &e)) {
		json_decref(body);
		return fail(&e);
	}
	int r = client_call(c, method, path, body, &res, &e);
	client_close(c);
	if (r)
		return fail(&e);
	json_dumpf(res, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
	json_decref(res);
	return STATUS_OK;
}

int cmd_api(int argc, char **argv)
{
	json_error_t je;

	if (argc < 2 || argc > 3 || !strncmp(argv[0], "--", 2)) {
		bool help = argc && !strcmp(argv[0], "--help");

		fputs(usage, help ? stdout : stderr);
		return help ? STATUS_OK : STATUS_NOT_STARTED;
	}
	json_t *body = argc == 3 ? json_loads(argv[2], 0, &je) : NULL;
	if (argc == 3 && !body) {
		log_err("the third argument is not JSON: %s", je.text);
		return STATUS_NOT_STARTED;
	}
	return request(argv[0], argv[1], body);
}
