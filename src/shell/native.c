// SPDX-License-Identifier: MIT
/*
 * Programs of the host. Their output goes to ours when the pipeline ends with them,
 * else it is caught, one string a line; the pipeline's objects are their input as text.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shell/shell_internal.h"

extern char **environ;

static bool is_program(const char *path)
{
	return !access(path, X_OK) && !(access(path, F_OK) || path[strlen(path) - 1] == '/');
}

bool native_find(const char *name, char *path, size_t size)
{
	const char *dirs = getenv("PATH");

	if (strchr(name, '/'))
		return snprintf(path, size, "%s", name) < (int)size && is_program(path);
	for (dirs = dirs ? dirs : "/usr/bin:/bin"; *dirs;) {
		size_t n = strcspn(dirs, ":");

		if (n && snprintf(path, size, "%.*s/%s", (int)n, dirs, name) < (int)size &&
		    is_program(path))
			return true;
		dirs += n + (dirs[n] == ':');
	}
	return false;
}

static char **make_argv(const char *name, json_t *args)
{
	char **argv = calloc(json_array_size(args) + 2, sizeof(*argv));
	json_t *e;
	size_t i;

	if (!argv)
		abort();
	argv[0] = (char *)name;
	json_array_foreach(args, i, e) argv[i + 1] = (char *)json_string_value(e);
	return argv;
}

static char *input_text(json_t *input)
{
	char *text = NULL, *line;
	size_t len, i;
	FILE *f = open_memstream(&text, &len);
	json_t *e;

	if (!f)
		abort();
	json_array_foreach(input, i, e)
	{
		line = value_text(e);
		fprintf(f, "%s\n", line);
		free(line);
	}
	fclose(f);
	return text;
}

/* Feeds @text to @in and collects @from, at the same time. */
static char *exchange(int in, const char *text, int from)
{
	char *all = NULL, buf[4096];
	size_t len, left = text ? strlen(text) : 0;
	FILE *f = open_memstream(&all, &len);
	struct pollfd fds[2] = { { from, POLLIN, 0 }, { in, POLLOUT, 0 } };

	while (f && (fds[0].fd >= 0 || fds[1].fd >= 0)) {
		ssize_t n;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].fd >= 0 && fds[1].revents) {
			n = left ? write(in, text, MIN(left, (size_t)4096)) : 0;
			if (n > 0) {
				text += n;
				left -= (size_t)n;
			}
			if (n <= 0 || !left) {
				close(in);
				fds[1].fd = -1;
			}
		}
		if (fds[0].fd >= 0 && fds[0].revents) {
			n = read(from, buf, sizeof(buf));
			if (n > 0)
				fwrite(buf, 1, (size_t)n, f);
			else
				fds[0].fd = -1;
		}
	}
	if (f)
		fclose(f);
	return all;
}

/* Lines as strings; what is no UTF-8 becomes '?'. */
static void add_lines(json_t *out, char *text)
{
	for (char *line = text; line && *line;) {
		size_t n = strcspn(line, "\n");
		bool more = line[n] == '\n';
		json_t *s;

		line[n] = 0;
		if (n && line[n - 1] == '\r')
			line[n - 1] = 0;
		s = json_string(line);
		if (!s) {
			for (char *c = line; *c; c++)
				*c = (u8)*c < 0x80 ? *c : '?';
			s = json_string(line);
		}
		json_array_append_new(out, s);
		line += n + more;
	}
}

static void set_status(struct shell *sh, int status)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	json_t *v = json_integer(code);

	shell_set_var(sh, "lastexitcode", v);
	json_decref(v);
	if (code)
		sh->pipeline_failed = true;
}

static pid_t start(const char *path, char **argv, int in, int out)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int r;

	posix_spawn_file_actions_init(&actions);
	if (in >= 0)
		posix_spawn_file_actions_adddup2(&actions, in, 0);
	if (out >= 0)
		posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	posix_spawnattr_setsigmask(&attr, &none);
	sigaddset(&none, SIGPIPE);
	sigaddset(&none, SIGINT);
	posix_spawnattr_setsigdefault(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn(&pid, path, &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	errno = r;
	return r ? -1 : pid;
}

static void close_pair(int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

bool native_run(struct shell *sh, const char *path, const char *name, json_t *args, json_t *input,
		json_t *out)
{
	bool direct = out == sh->top && fileno(sh->out) >= 0;
	int in[2] = { -1, -1 }, from[2] = { -1, -1 }, status = 0;
	char **argv = make_argv(name, args), *text = NULL,
	     *given = input ? input_text(input) : NULL;
	pid_t pid;

	shell_flush(sh);
	fflush(sh->out);
	signal(SIGINT, SIG_IGN); /* it is the program's, as in any shell */
	if ((input && pipe2(in, O_CLOEXEC)) || (!direct && pipe2(from, O_CLOEXEC))) {
		close_pair(in);
		pid = -1;
	} else {
		pid = start(path, argv, in[0], from[1]);
	}
	free(argv);
	if (pid < 0)
		signal(SIGINT, SIG_DFL);
	if (pid < 0) {
		shell_throw(sh, NULL,
			    &(struct fault){ ERR_RESOURCE_UNAVAILABLE, "NativeCommandFailed" },
			    "Program '%s' failed to run: %s.", name, strerror(errno));
		close_pair(in);
		close_pair(from);
		free(given);
		return false;
	}
	if (in[0] >= 0)
		close(in[0]);
	if (from[1] >= 0)
		close(from[1]);
	text = exchange(in[1], given, from[0]);
	if (from[0] >= 0)
		close(from[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	signal(SIGINT, SIG_DFL);
	if (!direct)
		add_lines(out, text);
	set_status(sh, status);
	free(text);
	free(given);
	return true;
}
