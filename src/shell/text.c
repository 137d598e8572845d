// SPDX-License-Identifier: MIT
/* Characters, comparison without case, wildcards. */
#include "shell/text.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

static unsigned sequence_length(u8 first)
{
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first < 0xe0)
		return 2;
	if (first >= 0xe0 && first < 0xf0)
		return 3;
	return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* The code point of @n bytes at @s, or -1. */
static s64 decode_sequence(const u8 *s, unsigned n)
{
	static const u32 least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	u32 cp = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	for (unsigned i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return -1;
		cp = cp << 6 | (s[i] & 0x3f);
	}
	if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
		return -1;
	return cp;
}

u32 utf8_decode(const char *s, const char *end, unsigned *len)
{
	unsigned n;
	s64 cp;

	*len = 0;
	if (s >= end)
		return 0;
	n = sequence_length((u8)*s);
	cp = n && n <= (size_t)(end - s) ? decode_sequence((const u8 *)s, n) : -1;
	*len = cp < 0 ? 1 : n;
	return cp < 0 ? 0xfffd : (u32)cp;
}

unsigned utf8_encode(u32 cp, char to[4])
{
	if (cp < 0x80) {
		to[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		to[0] = (char)(0xc0 | cp >> 6);
		to[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		to[0] = (char)(0xe0 | cp >> 12);
		to[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		to[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | cp >> 18);
	to[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	to[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	to[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

bool utf8_valid(const char *s, size_t len, size_t *bad)
{
	for (size_t i = 0; i < len;) {
		unsigned n = sequence_length((u8)s[i]);

		if (!n || n > len - i || decode_sequence((const u8 *)s + i, n) <= 0) {
			*bad = i;
			return false;
		}
		i += n;
	}
	return true;
}

bool cp_is_dash(u32 cp)
{
	return cp == '-' || (cp >= 0x2013 && cp <= 0x2015);
}

bool cp_is_dquote(u32 cp)
{
	return cp == '"' || (cp >= 0x201c && cp <= 0x201e);
}

bool cp_is_squote(u32 cp)
{
	return cp == '\'' || (cp >= 0x2018 && cp <= 0x201b);
}

bool cp_is_blank(u32 cp)
{
	return cp == ' ' || cp == '\t' || cp == '\v' || cp == '\f' || cp == 0xa0 || cp == 0x1680 ||
	       (cp >= 0x2000 && cp <= 0x200a) || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool cp_is_newline(u32 cp)
{
	return cp == '\n' || cp == '\r';
}

bool cp_is_word(u32 cp)
{
	if (cp < 0x80)
		return (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') ||
		       (cp >= '0' && cp <= '9') || cp == '_';
	return !cp_is_blank(cp) && !cp_is_dash(cp) && !cp_is_dquote(cp) && !cp_is_squote(cp);
}

bool cp_in(u32 cp, const char *ascii)
{
	return cp && cp < 0x80 && strchr(ascii, (int)cp);
}

/* ---- Comparison -------------------------------------------------------------- */

static u32 fold(u32 cp)
{
	if (cp < 0x80)
		return cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
	return (u32)towlower((wint_t)cp);
}

/* The next code point up to @end, or up to the zero byte; 0 there. */
static u32 next_cp(const char **s, const char *end)
{
	unsigned n;
	u32 cp = **s && (!end || *s < end) ? utf8_decode(*s, end ? end : *s + strlen(*s), &n) : 0;

	if (cp)
		*s += n;
	return cp;
}

/* As above; @s ends with a zero byte, so that no length is needed. */
static u32 next_folded(const char **s)
{
	u8 c = (u8) * *s;
	unsigned n, have = 0;
	u32 cp;

	if (c < 0x80) {
		*s += c != 0;
		return fold(c);
	}
	while (have < 4 && (*s)[have])
		have++;
	cp = utf8_decode(*s, *s + have, &n);
	*s += n;
	return fold(cp);
}

int text_casecmp(const char *a, const char *b)
{
	for (;;) {
		u32 x = next_folded(&a), y = next_folded(&b);

		if (x != y)
			return x < y ? -1 : 1;
		if (!x)
			return 0;
	}
}

int text_casencmp(const char *a, const char *b, size_t bytes)
{
	const char *a_end = a + strnlen(a, bytes), *b_end = b + strnlen(b, bytes);

	for (;;) {
		u32 x = fold(next_cp(&a, a_end)), y = fold(next_cp(&b, b_end));

		if (x != y)
			return x < y ? -1 : 1;
		if (!x)
			return 0;
	}
}

bool text_equal(const char *a, const char *b)
{
	return !text_casecmp(a, b);
}

bool text_has_prefix(const char *text, const char *prefix)
{
	for (;;) {
		u32 p = next_folded(&prefix);

		if (!p)
			return true;
		if (p != next_folded(&text))
			return false;
	}
}

bool text_in_list(const char *word, const char *list)
{
	size_t len = strlen(word);

	while (list && *list) {
		size_t n = strcspn(list, "|");

		if (n == len && !text_casencmp(word, list, n))
			return true;
		list += n + (list[n] == '|');
	}
	return false;
}

/* ---- Wildcards ---------------------------------------------------------------- */

struct matcher {
	bool with_case;
};

static u32 same_case(const struct matcher *m, u32 cp)
{
	return m->with_case ? cp : fold(cp);
}

static u32 raw_next(const char **s)
{
	unsigned n, have = 0;
	u32 cp;

	while (have < 4 && (*s)[have])
		have++;
	cp = utf8_decode(*s, *s + have, &n);
	*s += n;
	return cp;
}

/* Matches @cp against the set after '['; moves @p behind the ']'. A set that does
 * not end matches nothing. */
static bool match_set(const struct matcher *m, const char **p, u32 cp)
{
	bool found = false, first = true;

	for (;;) {
		u32 lo = raw_next(p), hi;

		if (!lo)
			return false;
		if (lo == ']' && !first)
			return found;
		first = false;
		if (lo == '`')
			lo = raw_next(p);
		hi = lo;
		if (**p == '-' && (*p)[1] && (*p)[1] != ']') {
			(*p)++;
			hi = raw_next(p);
		}
		lo = same_case(m, lo);
		hi = same_case(m, hi);
		if (lo <= hi && cp >= lo && cp <= hi)
			found = true;
	}
}

/* One pattern element that is no '*', against one character. */
static bool match_one(const struct matcher *m, const char **p, u32 cp)
{
	u32 want = raw_next(p);

	cp = same_case(m, cp);
	if (want == '?')
		return true;
	if (want == '[')
		return match_set(m, p, cp);
	if (want == '`' && **p)
		want = raw_next(p);
	return same_case(m, want) == cp;
}

bool text_like(const char *text, const char *pattern, bool with_case)
{
	struct matcher m = { with_case };
	const char *star = NULL, *resume = NULL;

	while (*text) {
		const char *t = text, *p = pattern;

		if (*p == '*') {
			star = ++pattern;
			resume = text;
			continue;
		}
		if (*p && match_one(&m, &p, raw_next(&t))) {
			text = t;
			pattern = p;
			continue;
		}
		if (!star)
			return false;
		raw_next(&resume);
		text = resume;
		pattern = star;
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

bool text_has_wildcard(const char *text)
{
	for (; *text; text++) {
		if (*text == '`' && text[1])
			text++;
		else if (strchr("*?[", *text))
			return true;
	}
	return false;
}

/* ---- Columns -------------------------------------------------------------------- */

static unsigned cp_width(u32 cp)
{
	int w = cp < 0x80 ? 1 : wcwidth((wchar_t)cp);

	return w < 0 ? 1 : (unsigned)w;
}

unsigned text_width(const char *text)
{
	unsigned columns = 0;

	while (*text)
		columns += cp_width(raw_next(&text));
	return columns;
}

size_t text_fit(const char *text, unsigned columns)
{
	const char *s = text;

	while (*s) {
		const char *next = s;
		unsigned w = cp_width(raw_next(&next));

		if (w > columns)
			break;
		columns -= w;
		s = next;
	}
	return (size_t)(s - text);
}

char *text_printable(const char *text)
{
	char *copy = malloc(strlen(text) + 1), *to = copy;

	while (copy && *text) {
		const char *from = text;
		u32 cp = raw_next(&text);

		if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 ||
		    (cp >= 0x202a && cp <= 0x202e)) {
			*to++ = '?';
		} else {
			memcpy(to, from, (size_t)(text - from));
			to += text - from;
		}
	}
	if (copy)
		*to = 0;
	return copy;
}
