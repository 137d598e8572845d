// SPDX-License-Identifier: MIT
/* The prompt: reads lines until they make a script, and runs it. */
#include "shell/prompt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shell/complete.h"
#include "shell/line.h"

static json_t *complete_line(void *opaque, const char *line, size_t *start)
{
	return complete_new(opaque, line, start);
}

/* ~/.local/state/nestor/history, or NULL. */
static char *history_path(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *path;
	int r;

	if (state && *state == '/')
		r = asprintf(&path, "%s/nestor/history", state);
	else if (home && *home == '/')
		r = asprintf(&path, "%s/.local/state/nestor/history", home);
	else
		return NULL;
	if (r < 0)
		return NULL;
	for (char *s = path + 1; (s = strchr(s, '/')); s++) {
		*s = 0;
		mkdir(path, 0700);
		*s = '/';
	}
	return path;
}

/* Adds a line to the script so far. */
static char *join(char *text, const char *line)
{
	char *all;

	if (asprintf(&all, "%s%s%s", text ? text : "", text ? "\n" : "", line) < 0)
		abort();
	free(text);
	return all;
}

static char *last_line(const char *text)
{
	char *copy = strdup(text);

	for (char *s = copy; *s; s++)
		*s = *s == '\n' ? ' ' : *s;
	return copy;
}

int prompt_run(struct shell *sh)
{
	struct line_editor *l = line_create(0, 1, complete_line, sh);
	char *path = history_path(), *text = NULL, *line, *one;
	bool go_on = true;

	puts("Nestor. Get-Help explains, Tab completes, exit leaves.");
	fflush(stdout);
	line_load_history(l, path);
	while (go_on) {
		enum line_result r = line_read(l, text ? ">> " : "nestor> ", &line);

		if (r == LINE_END)
			break;
		if (r == LINE_CANCELLED) {
			free(text);
			text = NULL;
			continue;
		}
		text = join(text, line);
		free(line);
		if (shell_wants_more(text, strlen(text)))
			continue;
		one = last_line(text);
		line_remember(l, one);
		free(one);
		go_on = shell_run(sh, text, strlen(text), NULL);
		free(text);
		text = NULL;
	}
	line_save_history(l, path);
	line_destroy(l);
	free(path);
	free(text);
	return shell_exit_code(sh);
}
