// SPDX-License-Identifier: MIT
/*
 * The run loop of a vCPU, and the engine's operations.
 *
 * soft_run() loads the guest's vector state into the host's registers and calls
 * exec_loop() under exec_protect(), again and again: a fault anywhere below
 * unwinds to it, with the event noted in the vCPU. exec_loop() answers
 * requests, delivers events, sleeps in HLT, and otherwise finds or translates
 * the block at RIP and enters it.
 */
#include "engine/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/compare.h"
#include "engine/debug.h"
#include "engine/fpu.h"
#include "engine/save.h"
#include "engine/softvm.h"
#include "engine/step.h"
#include "engine/tlb.h"
#include "engine/vmx/vmx.h"
#include "engine/walk.h"

enum { STACK_SIZE = 256 << 10 };

/* ---- Faults and unwinding ---- */

_Noreturn void exec_unwind(struct soft_cpu *c)
{
	void (*unwind)(struct soft_cpu *) = (void (*)(struct soft_cpu *))c->vm->cache.stub.unwind;

	unwind(c);
	__builtin_unreachable();
}

bool exec_protect(struct soft_cpu *c, void (*fn)(struct soft_cpu *c))
{
	u64 (*protect)(struct soft_cpu *, void (*)(struct soft_cpu *)) =
		(u64(*)(struct soft_cpu *, void (*)(struct soft_cpu *)))c->vm->cache.stub.protect;

	return protect(c, fn) & 1;
}

_Noreturn void cpu_raise_event(struct soft_cpu *c, const struct cpu_event *e)
{
	struct cpu_event second = *e;

	second.pending = true;
	if (c->vectoring.pending)
		event_nest(c, &c->vectoring, &second);
	else
		c->event = second;
	exec_unwind(c);
}

static bool vector_has_error(unsigned vector)
{
	return vector == X86_DF || (vector >= X86_TS && vector <= X86_PF) || vector == X86_AC;
}

_Noreturn void cpu_raise(struct soft_cpu *c, unsigned vector, u32 error)
{
	struct cpu_event e = { .vector = (u8)vector, .type = EVENT_HW_EXC,
			       .has_error = vector_has_error(vector), .error = error };

	cpu_raise_event(c, &e);
}

_Noreturn void cpu_page_fault(struct soft_cpu *c, gva_t addr, u32 error)
{
	struct cpu_event e = { .vector = X86_PF, .type = EVENT_HW_EXC, .has_error = true,
			       .error = error, .cr2 = addr };

	cpu_raise_event(c, &e);
}

_Noreturn void cpu_shutdown(struct soft_cpu *c)
{
	vmx_check_triple_fault(c);
	c->s.activity = CPU_SHUTDOWN;
	c->event.pending = c->vectoring.pending = false;
	exec_unwind(c);
}

/* ---- RFLAGS ---- */

u64 cpu_rflags(const struct soft_cpu *c)
{
	return (c->s.rflags & ~RFLAGS_ARITH) | (c->flags >> 8 & (RFLAGS_ARITH & 0xff)) |
	       (c->flags & 1 ? RFLAGS_OF : 0) | RFLAGS_RSV1;
}

void cpu_set_rflags(struct soft_cpu *c, u64 value)
{
	u64 changed = c->s.rflags ^ value;

	c->s.rflags = (value & ~RFLAGS_ARITH) | RFLAGS_RSV1;
	c->flags = (u16)((value & 0xd5) << 8 | 0x200 | (value & RFLAGS_OF ? 1 : 0));
	if (changed & (RFLAGS_AC | RFLAGS_VM | RFLAGS_IOPL))
		c->mode_changed = true;
}

/* ---- The guest's vector state ---- */

static void vec_save(struct soft_cpu *c)
{
	u64 mask = c->vm->xsave_mask;

	__asm__ volatile("xsave64 %0\n\tfninit"
			 : "+m"(c->s.xsave)
			 : "a"((u32)mask), "d"((u32)(mask >> 32)));
}

static void vec_load(struct soft_cpu *c)
{
	u64 mask = c->vm->xsave_mask;

	__asm__ volatile("xrstor64 %0"
			 :
			 : "m"(c->s.xsave), "a"((u32)mask), "d"((u32)(mask >> 32)));
}

static void vec_default(void)
{
	static const u32 mxcsr = 0x1f80;

	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

/* Other C code uses vector registers, but neither x87 nor MMX: on a host without
 * AVX-512 moving the sixteen costs a fifth of XSAVE and XRSTOR. */
struct vec_regs {
	u8 ymm[16][32];
	u32 mxcsr;
};

#define EACH_YMM(what)                                                                             \
	what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10)   \
		what(11) what(12) what(13) what(14) what(15)

static void vec_regs_save(struct vec_regs *r)
{
#define SAVE(n) "vmovups %%ymm" #n ", 32*" #n "(%1)\n\t"
	__asm__ volatile(EACH_YMM(SAVE) "vzeroupper\n\tstmxcsr %0"
			 : "=m"(r->mxcsr)
			 : "r"(r->ymm)
			 : "memory");
#undef SAVE
}

static void vec_regs_load(const struct vec_regs *r)
{
#define LOAD(n) "vmovups 32*" #n "(%1), %%ymm" #n "\n\t"
	__asm__ volatile(EACH_YMM(LOAD) "ldmxcsr %0" : : "m"(r->mxcsr), "r"(r->ymm) : "memory");
#undef LOAD
}

void vec_saved(struct soft_cpu *c, void (*fn)(void *arg), void *arg)
{
	bool inside = atomic_load_explicit(&c->run_seq, memory_order_relaxed) & 1;
	bool few = c->vm->xsave_mask == (XCR0_X87 | XCR0_SSE | XCR0_AVX);
	struct vec_regs regs;

	if (world_self() != c) { /* another thread, at work on a vCPU that does not run */
		fn(arg);
		return;
	}
	if (inside)
		world_leave(c);
	if (few)
		vec_regs_save(&regs);
	else
		vec_save(c);
	vec_default();
	fn(arg);
	if (few)
		vec_regs_load(&regs);
	else
		vec_load(c);
	if (inside)
		world_enter(c);
}

static void trace_event(void *arg)
{
	const struct soft_cpu *c = arg;
	const struct cpu_event *e = &c->event;

	log_line(LOG_ERR, "cpu %u: %s %u type %u error %x cr2 %llx at %x:%llx rsp %llx rflags %llx", c->index,
		 e->injected ? "injected event" : "event", e->vector, e->type, e->error, (unsigned long long)e->cr2, c->s.seg[SEG_CS].sel,
		 (unsigned long long)c->s.rip, (unsigned long long)c->s.gpr[RSP],
		 (unsigned long long)cpu_rflags(c));
}

void exec_trace_event(struct soft_cpu *c)
{
	if (unlikely(c->vm->trace & TRACE_EVENTS))
		vec_saved(c, trace_event, c);
}

/* ---- What the stubs call ---- */

enum helper_result exec_helper(struct soft_cpu *c, const struct helper_site *site)
{
	const struct code_cache *k = &c->vm->cache;
	u64 generation = k->generation, removals = atomic_load(&k->removals);
	gva_t next = insn_next(&site->insn);
	enum helper_result r;

	c->s.rip = site->insn.rip;
	if (unlikely(c->comparing))
		compare_check_helper(c, site);
	r = site->fn(c, &site->insn);
	if (r == HELPER_END)
		return r;
	/* The block may be gone: the helper wrote to its code, or had to let
	 * others go on. */
	if (unlikely(generation != k->generation || removals != atomic_load(&k->removals))) {
		c->s.rip = next;
		return HELPER_END;
	}
	return HELPER_NEXT;
}

/* Out of a block, at an instruction that it cannot execute. */
static _Noreturn void step_instead(struct soft_cpu *c)
{
	if (unlikely(c->comparing))
		compare_stop(c);
	world_leave(c);
	step_insn(c);
	exec_unwind(c);
}

/* The first of a group whose range is no good at this time. */
static _Noreturn void step_leader(struct soft_cpu *c)
{
	if (unlikely(c->comparing))
		compare_stop(c);
	world_leave(c);
	step_insn(c);
	c->straddled = c->s.rip;
	exec_unwind(c);
}

gva_t exec_segment(struct soft_cpu *c, const struct helper_site *site)
{
	const struct insn *i = &site->insn;

	c->s.rip = i->rip;
	step_before_operand(c, i);
	if (i->rules & RULE_SCALAR_MEM)
		step_instead(c);
	return insn_linear(c, i, i->mem.size, i->mem.written);
}

/* A site whose slot keeps missing is better served by the TLB: noted by its
 * instruction, and its page is translated anew. Judged by the time that so many
 * misses took. */
static void slot_missed(struct soft_cpu *c, unsigned slot, u64 pc)
{
	struct slot_misses *m = &c->slot_misses[slot];
	struct code_cache *k = &c->vm->cache;
	u64 now, then = m->since;
	const struct block *b;

	if (slot < SLOT_SITES || ++m->count < SLOT_PATIENCE)
		return;
	now = __builtin_ia32_rdtsc();
	m->count = 0;
	m->since = now;
	if (now - then > SLOT_PATIENCE * SLOT_CYCLES)
		return;
	b = cache_block_at(k, pc);
	if (!b)
		return;
	k->no_slot[no_slot_index(c->s.rip)] = c->s.rip;
	c->drop_block = b->pa;
	cpu_request(c, REQ_SAFE);
}

/* A slot from the TLB's entry. As with write tags, the other thread that takes
 * the right away looks at slots after tags; so look at the tag after the slot. */
static void fill_slot(struct soft_cpu *c, unsigned n, gva_t addr, bool write)
{
	struct tlb_entry *t = &c->ctx->tlb[tlb_index(addr)];
	struct page_slot *s = &c->ctx->slot[n];
	gva_t page = addr & PAGE_MASK;

	c->ctx->slot_used[n / 64] |= BIT(n % 64);
	s->tag = SLOT_NEVER;
	s->host = t->host;
	__atomic_store_n(&s->tag, page, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(write ? &t->wtag : &t->rtag, __ATOMIC_SEQ_CST) != page)
		s->tag = SLOT_NEVER;
}

/* A shared check is for accesses that are still to come: it must not raise what
 * they would. True when it can be tried again. Else its leader shall have no
 * followers any more. */
static bool share_ready(struct soft_cpu *c, gva_t addr, unsigned size, bool write, u64 pc)
{
	struct code_cache *k = &c->vm->cache;
	unsigned n = share_index(c->s.rip);
	const struct block *b;
	const struct tlb_entry *t = &c->ctx->tlb[tlb_index(addr)];
	bool inside = canonical(addr) && (addr & 4095) + size <= PAGE_SIZE;
	struct walk w;

	if (inside && (write ? t->wtag : t->rtag) == (addr & PAGE_MASK))
		return true; /* it was only a slot that missed */
	if (inside &&
	    walk(c, addr, write ? WALK_WRITE : WALK_READ, (enum ctx_priv)c->ctx->key.priv, true, &w) &&
	    mem_slot_at(c->vm->env.mem, w.gpa) && !(write && cache_page(k, w.gpa)))
		return true;
	if (++k->share_failed[n] < SHARE_PATIENCE)
		return false;
	k->share_failed[n] = 0;
	b = cache_block_at(k, pc);
	if (b) {
		k->no_share[n][1] = k->no_share[n][0];
		k->no_share[n][0] = c->s.rip;
		c->drop_block = b->pa;
		cpu_request(c, REQ_SAFE);
	}
	return false;
}

/* An access from one page of RAM to the next goes by way of a buffer at an address
 * with the same low bits; a store is committed after its instruction. */
static bool cross_pages(struct soft_cpu *c, gva_t addr, unsigned size, bool write)
{
	unsigned first = PAGE_SIZE - (unsigned)(addr & 4095);
	u8 *at = c->bounce + (addr & 63);
	struct place p, q;

	/* Outside 64-bit mode the crossing may be that of a segment's limit. */
	if (!canonical(addr) || !canonical(addr + size) || size <= first || !cpu_code64(c))
		return false;
	p = tlb_place(c, c->ctx, addr, write);
	q = tlb_place(c, c->ctx, addr + first, write);
	if (!p.host || !q.host || !p.plain || !q.plain)
		return false;
	c->cross.host[0] = p.host;
	c->cross.host[1] = q.host;
	c->cross.first = first;
	c->cross.size = size;
	if (!write) {
		for (unsigned n = 0; n < first; n++)
			at[n] = p.host[n];
		for (unsigned n = first; n < size; n++)
			at[n] = q.host[n - first];
	}
	c->arg[1] = (u64)at;
	return true;
}

/* A mask may leave out what would fault: fills the TLB only if nothing can, and for
 * a write that nobody may make only where the page is dirty. */
static bool masked_ready(struct soft_cpu *c, gva_t addr, bool write)
{
	const struct tlb_entry *t = &c->ctx->tlb[tlb_index(addr)];
	gva_t page = addr & PAGE_MASK;
	struct walk w;

	if ((write ? t->wtag : t->rtag) == page)
		return true;
	if (!walk(c, addr, WALK_READ, (enum ctx_priv)c->ctx->key.priv, true, &w) ||
	    !mem_slot_at(c->vm->env.mem, w.gpa))
		return false;
	tlb_place(c, c->ctx, addr, false);
	return (write ? t->wtag : t->rtag) == page;
}

/* The store is in the buffer. */
void exec_commit(struct soft_cpu *c)
{
	const u8 *at = c->bounce + ((u64)c->cross.host[0] & 63);
	unsigned first = c->cross.first;

	for (unsigned n = 0; n < first; n++)
		c->cross.host[0][n] = at[n];
	for (unsigned n = first; n < c->cross.size; n++)
		c->cross.host[1][n - first] = at[n];
}

/* Takes the page into the TLB; false: it is none of RAM, or the operand not in one. */
static bool in_tlb(struct soft_cpu *c, gva_t addr, unsigned size, u32 what)
{
	bool write = what & 0x100;
	struct place p;

	if (!canonical(addr) || (addr & 4095) + size > PAGE_SIZE)
		return false;
	if (what & WHAT_MASKED)
		return masked_ready(c, addr, write);
	p = tlb_place(c, c->ctx, addr, write);
	return p.host && p.plain;
}

bool exec_slow(struct soft_cpu *c, gva_t addr, u32 what, u64 pc)
{
	unsigned size = what & 0xff, slot = what >> 16;
	bool write = what & 0x100;

	if ((what & WHAT_SHARED) && !share_ready(c, addr, size, write, pc))
		step_leader(c);
	if (what & WHAT_WAITS)
		fpu_check_pending(c);
	if ((what & WHAT_ALIGNED) && !(what & WHAT_SHARED) && (addr & (size - 1)))
		cpu_raise(c, X86_GP, 0); /* before a page fault */
	if (in_tlb(c, addr, size, what)) {
		if (slot) {
			fill_slot(c, slot - 1, addr, write);
			slot_missed(c, slot - 1, pc);
		}
		return false;
	}
	if ((what & (WHAT_CROSSES | WHAT_MASKED)) == WHAT_CROSSES && cross_pages(c, addr, size, write))
		return true;
	step_instead(c);
}

/* ---- Sleeping ---- */

void exec_wake(struct soft_cpu *c)
{
	syscall(SYS_futex, &c->request, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void cpu_sleep(struct soft_cpu *c)
{
	atomic_store(&c->halted, true);
	while (!atomic_load(&c->request))
		syscall(SYS_futex, &c->request, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	atomic_store(&c->halted, false);
}

/* ---- The loop ---- */

void exec_flush_code(struct soft_cpu *c)
{
	struct soft_vm *vm = c->vm;

	world_stop(vm, c);
	pthread_mutex_lock(&vm->cache.lock);
	cache_flush(&vm->cache);
	for (unsigned n = 0; n < vm->nr_cpus; n++) {
		if (vm->cpus[n])
			context_forget_code(vm->cpus[n]);
	}
	pthread_mutex_unlock(&vm->cache.lock);
	world_resume(vm);
	c->stats.flushes++;
}

static gva_t code_linear(const struct soft_cpu *c)
{
	const struct block_mode *m = &c->ctx->key.mode;

	return m->bits & MODE_CODE64 ? c->s.rip : (u32)(c->s.rip + m->cs_base);
}

/* The block at RIP, translated if need be. NULL: step the instruction. */
static struct block *block_here(struct soft_cpu *c, u64 *generation)
{
	struct code_cache *k = &c->vm->cache;
	gva_t linear = code_linear(c);
	gpa_t pa = tlb_fetch(c, linear);
	struct block *b = cache_find(k, pa, c->s.rip, &c->ctx->key.mode);

	if (b && b->pa2 && (tlb_fetch(c, (linear & PAGE_MASK) + PAGE_SIZE) ^ b->pa2) & PAGE_MASK) {
		/* The other page is another one now: translate anew. */
		pthread_mutex_lock(&k->lock);
		if (cache_page(k, b->pa2))
			cache_remove_page(k, cache_page(k, b->pa2));
		pthread_mutex_unlock(&k->lock);
		b = NULL;
	}
	if (!b) {
		b = translate_block(c, linear, pa);
		if (!b && c->vm->cache.em.full) {
			exec_flush_code(c);
			*generation = c->vm->cache.generation;
			b = translate_block(c, linear, pa);
		}
	}
	return b;
}

/* Makes the way that led here shorter next time. */
static void link_block(struct soft_cpu *c, const struct block *b, u64 exit)
{
	struct context *x = c->ctx;
	unsigned slot = c->s.rip & (JUMP_SIZE - 1);

	context_note_code(x, code_linear(c));
	x->jump[slot] = (u32)b->entry;
	x->learnt = true;
	x->jump_used[slot / JUMP_GROUP / 64] |= BIT(slot / JUMP_GROUP % 64);
	if (exit) {
		const struct code_cache *k = &c->vm->cache;
		u32 at = *(const u32 *)(void *)(k->rw + (exit - k->rx));
		bool back = at & BIT(31);

		at &= ~(u32)BIT(31);
		em_patch_rel32(&k->em, k->rw + (at - k->rx), back ? b->chain_back : b->chain);
	}
}

static void trace_block(void *arg)
{
	const struct soft_cpu *c = arg;

	log_line(LOG_ERR, "cpu %u: block %x:%llx rax %llx rcx %llx rdx %llx rsp %llx rflags %llx", c->index,
		 c->s.seg[SEG_CS].sel, (unsigned long long)c->s.rip,
		 (unsigned long long)c->s.gpr[RAX], (unsigned long long)c->s.gpr[RCX],
		 (unsigned long long)c->s.gpr[RDX], (unsigned long long)c->s.gpr[RSP],
		 (unsigned long long)cpu_rflags(c));
}

/* An indirect branch went to an address that is not canonical: it is undone, since
 * the #GP is its own. */
static void bad_target(struct soft_cpu *c)
{
	const struct block *b = cache_block_at(&c->vm->cache, c->branch_at);
	const struct site *site = b ? block_site(b, c->branch_at) : NULL;
	struct insn i;

	if (!site)
		return; /* ran off the end: a fault of the fetch */
	c->s.rip = b->rip + site->guest;
	step_fetch(c, &i);
	if (i.opcode == 0xff && (i.modrm >> 3 & 7) == 2) {
		guest_write(c, c->s.gpr[RSP], 8, c->spill[1], AS_CURRENT);
		c->s.gpr[RSP] += 8;
	} else if (i.opcode != 0xff) {
		c->s.gpr[RSP] -= 8 + (i.imm_size ? (u16)i.imm : 0);
	}
	cpu_raise(c, X86_GP, 0);
}

static void leave_block(struct soft_cpu *c)
{
	world_leave(c);
	if (unlikely(!canonical(c->s.rip)) && cpu_code64(c))
		bad_target(c);
}

void exec_enter_block(struct soft_cpu *c, const struct block *b)
{
	void (*enter)(struct soft_cpu *, u64) =
		(void (*)(struct soft_cpu *, u64))c->vm->cache.stub.enter;

	world_enter(c);
	c->s.rflags &= ~RFLAGS_RF;
	c->branch_at = 0;
	enter(c, b->body);
	leave_block(c);
}

static void run_block(struct soft_cpu *c)
{
	struct code_cache *k = &c->vm->cache;
	void (*enter)(struct soft_cpu *, u64) = (void (*)(struct soft_cpu *, u64))k->stub.enter;
	u64 generation = atomic_load((_Atomic u64 *)&k->generation);
	u64 exit = c->arg[0];
	struct block *b;

	c->arg[0] = 0;
	if (unlikely(c->vm->trace & TRACE_BLOCKS)) {
		vec_saved(c, trace_block, c);
		exit = 0;
	}
	if (unlikely(c->compare) && compare_is_old(c)) {
		exec_flush_code(c);
		generation = k->generation;
		exit = 0;
	}
	b = block_here(c, &generation);
	if (!b) {
		step_insn(c);
		return;
	}
	if (unlikely(c->compare) && compare_block(c, b))
		return;
	world_enter(c);
	if (generation == k->generation) {
		/* A trace of blocks sees every one: nothing is chained. */
		c->s.rflags &= ~RFLAGS_RF;
		if (likely(!(c->vm->trace & TRACE_BLOCKS) && !(b->mode.bits & MODE_DEBUG)))
			link_block(c, b, exit);
		c->branch_at = 0;
		enter(c, b->body);
	}
	leave_block(c);
}

static bool must_step(const struct soft_cpu *c)
{
	return c->single_step || c->debug.single_step || (c->s.rflags & RFLAGS_TF) || (c->s.dr7 & 0xff) ||
	       (c->ctx->key.mode.bits & MODE_AC);
}

static void run_some(struct soft_cpu *c)
{
	if (unlikely(c->mode_changed))
		context_update(c);
	if (unlikely(must_step(c))) {
		c->arg[0] = 0;
		c->single_step = false;
		step_insn(c);
		if (c->shadow_step)
			event_shadow_over(c);
		return;
	}
	run_block(c);
}

/* In non-root operation shutdown is an activity state like HLT. */
static bool is_shut_down(const struct soft_cpu *c)
{
	return c->s.activity == CPU_SHUTDOWN && !c->vmx_non_root;
}

/* What slot_missed() asked for, done where no address is live. */
static void drop_block(struct soft_cpu *c)
{
	struct code_cache *k = &c->vm->cache;

	pthread_mutex_lock(&k->lock);
	if (cache_page(k, c->drop_block))
		cache_remove_page(k, cache_page(k, c->drop_block));
	pthread_mutex_unlock(&k->lock);
	c->drop_block = 0;
}

static void exec_loop(struct soft_cpu *c)
{
	if (c->mode_changed)
		context_update(c);
	for (;;) {
		u32 req = atomic_load(&c->request);

		if (unlikely(req || c->event.pending))
			c->arg[0] = 0; /* RIP may be another when the next block is found */
		if (unlikely(req)) {
			if (req & REQ_STOP)
				return;
			if (unlikely(compare_failed(c)))
				return;
			atomic_fetch_and(&c->request, ~(u32)REQ_SAFE);
			if (c->drop_block)
				drop_block(c);
			if (!c->event.pending)
				event_poll(c);
		}
		if (unlikely(c->event.pending))
			event_deliver(c);
		else if (unlikely(c->debugging) && c->s.activity == CPU_ACTIVE && debug_stops(c))
			return;
		else if (likely(c->s.activity == CPU_ACTIVE))
			run_some(c);
		else if (is_shut_down(c))
			return;
		else if (!event_wakes_hlt(c))
			cpu_sleep(c);
		else
			event_poll(c);
		if (unlikely(c->mode_changed))
			context_update(c);
	}
}

static enum vcpu_stop soft_run(struct engine_vcpu *v)
{
	struct soft_cpu *c = (struct soft_cpu *)v;

	world_set_self(c);
	vec_load(c);
	c->mode_changed = true;
	c->arg[0] = 0;
	while (exec_protect(c, exec_loop)) {
		world_leave(c);
		c->arg[0] = 0;
	}
	vec_save(c);
	vec_default();
	world_set_self(NULL);
	if (is_shut_down(c))
		return VCPU_STOP_TRIPLE_FAULT;
	if (compare_failed(c))
		return VCPU_STOP_DIFFERENT;
	if (c->debug_hit) {
		c->debug_hit = false;
		return VCPU_STOP_DEBUG;
	}
	atomic_fetch_and(&c->request, ~(u32)REQ_STOP);
	return VCPU_STOP_KICKED;
}

/* ---- Host signals ---- */

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

/* ---- Creation and the engine's operations ---- */

static void cpuid(u32 leaf, u32 sub, u32 *a, u32 *b, u32 *c, u32 *d)
{
	__asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "0"(leaf), "2"(sub));
}

static void look_at_host(struct soft_vm *vm)
{
	u32 a, b, c, d;

	cpuid(7, 0, &a, &b, &c, &d);
	vm->has_bmi2 = b >> 8 & 1;
	vm->has_fsgsbase = getauxval(AT_HWCAP2) & 2; /* the kernel allows it */
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	vm->xsave_mask = a & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512);
}

static void on_mem_written(void *opaque, gpa_t gpa, u64 size)
{
	smc_written(opaque, gpa, size);
}

static u64 mem_end(const struct mem *m)
{
	u64 end = m->hot.gpa + m->hot.max;

	for (unsigned n = 0; n < m->nr_slots; n++)
		end = MAX(end, m->slots[n].gpa + m->slots[n].size);
	return end;
}

static void soft_vm_destroy(struct engine_vm *v)
{
	struct soft_vm *vm = (struct soft_vm *)v;

	if (!vm)
		return;
	vm->env.mem->has_listener = false;
	cache_destroy(&vm->cache);
	if (vm->rows)
		munmap(vm->rows, insn_nr_rows());
	lapic_bus_destroy(vm->lapics);
	munmap(vm, sizeof(*vm));
}

static void *map_zeroed(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* --trace rows=FILE: a byte of FILE per row of insn.def, set when such an instruction
 * is translated or stepped; several runs may share it. For make coverage-tables. */
static int map_rows(struct soft_vm *vm, const char *path, struct err *e)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	u8 *rows = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, insn_nr_rows()))
		rows = mmap(NULL, insn_nr_rows(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (rows == MAP_FAILED)
		err_set(e, "cannot write the trace of rows to %s: %s", path, strerror(errno));
	else
		vm->rows = rows;
	if (fd >= 0)
		close(fd);
	return vm->rows ? 0 : -1;
}

static int start_trace(struct soft_vm *vm, struct err *e)
{
	struct trace_list trace;

	if (trace_parse(vm->env.trace, &trace, e))
		return -1;
	vm->trace = trace.points;
	return *trace.rows ? map_rows(vm, trace.rows, e) : 0;
}

static int soft_vm_create(const struct machine_env *env, struct engine_vm **res, struct err *e)
{
	struct soft_vm *vm = map_zeroed(sizeof(*vm));
	int r = -ENOMEM;

	if (!vm)
		return err_set(e, "cannot create the software engine: out of memory");
	vm->env = *env;
	vm->nr_cpus = env->nr_cpus;
	pthread_mutex_init(&vm->world, NULL);
	look_at_host(vm);
	r = lapic_bus_create(env->nr_cpus, &vm->lapics);
	if (!r)
		r = cache_create(&vm->cache, mem_end(env->mem) >> PAGE_SHIFT);
	if (r) {
		soft_vm_destroy((struct engine_vm *)vm);
		return err_set(e, "cannot create the software engine: no memory for the code cache");
	}
	if (start_trace(vm, e)) {
		soft_vm_destroy((struct engine_vm *)vm);
		return -1;
	}
	stubs_create(vm);
	vm->stats_on = env->count_insns;
	env->mem->listener = (struct mem_listener){ .written = on_mem_written, .opaque = vm };
	env->mem->has_listener = true;
	exec_install_signals();
	*res = (struct engine_vm *)vm;
	return 0;
}

static void on_lapic_wake(void *opaque)
{
	cpu_request(opaque, REQ_IRQ);
}

static void on_lapic_outside(void *opaque, void (*fn)(void *arg), void *arg)
{
	vec_saved(opaque, fn, arg);
}

static u64 on_lapic_tsc(void *opaque)
{
	struct soft_cpu *c = opaque;

	return __builtin_ia32_rdtsc() + c->s.tsc_offset;
}

static void soft_vcpu_destroy(struct engine_vcpu *v)
{
	struct soft_cpu *c = (struct soft_cpu *)v;

	if (!c)
		return;
	c->vm->cpus[c->index] = NULL;
	lapic_fini(&c->lapic);
	vmx_destroy(c);
	compare_destroy(c);
	context_pool_destroy(c);
	munmap((u8 *)c - STACK_SIZE, STACK_SIZE + ALIGN_UP(sizeof(*c), PAGE_SIZE));
}

/* The state lies above the stack that helpers use while translated code runs. */
static int soft_vcpu_create(struct engine_vm *v, unsigned index, struct engine_vcpu **res,
			    struct err *e)
{
	struct soft_vm *vm = (struct soft_vm *)v;
	u8 *p = map_zeroed(STACK_SIZE + ALIGN_UP(sizeof(struct soft_cpu), PAGE_SIZE));
	struct soft_cpu *c;

	if (!p || index >= MAX_CPUS)
		return err_set(e, "cannot create vCPU %u: out of memory", index);
	mprotect(p, PAGE_SIZE, PROT_NONE);
	c = (struct soft_cpu *)(void *)(p + STACK_SIZE);
	c->vm = vm;
	c->index = index;
	c->vpid = 0;
	c->fcs = 0;
	cpu_state_reset(&c->s, index == 0);
	cpu_set_rflags(c, c->s.rflags);
	if (context_pool_create(c))
		return err_set(e, "cannot create vCPU %u: out of memory", index);
	lapic_init(&c->lapic, vm->lapics, index, vm->env.loop);
	c->lapic.wake = on_lapic_wake;
	c->lapic.guest_tsc = on_lapic_tsc;
	c->lapic.outside = on_lapic_outside;
	c->lapic.opaque = c;
	c->lapic.tsc_hz = vm->env.model->tsc_hz;
	if (vm->env.compare && compare_create(c, vm->env.compare))
		return err_set(e, "cannot create vCPU %u: out of memory", index);
	if (vm->env.model->vmx && vmx_create(c))
		return err_set(e, "cannot create vCPU %u: out of memory", index);
	vm->cpus[index] = c;
	*res = (struct engine_vcpu *)c;
	return 0;
}

/* What set_state() leaves alone because a debugger uses it, too. */
static int soft_vm_reset(struct engine_vm *v)
{
	struct soft_vm *vm = (struct soft_vm *)v;

	for (unsigned n = 0; n < vm->nr_cpus; n++) {
		struct soft_cpu *c = vm->cpus[n];

		if (!c)
			continue;
		if (c->vmx)
			vmx_reset(c);
		c->event.pending = c->vectoring.pending = false;
		c->single_step = c->shadow_step = false;
		c->fip = c->fdp = 0;
		c->fop = c->fcs = c->fds = 0;
	}
	return 0;
}

static void soft_kick(struct engine_vcpu *v)
{
	cpu_request((struct soft_cpu *)v, REQ_STOP);
}

static int soft_get_state(struct engine_vcpu *v, struct cpu_state *s)
{
	struct soft_cpu *c = (struct soft_cpu *)v;

	*s = c->s;
	s->rflags = cpu_rflags(c);
	s->cr8 = lapic_tpr(&c->lapic) >> 4;
	return 0;
}

static int soft_set_state(struct engine_vcpu *v, const struct cpu_state *s)
{
	struct soft_cpu *c = (struct soft_cpu *)v;

	c->s = *s;
	cpu_set_rflags(c, s->rflags);
	if (c->ctx)
		tlb_flush_everything(c);
	c->mode_changed = true;
	return 0;
}

static struct lapic *soft_lapic(struct engine_vcpu *v)
{
	return &((struct soft_cpu *)v)->lapic;
}

static void stats_add(struct engine_stats *to, const struct engine_stats *from)
{
	to->exits_mmio += from->exits_mmio;
	to->exits_pio += from->exits_pio;
	to->exits_hlt += from->exits_hlt;
	to->exits_vmx += from->exits_vmx;
	to->translations += from->translations;
	to->flushes += from->flushes;
}

static void soft_stats(struct engine_vm *v, struct engine_stats *res)
{
	struct soft_vm *vm = (struct soft_vm *)v;

	*res = (struct engine_stats){ .blocks = vm->cache.nr_blocks,
				      .code_bytes = (u64)(vm->cache.em.p - vm->cache.rw) };
	for (unsigned n = 0; n < vm->nr_cpus; n++) {
		if (vm->cpus[n])
			stats_add(res, &vm->cpus[n]->stats);
	}
	cache_count_insns(&vm->cache);
	res->insns_native = vm->cache.executed[0];
	res->insns_own = vm->cache.executed[1];
	res->insns_helper = vm->cache.executed[2];
}

static bool soft_peek(struct engine_vcpu *v, gva_t addr, void *to, unsigned size)
{
	return debug_access((struct soft_cpu *)v, addr, to, size, false);
}

static bool soft_poke(struct engine_vcpu *v, gva_t addr, const void *from, unsigned size)
{
	return debug_access((struct soft_cpu *)v, addr, (void *)from, size, true);
}

static void soft_dump(struct engine_vcpu *v)
{
	struct soft_cpu *c = (struct soft_cpu *)v;
	const struct cpu_state *s = &c->s;

	log_line(LOG_ERR, "cpu %u rip %llx cs %x ss %x rflags %llx cr0 %llx cr2 %llx cr3 %llx cr4 %llx",
		 c->index, (unsigned long long)s->rip, s->seg[SEG_CS].sel, s->seg[SEG_SS].sel,
		 (unsigned long long)cpu_rflags(c), (unsigned long long)s->cr0,
		 (unsigned long long)s->cr2, (unsigned long long)s->cr3, (unsigned long long)s->cr4);
	for (unsigned n = 0; n < 16; n += 4)
		log_line(LOG_ERR, "  r%-2u %016llx %016llx %016llx %016llx", n,
			 (unsigned long long)s->gpr[n], (unsigned long long)s->gpr[n + 1],
			 (unsigned long long)s->gpr[n + 2], (unsigned long long)s->gpr[n + 3]);
	log_line(LOG_ERR, "  efer %llx activity %d request %x halted %d non-root %d run_seq %llu",
		 (unsigned long long)s->msr.efer, s->activity, c->request, c->halted,
		 c->vmx_non_root, (unsigned long long)c->run_seq);
}

static bool soft_hypervisor_active(struct engine_vcpu *v)
{
	return vmx_in_operation((struct soft_cpu *)v);
}

const struct engine_ops soft_engine = {
	.name = "software",
	.vm_create = soft_vm_create,
	.vm_destroy = soft_vm_destroy,
	.vm_reset = soft_vm_reset,
	.vcpu_create = soft_vcpu_create,
	.vcpu_destroy = soft_vcpu_destroy,
	.run = soft_run,
	.kick = soft_kick,
	.get_state = soft_get_state,
	.set_state = soft_set_state,
	.save = soft_vcpu_save,
	.load = soft_vcpu_load,
	.lapic = soft_lapic,
	.stats = soft_stats,
	.hypervisor_active = soft_hypervisor_active,
	.dump = soft_dump,
	.peek = soft_peek,
	.poke = soft_poke,
	.set_debug = soft_set_debug,
};
