// SPDX-License-Identifier: MIT
/*
 * Binds a command's arguments to its cmdlet's parameters, in PowerShell's order: by name
 * (shortened names too), by position, from the pipeline; then runs it.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlet.h"
#include "shell/text.h"

enum { MAX_ARGS = 4096 };

/* One thing on the command line. */
struct word {
	const char *param; /* name without dash, or NULL */
	json_t *value;	   /* of a parameter: what stood behind ':', or NULL */
	const struct node *at;
	bool used;
};

struct binder {
	struct call *c;
	struct word *words;
	size_t nr, cap;
};

static bool refuse(struct call *c, const struct node *at, const char *id, const char *fmt, ...)
	PRINTF(4, 5);

static bool refuse(struct call *c, const struct node *at, const char *id, const char *fmt, ...)
{
	va_list ap;
	struct fault f = { ERR_INVALID_ARGUMENT, id, "ParameterBindingException",
			   .cmdlet = c->cmdlet };

	va_start(ap, fmt);
	shell_throw_va(c->sh, at ? at : c->at, &f, fmt, ap);
	va_end(ap);
	return false;
}

/* ---- The words --------------------------------------------------------------------------- */

static void add_word(struct binder *b, const char *param, json_t *value, const struct node *at)
{
	if (b->nr == b->cap) {
		b->cap = b->cap ? b->cap * 2 : 16;
		b->words = realloc(b->words, b->cap * sizeof(*b->words));
		if (!b->words)
			abort();
	}
	b->words[b->nr++] = (struct word){ param, value, at, false };
}

/* @name: a hash table's members are parameters, an array's elements arguments. */
static void splat(struct binder *b, json_t *v, const struct node *at)
{
	const char *k;
	json_t *e;
	size_t i;

	if (value_is(v, "Hashtable")) {
		json_object_foreach(v, k, e) if (k[0] != '@') add_word(b, k, e, at);
	} else if (json_is_array(v)) {
		json_array_foreach(v, i, e) add_word(b, NULL, e, at);
	} else {
		add_word(b, NULL, v, at);
	}
}

static bool collect_words(struct binder *b)
{
	for (const struct node *n = b->c->at->list; n; n = n->next) {
		json_t *v = NULL;

		if (n->kind == N_REDIRECT)
			continue;
		if (n->kind != N_PARAM || n->a)
			v = eval(b->c->sh, n->kind == N_PARAM ? n->a : n);
		if (!v && (n->kind != N_PARAM || n->a))
			return false;
		if (n->kind == N_PARAM)
			add_word(b, n->name, v, n);
		else if (n->kind == N_SPLAT)
			splat(b, v, n);
		else
			add_word(b, NULL, v, n);
		if (b->nr > MAX_ARGS)
			return refuse(b->c, n, "TooManyArguments", "There are too many arguments.");
	}
	return true;
}

/* ---- Parameters by name --------------------------------------------------------------------- */

/* Calls @fn for each parameter the cmdlet has, common ones too. */
static const struct param *param_table(const struct cmdlet *c, unsigned i)
{
	switch (i) {
	case 0:
		return c->params;
	case 1:
		return common_params;
	case 2:
		return c->changes ? change_params : NULL;
	default:
		return c->hyperv ? hyperv_params : NULL;
	}
}

static bool is_exact(const struct param *p, const char *name)
{
	return text_equal(p->name, name) || (p->alias && text_in_list(name, p->alias));
}

static bool is_prefix(const struct param *p, const char *name)
{
	const char *a = p->alias;

	if (text_has_prefix(p->name, name))
		return true;
	while (a && *a) {
		size_t n = strcspn(a, "|");

		if (strlen(name) <= n && !text_casencmp(a, name, strlen(name)))
			return true;
		a += n + (a[n] == '|');
	}
	return false;
}

static const struct param *ambiguous(struct call *c, const char *name, const struct node *at)
{
	char *list = NULL;
	size_t len;
	FILE *f = open_memstream(&list, &len);

	for (unsigned t = 0; t < 4; t++)
		for (const struct param *p = param_table(c->cmdlet, t); p && p->name; p++)
			if (is_prefix(p, name))
				fprintf(f, " -%s", p->name);
	fclose(f);
	refuse(c, at, "AmbiguousParameter",
	       "Parameter cannot be processed because the parameter name '%s' is ambiguous. "
	       "Possible matches "
	       "include:%s.",
	       name, list);
	free(list);
	return NULL;
}

static const struct param *find_param(struct call *c, const char *name, const struct node *at)
{
	const struct param *found = NULL;
	unsigned nr = 0;

	for (unsigned t = 0; t < 4; t++) {
		for (const struct param *p = param_table(c->cmdlet, t); p && p->name; p++) {
			if (is_exact(p, name))
				return p;
			if (is_prefix(p, name)) {
				nr++;
				found = p;
			}
		}
	}
	if (nr == 1)
		return found;
	if (nr)
		return ambiguous(c, name, at);
	refuse(c, at, "NamedParameterNotFound",
	       "A parameter cannot be found that matches parameter name '%s'.", name);
	return NULL;
}

static bool is_bound(const struct call *c, const struct param *p)
{
	return json_object_get(c->args, p->name) != NULL;
}

/* Narrows the parameter sets to those that have @p. */
static bool narrow(struct call *c, const struct param *p, const struct node *at)
{
	if (p->sets && !(c->sets & p->sets))
		return refuse(
			c, at ? c->at : NULL, "AmbiguousParameterSet",
			"Parameter set cannot be resolved using the specified named parameters.");
	if (p->sets)
		c->sets &= p->sets;
	return true;
}

static bool bind_value(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	v = convert_arg(c, p, v, at);
	if (!v || !narrow(c, p, at))
		return false;
	json_object_set(c->args, p->name, v);
	return true;
}

static bool bind_named_word(struct binder *b, size_t i)
{
	struct word *w = &b->words[i];
	const struct param *p = find_param(b->c, w->param, w->at);

	if (!p)
		return false;
	w->used = true;
	if (is_bound(b->c, p))
		return refuse(b->c, w->at, "ParameterAlreadyBound",
			      "Cannot bind parameter because parameter '%s' is specified more than "
			      "once. To provide "
			      "multiple values to parameters that can accept multiple values, use "
			      "the array syntax. "
			      "For example, \"-parameter value1,value2,value3\".",
			      p->name);
	if (!w->value && p->type == T_SWITCH)
		return bind_value(b->c, p, json_true(), w->at);
	if (!w->value) {
		struct word *next = i + 1 < b->nr ? &b->words[i + 1] : NULL;

		if (!next || next->param || next->used)
			return refuse(b->c, w->at, "MissingArgument",
				      "Missing an argument for parameter '%s'. Specify a parameter "
				      "of type '%s' and try "
				      "again.",
				      p->name, param_net_type(p));
		next->used = true;
		return bind_value(b->c, p, next->value, next->at);
	}
	return bind_value(b->c, p, w->value, w->at);
}

static bool bind_named(struct binder *b)
{
	for (size_t i = 0; i < b->nr; i++)
		if (b->words[i].param && !bind_named_word(b, i))
			return false;
	return true;
}

/* ---- By position --------------------------------------------------------------------------------- */

/* A script block goes only where one is wanted, and nothing else goes there. */
static bool fits(const struct param *p, const json_t *v)
{
	bool block = value_is(v, "ScriptBlock"), wants = p->type == T_BLOCK || p->type == T_BLOCKS;

	if (p->type == T_ANY || p->type == T_PROPERTIES)
		return true;
	if ((p->type == T_OBJECT || p->type == T_OBJECTS) && json_is_string(v))
		return false;
	if ((p->type == T_STRING || p->type == T_STRINGS) && value_tag(v) &&
	    !value_is(v, "NumberWord"))
		return false;
	return block == wants;
}

static const struct param *next_positional(struct call *c, const json_t *v)
{
	const struct param *best = NULL, *misfit = NULL;

	for (const struct param *p = c->cmdlet->params; p && p->name; p++) {
		if (!p->pos || is_bound(c, p) || (p->sets && !(p->sets & c->sets)))
			continue;
		if (!fits(p, v)) {
			misfit = misfit && misfit->pos <= p->pos ? misfit : p;
			continue;
		}
		if (!best || p->pos < best->pos)
			best = p;
	}
	return best ? best : misfit;
}

static bool bind_rest(struct binder *b, const struct param *p)
{
	json_t *all = keep(b->c->sh, json_array());

	for (size_t i = 0; i < b->nr; i++) {
		if (!b->words[i].used)
			json_array_append(all, plain_value(b->c->sh, b->words[i].value));
		b->words[i].used = true;
	}
	if (json_array_size(all) == 1)
		all = json_array_get(all, 0);
	return bind_value(b->c, p, all, NULL);
}

static bool bind_positional(struct binder *b)
{
	for (size_t i = 0; i < b->nr; i++) {
		struct word *w = &b->words[i];
		const struct param *p;
		char *text;

		if (w->used)
			continue;
		p = next_positional(b->c, w->value);
		if (p && p->rest)
			return bind_rest(b, p);
		if (p) {
			w->used = true;
			if (!bind_value(b->c, p, w->value, w->at))
				return false;
			continue;
		}
		text = value_text(value_is(w->value, "NumberWord")
					  ? json_object_get(w->value, "text")
					  : w->value);
		refuse(b->c, w->at, "PositionalParameterNotFound",
		       "A positional parameter cannot be found that accepts argument '%s'.", text);
		free(text);
		return false;
	}
	return true;
}

/* ---- What must be there ---------------------------------------------------------------------------- */

/* Names of required parameters of set @bit that are missing; @piped: those that the
 * pipeline may give are not. NULL: none. */
static char *missing_in(struct call *c, u32 bit, bool piped)
{
	char *list = NULL;
	size_t len;
	FILE *f = open_memstream(&list, &len);

	for (const struct param *p = c->cmdlet->params; p && p->name; p++) {
		if (!(p->required & bit) || (p->sets && !(p->sets & bit)) ||
		    json_object_get(c->bound, p->name))
			continue;
		if (!piped || !(p->by_value || p->by_name))
			fprintf(f, " %s", p->name);
	}
	fclose(f);
	if (len)
		return list;
	free(list);
	return NULL;
}

/* Leaves one parameter set, the first that has all it wants. */
static bool choose_set(struct call *c, bool piped)
{
	u32 first = 0;
	char *missing;

	for (u32 bit = 1; bit < 0x100; bit <<= 1) {
		if (!(c->sets & bit))
			continue;
		first = first ? first : bit;
		missing = missing_in(c, bit, piped);
		free(missing);
		if (!missing) {
			if (!piped)
				c->sets = bit;
			return true;
		}
	}
	missing = missing_in(c, first, piped);
	refuse(c, NULL, "MissingMandatoryParameter",
	       "Cannot process command because of one or more missing mandatory parameters:%s.",
	       missing ? missing : "");
	free(missing);
	return false;
}

/* ---- The pipeline ------------------------------------------------------------------------------------ */

static bool accepts(const struct param *p, const json_t *v, bool coerce)
{
	switch (p->type) {
	case T_ANY:
		return true;
	case T_OBJECT:
	case T_OBJECTS:
		return value_is(v, p->words);
	case T_STRING:
	case T_STRINGS:
		return json_is_string(v) || (coerce && !json_is_object(v) && !json_is_null(v));
	case T_INT:
	case T_INTS:
		return json_is_integer(v) || (coerce && (json_is_number(v) || json_is_string(v)));
	default:
		return false;
	}
}

static bool can_bind(const struct call *c, const struct param *p)
{
	return !is_bound(c, p) && (!p->sets || (p->sets & c->sets));
}

static bool set_bound(struct call *c, const struct param *p, json_t *v)
{
	v = convert_arg(c, p, v, NULL);
	if (!v)
		return false;
	if (p->sets)
		c->sets &= p->sets;
	json_object_set(c->bound, p->name, v);
	return true;
}

static bool bind_item_value(struct call *c, bool coerce, bool *bound)
{
	for (const struct param *p = c->cmdlet->params; p && p->name && !*bound; p++) {
		if (!p->by_value || !can_bind(c, p) || !accepts(p, c->item, coerce))
			continue;
		if (!set_bound(c, p, c->item))
			return false;
		*bound = true;
	}
	return true;
}

/* The property of the object that @names lists. */
static json_t *property_of(json_t *item, const char *names)
{
	while (*names) {
		size_t n = strcspn(names, "|");
		char name[64];
		json_t *v;

		snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), names);
		v = json_is_object(item) && !value_is(item, "Hashtable")
			    ? value_get(item, name, NULL)
			    : NULL;
		if (v && !json_is_null(v))
			return v;
		names += n + (names[n] == '|');
	}
	return NULL;
}

static bool bind_item_names(struct call *c, bool *bound)
{
	for (const struct param *p = c->cmdlet->params; p && p->name; p++) {
		json_t *v = p->by_name && can_bind(c, p) && !json_object_get(c->bound, p->name)
				    ? property_of(c->item, p->by_name)
				    : NULL;

		if (!v)
			continue;
		if (!set_bound(c, p, v))
			return false;
		*bound = true;
	}
	return true;
}

static bool bind_item(struct call *c)
{
	bool bound = false;
	struct fault f = { ERR_INVALID_ARGUMENT, "InputObjectNotBound", "ParameterBindingException",
			   .target = c->item };

	if (!bind_item_value(c, false, &bound) || !bind_item_names(c, &bound) ||
	    !bind_item_value(c, true, &bound))
		return false;
	if (bound)
		return choose_set(c, false);
	f.cmdlet = c->cmdlet;
	shell_throw(c->sh, c->at, &f,
		    "The input object cannot be bound to any parameters for the command either "
		    "because the command "
		    "does not take pipeline input or the input and its properties do not match any "
		    "of the parameters "
		    "that take pipeline input.");
	return false;
}

/* An error with one object of the pipeline does not stop the others. */
static bool survive_item(struct call *c)
{
	json_t *record = c->sh->thrown;

	if (c->sh->flow != FLOW_THROW || c->sh->throw_all || c->on_error == ACTION_STOP)
		return false;
	c->sh->flow = FLOW_NONE;
	c->sh->thrown = NULL;
	json_array_append(c->written_errors, record);
	if (c->on_error == ACTION_CONTINUE)
		error_write(c->sh, record);
	else if (c->on_error == ACTION_SILENT)
		error_remember(c->sh, record);
	c->sh->pipeline_failed = true;
	json_decref(record);
	return true;
}

static bool run_items(struct call *c, json_t *input)
{
	u32 sets = c->sets;
	json_t *item;
	size_t i;

	json_array_foreach(input, i, item)
	{
		bool ok;

		c->item = item;
		c->sets = sets;
		c->bound = keep(c->sh, json_copy(c->args));
		ok = bind_item(c) && c->cmdlet->run(c);
		if (!ok && !survive_item(c))
			return false;
	}
	return true;
}

/* ---- Common parameters ----------------------------------------------------------------------------------- */

static bool read_action(struct call *c, const char *param, json_t *preference, unsigned *action)
{
	json_t *v = json_object_get(c->args, param);
	const char *word = json_string_value(v ? v : preference);

	if (!word)
		return true;
	if (text_equal(word, "Stop") || text_equal(word, "Inquire"))
		*action = ACTION_STOP;
	else if (text_equal(word, "SilentlyContinue"))
		*action = ACTION_SILENT;
	else if (text_equal(word, "Ignore"))
		*action = ACTION_IGNORE;
	return true;
}

static bool read_common(struct call *c)
{
	unsigned on_error = ACTION_CONTINUE, on_warning = ACTION_CONTINUE;
	json_t *confirm = json_object_get(c->args, "Confirm");
	const char *host =
		json_string_value(json_array_get(json_object_get(c->args, "ComputerName"), 0));
	const char *verbose = json_string_value(shell_get_var(c->sh, "verbosepreference"));

	read_action(c, "ErrorAction", shell_get_var(c->sh, "erroractionpreference"), &on_error);
	read_action(c, "WarningAction", shell_get_var(c->sh, "warningpreference"), &on_warning);
	c->on_error = on_error;
	c->on_warning = on_warning;
	c->what_if = value_truth(json_object_get(c->args, "WhatIf")
					 ?: shell_get_var(c->sh, "whatifpreference"));
	c->verbose = json_object_get(c->args, "Verbose")
			     ? json_is_true(json_object_get(c->args, "Verbose"))
			     : verbose && text_equal(verbose, "Continue");
	if (confirm)
		c->confirm = json_is_true(confirm) ? CONFIRM_YES : CONFIRM_NO;
	for (const struct param *p = hyperv_params; c->cmdlet->hyperv && p->name; p++) {
		if (!json_object_get(c->args, p->name))
			continue;
		if (text_equal(p->name, "ComputerName") && host &&
		    text_in_list(host, "localhost|.|127.0.0.1"))
			continue;
		if (text_equal(p->name, "AsJob") && !arg_true(c, "AsJob"))
			continue;
		shell_throw(
			c->sh, c->at,
			&(struct fault){ ERR_NOT_IMPLEMENTED, "NotAvailable",
					 "NotImplementedException", .cmdlet = c->cmdlet },
			"The parameter '%s' is not available yet: only this host can be managed.",
			p->name);
		return false;
	}
	return true;
}

/* -OutVariable and -ErrorVariable; +name appends. */
static void set_result_var(struct call *c, const char *param, json_t *values)
{
	const char *name = json_string_value(json_object_get(c->args, param));
	json_t *list;
	char lower[256];
	size_t i = 0;

	if (!name)
		return;
	for (const char *s = name + (*name == '+'); *s && i < sizeof(lower) - 1; s++)
		lower[i++] = *s >= 'A' && *s <= 'Z' ? (char)(*s | 32) : *s;
	lower[i] = 0;
	list = keep(c->sh, json_array());
	if (*name == '+')
		value_emit(list, shell_get_var(c->sh, lower));
	json_array_extend(list, values);
	shell_set_var(c->sh, lower, list);
}

static bool run_bound(struct call *c, json_t *input)
{
	json_t *given;

	c->bound = c->args;
	if (c->cmdlet->all_input) {
		given = json_object_get(c->args, "InputObject");
		c->input = input ? input : keep(c->sh, json_array());
		if (given) {
			c->input = keep(c->sh, json_array());
			value_emit(c->input, given);
		}
		return choose_set(c, false) && c->cmdlet->run(c);
	}
	if (!input)
		return choose_set(c, false) && c->cmdlet->run(c);
	return choose_set(c, true) && run_items(c, input);
}

static bool bind_and_run(struct call *c, json_t *input)
{
	struct binder b = { .c = c };
	bool ok = collect_words(&b) && bind_named(&b) && bind_positional(&b) && read_common(c);

	free(b.words);
	return ok && run_bound(c, input);
}

static u32 all_sets(const struct cmdlet *c)
{
	u32 nr = 1;

	for (const char *s = c->sets; s && *s; s++)
		nr += *s == '|';
	return (1u << nr) - 1;
}

bool cmdlet_run(struct shell *sh, const struct cmdlet *cmdlet, const struct node *at, json_t *input,
		json_t *out, bool from_argv)
{
	struct call c = { .sh = sh,
			  .cmdlet = cmdlet,
			  .at = at,
			  .sets = all_sets(cmdlet),
			  .from_argv = from_argv };
	const struct node *before = sh->at;
	json_t *written = NULL;
	bool ok;

	c.args = keep(sh, json_object());
	c.bound = c.args;
	c.written_errors = keep(sh, json_array());
	for (const struct node *n = at->list; n; n = n->next)
		if (n->kind == N_PARAM && text_has_prefix(n->name, "o"))
			written = keep(sh, json_array());
	c.out = written ? written : out;
	sh->at = at;
	ok = bind_and_run(&c, input);
	sh->at = before;
	if (written)
		json_array_extend(out, written);
	/* binding errors end the statement, but -ErrorAction has its say in those of the pipeline */
	if (!ok && sh->flow == FLOW_THROW && sh->thrown)
		json_array_append(c.written_errors, sh->thrown);
	if (written)
		set_result_var(&c, "OutVariable", written);
	set_result_var(&c, "ErrorVariable", c.written_errors);
	return ok;
}
