// SPDX-License-Identifier: MIT
/*
 * The worker's seccomp filter, made of a table. A call that is not in it fails
 * with EPERM, as libraries expect of a call that is not permitted; one that only an
 * attacker would make ends the process.
 */
#include "control/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the loop, vCPU threads, disks, sockets and libc's allocator call. */
static const int allowed[] = {
	/* descriptors that are open */
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev,
	SYS_preadv2, SYS_pwritev2, SYS_lseek, SYS_fstat, SYS_newfstatat, SYS_fsync, SYS_fdatasync, SYS_ftruncate,
	SYS_fallocate, SYS_close, SYS_fcntl, SYS_ioctl, SYS_poll, SYS_ppoll, SYS_dup,
	SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_ctl, SYS_timerfd_settime, SYS_timerfd_gettime,
	SYS_accept4, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_getsockopt,
	/* memory: nothing that is written becomes executable but the code cache's own views */
	SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_mincore,
	/* threads that are there, and their end */
	SYS_futex, SYS_sched_yield, SYS_set_robust_list, SYS_rseq, SYS_exit, SYS_exit_group,
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigtimedwait, SYS_sigaltstack,
	SYS_tgkill, SYS_gettid, SYS_getpid, SYS_restart_syscall, SYS_membarrier, SYS_getcpu,
	/* time, and facts */
	SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_time,
	SYS_getrandom, SYS_sysinfo, SYS_getrusage, SYS_times, SYS_wait4,
};

/* What nobody calls by accident. */
static const int deadly[] = {
	SYS_execve, SYS_execveat, SYS_fork, SYS_vfork, SYS_ptrace, SYS_process_vm_writev,
	SYS_process_vm_readv, SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_mount, SYS_pivot_root,
	SYS_unshare, SYS_setns, SYS_bpf, SYS_setuid, SYS_setgid, SYS_setresuid, SYS_add_key, SYS_keyctl,
	SYS_userfaultfd, SYS_perf_event_open, SYS_io_uring_setup, SYS_open_by_handle_at,
};

/* Words that would be typed on somebody's terminal. */
static const unsigned bad_ioctls[] = { TIOCSTI, TIOCLINUX };

enum { HEAD = 6, MAX_FILTER = HEAD + 2 * (ARRAY_SIZE(allowed) + ARRAY_SIZE(deadly)) + 16 };

struct filter {
	unsigned len;
	struct sock_filter code[MAX_FILTER];
};

static void emit(struct filter *f, u16 code, u8 jt, u8 jf, u32 k)
{
	f->code[f->len++] = (struct sock_filter){ code, jt, jf, k };
}

static void emit_load(struct filter *f, size_t offset)
{
	emit(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, (u32)offset);
}

static void emit_return(struct filter *f, u32 what)
{
	emit(f, BPF_RET | BPF_K, 0, 0, what);
}

/* Each call its own pair, so that no jump is too far. */
static void emit_rows(struct filter *f, const int *calls, unsigned nr, u32 what)
{
	for (unsigned i = 0; i < nr; i++) {
		emit(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (u32)calls[i]);
		emit_return(f, what);
	}
}

static void emit_head(struct filter *f)
{
	emit_load(f, offsetof(struct seccomp_data, arch));
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	emit_return(f, SECCOMP_RET_KILL_PROCESS);
	emit_load(f, offsetof(struct seccomp_data, nr));
}

static void emit_ioctls(struct filter *f)
{
	unsigned nr = ARRAY_SIZE(bad_ioctls);

	emit(f, BPF_JMP | BPF_JEQ | BPF_K, 0, (u8)(nr + 3), SYS_ioctl);
	emit_load(f, offsetof(struct seccomp_data, args[1]));
	for (unsigned i = 0; i < nr; i++)
		emit(f, BPF_JMP | BPF_JEQ | BPF_K, (u8)(nr - i), 0, bad_ioctls[i]);
	emit_return(f, SECCOMP_RET_ALLOW);
	emit_return(f, SECCOMP_RET_KILL_PROCESS);
}

static int install(struct filter *f)
{
	struct sock_fprog prog = { (unsigned short)f->len, f->code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	/* All threads: the vCPUs' are there, and rest. */
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
	return r < 0 ? -errno : r > 0 ? -ESRCH : 0;
}

int sandbox_enter(struct err *e)
{
	static struct filter f; /* too large for a stack */
	const char *off = getenv("NESTOR_SANDBOX");

	if (off && !strcmp(off, "off"))
		return 0;
	f.len = 0;
	emit_head(&f);
	emit_ioctls(&f);
	emit_rows(&f, allowed, ARRAY_SIZE(allowed), SECCOMP_RET_ALLOW);
	emit_rows(&f, deadly, ARRAY_SIZE(deadly), SECCOMP_RET_KILL_PROCESS);
	emit_return(&f, SECCOMP_RET_ERRNO | EPERM);
	int r = install(&f);
	return r ? err_set(e, "cannot enter the sandbox: %s", strerror(-r)) : 0;
}
