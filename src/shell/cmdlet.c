// SPDX-License-Identifier: MIT
/* The cmdlets' tables and aliases; what a running cmdlet uses. */
#include "shell/cmdlet.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shell/text.h"

static const struct cmdlet *const tables[] = { vm_cmdlets,     vm_device_cmdlets, drive_cmdlets,
					       host_cmdlets,   utility_cmdlets,	  object_cmdlets,
					       format_cmdlets, help_cmdlets };

#define ACTIONS	    "SilentlyContinue|Stop|Continue|Inquire|Ignore"
#define ACTION_TYPE .net_enum = "System.Management.Automation.ActionPreference"

const struct param common_params[] = {
	{ "Verbose", T_SWITCH, .alias = "vb", .help = "Says what is done." },
	{ "Debug", T_SWITCH, .alias = "db", .help = "Accepted; without effect." },
	{ "ErrorAction", T_ENUM, .alias = "ea", .words = ACTIONS, ACTION_TYPE,
	  .help = "What an error does." },
	{ "WarningAction", T_ENUM, .alias = "wa", .words = ACTIONS, ACTION_TYPE,
	  .help = "What a warning does." },
	{ "ErrorVariable", T_STRING, .alias = "ev", .help = "A variable for the errors." },
	{ "OutVariable", T_STRING, .alias = "ov", .help = "A variable for the output." },
	{ 0 }
};

const struct param change_params[] = {
	{ "WhatIf", T_SWITCH, .alias = "wi", .help = "Says what would be done, and does nothing." },
	{ "Confirm", T_SWITCH, .alias = "cf", .help = "Asks first." },
	{ 0 }
};

const struct param hyperv_params[] = { { "CimSession", T_ANY, .help = "Not available yet." },
				       { "ComputerName", T_STRINGS,
					 .help = "Only this host (localhost)." },
				       { "Credential", T_ANY, .help = "Not available yet." },
				       { "AsJob", T_SWITCH, .help = "Not available yet." },
				       { 0 } };

static const struct {
	const char *alias, *name;
} aliases[] = {
	{ "?", "Where-Object" },
	{ "%", "ForEach-Object" },
	{ "where", "Where-Object" },
	{ "foreach", "ForEach-Object" },
	{ "select", "Select-Object" },
	{ "sort", "Sort-Object" },
	{ "measure", "Measure-Object" },
	{ "group", "Group-Object" },
	{ "ft", "Format-Table" },
	{ "fl", "Format-List" },
	{ "gm", "Get-Member" },
	{ "gcm", "Get-Command" },
	{ "help", "Get-Help" },
	{ "man", "Get-Help" },
	{ "echo", "Write-Output" },
	{ "write", "Write-Output" },
	{ "gv", "Get-Variable" },
	{ "sv", "Set-Variable" },
	{ "set", "Set-Variable" },
	{ "sleep", "Start-Sleep" },
	{ "cat", "Get-Content" },
	{ "gc", "Get-Content" },
	{ "type", "Get-Content" },
	{ "gal", "Get-Alias" },
	{ "clear", "Clear-Host" },
	{ "cls", "Clear-Host" },
	{ "cd", "Set-Location" },
	{ "sl", "Set-Location" },
	{ "pwd", "Get-Location" },
	{ "gl", "Get-Location" },
	{ "oh", "Out-Host" },
	{ "Get-VMCheckpoint", "Get-VMSnapshot" },
	{ "Restore-VMCheckpoint", "Restore-VMSnapshot" },
	{ "Remove-VMCheckpoint", "Remove-VMSnapshot" },
};

const char *alias_of(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(aliases); i++)
		if (text_equal(aliases[i].alias, name))
			return aliases[i].name;
	return NULL;
}

const char *alias_at(unsigned i, const char **cmdlet)
{
	if (i >= ARRAY_SIZE(aliases))
		return NULL;
	*cmdlet = aliases[i].name;
	return aliases[i].alias;
}

const struct cmdlet *cmdlet_at(unsigned i)
{
	for (unsigned t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct cmdlet *c = tables[t]; c->name; c++)
			if (!i--)
				return c;
	}
	return NULL;
}

const struct cmdlet *cmdlet_find(const char *name)
{
	const char *full = alias_of(name);
	const struct cmdlet *c;

	for (unsigned i = 0; (c = cmdlet_at(i)); i++)
		if (text_equal(c->name, full ? full : name))
			return c;
	return NULL;
}

/* ---- Arguments ------------------------------------------------------------------------- */

json_t *arg(const struct call *c, const char *name)
{
	return json_object_get(c->bound, name);
}

const char *arg_text(const struct call *c, const char *name)
{
	return json_string_value(arg(c, name));
}

s64 arg_int(const struct call *c, const char *name, s64 otherwise)
{
	json_t *v = arg(c, name);

	return v ? json_integer_value(v) : otherwise;
}

bool arg_true(const struct call *c, const char *name)
{
	return json_is_true(arg(c, name));
}

/* ---- Output ------------------------------------------------------------------------------ */

void cmd_write(struct call *c, json_t *v)
{
	json_array_append_new(c->out, v);
}

bool cmd_error(struct call *c, const struct fault *fault, const char *fmt, ...)
{
	struct fault f = *fault;
	json_t *record;
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	f.cmdlet = c->cmdlet;
	record = error_record_text(c->sh, c->at, &f, text);
	free(text);
	if (c->on_error == ACTION_STOP) {
		shell_throw_record(c->sh, record, true);
		return false;
	}
	json_array_append(c->written_errors, record);
	c->sh->pipeline_failed = true;
	if (c->on_error == ACTION_CONTINUE)
		error_write(c->sh, record);
	else if (c->on_error == ACTION_SILENT)
		error_remember(c->sh, record);
	return true;
}

__attribute__((format(printf, 3, 0)))
static void say(struct call *c, const char *head, const char *fmt, va_list ap)
{
	char *text, *safe;

	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	safe = text_printable(text);
	shell_flush(c->sh);
	fflush(c->sh->out);
	fprintf(c->sh->err, "%s%s\n", head, safe);
	fflush(c->sh->err);
	free(safe);
	free(text);
}

void cmd_warning(struct call *c, const char *fmt, ...)
{
	va_list ap;

	if (c->on_warning != ACTION_CONTINUE)
		return;
	va_start(ap, fmt);
	say(c, "WARNING: ", fmt, ap);
	va_end(ap);
}

void cmd_verbose(struct call *c, const char *fmt, ...)
{
	va_list ap;

	if (!c->verbose)
		return;
	va_start(ap, fmt);
	say(c, "VERBOSE: ", fmt, ap);
	va_end(ap);
}

/* ---- Questions ------------------------------------------------------------------------------ */

/* `will` and `asks` have one "%s" for the target. */
static char *fill_in(const char *pattern, const char *target)
{
	const char *at = strstr(pattern, "%s");
	char *text;

	if (asprintf(&text, "%.*s%s%s", (int)(at ? at - pattern : (long)strlen(pattern)), pattern,
		     at ? target : "", at ? at + 2 : "") < 0)
		abort();
	return text;
}

static char *what_happens(struct call *c, const char *target)
{
	char *tail, *text;
	int r;

	if (!c->cmdlet->will) {
		r = asprintf(&text, "Performing the operation \"%s\" on target \"%s\".",
			     c->cmdlet->operation ? c->cmdlet->operation : c->cmdlet->name, target);
	} else {
		tail = fill_in(c->cmdlet->will, target);
		r = asprintf(&text, "%s %s", c->cmdlet->name, tail);
		free(tail);
	}
	if (r < 0)
		abort();
	return text;
}

static int read_answer(struct shell *sh)
{
	FILE *tty = fopen("/dev/tty", "r");
	char line[64];
	int c = 0;

	(void)sh;
	if (!tty)
		return -1;
	if (!fgets(line, sizeof(line), tty))
		c = -1;
	else
		c = line[0] | 32;
	fclose(tty);
	return c;
}

static bool ask(struct call *c, const char *question)
{
	char *safe = text_printable(question);
	bool yes = false, done = false;

	shell_flush(c->sh);
	while (!done) {
		int a;

		fprintf(c->sh->out,
			"\nConfirm\n%s\n[Y] Yes [A] Yes to All [N] No [L] No to All [S] Suspend "
			"[?] Help "
			"(default is \"Y\"): ",
			safe);
		fflush(c->sh->out);
		a = read_answer(c->sh);
		done = a < 0 || strchr("yanls\n*", a) || a == ('\n' | 32);
		yes = a == 'y' || a == 'a' || a == ('\n' | 32);
		c->sh->yes_to_all = a == 'a';
		c->sh->no_to_all = a == 'l';
		if (!done)
			fputs("Y - this one; A - all that follow; N - not this one; L - none that "
			      "follow.\n",
			      c->sh->out);
	}
	free(safe);
	return yes;
}

static bool confirm(struct call *c, const char *question)
{
	if (c->sh->yes_to_all || c->sh->no_to_all)
		return c->sh->yes_to_all;
	if (c->sh->interactive)
		return ask(c, question);
	cmd_error(c,
		  &(struct fault){ ERR_INVALID_OPERATION, "InvalidOperation",
				   "PSInvalidOperationException" },
		  "Nobody can be asked here: \"%s\" Use %s to go on without the question.",
		  question,
		  c->cmdlet->hyperv && c->cmdlet->asks ? "-Force or -Confirm:$false"
						       : "-Confirm:$false");
	return false;
}

bool cmd_should(struct call *c, const char *target)
{
	char *text = what_happens(c, target), *question;
	bool forced = arg_true(c, "Force"), go = true;

	if (c->what_if) {
		char *safe = text_printable(text);

		shell_flush(c->sh);
		fprintf(c->sh->out, "What if: %s\n", safe);
		free(safe);
		go = false;
	} else {
		cmd_verbose(c, "%s", text);
		if (c->confirm == CONFIRM_YES ||
		    (c->cmdlet->asks && !forced && c->confirm != CONFIRM_NO)) {
			question =
				c->cmdlet->asks ? fill_in(c->cmdlet->asks, target) : strdup(text);
			go = confirm(c, question);
			free(question);
		}
	}
	free(text);
	return go;
}
