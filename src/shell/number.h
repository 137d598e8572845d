/* SPDX-License-Identifier: MIT */
/* Numbers as PowerShell writes them: 0x10, 1.5GB, 3e2, 512mb, 7L. Any thread. */
#ifndef NESTOR_SHELL_NUMBER_H
#define NESTOR_SHELL_NUMBER_H

#include <jansson.h>

#include "base/types.h"

/* The bytes of the number (without sign) that @s starts with, and its value as a
 * new reference; 0: there is none. Whole numbers too large for 64 bits are reals. */
size_t number_scan(const char *s, const char *end, json_t **value);
/* All of @text, which may have a sign and blanks around it, or NULL. New reference. */
json_t *number_parse(const char *text);
/* Shortest text that reads back as @d, as .NET prints it. */
void number_print(double d, char to[40]);

#endif
