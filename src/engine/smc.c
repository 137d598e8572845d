// SPDX-License-Identifier: MIT
/*
 * Code that changes: pages that hold translated code, and what a write to them
 * throws away; safe points and stop-the-world. See softvm.h.
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>

#include "engine/softvm.h"

/* ---- Safe points ---- */

void world_wait_safe(struct soft_cpu *other)
{
	u64 seq = atomic_load(&other->run_seq);

	if (!(seq & 1))
		return;
	while (atomic_load(&other->run_seq) == seq) {
		cpu_request(other, REQ_SAFE);
		sched_yield();
	}
}

void world_stop(struct soft_vm *vm, struct soft_cpu *by)
{
	pthread_mutex_lock(&vm->world);
	vm->world_owner = by;
	atomic_store(&vm->world_stopped, true);
	for (unsigned n = 0; n < vm->nr_cpus; n++) {
		if (vm->cpus[n] && vm->cpus[n] != by)
			world_wait_safe(vm->cpus[n]);
	}
}

void world_resume(struct soft_vm *vm)
{
	atomic_store(&vm->world_stopped, false);
	vm->world_owner = NULL;
	pthread_mutex_unlock(&vm->world);
}

void world_enter(struct soft_cpu *c)
{
	for (;;) {
		atomic_fetch_add(&c->run_seq, 1);
		if (likely(!atomic_load(&c->vm->world_stopped)) || c->vm->world_owner == c)
			return;
		atomic_fetch_add(&c->run_seq, 1);
		pthread_mutex_lock(&c->vm->world); /* until the stopper is done */
		pthread_mutex_unlock(&c->vm->world);
	}
}

void world_leave(struct soft_cpu *c)
{
	if (atomic_load_explicit(&c->run_seq, memory_order_relaxed) & 1)
		atomic_fetch_add(&c->run_seq, 1);
}

/* ---- Pages that hold code ---- */

struct code_page *smc_make_code(struct soft_vm *vm, struct soft_cpu *by, gpa_t gpa)
{
	struct code_cache *k = &vm->cache;
	struct code_page *p = cache_page(k, gpa);
	const void *host;

	if (p)
		return p;
	p = cache_meta(k, sizeof(*p));
	if (!p)
		return NULL;
	p->gpa = gpa & PAGE_MASK;
	host = mem_host(vm->env.mem, p->gpa, PAGE_SIZE);
	p->blocks = NULL;
	atomic_store(&p->map, 0);
	atomic_store(&k->pages[gpa >> PAGE_SHIFT], p);
	for (unsigned n = 0; n < vm->nr_cpus; n++) {
		struct soft_cpu *c = vm->cpus[n];

		if (c && context_drop_writes(c, p->gpa, host) && c != by)
			world_wait_safe(c);
	}
	return p;
}

u64 smc_pieces(gpa_t gpa, u64 size)
{
	u64 first = (gpa & 4095) >> 6, last = ((gpa & 4095) + size - 1) >> 6;

	return (last >= 63 ? ~0ull : BIT(last + 1) - 1) & ~(BIT(first) - 1);
}

static __thread struct soft_cpu *self;

void world_set_self(struct soft_cpu *c)
{
	self = c;
}

struct soft_cpu *world_self(void)
{
	return self;
}

bool world_step_aside(struct soft_cpu **c)
{
	*c = self;
	if (!self || !(atomic_load(&self->run_seq) & 1))
		return false;
	world_leave(self);
	return true;
}

static void page_written(struct soft_vm *vm, gpa_t gpa, u64 size)
{
	struct code_page *p = cache_page(&vm->cache, gpa);
	struct soft_cpu *c;
	bool was_inside;

	if (!p || !(atomic_load(&p->map) & smc_pieces(gpa, size)))
		return;
	was_inside = world_step_aside(&c);
	pthread_mutex_lock(&vm->cache.lock);
	p = cache_page(&vm->cache, gpa);
	if (p)
		cache_remove_page(&vm->cache, p);
	pthread_mutex_unlock(&vm->cache.lock);
	if (was_inside)
		world_enter(c);
	/* Whoever loops inside the old page leaves it at the next poll. */
	for (unsigned n = 0; p && n < vm->nr_cpus; n++) {
		if (vm->cpus[n])
			cpu_request(vm->cpus[n], REQ_SAFE);
	}
}

void smc_written(struct soft_vm *vm, gpa_t gpa, u64 size)
{
	while (size) {
		u64 n = MIN(size, PAGE_SIZE - (gpa & 4095));

		page_written(vm, gpa, n);
		gpa += n;
		size -= n;
	}
}
