// SPDX-License-Identifier: MIT
/* The description as JSON and as a page. */
#include "control/api.h"

#include <string.h>

static const char *const when_words[] = {
	[API_READ_ONLY] = "never",
	[API_AT_CREATION] = "at creation",
	[API_WHILE_OFF] = "while Off",
	[API_WHILE_OFF_OR_RULED] = "while Off; running: see text",
	[API_ANY_TIME] = "any time",
};
static const char *const type_words[] = {
	[API_BOOL] = "boolean", [API_INT] = "integer", [API_STRING] = "string",
	[API_TEXT] = "text",	[API_PATH] = "path",   [API_WORD] = "word",
	[API_OBJECT] = "object", [API_ARRAY] = "array",
};
static const struct api_object *const objects[] = {
	&api_vm, &api_processor, &api_memory, &api_firmware, &api_com_port, &api_disk, &api_dvd,
	&api_integration_service, &api_host, &api_event, &api_version, &api_stop_args,
};

/* ---- JSON ---- */

static void set_string(json_t *j, const char *key, const char *s)
{
	if (s)
		json_object_set_new(j, key, json_string(s));
}

static json_t *words_to_json(const char *const *words)
{
	json_t *a = json_array();

	for (; *words; words++)
		json_array_append_new(a, json_string(*words));
	return a;
}

static json_t *field_to_json(const struct api_field *f)
{
	json_t *j = json_object();

	set_string(j, "name", f->name);
	set_string(j, "type", type_words[f->type]);
	set_string(j, "changes", when_words[f->when]);
	set_string(j, "unit", f->unit);
	set_string(j, "object", f->object ? f->object->name : NULL);
	set_string(j, "doc", f->doc);
	if (f->type == API_INT || f->max) {
		json_object_set_new(j, "min", json_integer(f->min));
		json_object_set_new(j, "max", json_integer(f->max));
	}
	if (f->multiple)
		json_object_set_new(j, "multiple", json_integer(f->multiple));
	if (f->words)
		json_object_set_new(j, "words", words_to_json(f->words));
	if (f->def)
		json_object_set_new(j, "default", json_loads(f->def, JSON_DECODE_ANY, NULL));
	return j;
}

static json_t *object_to_json(const struct api_object *o)
{
	json_t *j = json_object(), *fields = json_array();

	for (unsigned i = 0; i < o->nr_fields; i++)
		json_array_append_new(fields, field_to_json(&o->fields[i]));
	set_string(j, "name", o->name);
	set_string(j, "doc", o->doc);
	json_object_set_new(j, "fields", fields);
	return j;
}

static json_t *route_to_json(const struct api_route *r)
{
	json_t *j = json_object();

	set_string(j, "method", r->method);
	set_string(j, "path", r->path);
	set_string(j, "body", r->body ? r->body->name : NULL);
	set_string(j, "doc", r->doc);
	return j;
}

json_t *api_to_json(void)
{
	json_t *j = json_object(), *routes = json_array(), *all = json_array();

	for (unsigned i = 0; i < API_NR_OPS; i++)
		json_array_append_new(routes, route_to_json(&api_routes[i]));
	for (unsigned i = 0; i < ARRAY_SIZE(objects); i++)
		json_array_append_new(all, object_to_json(objects[i]));
	json_object_set_new(j, "routes", routes);
	json_object_set_new(j, "objects", all);
	return j;
}

/* ---- The page ---- */

static void print_range(const struct api_field *f, FILE *to)
{
	if (f->type == API_WORD)
		for (unsigned i = 0; f->words[i]; i++)
			fprintf(to, "%s`%s`", i ? ", " : "", f->words[i]);
	else if (f->type == API_INT && f->max == INT64_MAX)
		fprintf(to, "from %lld", (long long)f->min);
	else if (f->type == API_INT)
		fprintf(to, "%lld to %lld", (long long)f->min, (long long)f->max);
	else if (f->max)
		fprintf(to, "%lld to %lld bytes", (long long)f->min, (long long)f->max);
	if (f->multiple)
		fprintf(to, ", by %lld", (long long)f->multiple);
	if (f->type == API_INT && f->unit)
		fprintf(to, " %s", f->unit);
}

static void print_field(const struct api_field *f, FILE *to)
{
	fprintf(to, "| `%s` | %s%s%s | ", f->name, type_words[f->type], f->object ? " of " : "",
		f->object ? f->object->name : "");
	print_range(f, to);
	/* The services' default is a page of its own. */
	const char *def = f->def && strlen(f->def) < 40 && strcmp(f->def, "{}") ? f->def : "";
	fprintf(to, " | %s%s%s | %s | %s |\n", *def ? "`" : "", def, *def ? "`" : "",
		when_words[f->when], f->doc);
}

static void print_object(const struct api_object *o, FILE *to)
{
	fprintf(to, "\n### %s\n\n%s\n\n| field | type | range | default | may change | meaning |\n"
		"|---|---|---|---|---|---|\n", o->name, o->doc);
	for (unsigned i = 0; i < o->nr_fields; i++)
		print_field(&o->fields[i], to);
}

static void print_routes(FILE *to)
{
	fprintf(to, "\n## Requests\n\n| request | body | meaning |\n|---|---|---|\n");
	for (unsigned i = 0; i < API_NR_OPS; i++) {
		const struct api_route *r = &api_routes[i];

		fprintf(to, "| `%s %s` | %s | %s |\n", r->method, r->path,
			r->body && r->body->nr_fields ? r->body->name : "", r->doc);
	}
}

static const char head[] =
	"# The API\n\n"
	"Made by `nestor api-reference`; the rows are in `src/control/api_tables.c`.\n\n"
	"HTTP/1.1 and JSON over the Unix socket `api.sock` in the state folder: `$NESTOR_HOME`, else\n"
	"`/var/lib/nestor` for root, else `$XDG_STATE_HOME/nestor` or `~/.local/state/nestor`. `nestor` starts\n"
	"the manager behind it when there is none; `nestor manager` does it by hand.\n\n"
	"    curl --unix-socket ~/.local/state/nestor/api.sock http://nestor/v1/vms\n\n"
	"A request that fails has a status of 400 or more and `{\"error\": {\"kind\", \"category\", \"id\", \"target\",\n"
	"\"message\"}}`. A request that changes a VM is done, and on disk, when it is answered. With\n"
	"`?progress=1` the answer to an operation is a stream of lines: `{\"progress\": PERCENT}`, and last\n"
	"`{\"result\": ...}` or `{\"error\": ...}`. `kill -9` of the manager loses nothing: a request whose\n"
	"answer did not come was done entirely or not at all.\n";

void api_print_reference(FILE *to)
{
	fputs(head, to);
	print_routes(to);
	fprintf(to, "\n## Objects\n");
	for (unsigned i = 0; i < ARRAY_SIZE(objects); i++)
		print_object(objects[i], to);
	fprintf(to, "\n## Configuration versions\n\nNew VMs have %s. Accepted:", api_default_version);
	for (unsigned i = 0; i < api_nr_versions; i++)
		fprintf(to, "%s %s", i ? "," : "", api_versions[i].version);
	fprintf(to, ".\n");
}
