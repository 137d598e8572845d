// SPDX-License-Identifier: MIT
/* Values: types, conversions, members, comparison, as PowerShell has them. */
#include "shell/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shell/number.h"
#include "shell/text.h"
#include "shell/types.h"

enum { MAX_PRINT_DEPTH = 3 };

/* ---- Types ---------------------------------------------------------------------------- */

const char *value_tag(const json_t *v)
{
	const char *tag;

	if (!json_is_object(v))
		return NULL;
	tag = json_string_value(json_object_get(v, TYPE_KEY));
	return tag ? tag : "PSCustomObject";
}

bool value_is(const json_t *v, const char *tag)
{
	const char *t = value_tag(v);

	return t && !strcmp(t, tag);
}

static const char *integer_type(const json_t *v)
{
	json_int_t i = json_integer_value(v);

	return i >= INT32_MIN && i <= INT32_MAX ? "Int32" : "Int64";
}

const char *value_type(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return "String";
	case JSON_INTEGER:
		return integer_type(v);
	case JSON_REAL:
		return "Double";
	case JSON_TRUE:
	case JSON_FALSE:
		return "Boolean";
	case JSON_ARRAY:
		return "Object[]";
	case JSON_OBJECT:
		return value_is(v, "NumberWord") ? "String" : value_tag(v);
	default:
		return "null";
	}
}

const char *value_full_type(const json_t *v)
{
	static _Thread_local char name[128];
	const struct type_row *row = json_is_object(v) ? type_find(value_tag(v)) : NULL;

	if (row && row->full_name)
		return row->full_name;
	snprintf(name, sizeof(name), "System.%s", value_type(v));
	return name;
}

json_t *value_object_new(const char *tag)
{
	return json_pack("{s:s}", TYPE_KEY, tag);
}

json_t *value_timespan_new(s64 ticks)
{
	return json_pack("{s:s, s:I}", TYPE_KEY, "TimeSpan", "Ticks", (json_int_t)ticks);
}

json_t *value_datetime_new(s64 ticks)
{
	return json_pack("{s:s, s:I}", TYPE_KEY, "DateTime", "Ticks", (json_int_t)ticks);
}

s64 value_ticks(const json_t *v)
{
	return json_integer_value(json_object_get(v, "Ticks"));
}

/* ---- Text ------------------------------------------------------------------------------ */

void timespan_print(s64 ticks, char to[40])
{
	u64 t = ticks < 0 ? (u64)-ticks : (u64)ticks, s = t / TICKS_PER_SECOND,
	    f = t % TICKS_PER_SECOND;
	int n = 0;

	if (ticks < 0)
		to[n++] = '-';
	if (s >= 86400)
		n += sprintf(to + n, "%llu.", (unsigned long long)(s / 86400));
	n += sprintf(to + n, "%02u:%02u:%02u", (unsigned)(s / 3600 % 24), (unsigned)(s / 60 % 60),
		     (unsigned)(s % 60));
	if (f)
		sprintf(to + n, ".%07u", (unsigned)f);
}

enum { UNIX_EPOCH_DAYS = 719162 };

void datetime_print(s64 ticks, char to[40])
{
	time_t t = (time_t)(ticks / TICKS_PER_SECOND - (s64)UNIX_EPOCH_DAYS * 86400);
	struct tm tm;
	int hour;

	gmtime_r(&t, &tm);
	hour = tm.tm_hour % 12 ? tm.tm_hour % 12 : 12;
	snprintf(to, 40, "%d/%d/%d %d:%02d:%02d %s", tm.tm_mon + 1, tm.tm_mday, tm.tm_year + 1900,
		 hour, tm.tm_min, tm.tm_sec, tm.tm_hour < 12 ? "AM" : "PM");
}

static void print_value(FILE *f, const json_t *v, unsigned depth);

static void print_array(FILE *f, const json_t *v, unsigned depth)
{
	size_t i;
	json_t *e;

	json_array_foreach(v, i, e)
	{
		if (i)
			fputc(' ', f);
		if (json_is_array(e))
			fputs("System.Object[]", f);
		else
			print_value(f, e, depth + 1);
	}
}

static void print_custom(FILE *f, const json_t *v, unsigned depth)
{
	const char *key, *separator = "";
	json_t *e;

	fputs("@{", f);
	json_object_foreach((json_t *)v, key, e)
	{
		if (key[0] == '@')
			continue;
		fprintf(f, "%s%s=", separator, key);
		if (depth < MAX_PRINT_DEPTH)
			print_value(f, e, depth + 1);
		separator = "; ";
	}
	fputc('}', f);
}

static void print_object(FILE *f, const json_t *v, unsigned depth)
{
	const struct type_row *row = type_find(value_tag(v));
	char buf[40];

	if (value_is(v, "TimeSpan"))
		timespan_print(value_ticks(v), buf), fputs(buf, f);
	else if (value_is(v, "DateTime"))
		datetime_print(value_ticks(v), buf), fputs(buf, f);
	else if (value_is(v, "PSCustomObject"))
		print_custom(f, v, depth);
	else if (row && row->text_member)
		print_value(f, json_object_get(v, row->text_member), depth + 1);
	else
		fputs(value_full_type(v), f);
}

static void print_value(FILE *f, const json_t *v, unsigned depth)
{
	char buf[40];

	switch (json_typeof(v)) {
	case JSON_STRING:
		fwrite(json_string_value(v), 1, json_string_length(v), f);
		break;
	case JSON_INTEGER:
		fprintf(f, "%lld", (long long)json_integer_value(v));
		break;
	case JSON_REAL:
		number_print(json_real_value(v), buf);
		fputs(buf, f);
		break;
	case JSON_TRUE:
		fputs("True", f);
		break;
	case JSON_FALSE:
		fputs("False", f);
		break;
	case JSON_ARRAY:
		print_array(f, v, depth);
		break;
	case JSON_OBJECT:
		print_object(f, v, depth);
		break;
	default:
		break;
	}
}

char *value_text(const json_t *v)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		abort();
	if (v)
		print_value(f, v, 0);
	fclose(f);
	return text;
}

json_t *value_string_new(const json_t *v)
{
	char *text = value_text(v);
	json_t *s = json_string(text);

	free(text);
	return s;
}

/* ---- Truth and numbers -------------------------------------------------------------------- */

bool value_truth(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return json_string_length(v) != 0;
	case JSON_INTEGER:
		return json_integer_value(v) != 0;
	case JSON_REAL:
		return json_real_value(v) != 0;
	case JSON_ARRAY:
		if (json_array_size(v) == 1)
			return value_truth(json_array_get(v, 0));
		return json_array_size(v) != 0;
	case JSON_TRUE:
	case JSON_OBJECT:
		return true;
	default:
		return false;
	}
}

json_t *value_number_new(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_INTEGER:
	case JSON_REAL:
		return json_incref((json_t *)v);
	case JSON_TRUE:
		return json_integer(1);
	case JSON_FALSE:
	case JSON_NULL:
		return json_integer(0);
	case JSON_STRING: {
		const char *s = json_string_value(v);

		return s[strspn(s, " \t")] ? number_parse(s) : json_integer(0);
	}
	default:
		return NULL;
	}
}

double value_real(const json_t *v)
{
	return json_number_value(v);
}

bool value_integer(const json_t *v, s64 *to)
{
	json_t *n = value_number_new(v);
	bool ok = n != NULL;

	if (json_is_integer(n)) {
		*to = json_integer_value(n);
	} else if (ok) {
		double d = nearbyint(json_real_value(n));

		ok = d >= -9223372036854775808.0 && d < 9223372036854775808.0;
		*to = ok ? (s64)d : 0;
	}
	json_decref(n);
	return ok;
}

/* ---- Members --------------------------------------------------------------------------------- */

json_t *value_get(json_t *object, const char *key, const char **name)
{
	const char *k;
	json_t *v;

	json_object_foreach(object, k, v)
	{
		if (text_equal(k, key)) {
			if (name)
				*name = k;
			return v;
		}
	}
	return NULL;
}

void value_set(json_t *object, const char *key, json_t *v)
{
	const char *exact = key;
	char copy[256];

	if (value_get(object, key, &exact) && strlen(exact) < sizeof(copy)) {
		strcpy(copy, exact);
		exact = copy;
	}
	json_object_set_new(object, exact, v);
}

static json_t *timespan_member_new(s64 t, const char *key)
{
	static const struct {
		const char *name, *total;
		s64 unit, wrap;
	} rows[] = {
		{ "Days", "TotalDays", 86400 * TICKS_PER_SECOND, 0 },
		{ "Hours", "TotalHours", 3600 * TICKS_PER_SECOND, 24 },
		{ "Minutes", "TotalMinutes", 60 * TICKS_PER_SECOND, 60 },
		{ "Seconds", "TotalSeconds", TICKS_PER_SECOND, 60 },
		{ "Milliseconds", "TotalMilliseconds", TICKS_PER_SECOND / 1000, 1000 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (text_equal(key, rows[i].total))
			return json_real((double)t / (double)rows[i].unit);
		if (text_equal(key, rows[i].name))
			return json_integer(rows[i].wrap ? t / rows[i].unit % rows[i].wrap
							 : t / rows[i].unit);
	}
	return NULL;
}

static size_t visible_members(json_t *v)
{
	size_t n = 0;
	const char *k;
	json_t *e;

	json_object_foreach(v, k, e) n += k[0] != '@';
	return n;
}

static json_t *hashtable_member_new(json_t *v, const char *key)
{
	bool keys = text_equal(key, "Keys");
	const char *k;
	json_t *e, *list;

	if (text_equal(key, "Count"))
		return json_integer((json_int_t)visible_members(v));
	if (!keys && !text_equal(key, "Values"))
		return NULL;
	list = json_array();
	json_object_foreach(v, k, e)
	{
		if (k[0] == '@')
			continue;
		if (keys)
			json_array_append_new(list, json_string(k));
		else
			json_array_append(list, e);
	}
	return list;
}

static size_t code_points(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((u8)*s & 0xc0) != 0x80;
	return n;
}

/* Member @key of every element that has it. */
static json_t *members_of_each_new(json_t *array, const char *key)
{
	json_t *found = json_array(), *e, *m;
	size_t i;

	json_array_foreach(array, i, e)
	{
		m = json_is_array(e) ? NULL : value_member_new(e, key);
		if (m)
			value_emit(found, m);
		json_decref(m);
	}
	if (!json_array_size(found)) {
		json_decref(found);
		return NULL;
	}
	m = value_collect_new(found);
	json_decref(found);
	return m;
}

json_t *value_member_new(json_t *v, const char *key)
{
	json_t *m =
		json_is_object(v) && key[0] != '@' ? json_incref(value_get(v, key, NULL)) : NULL;
	bool count = text_equal(key, "Count") || text_equal(key, "Length");

	if (m)
		return m;
	if (value_is(v, "TimeSpan"))
		m = timespan_member_new(value_ticks(v), key);
	else if (value_is(v, "Hashtable"))
		m = hashtable_member_new(v, key);
	if (m)
		return m;
	if (json_is_array(v))
		return count ? json_integer((json_int_t)json_array_size(v))
			     : members_of_each_new(v, key);
	if (json_is_string(v) && text_equal(key, "Length"))
		return json_integer((json_int_t)code_points(json_string_value(v)));
	if (count)
		return json_integer(json_is_null(v) ? 0 : 1);
	return NULL;
}

/* ---- Comparison -------------------------------------------------------------------------------- */

static int order_of(double a, double b)
{
	return a < b ? -1 : a > b;
}

static int compare_numbers(const json_t *a, const json_t *b)
{
	if (json_is_integer(a) && json_is_integer(b)) {
		json_int_t x = json_integer_value(a), y = json_integer_value(b);

		return x < y ? -1 : x > y;
	}
	return order_of(value_real(a), value_real(b));
}

static int compare_to_number(const json_t *a, const json_t *b)
{
	json_t *n = json_is_array(b) || json_is_object(b) ? NULL : value_number_new(b);
	int r = n ? compare_numbers(a, n) : -2;

	json_decref(n);
	return r;
}

static int compare_text(const json_t *a, const json_t *b, bool with_case)
{
	char *x = value_text(a), *y = value_text(b);
	int r = text_casecmp(x, y);

	if (!r && with_case) {
		r = strcmp(x, y);
		r = r < 0 ? -1 : r > 0;
	}
	free(x);
	free(y);
	return r;
}

static bool has_ticks(const json_t *v)
{
	return value_is(v, "TimeSpan") || value_is(v, "DateTime");
}

int value_compare(const json_t *a, const json_t *b, bool with_case)
{
	if (json_is_null(a) || json_is_null(b))
		return json_is_null(a) && json_is_null(b) ? 0 : json_is_null(a) ? -1 : 1;
	if (json_is_string(a))
		return compare_text(a, b, with_case);
	if (json_is_number(a))
		return compare_to_number(a, b);
	if (json_is_boolean(a))
		return value_truth(a) - value_truth(b);
	if (has_ticks(a) && has_ticks(b)) {
		s64 x = value_ticks(a), y = value_ticks(b);

		return x < y ? -1 : x > y;
	}
	if (json_is_object(a) && json_is_object(b))
		return a == b || json_equal(a, b) ? 0 : -2;
	return json_is_object(a) && json_is_string(b) ? compare_text(a, b, with_case) : -2;
}

bool value_equal(const json_t *a, const json_t *b, bool with_case)
{
	if (json_is_null(a) || json_is_null(b))
		return json_is_null(a) && json_is_null(b);
	return value_compare(a, b, with_case) == 0;
}

/* ---- Pipelines ------------------------------------------------------------------------------------ */

void value_emit(json_t *out, json_t *v)
{
	if (json_is_array(v))
		json_array_extend(out, v);
	else
		json_array_append(out, v);
}

json_t *value_collect_new(json_t *out)
{
	if (!json_array_size(out))
		return json_null();
	if (json_array_size(out) == 1)
		return json_incref(json_array_get(out, 0));
	return json_copy(out);
}

json_t *value_copy_new(json_t *v)
{
	return json_copy(v);
}
