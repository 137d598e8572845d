// SPDX-License-Identifier: MIT
/* The shell as its users see it: creation, running scripts, showing what they wrote. */
#include "shell/shell.h"

#include <stdlib.h>
#include <string.h>

#include "control/client.h"
#include "shell/cmdlet.h"
#include "shell/number.h"
#include "shell/text.h"

struct shell *shell_create(FILE *out, FILE *err)
{
	struct shell *sh = calloc(1, sizeof(*sh));

	if (!sh)
		abort();
	sh->out = out;
	sh->err = err;
	sh->vars = json_object();
	sh->errors = json_array();
	sh->top = json_array();
	sh->last_ok = true;
	return sh;
}

void shell_destroy(struct shell *sh)
{
	if (!sh)
		return;
	for (struct script *s = sh->scripts, *next; s; s = next) {
		next = s->next;
		script_destroy(s);
	}
	pool_release(sh, 0);
	client_close(sh->client);
	json_decref(sh->vars);
	json_decref(sh->errors);
	json_decref(sh->top);
	json_decref(sh->thrown);
	free(sh->last_view);
	free(sh->pool);
	free(sh);
}

void shell_set_json(struct shell *sh, bool json)
{
	sh->json = json;
}

void shell_set_interactive(struct shell *sh, bool interactive)
{
	sh->interactive = interactive;
}

int shell_status(const struct shell *sh)
{
	if (sh->flow == FLOW_EXIT)
		return sh->exit_code;
	/* an error that was silenced is none; a program that failed last is one */
	return sh->had_error ||
	       (!sh->last_ok && json_integer_value(json_object_get(sh->vars, "lastexitcode")));
}

int shell_exit_code(const struct shell *sh)
{
	return sh->flow == FLOW_EXIT ? sh->exit_code : 0;
}

void shell_flush(struct shell *sh)
{
	json_t *values = sh->top;
	size_t mark = sh->nr_pool;

	if (!json_array_size(values))
		return;
	sh->top = json_array();
	format_default(sh, values, sh->out);
	fflush(sh->out);
	pool_release(sh, mark);
	/* the running statement goes on writing to the same array */
	json_array_clear(values);
	json_decref(sh->top);
	sh->top = values;
}

/* What is left of a script that did not run to its end. */
static void settle(struct shell *sh)
{
	if (sh->flow == FLOW_THROW) {
		json_t *record = sh->thrown;

		sh->flow = FLOW_NONE;
		sh->thrown = NULL;
		sh->throw_all = false;
		error_write(sh, record);
		json_decref(record);
		sh->last_ok = false;
	} else if (sh->flow != FLOW_EXIT) {
		sh->flow = FLOW_NONE;
	}
	sh->in_try = 0;
	sh->depth = 0;
	sh->yes_to_all = sh->no_to_all = false;
	shell_flush(sh);
	pool_release(sh, 0);
}

bool shell_run(struct shell *sh, const char *text, size_t len, const char *file)
{
	struct parse_error e;
	struct script *s = script_parse(text, len, &e);

	if (!s) {
		error_write_parse(sh, text, len, file, &e);
		pool_release(sh, 0);
		sh->last_ok = false;
		return true;
	}
	s->file = file ? strdup(file) : NULL;
	s->next = sh->scripts;
	sh->scripts = s;
	exec_statements(sh, s->list, sh->top);
	settle(sh);
	return sh->flow != FLOW_EXIT;
}

bool shell_wants_more(const char *text, size_t len)
{
	struct parse_error e;
	struct script *s = script_parse(text, len, &e);

	script_destroy(s);
	return !s && e.incomplete;
}

/* ---- Program arguments -------------------------------------------------------------------- */

static bool is_param(const char *s)
{
	unsigned n, m;
	const char *end = s + strlen(s);
	u32 cp = utf8_decode(s, end, &n), next = utf8_decode(s + n, end, &m);

	return cp_is_dash(cp) && next && cp_is_word(next) && !(next >= '0' && next <= '9');
}

/* A value as a command's word: $true, $false, $null and numbers are what they look like. */
static json_t *argv_value(const char *s)
{
	json_t *n;

	if (text_equal(s, "$true"))
		return json_true();
	if (text_equal(s, "$false"))
		return json_false();
	if (text_equal(s, "$null"))
		return json_null();
	n = number_parse(s);
	if (n)
		return json_pack("{s:s, s:o, s:s}", TYPE_KEY, "NumberWord", "value", n, "text", s);
	return json_string(s);
}

/* Typographic quotes around a value, which the system's shell has left there. */
static json_t *argv_unquoted(const char *s)
{
	size_t len = strlen(s);
	unsigned n, last;
	u32 first = utf8_decode(s, s + len, &n), end;

	if (first < 0x80 || len < 6 || !(cp_is_dquote(first) || cp_is_squote(first)))
		return argv_value(s);
	end = utf8_decode(s + len - 3, s + len, &last);
	if (last != 3 || !(cp_is_dquote(first) ? cp_is_dquote(end) : cp_is_squote(end)))
		return argv_value(s);
	return json_stringn(s + n, len - n - last);
}

static struct node *argv_const(struct script *s, const char *text, u32 start)
{
	struct node *n = script_node(s, N_CONST);

	n->start = start;
	n->end = start + (u32)strlen(text);
	n->value = script_value(s, argv_unquoted(text));
	return n;
}

static struct node *argv_node(struct script *s, const char *text, u32 start)
{
	const char *colon = strchr(text, ':');
	unsigned dash;
	struct node *n;

	if (!is_param(text))
		return argv_const(s, text, start);
	utf8_decode(text, text + strlen(text), &dash);
	n = script_node(s, N_PARAM);
	n->start = start;
	n->end = start + (u32)strlen(text);
	n->name = script_string(s, text + dash,
				colon ? (size_t)(colon - text) - dash : strlen(text) - dash);
	if (colon)
		n->a = argv_const(s, colon + 1, start + (u32)(colon + 1 - text));
	return n;
}

/* All arguments with blanks between them: the line that messages show. */
static char *join_args(int argc, char **argv)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (int i = 0; i < argc; i++)
		fprintf(f, "%s%s", i ? " " : "", argv[i]);
	fclose(f);
	return text;
}

void shell_run_args(struct shell *sh, int argc, char **argv)
{
	const struct cmdlet *c = cmdlet_find(argv[0]);
	char *line = join_args(argc, argv);
	struct parse_error bad_text = { .id = "InvalidText",
					.message = "The arguments are not valid UTF-8." };
	struct script *s;
	struct node *cmd, **tail;
	size_t bad;
	u32 at = 0;

	if (!c || !utf8_valid(line, strlen(line), &bad)) {
		if (!c)
			shell_run(sh, line, strlen(line), NULL);
		else
			error_write_parse(sh, line, strlen(line), NULL, &bad_text);
		free(line);
		return;
	}
	s = script_create(line, strlen(line));
	free(line);
	s->next = sh->scripts;
	sh->scripts = s;
	cmd = script_node(s, N_COMMAND);
	cmd->end = (u32)s->len;
	cmd->a = argv_const(s, argv[0], 0);
	tail = &cmd->list;
	for (int i = 1; i < argc; i++) {
		at += (u32)strlen(argv[i - 1]) + 1;
		*tail = argv_node(s, argv[i], at);
		tail = &(*tail)->next;
	}
	sh->last_ok = cmdlet_run(sh, c, cmd, NULL, sh->top, true) && !sh->pipeline_failed;
	settle(sh);
}

bool shell_knows(const char *word)
{
	return cmdlet_find(word) || strpbrk(word, " \t\n|;$()");
}
