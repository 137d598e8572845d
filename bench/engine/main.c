// SPDX-License-Identifier: MIT
/*
 * Runs bench/engine/kernels.c natively and on the software engine, in turns, and
 * prints the ratio of the medians: the translator's quality without a guest OS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../tests/lib/softguest.h"
#include "base/clock.h"

enum { CODE = 0x400000, MEM = 0x10000000, MEM_SIZE = 4 << 20, STACK = 0x20000000, RUNS = 5 };

static const char *const names[] = { "mix", "sha256", "quicksort", "hash", "chase", "indirect",
				     "dgemm", "copy" };
static const u64 counts[] = { 100, 20, 20, 20, 40, 40, 60, 60 };

static u8 *native_code;
static size_t code_size;

static void load(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(1);
	}
	native_code = mmap((void *)CODE, 1 << 20, PROT_READ | PROT_WRITE | PROT_EXEC,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	code_size = fread(native_code, 1, 1 << 20, f);
	fclose(f);
	mmap((void *)MEM, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
}

/* The thread's own time: others may be using the machine. */
static u64 cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static u64 run_native(unsigned which, u64 *result)
{
	u64 (*fn)(u64, void *, u64) = (u64(*)(u64, void *, u64))native_code, t;

	memset((void *)MEM, 0, MEM_SIZE);
	t = cpu_ns();
	*result = fn(which, (void *)MEM, counts[which]);
	return cpu_ns() - t;
}

static u64 run_guest(struct softguest *g, u8 *mem, unsigned which, u64 *result)
{
	struct cpu_state s;
	u64 t;

	memset(mem, 0, MEM_SIZE);
	sg_get(g, &s);
	s.rip = CODE + 0xf0000; /* call rbx; out */
	s.gpr[RBX] = CODE;
	s.gpr[RDI] = which;
	s.gpr[RSI] = MEM;
	s.gpr[RDX] = counts[which];
	s.gpr[RSP] = STACK + 65536;
	sg_set(g, &s);
	t = cpu_ns();
	sg_run(g, 60);
	t = cpu_ns() - t;
	sg_get(g, &s);
	*result = s.gpr[RAX];
	return t;
}

static int by_value(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static u64 median(u64 *v)
{
	qsort(v, RUNS, sizeof(*v), by_value);
	return v[RUNS / 2];
}

int main(int argc, char **argv)
{
	struct softguest g;
	u8 *code, *mem;

	load(argv[1]);
	if (argc < 2 || sg_create(&g, MIB(32)))
		return 1;
	code = sg_map(&g, CODE, 1 << 20, SG_READ | SG_WRITE | SG_EXEC);
	mem = sg_map(&g, MEM, MEM_SIZE, SG_READ | SG_WRITE);
	sg_map(&g, STACK, 65536, SG_READ | SG_WRITE);
	memcpy(code, native_code, code_size);
	memcpy(code + 0xf0000, "\xff\xd3\xe6\xf4", 4);
	for (unsigned k = 0; k < ARRAY_SIZE(names); k++) {
		u64 tn[RUNS], tg[RUNS], rn = 0, rg = 0;

		if (argc > 2 && strcmp(argv[2], names[k]))
			continue;
		for (unsigned r = 0; r < RUNS; r++) {
			tn[r] = run_native(k, &rn);
			tg[r] = run_guest(&g, mem, k, &rg);
		}
		printf("%-10s native %8.3f ms  nestor %8.3f ms  ratio %5.2f%s\n", names[k],
		       median(tn) / 1e6, median(tg) / 1e6, (double)median(tg) / median(tn),
		       rn == rg ? "" : "  WRONG RESULT");
	}
	sg_destroy(&g);
	return 0;
}
