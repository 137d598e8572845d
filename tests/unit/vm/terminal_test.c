// SPDX-License-Identifier: MIT
/* The terminal: raw while a VM has it, restored on every kind of exit; its keys. */
#include "vm/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "../../lib/tinykernel.h"
#include "vm/vm.h"

static int master, slave;

/* A child whose controlling terminal is a new pty, on its standard input and
 * output; it calls @body. */
static pid_t start(void (*body)(void))
{
	struct rlimit no_core = { 0, 0 };
	char name[64];

	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0 && !grantpt(master) && !unlockpt(master));
	CHECK_EQ(ptsname_r(master, name, sizeof(name)), 0);
	slave = open(name, O_RDWR | O_NOCTTY);
	pid_t pid = fork();
	if (pid)
		return pid;
	setrlimit(RLIMIT_CORE, &no_core);
	setsid();
	ioctl(slave, TIOCSCTTY, 0);
	dup2(slave, 0);
	dup2(slave, 1);
	dup2(slave, 2);
	body();
	exit(0);
}

static bool is_raw(void)
{
	struct termios t;

	CHECK_EQ(tcgetattr(slave, &t), 0);
	return !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static void wait_until_raw(void)
{
	for (int i = 0; i < 500 && !is_raw(); i++)
		usleep(10000);
	CHECK(is_raw());
}

static void go_raw(void)
{
	terminal_guard();
	terminal_raw();
	raise(SIGSTOP);
}

static void raw_and_exit(void)
{
	go_raw();
}

static void raw_and_crash(void)
{
	go_raw();
	raise(SIGSEGV);
}

static void raw_and_abort(void)
{
	go_raw();
	abort();
}

TEST(terminal, restored_on_every_exit)
{
	static void (*const bodies[])(void) = { raw_and_exit, raw_and_crash, raw_and_abort };
	int status;

	for (unsigned i = 0; i < ARRAY_SIZE(bodies); i++) {
		pid_t pid = start(bodies[i]);

		waitpid(pid, &status, WUNTRACED);
		CHECK(is_raw());
		kill(pid, SIGCONT);
		waitpid(pid, &status, 0);
		CHECK(!is_raw());
		close(master);
		close(slave);
	}
}

/* 1: in 0x3fd; test 1; jz 1b; in 0x3f8; out 0x3f8; jmp 1b */
static const u8 echo_code[] = { 0xba, 0xfd, 3, 0, 0, 0xec, 0xa8, 1, 0x74, 0xf6, 0xba, 0xf8,
				3, 0, 0, 0xec, 0xee, 0xeb, 0xed };
static const char *kernel;

static void run_echo(void)
{
	struct vm_config c;
	struct vm *vm;
	struct err e;

	vm_config_init(&c);
	c.kernel = kernel;
	c.memory = MIB(8);
	c.nr_serials = 1;
	c.serials[0].kind = VM_SERIAL_STDIO;
	c.timeout_ns = 8ull * 1000000000;
	if (vm_create(&c, &soft_engine, &vm, &e))
		exit(99);
	terminal_guard();
	terminal_raw();
	int reason = (int)vm_run(vm).reason;
	vm_destroy(vm);
	exit(reason);
}

static void type(const char *keys, size_t n)
{
	CHECK_EQ(write(master, keys, n), n);
}

/* Reads until @text has come. */
static void expect(const char *text)
{
	static char buf[4096];
	static size_t n;
	struct pollfd p = { .fd = master, .events = POLLIN };

	while (!strstr(buf, text)) {
		CHECK_EQ(poll(&p, 1, 5000), 1);
		ssize_t got = read(master, buf + n, sizeof(buf) - 1 - n);
		CHECK(got > 0);
		n += (size_t)got;
		buf[n] = 0;
	}
	n = 0;
	memset(buf, 0, sizeof(buf));
}

TEST(terminal, keys_go_to_the_guest_but_for_the_escapes)
{
	int status;

	kernel = tiny_kernel(echo_code, sizeof(echo_code));
	pid_t pid = start(run_echo);
	wait_until_raw();
	type("abc\r\x03\x1a", 6);
	expect("abc\r\x03\x1a");
	type("\x01\x01z", 3);
	expect("\x01z");
	type("\x01", 1);
	usleep(20000);
	type("h", 1);
	expect("Ctrl-a x");
	type("\x01qw", 3); /* no such escape: swallowed */
	expect("w");
	type("\x01x", 2);
	waitpid(pid, &status, 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == VM_END_STOPPED);
	CHECK(!is_raw());
}
