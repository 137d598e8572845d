// SPDX-License-Identifier: MIT
/* Characters, blanks, comments, numbers, names and strings. */
#include "shell/parse_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shell/number.h"
#include "shell/text.h"

enum { MAX_NESTING = 100, MAX_DEPTH = 500 };

u32 peek_cp_at(const struct parser *p, u32 pos, unsigned *len)
{
	return utf8_decode(p->s + pos, p->s + p->len, len);
}

u32 peek_cp(const struct parser *p)
{
	unsigned n;

	return peek_cp_at(p, p->pos, &n);
}

void skip_cp(struct parser *p)
{
	unsigned n;

	peek_cp_at(p, p->pos, &n);
	p->pos += n;
}

bool take(struct parser *p, char c)
{
	if (p->pos >= p->len || p->s[p->pos] != c)
		return false;
	p->pos++;
	return true;
}

bool at_text(const struct parser *p, const char *text)
{
	size_t n = strlen(text);

	return p->len - p->pos >= n && !memcmp(p->s + p->pos, text, n);
}

/* ---- Mistakes and nodes ----------------------------------------------------------- */

__attribute__((format(printf, 6, 0)))
static void fail_with(struct parser *p, const char *id, u32 start, u32 end, bool incomplete,
		      const char *fmt, va_list ap)
{
	if (!p->failed) {
		*p->err = (struct parse_error){ start, MAX(end, start), id, incomplete, "" };
		vsnprintf(p->err->message, sizeof(p->err->message), fmt, ap);
	}
	p->failed = true;
	p->pos = p->len;
}

void parse_fail(struct parser *p, const char *id, u32 start, u32 end, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_with(p, id, start, end, false, fmt, ap);
	va_end(ap);
}

void parse_incomplete(struct parser *p, const char *id, u32 start, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_with(p, id, start, start + 1, p->pos >= p->len, fmt, ap);
	va_end(ap);
}

/* The token at hand is no part of the grammar here. */
void parse_unexpected(struct parser *p)
{
	u32 start = p->pos, end;
	unsigned n;
	char token[80];

	if (p->pos < p->len && p->s[p->pos] == '<') {
		parse_fail(p, "RedirectionNotSupported", start, start + 1,
			   "The '<' operator is reserved for future use.");
		return;
	}
	for (end = start; end < p->len && end - start < sizeof(token) - 8;) {
		u32 cp = peek_cp_at(p, end, &n);

		if (end > start && (cp_is_blank(cp) || cp_is_newline(cp) || cp_in(cp, "(){};|,")))
			break;
		end += n;
	}
	snprintf(token, sizeof(token), "%.*s", (int)(end - start), p->s + start);
	parse_fail(p, "UnexpectedToken", start, end,
		   "Unexpected token '%s' in expression or statement.", token);
}

struct node *parse_node(struct parser *p, enum node_kind kind, u32 start)
{
	struct node *n = script_node(p->script, kind);

	n->start = start;
	n->end = p->pos;
	return n;
}

static u32 depth_of(const struct node *n)
{
	return n ? n->depth : 0;
}

struct node *parse_done(struct parser *p, struct node *n)
{
	u32 depth = MAX(MAX(depth_of(n->a), depth_of(n->b)), MAX(depth_of(n->c), depth_of(n->d)));

	for (struct node *i = n->list; i; i = i->next)
		depth = MAX(depth, i->depth);
	n->depth = depth + 1;
	if (!p->failed)
		n->end = p->pos;
	if (n->depth > MAX_DEPTH)
		parse_fail(p, "ScriptTooComplex", n->start, n->end,
			   "The expression or statement has too many parts.");
	return n;
}

bool parse_enter(struct parser *p)
{
	if (++p->nesting <= MAX_NESTING)
		return true;
	parse_fail(p, "ScriptTooComplex", p->pos, p->pos + 1, "The script is nested too deeply.");
	return false;
}

void parse_leave(struct parser *p)
{
	p->nesting--;
}

/* ---- Blanks -------------------------------------------------------------------------- */

static bool skip_comment(struct parser *p)
{
	u32 start = p->pos;

	if (at_text(p, "<#")) {
		const char *end = memmem(p->s + p->pos, p->len - p->pos, "#>", 2);

		p->pos = end ? (u32)(end - p->s) + 2 : p->len;
		if (!end)
			parse_incomplete(
				p, "MissingTerminatorMultiLineComment", start,
				"The terminator '#>' is missing from the multiline comment.");
		return true;
	}
	if (p->pos >= p->len || p->s[p->pos] != '#')
		return false;
	while (p->pos < p->len && !cp_is_newline((u8)p->s[p->pos]))
		p->pos++;
	return true;
}

/* A backtick and the newline behind it. */
static bool skip_continuation(struct parser *p)
{
	if (p->pos + 1 >= p->len || p->s[p->pos] != '`' || !cp_is_newline((u8)p->s[p->pos + 1]))
		return false;
	p->pos += at_text(p, "`\r\n") ? 3 : 2;
	return true;
}

void skip_blanks(struct parser *p)
{
	for (;;) {
		if (cp_is_blank(peek_cp(p)))
			skip_cp(p);
		else if (!skip_comment(p) && !skip_continuation(p))
			return;
	}
}

void skip_lines(struct parser *p)
{
	for (skip_blanks(p); cp_is_newline(peek_cp(p)); skip_blanks(p))
		p->pos++;
}

static bool ends_word(u32 cp)
{
	return !cp || cp_is_blank(cp) || cp_is_newline(cp) || cp_in(cp, ";|&(){},<>");
}

bool at_word_end(const struct parser *p)
{
	return ends_word(peek_cp(p));
}

u32 word_length(const struct parser *p, u32 pos)
{
	u32 at = pos, cp;
	unsigned n;

	while ((cp = peek_cp_at(p, at, &n)) && cp_is_word(cp))
		at += n;
	return at - pos;
}

/* ---- Numbers --------------------------------------------------------------------------- */

static bool ends_number(u32 cp)
{
	return ends_word(cp) || cp_is_dash(cp) || cp_in(cp, "+*/%=.]:");
}

struct node *parse_number(struct parser *p, bool expression)
{
	u32 start = p->pos, next;
	json_t *value;
	size_t n = number_scan(p->s + p->pos, p->s + p->len, &value);
	struct node *node;

	if (!n)
		return NULL;
	p->pos += (u32)n;
	next = peek_cp(p);
	if (!(expression ? ends_number(next) : ends_word(next))) {
		json_decref(value);
		p->pos = start;
		return NULL;
	}
	node = parse_node(p, N_CONST, start);
	node->value = script_value(p->script, value);
	return parse_done(p, node);
}

/* ---- Text being put together ------------------------------------------------------------- */

/* The parts of an expandable string or word: literal text, and expressions. */
struct parts {
	FILE *file;
	char *text;
	size_t len;
	struct node *list, **tail;
};

static void parts_open(struct parts *t)
{
	t->text = NULL;
	t->file = open_memstream(&t->text, &t->len);
	if (!t->file)
		abort();
}

static void parts_init(struct parts *t)
{
	parts_open(t);
	t->list = NULL;
	t->tail = &t->list;
}

static void parts_append(struct parts *t, struct node *n)
{
	*t->tail = n;
	t->tail = &n->next;
}

/* Makes a constant of the text so far. */
static void parts_flush(struct parser *p, struct parts *t, u32 start)
{
	struct node *n;

	fclose(t->file);
	if (t->len) {
		n = parse_node(p, N_CONST, start);
		n->value = script_value(p->script, json_stringn(t->text, t->len));
		parts_append(t, parse_done(p, n));
	}
	free(t->text);
	t->file = NULL;
}

static struct node *parts_finish(struct parser *p, struct parts *t, u32 start)
{
	struct node *n;

	parts_flush(p, t, start);
	if (!t->list) {
		n = parse_node(p, N_CONST, start);
		n->value = script_value(p->script, json_string(""));
		return parse_done(p, n);
	}
	if (t->list->kind == N_CONST && !t->list->next) {
		t->list->end = p->pos;
		return t->list;
	}
	n = parse_node(p, N_EXPAND, start);
	n->list = t->list;
	return parse_done(p, n);
}

static void put_cp(struct parts *t, u32 cp)
{
	char bytes[4];

	fwrite(bytes, 1, utf8_encode(cp, bytes), t->file);
}

/* `u{1F600}; the 'u' is read. */
static void unicode_escape(struct parser *p, struct parts *t)
{
	u32 start = p->pos - 2, cp = 0, n = 0;

	if (!take(p, '{')) {
		put_cp(t, 'u');
		return;
	}
	for (; p->pos < p->len && p->s[p->pos] != '}' && n < 7; n++) {
		const char *hex = "0123456789abcdef", *at = strchr(hex, p->s[p->pos++] | 32);

		cp = at && *at ? cp << 4 | (u32)(at - hex) : 0x110000;
	}
	if (!n || !take(p, '}') || !cp || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
		parse_fail(p, "InvalidUnicodeEscapeSequence", start, p->pos,
			   "The Unicode escape sequence is not valid. A valid sequence is `u{ "
			   "followed "
			   "by one to six hex digits and a closing '}'.");
	else
		put_cp(t, cp);
}

/* Behind a backtick. */
static void escape(struct parser *p, struct parts *t)
{
	static const char from[] = "nrtabfve", to[] = "\n\r\t\a\b\f\v\033";
	u32 cp = peek_cp(p);
	const char *at;

	if (!cp) {
		put_cp(t, '`');
		return;
	}
	skip_cp(p);
	at = cp < 0x80 ? strchr(from, (int)cp) : NULL;
	if (cp == '0')
		parse_fail(p, "NullCharacter", p->pos - 2, p->pos,
			   "Text cannot have a null character in it.");
	else if (cp == 'u')
		unicode_escape(p, t);
	else
		put_cp(t, at ? (u32)(u8)to[at - from] : cp);
}

/* ---- Variables ----------------------------------------------------------------------------- */

static struct node *variable_node(struct parser *p, u32 start, const char *name, size_t len)
{
	struct node *n = parse_node(p, N_VAR, start);
	static const char *const scopes[] = { "global:", "script:", "local:", "private:",
					      "variable:" };
	char *copy;

	for (unsigned i = 0; i < ARRAY_SIZE(scopes); i++) {
		size_t l = strlen(scopes[i]);

		if (len > l && !text_casencmp(name, scopes[i], l)) {
			name += l;
			len -= l;
			break;
		}
	}
	copy = script_string(p->script, name, len);
	if (strncasecmp(copy, "env:", 4))
		for (char *c = copy; *c; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 32) : *c;
	n->name = copy;
	return parse_done(p, n);
}

/* Whether a variable's name, '{' or '(' stands behind the '$' at @pos. */
static bool at_dollar(const struct parser *p, u32 pos)
{
	unsigned n;
	u32 cp = peek_cp_at(p, pos + 1, &n);

	return cp && (cp_is_word(cp) || cp_in(cp, "{(?$^"));
}

struct node *parse_variable(struct parser *p)
{
	u32 start = p->pos++, name, len;

	if (take(p, '{')) {
		const char *end = memchr(p->s + p->pos, '}', p->len - p->pos);

		name = p->pos;
		len = end ? (u32)(end - (p->s + name)) : 0;
		if (!len) {
			parse_incomplete(
				p, "MissingEndCurlyBrace", start,
				"The braced variable name is missing its '}' or is empty.");
			return variable_node(p, start, "", 0);
		}
		p->pos = name + len + 1;
		return variable_node(p, start, p->s + name, len);
	}
	name = p->pos;
	len = word_length(p, name);
	if (!len && p->pos < p->len && strchr("?$^", p->s[p->pos]))
		len = 1;
	if (len && name + len + 1 < p->len && p->s[name + len] == ':' &&
	    p->s[name + len + 1] != ':') {
		u32 more = word_length(p, name + len + 1);

		len += more ? more + 1 : 0;
	}
	p->pos += len;
	return variable_node(p, start, p->s + name, len);
}

/* `$` in a string or word: an expression, or a plain dollar. */
static void expand(struct parser *p, struct parts *t)
{
	u32 start = p->pos;
	struct node *n;

	if (!at_dollar(p, p->pos)) {
		put_cp(t, '$');
		p->pos++;
		return;
	}
	parts_flush(p, t, start);
	if (p->s[p->pos + 1] == '(') {
		p->pos += 2;
		n = parse_node(p, N_SUBEXPR, start);
		if (parse_enter(p))
			n->list = parse_statements(p, ')');
		parse_leave(p);
		parse_done(p, n);
	} else {
		n = parse_variable(p);
	}
	parts_append(t, n);
	parts_open(t);
}

/* ---- Strings --------------------------------------------------------------------------------- */

static void missing_quote(struct parser *p, u32 start, char quote)
{
	parse_incomplete(p, "TerminatorExpectedAtEndOfString", start,
			 "The string is missing the terminator: %c.", quote);
}

/* Text between double quotes, up to the closing one, which is read too. */
static void double_quoted(struct parser *p, struct parts *t, u32 start)
{
	for (;;) {
		u32 cp = peek_cp(p);

		if (!cp) {
			missing_quote(p, start, '"');
			return;
		}
		if (cp == '$') {
			expand(p, t);
			continue;
		}
		skip_cp(p);
		if (cp == '`') {
			if (cp_is_newline(peek_cp(p)))
				p->pos += at_text(p, "\r\n") ? 2 : 1;
			else
				escape(p, t);
		} else if (cp_is_dquote(cp)) {
			if (!cp_is_dquote(peek_cp(p)))
				return;
			skip_cp(p);
			put_cp(t, cp);
		} else {
			put_cp(t, cp);
		}
	}
}

static void single_quoted(struct parser *p, struct parts *t, u32 start)
{
	for (;;) {
		u32 cp = peek_cp(p);

		if (!cp) {
			missing_quote(p, start, '\'');
			return;
		}
		skip_cp(p);
		if (cp_is_squote(cp)) {
			if (!cp_is_squote(peek_cp(p)))
				return;
			skip_cp(p);
		}
		put_cp(t, cp);
	}
}

static bool quoted(struct parser *p, struct parts *t)
{
	u32 start = p->pos, cp = peek_cp(p);

	if (!cp_is_dquote(cp) && !cp_is_squote(cp))
		return false;
	skip_cp(p);
	if (cp_is_dquote(cp))
		double_quoted(p, t, start);
	else
		single_quoted(p, t, start);
	return true;
}

/* The end of a here-string's text: a newline, a quote of @dquote's kind, and '@'. */
static u32 here_end(const struct parser *p, bool dquote, u32 *after)
{
	for (u32 i = p->pos; i < p->len; i++) {
		unsigned n;
		u32 cp;

		if (p->s[i] != '\n')
			continue;
		cp = peek_cp_at(p, i + 1, &n);
		if (!(dquote ? cp_is_dquote(cp) : cp_is_squote(cp)) || i + 1 + n >= p->len ||
		    p->s[i + 1 + n] != '@')
			continue;
		*after = i + 1 + n + 1;
		return i > p->pos && p->s[i - 1] == '\r' ? i - 1 : i;
	}
	return 0;
}

/* @" newline text newline "@; '@' and the quote are read. */
static struct node *here_string(struct parser *p, u32 start, bool dquote)
{
	u32 end, after = 0, all = p->len;
	struct parts t;

	while (cp_is_blank(peek_cp(p)))
		skip_cp(p);
	if (!cp_is_newline(peek_cp(p))) {
		parse_fail(p, "UnexpectedCharactersAfterHereStringHeader", start, p->pos,
			   "No characters are allowed after a here-string header but before the "
			   "end of "
			   "the line.");
		return parse_node(p, N_CONST, start);
	}
	if (at_text(p, "\r\n"))
		p->pos++;
	end = here_end(p, dquote, &after);
	if (!after) {
		p->pos = p->len;
		missing_quote(p, start, dquote ? '"' : '\'');
		return parse_node(p, N_CONST, start);
	}
	p->pos = MIN(p->pos + 1, end);
	p->len = end;
	parts_init(&t);
	while (p->pos < p->len) {
		u32 cp = peek_cp(p);

		if (dquote && cp == '$') {
			expand(p, &t);
			continue;
		}
		skip_cp(p);
		if (dquote && cp == '`')
			escape(p, &t);
		else
			put_cp(&t, cp);
	}
	p->len = all;
	p->pos = p->failed ? all : after;
	return parts_finish(p, &t, start);
}

struct node *parse_string(struct parser *p)
{
	u32 start = p->pos;
	struct parts t;

	if (take(p, '@')) {
		u32 cp = peek_cp(p);

		skip_cp(p);
		return here_string(p, start, cp_is_dquote(cp));
	}
	parts_init(&t);
	quoted(p, &t);
	return parts_finish(p, &t, start);
}

struct node *parse_word(struct parser *p)
{
	u32 start = p->pos;
	struct parts t;

	parts_init(&t);
	while (!at_word_end(p)) {
		u32 cp = peek_cp(p);

		if (cp == '$') {
			expand(p, &t);
			continue;
		}
		if (quoted(p, &t))
			continue;
		if (skip_continuation(p))
			break;
		skip_cp(p);
		if (cp == '`')
			escape(p, &t);
		else
			put_cp(&t, cp);
	}
	return parts_finish(p, &t, start);
}
