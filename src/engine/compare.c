// SPDX-License-Identifier: MIT
/*
 * Lockstep compare: see compare.h.
 *
 * Theory of operation. Both executions run in a context of their own, which starts
 * empty: so every page is looked up before its first write (compare_note_write()
 * keeps what was there), and no block of the other contexts' jump caches is entered.
 * Blocks that are still to be compared are not linked to, and theirs to no other.
 *
 * Flags. What the translation left in cpu.flags for flags that it thinks nobody will
 * read may be anything. The second execution's are right; but if the next block is
 * compared too, its first execution starts with those of the first: whoever reads
 * one after all gives a difference. Before an instruction
 * that is a helper all must be right.
 */
#include "engine/compare.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "engine/exec.h"
#include "engine/fpu.h"
#include "engine/step.h"
#include "engine/tlb.h"
#include "engine/walk.h"

enum { MAX_PAGES = 512, VEC_SIZE = XSAVE_SIZE_MAX, RENEW_CYCLES_SHIFT = 30, TRIES = 3 };
enum { LAHF_FLAGS = 0xd501 }; /* the arithmetic flags as cpu.flags has them */

struct written_page {
	u8 *host;
	u8 before[PAGE_SIZE], after[PAGE_SIZE];
};

/* A state, and how it came about. */
struct side {
	struct cpu_state s;
	struct cpu_event event, vectoring;
	u16 flags;
	bool mode_changed, irq_held, stopped, at_helper;
	u8 vec[VEC_SIZE] __attribute__((aligned(64)));
};

struct lockstep {
	unsigned times;
	bool failed;
	bool stopped, at_helper; /* how the present execution ended */
	bool matched;
	const struct block *b;
	gva_t begin, end; /* of the block */
	u64 renewed;	  /* host TSC */
	struct context *own;
	struct side start, first, now;
	struct { /* see above */
		bool valid;
		gva_t rip;
		u16 first, second;
	} carry;
	unsigned passes; /* how often the second came to where the first ended */
	unsigned nr_pages;
	struct written_page page[MAX_PAGES];
};

int compare_create(struct soft_cpu *c, unsigned times)
{
	struct lockstep *k = mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (k == MAP_FAILED)
		return -ENOMEM;
	k->times = times;
	k->own = context_create_own();
	c->compare = k;
	return k->own ? 0 : -ENOMEM;
}

void compare_destroy(struct soft_cpu *c)
{
	if (!c->compare)
		return;
	context_destroy_own(c->compare->own);
	munmap(c->compare, sizeof(*c->compare));
	c->compare = NULL;
}

bool compare_failed(const struct soft_cpu *c)
{
	return c->compare && c->compare->failed;
}

bool compare_is_old(struct soft_cpu *c)
{
	u64 now = __builtin_ia32_rdtsc();

	if (now - c->compare->renewed < MAX(c->compare->times, 8) * BIT(RENEW_CYCLES_SHIFT))
		return false;
	c->compare->renewed = now;
	return true;
}

/* ---- What ends a compared part ---- */

void compare_stop(struct soft_cpu *c)
{
	c->compare->stopped = true;
	exec_unwind(c);
}

void compare_check_helper(struct soft_cpu *c, const struct helper_site *site)
{
	if (site->fn == helper_string)
		return;
	c->compare->at_helper = site->insn.how == HOW_HELPER;
	compare_stop(c);
}

/* ---- Memory ---- */

void compare_note_write(struct soft_cpu *c, u8 *host)
{
	struct lockstep *k = c->compare;
	u8 *page = (u8 *)((u64)host & PAGE_MASK);

	for (unsigned n = 0; n < k->nr_pages; n++)
		if (k->page[n].host == page)
			return;
	if (k->nr_pages == MAX_PAGES)
		compare_stop(c);
	k->page[k->nr_pages].host = page;
	__builtin_memcpy(k->page[k->nr_pages].before, page, PAGE_SIZE);
	__builtin_memcpy(k->page[k->nr_pages].after, page, PAGE_SIZE);
	k->nr_pages++;
}

static bool word_differs(const u8 *a, const u8 *b, unsigned n)
{
	return load64(a + n) != load64(b + n);
}

/* Takes back what was written, and no more: @keep says where it is noted. */
static void undo_writes(struct lockstep *k, bool keep)
{
	for (unsigned p = 0; p < k->nr_pages; p++) {
		struct written_page *w = &k->page[p];

		if (keep)
			__builtin_memcpy(w->after, w->host, PAGE_SIZE);
		for (unsigned n = 0; n < PAGE_SIZE; n += 8)
			if (word_differs(w->host, w->before, n))
				store64(w->host + n, load64(w->before + n));
	}
}

static bool same_memory(const struct lockstep *k)
{
	for (unsigned p = 0; p < k->nr_pages; p++)
		if (__builtin_memcmp(k->page[p].after, k->page[p].host, PAGE_SIZE))
			return false;
	return true;
}

/* ---- Registers ---- */

/* The host's registers in one form: components in their initial state are zero. */
static void vec_take(struct soft_cpu *c, u8 *to)
{
	u64 mask = c->vm->xsave_mask;

	__builtin_memset(to, 0, VEC_SIZE);
	__asm__ volatile("xsave64 %0"
			 : "+m"(*(u8(*)[VEC_SIZE])to)
			 : "a"((u32)mask), "d"((u32)(mask >> 32)));
}

static void vec_give(struct soft_cpu *c, const u8 *from)
{
	u64 mask = c->vm->xsave_mask;

	__asm__ volatile("xrstor64 %0"
			 :
			 : "m"(*(const u8(*)[VEC_SIZE])from), "a"((u32)mask), "d"((u32)(mask >> 32)));
}

/* For comparing; it cannot be given any more. */
static void vec_canonical(u8 *x)
{
	u64 bv = load64(x + XSAVE_HEADER);

	if (!(bv & XCR0_X87)) {
		__builtin_memset(x, 0, FX_FOP);
		store16(x, 0x37f);
	}
	__builtin_memset(x + FX_FOP, 0, FX_MXCSR - FX_FOP); /* the host's pointers */
	for (unsigned n = 0; n < 8; n++) {
		if (!(bv & XCR0_X87))
			__builtin_memset(x + FX_ST + 16 * n, 0, 16);
		store16(x + FX_ST + 16 * n + 10, 0);
		store32(x + FX_ST + 16 * n + 12, 0);
	}
	__builtin_memset(x + FX_END, 0, XSAVE_EXT - FX_END);
}

static void side_take(struct soft_cpu *c, struct side *s)
{
	__builtin_memcpy(&s->s, &c->s, offsetof(struct cpu_state, xsave));
	s->event = c->event;
	s->vectoring = c->vectoring;
	s->flags = c->flags;
	s->mode_changed = c->mode_changed;
	s->irq_held = c->irq_held;
	s->stopped = c->compare->stopped;
	s->at_helper = c->compare->at_helper;
	vec_take(c, s->vec);
}

static void side_give(struct soft_cpu *c, const struct side *s)
{
	__builtin_memcpy(&c->s, &s->s, offsetof(struct cpu_state, xsave));
	c->event = s->event;
	c->vectoring = s->vectoring;
	c->flags = s->flags;
	c->mode_changed = s->mode_changed;
	c->irq_held = s->irq_held;
	vec_give(c, s->vec);
}

static bool same_event(const struct cpu_event *a, const struct cpu_event *b)
{
	if (!a->pending || !b->pending)
		return a->pending == b->pending;
	return a->vector == b->vector && a->type == b->type && a->has_error == b->has_error &&
	       a->error == b->error && a->cr2 == b->cr2 && a->dr6 == b->dr6;
}

static bool same_flags(const struct side *a, const struct side *b)
{
	return !((a->flags ^ b->flags) & LAHF_FLAGS);
}

/* Is the vCPU's state the first execution's result? */
static bool same_state(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;
	const struct side *a = &k->first;

	if (c->s.rip != a->s.rip || __builtin_memcmp(c->s.gpr, a->s.gpr, sizeof(c->s.gpr)) ||
	    ((c->s.rflags ^ a->s.rflags) & ~RFLAGS_RF) || !same_event(&c->event, &a->event))
		return false;
	side_take(c, &k->now);
	vec_canonical(k->now.vec);
	if (__builtin_memcmp(k->now.vec, a->vec, VEC_SIZE))
		return false;
	if (a->at_helper && !same_flags(&k->now, a))
		return false;
	return same_memory(k);
}

/* ---- The two executions ---- */

static void run_block(struct soft_cpu *c)
{
	exec_enter_block(c, c->compare->b);
}

/* One instruction; true if the next one is of the block, too: a jump back leaves it. */
static bool step_inside(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;
	gva_t rip = c->s.rip;

	step_insn(c);
	return c->s.rip > rip && c->s.rip < k->end;
}

/* Up to where the first execution ended. If it came by there before (the block jumps
 * to its own middle), the states differ, and it goes on. */
static void run_steps(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;

	for (bool inside = true; inside && !k->matched;) {
		inside = step_inside(c);
		if (c->s.rip == k->first.s.rip && !k->first.event.pending) {
			k->passes++;
			k->matched = same_state(c);
		}
	}
}

static void execute(struct soft_cpu *c, void (*fn)(struct soft_cpu *c))
{
	struct lockstep *k = c->compare;
	u64 protect = c->protect_sp;

	k->stopped = k->at_helper = false;
	context_empty_own(c, k->own);
	exec_protect(c, fn);
	world_leave(c);
	c->protect_sp = protect;
}

static void first_execution(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;

	if (k->carry.valid && k->carry.rip == c->s.rip && k->carry.second == c->flags)
		c->flags = k->carry.first;
	k->carry.valid = false;
	execute(c, run_block);
	side_take(c, &k->first);
	vec_canonical(k->first.vec);
	undo_writes(k, true);
	side_give(c, &k->start);
}

/* The first did not get anywhere: its first instruction ends compared parts. */
static bool first_did_nothing(const struct lockstep *k)
{
	return k->first.stopped && k->first.s.rip == k->start.s.rip &&
	       !__builtin_memcmp(k->first.s.gpr, k->start.s.gpr, sizeof(k->start.s.gpr));
}

static void second_execution(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;

	k->matched = false;
	k->passes = 0;
	execute(c, run_steps);
	if (!k->matched && (c->event.pending || k->stopped))
		k->matched = same_state(c);
}

/* ---- The report ---- */

static void say_register(const char *what, u64 first, u64 second)
{
	if (first != second)
		log_line(LOG_ERR, "  %-8s translated %016llx  stepped %016llx", what,
			 (unsigned long long)first, (unsigned long long)second);
}

static void say_bytes(const char *what, const u8 *first, const u8 *second, unsigned size)
{
	for (unsigned n = 0; n < size; n += 8) {
		char name[40];

		snprintf(name, sizeof(name), "%s+%u", what, n);
		if (word_differs(first, second, n))
			say_register(name, load64(first + n), load64(second + n));
	}
}

static void say_block(struct soft_cpu *c)
{
	const struct lockstep *k = c->compare;
	const u8 *bytes = phys_host(c, k->b->pa, k->b->size);
	struct insn_mode mode = insn_mode_of(c, k->b->mode.bits);
	unsigned off = 0;

	while (bytes && !k->b->pa2 && off < k->b->size) {
		char text[128], hex[2 * INSN_MAX + 1] = "";
		struct insn i;

		if (insn_decode(bytes + off, k->b->size - off, k->begin + off, mode, &i) != DECODE_OK)
			break;
		insn_format(&i, text, sizeof(text));
		for (unsigned n = 0; n < i.len; n++)
			snprintf(hex + 2 * n, 3, "%02x", bytes[off + n]);
		log_line(LOG_ERR, "  %12llx  %-30s  %s", (unsigned long long)(k->begin + off), hex, text);
		off += i.len;
	}
}

static void say_memory(const struct lockstep *k)
{
	for (unsigned p = 0; p < k->nr_pages; p++) {
		char name[40];

		snprintf(name, sizeof(name), "page %u", p);
		say_bytes(name, k->page[p].after, k->page[p].host, PAGE_SIZE);
	}
}

/* With the vector state saved. */
static void report(void *arg)
{
	static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
	struct soft_cpu *c = arg;
	const struct lockstep *k = c->compare;
	const struct side *a = &k->first, *b = &k->now;

	log_err("compare: the block at %x:%llx (mode %llx) and its instructions differ",
		k->start.s.seg[SEG_CS].sel, (unsigned long long)k->begin,
		(unsigned long long)k->b->mode.bits);
	say_block(c);
	log_line(LOG_ERR, "from this state:");
	for (unsigned n = 0; n < 16; n += 4)
		log_line(LOG_ERR, "  r%-2u %016llx %016llx %016llx %016llx", n,
			 (unsigned long long)k->start.s.gpr[n], (unsigned long long)k->start.s.gpr[n + 1],
			 (unsigned long long)k->start.s.gpr[n + 2],
			 (unsigned long long)k->start.s.gpr[n + 3]);
	log_line(LOG_ERR, "  rflags %llx, arithmetic (as LAHF) %x; %s",
		 (unsigned long long)k->start.s.rflags, k->start.flags,
		 a->event.pending ? "it ended by a fault" :
		 a->stopped ? "it ended before something that cannot be taken back" : "it ended at a branch");
	log_line(LOG_ERR, "results:");
	say_register("rip", a->s.rip, b->s.rip);
	for (unsigned n = 0; n < 16; n++)
		say_register(names[n], a->s.gpr[n], b->s.gpr[n]);
	say_register("rflags", a->s.rflags & ~RFLAGS_RF, b->s.rflags & ~RFLAGS_RF);
	if (a->at_helper)
		say_register("flags", a->flags & LAHF_FLAGS, b->flags & LAHF_FLAGS);
	say_register("fault", a->event.pending ? a->event.vector : ~0ull,
		     b->event.pending ? b->event.vector : ~0ull);
	if (a->event.pending && b->event.pending) {
		say_register("error", a->event.error, b->event.error);
		say_register("cr2", a->event.cr2, b->event.cr2);
	}
	say_bytes("vectors", a->vec, b->vec, VEC_SIZE);
	say_memory(k);
}

/* The steps once more, up to the last time that they come to the same place. */
static void run_steps_there(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;

	for (bool inside = true; inside;) {
		inside = step_inside(c);
		if (c->s.rip == k->first.s.rip && !k->first.event.pending && !--k->passes)
			break;
	}
}

static void fail(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;

	undo_writes(k, false);
	side_give(c, &k->start);
	execute(c, run_steps_there);
	side_take(c, &k->now);
	vec_canonical(k->now.vec);
	k->failed = true;
	cpu_request(c, REQ_EVENT); /* exec_loop() looks */
	vec_saved(c, report, c);
}

/* ---- A block ---- */

/* Both executions; true if they agree. */
static bool compare_once(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;

	k->nr_pages = 0;
	side_take(c, &k->start);
	first_execution(c);
	if (first_did_nothing(k))
		return true;
	second_execution(c);
	if (k->matched && !k->first.event.pending && c->flags != k->first.flags) {
		k->carry.valid = true;
		k->carry.rip = c->s.rip;
		k->carry.first = k->first.flags;
		k->carry.second = c->flags;
	}
	return k->matched;
}

static void compare_both(struct soft_cpu *c)
{
	struct lockstep *k = c->compare;

	/* Something may have written to memory between the two, after all. */
	for (unsigned n = 1; !compare_once(c); n++) {
		if (n == TRIES) {
			fail(c);
			return;
		}
		undo_writes(k, false);
		side_give(c, &k->start);
		k->carry.valid = false;
	}
}

/* Is the code still where the TLB remembers it? The steps would look there anew. */
static bool code_is_mapped(struct soft_cpu *c, const struct block *b)
{
	bool code64 = b->mode.bits & MODE_CODE64;
	gva_t at = code64 ? b->rip : (u32)(b->rip + b->mode.cs_base);
	struct walk w;

	return walk(c, at, WALK_EXEC, (enum ctx_priv)c->ctx->key.priv, true, &w) && w.gpa == b->pa;
}

bool compare_block(struct soft_cpu *c, struct block *b)
{
	struct lockstep *k = c->compare;
	struct context *was = c->ctx;

	if (b->compared >= k->times || !code_is_mapped(c, b))
		return false;
	while (!loop_try_hold(c->vm->env.loop)) {
		if (atomic_load(&c->request) & REQ_STOP)
			return true;
		__builtin_ia32_pause();
	}
	b->compared++;
	k->b = b;
	k->begin = b->rip;
	k->end = b->rip + b->size;
	context_enter_own(c, k->own);
	c->comparing = true;
	compare_both(c);
	c->comparing = false;
	context_leave_own(c, was);
	loop_release(c->vm->env.loop);
	c->arg[0] = 0;
	if (k->failed)
		return true;
	if (k->first.stopped && !c->event.pending) {
		k->carry.valid = false;
		step_insn(c);
	}
	return true;
}
