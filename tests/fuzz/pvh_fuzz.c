// SPDX-License-Identifier: MIT
/* An ELF file with a PVH entry from anywhere. */
#include "loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	load_kernel(data, size);
	return 0;
}

/* The second one is of 32 bits, and its note an address of 8 bytes. */
size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	struct pvh64 k = make_pvh();
	struct {
		Elf32_Ehdr eh;
		Elf32_Phdr ph[2];
		Elf32_Nhdr nh;
		char name[4];
		u64 entry;
	} k32 = {
		.eh = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1 },
			.e_phnum = 2, .e_phoff = sizeof(Elf32_Ehdr),
			.e_phentsize = sizeof(Elf32_Phdr) },
		.ph = { { .p_type = PT_LOAD, .p_paddr = MIB(1), .p_filesz = 64, .p_memsz = 4096 },
			{ .p_type = PT_NOTE, .p_offset = 116, .p_filesz = 24 } },
		.nh = { 4, 8, 18 }, .name = "Xen", .entry = MIB(1),
	};

	if (i == 0)
		memcpy(to, &k, sizeof(k));
	if (i == 1)
		memcpy(to, &k32, sizeof(k32));
	return i == 0 ? sizeof(k) : i == 1 ? sizeof(k32) : 0;
}
