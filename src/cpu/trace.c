// SPDX-License-Identifier: MIT
/* The names of trace points. */
#include "cpu/trace.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	u32 point;
	const char *help;
} points[] = {
	{ "events", TRACE_EVENTS, "exceptions and interrupts as they are delivered" },
	{ "blocks", TRACE_BLOCKS, "every block of code that runs, with some registers; slow" },
	{ "vmx", TRACE_VMX, "VM exits" },
};

static const char rows_prefix[] = "rows=";

static int parse_rows(const char *file, size_t len, struct trace_list *res, struct err *e)
{
	if (!len || len >= sizeof(res->rows))
		return err_set(e, "--trace rows=FILE needs a file's name of at most %zu characters",
			       sizeof(res->rows) - 1);
	memcpy(res->rows, file, len);
	res->rows[len] = 0;
	return 0;
}

static int parse_name(const char *name, size_t len, struct trace_list *res, struct err *e)
{
	size_t n = sizeof(rows_prefix) - 1;

	if (len >= n && !strncmp(name, rows_prefix, n))
		return parse_rows(name + n, len - n, res, e);
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
		if (strlen(points[i].name) != len || strncmp(points[i].name, name, len))
			continue;
		res->points |= points[i].point;
		return 0;
	}
	return err_set(e, "there is no trace point '%.*s': --trace help lists them",
		       (int)MIN(len, 80u), name);
}

int trace_parse(const char *list, struct trace_list *res, struct err *e)
{
	*res = (struct trace_list){ 0 };
	while (list) {
		size_t len = strcspn(list, ",");

		if (parse_name(list, len, res, e))
			return -1;
		list = list[len] ? list + len + 1 : NULL;
	}
	return 0;
}

void trace_help(void)
{
	printf("Trace points:\n");
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
		printf("  %-10s %s\n", points[i].name, points[i].help);
	printf("  %-10s %s\n", "rows=FILE", "marks in FILE the rows of insn.def that were used");
}
