/* SPDX-License-Identifier: MIT */
/*
 * For bare-metal test guests: 64-bit mode, memory below 4 GiB mapped one to one, serial output,
 * exceptions that a test can catch, and further processors. A guest is one file with main():
 *
 *	static void divide(void *arg) { asm volatile("div %0" : : "r"(0) : "rax", "rdx"); }
 *	int main(void)
 *	{
 *		struct fault f;
 *		CHECK(catch(divide, NULL, &f));
 *		CHECK_EQ(f.vector, 0);
 *		return 0;
 *	}
 *
 * After main() the guest prints "N passed, N failed" and ends through the debug-exit port with
 * EXIT_GOOD or EXIT_BAD, which `nestor run --debug-exit` (and QEMU) turn into status 33 or 35.
 */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include "lib/layout.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

enum { EXIT_GOOD = 0x10, EXIT_BAD = 0x11 };

/* ---- Output and results --------------------------------------------------------------------- */

void print(const char *fmt, ...); /* %s %d %u %x %lx %lu %c, widths like %08x */
_Noreturn void finish(void);
void check(bool good, const char *file, int line, const char *fmt, ...);
void section(const char *name); /* names the checks that follow */

#define CHECK(cond) check((cond), __FILE__, __LINE__, "%s", #cond)
#define CHECK_EQ(a, b)                                                                             \
	do {                                                                                       \
		u64 a_ = (u64)(a), b_ = (u64)(b);                                                  \
		check(a_ == b_, __FILE__, __LINE__, "%s = %lx, want %s = %lx", #a, a_, #b, b_);    \
	} while (0)

/* ---- Exceptions ----------------------------------------------------------------------------- */

/* What isr_common in start.S pushes, and the processor before it. */
struct regs {
	u64 rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

struct fault {
	u64 vector, error, cr2, dr6;
	struct regs regs;
};

/* Calls fn(arg); true if it ended in an exception, which *f then describes. Nests; per processor. */
bool catch(void (*fn)(void *), void *arg, struct fault *f);

/* Runs asm statements INSN with inputs in a function of their own; true if they end in an exception,
 * which f (no pointer) then describes. They may change rax, rcx, rdx, flags and memory. */
#define FAULTS(f, insn, ...)                                                                       \
	({                                                                                         \
		void fn_(void *arg_)                                                               \
		{                                                                                  \
			(void)arg_;                                                                \
			asm volatile(insn : : __VA_ARGS__ : "rax", "rcx", "rdx", "cc", "memory");  \
		}                                                                                  \
		catch(fn_, NULL, &(f));                                                            \
	})

/* Checks that INSN raises exception VEC with error code ERR; f describes it. */
#define EXPECT_FAULT(f, vec, err, insn, ...)                                                       \
	do {                                                                                       \
		bool faulted_ = FAULTS(f, insn, ##__VA_ARGS__);                                    \
		check(faulted_ && (f).vector == (vec) && (f).error == (err), __FILE__, __LINE__,   \
		      "%s: vector %ld error %lx, want %d %lx", insn, (f).vector, (f).error,        \
		      (int)(vec), (u64)(err));                                                     \
	} while (0)

/* Whether the machine is QEMU's translator, which leaves out some rare checks. */
bool on_qemu_tcg(void);

/* Runs fn(arg) at privilege level 3, where page tables allow it; its result comes back. Inside
 * catch(), exceptions of fn are caught too. One processor at a time. */
u64 user_call(u64 (*fn)(u64), u64 arg, void *stack_end);

/* A handler for one vector; it may change *r. Without one, and outside catch(), an exception is
 * printed and ends the guest. */
typedef void isr_fn(struct regs *r);
void isr_set(u8 vector, isr_fn *fn);

/* ---- Processors ----------------------------------------------------------------------------- */

u32 cpu_number(void); /* the initial APIC ID */
/* Starts further processors until nr run, each in fn(number) with interrupts off; they halt when
 * it returns. False if not all came within a second or so. */
bool cpus_start(u32 nr, void (*fn)(u32 number));

/* ---- APIC and time -------------------------------------------------------------------------- */

enum {
	LAPIC_ID = 0x20,
	LAPIC_TPR = 0x80,
	LAPIC_EOI = 0xb0,
	LAPIC_SVR = 0xf0,
	LAPIC_ISR = 0x100,
	LAPIC_IRR = 0x200,
	LAPIC_ESR = 0x280,
	LAPIC_ICR = 0x300,
	LAPIC_ICR2 = 0x310,
	LAPIC_TIMER = 0x320,
	LAPIC_LINT0 = 0x350,
	LAPIC_INIT_COUNT = 0x380,
	LAPIC_COUNT = 0x390,
	LAPIC_DIVIDE = 0x3e0,
};

static inline u32 lapic_read(u32 reg)
{
	return *(volatile u32 *)(uintptr_t)(0xfee00000 + reg);
}

static inline void lapic_write(u32 reg, u32 v)
{
	*(volatile u32 *)(uintptr_t)(0xfee00000 + reg) = v;
}

void lapic_enable(void);      /* and masks both PICs */
void lapic_ipi(u32 apic_id, u32 icr);
void delay_us(u32 us);	      /* by the PIT's channel 2 */

/* ---- Paging --------------------------------------------------------------------------------- */

enum {
	PTE_P = 1,
	PTE_W = 2,
	PTE_U = 4,
	PTE_A = 0x20,
	PTE_D = 0x40,
	PTE_PS = 0x80,
	PTE_G = 0x100,
};
#define PTE_NX	 (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

extern u64 boot_pml4[512], boot_pdpt[512], boot_pd[2048];

/* Lets level 3 use the lower 64 MiB, this image in it, or not. */
void page_allow_user(bool allow);
/* A fresh zeroed page of RAM, never freed. */
void *page_alloc(void);
/* Maps va to pa with 4 KiB granularity (tables as needed, all of them user and writable), makes va
 * valid at once, and returns its entry. Splits nothing: use addresses of 4 GiB and more. */
u64 *page_map(u64 va, u64 pa, u64 flags);

/* ---- Instructions --------------------------------------------------------------------------- */

static inline void outb(u16 port, u8 v)
{
	asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(u16 port, u32 v)
{
	asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline u8 inb(u16 port)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline u32 inl(u16 port)
{
	u32 v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (u64)hi << 32;
}

static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;

	asm volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (u64)hi << 32;
}

struct cpuid {
	u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
	struct cpuid c;

	asm volatile("cpuid" : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
		     : "a"(leaf), "c"(sub));
	return c;
}

#define CR_ACCESS(n)                                                                               \
	static inline u64 read_cr##n(void)                                                         \
	{                                                                                          \
		u64 v;                                                                             \
		asm volatile("mov %%cr" #n ", %0" : "=r"(v));                                      \
		return v;                                                                          \
	}                                                                                          \
	static inline void write_cr##n(u64 v)                                                      \
	{                                                                                          \
		asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                             \
	}
CR_ACCESS(0)
CR_ACCESS(2)
CR_ACCESS(3)
CR_ACCESS(4)
CR_ACCESS(8)

static inline void invlpg(u64 va)
{
	asm volatile("invlpg (%0)" : : "r"(va) : "memory");
}

static inline void cli(void)
{
	asm volatile("cli" : : : "memory");
}

static inline void sti(void)
{
	asm volatile("sti; nop" : : : "memory");
}

static inline void pause(void)
{
	asm volatile("pause" : : : "memory");
}

/* ---- Descriptors ---------------------------------------------------------------------------- */

extern u64 gdt[];
struct tss64 {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3, iomap;
} __attribute__((packed));
extern struct tss64 tss;
/* A descriptor: access is bits 15:8 of its second word, flags are G, D/B, L, AVL (bits 23:20). */
u64 descriptor(u32 base, u32 limit, u8 access, u8 flags);
/* Sets gate's stack-table slot (0: none) and privilege level. */
void idt_set(u8 vector, void *entry, u8 ist, u8 dpl);
/* Overwrites the gate's byte of P, DPL and type. */
void idt_type(u8 vector, u8 type);

void *memset(void *p, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);

int main(void);

#endif
