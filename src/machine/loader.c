// SPDX-License-Identifier: MIT
/*
 * What all loaders share: reading files, planning where their parts go,
 * telling protocols apart, and writing the plan to RAM once all is known to
 * be good.
 */
#include "machine/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/loader_internal.h"
#include "x86/regs.h"

static const struct boot_protocol *const protocols[] = {
	&boot_linux,
	&boot_multiboot,
	&boot_pvh,
};

int boot_bad(struct boot_plan *p, const char *fmt, ...)
{
	char why[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(p->e, "cannot boot %s: %s", p->kernel.path, why);
}

void *boot_alloc(struct boot_plan *p, u64 size)
{
	void *mem = p->nr_owned < ARRAY_SIZE(p->owned) ? calloc(1, size) : NULL;

	if (!mem)
		boot_bad(p, "not enough memory on the host");
	else
		p->owned[p->nr_owned++] = mem;
	return mem;
}

/* --- files --- */

static int read_open_file(int fd, const char *what, u64 ram, struct boot_file *f, struct err *e)
{
	struct stat st;
	u64 done = 0;

	if (fstat(fd, &st))
		return err_set(e, "cannot load %s %s: %s", what, f->path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(e, "cannot load %s %s: it is a directory, not a file", what,
			       f->path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, "cannot load %s %s: it is not a regular file", what, f->path);
	if (st.st_size == 0)
		return err_set(e, "cannot load %s %s: the file is empty", what, f->path);
	if ((u64)st.st_size > ram)
		return err_set(e, "cannot load %s %s: it has %llu MiB and the VM only %llu MiB of "
			       "memory; give the VM more with --memory", what, f->path,
			       (unsigned long long)st.st_size >> 20, (unsigned long long)ram >> 20);
	f->data = malloc((size_t)st.st_size);
	if (!f->data)
		return err_set(e, "cannot load %s %s: not enough memory on the host", what,
			       f->path);
	while (done < (u64)st.st_size) {
		ssize_t n = pread(fd, f->data + done, (size_t)st.st_size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e, "cannot load %s %s: %s", what, f->path,
				       n ? strerror(errno) : "the file shrank while it was read");
		done += (u64)n;
	}
	f->size = done;
	return 0;
}

/* Opens @line, or, if there is no such file, what stands before its first
 * blank: a module may have arguments. */
static int open_line(const char *line, struct boot_file *f)
{
	const char *blank = strchr(line, ' ');
	int fd;

	f->line = line;
	f->path = strdup(line);
	if (!f->path)
		return -1;
	fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENAMETOOLONG) && blank && blank != line) {
		f->path[blank - line] = 0;
		fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	return fd;
}

/* @given: a descriptor of it, or 0. */
static int read_file(const char *what, const char *line, int given, u64 ram, struct boot_file *f,
		     struct err *e)
{
	int fd = given ? given : open_line(line, f);
	int r;

	if (given) {
		f->line = line;
		f->path = strdup(line);
	}
	if (fd < 0 || !f->path)
		return err_set(e, "cannot load %s %s: %s", what, line, strerror(errno));
	r = read_open_file(fd, what, ram, f, e);
	if (!given)
		close(fd);
	return r;
}

static int read_files(struct boot_plan *p)
{
	const struct boot_files *f = p->files;
	u64 ram = p->mem->ram_size;

	if (read_file("kernel", f->kernel, f->kernel_fd, ram, &p->kernel, p->e))
		return -1;
	if (f->nr_initrds > BOOT_MAX_INITRDS)
		return err_set(p->e, "cannot load %u initrds: at most %d are possible",
			       f->nr_initrds, BOOT_MAX_INITRDS);
	for (unsigned i = 0; i < f->nr_initrds; i++)
		if (read_file("initrd", f->initrds[i], f->initrd_fds[i], ram, &p->initrds[i], p->e))
			return -1;
	return 0;
}

/* --- the plan --- */

static bool overlaps(const struct boot_part *part, gpa_t gpa, u64 size)
{
	return gpa < part->gpa + part->size && part->gpa < gpa + size;
}

static const struct boot_part *find_overlap(const struct boot_plan *p, gpa_t gpa, u64 size)
{
	for (unsigned i = 0; i < p->nr_parts; i++)
		if (overlaps(&p->parts[i], gpa, size))
			return &p->parts[i];
	return NULL;
}

static bool inside_ram(const struct boot_plan *p, gpa_t gpa, u64 size)
{
	for (unsigned i = 0; i < p->nr_e820; i++) {
		const struct e820_entry *r = &p->e820[i];

		if (r->type == E820_RAM && gpa >= r->addr && gpa - r->addr < r->size &&
		    size <= r->size - (gpa - r->addr))
			return true;
	}
	return false;
}

int boot_add(struct boot_plan *p, const char *what, gpa_t gpa, const void *data, u64 data_size,
	     u64 size)
{
	if (!size)
		return 0;
	if (!inside_ram(p, gpa, size))
		return boot_bad(p, "%s needs %llu KiB of memory at 0x%llx, which the VM does not "
				"have with %llu MiB; give it more with --memory", what,
				(unsigned long long)(size + 1023) >> 10, (unsigned long long)gpa,
				(unsigned long long)p->mem->ram_size >> 20);
	if (find_overlap(p, gpa, size))
		return boot_bad(p, "%s at 0x%llx overlaps another part of what is to be loaded",
				what, (unsigned long long)gpa);
	if (p->nr_parts == BOOT_MAX_PARTS)
		return boot_bad(p, "it has more than %d segments", BOOT_MAX_PARTS - 8);
	p->parts[p->nr_parts++] = (struct boot_part){ gpa, size, data, data_size };
	return 0;
}

static int no_place(struct boot_plan *p, const char *what, u64 size)
{
	return boot_bad(p, "%s of %llu KiB does not fit beside the kernel into the VM's %llu MiB "
			"of memory; give it more with --memory", what,
			(unsigned long long)(size + 1023) >> 10,
			(unsigned long long)p->mem->ram_size >> 20);
}

int boot_place_high(struct boot_plan *p, const char *what, u64 size, gpa_t min, gpa_t max,
		    gpa_t *res)
{
	for (unsigned i = p->nr_e820; i-- > 0;) {
		const struct e820_entry *r = &p->e820[i];
		gpa_t from = ALIGN_UP(MAX(r->addr, min), (u64)PAGE_SIZE);
		gpa_t to = MIN(r->addr + r->size, max);

		while (r->type == E820_RAM && to > from && size <= to - from) {
			gpa_t at = ALIGN_DOWN(to - size, (u64)PAGE_SIZE);
			const struct boot_part *o = find_overlap(p, at, size);

			if (at >= from && !o) {
				*res = at;
				return 0;
			}
			to = o ? o->gpa : 0;
		}
	}
	return no_place(p, what, size);
}

int boot_place_low(struct boot_plan *p, const char *what, u64 size, gpa_t min, gpa_t max,
		   gpa_t *res)
{
	for (unsigned i = 0; i < p->nr_e820; i++) {
		const struct e820_entry *r = &p->e820[i];
		gpa_t at = ALIGN_UP(MAX(r->addr, min), (u64)PAGE_SIZE);
		gpa_t to = MIN(r->addr + r->size, max);

		while (r->type == E820_RAM && at < to && size <= to - at) {
			const struct boot_part *o = find_overlap(p, at, size);

			if (!o) {
				*res = at;
				return 0;
			}
			at = ALIGN_UP(o->gpa + o->size, (u64)PAGE_SIZE);
		}
	}
	return no_place(p, what, size);
}

static void zero_ram(struct mem *m, gpa_t gpa, u64 size)
{
	u8 *host = mem_host(m, gpa, size); /* parts lie within one slot */

	if (!host)
		return;
	memset(host, 0, size);
	mem_written(m, gpa, size);
}

static void write_plan(struct boot_plan *p)
{
	for (unsigned i = 0; i < p->nr_parts; i++) {
		const struct boot_part *part = &p->parts[i];

		mem_write(p->mem, part->gpa, part->data, part->data_size);
		if (part->size > part->data_size)
			zero_ram(p->mem, part->gpa + part->data_size, part->size - part->data_size);
	}
}

static void free_plan(struct boot_plan *p)
{
	for (unsigned i = 0; i < p->nr_owned; i++)
		free(p->owned[i]);
	for (unsigned i = 0; i < BOOT_MAX_INITRDS; i++) {
		free(p->initrds[i].path);
		free(p->initrds[i].data);
	}
	free(p->kernel.path);
	free(p->kernel.data);
	free(p);
}

/* --- registers --- */

void boot_fill_gdt(u64 gdt[5], bool code64)
{
	gdt[0] = gdt[1] = 0;
	gdt[2] = code64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull;
	gdt[3] = 0x00cf93000000ffffull;
	gdt[4] = 0x00008b0000000067ull; /* a busy task segment at 0 */
}

void boot_set_flat(struct cpu_state *s, gpa_t gdt, bool code64)
{
	static const struct seg data = { .sel = 0x18, .limit = 0xffffffff, .ar = 0xc093 };
	u32 code_ar = code64 ? 0xa09b : 0xc09b;

	for (unsigned i = 0; i < NR_SEGS; i++)
		s->seg[i] = data;
	s->seg[SEG_CS] = (struct seg){ .sel = 0x10, .limit = 0xffffffff, .ar = code_ar };
	s->tr = (struct seg){ .sel = 0x20, .limit = 0x67, .ar = 0x8b };
	s->ldtr = (struct seg){ .ar = (u32)SEG_UNUSABLE };
	s->gdtr = (struct desc_table){ gdt, BOOT_GDT_SIZE - 1 };
	s->idtr = (struct desc_table){ 0, 0 };
	memset(s->gpr, 0, sizeof(s->gpr));
	s->rflags = RFLAGS_RSV1;
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	s->cr2 = s->cr3 = s->cr4 = 0;
	s->msr.efer = 0;
	s->activity = CPU_ACTIVE;
}

void boot_firmware_msrs(struct cpu_state *s, bool vmx)
{
	enum { MTRR_ENABLE = 1 << 11, MTRR_WRITE_BACK = 6 };
	enum { FEATURE_LOCKED = 1, FEATURE_VMX_OUTSIDE_SMX = 4 };

	s->msr.mtrr_def_type = MTRR_ENABLE | MTRR_WRITE_BACK;
	s->msr.feature_control = FEATURE_LOCKED | (vmx ? FEATURE_VMX_OUTSIDE_SMX : 0);
}

/* --- which protocol --- */

/* A guess at what the user gave us, to tell him what to do about it. */
static int unknown_kernel(struct boot_plan *p)
{
	const u8 *d = p->kernel.data;

	if (p->kernel.size > 2 && d[0] == 0x1f && d[1] == 0x8b)
		return boot_bad(p, "it is compressed with gzip; unpack it first");
	if (boot_is_elf(&p->kernel))
		return boot_bad(p, "this ELF file has neither a PVH entry (note 18) nor a "
				"multiboot header");
	return boot_bad(p, "it is no Linux bzImage, PVH or multiboot kernel, or it is truncated");
}

static int make_plan(struct boot_plan *p, struct cpu_state *s)
{
	if (read_files(p))
		return -1;
	for (unsigned i = 0; i < ARRAY_SIZE(protocols); i++)
		if (protocols[i]->matches(&p->kernel))
			return protocols[i]->plan(p, s);
	return unknown_kernel(p);
}

int boot_load(const struct boot_files *f, struct mem *m, struct cpu_state *s, struct err *e)
{
	struct boot_plan *p = calloc(1, sizeof(*p));
	struct cpu_state *after = aligned_alloc(_Alignof(struct cpu_state), sizeof(*after));
	int r = -1;

	if (!p || !after) {
		err_set(e, "cannot boot %s: not enough memory on the host", f->kernel);
		goto out;
	}
	*after = *s;
	p->files = f;
	p->mem = m;
	p->e = e;
	p->append = f->append ? f->append : "";
	p->nr_e820 = pc_e820(m, p->e820);
	r = make_plan(p, after);
	if (r)
		goto out;
	write_plan(p);
	*s = *after;
out:
	free(after);
	if (p)
		free_plan(p);
	return r;
}
