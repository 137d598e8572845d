// SPDX-License-Identifier: MIT
/*
 * Which rows of insn.def no test has met: reads what --trace rows=FILE wrote
 * (make coverage-tables), and tests/insn/uncovered.list for the reasons.
 *
 *	rows FILE LIST		status 1: some row has no reason
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/model.h"
#include "engine/insn_table.h"

enum { MAX_REASONS = 64 };

static struct {
	char pattern[40], text[120];
} reasons[MAX_REASONS];
static unsigned nr_reasons;

static void read_reasons(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[200];

	while (f && nr_reasons < MAX_REASONS && fgets(line, sizeof(line), f))
		if (line[0] != '#' && sscanf(line, "%39s %119[^\n]", reasons[nr_reasons].pattern,
					     reasons[nr_reasons].text) == 2)
			nr_reasons++;
	if (f)
		fclose(f);
}

static const char *reason(unsigned row, const struct cpu_model *model)
{
	const struct insn_row *r = &insn_rows[row];
	char key[64];

	if (r->how == HOW_UD)
		return "#UD always";
	if ((r->gate < NR_FEATURES && !model->has[r->gate]) ||
	    (r->map >= TM_E0F && !model->has[FEAT_AVX512F]))
		return "the host's processor lacks it";
	snprintf(key, sizeof(key), "%s:%s", insn_row_map(row), r->name);
	for (unsigned n = 0; n < nr_reasons; n++)
		if (!fnmatch(reasons[n].pattern, key, 0))
			return reasons[n].text;
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned nr = insn_nr_rows(), met = 0, excused = 0, bare = 0;
	u8 *rows = calloc(nr, 1);
	struct cpu_model model;
	struct err e;
	FILE *f = argc == 3 ? fopen(argv[1], "r") : NULL;

	if (!f || !rows || fread(rows, 1, nr, f) != nr ||
	    cpu_model_create(NULL, true, 1, &model, &e)) {
		fprintf(stderr, "usage: rows FILE LIST; FILE is what --trace rows=FILE wrote\n");
		return 2;
	}
	read_reasons(argv[2]);
	for (unsigned row = 0; row < nr; row++) {
		const char *why = reason(row, &model);

		met += rows[row];
		excused += !rows[row] && why;
		bare += !rows[row] && !why;
		if (!rows[row] && (!why || strstr(why, "lacks") == NULL))
			printf("%-4s %02x %-16s %s\n", insn_row_map(row), insn_row_opcode(row),
			       insn_row_name(row), why ? why : "NO TEST");
	}
	printf("%u rows: %u met, %u not and excused, %u not\n", nr, met, excused, bare);
	return bare != 0;
}
