// SPDX-License-Identifier: MIT
/* What is made of the API's tables: checks, defaults, changes, routes. */
#include "control/api.h"

#include <stdlib.h>
#include <string.h>

/* ---- Looking up ---- */

static const struct api_field *field_by_name(const struct api_object *o, const char *name,
					     size_t len)
{
	for (unsigned i = 0; i < o->nr_fields; i++)
		if (strlen(o->fields[i].name) == len && !strncasecmp(o->fields[i].name, name, len))
			return &o->fields[i];
	return NULL;
}

const struct api_field *api_find_field(const struct api_object *o, const char *name)
{
	for (;;) {
		size_t len = strcspn(name, ".");
		const struct api_field *f = field_by_name(o, name, len);

		if (!f || !name[len])
			return f;
		if (!f->object)
			return NULL;
		o = f->object;
		name += len + 1;
	}
}

static bool part_matches(const char *pattern, size_t plen, const char *part, size_t len,
			 char parts[API_MAX_PARTS][API_PART_SIZE], unsigned *nr)
{
	if (pattern[0] != '{')
		return plen == len && !memcmp(pattern, part, len);
	if (!len || len >= API_PART_SIZE || *nr == API_MAX_PARTS)
		return false;
	memcpy(parts[*nr], part, len);
	parts[(*nr)++][len] = 0;
	return true;
}

static bool path_matches(const char *pattern, const char *path,
			 char parts[API_MAX_PARTS][API_PART_SIZE])
{
	unsigned nr = 0;

	while (*pattern == '/' && *path == '/') {
		size_t plen = strcspn(++pattern, "/"), len = strcspn(++path, "/");

		if (!part_matches(pattern, plen, path, len, parts, &nr))
			return false;
		pattern += plen;
		path += len;
	}
	return !*pattern && !*path;
}

const struct api_route *api_find_route(const char *method, const char *path,
				       char parts[API_MAX_PARTS][API_PART_SIZE], bool *path_known)
{
	*path_known = false;
	for (unsigned i = 0; i < API_NR_OPS; i++) {
		if (!path_matches(api_routes[i].path, path, parts))
			continue;
		*path_known = true;
		if (!strcmp(api_routes[i].method, method))
			return &api_routes[i];
	}
	return NULL;
}

int api_compare_versions(const char *a, const char *b)
{
	long x = strtol(a, NULL, 10), y = strtol(b, NULL, 10);
	const char *da = strchr(a, '.'), *db = strchr(b, '.');

	if (x != y)
		return x < y ? -1 : 1;
	x = da ? strtol(da + 1, NULL, 10) : 0;
	y = db ? strtol(db + 1, NULL, 10) : 0;
	return (x > y) - (x < y);
}

/* ---- Checks ---- */

struct check {
	enum api_use use;
	struct ctl_err *e;
	char where[128]; /* "processor.count" */
};

static int bad_value(struct check *c, const char *why)
{
	return ctl_error(c->e, CTL_INVALID_ARGUMENT,
			 "Cannot validate argument on parameter '%s'. %s", c->where, why);
}

static int check_int(struct check *c, const struct api_field *f, const json_t *v)
{
	char why[200];
	s64 n = json_integer_value(v);

	if (!json_is_integer(v))
		return bad_value(c, "It is not a whole number.");
	if (n < f->min || n > f->max) {
		snprintf(why, sizeof(why), "%lld is not in the range from %lld to %lld%s%s.",
			 (long long)n, (long long)f->min, (long long)f->max, f->unit ? " " : "",
			 f->unit ? f->unit : "");
		return bad_value(c, why);
	}
	return 0; /* multiples: rules.c, whose message names the VM */
}

static bool has_control_characters(const char *s, size_t len, bool lines_allowed)
{
	for (size_t i = 0; i < len; i++) {
		u8 ch = (u8)s[i];
		bool fine = lines_allowed && (ch == '\n' || ch == '\r' || ch == '\t');

		if ((ch < 0x20 || ch == 0x7f) && !fine)
			return true;
	}
	return false;
}

static int check_string(struct check *c, const struct api_field *f, const json_t *v)
{
	const char *s = json_string_value(v);
	size_t len = json_string_length(v);

	if (!s)
		return bad_value(c, "It is not a string.");
	if (len < (size_t)f->min)
		return bad_value(c, "It is too short.");
	if (len > (size_t)f->max)
		return bad_value(c, "It is too long.");
	if (has_control_characters(s, len, f->type == API_TEXT))
		return bad_value(c, "It has control characters.");
	if (f->type == API_PATH && *s && *s != '/')
		return bad_value(c, "It is not an absolute path.");
	return 0;
}

static int check_word(struct check *c, const struct api_field *f, json_t *v)
{
	const char *s = json_string_value(v);
	char why[400] = "It is none of";
	size_t n = strlen(why);

	for (unsigned i = 0; f->words[i]; i++) {
		if (s && !strcasecmp(s, f->words[i]))
			return json_string_set(v, f->words[i]);
		n += (size_t)snprintf(why + n, sizeof(why) - n, " %s%s", f->words[i],
				      f->words[i + 1] ? "," : ".");
	}
	return bad_value(c, why);
}

static int check_object(struct check *c, const struct api_object *o, json_t *j);

static int check_array(struct check *c, const struct api_field *f, json_t *v)
{
	enum api_use use = c->use;
	size_t i;
	json_t *item;
	int r = 0;

	if (!json_is_array(v))
		return bad_value(c, "It is not an array.");
	if (json_array_size(v) > 256)
		return bad_value(c, "It has too many items.");
	if (use == API_FOR_CHANGE)
		c->use = API_FOR_CREATION; /* arrays are replaced whole */
	json_array_foreach(v, i, item)
		r = r ? r : check_object(c, f->object, item);
	c->use = use;
	return r;
}

static int check_value(struct check *c, const struct api_field *f, json_t *v)
{
	switch (f->type) {
	case API_BOOL:
		return json_is_boolean(v) ? 0 : bad_value(c, "It is neither true nor false.");
	case API_INT:
		return check_int(c, f, v);
	case API_STRING:
	case API_TEXT:
	case API_PATH:
		return check_string(c, f, v);
	case API_WORD:
		return check_word(c, f, v);
	case API_OBJECT:
		return check_object(c, f->object, v);
	case API_ARRAY:
		return check_array(c, f, v);
	}
	return 0;
}

static bool allowed(const struct check *c, const struct api_field *f)
{
	if (c->use == API_FOR_STORE)
		return true;
	if (!strcmp(f->name, "revision") && c->use == API_FOR_CHANGE)
		return true; /* what the change is based on */
	if (f->when == API_READ_ONLY)
		return false;
	return f->when != API_AT_CREATION || c->use == API_FOR_CREATION;
}

static int check_field(struct check *c, const struct api_object *o, const char *key, json_t *v)
{
	const struct api_field *f = field_by_name(o, key, strlen(key));
	size_t len = strlen(c->where);

	snprintf(c->where + len, sizeof(c->where) - len, "%s%s", len ? "." : "",
		 f ? f->name : key);
	int r;
	if (!f || strcmp(f->name, key))
		r = ctl_error(c->e, CTL_INVALID_PARAMETER,
			      "A parameter cannot be found that matches parameter name '%s'.",
			      c->where);
	else if (!allowed(c, f))
		r = ctl_error(c->e, CTL_INVALID_PARAMETER, "'%s' cannot be changed%s.", c->where,
			      f->when == API_AT_CREATION ? " any more" : "");
	else
		r = check_value(c, f, v);
	if (!r)
		c->where[len] = 0;
	return r;
}

static int check_object(struct check *c, const struct api_object *o, json_t *j)
{
	const char *key;
	json_t *v;

	if (!json_is_object(j))
		return ctl_error(c->e, CTL_INVALID_ARGUMENT, "%s%sthis is not an object.", c->where,
				 c->where[0] ? ": " : "");
	json_object_foreach(j, key, v)
		if (check_field(c, o, key, v))
			return -1;
	return 0;
}

int api_check(const struct api_object *o, json_t *j, enum api_use use, struct ctl_err *e)
{
	struct ctl_err ignored;
	struct check c = { .use = use, .e = e ? e : &ignored };

	return check_object(&c, o, j);
}

const struct api_field *api_needs_off(const struct api_object *o, const json_t *j)
{
	for (unsigned i = 0; i < o->nr_fields; i++) {
		const struct api_field *f = &o->fields[i];
		const json_t *v = json_object_get(j, f->name);

		if (!v)
			continue;
		if (f->when == API_WHILE_OFF)
			return f;
		if (f->type == API_OBJECT) {
			const struct api_field *inner = api_needs_off(f->object, v);

			if (inner)
				return inner;
		}
	}
	return NULL;
}

/* ---- Defaults and changes ---- */

static int fill_array(const struct api_field *f, json_t *v)
{
	size_t i;
	json_t *item;

	json_array_foreach(v, i, item)
		if (api_fill_defaults(f->object, item))
			return -1;
	return 0;
}

int api_fill_defaults(const struct api_object *o, json_t *j)
{
	for (unsigned i = 0; i < o->nr_fields; i++) {
		const struct api_field *f = &o->fields[i];
		json_t *v = json_object_get(j, f->name);

		if (!v && f->def) {
			v = json_loads(f->def, JSON_DECODE_ANY, NULL);
			if (json_object_set_new(j, f->name, v))
				return -1;
		}
		if (v && f->type == API_OBJECT && api_fill_defaults(f->object, v))
			return -1;
		if (v && f->type == API_ARRAY && fill_array(f, v))
			return -1;
	}
	return 0;
}

int api_merge(const struct api_object *o, json_t *j, const json_t *change)
{
	for (unsigned i = 0; i < o->nr_fields; i++) {
		const struct api_field *f = &o->fields[i];
		json_t *v = json_object_get(change, f->name), *old = json_object_get(j, f->name);

		if (!v)
			continue;
		if (f->type == API_OBJECT && old) {
			if (api_merge(f->object, old, v))
				return -1;
		} else if (json_object_set_new(j, f->name, json_deep_copy(v))) {
			return -1;
		}
	}
	return 0;
}
