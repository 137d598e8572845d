// SPDX-License-Identifier: MIT
/* Cmdlets of everyday use: Write-*, variables, files, time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shell/cmdlet.h"
#include "shell/text.h"

enum { UNIX_EPOCH_DAYS = 719162, MAX_FILE = 64 << 20 };

/* ---- Write-* ------------------------------------------------------------------------------ */

static bool write_output(struct call *c)
{
	json_t *v = arg(c, "InputObject");

	if (v && arg_true(c, "NoEnumerate"))
		json_array_append(c->out, v);
	else if (v)
		value_emit(c->out, v);
	return true;
}

static char *joined(json_t *v, const char *separator)
{
	char *text = NULL, *one;
	size_t len, i;
	json_t *e;
	FILE *f;

	if (!json_is_array(v))
		return v ? value_text(v) : strdup("");
	f = open_memstream(&text, &len);
	if (!f)
		abort();
	json_array_foreach(v, i, e)
	{
		one = value_text(e);
		fprintf(f, "%s%s", i ? separator : "", one);
		free(one);
	}
	fclose(f);
	return text;
}

static bool write_host(struct call *c)
{
	const char *separator = arg_text(c, "Separator");
	char *text = joined(arg(c, "Object"), separator ? separator : " ");

	shell_flush(c->sh);
	fprintf(c->sh->json ? c->sh->err : c->sh->out, arg_true(c, "NoNewline") ? "%s" : "%s\n",
		text);
	fflush(c->sh->out);
	free(text);
	return true;
}

static bool write_error(struct call *c)
{
	const char *id = arg_text(c, "ErrorId");
	char *text = joined(arg(c, "Message"), " ");
	bool ok = cmd_error(c,
			    &(struct fault){ ERR_NOT_SPECIFIED, id ? id : "WriteErrorException",
					     "WriteErrorException", arg(c, "TargetObject") },
			    "%s", text);

	free(text);
	return ok;
}

static bool write_warning(struct call *c)
{
	cmd_warning(c, "%s", arg_text(c, "Message"));
	return true;
}

static bool write_verbose(struct call *c)
{
	cmd_verbose(c, "%s", arg_text(c, "Message"));
	return true;
}

static const struct param output_params[] = {
	{ "InputObject", T_ANY, .pos = 1, .by_value = true, .null_ok = true, .rest = true,
	  .help = "The objects." },
	{ "NoEnumerate", T_SWITCH, .help = "An array stays one object." },
	{ 0 }
};

static const struct param host_params[] = {
	{ "Object", T_ANY, .pos = 1, .by_value = true, .null_ok = true, .rest = true,
	  .help = "What to print." },
	{ "NoNewline", T_SWITCH, .help = "Stays in the line." },
	{ "Separator", T_STRING, .null_ok = true, .help = "Between several." },
	{ "ForegroundColor", T_STRING, .help = "Accepted; without effect." },
	{ "BackgroundColor", T_STRING, .help = "Accepted; without effect." },
	{ 0 }
};

static const struct param error_params[] = {
	{ "Message", T_STRING, .pos = 1, .required = 0xff, .by_value = true, .null_ok = true,
	  .alias = "Msg", .help = "The message." },
	{ "ErrorId", T_STRING, .help = "Its FullyQualifiedErrorId." },
	{ "TargetObject", T_ANY, .help = "What it is about." },
	{ 0 }
};

static const struct param message_params[] = { { "Message", T_STRING, .pos = 1, .required = 0xff,
						 .by_value = true, .null_ok = true, .alias = "Msg",
						 .help = "The message." },
					       { 0 } };

/* ---- Variables -------------------------------------------------------------------------------- */

static bool get_variable(struct call *c)
{
	json_t *names = arg(c, "Name"), *v, *n;
	const char *k;
	size_t i;

	json_object_foreach(c->sh->vars, k, v)
	{
		bool wanted = !names;

		json_array_foreach(names, i, n) wanted |= text_like(k, json_string_value(n), false);
		if (wanted)
			cmd_write(c, arg_true(c, "ValueOnly")
					     ? json_incref(v)
					     : json_pack("{s:s, s:s, s:O}", TYPE_KEY, "PSVariable",
							 "Name", k, "Value", v));
	}
	json_array_foreach(names, i, n)
	{
		const char *name = json_string_value(n);
		struct fault f = { ERR_OBJECT_NOT_FOUND, "VariableNotFound",
				   "ItemNotFoundException", n };

		if (!text_has_wildcard(name) && json_is_null(shell_get_var(c->sh, name)) &&
		    !cmd_error(c, &f, "Cannot find a variable with the name '%s'.", name))
			return false;
	}
	return true;
}

static bool set_variable(struct call *c)
{
	json_t *v = arg(c, "Value"), *lower;
	char *name = strdup(arg_text(c, "Name"));

	for (char *s = name; *s; s++)
		*s = *s >= 'A' && *s <= 'Z' ? (char)(*s | 32) : *s;
	lower = v ? v : json_null();
	shell_set_var(c->sh, name, lower);
	free(name);
	return true;
}

static const struct param get_variable_params[] = {
	{ "Name", T_STRINGS, .pos = 1, .by_value = true, .help = "Names, with wildcards." },
	{ "ValueOnly", T_SWITCH, .help = "Only the values." },
	{ 0 }
};

static const struct param set_variable_params[] = {
	{ "Name", T_STRING, .pos = 1, .required = 0xff, .help = "The name, without the dollar." },
	{ "Value", T_ANY, .pos = 2, .null_ok = true, .help = "The value." },
	{ 0 }
};

/* ---- Files ---------------------------------------------------------------------------------------- */

static bool no_path(struct call *c, json_t *target)
{
	return cmd_error(c,
			 &(struct fault){ ERR_OBJECT_NOT_FOUND, "PathNotFound",
					  "ItemNotFoundException", target },
			 "Cannot find path '%s' because it does not exist.",
			 json_string_value(target));
}

static bool write_lines(struct call *c, FILE *f)
{
	char *line = NULL;
	size_t cap = 0, bad;
	ssize_t n;

	while ((n = getline(&line, &cap, f)) >= 0) {
		while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
			line[--n] = 0;
		for (char *s = line; !utf8_valid(line, (size_t)n, &bad);)
			s[bad] = '?';
		cmd_write(c, json_stringn(line, (size_t)n));
	}
	free(line);
	return true;
}

static bool get_content(struct call *c)
{
	json_t *paths = arg(c, "Path"), *p;
	size_t i;

	json_array_foreach(paths, i, p)
	{
		struct stat st;
		FILE *f = fopen(json_string_value(p), "r");

		if (!f || fstat(fileno(f), &st) || !S_ISREG(st.st_mode) || st.st_size > MAX_FILE) {
			if (f)
				fclose(f);
			if (!no_path(c, p))
				return false;
			continue;
		}
		if (arg_true(c, "Raw")) {
			char *all = calloc(1, (size_t)st.st_size + 1);
			size_t n = all ? fread(all, 1, (size_t)st.st_size, f) : 0;

			cmd_write(c, json_stringn(all, n) ?: json_string(""));
			free(all);
		} else {
			write_lines(c, f);
		}
		fclose(f);
	}
	return true;
}

static bool test_path(struct call *c)
{
	json_t *paths = arg(c, "Path"), *p;
	size_t i;

	json_array_foreach(paths, i, p)
		cmd_write(c, access(json_string_value(p), F_OK) ? json_false() : json_true());
	return true;
}

static bool get_location(struct call *c)
{
	char *dir = getcwd(NULL, 0);

	cmd_write(c, json_pack("{s:s, s:s}", TYPE_KEY, "PathInfo", "Path", dir ? dir : "?"));
	free(dir);
	return true;
}

static bool set_location(struct call *c)
{
	const char *path = arg_text(c, "Path"), *home = getenv("HOME");

	if (!path || !strcmp(path, "~"))
		path = home ? home : "/";
	return chdir(path) ? no_path(c, arg(c, "Path") ?: json_string(path)) : true;
}

static const struct param content_params[] = { { "Path", T_STRINGS, .pos = 1, .required = 0xff,
						 .by_value = true, .alias = "LiteralPath",
						 .help = "Files." },
					       { "Raw", T_SWITCH, .help = "All in one string." },
					       { 0 } };

static const struct param path_params[] = { { "Path", T_STRINGS, .pos = 1, .required = 0xff,
					      .by_value = true, .alias = "LiteralPath",
					      .help = "Paths." },
					    { 0 } };

static const struct param location_params[] = { { "Path", T_STRING, .pos = 1, .help = "A folder." },
						{ 0 } };

/* ---- Time -------------------------------------------------------------------------------------------- */

static bool get_date(struct call *c)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	cmd_write(c, value_datetime_new(
			     ((s64)now.tv_sec + tm.tm_gmtoff + (s64)UNIX_EPOCH_DAYS * 86400) *
				     TICKS_PER_SECOND +
			     now.tv_nsec / 100));
	return true;
}

static bool start_sleep(struct call *c)
{
	json_t *seconds = arg(c, "Seconds");
	double s = seconds ? value_real(seconds) : (double)arg_int(c, "Milliseconds", 0) / 1000;
	struct timespec t;
	json_t *n;

	if (seconds) {
		n = value_number_new(seconds);
		s = n ? value_real(n) : -1;
		json_decref(n);
	}
	if (s < 0 || s > 2147483)
		return cmd_error(c,
				 &(struct fault){ ERR_INVALID_DATA,
						  "ParameterArgumentValidationError",
						  "ParameterBindingValidationException" },
				 "Cannot validate argument on parameter 'Seconds'. It is no number "
				 "of seconds.");
	t = (struct timespec){ (time_t)s, (long)((s - (double)(time_t)s) * 1e9) };
	shell_flush(c->sh);
	nanosleep(&t, NULL);
	return true;
}

static bool new_timespan(struct call *c)
{
	s64 s = arg_int(c, "Days", 0) * 86400 + arg_int(c, "Hours", 0) * 3600 +
		arg_int(c, "Minutes", 0) * 60 + arg_int(c, "Seconds", 0);

	cmd_write(c, value_timespan_new(s * TICKS_PER_SECOND));
	return true;
}

#define SPAN(n)                                                                                    \
	{                                                                                          \
		n, T_INT, .range = true, .min = -10000000, .max = 10000000,                        \
			  .net_type = "System.Int32", .help = n "."                                \
	}

static const struct param sleep_params[] = {
	{ "Seconds", T_ANY, .pos = 1, .sets = 1, .required = 1, .help = "So long." },
	{ "Milliseconds", T_INT, .sets = 2, .required = 2, .alias = "ms", .range = true,
	  .max = INT32_MAX, .help = "So long." },
	{ 0 }
};

static const struct param timespan_params[] = {
	SPAN("Days"), SPAN("Hours"), SPAN("Minutes"), SPAN("Seconds"), { 0 }
};

static bool clear_host(struct call *c)
{
	fputs("\033[H\033[2J\033[3J", c->sh->out);
	return true;
}

static bool get_random(struct call *c)
{
	s64 min = arg_int(c, "Minimum", 0), max = arg_int(c, "Maximum", INT32_MAX);
	u64 r;

	if (max <= min)
		return cmd_error(c,
				 &(struct fault){ ERR_INVALID_ARGUMENT, "MinGreaterThanOrEqualMax",
						  "ArgumentException" },
				 "The Minimum value (%lld) cannot be greater than or equal to the "
				 "Maximum value (%lld).",
				 (long long)min, (long long)max);
	if (getentropy(&r, sizeof(r)))
		r = (u64)clock();
	cmd_write(c, json_integer((json_int_t)((u64)min + r % ((u64)max - (u64)min))));
	return true;
}

static const struct param random_params[] = { { "Maximum", T_INT, .pos = 1,
						.help = "Less than this." },
					      { "Minimum", T_INT, .help = "Not less than this." },
					      { 0 } };

static const struct param no_params[] = { { 0 } };

const struct cmdlet utility_cmdlets[] = {
	{ "Write-Output", .synopsis = "Writes objects to the pipeline.", .params = output_params,
	  .run = write_output },
	{ "Write-Host", .synopsis = "Prints text.", .params = host_params, .run = write_host },
	{ "Write-Error", .synopsis = "Writes an error.", .params = error_params,
	  .run = write_error },
	{ "Write-Warning", .synopsis = "Prints a warning.", .params = message_params,
	  .run = write_warning },
	{ "Write-Verbose", .synopsis = "Prints what -Verbose asks for.", .params = message_params,
	  .run = write_verbose },
	{ "Get-Variable", .synopsis = "Lists variables.", .params = get_variable_params,
	  .run = get_variable, .output = "PSVariable" },
	{ "Set-Variable", .synopsis = "Sets a variable.", .params = set_variable_params,
	  .run = set_variable },
	{ "Get-Content", .synopsis = "Reads files, a string a line.", .params = content_params,
	  .run = get_content },
	{ "Test-Path", .synopsis = "Says whether paths exist.", .params = path_params,
	  .run = test_path },
	{ "Get-Location", .synopsis = "Gets the working folder.", .params = no_params,
	  .run = get_location, .output = "PathInfo" },
	{ "Set-Location", .synopsis = "Changes the working folder.", .params = location_params,
	  .run = set_location },
	{ "Get-Date", .synopsis = "Gets the time.", .params = no_params, .run = get_date,
	  .output = "DateTime" },
	{ "Start-Sleep", .synopsis = "Waits.", .params = sleep_params,
	  .sets = "Seconds|Milliseconds", .run = start_sleep },
	{ "New-TimeSpan", .synopsis = "Makes a span of time.", .params = timespan_params,
	  .run = new_timespan, .output = "TimeSpan" },
	{ "Get-Random", .synopsis = "Gets a random number.", .params = random_params,
	  .run = get_random },
	{ "Clear-Host", .synopsis = "Clears the screen.", .params = no_params, .run = clear_host },
	{ 0 }
};
