// SPDX-License-Identifier: MIT
/*
 * ELF files of kernels, 32 and 64 bits: segments, entry point and notes. Every
 * offset comes from the file and is checked against its size before use.
 */
#include <elf.h>
#include <string.h>

#include "machine/loader_internal.h"

/* A program header of either class. */
struct segment {
	u32 type;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};

static bool in_file(const struct boot_file *f, u64 off, u64 size)
{
	return off <= f->size && size <= f->size - off;
}

bool boot_is_elf(const struct boot_file *f)
{
	return f->size >= sizeof(Elf32_Ehdr) && !memcmp(f->data, ELFMAG, SELFMAG) &&
	       f->data[EI_DATA] == ELFDATA2LSB &&
	       (f->data[EI_CLASS] == ELFCLASS32 ||
		(f->data[EI_CLASS] == ELFCLASS64 && f->size >= sizeof(Elf64_Ehdr)));
}

bool boot_elf_is_64(const struct boot_file *f)
{
	return f->data[EI_CLASS] == ELFCLASS64;
}

static unsigned nr_segments(const struct boot_file *f)
{
	return boot_elf_is_64(f) ? ((const Elf64_Ehdr *)f->data)->e_phnum :
				   ((const Elf32_Ehdr *)f->data)->e_phnum;
}

static bool get_segment32(const struct boot_file *f, unsigned i, struct segment *s)
{
	const Elf32_Ehdr *eh = (const Elf32_Ehdr *)f->data;
	u64 at = eh->e_phoff + (u64)i * eh->e_phentsize;
	Elf32_Phdr ph;

	if (eh->e_phentsize < sizeof(ph) || !in_file(f, at, sizeof(ph)))
		return false;
	memcpy(&ph, f->data + at, sizeof(ph));
	*s = (struct segment){ ph.p_type,   ph.p_offset, ph.p_vaddr, ph.p_paddr,
			       ph.p_filesz, ph.p_memsz,	 ph.p_align };
	return true;
}

static bool get_segment64(const struct boot_file *f, unsigned i, struct segment *s)
{
	const Elf64_Ehdr *eh = (const Elf64_Ehdr *)f->data;
	u64 at = eh->e_phoff + (u64)i * eh->e_phentsize;
	Elf64_Phdr ph;

	if (eh->e_phentsize < sizeof(ph) || eh->e_phoff > f->size || !in_file(f, at, sizeof(ph)))
		return false;
	memcpy(&ph, f->data + at, sizeof(ph));
	*s = (struct segment){ ph.p_type,   ph.p_offset, ph.p_vaddr, ph.p_paddr,
			       ph.p_filesz, ph.p_memsz,	 ph.p_align };
	return true;
}

/* False when header or contents lie outside of the file. */
static bool get_segment(const struct boot_file *f, unsigned i, struct segment *s)
{
	bool ok = boot_elf_is_64(f) ? get_segment64(f, i, s) : get_segment32(f, i, s);

	return ok && in_file(f, s->offset, s->filesz);
}

static u64 raw_entry(const struct boot_file *f)
{
	return boot_elf_is_64(f) ? ((const Elf64_Ehdr *)f->data)->e_entry :
				   ((const Elf32_Ehdr *)f->data)->e_entry;
}

u64 boot_elf_entry(const struct boot_file *f)
{
	u64 entry = raw_entry(f);
	struct segment s;

	for (unsigned i = 0; i < nr_segments(f); i++)
		if (get_segment(f, i, &s) && s.type == PT_LOAD && entry >= s.vaddr &&
		    entry - s.vaddr < s.memsz)
			return entry - s.vaddr + s.paddr;
	return entry;
}

int boot_add_elf(struct boot_plan *p, gpa_t *high)
{
	const struct boot_file *f = &p->kernel;
	unsigned nr_loaded = 0;
	struct segment s;

	*high = 0;
	for (unsigned i = 0; i < nr_segments(f); i++) {
		if (!get_segment(f, i, &s))
			return boot_bad(p, "the ELF file is truncated or damaged: segment %u lies "
					"outside of it", i);
		if (s.type != PT_LOAD || !s.memsz)
			continue;
		if (s.filesz > s.memsz)
			return boot_bad(p, "the ELF file is damaged: segment %u is larger in the "
					"file than in memory", i);
		if (boot_add(p, "the kernel", s.paddr, f->data + s.offset, s.filesz, s.memsz))
			return -1;
		*high = MAX(*high, s.paddr + s.memsz);
		nr_loaded++;
	}
	return nr_loaded ? 0 : boot_bad(p, "the ELF file has no segment to load");
}

static u64 align_note(u64 size)
{
	return ALIGN_UP(size, 4ull);
}

static bool find_note(const u8 *d, u64 size, const char *name, u32 type, const u8 **desc,
		      u32 *desc_size)
{
	u64 name_len = strlen(name) + 1;

	while (size >= sizeof(Elf32_Nhdr)) {
		Elf32_Nhdr nh;
		u64 desc_at, next;

		memcpy(&nh, d, sizeof(nh));
		desc_at = sizeof(nh) + align_note(nh.n_namesz);
		next = desc_at + align_note(nh.n_descsz);
		if (desc_at + nh.n_descsz > size)
			return false;
		if (nh.n_type == type && nh.n_namesz == name_len &&
		    !memcmp(d + sizeof(nh), name, name_len)) {
			*desc = d + desc_at;
			*desc_size = nh.n_descsz;
			return true;
		}
		if (next >= size)
			return false;
		d += next;
		size -= next;
	}
	return false;
}

bool boot_elf_note(const struct boot_file *f, const char *name, u32 type, const u8 **desc,
		   u32 *size)
{
	struct segment s;

	for (unsigned i = 0; i < nr_segments(f); i++)
		if (get_segment(f, i, &s) && s.type == PT_NOTE &&
		    find_note(f->data + s.offset, s.filesz, name, type, desc, size))
			return true;
	return false;
}
