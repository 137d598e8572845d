/* SPDX-License-Identifier: MIT */
/* A vCPU that never runs, with VT-x and 16 MiB of RAM, for the tests of engine/vmx. */
#ifndef NESTOR_TESTS_VMX_FAKE_H
#define NESTOR_TESTS_VMX_FAKE_H

#include <stdlib.h>

#include "engine/softvm.h"
#include "engine/vmx/vmx_internal.h"

/* Each test runs in a process of its own and ends with it; this keeps the leak checker quiet. */
static struct soft_cpu *volatile fake_kept[16];
static unsigned fake_nr;

static inline struct soft_cpu *fake_cpu(void)
{
	struct soft_cpu *c = aligned_alloc(64, ALIGN_UP(sizeof(*c), 64));
	struct soft_vm *vm = calloc(1, sizeof(*vm));
	struct cpu_model *model = calloc(1, sizeof(*model));
	struct mem *mem = NULL;
	struct err e;

	__builtin_memset(c, 0, sizeof(*c));
	if (cpu_model_create(NULL, true, 1, model, &e) || mem_create(MIB(16), &mem, &e))
		test_fail(__FILE__, __LINE__, "%s", e.text);
	vm->env.mem = mem;
	vm->env.model = model;
	vm->nr_cpus = 1;
	vm->cpus[0] = c;
	c->vm = vm;
	fake_kept[fake_nr++ % 16] = c;
	cpu_state_reset(&c->s, true);
	vmx_create(c);
	test_keep(c->vmx);
	test_keep(vm);
	test_keep(model);
	test_keep(mem);
	test_keep(c);
	return c;
}

#endif
