// SPDX-License-Identifier: MIT
/*
 * What a processor keeps while nothing touches it: vector and x87 state, MXCSR, FCW, DR0, and time
 * that only goes forward. Run with --test-save, the VM is saved and made anew many times meanwhile,
 * each time with a timer that is to come.
 */
#include "lib/lib.h"

enum { MSR_TSC_DEADLINE = 0x6e0, LVT_DEADLINE = 0x40000, VEC_TIMER = 0x50, ROUNDS = 30 };

static volatile u32 ticks;
static u64 vectors[16][2], seen[16][2];

static void on_tick(struct regs *r)
{
	(void)r;
	ticks++;
	lapic_write(LAPIC_EOI, 0);
}

#define EACH_XMM(what)                                                                             \
	what(0) what(1) what(2) what(3) what(4) what(5) what(6) what(7) what(8) what(9) what(10)   \
		what(11) what(12) what(13) what(14) what(15)
#define LOAD(n) "movups 16*" #n "(%0), %%xmm" #n "\n\t"
#define STORE(n) "movups %%xmm" #n ", 16*" #n "(%0)\n\t"

static void load_all(void)
{
	static const u32 mxcsr = 0x5f80; /* round up */
	static const u16 fcw = 0x0b7f;	 /* round up, double precision */

	asm volatile(EACH_XMM(LOAD) : : "r"(vectors) : "memory");
	asm volatile("ldmxcsr %0; fninit; fldcw %1; fldpi; fldl2e" : : "m"(mxcsr), "m"(fcw));
	asm volatile("mov %0, %%dr0" : : "r"(0x123456789ull));
}

static void check_all(void)
{
	u32 mxcsr, wrong = 0;
	u64 l2e, pi, dr0;
	u16 fcw;

	asm volatile(EACH_XMM(STORE) : : "r"(seen) : "memory");
	asm volatile("stmxcsr %0; fnstcw %1; fstpl %2; fstpl %3"
		     : "=m"(mxcsr), "=m"(fcw), "=m"(l2e), "=m"(pi));
	asm volatile("mov %%dr0, %0" : "=r"(dr0));
	for (u32 n = 0; n < 16; n++)
		wrong += seen[n][0] != vectors[n][0] || seen[n][1] != vectors[n][1];
	CHECK_EQ(wrong, 0);
	CHECK_EQ(mxcsr, 0x5f80);
	CHECK_EQ(fcw, 0x0b7f);
	CHECK_EQ(l2e, 0x3ff71547652b82ff); /* both rounded up */
	CHECK_EQ(pi, 0x400921fb54442d19);
	CHECK_EQ(dr0, 0x123456789);
}

int main(void)
{
	u64 before;
	u32 want = 0;

	isr_set(VEC_TIMER, on_tick);
	lapic_write(LAPIC_SVR, 0x1ff);
	lapic_write(LAPIC_TIMER, LVT_DEADLINE | VEC_TIMER);
	for (u32 n = 0; n < 32; n++)
		vectors[n / 2][n & 1] = 0x0123456789abcdefull * (2 * n + 1);
	section("state that nobody touches");
	for (u32 round = 0; round < ROUNDS; round++) {
		u64 deadline;

		load_all();
		before = rdtsc();
		deadline = before + 200000000;
		wrmsr(MSR_TSC_DEADLINE, deadline);
		want++;
		sti();
		while (ticks < want && rdtsc() < before + 40000000000ull)
			asm volatile("pause");
		cli();
		CHECK_EQ(ticks, want);
		CHECK(rdtsc() >= deadline);
		check_all();
	}
	return 0;
}
