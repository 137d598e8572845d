// SPDX-License-Identifier: MIT
/*
 * What translated code calls by way of the stubs: helpers, addresses through
 * segments, and memory operands whose check failed, which fill the TLB and page
 * slots, cross pages, or are stepped.
 */
#include "engine/exec.h"

#include "engine/compare.h"
#include "engine/fpu.h"
#include "engine/softvm.h"
#include "engine/step.h"
#include "engine/tlb.h"
#include "engine/walk.h"

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
