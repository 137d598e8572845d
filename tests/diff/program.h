/* SPDX-License-Identifier: MIT */
/*
 * Random programs: what runs on the host CPU and in the guest, and on what.
 *
 *	program_make(&p, seed, &options);
 *	size = program_assemble(&p, code);	at p.code
 *
 * A program is a list of items, one instruction each, that can be removed one
 * by one: jumps name items, and addresses of code and data are filled in when
 * the list is assembled. It ends with INT3, and so does whatever is not code.
 *
 * The same linear addresses exist in the host process and in the guest
 * (regions[]); nothing else is mapped near them.
 */
#ifndef NESTOR_TESTS_PROGRAM_H
#define NESTOR_TESTS_PROGRAM_H

#include "cpu/model.h"
#include "engine/insn.h"

#define CODE_LOW  0x10000000ull
#define CODE_HIGH 0x123456780000ull
#define DATA_LOW  0x20000000ull
#define DATA_RO	  0x20003000ull
#define STACK	  0x30000000ull
#define DATA_HIGH 0x123456790000ull

enum { CODE_PAGES = 2, CODE_SIZE = CODE_PAGES * PAGE_SIZE };

struct region {
	u64 linear;
	unsigned pages, image; /* its offset in the memory image */
	bool writable;
};
enum { NR_REGIONS = 4, IMAGE_SIZE = 8 * PAGE_SIZE };
extern const struct region regions[NR_REGIONS];

enum { XSAVE_USED = 832 }; /* legacy region, header, upper halves of YMM */

struct regs {
	u64 gpr[16], rip, rflags, fs_base, gs_base;
	u8 xsave[1024] __attribute__((aligned(64)));
};

/* What a run left. @vector 3 is the program's own end. */
struct outcome {
	struct regs r;
	u64 vector, error, cr2;
	bool hung;
	u8 image[IMAGE_SIZE], code[CODE_SIZE];
};

enum fix { FIX_NONE, FIX_REL, FIX_RIP, FIX_ABS, FIX_CODE };

struct item {
	u8 bytes[INSN_MAX], len;
	u8 fix, fix_at, fix_size; /* what to fill in, where, bytes */
	bool removed;
	u16 row;
	unsigned target; /* FIX_REL, FIX_ABS, FIX_CODE: an item */
	u64 address;	 /* FIX_RIP: of the operand; FIX_CODE: its offset in the item */
};

enum { MAX_ITEMS = 96 };

/* Of 32-bit code: a descriptor in the LDT. */
struct segment {
	u32 base, limit; /* in bytes */
	bool read_only, down, null; /* null: the register holds no segment */
};

struct program {
	u64 seed;
	bool code32;
	bool writable;	/* its code */
	bool segmented; /* code32: seg[] counts, but for CS; else all are flat */
	struct segment seg[NR_SEGS];
	u64 code; /* where the first item is */
	unsigned nr;
	struct item item[MAX_ITEMS];
	u64 at[MAX_ITEMS + 1]; /* by program_assemble() */
	struct regs start;
	u8 image[IMAGE_SIZE];
};

struct program_options {
	const struct cpu_model *model;
	bool code32;
	unsigned max_items;
	int row;   /* only this one, and what it needs; -1 all */
	bool calm; /* no faults on purpose */
};

void program_init(const struct cpu_model *model); /* once */
bool program_row_testable(unsigned row, bool code32);
/* False when the row of @o does not exist in this mode. */
bool program_make(struct program *p, u64 seed, const struct program_options *o);
/* Case @n of cases.c with random registers and memory; its name, NULL: no such one. */
const char *program_case(struct program *p, unsigned n, u64 seed, const struct cpu_model *model);
/* Fills @code (CODE_SIZE bytes, for CODE_LOW or CODE_HIGH). */
void program_assemble(struct program *p, u8 *code);
void program_print(const struct program *p);

/* The selector of segment register @n. */
static inline u16 program_selector(const struct program *p, unsigned n)
{
	if (!p->code32 || !p->segmented)
		return n >= SEG_FS ? 0 : 0x2b;
	return p->seg[n].null ? 0 : (u16)(n << 3 | 7);
}

static inline bool segment_in_pages(const struct segment *s)
{
	return s->limit > 0xfffff;
}

static inline u64 program_code_base(const struct program *p)
{
	return p->code >= CODE_HIGH ? CODE_HIGH : CODE_LOW;
}

#endif
