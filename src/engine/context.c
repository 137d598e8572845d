// SPDX-License-Identifier: MIT
/* Contexts: which one the present state selects, and forgetting what they know.
 * See context.h. */
#include "engine/context.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/softvm.h"

struct context_pool {
	u64 clock;
	struct context *x; /* NR_CONTEXTS */
	struct context *recent[64];
};

struct exec_state {
	struct context_pool pool;
};

int context_pool_create(struct soft_cpu *c)
{
	size_t size = sizeof(struct context) * NR_CONTEXTS;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct exec_state *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || s == MAP_FAILED)
		return -ENOMEM;
	s->pool.x = p;
	c->exec = s;
	return 0;
}

void context_pool_destroy(struct soft_cpu *c)
{
	if (!c->exec)
		return;
	munmap(c->exec->pool.x, sizeof(struct context) * NR_CONTEXTS);
	munmap(c->exec, sizeof(*c->exec));
	c->exec = NULL;
}

/* ---- Which context ---- */

static u64 seg_mode(const struct soft_cpu *c, unsigned n)
{
	const struct seg *s = &c->s.seg[n];
	u64 bits = s->base == 0 ? MODE_SEG_ZERO(n) : 0;
	unsigned type = SEG_TYPE(s);
	bool usable = (s->ar & SEG_P) && !(s->ar & SEG_UNUSABLE);
	bool plain = n == SEG_CS ? (type & 8) && (type & 2) : (type & 0xe) == 2;

	return bits | (usable && plain && s->limit == 0xffffffff ? MODE_SEG_FLAT(n) : 0);
}

static struct block_mode mode_now(const struct soft_cpu *c)
{
	const struct cpu_state *s = &c->s;
	struct block_mode m = { .bits = (u64)cpu_cpl(c) << MODE_CPL_SHIFT };
	u64 b = m.bits;

	if (c->vmx_non_root)
		b |= MODE_NONROOT;
	if (s->cr0 & CR0_EM)
		b |= MODE_FPU_EM;
	if (s->cr0 & CR0_TS)
		b |= MODE_FPU_TS;
	if (s->cr0 & CR0_MP)
		b |= MODE_FPU_MP;
	if (s->cr4 & CR4_OSFXSR)
		b |= MODE_OSFXSR;
	if ((s->cr4 & CR4_OSXSAVE) && (s->xcr0 & XCR0_AVX))
		b |= MODE_AVX | ((s->xcr0 & XCR0_AVX512) == XCR0_AVX512 ? MODE_AVX512 : 0);
	if ((s->cr0 & CR0_AM) && (s->rflags & RFLAGS_AC) && cpu_cpl(c) == 3)
		b |= MODE_AC;
	if (c->vm->stats_on)
		b |= MODE_STATS;
	if (c->debug.nr_breakpoints)
		b |= MODE_DEBUG;
	if (cpu_long_mode(c))
		b |= MODE_LMA;
	if (cpu_code64(c)) {
		b |= MODE_CODE64 | MODE_SEG_FLAT(SEG_FS) | MODE_SEG_FLAT(SEG_GS);
		for (unsigned n = SEG_ES; n <= SEG_DS; n++)
			b |= MODE_SEG_ZERO(n) | MODE_SEG_FLAT(n);
	} else {
		m.cs_base = s->seg[SEG_CS].base;
		b |= s->seg[SEG_CS].ar & SEG_DB ? MODE_CODE32 : 0;
		b |= s->seg[SEG_SS].ar & SEG_DB ? MODE_SS32 : 0;
		b |= cpu_protected(c) ? 0 : MODE_REAL;
		for (unsigned n = SEG_ES; n <= SEG_GS; n++)
			b |= seg_mode(c, n);
	}
	m.bits = b;
	return m;
}

static bool key_equal(const struct ctx_key *a, const struct ctx_key *b)
{
	return a->mode.bits == b->mode.bits && a->mode.cs_base == b->mode.cs_base &&
	       a->eptp == b->eptp && a->vpid == b->vpid && a->pcid == b->pcid &&
	       a->priv == b->priv && a->rights == b->rights && a->pkru == b->pkru;
}

static unsigned key_hash(const struct ctx_key *k)
{
	u64 h = k->mode.bits ^ k->mode.cs_base << 20 ^ k->eptp ^ (u64)k->vpid << 32 ^
		(u64)k->pcid << 8 ^ k->priv ^ (u64)k->rights << 40 ^ k->pkru;

	return h * 0x9e3779b97f4a7c15ull >> 58;
}

static void context_drop_nonglobal(struct context *x);

static void entry_drop(struct context *x, unsigned n)
{
	x->tlb[n].rtag = x->tlb[n].wtag = n ? 0 : TLB_NEVER_0;
}

/* The first entry of the TLB from @n on whose bit in @bits is set, or TLB_SIZE. */
static unsigned tlb_next(const u64 *bits, unsigned n)
{
	while (n < TLB_SIZE) {
		u64 left = __atomic_load_n(&bits[n / 64], __ATOMIC_RELAXED) >> n % 64;

		if (left)
			return n + (unsigned)__builtin_ctzll(left);
		n = (n | 63) + 1;
	}
	return TLB_SIZE;
}

#define FOR_ENTRIES(bits, n)                                                                       \
	for (unsigned n = tlb_next(bits, 0); n < TLB_SIZE; n = tlb_next(bits, n + 1))

static void context_init(struct soft_cpu *c, struct context *x, const struct ctx_key *k)
{
	if (!x->in_use) {
		x->jump_miss = (u32)c->vm->cache.stub.jump_miss;
		__builtin_memset(x->slot_used, 0xff, sizeof(x->slot_used));
		__builtin_memset(x->jump_used, 0xff, sizeof(x->jump_used));
		entry_drop(x, 0); /* the others never match as they are: zeroed */
	}
	x->key = *k;
	x->in_use = x->learnt = true;
	context_flush(x);
}

static void forget_links(struct context_pool *p, const struct context *x)
{
	for (unsigned n = 0; n < ARRAY_SIZE(p->recent); n++) {
		if (p->recent[n] == x)
			p->recent[n] = NULL;
	}
	for (unsigned n = 0; n < NR_CONTEXTS; n++) {
		for (unsigned v = 0; v < NR_PRIVS; v++) {
			if (p->x[n].sibling[v] == x)
				p->x[n].sibling[v] = NULL;
		}
	}
}

static void context_refresh(struct context *x)
{
	u8 stale = x->stale;

	x->stale = 0;
	if (stale & STALE_ALL)
		context_flush(x);
	else if (stale)
		context_drop_nonglobal(x);
}

static struct context *context_get(struct soft_cpu *c, const struct ctx_key *k)
{
	struct context_pool *p = &c->exec->pool;
	struct context **slot = &p->recent[key_hash(k)];
	struct context *x = *slot, *oldest = NULL;

	if (x && key_equal(&x->key, k))
		goto found;
	for (unsigned n = 0; n < NR_CONTEXTS; n++) {
		x = &p->x[n];
		if (x->in_use && key_equal(&x->key, k))
			goto found;
		if (x != c->ctx && (!oldest || x->last_used < oldest->last_used))
			oldest = x;
	}
	x = oldest;
	forget_links(p, x);
	for (unsigned v = 0; v < NR_PRIVS; v++)
		x->sibling[v] = NULL;
	context_init(c, x, k);
found:
	*slot = x;
	x->last_used = ++p->clock;
	if (x->stale)
		context_refresh(x);
	return x;
}

static enum ctx_priv priv_now(const struct soft_cpu *c)
{
	if (cpu_cpl(c) == 3)
		return PRIV_USER;
	return (c->s.cr4 & CR4_SMAP) && (c->s.rflags & RFLAGS_AC) ? PRIV_SUPERVISOR_AC :
								    PRIV_SUPERVISOR;
}

static void set_gs_base(struct soft_cpu *c, void *p)
{
	if (c->vm->has_fsgsbase) {
		__asm__ volatile("wrgsbase %0" : : "r"(p));
	} else {
		long r;

		/* arch_prctl(ARCH_SET_GS, p) */
		__asm__ volatile("syscall" : "=a"(r) : "0"(158l), "D"(0x1001l), "S"(p)
				 : "rcx", "r11", "memory");
	}
}

static u32 rights_now(const struct soft_cpu *c)
{
	const struct cpu_state *s = &c->s;

	return (u32)((s->cr0 & (CR0_WP | CR0_PG)) |
		     (s->cr4 & (CR4_PSE | CR4_PAE | CR4_SMEP | CR4_SMAP | CR4_PKE)) |
		     (s->msr.efer & EFER_NXE));
}

void context_update(struct soft_cpu *c)
{
	struct ctx_key k = {
		.mode = mode_now(c),
		.eptp = c->eptp,
		.vpid = c->vpid,
		.pcid = c->s.cr4 & CR4_PCIDE ? c->s.cr3 & 0xfff : 0,
		.priv = priv_now(c),
		.rights = rights_now(c),
		.pkru = c->s.cr4 & CR4_PKE ? c->s.pkru : 0,
	};

	c->mode_changed = false;
	if (!c->ctx || !key_equal(&c->ctx->key, &k))
		c->ctx = context_get(c, &k);
	set_gs_base(c, c->ctx);
}

struct context *context_create_own(void)
{
	struct context *x = mmap(NULL, sizeof(*x), PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return x == MAP_FAILED ? NULL : x;
}

void context_destroy_own(struct context *x)
{
	if (x)
		munmap(x, sizeof(*x));
}

void context_enter_own(struct soft_cpu *c, struct context *x)
{
	struct ctx_key k = c->ctx->key;

	context_init(c, x, &k);
	c->ctx = x;
	set_gs_base(c, x);
}

void context_empty_own(struct soft_cpu *c, struct context *x)
{
	(void)c;
	for (unsigned v = 0; v < NR_PRIVS; v++)
		x->sibling[v] = NULL;
	x->learnt = true;
	context_flush(x);
}

void context_leave_own(struct soft_cpu *c, struct context *to)
{
	c->ctx = to;
	set_gs_base(c, to);
}

struct context *context_for(struct soft_cpu *c, enum ctx_priv priv)
{
	struct context *x = c->ctx;

	if (x->key.priv == priv)
		return x;
	if (unlikely(!x->sibling[priv])) {
		struct ctx_key k = x->key;

		k.priv = priv;
		x->sibling[priv] = context_get(c, &k);
	}
	if (x->sibling[priv]->stale)
		context_refresh(x->sibling[priv]);
	return x->sibling[priv];
}

/* ---- Forgetting ---- */

/* One word of jump_used: the slots of a page. */
static void flush_jump_word(struct context *x, unsigned word)
{
	for (u64 used = x->jump_used[word]; used; used &= used - 1) {
		unsigned first = (word * 64 + (unsigned)__builtin_ctzll(used)) * JUMP_GROUP;

		for (unsigned n = 0; n < JUMP_GROUP; n++)
			x->jump[first + n] = x->jump_miss;
	}
	x->jump_used[word] = 0;
}

void context_flush_jumps(struct context *x)
{
	for (unsigned w = 0; w < ARRAY_SIZE(x->jump_used); w++)
		flush_jump_word(x, w);
	__builtin_memset(x->code_filter, 0, sizeof(x->code_filter));
}

/* Jumps to the page, and to an instruction that runs on into it. */
static void drop_jumps(struct context *x, gva_t page)
{
	unsigned word = (page & (JUMP_SIZE - 1)) >> PAGE_SHIFT;
	unsigned here = wfilter_bit(page), before = wfilter_bit(page - PAGE_SIZE);

	if (!(x->code_filter[here / 64] & BIT(here % 64)) &&
	    !(x->code_filter[before / 64] & BIT(before % 64)))
		return;
	if (x->key.mode.cs_base) { /* slots go by RIP */
		context_flush_jumps(x);
		return;
	}
	flush_jump_word(x, word);
	flush_jump_word(x, (word + ARRAY_SIZE(x->jump_used) - 1) % ARRAY_SIZE(x->jump_used));
}

static void flush_itlb(struct context *x)
{
	for (unsigned w = 0; w < ARRAY_SIZE(x->itlb_used); w++) {
		for (u64 used = x->itlb_used[w]; used; used &= used - 1)
			x->itlb[w * 64 + (unsigned)__builtin_ctzll(used)].tag = 0;
		x->itlb_used[w] = 0;
	}
}

static void big_empty(struct context *x)
{
	if (x->big_used)
		__builtin_memset(x->big, 0, sizeof(x->big));
	x->big_used = false;
}

static void slots_empty(struct context *x)
{
	for (unsigned w = 0; w < ARRAY_SIZE(x->slot_used); w++) {
		for (u64 used = x->slot_used[w]; used; used &= used - 1)
			x->slot[w * 64 + (unsigned)__builtin_ctzll(used)] =
				(struct page_slot){ SLOT_NEVER, SLOT_NEVER };
		x->slot_used[w] = 0;
	}
}

void context_flush(struct context *x)
{
	x->stale = 0;
	slots_empty(x);
	if (!x->learnt)
		return;
	x->learnt = false;
	FOR_ENTRIES(x->tlb_used, n) {
		entry_drop(x, n);
		x->tlb[n].info = 0;
	}
	__builtin_memset(x->tlb_used, 0, sizeof(x->tlb_used));
	__builtin_memset(x->tlb_local, 0, sizeof(x->tlb_local));
	flush_itlb(x);
	__builtin_memset((void *)x->wfilter, 0, sizeof(x->wfilter));
	big_empty(x);
	x->nr_large = 0;
	x->code_local = false;
	context_flush_jumps(x);
}

void context_forget_code(struct soft_cpu *c)
{
	for (unsigned n = 0; n < NR_CONTEXTS; n++) {
		struct context *x = &c->exec->pool.x[n];

		if (!x->in_use)
			continue;
		flush_itlb(x);
		context_flush_jumps(x);
	}
}

static bool in_large(const struct context *x, gva_t addr)
{
	for (unsigned n = 0; n < x->nr_large; n++) {
		if (addr >= x->large[n].start && addr < x->large[n].end)
			return true;
	}
	return false;
}

static void context_drop_page(struct context *x, gva_t addr)
{
	gva_t page = addr & PAGE_MASK;
	unsigned n = tlb_index(addr);
	unsigned i = addr >> PAGE_SHIFT & (ITLB_SIZE - 1);

	if (x->stale & STALE_ALL)
		return;
	if (in_large(x, addr)) {
		x->stale = STALE_ALL;
		return;
	}
	for (unsigned w = 0; w < ARRAY_SIZE(x->slot_used); w++) {
		for (u64 used = x->slot_used[w]; used; used &= used - 1) {
			struct page_slot *s = &x->slot[w * 64 + (unsigned)__builtin_ctzll(used)];

			if (s->tag == page || s->tag == SLOT_NEVER)
				*s = (struct page_slot){ SLOT_NEVER, SLOT_NEVER };
		}
	}
	if (x->tlb[n].rtag == page || x->tlb[n].wtag == page)
		entry_drop(x, n);
	if (x->itlb[i].tag == (page | 1))
		x->itlb[i].tag = 0;
	drop_jumps(x, page);
}

static void context_drop_nonglobal(struct context *x)
{
	slots_empty(x);
	for (unsigned n = 0; n < NR_BIG; n++) {
		if (!x->big[n].global)
			x->big[n].tag = 0;
	}
	FOR_ENTRIES(x->tlb_local, n)
		entry_drop(x, n);
	for (unsigned w = 0; w < ARRAY_SIZE(x->tlb_used); w++)
		x->tlb_used[w] &= ~x->tlb_local[w];
	__builtin_memset(x->tlb_local, 0, sizeof(x->tlb_local));
	if (!x->code_local)
		return;
	x->code_local = false;
	flush_itlb(x);
	context_flush_jumps(x);
}

#define FOR_CONTEXTS(c, x)                                                                         \
	for (struct context *x = (c)->exec->pool.x; x < (c)->exec->pool.x + NR_CONTEXTS; x++)      \
		if (x->in_use)

static u16 pcid_now(const struct soft_cpu *c)
{
	return c->s.cr4 & CR4_PCIDE ? c->s.cr3 & 0xfff : 0;
}

/* The context in use cannot wait. */
static void refresh_current(struct soft_cpu *c)
{
	if (c->ctx && c->ctx->stale)
		context_refresh(c->ctx);
}

void tlb_invlpg(struct soft_cpu *c, gva_t addr)
{
	/* Other PCIDs too: an entry there may be global. */
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid == c->vpid && x->key.eptp == c->eptp)
			context_drop_page(x, addr);
	}
	refresh_current(c);
}

void tlb_flush_nonglobal(struct soft_cpu *c)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid == c->vpid && x->key.eptp == c->eptp && x->key.pcid == pcid_now(c))
			x->stale |= STALE_NONGLOBAL;
	}
	refresh_current(c);
}

void tlb_flush_current(struct soft_cpu *c)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid == c->vpid && x->key.eptp == c->eptp)
			x->stale |= STALE_ALL;
	}
	refresh_current(c);
}

void tlb_flush_pcid_addr(struct soft_cpu *c, u16 pcid, gva_t addr)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid == c->vpid && x->key.eptp == c->eptp && x->key.pcid == pcid)
			context_drop_page(x, addr);
	}
	refresh_current(c);
}

void tlb_flush_pcid(struct soft_cpu *c, u16 pcid)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid == c->vpid && x->key.eptp == c->eptp && x->key.pcid == pcid)
			x->stale |= STALE_NONGLOBAL;
	}
	refresh_current(c);
}

/* INVVPID reaches linear and combined mappings of the VPID, whatever the EPTP. */
void tlb_flush_vpid(struct soft_cpu *c, u16 vpid, bool keep_globals)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid != vpid)
			continue;
		if (keep_globals)
			x->stale |= STALE_NONGLOBAL;
		else
			x->stale |= STALE_ALL;
	}
	refresh_current(c);
}

void tlb_flush_vpid_addr(struct soft_cpu *c, u16 vpid, gva_t addr)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid == vpid)
			context_drop_page(x, addr);
	}
	refresh_current(c);
}

void tlb_flush_all_vpids(struct soft_cpu *c)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.vpid)
			x->stale |= STALE_ALL;
	}
	refresh_current(c);
}

/* By EP4TA: bits 51:12 of the EPTP. */
void tlb_flush_ept(struct soft_cpu *c, u64 eptp)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.eptp && (x->key.eptp ^ eptp) >> 12 == 0)
			x->stale |= STALE_ALL;
	}
	refresh_current(c);
}

void tlb_flush_all_ept(struct soft_cpu *c)
{
	FOR_CONTEXTS(c, x) {
		if (x->key.eptp)
			x->stale |= STALE_ALL;
	}
	refresh_current(c);
}

void tlb_flush_everything(struct soft_cpu *c)
{
	FOR_CONTEXTS(c, x)
		x->stale |= STALE_ALL;
	refresh_current(c);
}

/* ---- Reached by smc.c, from any thread ---- */

bool context_drop_writes(struct soft_cpu *c, gpa_t page, const void *host)
{
	unsigned bit = wfilter_bit(page);
	bool live = false;

	FOR_CONTEXTS(c, x) {
		if (!(atomic_load(&x->wfilter[bit / 64]) & BIT(bit % 64)))
			continue;
		FOR_ENTRIES(x->tlb_used, n) {
			if ((x->tlb[n].info & PAGE_MASK) == page) {
				__atomic_store_n(&x->tlb[n].wtag, n ? 0 : TLB_NEVER_0,
						 __ATOMIC_SEQ_CST);
				live = true;
			}
		}
		for (unsigned n = 0; n < NR_SLOTS; n++) {
			if (x->slot[n].host == (u64)host) {
				__atomic_store_n(&x->slot[n].tag, SLOT_NEVER, __ATOMIC_SEQ_CST);
				live = true;
			}
		}
	}
	return live;
}
