/* SPDX-License-Identifier: MIT */
/*
 * Runs a program on the software engine, as a 64-bit or compatibility-mode
 * program at CPL 3. Every vector of the IDT leads to a stub that stops the run,
 * so the interrupt frame says how the program ended.
 */
#ifndef NESTOR_TESTS_GUEST_H
#define NESTOR_TESTS_GUEST_H

#include "../lib/softguest.h"
#include "program.h"

/* How the engine is made to run it. */
enum way {
	WAY_BLOCKS,  /* translated */
	WAY_STEPS,   /* every instruction by step.c: a data breakpoint is on */
	WAY_CODE,    /* the data's pages hold code, too: their writes are special */
	WAY_DEVICE,  /* the data's pages are a device's registers */
	NR_WAYS,
};
extern const char *const way_names[NR_WAYS];

struct guest {
	struct softguest sg;
	struct cpu_state base;
	u8 *data[NR_REGIONS], *code[2], *stack;
	u64 *ldt;
	bool has_bmi2; /* the host */
	struct io_region device;
	u8 registers[IMAGE_SIZE]; /* the device's */
	enum way mapped;
};

int guest_create(struct guest *g);
void guest_run(struct guest *g, const struct program *p, const u8 *code, enum way way,
	       struct outcome *res);

#endif
