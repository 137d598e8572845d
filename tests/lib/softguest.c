// SPDX-License-Identifier: MIT
#include "softguest.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "x86/regs.h"

static u64 stop_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return ~0ull;
}

static void stop_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct softguest *g = dev;

	(void)off;
	(void)size;
	g->stopped = true;
	g->code = (u32)value;
	soft_engine.kick(g->cpu);
}

static const struct io_ops stop_ops = { .read = stop_read, .write = stop_write };

static int no_extint(void *opaque)
{
	(void)opaque;
	return -1;
}

static u8 *page_alloc(struct softguest *g, u64 n, u64 *gpa)
{
	*gpa = g->next_page;
	g->next_page += n * PAGE_SIZE;
	return mem_host(g->env.mem, *gpa, n * PAGE_SIZE);
}

static void initial_state(struct softguest *g)
{
	struct cpu_state s;

	soft_engine.get_state(g->cpu, &s);
	for (unsigned n = 0; n < NR_SEGS; n++)
		s.seg[n] = (struct seg){ .limit = 0xffffffff, .ar = 0xc093, .sel = 0x10 };
	s.seg[SEG_CS] = (struct seg){ .limit = 0xffffffff, .ar = 0xa09b, .sel = 0x08 };
	s.msr.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP | CR0_MP;
	s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s.xcr0 = g->model.xcr0_allowed;
	s.cr3 = g->pml4;
	s.rflags = RFLAGS_RSV1;
	s.activity = CPU_ACTIVE;
	soft_engine.set_state(g->cpu, &s);
}

static int create(struct softguest *g, u64 ram, bool vmx, unsigned compare)
{
	struct err e;
	struct mem *m;

	memset(g, 0, sizeof(*g));
	if (cpu_model_create(NULL, vmx, 1, &g->model, &e) || mem_create(ram, &m, &e) ||
	    io_bus_create(&g->env.pio) || io_bus_create(&g->env.mmio) ||
	    loop_create(&g->env.loop))
		return -1;
	g->env.mem = m;
	g->env.model = &g->model;
	g->env.nr_cpus = 1;
	g->env.trace = getenv("NESTOR_TRACE");
	g->env.compare = compare;
	g->env.extint_ack = no_extint;
	g->stop = (struct io_region){ .base = SG_STOP_PORT, .size = 4, .ops = &stop_ops, .dev = g,
				      .name = "stop" };
	io_add(g->env.pio, &g->stop);
	g->next_page = PAGE_SIZE;
	page_alloc(g, 1, &g->pml4);
	if (soft_engine.vm_create(&g->env, &g->vm, &e) ||
	    soft_engine.vcpu_create(g->vm, 0, &g->cpu, &e))
		return -1;
	initial_state(g);
	return 0;
}

int sg_create(struct softguest *g, u64 ram)
{
	return create(g, ram, false, 0);
}

int sg_create_model(struct softguest *g, u64 ram, bool vmx)
{
	return create(g, ram, vmx, 0);
}

int sg_create_compared(struct softguest *g, u64 ram, unsigned times)
{
	return create(g, ram, false, times);
}

void sg_destroy(struct softguest *g)
{
	soft_engine.vcpu_destroy(g->cpu);
	soft_engine.vm_destroy(g->vm);
	loop_destroy(g->env.loop);
	io_bus_destroy(g->env.pio);
	io_bus_destroy(g->env.mmio);
	mem_destroy(g->env.mem);
}

static u64 *table_entry(struct softguest *g, u64 table, unsigned index)
{
	return (u64 *)mem_host(g->env.mem, table, PAGE_SIZE) + index;
}

static void map_page(struct softguest *g, u64 linear, u64 gpa, unsigned rights)
{
	u64 table = g->pml4;

	for (unsigned shift = 39; shift > 12; shift -= 9) {
		u64 *e = table_entry(g, table, linear >> shift & 511);

		if (!(*e & 1)) {
			u64 next;

			page_alloc(g, 1, &next);
			*e = next | 7;
		}
		table = *e & 0x000ffffffffff000ull;
	}
	*table_entry(g, table, linear >> 12 & 511) =
		gpa | 1 | (rights & SG_WRITE ? 2 : 0) | (rights & SG_USER ? 4 : 0) |
		(rights & SG_EXEC ? 0 : BIT(63));
}

void sg_map_at(struct softguest *g, u64 linear, u64 gpa, u64 size, unsigned rights)
{
	for (u64 off = 0; off < size; off += PAGE_SIZE)
		map_page(g, linear + off, gpa + off, rights);
}

void *sg_map(struct softguest *g, u64 linear, u64 size, unsigned rights)
{
	u64 gpa;
	void *host = page_alloc(g, (size + PAGE_SIZE - 1) / PAGE_SIZE, &gpa);

	sg_map_at(g, linear, gpa, size, rights);
	return host;
}

u64 sg_phys(struct softguest *g, const void *host)
{
	return (u64)((const u8 *)host - (const u8 *)mem_host(g->env.mem, 0, 1));
}

struct watchdog {
	struct softguest *g;
	unsigned seconds;
};

static void *watch(void *arg)
{
	struct watchdog *w = arg;

	sleep(w->seconds);
	soft_engine.kick(w->g->cpu);
	return NULL;
}

enum vcpu_stop sg_run(struct softguest *g, unsigned seconds)
{
	struct watchdog w = { g, seconds };
	enum vcpu_stop r;
	pthread_t t;

	g->stopped = false;
	pthread_create(&t, NULL, watch, &w);
	r = soft_engine.run(g->cpu);
	pthread_cancel(t);
	pthread_join(t, NULL);
	return r;
}

void sg_get(struct softguest *g, struct cpu_state *s)
{
	soft_engine.get_state(g->cpu, s);
}

void sg_set(struct softguest *g, const struct cpu_state *s)
{
	soft_engine.set_state(g->cpu, s);
}
