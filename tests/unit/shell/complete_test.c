// SPDX-License-Identifier: MIT
/* Completion where no VM is needed; the line editor over a pipe. */
#include "shell/complete.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "shell/line.h"

static void want(const char *line, size_t at, const char *words)
{
	struct shell *sh = shell_create(stdout, stderr);
	size_t start;
	json_t *found = complete_new(sh, line, &start), *w;
	char all[4000] = "";
	size_t i;

	json_array_foreach(found, i, w)
	{
		strcat(all, i ? "," : "");
		strcat(all, json_string_value(w));
	}
	if (start != at || strcmp(all, words))
		test_fail(__FILE__, __LINE__, "\"%s\": at %zu \"%s\", want %zu \"%s\"", line, start,
			  all, at, words);
	json_decref(found);
	shell_destroy(sh);
}

TEST(complete, words_by_what_stands_before_them)
{
	want("Get-VMP", 0, "Get-VMProcessor");
	want("get-vmpr", 0, "Get-VMProcessor");
	want("Get-VM | Set-VMPro", 9, "Set-VMProcessor");
	want("$x = (Get-VMPro", 6, "Get-VMProcessor");
	want("Set-VMProcessor -Exp", 16, "-ExposeVirtualizationExtensions");
	want("Set-VMProcessor x –Exp", 18, "-ExposeVirtualizationExtensions");
	want("Set-VMProcessor x -ExposeVirtualizationExtensions ", 50, "$false,$true");
	want("Set-VM x -AutomaticStopAction S", 30, "Save,ShutDown");
	want("Set-VM x -Auto", 9,
	     "-AutomaticCheckpointsEnabled,-AutomaticStartAction,-AutomaticStartDelay,"
	     "-AutomaticStopAction");
	want("Start-VM x -Wh", 11, "-WhatIf");
	want("Get-Help Rename-V", 9, "Rename-VM");
	want("Write-Output $tr", 13, "$true");
	want("Set-VMFirmware x -KernelPath /proc/self/stat", 29,
	     "/proc/self/stat,/proc/self/statm,/proc/self/status");
	want("'|' ; Get-VMPro", 6, "Get-VMProcessor");
}

/* What typing @keys gives. */
static enum line_result typed(const char *keys, const char *history, char **text)
{
	int fds[2], null = open("/dev/null", O_WRONLY);
	struct line_editor *l;
	enum line_result r;

	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(write(fds[1], keys, strlen(keys)), strlen(keys));
	close(fds[1]);
	l = line_create(fds[0], null, NULL, NULL);
	line_remember(l, history);
	r = line_read(l, "> ", text);
	line_destroy(l);
	close(fds[0]);
	close(null);
	return r;
}

TEST(line, keys)
{
	static const struct {
		const char *keys, *text;
	} rows[] = {
		{ "abc\r", "abc" },
		{ "abc\x7f\x7fx\r", "ax" },
		{ "bc\001a\005d\r", "abcd" },
		{ "a–ö\x7f\x7f\r", "a" },
		{ "ab\033[D\033[Dx\033[Cy\r", "xayb" },
		{ "one two\027three\r", "one three" },
		{ "abc\002\002\013\r", "a" },
		{ "abc\025d\r", "d" },
		{ "\033[A\r", "before" },
		{ "new\033[A\033[B\r", "new" },
		{ "abc\033[H\033[3~\r", "bc" },
		{ "a\x80\xff"
		  "b\r",
		  "ab" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char *text;

		CHECK_EQ(typed(rows[i].keys, "before", &text), LINE_DONE);
		if (!text || strcmp(text, rows[i].text))
			test_fail(__FILE__, __LINE__, "row %u: \"%s\", want \"%s\"", i,
				  text ? text : "(none)", rows[i].text);
		free(text);
	}
}

TEST(line, ends)
{
	char *text;

	CHECK_EQ(typed("abc\003", "", &text), LINE_CANCELLED);
	CHECK_EQ(typed("\004", "", &text), LINE_END);
	CHECK_EQ(typed("", "", &text), LINE_END);
	CHECK(!text);
}
