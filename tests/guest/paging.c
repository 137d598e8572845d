// SPDX-License-Identifier: MIT
/*
 * Paging of 64-bit mode: accessed and dirty bits, large pages, rights by level, CR0.WP, EFER.NXE,
 * SMEP, SMAP, PCIDs, and accesses across pages that are no neighbours in memory.
 */
#include "lib/lib.h"

enum { GP = 13, PF = 14 };
enum { ERR_P = 1, ERR_W = 2, ERR_U = 4, ERR_RSVD = 8, ERR_I = 16 };

static struct fault f;
static const u64 base = 0x4000000000;

/* The entry of va at a level: 1 is the page table, 4 the PML4. */
static u64 *entry_at(u64 va, int level)
{
	u64 *table = boot_pml4;

	for (int l = 4; l > level; l--)
		table = (u64 *)(table[va >> (12 + 9 * (l - 1)) & 511] & PTE_ADDR);
	return &table[va >> (12 + 9 * (level - 1)) & 511];
}

static void accessed_and_dirty(void)
{
	u64 va = base, *e = page_map(va, (u64)page_alloc(), PTE_P | PTE_W);
	volatile u32 *p = (u32 *)va;

	section("accessed and dirty");
	for (int l = 2; l <= 4; l++)
		*entry_at(va, l) &= ~(u64)PTE_A;
	write_cr3(read_cr3());
	CHECK_EQ(*e & (PTE_A | PTE_D), 0);
	(void)*p;
	CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A);
	for (int l = 2; l <= 4; l++)
		CHECK_EQ(*entry_at(va, l) & (PTE_A | PTE_D), PTE_A);
	*p = 1;
	CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A | PTE_D);
	*e &= ~(u64)(PTE_A | PTE_D);
	invlpg(va);
	*p = 2;
	CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A | PTE_D);
	/* A write that faults sets no dirty bit; a CMPXCHG that does not match writes all the same. */
	*e = (*e & ~(u64)(PTE_A | PTE_D | PTE_W));
	invlpg(va);
	EXPECT_FAULT(f, PF, ERR_P | ERR_W, "movl $1, (%0)", "r"(va));
	CHECK_EQ(*e & PTE_D, 0);
	*e = (*e & ~(u64)(PTE_A | PTE_D)) | PTE_W;
	invlpg(va);
	asm volatile("mov $77, %%eax; lock cmpxchgl %%ecx, (%0)" : : "r"(va) : "rax", "memory", "cc");
	CHECK_EQ(*e & PTE_D, PTE_D);
	CHECK_EQ(*p, 2);
	/* A zero-count string touches nothing. */
	*e &= ~(u64)(PTE_A | PTE_D);
	invlpg(va);
	asm volatile("xor %%ecx, %%ecx; mov %0, %%rdi; rep stosb" : : "r"(va) : "rcx", "rdi", "memory");
	CHECK_EQ(*e & (PTE_A | PTE_D), 0);
	/* Neither do LEA, PREFETCH, INVLPG set the dirty bit; nor a fetch. */
	*(u8 *)va = 0xc3;
	*e &= ~(u64)(PTE_A | PTE_D);
	invlpg(va);
	((void (*)(void))va)();
	CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A);
}

static void remapping(void)
{
	u64 va = base + 0x100000, a = (u64)page_alloc(), b = (u64)page_alloc();
	volatile u64 *p = (u64 *)va;

	section("remapping");
	*(u64 *)a = 1;
	*(u64 *)b = 2;
	page_map(va, a, PTE_P | PTE_W);
	CHECK_EQ(*p, 1);
	page_map(va, b, PTE_P | PTE_W);
	CHECK_EQ(*p, 2);
	*entry_at(va, 1) = a | PTE_P | PTE_W | PTE_G;
	write_cr3(read_cr3());
	CHECK_EQ(*p, 1);
	*p = 11; /* seen through both addresses */
	CHECK_EQ(*(volatile u64 *)a, 11);
	*(volatile u64 *)a = 12;
	CHECK_EQ(*p, 12);
	/* A global page survives a CR3 load but not a change of CR4.PGE, nor INVLPG. */
	write_cr4(read_cr4() | CR4_PGE);
	(void)*p;
	*entry_at(va, 1) = b | PTE_P | PTE_W | PTE_G;
	write_cr4(read_cr4() & ~(u64)CR4_PGE);
	CHECK_EQ(*p, 2);
	*entry_at(va, 1) = a | PTE_P | PTE_W;
	invlpg(va);
	CHECK_EQ(*p, 12);
	*entry_at(va, 1) = 0;
	invlpg(va);
	EXPECT_FAULT(f, PF, 0, "mov (%0), %%rax", "r"(va));
}

static void large_pages(void)
{
	u64 va = base + 0x40000000, *pd;

	section("2 MiB and 1 GiB pages");
	page_map(va, 0, 0);
	pd = entry_at(va, 2);
	*pd = 0x200000 | PTE_PS | PTE_P | PTE_W; /* the image's second page of 2 MiB */
	invlpg(va);
	*(volatile u64 *)0x212340 = 0x1234;
	CHECK_EQ(*(volatile u64 *)(va + 0x12340), 0x1234);
	CHECK_EQ(*pd & (PTE_A | PTE_D), PTE_A);
	*(volatile u64 *)(va + 0x1ffff8) = 5;
	CHECK_EQ(*pd & (PTE_A | PTE_D), PTE_A | PTE_D);
	CHECK_EQ(*(volatile u64 *)0x3ffff8, 5);
	if (!on_qemu_tcg()) {
		*pd |= 1 << 13; /* reserved in a 2 MiB entry; bit 12 is PAT */
		invlpg(va);
		EXPECT_FAULT(f, PF, ERR_P | ERR_RSVD, "mov (%0), %%rax", "r"(va));
	}
	*pd = (u64)page_alloc() | PTE_P | PTE_W; /* from a large page to small ones */
	invlpg(va);
	EXPECT_FAULT(f, PF, 0, "mov (%0), %%rax", "r"(va));
	if (!(cpuid(0x80000001, 0).edx & 1 << 26))
		return;
	*entry_at(va, 3) = PTE_PS | PTE_P | PTE_W;
	invlpg(va);
	CHECK_EQ(*(volatile u64 *)(va + 0x212340), 0x1234);
	*(volatile u64 *)(va + 0x212340) = 0x4321;
	CHECK_EQ(*(volatile u64 *)0x212340, 0x4321);
	CHECK_EQ(*entry_at(va, 3) & (PTE_A | PTE_D), PTE_A | PTE_D);
	*entry_at(va, 3) = 0;
	invlpg(va);
	EXPECT_FAULT(f, PF, 0, "mov (%0), %%rax", "r"(va + 0x212340));
}

static void rights_by_level(void)
{
	u64 va = base + 0x80000000, *e = page_map(va, (u64)page_alloc(), PTE_P | PTE_W);

	section("rights are those of all levels");
	*(u8 *)va = 0xc3;
	for (int l = 2; l <= 3; l++) {
		*entry_at(va, l) &= ~(u64)PTE_W;
		invlpg(va);
		EXPECT_FAULT(f, PF, ERR_P | ERR_W, "movb $1, (%0)", "r"(va));
		CHECK(!FAULTS(f, "mov (%0), %%al", "r"(va)));
		*entry_at(va, l) |= PTE_W | PTE_NX;
		invlpg(va);
		EXPECT_FAULT(f, PF, ERR_P | ERR_I, "call *%0", "r"(va));
		CHECK(!FAULTS(f, "movb $0xc3, (%0)", "r"(va)));
		*entry_at(va, l) &= ~PTE_NX;
		invlpg(va);
		CHECK(!FAULTS(f, "call *%0", "r"(va)));
	}
	section("NX without EFER.NXE is reserved");
	*e |= PTE_NX;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_NXE);
	invlpg(va);
	if (!on_qemu_tcg()) /* no P in its error code */
		EXPECT_FAULT(f, PF, ERR_P | ERR_RSVD, "mov (%0), %%al", "r"(va));
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	CHECK(!FAULTS(f, "mov (%0), %%al", "r"(va)));
	section("CR0.WP");
	*e = (*e & ~(u64)PTE_W) & ~PTE_NX;
	invlpg(va);
	EXPECT_FAULT(f, PF, ERR_P | ERR_W, "movb $0xc3, (%0)", "r"(va));
	write_cr0(read_cr0() & ~(u64)CR0_WP);
	CHECK(!FAULTS(f, "movb $0xc3, (%0)", "r"(va)));
	write_cr0(read_cr0() | CR0_WP);
	EXPECT_FAULT(f, PF, ERR_P | ERR_W, "movb $0xc3, (%0)", "r"(va));
}

static void user_pages(void)
{
	u64 va = base + 0xc0000000, *e = page_map(va, (u64)page_alloc(), PTE_P | PTE_W | PTE_U);
	u32 features = cpuid(7, 0).ebx;

	*(u8 *)va = 0xc3;
	if (features & 1 << 7) {
		section("SMEP");
		CHECK(!FAULTS(f, "call *%0", "r"(va)));
		write_cr4(read_cr4() | CR4_SMEP);
		EXPECT_FAULT(f, PF, ERR_P | ERR_I, "call *%0", "r"(va));
		CHECK(!FAULTS(f, "mov (%0), %%al", "r"(va)));
		*entry_at(va, 2) &= ~(u64)PTE_U; /* then it is a supervisor page */
		invlpg(va);
		CHECK(!FAULTS(f, "call *%0", "r"(va)));
		*entry_at(va, 2) |= PTE_U;
		invlpg(va);
		write_cr4(read_cr4() & ~(u64)CR4_SMEP);
		CHECK(!FAULTS(f, "call *%0", "r"(va)));
	}
	if (features & 1 << 20) {
		section("SMAP");
		write_cr4(read_cr4() | CR4_SMAP);
		EXPECT_FAULT(f, PF, ERR_P, "mov (%0), %%al", "r"(va));
		EXPECT_FAULT(f, PF, ERR_P | ERR_W, "movb $0xc3, (%0)", "r"(va));
		CHECK(!FAULTS(f, "stac; movb $0xc3, (%0); clac", "r"(va)));
		EXPECT_FAULT(f, PF, ERR_P, "mov (%0), %%al", "r"(va));
		*e &= ~(u64)PTE_W;
		invlpg(va);
		EXPECT_FAULT(f, PF, ERR_P | ERR_W, "stac; movb $0xc3, (%0); clac", "r"(va));
		asm volatile("clac");
		write_cr4(read_cr4() & ~(u64)CR4_SMAP);
		CHECK(!FAULTS(f, "mov (%0), %%al", "r"(va)));
	}
}

static void pcids(void)
{
	u64 va = base + 0x100000000, a = (u64)page_alloc(), b = (u64)page_alloc();
	volatile u64 *p = (u64 *)va;
	u64 cr3 = read_cr3();
	u64 *other = page_alloc();

	if (!(cpuid(1, 0).ecx & 1 << 17))
		return;
	section("PCID");
	*(u64 *)a = 1;
	*(u64 *)b = 2;
	page_map(va, a, PTE_P | PTE_W);
	memcpy(other, boot_pml4, 4096);
	other[va >> 39 & 511] = 0; /* the same but for this part, where another page is */
	{
		u64 *pdpt = page_alloc(), *pd = page_alloc(), *pt = page_alloc();

		memcpy(pdpt, (u64 *)(boot_pml4[va >> 39 & 511] & PTE_ADDR), 4096);
		other[va >> 39 & 511] = (u64)pdpt | 7;
		pdpt[va >> 30 & 511] = (u64)pd | 7;
		pd[va >> 21 & 511] = (u64)pt | 7;
		pt[va >> 12 & 511] = b | PTE_P | PTE_W;
	}
	EXPECT_FAULT(f, GP, 0, "mov %0, %%cr3; mov %1, %%cr4", "r"(cr3 | 5),
		     "r"(read_cr4() | CR4_PCIDE));
	write_cr3(cr3);
	write_cr4(read_cr4() | CR4_PCIDE);
	write_cr3(cr3 | 1);
	CHECK_EQ(*p, 1);
	write_cr3((u64)other | 2);
	CHECK_EQ(*p, 2);
	write_cr3(cr3 | 1 | 1ull << 63); /* keeps what is cached */
	CHECK_EQ(read_cr3(), cr3 | 1);
	CHECK_EQ(*p, 1);
	write_cr3((u64)other | 2 | 1ull << 63);
	CHECK_EQ(*p, 2);
	/* Another page in PCID 1 is seen once that is flushed: by a CR3 load without bit 63. */
	*entry_at(va, 1) = b | PTE_P | PTE_W;
	write_cr3(cr3 | 1);
	CHECK_EQ(*p, 2);
	if (cpuid(7, 0).ebx & 1 << 10) {
		struct {
			u64 pcid, va;
		} d = { 1, va };

		section("INVPCID");
		*entry_at(va, 1) = a | PTE_P | PTE_W;
		asm volatile("invpcid %0, %1" : : "m"(d), "r"(0ull) : "memory");
		CHECK_EQ(*p, 1);
		*entry_at(va, 1) = b | PTE_P | PTE_W;
		asm volatile("invpcid %0, %1" : : "m"(d), "r"(1ull) : "memory");
		CHECK_EQ(*p, 2);
		*entry_at(va, 1) = a | PTE_P | PTE_W;
		asm volatile("invpcid %0, %1" : : "m"(d), "r"(2ull) : "memory");
		CHECK_EQ(*p, 1);
		EXPECT_FAULT(f, GP, 0, "invpcid (%0), %1", "r"(&d), "r"(4ull));
		d.pcid = 0x1000;
		EXPECT_FAULT(f, GP, 0, "invpcid (%0), %1", "r"(&d), "r"(1ull));
	}
	write_cr3(cr3);
	write_cr4(read_cr4() & ~(u64)CR4_PCIDE);
}

/* Two pages side by side in linear memory only, with a third between them in physical memory. */
static void crossing(void)
{
	u64 va = base + 0x140000000 + 4096 - 4;
	u8 *a = page_alloc(), *b;
	volatile u64 *p = (u64 *)va;
	u64 v, flags;

	section("accesses across pages");
	page_alloc();
	b = page_alloc();
	page_map(va & ~4095ull, (u64)a, PTE_P | PTE_W);
	page_map((va & ~4095ull) + 4096, (u64)b, PTE_P | PTE_W);
	*p = 0x1122334455667788;
	CHECK_EQ(*(u32 *)(a + 4092), 0x55667788);
	CHECK_EQ(*(u32 *)b, 0x11223344);
	CHECK_EQ(*p, 0x1122334455667788);
	asm volatile("addq $1, %0" : "+m"(*p));
	CHECK_EQ(*p, 0x1122334455667789);
	asm volatile("lock xaddq %1, %0" : "+m"(*p), "=r"(v) : "1"(0x1000000000ull));
	CHECK_EQ(v, 0x1122334455667789);
	CHECK_EQ(*(u32 *)b, 0x11223354);
	v = 0x1122335455667789;
	asm volatile("lock cmpxchgq %2, %0" : "+m"(*p), "+a"(v) : "r"(~0ull));
	CHECK_EQ(*p, ~0ull);
	v = 3;
	asm volatile("xchgq %1, %0" : "+m"(*p), "+r"(v));
	CHECK_EQ(v, ~0ull);
	CHECK_EQ(*p, 3);
	asm volatile("btsq $40, %0; pushf; pop %1" : "+m"(*p), "=r"(flags));
	CHECK_EQ(flags & 1, 0);
	CHECK_EQ(*p, 0x10000000003);
	*(volatile u16 *)(va + 3) = 0xabcd; /* a word at the very edge */
	CHECK_EQ(a[4095], 0xcd);
	CHECK_EQ(b[0], 0xab);
	asm volatile("movups (%0), %%xmm1; movups %%xmm1, 8(%0); movups 8(%0), %%xmm2;"
		     "movq %%xmm2, %1" : : "r"(va - 4), "m"(v) : "memory");
	asm volatile("movq %%xmm2, %0" : "=r"(v));
	CHECK_EQ(v, *(u64 *)(va - 4));
	asm volatile("mov %%rsp, %%rcx; lea 8(%1), %%rsp; push %2; pop %0; mov %%rcx, %%rsp"
		     : "=&r"(v) : "r"(va), "r"(0x5566ull) : "rcx", "memory");
	CHECK_EQ(v, 0x5566);
	CHECK_EQ(*p, 0x5566);
	/* An instruction across the edge: mov $0x12345678, %eax; ret, at 2 bytes before it. */
	memcpy(a + 4094, "\xb8\x78", 2);
	memcpy(b, "\x56\x34\x12\xc3", 4);
	asm volatile("call *%1" : "=a"(v) : "r"(va + 2));
	CHECK_EQ(v, 0x12345678);
	b[0] = 0x57; /* its second half changes */
	asm volatile("call *%1" : "=a"(v) : "r"(va + 2));
	CHECK_EQ(v, 0x12345778);
	*entry_at(va + 4096, 1) |= PTE_NX;
	invlpg(va + 4096);
	EXPECT_FAULT(f, PF, ERR_P | ERR_I, "call *%0", "r"(va + 2));
	CHECK_EQ(f.cr2, (va & ~4095ull) + 4096);
	CHECK_EQ(f.regs.rip, va + 2);
}

static void map_edges(void)
{
	section("canonical edges");
	page_map(0x7ffffffff000, (u64)page_alloc(), PTE_P | PTE_W);
	page_map(0xffff800000000000, (u64)page_alloc(), PTE_P | PTE_W);
	CHECK(!FAULTS(f, "movq $1, (%0)", "r"(0x7ffffffffff8)));
	CHECK(!FAULTS(f, "movq $1, (%0)", "r"(0xffff800000000000)));
	EXPECT_FAULT(f, GP, 0, "movq $1, (%0)", "r"(0x800000000000));
	EXPECT_FAULT(f, GP, 0, "movq $1, (%0)", "r"(0xffff7ffffffffff8));
	page_map(0xfffffffffffff000, (u64)page_alloc(), PTE_P | PTE_W);
	CHECK(!FAULTS(f, "movq $1, -8(%0)", "r"(0ull)));
}

int main(void)
{
	accessed_and_dirty();
	remapping();
	large_pages();
	rights_by_level();
	user_pages();
	pcids();
	crossing();
	map_edges();
	return 0;
}
