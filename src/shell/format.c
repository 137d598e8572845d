// SPDX-License-Identifier: MIT
/* Objects as text: what a pipeline's end shows. */
#include "shell/format.h"

#include <stdlib.h>
#include <string.h>

#include "shell/text.h"
#include "shell/types.h"

enum { FEW_MEMBERS = 4, JSON_DEPTH = 16 };

/* ---- JSON ------------------------------------------------------------------------------ */

static json_t *plain_object_new(const json_t *v, unsigned depth)
{
	json_t *o = json_object(), *e;
	const char *k;

	json_object_foreach((json_t *)v, k, e) if (k[0] != '@')
		json_object_set_new(o, k, plain_json_new(e, depth - 1));
	return o;
}

static bool is_text_only(const json_t *v)
{
	return value_is(v, "TimeSpan") || value_is(v, "DateTime") || value_is(v, "ScriptBlock");
}

json_t *plain_json_new(const json_t *v, unsigned depth)
{
	json_t *list, *e;
	size_t i;

	if (json_is_object(v))
		return !depth || is_text_only(v) ? value_string_new(v) : plain_object_new(v, depth);
	if (!json_is_array(v))
		return json_incref((json_t *)v);
	if (!depth)
		return value_string_new(v);
	list = json_array();
	json_array_foreach(v, i, e) json_array_append_new(list, plain_json_new(e, depth - 1));
	return list;
}

static void show_json(json_t *values, FILE *to)
{
	json_t *v, *plain;
	size_t i;

	json_array_foreach(values, i, v)
	{
		plain = plain_json_new(v, JSON_DEPTH);
		json_dumpf(plain, to, JSON_COMPACT | JSON_ENCODE_ANY);
		fputc('\n', to);
		json_decref(plain);
	}
}

/* ---- One kind of object after another ----------------------------------------------------- */

enum look { LOOK_NOTHING, LOOK_TEXT, LOOK_TABLE, LOOK_LIST, LOOK_READY };

static enum look look_of(json_t *v)
{
	const struct type_row *row;
	size_t members = 0;
	const char *k;
	json_t *e;

	if (json_is_null(v))
		return LOOK_NOTHING;
	if (!json_is_object(v))
		return LOOK_TEXT;
	if (value_is(v, "FormatText"))
		return LOOK_READY;
	if (value_is(v, "Hashtable"))
		return LOOK_TABLE;
	row = value_is(v, "PSCustomObject") ? NULL : type_find(value_tag(v));
	if (row && row->table[0].member && !row->list_is_default)
		return LOOK_TABLE;
	if (row && (row->list || row->list_is_default))
		return LOOK_LIST;
	if (row)
		return LOOK_TEXT;
	json_object_foreach(v, k, e) members += k[0] != '@';
	return members <= FEW_MEMBERS ? LOOK_TABLE : LOOK_LIST;
}

static bool same_members(json_t *a, json_t *b)
{
	const char *k;
	json_t *e;

	if (json_object_size(a) != json_object_size(b))
		return false;
	json_object_foreach(a, k, e) if (!json_object_get(b, k)) return false;
	return true;
}

/* Whether @b can stand in one table with @a. */
static bool alike(json_t *a, json_t *b)
{
	if (!json_is_object(b) || strcmp(value_tag(a), value_tag(b)) || look_of(a) != look_of(b))
		return false;
	return !value_is(a, "PSCustomObject") || same_members(a, b);
}

/* A hash table's rows. */
static json_t *pairs_of(struct shell *sh, json_t *hash)
{
	json_t *rows = keep(sh, json_array()), *e;
	const char *k;

	json_object_foreach(hash, k, e) if (k[0] != '@')
		json_array_append_new(rows, json_pack("{s:s, s:O}", "Name", k, "Value", e));
	return rows;
}

static void show_group(struct shell *sh, json_t *group, enum look look, FILE *to)
{
	struct format_options o = { .width = format_width(to) };
	json_t *first = json_array_get(group, 0);

	if (look == LOOK_LIST)
		format_list(sh, group, &o, to);
	else if (value_is(first, "Hashtable"))
		format_table(sh, pairs_of(sh, first), &o, to);
	else
		format_table(sh, group, &o, to);
}

static void show_text(json_t *v, FILE *to)
{
	char *text;

	if (value_is(v, "FormatText")) {
		fputs(json_string_value(json_object_get(v, "Text")), to);
		return;
	}
	text = value_text(v);
	fputs(text, to);
	fputc('\n', to);
	free(text);
}

void format_default(struct shell *sh, json_t *values, FILE *to)
{
	size_t nr = json_array_size(values);

	if (sh->json && to == sh->out) {
		show_json(values, to);
		return;
	}
	for (size_t i = 0; i < nr;) {
		json_t *v = json_array_get(values, i++), *group;
		enum look look = look_of(v);

		if (look == LOOK_NOTHING)
			continue;
		if (json_is_array(v)) {
			format_default(sh, v, to);
			continue;
		}
		if (look == LOOK_TEXT || look == LOOK_READY) {
			show_text(v, to);
			continue;
		}
		group = keep(sh, json_array());
		json_array_append(group, v);
		while (i < nr && !value_is(v, "Hashtable") && alike(v, json_array_get(values, i)))
			json_array_append(group, json_array_get(values, i++));
		show_group(sh, group, look, to);
	}
}
