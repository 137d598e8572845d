// SPDX-License-Identifier: MIT
#include "control/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../lib/test.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* The status of a sandboxed child that does @what. */
static int child(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct err e;

		_exit(sandbox_enter(&e) ? 99 : what());
	}
	waitpid(pid, &status, 0);
	return status;
}

static int harmless(void)
{
	struct timespec ts;
	char c;
	void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED || clock_gettime(CLOCK_REALTIME, &ts) || read(-1, &c, 1) != -1 || errno != EBADF;
}

static int opens(void)
{
	return open("/etc/passwd", O_RDONLY) != -1 || errno != EPERM ||
	       socket(AF_INET, SOCK_STREAM, 0) != -1 || errno != EPERM || kill(getppid(), 0) != -1 ||
	       errno != EPERM;
}

static int executes(void)
{
	static char *const argv[] = { NULL };

	execve("/bin/true", argv, argv);
	return 1;
}

static int types(void)
{
	syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x");
	return 1;
}

TEST(sandbox, lets_a_vm_work_and_nothing_else)
{
	if (SANITIZED)
		SKIP("sanitizers call more");
	CHECK_EQ(child(harmless), 0);
	CHECK_EQ(child(opens), 0);
}

TEST(sandbox, ends_an_attacker)
{
	if (SANITIZED)
		SKIP("sanitizers call more");
	CHECK_EQ(WTERMSIG(child(executes)), SIGSYS);
	CHECK_EQ(WTERMSIG(child(types)), SIGSYS);
}
