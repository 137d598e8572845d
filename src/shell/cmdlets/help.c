// SPDX-License-Identifier: MIT
/* Get-Help, Get-Command and Get-Alias, from the cmdlets' own tables. */
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlet.h"
#include "shell/text.h"

/* ---- Get-Help ----------------------------------------------------------------------------- */

static const char *short_type(const struct param *p)
{
	const char *full = p->net_enum	       ? p->net_enum
			   : p->type == T_ENUM ? p->words
					       : param_net_type(p);
	const char *dot = p->type == T_ENUM ? NULL : strrchr(full, '.');

	return dot ? dot + 1 : full;
}

static void put_param(FILE *f, const struct param *p, u32 set)
{
	bool required = p->required & set, is_switch = p->type == T_SWITCH;

	fprintf(f, required ? " " : " [");
	if (p->pos && !is_switch)
		fprintf(f, "[-%s]", p->name);
	else
		fprintf(f, "-%s", p->name);
	if (p->type == T_ENUM)
		fprintf(f, " {%s}", p->words);
	else if (!is_switch)
		fprintf(f, " <%s>", short_type(p));
	if (!required)
		fputc(']', f);
}

static void put_syntax(FILE *f, const struct cmdlet *c)
{
	u32 nr = 1;

	for (const char *s = c->sets; s && *s; s++)
		nr += *s == '|';
	for (u32 set = 0; set < nr; set++) {
		fprintf(f, "%s", c->name);
		for (const struct param *p = c->params; p->name; p++)
			if (!p->sets || (p->sets & 1u << set))
				put_param(f, p, 1u << set);
		fprintf(f, "%s [<CommonParameters>]\n", c->changes ? " [-WhatIf] [-Confirm]" : "");
	}
}

static void put_param_help(FILE *f, const struct param *p)
{
	fprintf(f, "    -%s%s%s%s\n        %s", p->name, p->type == T_SWITCH ? "" : " <",
		p->type == T_SWITCH ? "" : short_type(p), p->type == T_SWITCH ? "" : ">",
		p->help ? p->help : "");
	if (p->range)
		fprintf(f, " From %lld to %lld.", (long long)p->min, (long long)p->max);
	if (p->alias)
		fprintf(f, " Alias: %s.", p->alias);
	if (p->by_value || p->by_name)
		fprintf(f, " Takes pipeline input%s.", p->by_value ? "" : " by property name");
	fputs("\n\n", f);
}

/* Lines of @text, indented. */
static void put_indented(FILE *f, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		fprintf(f, "    %.*s\n", (int)n, text);
		text += n + (text[n] == '\n');
	}
	fputc('\n', f);
}

static char *help_text(const struct cmdlet *c, bool all)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		abort();
	fprintf(f, "\nNAME\n    %s\n\nSYNOPSIS\n    %s\n\nSYNTAX\n", c->name, c->synopsis);
	for (char *syntax = NULL; !syntax;) {
		FILE *s = open_memstream(&syntax, &len);

		put_syntax(s, c);
		fclose(s);
		put_indented(f, syntax);
		free(syntax);
		break;
	}
	if (c->params->name && all) {
		fputs("PARAMETERS\n", f);
		for (const struct param *p = c->params; p->name; p++)
			put_param_help(f, p);
	}
	if (c->shell_note) {
		fputs("NOTES\n", f);
		put_indented(f, c->shell_note);
	}
	if (c->examples) {
		fputs("EXAMPLES\n", f);
		put_indented(f, c->examples);
	}
	fclose(f);
	return text;
}

static const char overview[] =
	"\nThis shell has the commands of Hyper-V and a part of PowerShell's language.\n\n"
	"  Get-Command                  lists all commands; Get-Command *-VM* some\n"
	"  Get-Help New-VM              explains one; Get-Help New-VM -Full all of it\n"
	"  Get-VM | Format-List *       shows all properties; Get-Member lists them\n"
	"  exit                         leaves\n\n"
	"Tab completes commands, parameters, values and names of VMs.\n\n";

static bool list_matching(struct call *c, const char *pattern)
{
	const struct cmdlet *found;
	bool any = false;

	for (unsigned i = 0; (found = cmdlet_at(i)); i++) {
		if (!text_like(found->name, pattern, false))
			continue;
		any = true;
		cmd_write(c, json_pack("{s:s, s:s}", "Name", found->name, "Synopsis",
				       found->synopsis));
	}
	return any;
}

static bool get_help(struct call *c)
{
	const char *name = arg_text(c, "Name");
	const struct cmdlet *found = name ? cmdlet_find(name) : NULL;
	char *text, pattern[200];

	if (!name) {
		cmd_write(c, json_pack("{s:s, s:s}", TYPE_KEY, "FormatText", "Text", overview));
		return true;
	}
	if (!found) {
		snprintf(pattern, sizeof(pattern), text_has_wildcard(name) ? "%s" : "*%s*", name);
		if (list_matching(c, pattern))
			return true;
		return cmd_error(c,
				 &(struct fault){ ERR_NOT_SPECIFIED, "HelpNotFound",
						  "HelpNotFoundException", arg(c, "Name"),
						  "ResourceUnavailable" },
				 "Get-Help could not find %s in a help file in this session.",
				 name);
	}
	text = help_text(found,
			 arg_true(c, "Full") || arg_true(c, "Detailed") || arg(c, "Parameter"));
	cmd_write(c, json_pack("{s:s, s:s}", TYPE_KEY, "FormatText", "Text", text));
	free(text);
	return true;
}

static const struct param help_params[] = {
	{ "Name", T_STRING, .pos = 1, .help = "A command, with wildcards." },
	{ "Full", T_SWITCH, .help = "Explains the parameters too." },
	{ "Detailed", T_SWITCH, .help = "Explains the parameters too." },
	{ "Examples", T_SWITCH, .help = "They are always shown." },
	{ "Parameter", T_STRING, .help = "Explains the parameters too." },
	{ "Online", T_SWITCH, .help = "Without effect." },
	{ 0 }
};

/* ---- Get-Command, Get-Alias ------------------------------------------------------------------ */

static bool matches(json_t *patterns, const char *text)
{
	json_t *p;
	size_t i;

	json_array_foreach(patterns, i,
			   p) if (text_like(text, json_string_value(p), false)) return true;
	return !patterns;
}

static bool has_verb_noun(struct call *c, const char *name)
{
	const char *dash = strchr(name, '-');
	char verb[32] = "";

	if (!dash)
		return !arg(c, "Verb") && !arg(c, "Noun");
	snprintf(verb, sizeof(verb), "%.*s", (int)(dash - name), name);
	return matches(arg(c, "Verb"), verb) && matches(arg(c, "Noun"), dash + 1);
}

static void write_command(struct call *c, const struct cmdlet *found)
{
	char *syntax = NULL;
	size_t len;
	FILE *f = open_memstream(&syntax, &len);

	put_syntax(f, found);
	fclose(f);
	if (arg_true(c, "Syntax"))
		cmd_write(c, json_string(syntax));
	else
		cmd_write(c, json_pack("{s:s, s:s, s:s, s:s, s:s}", TYPE_KEY, "CommandInfo",
				       "CommandType", "Cmdlet", "Name", found->name, "Definition",
				       found->synopsis, "Syntax", syntax));
	free(syntax);
}

static bool get_command(struct call *c)
{
	json_t *names = arg(c, "Name"), *n;
	const struct cmdlet *found;
	const char *full;
	size_t j, before = json_array_size(c->out);
	char path[4096];

	for (unsigned i = 0; (found = cmdlet_at(i)); i++)
		if (matches(names, found->name) && has_verb_noun(c, found->name))
			write_command(c, found);
	json_array_foreach(names, j, n)
	{
		const char *name = json_string_value(n);
		struct fault f = { ERR_OBJECT_NOT_FOUND, "CommandNotFoundException",
				   "CommandNotFoundException", n };

		full = alias_of(name);
		if (full && !cmdlet_find(name))
			continue;
		if (full)
			cmd_write(c, json_pack("{s:s, s:s, s:s, s:s}", TYPE_KEY, "AliasInfo",
					       "CommandType", "Alias", "Name", name, "Definition",
					       full));
		else if (!text_has_wildcard(name) && !cmdlet_find(name) &&
			 native_find(name, path, sizeof(path)))
			cmd_write(c, json_pack("{s:s, s:s, s:s, s:s}", TYPE_KEY, "CommandInfo",
					       "CommandType", "Application", "Name", name,
					       "Definition", path));
		else if (!text_has_wildcard(name) && !cmdlet_find(name) &&
			 json_array_size(c->out) == before &&
			 !cmd_error(c, &f,
				    "The term '%s' is not recognized as the name of a cmdlet, "
				    "function, script file, or "
				    "operable program. Check the spelling of the name, or if a "
				    "path was included, verify that "
				    "the path is correct and try again.",
				    name))
			return false;
	}
	return true;
}

static const struct param command_params[] = {
	{ "Name", T_STRINGS, .pos = 1, .by_value = true, .help = "Names, with wildcards." },
	{ "Verb", T_STRINGS, .help = "Only with these verbs." },
	{ "Noun", T_STRINGS, .help = "Only with these nouns." },
	{ "Module", T_STRINGS, .help = "Without effect." },
	{ "Syntax", T_SWITCH, .help = "How they are written." },
	{ 0 }
};

static bool get_alias(struct call *c)
{
	const char *name, *full;

	for (unsigned i = 0; (name = alias_at(i, &full)); i++)
		if (matches(arg(c, "Name"), name) && matches(arg(c, "Definition"), full))
			cmd_write(c, json_pack("{s:s, s:s, s:s, s:s}", TYPE_KEY, "AliasInfo",
					       "CommandType", "Alias", "Name", name, "Definition",
					       full));
	return true;
}

static const struct param alias_params[] = {
	{ "Name", T_STRINGS, .pos = 1, .help = "Aliases, with wildcards." },
	{ "Definition", T_STRINGS, .help = "Only those of these commands." },
	{ 0 }
};

const struct cmdlet help_cmdlets[] = {
	{ "Get-Help", .synopsis = "Explains a command.", .params = help_params, .run = get_help,
	  .examples = "Get-Help Set-VMProcessor -Full" },
	{ "Get-Command", .synopsis = "Lists commands.", .params = command_params,
	  .run = get_command, .output = "CommandInfo",
	  .examples = "Get-Command *-VM*\nGet-Command -Noun VM" },
	{ "Get-Alias", .synopsis = "Lists short names of commands.", .params = alias_params,
	  .run = get_alias, .output = "AliasInfo" },
	{ 0 }
};
