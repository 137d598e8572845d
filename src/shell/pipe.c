// SPDX-License-Identifier: MIT
/* Pipelines: what a command's name means, its input and output, redirections. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shell/cmdlet.h"
#include "shell/text.h"

/* Where a command's streams go. */
struct redirects {
	bool error_to_output, drop_output, drop_error;
	const struct node *output_file;
	bool append;
};

static bool not_found(struct shell *sh, const struct node *n, const char *name)
{
	json_t *target = keep(sh, json_string(name));

	shell_throw(sh, n->a ? n->a : n,
		    &(struct fault){ ERR_OBJECT_NOT_FOUND, "CommandNotFoundException",
				     "CommandNotFoundException", target, .who = name },
		    "The term '%s' is not recognized as the name of a cmdlet, function, script "
		    "file, or operable "
		    "program. Check the spelling of the name, or if a path was included, verify "
		    "that the path is "
		    "correct and try again.",
		    name);
	return false;
}

/* ---- Programs of the host ----------------------------------------------------------------- */

static void add_native(json_t *args, json_t *v)
{
	json_t *e;
	size_t i;
	char *text;

	if (value_is(v, "NumberWord"))
		v = json_object_get(v, "text");
	if (json_is_array(v)) {
		json_array_foreach(v, i, e) add_native(args, e);
		return;
	}
	text = value_text(v);
	json_array_append_new(args, json_string(text));
	free(text);
}

/* A parameter goes to a program as it was typed; a dash of any kind is a '-'. */
static bool add_native_param(struct shell *sh, json_t *args, const struct node *n)
{
	json_t *v = n->a ? eval(sh, n->a) : NULL, *text;
	char *value;

	if (n->a && !v)
		return false;
	if (v && value_is(v, "NumberWord"))
		v = json_object_get(v, "text");
	value = v ? value_text(v) : NULL;
	text = value ? json_sprintf("-%s:%s", n->name, value) : json_sprintf("-%s", n->name);
	json_array_append_new(args, text);
	free(value);
	return true;
}

static json_t *native_args(struct shell *sh, const struct node *n)
{
	json_t *args = keep(sh, json_array());

	for (const struct node *a = n->list; a; a = a->next) {
		json_t *v;

		if (a->kind == N_REDIRECT)
			continue;
		if (a->kind == N_PARAM) {
			if (!add_native_param(sh, args, a))
				return NULL;
			continue;
		}
		v = eval(sh, a);
		if (!v)
			return NULL;
		add_native(args, v);
	}
	return args;
}

/* ---- Commands -------------------------------------------------------------------------------- */

static bool run_call_block(struct shell *sh, const struct node *n, json_t *block, json_t *input,
			   json_t *out)
{
	json_t *args = keep(sh, json_array());

	for (const struct node *a = n->list; a; a = a->next) {
		json_t *v = a->kind == N_REDIRECT || a->kind == N_PARAM ? NULL : eval(sh, a);

		if (sh->flow)
			return false;
		if (v)
			json_array_append(args, plain_value(sh, v));
	}
	shell_set_var(sh, "args", args);
	if (input)
		shell_set_var(sh, "input", input);
	return run_block(sh, block, NULL, out);
}

static bool run_named(struct shell *sh, const struct node *n, const char *name, json_t *input,
		      json_t *out)
{
	const struct cmdlet *c = cmdlet_find(name);
	char path[4096];
	json_t *args;

	if (c)
		return cmdlet_run(sh, c, n, input, out, false);
	if (!*name || !native_find(name, path, sizeof(path)))
		return not_found(sh, n, name);
	args = native_args(sh, n);
	return args && native_run(sh, path, name, args, input, out);
}

static bool run_command(struct shell *sh, const struct node *n, json_t *input, json_t *out)
{
	json_t *name = eval(sh, n->a);
	char *text;
	bool ok;

	if (!name)
		return false;
	if (value_is(name, "ScriptBlock"))
		return run_call_block(sh, n, name, input, out);
	if (value_is(name, "NumberWord"))
		name = json_object_get(name, "text");
	text = value_text(name);
	ok = run_named(sh, n, text, input, out);
	free(text);
	return ok;
}

/* ---- Redirections ------------------------------------------------------------------------------- */

static bool is_null_target(const struct node *n)
{
	return n->a && n->a->kind == N_VAR && !strcmp(n->a->name, "null");
}

static bool read_redirects(struct shell *sh, const struct node *cmd, struct redirects *r)
{
	for (const struct node *n = cmd->kind == N_COMMAND ? cmd->list : NULL; n; n = n->next) {
		if (n->kind != N_REDIRECT)
			continue;
		if (n->op == STREAM_OUTPUT && n->a && !is_null_target(n)) {
			r->output_file = n;
			r->append = n->name != NULL;
		} else if (n->op == STREAM_OUTPUT) {
			r->drop_output = n->a != NULL;
		} else if (is_null_target(n)) {
			r->drop_error |= n->op == STREAM_ERROR || n->op == STREAM_ALL;
			r->drop_output |= n->op == STREAM_ALL;
		} else if (!n->a) {
			r->error_to_output = n->op == STREAM_ERROR || n->op == STREAM_ALL;
		} else {
			shell_throw(sh, n,
				    &(struct fault){ ERR_NOT_IMPLEMENTED,
						     "RedirectionNotAvailable" },
				    "Only the output can be redirected to a file; errors can go to "
				    "$null or, by 2>&1, "
				    "to the output.");
			return false;
		}
	}
	return true;
}

static bool write_file(struct shell *sh, const struct node *n, bool append, json_t *values)
{
	json_t *target = eval(sh, n->a);
	char *path =
		target ? value_text(value_is(target, "NumberWord") ? json_object_get(target, "text")
								   : target)
		       : NULL;
	FILE *f = path ? fopen(path, append ? "a" : "w") : NULL;

	if (f) {
		format_default(sh, values, f);
		if (fclose(f))
			f = NULL;
	}
	if (path && !f)
		shell_throw(sh, n,
			    &(struct fault){ ERR_NOT_SPECIFIED, "FileOpenFailure", "IOException" },
			    "Could not write the file '%s': %s.", path, strerror(errno));
	free(path);
	return f != NULL;
}

static bool run_redirected(struct shell *sh, const struct node *n, json_t *input, json_t *out,
			   const struct redirects *r)
{
	json_t *mine = keep(sh, json_array());
	FILE *err = sh->err, *captured = NULL;
	char *text = NULL;
	size_t len;
	bool ok;

	if (r->drop_error || r->error_to_output)
		sh->err = captured = open_memstream(&text, &len);
	ok = run_command(sh, n, input, mine);
	if (captured && !ok && sh->flow == FLOW_THROW && !sh->in_try && !sh->throw_all) {
		json_t *record = sh->thrown;

		sh->flow = FLOW_NONE;
		sh->thrown = NULL;
		error_write(sh, record);
		json_decref(record);
		ok = true;
	}
	if (captured) {
		fclose(captured);
		sh->err = err;
		if (r->error_to_output && text && *text)
			json_array_append_new(mine, json_string(text));
		free(text);
	}
	if (ok && r->output_file)
		return write_file(sh, r->output_file, r->append, mine);
	if (!r->drop_output && !r->output_file)
		json_array_extend(out, mine);
	return ok;
}

/* ---- Pipelines ------------------------------------------------------------------------------------ */

static bool run_element(struct shell *sh, const struct node *n, json_t *input, json_t *out)
{
	struct redirects r = { 0 };
	json_t *v;

	if (n->kind == N_COMMAND) {
		if (!read_redirects(sh, n, &r))
			return false;
		if (r.drop_error || r.drop_output || r.error_to_output || r.output_file)
			return run_redirected(sh, n, input, out, &r);
		return run_command(sh, n, input, out);
	}
	v = eval(sh, n);
	if (v)
		value_emit(out, v);
	return v != NULL;
}

bool run_pipeline(struct shell *sh, const struct node *n, json_t *out)
{
	json_t *input = NULL;
	bool failed = sh->pipeline_failed, ok = true;

	sh->pipeline_failed = false;
	for (const struct node *e = n->list; ok && e; e = e->next) {
		json_t *to = e->next ? keep(sh, json_array()) : out;

		ok = run_element(sh, e, input, to);
		input = to;
	}
	sh->last_ok = ok && !sh->pipeline_failed;
	sh->pipeline_failed |= failed;
	return ok;
}
