// SPDX-License-Identifier: MIT
/* Operators on values: arithmetic, comparison, containment, formatting, conversion. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shell/number.h"
#include "shell/shell_internal.h"
#include "shell/text.h"

enum { MAX_ELEMENTS = 10000000, MAX_TEXT = 64 << 20 };

static json_t *boolean(bool b)
{
	return b ? json_true() : json_false();
}

/* ---- Conversions ------------------------------------------------------------------------ */

static json_t *cannot_convert(struct shell *sh, const struct node *n, const json_t *v,
			      const char *type)
{
	char *text = value_text(v);

	shell_throw(sh, n,
		    &(struct fault){ ERR_INVALID_ARGUMENT, "InvalidCastFromStringToInteger" },
		    "Cannot convert value \"%s\" to type \"System.%s\". Error: \"Input string was "
		    "not in a "
		    "correct format.\"",
		    text, type);
	free(text);
	return NULL;
}

static json_t *to_number(struct shell *sh, const struct node *n, json_t *v)
{
	json_t *number = value_number_new(v);

	return number ? keep(sh, number) : cannot_convert(sh, n, v, "Int32");
}

static json_t *to_integer(struct shell *sh, const struct node *n, json_t *v, const char *type)
{
	s64 i;

	return value_integer(v, &i) ? keep(sh, json_integer(i)) : cannot_convert(sh, n, v, type);
}

static json_t *to_real(struct shell *sh, const struct node *n, json_t *v)
{
	json_t *number = value_number_new(v);

	if (!number)
		return cannot_convert(sh, n, v, "Double");
	return keep(sh, json_real(value_real(keep(sh, number))));
}

static json_t *to_custom_object(struct shell *sh, json_t *v)
{
	json_t *o;

	if (!value_is(v, "Hashtable"))
		return v;
	o = keep(sh, json_copy(v));
	json_object_del(o, TYPE_KEY);
	return o;
}

static json_t *to_array(struct shell *sh, json_t *v)
{
	json_t *list;

	if (json_is_array(v))
		return v;
	list = keep(sh, json_array());
	json_array_append(list, v);
	return list;
}

json_t *op_cast(struct shell *sh, const struct node *n, const char *type, json_t *v)
{
	if (text_in_list(type, "int|int32|long|int64|uint64|uint32|byte"))
		return to_integer(sh, n, v, text_in_list(type, "long|int64") ? "Int64" : "Int32");
	if (text_in_list(type, "double|float|decimal|single"))
		return to_real(sh, n, v);
	if (text_equal(type, "string"))
		return keep(sh, value_string_new(v));
	if (text_in_list(type, "bool|switch"))
		return boolean(value_truth(v));
	if (text_in_list(type, "array|object[]"))
		return to_array(sh, v);
	if (text_in_list(type, "pscustomobject|psobject"))
		return to_custom_object(sh, v);
	if (text_equal(type, "void"))
		return keep(sh, json_array());
	if (text_in_list(type, "object|hashtable|ordered"))
		return v;
	return shell_throw(sh, n, &(struct fault){ ERR_INVALID_OPERATION, "TypeNotFound" },
			   "Unable to find type [%s].", type);
}

static bool has_type(const json_t *v, const char *type)
{
	const char *is = value_type(v);

	if (text_in_list(type, "int|int32|int64|long"))
		return json_is_integer(v);
	if (text_equal(type, "bool"))
		return json_is_boolean(v);
	if (text_equal(type, "array"))
		return json_is_array(v);
	return text_equal(type, is) || text_equal(type, value_full_type(v)) ||
	       (text_equal(type, "object") && !json_is_null(v));
}

/* ---- Arithmetic ----------------------------------------------------------------------------- */

static json_t *real_result(struct shell *sh, const struct node *n, double d)
{
	if (isfinite(d))
		return keep(sh, json_real(d));
	return shell_throw(sh, n, &(struct fault){ ERR_RUNTIME, "OverflowException" },
			   "Value was either too large or too small for a number.");
}

static json_t *divide(struct shell *sh, const struct node *n, u32 op, json_t *a, json_t *b)
{
	bool whole = json_is_integer(a) && json_is_integer(b);
	json_int_t x = json_integer_value(a), y = json_integer_value(b);

	if (value_real(b) == 0)
		return shell_throw(sh, n,
				   &(struct fault){ ERR_NOT_SPECIFIED, "RuntimeException",
						    "RuntimeException" },
				   "Attempted to divide by zero.");
	if (whole && y == -1)
		return op == OP_MOD ? keep(sh, json_integer(0)) : real_result(sh, n, -(double)x);
	if (whole && op == OP_MOD)
		return keep(sh, json_integer(x % y));
	if (whole && x % y == 0)
		return keep(sh, json_integer(x / y));
	if (op == OP_MOD)
		return real_result(sh, n, fmod(value_real(a), value_real(b)));
	return real_result(sh, n, value_real(a) / value_real(b));
}

static bool whole_result(u32 op, json_t *a, json_t *b, json_int_t *r)
{
	json_int_t x = json_integer_value(a), y = json_integer_value(b);

	if (!json_is_integer(a) || !json_is_integer(b))
		return false;
	switch (op) {
	case OP_ADD:
		return !__builtin_add_overflow(x, y, r);
	case OP_SUB:
		return !__builtin_sub_overflow(x, y, r);
	default:
		return !__builtin_mul_overflow(x, y, r);
	}
}

static json_t *calculate(struct shell *sh, const struct node *n, u32 op, json_t *a, json_t *b)
{
	json_int_t r;
	double x, y;

	a = to_number(sh, n, a);
	b = a ? to_number(sh, n, b) : NULL;
	if (!b)
		return NULL;
	if (op == OP_DIV || op == OP_MOD)
		return divide(sh, n, op, a, b);
	if (whole_result(op, a, b, &r))
		return keep(sh, json_integer(r));
	x = value_real(a);
	y = value_real(b);
	return real_result(sh, n, op == OP_ADD ? x + y : op == OP_SUB ? x - y : x * y);
}

static json_t *too_large(struct shell *sh, const struct node *n)
{
	return shell_throw(sh, n, &(struct fault){ ERR_RESOURCE_UNAVAILABLE, "OutOfMemory" },
			   "The result would be too large.");
}

static json_t *join_text(struct shell *sh, const struct node *n, json_t *a, json_t *b)
{
	char *x = value_text(a), *y = value_text(b), *both = NULL;
	json_t *s;

	if (strlen(x) + strlen(y) > MAX_TEXT) {
		s = too_large(sh, n);
	} else {
		both = malloc(strlen(x) + strlen(y) + 1);
		strcpy(stpcpy(both, x), y);
		s = keep(sh, json_string(both));
	}
	free(x);
	free(y);
	free(both);
	return s;
}

static json_t *add_hashes(struct shell *sh, json_t *a, json_t *b)
{
	json_t *sum = keep(sh, json_copy(a)), *v;
	const char *k;

	json_object_foreach(b, k, v) if (k[0] != '@') value_set(sum, k, json_incref(v));
	return sum;
}

static json_t *add(struct shell *sh, const struct node *n, json_t *a, json_t *b)
{
	json_t *sum;

	if (json_is_null(a))
		return b;
	if (json_is_array(a)) {
		sum = keep(sh, json_copy(a));
		value_emit(sum, b);
		return sum;
	}
	if (value_is(a, "Hashtable") && value_is(b, "Hashtable"))
		return add_hashes(sh, a, b);
	if (value_is(a, "TimeSpan") && value_is(b, "TimeSpan"))
		return keep(sh, value_timespan_new(value_ticks(a) + value_ticks(b)));
	if (json_is_string(a))
		return join_text(sh, n, a, b);
	if (json_is_object(a))
		return shell_throw(
			sh, n, &(struct fault){ ERR_INVALID_OPERATION, "MethodNotFound" },
			"Method invocation failed because [%s] does not contain a method named "
			"'op_Addition'.",
			value_full_type(a));
	return calculate(sh, n, OP_ADD, a, b);
}

static json_t *repeat_text(struct shell *sh, const struct node *n, json_t *a, s64 times)
{
	const char *s = json_string_value(a);
	size_t len = strlen(s);
	char *all;
	json_t *v;

	if (times < 0 || (len && (u64)times > MAX_TEXT / len))
		return too_large(sh, n);
	all = malloc(len * (size_t)times + 1);
	for (s64 i = 0; i < times; i++)
		memcpy(all + len * (size_t)i, s, len);
	v = keep(sh, json_stringn(all, len * (size_t)times));
	free(all);
	return v;
}

static json_t *multiply(struct shell *sh, const struct node *n, json_t *a, json_t *b)
{
	json_t *list;
	s64 times;

	if (!json_is_string(a) && !json_is_array(a))
		return calculate(sh, n, OP_MUL, a, b);
	if (!value_integer(b, &times))
		return cannot_convert(sh, n, b, "Int32");
	if (json_is_string(a))
		return repeat_text(sh, n, a, times);
	if (times < 0 || (json_array_size(a) && (u64)times > MAX_ELEMENTS / json_array_size(a)))
		return too_large(sh, n);
	list = keep(sh, json_array());
	while (times-- > 0)
		json_array_extend(list, a);
	return list;
}

static json_t *range(struct shell *sh, const struct node *n, json_t *a, json_t *b)
{
	s64 from, to, count;
	json_t *list;

	if (!value_integer(a, &from))
		return cannot_convert(sh, n, a, "Int32");
	if (!value_integer(b, &to))
		return cannot_convert(sh, n, b, "Int32");
	if (__builtin_sub_overflow(MAX(from, to), MIN(from, to), &count) || count >= MAX_ELEMENTS)
		return too_large(sh, n);
	list = keep(sh, json_array());
	for (s64 i = 0; i <= count; i++)
		json_array_append_new(list, json_integer(from <= to ? from + i : from - i));
	return list;
}

static json_t *bits(struct shell *sh, const struct node *n, u32 op, json_t *a, json_t *b)
{
	s64 x, y;

	if (!value_integer(a, &x))
		return cannot_convert(sh, n, a, "Int64");
	if (!value_integer(b, &y))
		return cannot_convert(sh, n, b, "Int64");
	return keep(sh, json_integer(op == OP_BAND ? x & y : op == OP_BOR ? x | y : x ^ y));
}

/* ---- Comparison --------------------------------------------------------------------------------- */

static bool ordered_as(u32 op, int order)
{
	switch (op) {
	case OP_GT:
		return order > 0;
	case OP_GE:
		return order >= 0;
	case OP_LT:
		return order < 0;
	default:
		return order <= 0;
	}
}

/* Whether @a op @b holds for single values; false with flow when it makes no sense. */
static bool holds(struct shell *sh, const struct node *n, u32 op, json_t *a, json_t *b,
		  bool with_case)
{
	char *x, *y;
	bool like;
	int order;

	if (op == OP_EQ || op == OP_NE)
		return value_equal(a, b, with_case) == (op == OP_EQ);
	if (op == OP_LIKE || op == OP_NOTLIKE) {
		x = value_text(a);
		y = value_text(b);
		like = text_like(x, y, with_case);
		free(x);
		free(y);
		return like == (op == OP_LIKE);
	}
	order = value_compare(a, b, with_case);
	if (order != -2)
		return ordered_as(op, order);
	x = value_text(a);
	y = value_text(b);
	shell_throw(sh, n, &(struct fault){ ERR_INVALID_OPERATION, "ComparisonFailure" },
		    "Could not compare \"%s\" to \"%s\".", x, y);
	free(x);
	free(y);
	return false;
}

/* An array on the left is filtered. */
static json_t *compare(struct shell *sh, const struct node *n, u32 op, json_t *a, json_t *b,
		       bool with_case)
{
	json_t *list, *e;
	size_t i;
	bool r;

	if (!json_is_array(a)) {
		r = holds(sh, n, op, a, b, with_case);
		return sh->flow ? NULL : boolean(r);
	}
	list = keep(sh, json_array());
	json_array_foreach(a, i, e)
	{
		if (holds(sh, n, op, e, b, with_case))
			json_array_append(list, e);
		if (sh->flow)
			return NULL;
	}
	return list;
}

static bool contains(json_t *list, json_t *v, bool with_case)
{
	json_t *e;
	size_t i;

	if (!json_is_array(list))
		return value_equal(list, v, with_case);
	json_array_foreach(list, i, e) if (value_equal(e, v, with_case)) return true;
	return false;
}

/* ---- Text ------------------------------------------------------------------------------------------ */

static json_t *join(struct shell *sh, json_t *list, json_t *by)
{
	char *separator = value_text(by), *text = NULL;
	size_t len, i;
	FILE *f = open_memstream(&text, &len);
	json_t *e, *s;

	if (!f)
		abort();
	list = to_array(sh, list);
	json_array_foreach(list, i, e)
	{
		char *t = value_text(e);

		fprintf(f, "%s%s", i ? separator : "", t);
		free(t);
	}
	fclose(f);
	s = keep(sh, json_stringn(text, len));
	free(text);
	free(separator);
	return s;
}

/* Puts commas between thousands of a printed number. */
static void group_digits(FILE *f, const char *s)
{
	size_t digits = 0;

	if (*s == '-')
		fputc(*s++, f);
	while (isdigit((u8)s[digits]))
		digits++;
	for (; digits; digits--) {
		fputc(*s++, f);
		if (digits > 1 && digits % 3 == 1)
			fputc(',', f);
	}
	fputs(s, f);
}

/* A value by a format such as N2, X8, D3, P0; anything else as text. */
static void print_format(FILE *f, json_t *v, const char *spec)
{
	char *end, buf[400], *text;
	long digits = spec[0] ? strtol(spec + 1, &end, 10) : 0;
	int letter = toupper((u8)spec[0]), precision = (int)MAX(0, MIN(digits, 50));
	bool given = spec[0] && spec[1];
	json_t *number = value_number_new(v);
	s64 i = 0;

	if (!letter || !number || json_is_string(v) || !strchr("NFXDP", letter)) {
		text = value_text(v);
		fputs(text, f);
		free(text);
	} else if (letter == 'X' || letter == 'D') {
		value_integer(number, &i);
		if (letter == 'D')
			fprintf(f, "%0*lld", precision, (long long)i);
		else
			fprintf(f, spec[0] == 'x' ? "%0*llx" : "%0*llX", precision,
				(unsigned long long)i);
	} else {
		snprintf(buf, sizeof(buf), "%.*f", given ? precision : 2,
			 value_real(number) * (letter == 'P' ? 100 : 1));
		if (letter == 'F')
			fputs(buf, f);
		else
			group_digits(f, buf);
		if (letter == 'P')
			fputs("%", f);
	}
	json_decref(number);
}

/* One {index,width:format}, behind the brace; NULL if it is none. */
static const char *format_item(FILE *f, const char *s, json_t *list)
{
	char *end, spec[40] = "", *text = NULL;
	unsigned long index = strtoul(s, &end, 10);
	long width = 0;
	size_t len, n;
	FILE *item;

	if (end == s)
		return NULL;
	if (*end == ',')
		width = strtol(end + 1, &end, 10);
	if (*end == ':') {
		n = strcspn(end + 1, "}");
		snprintf(spec, sizeof(spec), "%.*s", (int)MIN(n, sizeof(spec) - 1), end + 1);
		end += 1 + n;
	}
	if (*end != '}' || index >= json_array_size(list) || labs(width) > 10000)
		return NULL;
	item = open_memstream(&text, &len);
	print_format(item, json_array_get(list, index), spec);
	fclose(item);
	for (long pad = width - (long)text_width(text); pad > 0; pad--)
		fputc(' ', f);
	fputs(text, f);
	for (long pad = -width - (long)text_width(text); pad > 0; pad--)
		fputc(' ', f);
	free(text);
	return end + 1;
}

static json_t *format(struct shell *sh, const struct node *n, json_t *a, json_t *b)
{
	char *pattern = value_text(a), *text = NULL;
	const char *s = pattern;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	json_t *v = NULL;

	b = to_array(sh, b);
	while (s && *s) {
		if ((*s == '{' || *s == '}') && s[1] == *s) {
			fputc(*s, f);
			s += 2;
		} else if (*s == '{') {
			s = format_item(f, s + 1, b);
		} else if (*s == '}') {
			s = NULL;
		} else {
			fputc(*s++, f);
		}
	}
	fclose(f);
	if (s)
		v = keep(sh, json_stringn(text, len));
	else
		shell_throw(
			sh, n, &(struct fault){ ERR_INVALID_OPERATION, "FormatError" },
			"Error formatting a string: Input string was not in a correct format..");
	free(text);
	free(pattern);
	return v;
}

/* ---- By operator ------------------------------------------------------------------------------------- */

static json_t *subtract(struct shell *sh, const struct node *n, json_t *a, json_t *b)
{
	const char *tag = value_tag(a);

	if (tag && value_tag(b) && value_is(b, "TimeSpan") && value_is(a, "TimeSpan"))
		return keep(sh, value_timespan_new(value_ticks(a) - value_ticks(b)));
	if (value_is(a, "DateTime") && value_is(b, "DateTime"))
		return keep(sh, value_timespan_new(value_ticks(a) - value_ticks(b)));
	return calculate(sh, n, OP_SUB, a, b);
}

json_t *op_binary(struct shell *sh, const struct node *n, u32 op, json_t *a, json_t *b)
{
	bool with_case = op & OP_CASE;

	op &= ~(u32)OP_CASE;
	switch (op) {
	case OP_ADD:
		return add(sh, n, a, b);
	case OP_SUB:
		return subtract(sh, n, a, b);
	case OP_MUL:
		return multiply(sh, n, a, b);
	case OP_DIV:
	case OP_MOD:
		return calculate(sh, n, op, a, b);
	case OP_RANGE:
		return range(sh, n, a, b);
	case OP_FORMAT:
		return format(sh, n, a, b);
	case OP_BAND:
	case OP_BOR:
	case OP_BXOR:
		return bits(sh, n, op, a, b);
	case OP_MATCH:
	case OP_NOTMATCH:
		return op_match(sh, n, a, b, with_case, op == OP_NOTMATCH);
	case OP_CONTAINS:
	case OP_NOTCONTAINS:
		return boolean(contains(a, b, with_case) == (op == OP_CONTAINS));
	case OP_IN:
	case OP_NOTIN:
		return boolean(contains(b, a, with_case) == (op == OP_IN));
	case OP_REPLACE:
		return op_replace(sh, n, a, b, with_case);
	case OP_SPLIT:
		return op_split(sh, n, a, b, with_case);
	case OP_JOIN:
		return join(sh, a, b);
	case OP_IS:
	case OP_ISNOT: {
		const char *type = json_string_value(b);

		return boolean(has_type(a, type ? type : "") == (op == OP_IS));
	}
	default:
		return compare(sh, n, op, a, b, with_case);
	}
}

json_t *op_unary(struct shell *sh, const struct node *n, u32 op, json_t *a)
{
	json_t *list;
	s64 i;

	switch (op) {
	case OP_NOT:
		return boolean(!value_truth(a));
	case OP_BNOT:
		return value_integer(a, &i) ? keep(sh, json_integer(~i))
					    : cannot_convert(sh, n, a, "Int64");
	case OP_MINUS:
		return calculate(sh, n, OP_SUB, keep(sh, json_integer(0)), a);
	case OP_PLUS:
		return to_number(sh, n, a);
	case OP_JOIN:
		return join(sh, a, keep(sh, json_string("")));
	case OP_COMMA:
		list = keep(sh, json_array());
		json_array_append(list, a);
		return list;
	default:
		return op_split(sh, n, a, keep(sh, json_string("\\s+")), false);
	}
}
