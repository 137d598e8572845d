// SPDX-License-Identifier: MIT
/* Interrupts and time: LAPIC timer in its modes, PIT through PIC and IOAPIC, priorities, shadows,
 * HLT, the PM timer, x2APIC. Times are compared loosely: the machine may be busy. */
#include "lib/lib.h"

enum { VEC_TIMER = 0x50, VEC_LOW = 0x41, VEC_HIGH = 0x91, VEC_PIC = 0x20, VEC_IOAPIC = 0x61, GP = 13 };
enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, LVT_MASKED = 0x10000, LVT_PERIODIC = 0x20000,
       LVT_DEADLINE = 0x40000, MSR_X2APIC = 0x800 };

static struct fault f;
static volatile u32 ticks, order[8], nr_order;
static volatile u64 tick_rip;
static bool x2apic;

static void eoi(void)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + 0xb, 0);
	else
		lapic_write(LAPIC_EOI, 0);
}

static void on_tick(struct regs *r)
{
	ticks++;
	tick_rip = r->rip;
	eoi();
}

static void note(struct regs *r)
{
	order[nr_order++ & 7] = (u32)r->vector;
	eoi();
}

static void on_pic(struct regs *r)
{
	(void)r;
	ticks++;
	outb(0x20, 0x20);
}

/* Sleeps by HLT until n ticks were seen; false when a second or two brought too few. */
static bool sleep_for_ticks(u32 n)
{
	u64 end = rdtsc() + 20000000000ull;

	while (ticks < n && rdtsc() < end)
		asm volatile("sti; hlt; cli" : : : "memory");
	return ticks >= n;
}

static bool spin_for_ticks(u32 n)
{
	sti();
	for (u32 i = 0; i < 400 && ticks < n; i++)
		delay_us(5000);
	cli();
	return ticks >= n;
}

static void lapic_timer(void)
{
	u32 a, b;

	section("LAPIC timer");
	lapic_enable();
	isr_set(VEC_TIMER, on_tick);
	lapic_write(LAPIC_DIVIDE, 0x3); /* by 16 */
	lapic_write(LAPIC_TIMER, VEC_TIMER);
	ticks = 0;
	lapic_write(LAPIC_INIT_COUNT, 100000);
	a = lapic_read(LAPIC_COUNT);
	delay_us(100);
	b = lapic_read(LAPIC_COUNT);
	CHECK(a <= 100000 && b <= a);
	CHECK(sleep_for_ticks(1));
	CHECK_EQ(lapic_read(LAPIC_COUNT), 0);
	delay_us(3000);
	sti();
	cli();
	CHECK_EQ(ticks, 1); /* once */
	section("LAPIC timer, periodic");
	ticks = 0;
	lapic_write(LAPIC_TIMER, VEC_TIMER | LVT_PERIODIC);
	lapic_write(LAPIC_INIT_COUNT, 20000);
	CHECK(sleep_for_ticks(20));
	CHECK(spin_for_ticks(40));
	lapic_write(LAPIC_TIMER, VEC_TIMER | LVT_PERIODIC | LVT_MASKED);
	sti();
	cli();
	ticks = 0;
	delay_us(5000);
	sti();
	cli();
	CHECK_EQ(ticks, 0);
	CHECK(lapic_read(LAPIC_COUNT) != 0); /* it counts on */
	lapic_write(LAPIC_INIT_COUNT, 0);
	CHECK_EQ(lapic_read(LAPIC_COUNT), 0);
	if (!(cpuid(1, 0).ecx & 1 << 24))
		return;
	section("TSC deadline");
	lapic_write(LAPIC_TIMER, VEC_TIMER | LVT_DEADLINE);
	ticks = 0;
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 2000000);
	CHECK(rdmsr(MSR_TSC_DEADLINE) != 0);
	CHECK(sleep_for_ticks(1));
	CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
	wrmsr(MSR_TSC_DEADLINE, 1); /* in the past: at once */
	CHECK(sleep_for_ticks(2));
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 100000000000);
	wrmsr(MSR_TSC_DEADLINE, 0); /* disarmed */
	CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
	lapic_write(LAPIC_TIMER, LVT_MASKED);
}

static void self(u32 vector)
{
	lapic_ipi(0, 0x44000 | vector);
}

static void priorities(void)
{
	section("priorities");
	isr_set(VEC_LOW, note);
	isr_set(VEC_HIGH, note);
	nr_order = 0;
	cli();
	self(VEC_LOW);
	self(VEC_HIGH);
	self(VEC_LOW); /* merges with the first */
	CHECK_EQ(lapic_read(LAPIC_IRR + 0x10 * (VEC_LOW / 32)) >> VEC_LOW % 32 & 1, 1);
	sti();
	cli();
	CHECK_EQ(nr_order, 2);
	CHECK_EQ(order[0], VEC_HIGH);
	CHECK_EQ(order[1], VEC_LOW);
	nr_order = 0;
	write_cr8(VEC_LOW >> 4);
	CHECK_EQ(lapic_read(LAPIC_TPR), VEC_LOW & 0xf0);
	self(VEC_LOW);
	self(VEC_HIGH);
	sti();
	asm volatile("nop");
	cli();
	CHECK_EQ(nr_order, 1);
	CHECK_EQ(order[0], VEC_HIGH);
	lapic_write(LAPIC_TPR, 0);
	CHECK_EQ(read_cr8(), 0);
	sti();
	cli();
	CHECK_EQ(nr_order, 2);
	section("shadows");
	isr_set(VEC_LOW, on_tick);
	ticks = 0;
	self(VEC_LOW);
	asm volatile("sti; cli"); /* STI holds back for one instruction, and that is CLI */
	CHECK_EQ(ticks, 0);
	{
		u64 at;

		asm volatile("sti; nop; 1: cli; lea 1b(%%rip), %0" : "=r"(at) : : "memory");
		CHECK_EQ(ticks, 1);
		CHECK_EQ(tick_rip, at);
		self(VEC_LOW);
		asm volatile("mov %%ss, %%eax; pushf; orl $0x200, (%%rsp)\n"
			     "popf; 1: cli; lea 1b(%%rip), %0" : "=r"(at) : : "rax", "memory", "cc");
		CHECK_EQ(ticks, 2); /* POPF does not hold back */
		CHECK_EQ(tick_rip, at);
	}
	ticks = 0;
	self(VEC_LOW);
	asm volatile("sti; hlt; cli" : : : "memory"); /* comes back from HLT */
	CHECK_EQ(ticks, 1);
	CHECK_EQ(((u8 *)tick_rip)[-1], 0xf4);
}

static void pit_rate(u16 count)
{
	outb(0x43, 0x34);
	outb(0x40, (u8)count);
	outb(0x40, (u8)(count >> 8));
}

static void pic_and_ioapic(void)
{
	volatile u32 *io = (u32 *)0xfec00000;

	section("PIT through the PIC");
	outb(0x20, 0x11);
	outb(0x21, VEC_PIC);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0xa0, 0x11);
	outb(0xa1, VEC_PIC + 8);
	outb(0xa1, 2);
	outb(0xa1, 1);
	outb(0x21, 0xfe);
	outb(0xa1, 0xff);
	CHECK_EQ(inb(0x21), 0xfe);
	isr_set(VEC_PIC, on_pic);
	lapic_write(LAPIC_LINT0, 0x700); /* ExtINT */
	ticks = 0;
	pit_rate(11932); /* 100 Hz */
	CHECK(sleep_for_ticks(3));
	outb(0x21, 0xff);
	sti();
	cli();
	lapic_write(LAPIC_LINT0, LVT_MASKED);
	section("PIT through the IOAPIC");
	isr_set(VEC_IOAPIC, on_tick);
	ticks = 0;
	io[0] = 1;
	CHECK_EQ(io[4] >> 16 & 0xff, 23);
	io[0] = 0x10 + 2 * 2 + 1;
	io[4] = 0;
	io[0] = 0x10 + 2 * 2;
	io[4] = VEC_IOAPIC;
	CHECK_EQ(io[4] & 0x1ffff, VEC_IOAPIC);
	CHECK(sleep_for_ticks(3));
	io[4] = VEC_IOAPIC | LVT_MASKED;
	sti();
	cli();
	ticks = 0;
	delay_us(30000);
	sti();
	cli();
	CHECK_EQ(ticks, 0);
}

static void clocks(void)
{
	u64 t = rdtsc(), last = t;
	u32 backwards = 0;

	section("clocks");
	for (int i = 0; i < 10000; i++) {
		u64 now = rdtsc();

		backwards += now < last;
		last = now;
	}
	CHECK_EQ(backwards, 0);
	t = rdtsc();
	delay_us(10000);
	CHECK(rdtsc() - t > 10000 * 100); /* over 100 MHz */
	outb(0x70, 0x0a);
	CHECK((inb(0x71) & 0x7f) == 0x26);
	wrmsr(0x10, 1000); /* the TSC can be set */
	CHECK(rdtsc() < 1000000000000ull);
}

static void x2apic_mode(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	if (!(cpuid(1, 0).ecx & 1 << 21))
		return;
	section("x2APIC");
	EXPECT_FAULT(f, GP, 0, "mov $0x802, %%ecx; rdmsr");
	wrmsr(MSR_APIC_BASE, base | 1 << 10);
	x2apic = true;
	CHECK_EQ(rdmsr(MSR_X2APIC + 2), cpuid(0xb, 0).edx);
	CHECK_EQ(rdmsr(MSR_X2APIC + 0xf) & 0x1ff, 0x1ff);
	isr_set(VEC_LOW, note);
	nr_order = 0;
	wrmsr(MSR_X2APIC + 0x30, 0x44000 | VEC_LOW);
	wrmsr(MSR_X2APIC + 0x3f, VEC_HIGH); /* self IPI */
	sti();
	asm volatile("nop");
	cli();
	CHECK_EQ(nr_order, 2);
	CHECK_EQ(order[0], VEC_HIGH);
	EXPECT_FAULT(f, GP, 0, "mov $0x802, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr");
	EXPECT_FAULT(f, GP, 0, "mov $0x80b, %%ecx; mov $1, %%eax; xor %%edx, %%edx; wrmsr");
	EXPECT_FAULT(f, GP, 0, "mov $0x80e, %%ecx; rdmsr");
	ticks = 0;
	isr_set(VEC_TIMER, on_tick);
	wrmsr(MSR_X2APIC + 0x3e, 3);
	wrmsr(MSR_X2APIC + 0x32, VEC_TIMER);
	wrmsr(MSR_X2APIC + 0x38, 10000);
	CHECK(sleep_for_ticks(1));
	if (!on_qemu_tcg()) /* not straight back to xAPIC mode */
		EXPECT_FAULT(f, GP, 0, "mov $0x1b, %%ecx; rdmsr; and $~0x400, %%eax; wrmsr");
}

int main(void)
{
	lapic_timer();
	priorities();
	pic_and_ioapic();
	clocks();
	x2apic_mode();
	return 0;
}
