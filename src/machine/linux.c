// SPDX-License-Identifier: MIT
/*
 * The Linux/x86 boot protocol ("bzImage"): the kernel's protected-mode part
 * goes to its preferred address, and it starts at its 64-bit entry, or at its
 * 32-bit one when it has no other. References are to the kernel's
 * Documentation/arch/x86/boot.rst.
 *
 * Low memory, as left to the kernel:
 *	0x6000 GDT	0x9000 page tables (six pages)	0x10000 boot_params
 *	0x20000 command line
 */
#include <assert.h>
#include <string.h>

#include "machine/loader_internal.h"
#include "x86/regs.h"

enum {
	GDT_AT = 0x6000,
	STACK_TOP = 0x9000,
	TABLES_AT = 0x9000,
	TABLES_SIZE = 6 * 4096,
	PARAMS_AT = 0x10000,
	PARAMS_SIZE = 4096,
	CMDLINE_AT = 0x20000,
	OLD_LOAD_AT = 0x100000,
	ENTRY64 = 0x200, /* from the load address */
};

/* Offsets of struct boot_params; the setup header has the same in the file. */
enum {
	BP_ACPI_RSDP = 0x070,
	BP_E820_ENTRIES = 0x1e8,
	BP_SETUP_SECTS = 0x1f1,
	BP_SYSSIZE = 0x1f4,
	BP_BOOT_FLAG = 0x1fe,
	BP_JUMP_LEN = 0x201, /* the header ends at 0x202 plus this */
	BP_HEADER = 0x202,
	BP_VERSION = 0x206,
	BP_TYPE_OF_LOADER = 0x210,
	BP_LOADFLAGS = 0x211,
	BP_CODE32_START = 0x214,
	BP_RAMDISK_IMAGE = 0x218,
	BP_RAMDISK_SIZE = 0x21c,
	BP_CMD_LINE_PTR = 0x228,
	BP_INITRD_ADDR_MAX = 0x22c,
	BP_XLOADFLAGS = 0x236,
	BP_CMDLINE_SIZE = 0x238,
	BP_SETUP_DATA = 0x250,
	BP_PREF_ADDRESS = 0x258,
	BP_INIT_SIZE = 0x260,
	BP_E820_TABLE = 0x2d0,
	BP_E820_SIZE = 20,
	BP_E820_MAX = 128,
	BP_HEADER_END = 0x290, /* the header never reaches further */
	HEADER_MIN_END = 0x268,
};

enum { LOADED_HIGH = 1, XLF_KERNEL_64 = 1, LOADER_UNDEFINED = 0xff };

static_assert((int)E820_MAX <= (int)BP_E820_MAX, "the zero page holds our whole memory map");

struct header {
	unsigned version;
	u64 setup_size;	 /* bytes of the file before the protected-mode part */
	u64 kernel_size; /* of the protected-mode part in the file */
	u64 load_at, init_size;
	u64 cmdline_max, initrd_max;
	bool has_entry64;
};

static bool linux_matches(const struct boot_file *k)
{
	return k->size >= BP_VERSION + 2 && boot_get(k->data + BP_BOOT_FLAG, 2) == 0xaa55 &&
	       !memcmp(k->data + BP_HEADER, "HdrS", 4);
}

static u64 field(const struct boot_plan *p, unsigned off, unsigned size)
{
	return off + size <= p->kernel.size ? boot_get(p->kernel.data + off, size) : 0;
}

static void read_late_fields(const struct boot_plan *p, struct header *h)
{
	h->cmdline_max = h->version >= 0x206 ? field(p, BP_CMDLINE_SIZE, 4) : 255;
	h->initrd_max = h->version >= 0x203 ? field(p, BP_INITRD_ADDR_MAX, 4) : 0x37ffffff;
	h->load_at = OLD_LOAD_AT;
	h->init_size = h->kernel_size;
	if (h->version >= 0x20a) {
		h->load_at = field(p, BP_PREF_ADDRESS, 8);
		h->init_size = MAX(field(p, BP_INIT_SIZE, 4), h->kernel_size);
	}
	h->has_entry64 = h->version >= 0x20c && (field(p, BP_XLOADFLAGS, 2) & XLF_KERNEL_64) &&
			 h->kernel_size > ENTRY64;
}

static int read_header(struct boot_plan *p, struct header *h)
{
	u64 sects = field(p, BP_SETUP_SECTS, 1);
	u64 need;

	if (p->kernel.size < HEADER_MIN_END)
		return boot_bad(p, "the file is truncated: it has only %llu bytes",
				(unsigned long long)p->kernel.size);
	h->version = (unsigned)field(p, BP_VERSION, 2);
	h->setup_size = ((sects ? sects : 4) + 1) * 512;
	if (h->version < 0x202 || !(field(p, BP_LOADFLAGS, 1) & LOADED_HIGH))
		return boot_bad(p, "its boot protocol %u.%02u is too old: a bzImage of protocol "
				"2.02 or later is wanted", h->version >> 8, h->version & 0xff);
	need = h->setup_size + (h->version >= 0x204 ? field(p, BP_SYSSIZE, 4) * 16 : 1);
	if (p->kernel.size + 15 < need) /* the last paragraph may not be full */
		return boot_bad(p, "the file is truncated: its header announces %llu bytes, it has "
				"%llu", (unsigned long long)need, (unsigned long long)p->kernel.size);
	h->kernel_size = p->kernel.size - h->setup_size;
	read_late_fields(p, h);
	if (h->load_at >= GIB(4) || h->init_size >= GIB(4))
		return boot_bad(p, "its header is damaged: it prefers address 0x%llx",
				(unsigned long long)h->load_at);
	return 0;
}

static int add_cmdline(struct boot_plan *p, const struct header *h)
{
	u64 len = strlen(p->append);
	u64 max = MIN(h->cmdline_max, (u64)BOOT_CMDLINE_MAX);

	if (len > max)
		return boot_bad(p, "the command line has %llu characters, this kernel takes %llu",
				(unsigned long long)len, (unsigned long long)max);
	return boot_add(p, "the command line", CMDLINE_AT, p->append, len + 1, len + 1);
}

/* All initrd files, one after the other, as the kernel's initramfs code wants
 * concatenated archives: each at a multiple of 4. */
static int add_initrd(struct boot_plan *p, const struct header *h, u8 *params)
{
	u64 size = 0, at = 0;
	gpa_t gpa;

	for (unsigned i = 0; i < p->files->nr_initrds; i++)
		size += ALIGN_UP(p->initrds[i].size, 4ull);
	if (!size)
		return 0;
	if (boot_place_high(p, "the initrd", size, h->load_at, h->initrd_max + 1, &gpa))
		return -1;
	for (unsigned i = 0; i < p->files->nr_initrds; i++) {
		const struct boot_file *f = &p->initrds[i];

		if (boot_add(p, "the initrd", gpa + at, f->data, f->size, ALIGN_UP(f->size, 4ull)))
			return -1;
		at += ALIGN_UP(f->size, 4ull);
	}
	boot_put(params + BP_RAMDISK_IMAGE, 4, gpa);
	boot_put(params + BP_RAMDISK_SIZE, 4, size);
	return 0;
}

static void fill_params(const struct boot_plan *p, const struct header *h, u8 *params)
{
	u64 end = BP_HEADER + field(p, BP_JUMP_LEN, 1);

	end = MIN(end, MIN(p->kernel.size, (u64)BP_HEADER_END));
	memcpy(params + BP_SETUP_SECTS, p->kernel.data + BP_SETUP_SECTS, end - BP_SETUP_SECTS);
	params[BP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	boot_put(params + BP_CMD_LINE_PTR, 4, CMDLINE_AT);
	boot_put(params + BP_RAMDISK_IMAGE, 8, 0); /* and the size */
	boot_put(params + BP_CODE32_START, 4, h->load_at);
	if (h->version >= 0x209)
		boot_put(params + BP_SETUP_DATA, 8, 0);
	boot_put(params + BP_ACPI_RSDP, 8, p->files->rsdp);
	params[BP_E820_ENTRIES] = (u8)p->nr_e820;
	for (unsigned i = 0; i < p->nr_e820; i++) {
		u8 *to = params + BP_E820_TABLE + i * BP_E820_SIZE;

		boot_put(to, 8, p->e820[i].addr);
		boot_put(to + 8, 8, p->e820[i].size);
		boot_put(to + 16, 4, p->e820[i].type);
	}
}

/* The first 4 GiB identity-mapped by 2 MiB pages: one PML4, one PDPT, four
 * page directories. */
static void fill_tables(u64 *t)
{
	enum { PRESENT_WRITE = 3, LARGE = 0x80 };

	t[0] = (TABLES_AT + 0x1000) | PRESENT_WRITE;
	for (u64 i = 0; i < 4; i++)
		t[512 + i] = (TABLES_AT + 0x2000 + i * 0x1000) | PRESENT_WRITE;
	for (u64 i = 0; i < 4 * 512; i++)
		t[1024 + i] = (i << 21) | PRESENT_WRITE | LARGE;
}

static int add_low_memory(struct boot_plan *p, const struct header *h, bool long_mode)
{
	u8 *params = boot_alloc(p, PARAMS_SIZE);
	u64 *tables = boot_alloc(p, TABLES_SIZE);
	u64 *gdt = boot_alloc(p, BOOT_GDT_SIZE);

	if (!params || !tables || !gdt)
		return -1;
	fill_params(p, h, params);
	fill_tables(tables);
	boot_fill_gdt(gdt, long_mode);
	if (boot_add(p, "the boot GDT", GDT_AT, gdt, BOOT_GDT_SIZE, BOOT_GDT_SIZE) ||
	    boot_add(p, "the boot page table", TABLES_AT, tables, TABLES_SIZE, TABLES_SIZE) ||
	    boot_add(p, "the zero page", PARAMS_AT, params, PARAMS_SIZE, PARAMS_SIZE))
		return -1;
	return add_initrd(p, h, params);
}

/* boot.rst, "64-bit Boot Protocol" and "32-bit Boot Protocol". */
static void set_registers(struct cpu_state *s, const struct header *h, bool long_mode)
{
	boot_set_flat(s, GDT_AT, long_mode);
	s->gpr[RSI] = PARAMS_AT;
	s->gpr[RSP] = STACK_TOP;
	s->rip = h->load_at;
	if (!long_mode)
		return;
	s->rip = h->load_at + ENTRY64;
	s->cr3 = TABLES_AT;
	s->cr4 = CR4_PAE;
	s->cr0 |= CR0_PG;
	s->msr.efer = EFER_LME | EFER_LMA;
}

static int linux_plan(struct boot_plan *p, struct cpu_state *s)
{
	struct header h = { 0 };
	bool long_mode;

	if (read_header(p, &h))
		return -1;
	long_mode = h.has_entry64 && !p->files->entry32;
	if (boot_add(p, "the kernel", h.load_at, p->kernel.data + h.setup_size, h.kernel_size,
		     h.init_size))
		return -1;
	if (add_cmdline(p, &h) || add_low_memory(p, &h, long_mode))
		return -1;
	set_registers(s, &h, long_mode);
	return 0;
}

const struct boot_protocol boot_linux = { "Linux", linux_matches, linux_plan };
