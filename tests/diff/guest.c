// SPDX-License-Identifier: MIT
#include "guest.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "engine/softvm.h"
#include "x86/regs.h"

/* Where the supervisor's things are. */
#define KERNEL	     0xffff900000000000ull
#define KERNEL_GDT   KERNEL
#define KERNEL_LDT   (KERNEL + 0x400)
#define KERNEL_TSS   (KERNEL + 0x800)
#define KERNEL_IDT   (KERNEL + PAGE_SIZE)
#define KERNEL_STUBS (KERNEL + 2 * PAGE_SIZE)
#define KERNEL_STACK (KERNEL + 3 * PAGE_SIZE)
#define DEVICE_GPA   0xc0000000ull

enum { SEL_KERNEL = 0x10, SEL_CODE32 = 0x23, SEL_DATA = 0x2b, SEL_CODE64 = 0x33, STUB_SIZE = 4 };

const char *const way_names[NR_WAYS] = { "blocks", "steps", "code", "device" };

/* ---- The device ---- */

static u64 device_read(void *dev, u64 off, unsigned size)
{
	struct guest *g = dev;
	u64 v = 0;

	memcpy(&v, g->registers + off, size);
	return v;
}

static void device_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct guest *g = dev;

	memcpy(g->registers + off, &value, size);
}

static const struct io_ops device_ops = { .read = device_read, .write = device_write };

/* ---- The supervisor ---- */

static void make_kernel(struct guest *g)
{
	u8 *k = sg_map(&g->sg, KERNEL, 4 * PAGE_SIZE, SG_READ | SG_WRITE | SG_EXEC);
	u64 *gdt = (u64 *)(void *)k, *idt = (u64 *)(void *)(k + PAGE_SIZE);
	u8 *stubs = k + 2 * PAGE_SIZE;
	u64 top = KERNEL_STACK + PAGE_SIZE;

	g->ldt = (u64 *)(void *)(k + 0x400);
	g->stack = k + 3 * PAGE_SIZE;
	gdt[SEL_KERNEL / 8] = 0x00af9b000000ffff;
	gdt[SEL_CODE32 / 8] = 0x00cffb000000ffff;
	gdt[SEL_DATA / 8] = 0x00cff3000000ffff;
	gdt[SEL_CODE64 / 8] = 0x00affb000000ffff;
	memcpy(k + 0x800 + 4, &top, 8);
	k[0x800 + 0x66] = 0x68; /* no I/O map */
	for (u64 n = 0; n < 256; n++) {
		u64 at = KERNEL_STUBS + STUB_SIZE * n;

		idt[2 * n] = (at & 0xffff) | SEL_KERNEL << 16 | 0xee00ull << 32 |
			     (at >> 16 & 0xffff) << 48;
		idt[2 * n + 1] = at >> 32;
		memcpy(stubs + STUB_SIZE * n, "\xe6\xf4\xeb\xfe", STUB_SIZE);
	}
	g->base.gdtr = (struct desc_table){ KERNEL_GDT, 0x3f };
	g->base.idtr = (struct desc_table){ KERNEL_IDT, 0xfff };
	g->base.tr = (struct seg){ .base = KERNEL_TSS, .limit = 0x67, .ar = 0x8b, .sel = 0x38 };
}

static void map_data(struct guest *g, enum way way)
{
	for (unsigned n = 0; n < NR_REGIONS; n++) {
		const struct region *r = &regions[n];
		u64 gpa = way == WAY_DEVICE ? DEVICE_GPA + r->image : sg_phys(&g->sg, g->data[n]);

		sg_map_at(&g->sg, r->linear, gpa, r->pages * PAGE_SIZE,
			  SG_READ | SG_USER | (r->writable ? SG_WRITE : 0));
	}
	g->mapped = way;
}

static struct guest *alarmed;

static void on_alarm(int sig)
{
	(void)sig;
	soft_engine.kick(alarmed->sg.cpu);
}

int guest_create(struct guest *g)
{
	memset(g, 0, sizeof(*g));
	if (sg_create(&g->sg, MIB(16)))
		return -1;
	sg_get(&g->sg, &g->base);
	make_kernel(g);
	for (unsigned n = 0; n < NR_REGIONS; n++)
		g->data[n] = sg_map(&g->sg, regions[n].linear, regions[n].pages * PAGE_SIZE,
				    SG_READ | SG_USER | (regions[n].writable ? SG_WRITE : 0));
	g->code[0] = sg_map(&g->sg, CODE_LOW, CODE_SIZE, SG_READ | SG_EXEC | SG_USER);
	g->code[1] = sg_map(&g->sg, CODE_HIGH, CODE_SIZE, SG_READ | SG_EXEC | SG_USER);
	g->has_bmi2 = ((struct soft_vm *)g->sg.vm)->has_bmi2;
	g->base.cr0 |= CR0_AM;
	g->base.cr4 |= CR4_FSGSBASE;
	alarmed = g;
	signal(SIGPROF, on_alarm);
	g->device = (struct io_region){ .base = DEVICE_GPA, .size = IMAGE_SIZE, .ops = &device_ops,
					.dev = g, .name = "memory" };
	return io_add(g->sg.env.mmio, &g->device);
}

/* ---- A run ---- */

static u8 *image_of(struct guest *g, unsigned n, enum way way)
{
	return way == WAY_DEVICE ? g->registers + regions[n].image : g->data[n];
}

/* Data becomes the engine's "code": writes go by its slow path. A write to a page with
 * a full map takes that away again, one to a page with an empty map does not. */
static void make_code(struct guest *g)
{
	struct soft_vm *vm = (struct soft_vm *)g->sg.vm;

	pthread_mutex_lock(&vm->cache.lock);
	for (unsigned n = 0; n < NR_REGIONS; n++) {
		for (unsigned k = 0; k < regions[n].pages; k++) {
			gpa_t gpa = sg_phys(&g->sg, g->data[n] + k * PAGE_SIZE);
			struct code_page *p = smc_make_code(vm, NULL, gpa);

			if (p)
				atomic_store(&p->map, k ? 0 : ~0ull);
		}
	}
	pthread_mutex_unlock(&vm->cache.lock);
}

static void forget_code(struct guest *g)
{
	struct soft_vm *vm = (struct soft_vm *)g->sg.vm;

	for (unsigned n = 0; n < NR_REGIONS; n++) {
		gpa_t gpa = sg_phys(&g->sg, g->data[n]);

		for (unsigned k = 0; k < regions[n].pages; k++) {
			struct code_page *p = cache_page(&vm->cache, gpa + k * PAGE_SIZE);

			if (p)
				atomic_store(&p->map, ~0ull);
		}
		mem_written(g->sg.env.mem, gpa, regions[n].pages * PAGE_SIZE);
	}
}

static struct seg data_segment(const struct program *p, unsigned n)
{
	const struct segment *d = &p->seg[n];
	u32 ar = 0x40f3;

	if (d->null)
		return (struct seg){ .ar = SEG_UNUSABLE };
	if (d->read_only)
		ar ^= 2;
	if (d->down)
		ar |= 4;
	if (segment_in_pages(d))
		ar |= SEG_G;
	return (struct seg){ .base = d->base, .limit = d->limit, .ar = ar,
			     .sel = program_selector(p, n) };
}

/* For programs that load segment registers; as modify_ldt(2) makes them. */
static void set_ldt(struct guest *g, struct cpu_state *s, const struct program *p)
{
	memset(g->ldt, 0, 8 * NR_SEGS);
	for (unsigned n = 0; p->segmented && n < NR_SEGS; n++) {
		const struct segment *d = &p->seg[n];
		u64 limit = segment_in_pages(d) ? d->limit >> 12 : d->limit;
		u64 type = d->down ? (d->read_only ? 5 : 7) : d->read_only ? 1 : 3;

		if (n != SEG_CS)
			g->ldt[n] = (limit & 0xffff) | (u64)(d->base & 0xffffff) << 16 |
				    (0xf0 | type) << 40 | (limit >> 16 & 15) << 48 | BIT(54) |
				    (segment_in_pages(d) ? BIT(55) : 0) | (u64)(d->base >> 24) << 56;
	}
	s->ldtr = (struct seg){ .base = KERNEL_LDT, .limit = 8 * NR_SEGS - 1, .ar = 0x82, .sel = 0x50 };
}

static void set_segments(struct cpu_state *s, const struct program *p)
{
	u32 null = SEG_UNUSABLE;

	for (unsigned n = 0; n < NR_SEGS; n++)
		s->seg[n] = (struct seg){ .ar = null };
	s->seg[SEG_FS].base = p->start.fs_base;
	s->seg[SEG_GS].base = p->start.gs_base;
	s->seg[SEG_SS] = (struct seg){ .limit = 0xffffffff, .ar = 0xc0f3, .sel = SEL_DATA };
	s->seg[SEG_CS] = (struct seg){ .limit = 0xffffffff, .ar = 0xa0fb, .sel = SEL_CODE64 };
	if (!p->code32)
		return;
	s->seg[SEG_CS] = (struct seg){ .limit = 0xffffffff, .ar = 0xc0fb, .sel = SEL_CODE32 };
	s->seg[SEG_DS] = s->seg[SEG_ES] = s->seg[SEG_SS];
	for (unsigned n = 0; p->segmented && n < NR_SEGS; n++)
		if (n != SEG_CS)
			s->seg[n] = data_segment(p, n);
}

static void set_state(struct guest *g, const struct program *p, enum way way)
{
	struct cpu_state s = g->base;

	memcpy(s.gpr, p->start.gpr, sizeof(s.gpr));
	memcpy(s.xsave, p->start.xsave, XSAVE_USED);
	s.rip = p->code;
	s.rflags = p->start.rflags;
	set_segments(&s, p);
	set_ldt(g, &s, p);
	if (way == WAY_STEPS) {
		s.dr[0] = 0x7fff12340000;
		s.dr7 = 0x30401; /* reads and writes of a byte there */
	}
	sg_set(&g->sg, &s);
}

static void take_state(struct guest *g, struct outcome *res)
{
	struct cpu_state s;
	const u64 *frame;

	sg_get(&g->sg, &s);
	memcpy(res->r.gpr, s.gpr, sizeof(s.gpr));
	memcpy(res->r.xsave, s.xsave, XSAVE_USED);
	res->cr2 = s.cr2;
	res->vector = (s.rip - KERNEL_STUBS) / STUB_SIZE;
	if (res->vector > 255 || !g->sg.stopped) {
		res->hung = true;
		res->r.rip = s.rip;
		res->r.rflags = s.rflags;
		return;
	}
	frame = (const u64 *)(void *)(g->stack + (s.gpr[RSP] - KERNEL_STACK));
	if (res->vector == X86_DF || (res->vector >= X86_TS && res->vector <= X86_PF) ||
	    res->vector == X86_AC)
		res->error = *frame++;
	res->r.rip = frame[0];
	res->r.rflags = frame[2];
	res->r.gpr[RSP] = frame[3];
}

static void set_code_rights(struct guest *g, unsigned n, unsigned rights)
{
	sg_map_at(&g->sg, n ? CODE_HIGH : CODE_LOW, sg_phys(&g->sg, g->code[n]), CODE_SIZE,
		  SG_READ | SG_EXEC | SG_USER | rights);
}

/* Translations of other hosts and with counters: now and then. */
static void choose_variant(struct guest *g, const struct program *p)
{
	struct soft_vm *vm = (struct soft_vm *)g->sg.vm;

	vm->has_bmi2 = g->has_bmi2 && p->seed % 8;
	vm->stats_on = p->seed % 16 == 1;
}

/* The code pages that the program is not in: INT3, read only. */
static void clear_other_code(struct guest *g, const struct program *p)
{
	unsigned other = program_code_base(p) == CODE_LOW;

	memset(g->code[other], 0xcc, CODE_SIZE);
	mem_written(g->sg.env.mem, sg_phys(&g->sg, g->code[other]), CODE_SIZE);
	set_code_rights(g, other, 0);
}

void guest_run(struct guest *g, const struct program *p, const u8 *code, enum way way,
	       struct outcome *res)
{
	struct itimerval limit = { .it_value = { .tv_sec = 5 } }, none = { 0 };
	u8 *to = g->code[program_code_base(p) == CODE_HIGH];

	memset(res, 0, offsetof(struct outcome, image));
	choose_variant(g, p);
	clear_other_code(g, p);
	set_code_rights(g, program_code_base(p) == CODE_HIGH, p->writable ? SG_WRITE : 0);
	if ((way == WAY_DEVICE) != (g->mapped == WAY_DEVICE))
		map_data(g, way);
	forget_code(g);
	for (unsigned n = 0; n < NR_REGIONS; n++)
		memcpy(image_of(g, n, way), p->image + regions[n].image, regions[n].pages * PAGE_SIZE);
	memcpy(to, code, CODE_SIZE);
	mem_written(g->sg.env.mem, sg_phys(&g->sg, to), CODE_SIZE);
	if (way == WAY_CODE)
		make_code(g);
	set_state(g, p, way);
	g->sg.stopped = false;
	setitimer(ITIMER_PROF, &limit, NULL);
	soft_engine.run(g->sg.cpu);
	setitimer(ITIMER_PROF, &none, NULL);
	take_state(g, res);
	memcpy(res->code, to, CODE_SIZE);
	for (unsigned n = 0; n < NR_REGIONS; n++)
		memcpy(res->image + regions[n].image, image_of(g, n, way), regions[n].pages * PAGE_SIZE);
}
