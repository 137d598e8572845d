/* SPDX-License-Identifier: MIT */
/*
 * For fuzzers that run a guest of any kind: its RAM with tables that may be bad,
 * code grown from a seed, registers, and a run that a timer ends.
 */
#ifndef NESTOR_TESTS_FUZZ_ANYGUEST_H
#define NESTOR_TESTS_FUZZ_ANYGUEST_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "../lib/softguest.h"
#include "fuzz.h"
#include "x86/regs.h"

enum { RAM = 4 << 20, PIECES = 24, KICK_NS = 3000000, MAX_RSS_KIB = 1 << 20 };
/* Guest-physical, and linear as long as the tables are whole. */
enum {
	PML4 = 0x1000,
	PDPT = 0x2000,
	PD = 0x3000,
	PD_HIGH = 0x4000,
	PT = 0x5000,
	PD32 = 0x6000,
	PDPT_PAE = 0x7000,
	GDT = 0x8000,
	IDT = 0x9000,
	TSS = 0xa000,
	HANDLER = 0xb000,
	CODE = 0x10000,
	CODE_SIZE = 0x2000,
	STACK = 0x20000
};

enum {
	MODE_64,
	MODE_64_USER,
	MODE_32,
	MODE_32_USER,
	MODE_32_PAE,
	MODE_16,
	MODE_REAL,
	MODE_V86,
	NR_MODES
};

enum {
	BAD_TABLES = 1,
	BAD_DESCRIPTORS = 2,
	TRAPS = 4,
	INTERRUPTS = 8,
	ALIGNMENT = 16,
	BREAKPOINTS = 32,
	WITHOUT_HANDLERS = 64
};

static u64 next_random(u64 *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static u64 any_value(u64 *s)
{
	static const u64 values[] = {
		0,
		1,
		8,
		0x10,
		0x18,
		0x20,
		0x28,
		0x33,
		CODE,
		CODE + 0x40,
		CODE + 0xffc,
		STACK,
		PT,
		PML4,
		GDT,
		IDT,
		TSS,
		0x1ffffc,
		0x200000,
		RAM - 3,
		RAM,
		0xfee00000,
		0xfee00300,
		0xfffffffd,
		0x7fffffffffff,
		0x800000000000,
		~0ull,
		0x80000000,
	};
	u64 r = next_random(s);

	if (r & 1)
		return values[next_random(s) % ARRAY_SIZE(values)];
	return r & 2   ? next_random(s)
	       : r & 4 ? (next_random(s) & (RAM - 1))
		       : (next_random(s) & 0xff);
}

/* ---- Code ---- */

/* Instructions about the system's state; after each come bytes of any kind. */
static const char *const system_code[] = {
	"\x0f\x30",
	"\x0f\x32",
	"\x0f\x22\xc0",
	"\x0f\x22\xd8",
	"\x0f\x22\xe0",
	"\x44\x0f\x22\xc0",
	"\x0f\x20\xe0",
	"\x0f\x23\xf8",
	"\x0f\x23\xc0",
	"\x0f\x01\x10",
	"\x0f\x01\x18",
	"\x0f\x01\x38",
	"\x0f\x01\xf0",
	"\x0f\x00\xd0",
	"\x0f\x00\xd8",
	"\x0f\x01\xd1",
	"\x0f\x01\xf8",
	"\x0f\x01\xca",
	"\x0f\x01\xcb",
	"\x48\xcf",
	"\xcf",
	"\x66\xcf",
	"\x48\xcb",
	"\xca\x08",
	"\xff\x28",
	"\xff\x18",
	"\x8e\xd0",
	"\x8e\xd8",
	"\x8e\xe8",
	"\x9d",
	"\x9c",
	"\xfb",
	"\xfa",
	"\xf4",
	"\xee",
	"\xec",
	"\xef",
	"\xed",
	"\xf3\x6e",
	"\xf3\x6c",
	"\xf3\xa4",
	"\xf3\x48\xa5",
	"\xf2\xae",
	"\xf3\xaa",
	"\xcc",
	"\xcd\x20",
	"\xcd\x80",
	"\x0f\x05",
	"\x0f\x07",
	"\x0f\x34",
	"\x0f\x35",
	"\x48\x0f\x35",
	"\x0f\xa2",
	"\x0f\xae\x00",
	"\x0f\xae\x08",
	"\x0f\xae\x20",
	"\x0f\xae\x28",
	"\x0f\xc7\x20",
	"\x0f\xc7\x18",
	"\x0f\xae\x10",
	"\xdb\x2f",
	"\xd9\x37",
	"\xdd\x26",
	"\xdb\xe3",
	"\xf0\x0f\xc1\x00",
	"\xf0\x48\x0f\xc7\x0f",
	"\xf0\x0f\xc7\x0f",
	"\x89\x07",
	"\x48\x89\x06",
	"\xc5\xfc\x10\x00",
	"\xc4\xe2\x7d\x90\x04\x08",
	"\xc5\xfc\x77",
	"\x0f\x01\xf9",
	"\x0f\x31",
	"\x66\x0f\x38\x82\x08",
	"\x0f\x09",
	"\x0f\x08",
	"\x0f\x06",
	"\xc8\x10\x00\x1f",
	"\xc9",
	"\x0f\x01\xc8",
	"\x0f\x01\xc9",
	"\x0f\x01\xc1",
	"\x0f\x78\xc0",
	"\x0f\x79\xc0",
	"\xf3\x0f\xc7\x30",
	"\x9b",
	"\xf3\x90",
	"\x27",
	"\x37",
	"\x62",
	"\xc4",
	"\x67",
	"\x66\x66\xf0",
	"\x0f\x18\x00",
	"\xf3\x0f\xae\xd0",
	"\x0f\x01\xef",
	"\x0f\x01\xee",
	"\x0f\x0b",
	"\xeb\x00",
	"\xe8\x00\x00\x00\x00",
	"\xc3",
	"\xff\x20",
	"\xff\xe0",
	"\xff\xd0",
	"\x41\xff\xe2",
	"\x0f\x02\xc0",
	"\x0f\x03\xc0",
	"\x63\xc0",
	"\x0f\xb2\x20",
	"\x62\xf1\x7c\x48\x10\x00",
	"\x8c\xd0",
	"\x0f\x01\xe0",
	"\x0f\x01\x20",
};

static const u32 msrs[] = {
	0x10,	    0x1b,	0x3a,	    0x3b,	0x48,	    0x8b,	0xe7,
	0xfe,	    0x10a,	0x174,	    0x175,	0x176,	    0x17a,	0x1a0,
	0x1d9,	    0x200,	0x201,	    0x250,	0x26f,	    0x277,	0x2ff,
	0x480,	    0x48b,	0x6e0,	    0x802,	0x808,	    0x80b,	0x80f,
	0x830,	    0x832,	0x838,	    0x83e,	0x83f,	    0xda0,	0xc0000080,
	0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103,
};

static unsigned put_value(u8 *to, u64 *s)
{
	u32 v = (u32)(next_random(s) & 1 ? msrs[next_random(s) % ARRAY_SIZE(msrs)] : any_value(s));

	to[0] = (u8)(0xb8 + next_random(s) % 8); /* MOV r32, imm32 */
	memcpy(to + 1, &v, 4);
	return 5;
}

static void grow_code(u8 *code, u64 *s)
{
	unsigned n = 0;

	while (n < CODE_SIZE - 32) {
		u64 r = next_random(s);
		const char *i = system_code[next_random(s) % ARRAY_SIZE(system_code)];
		size_t len = MAX(strlen(i), 2);

		switch (r % 8) {
		case 0:
		case 1:
			n += put_value(code + n, s);
			break;
		case 2:
		case 3:
		case 4:
			memcpy(code + n, i, len);
			n += (unsigned)len;
			break;
		default:
			memcpy(code + n, &r, 8);
			n += 1 + (r >> 8) % 8;
		}
	}
}

/* ---- Tables ---- */

struct guest {
	struct softguest g;
	u8 *ram;
	u64 s;
	u8 mode, flags;
};

static void put64(struct guest *f, u64 at, u64 v)
{
	memcpy(f->ram + at, &v, 8);
}

static void put32(struct guest *f, u64 at, u32 v)
{
	memcpy(f->ram + at, &v, 4);
}

static void guest_create(struct guest *f, bool vmx)
{
	if (sg_create_model(&f->g, RAM, vmx))
		abort();
	f->ram = mem_host(f->g.env.mem, 0, RAM);
	f->s = f->s * 0x9e3779b97f4a7c15 | 1;
}

static void make_tables(struct guest *f)
{
	put64(f, PML4, PDPT | 7);
	put64(f, PML4 + 511 * 8, PDPT | 7);
	put64(f, PDPT, PD | 7);
	put64(f, PDPT + 3 * 8, PD_HIGH | 7);
	put64(f, PDPT_PAE, PD | 1);
	put64(f, PDPT_PAE + 3 * 8, PD_HIGH | 1);
	put64(f, PD, 0 | 0xe7);
	put64(f, PD + 8, PT | 7);
	put64(f, PD_HIGH + 0x1f7 * 8, 0xfee00000 | 0xf7);
	put32(f, PD32, 0 | 0xe7);
	put32(f, PD32 + 4, PT | 7);
	put32(f, PD32 + 0x3fb * 4, 0xfec00000 | 0xf7);
	for (unsigned n = 0; n < 512; n++)
		put64(f, PT + n * 8, (0x200000 + n * 0x1000ull) | 7);
	for (unsigned n = 0; f->flags & BAD_TABLES && n < 200; n++) {
		u64 v = next_random(&f->s) & 1 ? any_value(&f->s)
					       : (next_random(&f->s) & (RAM - 1));

		put64(f, PT + next_random(&f->s) % 512 * 8, v | (next_random(&f->s) & 0xff));
	}
	if (f->flags & BAD_TABLES && next_random(&f->s) & 1)
		put64(f, PD + 8 + next_random(&f->s) % 8 * 8, any_value(&f->s) | 7);
}

static u64 descriptor(u32 ar, u32 base, u32 limit)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(ar & 0xff) << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)(ar >> 12 & 15) << 52 | (u64)(base >> 24) << 56;
}

static bool long_mode(const struct guest *f)
{
	return f->mode <= MODE_64_USER;
}

static void make_gates(struct guest *f)
{
	static const u8 iret64[] = { 0x83, 0x04, 0x24, 0x05, 0x48, 0xcf }; /* 5 bytes on */

	memcpy(f->ram + HANDLER, iret64, sizeof(iret64));
	for (unsigned n = 0; n < 256; n++) {
		u64 low = HANDLER | 8ull << 16 | (u64)(n % 5 == 2 ? 0xef : 0x8e) << 40;

		if (long_mode(f))
			put64(f, IDT + n * 16, low), put64(f, IDT + n * 16 + 8, 0);
		else
			put64(f, IDT + n * 8, low);
		if (f->mode >= MODE_REAL)
			put32(f, n * 4, HANDLER >> 4 << 16);
	}
}

static void make_descriptors(struct guest *f)
{
	put64(f, GDT + 0x08, descriptor(long_mode(f) ? 0xa09b : 0xc09b, 0, 0xfffff));
	put64(f, GDT + 0x10, descriptor(0xc093, 0, 0xfffff));
	put64(f, GDT + 0x18, descriptor(0x8089, TSS, 0x2067));
	put64(f, GDT + 0x20, 0);
	put64(f, GDT + 0x28, descriptor(0xc0fb, 0, 0xfffff));
	put64(f, GDT + 0x30, descriptor(0xc0f3, 0, 0xfffff));
	put64(f, GDT + 0x38, descriptor(long_mode(f) ? 0xa0fb : 0x009b, 0, 0xfffff));
	put64(f, GDT + 0x40, 0x0000ec0000080000 | HANDLER | (u64)CODE >> 16 << 48); /* call gate */
	put64(f, GDT + 0x48, 0x0000850000180000);				    /* task gate */
	put64(f, GDT + 0x50, descriptor(0x89, CODE, 0x67));
	make_gates(f);
	put64(f, TSS + 4, STACK - 0x100);
	put32(f, TSS + 8, 0x10);
	for (unsigned n = 0; f->flags & BAD_DESCRIPTORS && n < 40; n++) {
		u64 at = next_random(&f->s) & 1 ? GDT + next_random(&f->s) % 128
						: IDT + next_random(&f->s) % 512;

		f->ram[at] ^= (u8)(1u << next_random(&f->s) % 8);
	}
}

/* ---- Registers ---- */

static void segments(struct guest *f, struct cpu_state *s)
{
	bool user = f->mode == MODE_64_USER || f->mode == MODE_32_USER;
	bool real = f->mode >= MODE_REAL;
	u16 data = user ? 0x33 : 0x10;
	u32 ar = f->mode == MODE_V86  ? 0xf3
		 : real		      ? 0x93
		 : user		      ? 0xc0f3
		 : f->mode == MODE_16 ? 0x93
				      : 0xc093;

	for (unsigned n = 0; n < NR_SEGS; n++)
		s->seg[n] = (struct seg){ .limit = real ? 0xffff : 0xffffffff,
					  .ar = ar,
					  .sel = real ? CODE >> 4 : data,
					  .base = real ? CODE : 0 };
	s->seg[SEG_CS].sel = real ? CODE >> 4 : user ? (long_mode(f) ? 0x3b : 0x2b) : 8;
	if (!real)
		s->seg[SEG_CS].ar = (ar & ~0xf000u) | 8 |
				    (long_mode(f)	  ? 0xa000
				     : f->mode == MODE_16 ? 0
							  : 0xc000);
	s->tr = (struct seg){ .base = TSS, .limit = 0x2067, .ar = 0x8b, .sel = 0x18 };
	s->ldtr = (struct seg){ .ar = SEG_UNUSABLE };
	s->gdtr = (struct desc_table){ GDT, 0x7f };
	s->idtr = (struct desc_table){ f->mode == MODE_REAL ? 0 : IDT,
				       f->flags & WITHOUT_HANDLERS ? 0 : 0xfff };
}

static void control(struct guest *f, struct cpu_state *s)
{
	u64 r = next_random(&f->s);

	s->cr0 = CR0_NE | CR0_ET | (f->mode == MODE_REAL ? 0 : CR0_PE) |
		 (f->mode == MODE_REAL || f->mode == MODE_16 ? 0 : CR0_PG) |
		 (r & (CR0_WP | CR0_MP)) | (r >> 8 & 7 ? 0 : CR0_TS) |
		 (f->flags & ALIGNMENT ? CR0_AM : 0);
	s->cr4 = CR4_PSE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE |
		 (r >> 16 & (CR4_VME | CR4_PVI | CR4_DE | CR4_PGE | CR4_TSD)) |
		 (long_mode(f) || f->mode == MODE_32_PAE ? CR4_PAE : 0);
	s->cr3 = long_mode(f) ? PML4 : f->mode == MODE_32_PAE ? PDPT_PAE : PD32;
	memcpy(s->pdpte, f->ram + PDPT_PAE, sizeof(s->pdpte));
	s->msr.efer = long_mode(f) ? EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE : 0;
	s->xcr0 = f->g.model.xcr0_allowed;
	s->msr.lstar = s->msr.cstar = s->msr.sysenter_eip = HANDLER;
	s->msr.sysenter_esp = STACK;
	s->msr.sysenter_cs = 8;
	s->msr.star = 0x0023000800000000;
	s->dr7 = 0x400 | (f->flags & BREAKPOINTS ? next_random(&f->s) & 0xffff03ff : 0);
	for (unsigned n = 0; n < 4; n++)
		s->dr[n] = any_value(&f->s);
}

static void piece_state(struct guest *f, u64 offset)
{
	struct cpu_state s;

	soft_engine.get_state(f->g.cpu, &s);
	segments(f, &s);
	control(f, &s);
	for (unsigned n = 0; n < 16; n++)
		s.gpr[n] = long_mode(f) ? any_value(&f->s) : (u32)any_value(&f->s);
	s.gpr[RSP] = f->mode >= MODE_REAL ? 0x8000 : STACK;
	s.rip = f->mode >= MODE_REAL ? offset : CODE + offset;
	s.rflags = RFLAGS_RSV1 | (next_random(&f->s) & (RFLAGS_ARITH | RFLAGS_DF | RFLAGS_IOPL)) |
		   (f->mode == MODE_V86 ? RFLAGS_VM : 0) | (f->flags & ALIGNMENT ? RFLAGS_AC : 0) |
		   (f->flags & INTERRUPTS ? RFLAGS_IF : 0) | (f->flags & TRAPS ? RFLAGS_TF : 0);
	s.activity = CPU_ACTIVE;
	s.sti_shadow_rip = s.movss_shadow_rip = ~0ull;
	soft_engine.set_state(f->g.cpu, &s);
}

/* ---- Running ---- */

static struct engine_vcpu *kicked;

static void on_time(int sig)
{
	(void)sig;
	soft_engine.kick(kicked);
}

static timer_t *kick_timer(void)
{
	static timer_t timer;
	static bool ready;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };

	if (!ready) {
		signal(SIGUSR1, on_time);
		if (timer_create(CLOCK_MONOTONIC, &ev, &timer))
			abort();
		ready = true;
	}
	return &timer;
}

static void run_piece(struct guest *f)
{
	timer_t timer = *kick_timer();
	struct itimerspec t = { .it_value.tv_nsec = KICK_NS, .it_interval.tv_nsec = KICK_NS };
	enum vcpu_stop r;

	kicked = f->g.cpu;
	timer_settime(timer, 0, &t, NULL);
	r = soft_engine.run(f->g.cpu);
	t = (struct itimerspec){ 0 };
	timer_settime(timer, 0, &t, NULL);
	if (r == VCPU_STOP_ERROR)
		abort();
}

static void require_small(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	if (u.ru_maxrss > MAX_RSS_KIB) {
		fprintf(stderr, "the process has grown to %ld KiB\n", u.ru_maxrss);
		abort();
	}
}

#endif
