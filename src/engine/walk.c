// SPDX-License-Identifier: MIT
/*
 * The page walker: the SDM's "Paging" in all its modes, each access to a paging
 * structure going through EPT where that is in force. The paging mode is data
 * (struct paging): levels, entry size, index bits.
 */
#include "engine/walk.h"

#include "engine/softvm.h"
#include "engine/vmx/ept.h"

enum {
	PTE_P = 1 << 0, PTE_W = 1 << 1, PTE_U = 1 << 2, PTE_A = 1 << 5, PTE_D = 1 << 6,
	PTE_PS = 1 << 7, PTE_G = 1 << 8,
};
#define PTE_NX	 BIT(63)
#define PTE_ADDR 0x000ffffffffff000ull

struct paging {
	unsigned levels;     /* that are walked in memory */
	unsigned entry_size; /* bytes */
	unsigned index_bits;
	bool nx;	     /* bit 63 is XD */
};

static const struct paging paging_32 = { 2, 4, 10, false };
static const struct paging paging_pae = { 2, 8, 9, true };
static const struct paging paging_4level = { 4, 8, 9, true };

static const struct paging *paging_mode(const struct soft_cpu *c)
{
	if (c->s.msr.efer & EFER_LMA)
		return &paging_4level;
	return c->s.cr4 & CR4_PAE ? &paging_pae : &paging_32;
}

/* An L1-physical address, and page size and rights of the EPT above it. */
struct phys {
	gpa_t gpa;
	u64 page_size;
	bool readable, writable;
};

static bool to_phys(struct soft_cpu *c, l2pa_t pa, unsigned access, bool structure, gva_t gva,
		    bool quiet, struct phys *res)
{
	struct ept_xlat x;

	*res = (struct phys){ pa, GIB(1), true, true };
	if (!c->eptp)
		return true;
	if (quiet) {
		if (ept_probe(c, pa, access, &x) != EPT_OK)
			return false;
	} else if (ept_translate(c, pa, access, structure, &x) != EPT_OK) {
		vmx_exit_ept(c, &x, true, gva);
	}
	*res = (struct phys){ x.gpa, x.page_size, x.perms & EPT_READ, x.writable };
	return true;
}

static u64 entry_load(const void *host, unsigned size)
{
	return size == 8 ? __atomic_load_n((const u64 *)host, __ATOMIC_RELAXED) :
			   __atomic_load_n((const u32 *)host, __ATOMIC_RELAXED);
}

/* Sets @bits in the entry if it still is @old. */
static bool entry_update(void *host, unsigned size, u64 old, u64 bits)
{
	u32 old32 = (u32)old;

	if (size == 8)
		return __atomic_compare_exchange_n((u64 *)host, &old, old | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return __atomic_compare_exchange_n((u32 *)host, &old32, old32 | (u32)bits, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* One walk in progress. */
struct walker {
	struct soft_cpu *c;
	const struct paging *mode;
	gva_t addr;
	enum walk_access access;
	bool user, quiet;
	u64 rw, us, nx; /* combined: nonzero if allowed, allowed, forbidden */
	u32 error;
};

static u64 reserved_bits(const struct walker *w, unsigned level, u64 e)
{
	const struct soft_cpu *c = w->c;
	u64 r = 0;

	if (w->mode->entry_size == 4) {
		/* PSE-36 with 40 physical bits: 21 is reserved. */
		return level == 2 && (e & PTE_PS) && (c->s.cr4 & CR4_PSE) ? BIT(21) : 0;
	}
	r = PTE_ADDR & ~(BIT(c->vm->env.model->phys_bits) - 1);
	if (!(c->s.msr.efer & EFER_NXE))
		r |= PTE_NX;
	if (w->mode == &paging_pae)
		r |= 0x7ff0000000000000ull;
	if (level == 4)
		r |= PTE_PS;
	else if (level == 3 && (e & PTE_PS))
		r |= 0x3fffe000;
	else if (level == 2 && (e & PTE_PS))
		r |= 0x1fe000;
	return r;
}

static bool is_leaf(const struct walker *w, unsigned level, u64 e)
{
	if (level == 1)
		return true;
	if (!(e & PTE_PS) || level == 4)
		return false;
	return w->mode->entry_size == 8 || (w->c->s.cr4 & CR4_PSE);
}

/* May the access go on, by the combined rights? SDM "Access Rights". */
static bool allowed(const struct walker *w, enum walk_access access, enum ctx_priv priv)
{
	const struct cpu_state *s = &w->c->s;

	if (w->user && !w->us)
		return false;
	if (access == WALK_EXEC) {
		if (w->nx)
			return false;
		return w->user || !w->us || !(s->cr4 & CR4_SMEP);
	}
	if (!w->user && w->us && (s->cr4 & CR4_SMAP) && priv != PRIV_SUPERVISOR_AC)
		return false;
	if (access == WALK_WRITE && !w->rw)
		return !w->user && !(s->cr0 & CR0_WP);
	return true;
}

static u32 error_code(const struct walker *w, u32 bits)
{
	const struct cpu_state *s = &w->c->s;
	bool fetch_bit = ((s->msr.efer & EFER_NXE) && (s->cr4 & CR4_PAE)) || (s->cr4 & CR4_SMEP);

	if (w->access == WALK_WRITE)
		bits |= PF_W;
	if (w->user)
		bits |= PF_U;
	if (w->access == WALK_EXEC && fetch_bit)
		bits |= PF_I;
	return bits;
}

static u64 leaf_size(const struct walker *w, unsigned level)
{
	return BIT(12 + (level - 1) * w->mode->index_bits);
}

static l2pa_t leaf_address(const struct walker *w, u64 e, u64 size)
{
	u64 base = e & PTE_ADDR;

	if (w->mode->entry_size == 4 && size > PAGE_SIZE)
		base = (e & 0xffc00000) | (e >> 13 & 0xff) << 32;
	return (base & ~(size - 1)) | (w->addr & (size - 1));
}

/* Reads the entry of @level, sets its accessed (and dirty) bit. False: #PF. */
static bool walk_level(struct walker *w, unsigned level, l2pa_t table, u64 *entry)
{
	unsigned size = w->mode->entry_size;
	u64 index = w->addr >> (12 + (level - 1) * w->mode->index_bits) &
		    (BIT(w->mode->index_bits) - 1);
	l2pa_t pa = table + index * size;
	struct phys p;
	void *host;
	u64 e;

	if (!to_phys(w->c, pa, EPT_READ, true, w->addr, w->quiet, &p))
		return false;
	host = mem_host(w->c->vm->env.mem, p.gpa, size);
	e = host ? entry_load(host, size) : ~0ull;
	if (!(e & PTE_P)) {
		w->error = error_code(w, 0);
		return false;
	}
	if (e & reserved_bits(w, level, e)) {
		w->error = error_code(w, PF_P | PF_RSVD);
		return false;
	}
	w->rw &= e >> 1;
	w->us &= e >> 2;
	w->nx |= w->mode->nx ? e >> 63 : 0;
	*entry = e;
	return true;
}

/* Sets @bits in the entry at @level, which was @e. False: it changed, walk
 * again. */
static bool walk_mark(struct walker *w, unsigned level, l2pa_t table, u64 e, u64 bits)
{
	unsigned size = w->mode->entry_size;
	u64 index = w->addr >> (12 + (level - 1) * w->mode->index_bits) &
		    (BIT(w->mode->index_bits) - 1);
	struct phys p;
	void *host;

	if ((e & bits) == bits || w->quiet)
		return true;
	to_phys(w->c, table + index * size, EPT_READ | EPT_WRITE, true, w->addr, false, &p);
	host = mem_host(w->c->vm->env.mem, p.gpa, size);
	return !host || entry_update(host, size, e, bits);
}

enum outcome { WALK_DONE, WALK_FAULT, WALK_AGAIN };

static enum outcome walk_once(struct walker *w, enum ctx_priv priv, struct walk *res)
{
	const struct cpu_state *s = &w->c->s;
	l2pa_t table = s->cr3 & (w->mode == &paging_4level ? PTE_ADDR : 0xfffff000);
	unsigned level = w->mode->levels;
	u64 e = 0, size, mark;
	struct phys p;

	w->rw = w->us = 1;
	w->nx = 0;
	if (w->mode == &paging_pae) {
		u64 pdpte = s->pdpte[w->addr >> 30 & 3];

		if (!(pdpte & PTE_P)) {
			w->error = error_code(w, 0);
			return WALK_FAULT;
		}
		table = pdpte & PTE_ADDR;
	}
	for (;; level--) {
		if (!walk_level(w, level, table, &e))
			return WALK_FAULT;
		if (is_leaf(w, level, e))
			break;
		if (!walk_mark(w, level, table, e, PTE_A))
			return WALK_AGAIN;
		table = e & (w->mode->entry_size == 8 ? PTE_ADDR : 0xfffff000);
	}
	w->rw &= 1;
	w->us &= 1;
	if (!allowed(w, w->access, priv)) {
		w->error = error_code(w, PF_P);
		return WALK_FAULT;
	}
	mark = w->access == WALK_WRITE ? PTE_A | PTE_D : PTE_A;
	if (!walk_mark(w, level, table, e, mark))
		return WALK_AGAIN;
	size = leaf_size(w, level);
	if (!to_phys(w->c, leaf_address(w, e, size),
		     w->access == WALK_WRITE ? EPT_WRITE : w->access == WALK_EXEC ? EPT_EXEC : EPT_READ,
		     false, w->addr, w->quiet, &p))
		return WALK_FAULT;
	res->gpa = p.gpa;
	res->page_size = MIN(size, p.page_size);
	res->readable = p.readable && allowed(w, WALK_READ, priv);
	res->writable = p.writable && ((e | mark) & PTE_D) && allowed(w, WALK_WRITE, priv);
	res->global = (e & PTE_G) && (s->cr4 & CR4_PGE);
	return WALK_DONE;
}

static bool walk_unpaged(struct soft_cpu *c, gva_t addr, enum walk_access access, bool quiet,
			 struct walk *res)
{
	struct phys p;

	if (!to_phys(c, addr,
		     access == WALK_WRITE ? EPT_WRITE : access == WALK_EXEC ? EPT_EXEC : EPT_READ,
		     false, addr, quiet, &p))
		return false;
	*res = (struct walk){ .gpa = p.gpa, .page_size = p.page_size, .readable = p.readable,
			      .writable = p.writable };
	return true;
}

bool walk(struct soft_cpu *c, gva_t addr, enum walk_access access, enum ctx_priv priv, bool quiet,
	  struct walk *res)
{
	struct walker w = { .c = c, .mode = paging_mode(c), .addr = addr, .access = access,
			    .user = priv == PRIV_USER, .quiet = quiet };
	enum outcome o;

	*res = (struct walk){ 0 };
	if (!(c->s.cr0 & CR0_PG))
		return walk_unpaged(c, addr, access, quiet, res);
	do {
		o = walk_once(&w, priv, res);
	} while (o == WALK_AGAIN);
	res->error = w.error;
	return o == WALK_DONE;
}
