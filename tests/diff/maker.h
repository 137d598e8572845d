/* SPDX-License-Identifier: MIT */
/* A program in the making: between program.c, which makes instructions, and shapes.c. */
#ifndef NESTOR_TESTS_MAKER_H
#define NESTOR_TESTS_MAKER_H

#include "program.h"

struct maker {
	struct program *p;
	const struct program_options *o;
	u64 seed;
	unsigned profile;
	u16 known;     /* registers whose value is in value[] */
	u64 value[16];
	u16 keep;      /* registers that a loop counts with */
	struct {
		unsigned first, last;
	} loop[16];    /* nobody jumps into these */
	unsigned nr_loops;
	struct segment seg[NR_SEGS]; /* as loaded now */
};

/* A place that several instructions reach by the same registers. */
struct near {
	u8 base, index, scale; /* index REG_NONE: none */
	u64 at;		       /* the linear address of base + index * scale, as far as known */
};

u32 mk_random(struct maker *m);
u64 mk_random64(struct maker *m);
unsigned mk_below(struct maker *m, unsigned n);

struct insn_mode mk_mode(const struct program *p);
struct item *mk_item(struct maker *m, const void *bytes, unsigned len);
struct item *mk_mov(struct maker *m, unsigned reg, u64 v); /* it is known from here on */
u64 mk_page(struct maker *m, bool high, bool write);	   /* one of the regions' */
/* An instruction of @row, and what it needs beforehand; of any row that suits. */
bool mk_row(struct maker *m, unsigned row);
void mk_insn(struct maker *m);
/* One with its operand at @g and a small displacement. */
void mk_near(struct maker *m, const struct near *g);
/* One that makes or uses arithmetic flags. */
void mk_flags(struct maker *m);
void mk_stack(struct maker *m); /* one that pushes or pops */
unsigned mk_free_reg(struct maker *m);

/* Several instructions of a shape (shapes.c). */
void mk_shape(struct maker *m);

#endif
