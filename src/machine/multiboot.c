// SPDX-License-Identifier: MIT
/*
 * Multiboot 1: a header in the first 8 KiB of the file, the kernel an ELF32
 * file or placed by the header's own address fields (the "a.out kludge"),
 * started in 32-bit protected mode with the address of an information structure
 * in EBX. Section names are those of the Multiboot Specification 0.6.96.
 */
#include <string.h>

#include "machine/loader_internal.h"

enum {
	SEARCH_SIZE = 8192,
	HEADER_MAGIC = 0x1badb002,
	LOADER_MAGIC = 0x2badb002,
	/* header flags */
	WANT_PAGE_ALIGN = 1 << 0,
	WANT_MEMORY = 1 << 1,
	WANT_VIDEO = 1 << 2,
	HAS_ADDRESSES = 1 << 16,
	MUST_UNDERSTAND = 0xffff,
	/* information flags */
	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODS = 1 << 3,
	INFO_MMAP = 1 << 6,
	INFO_NAME = 1 << 9,
};

struct addresses {
	u32 header, load, load_end, bss_end, entry;
};

struct header {
	u64 at; /* offset in the file */
	u32 flags;
	struct addresses addr;
};

struct mb_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	u32 syms[4];
	u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, name, apm;
};

struct mb_module {
	u32 start, end, string, reserved;
};

struct mb_mmap {
	u32 size; /* of the rest */
	u64 addr, length;
	u32 type;
} __attribute__((packed));

/* What goes to low memory in one piece. */
struct info {
	struct mb_info mb;
	struct mb_module modules[BOOT_MAX_INITRDS];
	struct mb_mmap mmap[E820_MAX];
	u64 gdt[5];
	char text[]; /* loader's name, command line, module strings */
};

static const char loader_name[] = "nestor";

/* "The header magic fields", "The address fields". */
static bool find_header(const struct boot_file *k, struct header *h)
{
	u64 end = MIN(k->size, (u64)SEARCH_SIZE);

	for (u64 at = 0; at + 12 <= end; at += 4) {
		const u8 *d = k->data + at;
		u32 flags = (u32)boot_get(d + 4, 4);
		bool addresses = flags & HAS_ADDRESSES;

		if (boot_get(d, 4) != HEADER_MAGIC ||
		    (u32)(HEADER_MAGIC + flags + (u32)boot_get(d + 8, 4)) != 0 ||
		    (addresses && at + 32 > k->size))
			continue;
		*h = (struct header){ .at = at, .flags = flags };
		if (addresses)
			h->addr = (struct addresses){
				(u32)boot_get(d + 12, 4), (u32)boot_get(d + 16, 4),
				(u32)boot_get(d + 20, 4), (u32)boot_get(d + 24, 4),
				(u32)boot_get(d + 28, 4),
			};
		return true;
	}
	return false;
}

static bool multiboot_matches(const struct boot_file *k)
{
	struct header h;

	return find_header(k, &h);
}

/* "The address fields of Multiboot header". */
static int add_by_addresses(struct boot_plan *p, const struct header *h, gpa_t *high)
{
	const struct addresses *a = &h->addr;
	u64 before = (u64)a->header - a->load; /* bytes of the image before the header */
	u64 off = h->at - before, file_size, mem_size;

	if (a->header < a->load || before > h->at)
		return boot_bad(p, "its multiboot header has addresses that lie before the file");
	file_size = a->load_end ? (u64)a->load_end - a->load : p->kernel.size - off;
	if ((a->load_end && a->load_end < a->load) || file_size > p->kernel.size - off)
		return boot_bad(p, "the file is truncated: its multiboot header wants %u bytes "
				"of it", a->load_end - a->load);
	mem_size = file_size;
	if (a->bss_end > a->load)
		mem_size = MAX(mem_size, (u64)a->bss_end - a->load);
	*high = a->load + mem_size;
	return boot_add(p, "the kernel", a->load, p->kernel.data + off, file_size, mem_size);
}

static int add_kernel(struct boot_plan *p, const struct header *h, gpa_t *high, u64 *entry)
{
	if (h->flags & MUST_UNDERSTAND & ~(WANT_PAGE_ALIGN | WANT_MEMORY | WANT_VIDEO))
		return boot_bad(p, "its multiboot header asks for features (flags 0x%x) that "
				"nobody defined", h->flags);
	if (h->flags & HAS_ADDRESSES) {
		*entry = h->addr.entry;
		return add_by_addresses(p, h, high);
	}
	if (!boot_is_elf(&p->kernel) || boot_elf_is_64(&p->kernel))
		return boot_bad(p, "a multiboot kernel without address fields must be a 32-bit "
				"ELF file");
	*entry = boot_elf_entry(&p->kernel);
	return boot_add_elf(p, high);
}

static u64 text_size(const struct boot_plan *p)
{
	u64 size = sizeof(loader_name) + strlen(p->kernel.path) + 1 + strlen(p->append) + 1;

	for (unsigned i = 0; i < p->files->nr_initrds; i++)
		size += strlen(p->initrds[i].line) + 1;
	return size;
}

static u32 add_text(struct info *info, gpa_t at, u64 *used, const char *text)
{
	u64 where = at + offsetof(struct info, text) + *used;

	memcpy(info->text + *used, text, strlen(text) + 1);
	*used += strlen(text) + 1;
	return (u32)where;
}

/* "Boot information format": the line begins with the kernel's name. */
static u32 add_cmdline(const struct boot_plan *p, struct info *info, gpa_t at, u64 *used)
{
	u32 where = add_text(info, at, used, p->kernel.path);

	info->text[*used - 1] = ' ';
	add_text(info, at, used, p->append);
	if (!*p->append)
		info->text[*used - 2] = 0;
	return where;
}

static void fill_memory(const struct boot_plan *p, struct info *info, gpa_t at)
{
	struct mb_info *mb = &info->mb;

	mb->mem_lower = (u32)(PC_LOW_RAM_END >> 10);
	for (unsigned i = 0; i < p->nr_e820; i++) {
		const struct e820_entry *r = &p->e820[i];

		info->mmap[i] = (struct mb_mmap){ sizeof(struct mb_mmap) - 4, r->addr, r->size,
						  r->type };
		if (r->type == E820_RAM && r->addr == MIB(1))
			mb->mem_upper = (u32)(r->size >> 10);
	}
	mb->mmap_addr = (u32)(at + offsetof(struct info, mmap));
	mb->mmap_length = p->nr_e820 * (u32)sizeof(struct mb_mmap);
	mb->flags |= INFO_MEMORY | INFO_MMAP;
}

/* Modules follow the kernel upwards: small kernels take the memory behind the
 * last one for free. */
static int add_modules(struct boot_plan *p, struct info *info, gpa_t at, u64 *used, gpa_t high)
{
	gpa_t next = MAX(high, MIB(1));

	for (unsigned i = 0; i < p->files->nr_initrds; i++) {
		const struct boot_file *f = &p->initrds[i];
		gpa_t gpa;

		if (boot_place_low(p, "the module", f->size, next, GIB(4), &gpa) ||
		    boot_add(p, "the module", gpa, f->data, f->size, f->size))
			return -1;
		next = gpa + f->size;
		info->modules[i] = (struct mb_module){ (u32)gpa, (u32)next,
						       add_text(info, at, used, f->line), 0 };
	}
	info->mb.mods_count = p->files->nr_initrds;
	info->mb.mods_addr = (u32)(at + offsetof(struct info, modules));
	info->mb.flags |= INFO_MODS;
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
	if (!info || boot_place_high(p, "the multiboot information", size, PAGE_SIZE,
				     PC_LOW_RAM_END, at) ||
	    boot_add(p, "the multiboot information", *at, info, size, size))
		return -1;
	info->mb.flags = INFO_CMDLINE | INFO_NAME;
	info->mb.name = add_text(info, *at, &used, loader_name);
	info->mb.cmdline = add_cmdline(p, info, *at, &used);
	boot_fill_gdt(info->gdt, false);
	fill_memory(p, info, *at);
	return add_modules(p, info, *at, &used, high);
}

/* "Machine state". */
static int multiboot_plan(struct boot_plan *p, struct cpu_state *s)
{
	struct header h;
	gpa_t at, high;
	u64 entry = 0;

	if (!find_header(&p->kernel, &h) || add_kernel(p, &h, &high, &entry) ||
	    add_info(p, high, &at))
		return -1;
	boot_set_flat(s, at + offsetof(struct info, gdt), false);
	s->gpr[RAX] = LOADER_MAGIC;
	s->gpr[RBX] = at;
	s->rip = entry;
	return 0;
}

const struct boot_protocol boot_multiboot = { "multiboot", multiboot_matches, multiboot_plan };
