/* SPDX-License-Identifier: MIT */
/*
 * Text as PowerShell sees it: UTF-8, classes of characters (every dash is a
 * dash, any double quote closes any), comparison without case, wildcards.
 *
 * Plain functions on valid UTF-8 that ends with a zero byte; from any thread.
 */
#ifndef NESTOR_SHELL_TEXT_H
#define NESTOR_SHELL_TEXT_H

#include "base/types.h"

/* The code point at @s, 0 at @end; its bytes in @len. Bytes that are no UTF-8
 * are U+FFFD, one each. */
u32 utf8_decode(const char *s, const char *end, unsigned *len);
unsigned utf8_encode(u32 cp, char to[4]);
/* Whether all is UTF-8, without zero bytes; else @bad is where it ends. */
bool utf8_valid(const char *s, size_t len, size_t *bad);

bool cp_is_dash(u32 cp);
bool cp_is_dquote(u32 cp);
bool cp_is_squote(u32 cp);
bool cp_is_blank(u32 cp);
bool cp_is_newline(u32 cp);
/* Letters (everything outside ASCII that is no special character), digits, '_'. */
bool cp_is_word(u32 cp);
/* Whether @cp is one of these ASCII characters. */
bool cp_in(u32 cp, const char *ascii);

/* Order without regard to case, as strcmp(). */
int text_casecmp(const char *a, const char *b);
int text_casencmp(const char *a, const char *b, size_t bytes);
bool text_equal(const char *a, const char *b);
bool text_has_prefix(const char *text, const char *prefix);
/* Whether @word is one of the words of @list ("VMName|Id"), ignoring case. */
bool text_in_list(const char *word, const char *list);

/* Wildcards: * ? [abc] [a-z], backtick takes the next character literally. */
bool text_like(const char *text, const char *pattern, bool with_case);
bool text_has_wildcard(const char *text);

/* Columns on a terminal. */
unsigned text_width(const char *text);
/* The bytes of @text that fit in @columns. */
size_t text_fit(const char *text, unsigned columns);
/* A copy in which what could move a terminal's cursor is a '?'. */
char *text_printable(const char *text);

#endif
