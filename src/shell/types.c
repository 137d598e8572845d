// SPDX-License-Identifier: MIT
/* Types of the language itself. */
#include "shell/types.h"

#include <string.h>

#define SMA "System.Management.Automation."

const struct type_row core_types[] = {
	{ "PSCustomObject", SMA "PSCustomObject" },
	{ "Hashtable", "System.Collections.Hashtable" },
	{ "ScriptBlock", SMA "ScriptBlock", .text_member = "Text" },
	{ "ErrorRecord", SMA "ErrorRecord", .text_member = "Message" },
	{ "Exception", "System.Exception", .text_member = "Message", .list = "Message" },
	{ "TimeSpan", "System.TimeSpan",
	  .list = "Days|Hours|Minutes|Seconds|Milliseconds|Ticks|TotalDays|"
		  "TotalHours|TotalMinutes|TotalSeconds|TotalMilliseconds" },
	{ "DateTime", "System.DateTime" },
	{ "FormatText", "Microsoft.PowerShell.Commands.Internal.Format.FormatStartData",
	  .text_member = "Text" },
	{ "GenericMeasureInfo", "Microsoft.PowerShell.Commands.GenericMeasureInfo",
	  .list = "Count|Average|Sum|Maximum|Minimum|Property" },
	{ "CommandInfo", SMA "CmdletInfo", .text_member = "Name",
	  .table = { { "CommandType" }, { "Name" }, { "Definition" } } },
	{ "AliasInfo", SMA "AliasInfo", .text_member = "Name",
	  .table = { { "CommandType" }, { "Name" }, { "Definition" } } },
	{ "MemberDefinition", "Microsoft.PowerShell.Commands.MemberDefinition",
	  .text_member = "Name", .table = { { "Name" }, { "MemberType" }, { "Definition" } } },
	{ "PSVariable", SMA "PSVariable", .text_member = "Name",
	  .table = { { "Name" }, { "Value" } } },
	{ "PathInfo", SMA "PathInfo", .text_member = "Path", .table = { { "Path" } } },
	{ "GroupInfo", "Microsoft.PowerShell.Commands.GroupInfo",
	  .table = { { "Count", .right = true }, { "Name" }, { "Group" } } },
	{ 0 }
};

static const struct type_row *find_in(const struct type_row *rows, const char *tag)
{
	for (; rows->tag; rows++)
		if (!strcmp(rows->tag, tag))
			return rows;
	return NULL;
}

const struct type_row *type_find(const char *tag)
{
	const struct type_row *row = find_in(core_types, tag);

	return row ? row : find_in(hyperv_types, tag);
}
