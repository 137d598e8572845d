/* SPDX-License-Identifier: MIT */
/*
 * Sub-commands: one file each in cli/, one row each in main.c. A command gets
 * the arguments after its name and returns the exit status.
 */
#ifndef NESTOR_CLI_COMMAND_H
#define NESTOR_CLI_COMMAND_H

#include <stdbool.h>

#define NESTOR_VERSION "0.1"

enum {
	STATUS_OK = 0,
	STATUS_DIFFERENT = 123,
	STATUS_TIMEOUT = 124,
	STATUS_NOT_STARTED = 125,
	STATUS_TRIPLE_FAULT = 126,
	STATUS_SIGNAL = 128, /* plus the signal's number */
};

struct command {
	const char *name;
	const char *summary; /* NULL: not for users */
	int (*run)(int argc, char **argv);
};

int cmd_run(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_console(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_manager(int argc, char **argv);
int cmd_worker(int argc, char **argv);
int cmd_api(int argc, char **argv);
int cmd_api_reference(int argc, char **argv);
/* The shell: its options, or a cmdlet with its arguments. */
int cmd_shell(int argc, char **argv);
/* Whether @word, the first argument, is for the shell. */
bool shell_takes(const char *word);

#endif
