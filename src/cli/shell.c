// SPDX-License-Identifier: MIT
/*
 * nestor as a shell: `nestor` prompts, -c and -f and standard input run scripts, and
 * anything else that is a cmdlet runs with the program's arguments.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/command.h"
#include "shell/prompt.h"
#include "shell/shell.h"

enum { MAX_SCRIPT = 16 << 20 };

struct options {
	const char *text, *file; /* -c, -f */
	bool json, help, no_more;
};

static const char usage[] =
	"usage: nestor [-OutputFormat Text|Json]                 a prompt, or a script on standard "
	"input\n"
	"       nestor [-OutputFormat Text|Json] -c TEXT         runs TEXT\n"
	"       nestor [-OutputFormat Text|Json] -f FILE         runs a script\n"
	"       nestor [-OutputFormat Text|Json] CMDLET [ARG]... runs one cmdlet; $true, true and "
	"1 are true\n\n"
	"With Json, objects and errors are JSON, one a line. The status is 1 when an error was "
	"written.\n";

static bool is_option(const char *word, const char *name)
{
	return word[0] == '-' && !strcasecmp(word + 1 + (word[1] == '-'), name);
}

bool shell_takes(const char *word)
{
	static const char *const options[] = { "c",	 "command",	   "f",
					       "file",	 "outputformat",   "o",
					       "nologo", "noninteractive", "noprofile" };

	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		if (is_option(word, options[i]))
			return true;
	return !strcmp(word, "-") || shell_knows(word);
}

/* Reads the options before the cmdlet; the number of arguments used, or -1. */
static int read_options(int argc, char **argv, struct options *o)
{
	int i;

	for (i = 0; i < argc && !o->no_more; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (is_option(argv[i], "nologo") || is_option(argv[i], "noninteractive") ||
		    is_option(argv[i], "noprofile"))
			continue;
		if (!strcmp(argv[i], "-")) {
			o->no_more = true;
			o->file = "-";
			continue;
		}
		if (argv[i][0] != '-')
			return i;
		if (!value) {
			log_err("%s wants a value", argv[i]);
			return -1;
		}
		if (is_option(argv[i], "outputformat") || is_option(argv[i], "o")) {
			o->json = !strcasecmp(value, "json");
			if (!o->json && strcasecmp(value, "text")) {
				log_err("-OutputFormat is Text or Json, not %s", value);
				return -1;
			}
		} else if (is_option(argv[i], "c") || is_option(argv[i], "command")) {
			o->text = value;
			o->no_more = true;
		} else if (is_option(argv[i], "f") || is_option(argv[i], "file")) {
			o->file = value;
			o->no_more = true;
		} else {
			log_err("unknown option %s", argv[i]);
			return -1;
		}
		i++;
	}
	return i;
}

/* All of @f, malloc()ed; NULL when it cannot be read or is too large. */
static char *read_all(FILE *f, size_t *len)
{
	char *text = NULL, buf[8192];
	size_t n, all = 0;
	FILE *to = open_memstream(&text, len);

	while (to && all <= MAX_SCRIPT && (n = fread(buf, 1, sizeof(buf), f))) {
		fwrite(buf, 1, n, to);
		all += n;
	}
	if (to)
		fclose(to);
	if (!to || ferror(f) || all > MAX_SCRIPT) {
		free(text);
		errno = all > MAX_SCRIPT ? EFBIG : errno;
		return NULL;
	}
	return text;
}

static int run_file(struct shell *sh, const char *path)
{
	bool in = !strcmp(path, "-");
	FILE *f = in ? stdin : fopen(path, "r");
	size_t len = 0;
	char *text = f ? read_all(f, &len) : NULL;

	if (!text)
		log_err("cannot read %s: %s", path, strerror(errno));
	else
		shell_run(sh, text, len, in ? NULL : path);
	if (f && !in)
		fclose(f);
	free(text);
	return text ? shell_status(sh) : STATUS_NOT_STARTED;
}

/* -OutputFormat may stand among a cmdlet's arguments as well. */
static int take_format(int argc, char **argv, struct options *o)
{
	int to = 0;

	for (int i = 0; i < argc; i++) {
		if (i && i + 1 < argc && is_option(argv[i], "outputformat")) {
			o->json = !strcasecmp(argv[++i], "json");
			continue;
		}
		argv[to++] = argv[i];
	}
	return to;
}

static int run(struct shell *sh, int argc, char **argv, const struct options *o)
{
	if (o->text) {
		shell_run(sh, o->text, strlen(o->text), NULL);
	} else if (o->file) {
		return run_file(sh, o->file);
	} else if (argc) {
		shell_run_args(sh, argc, argv);
	} else if (isatty(0)) {
		return prompt_run(sh);
	} else {
		return run_file(sh, "-");
	}
	return shell_status(sh);
}

int cmd_shell(int argc, char **argv)
{
	struct options o = { 0 };
	struct shell *sh;
	int used, status;

	setlocale(LC_CTYPE, "C.UTF-8");
	signal(SIGPIPE, SIG_DFL);
	used = read_options(argc, argv, &o);
	if (used < 0) {
		fputs(usage, stderr);
		return STATUS_NOT_STARTED;
	}
	argc = o.no_more ? 0 : take_format(argc - used, argv + used, &o);
	sh = shell_create(stdout, stderr);
	shell_set_json(sh, o.json);
	shell_set_interactive(sh, isatty(0) && isatty(1));
	status = run(sh, argc, argv + used, &o);
	shell_destroy(sh);
	return status;
}
