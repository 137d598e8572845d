// SPDX-License-Identifier: MIT
/* Error records: their kinds, and their form in JSON. */
#include "control/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct kind_row {
	const char *name; /* in JSON */
	const char *category, *id;
	unsigned status;
};

static const struct kind_row kinds[CTL_NR_KINDS] = {
	[CTL_OK] = { "Ok", "NotSpecified", "Ok", 200 },
	[CTL_INVALID_ARGUMENT] = { "InvalidArgument", "InvalidArgument", "InvalidArgument", 400 },
	[CTL_INVALID_PARAMETER] = { "InvalidParameter", "InvalidArgument", "InvalidParameter", 400 },
	[CTL_NOT_FOUND] = { "NotFound", "ObjectNotFound", "ObjectNotFound", 404 },
	[CTL_EXISTS] = { "Exists", "ResourceExists", "ResourceExists", 409 },
	[CTL_WRONG_STATE] = { "WrongState", "InvalidOperation", "InvalidState", 409 },
	[CTL_CONFLICT] = { "Conflict", "ResourceBusy", "ObjectInUse", 412 },
	[CTL_NOT_SUPPORTED] = { "NotSupported", "NotSupported", "InvalidState", 422 },
	[CTL_NOT_AVAILABLE] = { "NotAvailable", "NotImplemented", "NotAvailable", 501 },
	[CTL_OUT_OF_MEMORY] = { "OutOfMemory", "FromStdErr", "OutOfMemory", 507 },
	[CTL_ACCESS_DENIED] = { "AccessDenied", "PermissionDenied", "AccessDenied", 403 },
	[CTL_DAMAGED] = { "Damaged", "InvalidData", "InvalidData", 409 },
	[CTL_OPERATION_FAILED] = { "OperationFailed", "NotSpecified", "OperationFailed", 500 },
	[CTL_TIMEOUT] = { "Timeout", "OperationTimeout", "OperationFailed", 504 },
	[CTL_NO_MANAGER] = { "NoManager", "ConnectionError", "ManagerNotRunning", 503 },
	[CTL_LOST] = { "Lost", "ConnectionError", "ManagerLost", 502 },
};

static void set_kind(struct ctl_err *e, enum ctl_kind kind)
{
	e->kind = kind;
	snprintf(e->category, sizeof(e->category), "%s", kinds[kind].category);
	snprintf(e->id, sizeof(e->id), "%s", kinds[kind].id);
}

int ctl_error(struct ctl_err *e, enum ctl_kind kind, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	set_kind(e, kind);
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

int ctl_error_add(struct ctl_err *e, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -1;
	size_t n = strlen(e->text);
	if (n && n + 1 < sizeof(e->text))
		e->text[n++] = '\n';
	va_start(ap, fmt);
	vsnprintf(e->text + n, sizeof(e->text) - n, fmt, ap);
	va_end(ap);
	return -1;
}

int ctl_error_target(struct ctl_err *e, const char *target)
{
	if (e)
		snprintf(e->target, sizeof(e->target), "%s", target ? target : "");
	return -1;
}

static enum ctl_kind kind_of_errno(int err)
{
	switch (err) {
	case EACCES:
	case EPERM:
	case EROFS:
		return CTL_ACCESS_DENIED;
	case ENOENT:
		return CTL_NOT_FOUND;
	case ENOMEM:
		return CTL_OUT_OF_MEMORY;
	default:
		return CTL_OPERATION_FAILED;
	}
}

int ctl_error_errno(struct ctl_err *e, int err, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	enum ctl_kind kind = kind_of_errno(err);
	if (kind != CTL_ACCESS_DENIED)
		return ctl_error(e, kind, "%s: %s.", what, strerror(err));
	ctl_error(e, kind, "You do not have the required permission to complete this task.");
	return ctl_error_add(e, "%s: %s.", what, strerror(err));
}

unsigned ctl_error_status(const struct ctl_err *e)
{
	return kinds[e->kind].status;
}

/* ---- JSON ---- */

/* Text of elsewhere may be no UTF-8, which JSON cannot carry. */
static json_t *text(const char *s)
{
	char plain[sizeof(((struct ctl_err *)0)->text)];
	json_t *j = json_string(s);
	size_t n = 0;

	if (j)
		return j;
	for (; s[n] && n < sizeof(plain) - 1; n++)
		plain[n] = (u8)s[n] < 0x80 ? s[n] : '?';
	plain[n] = 0;
	return json_string(plain);
}

json_t *ctl_error_to_json(const struct ctl_err *e)
{
	json_t *j = json_object();

	json_object_set_new(j, "kind", json_string(kinds[e->kind].name));
	json_object_set_new(j, "category", text(e->category));
	json_object_set_new(j, "id", text(e->id));
	json_object_set_new(j, "target", text(e->target));
	json_object_set_new(j, "message", text(e->text));
	return j;
}

static void copy_string(char *to, size_t size, const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	if (s)
		snprintf(to, size, "%s", s);
}

int ctl_error_from_json(struct ctl_err *e, const json_t *j)
{
	const char *name = json_string_value(json_object_get(j, "kind"));

	ctl_error(e, CTL_OPERATION_FAILED, "The operation failed and gave no reason.");
	if (!e)
		return -1;
	for (unsigned k = 1; name && k < CTL_NR_KINDS; k++)
		if (!strcmp(name, kinds[k].name))
			set_kind(e, (enum ctl_kind)k);
	copy_string(e->category, sizeof(e->category), j, "category");
	copy_string(e->id, sizeof(e->id), j, "id");
	copy_string(e->target, sizeof(e->target), j, "target");
	copy_string(e->text, sizeof(e->text), j, "message");
	return -1;
}
