// SPDX-License-Identifier: MIT
/*
 * SMBIOS 3.0 tables ("System Management BIOS Reference Specification"), the
 * required ones: 0, 1, 3, 4, 16, 17, 19, 32, 127.
 *
 * A structure is a fixed part that names strings by number, then the strings, each
 * ended by a zero, and one more zero.
 */
#include "machine/smbios.h"

#include <stdlib.h>
#include <string.h>

#include "machine/aml.h"
#include "machine/memmap.h"

enum { ENTRY_SIZE = 24, TABLES_AT = 32, IMAGE_SIZE = 8192 };
enum { HANDLE_CHASSIS = 0x300, HANDLE_CPU = 0x400, HANDLE_ARRAY = 0x1000, HANDLE_DIMM = 0x1100,
       HANDLE_RANGE = 0x1300, NO_HANDLE = 0xfffe };
enum { UNKNOWN = 2, OTHER = 1 };

/* Opens a structure; returns where it starts, for end(). */
static u32 begin(struct aml *a, u8 type, u16 handle)
{
	u32 start = a->len;

	aml_u8(a, type);
	aml_u8(a, 0); /* length of the fixed part, by end() */
	aml_u16(a, handle);
	return start;
}

/* Ends it with up to two strings. */
static void end(struct aml *a, u32 start, const char *s1, const char *s2)
{
	aml_patch(a, start + 1, a->len - start, 1);
	if (s1)
		aml_bytes(a, s1, (u32)strlen(s1) + 1);
	if (s2)
		aml_bytes(a, s2, (u32)strlen(s2) + 1);
	aml_zero(a, s1 ? 1 : 2);
}

static void bios(struct aml *a)
{
	u32 s = begin(a, 0, 0);

	aml_u8(a, 1);	      /* vendor */
	aml_u8(a, 2);	      /* version */
	aml_u16(a, 0xe000);   /* segment */
	aml_u8(a, 0);	      /* date: none */
	aml_u8(a, 0);	      /* 64 KiB */
	aml_u64(a, BIT(3));   /* characteristics: not supported */
	aml_u16(a, 0x1400);   /* extension: virtual machine, targeted content; no UEFI */
	aml_u32(a, 0xffffffff); /* releases: not given */
	end(a, s, "Nestor", "1");
}

static void system_info(struct aml *a)
{
	u32 s = begin(a, 1, 0x100);

	aml_u8(a, 1); /* manufacturer */
	aml_u8(a, 2); /* product */
	aml_u8(a, 0); /* version */
	aml_u8(a, 0); /* serial number */
	aml_zero(a, 16); /* UUID: not present */
	aml_u8(a, 6); /* wake-up: power switch */
	aml_u8(a, 0); /* SKU */
	aml_u8(a, 0); /* family */
	end(a, s, "Nestor", "Nestor Virtual Machine");
}

static void chassis(struct aml *a)
{
	u32 s = begin(a, 3, HANDLE_CHASSIS);

	aml_u8(a, 1);	 /* manufacturer */
	aml_u8(a, OTHER); /* type */
	aml_zero(a, 3);	 /* version, serial number, asset tag */
	for (int i = 0; i < 4; i++)
		aml_u8(a, UNKNOWN); /* boot-up, power, thermal, security state */
	aml_u32(a, 0);
	aml_zero(a, 5); /* height, cords, no elements, no SKU */
	end(a, s, "Nestor", NULL);
}

static void processors(struct aml *a, unsigned cpus)
{
	u32 s = begin(a, 4, HANDLE_CPU);
	u8 few = (u8)MIN(cpus, 255);

	aml_u8(a, 1);	/* socket */
	aml_u8(a, 3);	/* central processor */
	aml_u8(a, UNKNOWN);
	aml_u8(a, 2);	/* manufacturer */
	aml_u64(a, 0);	/* ID */
	aml_zero(a, 8); /* version, voltage, clocks: not given */
	aml_u8(a, 0x41); /* populated, enabled */
	aml_u8(a, UNKNOWN);
	for (int i = 0; i < 3; i++)
		aml_u16(a, 0xffff); /* no cache handles */
	aml_zero(a, 3);
	for (int i = 0; i < 3; i++)
		aml_u8(a, few); /* cores, enabled, threads */
	aml_u16(a, 0x0c);	/* 64-bit, several cores */
	aml_u16(a, UNKNOWN);
	for (int i = 0; i < 3; i++)
		aml_u16(a, (u16)cpus);
	end(a, s, "CPU 0", "Nestor");
}

static void memory(struct aml *a, u64 size)
{
	u32 s = begin(a, 16, HANDLE_ARRAY);
	bool large = size >= GIB(2048);

	aml_u8(a, OTHER);
	aml_u8(a, 3); /* system memory */
	aml_u8(a, 6); /* multi-bit ECC */
	aml_u32(a, large ? 0x80000000 : (u32)(size >> 10));
	aml_u16(a, NO_HANDLE);
	aml_u16(a, 1);
	aml_u64(a, large ? size : 0);
	end(a, s, NULL, NULL);

	s = begin(a, 17, HANDLE_DIMM);
	aml_u16(a, HANDLE_ARRAY);
	aml_u16(a, NO_HANDLE);
	aml_u16(a, 0xffff); /* widths */
	aml_u16(a, 0xffff);
	aml_u16(a, size >= GIB(32) - MIB(1) ? 0x7fff : (u16)(size >> 20));
	aml_u8(a, 9); /* DIMM */
	aml_u8(a, 0);
	aml_u8(a, 1); /* locator */
	aml_u8(a, 0);
	aml_u8(a, 7); /* RAM */
	aml_u16(a, UNKNOWN);
	aml_zero(a, 7);
	aml_u32(a, (u32)(size >> 20)); /* extended size, MiB */
	aml_zero(a, 8);
	end(a, s, "DIMM 0", NULL);
}

static void range(struct aml *a, u16 handle, u64 first, u64 last)
{
	u32 s = begin(a, 19, handle);

	aml_u32(a, 0xffffffff); /* see the extended addresses */
	aml_u32(a, 0xffffffff);
	aml_u16(a, HANDLE_ARRAY);
	aml_u8(a, 1);
	aml_u64(a, first);
	aml_u64(a, last);
	end(a, s, NULL, NULL);
}

static void structures(struct aml *a, unsigned cpus, const struct mem *mem)
{
	u32 s;

	bios(a);
	system_info(a);
	chassis(a);
	processors(a, cpus);
	memory(a, mem->ram_size);
	range(a, HANDLE_RANGE, 0, pc_low_ram_end(mem) - 1);
	if (pc_high_ram_end(mem) > PC_HIGH_RAM)
		range(a, HANDLE_RANGE + 1, PC_HIGH_RAM, pc_high_ram_end(mem) - 1);
	s = begin(a, 32, 0x2000);
	aml_zero(a, 7); /* booted without error */
	end(a, s, NULL, NULL);
	end(a, begin(a, 127, 0x7f00), NULL, NULL);
}

static void entry_point(struct aml *image)
{
	struct aml a = { .data = image->data, .capacity = ENTRY_SIZE };
	u8 sum = 0;

	aml_bytes(&a, "_SM3_", 5);
	aml_u8(&a, 0); /* checksum */
	aml_u8(&a, ENTRY_SIZE);
	aml_u8(&a, 3); /* version 3.0.0 */
	aml_u8(&a, 0);
	aml_u8(&a, 0);
	aml_u8(&a, 1);
	aml_u8(&a, 0);
	aml_u32(&a, image->len - TABLES_AT);
	aml_u64(&a, PC_SMBIOS_BASE + TABLES_AT);
	for (unsigned i = 0; i < ENTRY_SIZE; i++)
		sum += a.data[i];
	a.data[5] = (u8)-sum;
}

int smbios_write(unsigned cpus, struct mem *mem, struct err *e)
{
	struct aml a = { .data = calloc(1, IMAGE_SIZE), .capacity = IMAGE_SIZE };
	int r = 0;

	if (!a.data)
		return err_set(e, "cannot make SMBIOS tables: out of memory");
	aml_zero(&a, TABLES_AT);
	structures(&a, cpus, mem);
	entry_point(&a);
	if (a.overflow || !mem_write(mem, PC_SMBIOS_BASE, a.data, a.len))
		r = err_set(e, "cannot write SMBIOS tables: guest memory ends below 1 MiB");
	free(a.data);
	return r;
}
