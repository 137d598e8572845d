// SPDX-License-Identifier: MIT
/* Error records: making, printing, throwing. */
#include "shell/error.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlet.h"
#include "shell/shell_internal.h"
#include "shell/text.h"

enum { MAX_KEPT_ERRORS = 256, MAX_LINE = 400, MAX_TARGET = 40 };

static const char *const category_names[ERR_NR] = {
	[ERR_NOT_SPECIFIED] = "NotSpecified",
	[ERR_INVALID_ARGUMENT] = "InvalidArgument",
	[ERR_INVALID_DATA] = "InvalidData",
	[ERR_INVALID_OPERATION] = "InvalidOperation",
	[ERR_INVALID_TYPE] = "InvalidType",
	[ERR_OBJECT_NOT_FOUND] = "ObjectNotFound",
	[ERR_RUNTIME] = "OperationStopped",
	[ERR_PARSER] = "ParserError",
	[ERR_NOT_IMPLEMENTED] = "NotImplemented",
	[ERR_PERMISSION_DENIED] = "PermissionDenied",
	[ERR_RESOURCE_UNAVAILABLE] = "ResourceUnavailable",
	[ERR_OPERATION_STOPPED] = "OperationStopped",
	[ERR_OPERATION_TIMEOUT] = "OperationTimeout",
	[ERR_SYNTAX] = "SyntaxError",
};

/* ---- Making ---------------------------------------------------------------------------- */

/* "At line:1 char:5", the line, and what is meant underlined. */
static char *position_text(const struct script *s, u32 start, u32 end)
{
	struct script_place p = script_locate(s, start);
	size_t shown = MIN(p.len, (size_t)MAX_LINE);
	char *text = NULL, *line;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	u32 line_start = (u32)(p.text - s->text);
	u32 last = MIN(end, line_start + (u32)p.len);

	line = strndup(p.text, shown);
	fprintf(f, "At %s:%u char:%u\n+ %s\n+ ", s->file ? s->file : "line", p.line, p.column,
		line);
	for (u32 at = line_start; at < start; at++)
		if (((u8)s->text[at] & 0xc0) != 0x80)
			fputc(' ', f);
	fputc('~', f);
	for (u32 at = start + 1; at < last && at - line_start < MAX_LINE; at++)
		if (((u8)s->text[at] & 0xc0) != 0x80)
			fputc('~', f);
	fclose(f);
	free(line);
	return text;
}

/* The target in one line; a long one without its middle. */
static char *target_text(const struct fault *f)
{
	char *value, *safe, *text;
	size_t head, tail, len;

	if (!f->target || json_is_null(f->target))
		return strdup(":");
	value = value_text(f->target);
	safe = text_printable(value);
	len = head = tail = strlen(safe);
	if (text_width(safe) > MAX_TARGET) {
		head = text_fit(safe, MAX_TARGET / 2);
		for (tail = len - MIN(len, (size_t)MAX_TARGET / 2); ((u8)safe[tail] & 0xc0) == 0x80;
		     tail++)
			;
	}
	if (asprintf(&text, "%.*s%s%s:%s", (int)head, safe, tail < len ? "..." : "", safe + tail,
		     value_type(f->target)) < 0)
		abort();
	free(value);
	free(safe);
	return text;
}

static char *full_id(const struct fault *f)
{
	const char *class = f->cmdlet ? f->cmdlet->class : NULL;
	char *text, *name, *to;
	int r;

	if (!f->cmdlet)
		return strdup(f->id);
	if (class)
		r = asprintf(&text, "%s,%s", f->id, class);
	else {
		name = strdup(f->cmdlet->name);
		to = strchr(name, '-');
		if (to)
			memmove(to, to + 1, strlen(to));
		r = asprintf(&text, "%s,Microsoft.PowerShell.Commands.%sCommand", f->id, name);
		free(name);
	}
	if (r < 0)
		abort();
	return text;
}

json_t *error_record_text(struct shell *sh, const struct node *at, const struct fault *f,
			  const char *message)
{
	const char *who = f->cmdlet ? f->cmdlet->name : f->who ? f->who : "";
	const char *category = f->category_text ? f->category_text : category_names[f->category];
	char *target = target_text(f), *id = full_id(f);
	char *position =
		at && at->script ? position_text(at->script, at->start, at->end) : strdup("");
	json_t *r = keep(sh, value_object_new("ErrorRecord"));
	json_t *text = json_string(message);

	json_object_set_new(r, "Message", text ? text : json_string("?"));
	json_object_set_new(r, "Category", json_string(category));
	json_object_set_new(r, "FullyQualifiedErrorId", json_string(id));
	json_object_set(r, "TargetObject", f->target ? (json_t *)f->target : json_null());
	json_object_set_new(r, "CategoryInfo",
			    json_sprintf("%s: (%s) [%s], %s", category, target,
					 f->cmdlet ? f->cmdlet->name : "",
					 f->exception ? f->exception : "RuntimeException"));
	json_object_set_new(r, "Exception",
			    json_pack("{s:s, s:O}", TYPE_KEY, "Exception", "Message",
				      json_object_get(r, "Message")));
	json_object_set_new(r, "PositionMessage", json_string(position));
	json_object_set_new(r, "Command", json_string(who));
	free(target);
	free(id);
	free(position);
	return r;
}

__attribute__((format(printf, 4, 0)))
static json_t *record_va(struct shell *sh, const struct node *at, const struct fault *f,
			 const char *fmt, va_list ap)
{
	char *message;
	json_t *r;

	if (vasprintf(&message, fmt, ap) < 0)
		abort();
	r = error_record_text(sh, at, f, message);
	free(message);
	return r;
}

json_t *error_record(struct shell *sh, const struct node *at, const struct fault *f,
		     const char *fmt, ...)
{
	va_list ap;
	json_t *r;

	va_start(ap, fmt);
	r = record_va(sh, at, f, fmt, ap);
	va_end(ap);
	return r;
}

/* ---- Throwing --------------------------------------------------------------------------- */

void shell_throw_record(struct shell *sh, json_t *record, bool whole_script)
{
	if (sh->flow != FLOW_NONE)
		return;
	sh->flow = FLOW_THROW;
	sh->throw_all = whole_script;
	sh->thrown = json_incref(record);
}

json_t *shell_throw_va(struct shell *sh, const struct node *at, const struct fault *f,
		       const char *fmt, va_list ap)
{
	shell_throw_record(sh, record_va(sh, at, f, fmt, ap), false);
	return NULL;
}

json_t *shell_throw(struct shell *sh, const struct node *at, const struct fault *f, const char *fmt,
		    ...)
{
	va_list ap;

	va_start(ap, fmt);
	shell_throw_va(sh, at, f, fmt, ap);
	va_end(ap);
	return NULL;
}

/* ---- Writing ------------------------------------------------------------------------------ */

static const char *member(const json_t *record, const char *name)
{
	const char *s = json_string_value(json_object_get(record, name));

	return s ? s : "";
}

/* Keeps newlines; whatever else could move a cursor is a '?'. */
static void put_text(FILE *f, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		char *line = strndup(text, n), *safe = text_printable(line);

		fputs(safe, f);
		free(line);
		free(safe);
		text += n;
		if (*text)
			fputc(*text++, f);
	}
}

static void print_record(FILE *f, const json_t *r)
{
	const char *who = member(r, "Command"), *position = member(r, "PositionMessage");
	bool parser = !strcmp(member(r, "Category"), "ParserError");

	if (parser && *position)
		put_text(f, position), fputc('\n', f);
	if (*who)
		fprintf(f, "%s : ", who);
	put_text(f, member(r, "Message"));
	fputc('\n', f);
	if (!parser && *position)
		put_text(f, position), fputc('\n', f);
	fputs("    + CategoryInfo          : ", f);
	put_text(f, member(r, "CategoryInfo"));
	fputs("\n    + FullyQualifiedErrorId : ", f);
	put_text(f, member(r, "FullyQualifiedErrorId"));
	fputs("\n\n", f);
	fflush(f);
}

static void print_record_json(FILE *f, const json_t *r)
{
	json_t *o =
		json_pack("{s:{s:O, s:O, s:O, s:O, s:O}}", "error", "command",
			  json_object_get(r, "Command"), "message", json_object_get(r, "Message"),
			  "category", json_object_get(r, "Category"), "id",
			  json_object_get(r, "FullyQualifiedErrorId"), "categoryInfo",
			  json_object_get(r, "CategoryInfo"));

	json_dumpf(o, f, JSON_COMPACT);
	fputc('\n', f);
	fflush(f);
	json_decref(o);
}

void error_remember(struct shell *sh, json_t *record)
{
	json_array_insert(sh->errors, 0, record);
	if (json_array_size(sh->errors) > MAX_KEPT_ERRORS)
		json_array_remove(sh->errors, MAX_KEPT_ERRORS);
}

void error_write(struct shell *sh, json_t *record)
{
	shell_flush(sh);
	fflush(sh->out);
	error_remember(sh, record);
	sh->had_error = true;
	sh->pipeline_failed = true;
	if (sh->json)
		print_record_json(sh->err, record);
	else
		print_record(sh->err, record);
}

void error_write_parse(struct shell *sh, const char *text, size_t len, const char *file,
		       const struct parse_error *e)
{
	struct script *s;
	struct node at = { .start = e->start, .end = e->end };
	size_t bad, good = len;
	json_t *r;

	if (!utf8_valid(text, len, &bad))
		good = 0;
	s = script_create(text, good);
	s->file = file ? strdup(file) : NULL;
	at.script = good ? s : NULL;
	r = error_record_text(sh, &at,
			      &(struct fault){ ERR_PARSER, e->id,
					       "ParentContainsErrorRecordException" },
			      e->message);
	error_write(sh, r);
	script_destroy(s);
}
