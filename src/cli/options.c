// SPDX-License-Identifier: MIT
/* The option table's driver. */
#include "cli/options.h"

#include <string.h>

/* ---- The nearest known word ---- */

enum { MAX_WORD = 48 };

/* Levenshtein distance, one row at a time. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[MAX_WORD + 1];
	unsigned la = (unsigned)strlen(a), lb = (unsigned)strlen(b);

	if (la > MAX_WORD || lb > MAX_WORD)
		return ~0u;
	for (unsigned j = 0; j <= lb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			best = MIN(best, row[j] + 1);
			row[j] = MIN(best, row[j - 1] + 1);
		}
	}
	return row[lb];
}

/* An abbreviation counts as one slip. */
static unsigned badness(const char *word, const char *known)
{
	size_t len = strlen(word);

	return len >= 3 && !strncmp(word, known, len) ? 1 : distance(word, known);
}

const char *nearest_word(const char *word, const char *(*get)(const void *from, unsigned i),
			 const void *from, unsigned nr)
{
	unsigned best = ~0u;
	const char *res = NULL;

	for (unsigned i = 0; i < nr; i++) {
		unsigned d = badness(word, get(from, i));

		if (d < best) {
			best = d;
			res = get(from, i);
		}
	}
	return best <= MAX(2u, (unsigned)strlen(word) / 2) ? res : NULL;
}

/* ---- Parsing ---- */

static const char *row_name(const void *from, unsigned i)
{
	return ((const struct option_table *)from)->rows[i].name;
}

static const struct option_row *find_row(const struct option_table *t, const char *name, size_t len)
{
	for (unsigned i = 0; i < t->nr_rows; i++)
		if (strlen(t->rows[i].name) == len && !strncmp(t->rows[i].name, name, len))
			return &t->rows[i];
	return NULL;
}

static int unknown_option(const struct option_table *t, const char *arg, size_t len, struct err *e)
{
	char name[MAX_WORD + 1];

	snprintf(name, sizeof(name), "%.*s", (int)MIN(len, (size_t)MAX_WORD), arg + 2);
	const char *near = nearest_word(name, row_name, t, t->nr_rows);
	if (near)
		return err_set(e, "unknown option --%s: did you mean --%s?", name, near);
	return err_set(e, "unknown option --%s: see %s --help", name, t->command);
}

int options_parse(const struct option_table *t, void *target, int argc, char **argv, struct err *e)
{
	static char help[] = "--help";

	for (int i = 0; i < argc; i++) {
		char *arg = strcmp(argv[i], "-h") ? argv[i] : help;

		if (strncmp(arg, "--", 2) || !arg[2])
			return err_set(e, "unexpected argument %s: see %s --help",
				       *arg ? arg : "\"\"", t->command);
		size_t len = strcspn(arg + 2, "=");
		char *value = arg[2 + len] ? arg + 2 + len + 1 : NULL;
		const struct option_row *row = find_row(t, arg + 2, len);
		if (!row)
			return unknown_option(t, arg, len, e);
		if (!row->arg && value)
			return err_set(e, "option --%s takes no value", row->name);
		if (row->arg && !value && i + 1 < argc)
			value = argv[++i];
		if (row->arg && !value)
			return err_set(e, "option --%s needs a value: %s", row->name, row->arg);
		if (row->arg && !*value && strcmp(row->arg, "STRING"))
			return err_set(e, "option --%s has an empty value; it needs %s", row->name,
				       row->arg);
		if (row->set(target, value, e))
			return -1;
	}
	return 0;
}

/* ---- Help and completion ---- */

enum { HELP_COLUMN = 26 };

void options_help(const struct option_table *t, FILE *to)
{
	fprintf(to, "usage: %s %s\n\n%s\n\n", t->command, t->synopsis, t->about);
	for (unsigned i = 0; i < t->nr_rows; i++) {
		const struct option_row *r = &t->rows[i];
		int n = fprintf(to, "  --%s%s%s", r->name, r->arg ? " " : "", r->arg ? r->arg : "");

		if (n >= HELP_COLUMN)
			n = fprintf(to, "\n") - 1;
		fprintf(to, "%*s%s\n", HELP_COLUMN - n, "", r->help);
	}
	if (t->epilogue)
		fprintf(to, "\n%s", t->epilogue);
}

void options_complete(const struct option_table *t, FILE *to)
{
	for (unsigned i = 0; i < t->nr_rows; i++)
		fprintf(to, "--%s%s\t%s\n", t->rows[i].name, t->rows[i].arg ? "=" : "",
			t->rows[i].help);
}
