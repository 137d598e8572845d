/* SPDX-License-Identifier: MIT */
/* Made-up kernels of the three boot protocols, for tests and fuzzers. */
#ifndef NESTOR_TESTS_KERNELS_H
#define NESTOR_TESTS_KERNELS_H

#include <elf.h>
#undef PF_W /* x86/regs.h has another */
#include <string.h>

#include "base/types.h"

/* --- bzImage --- */

enum { BZ_SETUP = 4 * 512, BZ_KERNEL = 8192, BZ_SIZE = BZ_SETUP + BZ_KERNEL };

static inline void put(u8 *p, unsigned off, unsigned size, u64 v)
{
	memcpy(p + off, &v, size);
}

/* Valid until the next call. */
static inline u8 *make_bz(u64 pref_address, u32 init_size)
{
	static u8 k[BZ_SIZE];

	memset(k, 0, sizeof(k));
	k[0x1f1] = BZ_SETUP / 512 - 1;
	put(k, 0x1f4, 4, BZ_KERNEL / 16);
	put(k, 0x1fe, 2, 0xaa55);
	put(k, 0x200, 2, 0x6aeb); /* jmp: the header ends at 0x26c */
	memcpy(k + 0x202, "HdrS", 4);
	put(k, 0x206, 2, 0x20f);
	k[0x211] = 1;
	put(k, 0x22c, 4, 0x7fffffff);
	put(k, 0x230, 4, 0x200000);
	k[0x234] = 1;
	put(k, 0x236, 2, 1);
	put(k, 0x238, 4, 100);
	put(k, 0x258, 8, pref_address);
	put(k, 0x260, 4, init_size);
	memset(k + BZ_SETUP, 0x90, BZ_KERNEL);
	return k;
}

/* --- PVH --- */

struct pvh64 {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	struct {
		Elf64_Nhdr nh;
		char name[4];
		u32 entry;
	} note;
	u8 code[64];
};

static inline struct pvh64 make_pvh(void)
{
	struct pvh64 k = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
			.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_phnum = 2,
			.e_phoff = offsetof(struct pvh64, ph), .e_phentsize = sizeof(Elf64_Phdr) },
		.ph = { { .p_type = PT_LOAD, .p_offset = offsetof(struct pvh64, code),
			  .p_vaddr = 0xffffffff81000000, .p_paddr = MIB(1), .p_filesz = 64,
			  .p_memsz = 8192 },
			{ .p_type = PT_NOTE, .p_offset = offsetof(struct pvh64, note),
			  .p_filesz = sizeof(k.note), .p_memsz = sizeof(k.note) } },
		.note = { { 4, 4, 18 }, "Xen", MIB(1) + 16 },
	};

	memset(k.code, 0xf4, sizeof(k.code));
	return k;
}

/* --- multiboot --- */

struct mb32 {
	Elf32_Ehdr eh;
	Elf32_Phdr ph;
	u32 header[8];
	u8 code[64];
};

enum { MB_MAGIC = 0x1badb002 };

static inline struct mb32 make_mb(u32 flags)
{
	struct mb32 k = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1 },
			.e_type = ET_EXEC, .e_machine = EM_386, .e_phnum = 1,
			.e_entry = 0xc0100040, .e_phoff = offsetof(struct mb32, ph),
			.e_phentsize = sizeof(Elf32_Phdr) },
		.ph = { .p_type = PT_LOAD, .p_offset = offsetof(struct mb32, header),
			.p_vaddr = 0xc0100000, .p_paddr = MIB(1), .p_filesz = 96, .p_memsz = 4096 },
		.header = { MB_MAGIC, flags, -(MB_MAGIC + flags) },
	};

	memset(k.code, 0xf4, sizeof(k.code));
	return k;
}

#endif
