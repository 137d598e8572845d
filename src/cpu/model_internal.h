/* SPDX-License-Identifier: MIT */
/* The rows of x86/cpuid.def, for model.c and cpuid.c. */
#ifndef NESTOR_CPU_MODEL_INTERNAL_H
#define NESTOR_CPU_MODEL_INTERNAL_H

#include "cpu/model.h"

enum cpu_reg { EAX, EBX, ECX, EDX };

struct feature {
	const char *name, *text;
	u32 leaf;
	u8 subleaf, reg, bit;
};

extern const struct feature features[NR_FEATURES];

#endif
