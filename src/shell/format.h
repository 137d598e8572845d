/* SPDX-License-Identifier: MIT */
/*
 * Tables and lists of objects. Columns come from what the user named (-Property), or
 * from the object's row in types.c, or from its members.
 */
#ifndef NESTOR_SHELL_FORMAT_H
#define NESTOR_SHELL_FORMAT_H

#include "shell/shell_internal.h"

struct format_options {
	json_t *properties; /* array as T_PROPERTIES gives, or NULL */
	bool wrap, hide_headers, auto_size;
	unsigned width; /* columns; 0: as many as needed */
};

/* Text of a table or list of array @values. False with flow (a script block failed). */
bool format_table(struct shell *sh, json_t *values, const struct format_options *o, FILE *to);
bool format_list(struct shell *sh, json_t *values, const struct format_options *o, FILE *to);
/* Columns of the terminal behind @f; 0: it is none. */
unsigned format_width(FILE *f);

/* What @property (name, block or hash table) gives for @object: borrowed, NULL with flow. */
json_t *property_value(struct shell *sh, json_t *object, json_t *property);
/* Its name: of a hash table the member Name or Label. */
char *property_name(json_t *property);
/* @properties with wildcards replaced by the members of @object that match. */
json_t *properties_expand(struct shell *sh, json_t *object, json_t *properties);
/* Names of the members that users see. */
json_t *visible_names(struct shell *sh, json_t *object);
/* A value as a cell shows it. malloc()ed. */
char *cell_text(const json_t *v);

/* @v as JSON for users: without hidden members, time spans and dates as text. New
 * reference. Below @depth objects become their text. */
json_t *plain_json_new(const json_t *v, unsigned depth);

#endif
