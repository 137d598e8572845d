/* SPDX-License-Identifier: MIT */
/*
 * The evaluator's state. Values that evaluation makes are kept in a pool and let go
 * when the statement that made them has ended: functions here return borrowed values.
 *
 * A function that could not go on leaves the reason in `flow` and returns NULL or
 * false; callers return at once.
 */
#ifndef NESTOR_SHELL_SHELL_INTERNAL_H
#define NESTOR_SHELL_SHELL_INTERNAL_H

#include "shell/ast.h"
#include "shell/error.h"
#include "shell/shell.h"
#include "shell/value.h"

enum flow {
	FLOW_NONE,
	FLOW_BREAK,
	FLOW_CONTINUE,
	FLOW_RETURN,
	FLOW_EXIT,
	FLOW_THROW, /* an error ends the statement; with `throw_all`, the script */
};

struct client;

struct shell {
	FILE *out, *err;
	bool json, interactive;
	json_t **pool;
	size_t nr_pool, cap_pool;
	json_t *vars;	/* lower-case name to value */
	json_t *errors; /* $Error, newest first */
	json_t *top;	/* written by the running statement, not yet shown */
	enum flow flow;
	bool throw_all;
	json_t *thrown; /* the record of FLOW_THROW */
	int exit_code;
	bool had_error;
	bool last_ok, pipeline_failed; /* $? */
	u32 depth;
	unsigned in_try;
	struct script *scripts; /* all that ran: script blocks point into them */
	const struct node *at;	/* the command that runs */
	bool yes_to_all, no_to_all;
	char *last_view;       /* the type of the table shown last */
	struct client *client; /* of the manager; NULL: not connected yet */
};

/* Takes the reference; the value lives until the statement has ended. */
json_t *keep(struct shell *sh, json_t *v);
/* Lets go what was kept since nr_pool was @mark. */
void pool_release(struct shell *sh, size_t mark);

/* eval.c: statements */
bool exec_statements(struct shell *sh, const struct node *list, json_t *out);
bool exec_statement(struct shell *sh, const struct node *n, json_t *out);
/* What a statement wrote, as one value; NULL with flow. */
json_t *eval_statement(struct shell *sh, const struct node *n);
json_t *shell_get_var(struct shell *sh, const char *name);
void shell_set_var(struct shell *sh, const char *name, json_t *v); /* borrows v */
/* Runs the statements of a script block with $_ set to @item, which may be NULL. */
bool run_block(struct shell *sh, json_t *block, json_t *item, json_t *out);
json_t *scriptblock_value(struct shell *sh, const struct node *n);
/* Shows what the statement has written so far. */
void shell_flush(struct shell *sh);

/* expr.c: expressions; a borrowed value, or NULL with flow */
json_t *eval(struct shell *sh, const struct node *n);
/* ops.c */
json_t *op_binary(struct shell *sh, const struct node *n, u32 op, json_t *a, json_t *b);
json_t *op_unary(struct shell *sh, const struct node *n, u32 op, json_t *a);
json_t *op_cast(struct shell *sh, const struct node *n, const char *type, json_t *v);
/* regex.c */
json_t *op_match(struct shell *sh, const struct node *n, json_t *a, json_t *b, bool with_case,
		 bool negate);
json_t *op_replace(struct shell *sh, const struct node *n, json_t *a, json_t *b, bool with_case);
json_t *op_split(struct shell *sh, const struct node *n, json_t *a, json_t *b, bool with_case);
/* pipe.c */
bool run_pipeline(struct shell *sh, const struct node *n, json_t *out);

/* native.c: programs of the host */
bool native_find(const char *name, char *path, size_t size);
bool native_run(struct shell *sh, const char *path, const char *name, json_t *args, json_t *input,
		json_t *out);

/* format.c */
/* Shows the elements of array @values as they look without Format-*. */
void format_default(struct shell *sh, json_t *values, FILE *to);

#endif
