// SPDX-License-Identifier: MIT
/* Statements: blocks, loops, assignments, variables, errors that end a statement. */
#include <stdlib.h>
#include <string.h>

#include "shell/shell_internal.h"
#include "shell/text.h"

enum { MAX_CALL_DEPTH = 1500 };

/* ---- Values that live as long as their statement ------------------------------------ */

json_t *keep(struct shell *sh, json_t *v)
{
	if (!v)
		v = json_null();
	if (sh->nr_pool == sh->cap_pool) {
		sh->cap_pool = sh->cap_pool ? sh->cap_pool * 2 : 256;
		sh->pool = realloc(sh->pool, sh->cap_pool * sizeof(*sh->pool));
		if (!sh->pool)
			abort();
	}
	sh->pool[sh->nr_pool++] = v;
	return v;
}

void pool_release(struct shell *sh, size_t mark)
{
	while (sh->nr_pool > mark)
		json_decref(sh->pool[--sh->nr_pool]);
}

/* ---- Variables ------------------------------------------------------------------------- */

json_t *shell_get_var(struct shell *sh, const char *name)
{
	json_t *v;

	if (!strncasecmp(name, "env:", 4)) {
		const char *text = getenv(name + 4);

		return text ? keep(sh, json_string(text)) : json_null();
	}
	if (!strcmp(name, "true") || !strcmp(name, "false"))
		return name[0] == 't' ? json_true() : json_false();
	if (!strcmp(name, "null"))
		return json_null();
	if (!strcmp(name, "?"))
		return sh->last_ok ? json_true() : json_false();
	if (!strcmp(name, "error"))
		return sh->errors;
	v = json_object_get(sh->vars, name);
	return v ? v : json_null();
}

void shell_set_var(struct shell *sh, const char *name, json_t *v)
{
	if (!strncasecmp(name, "env:", 4)) {
		char *text = value_text(v);

		if (*text)
			setenv(name + 4, text, 1);
		else
			unsetenv(name + 4);
		free(text);
		return;
	}
	json_object_set(sh->vars, name, v);
}

static bool is_constant(const char *name)
{
	return text_in_list(name, "true|false|null|?|error");
}

static bool set_named(struct shell *sh, const struct node *n, json_t *v)
{
	if (!strcmp(n->name, "null"))
		return true;
	if (is_constant(n->name)) {
		shell_throw(sh, n, &(struct fault){ ERR_INVALID_OPERATION, "VariableNotWritable" },
			    "Cannot overwrite variable %s because it is read-only or constant.",
			    n->name);
		return false;
	}
	shell_set_var(sh, n->name, v);
	return true;
}

/* The place of an index in an array of @size, or -1. */
static s64 place_of(s64 i, size_t size)
{
	if (i < 0)
		i += (s64)size;
	return i >= 0 && i < (s64)size ? i : -1;
}

static bool set_element(struct shell *sh, const struct node *n, json_t *of, json_t *key, json_t *v)
{
	s64 i;

	if (json_is_array(of) && value_integer(key, &i)) {
		i = place_of(i, json_array_size(of));
		if (i >= 0) {
			json_array_set(of, (size_t)i, v);
			return true;
		}
		shell_throw(sh, n,
			    &(struct fault){ ERR_OPERATION_STOPPED,
					     "System.IndexOutOfRangeException" },
			    "Index was outside the bounds of the array.");
		return false;
	}
	if (value_is(of, "Hashtable")) {
		char *name = value_text(key);

		value_set(of, name, json_incref(v));
		free(name);
		return true;
	}
	shell_throw(sh, n, &(struct fault){ ERR_INVALID_OPERATION, "CannotIndex" },
		    "Unable to index into an object of type %s.", value_full_type(of));
	return false;
}

static bool set_property(struct shell *sh, const struct node *n, json_t *of, json_t *key, json_t *v)
{
	char *name = value_text(key);
	bool hash = value_is(of, "Hashtable"), custom = value_is(of, "PSCustomObject");
	bool ok = name[0] != '@' && (hash || (custom && value_get(of, name, NULL)));

	if (ok)
		value_set(of, name, json_incref(v));
	else
		shell_throw(sh, n, &(struct fault){ ERR_INVALID_OPERATION, "PropertyNotFound" },
			    "The property '%s' cannot be found on this object. Verify that the "
			    "property exists "
			    "and can be set.",
			    name);
	free(name);
	return ok;
}

static bool assign(struct shell *sh, const struct node *target, json_t *v)
{
	json_t *of, *key;

	if (target->kind == N_VAR)
		return set_named(sh, target, v);
	of = eval(sh, target->a);
	key = of ? eval(sh, target->b) : NULL;
	if (!key)
		return false;
	if (target->kind == N_INDEX)
		return set_element(sh, target, of, key, v);
	return set_property(sh, target, of, key, v);
}

static bool exec_assign(struct shell *sh, const struct node *n)
{
	json_t *v = n->b ? eval_statement(sh, n->b) : keep(sh, json_integer(1));

	if (v && n->op) {
		json_t *old = eval(sh, n->a);

		v = old ? op_binary(sh, n, n->op, old, v) : NULL;
	}
	return v && assign(sh, n->a, v);
}

/* ---- Conditions and loops ---------------------------------------------------------------- */

json_t *eval_statement(struct shell *sh, const struct node *n)
{
	json_t *out = keep(sh, json_array());

	if (n->kind == N_PIPELINE && !n->list->next && n->list->kind != N_COMMAND)
		return eval(sh, n->list);
	if (!exec_statement(sh, n, out))
		return NULL;
	return keep(sh, value_collect_new(out));
}

/* False when it could not be told. */
static bool condition(struct shell *sh, const struct node *n, bool *holds)
{
	json_t *v = eval(sh, n);

	*holds = v && value_truth(v);
	return v != NULL;
}

static bool exec_if(struct shell *sh, const struct node *n, json_t *out)
{
	bool holds;

	if (!condition(sh, n->a, &holds))
		return false;
	if (holds)
		return exec_statement(sh, n->b, out);
	return n->c ? exec_statement(sh, n->c, out) : true;
}

/* Runs a loop's body. False: the loop ends, with or without `flow`. */
static bool loop_body(struct shell *sh, const struct node *body, json_t *out)
{
	if (exec_statement(sh, body, out))
		return true;
	if (sh->flow == FLOW_CONTINUE) {
		sh->flow = FLOW_NONE;
		return true;
	}
	if (sh->flow == FLOW_BREAK)
		sh->flow = FLOW_NONE;
	return false;
}

static bool exec_foreach(struct shell *sh, const struct node *n, json_t *out)
{
	json_t *over = eval_statement(sh, n->a), *items = keep(sh, json_array()), *item;
	size_t i;

	if (!over)
		return false;
	if (!json_is_null(over))
		value_emit(items, over);
	json_array_foreach(items, i, item)
	{
		shell_set_var(sh, n->name, item);
		if (!loop_body(sh, n->b, out))
			break;
	}
	return sh->flow == FLOW_NONE;
}

static bool exec_while(struct shell *sh, const struct node *n, json_t *out)
{
	bool holds = true;
	bool until = n->op == OP_DO_UNTIL;

	if (!n->op && !condition(sh, n->a, &holds))
		return false;
	while (holds && loop_body(sh, n->b, out)) {
		size_t mark = sh->nr_pool;
		bool known = condition(sh, n->a, &holds);

		pool_release(sh, mark);
		if (!known)
			break;
		holds ^= until;
	}
	return sh->flow == FLOW_NONE;
}

static bool exec_for(struct shell *sh, const struct node *n, json_t *out)
{
	bool holds = true;

	if (n->a && !exec_statement(sh, n->a, out))
		return false;
	for (;;) {
		size_t mark = sh->nr_pool;
		json_t *v = n->b ? eval_statement(sh, n->b) : json_true();

		holds = v && value_truth(v);
		pool_release(sh, mark);
		if (!holds || !loop_body(sh, n->d, out))
			break;
		if (n->c && !exec_statement(sh, n->c, out))
			break;
	}
	return sh->flow == FLOW_NONE;
}

/* ---- Errors -------------------------------------------------------------------------------- */

static bool exec_catch(struct shell *sh, const struct node *block, json_t *out)
{
	json_t *record = sh->thrown, *before = json_incref(shell_get_var(sh, "_"));
	bool ok;

	sh->flow = FLOW_NONE;
	sh->throw_all = false;
	sh->thrown = NULL;
	error_remember(sh, record);
	shell_set_var(sh, "_", record);
	ok = exec_statement(sh, block, out);
	shell_set_var(sh, "_", before);
	json_decref(before);
	json_decref(record);
	return ok;
}

static bool exec_try(struct shell *sh, const struct node *n, json_t *out)
{
	bool ok;
	enum flow flow;
	json_t *thrown;

	sh->in_try++;
	ok = exec_statement(sh, n->a, out);
	sh->in_try--;
	if (!ok && sh->flow == FLOW_THROW && n->b)
		ok = exec_catch(sh, n->b, out);
	if (!n->c)
		return ok;
	flow = sh->flow;
	thrown = sh->thrown;
	sh->flow = FLOW_NONE;
	sh->thrown = NULL;
	if (!exec_statement(sh, n->c, out)) {
		json_decref(thrown);
		return false;
	}
	sh->flow = flow;
	sh->thrown = thrown;
	return ok;
}

static bool exec_throw(struct shell *sh, const struct node *n)
{
	json_t *v = n->a ? eval_statement(sh, n->a) : shell_get_var(sh, "_");
	char *text;

	if (!v)
		return false;
	if (value_is(v, "ErrorRecord")) {
		shell_throw_record(sh, v, true);
		return false;
	}
	text = json_is_null(v) ? strdup("ScriptHalted") : value_text(v);
	shell_throw_record(sh,
			   error_record(sh, n,
					&(struct fault){ ERR_OPERATION_STOPPED, text,
							 "RuntimeException", v },
					"%s", text),
			   true);
	free(text);
	return false;
}

/* The error that ended a statement is written, and the next one runs, unless a `try`
 * waits for it. */
static bool survive(struct shell *sh)
{
	json_t *record = sh->thrown;

	if (sh->flow != FLOW_THROW || sh->throw_all || sh->in_try)
		return false;
	sh->flow = FLOW_NONE;
	sh->thrown = NULL;
	error_write(sh, record);
	json_decref(record);
	sh->last_ok = false;
	return true;
}

/* ---- Statements ------------------------------------------------------------------------------- */

static bool exec_value(struct shell *sh, const struct node *n, json_t *out, enum flow flow)
{
	json_t *v = n->a ? eval_statement(sh, n->a) : NULL;
	s64 code = 0;

	if (n->a && !v)
		return false;
	if (flow == FLOW_EXIT) {
		if (v && !value_integer(v, &code))
			code = 0;
		sh->exit_code = (int)(code & 0xff);
	} else if (v) {
		value_emit(out, v);
	}
	sh->flow = flow;
	return false;
}

static bool exec_chain(struct shell *sh, const struct node *n, json_t *out)
{
	bool ok = exec_statement(sh, n->a, out);

	if (!ok && !survive(sh))
		return false;
	if (sh->last_ok == (n->op == OP_AND))
		return exec_statement(sh, n->b, out);
	return true;
}

static bool leave(struct shell *sh, enum flow flow)
{
	sh->flow = flow;
	return false;
}

static bool exec(struct shell *sh, const struct node *n, json_t *out)
{
	switch (n->kind) {
	case N_PIPELINE:
		return run_pipeline(sh, n, out);
	case N_CHAIN:
		return exec_chain(sh, n, out);
	case N_ASSIGN:
		return exec_assign(sh, n);
	case N_IF:
		return exec_if(sh, n, out);
	case N_FOREACH:
		return exec_foreach(sh, n, out);
	case N_WHILE:
		return exec_while(sh, n, out);
	case N_FOR:
		return exec_for(sh, n, out);
	case N_TRY:
		return exec_try(sh, n, out);
	case N_BREAK:
		return leave(sh, FLOW_BREAK);
	case N_CONTINUE:
		return leave(sh, FLOW_CONTINUE);
	case N_RETURN:
		return exec_value(sh, n, out, FLOW_RETURN);
	case N_EXIT:
		return exec_value(sh, n, out, FLOW_EXIT);
	case N_THROW:
		return exec_throw(sh, n);
	default:
		return exec_statements(sh, n->list, out);
	}
}

bool exec_statement(struct shell *sh, const struct node *n, json_t *out)
{
	size_t mark = sh->nr_pool;
	bool ok = false;

	if (++sh->depth > MAX_CALL_DEPTH)
		shell_throw(sh, n, &(struct fault){ ERR_INVALID_OPERATION, "CallDepthOverflow" },
			    "The script failed due to call depth overflow.");
	else
		ok = exec(sh, n, out);
	sh->depth--;
	pool_release(sh, mark);
	return ok;
}

bool exec_statements(struct shell *sh, const struct node *list, json_t *out)
{
	for (const struct node *n = list; n; n = n->next) {
		bool ok = exec_statement(sh, n, out);

		if (!ok && !survive(sh))
			return false;
		if (out == sh->top && sh->depth == 0)
			shell_flush(sh);
	}
	return true;
}

/* ---- Script blocks ------------------------------------------------------------------------------- */

json_t *scriptblock_value(struct shell *sh, const struct node *n)
{
	const char *text = n->script->text + n->start + 1;
	size_t len = n->end - n->start - 2;

	return keep(sh, json_pack("{s:s, s:I, s:o}", TYPE_KEY, "ScriptBlock", "@node",
				  (json_int_t)(intptr_t)n, "Text", json_stringn(text, len)));
}

bool run_block(struct shell *sh, json_t *block, json_t *item, json_t *out)
{
	json_int_t at = json_integer_value(json_object_get(block, "@node"));
	const struct node *n = (const struct node *)(intptr_t)at;
	json_t *before;
	bool ok;

	if (!n)
		return true;
	before = json_incref(shell_get_var(sh, "_"));
	if (item)
		shell_set_var(sh, "_", item);
	sh->depth++;
	ok = exec_statements(sh, n->list, out);
	sh->depth--;
	if (!ok && sh->flow == FLOW_RETURN) {
		sh->flow = FLOW_NONE;
		ok = true;
	}
	if (item)
		shell_set_var(sh, "_", before);
	json_decref(before);
	return ok;
}
