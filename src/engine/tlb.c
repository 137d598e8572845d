// SPDX-License-Identifier: MIT
/* The soft TLB's slow side and guest memory from C. See tlb.h, context.h. */
#include "engine/tlb.h"

#include "engine/compare.h"
#include "engine/softvm.h"
#include "engine/vmx/vmx.h"
#include "engine/walk.h"

/* ---- Filling ---- */

static void note_large(struct context *x, gva_t addr, u64 size)
{
	gva_t start = addr & ~(size - 1), end = start + size;
	unsigned n;

	for (n = 0; n < x->nr_large; n++) {
		if (start >= x->large[n].start && end <= x->large[n].end)
			return;
		/* Grow a neighbour rather than take a place. */
		if (start <= x->large[n].end && end >= x->large[n].start)
			break;
	}
	if (n == x->nr_large && n < NR_LARGE) {
		x->large[n].start = start;
		x->large[n].end = end;
		x->nr_large++;
		return;
	}
	n = MIN(n, NR_LARGE - 1u);
	x->large[n].start = MIN(x->large[n].start, start);
	x->large[n].end = MAX(x->large[n].end, end);
}

static bool page_has_code(struct soft_cpu *c, gpa_t gpa)
{
	return cache_page(&c->vm->cache, gpa) != NULL;
}

/* Installs tags for @addr's page. The write tag goes in before the last look at
 * whether the page holds code: smc_make_code() does it the other way round, so
 * one of the two sees the other. */
static bool tlb_install(struct context *x, struct soft_cpu *c, gva_t addr, const struct walk *w,
			u8 *host, bool may_write)
{
	struct tlb_entry *t = &x->tlb[tlb_index(addr)];
	gva_t page = addr & PAGE_MASK;
	u64 never = tlb_index(addr) ? 0 : TLB_NEVER_0;
	gpa_t gpa = w->gpa & PAGE_MASK;
	unsigned bit = wfilter_bit(gpa), n = tlb_index(addr);

	x->learnt = true;
	x->tlb_used[n / 64] |= BIT(n % 64);
	if (w->global)
		x->tlb_local[n / 64] &= ~BIT(n % 64);
	else
		x->tlb_local[n / 64] |= BIT(n % 64);
	t->rtag = never;
	__atomic_store_n(&t->wtag, never, __ATOMIC_RELAXED);
	t->host = (u64)host & PAGE_MASK;
	t->info = gpa | (w->global ? INFO_GLOBAL : 0);
	if (w->readable)
		t->rtag = page;
	if (w->page_size > PAGE_SIZE)
		note_large(x, addr, w->page_size);
	if (!may_write || page_has_code(c, gpa))
		return false;
	atomic_fetch_or(&x->wfilter[bit / 64], BIT(bit % 64));
	__atomic_store_n(&t->wtag, page, __ATOMIC_SEQ_CST);
	if (!page_has_code(c, gpa))
		return true;
	__atomic_store_n(&t->wtag, never, __ATOMIC_SEQ_CST);
	return false;
}

static struct big_page *big_page(struct context *x, gva_t addr)
{
	return &x->big[addr >> BIG_SHIFT & (NR_BIG - 1)];
}

static void big_note(struct context *x, gva_t addr, const struct walk *w)
{
	x->big_used = true;
	*big_page(x, addr) = (struct big_page){
		.tag = (addr >> BIG_SHIFT) + 1, .gpa = w->gpa & ~(BIT(BIG_SHIFT) - 1),
		.readable = w->readable, .writable = w->writable, .global = w->global,
	};
}

/* walk(), or what an earlier one said of the same large page. */
static void translate(struct soft_cpu *c, struct context *x, gva_t addr, bool write, struct walk *w)
{
	const struct big_page *b = big_page(x, addr);

	if (b->tag == (addr >> BIG_SHIFT) + 1 && (write ? b->writable : b->readable)) {
		*w = (struct walk){ .gpa = b->gpa | (addr & (BIT(BIG_SHIFT) - 1)),
				    .page_size = BIT(BIG_SHIFT), .readable = b->readable,
				    .writable = b->writable, .global = b->global };
		return;
	}
	if (!walk(c, addr, write ? WALK_WRITE : WALK_READ, (enum ctx_priv)x->key.priv, false, w))
		cpu_page_fault(c, addr, w->error);
	if (w->page_size >= BIT(BIG_SHIFT))
		big_note(x, addr, w);
}

struct place tlb_place(struct soft_cpu *c, struct context *x, gva_t addr, bool write)
{
	struct tlb_entry *t = &x->tlb[tlb_index(addr)];
	gva_t page = addr & PAGE_MASK;
	struct place p = { .plain = true };
	const struct mem_slot *slot;
	struct walk w;

	if ((write ? t->wtag : t->rtag) == page) {
		p.host = (u8 *)t->host + (addr & 4095);
		p.gpa = (t->info & PAGE_MASK) | (addr & 4095);
		return p;
	}
	translate(c, x, addr, write, &w);
	p.gpa = w.gpa;
	slot = mem_slot_at(c->vm->env.mem, w.gpa);
	if (!slot || (write && slot->readonly)) {
		p.plain = false;
		return p;
	}
	p.host = slot->host + (w.gpa - slot->gpa);
	if (unlikely(c->comparing) && write)
		compare_note_write(c, p.host);
	p.plain = tlb_install(x, c, addr, &w, p.host,
			      w.writable && !slot->readonly && (write || !c->comparing)) || !write;
	return p;
}

gpa_t tlb_fetch(struct soft_cpu *c, gva_t addr)
{
	struct context *x = c->ctx;
	unsigned n = addr >> PAGE_SHIFT & (ITLB_SIZE - 1);
	struct walk w;

	if (x->itlb[n].tag == ((addr & PAGE_MASK) | 1))
		return x->itlb[n].gpa | (addr & 4095);
	if (!canonical(addr))
		cpu_raise(c, X86_GP, 0);
	if (!walk(c, addr, WALK_EXEC, (enum ctx_priv)x->key.priv, false, &w))
		cpu_page_fault(c, addr, w.error);
	x->itlb[n].tag = (addr & PAGE_MASK) | 1;
	x->itlb[n].gpa = w.gpa & PAGE_MASK;
	x->code_local |= !w.global;
	x->learnt = true;
	x->itlb_used[n / 64] |= BIT(n % 64);
	if (w.page_size > PAGE_SIZE)
		note_large(x, addr, w.page_size);
	return w.gpa;
}

/* ---- Devices ---- */

struct mmio_access {
	struct soft_cpu *c;
	gpa_t addr;
	unsigned size;
	bool write;
	u64 value;
};

static void mmio_do(void *arg)
{
	struct mmio_access *a = arg;

	if (a->write)
		io_write(a->c->vm->env.mmio, a->addr, a->size, a->value);
	else
		a->value = io_read(a->c->vm->env.mmio, a->addr, a->size);
}

enum { APIC_BASE_X2 = 1 << 10, APIC_BASE_EN = 1 << 11 };

static bool is_lapic(const struct soft_cpu *c, gpa_t addr)
{
	u64 base = c->lapic.apic_base;

	return (base & (APIC_BASE_EN | APIC_BASE_X2)) == APIC_BASE_EN &&
	       ((addr ^ base) & 0xfffffff000ull) == 0;
}

u64 mmio_read(struct soft_cpu *c, gpa_t addr, unsigned size)
{
	struct mmio_access a = { c, addr, size, false, 0 };

	if (unlikely(c->comparing))
		compare_stop(c);
	if (is_lapic(c, addr)) {
		u64 v = lapic_mmio_read(&c->lapic, addr & 0xff0);

		return v >> (8 * (addr & 3));
	}
	c->stats.exits_mmio++;
	vec_saved(c, mmio_do, &a);
	return a.value;
}

void mmio_write(struct soft_cpu *c, gpa_t addr, unsigned size, u64 value)
{
	struct mmio_access a = { c, addr, size, true, value };

	if (unlikely(c->comparing))
		compare_stop(c);
	if (is_lapic(c, addr)) {
		if (!(addr & 15))
			lapic_mmio_write(&c->lapic, addr & 0xff0, (u32)value);
		cpu_request(c, REQ_EVENT);
		return;
	}
	c->stats.exits_mmio++;
	vec_saved(c, mmio_do, &a);
}

/* ---- Guest memory from C ---- */

static struct context *as_context(struct soft_cpu *c, enum mem_as as)
{
	if (as == AS_CURRENT)
		return c->ctx;
	return context_for(c, as == AS_USER ? PRIV_USER : PRIV_SUPERVISOR);
}

static gva_t wrap(const struct soft_cpu *c, gva_t addr)
{
	return cpu_long_mode(c) ? addr : (u32)addr;
}

static u64 host_load(const u8 *p, unsigned size)
{
	switch (size) {
	case 1:
		return *p;
	case 2:
		return *(const u16 *)(const void *)p;
	case 4:
		return *(const u32 *)(const void *)p;
	default:
		return *(const u64 *)(const void *)p;
	}
}

static void host_store(u8 *p, unsigned size, u64 v)
{
	switch (size) {
	case 1:
		*p = (u8)v;
		break;
	case 2:
		*(u16 *)(void *)p = (u16)v;
		break;
	case 4:
		*(u32 *)(void *)p = (u32)v;
		break;
	default:
		*(u64 *)(void *)p = v;
	}
}

static bool crosses(gva_t addr, unsigned size)
{
	return (addr & 4095) + size > PAGE_SIZE;
}

void guest_watch(struct soft_cpu *c, gva_t addr, unsigned size, bool write)
{
	static const u8 lengths[] = { 1, 2, 8, 4 };

	for (unsigned n = 0; n < 4; n++) {
		unsigned type = c->s.dr7 >> (16 + 4 * n) & 3;
		u64 len = lengths[c->s.dr7 >> (18 + 4 * n) & 3];
		gva_t start = c->s.dr[n] & ~(len - 1);

		if (!(c->s.dr7 >> (2 * n) & 3) || !(type == 3 || (type == 1 && write)))
			continue;
		if (addr < start + len && start < addr + size)
			c->watch_hits |= (u8)BIT(n);
	}
}

/* Only what the TLB knows; NULL on a miss. */
static u8 *tlb_hit(struct context *x, gva_t addr, bool write)
{
	struct tlb_entry *t = &x->tlb[tlb_index(addr)];

	return (write ? t->wtag : t->rtag) == (addr & PAGE_MASK) ? (u8 *)t->host + (addr & 4095) :
								    NULL;
}

/* EFLAGS.AC at CPL 3: every explicit access must be aligned. */
static void check_ac(struct soft_cpu *c, gva_t addr, unsigned size, enum mem_as as)
{
	if (unlikely(c->ctx->key.mode.bits & MODE_AC) && as == AS_CURRENT && (addr & (size - 1)))
		cpu_raise(c, X86_AC, 0);
}

u64 guest_read(struct soft_cpu *c, gva_t addr, unsigned size, enum mem_as as)
{
	struct context *x = as_context(c, as);
	struct place p;
	const u8 *host;
	u64 v = 0;

	if (unlikely(c->watching) && as == AS_CURRENT)
		guest_watch(c, addr, size, false);
	addr = wrap(c, addr);
	check_ac(c, addr, size, as);
	if (crosses(addr, size)) {
		guest_copy_in(c, &v, addr, size, as);
		return v;
	}
	host = tlb_hit(x, addr, false);
	if (likely(host))
		return host_load(host, size);
	p = tlb_place(c, x, addr, false);
	return p.host ? host_load(p.host, size) : mmio_read(c, p.gpa, size);
}

void guest_write(struct soft_cpu *c, gva_t addr, unsigned size, u64 value, enum mem_as as)
{
	struct context *x = as_context(c, as);
	struct place p;
	u8 *host;

	if (unlikely(c->watching) && as == AS_CURRENT)
		guest_watch(c, addr, size, true);
	addr = wrap(c, addr);
	check_ac(c, addr, size, as);
	if (crosses(addr, size)) {
		guest_copy_out(c, addr, &value, size, as);
		return;
	}
	host = tlb_hit(x, addr, true);
	if (likely(host)) {
		host_store(host, size, value);
		return;
	}
	p = tlb_place(c, x, addr, true);
	if (!p.host) {
		mmio_write(c, p.gpa, size, value);
		return;
	}
	host_store(p.host, size, value);
	if (!p.plain)
		smc_written(c->vm, p.gpa, size);
}

static void mmio_copy_in(struct soft_cpu *c, u8 *to, gpa_t gpa, unsigned size)
{
	while (size) {
		unsigned n = size >= 8 && !(gpa & 7) ? 8 : size >= 4 && !(gpa & 3) ? 4 :
			     size >= 2 && !(gpa & 1) ? 2 : 1;
		u64 v = mmio_read(c, gpa, n);

		__builtin_memcpy(to, &v, n);
		to += n;
		gpa += n;
		size -= n;
	}
}

static void mmio_copy_out(struct soft_cpu *c, gpa_t gpa, const u8 *from, unsigned size)
{
	while (size) {
		unsigned n = size >= 8 && !(gpa & 7) ? 8 : size >= 4 && !(gpa & 3) ? 4 :
			     size >= 2 && !(gpa & 1) ? 2 : 1;
		u64 v = 0;

		__builtin_memcpy(&v, from, n);
		mmio_write(c, gpa, n, v);
		from += n;
		gpa += n;
		size -= n;
	}
}

/* Raises what an access to any of the pages would; up to the end of the address space, too. */
static void place_pages(struct soft_cpu *c, struct context *x, gva_t addr, unsigned size, bool write)
{
	u64 end = (addr & 4095) + size;

	for (u64 at = 0; size && at < end; at += PAGE_SIZE)
		tlb_place(c, x, wrap(c, at ? (addr & PAGE_MASK) + at : addr), write);
}

void guest_copy_in(struct soft_cpu *c, void *to, gva_t addr, unsigned size, enum mem_as as)
{
	struct context *x = as_context(c, as);
	u8 *d = to;

	if (unlikely(c->watching) && as == AS_CURRENT)
		guest_watch(c, addr, size, false);
	/* All pages first: a fault must come before a device read. */
	place_pages(c, x, addr, size, false);
	while (size) {
		unsigned n = MIN(size, PAGE_SIZE - (unsigned)(addr & 4095));
		struct place p = tlb_place(c, x, wrap(c, addr), false);

		if (p.host)
			__builtin_memcpy(d, p.host, n);
		else
			mmio_copy_in(c, d, p.gpa, n);
		d += n;
		addr += n;
		size -= n;
	}
}

void guest_copy_out(struct soft_cpu *c, gva_t addr, const void *from, unsigned size, enum mem_as as)
{
	struct context *x = as_context(c, as);
	const u8 *s = from;

	if (unlikely(c->watching) && as == AS_CURRENT)
		guest_watch(c, addr, size, true);
	guest_probe_write(c, addr, size, as);
	while (size) {
		unsigned n = MIN(size, PAGE_SIZE - (unsigned)(addr & 4095));
		struct place p = tlb_place(c, x, wrap(c, addr), true);

		if (p.host) {
			__builtin_memcpy(p.host, s, n);
			if (!p.plain)
				smc_written(c->vm, p.gpa, n);
		} else {
			mmio_copy_out(c, p.gpa, s, n);
		}
		s += n;
		addr += n;
		size -= n;
	}
}

void guest_probe_write(struct soft_cpu *c, gva_t addr, unsigned size, enum mem_as as)
{
	struct context *x = as_context(c, as);

	place_pages(c, x, addr, size, true);
}

/* A miss is answered with NULL: the caller's copy then fills the TLB. */
void *guest_host(struct soft_cpu *c, gva_t addr, unsigned size, bool write, enum mem_as as)
{
	struct context *x = as_context(c, as);
	unsigned first = PAGE_SIZE - (unsigned)(addr & 4095);
	u8 *p = tlb_hit(x, wrap(c, addr), write);

	if (unlikely(c->watching) && as == AS_CURRENT)
		guest_watch(c, addr, size, write);
	if (!p || size <= first)
		return p;
	if (size - first > PAGE_SIZE)
		return NULL;
	return tlb_hit(x, wrap(c, addr + first), write) == p + first ? p : NULL;
}

void *phys_host(struct soft_cpu *c, gpa_t addr, unsigned size)
{
	return mem_host(c->vm->env.mem, addr, size);
}

bool phys_read(struct soft_cpu *c, gpa_t addr, void *to, unsigned size)
{
	const void *p = phys_host(c, addr, size);

	if (p)
		__builtin_memcpy(to, p, size);
	return p != NULL;
}

bool phys_write(struct soft_cpu *c, gpa_t addr, const void *from, unsigned size)
{
	void *p = phys_host(c, addr, size);

	if (!p)
		return false;
	__builtin_memcpy(p, from, size);
	smc_written(c->vm, addr, size);
	return true;
}

void phys_written(struct soft_cpu *c, gpa_t gpa, unsigned size)
{
	smc_written(c->vm, gpa, size);
}
