// SPDX-License-Identifier: MIT
/* The host's processor by CPUID, its memory by sysinfo(2). */
#include "vm/host.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define HWCAP2_FSGSBASE BIT(1) /* the kernel lets programs use RDFSBASE and its like */

static void get_name(struct host_info *h)
{
	u32 r[12] = { 0 }, max, b, c, d;
	char name[49] = { 0 };

	if (__get_cpuid(0x80000000, &max, &b, &c, &d) && max >= 0x80000004)
		for (unsigned i = 0; i < 3; i++)
			__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2],
				    &r[4 * i + 3]);
	memcpy(name, r, 48);
	const char *start = name + strspn(name, " ");
	snprintf(h->cpu_name, sizeof(h->cpu_name), "%s", *start ? start : "unnamed processor");
	for (size_t n = strlen(h->cpu_name); n && h->cpu_name[n - 1] == ' '; n--)
		h->cpu_name[n - 1] = 0;
}

/* SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT in CPUID.1:ECX */
#define LEVEL2_ECX (BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23))

static void get_features(struct host_info *h)
{
	u32 a, b, c, d;

	__builtin_cpu_init();
	h->avx = __builtin_cpu_supports("avx");
	h->avx2 = __builtin_cpu_supports("avx2");
	h->avx512 = __builtin_cpu_supports("avx512f");
	h->bmi2 = __builtin_cpu_supports("bmi2");
	h->fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		h->x86_64_v2 = (c & LEVEL2_ECX) == LEVEL2_ECX;
		h->vmx = c & BIT(5);
		h->hypervisor = c & BIT(31);
	}
	c = 0;
	if (__get_cpuid(0x80000001, &a, &b, &c, &d))
		h->svm = c & BIT(2);
	h->x86_64_v2 = h->x86_64_v2 && (c & BIT(0)); /* LAHF */
}

static u64 meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128];
	size_t n = strlen(key);

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, n) && sscanf(line + n, ": %llu", &kib) == 1)
			break;
	fclose(f);
	return kib << 10;
}

void host_info_get(struct host_info *h)
{
	struct sysinfo si;

	*h = (struct host_info){ 0 };
	get_name(h);
	get_features(h);
	h->nr_cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	h->mem_free = meminfo("MemAvailable");
	if (sysinfo(&si))
		return;
	h->mem_total = (u64)si.totalram * si.mem_unit;
	h->swap_free = (u64)si.freeswap * si.mem_unit;
	if (!h->mem_free)
		h->mem_free = (u64)si.freeram * si.mem_unit;
}
