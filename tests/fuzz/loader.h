/* SPDX-License-Identifier: MIT */
/* What the loaders' fuzzers share: the input is a kernel file. */
#ifndef NESTOR_TESTS_FUZZ_LOADER_H
#define NESTOR_TESTS_FUZZ_LOADER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/kernels.h"
#include "fuzz.h"
#include "machine/loader.h"

#define FUZZ_RAM MIB(4)

static inline int make_file(char path[64])
{
	int fd = memfd_create("kernel", 0);

	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd < 0 ? abort(), -1 : fd;
}

/* Boots the input with a command line and two initrds. */
static inline void load_kernel(const uint8_t *data, size_t size)
{
	static struct cpu_state s;
	static struct mem *mem;
	static char path[64], initrd[64];
	static int fd;
	struct boot_files f = { .kernel = path, .append = "console=ttyS0", .nr_initrds = 2,
				.initrds = { initrd, initrd }, .rsdp = 0xe0000 };
	struct err e = { "" };

	if (!mem) {
		int init_fd = make_file(initrd);

		fd = make_file(path);
		if (ftruncate(init_fd, 10000) || mem_create(FUZZ_RAM, &mem, NULL))
			abort();
	}
	if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	for (unsigned entry32 = 0; entry32 < 2; entry32++) {
		f.entry32 = entry32;
		if (!boot_load(&f, mem, &s, &e))
			continue;
		if (!e.text[0] || strchr(e.text, '\n'))
			abort(); /* not one sentence */
	}
}

#endif
