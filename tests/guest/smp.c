// SPDX-License-Identifier: MIT
/* Several processors: start-up, atomic operations, memory order, interrupts between them. */
#include "lib/lib.h"

enum { ROUNDS = 200000, IPI_VECTOR = 0x40, NMI = 2 };

static u32 nr_cpus;
static volatile u32 arrived;
static volatile u64 counter_add, counter_xadd, counter_cas, counter_inc;
static volatile u32 spin, guarded_a, guarded_b, mismatches;
static volatile u32 ids_seen;
static struct {
	u8 pad[60];
	volatile u64 value; /* across two cache lines */
} __attribute__((packed, aligned(64))) split;
static volatile __uint128_t wide __attribute__((aligned(16)));

static void barrier(u32 n)
{
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < n * nr_cpus)
		pause();
}

static void add_wide(void)
{
	u64 lo = (u64)wide, hi = (u64)(wide >> 64), nlo, nhi;
	bool done;

	do {
		nlo = lo + 1;
		nhi = hi + 3;
		asm volatile("lock cmpxchg16b %1" : "=@ccz"(done), "+m"(wide), "+a"(lo), "+d"(hi)
			     : "b"(nlo), "c"(nhi) : "memory");
	} while (!done);
}

static void count(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		u64 old;

		asm volatile("lock addq $1, %0" : "+m"(counter_add) : : "cc", "memory");
		old = 1;
		asm volatile("lock xaddq %1, %0" : "+m"(counter_xadd), "+r"(old) : : "cc", "memory");
		asm volatile("lock incl %0" : "+m"(*(volatile u32 *)&counter_inc) : : "cc", "memory");
		old = counter_cas;
		while (!__atomic_compare_exchange_n(&counter_cas, &old, old + 1, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		if (i % 64 == 0) {
			asm volatile("lock addq $1, %0" : "+m"(split.value) : : "cc", "memory");
			add_wide();
		}
	}
}

static void take_turns(void)
{
	for (int i = 0; i < ROUNDS / 4; i++) {
		u32 v = 1;

		do {
			asm volatile("xchgl %0, %1" : "+r"(v), "+m"(spin) : : "memory");
			if (v)
				pause();
		} while (v);
		if (guarded_a != guarded_b)
			mismatches++;
		guarded_a++;
		guarded_b++;
		asm volatile("movl $0, %0" : "=m"(spin) : : "memory");
	}
}

/* Store buffering with MFENCE between: both loads never see 0. */
static volatile u32 sb_x, sb_y, sb_r[2], sb_bad;

/* Processors 0 and 1 meet n times each. */
static volatile u32 met;

static void meet(u32 n)
{
	__atomic_add_fetch(&met, 1, __ATOMIC_SEQ_CST);
	while (met < 2 * n)
		pause();
}

static void store_buffering(u32 number)
{
	if (number > 1)
		return;
	for (u32 i = 1; i <= 20000; i++) {
		if (number == 0) {
			sb_x = i;
			asm volatile("mfence" : : : "memory");
			sb_r[0] = sb_y;
		} else {
			sb_y = i;
			asm volatile("lock orl $0, (%%rsp)" : : : "cc", "memory");
			sb_r[1] = sb_x;
		}
		meet(2 * i - 1);
		if (number == 0 && sb_r[0] != i && sb_r[1] != i)
			sb_bad++;
		meet(2 * i);
	}
}

static volatile u32 ipis[MAX_CPUS], nmis;

static void on_ipi(struct regs *r)
{
	(void)r;
	ipis[cpu_number()]++;
	lapic_write(LAPIC_EOI, 0);
}

static void on_nmi(struct regs *r)
{
	(void)r;
	__atomic_add_fetch(&nmis, 1, __ATOMIC_SEQ_CST);
}

static void work(u32 number)
{
	__atomic_or_fetch(&ids_seen, 1u << cpu_number(), __ATOMIC_SEQ_CST);
	if (number != cpu_number())
		mismatches++;
	barrier(1);
	count();
	barrier(2);
	take_turns();
	barrier(3);
	store_buffering(number);
}

/* After its work a processor sleeps with interrupts on; each IPI wakes it. */
static void work_and_sleep(u32 number)
{
	work(number);
	sti();
	for (;;)
		asm volatile("hlt");
}

static bool wait_for(volatile u32 *p, u32 want)
{
	for (int i = 0; i < 2000 && *p < want; i++)
		delay_us(1000);
	return *p == want;
}

static void interrupts(void)
{
	isr_set(IPI_VECTOR, on_ipi);
	isr_set(NMI, on_nmi);
	section("interrupts between processors");
	for (u32 n = 1; n <= 100; n++) {
		for (u32 id = 1; id < nr_cpus; id++)
			lapic_ipi(id, 0x4000 | IPI_VECTOR);
		for (u32 id = 1; id < nr_cpus; id++) {
			if (!wait_for(&ipis[id], n))
				break;
		}
	}
	for (u32 id = 1; id < nr_cpus; id++)
		CHECK_EQ(ipis[id], 100);
	lapic_ipi(0, 0xc4000 | IPI_VECTOR); /* all but self */
	for (u32 id = 1; id < nr_cpus; id++)
		CHECK(wait_for(&ipis[id], 101));
	sti();
	lapic_ipi(0, 0x44000 | IPI_VECTOR); /* self */
	CHECK(wait_for(&ipis[0], 1));
	cli();
	lapic_ipi(0, 0x84000 | IPI_VECTOR); /* all */
	for (u32 id = 1; id < nr_cpus; id++)
		CHECK(wait_for(&ipis[id], 102));
	CHECK_EQ(ipis[0], 1); /* held back here */
	sti();
	CHECK(wait_for(&ipis[0], 2));
	cli();
	lapic_ipi(0, 0xc4400); /* NMI to all others */
	CHECK(wait_for(&nmis, nr_cpus - 1));
}

/* How many there are is said by fw_cfg: item 5, a 16-bit number. */
static u32 count_cpus(void)
{
	u32 n;

	asm volatile("outw %0, %1" : : "a"((u16)5), "Nd"((u16)0x510));
	n = inb(0x511);
	return n < 2 || n > MAX_CPUS ? 2 : n;
}

int main(void)
{
	section("start-up");
	nr_cpus = count_cpus();
	CHECK(cpus_start(nr_cpus, work_and_sleep));
	print("%u processors\n", nr_cpus);
	work(0);
	CHECK_EQ(ids_seen, (1u << nr_cpus) - 1);
	section("atomic counters");
	CHECK_EQ(counter_add, (u64)nr_cpus * ROUNDS);
	CHECK_EQ(counter_xadd, (u64)nr_cpus * ROUNDS);
	CHECK_EQ(counter_inc, (u64)nr_cpus * ROUNDS);
	CHECK_EQ(counter_cas, (u64)nr_cpus * ROUNDS);
	CHECK_EQ(split.value, (u64)nr_cpus * (ROUNDS / 64));
	CHECK_EQ((u64)wide, (u64)nr_cpus * (ROUNDS / 64));
	CHECK_EQ((u64)(wide >> 64), 3ull * nr_cpus * (ROUNDS / 64));
	section("mutual exclusion");
	CHECK_EQ(mismatches, 0);
	CHECK_EQ(guarded_a, nr_cpus * (ROUNDS / 4));
	section("store buffering");
	CHECK_EQ(sb_bad, 0);
	interrupts();
	return 0;
}
