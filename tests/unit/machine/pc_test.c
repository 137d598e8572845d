// SPDX-License-Identifier: MIT
#include "machine/pc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/test.h"
#include "base/clock.h"
#include "bus/pci.h"
#include "cpu/lapic.h"
#include "dev/uart16550.h"

struct rig {
	struct loop *loop;
	struct pc *pc;
	struct irq_sink sink;
	bool level[24];
	unsigned pulses[24];
	pthread_mutex_t end_lock; /* several vCPUs may end the machine at once */
	int nr_ends;
	enum machine_end last_end;
	u32 last_code;
	char out[256];
	size_t out_len;
	struct chardev chr;
};

static void rig_end(void *opaque, enum machine_end end, u32 code)
{
	struct rig *r = opaque;

	pthread_mutex_lock(&r->end_lock);
	r->nr_ends++;
	r->last_end = end;
	r->last_code = code;
	pthread_mutex_unlock(&r->end_lock);
}

static void rig_gsi(void *opaque, u32 gsi, bool level)
{
	struct rig *r = opaque;

	r->pulses[gsi % 24] += level;
	r->level[gsi % 24] = level;
}

static void rig_msi(void *opaque, u64 address, u32 data)
{
	(void)opaque;
	(void)address;
	(void)data;
}

static void rig_write(void *opaque, const void *data, size_t size)
{
	struct rig *r = opaque;

	for (size_t i = 0; i < size && r->out_len < sizeof(r->out) - 1; i++)
		r->out[r->out_len++] = ((const char *)data)[i];
}

static void rig_init(struct rig *r, u64 memory, bool external)
{
	struct pc_config c = {
		.memory = memory, .cpus = 2, .debug_exit = true, .external_irqchip = external,
		.end = rig_end, .opaque = r,
	};
	struct err e = { "" };

	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->end_lock, NULL);
	r->chr = (struct chardev){ .write = rig_write, .opaque = r };
	c.serial[0] = c.serial[2] = &r->chr;
	CHECK_EQ(loop_create(&r->loop), 0);
	if (pc_create(&c, r->loop, &r->pc, &e) || pc_reset(r->pc, &e)) {
		test_fail(__FILE__, __LINE__, "%s", e.text);
		exit(1);
	}
	r->sink = (struct irq_sink){ rig_gsi, rig_msi, r };
	pc_connect_sink(r->pc, &r->sink);
}

static void rig_fini(struct rig *r)
{
	pc_destroy(r->pc);
	loop_destroy(r->loop);
}

static void outb(struct rig *r, u16 port, u8 v)
{
	io_write(r->pc->pio, port, 1, v);
}

static u8 inb(struct rig *r, u16 port)
{
	return (u8)io_read(r->pc->pio, port, 1);
}

TEST(pc, ends_of_the_machine)
{
	struct rig r;

	rig_init(&r, MIB(4), false);
	io_write(r.pc->pio, 0xf4, 4, 0x10);
	CHECK(r.last_end == MACHINE_DEBUG_EXIT && r.last_code == 0x21);
	io_write(r.pc->pio, 0x604, 2, 0x2000);
	CHECK(r.nr_ends == 2 && r.last_end == MACHINE_POWEROFF);
	outb(&r, 0x64, 0xfe);
	CHECK(r.nr_ends == 3 && r.last_end == MACHINE_RESET);
	outb(&r, 0xcf9, 0x02);
	CHECK_EQ(r.nr_ends, 3);
	outb(&r, 0xcf9, 0x06);
	CHECK_EQ(r.nr_ends, 4);
	outb(&r, 0x92, 0x03);
	CHECK_EQ(r.nr_ends, 5);
	rig_fini(&r);
}

TEST(pc, serial_output_and_shared_interrupt)
{
	struct rig r;

	rig_init(&r, MIB(4), true);
	outb(&r, 0x3f8, 'h');
	outb(&r, 0x3e8, 'i');
	CHECK_STR(r.out, "hi");
	CHECK_EQ(inb(&r, 0x2f8 + 5), 0xff); /* no COM2 */
	outb(&r, 0x3f8 + 4, 8);
	outb(&r, 0x3e8 + 4, 8);
	outb(&r, 0x3f8 + 1, 2);
	CHECK(r.level[4]);
	outb(&r, 0x3e8 + 1, 2);
	outb(&r, 0x3f8 + 1, 0);
	CHECK(r.level[4]);
	outb(&r, 0x3e8 + 1, 0);
	CHECK(!r.level[4]);
	CHECK_EQ(uart_receive(r.pc->uart[0], "xy", 2), 1); /* no FIFO yet */
	CHECK_EQ(inb(&r, 0x3f8), 'x');
	rig_fini(&r);
}

TEST(pc, configuration_space_both_ways)
{
	struct rig r;

	rig_init(&r, MIB(4), false);
	io_write(r.pc->pio, 0xcf8, 4, 0x80000000);
	CHECK_EQ(io_read(r.pc->pio, 0xcfc, 4), 0x29c08086);
	CHECK_EQ(io_read(r.pc->pio, 0xcfe, 2), 0x29c0);
	io_write(r.pc->pio, 0xcf8, 4, 0x8000f840); /* 0:1f.0, PMBASE */
	CHECK_EQ(io_read(r.pc->pio, 0xcfc, 2), 0x601);
	CHECK_EQ(io_read(r.pc->pio, 0xcf8, 4), 0x8000f840);
	CHECK_EQ(io_read(r.pc->mmio, PC_ECAM_BASE, 4), 0x29c08086);
	CHECK_EQ(io_read(r.pc->mmio, PC_ECAM_BASE + (31 << 15) + 2, 2), 0x2918);
	CHECK_EQ(io_read(r.pc->mmio, PC_ECAM_BASE + (1 << 20), 4), 0xffffffff);
	rig_fini(&r);
}

static u8 sum(const u8 *p, u32 size)
{
	u8 s = 0;

	while (size--)
		s += *p++;
	return s;
}

static u32 get32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, 4);
	return v;
}

/* Set NESTOR_ACPI_DUMP to a folder to look at the tables with iasl. */
static void dump_table(const u8 *table)
{
	const char *dir = getenv("NESTOR_ACPI_DUMP");
	char name[300];
	FILE *f;

	if (!dir)
		return;
	snprintf(name, sizeof(name), "%s/%.4s.aml", dir, (const char *)table);
	f = fopen(name, "w");
	if (!f)
		return;
	fwrite(table, 1, get32(table + 4), f);
	fclose(f);
}

TEST(pc, acpi_tables_are_linked_and_sum_to_zero)
{
	static const char *const names[] = { "FACP", "APIC", "MCFG", "HPET" };
	const u8 *rsdp, *xsdt, *dsdt, *facs;
	struct rig r;

	rig_init(&r, MIB(4), false);
	rsdp = mem_host(r.pc->mem, PC_RSDP, 36);
	CHECK(!memcmp(rsdp, "RSD PTR ", 8));
	CHECK_EQ(sum(rsdp, 20), 0);
	CHECK_EQ(sum(rsdp, 36), 0);
	xsdt = mem_host(r.pc->mem, get32(rsdp + 24), 36);
	CHECK_EQ(sum(xsdt, get32(xsdt + 4)), 0);
	CHECK_EQ(get32(xsdt + 4), 36 + 8 * 4);
	for (int i = 0; i < 4; i++) {
		const u8 *t = mem_host(r.pc->mem, get32(xsdt + 36 + 8 * i), 36);

		CHECK(!memcmp(t, names[i], 4));
		CHECK_EQ(sum(t, get32(t + 4)), 0);
		dump_table(t);
		if (i == 0) {
			dsdt = mem_host(r.pc->mem, get32(t + 40), 36);
			facs = mem_host(r.pc->mem, get32(t + 36), 64);
			CHECK(!memcmp(dsdt, "DSDT", 4) && !memcmp(facs, "FACS", 4));
			CHECK_EQ(sum(dsdt, get32(dsdt + 4)), 0);
			dump_table(dsdt);
		}
	}
	CHECK(!memcmp(mem_host(r.pc->mem, PC_SMBIOS_BASE, 24), "_SM3_", 5));
	CHECK_EQ(sum(mem_host(r.pc->mem, PC_SMBIOS_BASE, 24), 24), 0);
	rig_fini(&r);
}

/* Each interrupt vector leads to code in ROM that returns. */
TEST(pc, bios_vectors_lead_to_handlers)
{
	u16 vector[256][2], ebda = 0, kib = 0;
	struct rig r;

	rig_init(&r, MIB(4), false);
	CHECK(mem_read(r.pc->mem, 0, vector, sizeof(vector)));
	for (unsigned v = 0; v < 256; v++) {
		u8 code[16];

		CHECK(mem_read(r.pc->mem, vector[v][1] * 16u + vector[v][0], code, sizeof(code)));
		CHECK(memchr(code, 0xcf, sizeof(code)));
		CHECK_EQ(code[0] == 0xcf, v < 0x10 || v > 0x1a);
	}
	CHECK(mem_read(r.pc->mem, 0x40e, &ebda, 2) && mem_read(r.pc->mem, 0x413, &kib, 2));
	CHECK_EQ(ebda * 16u, kib * 1024u);
	rig_fini(&r);
}

TEST(pc, hpet_legacy_mode_takes_the_timer_interrupt)
{
	struct rig r;

	rig_init(&r, MIB(4), true);
	/* PIT: 1193 ticks, about 1 ms. */
	outb(&r, 0x43, 0x34);
	outb(&r, 0x40, 0xa9);
	outb(&r, 0x40, 0x04);
	io_write(r.pc->mmio, PC_HPET_BASE + 0x10, 8, 3);
	struct timer stop;

	timer_init(&stop, r.loop, (loop_fn *)loop_stop, r.loop);
	timer_set(&stop, clock_ns() + 10000000);
	loop_run(r.loop);
	CHECK_EQ(r.pulses[0], 0);
	io_write(r.pc->mmio, PC_HPET_BASE + 0x10, 8, 0);
	for (int i = 0; i < 1000 && r.pulses[0] < 2; i++) { /* 10 s */
		timer_set(&stop, clock_ns() + 10000000);
		loop_run(r.loop);
	}
	CHECK(r.pulses[0] >= 2);
	rig_fini(&r);
}

TEST(pc, small_memory_is_refused)
{
	struct pc_config c = { .memory = MIB(1), .cpus = 1 };
	struct loop *loop;
	struct pc *pc;
	struct err e;

	CHECK_EQ(loop_create(&loop), 0);
	CHECK(pc_create(&c, loop, &pc, &e));
	CHECK(strstr(e.text, "2 MiB"));
	loop_destroy(loop);
}

TEST(pc, save_and_load_give_the_same_state)
{
	struct state_buf a = { 0 }, b = { 0 };
	struct rig r, s;
	struct err e = { "" };

	rig_init(&r, MIB(4), false);
	rig_init(&s, MIB(4), false);
	outb(&r, 0x43, 0x34);
	outb(&r, 0x21, 0xfe);
	outb(&r, 0x70, 0x8f);
	outb(&r, 0x3f8 + 7, 0x5a);
	io_write(r.pc->mmio, PC_IOAPIC_BASE, 4, 0x14);
	io_write(r.pc->mmio, PC_IOAPIC_BASE + 0x10, 4, 0x31);
	CHECK_EQ(pc_save(r.pc, &a), 0);
	CHECK_EQ(pc_load(s.pc, &a, &e), 0);
	CHECK_STR(e.text, "");
	CHECK_EQ(inb(&s, 0x21), 0xfe);
	CHECK_EQ(inb(&s, 0x70), 0x0f);
	CHECK_EQ(inb(&s, 0x3f8 + 7), 0x5a);
	CHECK_EQ(io_read(s.pc->mmio, PC_IOAPIC_BASE + 0x10, 4), 0x31);
	CHECK_EQ(pc_save(s.pc, &b), 0);
	CHECK_EQ(a.len, b.len);
	CHECK_EQ(a.pos, a.len);
	state_buf_free(&a);
	state_buf_free(&b);
	rig_fini(&r);
	rig_fini(&s);
}

/* ---- Random accesses ---- */

static u64 random64(u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

/* An address near something that answers. */
static u64 random_mmio(u64 *seed)
{
	static const u64 base[] = { PC_IOAPIC_BASE, PC_HPET_BASE, PC_ECAM_BASE,
				    PC_ECAM_BASE + (31 << 15), PC_PCI_HOLE_BASE };
	static const u64 size[] = { 0x50, 0x180, 0x100, 0x100, 0x5000 };
	unsigned i = random64(seed) % ARRAY_SIZE(base);

	return base[i] + random64(seed) % size[i];
}

static u64 random_port(u64 *seed)
{
	static const u16 base[] = { 0x20,  0x40,  0x60,	 0x70,	0x80,  0xa0,  0xb2,  0xf0,
				    0x3e8, 0x3f8, 0x4d0, 0x510, 0x600, 0x620, 0xcf8, 0xc000 };

	return base[random64(seed) % ARRAY_SIZE(base)] + random64(seed) % 16;
}

static u64 random_value(u64 *seed)
{
	u64 v = random64(seed), kind = random64(seed) % 4;

	return kind == 0 ? v : kind == 1 ? v & 0xff : kind == 2 ? BIT(v % 64) : v & 0xffff;
}

static void hammer(struct rig *r, u64 *seed, unsigned nr, bool alone)
{
	struct err e;

	while (nr--) {
		bool mmio = random64(seed) & 1;
		struct io_bus *bus = mmio ? r->pc->mmio : r->pc->pio;
		u64 addr = mmio ? random_mmio(seed) : random_port(seed);
		unsigned size = 1u << random64(seed) % 4;

		if (random64(seed) & 1)
			io_read(bus, addr, size);
		else
			io_write(bus, addr, size, random_value(seed));
		if (random64(seed) % 64 == 0)
			uart_receive(r->pc->uart[0], "0123456789abcdefghijkl", random64(seed) % 22);
		if (alone && random64(seed) % 20000 == 0)
			pc_reset(r->pc, &e);
		if (random64(seed) % 5000 == 0)
			pc_power_button(r->pc);
	}
}

TEST(pc, random_accesses_are_safe)
{
	const char *given = getenv("NESTOR_SEED");
	u64 seed = given ? strtoull(given, NULL, 0) : 0x9e3779b97f4a7c15;
	struct pci_func f;
	struct rig r;
	pthread_t thread;
	struct err e;

	rig_init(&r, MIB(4), false);
	pci_func_init(&f, "fuzz", 1, 2, 0);
	pci_add_msix(&f, 0, 8);
	CHECK_EQ(pci_add(r.pc->pci_root, &f, -1), 0);
	CHECK_EQ(pc_reset(r.pc, &e), 0);
	pthread_create(&thread, NULL, run_loop, r.loop);
	hammer(&r, &seed, 200000, true);
	loop_stop(r.loop);
	pthread_join(thread, NULL);
	rig_fini(&r);
}

struct vcpu {
	struct rig *rig;
	u64 seed;
	struct lapic lapic;
	pthread_t thread;
};

static void *run_vcpu(void *arg)
{
	struct vcpu *v = arg;

	for (int i = 0; i < 300; i++) {
		hammer(v->rig, &v->seed, 100, false);
		for (int vector; (vector = lapic_pending(&v->lapic)) >= 0;) {
			lapic_ack(&v->lapic, vector);
			lapic_eoi(&v->lapic);
		}
	}
	return NULL;
}

static void no_wake(void *opaque)
{
	(void)opaque;
}

/* Two processors and the loop at once; for the thread sanitizer. */
TEST(pc, random_accesses_from_several_threads)
{
	static struct vcpu v[2];
	struct lapic_bus *lapics;
	struct rig r;
	pthread_t thread;

	rig_init(&r, MIB(4), false);
	pc_connect_sink(r.pc, &(struct irq_sink){ .opaque = NULL });
	CHECK_EQ(lapic_bus_create(2, &lapics), 0);
	for (u32 i = 0; i < 2; i++) {
		v[i].rig = &r;
		v[i].seed = 77 + i;
		lapic_init(&v[i].lapic, lapics, i, r.loop);
		v[i].lapic.wake = no_wake;
		lapic_mmio_write(&v[i].lapic, 0xf0, 0x1ff);
	}
	pc_connect_lapics(r.pc, lapics);
	pthread_create(&thread, NULL, run_loop, r.loop);
	for (int i = 0; i < 2; i++)
		pthread_create(&v[i].thread, NULL, run_vcpu, &v[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(v[i].thread, NULL);
	loop_stop(r.loop);
	pthread_join(thread, NULL);
	for (int i = 0; i < 2; i++)
		lapic_fini(&v[i].lapic);
	pc_destroy(r.pc);
	lapic_bus_destroy(lapics);
	loop_destroy(r.loop);
}

/* Any saved bytes may be loaded: the machine is then strange, but safe. */
TEST(pc, damaged_saved_state_is_safe)
{
	struct state_buf b = { 0 };
	u64 seed = 12345;
	struct rig r;
	struct err e;

	rig_init(&r, MIB(4), false);
	for (int round = 0; round < 100; round++) {
		b.len = b.pos = 0;
		CHECK_EQ(pc_save(r.pc, &b), 0);
		for (int i = 0; i < 200; i++)
			b.data[random64(&seed) % b.len] ^= (u8)random64(&seed);
		pc_load(r.pc, &b, &e);
		hammer(&r, &seed, 200, true);
		CHECK_EQ(pc_reset(r.pc, &e), 0);
	}
	state_buf_free(&b);
	rig_fini(&r);
}
