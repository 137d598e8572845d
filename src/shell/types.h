/* SPDX-License-Identifier: MIT */
/*
 * Types of objects, as rows: names, and what Format-Table and Format-List show when
 * they are not told what. Rows of Hyper-V's objects stand in cmdlets/.
 */
#ifndef NESTOR_SHELL_TYPES_H
#define NESTOR_SHELL_TYPES_H

#include <jansson.h>

#include "base/types.h"

enum { MAX_COLUMNS = 12 };

struct column {
	const char *member;
	const char *label; /* NULL: the member's name */
	u64 unit;	   /* the value is divided by it; 0: it is not */
	bool right;
};

struct type_row {
	const char *tag;
	const char *full_name;
	const char *text_member;	  /* what it is as a string; NULL: its full name */
	struct column table[MAX_COLUMNS]; /* none: a list by default */
	const char *list;		  /* members of the list view, "A|B"; NULL: all */
	bool list_is_default;
};

/* NULL if there is none. */
const struct type_row *type_find(const char *tag);

/* Another table of rows (cmdlets/ add theirs), up to one with a NULL tag. */
extern const struct type_row core_types[], hyperv_types[];

#endif
