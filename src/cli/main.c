// SPDX-License-Identifier: MIT
/* nestor: picks the sub-command. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/options.h"

static const struct command commands[] = {
	{ "run", "run a virtual machine in the foreground", cmd_run },
	{ "probe", "say what this host offers", cmd_probe },
	{ "demo", "boot a VM in a VM and show that it ran", cmd_demo },
	{ "console", "attach to a VM's serial port", cmd_console },
	{ "top", "show VMs and what they use, live", cmd_top },
	{ "manager", "keep virtual machines; starts by itself", cmd_manager },
	{ "worker", NULL, cmd_worker }, /* the manager's own */
	{ "api", "send one request to the manager", cmd_api },
	{ "api-reference", "print the reference of the HTTP API", cmd_api_reference },
};

static void print_usage(FILE *to)
{
	fprintf(to, "usage: nestor                      a prompt for the commands of Hyper-V\n"
		    "       nestor CMDLET [ARGUMENT]... one of them: nestor Get-Command lists them\n"
		    "       nestor -c TEXT, -f FILE, -  a script: the text, the file, standard input\n"
		    "       nestor COMMAND [OPTION]...\n\n"
		    "Virtual machines that can be hosts, on any x86-64 Linux.\n\n");
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].summary)
			fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].summary);
	fprintf(to, "\n`nestor COMMAND --help` says more.\n");
}

static const char *command_name(const void *from, unsigned i)
{
	return ((const struct command *)from)[i].name;
}

static int unknown_command(const char *name)
{
	const char *near = nearest_word(name, command_name, commands, ARRAY_SIZE(commands));

	if (near)
		log_err("unknown command %s: did you mean %s?", name, near);
	else
		log_err("unknown command %s: see nestor --help", name);
	return STATUS_NOT_STARTED;
}

static int run_command(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name)
		return cmd_shell(0, argv + 1);
	if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
		print_usage(stdout);
		return STATUS_OK;
	}
	if (!strcmp(name, "--version") || !strcmp(name, "version")) {
		printf("nestor " NESTOR_VERSION "\n");
		return STATUS_OK;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	return shell_takes(name) ? cmd_shell(argc - 1, argv + 1) : unknown_command(name);
}

/* A closed standard descriptor would be that of the next file opened: a disk, say, that the guest's
 * console is then written to. Reading gives nothing; writing fails as it would have. */
static void fill_standard_descriptors(void)
{
	while (fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0)
		if (open("/dev/null", O_RDONLY) < 0)
			return;
}

/* What could not be written was not said. */
int main(int argc, char **argv)
{
	fill_standard_descriptors();
	int status = run_command(argc, argv);

	if ((fflush(stdout) || ferror(stdout)) && status == STATUS_OK) {
		log_err("cannot write to standard output: %s", strerror(errno));
		status = STATUS_NOT_STARTED;
	}
	return status;
}
