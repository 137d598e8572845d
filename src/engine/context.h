/* SPDX-License-Identifier: MIT */
/*
 * Contexts: what an address means and who asks. A context holds the soft TLB
 * and the jump cache for one combination of address space (VPID, EPTP, PCID),
 * effective privilege and block mode. Changing context is changing the gs base;
 * nothing is flushed.
 *
 * A context belongs to its vCPU. Two things are written by other threads: a
 * write tag may be removed (smc.c), atomically, and nothing else.
 *
 * Theory of operation of the TLB. Entry n is for the linear pages whose low
 * bits are n. Translated code computes `address - tag`, which is the offset in
 * the page if the tag is right, and goes on if that is at most 4096 - size; so
 * one comparison finds a wrong page, a missing right and a page crossing. An
 * entry that must never match has a tag that belongs to another index: zero for
 * all but entry 0, which holds TLB_NEVER_0. A read tag is there when the page
 * may be read at this privilege and is RAM; a write tag when it may be written,
 * is dirty in the page tables, and holds no translated code.
 *
 * Page slots. Accesses that mostly stay in one page (the stack's, those of small
 * loops) have a slot of their own: the page's tag and its host address, without a
 * look-up. A slot is filled from the TLB (stubs.c, or exec_slow()) and is
 * emptied with it: then both are SLOT_NEVER, the address of no canonical page; an
 * access there reaches the same host address, and faults as the guest's #GP.
 */
#ifndef NESTOR_ENGINE_CONTEXT_H
#define NESTOR_ENGINE_CONTEXT_H

#include <assert.h>

#include "engine/soft.h"

enum { NR_SLOTS = 256, SLOT_STACK = 0, SLOT_STACK_WRITE = 1, SLOT_SITES = 2 };
#define SLOT_NEVER 0x6b5c3a2917f4e000ull /* no address that a program comes by often */
struct page_slot {
	u64 tag, host; /* host address of the page */
};

enum { BIG_SHIFT = 21, NR_BIG = 128 };
enum { TLB_BITS = 14, TLB_SIZE = 1 << TLB_BITS, TLB_SHIFT = 5, JUMP_SIZE = 65536, ITLB_SIZE = 256,
       NR_CONTEXTS = 32, NR_LARGE = 8, JUMP_GROUP = 64 };
#define TLB_NEVER_0 ((u64)1 << PAGE_SHIFT)

struct tlb_entry {
	u64 rtag, wtag;
	u64 host; /* host address of the page */
	u64 info; /* L1-physical page address | INFO_* */
};
#define INFO_GLOBAL 1u
static_assert(sizeof(struct tlb_entry) == 1 << TLB_SHIFT, "translated code indexes by shifting");

/* Who asks. Supervisor accesses under SMAP differ by EFLAGS.AC. */
enum ctx_priv { PRIV_USER, PRIV_SUPERVISOR, PRIV_SUPERVISOR_AC, NR_PRIVS };

/* Everything that a translation assumed about the processor, in one place. */
struct block_mode {
	u64 bits;    /* MODE_* */
	u64 cs_base; /* of code outside 64-bit mode */
};
#define MODE_CODE64   BIT(0)
#define MODE_CODE32   BIT(1)  /* CS.D */
#define MODE_SS32     BIT(2)  /* SS.B */
#define MODE_REAL     BIT(3)  /* real or virtual-8086 mode */
#define MODE_NONROOT  BIT(4)
#define MODE_FPU_EM   BIT(5)
#define MODE_FPU_TS   BIT(6)
#define MODE_FPU_MP   BIT(7)
#define MODE_OSFXSR   BIT(8)
#define MODE_AVX      BIT(9)  /* CR4.OSXSAVE and XCR0 allow it */
#define MODE_AVX512   BIT(10)
#define MODE_CPL_SHIFT 11     /* two bits */
#define MODE_LMA      BIT(13)
#define MODE_STATS    BIT(14)
#define MODE_DEBUG    BIT(30) /* breakpoints are set: see debug.h */
#define MODE_AC       BIT(15) /* alignment checks in force: every access is stepped */
/* Two bits a segment: base is zero; no limit or type check is needed. */
#define MODE_SEG_ZERO(s) BIT(16 + 2 * (s))
#define MODE_SEG_FLAT(s) BIT(17 + 2 * (s))

struct ctx_key {
	struct block_mode mode;
	u64 eptp;
	u16 vpid, pcid;
	u32 priv; /* enum ctx_priv */
	u32 rights; /* bits of CR0, CR4 and EFER that page-table rights depend on, and */
	u32 pkru;   /* protection keys: a VM entry or exit may change them without a flush */
};

enum { STALE_NONGLOBAL = 1, STALE_ALL = 2 };

struct context {
	struct tlb_entry tlb[TLB_SIZE]; /* first: gs:0 */
	struct page_slot slot[NR_SLOTS];
	u32 jump[JUMP_SIZE];		/* by low 16 bits of RIP: a block's checked entry */
	struct ctx_key key;
	bool in_use;
	u64 slot_used[NR_SLOTS / 64];
	u8 stale; /* STALE_*: to be done before it is used again */
	u64 last_used;
	u32 jump_miss;	/* what an empty slot holds */
	/* What is in use, so that forgetting costs what was learnt: a bit per
	 * entry, or per group of JUMP_GROUP jump cache slots (a word is a page). */
	bool learnt; /* anything since the last flush */
	u64 jump_used[JUMP_SIZE / JUMP_GROUP / 64];
	u64 tlb_used[TLB_SIZE / 64];
	u64 tlb_local[TLB_SIZE / 64]; /* of those in use: not global */
	/* Bloom filter of the linear pages that jump cache slots lead to; and whether
	 * code was fetched from a page that is not global. */
	u64 code_filter[64];
	bool code_local;
	u64 itlb_used[ITLB_SIZE / 64];
	struct {
		u64 tag, gpa; /* linear page (1 = none), L1-physical page */
	} itlb[ITLB_SIZE];
	/* Large guest pages in the TLB, as linear ranges: INVLPG inside one
	 * empties the context. */
	struct {
		u64 start, end;
	} large[NR_LARGE];
	unsigned nr_large;
	/* The walks of large pages, 2 MiB a piece: a miss of the TLB in a kernel's
	 * direct map needs no walk. */
	struct big_page {
		u64 tag; /* linear address >> BIG_SHIFT, plus 1; 0 = none */
		gpa_t gpa;
		bool readable, writable, global;
	} big[NR_BIG];
	bool big_used;
	/* Bloom filter of L1-physical pages that may have a write tag here. */
	_Atomic u64 wfilter[64];
	struct context *sibling[NR_PRIVS]; /* same key but for the privilege, or NULL */
};

#define CTX_SLOT_OFF(n) (offsetof(struct context, slot) + (n) * sizeof(struct page_slot))
#define CTX_JUMP_OFF offsetof(struct context, jump)

struct context_pool; /* a vCPU's */

int context_pool_create(struct soft_cpu *c);
void context_pool_destroy(struct soft_cpu *c);

/* A context outside of the pool, for compare.c: entered and left around what it does;
 * emptied, and for what the present one is for. */
struct context *context_create_own(void);
void context_destroy_own(struct context *x);
void context_enter_own(struct soft_cpu *c, struct context *x);
void context_empty_own(struct soft_cpu *c, struct context *x);
void context_leave_own(struct soft_cpu *c, struct context *to);

/* Makes c->ctx the one for the present state; called by exec.c when
 * c->mode_changed. */
void context_update(struct soft_cpu *c);
/* The sibling for another privilege (implicit supervisor accesses). */
struct context *context_for(struct soft_cpu *c, enum ctx_priv priv);
void context_flush(struct context *x);
void context_flush_jumps(struct context *x);
/* Forgets the jump cache and instruction TLB entries of all contexts. */
void context_forget_code(struct soft_cpu *c);

/* Removes the write tags of an L1-physical page from all contexts of @c; true
 * when there may have been one. Any thread. */
bool context_drop_writes(struct soft_cpu *c, gpa_t page, const void *host);

static inline unsigned tlb_index(gva_t addr)
{
	return addr >> PAGE_SHIFT & (TLB_SIZE - 1);
}
static inline unsigned wfilter_bit(gpa_t page)
{
	return (page >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 52; /* 0..4095 */
}
/* A jump cache slot is about to lead to code at @linear. */
static inline void context_note_code(struct context *x, gva_t linear)
{
	unsigned bit = wfilter_bit(linear);

	x->code_filter[bit / 64] |= BIT(bit % 64);
}

#endif
