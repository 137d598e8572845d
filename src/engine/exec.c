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
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/compare.h"
#include "engine/debug.h"
#include "engine/save.h"
#include "engine/softvm.h"
#include "engine/step.h"
#include "engine/tlb.h"
#include "engine/vmx/vmx.h"

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
