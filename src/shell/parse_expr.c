// SPDX-License-Identifier: MIT
/* Expressions: operators by precedence, as rows; primaries with .name and [index]. */
#include <string.h>

#include "shell/parse_internal.h"
#include "shell/text.h"

enum precedence { P_LOGIC = 1, P_BITS, P_COMPARE, P_SUM, P_PRODUCT, P_FORMAT, P_RANGE, P_COMMA };

struct op_row {
	const char *name;
	enum op op;
	u8 precedence; /* 0: unary only */
	bool cased;    /* -cNAME and -iNAME are there too */
	bool unary;
};

static const struct op_row op_rows[] = {
	{ "and", OP_AND, P_LOGIC, false, false },
	{ "or", OP_OR, P_LOGIC, false, false },
	{ "xor", OP_XOR, P_LOGIC, false, false },
	{ "band", OP_BAND, P_BITS, false, false },
	{ "bor", OP_BOR, P_BITS, false, false },
	{ "bxor", OP_BXOR, P_BITS, false, false },
	{ "eq", OP_EQ, P_COMPARE, true, false },
	{ "ne", OP_NE, P_COMPARE, true, false },
	{ "gt", OP_GT, P_COMPARE, true, false },
	{ "ge", OP_GE, P_COMPARE, true, false },
	{ "lt", OP_LT, P_COMPARE, true, false },
	{ "le", OP_LE, P_COMPARE, true, false },
	{ "like", OP_LIKE, P_COMPARE, true, false },
	{ "notlike", OP_NOTLIKE, P_COMPARE, true, false },
	{ "match", OP_MATCH, P_COMPARE, true, false },
	{ "notmatch", OP_NOTMATCH, P_COMPARE, true, false },
	{ "contains", OP_CONTAINS, P_COMPARE, true, false },
	{ "notcontains", OP_NOTCONTAINS, P_COMPARE, true, false },
	{ "in", OP_IN, P_COMPARE, true, false },
	{ "notin", OP_NOTIN, P_COMPARE, true, false },
	{ "replace", OP_REPLACE, P_COMPARE, true, false },
	{ "split", OP_SPLIT, P_COMPARE, true, true },
	{ "join", OP_JOIN, P_COMPARE, false, true },
	{ "is", OP_IS, P_COMPARE, false, false },
	{ "isnot", OP_ISNOT, P_COMPARE, false, false },
	{ "f", OP_FORMAT, P_FORMAT, false, false },
	{ "not", OP_NOT, 0, false, true },
	{ "bnot", OP_BNOT, 0, false, true },
};

struct op_seen {
	u32 op;
	u32 precedence;
	u32 len; /* bytes */
};

static bool name_is(const struct op_row *row, const char *s, u32 len)
{
	return strlen(row->name) == len && !text_casencmp(row->name, s, len);
}

/* The row that the letters @s name; whether case counts in @op. */
static const struct op_row *find_op(const char *s, u32 len, u32 *op)
{
	for (unsigned i = 0; i < ARRAY_SIZE(op_rows); i++) {
		const struct op_row *row = &op_rows[i];
		char prefix = len ? (char)(s[0] | 32) : 0;

		*op = row->op;
		if (name_is(row, s, len))
			return row;
		if (!row->cased || !name_is(row, s + 1, len - 1))
			continue;
		if (prefix == 'c')
			*op |= OP_CASE;
		if (prefix == 'c' || prefix == 'i')
			return row;
	}
	return NULL;
}

/* The row of the operator name that follows the dash at @pos. */
static const struct op_row *dash_op(const struct parser *p, u32 *op, u32 *len)
{
	unsigned dash;
	u32 letters;

	if (!cp_is_dash(peek_cp_at(p, p->pos, &dash)))
		return NULL;
	letters = word_length(p, p->pos + dash);
	*len = dash + letters;
	return letters ? find_op(p->s + p->pos + dash, letters, op) : NULL;
}

static bool seen(struct op_seen *o, u32 op, u32 precedence, u32 len)
{
	*o = (struct op_seen){ op, precedence, len };
	return true;
}

/* "+=" and its like are no operators but assignments; "++" and "--" neither. */
static bool is_assignment(const struct parser *p, u32 len)
{
	unsigned n;
	u32 next = peek_cp_at(p, p->pos + len, &n), cp = peek_cp(p);

	return next == '=' || (cp == '+' && next == '+') || (cp_is_dash(cp) && cp_is_dash(next));
}

static bool at_binary(const struct parser *p, struct op_seen *o)
{
	unsigned n;
	u32 cp = peek_cp_at(p, p->pos, &n), op, len;
	const struct op_row *row = dash_op(p, &op, &len);

	if (row)
		return row->precedence ? seen(o, op, row->precedence, len) : false;
	if (at_text(p, ".."))
		return seen(o, OP_RANGE, P_RANGE, 2);
	if (cp == ',')
		return seen(o, OP_COMMA, P_COMMA, 1);
	if (is_assignment(p, n))
		return false;
	switch (cp) {
	case '+':
		return seen(o, OP_ADD, P_SUM, 1);
	case '*':
		return seen(o, OP_MUL, P_PRODUCT, 1);
	case '/':
		return seen(o, OP_DIV, P_PRODUCT, 1);
	case '%':
		return seen(o, OP_MOD, P_PRODUCT, 1);
	default:
		break;
	}
	if (cp_is_dash(cp) && !word_length(p, p->pos + n))
		return seen(o, OP_SUB, P_SUM, n);
	/* "3-2": a dash before a digit is a minus where an operator can stand */
	if (cp_is_dash(cp) && p->s[p->pos + n] >= '0' && p->s[p->pos + n] <= '9')
		return seen(o, OP_SUB, P_SUM, n);
	return false;
}

/* ---- Primaries ----------------------------------------------------------------------------- */

static struct node *nested(struct parser *p, enum node_kind kind, u32 open, char closer)
{
	struct node *n = parse_node(p, kind, p->pos);

	p->pos += open;
	if (parse_enter(p))
		n->list = parse_statements(p, closer);
	parse_leave(p);
	return parse_done(p, n);
}

static struct node *parse_key(struct parser *p)
{
	u32 start = p->pos, len = word_length(p, start);
	struct node *n;

	if (!len || (p->s[start] >= '0' && p->s[start] <= '9'))
		return parse_primary(p);
	n = parse_node(p, N_CONST, start);
	n->value = script_value(p->script, json_stringn(p->s + start, len));
	p->pos += len;
	return parse_done(p, n);
}

static void skip_separators(struct parser *p)
{
	for (skip_lines(p); take(p, ';'); skip_lines(p))
		;
}

static struct node *parse_pair(struct parser *p)
{
	struct node *n = parse_node(p, N_PAIR, p->pos);

	n->a = parse_key(p);
	skip_blanks(p);
	if (!take(p, '=')) {
		parse_fail(p, "MissingEqualsInHashLiteral", p->pos, p->pos + 1,
			   "Missing '=' operator after key in hash literal.");
		return n;
	}
	skip_lines(p);
	n->b = parse_statement(p);
	return parse_done(p, n);
}

/* @{ key = value; ... } */
static struct node *parse_hash(struct parser *p)
{
	struct node *n = parse_node(p, N_HASH, p->pos), **tail = &n->list;

	p->pos += 2;
	if (!parse_enter(p))
		return n;
	for (skip_separators(p); !p->failed && !take(p, '}');) {
		u32 line;

		if (p->pos >= p->len) {
			parse_incomplete(p, "MissingEndCurlyBrace", n->start,
					 "The hash literal was incomplete.");
			break;
		}
		*tail = parse_pair(p);
		tail = &(*tail)->next;
		line = p->pos;
		skip_separators(p);
		if (!p->failed && p->pos == line && p->pos < p->len && p->s[p->pos] != '}')
			parse_unexpected(p);
	}
	parse_leave(p);
	return parse_done(p, n);
}

static struct node *parse_at(struct parser *p)
{
	unsigned n;
	u32 cp = peek_cp_at(p, p->pos + 1, &n), len;
	struct node *splat;

	if (cp == '(')
		return nested(p, N_ARRAY, 2, ')');
	if (cp == '{')
		return parse_hash(p);
	if (cp_is_dquote(cp) || cp_is_squote(cp))
		return parse_string(p);
	len = word_length(p, p->pos + 1);
	if (!len) {
		parse_fail(p, "UnrecognizedToken", p->pos, p->pos + 1,
			   "Unrecognized token in source text.");
		return parse_node(p, N_CONST, p->pos);
	}
	splat = parse_node(p, N_SPLAT, p->pos);
	splat->name = script_string(p->script, p->s + p->pos + 1, len);
	for (char *c = (char *)splat->name; *c; c++)
		*c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 32) : *c;
	p->pos += 1 + len;
	return parse_done(p, splat);
}

/* The name behind '.': a word, a string, a variable or ( ). */
static struct node *parse_member_name(struct parser *p)
{
	u32 start = p->pos, len = word_length(p, start), cp = peek_cp(p);
	struct node *n;

	if (cp == '(')
		return parse_paren(p);
	if (cp == '$')
		return parse_variable(p);
	if (cp_is_dquote(cp) || cp_is_squote(cp))
		return parse_string(p);
	if (!len) {
		parse_fail(p, "MissingPropertyName", start, start + 1,
			   "Missing property name after reference operator.");
		return parse_node(p, N_CONST, start);
	}
	n = parse_node(p, N_CONST, start);
	n->value = script_value(p->script, json_stringn(p->s + start, len));
	p->pos += len;
	return parse_done(p, n);
}

static struct node *parse_member(struct parser *p, struct node *of)
{
	struct node *n = parse_node(p, N_MEMBER, of->start);

	p->pos++;
	n->a = of;
	n->b = parse_member_name(p);
	if (!p->failed && p->pos < p->len && p->s[p->pos] == '(')
		parse_fail(p, "MethodsNotAvailable", n->start, p->pos,
			   "Methods cannot be called in this shell; operators and cmdlets can do "
			   "most of it.");
	return parse_done(p, n);
}

static struct node *parse_index(struct parser *p, struct node *of)
{
	struct node *n = parse_node(p, N_INDEX, of->start);

	p->pos++;
	n->a = of;
	if (parse_enter(p)) {
		skip_lines(p);
		n->b = parse_expression(p);
		skip_lines(p);
	}
	parse_leave(p);
	if (!p->failed && !take(p, ']'))
		parse_incomplete(p, "MissingEndSquareBracket", p->pos,
				 "Missing ']' after array index expression.");
	return parse_done(p, n);
}

struct node *parse_postfix(struct parser *p, struct node *n)
{
	for (;;) {
		unsigned len;
		u32 next = peek_cp_at(p, p->pos + 1, &len);

		if (p->failed || p->pos >= p->len)
			return n;
		if (p->s[p->pos] == '[')
			n = parse_index(p, n);
		else if (p->s[p->pos] == '.' && next != '.' && next && !cp_is_blank(next) &&
			 !cp_is_newline(next))
			n = parse_member(p, n);
		else
			return n;
	}
}

static bool at_string(const struct parser *p)
{
	u32 cp = peek_cp(p);

	return cp_is_dquote(cp) || cp_is_squote(cp);
}

struct node *parse_primary(struct parser *p)
{
	u32 cp = peek_cp(p);
	struct node *n;

	if (at_string(p))
		return parse_postfix(p, parse_string(p));
	if (cp == '$')
		return parse_postfix(p, at_text(p, "$(") ? nested(p, N_SUBEXPR, 2, ')')
							 : parse_variable(p));
	if (cp == '(')
		return parse_postfix(p, parse_paren(p));
	if (cp == '@')
		return parse_postfix(p, parse_at(p));
	if (cp == '{')
		return nested(p, N_SCRIPTBLOCK, 1, '}');
	n = parse_number(p, true);
	if (n)
		return n;
	parse_unexpected(p);
	return parse_node(p, N_CONST, p->pos);
}

/* ---- Operators --------------------------------------------------------------------------------- */

static struct node *parse_unary(struct parser *p);

/* [type] expression */
static struct node *parse_cast(struct parser *p)
{
	struct node *n = parse_node(p, N_CAST, p->pos);
	const char *end = memchr(p->s + p->pos, ']', p->len - p->pos);
	u32 name = p->pos + 1;

	if (!end) {
		parse_incomplete(p, "EndSquareBracketExpectedAtEndOfType", p->pos,
				 "Missing ] at end of attribute or type literal.");
		return n;
	}
	n->name = script_string(p->script, p->s + name, (size_t)(end - (p->s + name)));
	p->pos = (u32)(end - p->s) + 1;
	if (take(p, '[') || take(p, ']') || at_text(p, "::")) {
		parse_fail(
			p, "TypesNotAvailable", n->start, p->pos,
			"Types can be used in this shell to convert values only, as in [int]'5'.");
		return n;
	}
	skip_blanks(p);
	/* without an operand it is the type itself, as in -is [int] */
	if (at_expression(p) && peek_cp(p) != ',')
		n->a = parse_unary(p);
	return parse_done(p, n);
}

static struct node *unary_node(struct parser *p, u32 op, u32 len)
{
	struct node *n = parse_node(p, N_UNARY, p->pos);

	n->op = op;
	p->pos += len;
	skip_lines(p);
	if (p->pos >= p->len)
		parse_incomplete(p, "MissingExpressionAfterOperator", n->start,
				 "Missing expression after unary operator '%.*s'.", (int)len,
				 p->s + n->start);
	else if (parse_enter(p))
		n->a = parse_unary(p);
	parse_leave(p);
	return parse_done(p, n);
}

static struct node *parse_unary(struct parser *p)
{
	unsigned n;
	u32 cp = peek_cp_at(p, p->pos, &n), op, len;
	const struct op_row *row = dash_op(p, &op, &len);

	if (row && row->unary)
		return unary_node(p, op, len);
	if (cp == '!')
		return unary_node(p, OP_NOT, 1);
	if (cp == ',')
		return unary_node(p, OP_COMMA, 1);
	if (cp == '+')
		return unary_node(p, OP_PLUS, 1);
	if (cp_is_dash(cp))
		return unary_node(p, OP_MINUS, n);
	if (cp == '[')
		return parse_enter(p) ? (parse_leave(p), parse_cast(p))
				      : parse_node(p, N_CONST, p->pos);
	return parse_primary(p);
}

/* a, b, c */
static struct node *parse_list(struct parser *p)
{
	struct node *first = parse_unary(p), *list, **tail;

	skip_blanks(p);
	if (p->failed || peek_cp(p) != ',')
		return first;
	list = parse_node(p, N_LIST, first->start);
	list->list = first;
	tail = &first->next;
	while (!p->failed && take(p, ',')) {
		u32 comma = p->pos - 1;

		skip_lines(p);
		if (p->pos >= p->len) {
			parse_incomplete(p, "MissingExpressionAfterToken", comma,
					 "Missing expression after ','.");
			break;
		}
		*tail = parse_unary(p);
		tail = &(*tail)->next;
		list->end = p->pos;
		skip_blanks(p);
	}
	return parse_done(p, list);
}

static struct node *parse_binary(struct parser *p, u32 least)
{
	struct node *left = parse_list(p);
	struct op_seen o;

	for (skip_blanks(p); !p->failed && at_binary(p, &o) && o.precedence >= least;
	     skip_blanks(p)) {
		struct node *n = parse_node(p, N_BINARY, left->start);
		u32 at = p->pos;

		n->op = o.op;
		n->a = left;
		p->pos += o.len;
		skip_lines(p);
		if (!at_expression(p)) {
			if (p->pos < p->len && p->s[p->pos] == '<')
				parse_unexpected(p);
			parse_incomplete(p, "ExpectedValueExpression", at,
					 "You must provide a value expression following the '%.*s' "
					 "operator.",
					 (int)o.len, p->s + at);
			return left;
		}
		if (parse_enter(p))
			n->b = parse_binary(p, o.precedence + 1);
		parse_leave(p);
		left = parse_done(p, n);
	}
	return left;
}

struct node *parse_expression(struct parser *p)
{
	return parse_binary(p, P_LOGIC);
}

/* Whether a statement that starts here is an expression, and no command. */
bool at_expression(const struct parser *p)
{
	struct parser probe = *p;
	unsigned n;
	u32 cp = peek_cp_at(p, p->pos, &n), op, len,
	    next = peek_cp_at(p, p->pos + n, &(unsigned){ 0 });
	const struct op_row *row = dash_op(p, &op, &len);

	if (row)
		return row->unary;
	if (cp_is_dash(cp) || cp == '+')
		return (next >= '0' && next <= '9') || next == '.' || next == '(' || next == '$';
	if (cp_in(cp, "$@({![,"))
		return true;
	if (cp_is_dquote(cp) || cp_is_squote(cp))
		return true;
	return (cp == '.' || (cp >= '0' && cp <= '9')) && parse_number(&probe, true);
}
