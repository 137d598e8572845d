/* SPDX-License-Identifier: MIT */
/*
 * The code cache of a VM: translated blocks, shared by its vCPUs.
 *
 * The memory is mapped twice, writable and executable, never both. Blocks are
 * only added; the cache is bounded, and when it is full everything goes at
 * once, with the world stopped. Whoever adds or removes blocks holds
 * cache.lock; look-ups take no lock.
 *
 * A block is found by L1-physical address, RIP and mode. Its host code:
 *
 *   entry       compares r10, the RIP that the jump wanted, with its own;
 *               reached by indirect jumps and through jump caches
 *   chain_back  looks at cpu.request: for backward jumps in the same guest page
 *   chain       for other jumps in the same page
 *   body        after all that
 *
 * A block that is one instruction across a page boundary depends on two pages,
 * so jumps in its first page reach it through the jump cache too: its chain
 * entries are such a jump. INVLPG of either page empties that slot.
 *
 * Invalidation: the block leaves the hash and its page's list, and the compared
 * RIP in its checked entry becomes one that no jump cache slot leads here with,
 * so stale jump caches miss. Its chained predecessors are in the same page and
 * go with it.
 */
#ifndef NESTOR_ENGINE_CACHE_H
#define NESTOR_ENGINE_CACHE_H

#include <pthread.h>

#include "engine/context.h"
#include "engine/emit.h"

struct helper_site {
	struct insn insn;
	helper_fn *fn;
};

/* Where a guest instruction of a block begins. */
struct site {
	u32 host;  /* offset from the block's entry */
	u16 guest; /* offset from the block's RIP */
};

struct block {
	gpa_t pa;
	gpa_t pa2; /* its second page, 0 if none */
	gva_t rip;
	struct block_mode mode;
	u64 entry, chain_back, chain, body, end; /* executable addresses */
	u8 *verify;   /* writable address of the compared RIP's low four bytes */
	u16 size;     /* guest bytes */
	u16 nr_insns;
	unsigned compared; /* how often: compare.h */
	u16 insns_by[3]; /* native, own, helper: for --stats */
	_Atomic bool valid;
	struct site *sites;
	u64 *count; /* executions, with MODE_STATS */
	struct block *_Atomic hash_next;
	struct block *page_next[2]; /* in the lists of pa's and pa2's pages */
};

/* A guest page that holds translated code. */
struct code_page {
	gpa_t gpa;
	struct block *blocks;
	_Atomic u64 map; /* which 64-byte pieces are translated from */
};

enum { SLOT_PATIENCE = 256, SLOT_CYCLES = 150 }; /* see slot_missed() */
static inline unsigned no_slot_index(gva_t rip)
{
	return (rip * 0x9e3779b97f4a7c15ull) >> 56;
}
enum { NO_SHARE_BITS = 12, NO_SHARE = 1 << NO_SHARE_BITS, SHARE_PATIENCE = 32 };
static inline unsigned share_index(gva_t rip)
{
	return (rip * 0x9e3779b97f4a7c15ull) >> (64 - NO_SHARE_BITS);
}

/* Of exec_slow()'s WHAT: the operand must be aligned to its size; a mask may leave
 * out some of it, which then cannot fault; a pending x87 exception comes first; the
 * site can use a bounce buffer. */
enum { WHAT_ALIGNED = 0x200, WHAT_MASKED = 0x400, WHAT_WAITS = 0x800, WHAT_SHARED = 0x1000,
       WHAT_CROSSES = 0x2000 };

enum { CACHE_HASH_BITS = 18, CACHE_HASH = 1 << CACHE_HASH_BITS };

struct code_cache {
	pthread_mutex_t lock;
	u8 *rw;	       /* writable mapping */
	u64 rx;	       /* executable mapping */
	u64 size;
	u8 *stubs_end; /* stubs survive flushes */
	struct emitter em;
	u8 *meta, *meta_next, *meta_end; /* blocks, sites, helper sites */
	struct block *_Atomic *hash;
	struct block **order; /* blocks by host address */
	unsigned nr_blocks, max_blocks;
	/* By L1-physical page number. */
	struct code_page *_Atomic *pages;
	u64 nr_pages;
	unsigned next_slot; /* the page slot that the next site in a loop gets */
	/* Instructions that shall not lead a shared check (checks.c), and failures of
	 * those that do, by share_index(). */
	gva_t no_share[NO_SHARE][2];
	u8 share_failed[NO_SHARE];
	gva_t no_slot[256]; /* instructions that shall not have one, by no_slot_index() */
	u64 executed[3]; /* instructions: native, own, helper; as block.insns_by */
	u64 generation;	 /* number of flushes */
	_Atomic u64 removals; /* of blocks, one at a time */
	struct stubs {
		u64 enter, leave, helper, jump_miss, chain, slow, slot, segment, commit, cpuid, protect, unwind;
	} stub;
};

int cache_create(struct code_cache *k, u64 nr_pages);
void cache_destroy(struct code_cache *k);
void *cache_meta(struct code_cache *k, size_t size); /* NULL: full */

struct block *cache_find(struct code_cache *k, gpa_t pa, gva_t rip, const struct block_mode *mode);
void cache_add(struct code_cache *k, struct block *b);	 /* lock held */
void cache_flush(struct code_cache *k);			 /* lock held, world stopped */
/* Adds the blocks' execution counts (MODE_STATS) to @k->executed. */
void cache_count_insns(struct code_cache *k);
void cache_remove_page(struct code_cache *k, struct code_page *p); /* lock held */
/* The block whose host code contains @pc, or NULL; for faults and slow paths. */
struct block *cache_block_at(struct code_cache *k, u64 pc);
const struct site *block_site(const struct block *b, u64 pc);

static inline struct code_page *cache_page(const struct code_cache *k, gpa_t gpa)
{
	u64 n = gpa >> PAGE_SHIFT;

	return n < k->nr_pages ? atomic_load(&k->pages[n]) : NULL;
}

#endif
