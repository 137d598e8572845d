/* SPDX-License-Identifier: MIT */
/*
 * The software engine's own view of a vCPU and a VM, and the verbs that its
 * files share. Internal to engine/.
 *
 * Theory of operation
 *
 * A vCPU thread runs exec.c's loop: find (or translate) the block at RIP, enter
 * it, and do in C what it left for. While translated code runs:
 *
 *   guest GPRs    in the host registers of the same name, but guest RSP in r9,
 *                 and guest r9, r10, r11 in cpu.s.gpr[]; host r10, r11 are scratch
 *   host rsp      = the struct soft_cpu itself: it lies above the stack that
 *                 helpers use, so [rsp + offset] is a field and calls just work
 *   gs            = the current context (context.h): soft TLB, jump cache
 *   guest flags   OSZAPC in EFLAGS inside a block; in cpu.flags at block
 *                 boundaries and whenever C runs. DF and all others are in
 *                 cpu.s.rflags; host DF is always clear
 *   vector, x87   in the host's registers, also while C runs: engine C is built
 *                 with -mgeneral-regs-only, and calls anything else through
 *                 vec_saved()
 *
 * Faults. C code that finds a guest fault calls cpu_raise(), which never
 * returns: it unwinds to exec.c's loop, where the event is delivered. At that
 * time cpu.s holds the state before the instruction: cpu.s.rip is the faulting
 * instruction's, and helpers commit nothing before their last possible fault.
 */
#ifndef NESTOR_ENGINE_SOFT_H
#define NESTOR_ENGINE_SOFT_H

#include <stdatomic.h>

#include "cpu/cpu.h"
#include "cpu/engine.h"
#include "cpu/lapic.h"
#include "cpu/model.h"
#include "engine/insn.h"
#include "x86/regs.h"

struct lockstep;
struct context;
struct soft_vm;
struct vmx;

/* cpu.request: why a running vCPU must leave translated code. */
enum {
	REQ_IRQ = 1,	/* look at LAPIC, PIC, NMI, INIT, SIPI */
	REQ_STOP = 2,	/* engine_ops.kick() */
	REQ_SAFE = 4,	/* somebody waits for this vCPU to pass a safe point, or stops the world */
	REQ_EVENT = 8,	/* a helper changed what is deliverable (IF, TPR, windows) */
	REQ_VMX_TIMER = 16, /* VMX-preemption timer ran out */
};

/* An event on its way to the guest. */
struct cpu_event {
	bool pending;
	u8 vector;
	u8 type; /* enum event_type */
	bool has_error;
	u32 error;
	u8 insn_len; /* software events: RIP pushed is the next instruction's */
	bool injected; /* by a VM entry: no intercept looks at it */
	u64 dr6;     /* #DB: bits to set */
	gva_t cr2;   /* #PF: the address */
};

/* As a VMCS's interruption-information field numbers them. */
enum event_type {
	EVENT_EXTINT = 0, EVENT_NMI = 2, EVENT_HW_EXC = 3, EVENT_SW_INT = 4, EVENT_PRIV_SW_EXC = 5,
	EVENT_SW_EXC = 6,
};

struct soft_cpu {
	struct cpu_state s; /* first: gpr[] within disp8 of rsp */

	/* LAHF/SETO form of the arithmetic flags: 15:8 = SF ZF 0 AF 0 PF 1 CF, 0 = OF. */
	u16 flags;
	_Atomic u32 request;
	u64 spill[2];	   /* translated code's temporaries */
	u64 addend[16];	   /* shared checks' results */
	gva_t straddled;   /* RIP after an instruction whose shared check failed */
	u64 enter_sp;	   /* host stack of exec_enter(): where leaving returns to */
	u64 protect_sp;	   /* host stack of exec_protect(): where unwinding returns to */
	struct context *ctx;
	u64 arg[4];	   /* from stubs to C */
	/* An access across a page boundary: its bytes in @bounce go to (stores), or came
	 * from, two host addresses, @first bytes of @size to the first (exec_slow()). */
	struct {
		u8 *host[2];
		u32 first, size;
	} cross;
	u8 bounce[128] __attribute__((aligned(64)));
	u32 branch_at;	   /* host address of the last indirect branch; see bad_target() */

	struct soft_vm *vm;
	unsigned index;
	struct lapic lapic;
	struct cpu_event event; /* raised, not yet delivered */
	/* What is being delivered, from the time no intercept took it until its
	 * handler's first instruction: a fault meanwhile nests (event_nest()), a
	 * VM exit reports it as IDT-vectoring information (and clears it). */
	struct cpu_event vectoring;
	bool mode_changed;	/* CR0, CR4, EFER, CS, CPL, ... changed: exec.c recomputes the context */

	/* VMX (vmx/vmx.h). The three below are copies for fast tests. */
	struct vmx *vmx;
	bool vmx_non_root;
	u16 vpid;	/* 0 in root operation and with VPID off */
	u64 eptp;	/* 0 = no EPT in force */

	/* A counter that is odd while this vCPU may hold checked addresses. */
	_Atomic u64 run_seq;
	_Atomic bool halted;	/* asleep in HLT (or wait-for-SIPI) */
	bool single_step;	/* execute exactly one instruction per entry */
	/* Set by event_poll() with single_step: something waits for the end of
	 * an STI or MOV SS shadow. After that one instruction exec.c calls
	 * event_shadow_over(). */
	bool shadow_step;

	/* Data breakpoints while an instruction is stepped: looking at all, and
	 * DR6.B0..B3 of those hit. */
	bool watching;
	u8 watch_hits;
	u8 debug_held; /* hits that MOV SS holds back until after the next instruction */

	/* event_poll() found, or may have left, something that waits for IF:
	 * whatever sets IF asks for another poll. */
	bool irq_held;

	/* x87 pointers as the guest loaded them; host ones never show. */
	u64 fip, fdp;
	u16 fop, fcs, fds;

	u32 nr_pauses; /* PAUSEs executed, to yield now and then */

	struct cpuid_memo { /* sys.c */
		bool valid;
		u32 leaf, subleaf;
		u64 state[4];
		struct cpuid_regs regs;
	} cpuid_memo[32];

	/* Misses of page slots (context.h), and a block's address to drop for them. */
	struct slot_misses {
		u32 count;
		u64 since; /* host TSC */
	} slot_misses[256];
	gpa_t drop_block;

	/* debug.h; debug_hit: why run() returned. */
	bool debugging, debug_moved, debug_hit;
	struct engine_debug debug;

	struct lockstep *compare; /* compare.h; NULL: off */
	bool comparing;		 /* what happens may be taken back */

	/* Everything else that belongs to exec.c, context.c, ...: */
	struct exec_state *exec;
	struct engine_stats stats;

	u8 xbuf[XSAVE_SIZE_MAX] __attribute__((aligned(64))); /* image for FPU helpers (fpu.h) */
};

/* ---- Faults, exits (exec.c) ---- */

/* Raise an exception in the guest; never returns. The error code is pushed
 * where the vector has one. */
_Noreturn void cpu_raise(struct soft_cpu *c, unsigned vector, u32 error);
_Noreturn void cpu_raise_event(struct soft_cpu *c, const struct cpu_event *e);
_Noreturn void cpu_page_fault(struct soft_cpu *c, gva_t addr, u32 error); /* sets CR2 at delivery */
/* Leaves the current instruction and returns to exec.c's loop, which goes on
 * at cpu.s.rip (VM exits and entries, task switches, shutdown). */
_Noreturn void exec_unwind(struct soft_cpu *c);
_Noreturn void cpu_shutdown(struct soft_cpu *c); /* triple fault */

void exec_wake(struct soft_cpu *c); /* from HLT's sleep */

/* Any thread: makes the vCPU leave translated code (or wake up) and look. */
static inline void cpu_request(struct soft_cpu *c, u32 bits)
{
	atomic_fetch_or(&c->request, bits);
	if (atomic_load(&c->halted))
		exec_wake(c);
}

/* ---- RFLAGS ---- */

u64 cpu_rflags(const struct soft_cpu *c);	   /* all of them, composed */
void cpu_set_rflags(struct soft_cpu *c, u64 value); /* all of them; the caller has checked */

/* ---- Where we are ---- */

static inline unsigned cpu_cpl(const struct soft_cpu *c)
{
	return SEG_DPL(&c->s.seg[SEG_SS]);
}
static inline bool cpu_long_mode(const struct soft_cpu *c) /* EFER.LMA */
{
	return c->s.msr.efer & EFER_LMA;
}
static inline bool cpu_code64(const struct soft_cpu *c)
{
	return cpu_long_mode(c) && (c->s.seg[SEG_CS].ar & SEG_L);
}
static inline bool cpu_protected(const struct soft_cpu *c) /* CR0.PE and not VM86 */
{
	return (c->s.cr0 & CR0_PE) && !(c->s.rflags & RFLAGS_VM);
}

/* ---- Guest memory from C (tlb.c). Linear addresses; faults are raised. ---- */

enum mem_as {
	AS_CURRENT,	/* explicit access at the current CPL */
	AS_SUPERVISOR,	/* implicit supervisor access: descriptor tables, TSS, IDT */
	AS_USER,	/* as CPL 3 whatever CPL is */
};

u64 guest_read(struct soft_cpu *c, gva_t addr, unsigned size, enum mem_as as); /* 1, 2, 4, 8 */
void guest_write(struct soft_cpu *c, gva_t addr, unsigned size, u64 value, enum mem_as as);
/* Notes the data breakpoints that an access by the instruction hits; called by
 * those below and above themselves. */
void guest_watch(struct soft_cpu *c, gva_t addr, unsigned size, bool write);
/* Any length. guest_probe_write() raises what a write would, changing nothing: call
 * it first where a later fault would leave half an instruction done. */
void guest_copy_in(struct soft_cpu *c, void *to, gva_t addr, unsigned size, enum mem_as as);
void guest_copy_out(struct soft_cpu *c, gva_t addr, const void *from, unsigned size, enum mem_as as);
void guest_probe_write(struct soft_cpu *c, gva_t addr, unsigned size, enum mem_as as);
/* Guest-physical (L1's), for VMCS, bitmaps, tables: false when not RAM. */
bool phys_read(struct soft_cpu *c, gpa_t addr, void *to, unsigned size);
bool phys_write(struct soft_cpu *c, gpa_t addr, const void *from, unsigned size);

/* Linear address of [off, off + size) in segment @seg, after limit, type and
 * canonical checks; raises #GP or #SS. 64-bit mode: base of FS, GS only. */
gva_t seg_linear(struct soft_cpu *c, enum seg_reg seg, u64 off, unsigned size, bool write);
/* Linear address of the instruction's memory operand, checked as above. */
gva_t insn_linear(struct soft_cpu *c, const struct insn *i, unsigned size, bool write);
u64 insn_offset(struct soft_cpu *c, const struct insn *i); /* the effective address alone */
/* The host address of [addr, addr + size) when that is plain RAM, contiguous in
 * host memory, and allowed; else NULL, nothing raised. */
void *guest_host(struct soft_cpu *c, gva_t addr, unsigned size, bool write, enum mem_as as);

/* ---- GPRs by operand ---- */

static inline u64 gpr_get(const struct soft_cpu *c, unsigned reg, unsigned size)
{
	return size == 8 ? c->s.gpr[reg] : c->s.gpr[reg] & (BIT(8 * size) - 1);
}
static inline void gpr_set(struct soft_cpu *c, unsigned reg, unsigned size, u64 value)
{
	if (size >= 4)
		c->s.gpr[reg] = size == 8 ? value : (u32)value;
	else
		c->s.gpr[reg] = (c->s.gpr[reg] & ~(BIT(8 * size) - 1)) | (value & (BIT(8 * size) - 1));
}

/* ---- Translations that must go (context.c, tlb.c) ---- */

void tlb_invlpg(struct soft_cpu *c, gva_t addr);   /* current VPID and PCID, and globals */
void tlb_flush_nonglobal(struct soft_cpu *c);	   /* MOV CR3 without PCIDE or NOFLUSH: current VPID, PCID */
void tlb_flush_current(struct soft_cpu *c);	   /* all PCIDs and globals of the current VPID */
void tlb_flush_pcid_addr(struct soft_cpu *c, u16 pcid, gva_t addr); /* INVPCID type 0 */
void tlb_flush_pcid(struct soft_cpu *c, u16 pcid); /* INVPCID type 1: not globals */
void tlb_flush_vpid(struct soft_cpu *c, u16 vpid, bool keep_globals); /* INVVPID 1, 3 */
void tlb_flush_vpid_addr(struct soft_cpu *c, u16 vpid, gva_t addr);   /* INVVPID 0 */
void tlb_flush_all_vpids(struct soft_cpu *c);	   /* INVVPID 2: all but VPID 0 */
void tlb_flush_ept(struct soft_cpu *c, u64 eptp);  /* INVEPT 1: this EP4TA */
void tlb_flush_all_ept(struct soft_cpu *c);	   /* INVEPT 2 */
void tlb_flush_everything(struct soft_cpu *c);	   /* every context of this vCPU */

/* ---- Instruction helpers ---- */

/* A HELPER row's function. CPU state is in c->s (flags in c->flags), c->s.rip
 * is the instruction's own address. Return HELPER_NEXT to go on after the
 * instruction in the same block, HELPER_END when RIP was set by the helper, or
 * when mode, translation or deliverability may have changed (then c->s.rip must
 * be right: insn_next() unless it jumps). A row with RULE_ENDS_BLOCK always
 * returns HELPER_END. */
enum helper_result { HELPER_NEXT, HELPER_END };
typedef enum helper_result helper_fn(struct soft_cpu *c, const struct insn *i);

/* Runs @fn(@arg) with the guest's vector and x87 state saved and the C default
 * in place: for everything not built with -mgeneral-regs-only. Any thread: on others
 * than the vCPU's own there is nothing to save. */
void vec_saved(struct soft_cpu *c, void (*fn)(void *arg), void *arg);

/* ---- event.c ---- */

/* Delivers c->event (exception, interrupt, NMI) through the IDT or IVT of the
 * current mode, or turns it into a VM exit. May itself raise (double fault,
 * triple fault are handled by the caller in exec.c through event_nest()). */
void event_deliver(struct soft_cpu *c);
/* Looks for the highest-priority deliverable asynchronous event (INIT, SIPI,
 * NMI, window exits, interrupts) and delivers it; returns true when state
 * changed. Called by exec.c at instruction boundaries when c->request is set. */
bool event_poll(struct soft_cpu *c);
/* Is there something that would end HLT (or wait-for-SIPI) now? */
bool event_wakes_hlt(struct soft_cpu *c);
/* @second was raised while @first was being delivered: sets c->event to what
 * the SDM's table of double-fault conditions says, or shuts down (then it does
 * not return). cpu_raise() calls it when c->vectoring.pending:
 *	if (c->vectoring.pending) event_nest(c, &c->vectoring, e); else c->event = *e; */
void event_nest(struct soft_cpu *c, const struct cpu_event *first, const struct cpu_event *second);
/* The one instruction in an interrupt shadow is done: looks again. */
void event_shadow_over(struct soft_cpu *c);
/* After what may have made something deliverable (IF, TPR, NMI blocking): asks
 * for event_poll() if anything is pending at all. */
void event_recheck(struct soft_cpu *c);

/* ---- msr.c: false means #GP(0) ---- */
bool msr_read(struct soft_cpu *c, u32 msr, u64 *value);
bool msr_write(struct soft_cpu *c, u32 msr, u64 value);

/* ---- sys.c: shared with VMX entry and exit ---- */
bool cr0_valid(struct soft_cpu *c, u64 v);
bool cr4_valid(struct soft_cpu *c, u64 v);
/* Installs new values after checks: recomputes LMA, flushes what must be
 * flushed, sets mode_changed. @flush false: a VM entry or exit that switches
 * contexts instead. */
void cr0_set(struct soft_cpu *c, u64 v, bool flush);
void cr3_set(struct soft_cpu *c, u64 v, bool flush);
void cr4_set(struct soft_cpu *c, u64 v, bool flush);
void efer_set(struct soft_cpu *c, u64 v);
u64 cpu_guest_tsc(struct soft_cpu *c); /* what RDTSC returns in the current (root or non-root) operation */

#endif
