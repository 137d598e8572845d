// SPDX-License-Identifier: MIT
/* An argument's value as its parameter wants it, and what PowerShell says when it cannot be. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlet.h"
#include "shell/text.h"

/* ---- Names of types ------------------------------------------------------------------ */

static const char *const net_types[] = {
	[T_ANY] = "System.Object",
	[T_STRING] = "System.String",
	[T_STRINGS] = "System.String[]",
	[T_BOOL] = "System.Boolean",
	[T_SWITCH] = "System.Management.Automation.SwitchParameter",
	[T_INT] = "System.Int64",
	[T_INTS] = "System.Int64[]",
	[T_ENUM] = "System.String",
	[T_ENUMS] = "System.String[]",
	[T_GUID] = "System.Guid",
	[T_BLOCK] = "System.Management.Automation.ScriptBlock",
	[T_BLOCKS] = "System.Management.Automation.ScriptBlock[]",
	[T_HASH] = "System.Collections.IDictionary",
	[T_OBJECT] = "System.Object",
	[T_OBJECTS] = "System.Object[]",
	[T_PROPERTIES] = "System.Object[]",
};

const char *param_net_type(const struct param *p)
{
	return p->net_type ? p->net_type : p->net_enum ? p->net_enum : net_types[p->type];
}

json_t *plain_value(struct shell *sh, json_t *v)
{
	json_t *list, *e;
	size_t i;

	if (value_is(v, "NumberWord"))
		return json_object_get(v, "value");
	if (!json_is_array(v))
		return v;
	list = keep(sh, json_array());
	json_array_foreach(v, i, e) json_array_append(list, plain_value(sh, e));
	return list;
}

/* ---- Refusals -------------------------------------------------------------------------- */

static json_t *refuse(struct call *c, const struct node *at, const char *id, const char *fmt, ...)
	PRINTF(4, 5);

static json_t *refuse(struct call *c, const struct node *at, const char *id, const char *fmt, ...)
{
	bool data = !strncmp(id, "ParameterArgumentValidation", 27);
	struct fault f = { data ? ERR_INVALID_DATA : ERR_INVALID_ARGUMENT, id,
			   !strcmp(id, "ParameterArgumentValidationError")
				   ? "ParameterBindingValidationException"
				   : "ParameterBindingException",
			   .cmdlet = c->cmdlet };
	va_list ap;

	va_start(ap, fmt);
	shell_throw_va(c->sh, at ? at : c->at, &f, fmt, ap);
	va_end(ap);
	return NULL;
}

static json_t *cannot_convert(struct call *c, const struct param *p, json_t *v,
			      const struct node *at, const char *error)
{
	char *text = value_text(v);

	refuse(c, at, "CannotConvertArgumentNoMessage",
	       "Cannot bind parameter '%s'. Cannot convert value \"%s\" to type \"%s\". Error: "
	       "\"%s\"",
	       p->name, text, param_net_type(p), error);
	free(text);
	return NULL;
}

static json_t *cannot_convert_type(struct call *c, const struct param *p, json_t *v,
				   const struct node *at)
{
	return refuse(c, at, "CannotConvertArgument",
		      "Cannot convert '%s' to the type '%s' required by parameter '%s'. Specified "
		      "method is not "
		      "supported.",
		      value_full_type(v), param_net_type(p), p->name);
}

/* ---- One value -------------------------------------------------------------------------- */

static json_t *to_text(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	if (value_is(v, "NumberWord"))
		return json_object_get(v, "text");
	if (json_is_array(v))
		return cannot_convert_type(c, p, v, at);
	if (!p->null_ok && json_is_null(v))
		return refuse(c, at, "ParameterArgumentValidationErrorNullNotAllowed",
			      "Cannot bind argument to parameter '%s' because it is null.",
			      p->name);
	if (!p->null_ok && json_is_string(v) && !json_string_length(v))
		return refuse(
			c, at, "ParameterArgumentValidationErrorEmptyStringNotAllowed",
			"Cannot bind argument to parameter '%s' because it is an empty string.",
			p->name);
	return json_is_string(v) ? v : keep(c->sh, value_string_new(v));
}

static json_t *to_bool(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	const char *s = json_string_value(v);

	if (json_is_boolean(v))
		return v;
	if (json_is_number(v))
		return value_truth(v) ? json_true() : json_false();
	if (s && c->from_argv && text_in_list(s, "true|$true|1|yes|on"))
		return json_true();
	if (s && c->from_argv && text_in_list(s, "false|$false|0|no|off"))
		return json_false();
	return refuse(c, at, "CannotConvertArgumentNoMessage",
		      "Cannot bind parameter '%s'. Cannot convert value \"%s\" to type \"%s\". "
		      "Boolean parameters "
		      "accept only Boolean values and numbers, such as $True, $False, 1 or 0.",
		      p->name, value_full_type(v), param_net_type(p));
}

static json_t *to_int(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	json_t *n;
	s64 i;

	if (json_is_array(v) || json_is_object(v))
		return cannot_convert_type(c, p, v, at);
	if (json_is_null(v))
		return refuse(c, at, "ParameterArgumentValidationErrorNullNotAllowed",
			      "Cannot bind argument to parameter '%s' because it is null.",
			      p->name);
	n = value_number_new(v);
	json_decref(n);
	if (!n)
		return cannot_convert(c, p, v, at, "Input string was not in a correct format.");
	if (!value_integer(v, &i))
		return cannot_convert(c, p, v, at,
				      "Value was either too large or too small for an Int64.");
	if (p->range && i < p->min)
		return refuse(c, at, "ParameterArgumentValidationError",
			      "Cannot validate argument on parameter '%s'. The %lld argument is "
			      "less than the minimum "
			      "allowed range of %lld. Supply an argument that is greater than or "
			      "equal to %lld and "
			      "then try the command again.",
			      p->name, (long long)i, (long long)p->min, (long long)p->min);
	if (p->range && i > p->max)
		return refuse(c, at, "ParameterArgumentValidationError",
			      "Cannot validate argument on parameter '%s'. The %lld argument is "
			      "greater than the "
			      "maximum allowed range of %lld. Supply an argument that is less than "
			      "or equal to %lld "
			      "and then try the command again.",
			      p->name, (long long)i, (long long)p->max, (long long)p->max);
	return json_is_integer(v) ? v : keep(c->sh, json_integer(i));
}

/* The word of "A|B" that @s is, or the only one that begins with it. */
static json_t *find_word(struct shell *sh, const char *words, const char *s)
{
	json_t *found = NULL;
	size_t len = strlen(s);

	for (const char *w = words; *w;) {
		size_t n = strcspn(w, "|");

		if (len <= n && !text_casencmp(w, s, len)) {
			if (len == n)
				return keep(sh, json_stringn(w, n));
			if (found)
				return NULL;
			found = keep(sh, json_stringn(w, n));
		}
		w += n + (w[n] == '|');
	}
	return len ? found : NULL;
}

static json_t *to_word(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	char *s, *error, *list;
	json_t *word;
	size_t n;
	FILE *f;

	if (json_is_array(v))
		return cannot_convert_type(c, p, v, at);
	s = value_text(v);
	word = find_word(c->sh, p->words, s);
	if (!word) {
		f = open_memstream(&list, &n);
		for (const char *w = p->words; *w; w++)
			fputs(*w == '|' ? ", " : (char[]){ *w, 0 }, f);
		fclose(f);
		if (asprintf(&error,
			     "Unable to match the identifier name %s to a valid enumerator name. "
			     "Specify one of the "
			     "following enumerator names and try again: %s",
			     s, list) < 0)
			abort();
		cannot_convert(c, p, v, at, error);
		free(error);
		free(list);
	}
	free(s);
	return word;
}

static json_t *to_guid(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	char *s = value_text(v), *t = s;
	json_t *guid = NULL;
	size_t len = strlen(s);

	if (len == 38 && s[0] == '{' && s[37] == '}') {
		s[37] = 0;
		t++;
		len = 36;
	}
	for (size_t i = 0; len == 36 && i <= 36; i++) {
		if (i == 36)
			guid = keep(c->sh, json_string(t));
		else if (i == 8 || i == 13 || i == 18 || i == 23
				 ? t[i] != '-'
				 : !strchr("0123456789abcdefABCDEF", t[i]))
			break;
	}
	free(s);
	return guid ? guid
		    : cannot_convert(c, p, v, at,
				     "Guid should contain 32 digits with 4 dashes "
				     "(xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx).");
}

static json_t *to_tagged(struct call *c, const struct param *p, json_t *v, const struct node *at,
			 const char *tag)
{
	const char *full;
	char *text;

	if (value_is(v, tag))
		return v;
	if (json_is_array(v))
		return cannot_convert_type(c, p, v, at);
	if (json_is_null(v))
		return refuse(c, at, "ParameterArgumentValidationErrorNullNotAllowed",
			      "Cannot bind argument to parameter '%s' because it is null.",
			      p->name);
	full = value_full_type(v);
	text = value_text(v);
	refuse(c, at, "CannotConvertArgumentNoMessage",
	       "Cannot bind parameter '%s'. Cannot convert the \"%s\" value of type \"%s\" to type "
	       "\"%s\".",
	       p->name, text, full, param_net_type(p));
	free(text);
	return NULL;
}

typedef json_t *convert_fn(struct call *c, const struct param *p, json_t *v, const struct node *at);

static json_t *to_block(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	return to_tagged(c, p, v, at, "ScriptBlock");
}

static json_t *to_object(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	return to_tagged(c, p, v, at, p->words);
}

static json_t *to_hash(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	return to_tagged(c, p, v, at, "Hashtable");
}

static json_t *to_property(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	return value_is(v, "Hashtable") || value_is(v, "ScriptBlock") ? v : to_text(c, p, v, at);
}

/* An array of converted elements; one value is an array of one. With program arguments
 * commas separate. */
static json_t *to_each(struct call *c, const struct param *p, json_t *v, const struct node *at,
		       convert_fn *fn)
{
	json_t *list = keep(c->sh, json_array()), *parts = keep(c->sh, json_array()), *e;
	size_t i;

	if (json_is_null(v))
		return refuse(c, at, "ParameterArgumentValidationErrorNullNotAllowed",
			      "Cannot bind argument to parameter '%s' because it is null.",
			      p->name);
	if (json_is_array(v) && !json_array_size(v))
		return refuse(
			c, at, "ParameterArgumentValidationErrorEmptyArrayNotAllowed",
			"Cannot bind argument to parameter '%s' because it is an empty array.",
			p->name);
	if (c->from_argv && json_is_string(v) && strchr(json_string_value(v), ',')) {
		for (const char *s = json_string_value(v);; s++) {
			size_t n = strcspn(s, ",");

			json_array_append_new(parts, json_stringn(s, n));
			s += n;
			if (!*s)
				break;
		}
	} else {
		value_emit(parts, v);
	}
	json_array_foreach(parts, i, e)
	{
		json_t *one = fn(c, p, e, at);

		if (!one)
			return NULL;
		json_array_append(list, one);
	}
	return list;
}

json_t *convert_arg(struct call *c, const struct param *p, json_t *v, const struct node *at)
{
	if (p->type != T_STRING && p->type != T_STRINGS && p->type != T_PROPERTIES &&
	    p->type != T_GUID)
		v = plain_value(c->sh, v);
	switch (p->type) {
	case T_STRING:
		return to_text(c, p, v, at);
	case T_STRINGS:
		return to_each(c, p, v, at, to_text);
	case T_SWITCH:
	case T_BOOL:
		return to_bool(c, p, v, at);
	case T_INT:
		return to_int(c, p, v, at);
	case T_INTS:
		return to_each(c, p, v, at, to_int);
	case T_ENUM:
		return to_word(c, p, v, at);
	case T_ENUMS:
		return to_each(c, p, v, at, to_word);
	case T_GUID:
		return to_guid(c, p, plain_value(c->sh, v), at);
	case T_BLOCK:
		return to_block(c, p, v, at);
	case T_BLOCKS:
		return to_each(c, p, v, at, to_block);
	case T_HASH:
		return to_hash(c, p, v, at);
	case T_OBJECT:
		return to_object(c, p, v, at);
	case T_OBJECTS:
		return to_each(c, p, v, at, to_object);
	case T_PROPERTIES:
		return to_each(c, p, v, at, to_property);
	default:
		return v;
	}
}
