// SPDX-License-Identifier: MIT
/* What every test guest uses: output, results, exceptions, processors, page tables. */
#include "lib/lib.h"

enum { SERIAL = 0x3f8, DEBUG_EXIT = 0xf4 };

void *memset(void *p, int c, size_t n)
{
	void *d = p;

	asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;

	asm volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

/* ---- Output --------------------------------------------------------------------------------- */

static u32 print_lock;

static void put(char c)
{
	while (!(inb(SERIAL + 5) & 0x20))
		pause();
	outb(SERIAL, (u8)c);
}

static void put_number(u64 v, u32 base, int width, char pad, bool negative)
{
	char buf[24];
	int n = 0;

	do {
		buf[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		buf[n++] = '-';
	for (; width > n; width--)
		put(pad);
	while (n)
		put(buf[--n]);
}

static void put_formatted(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		bool is_long = false;
		char pad = ' ';
		int width = 0;
		u64 v;

		if (*fmt != '%') {
			if (*fmt == '\n')
				put('\r');
			put(*fmt);
			continue;
		}
		if (*++fmt == '0')
			pad = *fmt++;
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + *fmt - '0';
		for (; *fmt == 'l'; fmt++)
			is_long = true;
		if (*fmt == 's') {
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			continue;
		}
		if (*fmt == '%') {
			put('%');
			continue;
		}
		v = is_long ? va_arg(ap, u64) : va_arg(ap, u32);
		if (*fmt == 'c')
			put((char)v);
		else if (*fmt == 'd' && (s64)(is_long ? v : (u64)(int)v) < 0)
			put_number(is_long ? -v : -(u32)v, 10, width, pad, true);
		else
			put_number(v, *fmt == 'x' ? 16 : 10, width, pad, false);
	}
}

static void lock_output(void)
{
	while (__atomic_exchange_n(&print_lock, 1, __ATOMIC_ACQUIRE))
		pause();
}

static void unlock_output(void)
{
	__atomic_store_n(&print_lock, 0, __ATOMIC_RELEASE);
}

void print(const char *fmt, ...)
{
	va_list ap;

	lock_output();
	va_start(ap, fmt);
	put_formatted(fmt, ap);
	va_end(ap);
	unlock_output();
}

static u32 nr_passed, nr_failed;
static const char *section_name = "";

void section(const char *name)
{
	section_name = name;
	print("# %s\n", name);
}

void check(bool good, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (good) {
		__atomic_add_fetch(&nr_passed, 1, __ATOMIC_RELAXED);
		return;
	}
	__atomic_add_fetch(&nr_failed, 1, __ATOMIC_RELAXED);
	print("FAIL %s:%d: %s: ", file, line, section_name);
	lock_output();
	va_start(ap, fmt);
	put_formatted(fmt, ap);
	va_end(ap);
	unlock_output();
	print("\n");
}

void finish(void)
{
	print("%u passed, %u failed\n", nr_passed, nr_failed);
	outb(DEBUG_EXIT, nr_failed || !nr_passed ? EXIT_BAD : EXIT_GOOD);
	for (const char *s = "Shutdown"; *s; s++) /* what ends Bochs */
		outb(0x8900, (u8)*s);
	for (;;)
		asm volatile("cli; hlt");
}

/* ---- Exceptions ----------------------------------------------------------------------------- */

struct guard {
	u64 rsp; /* first: guard_call() stores it */
	struct fault *fault;
	struct guard *outer;
};

struct idt_gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_mid;
	u32 offset_high, reserved;
};

struct tss64 tss;
u64 user_saved_rsp;
static struct guard *guards[MAX_CPUS]; /* innermost, by processor */
static isr_fn *handlers[256];
static struct idt_gate idt[256] __attribute__((aligned(16)));

extern u8 isr_stubs[];
bool guard_call(struct guard *g, void (*fn)(void *), void *arg);
void isr(struct regs *r);
void guest_setup(void);
void ap_main(u32 number);

u32 cpu_number(void)
{
	return (cpuid(1, 0).ebx >> 24) % MAX_CPUS;
}

bool catch(void (*fn)(void *), void *arg, struct fault *f)
{
	u32 cpu = cpu_number();
	struct guard g = { .fault = f, .outer = guards[cpu] };
	bool caught;

	memset(f, 0, sizeof(*f));
	f->vector = ~0ull;
	guards[cpu] = &g;
	caught = guard_call(&g, fn, arg);
	guards[cpu] = g.outer;
	return caught;
}

static u64 read_dr6(void)
{
	u64 v;

	asm volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}

static _Noreturn void die(struct regs *r)
{
	check(false, "isr", (int)r->vector, "exception %u error %lx", (u32)r->vector, r->error);
	print("cpu %u rip %lx cs %lx rflags %lx rsp %lx cr2 %lx\n", cpu_number(), r->rip, r->cs,
	      r->rflags, r->rsp, read_cr2());
	print("rax %lx rbx %lx rcx %lx rdx %lx\nrsi %lx rdi %lx rbp %lx\n", r->rax, r->rbx, r->rcx,
	      r->rdx, r->rsi, r->rdi, r->rbp);
	finish();
}

void isr(struct regs *r)
{
	struct guard *g;

	if (handlers[r->vector]) {
		handlers[r->vector](r);
		return;
	}
	if (r->vector == 0x80 && user_saved_rsp) {
		asm volatile("mov %0, %%rsp; jmp user_resume"
			     :
			     : "r"(user_saved_rsp), "a"(r->rax));
		__builtin_unreachable();
	}
	g = r->vector < 32 || r->vector == 0x90 ? guards[cpu_number()] : NULL;
	if (!g)
		die(r);
	g->fault->vector = r->vector;
	g->fault->error = r->error;
	g->fault->cr2 = r->vector == 14 || r->vector == 8 ? read_cr2() : 0;
	g->fault->dr6 = r->vector == 1 ? read_dr6() : 0;
	memcpy(&g->fault->regs, r, sizeof(*r));
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(SEL_DATA));
	asm volatile("mov %0, %%rsp; jmp guard_resume" : : "r"(g->rsp));
	__builtin_unreachable();
}

void isr_set(u8 vector, isr_fn *fn)
{
	handlers[vector] = fn;
}

void idt_set(u8 vector, void *entry, u8 ist, u8 dpl)
{
	u64 offset = (u64)entry;

	idt[vector] = (struct idt_gate){
		.offset_low = (u16)offset,
		.selector = SEL_CODE64,
		.ist = ist,
		.type = (u8)(0x8e | dpl << 5),
		.offset_mid = (u16)(offset >> 16),
		.offset_high = (u32)(offset >> 32),
	};
}

void idt_type(u8 vector, u8 type)
{
	idt[vector].type = type;
}

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 |
	       (u64)(limit >> 16 & 0xf) << 48 | (u64)flags << 52 | (u64)(base >> 24) << 56;
}

static void load_idt(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) p = { sizeof(idt) - 1, (u64)idt };

	asm volatile("lidt %0" : : "m"(p));
}

void guest_setup(void)
{
	outb(SERIAL + 3, 3); /* 8 bits */
	for (u32 v = 0; v < 256; v++)
		idt_set((u8)v, isr_stubs + 16 * v, 0, v == 3 || v == 4 || v == 0x80 ? 3 : 0);
	load_idt();
	tss.iomap = sizeof(tss);
	gdt[SEL_TSS / 8] = descriptor((u32)(u64)&tss, sizeof(tss) - 1, 0x89, 0);
	gdt[SEL_TSS / 8 + 1] = 0;
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
}

bool on_qemu_tcg(void)
{
	return cpuid(0x40000000, 0).ebx == 0x54474354; /* "TCGT" */
}

/* ---- Processors ----------------------------------------------------------------------------- */

extern u8 ap_start[], ap_start_end[];
extern volatile u32 nr_aps_started;
static void (*ap_fn)(u32 number);

void ap_main(u32 number)
{
	load_idt();
	lapic_enable();
	ap_fn(number);
}

void lapic_enable(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	lapic_write(LAPIC_SVR, 0x1ff);
	lapic_write(LAPIC_TPR, 0);
}

void lapic_ipi(u32 apic_id, u32 icr)
{
	while (lapic_read(LAPIC_ICR) & 0x1000)
		pause();
	lapic_write(LAPIC_ICR2, apic_id << 24);
	lapic_write(LAPIC_ICR, icr);
}

/* Channel 2 in mode 0 (its output, port 61H bit 5, rises at the end) counts at 1193182 Hz. */
void delay_us(u32 us)
{
	while (us) {
		u32 part = us > 50000 ? 50000 : us;
		u32 ticks = (u32)((u64)part * 1193182 / 1000000) + 1;

		us -= part;
		outb(0x61, (inb(0x61) & ~2) | 1);
		outb(0x43, 0xb0);
		outb(0x42, (u8)ticks);
		outb(0x42, (u8)(ticks >> 8));
		while (!(inb(0x61) & 0x20))
			pause();
	}
}

bool cpus_start(u32 nr, void (*fn)(u32 number))
{
	ap_fn = fn;
	lapic_enable();
	memcpy((void *)AP_START, ap_start, (size_t)(ap_start_end - ap_start));
	for (u32 id = 1; id < nr; id++) {
		lapic_ipi(id, 0x4500); /* INIT */
		delay_us(1000);
		lapic_ipi(id, 0x4600 | AP_START >> 12); /* SIPI */
		delay_us(200);
		lapic_ipi(id, 0x4600 | AP_START >> 12); /* once more, as the MP specification says */
		/* One after the other, so that their numbers are their APIC IDs. */
		for (int i = 0; i < 1000 && nr_aps_started < id; i++)
			delay_us(1000);
	}
	return nr_aps_started == nr - 1;
}

/* ---- Paging --------------------------------------------------------------------------------- */

extern u8 end_of_image[];
static u64 next_page;

void page_allow_user(bool allow)
{
	for (int i = 0; i < 32; i++)
		boot_pd[i] = allow ? boot_pd[i] | PTE_U : boot_pd[i] & ~(u64)PTE_U;
	write_cr3(read_cr3());
}

void *page_alloc(void)
{
	u64 page;

	if (!next_page)
		__atomic_store_n(&next_page, (u64)end_of_image, __ATOMIC_RELAXED);
	page = __atomic_fetch_add(&next_page, 4096, __ATOMIC_RELAXED);
	return memset((void *)page, 0, 4096);
}

u64 *page_map(u64 va, u64 pa, u64 flags)
{
	u64 *table = boot_pml4;

	for (int shift = 39; shift > 12; shift -= 9) {
		u64 *e = &table[va >> shift & 511];

		if (!(*e & PTE_P))
			*e = (u64)page_alloc() | PTE_P | PTE_W | PTE_U;
		table = (u64 *)(*e & PTE_ADDR);
	}
	table += va >> 12 & 511;
	*table = pa | flags;
	invlpg(va);
	return table;
}
