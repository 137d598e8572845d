/* SPDX-License-Identifier: MIT */
/*
 * What the loaders of the three protocols share: files read whole, a plan of
 * what goes where, and flat segments.
 *
 * A loader adds parts to the plan, each checked against RAM and against the
 * others, and fills in registers; boot_load() then writes the plan out.
 */
#ifndef NESTOR_MACHINE_LOADER_INTERNAL_H
#define NESTOR_MACHINE_LOADER_INTERNAL_H

#include "machine/loader.h"
#include "machine/memmap.h"

enum { BOOT_MAX_PARTS = 128, BOOT_CMDLINE_MAX = 0x8000 };

struct boot_file {
	char *path;	  /* as opened */
	const char *line; /* as given: path and arguments */
	u8 *data;
	u64 size;
};

struct boot_part {
	gpa_t gpa;
	u64 size;
	const void *data;
	u64 data_size; /* the rest of @size is zeros */
};

struct boot_plan {
	const struct boot_files *files;
	struct mem *mem;
	struct err *e;
	struct boot_file kernel;
	struct boot_file initrds[BOOT_MAX_INITRDS];
	const char *append; /* never NULL */

	struct e820_entry e820[E820_MAX];
	unsigned nr_e820;
	struct boot_part parts[BOOT_MAX_PARTS];
	unsigned nr_parts;
	void *owned[8]; /* freed with the plan */
	unsigned nr_owned;
};

struct boot_protocol {
	const char *name;
	bool (*matches)(const struct boot_file *kernel);
	int (*plan)(struct boot_plan *p, struct cpu_state *s);
};

extern const struct boot_protocol boot_linux, boot_pvh, boot_multiboot;

/* Zeroed memory that lives as long as the plan; NULL with p->e set. */
void *boot_alloc(struct boot_plan *p, u64 size);

/* Adds a part. @what names it in the error: "the kernel". */
int boot_add(struct boot_plan *p, const char *what, gpa_t gpa, const void *data, u64 data_size,
	     u64 size);

/* Finds @size free bytes of RAM in [min, max) that no part uses: the highest
 * or the lowest place, page-aligned. Fails with a sentence about @what. */
int boot_place_high(struct boot_plan *p, const char *what, u64 size, gpa_t min, gpa_t max,
		    gpa_t *res);
int boot_place_low(struct boot_plan *p, const char *what, u64 size, gpa_t min, gpa_t max,
		   gpa_t *res);

/* Fails with "cannot boot FILE: ..." */
int boot_bad(struct boot_plan *p, const char *fmt, ...) PRINTF(2, 3);

/* Flat segments, CS 0x10 and the others 0x18, with their table in RAM at @gdt.
 * Interrupts off, descriptor tables otherwise empty. */
enum { BOOT_GDT_SIZE = 5 * 8 };
void boot_fill_gdt(u64 gdt[5], bool code64);
void boot_set_flat(struct cpu_state *s, gpa_t gdt, bool code64);

/* ELF kernels: the segments of a checked file, 32 or 64 bits, into the plan.
 * @high is the end of the highest one. */
int boot_add_elf(struct boot_plan *p, gpa_t *high);
bool boot_is_elf(const struct boot_file *f);
bool boot_elf_is_64(const struct boot_file *f);
/* Translates a virtual entry point through the segments. */
u64 boot_elf_entry(const struct boot_file *f);
/* Finds note @type of owner @name; false: no such note. */
bool boot_elf_note(const struct boot_file *f, const char *name, u32 type, const u8 **desc,
		   u32 *size);

/* An integer from a file, bounds already checked. */
static inline u64 boot_get(const u8 *p, unsigned size)
{
	u64 v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (u64)p[i] << (8 * i);
	return v;
}

static inline void boot_put(u8 *p, unsigned size, u64 v)
{
	for (unsigned i = 0; i < size; i++)
		p[i] = (u8)(v >> (8 * i));
}

#endif
