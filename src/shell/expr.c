// SPDX-License-Identifier: MIT
/* Expressions. */
#include <stdlib.h>
#include <string.h>

#include "shell/shell_internal.h"
#include "shell/text.h"

enum { MAX_EVAL_DEPTH = 3000, MAX_TEXT = 64 << 20 };

static json_t *eval_expand(struct shell *sh, const struct node *n)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	json_t *s = NULL;
	bool ok = f != NULL;

	for (const struct node *part = n->list; ok && part; part = part->next) {
		json_t *v = eval(sh, part);
		char *t = v ? value_text(v) : NULL;

		ok = t != NULL;
		if (ok)
			fputs(t, f);
		free(t);
	}
	if (f)
		fclose(f);
	if (ok)
		s = keep(sh, json_stringn(text, len));
	free(text);
	return s;
}

static json_t *eval_list(struct shell *sh, const struct node *n)
{
	json_t *list = keep(sh, json_array());

	for (const struct node *e = n->list; e; e = e->next) {
		json_t *v = eval(sh, e);

		if (!v)
			return NULL;
		json_array_append(list, v);
	}
	return list;
}

/* $( ) and @( ): what statements write. */
static json_t *eval_statements(struct shell *sh, const struct node *n)
{
	json_t *out = keep(sh, json_array());

	if (!exec_statements(sh, n->list, out))
		return NULL;
	return n->kind == N_ARRAY ? out : keep(sh, value_collect_new(out));
}

static json_t *eval_hash(struct shell *sh, const struct node *n)
{
	json_t *hash = keep(sh, value_object_new("Hashtable"));

	for (const struct node *pair = n->list; pair; pair = pair->next) {
		json_t *k = eval(sh, pair->a), *v = k ? eval_statement(sh, pair->b) : NULL;
		char *key;

		if (!v)
			return NULL;
		key = value_text(k);
		if (key[0] != '@')
			value_set(hash, key, json_incref(v));
		free(key);
	}
	return hash;
}

static json_t *eval_member(struct shell *sh, const struct node *n)
{
	json_t *of = eval(sh, n->a), *key = of ? eval(sh, n->b) : NULL, *v;
	char *name;

	if (!key)
		return NULL;
	name = value_text(key);
	v = keep(sh, value_member_new(of, name));
	free(name);
	return v;
}

static json_t *one_element(struct shell *sh, const struct node *n, json_t *of, json_t *key)
{
	json_t *v = NULL;
	s64 i;
	char *name;

	if (json_is_object(of)) {
		name = value_text(key);
		if (name[0] != '@')
			v = value_get(of, name, NULL);
		free(name);
		return v ? v : json_null();
	}
	if (!value_integer(key, &i))
		return shell_throw(sh, n,
				   &(struct fault){ ERR_INVALID_ARGUMENT,
						    "InvalidCastFromStringToInteger" },
				   "The index of an array must be a whole number.");
	if (json_is_string(of)) {
		const char *s = json_string_value(of), *end = s + json_string_length(of);
		unsigned len = 0;

		for (s64 at = 0; s < end && i >= 0; at++, s += len) {
			utf8_decode(s, end, &len);
			if (at == i)
				return keep(sh, json_stringn(s, len));
		}
		return json_null();
	}
	if (!json_is_array(of))
		return i == 0 || i == -1 ? of : json_null();
	i = i < 0 ? i + (s64)json_array_size(of) : i;
	v = i >= 0 ? json_array_get(of, (size_t)i) : NULL;
	return v ? v : json_null();
}

static json_t *eval_index(struct shell *sh, const struct node *n)
{
	json_t *of = eval(sh, n->a), *key = of ? eval(sh, n->b) : NULL, *list, *k;
	size_t i;

	if (!key)
		return NULL;
	if (json_is_null(of))
		return shell_throw(sh, n, &(struct fault){ ERR_INVALID_OPERATION, "NullArray" },
				   "Cannot index into a null array.");
	if (!json_is_array(key))
		return one_element(sh, n, of, key);
	list = keep(sh, json_array());
	json_array_foreach(key, i, k)
	{
		json_t *v = one_element(sh, n, of, k);

		if (!v)
			return NULL;
		if (!json_is_null(v))
			json_array_append(list, v);
	}
	return list;
}

/* -and and -or look at the right side only when they must. */
static json_t *eval_logic(struct shell *sh, const struct node *n)
{
	json_t *a = eval(sh, n->a), *b;
	bool left;

	if (!a)
		return NULL;
	left = value_truth(a);
	if (n->op != OP_XOR && left == (n->op == OP_OR))
		return left ? json_true() : json_false();
	b = eval(sh, n->b);
	if (!b)
		return NULL;
	if (n->op == OP_XOR)
		return left != value_truth(b) ? json_true() : json_false();
	return value_truth(b) ? json_true() : json_false();
}

static json_t *eval_binary(struct shell *sh, const struct node *n)
{
	json_t *a, *b;

	if (n->op == OP_AND || n->op == OP_OR || n->op == OP_XOR)
		return eval_logic(sh, n);
	a = eval(sh, n->a);
	if (a && (n->op == OP_IS || n->op == OP_ISNOT) && n->b->kind == N_CAST && !n->b->a)
		b = keep(sh, json_string(n->b->name));
	else
		b = a ? eval(sh, n->b) : NULL;
	return b ? op_binary(sh, n, n->op, a, b) : NULL;
}

static json_t *eval_unary(struct shell *sh, const struct node *n)
{
	json_t *a = eval(sh, n->a);

	return a ? op_unary(sh, n, n->op, a) : NULL;
}

static json_t *eval_cast(struct shell *sh, const struct node *n)
{
	json_t *v;

	if (!n->a)
		return keep(sh, json_string(n->name));
	v = eval(sh, n->a);
	return v ? op_cast(sh, n, n->name, v) : NULL;
}

static json_t *eval_const(struct shell *sh, const struct node *n)
{
	(void)sh;
	return n->value;
}

static json_t *eval_node(struct shell *sh, const struct node *n)
{
	switch (n->kind) {
	case N_CONST:
		return eval_const(sh, n);
	case N_EXPAND:
		return eval_expand(sh, n);
	case N_VAR:
	case N_SPLAT:
		return shell_get_var(sh, n->name);
	case N_PAREN:
		return eval_statement(sh, n->a);
	case N_SUBEXPR:
	case N_ARRAY:
		return eval_statements(sh, n);
	case N_HASH:
		return eval_hash(sh, n);
	case N_SCRIPTBLOCK:
		return scriptblock_value(sh, n);
	case N_LIST:
		return eval_list(sh, n);
	case N_UNARY:
		return eval_unary(sh, n);
	case N_BINARY:
		return eval_binary(sh, n);
	case N_CAST:
		return eval_cast(sh, n);
	case N_MEMBER:
		return eval_member(sh, n);
	case N_INDEX:
		return eval_index(sh, n);
	default:
		return eval_statement(sh, n);
	}
}

json_t *eval(struct shell *sh, const struct node *n)
{
	json_t *v;

	if (++sh->depth > MAX_EVAL_DEPTH)
		v = shell_throw(sh, n,
				&(struct fault){ ERR_INVALID_OPERATION, "CallDepthOverflow" },
				"The script failed due to call depth overflow.");
	else
		v = eval_node(sh, n);
	sh->depth--;
	return v;
}
