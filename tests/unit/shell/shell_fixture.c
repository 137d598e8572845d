// SPDX-License-Identifier: MIT
#include "shell_fixture.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/test.h"
#include "shell/shell.h"

struct ran run_script(const char *text)
{
	struct ran r = { 0 };
	size_t out_len, err_len;
	FILE *out = open_memstream(&r.out, &out_len), *err = open_memstream(&r.err, &err_len);
	struct shell *sh;

	setlocale(LC_CTYPE, "C.UTF-8");
	sh = shell_create(out, err);
	shell_run(sh, text, strlen(text), NULL);
	r.status = shell_status(sh);
	shell_destroy(sh);
	fclose(out);
	fclose(err);
	return r;
}

struct ran run_words(bool json, int argc, const char **argv)
{
	struct ran r = { 0 };
	size_t out_len, err_len;
	FILE *out = open_memstream(&r.out, &out_len), *err = open_memstream(&r.err, &err_len);
	struct shell *sh = shell_create(out, err);

	shell_set_json(sh, json);
	shell_run_args(sh, argc, (char **)argv);
	r.status = shell_status(sh);
	shell_destroy(sh);
	fclose(out);
	fclose(err);
	return r;
}

void ran_free(struct ran *r)
{
	free(r->out);
	free(r->err);
}

void check_script(const char *file, int line, const struct script_row *row)
{
	struct ran r = run_script(row->script);

	if (row->out && strcmp(r.out, row->out))
		test_fail(file, line, "%s\nwrote \"%s\",\nwant  \"%s\"\nerrors: %s", row->script,
			  r.out, row->out, r.err);
	if (row->err ? !strstr(r.err, row->err) : r.err[0])
		test_fail(file, line, "%s\nhas errors \"%s\",\nwant \"%s\"", row->script, r.err,
			  row->err ? row->err : "");
	if (!r.status != !row->err)
		test_fail(file, line, "%s\nhas status %d", row->script, r.status);
	ran_free(&r);
}
