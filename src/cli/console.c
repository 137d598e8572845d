// SPDX-License-Identifier: MIT
/*
 * nestor console: a VM's serial port on this terminal. What was written before
 * comes first. Several may be attached; one that goes away changes nothing. When
 * the manager goes away, it is attached again where it was.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/vmname.h"
#include "control/rules.h"
#include "vm/terminal.h"

enum { ESCAPE_KEY = 1 /* Ctrl-a */ };

struct console {
	bool help, complete;
	unsigned port;
	struct client *client;
	char id[40];
	const char *name;
	int fd;
	u64 from; /* the number of the next byte */
	bool keys;    /* standard input is a terminal */
	bool escaped; /* after Ctrl-a */
	bool eof;     /* of standard input */
};

static int set_help(void *target, char *value, struct err *e)
{
	(void)value;
	(void)e;
	((struct console *)target)->help = true;
	return 0;
}

static int set_complete(void *target, char *value, struct err *e)
{
	(void)value;
	(void)e;
	((struct console *)target)->complete = true;
	return 0;
}

static int set_port(void *target, char *value, struct err *e)
{
	if (strcmp(value, "1") && strcmp(value, "2"))
		return err_set(e, "--port %s is neither 1 nor 2", value);
	((struct console *)target)->port = (unsigned)(*value - '0');
	return 0;
}

static const struct option_row rows[] = {
	{ "port", "1|2", "which serial port (1)", set_port },
	{ "help", NULL, "this help", set_help },
	{ "complete", NULL, "list the options, for shells", set_complete },
};

static const struct option_table table = {
	.command = "nestor console",
	.synopsis = "VM [OPTION]...",
	.about = "Attaches this terminal to a running VM's serial port, what it wrote before first. Any number\n"
		 "may be attached. It ends when the VM does, or is detached, which does the VM no harm.",
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
	.epilogue = "On a terminal: Ctrl-a d detaches, Ctrl-a h helps, Ctrl-a Ctrl-a sends Ctrl-a.\n",
};

/* ---- Keys ---- */

static void say(const char *text)
{
	fprintf(stderr, "\r\n%s\r\n", text);
}

/* True when it is time to detach. */
static bool escape_key(u8 key, u8 *out, size_t *n)
{
	if (key == 'd' || key == 'D' || key == 'x' || key == 'X')
		return true;
	if (key == ESCAPE_KEY || key == 'a')
		out[(*n)++] = ESCAPE_KEY;
	else
		say("Ctrl-a d  detach; the virtual machine goes on\r\nCtrl-a h  this help\r\n"
		    "Ctrl-a Ctrl-a  send Ctrl-a");
	return false;
}

/* What goes to the guest; true when it is time to detach. */
static bool filter(struct console *c, const u8 *in, size_t size, u8 *out, size_t *n)
{
	*n = 0;
	for (size_t i = 0; i < size; i++) {
		if (c->escaped) {
			c->escaped = false;
			if (escape_key(in[i], out, n))
				return true;
		} else if (c->keys && in[i] == ESCAPE_KEY) {
			c->escaped = true;
		} else {
			out[(*n)++] = in[i];
		}
	}
	return false;
}

/* ---- Bytes both ways ---- */

static bool write_all(int fd, const u8 *p, size_t size)
{
	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		size -= (size_t)n;
	}
	return true;
}

enum outcome { GO_ON, DETACHED, BROKEN };

static enum outcome from_user(struct console *c)
{
	u8 in[1024], out[1024];
	size_t n;
	ssize_t got = read(STDIN_FILENO, in, sizeof(in));

	if (got <= 0) {
		c->eof = true; /* the guest's output goes on */
		return c->keys ? DETACHED : GO_ON;
	}
	bool detach = filter(c, in, (size_t)got, out, &n);
	if (!write_all(c->fd, out, n))
		return BROKEN;
	return detach ? DETACHED : GO_ON;
}

static enum outcome from_guest(struct console *c)
{
	u8 buf[16384];
	ssize_t n = read(c->fd, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return GO_ON;
	if (n <= 0)
		return BROKEN;
	c->from += (u64)n;
	return write_all(STDOUT_FILENO, buf, (size_t)n) ? GO_ON : DETACHED;
}

static enum outcome talk(struct console *c)
{
	enum outcome o = GO_ON;

	while (o == GO_ON) {
		struct pollfd p[2] = { { .fd = c->fd, .events = POLLIN },
				       { .fd = c->eof ? -1 : STDIN_FILENO, .events = POLLIN } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return BROKEN;
		if (p[0].revents)
			o = from_guest(c);
		if (o == GO_ON && p[1].revents)
			o = from_user(c);
	}
	return o;
}

/* ---- Attaching, and again ---- */

/* Broken: has the VM ended, or only the manager? 1: it runs. */
static int still_runs(struct console *c, struct ctl_err *e)
{
	struct timespec moment = { .tv_nsec = 200000000 };
	json_t *vm;

	nanosleep(&moment, NULL); /* the last words come before the end is known */
	if (client_get_vm(c->client, c->id, &vm, e))
		return e->kind == CTL_NOT_FOUND ? 0 : -1;
	const char *state = config_string(vm, "state");
	bool runs = vmname_state_runs(state);
	if (!runs && c->keys) {
		fprintf(stderr, "\r\n%s is %s.\r\n", c->name, state);
	}
	json_decref(vm);
	return runs;
}

static int attach(struct console *c, struct ctl_err *e)
{
	for (;;) {
		u64 from = c->from;

		if (!client_console(c->client, c->id, c->port, &from, &c->fd, e)) {
			c->from = from;
			enum outcome o = talk(c);
			close(c->fd);
			if (o == DETACHED)
				return 0;
		} else if (e->kind != CTL_LOST && e->kind != CTL_WRONG_STATE) {
			return -1;
		} else if (!c->from && e->kind == CTL_WRONG_STATE) {
			return -1; /* it did not run in the first place */
		}
		int r = still_runs(c, e);
		if (r <= 0)
			return r;
	}
}

static int fail(const struct ctl_err *e)
{
	terminal_restore();
	log_err("%s", e->text);
	return STATUS_NOT_STARTED;
}

static int run(struct console *c)
{
	struct ctl_err e;

	if (client_open(&c->client, &e))
		return fail(&e);
	int r = vmname_find(c->client, c->name, c->id, &e);
	if (!r) {
		c->keys = isatty(STDIN_FILENO);
		if (c->keys)
			fprintf(stderr, "Attached to %s. Ctrl-a d detaches, Ctrl-a h helps.\r\n", c->name);
		terminal_raw();
		r = attach(c, &e);
		terminal_restore();
	}
	client_close(c->client);
	return r ? fail(&e) : STATUS_OK;
}

int cmd_console(int argc, char **argv)
{
	struct console c = { .port = 1, .fd = -1 };
	struct err e;

	if (argc && strncmp(argv[0], "--", 2)) {
		c.name = argv[0];
		argc--;
		argv++;
	}
	if (options_parse(&table, &c, argc, argv, &e)) {
		log_err("%s", e.text);
		return STATUS_NOT_STARTED;
	}
	if (c.help || c.complete) {
		(c.help ? options_help : options_complete)(&table, stdout);
		return STATUS_OK;
	}
	if (!c.name) {
		log_err("which virtual machine? nestor console VM");
		return STATUS_NOT_STARTED;
	}
	return run(&c);
}
