// SPDX-License-Identifier: MIT
/* Cmdlets on any objects: Where-, ForEach-, Select-, Sort-, Measure-, Group-Object, Get-Member. */
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlet.h"
#include "shell/format.h"
#include "shell/text.h"
#include "shell/types.h"

#define INPUT                                                                                      \
	{                                                                                          \
		"InputObject", T_ANY, .null_ok = true, .by_value = true,                           \
				      .help = "The objects, in place of a pipeline."               \
	}

/* ---- Where-Object ------------------------------------------------------------------------ */

static const struct {
	const char *name;
	u32 op;
} comparisons[] = {
	{ "EQ", OP_EQ },
	{ "NE", OP_NE },
	{ "GT", OP_GT },
	{ "GE", OP_GE },
	{ "LT", OP_LT },
	{ "LE", OP_LE },
	{ "Like", OP_LIKE },
	{ "NotLike", OP_NOTLIKE },
	{ "Match", OP_MATCH },
	{ "NotMatch", OP_NOTMATCH },
	{ "Contains", OP_CONTAINS },
	{ "NotContains", OP_NOTCONTAINS },
	{ "In", OP_IN },
	{ "NotIn", OP_NOTIN },
	{ "CEQ", OP_EQ | OP_CASE },
	{ "CNE", OP_NE | OP_CASE },
	{ "CLike", OP_LIKE | OP_CASE },
	{ "CMatch", OP_MATCH | OP_CASE },
};

/* 0: only whether the property is true. */
static u32 comparison_of(const struct call *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(comparisons); i++)
		if (arg_true(c, comparisons[i].name))
			return comparisons[i].op;
	return 0;
}

static json_t *where_result(struct call *c, json_t *item, u32 op)
{
	json_t *block = arg(c, "FilterScript"), *v, *out, *wanted = arg(c, "Value");

	if (block) {
		out = keep(c->sh, json_array());
		return run_block(c->sh, block, item, out) ? keep(c->sh, value_collect_new(out))
							  : NULL;
	}
	v = property_value(c->sh, item, arg(c, "Property"));
	if (!v || !op)
		return v && arg_true(c, "Not") ? op_unary(c->sh, c->at, OP_NOT, v) : v;
	return op_binary(c->sh, c->at, op, v, wanted ? wanted : json_null());
}

static bool where_object(struct call *c)
{
	u32 op = comparison_of(c);
	json_t *item, *v;
	size_t i;

	json_array_foreach(c->input, i, item)
	{
		v = where_result(c, item, op);
		if (!v)
			return false;
		if (value_truth(v))
			cmd_write(c, json_incref(item));
	}
	return true;
}

#define COMPARISON(n)                                                                              \
	{                                                                                          \
		n, T_SWITCH, .sets = 2, .help = "Compares the property with the value."            \
	}

static const struct param where_params[] = {
	{ "FilterScript", T_BLOCK, .pos = 1, .sets = 1, .required = 1,
	  .help = "A block that is true for what passes." },
	{ "Property", T_STRING, .pos = 1, .sets = 2, .required = 2, .help = "A property's name." },
	{ "Value", T_ANY, .pos = 2, .sets = 2, .null_ok = true,
	  .help = "What it is compared with." },
	COMPARISON("EQ"),
	COMPARISON("NE"),
	COMPARISON("GT"),
	COMPARISON("GE"),
	COMPARISON("LT"),
	COMPARISON("LE"),
	COMPARISON("Like"),
	COMPARISON("NotLike"),
	COMPARISON("Match"),
	COMPARISON("NotMatch"),
	COMPARISON("Contains"),
	COMPARISON("NotContains"),
	COMPARISON("In"),
	COMPARISON("NotIn"),
	COMPARISON("CEQ"),
	COMPARISON("CNE"),
	COMPARISON("CLike"),
	COMPARISON("CMatch"),
	COMPARISON("Not"),
	INPUT,
	{ 0 }
};

/* ---- ForEach-Object ------------------------------------------------------------------------ */

static bool run_blocks(struct call *c, const char *param, json_t *item)
{
	json_t *blocks = arg(c, param), *b;
	size_t i;

	json_array_foreach(blocks, i, b) if (!run_block(c->sh, b, item, c->out)) return false;
	return true;
}

static bool foreach_object(struct call *c)
{
	const char *member = arg_text(c, "MemberName");
	json_t *item;
	size_t i;

	if (!run_blocks(c, "Begin", NULL))
		return false;
	json_array_foreach(c->input, i, item)
	{
		json_t *v;

		if (!run_blocks(c, "Process", item)) {
			if (c->sh->flow != FLOW_CONTINUE)
				return false;
			c->sh->flow = FLOW_NONE;
		}
		if (!member)
			continue;
		v = keep(c->sh, value_member_new(item, member));
		value_emit(c->out, v);
	}
	return run_blocks(c, "End", NULL);
}

static const struct param foreach_params[] = {
	{ "Process", T_BLOCKS, .pos = 1, .sets = 1, .required = 1,
	  .help = "Runs for each object, which is $_." },
	{ "Begin", T_BLOCKS, .sets = 1, .help = "Runs before the first." },
	{ "End", T_BLOCKS, .sets = 1, .help = "Runs after the last." },
	{ "MemberName", T_STRING, .pos = 1, .sets = 2, .required = 2,
	  .help = "The property to write." },
	INPUT,
	{ 0 }
};

/* ---- Select-Object ---------------------------------------------------------------------------- */

/* Elements @from up to @to of the input. */
static json_t *selected(struct call *c)
{
	json_t *list = keep(c->sh, json_array()), *index = arg(c, "Index"), *v, *seen;
	size_t nr = json_array_size(c->input), i;
	s64 skip = arg_int(c, "Skip", 0), first = arg_int(c, "First", -1),
	    last = arg_int(c, "Last", -1);
	s64 skip_last = arg_int(c, "SkipLast", 0);

	json_array_foreach(c->input, i, v)
	{
		s64 at = (s64)i, left = (s64)(nr - i);
		bool in = first < 0 && last < 0;

		if (index) {
			in = false;
			for (size_t k = 0; k < json_array_size(index); k++)
				in |= json_integer_value(json_array_get(index, k)) == at;
		} else if (last >= 0 && first < 0) {
			in = left > skip && left <= last + skip;
		} else {
			in |= first >= 0 && at >= skip && at < skip + first;
			in |= last >= 0 && left <= last;
			in &= at >= skip || (last >= 0 && left <= last);
		}
		if (in && left > skip_last)
			json_array_append(list, v);
	}
	if (!arg_true(c, "Unique"))
		return list;
	seen = keep(c->sh, json_array());
	json_array_foreach(list, i, v)
	{
		bool found = false;

		for (size_t k = 0; k < json_array_size(seen) && !found; k++)
			found = value_equal(json_array_get(seen, k), v, true);
		if (!found)
			json_array_append(seen, v);
	}
	return seen;
}

static json_t *with_properties(struct call *c, json_t *object, json_t *properties)
{
	json_t *o = keep(c->sh, json_object()), *p;
	json_t *all = properties_expand(c->sh, object, properties);
	size_t i;

	json_array_foreach(all, i, p)
	{
		json_t *v = property_value(c->sh, object, p), *member;
		char *name = property_name(p);
		const char *exact = name;

		member = json_is_object(object) && name[0] != '@' ? value_get(object, name, &exact)
								  : NULL;
		if (v && name[0] != '@')
			json_object_set(o, member ? exact : name, v);
		free(name);
		if (!v)
			return NULL;
	}
	return o;
}

static json_t *without_properties(struct call *c, json_t *o, json_t *excluded)
{
	json_t *copy = keep(c->sh, json_copy(o)), *p, *v;
	const char *k;
	size_t i;

	json_array_foreach(excluded, i, p)
		json_object_foreach(o, k, v) if (json_is_string(p) &&
						 text_like(k, json_string_value(p), false))
			json_object_del(copy, k);
	return copy;
}

static bool expand_property(struct call *c, json_t *object)
{
	const char *name = arg_text(c, "ExpandProperty");
	json_t *v = value_member_new(object, name);

	if (v) {
		value_emit(c->out, keep(c->sh, v));
		return true;
	}
	return cmd_error(c,
			 &(struct fault){ ERR_INVALID_ARGUMENT, "ExpandPropertyNotFound",
					  "PSArgumentException", object },
			 "Property \"%s\" cannot be found.", name);
}

static bool select_object(struct call *c)
{
	json_t *list = selected(c), *properties = arg(c, "Property"),
	       *excluded = arg(c, "ExcludeProperty"), *v, *o;
	size_t i;

	if (excluded && !properties)
		properties = keep(c->sh, json_pack("[s]", "*"));
	json_array_foreach(list, i, v)
	{
		if (arg(c, "ExpandProperty")) {
			if (!expand_property(c, v))
				return false;
			continue;
		}
		o = properties ? with_properties(c, v, properties) : v;
		if (!o)
			return false;
		if (excluded)
			o = without_properties(c, o, excluded);
		cmd_write(c, json_incref(o));
	}
	return true;
}

#define COUNT(n, h)                                                                                \
	{                                                                                          \
		n, T_INT, .range = true, .min = 0, .max = INT32_MAX, .net_type = "System.Int32",   \
			  .help = h                                                                \
	}

static const struct param select_params[] = {
	{ "Property", T_PROPERTIES, .pos = 1,
	  .help = "Properties, also @{Name=...; Expression={...}}." },
	{ "ExcludeProperty", T_STRINGS, .help = "Properties to leave out." },
	{ "ExpandProperty", T_STRING, .help = "Writes this property's value itself." },
	COUNT("First", "So many from the beginning."),
	COUNT("Last", "So many from the end."),
	COUNT("Skip", "Leaves out so many."),
	COUNT("SkipLast", "Leaves out so many at the end."),
	{ "Index", T_INTS, .range = true, .min = 0, .max = INT32_MAX, .net_type = "System.Int32[]",
	  .help = "Those at these places, from 0." },
	{ "Unique", T_SWITCH, .help = "Each value once." },
	INPUT,
	{ 0 }
};

/* ---- Sort-Object -------------------------------------------------------------------------------- */

struct sort_item {
	json_t *value, *keys;
	size_t at;
};

struct sort_order {
	bool descending, with_case;
};

static int compare_keys(json_t *a, json_t *b, bool with_case)
{
	int r = value_compare(a, b, with_case);

	return r == -2 ? 0 : r;
}

static int compare_items(const void *a, const void *b, void *opaque)
{
	const struct sort_item *x = a, *y = b;
	const struct sort_order *o = opaque;

	for (size_t i = 0; i < json_array_size(x->keys); i++) {
		int r = compare_keys(json_array_get(x->keys, i), json_array_get(y->keys, i),
				     o->with_case);

		if (r)
			return o->descending ? -r : r;
	}
	return x->at < y->at ? -1 : x->at > y->at;
}

static json_t *sort_keys(struct call *c, json_t *v, json_t *properties)
{
	json_t *keys = keep(c->sh, json_array()), *p;
	size_t i;

	if (!properties) {
		json_array_append(keys, v);
		return keys;
	}
	json_array_foreach(properties, i, p)
	{
		json_t *key = property_value(c->sh, v, p);

		if (!key)
			return NULL;
		json_array_append(keys, key);
	}
	return keys;
}

static bool sort_object(struct call *c)
{
	size_t nr = json_array_size(c->input);
	struct sort_item *items = calloc(nr + 1, sizeof(*items));
	struct sort_order order = { arg_true(c, "Descending"), arg_true(c, "CaseSensitive") };
	bool unique = arg_true(c, "Unique");

	if (!items)
		abort();
	for (size_t i = 0; i < nr; i++) {
		items[i] = (struct sort_item){ json_array_get(c->input, i), NULL, i };
		items[i].keys = sort_keys(c, items[i].value, arg(c, "Property"));
		if (!items[i].keys) {
			free(items);
			return false;
		}
	}
	qsort_r(items, nr, sizeof(*items), compare_items, &order);
	for (size_t i = 0; i < nr; i++) {
		bool same = i && unique;

		for (size_t k = 0; same && k < json_array_size(items[i].keys); k++)
			same = value_equal(json_array_get(items[i - 1].keys, k),
					   json_array_get(items[i].keys, k), order.with_case);
		if (!same)
			cmd_write(c, json_incref(items[i].value));
	}
	free(items);
	return true;
}

static const struct param sort_params[] = {
	{ "Property", T_PROPERTIES, .pos = 1,
	  .help = "What is compared; without it the objects themselves." },
	{ "Descending", T_SWITCH, .help = "The greatest first." },
	{ "Unique", T_SWITCH, .help = "Each value once." },
	{ "CaseSensitive", T_SWITCH, .help = "Case counts." },
	INPUT,
	{ 0 }
};

/* ---- Measure-Object ------------------------------------------------------------------------------- */

struct measure {
	double sum, min, max;
	size_t count;
	bool real;
};

static bool measure_one(struct call *c, struct measure *m, json_t *v, const char *property)
{
	json_t *number = value_number_new(v);
	double d;
	char *text;

	if (!number) {
		text = value_text(v);
		cmd_error(c,
			  &(struct fault){ ERR_INVALID_TYPE, "NonNumericInputObject",
					   "PSInvalidOperationException", v },
			  "Input object \"%s\" is not numeric.", text);
		free(text);
		return !c->sh->flow;
	}
	(void)property;
	d = value_real(number);
	m->real |= json_is_real(number);
	json_decref(number);
	m->min = m->count ? MIN(m->min, d) : d;
	m->max = m->count ? MAX(m->max, d) : d;
	m->sum += d;
	m->count++;
	return true;
}

static json_t *measured(const struct measure *m, double d)
{
	bool whole = d > -9e15 && d < 9e15 && d == (double)(s64)d;

	return whole ? json_integer((json_int_t)d) : json_real(m->count ? d : 0);
}

static bool measure_property(struct call *c, const char *property)
{
	bool numbers = arg_true(c, "Sum") || arg_true(c, "Average") || arg_true(c, "Maximum") ||
		       arg_true(c, "Minimum");
	struct measure m = { 0 };
	size_t count = 0, i;
	json_t *v, *r;

	json_array_foreach(c->input, i, v)
	{
		if (property)
			v = keep(c->sh, value_member_new(v, property));
		if (json_is_null(v))
			continue;
		count++;
		if (numbers && !measure_one(c, &m, v, property))
			return false;
	}
	if (property && !count)
		return cmd_error(
			c,
			&(struct fault){ ERR_INVALID_ARGUMENT, "GenericMeasurePropertyNotFound",
					 "PSArgumentException" },
			"The property \"%s\" cannot be found in the input for any objects.",
			property);
	r = json_pack("{s:s, s:I}", TYPE_KEY, "GenericMeasureInfo", "Count", (json_int_t)count);
	json_object_set_new(r, "Average",
			    arg_true(c, "Average") && m.count
				    ? measured(&m, m.sum / (double)m.count)
				    : json_null());
	json_object_set_new(r, "Sum", arg_true(c, "Sum") ? measured(&m, m.sum) : json_null());
	json_object_set_new(r, "Maximum",
			    arg_true(c, "Maximum") && m.count ? measured(&m, m.max) : json_null());
	json_object_set_new(r, "Minimum",
			    arg_true(c, "Minimum") && m.count ? measured(&m, m.min) : json_null());
	json_object_set_new(r, "Property", property ? json_string(property) : json_null());
	cmd_write(c, r);
	return true;
}

static bool measure_object(struct call *c)
{
	json_t *properties = arg(c, "Property"), *p;
	size_t i;

	if (!properties)
		return measure_property(c, NULL);
	json_array_foreach(properties, i,
			   p) if (!measure_property(c, json_string_value(p))) return false;
	return true;
}

static const struct param measure_params[] = {
	{ "Property", T_STRINGS, .pos = 1,
	  .help = "What is measured; without it the objects themselves." },
	{ "Sum", T_SWITCH, .help = "Their sum." },
	{ "Average", T_SWITCH, .help = "Their average." },
	{ "Maximum", T_SWITCH, .help = "The greatest." },
	{ "Minimum", T_SWITCH, .help = "The least." },
	INPUT,
	{ 0 }
};

/* ---- Group-Object ------------------------------------------------------------------------------------ */

static bool group_object(struct call *c)
{
	json_t *groups = keep(c->sh, json_array()), *item, *g, *found;
	size_t i, k;

	json_array_foreach(c->input, i, item)
	{
		json_t *keys = sort_keys(c, item, arg(c, "Property"));
		char *name;

		if (!keys)
			return false;
		name = cell_text(json_array_size(keys) == 1 ? json_array_get(keys, 0) : keys);
		found = NULL;
		json_array_foreach(groups, k,
				   g) if (text_equal(json_string_value(json_object_get(g, "Name")),
						     name)) found = g;
		if (!found) {
			found = json_pack("{s:s, s:i, s:s, s:[]}", TYPE_KEY, "GroupInfo", "Count",
					  0, "Name", name, "Group");
			json_array_append_new(groups, found);
		}
		json_array_append(json_object_get(found, "Group"), item);
		json_object_set_new(found, "Count",
				    json_integer((json_int_t)json_array_size(
					    json_object_get(found, "Group"))));
		free(name);
	}
	json_array_extend(c->out, groups);
	return true;
}

static const struct param group_params[] = { { "Property", T_PROPERTIES, .pos = 1,
					       .help = "What those of one group have in common." },
					     INPUT,
					     { 0 } };

/* ---- Get-Member ----------------------------------------------------------------------------------------- */

static bool get_member(struct call *c)
{
	json_t *seen = keep(c->sh, json_object()), *item, *names, *n;
	size_t i, k;

	if (!json_array_size(c->input))
		return cmd_error(c,
				 &(struct fault){ ERR_INVALID_OPERATION, "NoObjectInGetMember",
						  "InvalidOperationException" },
				 "You must specify an object for the Get-Member cmdlet.");
	json_array_foreach(c->input, i, item)
	{
		const char *type = value_full_type(item);

		if (json_object_get(seen, type))
			continue;
		json_object_set_new(seen, type, json_true());
		names = visible_names(c->sh, item);
		json_array_foreach(names, k, n)
		{
			const char *name = json_string_value(n), *kind;
			json_t *v = json_is_object(item) ? json_object_get(item, name) : NULL;

			kind = v ? value_type(v) : "Int32";
			if (arg_text(c, "Name") && !text_like(name, arg_text(c, "Name"), false))
				continue;
			cmd_write(c, json_pack("{s:s, s:s, s:s, s:s, s:o}", TYPE_KEY,
					       "MemberDefinition", "TypeName", type, "Name", name,
					       "MemberType", "Property", "Definition",
					       json_sprintf("%s %s", kind, name)));
		}
	}
	return true;
}

static const struct param member_params[] = {
	{ "Name", T_STRING, .pos = 1, .help = "Only those, with wildcards." }, INPUT, { 0 }
};

#define SMA_CLASS "Microsoft.PowerShell.Commands."

const struct cmdlet object_cmdlets[] = {
	{ "Where-Object", .synopsis = "Selects objects by a condition.", .params = where_params,
	  .sets = "ScriptBlockSet|PropertySet", .run = where_object, .all_input = true,
	  .examples = "Get-VM | Where-Object State -eq Running\nGet-VM | ? { $_.MemoryAssigned -gt "
		      "1GB }" },
	{ "ForEach-Object", .synopsis = "Does something with each object.",
	  .params = foreach_params, .sets = "ScriptBlockSet|PropertyAndMethodSet",
	  .run = foreach_object, .all_input = true,
	  .examples = "Get-VM | ForEach-Object { $_.Name }\nGet-VM | % Name" },
	{ "Select-Object", .synopsis = "Selects objects, or properties of objects.",
	  .params = select_params, .run = select_object, .all_input = true,
	  .examples = "Get-VM | Select-Object Name, State -First 5\nGet-VM | select "
		      "-ExpandProperty Id" },
	{ "Sort-Object", .synopsis = "Sorts objects.", .params = sort_params, .run = sort_object,
	  .all_input = true, .examples = "Get-VM | Sort-Object MemoryAssigned -Descending" },
	{ "Measure-Object", .synopsis = "Counts objects and adds up their properties.",
	  .params = measure_params, .run = measure_object, .all_input = true,
	  .output = "GenericMeasureInfo",
	  .examples = "Get-VM | Measure-Object MemoryAssigned -Sum" },
	{ "Group-Object", .synopsis = "Groups objects by a property.", .params = group_params,
	  .run = group_object, .all_input = true, .output = "GroupInfo",
	  .examples = "Get-VM | Group-Object State" },
	{ "Get-Member", .synopsis = "Lists the properties of objects.", .params = member_params,
	  .run = get_member, .all_input = true, .output = "MemberDefinition",
	  .examples = "Get-VM | Get-Member" },
	{ 0 }
};
