// SPDX-License-Identifier: MIT
/*
 * -match, -replace and -split, over the C library's extended regular expressions. \d
 * and \D are translated; look-around and lazy operators are not there.
 */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "shell/shell_internal.h"

enum { MAX_GROUPS = 10 };

/* @pattern with \d, \D, \t, \n and \r written as POSIX has them. */
static char *translate(const char *pattern)
{
	char *to, *text = malloc(strlen(pattern) * 6 + 1);
	bool in_set = false;

	if (!text)
		abort();
	to = text;
	for (; *pattern; pattern++) {
		if (*pattern == '[')
			in_set = true;
		else if (*pattern == ']')
			in_set = false;
		if (*pattern != '\\' || !pattern[1]) {
			if (!strncmp(pattern, "(?:", 3)) {
				*to++ = '(';
				pattern += 2;
				continue;
			}
			*to++ = *pattern;
			continue;
		}
		pattern++;
		if (*pattern == 'd' || (*pattern == 'D' && !in_set))
			to = stpcpy(to, in_set ? "0-9" : *pattern == 'd' ? "[0-9]" : "[^0-9]");
		else if (strchr("tnr", *pattern))
			*to++ = *pattern == 't' ? '\t' : *pattern == 'n' ? '\n' : '\r';
		else if (in_set && *pattern != '\\' && *pattern != ']')
			*to++ = *pattern;
		else
			to += sprintf(to, "\\%c", *pattern);
	}
	*to = 0;
	return text;
}

static bool compile(struct shell *sh, const struct node *n, json_t *pattern, bool with_case,
		    regex_t *re)
{
	char *text = value_text(pattern), *posix = translate(text), why[160];
	int r = regcomp(re, posix, REG_EXTENDED | (with_case ? 0 : REG_ICASE));

	free(posix);
	if (r) {
		regerror(r, re, why, sizeof(why));
		shell_throw(sh, n,
			    &(struct fault){ ERR_INVALID_ARGUMENT, "InvalidRegularExpression" },
			    "The regular expression pattern %s is not valid: %s.", text, why);
	}
	free(text);
	return !r;
}

static void set_matches(struct shell *sh, const char *text, const regmatch_t *m)
{
	json_t *table = value_object_new("Hashtable");

	for (int i = 0; i < MAX_GROUPS; i++) {
		char key[12];

		snprintf(key, sizeof(key), "%d", i);
		if (m[i].rm_so >= 0)
			json_object_set_new(table, key,
					    json_stringn(text + m[i].rm_so,
							 (size_t)(m[i].rm_eo - m[i].rm_so)));
	}
	shell_set_var(sh, "matches", table);
	json_decref(table);
}

static bool matches(struct shell *sh, const regex_t *re, json_t *v, bool remember)
{
	char *text = value_text(v);
	regmatch_t m[MAX_GROUPS];
	bool found = !regexec(re, text, MAX_GROUPS, m, 0);

	if (found && remember)
		set_matches(sh, text, m);
	free(text);
	return found;
}

json_t *op_match(struct shell *sh, const struct node *n, json_t *a, json_t *b, bool with_case,
		 bool negate)
{
	regex_t re;
	json_t *r, *e;
	size_t i;

	if (!compile(sh, n, b, with_case, &re))
		return NULL;
	if (json_is_array(a)) {
		r = keep(sh, json_array());
		json_array_foreach(a, i, e) if (matches(sh, &re, e, false) != negate)
			json_array_append(r, e);
	} else {
		r = matches(sh, &re, a, true) != negate ? json_true() : json_false();
	}
	regfree(&re);
	return r;
}

/* $1, $& and $$ in the replacement. */
static void put_replacement(FILE *f, const char *by, const char *text, const regmatch_t *m)
{
	for (; *by; by++) {
		int group = -1;

		if (by[0] == '$' && by[1] >= '0' && by[1] <= '9')
			group = by[1] - '0';
		else if (by[0] == '$' && by[1] == '&')
			group = 0;
		if (group >= 0) {
			if (m[group].rm_so >= 0)
				fwrite(text + m[group].rm_so, 1,
				       (size_t)(m[group].rm_eo - m[group].rm_so), f);
			by++;
		} else {
			by += by[0] == '$' && by[1] == '$';
			fputc(*by, f);
		}
	}
}

static json_t *replace_one(const regex_t *re, json_t *v, const char *by)
{
	char *text = value_text(v), *result = NULL;
	const char *s = text;
	size_t len;
	FILE *f = open_memstream(&result, &len);
	regmatch_t m[MAX_GROUPS];
	json_t *r;

	while (!regexec(re, s, MAX_GROUPS, m, s == text ? 0 : REG_NOTBOL)) {
		fwrite(s, 1, (size_t)m[0].rm_so, f);
		put_replacement(f, by, s, m);
		s += m[0].rm_eo;
		if (m[0].rm_so == m[0].rm_eo) {
			if (!*s)
				break;
			fputc(*s++, f);
		}
	}
	fputs(s, f);
	fclose(f);
	r = json_string(result);
	free(result);
	free(text);
	return r;
}

json_t *op_replace(struct shell *sh, const struct node *n, json_t *a, json_t *b, bool with_case)
{
	bool pair = json_is_array(b);
	json_t *pattern = pair ? json_array_get(b, 0) : b, *by = pair ? json_array_get(b, 1) : NULL,
	       *r, *e;
	char *text = by ? value_text(by) : strdup("");
	regex_t re;
	size_t i;

	if (!pattern || !compile(sh, n, pattern, with_case, &re)) {
		free(text);
		return pattern ? NULL : a;
	}
	if (json_is_array(a)) {
		r = keep(sh, json_array());
		json_array_foreach(a, i, e) json_array_append_new(r, replace_one(&re, e, text));
	} else {
		r = keep(sh, replace_one(&re, a, text));
	}
	regfree(&re);
	free(text);
	return r;
}

static void split_one(const regex_t *re, json_t *v, json_t *to)
{
	char *text = value_text(v);
	const char *s = text;
	regmatch_t m[1];

	while (!regexec(re, s, 1, m, s == text ? 0 : REG_NOTBOL) && m[0].rm_eo > m[0].rm_so) {
		json_array_append_new(to, json_stringn(s, (size_t)m[0].rm_so));
		s += m[0].rm_eo;
	}
	json_array_append_new(to, json_string(s));
	free(text);
}

json_t *op_split(struct shell *sh, const struct node *n, json_t *a, json_t *b, bool with_case)
{
	json_t *r = keep(sh, json_array()), *e;
	regex_t re;
	size_t i;

	if (json_is_array(b))
		b = json_array_size(b) ? json_array_get(b, 0) : keep(sh, json_string("\\s+"));
	if (!compile(sh, n, b, with_case, &re))
		return NULL;
	if (json_is_array(a)) {
		json_array_foreach(a, i, e) split_one(&re, e, r);
	} else {
		split_one(&re, a, r);
	}
	regfree(&re);
	return r;
}
