// SPDX-License-Identifier: MIT
/* Statements, keywords by table, pipelines. */
#include <stdlib.h>
#include <string.h>

#include "shell/parse_internal.h"
#include "shell/text.h"

static struct node *parse_pipeline(struct parser *p);

/* ---- Blocks and conditions --------------------------------------------------------------------- */

static bool ends_with_block(const struct node *n)
{
	return n->kind >= N_IF && n->kind <= N_TRY;
}

struct node *parse_statements(struct parser *p, char closer)
{
	struct node *list = NULL, **tail = &list;
	u32 open = p->pos ? p->pos - 1 : 0;

	for (;;) {
		u32 cp;

		for (skip_lines(p); take(p, ';'); skip_lines(p))
			;
		if (p->failed || (closer && take(p, closer)))
			return list;
		if (p->pos >= p->len) {
			if (closer == '}')
				parse_incomplete(p, "MissingEndCurlyBrace", open,
						 "Missing closing '}' in statement block or type "
						 "definition.");
			else if (closer)
				parse_incomplete(p, "MissingEndParenthesisInExpression", open,
						 "Missing closing ')' in expression.");
			return list;
		}
		*tail = parse_statement(p);
		skip_blanks(p);
		cp = peek_cp(p);
		if (p->failed)
			return list;
		if (cp && !cp_is_newline(cp) && cp != ';' && cp != (u32)(u8)closer &&
		    !ends_with_block(*tail)) {
			parse_unexpected(p);
			return list;
		}
		tail = &(*tail)->next;
	}
}

static struct node *parse_block(struct parser *p, const char *after)
{
	struct node *n;

	skip_lines(p);
	n = parse_node(p, N_BLOCK, p->pos);
	if (!take(p, '{')) {
		parse_incomplete(p, "MissingStatementBlock", p->pos,
				 "Missing statement block after %s.", after);
		return n;
	}
	if (parse_enter(p))
		n->list = parse_statements(p, '}');
	parse_leave(p);
	return parse_done(p, n);
}

struct node *parse_paren(struct parser *p)
{
	struct node *n = parse_node(p, N_PAREN, p->pos++);

	if (!parse_enter(p))
		return n;
	skip_lines(p);
	if (p->pos < p->len && p->s[p->pos] == ')')
		parse_fail(p, "ExpectedExpression", n->start, p->pos + 1,
			   "An expression was expected after '('.");
	if (p->pos >= p->len)
		parse_incomplete(p, "MissingEndParenthesisInExpression", n->start,
				 "Missing closing ')' in expression.");
	else
		n->a = parse_statement(p);
	skip_lines(p);
	parse_leave(p);
	if (!p->failed && !take(p, ')'))
		parse_incomplete(p, "MissingEndParenthesisInExpression", p->pos,
				 "Missing closing ')' in expression.");
	return parse_done(p, n);
}

/* '(' condition ')' behind keyword @of. */
static struct node *parse_condition(struct parser *p, const char *of)
{
	skip_lines(p);
	if (p->pos < p->len && p->s[p->pos] == '(')
		return parse_paren(p);
	parse_incomplete(p, "MissingOpenParenthesisInIfStatement", p->pos,
			 "Missing '(' after '%s' in %s statement.", of, of);
	return parse_node(p, N_PAREN, p->pos);
}

/* ---- Keywords ------------------------------------------------------------------------------------- */

/* Whether word @w is the next one, behind blank lines if it is there; then it is read. */
static bool take_word(struct parser *p, const char *w)
{
	struct parser probe = *p;
	struct parse_error ignored;
	size_t n = strlen(w);

	probe.err = &ignored;
	skip_lines(&probe);
	if (probe.failed || word_length(&probe, probe.pos) != n ||
	    text_casencmp(probe.s + probe.pos, w, n))
		return false;
	p->pos = probe.pos + (u32)n;
	return true;
}

static struct node *parse_if(struct parser *p, struct node *n)
{
	n->kind = N_IF;
	n->a = parse_condition(p, "if");
	n->b = parse_block(p, "if ( condition )");
	if (p->failed)
		return n;
	if (take_word(p, "elseif")) {
		struct node *other = parse_node(p, N_IF, p->pos);

		if (parse_enter(p))
			n->c = parse_if(p, other);
		parse_leave(p);
	} else if (take_word(p, "else")) {
		n->c = parse_block(p, "else");
	}
	return parse_done(p, n);
}

static struct node *parse_foreach(struct parser *p, struct node *n)
{
	struct node *var;

	n->kind = N_FOREACH;
	skip_blanks(p);
	if (!take(p, '(')) {
		parse_incomplete(p, "MissingOpenParenthesisAfterKeyword", p->pos,
				 "Missing opening '(' after keyword 'foreach'.");
		return n;
	}
	skip_lines(p);
	if (peek_cp(p) != '$') {
		parse_incomplete(p, "MissingVariableNameAfterForeach", p->pos,
				 "Missing variable name after foreach.");
		return n;
	}
	var = parse_variable(p);
	n->name = var->name;
	if (!p->failed && !take_word(p, "in")) {
		parse_incomplete(p, "MissingInInForeach", p->pos,
				 "Missing 'in' after variable in foreach loop.");
		return n;
	}
	skip_lines(p);
	if (p->pos >= p->len)
		parse_incomplete(p, "MissingForeachExpression", p->pos,
				 "Missing expression after 'in' in foreach loop.");
	else if (parse_enter(p))
		n->a = parse_statement(p);
	parse_leave(p);
	skip_lines(p);
	if (!p->failed && !take(p, ')'))
		parse_incomplete(p, "MissingEndParenthesisAfterForeach", p->pos,
				 "Missing closing ')' after expression in foreach loop.");
	n->b = parse_block(p, "foreach loop");
	return parse_done(p, n);
}

static struct node *parse_while(struct parser *p, struct node *n)
{
	n->kind = N_WHILE;
	n->a = parse_condition(p, "while");
	n->b = parse_block(p, "while ( condition )");
	return parse_done(p, n);
}

static struct node *parse_do(struct parser *p, struct node *n)
{
	n->kind = N_WHILE;
	n->b = parse_block(p, "do");
	if (p->failed)
		return n;
	if (take_word(p, "while")) {
		n->op = OP_DO_WHILE;
	} else if (take_word(p, "until")) {
		n->op = OP_DO_UNTIL;
	} else {
		parse_incomplete(p, "MissingWhileOrUntilInDoWhile", p->pos,
				 "Missing while or until keyword in do loop.");
		return n;
	}
	n->a = parse_condition(p, "while");
	return parse_done(p, n);
}

/* One of the three parts of for (;;), up to @end. */
static struct node *for_part(struct parser *p, char end)
{
	struct node *n = NULL;

	skip_lines(p);
	if (!p->failed && p->pos < p->len && p->s[p->pos] != end)
		n = parse_statement(p);
	skip_lines(p);
	if (!p->failed && !take(p, end))
		parse_incomplete(p, "MissingEndParenthesisAfterStatement", p->pos,
				 "Missing '%c' in for loop.", end);
	return n;
}

static struct node *parse_for(struct parser *p, struct node *n)
{
	n->kind = N_FOR;
	skip_blanks(p);
	if (!take(p, '(')) {
		parse_incomplete(p, "MissingOpenParenthesisAfterKeyword", p->pos,
				 "Missing opening '(' after keyword 'for'.");
		return n;
	}
	if (parse_enter(p)) {
		n->a = for_part(p, ';');
		n->b = for_part(p, ';');
		n->c = for_part(p, ')');
	}
	parse_leave(p);
	n->d = parse_block(p, "for loop");
	return parse_done(p, n);
}

static struct node *parse_try(struct parser *p, struct node *n)
{
	n->kind = N_TRY;
	n->a = parse_block(p, "try");
	if (!p->failed && take_word(p, "catch"))
		n->b = parse_block(p, "catch");
	if (!p->failed && take_word(p, "finally"))
		n->c = parse_block(p, "finally");
	if (!p->failed && !n->b && !n->c)
		parse_incomplete(p, "MissingCatchOrFinally", p->pos,
				 "The Try statement is missing its Catch or Finally block.");
	return parse_done(p, n);
}

static bool at_statement_end(struct parser *p)
{
	u32 cp;

	skip_blanks(p);
	cp = peek_cp(p);
	return !cp || cp_is_newline(cp) || cp_in(cp, ";})|");
}

static struct node *with_value(struct parser *p, struct node *n, enum node_kind kind)
{
	n->kind = kind;
	if (!at_statement_end(p) && parse_enter(p)) {
		n->a = parse_statement(p);
		parse_leave(p);
	}
	return parse_done(p, n);
}

static struct node *parse_break(struct parser *p, struct node *n)
{
	n->kind = N_BREAK;
	return parse_done(p, n);
}

static struct node *parse_continue(struct parser *p, struct node *n)
{
	n->kind = N_CONTINUE;
	return parse_done(p, n);
}

static struct node *parse_return(struct parser *p, struct node *n)
{
	return with_value(p, n, N_RETURN);
}

static struct node *parse_exit(struct parser *p, struct node *n)
{
	return with_value(p, n, N_EXIT);
}

static struct node *parse_throw(struct parser *p, struct node *n)
{
	return with_value(p, n, N_THROW);
}

static struct node *not_available(struct parser *p, struct node *n)
{
	parse_fail(p, "KeywordNotAvailable", n->start, p->pos,
		   "The '%.*s' keyword is not available in this shell.", (int)(p->pos - n->start),
		   p->s + n->start);
	return n;
}

static const struct {
	const char *word;
	struct node *(*parse)(struct parser *p, struct node *n);
} keywords[] = {
	{ "if", parse_if },	      { "foreach", parse_foreach },   { "while", parse_while },
	{ "do", parse_do },	      { "for", parse_for },	      { "try", parse_try },
	{ "break", parse_break },     { "continue", parse_continue }, { "return", parse_return },
	{ "exit", parse_exit },	      { "throw", parse_throw },	      { "function", not_available },
	{ "filter", not_available },  { "switch", not_available },    { "param", not_available },
	{ "class", not_available },   { "enum", not_available },      { "using", not_available },
	{ "trap", not_available },    { "data", not_available },      { "begin", not_available },
	{ "process", not_available }, { "end", not_available },	      { "workflow", not_available },
};

/* ---- Pipelines ---------------------------------------------------------------------------------------- */

/* The operator of an assignment at hand: "=" is OP_NONE. */
static bool at_assignment(const struct parser *p, u32 *op, u32 *len)
{
	static const struct {
		const char *text;
		enum op op;
	} rows[] = { { "=", OP_NONE }, { "+=", OP_ADD }, { "-=", OP_SUB },
		     { "*=", OP_MUL }, { "/=", OP_DIV }, { "%=", OP_MOD } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (at_text(p, rows[i].text)) {
			*op = rows[i].op;
			*len = (u32)strlen(rows[i].text);
			return true;
		}
	}
	return false;
}

static bool is_assignable(const struct node *n)
{
	return n->kind == N_VAR || n->kind == N_MEMBER || n->kind == N_INDEX;
}

static struct node *parse_assignment(struct parser *p, struct node *target, u32 op, u32 len)
{
	struct node *n = parse_node(p, N_ASSIGN, target->start);
	u32 at = p->pos;

	n->a = target;
	n->op = op;
	p->pos += len;
	if (!is_assignable(target)) {
		parse_fail(p, "InvalidLeftHandSide", target->start, target->end,
			   "The assignment expression is not valid. The input to an assignment "
			   "operator must "
			   "be an object that is able to accept assignments, such as a variable or "
			   "a property.");
		return n;
	}
	skip_lines(p);
	if (p->pos >= p->len)
		parse_incomplete(
			p, "ExpectedValueExpression", at,
			"You must provide a value expression following the '%.*s' operator.",
			(int)len, p->s + at);
	else if (parse_enter(p))
		n->b = parse_statement(p);
	parse_leave(p);
	return parse_done(p, n);
}

/* $i++ and $i-- */
static struct node *parse_step(struct parser *p, struct node *target)
{
	struct node *n = parse_node(p, N_ASSIGN, target->start);

	n->a = target;
	n->op = p->s[p->pos] == '+' ? OP_ADD : OP_SUB;
	p->pos += 2;
	if (!is_assignable(target))
		parse_fail(p, "OperatorRequiresVariableOrProperty", target->start, p->pos,
			   "The '%.2s' operator works only on variables or on properties.",
			   p->s + p->pos - 2);
	return parse_done(p, n);
}

static void parse_pipes(struct parser *p, struct node *n, struct node **tail)
{
	for (skip_blanks(p);
	     !p->failed && p->pos < p->len && p->s[p->pos] == '|' && !at_text(p, "||");
	     skip_blanks(p)) {
		u32 bar = p->pos++;

		skip_lines(p);
		if (p->pos >= p->len || strchr("|;)}", p->s[p->pos])) {
			parse_incomplete(p, "EmptyPipeElement", bar,
					 "An empty pipe element is not allowed.");
			return;
		}
		if (at_expression(p)) {
			parse_fail(
				p, "ExpressionsMustBeFirstInPipeline", p->pos, p->pos + 1,
				"Expressions are only allowed as the first element of a pipeline.");
			return;
		}
		*tail = parse_command(p);
		tail = &(*tail)->next;
		n->end = p->pos;
	}
}

static struct node *parse_pipeline(struct parser *p)
{
	struct node *n = parse_node(p, N_PIPELINE, p->pos), *first;
	u32 op, len;

	if (at_expression(p)) {
		first = parse_expression(p);
		skip_blanks(p);
		if (p->failed)
			return n;
		if (at_assignment(p, &op, &len))
			return parse_assignment(p, first, op, len);
		if (at_text(p, "++") || at_text(p, "--"))
			return parse_step(p, first);
	} else {
		first = parse_command(p);
	}
	n->list = first;
	parse_pipes(p, n, &first->next);
	return p->failed ? n : parse_done(p, n);
}

/* pipeline && pipeline || pipeline */
static struct node *parse_chain(struct parser *p)
{
	struct node *left = parse_pipeline(p);

	for (skip_blanks(p); !p->failed && (at_text(p, "&&") || at_text(p, "||")); skip_blanks(p)) {
		struct node *n = parse_node(p, N_CHAIN, left->start);
		u32 at = p->pos;

		n->op = p->s[at] == '&' ? OP_AND : OP_OR;
		n->a = left;
		p->pos += 2;
		skip_lines(p);
		if (p->pos >= p->len) {
			parse_incomplete(p, "EmptyPipelineChainElement", at,
					 "A pipeline is missing after the '%.2s' operator.",
					 p->s + at);
			return left;
		}
		n->b = parse_pipeline(p);
		left = parse_done(p, n);
	}
	return left;
}

struct node *parse_statement(struct parser *p)
{
	u32 start = p->pos, len = word_length(p, start);

	for (unsigned i = 0; len && i < ARRAY_SIZE(keywords); i++) {
		const char *w = keywords[i].word;
		struct node *n;

		if (strlen(w) != len || text_casencmp(p->s + start, w, len))
			continue;
		p->pos += len;
		if (!at_word_end(p))
			break;
		n = parse_node(p, N_BREAK, start);
		n = keywords[i].parse(p, n);
		return n;
	}
	p->pos = p->failed ? p->pos : start;
	return parse_chain(p);
}

/* ---- Whole scripts --------------------------------------------------------------------------------------- */

struct script *script_parse(const char *text, size_t len, struct parse_error *e)
{
	struct script *s;
	struct parser p = { .err = e };
	size_t bad;

	if (len > INT32_MAX || !utf8_valid(text, len, &bad)) {
		*e = (struct parse_error){ .id = "InvalidText" };
		strcpy(e->message, "The text is not valid UTF-8.");
		return NULL;
	}
	s = script_create(text, len);
	p.script = s;
	p.s = s->text;
	p.len = (u32)len;
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		p.pos = 3;
	s->list = parse_statements(&p, 0);
	if (!p.failed)
		return s;
	script_destroy(s);
	return NULL;
}
