// SPDX-License-Identifier: MIT
/* Columns, tables and lists. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "shell/format.h"
#include "shell/text.h"
#include "shell/types.h"

enum { MIN_CUT = 6 };

/* One column of a table, or line of a list. */
struct field {
	char *label;
	json_t *property; /* as T_PROPERTIES, or NULL with @column */
	const struct column *column;
	unsigned width, fixed;
	bool right;
};

struct fields {
	struct field *f;
	size_t nr;
};

unsigned format_width(FILE *f)
{
	struct winsize w;
	int fd = fileno(f);

	if (fd < 0 || !isatty(fd) || ioctl(fd, TIOCGWINSZ, &w) || !w.ws_col)
		return 0;
	return w.ws_col;
}

/* ---- Cells ------------------------------------------------------------------------------- */

char *cell_text(const json_t *v)
{
	char *text = NULL, *one;
	size_t len, i;
	json_t *e;
	FILE *f;

	if (!json_is_array(v))
		return value_text(v);
	f = open_memstream(&text, &len);
	if (!f)
		abort();
	fputc('{', f);
	json_array_foreach(v, i, e)
	{
		one = value_text(e);
		fprintf(f, "%s%s", i ? ", " : "", one);
		free(one);
	}
	fputc('}', f);
	fclose(f);
	return text;
}

static json_t *hash_member(json_t *hash, const char *names)
{
	const char *k;
	json_t *v;

	json_object_foreach(hash, k, v) if (text_in_list(k, names)) return v;
	return NULL;
}

char *property_name(json_t *property)
{
	json_t *v;

	if (value_is(property, "Hashtable")) {
		v = hash_member(property, "Name|N|Label|L");
		if (!v)
			v = hash_member(property, "Expression|E");
		return v ? property_name(v) : strdup("");
	}
	if (value_is(property, "ScriptBlock"))
		return strdup(json_string_value(json_object_get(property, "Text")));
	return value_text(property);
}

static json_t *block_value(struct shell *sh, json_t *block, json_t *object)
{
	json_t *out = keep(sh, json_array());

	if (!run_block(sh, block, object, out))
		return NULL;
	return keep(sh, value_collect_new(out));
}

json_t *property_value(struct shell *sh, json_t *object, json_t *property)
{
	json_t *v = property;
	char *name;

	if (value_is(property, "Hashtable"))
		v = hash_member(property, "Expression|E");
	if (!v)
		return json_null();
	if (value_is(v, "ScriptBlock"))
		return block_value(sh, v, object);
	name = value_text(v);
	v = keep(sh, value_member_new(object, name));
	free(name);
	return v;
}

json_t *visible_names(struct shell *sh, json_t *object)
{
	json_t *names = keep(sh, json_array()), *e;
	const char *k;

	json_object_foreach(object, k, e) if (k[0] != '@')
		json_array_append_new(names, json_string(k));
	if (!json_is_object(object) && json_is_string(object))
		json_array_append_new(names, json_string("Length"));
	return names;
}

json_t *properties_expand(struct shell *sh, json_t *object, json_t *properties)
{
	json_t *all = keep(sh, json_array()), *p, *names = NULL, *n;
	size_t i, j;

	json_array_foreach(properties, i, p)
	{
		const char *pattern = json_string_value(p);

		if (!pattern || !text_has_wildcard(pattern)) {
			json_array_append(all, p);
			continue;
		}
		names = names ? names : visible_names(sh, object);
		json_array_foreach(names, j, n) if (text_like(json_string_value(n), pattern, false))
			json_array_append(all, n);
	}
	return all;
}

/* ---- Columns --------------------------------------------------------------------------------- */

static struct field *add_field(struct fields *fs)
{
	fs->f = realloc(fs->f, (fs->nr + 1) * sizeof(*fs->f));
	if (!fs->f)
		abort();
	fs->f[fs->nr] = (struct field){ 0 };
	return &fs->f[fs->nr++];
}

static void add_property(struct fields *fs, json_t *property)
{
	struct field *f = add_field(fs);
	json_t *align;
	s64 width = 0;

	f->label = property_name(property);
	f->property = property;
	if (!value_is(property, "Hashtable"))
		return;
	align = hash_member(property, "Align|Alignment|A");
	f->right = json_is_string(align) && text_equal(json_string_value(align), "right");
	if (hash_member(property, "Width|W") &&
	    value_integer(hash_member(property, "Width|W"), &width))
		f->fixed = width > 0 && width < 1000 ? (unsigned)width : 0;
}

static void add_properties(struct fields *fs, json_t *properties)
{
	json_t *p;
	size_t i;

	json_array_foreach(properties, i, p) add_property(fs, p);
}

static void add_columns(struct fields *fs, const struct column *columns)
{
	for (unsigned i = 0; i < MAX_COLUMNS && columns[i].member; i++) {
		struct field *f = add_field(fs);

		f->label = strdup(columns[i].label ? columns[i].label : columns[i].member);
		f->column = &columns[i];
		f->right = columns[i].right;
	}
}

/* Members that stand in "A|B". */
static json_t *listed_names(struct shell *sh, const char *list)
{
	json_t *names = keep(sh, json_array());

	while (*list) {
		size_t n = strcspn(list, "|");

		json_array_append_new(names, json_stringn(list, n));
		list += n + (list[n] == '|');
	}
	return names;
}

static void free_fields(struct fields *fs)
{
	for (size_t i = 0; i < fs->nr; i++)
		free(fs->f[i].label);
	free(fs->f);
}

static json_t *field_value(struct shell *sh, const struct field *f, json_t *object)
{
	json_t *v;

	if (!f->column)
		return property_value(sh, object, f->property);
	v = keep(sh, value_member_new(object, f->column->member));
	if (f->column->unit && json_is_integer(v))
		v = keep(sh, json_integer(json_integer_value(v) / (json_int_t)f->column->unit));
	return v;
}

/* ---- Tables ------------------------------------------------------------------------------------ */

struct table {
	struct fields fields;
	char **cells; /* row by row */
	size_t nr_rows;
};

static bool fill_cells(struct shell *sh, struct table *t, json_t *values)
{
	json_t *v, *e;
	size_t i;

	t->cells = calloc(json_array_size(values) * t->fields.nr + 1, sizeof(*t->cells));
	if (!t->cells)
		abort();
	json_array_foreach(values, i, v)
	{
		for (size_t c = 0; c < t->fields.nr; c++) {
			struct field *f = &t->fields.f[c];
			char *raw;

			e = field_value(sh, f, v);
			if (!e)
				return false;
			if (!i && !f->column && json_is_number(e))
				f->right = true;
			raw = cell_text(e);
			t->cells[i * t->fields.nr + c] = text_printable(raw);
			free(raw);
		}
		t->nr_rows++;
	}
	return true;
}

static void set_widths(struct table *t)
{
	for (size_t c = 0; c < t->fields.nr; c++) {
		struct field *f = &t->fields.f[c];

		f->width = text_width(f->label);
		for (size_t r = 0; r < t->nr_rows; r++)
			f->width = MAX(f->width, text_width(t->cells[r * t->fields.nr + c]));
		if (f->fixed)
			f->width = f->fixed;
	}
}

/* Takes from the widest until all fit. */
static void fit_widths(struct table *t, unsigned width)
{
	for (;;) {
		unsigned total = 0;
		struct field *widest = NULL;

		for (size_t c = 0; c < t->fields.nr; c++) {
			struct field *f = &t->fields.f[c];

			total += f->width + (c > 0);
			widest = !widest || f->width > widest->width ? f : widest;
		}
		if (!widest || total <= width || widest->width <= MIN_CUT)
			return;
		widest->width--;
	}
}

static void put_cell(FILE *to, const struct field *f, const char *text, bool last)
{
	unsigned w = text_width(text), pad = w < f->width ? f->width - w : 0;

	if (w > f->width) {
		fwrite(text, 1, text_fit(text, f->width > 3 ? f->width - 3 : f->width), to);
		if (f->width > 3)
			fputs("...", to);
		pad = 0;
	} else {
		for (unsigned i = 0; f->right && i < pad; i++)
			fputc(' ', to);
		fputs(text, to);
	}
	for (unsigned i = 0; !f->right && !last && i < pad; i++)
		fputc(' ', to);
	if (!last)
		fputc(' ', to);
}

static void put_headers(FILE *to, const struct table *t)
{
	const struct fields *fs = &t->fields;

	for (size_t c = 0; c < fs->nr; c++)
		put_cell(to, &fs->f[c], fs->f[c].label, c + 1 == fs->nr);
	fputc('\n', to);
	for (size_t c = 0; c < fs->nr; c++) {
		unsigned n = MIN(text_width(fs->f[c].label), fs->f[c].width);
		char *dashes = malloc(n + 1);

		memset(dashes, '-', n);
		dashes[n] = 0;
		put_cell(to, &fs->f[c], dashes, c + 1 == fs->nr);
		free(dashes);
	}
	fputc('\n', to);
}

/* A row whose cells go on in further lines where they are too long. */
static void put_wrapped(FILE *to, const struct table *t, char **row)
{
	const char **rest = calloc(t->fields.nr, sizeof(*rest));
	bool more = true;

	for (size_t c = 0; c < t->fields.nr; c++)
		rest[c] = row[c];
	while (more) {
		more = false;
		for (size_t c = 0; c < t->fields.nr; c++) {
			size_t n = text_fit(rest[c], t->fields.f[c].width);
			char *part = strndup(rest[c], n);

			put_cell(to, &t->fields.f[c], part, c + 1 == t->fields.nr);
			free(part);
			rest[c] += n;
			more |= n && *rest[c];
		}
		fputc('\n', to);
	}
	free(rest);
}

static void put_table(FILE *to, const struct table *t, const struct format_options *o)
{
	fputc('\n', to);
	if (!o->hide_headers)
		put_headers(to, t);
	for (size_t r = 0; r < t->nr_rows; r++) {
		char **row = &t->cells[r * t->fields.nr];

		if (o->wrap) {
			put_wrapped(to, t, row);
			continue;
		}
		for (size_t c = 0; c < t->fields.nr; c++)
			put_cell(to, &t->fields.f[c], row[c], c + 1 == t->fields.nr);
		fputc('\n', to);
	}
	fputc('\n', to);
}

static void table_fields(struct shell *sh, struct table *t, json_t *first, json_t *properties)
{
	const struct type_row *row = value_tag(first) ? type_find(value_tag(first)) : NULL;

	if (properties)
		add_properties(&t->fields, properties_expand(sh, first, properties));
	else if (row && row->table[0].member)
		add_columns(&t->fields, row->table);
	else
		add_properties(&t->fields, row && row->list ? listed_names(sh, row->list)
							    : visible_names(sh, first));
}

bool format_table(struct shell *sh, json_t *values, const struct format_options *o, FILE *to)
{
	json_t *first = json_array_get(values, 0);
	struct table t = { 0 };
	bool ok = true;

	if (!first)
		return true;
	table_fields(sh, &t, first, o->properties);
	if (t.fields.nr) {
		ok = fill_cells(sh, &t, values);
		set_widths(&t);
		if (o->width)
			fit_widths(&t, o->width);
		if (ok)
			put_table(to, &t, o);
	}
	for (size_t i = 0; t.cells && i < json_array_size(values) * t.fields.nr; i++)
		free(t.cells[i]);
	free(t.cells);
	free_fields(&t.fields);
	return ok;
}

/* ---- Lists ---------------------------------------------------------------------------------------- */

static void put_line(FILE *to, const char *label, unsigned width, const char *text)
{
	fprintf(to, "%s%*s : ", label, (int)(width - text_width(label)), "");
	while (*text) {
		size_t n = strcspn(text, "\n");
		char *line = strndup(text, n), *safe = text_printable(line);

		fputs(safe, to);
		free(line);
		free(safe);
		text += n;
		if (*text == '\n' && *++text)
			fprintf(to, "\n%*s", (int)width + 3, "");
	}
	fputc('\n', to);
}

static bool put_object(struct shell *sh, json_t *v, const struct format_options *o, FILE *to)
{
	const struct type_row *row = value_tag(v) ? type_find(value_tag(v)) : NULL;
	struct fields fs = { 0 };
	unsigned width = 0;
	bool ok = true;

	if (o->properties)
		add_properties(&fs, properties_expand(sh, v, o->properties));
	else
		add_properties(&fs, row && row->list ? listed_names(sh, row->list)
						     : visible_names(sh, v));
	for (size_t i = 0; i < fs.nr; i++)
		width = MAX(width, text_width(fs.f[i].label));
	for (size_t i = 0; ok && i < fs.nr; i++) {
		json_t *e = field_value(sh, &fs.f[i], v);
		char *text;

		ok = e != NULL;
		if (!ok)
			break;
		text = cell_text(e);
		put_line(to, fs.f[i].label, width, text);
		free(text);
	}
	free_fields(&fs);
	return ok;
}

bool format_list(struct shell *sh, json_t *values, const struct format_options *o, FILE *to)
{
	json_t *v;
	size_t i;

	json_array_foreach(values, i, v)
	{
		fputc('\n', to);
		if (!json_is_object(v)) {
			char *text = value_text(v);

			fprintf(to, "%s\n", text);
			free(text);
		} else if (!put_object(sh, v, o, to)) {
			return false;
		}
	}
	fputc('\n', to);
	return true;
}
