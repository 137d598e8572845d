// SPDX-License-Identifier: MIT
/*
 * The host CPU as the oracle.
 *
 * Theory of operation, in the child. native_enter() saves the C state, loads the program's and
 * jumps; the only way back is a signal. The handler runs on its own stack; its
 * assembler entry gets the C library's FS base back first. It copies the program's
 * state from the signal frame, and makes the frame return to native_leave with
 * the C stack.
 */
#include "native.h"

#include <asm/ldt.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "x86/regs.h"

/* Used by the assembler part. */
u64 native_sp, native_fs, native_gs, native_target, native_active;
struct {
	u32 offset;
	u16 selector;
} __attribute__((packed)) native_far;

u16 native_sel[NR_SEGS];

void native_enter(const struct regs *r, bool code32);
void native_leave(void);
void native_signal(int sig, siginfo_t *si, void *ucontext);
void native_on_signal(int sig, siginfo_t *si, void *ucontext);

_Static_assert(offsetof(struct regs, gpr) == 0 && offsetof(struct regs, rflags) == 136 &&
		       offsetof(struct regs, fs_base) == 144 && offsetof(struct regs, xsave) == 192,
	       "native_enter()");

__asm__(".text\n"
	".globl native_enter, native_leave, native_signal\n"
	"native_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	rdfsbase %rax; mov %rax, native_fs(%rip)\n"
	"	rdgsbase %rax; mov %rax, native_gs(%rip)\n"
	"	mov $7, %eax; xor %edx, %edx\n"
	"	xrstor64 192(%rdi)\n"
	"	mov 144(%rdi), %rax; wrfsbase %rax\n"
	"	mov 152(%rdi), %rax; wrgsbase %rax\n"
	"	test %esi, %esi; jz 1f\n"
	"	movzwl native_sel(%rip), %eax; mov %eax, %es\n"
	"	movzwl 6+native_sel(%rip), %eax; mov %eax, %ds\n"
	"	movzwl 8+native_sel(%rip), %eax; mov %eax, %fs\n"
	"	movzwl 10+native_sel(%rip), %eax; mov %eax, %gs\n"
	"	movzwl 4+native_sel(%rip), %eax; mov %eax, %ss\n"
	"1:	mov %rsp, native_sp(%rip)\n"
	"	movq $1, native_active(%rip)\n"
	"	mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
	"	mov 40(%rdi), %rbp; mov 64(%rdi), %r8; mov 72(%rdi), %r9\n"
	"	mov 80(%rdi), %r10; mov 88(%rdi), %r11; mov 96(%rdi), %r12\n"
	"	mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
	"	test %esi, %esi; jnz 2f\n"
	"	mov 48(%rdi), %rsi\n"
	"	push 136(%rdi); popfq\n"
	"	mov 32(%rdi), %rsp; mov 56(%rdi), %rdi\n"
	"	jmp *native_target(%rip)\n"
	"2:	mov 48(%rdi), %rsi\n"
	"	push 136(%rdi); popfq\n"
	"	mov 32(%rdi), %rsp; mov 56(%rdi), %rdi\n"
	"	ljmp *native_far(%rip)\n"
	"native_leave:\n"
	"	xor %eax, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %fs; mov %eax, %gs\n"
	"	mov native_fs(%rip), %rax; wrfsbase %rax\n"
	"	mov native_gs(%rip), %rax; wrgsbase %rax\n"
	"	fninit; ldmxcsr 3f(%rip); vzeroupper\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	"3:	.long 0x1f80\n"
	"native_signal:\n"
	"	cmpq $0, native_active(%rip); je 4f\n"
	"	mov native_fs(%rip), %rax; wrfsbase %rax\n"
	"	mov native_gs(%rip), %rax; wrgsbase %rax\n"
	"4:	pushfq; andl $~0x40000, (%rsp); popfq\n" /* AC */
	"	jmp native_on_signal\n");

static struct outcome *result;

/* ---- The end of a program ---- */

static void take_gprs(struct regs *r, const greg_t *g)
{
	static const u8 from[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				     REG_RSI, REG_RDI, REG_R8,	REG_R9,	 REG_R10, REG_R11,
				     REG_R12, REG_R13, REG_R14, REG_R15 };

	for (unsigned n = 0; n < 16; n++)
		r->gpr[n] = (u64)g[from[n]];
	r->rip = (u64)g[REG_RIP];
	r->rflags = (u64)g[REG_EFL];
}

void native_on_signal(int sig, siginfo_t *si, void *ucontext)
{
	ucontext_t *uc = ucontext;
	greg_t *g = uc->uc_mcontext.gregs;

	(void)si;
	if (!native_active) {
		if (sig != SIGALRM)
			signal(sig, SIG_DFL);
		return;
	}
	native_active = 0;
	take_gprs(&result->r, g);
	result->vector = sig == SIGSYS ? 0x100 : (u64)g[REG_TRAPNO];
	result->error = (u64)g[REG_ERR];
	result->cr2 = (u64)g[REG_CR2];
	result->hung = sig == SIGALRM;
	memcpy(result->r.xsave, uc->uc_mcontext.fpregs, XSAVE_USED);
	g[REG_RIP] = (greg_t)native_leave;
	g[REG_RSP] = (greg_t)native_sp;
	g[REG_EFL] = 0x202;
	g[REG_CSGSFS] = (greg_t)((u64)g[REG_CSGSFS] & ~0xffffull & ~(0xffffull << 48)) | 0x33 | 0x2bll << 48;
}

/* ---- Setting up ---- */

static bool map_at(u64 linear, u64 size)
{
	void *want = (void *)linear;

	return mmap(want, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0) == want;
}

static int map_all(void)
{
	for (unsigned n = 0; n < NR_REGIONS; n++)
		if (!map_at(regions[n].linear, regions[n].pages * PAGE_SIZE))
			return -1;
	return map_at(CODE_LOW, CODE_SIZE) && map_at(CODE_HIGH, CODE_SIZE) ? 0 : -1;
}

/* No system calls from where programs are. */
static int forbid_syscalls(void)
{
	enum { LOW = offsetof(struct seccomp_data, instruction_pointer), HIGH = LOW + 4 };
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, HIGH),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CODE_HIGH >> 32, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, CODE_LOW, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	};
	struct sock_fprog prog = { .len = ARRAY_SIZE(f), .filter = f };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int child_init(void)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGALRM };
	static u8 stack[1 << 16];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction sa = { .sa_sigaction = native_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	if (map_all() || forbid_syscalls() || sigaltstack(&ss, NULL))
		return -1;
	for (unsigned n = 0; n < ARRAY_SIZE(sigs); n++)
		sigaction(sigs[n], &sa, NULL);
	return 0;
}

/* ---- A run ---- */

/* The code pages that the program is not in: INT3, read only. */
static void clear_other_code(const struct program *p)
{
	static u64 cleared;
	u64 other = program_code_base(p) ^ CODE_LOW ^ CODE_HIGH;

	if (cleared != other) {
		mprotect((void *)other, CODE_SIZE, PROT_READ | PROT_WRITE);
		memset((void *)other, 0xcc, CODE_SIZE);
		mprotect((void *)other, CODE_SIZE, PROT_READ | PROT_EXEC);
	}
	cleared = other;
}

static void set_pages(const struct program *p, const u8 *code)
{
	void *at = (void *)program_code_base(p);

	clear_other_code(p);
	mprotect((void *)DATA_RO, PAGE_SIZE, PROT_READ | PROT_WRITE);
	mprotect(at, CODE_SIZE, PROT_READ | PROT_WRITE);
	for (unsigned n = 0; n < NR_REGIONS; n++)
		memcpy((void *)regions[n].linear, p->image + regions[n].image,
		       regions[n].pages * PAGE_SIZE);
	memcpy(at, code, CODE_SIZE);
	mprotect((void *)DATA_RO, PAGE_SIZE, PROT_READ);
	mprotect(at, CODE_SIZE, PROT_READ | PROT_EXEC | (p->writable ? PROT_WRITE : 0));
}

static void set_descriptors(const struct program *p)
{
	for (unsigned n = 0; n < NR_SEGS; n++) {
		const struct segment *s = &p->seg[n];
		struct user_desc d = {
			.entry_number = n, .base_addr = s->base, .seg_32bit = 1,
			.limit = segment_in_pages(s) ? s->limit >> 12 : s->limit,
			.limit_in_pages = segment_in_pages(s),
			.contents = s->down ? MODIFY_LDT_CONTENTS_STACK : MODIFY_LDT_CONTENTS_DATA,
			.read_exec_only = s->read_only, .useable = 1,
		};

		native_sel[n] = program_selector(p, n);
		if (!p->segmented)
			d = (struct user_desc){ .entry_number = n, .read_exec_only = 1,
						.seg_not_present = 1 }; /* none */
		if (p->code32 && n != SEG_CS && syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
			_exit(1);
	}
}

static void child_run(struct native *n)
{
	struct itimerval limit = { .it_value = { .tv_usec = 300000 } }, none = { 0 };
	const struct program *p = &n->program;

	result = &n->outcome;
	set_pages(p, n->code);
	set_descriptors(p);
	native_target = p->code;
	native_far.offset = (u32)p->code;
	native_far.selector = 0x23;
	setitimer(ITIMER_REAL, &limit, NULL);
	native_enter(&p->start, p->code32);
	setitimer(ITIMER_REAL, &none, NULL);
	for (unsigned k = 0; k < NR_REGIONS; k++)
		memcpy(result->image + regions[k].image, (void *)regions[k].linear,
		       regions[k].pages * PAGE_SIZE);
	memcpy(result->code, (void *)program_code_base(p), CODE_SIZE);
}

/* A byte from the parent: a program is there; a byte back: it has run. */
static _Noreturn void child_loop(struct native *n, int from_parent, int to_parent)
{
	char c = child_init() ? 'x' : 'r';

	while (write(to_parent, &c, 1) == 1 && c == 'r' && read(from_parent, &c, 1) == 1) {
		child_run(n);
		c = 'r';
	}
	_exit(0);
}

static bool wait_for_child(const struct native *n)
{
	char c;

	return read(n->from_child, &c, 1) == 1 && c == 'r';
}

struct native *native_create(void)
{
	struct native *n = mmap(NULL, sizeof(*n), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int down[2], up[2];
	pid_t pid;

	if (n == MAP_FAILED || pipe(down) || pipe(up))
		return NULL;
	pid = fork();
	if (pid == 0) {
		close(down[1]);
		close(up[0]);
		child_loop(n, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	n->to_child = down[1];
	n->from_child = up[0];
	return pid > 0 && wait_for_child(n) ? n : NULL;
}

void native_execute(struct native *n)
{
	if (write(n->to_child, "p", 1) != 1 || !wait_for_child(n)) {
		printf("the host CPU's process is gone (seed %llu)\n",
		       (unsigned long long)n->program.seed);
		exit(1);
	}
}
