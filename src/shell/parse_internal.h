/* SPDX-License-Identifier: MIT */
/*
 * The parser's parts. The grammar has two modes, as PowerShell's: where a command's
 * arguments stand, words are strings; elsewhere they are not. So there is no list of
 * tokens: each part reads characters as its mode wants.
 *
 * After the first mistake the text ends (`pos` is `len`), so that every loop ends too.
 */
#ifndef NESTOR_SHELL_PARSE_INTERNAL_H
#define NESTOR_SHELL_PARSE_INTERNAL_H

#include "shell/ast.h"

struct parser {
	struct script *script;
	const char *s;
	u32 pos, len;
	u32 nesting;
	struct parse_error *err;
	bool failed;
};

/* lex.c: characters, blanks, numbers, names, strings */
u32 peek_cp(const struct parser *p);
u32 peek_cp_at(const struct parser *p, u32 pos, unsigned *len);
void skip_cp(struct parser *p);
void skip_blanks(struct parser *p);
/* Blanks and newlines. */
void skip_lines(struct parser *p);
/* Whether the byte is there; then it is read. */
bool take(struct parser *p, char c);
bool at_text(const struct parser *p, const char *text);
void parse_fail(struct parser *p, const char *id, u32 start, u32 end, const char *fmt, ...)
	PRINTF(5, 6);
void parse_incomplete(struct parser *p, const char *id, u32 start, const char *fmt, ...)
	PRINTF(4, 5);
void parse_unexpected(struct parser *p);
struct node *parse_node(struct parser *p, enum node_kind kind, u32 start);
/* Sets the end and the depth; returns @n. */
struct node *parse_done(struct parser *p, struct node *n);
/* False, and a mistake, when parentheses are nested too deep. */
bool parse_enter(struct parser *p);
void parse_leave(struct parser *p);
/* Whether a word can end here. */
bool at_word_end(const struct parser *p);
/* A number without sign if one stands here and a word ends behind it, or NULL;
 * @expression: an operator may follow as well. */
struct node *parse_number(struct parser *p, bool expression);
struct node *parse_string(struct parser *p);
struct node *parse_variable(struct parser *p);
/* A word of a command, with quotes and variables in it. */
struct node *parse_word(struct parser *p);
/* The letters, digits and '_' at @pos. */
u32 word_length(const struct parser *p, u32 pos);

/* parse_expr.c */
bool at_expression(const struct parser *p);
struct node *parse_expression(struct parser *p);
/* What both modes know: variables, strings, parentheses, blocks, with .name and [index]. */
struct node *parse_primary(struct parser *p);
struct node *parse_postfix(struct parser *p, struct node *n);

/* parse_command.c */
struct node *parse_command(struct parser *p);

/* parse.c */
struct node *parse_statement(struct parser *p);
/* Statements up to @closer (read too) or, with 0, to the end. */
struct node *parse_statements(struct parser *p, char closer);
/* '(' statement ')' */
struct node *parse_paren(struct parser *p);

#endif
