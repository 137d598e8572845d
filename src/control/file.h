/* SPDX-License-Identifier: MIT */
/*
 * Files that are whole or not there: read at once, replaced atomically and
 * durably. Names are relative to a folder's descriptor. Any thread.
 */
#ifndef NESTOR_CONTROL_FILE_H
#define NESTOR_CONTROL_FILE_H

#include "control/error.h"

enum { FILE_TEXT_MAX = 4 << 20 };

/* NUL-terminated, to free(). -errno; -EFBIG past @max. */
int file_read(int dir, const char *name, size_t max, char **text, size_t *size);
/* Writes NAME.new, syncs it, renames it, syncs the folder: after a crash at any
 * moment there is the old file or the new one. */
int file_replace(int dir, const char *name, const void *data, size_t size, struct ctl_err *e);

int file_read_json(int dir, const char *name, json_t **res, struct ctl_err *e);
int file_replace_json(int dir, const char *name, const json_t *j, struct ctl_err *e);

#endif
