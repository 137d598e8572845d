/* SPDX-License-Identifier: MIT */
/*
 * Loaders: put a kernel and its files into RAM and set vCPU 0 as firmware
 * would leave it. Accepts a Linux bzImage, an ELF with a PVH entry (vmlinux), a
 * multiboot-1 kernel; tells them apart by their contents.
 *
 *	struct boot_files f = { .kernel = "vmlinuz", .append = "console=ttyS0" };
 *
 *	cpu_state_reset(&s, true);
 *	if (boot_load(&f, mem, &s, &e))
 *		... e.text is one sentence, RAM and s are untouched
 *
 * Everything is read and checked first and written to RAM last. Called with no
 * vCPU running, again after each reset.
 */
#ifndef NESTOR_MACHINE_LOADER_H
#define NESTOR_MACHINE_LOADER_H

#include "base/log.h"
#include "base/types.h"
#include "bus/mem.h"
#include "cpu/cpu.h"

enum { BOOT_MAX_INITRDS = 16 };

struct boot_files {
	const char *kernel;
	/* A bzImage gets all of them as one initrd; the other protocols as
	 * modules, each "FILE" or "FILE ARGUMENTS". */
	const char *initrds[BOOT_MAX_INITRDS];
	unsigned nr_initrds;
	/* Open descriptors of the above, which are read instead of the names; 0: none. */
	int kernel_fd, initrd_fds[BOOT_MAX_INITRDS];
	const char *append; /* command line, may be NULL */
	bool entry32;	    /* bzImage: take the 32-bit entry even if there is a 64-bit one */
	u64 rsdp;	    /* address of the ACPI RSDP, 0: none */
};

int boot_load(const struct boot_files *f, struct mem *m, struct cpu_state *s, struct err *e);

/* What firmware does on every vCPU before it starts anything: MTRRs on with
 * write-back default, IA32_FEATURE_CONTROL locked, with VMX on when @vmx. */
void boot_firmware_msrs(struct cpu_state *s, bool vmx);

#endif
