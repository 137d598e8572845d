// SPDX-License-Identifier: MIT
/* The code cache: memory, the block hash, and the two ways back from a host
 * address (block, site). See cache.h. */
#include "engine/cache.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	CODE_SIZE = 48 << 20,
	META_SIZE = 96 << 20,
	MAX_BLOCKS = 400000,
	/* Room that one block may need: translation stops before it runs out. */
	BLOCK_ROOM = 64 << 10,
};

static void *map_private(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* The executable mapping is below 2 GiB, so that a jump cache entry has 32
 * bits. */
static int map_code(struct code_cache *k)
{
	int fd = memfd_create("nestor-code", MFD_CLOEXEC);
	void *rw, *rx;
	int r = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, CODE_SIZE) < 0) {
		r = -errno;
		goto out;
	}
	rw = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rx = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_32BIT, fd, 0);
	if (rw == MAP_FAILED || rx == MAP_FAILED) {
		r = -errno;
		goto out;
	}
	k->rw = rw;
	k->rx = (u64)rx;
	k->size = CODE_SIZE;
	k->em = (struct emitter){ .p = k->rw, .end = k->rw + CODE_SIZE - BLOCK_ROOM,
				  .delta = (s64)(k->rx - (u64)k->rw) };
out:
	close(fd);
	return r;
}

/* Generations take turns with two halves: a helper that a flush overtook (it let others go
 * on meanwhile) still has its instruction. */
static void start_meta(struct code_cache *k)
{
	k->meta_next = k->meta + (k->generation & 1 ? (size_t)META_SIZE : 0);
	k->meta_end = k->meta_next + META_SIZE - BLOCK_ROOM;
	if (k->generation > 1)
		madvise(k->meta_next, META_SIZE, MADV_DONTNEED);
}

int cache_create(struct code_cache *k, u64 nr_pages)
{
	int r = map_code(k);

	if (r)
		return r;
	pthread_mutex_init(&k->lock, NULL);
	k->nr_pages = nr_pages;
	k->pages = map_private(nr_pages * sizeof(*k->pages));
	k->hash = map_private(CACHE_HASH * sizeof(*k->hash));
	k->order = map_private(MAX_BLOCKS * sizeof(*k->order));
	k->meta = map_private(2 * (size_t)META_SIZE);
	if (!k->pages || !k->hash || !k->order || !k->meta)
		return -ENOMEM;
	k->max_blocks = MAX_BLOCKS;
	start_meta(k);
	return 0;
}

void cache_destroy(struct code_cache *k)
{
	if (!k->rw)
		return;
	munmap(k->rw, k->size);
	munmap((void *)k->rx, k->size);
	munmap(k->pages, k->nr_pages * sizeof(*k->pages));
	munmap(k->hash, CACHE_HASH * sizeof(*k->hash));
	munmap(k->order, MAX_BLOCKS * sizeof(*k->order));
	munmap(k->meta, 2 * (size_t)META_SIZE);
	pthread_mutex_destroy(&k->lock);
	k->rw = NULL;
}

void *cache_meta(struct code_cache *k, size_t size)
{
	u8 *p = k->meta_next;

	size = ALIGN_UP(size, 16);
	if (size > (size_t)(k->meta_end - p))
		return NULL;
	k->meta_next = p + size;
	return p;
}

static unsigned block_hash(gpa_t pa, gva_t rip, u64 bits)
{
	u64 h = (pa ^ rip * 5 ^ bits << 40) * 0x9e3779b97f4a7c15ull;

	return h >> (64 - CACHE_HASH_BITS);
}

static bool mode_equal(const struct block_mode *a, const struct block_mode *b)
{
	return a->bits == b->bits && a->cs_base == b->cs_base;
}

struct block *cache_find(struct code_cache *k, gpa_t pa, gva_t rip, const struct block_mode *mode)
{
	struct block *b = atomic_load(&k->hash[block_hash(pa, rip, mode->bits)]);

	while (b && !(b->pa == pa && b->rip == rip && mode_equal(&b->mode, mode) &&
		      atomic_load(&b->valid)))
		b = atomic_load(&b->hash_next);
	return b;
}

static void page_add(struct code_cache *k, struct block *b, gpa_t gpa, u64 size, unsigned link)
{
	struct code_page *p = cache_page(k, gpa);
	u64 first = (gpa & 4095) >> 6, last = ((gpa & 4095) + size - 1) >> 6;

	for (u64 n = first; n <= MIN(last, 63); n++)
		atomic_fetch_or(&p->map, BIT(n));
	b->page_next[link] = p->blocks;
	p->blocks = b;
}

void cache_add(struct code_cache *k, struct block *b)
{
	struct block *_Atomic *head = &k->hash[block_hash(b->pa, b->rip, b->mode.bits)];
	u64 first = MIN(b->size, PAGE_SIZE - (b->pa & 4095));

	page_add(k, b, b->pa, first, 0);
	if (b->pa2)
		page_add(k, b, b->pa2, b->size - first, 1);
	k->order[k->nr_blocks++] = b;
	atomic_store(&b->hash_next, atomic_load(head));
	atomic_store(&b->valid, true);
	atomic_store(head, b);
}

static void hash_remove(struct code_cache *k, struct block *b)
{
	struct block *_Atomic *at = &k->hash[block_hash(b->pa, b->rip, b->mode.bits)];

	while (atomic_load(at) && atomic_load(at) != b)
		at = &atomic_load(at)->hash_next;
	if (atomic_load(at))
		atomic_store(at, atomic_load(&b->hash_next));
}

static struct block *page_next(const struct block *b, gpa_t page)
{
	return b->page_next[(b->pa & PAGE_MASK) == page ? 0 : 1];
}

/* A reader that walks the hash may still stand on a removed block: blocks stay
 * intact until the next flush. A block across two pages stays in the other
 * page's list, invalid. */
void cache_remove_page(struct code_cache *k, struct code_page *p)
{
	for (struct block *b = p->blocks; b; b = page_next(b, p->gpa)) {
		if (!atomic_exchange(&b->valid, false))
			continue;
		atomic_fetch_add(&k->removals, 1);
		hash_remove(k, b);
		/* No jump cache slot of b->rip ^ 1 leads here. */
		__atomic_fetch_xor((u32 *)(void *)b->verify, 1, __ATOMIC_SEQ_CST);
	}
	atomic_store(&k->pages[p->gpa >> PAGE_SHIFT], NULL);
}

void cache_count_insns(struct code_cache *k)
{
	for (unsigned n = 0; n < k->nr_blocks; n++) {
		const struct block *b = k->order[n];

		if (!b->count)
			continue;
		for (unsigned how = 0; how < 3; how++)
			k->executed[how] += *b->count * b->insns_by[how];
		*b->count = 0;
	}
}

void cache_flush(struct code_cache *k)
{
	cache_count_insns(k);
	for (unsigned n = 0; n < k->nr_blocks; n++) {
		atomic_store(&k->pages[k->order[n]->pa >> PAGE_SHIFT], NULL);
		atomic_store(&k->pages[k->order[n]->pa2 >> PAGE_SHIFT], NULL);
	}
	for (unsigned n = 0; n < CACHE_HASH; n++)
		atomic_store(&k->hash[n], NULL);
	k->nr_blocks = 0;
	k->em.p = k->stubs_end;
	k->em.full = false;
	k->generation++;
	start_meta(k);
}

struct block *cache_block_at(struct code_cache *k, u64 pc)
{
	unsigned lo = 0, hi = k->nr_blocks;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (k->order[mid]->end <= pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < k->nr_blocks && k->order[lo]->entry <= pc ? k->order[lo] : NULL;
}

const struct site *block_site(const struct block *b, u64 pc)
{
	const struct site *found = NULL;

	for (unsigned n = 0; n < b->nr_insns && b->entry + b->sites[n].host <= pc; n++)
		found = &b->sites[n];
	return found;
}
