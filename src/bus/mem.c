// SPDX-License-Identifier: MIT
/*
 * Guest RAM: anonymous mappings, asked to be huge pages, in one table of slots.
 * Slot 0 is low RAM, slot 1 high RAM if there is any; look-ups are linear, and
 * nearly always end at the first two.
 */
#include "bus/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hostmem.h"

#define HUGE_SIZE MIB(2)
#define HIGH_BASE GIB(4)

static int check_size(u64 size, struct err *e)
{
	u64 host = host_memory(), group = host_cgroup_limit();

	if (size <= MIN(host, group))
		return 0;
	return err_set(e, "cannot give the guest %llu MiB of memory: %s %llu MiB",
		       (unsigned long long)(size >> 20),
		       host <= group ? "this host has" : "its control group allows this process",
		       (unsigned long long)(MIN(host, group) >> 20));
}

/* Zeroed memory that starts on a huge page's boundary. The surplus of address
 * space is given back. */
static u8 *map_ram(u64 size)
{
	u64 span = size + HUGE_SIZE;
	u8 *p = mmap(NULL, span, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	u64 head;

	if (p == MAP_FAILED)
		return NULL;
	head = -(u64)(uintptr_t)p % HUGE_SIZE;
	if (head)
		munmap(p, head);
	munmap(p + head + size, HUGE_SIZE - head);
	madvise(p + head, size, MADV_HUGEPAGE); /* a wish: without, it is only slower */
	madvise(p + head, size, MADV_DONTDUMP);
	return p + head;
}

static int add_ram(struct mem *m, gpa_t gpa, u64 size, struct err *e)
{
	u8 *host = map_ram(size);
	int r;

	if (!host)
		return err_set(e, "cannot map %llu MiB of guest memory: %s",
			       (unsigned long long)(size >> 20), strerror(errno));
	r = mem_add_slot(m, &(struct mem_slot){ .gpa = gpa, .size = size, .host = host });
	m->ram_size += r ? 0 : size;
	return r;
}

int mem_create(u64 ram_size, struct mem **res, struct err *e)
{
	u64 low = MIN(ram_size, MEM_LOW_MAX), high = ram_size - low;
	struct mem *m;

	if (!ram_size || ram_size % PAGE_SIZE)
		return err_set(e, "cannot give the guest %llu bytes of memory: not whole pages",
			       (unsigned long long)ram_size);
	if (check_size(ram_size, e))
		return -1;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(e, "cannot create guest memory: out of memory");
	if (add_ram(m, 0, low, e) || (high && add_ram(m, HIGH_BASE, high, e))) {
		mem_destroy(m);
		return -1;
	}
	*res = m;
	return 0;
}

/* RAM slots are those mem_create() made: the first one or two, ram_size in all. */
void mem_destroy(struct mem *m)
{
	u64 left;

	if (!m)
		return;
	left = m->ram_size;
	for (unsigned i = 0; left && i < m->nr_slots; i++) {
		munmap(m->slots[i].host, m->slots[i].size);
		left -= m->slots[i].size;
	}
	if (m->hot.host)
		munmap(m->hot.host, m->hot.max);
	free(m);
}

void mem_set_listener(struct mem *m, const struct mem_listener *l)
{
	m->has_listener = l;
	if (!l)
		return;
	m->listener = *l;
	for (unsigned i = 0; l->slot_added && i < m->nr_slots; i++)
		l->slot_added(l->opaque, &m->slots[i]);
}

static bool overlaps(const struct mem_slot *a, const struct mem_slot *b)
{
	return a->gpa < b->gpa + b->size && b->gpa < a->gpa + a->size;
}

int mem_add_slot(struct mem *m, const struct mem_slot *slot)
{
	if (m->nr_slots == MEM_MAX_SLOTS)
		return -ENOSPC;
	for (unsigned i = 0; i < m->nr_slots; i++)
		if (overlaps(&m->slots[i], slot))
			return -EEXIST;
	m->slots[m->nr_slots++] = *slot;
	if (m->has_listener && m->listener.slot_added)
		m->listener.slot_added(m->listener.opaque, slot);
	return 0;
}

void mem_del_slot(struct mem *m, gpa_t gpa)
{
	for (unsigned i = 0; i < m->nr_slots; i++) {
		struct mem_slot gone = m->slots[i];

		if (gone.gpa != gpa)
			continue;
		memmove(&m->slots[i], &m->slots[i + 1],
			(m->nr_slots - i - 1) * sizeof(m->slots[0]));
		m->nr_slots--;
		if (m->has_listener && m->listener.slot_removed)
			m->listener.slot_removed(m->listener.opaque, &gone);
		return;
	}
}

int mem_reserve_hot(struct mem *m, gpa_t gpa, u64 max, struct err *e)
{
	u8 *host = map_ram(max);

	if (!host)
		return err_set(e, "cannot set aside %llu MiB of addresses for more memory: %s",
			       (unsigned long long)(max >> 20), strerror(errno));
	m->hot.gpa = gpa;
	m->hot.max = max;
	m->hot.host = host;
	return 0;
}

/* In place: who looks a slot up meanwhile sees the old or the new size. */
static void resize_slot(struct mem *m, struct mem_slot *s, u64 size)
{
	if (m->has_listener && m->listener.slot_removed)
		m->listener.slot_removed(m->listener.opaque, s);
	s->size = size;
	if (m->has_listener && m->listener.slot_added)
		m->listener.slot_added(m->listener.opaque, s);
}

int mem_grow_hot(struct mem *m, u64 size)
{
	const struct mem_slot slot = { m->hot.gpa, size, m->hot.host, .hot = true };
	int r = 0;

	if (size > m->hot.max)
		return -ENOSPC;
	if (size <= m->hot.size)
		return 0;
	if (!m->hot.size)
		r = mem_add_slot(m, &slot);
	for (unsigned i = 0; m->hot.size && i < m->nr_slots; i++)
		if (m->slots[i].hot)
			resize_slot(m, &m->slots[i], size);
	if (!r)
		m->hot.size = size;
	return r;
}

/* The engine calls these two while the guest's vector state is in the registers, which tsan's
 * instrumentation would use. */
#define ENGINE_CALLS __attribute__((no_sanitize("thread")))

ENGINE_CALLS const struct mem_slot *mem_slot_at(const struct mem *m, gpa_t gpa)
{
	for (unsigned i = 0; i < m->nr_slots; i++)
		if (gpa - m->slots[i].gpa < m->slots[i].size)
			return &m->slots[i];
	return NULL;
}

ENGINE_CALLS void *mem_host(const struct mem *m, gpa_t gpa, u64 size)
{
	const struct mem_slot *s = mem_slot_at(m, gpa);
	u64 off;

	if (!s)
		return NULL;
	off = gpa - s->gpa;
	return size <= s->size - off ? s->host + off : NULL;
}

void mem_written(struct mem *m, gpa_t gpa, u64 size)
{
	if (m->has_listener && m->listener.written)
		m->listener.written(m->listener.opaque, gpa, size);
}

/* Is all of it in slots (for writing: in writable ones)? They may be several
 * that touch. */
static bool is_ram(const struct mem *m, gpa_t gpa, u64 size, bool writing)
{
	while (size) {
		const struct mem_slot *s = mem_slot_at(m, gpa);
		u64 n;

		if (!s || (writing && s->readonly))
			return false;
		n = MIN(size, s->size - (gpa - s->gpa));
		gpa += n;
		size -= n;
	}
	return true;
}

bool mem_read(const struct mem *m, gpa_t gpa, void *to, u64 size)
{
	if (!is_ram(m, gpa, size, false))
		return false;
	for (u64 done = 0, n; done < size; done += n) {
		const struct mem_slot *s = mem_slot_at(m, gpa + done);
		u64 off = gpa + done - s->gpa;

		n = MIN(size - done, s->size - off);
		memcpy((u8 *)to + done, s->host + off, n);
	}
	return true;
}

bool mem_write(struct mem *m, gpa_t gpa, const void *from, u64 size)
{
	if (!is_ram(m, gpa, size, true))
		return false;
	for (u64 done = 0, n; done < size; done += n) {
		const struct mem_slot *s = mem_slot_at(m, gpa + done);
		u64 off = gpa + done - s->gpa;

		n = MIN(size - done, s->size - off);
		memcpy(s->host + off, (const u8 *)from + done, n);
	}
	mem_written(m, gpa, size);
	return true;
}

void mem_discard(struct mem *m, gpa_t gpa, u64 size)
{
	u64 from = ALIGN_UP(gpa, PAGE_SIZE), to = (gpa + size) & PAGE_MASK;

	if (gpa + size < gpa || from < gpa)
		return;
	for (u64 n; from < to; from += n) {
		const struct mem_slot *s = mem_slot_at(m, from);

		n = s ? MIN(to - from, s->size - (from - s->gpa)) : PAGE_SIZE;
		if (!s || s->readonly)
			continue;
		if (madvise(s->host + (from - s->gpa), n, MADV_DONTNEED))
			memset(s->host + (from - s->gpa), 0, n);
		mem_written(m, from, n);
	}
}
