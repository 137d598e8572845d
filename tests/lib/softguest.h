/* SPDX-License-Identifier: MIT */
/*
 * A bare guest on the software engine, for tests: one vCPU in 64-bit mode at
 * CPL 0, no devices but a stop port. Linear addresses are mapped by the test:
 * sg_map() puts pages of guest RAM at any linear address, as a host process
 * would have them, so that the same bytes can run natively beside it. The
 * environment's NESTOR_TRACE is what --trace is for nestor run.
 */
#ifndef NESTOR_TESTS_SOFTGUEST_H
#define NESTOR_TESTS_SOFTGUEST_H

#include "cpu/engine.h"
#include "cpu/model.h"

enum { SG_STOP_PORT = 0xf4 };

struct softguest {
	struct cpu_model model;
	struct machine_env env;
	struct engine_vm *vm;
	struct engine_vcpu *cpu;
	struct io_region stop;
	u64 next_page; /* allocator of guest-physical pages */
	u64 pml4;
	bool stopped;  /* by a write to the stop port */
	u32 code;      /* the value written */
};

int sg_create(struct softguest *g, u64 ram);
int sg_create_model(struct softguest *g, u64 ram, bool vmx); /* @vmx: the guest sees VT-x */
/* Every block is compared with its instructions (machine_env.compare). */
int sg_create_compared(struct softguest *g, u64 ram, unsigned times);
void sg_destroy(struct softguest *g);

enum { SG_READ = 1, SG_WRITE = 2, SG_EXEC = 4, SG_USER = 8 };
/* Maps @size bytes at @linear; returns the host address of the first page
 * (guest-physical pages are contiguous). */
void *sg_map(struct softguest *g, u64 linear, u64 size, unsigned rights);
u64 sg_phys(struct softguest *g, const void *host); /* guest-physical of a host address */
/* The same for pages at @gpa, RAM or not. */
void sg_map_at(struct softguest *g, u64 linear, u64 gpa, u64 size, unsigned rights);

/* Runs until the stop port is written, a triple fault, or @seconds passed. */
enum vcpu_stop sg_run(struct softguest *g, unsigned seconds);
void sg_get(struct softguest *g, struct cpu_state *s);
void sg_set(struct softguest *g, const struct cpu_state *s);

#endif
