// SPDX-License-Identifier: MIT
/*
 * The PVH boot protocol: an ELF file whose note 18 of owner "Xen" names a
 * 32-bit entry point, started with the address of a struct hvm_start_info in
 * EBX. Linux's vmlinux (CONFIG_PVH) and many small kernels have one. The
 * layouts are those of Xen's public header arch-x86/hvm/start_info.h.
 */
#include <assert.h>
#include <string.h>

#include "machine/loader_internal.h"

enum { NOTE_PHYS32_ENTRY = 18, START_MAGIC = 0x336ec578 };

struct start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline, rsdp, memmap;
	u32 memmap_entries, reserved;
};

struct module {
	u64 addr, size, cmdline, reserved;
};

struct memmap_entry {
	u64 addr, size;
	u32 type, reserved;
};

static_assert(sizeof(struct start_info) == 56, "layout of version 1");

/* What goes to low memory in one piece. */
struct info {
	struct start_info start;
	struct module modules[BOOT_MAX_INITRDS];
	struct memmap_entry memmap[E820_MAX];
	u64 gdt[5];
	char text[]; /* the command line, then those of the modules */
};

static bool entry_point(const struct boot_file *k, u64 *entry)
{
	const u8 *desc;
	u32 size;

	if (!boot_elf_note(k, "Xen", NOTE_PHYS32_ENTRY, &desc, &size) || (size != 4 && size != 8))
		return false;
	*entry = boot_get(desc, size);
	return true;
}

static bool pvh_matches(const struct boot_file *k)
{
	u64 entry;

	return boot_is_elf(k) && entry_point(k, &entry);
}

static u64 text_size(const struct boot_plan *p)
{
	u64 size = strlen(p->append) + 1;

	for (unsigned i = 0; i < p->files->nr_initrds; i++)
		size += strlen(p->initrds[i].line) + 1;
	return size;
}

/* A module's arguments are what follows its path. */
static const char *arguments(const struct boot_file *f)
{
	const char *rest = f->line + strlen(f->path);

	return *rest == ' ' ? rest + 1 : rest;
}

static u64 add_text(struct info *info, gpa_t at, u64 *used, const char *text)
{
	u64 where = at + offsetof(struct info, text) + *used;

	memcpy(info->text + *used, text, strlen(text) + 1);
	*used += strlen(text) + 1;
	return where;
}

static void fill_memmap(const struct boot_plan *p, struct info *info, gpa_t at)
{
	info->start.memmap = at + offsetof(struct info, memmap);
	info->start.memmap_entries = p->nr_e820;
	for (unsigned i = 0; i < p->nr_e820; i++)
		info->memmap[i] = (struct memmap_entry){ p->e820[i].addr, p->e820[i].size,
							 p->e820[i].type, 0 };
}

static int add_modules(struct boot_plan *p, struct info *info, gpa_t at, u64 *used, gpa_t high)
{
	for (unsigned i = 0; i < p->files->nr_initrds; i++) {
		const struct boot_file *f = &p->initrds[i];
		gpa_t gpa;

		if (boot_place_high(p, "the initrd", f->size, high, GIB(4), &gpa) ||
		    boot_add(p, "the initrd", gpa, f->data, f->size, f->size))
			return -1;
		info->modules[i] = (struct module){ gpa, f->size,
						    add_text(info, at, used, arguments(f)), 0 };
	}
	info->start.nr_modules = p->files->nr_initrds;
	info->start.modlist = at + offsetof(struct info, modules);
	return 0;
}

static int add_info(struct boot_plan *p, gpa_t high, gpa_t *at)
{
	u64 size = sizeof(struct info) + text_size(p), used = 0;
	struct info *info;

	if (strlen(p->append) > BOOT_CMDLINE_MAX)
		return boot_bad(p, "the command line is longer than %d characters",
				BOOT_CMDLINE_MAX);
	info = boot_alloc(p, size);
	if (!info || boot_place_high(p, "the start information", size, PAGE_SIZE, PC_LOW_RAM_END,
				     at) ||
	    boot_add(p, "the start information", *at, info, size, size))
		return -1;
	info->start.magic = START_MAGIC;
	info->start.version = 1;
	info->start.cmdline = add_text(info, *at, &used, p->append);
	info->start.rsdp = p->files->rsdp;
	boot_fill_gdt(info->gdt, false);
	fill_memmap(p, info, *at);
	return add_modules(p, info, *at, &used, high);
}

static int pvh_plan(struct boot_plan *p, struct cpu_state *s)
{
	gpa_t at, high;
	u64 entry = 0;

	if (!entry_point(&p->kernel, &entry) || boot_add_elf(p, &high) || add_info(p, high, &at))
		return -1;
	boot_set_flat(s, at + offsetof(struct info, gdt), false);
	s->gpr[RBX] = at;
	s->rip = entry;
	return 0;
}

const struct boot_protocol boot_pvh = { "PVH", pvh_matches, pvh_plan };
