/* SPDX-License-Identifier: MIT */
/*
 * Values of the shell are jansson's: null, booleans, 64-bit integers, reals,
 * strings, arrays. Objects with a type (a VM, a time span, a script block) are JSON
 * objects whose member "@type" names a row of types.c; a hash table is a "Hashtable",
 * an object without "@type" a "PSCustomObject". Members that begin with '@' are
 * hidden from users. Names are compared without case.
 *
 * Functions that end in _new return a reference that the caller owns; all others
 * borrow. Values are not shared between threads.
 */
#ifndef NESTOR_SHELL_VALUE_H
#define NESTOR_SHELL_VALUE_H

#include <jansson.h>

#include "base/types.h"

#define TYPE_KEY "@type"

/* Ticks of a time span or date. */
#define TICKS_PER_SECOND 10000000ll

/* "VirtualMachine", "Hashtable"; NULL for what is no object. */
const char *value_tag(const json_t *v);
bool value_is(const json_t *v, const char *tag);
/* As error records name types: "Int32", "String", "Object[]", "VirtualMachine"; and in full. */
const char *value_type(const json_t *v);
const char *value_full_type(const json_t *v);

json_t *value_object_new(const char *tag);
json_t *value_timespan_new(s64 ticks);
json_t *value_datetime_new(s64 ticks); /* since 0001-01-01, local time */
s64 value_ticks(const json_t *v);

/* What PowerShell's string conversion gives. */
char *value_text(const json_t *v); /* malloc()ed */
json_t *value_string_new(const json_t *v);
bool value_truth(const json_t *v);
/* A number, or NULL when @v is none and cannot be made one. */
json_t *value_number_new(const json_t *v);
double value_real(const json_t *v); /* of a number */
/* A whole number (rounded to even as PowerShell does), or false. */
bool value_integer(const json_t *v, s64 *to);

/* The member or element named @key; NULL if there is none. Intrinsic members (Count,
 * Length, Days, ...) and members of every element of an array included: new reference. */
json_t *value_member_new(json_t *v, const char *key);
/* The object's own member, without case; its exact name in @name. */
json_t *value_get(json_t *object, const char *key, const char **name);
/* Sets the member @key, whatever its case. Takes the reference. */
void value_set(json_t *object, const char *key, json_t *v);

/* Order as PowerShell's comparison; -2 when they cannot be compared. */
int value_compare(const json_t *a, const json_t *b, bool with_case);
bool value_equal(const json_t *a, const json_t *b, bool with_case);

/* What a pipeline makes of @v: elements of arrays, one by one, else itself. */
void value_emit(json_t *out, json_t *v);
/* The value of what a pipeline wrote: null, the only one, or an array. */
json_t *value_collect_new(json_t *out);
/* A copy of the object's own level. */
json_t *value_copy_new(json_t *v);

/* "00:03:07.0560000", "11/23/2026 5:49:26 AM" */
void timespan_print(s64 ticks, char to[40]);
void datetime_print(s64 ticks, char to[40]);

#endif
