// SPDX-License-Identifier: MIT
/*
 * Any VMCS: a guest hypervisor writes VMCSs that were good until some of their
 * fields got other values, enters each, and again after exits. Its guest's
 * code is any code; EPT and the lists in memory may be garbage too. Whatever
 * becomes of them, run() must come back.
 *
 * Input: flags, most fields to change at once, 8 bytes of seed.
 */
#include "anyguest.h"
#include "engine/vmx/vmx.h"

enum {
	VMXON_PAGE = 0x24000,
	VMCS_PAGE = 0x25000,
	EPT_PML4 = 0x26000,
	EPT_PDPT = 0x27000,
	EPT_PD = 0x28000,
	EPT_PT = 0x29000,
	LISTS = 0x2a000,
	DRIVER = 0x38000,
	WRITES = 0x100000,
	BATCHES = 16,
	EPTP = EPT_PML4 | 0x5e
};

enum {
	WITH_EPT = 1,
	WITH_BAD_EPT = 2,
	WITH_UNRESTRICTED = 4,
	WITH_LISTS = 8,
	WITH_ANY_CONTROLS = 16,
	WITH_BAD_TABLES = 32,
	WITH_REAL_MODE = 64
};

/* The hypervisor, and what it finds in memory. */
enum { VAR_EXITS = 0x3ff00, VAR_VMXON = 0x3ff08, VAR_VMCS = 0x3ff10, VAR_WRITES = 0x3ff18 };
extern const u8 driver[], driver_exit[], driver_end[];
__asm__(R"(
	.section .rodata
driver:
	vmxon 0x3ff08
0:	vmclear 0x3ff10
	vmptrld 0x3ff10
	movl $100, 0x3ff00
	mov 0x3ff18, %rsi
1:	mov (%rsi), %rax
	add $16, %rsi
	cmp $-1, %rax
	je 2f
	cmp $-2, %rax
	je 3f
	vmwrite -8(%rsi), %rax
	jmp 1b
2:	mov %rsi, 0x3ff18
	vmlaunch
	jmp 0b
driver_exit:
	mov $0x4402, %ebx
	vmread %rbx, %rax
	bt $31, %rax
	jc 0b
	decl 0x3ff00
	jz 0b
	mov $0x440c, %ebx		/* past the instruction */
	vmread %rbx, %rax
	and $15, %eax
	mov $0x681e, %ebx
	vmread %rbx, %rcx
	add %rcx, %rax
	vmwrite %rax, %rbx
	vmresume
	jmp 0b
3:	out %al, $0xf4
	jmp 3b
driver_end:
	.text
)");

struct field {
	u64 field, value;
};

/* A good one; controls are made fit for the processor later. */
static const struct field good[] = {
	{ 0x0000, 1 },
	{ 0x0800, 0x10 },
	{ 0x0802, 8 },
	{ 0x0804, 0x10 },
	{ 0x0806, 0x10 },
	{ 0x0808, 0 },
	{ 0x080a, 0 },
	{ 0x080c, 0 },
	{ 0x080e, 0x18 },
	{ 0x0c00, 0x10 },
	{ 0x0c02, 8 },
	{ 0x0c04, 0x10 },
	{ 0x0c06, 0x10 },
	{ 0x0c08, 0 },
	{ 0x0c0a, 0 },
	{ 0x0c0c, 0x18 },
	{ 0x2000, LISTS },
	{ 0x2002, LISTS + 0x1000 },
	{ 0x2004, LISTS + 0x2000 },
	{ 0x2006, LISTS + 0x3000 },
	{ 0x2008, LISTS + 0x3200 },
	{ 0x200a, LISTS + 0x3400 },
	{ 0x2010, 0 },
	{ 0x2012, LISTS + 0x4000 },
	{ 0x2014, LISTS + 0x5000 },
	{ 0x201a, EPTP },
	{ 0x2800, ~0ull },
	{ 0x2802, 0 },
	{ 0x2804, 0x0007040600070406 },
	{ 0x2806, 0x500 },
	{ 0x2c00, 0x0007040600070406 },
	{ 0x2c02, 0x500 },
	{ 0x4004, 0 },
	{ 0x4006, 0 },
	{ 0x4008, 0 },
	{ 0x400a, 0 },
	{ 0x400e, 0 },
	{ 0x4010, 0 },
	{ 0x4014, 0 },
	{ 0x4016, 0 },
	{ 0x4018, 0 },
	{ 0x401a, 0 },
	{ 0x401c, 0 },
	{ 0x4800, 0xffffffff },
	{ 0x4802, 0xffffffff },
	{ 0x4804, 0xffffffff },
	{ 0x4806, 0xffffffff },
	{ 0x4808, 0xffffffff },
	{ 0x480a, 0xffffffff },
	{ 0x480c, 0 },
	{ 0x480e, 0x67 },
	{ 0x4810, 0x7f },
	{ 0x4812, 0xfff },
	{ 0x4814, 0xc093 },
	{ 0x4816, 0xa09b },
	{ 0x4818, 0xc093 },
	{ 0x481a, 0xc093 },
	{ 0x481c, 0xc093 },
	{ 0x481e, 0xc093 },
	{ 0x4820, 0x10082 },
	{ 0x4822, 0x8b },
	{ 0x4824, 0 },
	{ 0x4826, 0 },
	{ 0x482a, 8 },
	{ 0x482e, 1000 },
	{ 0x4c00, 8 },
	{ 0x6000, 0 },
	{ 0x6002, 0 },
	{ 0x6004, 0 },
	{ 0x6006, 0 },
	{ 0x6008, 0 },
	{ 0x6800, 0x80010033 },
	{ 0x6802, PML4 },
	{ 0x6804, 0x42620 },
	{ 0x6806, 0 },
	{ 0x6808, 0 },
	{ 0x680a, 0 },
	{ 0x680c, 0 },
	{ 0x680e, 0 },
	{ 0x6810, 0 },
	{ 0x6812, 0 },
	{ 0x6814, TSS },
	{ 0x6816, GDT },
	{ 0x6818, IDT },
	{ 0x681a, 0x400 },
	{ 0x681c, STACK },
	{ 0x681e, CODE },
	{ 0x6820, 2 },
	{ 0x6822, 0 },
	{ 0x6824, STACK },
	{ 0x6826, HANDLER },
	{ 0x6c00, 0x80010033 },
	{ 0x6c02, PML4 },
	{ 0x6c04, 0x42620 },
	{ 0x6c06, 0 },
	{ 0x6c08, 0 },
	{ 0x6c0a, TSS },
	{ 0x6c0c, GDT },
	{ 0x6c0e, IDT },
	{ 0x6c10, STACK },
	{ 0x6c12, HANDLER },
	{ 0x6c14, STACK + 0x3000 },
	{ 0x6c16, 0 },
};

/* Guest state of real mode; needs unrestricted guest. */
static const struct field real_mode[] = {
	{ 0x6800, 0x30 },   { 0x6804, 0x2000 }, { 0x2806, 0 },	    { 0x0802, CODE >> 4 },
	{ 0x6808, CODE },   { 0x681e, 0 },	{ 0x4816, 0x9b },   { 0x4818, 0x93 },
	{ 0x4814, 0x93 },   { 0x481a, 0x93 },	{ 0x481c, 0x93 },   { 0x481e, 0x93 },
	{ 0x4800, 0xffff }, { 0x4802, 0xffff }, { 0x4804, 0xffff }, { 0x4806, 0xffff },
	{ 0x4808, 0xffff }, { 0x480a, 0xffff }, { 0x6818, 0 },	    { 0x0800, 0 },
	{ 0x0804, 0 },	    { 0x0806, 0 },
};

static struct field *field_at(struct field *w, unsigned nr, u64 field)
{
	for (unsigned n = 0; n < nr; n++) {
		if (w[n].field == field)
			return &w[n];
	}
	abort();
}

/* A control field with the bits that must be, and of @wanted those that may. */
static struct field controls(struct guest *f, u64 field, u32 msr, u32 wanted)
{
	u64 cap = 0;

	vmx_cap_msr((struct soft_cpu *)f->g.cpu, msr, &cap);
	if (f->flags & WITH_ANY_CONTROLS)
		wanted |= (u32)(next_random(&f->s) & next_random(&f->s) & next_random(&f->s));
	return (struct field){ field, (u32)cap | (wanted & (u32)(cap >> 32)) };
}

static unsigned add_controls(struct guest *f, struct field *w)
{
	bool ept = f->flags & (WITH_EPT | WITH_BAD_EPT | WITH_UNRESTRICTED | WITH_REAL_MODE);
	bool unrestricted = f->flags & (WITH_UNRESTRICTED | WITH_REAL_MODE);
	u32 entry = f->flags & WITH_REAL_MODE ? 0x8000 : 0x8200;
	struct field more[] = {
		controls(f, 0x4000, 0x48d, 0x40),
		controls(f, 0x4002, 0x48e, 0x80000000),
		controls(f, 0x401e, 0x48b, 0x1020 | (ept ? 2 : 0) | (unrestricted ? 0x80 : 0)),
		controls(f, 0x400c, 0x48f, 0x300200),
		controls(f, 0x4012, 0x490, entry),
	};

	memcpy(w, more, sizeof(more));
	return ARRAY_SIZE(more);
}

static void change(struct guest *f, struct field *w)
{
	switch (next_random(&f->s) % 4) {
	case 0:
		w->value = any_value(&f->s);
		break;
	case 1:
		w->value = next_random(&f->s) % 16;
		break;
	default:
		w->value ^= BIT(next_random(&f->s) % (next_random(&f->s) & 1 ? 16 : 64));
	}
}

/* One VMCS; returns the number of writes. */
static unsigned make_writes(struct guest *f, struct field *w, unsigned changes)
{
	unsigned nr = ARRAY_SIZE(good);

	memcpy(w, good, sizeof(good));
	field_at(w, nr, 0x6c16)->value = DRIVER + (u64)(driver_exit - driver);
	if (f->flags & WITH_REAL_MODE) {
		for (unsigned n = 0; n < ARRAY_SIZE(real_mode); n++)
			field_at(w, nr, real_mode[n].field)->value = real_mode[n].value;
	}
	if (f->flags & WITH_LISTS) {
		field_at(w, nr, 0x400e)->value = next_random(&f->s) % 8;
		field_at(w, nr, 0x4010)->value = next_random(&f->s) % 4;
		field_at(w, nr, 0x4014)->value = next_random(&f->s) % 4;
		field_at(w, nr, 0x4004)->value = next_random(&f->s);
	}
	nr += add_controls(f, w + nr);
	for (unsigned n = 0; n < changes; n++)
		change(f, &w[next_random(&f->s) % nr]);
	w[nr].field = ~0ull;
	return nr + 1;
}

static void make_batches(struct guest *f, unsigned changes)
{
	struct field *w = (struct field *)(void *)(f->ram + WRITES);

	for (unsigned n = 0; n < BATCHES; n++)
		w += make_writes(f, w, changes ? 1 + next_random(&f->s) % changes : 0);
	w->field = ~1ull;
}

static void make_ept(struct guest *f)
{
	put64(f, EPT_PML4, EPT_PDPT | 7);
	for (unsigned n = 0; n < 4; n++)
		put64(f, EPT_PDPT + n * 8, EPT_PD | 7);
	put64(f, EPT_PD, EPT_PT | 7);
	for (unsigned n = 1; n < 512; n++)
		put64(f, EPT_PD + n * 8, (n * 0x200000ull) | 0xb7);
	for (unsigned n = 0; n < 512; n++)
		put64(f, EPT_PT + n * 8, (n * 0x1000ull) | 0x37);
	for (unsigned n = 0; f->flags & WITH_BAD_EPT && n < 40; n++) {
		u64 at = EPT_PML4 + (next_random(&f->s) & 0x3fff);

		f->ram[at] ^= (u8)(1u << next_random(&f->s) % 8);
	}
}

static void make_lists(struct guest *f)
{
	for (u64 at = LISTS; at < LISTS + 0x6000; at += 8)
		put64(f, at, f->flags & WITH_LISTS ? next_random(&f->s) & next_random(&f->s) : 0);
	for (u64 at = LISTS + 0x3000; at < LISTS + 0x3600; at += 16) {
		put64(f, at, msrs[next_random(&f->s) % ARRAY_SIZE(msrs)]);
		put64(f, at + 8, any_value(&f->s));
	}
}

static void hypervisor_state(struct guest *f)
{
	struct cpu_state s;

	piece_state(f, 0);
	soft_engine.get_state(f->g.cpu, &s);
	s.rip = DRIVER;
	s.rflags = RFLAGS_RSV1;
	s.cr0 |= CR0_WP;
	s.cr4 |= CR4_VMXE;
	s.dr7 = 0x400;
	s.msr.feature_control = 5;
	soft_engine.set_state(f->g.cpu, &s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest f = { .mode = MODE_64 };
	u64 basic = 0;

	if (size < 10)
		return 0;
	memcpy(&f.s, data + 2, 8);
	guest_create(&f, true);
	f.flags = data[0] & WITH_BAD_TABLES ? BAD_TABLES | BAD_DESCRIPTORS : 0;
	make_tables(&f);
	make_descriptors(&f);
	grow_code(f.ram + CODE, &f.s);
	f.flags = data[0];
	vmx_cap_msr((struct soft_cpu *)f.g.cpu, 0x480, &basic);
	put32(&f, VMXON_PAGE, (u32)basic);
	put32(&f, VMCS_PAGE, (u32)basic);
	put64(&f, VAR_VMXON, VMXON_PAGE);
	put64(&f, VAR_VMCS, VMCS_PAGE);
	put64(&f, VAR_WRITES, WRITES);
	memcpy(f.ram + DRIVER, driver, (size_t)(driver_end - driver));
	make_ept(&f);
	make_lists(&f);
	make_batches(&f, data[1] % 8);
	f.flags = 0;
	hypervisor_state(&f);
	for (unsigned n = 0; n < 3; n++)
		run_piece(&f);
	sg_destroy(&f.g);
	require_small();
	return 0;
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	if (i >= 32)
		return 0;
	memset(to, (int)(i * 41 + 7), 10);
	to[0] = (uint8_t)(i * 5);
	to[1] = (uint8_t)(i / 2);
	return 10;
}
