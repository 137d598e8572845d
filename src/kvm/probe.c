// SPDX-License-Identifier: MIT
/*
 * kvm_probe(): the trial in a child process, and a parent that waits for its
 * report no longer than the limit.
 */
#include "kvm/probe.h"

#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "kvm/caps.h"
#include "kvm/kvm_internal.h"
#include "kvm/trial.h"

enum { TRIAL_LIMIT_MS = 2000, REAP_LIMIT_MS = 200 };

static void ask_caps(int dev_fd, struct kvm_report *res)
{
	struct kvm_cpuid2 *c = kvm_supported_cpuid(dev_fd);

	res->nested_state = kvm_has_cap(dev_fd, KVM_CAP_NESTED_STATE);
	res->nested_vmx = c && kvm_supports_vmx(c);
	res->nested_svm = c && kvm_supports_svm(c);
	free(c);
}

static void send_report(int fd, const struct kvm_report *r)
{
	if (write(fd, r, sizeof(*r)) != sizeof(*r))
		_exit(1);
}

/* The child: an early report, in case the trial hangs, then the final one. */
static _Noreturn void child(int fd, struct kvm_report *r)
{
	struct err e;
	int dev_fd;

	if (kvm_open(&dev_fd, &e)) {
		snprintf(r->why, sizeof(r->why), "%.190s", e.text);
		send_report(fd, r);
		_exit(0);
	}
	r->accessible = true;
	ask_caps(dev_fd, r);
	snprintf(r->why, sizeof(r->why), "a trial guest did not finish");
	send_report(fd, r);
	if (kvm_trial_run(dev_fd, &e)) {
		snprintf(r->why, sizeof(r->why), "%.190s", e.text);
	} else {
		r->runs_guests = true;
		r->why[0] = 0;
	}
	send_report(fd, r);
	_exit(0);
}

/* Reads reports until the child closes its end; false on time-out. */
static bool collect(int fd, struct kvm_report *res)
{
	u64 end = clock_ns() + TRIAL_LIMIT_MS * 1000000ull;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		u64 now = clock_ns();
		struct kvm_report r;

		int n = now < end ? poll(&p, 1, (int)((end - now) / 1000000) + 1) : 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		if (read(fd, &r, sizeof(r)) != sizeof(r))
			return true;
		*res = r;
	}
}

/* A child that KVM holds in the kernel may not die: then it is left behind. */
static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	for (int i = 0; i < REAP_LIMIT_MS && !waitpid(pid, NULL, WNOHANG); i++)
		usleep(1000);
}

static void run_child(struct kvm_report *res)
{
	u64 start = clock_ns();
	int fd[2];

	if (pipe(fd)) {
		snprintf(res->why, sizeof(res->why), "cannot make a pipe: %s", strerror(errno));
		return;
	}
	pid_t pid = fork();
	if (!pid) {
		close(fd[0]);
		child(fd[1], res);
	}
	close(fd[1]);
	if (pid < 0)
		snprintf(res->why, sizeof(res->why), "cannot start a trial: %s", strerror(errno));
	else if (!collect(fd[0], res))
		snprintf(res->why, sizeof(res->why), "a trial guest did not finish in %d seconds",
			 TRIAL_LIMIT_MS / 1000);
	close(fd[0]);
	if (pid > 0)
		reap(pid);
	res->trial_ms = (unsigned)((clock_ns() - start) / 1000000);
}

void kvm_probe(struct kvm_report *res)
{
	*res = (struct kvm_report){ .present = !access("/dev/kvm", F_OK) };
	if (!res->present)
		snprintf(res->why, sizeof(res->why), "there is no /dev/kvm");
	else
		run_child(res);
}
