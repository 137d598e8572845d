// SPDX-License-Identifier: MIT
/*
 * Saving and loading a VM.
 *
 * Order in the buffer: head, then per vCPU registers, LAPIC, and the engine's
 * rest, then board (with PCI) and virtio devices: whatever interrupt a device
 * raises when it is loaded must find its LAPIC loaded. Memory comes last when
 * saving, since the engine writes VMCSs back to it, and first when loading.
 */
#include "vm/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "cpu/lapic.h"
#include "cpu/saved.h"
#include "vm/vm_internal.h"

struct head {
	char engine[8];
	u32 nr_cpus;
	u64 memory;
	u64 hot_max, hot_size; /* as in struct mem */
	u64 host_tsc; /* when it was saved */
};

static const struct state_row head_rows[] = {
	STATE_ROW(struct head, engine), STATE_ROW(struct head, nr_cpus),
	STATE_ROW(struct head, memory), STATE_ROW(struct head, hot_max),
	STATE_ROW(struct head, hot_size), STATE_ROW(struct head, host_tsc),
};
static const struct state_desc head_desc = STATE_DESC("vm", 1, head_rows);

static void fill_head(const struct vm *vm, struct head *h)
{
	memset(h, 0, sizeof(*h));
	strncpy(h->engine, vm->ops->name, sizeof(h->engine) - 1);
	h->nr_cpus = vm->config.nr_cpus;
	h->memory = vm->config.memory;
	h->hot_max = vm->pc->mem->hot.max;
	h->hot_size = vm->pc->mem->hot.size;
	h->host_tsc = __builtin_ia32_rdtsc();
}

/* ---- Memory ---- */

static bool page_is_zero(const u8 *p)
{
	return !p[0] && !memcmp(p, p + 1, PAGE_SIZE - 1);
}

static int add_page(struct vm_snapshot *s, gpa_t gpa, const u8 *data)
{
	if (s->nr_pages == s->max_pages) {
		size_t max = s->max_pages ? 2 * s->max_pages : 1024;
		struct vm_page *p = realloc(s->pages, max * sizeof(*p));

		if (!p)
			return -1;
		s->pages = p;
		s->max_pages = max;
	}
	s->pages[s->nr_pages].gpa = gpa;
	memcpy(s->pages[s->nr_pages++].data, data, PAGE_SIZE);
	return 0;
}

/* mincore() does not count pages that are swapped out. */
u8 *snapshot_resident(const struct mem_slot *slot)
{
	struct sysinfo si;
	u8 *map = sysinfo(&si) || si.totalswap ? NULL : malloc(slot->size / PAGE_SIZE);

	if (map && mincore(slot->host, slot->size, map)) {
		free(map);
		return NULL;
	}
	return map;
}

static int save_slot(const struct mem_slot *slot, struct vm_snapshot *s)
{
	u8 *map = snapshot_resident(slot);
	int r = 0;

	for (u64 off = 0; off < slot->size && !r; off += PAGE_SIZE)
		if ((!map || (map[off / PAGE_SIZE] & 1)) && !page_is_zero(slot->host + off))
			r = add_page(s, slot->gpa + off, slot->host + off);
	free(map);
	return r;
}

static int save_memory(struct vm *vm, struct vm_snapshot *s, struct err *e)
{
	const struct mem *m = vm->pc->mem;

	for (unsigned i = 0; i < m->nr_slots; i++)
		if (!m->slots[i].readonly && save_slot(&m->slots[i], s))
			return err_set(e, "not enough memory on the host to save the VM's");
	return 0;
}

/* Tables and kernel that making the VM has put there go first. */
void snapshot_clear_slot(struct mem *m, const struct mem_slot *slot)
{
	if (madvise(slot->host, slot->size, MADV_DONTNEED))
		memset(slot->host, 0, slot->size);
	mem_written(m, slot->gpa, slot->size);
}

static int load_memory(struct vm *vm, void *arg, struct err *e)
{
	const struct vm_snapshot *s = arg;
	struct mem *m = vm->pc->mem;

	for (unsigned i = 0; i < m->nr_slots; i++)
		if (!m->slots[i].readonly)
			snapshot_clear_slot(m, &m->slots[i]);
	for (size_t i = 0; i < s->nr_pages; i++)
		if (!mem_write(m, s->pages[i].gpa, s->pages[i].data, PAGE_SIZE))
			return err_set(e, "the saved memory at %#llx is not this VM's",
				       (unsigned long long)s->pages[i].gpa);
	return 0;
}

/* ---- vCPUs ---- */

static int save_cpu(struct vm *vm, unsigned i, struct state_buf *b)
{
	struct engine_vcpu *v = vm->cpus[i].engine;
	struct lapic *l = vm->ops->lapic(v);
	int r = vm->ops->get_state(v, vm->state);

	r = r ? r : state_save(b, &cpu_state_desc, i, vm->state);
	if (!r && l) {
		struct lapic_state ls;

		lapic_get_state(l, &ls);
		r = state_save(b, &lapic_state_desc, i, &ls);
	}
	return r ? r : vm->ops->save(v, b);
}

/* @tsc_delta: how far the host's TSC has moved since. */
static int load_cpu(struct vm *vm, unsigned i, u64 tsc_delta, struct state_buf *b, struct err *e)
{
	struct engine_vcpu *v = vm->cpus[i].engine;
	struct lapic *l = vm->ops->lapic(v);
	struct lapic_state ls;

	cpu_state_reset(vm->state, i == 0);
	if (state_load(b, &cpu_state_desc, i, vm->state, e))
		return -1;
	vm->state->tsc_offset -= tsc_delta;
	if (vm->ops->set_state(v, vm->state))
		return err_set(e, "the %s engine does not take the saved registers of vCPU %u",
			       vm->ops->name, i);
	if (l) {
		lapic_get_state(l, &ls);
		if (state_load(b, &lapic_state_desc, i, &ls, e))
			return -1;
		lapic_set_state(l, &ls);
	}
	return vm->ops->load(v, b, e);
}

/* ---- All ---- */

static int save_state(struct vm *vm, struct state_buf *b)
{
	struct head h;

	fill_head(vm, &h);
	int r = state_save(b, &head_desc, 0, &h);
	for (unsigned i = 0; i < vm->config.nr_cpus && !r; i++)
		r = save_cpu(vm, i, b);
	r = r ? r : pc_save(vm->pc, b);
	return r ? r : devices_save(vm, b);
}

int snapshot_save_state(struct vm *vm, struct state_buf *b, struct err *e)
{
	if (!vm->ops->save)
		return err_set(e, "the %s engine cannot save a VM", vm->ops->name);
	devices_drain(vm);
	int r = save_state(vm, b);
	if (!r)
		return 0;
	state_buf_free(b);
	return err_set(e, "cannot save the VM: %s", strerror(-r));
}

int vm_save(struct vm *vm, struct vm_snapshot *s, struct err *e)
{
	*s = (struct vm_snapshot){ 0 };
	if (!snapshot_save_state(vm, &s->state, e) && !save_memory(vm, s, e))
		return 0;
	vm_snapshot_free(s);
	return -1;
}

static int check_head(const struct vm *vm, const struct head *saved, struct err *e)
{
	struct head h;

	fill_head(vm, &h);
	if (memcmp(h.engine, saved->engine, sizeof(h.engine)) || h.nr_cpus != saved->nr_cpus ||
	    h.memory != saved->memory || h.hot_max != saved->hot_max)
		return err_set(e, "the saved VM has another engine, memory or number of vCPUs");
	return 0;
}

int snapshot_load_state(struct vm *vm, struct state_buf *b, snapshot_memory_fn *memory, void *arg,
			struct err *e)
{
	struct head h = { 0 };

	if (!vm->ops->load)
		return err_set(e, "the %s engine cannot load a VM", vm->ops->name);
	b->pos = 0;
	if (state_load(b, &head_desc, 0, &h, e) || check_head(vm, &h, e))
		return -1;
	if (mem_grow_hot(vm->pc->mem, h.hot_size))
		return err_set(e, "the saved VM has more memory than there is room for");
	if (memory(vm, arg, e))
		return -1;
	u64 tsc_delta = __builtin_ia32_rdtsc() - h.host_tsc;
	for (unsigned i = 0; i < vm->config.nr_cpus; i++)
		if (load_cpu(vm, i, tsc_delta, b, e))
			return -1;
	return pc_load(vm->pc, b, e) || devices_load(vm, b, e) ? -1 : 0;
}

int snapshot_peek_memory(struct state_buf *b, u64 *memory, u64 *most, struct err *e)
{
	struct head h = { 0 };

	b->pos = 0;
	if (state_load(b, &head_desc, 0, &h, e))
		return -1;
	*memory = h.memory;
	*most = h.memory + h.hot_max;
	return 0;
}

int vm_load(struct vm *vm, struct vm_snapshot *s, struct err *e)
{
	return snapshot_load_state(vm, &s->state, load_memory, s, e);
}

void vm_snapshot_free(struct vm_snapshot *s)
{
	state_buf_free(&s->state);
	free(s->pages);
	*s = (struct vm_snapshot){ 0 };
}
