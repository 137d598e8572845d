// SPDX-License-Identifier: MIT
/* A command: its name, parameters, arguments and redirections. */
#include <stdio.h>
#include <string.h>

#include "shell/parse_internal.h"
#include "shell/text.h"

/* A number as an argument keeps its text: -Version 9.0 is "9.0" to a string. */
static struct node *number_word(struct parser *p)
{
	u32 start = p->pos;
	unsigned n;
	u32 cp = peek_cp_at(p, p->pos, &n);
	bool negative = cp_is_dash(cp);
	struct node *node;
	json_t *v, *word;

	if (negative)
		p->pos += n;
	node = parse_number(p, false);
	if (!node) {
		p->pos = start;
		return NULL;
	}
	v = node->value;
	if (negative)
		v = json_is_integer(v) ? json_integer(-json_integer_value(v))
				       : json_real(-json_real_value(v));
	else
		v = json_incref(v);
	word = json_pack("{s:s, s:o, s:o}", "@type", "NumberWord", "value", v, "text",
			 json_stringn(p->s + start, p->pos - start));
	node = parse_node(p, N_CONST, start);
	node->value = script_value(p->script, word);
	return parse_done(p, node);
}

/* A variable, string, ( ), { }, @( ) or @{ } with what is attached to it. When a word
 * goes on behind it, all is one word: $x/y. */
static struct node *parse_argument(struct parser *p)
{
	u32 start = p->pos, cp = peek_cp(p);
	unsigned n;
	u32 next = peek_cp_at(p, p->pos + 1, &n);
	struct node *node;

	if ((cp >= '0' && cp <= '9') || cp_is_dash(cp) || cp == '.') {
		node = number_word(p);
		if (node)
			return node;
	}
	if (cp == '@' && !(next && (cp_is_word(next) || next == '(' || next == '{' ||
				    cp_is_dquote(next) || cp_is_squote(next))))
		return parse_word(p);
	if (cp == '(' || cp == '{' || cp == '@' || cp_is_dquote(cp) || cp_is_squote(cp))
		return parse_primary(p);
	if (cp != '$' || !(cp_is_word(next) || cp_in(next, "({?$^")))
		return parse_word(p);
	node = parse_primary(p);
	if (p->failed || at_word_end(p))
		return node;
	p->pos = start;
	return parse_word(p);
}

/* One argument, or several with commas between them. */
static struct node *parse_arguments(struct parser *p)
{
	struct node *first = parse_argument(p), *list, **tail;
	u32 end = p->pos;

	skip_blanks(p);
	if (p->failed || peek_cp(p) != ',') {
		p->pos = p->failed ? p->pos : end;
		return first;
	}
	list = parse_node(p, N_LIST, first->start);
	list->list = first;
	tail = &first->next;
	while (!p->failed && take(p, ',')) {
		u32 comma = p->pos - 1;

		skip_lines(p);
		if (at_word_end(p) && !cp_in(peek_cp(p), "({")) {
			if (p->pos < p->len && p->s[p->pos] == '<')
				parse_unexpected(p);
			parse_incomplete(p, "MissingArgument", comma,
					 "Missing argument in parameter list.");
			break;
		}
		*tail = parse_argument(p);
		tail = &(*tail)->next;
		end = p->pos;
		skip_blanks(p);
	}
	p->pos = p->failed ? p->pos : end;
	return parse_done(p, list);
}

/* -Name, -Name:value */
static struct node *parse_param(struct parser *p)
{
	struct node *n = parse_node(p, N_PARAM, p->pos);
	u32 name;

	skip_cp(p);
	name = p->pos;
	while (!at_word_end(p)) {
		u32 cp = peek_cp(p);

		if (cp == ':' || cp == '[' || cp == '.' || cp_is_dquote(cp) || cp_is_squote(cp))
			break;
		skip_cp(p);
	}
	n->name = script_string(p->script, p->s + name, p->pos - name);
	parse_done(p, n);
	if (!take(p, ':'))
		return n;
	skip_blanks(p);
	if (at_word_end(p) && !cp_in(peek_cp(p), "({")) {
		if (p->pos < p->len && p->s[p->pos] == '<')
			parse_unexpected(p);
		parse_fail(p, "ParameterRequiresArgument", n->start, p->pos,
			   "Parameter -%s requires an argument.", n->name);
		return n;
	}
	n->a = parse_arguments(p);
	return parse_done(p, n);
}

static bool at_param(const struct parser *p)
{
	unsigned n, m;
	u32 cp = peek_cp_at(p, p->pos, &n), next = peek_cp_at(p, p->pos + n, &m);

	return cp_is_dash(cp) &&
	       ((cp_is_word(next) && !(next >= '0' && next <= '9')) || next == '?');
}

/* "2>", ">>", "*>" and their like: the stream and the bytes; false for anything else. */
static bool at_redirect(const struct parser *p, u32 *stream, u32 *len)
{
	const char *s = p->s + p->pos;
	u32 room = p->len - p->pos, n = 0;

	*stream = STREAM_OUTPUT;
	if (room > 1 && (*s == '*' || (*s >= '1' && *s <= '6')) && s[1] == '>') {
		*stream = *s == '*' ? STREAM_ALL : (u32)(*s - '0');
		n = 1;
	}
	if (n >= room || s[n] != '>')
		return false;
	*len = n + 1;
	return true;
}

static struct node *parse_redirect(struct parser *p, u32 stream, u32 len)
{
	struct node *n = parse_node(p, N_REDIRECT, p->pos);

	n->op = stream;
	p->pos += len;
	if (take(p, '>'))
		n->name = "append";
	if (at_text(p, "&1")) {
		p->pos += 2;
		return parse_done(p, n);
	}
	skip_blanks(p);
	if (at_word_end(p) && peek_cp(p) != '(') {
		parse_fail(p, "MissingFileSpecification", n->start, p->pos,
			   "Missing file specification after redirection operator.");
		return n;
	}
	n->a = parse_argument(p);
	return parse_done(p, n);
}

static bool at_command_end(struct parser *p)
{
	u32 cp = peek_cp(p);

	if (cp == '&' && !at_text(p, "&&"))
		parse_fail(p, "AmpersandNotAllowed", p->pos, p->pos + 1,
			   "The ampersand (&) character is not allowed. The & operator is reserved "
			   "for future "
			   "use; wrap an ampersand in double quotation marks (\"&\") to pass it as "
			   "part of a "
			   "string.");
	return !cp || p->failed || cp_is_newline(cp) || cp_in(cp, ";|)}&");
}

static struct node *parse_element(struct parser *p)
{
	u32 stream, len;

	if (at_redirect(p, &stream, &len))
		return parse_redirect(p, stream, len);
	if (peek_cp(p) == '<' || peek_cp(p) == ',') {
		if (peek_cp(p) == ',')
			parse_fail(p, "MissingArgument", p->pos, p->pos + 1,
				   "Missing argument in parameter list.");
		parse_unexpected(p);
		return parse_node(p, N_CONST, p->pos);
	}
	return at_param(p) ? parse_param(p) : parse_arguments(p);
}

static struct node *parse_command_name(struct parser *p, struct node *cmd)
{
	struct node *name;

	if (take(p, '&') || (peek_cp(p) == '.' && p->pos + 1 < p->len &&
			     cp_is_blank((u8)p->s[p->pos + 1]) && take(p, '.'))) {
		cmd->op = OP_CALL;
		skip_blanks(p);
		name = at_command_end(p) ? NULL : parse_argument(p);
	} else if (at_word_end(p) || peek_cp(p) == '<') {
		name = NULL;
	} else {
		name = parse_word(p);
	}
	if (name && (name->kind != N_CONST || json_string_length(name->value) || cmd->op))
		return name;
	if (!p->failed)
		parse_unexpected(p);
	return parse_node(p, N_CONST, p->pos);
}

struct node *parse_command(struct parser *p)
{
	struct node *cmd = parse_node(p, N_COMMAND, p->pos), **tail = &cmd->list;

	cmd->a = parse_command_name(p, cmd);
	cmd->end = p->pos;
	for (skip_blanks(p); !at_command_end(p); skip_blanks(p)) {
		*tail = parse_element(p);
		tail = &(*tail)->next;
		cmd->end = p->pos;
	}
	for (struct node *n = cmd->list; n; n = n->next)
		cmd->depth = MAX(cmd->depth, n->depth);
	cmd->depth = MAX(cmd->depth, cmd->a->depth) + 1;
	return cmd;
}
