/* SPDX-License-Identifier: MIT */
/* What the host's processor and memory are. Any thread. */
#ifndef NESTOR_VM_HOST_H
#define NESTOR_VM_HOST_H

#include "base/types.h"

struct host_info {
	char cpu_name[64];
	unsigned nr_cpus;
	bool x86_64_v2; /* the software engine's floor */
	bool avx, avx2, avx512, bmi2;
	bool fsgsbase;	/* usable by programs */
	bool vmx, svm;
	bool hypervisor; /* this host is itself a VM */
	u64 mem_total, mem_free, swap_free; /* bytes */
};

void host_info_get(struct host_info *h);

#endif
