// SPDX-License-Identifier: MIT
/*
 * Extended page tables (SDM "The Extended Page Table Mechanism"): the walk, its
 * accessed and dirty flags, and a cache of its results.
 *
 * The cache holds what the SDM calls guest-physical mappings, 4 KiB at a time.
 * It only ever grants: an access that a line does not allow walks the tables
 * anew, which is also what an EPT violation's implied invalidation asks for.
 */
#include "engine/vmx/vmx_internal.h"

enum {
	EPTE_PERMS = 7,
	EPTE_MEMTYPE = 7 << 3,
	EPTE_LARGE = 1 << 7,
	EPTE_ACCESSED = 1 << 8,
	EPTE_DIRTY = 1 << 9,
};
#define EPTE_ADDR  0x000ffffffffff000ull
#define EPTP_AD	   BIT(6)
#define EPTP_WALK4 (3u << 3)

bool ept_pointer_valid(struct soft_cpu *c, u64 eptp)
{
	const u64 memtype = eptp & 7, reserved = 0xf80;
	const struct vmx_caps *caps = &c->vmx->caps;

	return (memtype == 0 || memtype == 6) && (eptp & 0x38) == EPTP_WALK4 &&
	       !(eptp & (reserved | caps->phys_invalid));
}

/* SDM "EPT Misconfigurations" for an entry with any permission; @level 4..1. */
static bool misconfigured(const struct vmx_caps *caps, u64 e, unsigned level, bool leaf)
{
	const u64 memtype = e >> 3 & 7;
	u64 reserved = caps->phys_invalid & EPTE_ADDR;

	if ((e & EPTE_PERMS & ~EPT_EXEC) == EPT_WRITE)
		return true;
	if (level == 4)
		reserved |= 0xf8;
	else if (!leaf)
		reserved |= 0x78;
	else if (level > 1)
		reserved |= (BIT(12 + 9 * (level - 1)) - 1) & EPTE_ADDR;
	if (e & reserved)
		return true;
	return leaf && (memtype == 2 || memtype == 3 || memtype == 7);
}

struct ept_walk {
	_Atomic u64 *entry[4]; /* by depth: 0 = PML4E */
	gpa_t at[4];	       /* their addresses */
	u64 value[4];
	unsigned depth;	       /* of the last one */
	u64 base, size;	       /* of the page found */
	u8 perms;
};

static enum ept_result walk_tables(struct soft_cpu *c, l2pa_t pa, struct ept_walk *w)
{
	const struct vmx_caps *caps = &c->vmx->caps;
	gpa_t table = c->eptp & EPTE_ADDR;

	w->perms = EPTE_PERMS;
	for (unsigned level = 4;; level--) {
		const unsigned shift = 3 + 9 * level;
		u64 e = ~0ull; /* what reads where there is no RAM */
		bool leaf;

		w->depth = 4 - level;
		w->at[w->depth] = table + (pa >> shift & 511) * 8;
		w->entry[w->depth] = phys_host(c, w->at[w->depth], 8);
		if (w->entry[w->depth])
			e = atomic_load_explicit(w->entry[w->depth], memory_order_relaxed);
		w->value[w->depth] = e;
		if (!(e & EPTE_PERMS)) {
			w->perms = 0;
			return EPT_VIOLATION;
		}
		leaf = level == 1 || (level < 4 && (e & EPTE_LARGE));
		if (misconfigured(caps, e, level, leaf))
			return EPT_MISCONFIG;
		w->perms &= e;
		if (leaf) {
			w->size = BIT(shift);
			w->base = e & EPTE_ADDR & ~(w->size - 1);
			return EPT_OK;
		}
		table = e & EPTE_ADDR;
	}
}

/* Sets flags where they are missing. False: an entry changed meanwhile, walk
 * again. */
static bool set_flags(struct soft_cpu *c, struct ept_walk *w, bool write)
{
	for (unsigned d = 0; d <= w->depth; d++) {
		u64 old = w->value[d];
		u64 want = old | EPTE_ACCESSED | (write && d == w->depth ? EPTE_DIRTY : 0);

		if (want == old || !w->entry[d])
			continue;
		if (!atomic_compare_exchange_strong(w->entry[d], &old, want))
			return false;
		w->value[d] = want;
		phys_written(c, w->at[d], 8);
	}
	return true;
}

static struct ept_line *cache_line(struct soft_cpu *c, l2pa_t pa)
{
	u64 n = pa >> PAGE_SHIFT;

	return &c->vmx->ept[(n ^ n >> 9) % EPT_CACHE_SIZE];
}

static void fill(struct ept_xlat *res, gpa_t gpa, u64 page_size, u8 perms, bool writable)
{
	res->gpa = gpa;
	res->page_size = page_size;
	res->perms = perms;
	res->writable = writable;
}

static void describe(struct ept_xlat *res, l2pa_t pa, unsigned access, bool paging_structure)
{
	res->pa = pa;
	res->access = access;
	res->paging_structure = paging_structure;
}

static enum ept_result fail(struct ept_xlat *res, enum ept_result r, u8 perms)
{
	res->perms = perms;
	res->writable = false;
	res->result = r;
	return r;
}

enum ept_result ept_probe(struct soft_cpu *c, l2pa_t pa, unsigned access, struct ept_xlat *res)
{
	const bool ad = c->eptp & EPTP_AD;
	struct ept_walk w;
	enum ept_result r = walk_tables(c, pa, &w);

	describe(res, pa, access, false);
	if (r == EPT_OK && (access & ~w.perms))
		r = EPT_VIOLATION;
	if (r != EPT_OK)
		return fail(res, r, w.perms);
	fill(res, w.base | (pa & (w.size - 1)), w.size, w.perms,
	     (w.perms & EPT_WRITE) && (!ad || (w.value[w.depth] & EPTE_DIRTY)));
	return res->result = EPT_OK;
}

static enum ept_result translate_slow(struct soft_cpu *c, l2pa_t pa, struct ept_xlat *res)
{
	const bool ad = c->eptp & EPTP_AD;
	struct ept_line *l = cache_line(c, pa);
	struct ept_walk w;

	do {
		enum ept_result r = walk_tables(c, pa, &w);

		if (r == EPT_OK && (res->access & ~w.perms))
			r = EPT_VIOLATION;
		if (r != EPT_OK) {
			l->eptp = 0;
			return fail(res, r, w.perms);
		}
	} while (ad && !set_flags(c, &w, res->access & EPT_WRITE));

	fill(res, w.base | (pa & (w.size - 1)), w.size, w.perms,
	     (w.perms & EPT_WRITE) && (!ad || (w.value[w.depth] & EPTE_DIRTY)));
	l->eptp = c->eptp;
	l->page = pa & PAGE_MASK;
	l->gpa = res->gpa & PAGE_MASK;
	l->page_size = w.size;
	l->perms = w.perms;
	l->writable = res->writable;
	return res->result = EPT_OK;
}

enum ept_result ept_translate(struct soft_cpu *c, l2pa_t pa, unsigned access, bool paging_structure,
			      struct ept_xlat *res)
{
	const struct ept_line *l = cache_line(c, pa);

	if (paging_structure && (c->eptp & EPTP_AD))
		access |= EPT_READ | EPT_WRITE;
	describe(res, pa, access, paging_structure);
	if (l->eptp == c->eptp && l->page == (pa & PAGE_MASK) && !(access & ~l->perms) &&
	    (l->writable || !(access & EPT_WRITE))) {
		fill(res, l->gpa | (pa & ~PAGE_MASK), l->page_size, l->perms, l->writable);
		return res->result = EPT_OK;
	}
	return translate_slow(c, pa, res);
}

void ept_cache_flush(struct soft_cpu *c)
{
	for (unsigned i = 0; i < EPT_CACHE_SIZE; i++)
		c->vmx->ept[i].eptp = 0;
}

void vmx_exit_ept(struct soft_cpu *c, const struct ept_xlat *x, bool has_gla, gva_t gla)
{
	struct vmx_exit_info e = {
		.reason = x->result == EPT_MISCONFIG ? EXIT_EPT_MISCONFIG : EXIT_EPT_VIOLATION,
		.has_gpa = true,
		.gpa = x->pa,
		.fault_like = true,
	};

	if (x->result == EPT_VIOLATION) {
		e.qualification = x->access | (u64)x->perms << EPTQ_PERM_SHIFT;
		if (has_gla)
			e.qualification |= EPTQ_GLA_VALID | (x->paging_structure ? 0 : EPTQ_FINAL);
		if (c->vmx->iret_rip == c->s.rip && !c->vectoring.pending)
			e.qualification |= EPTQ_NMI_UNBLOCK;
		e.has_gla = has_gla;
		e.gla = gla;
	}
	vmx_exit_with(c, &e);
}
