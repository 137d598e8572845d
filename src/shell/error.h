/* SPDX-License-Identifier: MIT */
/*
 * Error records in PowerShell's shape. A record is a value of type ErrorRecord with
 * the members Message, Category, FullyQualifiedErrorId, CategoryInfo and so on, so
 * that $Error and -ErrorVariable hold it.
 *
 *	shell_throw(sh, node, &(struct fault){ ERR_INVALID_ARGUMENT, "BadId", "SomeException" },
 *		    "Cannot divide %s by zero.", name);
 */
#ifndef NESTOR_SHELL_ERROR_H
#define NESTOR_SHELL_ERROR_H

#include <stdarg.h>

#include "shell/ast.h"
#include "shell/shell.h"

enum category {
	ERR_NOT_SPECIFIED,
	ERR_INVALID_ARGUMENT,
	ERR_INVALID_DATA,
	ERR_INVALID_OPERATION,
	ERR_INVALID_TYPE,
	ERR_OBJECT_NOT_FOUND,
	ERR_RUNTIME,
	ERR_PARSER,
	ERR_NOT_IMPLEMENTED,
	ERR_PERMISSION_DENIED,
	ERR_RESOURCE_UNAVAILABLE,
	ERR_OPERATION_STOPPED,
	ERR_OPERATION_TIMEOUT,
	ERR_SYNTAX,
	ERR_NR
};

struct cmdlet;

/* All but id may be left out. */
struct fault {
	enum category category;
	const char *id;
	const char *exception;
	const json_t *target;	   /* what it was about */
	const char *category_text; /* in place of the category's name */
	const struct cmdlet *cmdlet;
	const char *who; /* before the message, when there is no cmdlet */
};

/* A record, borrowed from the pool. @at may be NULL. */
json_t *error_record(struct shell *sh, const struct node *at, const struct fault *f,
		     const char *fmt, ...) PRINTF(4, 5);
json_t *error_record_text(struct shell *sh, const struct node *at, const struct fault *f,
			  const char *message);
/* Prints the record (or writes it as JSON) and remembers it in $Error. */
void error_write(struct shell *sh, json_t *record);
/* Remembers it in $Error only. */
void error_remember(struct shell *sh, json_t *record);
/* Ends the statement with this error. Returns NULL, always. */
json_t *shell_throw(struct shell *sh, const struct node *at, const struct fault *f, const char *fmt,
		    ...) PRINTF(4, 5);
json_t *shell_throw_va(struct shell *sh, const struct node *at, const struct fault *f,
		       const char *fmt, va_list ap) PRINTF(4, 0);
void shell_throw_record(struct shell *sh, json_t *record, bool whole_script);
/* What the parser complained about. */
void error_write_parse(struct shell *sh, const char *text, size_t len, const char *file,
		       const struct parse_error *e);

#endif
