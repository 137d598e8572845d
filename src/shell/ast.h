/* SPDX-License-Identifier: MIT */
/*
 * A script as a tree. script_parse() reads all of the text before anything runs,
 * so that a mistake in it runs nothing.
 *
 *	struct parse_error e;
 *	struct script *s = script_parse("Get-VM | fl", 11, &e);
 *
 * A script owns its nodes; script_destroy() frees them. Nodes never change.
 */
#ifndef NESTOR_SHELL_AST_H
#define NESTOR_SHELL_AST_H

#include <jansson.h>

#include "base/types.h"

/* What a node's members mean; those not named are not used. Lists go on by `next`. */
enum node_kind {
	N_CONST,       /* value */
	N_EXPAND,      /* list: N_CONST and expressions, joined to one string */
	N_VAR,	       /* name, in lower case */
	N_SPLAT,       /* name */
	N_PAREN,       /* a: statement */
	N_SUBEXPR,     /* list: statements of $( ) */
	N_ARRAY,       /* list: statements of @( ) */
	N_HASH,	       /* list: N_PAIR */
	N_PAIR,	       /* a: key expression, b: value statement */
	N_SCRIPTBLOCK, /* list: statements */
	N_LIST,	       /* list: expressions of a, b, c */
	N_UNARY,       /* op, a */
	N_BINARY,      /* op, a, b */
	N_CAST,	       /* name: type, a */
	N_MEMBER,      /* a . b (an expression that gives the name) */
	N_INDEX,       /* a [ b ] */

	N_PIPELINE, /* list: an expression or N_COMMAND, then N_COMMANDs */
	N_COMMAND, /* a: name expression; op: OP_CALL after '&'; list: N_PARAM, N_REDIRECT, arguments */
	N_PARAM,    /* name without the dash; a: value after ':', or NULL */
	N_REDIRECT, /* op: stream; a: target, or NULL: into the output; name "append" or NULL */
	N_CHAIN,    /* op: OP_AND or OP_OR; a, b: pipelines */
	N_ASSIGN,   /* a: target, op: operator before '=' or 0, b: statement; NULL: ++ or -- */

	N_IF,	   /* a: condition, b: N_BLOCK, c: else: N_BLOCK, N_IF or NULL */
	N_FOREACH, /* name: variable, a: statement, b: N_BLOCK */
	N_WHILE,   /* a: condition, b: N_BLOCK; op: OP_DO_WHILE, OP_DO_UNTIL or 0 */
	N_FOR,	   /* a: start, b: condition, c: step (each may be NULL), d: N_BLOCK */
	N_TRY,	   /* a: N_BLOCK, b: catch, c: finally (each may be NULL) */
	N_BREAK,
	N_CONTINUE,
	N_RETURN,
	N_EXIT,
	N_THROW, /* a: statement, or NULL */
	N_BLOCK, /* list: statements */
};

enum op {
	OP_NONE,
	OP_ADD,
	OP_SUB,
	OP_MUL,
	OP_DIV,
	OP_MOD,
	OP_RANGE,
	OP_FORMAT,
	OP_COMMA,
	OP_EQ,
	OP_NE,
	OP_GT,
	OP_GE,
	OP_LT,
	OP_LE,
	OP_LIKE,
	OP_NOTLIKE,
	OP_MATCH,
	OP_NOTMATCH,
	OP_CONTAINS,
	OP_NOTCONTAINS,
	OP_IN,
	OP_NOTIN,
	OP_REPLACE,
	OP_SPLIT,
	OP_JOIN,
	OP_IS,
	OP_ISNOT,
	OP_AND,
	OP_OR,
	OP_XOR,
	OP_BAND,
	OP_BOR,
	OP_BXOR,
	OP_NOT,
	OP_BNOT,
	OP_PLUS,
	OP_MINUS,
	OP_CALL,
	OP_DO_WHILE,
	OP_DO_UNTIL,
	OP_CASE = 0x100, /* with it, case counts */
};

/* Streams of N_REDIRECT. */
enum { STREAM_ALL = 0, STREAM_OUTPUT = 1, STREAM_ERROR = 2 };

struct node {
	enum node_kind kind;
	u32 op;
	u32 start, end; /* extent in the script's text */
	u32 depth;	/* of the tree below */
	json_t *value;
	const char *name;
	struct node *a, *b, *c, *d, *list, *next;
	struct script *script;
};

struct script {
	char *text;
	size_t len;
	const char *file;  /* as errors name it; NULL: what was typed. Owned */
	struct node *list; /* statements */
	struct arena *arena;
	json_t *values;	     /* every constant */
	struct script *next; /* of its owner */
};

/* Where and why parsing ended. @incomplete: more lines may complete the text. */
struct parse_error {
	u32 start, end;
	const char *id;
	bool incomplete;
	char message[400];
};

/* NULL and @e on a mistake. */
struct script *script_parse(const char *text, size_t len, struct parse_error *e);
/* A script without text or statements, for trees made by hand. */
struct script *script_create(const char *text, size_t len);
struct node *script_node(struct script *s, enum node_kind kind);
/* Copies to the script's memory. */
char *script_string(struct script *s, const char *text, size_t len);
/* Takes the reference and returns a borrowed one. */
json_t *script_value(struct script *s, json_t *value);
void script_destroy(struct script *s);

/* Line and column (in characters) of @at, from 1; and the line's text, not ended. */
struct script_place {
	unsigned line, column;
	const char *text;
	size_t len;
};
struct script_place script_locate(const struct script *s, u32 at);

#endif
