// SPDX-License-Identifier: MIT
/* The prompt: reads lines until they make a script, and runs it. */
#include "shell/prompt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int prompt_run(struct shell *sh)
{
	char *text = NULL, *line = NULL;
	size_t len = 0, cap = 0;
	ssize_t n;
	bool go_on = true;

	while (go_on) {
		fputs(len ? ">> " : "nestor> ", stdout);
		fflush(stdout);
		n = getline(&line, &cap, stdin);
		if (n < 0)
			break;
		text = realloc(text, len + (size_t)n + 1);
		if (!text)
			abort();
		memcpy(text + len, line, (size_t)n + 1);
		len += (size_t)n;
		if (shell_wants_more(text, len))
			continue;
		go_on = shell_run(sh, text, len, NULL);
		len = 0;
	}
	fputc('\n', stdout);
	free(text);
	free(line);
	return shell_status(sh);
}
