// SPDX-License-Identifier: MIT
/* Format-Table, Format-List, Out-*, ConvertTo-Json and ConvertFrom-Json. */
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlet.h"
#include "shell/format.h"

enum { DEFAULT_DEPTH = 2, MAX_DEPTH = 100 };

#define INPUT                                                                                      \
	{                                                                                          \
		"InputObject", T_ANY, .null_ok = true, .by_value = true,                           \
				      .help = "The objects, in place of a pipeline."               \
	}

/* ---- Format-* ---------------------------------------------------------------------------- */

static bool format_with(struct call *c, bool table)
{
	struct format_options o = {
		.properties = arg(c, "Property"),
		.wrap = arg_true(c, "Wrap"),
		.hide_headers = arg_true(c, "HideTableHeaders"),
		.auto_size = arg_true(c, "AutoSize"),
		.width = format_width(c->sh->out),
	};
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool ok;

	if (!f)
		abort();
	ok = table ? format_table(c->sh, c->input, &o, f) : format_list(c->sh, c->input, &o, f);
	fclose(f);
	if (ok && len)
		cmd_write(c, json_pack("{s:s, s:s}", TYPE_KEY, "FormatText", "Text", text));
	free(text);
	return ok;
}

static bool run_format_table(struct call *c)
{
	return format_with(c, true);
}

static bool run_format_list(struct call *c)
{
	return format_with(c, false);
}

static const struct param table_params[] = {
	{ "Property", T_PROPERTIES, .pos = 1,
	  .help = "The columns, also @{Label=...; Expression={...}; Align='right'}." },
	{ "AutoSize", T_SWITCH, .help = "Columns as wide as needed; they always are." },
	{ "Wrap", T_SWITCH, .help = "Long text goes on in the next line." },
	{ "HideTableHeaders", T_SWITCH, .help = "Rows only." },
	INPUT,
	{ 0 }
};

static const struct param list_params[] = {
	{ "Property", T_PROPERTIES, .pos = 1, .help = "The properties; * is all." }, INPUT, { 0 }
};

/* ---- Out-* --------------------------------------------------------------------------------- */

static char *shown(struct call *c)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		abort();
	format_default(c->sh, c->input, f);
	fclose(f);
	return text;
}

static bool out_null(struct call *c)
{
	(void)c;
	return true;
}

static bool out_string(struct call *c)
{
	char *text = shown(c), *line = text;

	if (!arg_true(c, "Stream"))
		cmd_write(c, json_string(text));
	while (arg_true(c, "Stream") && *line) {
		size_t n = strcspn(line, "\n");

		cmd_write(c, json_stringn(line, n));
		line += n + (line[n] == '\n');
	}
	free(text);
	return true;
}

static bool out_host(struct call *c)
{
	shell_flush(c->sh);
	format_default(c->sh, c->input, c->sh->out);
	return true;
}

static bool out_file(struct call *c)
{
	const char *path = arg_text(c, "FilePath");
	FILE *f = fopen(path, arg_true(c, "Append") ? "a" : "w");
	json_t *target = arg(c, "FilePath");

	if (!f)
		return cmd_error(c,
				 &(struct fault){ ERR_NOT_SPECIFIED, "FileOpenFailure",
						  "IOException", target },
				 "Could not write the file '%s': %m.", path);
	format_default(c->sh, c->input, f);
	if (fclose(f))
		return cmd_error(c,
				 &(struct fault){ ERR_NOT_SPECIFIED, "FileWriteFailure",
						  "IOException", target },
				 "Could not write the file '%s': %m.", path);
	return true;
}

static const struct param only_input[] = { INPUT, { 0 } };

static const struct param out_string_params[] = {
	{ "Stream", T_SWITCH, .help = "One string a line." }, INPUT, { 0 }
};

static const struct param out_file_params[] = {
	{ "FilePath", T_STRING, .alias = "Path", .pos = 1, .required = 0xff, .help = "The file." },
	{ "Append", T_SWITCH, .help = "Keeps what it has." },
	INPUT,
	{ 0 }
};

/* ---- JSON ------------------------------------------------------------------------------------- */

static bool to_json(struct call *c)
{
	unsigned depth = (unsigned)arg_int(c, "Depth", DEFAULT_DEPTH);
	json_t *all = json_array_size(c->input) == 1 && !arg_true(c, "AsArray")
			      ? json_array_get(c->input, 0)
			      : c->input;
	json_t *plain;
	char *text;

	if (!json_array_size(c->input))
		return true;
	plain = plain_json_new(all, depth + (json_is_array(all) ? 2 : 1));
	text = json_dumps(plain, JSON_ENCODE_ANY |
					 (arg_true(c, "Compress") ? JSON_COMPACT : JSON_INDENT(2)));
	json_decref(plain);
	if (text)
		cmd_write(c, json_string(text));
	free(text);
	return true;
}

/* Keys that would be taken for our own marks are left out. */
static void strip_marks(json_t *v)
{
	const char *k;
	json_t *e;
	void *next;
	size_t i;

	if (json_is_array(v))
		json_array_foreach(v, i, e) strip_marks(e);
	if (!json_is_object(v))
		return;
	json_object_foreach_safe(v, next, k, e)
	{
		if (k[0] == '@')
			json_object_del(v, k);
		else
			strip_marks(e);
	}
}

static bool from_json(struct call *c)
{
	char *text = NULL, *line;
	size_t len, i;
	FILE *f = open_memstream(&text, &len);
	json_error_t e;
	json_t *v;

	if (!f)
		abort();
	json_array_foreach(c->input, i, v)
	{
		line = value_text(v);
		fprintf(f, "%s\n", line);
		free(line);
	}
	fclose(f);
	v = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e);
	free(text);
	if (!v)
		return cmd_error(c,
				 &(struct fault){ ERR_INVALID_ARGUMENT, "System.ArgumentException",
						  "ArgumentException" },
				 "Invalid JSON: line %d, column %d: %s.", e.line, e.column, e.text);
	strip_marks(v);
	value_emit(c->out, keep(c->sh, v));
	return true;
}

static const struct param to_json_params[] = {
	{ "Depth", T_INT, .range = true, .min = 0, .max = MAX_DEPTH, .net_type = "System.Int32",
	  .help = "How deep objects in objects are written (2)." },
	{ "Compress", T_SWITCH, .help = "In one line." },
	{ "AsArray", T_SWITCH, .help = "An array also for one object." },
	INPUT,
	{ 0 }
};

static const struct param from_json_params[] = { { "InputObject", T_ANY, .pos = 1, .null_ok = true,
						   .by_value = true,
						   .help = "The text, in place of a pipeline." },
						 { 0 } };

const struct cmdlet format_cmdlets[] = {
	{ "Format-Table", .synopsis = "Shows objects as a table.", .params = table_params,
	  .run = run_format_table, .all_input = true,
	  .examples = "Get-VM | Format-Table Name, State, Uptime" },
	{ "Format-List", .synopsis = "Shows objects as lists of properties.", .params = list_params,
	  .run = run_format_list, .all_input = true,
	  .examples = "Get-VMProcessor lab | Format-List *" },
	{ "Out-Null", .synopsis = "Drops objects.", .params = only_input, .run = out_null,
	  .all_input = true },
	{ "Out-Host", .synopsis = "Shows objects at once.", .params = only_input, .run = out_host,
	  .all_input = true },
	{ "Out-Default", .synopsis = "Shows objects at once.", .params = only_input,
	  .run = out_host, .all_input = true },
	{ "Out-String", .synopsis = "Makes text of objects, as they would be shown.",
	  .params = out_string_params, .run = out_string, .all_input = true },
	{ "Out-File", .synopsis = "Writes objects to a file, as they would be shown.",
	  .params = out_file_params, .run = out_file, .all_input = true },
	{ "ConvertTo-Json", .synopsis = "Makes JSON text of objects.", .params = to_json_params,
	  .run = to_json, .all_input = true, .examples = "Get-VM | ConvertTo-Json",
	  .shell_note = "Values of enumerations are written as words, time spans as text." },
	{ "ConvertFrom-Json", .synopsis = "Makes objects of JSON text.", .params = from_json_params,
	  .run = from_json, .all_input = true },
	{ 0 }
};
