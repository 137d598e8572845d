// SPDX-License-Identifier: MIT
/* Made-up kernels of the three protocols, and everything that can be wrong with
 * the files. */
#include "machine/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../lib/kernels.h"
#include "../../lib/test.h"
#include "machine/memmap.h"
#include "x86/regs.h"

struct rig {
	char dir[64];
	struct mem *mem;
	struct cpu_state *s;
	struct boot_files f;
	struct err e;
};

static void rig_init(struct rig *r, u64 ram)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "/tmp/nestor-loader-test.XXXXXX");
	CHECK(mkdtemp(r->dir) != NULL);
	CHECK_EQ(mem_create(ram, &r->mem, NULL), 0);
	r->s = aligned_alloc(64, sizeof(*r->s));
	memset(r->s, 0, sizeof(*r->s));
	r->f.rsdp = PC_RSDP;
}

static const char *put_file(struct rig *r, const char *name, const void *data, size_t size)
{
	static char paths[16][128];
	static unsigned nr_paths;
	char *path = paths[nr_paths++ % 16];
	FILE *f;

	snprintf(path, sizeof(paths[0]), "%s/%s", r->dir, name);
	f = fopen(path, "w");
	CHECK(f && (!size || fwrite(data, size, 1, f) == 1));
	fclose(f);
	return path;
}

static void rig_fini(struct rig *r)
{
	char cmd[100];

	snprintf(cmd, sizeof(cmd), "rm -r %s", r->dir);
	CHECK_EQ(system(cmd), 0);
	mem_destroy(r->mem);
	free(r->s);
}

static int load(struct rig *r)
{
	r->e.text[0] = 0;
	return boot_load(&r->f, r->mem, r->s, &r->e);
}

/* Fails with a text that contains @part, and touches nothing. */
static void check_fails(struct rig *r, const char *part)
{
	static const u8 zeros[0x30000];

	CHECK(load(r) != 0);
	if (!strstr(r->e.text, part))
		test_fail(__FILE__, __LINE__, "\"%s\" is not in \"%s\"", part, r->e.text);
	CHECK(!strchr(r->e.text, '\n'));
	CHECK(!memcmp(mem_host(r->mem, 0, sizeof(zeros)), zeros, sizeof(zeros)));
	CHECK_EQ(r->s->rip, 0);
}

static u64 ram64(struct rig *r, gpa_t gpa)
{
	u64 v = 0;

	CHECK(mem_read(r->mem, gpa, &v, sizeof(v)));
	return v;
}

static u32 ram32(struct rig *r, gpa_t gpa)
{
	return (u32)ram64(r, gpa);
}

/* --- bzImage --- */

TEST(loader, bzimage_64)
{
	struct rig r;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE - 15); /* in paragraphs */
	r.f.append = "console=ttyS0";
	memset(mem_host(r.mem, MIB(2), MIB(2)), 0xcc, MIB(2)); /* a reset's left-overs */
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(r.s->rip, MIB(2) + 0x200);
	CHECK_EQ(r.s->gpr[RSI], 0x10000);
	CHECK_EQ(r.s->seg[SEG_CS].sel, 0x10);
	CHECK_EQ(r.s->seg[SEG_CS].ar, 0xa09b);
	CHECK_EQ(r.s->seg[SEG_DS].sel, 0x18);
	CHECK_EQ(r.s->cr0, CR0_PE | CR0_PG | CR0_ET | CR0_NE);
	CHECK_EQ(r.s->msr.efer, EFER_LME | EFER_LMA);
	CHECK_EQ(r.s->cr4, CR4_PAE);
	CHECK_EQ(r.s->rflags, 2);
	CHECK_EQ(ram32(&r, MIB(2)), 0x90909090);
	CHECK_EQ(ram32(&r, MIB(2) + BZ_KERNEL), 0);	     /* cleared up to init_size ... */
	CHECK_EQ(ram32(&r, MIB(3)), 0xcccccccc);	     /* ... and no further */
	CHECK_EQ(*(u8 *)mem_host(r.mem, 0x10210, 1), 0xff);
	CHECK_EQ(ram64(&r, 0x10070), PC_RSDP);
	CHECK_STR(mem_host(r.mem, ram32(&r, 0x10228), 14), "console=ttyS0");
	rig_fini(&r);
}

/* Walks the boot page tables. */
static u64 walk(struct rig *r, u64 va)
{
	u64 e = ram64(r, r->s->cr3 + (va >> 39) * 8);

	e = ram64(r, (e & PAGE_MASK) + (va >> 30 & 511) * 8);
	e = ram64(r, (e & PAGE_MASK) + (va >> 21 & 511) * 8);
	CHECK(e & 0x80);
	return (e & ~0x1fffffull) | (va & 0x1fffff);
}

TEST(loader, bzimage_page_tables_and_gdt)
{
	static const u64 vas[] = { 0, 0x10000, MIB(2) + 0x200, 0x7fffffff, 0xfee00000, 0xffffffff };
	struct rig r;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE);
	CHECK_EQ(load(&r), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(vas); i++)
		CHECK_EQ(walk(&r, vas[i]), vas[i]);
	CHECK_EQ(ram64(&r, r.s->gdtr.base + 0x10), 0x00af9b000000ffff);
	CHECK_EQ(ram64(&r, r.s->gdtr.base + 0x18), 0x00cf93000000ffff);
	CHECK(r.s->gdtr.limit >= 0x1f);
	rig_fini(&r);
}

TEST(loader, bzimage_e820)
{
	struct rig r;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE);
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(*(u8 *)mem_host(r.mem, 0x101e8, 1), 7);
	CHECK_EQ(ram64(&r, 0x102d0), 0);
	CHECK_EQ(ram64(&r, 0x102d0 + 3 * 20), MIB(1));
	CHECK_EQ(ram64(&r, 0x102d0 + 3 * 20 + 8), MIB(15));
	rig_fini(&r);
}

TEST(loader, bzimage_32)
{
	struct rig r;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE);
	r.f.entry32 = true;
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(r.s->rip, MIB(2));
	CHECK_EQ(r.s->seg[SEG_CS].ar, 0xc09b);
	CHECK_EQ(r.s->cr0, CR0_PE | CR0_ET | CR0_NE);
	CHECK_EQ(r.s->gpr[RSI], 0x10000);
	CHECK_EQ(r.s->gpr[RBX] | r.s->gpr[RBP] | r.s->gpr[RDI], 0);
	CHECK_EQ(ram64(&r, r.s->gdtr.base + 0x10), 0x00cf9b000000ffff);
	rig_fini(&r);
}

TEST(loader, bzimage_without_64_bit_entry)
{
	u8 *k = make_bz(MIB(2), MIB(1));
	struct rig r;

	rig_init(&r, MIB(16));
	put(k, 0x236, 2, 0);
	r.f.kernel = put_file(&r, "k", k, BZ_SIZE);
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(r.s->rip, MIB(2));
	CHECK_EQ(r.s->msr.efer, 0);
	rig_fini(&r);
}

TEST(loader, bzimage_initrds_are_joined)
{
	struct rig r;
	u32 at;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE);
	r.f.initrds[0] = put_file(&r, "a", "abcde", 5);
	r.f.initrds[1] = put_file(&r, "b", "xyz", 3);
	r.f.nr_initrds = 2;
	CHECK_EQ(load(&r), 0);
	at = ram32(&r, 0x10218);
	CHECK_EQ(ram32(&r, 0x1021c), 12);
	CHECK_EQ(at % PAGE_SIZE, 0);
	CHECK_EQ(at, MIB(16) - PAGE_SIZE);
	CHECK(!memcmp(mem_host(r.mem, at, 12), "abcde\0\0\0xyz\0", 12));
	rig_fini(&r);
}

TEST(loader, bzimage_initrd_below_its_limit)
{
	u8 *k = make_bz(MIB(2), MIB(1));
	struct rig r;

	rig_init(&r, MIB(16));
	put(k, 0x22c, 4, MIB(8) - 1);
	r.f.kernel = put_file(&r, "k", k, BZ_SIZE);
	r.f.initrds[0] = put_file(&r, "a", "abcde", 5);
	r.f.nr_initrds = 1;
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(ram32(&r, 0x10218), MIB(8) - PAGE_SIZE);
	rig_fini(&r);
}

TEST(loader, bzimage_refusals)
{
	struct rig r;
	char line[200];
	u8 *k;

	rig_init(&r, MIB(16));
	k = make_bz(MIB(2), MIB(1));
	r.f.kernel = put_file(&r, "k", k, BZ_SIZE - 16);
	check_fails(&r, "truncated");
	r.f.kernel = put_file(&r, "k", k, 0x208);
	check_fails(&r, "truncated");
	put(k, 0x206, 2, 0x201);
	r.f.kernel = put_file(&r, "k", k, BZ_SIZE);
	check_fails(&r, "too old");
	k = make_bz(MIB(2), MIB(1));
	k[0x211] = 0; /* a zImage */
	r.f.kernel = put_file(&r, "k", k, BZ_SIZE);
	check_fails(&r, "too old");
	k = make_bz(MIB(2), MIB(1));
	put(k, 0x260, 4, MIB(15));
	r.f.kernel = put_file(&r, "k", k, BZ_SIZE);
	check_fails(&r, "--memory");
	k = make_bz(MIB(2), MIB(1));
	put(k, 0x258, 8, ~0ull - 4096);
	r.f.kernel = put_file(&r, "k", k, BZ_SIZE);
	check_fails(&r, "damaged");
	memset(line, 'a', sizeof(line) - 1);
	line[199] = 0;
	r.f.append = line;
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE);
	check_fails(&r, "command line");
	rig_fini(&r);
}

/* --- files --- */

TEST(loader, files_that_are_none)
{
	u8 garbage[5000];
	struct rig r;

	rig_init(&r, MIB(16));
	r.f.kernel = "/nonexistent/vmlinuz";
	check_fails(&r, "No such file");
	r.f.kernel = "/tmp";
	check_fails(&r, "directory");
	r.f.kernel = "/dev/null";
	check_fails(&r, "not a regular file");
	r.f.kernel = put_file(&r, "empty", "", 0);
	check_fails(&r, "empty");
	for (unsigned i = 0; i < sizeof(garbage); i++)
		garbage[i] = (u8)(i * 31 + i / 256);
	r.f.kernel = put_file(&r, "garbage", garbage, sizeof(garbage));
	check_fails(&r, "no Linux bzImage");
	r.f.kernel = put_file(&r, "one", "x", 1);
	check_fails(&r, "no Linux bzImage");
	r.f.kernel = put_file(&r, "gz", "\x1f\x8b\x08\0\0\0", 6);
	check_fails(&r, "gzip");
	r.f.kernel = put_file(&r, "elf", "\x7f" "ELF\1\1\1", 7);
	check_fails(&r, "no Linux bzImage");
	rig_fini(&r);
}

TEST(loader, initrds_that_are_none)
{
	struct rig r;
	const char *big;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE);
	r.f.nr_initrds = 1;
	r.f.initrds[0] = "/nonexistent/initrd";
	check_fails(&r, "cannot load initrd /nonexistent/initrd: No such file");
	r.f.initrds[0] = "/tmp";
	check_fails(&r, "directory");
	big = put_file(&r, "big", "x", 1);
	r.f.initrds[0] = big;
	CHECK_EQ(truncate(big, MIB(17)), 0);
	check_fails(&r, "--memory");
	CHECK_EQ(truncate(big, MIB(14)), 0);
	check_fails(&r, "--memory");
	rig_fini(&r);
}

TEST(loader, memory_too_small)
{
	struct rig r;

	rig_init(&r, MIB(1));
	r.f.kernel = put_file(&r, "k", make_bz(MIB(2), MIB(1)), BZ_SIZE);
	check_fails(&r, "1 MiB; give it more with --memory");
	rig_fini(&r);
}

/* --- PVH --- */

TEST(loader, pvh)
{
	struct pvh64 k = make_pvh();
	struct rig r;
	u64 info, mod;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	r.f.append = "hello";
	r.f.initrds[0] = put_file(&r, "i", "initrd", 6);
	r.f.nr_initrds = 1;
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(r.s->rip, MIB(1) + 16);
	CHECK_EQ(r.s->cr0, CR0_PE | CR0_ET | CR0_NE);
	CHECK_EQ(r.s->cr4, 0);
	CHECK_EQ(r.s->seg[SEG_CS].ar, 0xc09b);
	CHECK_EQ(r.s->tr.ar, 0x8b);
	CHECK_EQ(ram32(&r, MIB(1)), 0xf4f4f4f4);
	info = r.s->gpr[RBX];
	CHECK_EQ(ram32(&r, info), 0x336ec578);
	CHECK_EQ(ram32(&r, info + 4), 1);
	CHECK_EQ(ram32(&r, info + 12), 1);
	mod = ram64(&r, info + 16);
	CHECK_EQ(ram64(&r, mod + 8), 6);
	CHECK(!memcmp(mem_host(r.mem, ram64(&r, mod), 6), "initrd", 6));
	CHECK_STR(mem_host(r.mem, ram64(&r, info + 24), 6), "hello");
	CHECK_EQ(ram64(&r, info + 32), PC_RSDP);
	CHECK_EQ(ram32(&r, info + 48), 7);
	CHECK_EQ(ram64(&r, ram64(&r, info + 40) + 3 * 24), MIB(1));
	rig_fini(&r);
}

TEST(loader, pvh_refusals)
{
	struct pvh64 k = make_pvh();
	struct rig r;

	rig_init(&r, MIB(16));
	k.note.nh.n_type = 17;
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "neither a PVH entry");
	k = make_pvh();
	r.f.kernel = put_file(&r, "k", &k, offsetof(struct pvh64, code) + 10);
	check_fails(&r, "lies outside");
	k.ph[0].p_memsz = GIB(1);
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "--memory");
	k = make_pvh();
	k.ph[0].p_memsz = 10;
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "larger in the file");
	k = make_pvh();
	k.ph[0].p_paddr = 0xa0000;
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "does not have");
	k = make_pvh();
	k.ph[0].p_paddr = ~0ull - 100;
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "does not have");
	k = make_pvh();
	k.ph[0].p_type = PT_NULL;
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "no segment");
	k = make_pvh();
	k.eh.e_phoff = ~0ull - 8;
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "neither a PVH entry");
	rig_fini(&r);
}

/* --- multiboot --- */

TEST(loader, multiboot)
{
	struct mb32 k = make_mb(3);
	struct rig r;
	char want[200], line[500];
	u64 info, mod;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	r.f.append = "a b";
	snprintf(line, sizeof(line), "%s arg1 arg2%0300d", put_file(&r, "m", "module", 6), 0);
	r.f.initrds[0] = line;
	r.f.initrds[1] = put_file(&r, "m2", "second", 6);
	r.f.nr_initrds = 2;
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(r.s->rip, MIB(1) + 0x40); /* translated through the segment */
	CHECK_EQ(r.s->gpr[RAX], 0x2badb002);
	info = r.s->gpr[RBX];
	CHECK_EQ(ram32(&r, info), 0x24d); /* memory, cmdline, mods, mmap, name */
	CHECK_EQ(ram32(&r, info + 4), 639);
	CHECK_EQ(ram32(&r, info + 8), 15 * 1024);
	snprintf(want, sizeof(want), "%s a b", r.f.kernel);
	CHECK_STR(mem_host(r.mem, ram32(&r, info + 16), 1), want);
	CHECK_EQ(ram32(&r, info + 20), 2);
	mod = ram32(&r, info + 24);
	CHECK_EQ(ram32(&r, mod), MIB(1) + 4096);
	CHECK_EQ(ram32(&r, mod + 4), MIB(1) + 4096 + 6);
	CHECK_STR(mem_host(r.mem, ram32(&r, mod + 8), 1), r.f.initrds[0]);
	CHECK(!memcmp(mem_host(r.mem, ram32(&r, mod + 16), 6), "second", 6));
	CHECK_EQ(ram32(&r, info + 44), 7 * 24);
	CHECK_EQ(ram32(&r, ram32(&r, info + 48)), 20);
	rig_fini(&r);
}

TEST(loader, multiboot_by_addresses)
{
	u32 flags = BIT(16);
	u8 file[4096] = "junk in front";
	u32 header[8] = { MB_MAGIC, flags, -(MB_MAGIC + flags), 0x200100, 0x200000, 0x200800,
			  0x203000, 0x200123 };
	struct rig r;

	rig_init(&r, MIB(16));
	memcpy(file + 0x300, header, sizeof(header));
	file[0x200] = 0xab; /* 0x100 before the header: what goes to the load address */
	r.f.kernel = put_file(&r, "k", file, sizeof(file));
	CHECK_EQ(load(&r), 0);
	CHECK_EQ(r.s->rip, 0x200123);
	CHECK_EQ(*(u8 *)mem_host(r.mem, 0x200000, 1), 0xab);
	CHECK_EQ(ram32(&r, 0x200100), MB_MAGIC);
	CHECK_STR((char *)mem_host(r.mem, ram32(&r, r.s->gpr[RBX] + 16), 1), r.f.kernel);
	rig_fini(&r);
}

TEST(loader, multiboot_refusals)
{
	u32 flags = BIT(16);
	u32 header[8] = { MB_MAGIC, flags, -(MB_MAGIC + flags), 0x200000, 0x200000, 0x300000, 0,
			  0x200020 };
	struct mb32 k = make_mb(1 << 4);
	struct rig r;

	rig_init(&r, MIB(16));
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "features");
	r.f.kernel = put_file(&r, "k", header, sizeof(header));
	check_fails(&r, "truncated");
	header[4] = 0x200001; /* load after the header */
	r.f.kernel = put_file(&r, "k", header, sizeof(header));
	check_fails(&r, "before the file");
	header[4] = 0x1ff000;
	r.f.kernel = put_file(&r, "k", header, sizeof(header));
	check_fails(&r, "before the file");
	k = make_mb(0);
	k.eh.e_ident[EI_CLASS] = ELFCLASS64;
	r.f.kernel = put_file(&r, "k", &k, sizeof(k));
	check_fails(&r, "32-bit");
	rig_fini(&r);
}

TEST(loader, firmware_msrs)
{
	struct rig r;

	rig_init(&r, MIB(1));
	boot_firmware_msrs(r.s, false);
	CHECK_EQ(r.s->msr.mtrr_def_type, 0x806);
	CHECK_EQ(r.s->msr.feature_control, 1);
	boot_firmware_msrs(r.s, true);
	CHECK_EQ(r.s->msr.feature_control, 5);
	rig_fini(&r);
}
