// SPDX-License-Identifier: MIT
/* Numbers: reading them with multipliers and suffixes, printing reals. */
#include "shell/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 64 };

static size_t digits(const char *s, const char *end)
{
	const char *p = s;

	while (p < end && isdigit((u8)*p))
		p++;
	return (size_t)(p - s);
}

static size_t hex_digits(const char *s, const char *end)
{
	const char *p = s;

	if (end - s < 3 || s[0] != '0' || (s[1] | 32) != 'x')
		return 0;
	for (p += 2; p < end && isxdigit((u8)*p);)
		p++;
	return p > s + 2 ? (size_t)(p - s) : 0;
}

/* Digits, fraction, exponent. @whole: neither fraction nor exponent. */
static size_t decimal_digits(const char *s, const char *end, bool *whole)
{
	size_t n = digits(s, end), fraction = 0, e;

	*whole = true;
	if (s + n < end && s[n] == '.' && !(s + n + 1 < end && s[n + 1] == '.')) {
		fraction = digits(s + n + 1, end);
		if (!n && !fraction)
			return 0;
		n += 1 + fraction;
		*whole = false;
	}
	if (!n || s + n >= end || (s[n] | 32) != 'e')
		return n;
	e = n + 1;
	if (s + e < end && (s[e] == '+' || s[e] == '-'))
		e++;
	if (!digits(s + e, end))
		return n;
	*whole = false;
	return e + digits(s + e, end);
}

/* 1 for none; its length in @len. */
static u64 multiplier(const char *s, const char *end, size_t *len)
{
	static const char letters[] = "kmgtp";
	const char *at;

	*len = 0;
	if (end - s < 2 || (s[1] | 32) != 'b' || !(at = strchr(letters, s[0] | 32)))
		return 1;
	*len = 2;
	return 1ull << 10 * (at - letters + 1);
}

static json_t *make_value(u64 whole, double real, bool is_whole, u64 times)
{
	u64 product;

	if (is_whole && !__builtin_mul_overflow(whole, times, &product) && product <= INT64_MAX)
		return json_integer((json_int_t)product);
	real *= (double)times;
	return isfinite(real) ? json_real(real) : NULL;
}

size_t number_scan(const char *s, const char *end, json_t **value)
{
	char copy[NUMBER_MAX];
	bool whole = true;
	size_t n = hex_digits(s, end), tail;
	bool hex = n != 0;
	u64 times, integer = 0;
	double real;

	if (!hex)
		n = decimal_digits(s, end, &whole);
	if (!n || n >= sizeof(copy))
		return 0;
	memcpy(copy, s, n);
	copy[n] = 0;
	real = hex ? (double)strtoull(copy, NULL, 16) : strtod(copy, NULL);
	errno = 0;
	if (whole)
		integer = strtoull(copy, NULL, hex ? 16 : 10);
	if (errno == ERANGE)
		whole = false;
	if (s + n < end && ((s[n] | 32) == 'l' || (!hex && (s[n] | 32) == 'd')))
		n++;
	times = multiplier(s + n, end, &tail);
	*value = make_value(integer, real, whole, times);
	return *value ? n + tail : 0;
}

json_t *number_parse(const char *text)
{
	const char *end = text + strlen(text);
	bool negative = false;
	json_t *v;
	size_t n;

	while (isspace((u8)*text))
		text++;
	while (end > text && isspace((u8)end[-1]))
		end--;
	if (*text == '-' || *text == '+')
		negative = *text++ == '-';
	n = number_scan(text, end, &v);
	if (!n)
		return NULL;
	if (text + n != end) {
		json_decref(v);
		return NULL;
	}
	if (negative && json_is_integer(v))
		json_integer_set(v, -json_integer_value(v));
	else if (negative)
		json_real_set(v, -json_real_value(v));
	return v;
}

void number_print(double d, char to[40])
{
	char *e;

	for (int precision = 15; precision <= 17; precision++) {
		snprintf(to, 32, "%.*g", precision, d);
		if (strtod(to, NULL) == d)
			break;
	}
	e = strchr(to, 'e');
	if (e)
		*e = 'E';
}
