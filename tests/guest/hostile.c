// SPDX-License-Identifier: MIT
/*
 * Guests that mean harm, or have lost their way: each runs one scenario, whose name is the kernel's
 * command line (tests/e2e/hostile.sh). What a scenario does to itself is its own affair; nestor
 * goes on, or ends with the status that the scenario deserves.
 */
#include "lib/lib.h"

enum { LAPIC = 0xfee00000, IOAPIC = 0xfec00000, HPET = 0xfed00000, ECAM = 0xb0000000 };
enum { WATCHDOG = 0x40, ROM = 0xf0000, HOLE = 0x60000000, LAST_PAGE = 0xfffff000 };

/* Where there is no RAM, with 64 MiB of it. */
static const u64 nowhere[] = { LAPIC,	  IOAPIC,  HPET,       ECAM,	   ECAM + 0x8000, HOLE,
			       LAST_PAGE, 0xa0000, 0xc0000000, 0xfe000000, 0x4000000 };
enum { NR_NOWHERE = sizeof(nowhere) / sizeof(nowhere[0]) };

static u64 seed = 0x9e3779b97f4a7c15;

static u64 random64(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* ---- What may never come back, comes back ---- */

struct attempt {
	void (*fn)(void *);
	void *arg;
	volatile bool on;
};
static struct attempt *attempts[MAX_CPUS];

/* Ends the attempt, with #UD. */
static void on_watchdog(struct regs *r)
{
	static const u8 ud2[] = { 0x0f, 0x0b };
	struct attempt *a = attempts[cpu_number()];

	lapic_write(LAPIC_EOI, 0);
	if (a && a->on)
		r->rip = (u64)ud2;
}

static void attempt(void *arg)
{
	struct attempt *a = arg;

	a->on = true;
	a->fn(a->arg);
	a->on = false;
}

static void on_any(struct regs *r)
{
	(void)r;
	lapic_write(LAPIC_EOI, 0);
}

static void ignore_interrupts(void)
{
	isr_set(2, on_any);
	for (u32 v = 32; v < 256; v++)
		isr_set((u8)v, v == WATCHDOG ? on_watchdog : on_any);
}

/* Runs fn(arg) with interrupts on for some milliseconds, whatever comes of it. */
static void try(void (*fn)(void *), void *arg)
{
	struct attempt a = { fn, arg, false };
	struct fault f;

	attempts[cpu_number()] = &a;
	lapic_enable();
	for (int n = 0; n < 16; n++)
		lapic_write(LAPIC_EOI, 0); /* of handlers that were cut short */
	lapic_write(LAPIC_DIVIDE, 0xb);
	lapic_write(LAPIC_TIMER, WATCHDOG);
	lapic_write(LAPIC_INIT_COUNT, 1000000);
	sti();
	catch (attempt, &a, &f);
	a.on = false;
	cli();
	lapic_write(LAPIC_INIT_COUNT, 0);
	lapic_write(LAPIC_EOI, 0);
}

static void watchdog_on(void)
{
	ignore_interrupts();
}

/* ---- Ends ---- */

static void load_idt_from(u64 base, u16 limit)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) p = { limit, base };

	asm volatile("lidt %0" : : "m"(p));
}

static void triple(void)
{
	load_idt_from(0, 0);
	asm volatile("mov $0x1234567890abcdef, %%rbx; int3" : : : "rbx");
}

static void triple_on_ap(void)
{
	cpus_start(2, (void (*)(u32))triple);
	for (;;)
		pause();
}

static void spin(void)
{
	cli();
	for (;;)
		;
}

static void halt(void)
{
	for (;;)
		asm volatile("cli; hlt");
}

static void spin_on_all(void)
{
	cpus_start(2, (void (*)(u32))spin);
	spin();
}

/* Again and again, since there is no --no-reboot; the 8042's way and the chipset's in turns. */
static void reset(void)
{
	outb(0x70, 0x0f);
	u8 odd = inb(0x71);

	outb(0x70, 0x0f);
	outb(0x71, !odd);
	if (odd)
		outb(0x64, 0xfe);
	outb(0xcf9, 2);
	outb(0xcf9, 6);
	spin();
}

/* ---- Nowhere ---- */

static void call_it(void *arg)
{
	static u8 dummy[4096];

	asm volatile("call *%0"
		     :
		     : "r"(arg), "a"(dummy), "b"(dummy), "c"(0), "d"(dummy), "S"(dummy), "D"(dummy)
		     : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static void jump(void)
{
	watchdog_on();
	for (int n = 0; n < NR_NOWHERE; n++)
		for (u64 at = 0; at < 4096; at += 0x3fd)
			try(call_it, (void *)(nowhere[n] + at));
	/* Code that goes on into nowhere: the last bytes of RAM. */
	memset((void *)(0x4000000 - 64), 0x90, 64);
	try(call_it, (void *)(0x4000000 - 64));
	memset((void *)(0x4000000 - 64), 0x48, 64); /* prefixes */
	try(call_it, (void *)(0x4000000 - 3));
	CHECK(true);
}

static void tables(void *arg)
{
	u64 *table = page_alloc();

	/* Each level in turn lies nowhere. */
	memcpy(table, boot_pml4, 4096);
	boot_pml4[100] = (u64)arg | 7;
	for (u64 n = 0; n < 512; n += 7)
		*(volatile u64 *)(100ull << 39 | n << 30) += 1;
}

static void page_tables(void)
{
	struct fault f;
	int faults = 0;

	watchdog_on();
	for (int n = 0; n < NR_NOWHERE; n++) {
		u64 *pdpt = page_alloc(), *pd = page_alloc();

		try(tables, (void *)nowhere[n]);
		boot_pml4[101] = (u64)pdpt | 7;
		for (u64 i = 0; i < 512; i++) {
			pdpt[i] = i & 1 ? (u64)pd | 7 : nowhere[n] | 7;
			pd[i] = nowhere[i % NR_NOWHERE] | 7;
		}
		write_cr3(read_cr3());
		for (u64 i = 0; i < 2000; i++) {
			u64 va = 101ull << 39 | (random64() & 0x7fffffffff);

			faults += FAULTS(f, "lock incl (%0); mov %%rax, (%0)", "r"(va));
		}
	}
	CHECK(faults > 0);
}

static u64 number(const char *s)
{
	u64 v = 0;

	for (; *s; s++)
		v = v << 4 | (u64)(*s <= '9' ? *s - '0' : (*s | 0x20) - 'a' + 10);
	return v;
}

static void cr3(const char *arg)
{
	write_cr3(number(arg));
	spin();
}

static void use_stack(void *arg)
{
	asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push $5; pop %%rax; push $7; pushfq; popfq;"
		     "call 1f; 1: mov $8, %%ecx; enter $64, $5; leave; mov %%rbx, %%rsp"
		     :
		     : "r"(arg)
		     : "rax", "rbx", "rcx", "rbp", "memory", "cc");
}

extern u8 isr_stubs[];

/* Handlers have a good stack. */
static void stack(void)
{
	struct fault f;

	tss.ist[0] = (u64)page_alloc() + 4096;
	for (u32 v = 0; v < 32; v++)
		idt_set((u8)v, isr_stubs + 16 * v, 1, 0);
	for (int n = 0; n < NR_NOWHERE; n++)
		for (u64 at = 0x20; at < 0x900; at += 0x66)
			catch (use_stack, (void *)(nowhere[n] + at), &f);
	CHECK(true);
}

/* The same with an exception on that stack: nothing good can come of it. */
static void stack_fault(const char *arg)
{
	asm volatile("mov %0, %%rsp; mov %0, %%rbp; ud2" : : "r"(number(arg)));
}

static void load_gdt_from(u64 base)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) p = { 0xffff, base };

	asm volatile("lgdt %0" : : "m"(p));
}

static void load_selectors(void *arg)
{
	struct fault f;

	(void)arg;
	for (u32 s = 0; s < 0x400; s += 8) {
		FAULTS(f, "mov %0, %%fs; mov %0, %%gs", "r"(s));
		FAULTS(f, "lar %w0, %%ecx; lsl %w0, %%ecx; verr %w0; verw %w0", "r"(s));
		FAULTS(f, "lldt %w0", "r"(s));
	}
}

static void gdt_nowhere(const char *arg)
{
	struct fault f;

	load_gdt_from(number(arg));
	catch (load_selectors, NULL, &f);
	FAULTS(f, "ltr %w0", "r"(0x40));
	CHECK(true);
	finish();
}

static void idt_nowhere(const char *arg)
{
	load_idt_from(number(arg), 0xfff);
	asm volatile("int $0x30; int3; ud2");
}

static u64 user_fault(u64 port)
{
	u8 v;

	asm volatile("inb %w1, %0" : "=a"(v) : "d"(port));
	return v;
}

/* I/O permission bitmap and stacks of a TSS that lies nowhere. */
static void tss_nowhere(const char *arg)
{
	struct fault f;
	u64 base = number(arg);

	gdt[SEL_SPARE / 8] = descriptor((u32)base, 0x2fff, 0x89, 0);
	gdt[SEL_SPARE / 8 + 1] = base >> 32;
	asm volatile("ltr %w0" : : "r"(SEL_SPARE));
	page_allow_user(true);
	user_call(user_fault, random64() & 0xffff, (u8 *)page_alloc() + 4096);
	(void)f;
}

/* ---- Odd accesses ---- */

static void long_string(void *arg)
{
	u64 at = (u64)arg;

	asm volatile("rep stosb" : : "D"(at), "c"(~0ull >> 1), "a"(0) : "memory");
}

static void long_copy(void *arg)
{
	u64 at = (u64)arg;

	asm volatile("rep movsq" : : "D"(at + 8), "S"(at), "c"(~0ull >> 4) : "memory");
}

static void long_output(void *arg)
{
	asm volatile("rep outsb" : : "d"((u64)arg & 0xffff), "S"(0x100000), "c"(~0ull >> 1));
}

static void long_input(void *arg)
{
	asm volatile("rep insl" : : "d"((u64)arg & 0xffff), "D"(arg), "c"(~0ull >> 1) : "memory");
}

static void accesses(void)
{
	struct fault f;

	watchdog_on();
	for (int n = 0; n < NR_NOWHERE; n++) {
		for (int i = 0; i < 60; i++) {
			u64 at = nowhere[n] + random64() % 8192;

			FAULTS(f, "lock cmpxchg8b (%0)", "r"(at));
			FAULTS(f, "lock cmpxchg16b (%0)", "r"(at & ~15ull));
			FAULTS(f, "lock xadd %%rcx, (%0)", "r"(at));
			FAULTS(f, "lock btsq %1, (%0)", "r"(at), "r"(random64() % 4096));
			FAULTS(f, "fxsave64 (%0)", "r"(at & ~15ull));
			FAULTS(f, "fnsave (%0); fninit", "r"(at));
			FAULTS(f, "movdqu %%xmm0, (%0); movdqu (%0), %%xmm1; movntdq %%xmm1, (%1)",
			       "r"(at), "r"(at & ~15ull));
			FAULTS(f, "maskmovdqu %%xmm1, %%xmm0", "D"(at));
			FAULTS(f, "pushq (%0); popq (%0)", "r"(at));
			FAULTS(f, "sgdt (%0); sidt (%0); clflush (%0); prefetcht0 (%0)", "r"(at));
			FAULTS(f, "mov %0, %%rax; xor %%ecx, %%ecx; xor %%edx, %%edx; monitor",
			       "r"(at));
		}
		if (nowhere[n] == LAPIC || nowhere[n] < 0x1000000)
			continue; /* the watchdog, or this program, would be overwritten */
		try(long_string, (void *)nowhere[n]);
		try(long_copy, (void *)nowhere[n]);
		try(long_output, (void *)(nowhere[n] >> 12));
		try(long_input, (void *)nowhere[n]);
	}
	/* Across the end of RAM. */
	for (u64 at = 0x4000000 - 64; at < 0x4000000; at++) {
		FAULTS(f, "lock xadd %%rcx, (%0); fxsave64 (%1)", "r"(at), "r"(at & ~15ull));
		FAULTS(f, "lock cmpxchg16b (%0)", "r"(at));
	}
	CHECK(true);
}

/* ---- Devices ---- */

static u32 pci_read(u32 device, u32 reg)
{
	outl(0xcf8, 0x80000000 | device << 11 | reg);
	return inl(0xcfc);
}

static void pci_write(u32 device, u32 reg, u32 v)
{
	outl(0xcf8, 0x80000000 | device << 11 | reg);
	outl(0xcfc, v);
}

static volatile u8 *bar(u32 device, u32 n)
{
	u64 low = pci_read(device, 0x10 + 4 * n), high = 0;

	if ((low & 6) == 4)
		high = pci_read(device, 0x14 + 4 * n);
	return (volatile u8 *)((low & ~15ull) | high << 32);
}

struct virtio {
	u32 device;
	volatile u8 *common, *notify, *isr, *config;
	u32 notify_multiplier;
};

/* Finds the structures by the capabilities of virtio 1.x. */
static bool find_virtio(u32 device, struct virtio *v)
{
	*v = (struct virtio){ .device = device };
	if ((pci_read(device, 0) & 0xffff) != 0x1af4)
		return false;
	pci_write(device, 4, 6);
	for (u32 cap = pci_read(device, 0x34) & 0xfc; cap;
	     cap = pci_read(device, cap) >> 8 & 0xfc) {
		u32 head = pci_read(device, cap);
		volatile u8 *at;

		if ((head & 0xff) != 9)
			continue;
		at = bar(device, pci_read(device, cap + 4) & 7) + pci_read(device, cap + 8);
		/* High ones are out of the identity map. */
		if ((u64)at >= 1ull << 32) {
			page_map((u64)at & PTE_ADDR, (u64)at & PTE_ADDR, 7);
			page_map(((u64)at & PTE_ADDR) + 4096, ((u64)at & PTE_ADDR) + 4096, 7);
		}
		switch (head >> 24) {
		case 1:
			v->common = at;
			break;
		case 2:
			v->notify = at;
			v->notify_multiplier = pci_read(device, cap + 16);
			break;
		case 3:
			v->isr = at;
			break;
		case 4:
			v->config = at;
			break;
		}
	}
	return v->common && v->notify;
}

static void write64(volatile u8 *at, u64 v)
{
	*(volatile u32 *)at = (u32)v;
	*(volatile u32 *)(at + 4) = (u32)(v >> 32);
}

static void virtio_start(struct virtio *v)
{
	volatile u8 *c = v->common;

	c[0x14] = 0;
	for (int i = 0; i < 1000 && c[0x14]; i++)
		delay_us(100);
	CHECK_EQ(c[0x14], 0); /* a reset repairs everything */
	c[0x14] = 3;
	*(volatile u32 *)c = 1; /* features 63:32: VERSION_1 */
	*(volatile u32 *)(c + 8) = 1;
	*(volatile u32 *)(c + 12) = 1;
	c[0x14] = 11;
	CHECK(c[0x14] & 8);
}

static void virtio_queue(struct virtio *v, u16 queue, u64 desc, u64 avail, u64 used)
{
	volatile u8 *c = v->common;

	*(volatile u16 *)(c + 0x16) = queue;
	*(volatile u16 *)(c + 0x18) = 16;
	write64(c + 0x20, desc);
	write64(c + 0x28, avail);
	write64(c + 0x30, used);
	*(volatile u16 *)(c + 0x1c) = 1;
}

static void virtio_notify(struct virtio *v, u16 queue)
{
	*(volatile u16 *)(v->common + 0x16) = queue;
	u16 off = *(volatile u16 *)(v->common + 0x1e);

	*(volatile u16 *)(v->notify + off * v->notify_multiplier) = queue;
}

static const u64 bad_addresses[] = { LAPIC,	HOLE,	    0x4000000 - 32, 0x4000000,
				     ~0xfffull, ~0xfull,    1ull << 62,	    ECAM,
				     LAST_PAGE, 0xfffffff0, 1ull << 52,	    ROM };
enum { NR_BAD = sizeof(bad_addresses) / sizeof(bad_addresses[0]) };

/* Rings where there is no RAM. */
static void bad_rings(struct virtio *v)
{
	u64 ring = (u64)page_alloc();

	for (int n = 0; n < 3 * NR_BAD; n++) {
		u64 bad = bad_addresses[n / 3];

		virtio_start(v);
		for (u16 q = 0; q < 3; q++)
			virtio_queue(v, q, n % 3 == 0 ? bad : ring, n % 3 == 1 ? bad : ring + 1024,
				     n % 3 == 2 ? bad : ring + 2048);
		v->common[0x14] = 15;
		for (u16 q = 0; q < 3; q++)
			virtio_notify(v, q);
		delay_us(200);
	}
}

/* Good rings with descriptors that lead nowhere, in circles, or everywhere at once. */
static void bad_descriptors(struct virtio *v)
{
	u8 *ring = page_alloc();

	for (int n = 0; n < 200; n++) {
		u64 *d = (u64 *)ring;

		virtio_start(v);
		for (int i = 0; i < 16; i++) {
			/* Anywhere but in this program, which lies low. */
			d[2 * i] = random64() & 1 ? bad_addresses[random64() % (NR_BAD - 1)]
						  : 0x1000000 + random64() % 0x4000000;
			u64 flags = random64() & 7, next = random64() % 20;
			u64 size = random64() & 1 ? random64() & 0xffffffff : random64() % 5000;

			d[2 * i + 1] = size | flags << 32 | next << 48;
		}
		u16 *avail = (u16 *)(ring + 1024);

		for (int i = 0; i < 16; i++)
			avail[2 + i] = (u16)(random64() % 18);
		avail[0] = 0;
		avail[1] = (u16)(random64() % 20);
		for (u16 q = 0; q < 3; q++)
			virtio_queue(v, q, (u64)ring, (u64)ring + 1024, (u64)ring + 2048);
		v->common[0x14] = 15;
		for (u16 q = 0; q < 3; q++)
			virtio_notify(v, q);
		delay_us(200);
	}
	virtio_start(v);
}

static void dma(void)
{
	int found = 0;

	for (u32 device = 0; device < 32; device++) {
		struct virtio v;

		if (!find_virtio(device, &v))
			continue;
		found++;
		bad_rings(&v);
		bad_descriptors(&v);
	}
	CHECK(found >= 2); /* of those that hostile.sh asks for */
}

static bool write_msr(u32 msr, u64 v)
{
	struct fault f;

	return FAULTS(f, "mov %0, %%ecx; mov %1, %%eax; mov %2, %%edx; wrmsr", "r"(msr),
		      "r"((u32)v), "r"((u32)(v >> 32)));
}

/* Every LAPIC register and ICR, every IOAPIC pin, random values. */
static void interrupts(void)
{
	struct fault f;

	lapic_enable();
	ignore_interrupts();
	for (int n = 0; n < 50000; n++) {
		u64 r = random64();

		switch (r % 5) {
		case 0:
			lapic_write((u32)(r >> 8) & 0xff0, (u32)(r >> 32));
			break;
		case 1:
			*(volatile u32 *)IOAPIC = (u32)(r >> 8) & 0x3f;
			*(volatile u32 *)(IOAPIC + 0x10) = (u32)(r >> 32);
			break;
		case 2:
			/* Fixed, lowest priority, NMI, and the reserved modes; not INIT, to go on. */
			lapic_write(LAPIC_ICR2, (u32)(r >> 32));
			lapic_write(LAPIC_ICR, (u32)(r >> 8) & 0xcc8ff & ~(0x700u & 0x400u));
			break;
		case 3:
			FAULTS(f, "sti; nop; nop; nop; cli", "r"(0));
			break;
		case 4:
			write_msr(0x800 | ((r >> 8) & 0xff), r >> 32);
			break;
		}
	}
	CHECK(true);
}

/* Debug exit, power-off, resets: what would end the scenario early. */
static bool ends_it(u16 port)
{
	return (port >= 0xf1 && port <= 0xf4) || (port >= 0x600 && port < 0x610) ||
	       (port >= 0xcf6 && port <= 0xcf9) || port == 0x64 || (port >= 0x61 && port < 0x64) ||
	       (port >= 0x8f && port <= 0x92);
}

/* All ports, all sizes, random values. */
static void ports(void)
{
	for (int n = 0; n < 100000; n++) {
		u64 r = random64();
		u16 port = (u16)(r >> 8), v = (u16)(r >> 32);

		if (n & 1)
			port &= 0xff; /* there most of the chips are */
		if (ends_it(port))
			continue;
		switch (r % 6) {
		case 0:
			outb(port, (u8)v);
			break;
		case 1:
			asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
			break;
		case 2:
			outl(port, (u32)(r >> 20));
			break;
		case 3:
			inb(port);
			break;
		case 4:
			inl(port);
			break;
		case 5:
			asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
			break;
		}
	}
	CHECK(true);
}

static void mmio(void)
{
	for (int n = 0; n < 100000; n++) {
		u64 r = random64();
		u64 at = (r & 1 ? nowhere[r % NR_NOWHERE] : 0xc0000000) + ((r >> 8) & 0x3fff);

		if (at - LAPIC < 4096 || at > 0xfffffff0)
			continue;
		switch (r >> 3 & 3) {
		case 0:
			*(volatile u32 *)at = (u32)(r >> 32);
			break;
		case 1:
			*(volatile u64 *)at = r * 77;
			break;
		case 2:
			*(volatile u8 *)at = (u8)(r >> 50);
			break;
		case 3:
			(void)*(volatile u64 *)at;
			break;
		}
	}
	CHECK(true);
}

static void msrs(void)
{
	struct fault f;
	u64 refused = 0;

	for (int n = 0; n < 20000; n++) {
		u64 r = random64();
		u32 msr = (u32)(r >> 16) & 0x1fff;

		if (r & 1)
			msr = 0xc0000000 | (msr & 0x1ff);
		else if (r & 2)
			msr &= 0x3ff;
		u64 v = random64() >> (r >> 4 & 63);

		refused += FAULTS(f, "mov %0, %%ecx; rdmsr", "r"(msr));
		refused += write_msr(msr, v);
		wrmsr(MSR_EFER, EFER_LME | EFER_NXE);
	}
	CHECK(refused > 200);
}

/* ---- Code ---- */

/* Random bytes, on all processors, at all of memory. */
static void run_random(u32 cpu)
{
	u64 mine = seed * (cpu + 1);

	watchdog_on();
	for (u64 *p = (u64 *)0x1000000; p < (u64 *)0x1800000; p++) {
		mine = mine * 6364136223846793005 + 1442695040888963407;
		*p = mine ^ mine >> 29;
	}
	for (;;) {
		mine = mine * 6364136223846793005 + 1442695040888963407;
		try(call_it, (void *)(0x1000000 + (mine >> 20) % 0x800000));
	}
}

static void random_code(const char *arg)
{
	seed *= 2 * number(arg) + 1;
	cpus_start(2, run_random);
	run_random(0);
}

/* ---- Which ---- */

static const struct {
	const char *name;
	void (*plain)(void);
	void (*with)(const char *arg); /* what comes after the '=' */
} scenarios[] = {
	{ "triple", triple, NULL },
	{ "triple-on-ap", triple_on_ap, NULL },
	{ "spin", spin, NULL },
	{ "spin-on-all", spin_on_all, NULL },
	{ "halt", halt, NULL },
	{ "reset", reset, NULL },
	{ "jump", jump, NULL },
	{ "page-tables", page_tables, NULL },
	{ "cr3", NULL, cr3 },
	{ "stack", stack, NULL },
	{ "stack-fault", NULL, stack_fault },
	{ "gdt", NULL, gdt_nowhere },
	{ "idt", NULL, idt_nowhere },
	{ "tss", NULL, tss_nowhere },
	{ "accesses", accesses, NULL },
	{ "dma", dma, NULL },
	{ "interrupts", interrupts, NULL },
	{ "ports", ports, NULL },
	{ "mmio", mmio, NULL },
	{ "msrs", msrs, NULL },
	{ "random", NULL, random_code },
};

static bool is_scenario(const char *line, const char *name, const char **arg)
{
	while (*name && *line == *name)
		line++, name++;
	*arg = *line == '=' ? line + 1 : line;
	return !*name && (!*line || *line == '=');
}

extern u32 multiboot_info;

int main(void)
{
	const char *line = (const char *)(u64) * (u32 *)(u64)(multiboot_info + 16), *arg;

	/* Our loader puts the kernel's name first, as the specification's example does. */
	for (const char *p = line; *p; p++)
		if (*p == ' ')
			line = p + 1;
	for (u64 n = 0; n < sizeof(scenarios) / sizeof(scenarios[0]); n++) {
		if (!is_scenario(line, scenarios[n].name, &arg))
			continue;
		if (scenarios[n].plain)
			scenarios[n].plain();
		else
			scenarios[n].with(arg);
		return 0;
	}
	check(false, __FILE__, __LINE__, "no scenario \"%s\"", line);
	return 0;
}
