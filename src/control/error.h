/* SPDX-License-Identifier: MIT */
/*
 * What went wrong, as a record: what an HTTP answer carries and what the shell
 * shows in PowerShell's shape. Its text has the summary in the first line and
 * details in further ones.
 *
 *	return ctl_error(e, CTL_WRONG_STATE, "...");
 *
 * Categories and ids are those of `../shared/reference`, section 4.
 */
#ifndef NESTOR_CONTROL_ERROR_H
#define NESTOR_CONTROL_ERROR_H

#include <jansson.h>

#include "base/log.h"
#include "base/types.h"

/* Kinds of errors; error.c has the row (category, id, HTTP status) of each. */
enum ctl_kind {
	CTL_OK,
	CTL_INVALID_ARGUMENT,	/* a value that cannot be */
	CTL_INVALID_PARAMETER,	/* a field or argument that does not exist */
	CTL_NOT_FOUND,		/* no such VM, disk, path */
	CTL_EXISTS,		/* there is one already */
	CTL_WRONG_STATE,	/* not while the VM is in this state */
	CTL_CONFLICT,		/* changed by somebody else meanwhile */
	CTL_NOT_SUPPORTED,	/* this host, engine or version cannot */
	CTL_NOT_AVAILABLE,	/* we cannot, yet */
	CTL_OUT_OF_MEMORY,
	CTL_ACCESS_DENIED,
	CTL_DAMAGED,		/* a configuration that cannot be read */
	CTL_OPERATION_FAILED,	/* the host's or the guest's fault */
	CTL_TIMEOUT,
	CTL_NO_MANAGER,		/* cannot be reached or started */
	CTL_LOST,		/* the manager went away before it answered */
	CTL_NR_KINDS
};

struct ctl_err {
	enum ctl_kind kind;
	char category[32]; /* "InvalidOperation" */
	char id[40];	   /* "InvalidState" */
	char target[160];  /* what it was about: a VM's name, a value */
	char text[1024];   /* lines */
};

/* Sets kind, category, id and text and returns -1; @e may be NULL. The target is
 * kept when it was set before. */
int ctl_error(struct ctl_err *e, enum ctl_kind kind, const char *fmt, ...) PRINTF(3, 4);
/* One more line. Returns -1. */
int ctl_error_add(struct ctl_err *e, const char *fmt, ...) PRINTF(2, 3);
int ctl_error_target(struct ctl_err *e, const char *target);
/* By errno: full disk, missing permission and their like have kinds of their own. */
int ctl_error_errno(struct ctl_err *e, int err, const char *fmt, ...) PRINTF(3, 4);

unsigned ctl_error_status(const struct ctl_err *e); /* of HTTP */
json_t *ctl_error_to_json(const struct ctl_err *e);
/* Whatever is missing or odd becomes OPERATION_FAILED. Returns -1. */
int ctl_error_from_json(struct ctl_err *e, const json_t *j);

#endif
