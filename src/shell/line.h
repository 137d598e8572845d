/* SPDX-License-Identifier: MIT */
/*
 * A line editor for terminals that know the usual escape sequences: no terminfo, so that
 * it works in a guest's initramfs. Emacs' keys, history, Tab. One thread.
 */
#ifndef NESTOR_SHELL_LINE_H
#define NESTOR_SHELL_LINE_H

#include <jansson.h>

#include "base/types.h"

struct line_editor;

/* Candidates for the word that begins at *start and ends at the cursor; @line ends there. */
typedef json_t *line_complete_fn(void *opaque, const char *line, size_t *start);

struct line_editor *line_create(int in, int out, line_complete_fn *complete, void *opaque);
void line_destroy(struct line_editor *l);
/* History in a file; @path may be NULL. */
void line_load_history(struct line_editor *l, const char *path);
void line_save_history(const struct line_editor *l, const char *path);
void line_remember(struct line_editor *l, const char *text);

enum line_result { LINE_DONE, LINE_CANCELLED, LINE_END };
/* Reads a line (without its end); *text is malloc()ed, NULL unless LINE_DONE. */
enum line_result line_read(struct line_editor *l, const char *prompt, char **text);

#endif
