// SPDX-License-Identifier: MIT
/*
 * Host signals in the middle of a guest's instruction: the guest's own faults,
 * or an error of ours, which is dumped.
 */
#include <signal.h>
#include <ucontext.h>

#include "engine/exec.h"
#include "engine/softvm.h"
#include "engine/step.h"
#include "engine/tlb.h"

static __thread struct soft_cpu *stepping; /* step.c: in a thunk */

void exec_set_stepping(struct soft_cpu *c)
{
	stepping = c;
}

/* The host's SIGFPE from an SSE instruction. */
static u8 simd_vector(const struct soft_cpu *c)
{
	return c->s.cr4 & CR4_OSXMMEXCPT ? X86_XM : X86_UD;
}

static void event_of_signal(struct soft_cpu *c, int sig, unsigned trap)
{
	struct cpu_event e = { .pending = true, .type = EVENT_HW_EXC };

	if (sig == SIGFPE)
		e.vector = trap == X86_XM ? simd_vector(c) : (u8)trap; /* or #DE, #MF */
	else
		e.vector = sig == SIGILL ? X86_UD : X86_GP;
	e.has_error = e.vector == X86_GP;
	c->event = e;
}

static void regs_from_signal(struct soft_cpu *c, const greg_t *g)
{
	static const u8 from[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_R9,  REG_RBP,
				     REG_RSI, REG_RDI, REG_R8,	0,	 0,	  0,
				     REG_R12, REG_R13, REG_R14, REG_R15 };

	for (unsigned n = 0; n < 16; n++) {
		if (n < R9 || n > R11)
			c->s.gpr[n] = (u64)g[from[n]];
	}
}

/* True when @sig at this host address is the guest's fault; the context then
 * goes on in the unwinding stub. */
static bool guest_fault(int sig, const siginfo_t *si, ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	struct soft_cpu *c = stepping;
	u64 pc = (u64)g[REG_RIP];

	if ((sig == SIGSEGV && si->si_code != SI_KERNEL) || sig == SIGBUS)
		return false;
	if (!c) {
		const struct site *site;
		struct block *b;

		c = world_self();
		if (!c || (u64)g[REG_RSP] != (u64)c)
			return false;
		b = cache_block_at(&c->vm->cache, pc);
		site = b ? block_site(b, pc) : NULL;
		if (!site)
			return false;
		regs_from_signal(c, g);
		c->s.rip = b->rip + site->guest;
		event_of_signal(c, sig, (unsigned)g[REG_TRAPNO]);
	} else {
		event_of_signal(c, sig, (unsigned)g[REG_TRAPNO]);
	}
	stepping = NULL;
	g[REG_RDI] = (greg_t)c;
	g[REG_RIP] = (greg_t)c->vm->cache.stub.unwind;
	g[REG_EFL] &= ~(greg_t)(RFLAGS_DF | RFLAGS_AC | RFLAGS_TF);
	return true;
}

/* A host fault that is nobody's but ours: what was running, for the bug report. */
static void internal_error(struct soft_cpu *c, int sig, const siginfo_t *si, const ucontext_t *uc)
{
	u64 pc = (u64)uc->uc_mcontext.gregs[REG_RIP];
	const struct block *b = cache_block_at(&c->vm->cache, pc);
	const struct site *site = b ? block_site(b, pc) : NULL;
	char text[128] = "in C";
	struct insn i;

	if (site) {
		u64 rip = b->rip + site->guest;
		struct insn_mode m = insn_mode_of(c, b->mode.bits);
		const u8 *bytes = phys_host(c, b->pa + site->guest, INSN_MAX);

		c->s.rip = rip;
		if (bytes && insn_decode(bytes, INSN_MAX, rip, m, &i) == DECODE_OK)
			insn_format(&i, text, sizeof(text));
	}
	log_err("internal error: signal %d at %#llx, address %p, guest RIP %#llx: %s", sig,
		(unsigned long long)pc, si->si_addr, (unsigned long long)c->s.rip, text);
	if (site) {
		const u8 *p = (const u8 *)pc - 32;

		for (unsigned n = 0; n < 64; n += 16)
			log_err("  %#llx: %016llx %016llx (big-endian)", (unsigned long long)(p + n),
				(unsigned long long)__builtin_bswap64(*(const u64 *)(const void *)(p + n)),
				(unsigned long long)__builtin_bswap64(*(const u64 *)(const void *)(p + n + 8)));
	}
	soft_engine.dump((struct engine_vcpu *)c);
}

static const int our_signals[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS };
static struct sigaction before[ARRAY_SIZE(our_signals)]; /* a signal's handler is the process's */

static void on_signal(int sig, siginfo_t *si, void *ucontext)
{
	struct soft_cpu *c = world_self();

	if (guest_fault(sig, si, ucontext))
		return;
	for (unsigned n = 0; n < ARRAY_SIZE(our_signals); n++)
		if (our_signals[n] == sig)
			sigaction(sig, &before[n], NULL); /* it comes again, for the core dump */
	if (c)
		internal_error(c, sig, si, ucontext);
}

void exec_install_signals(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };

	for (unsigned n = 0; n < ARRAY_SIZE(our_signals); n++) {
		struct sigaction old;

		if (!sigaction(our_signals[n], &sa, &old) && old.sa_sigaction != on_signal)
			before[n] = old;
	}
}
