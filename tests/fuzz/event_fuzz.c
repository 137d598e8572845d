// SPDX-License-Identifier: MIT
/*
 * Event delivery, far transfers, task switches and state restores on whatever a
 * guest's tables hold. An input is a mode, patches of the first 256 KiB of
 * memory (descriptor and page tables, TSS, stacks), registers, and steps: an
 * instruction or an event each. After each step the processor must be in a state
 * that a processor can be in; a fault is delivered as the run loop would.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/engine/cpu_fixture.h"
#include "engine/context.h"
#include "engine/seg.h"
#include "fuzz.h"

enum { LOW = 0x40000, NR_MODES = 7 };

/* A mode's vCPU and what it starts from. */
struct start {
	struct fix f;
	struct cpu_state s;
	u8 ram[LOW];
};

static struct start *starts[NR_MODES];

static struct fix make(unsigned mode)
{
	switch (mode) {
	case 0:
		return fix_long(0);
	case 1:
		return fix_long(3);
	case 2:
		return fix_protected(0);
	case 3:
		return fix_protected(3);
	case 4:
		return fix_real();
	default:
		return fix_vm86(mode == 5 ? 0 : 3);
	}
}

static void fill_tables(struct fix *f)
{
	if (!(f->c->s.cr0 & CR0_PE))
		return;
	for (unsigned v = 0; v < 32; v++)
		fix_gate(f, v, 14, v & 3, cpu_long_mode(f->c) ? CS64 : CS32, 0x9000);
	memcpy(f->ram + FIX_TSS2, f->ram + FIX_TSS, 104);
	fix_put(f, FIX_TSS2 + 32, 0x9000, 4);
	for (unsigned k = 0; k < 6; k++)
		fix_put(f, FIX_TSS2 + 72 + 4 * k, k == 1 ? CS32 : DS0, 4);
	fix_desc(f, TSS, 0x00008b0000000067 | (u64)FIX_TSS << 16);
}

static struct fix *begin(unsigned mode)
{
	struct start *st = starts[mode];

	if (!st) {
		st = starts[mode] = calloc(1, sizeof(*st));
		if (!st)
			abort();
		st->f = make(mode);
		fill_tables(&st->f);
		st->s = st->f.c->s;
		memcpy(st->ram, st->f.ram, LOW);
	}
	st->f.c->s = st->s;
	cpu_set_rflags(st->f.c, st->s.rflags);
	memcpy(st->f.ram, st->ram, LOW);
	st->f.c->event.pending = st->f.c->vectoring.pending = false;
	tlb_flush_everything(st->f.c);
	context_update(st->f.c);
	return &st->f;
}

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* What no processor may be in. */
static void check(const struct soft_cpu *c)
{
	const struct seg *cs = &c->s.seg[SEG_CS];
	u64 flags = cpu_rflags(c);

	require((flags & RFLAGS_RSV1) && !(flags & ~0x3f7fd7ull));
	require(!(flags & RFLAGS_VM) || ((c->s.cr0 & CR0_PE) && !cpu_long_mode(c)));
	if (flags & RFLAGS_VM) {
		require(cpu_cpl(c) == 3);
		for (unsigned k = 0; k < NR_SEGS; k++)
			require(c->s.seg[k].base == (u32)c->s.seg[k].sel << 4);
	} else if (!(c->s.cr0 & CR0_PE)) {
		require(cpu_cpl(c) == 0);
	} else if (!(cs->ar & SEG_UNUSABLE)) { /* a task switch may leave it so, with a fault */
		require((cs->sel & 3) == cpu_cpl(c) && (cs->ar & (SEG_P | SEG_S)));
		require((cs->ar & (SEG_L | SEG_DB)) != (SEG_L | SEG_DB) || !cpu_long_mode(c));
	}
	require(cpu_code64(c) ? addr_canonical(c->s.rip) : c->s.rip <= 0xffffffff);
	require(!c->event.pending || c->event.error <= 0xffff);
}

struct input {
	const uint8_t *p;
	size_t left;
};

static u64 take(struct input *in, unsigned size)
{
	u64 v = 0;

	size = in->left < size ? (unsigned)in->left : size;
	memcpy(&v, in->p, size);
	in->p += size;
	in->left -= size;
	return v;
}

/* As exec_loop() does, until a handler is reached or the processor shuts down. */
static void settle(struct fix *f)
{
	for (unsigned n = 0; f->c->event.pending && n < 8; n++) {
		struct cpu_event e = f->c->event;

		check(f->c);
		fix_call_with(f, &e, event_deliver);
	}
	check(f->c);
}

static void step(struct fix *f, struct input *in)
{
	static const u8 types[] = { EVENT_EXTINT, EVENT_NMI, EVENT_HW_EXC, EVENT_SW_INT,
				    EVENT_PRIV_SW_EXC, EVENT_SW_EXC };
	u8 what = (u8)take(in, 1), bytes[INSN_MAX] = { 0 };

	if (what < 24) {
		struct cpu_event e = { .pending = true, .vector = (u8)take(in, 1),
				       .type = types[what % 6], .has_error = what / 6 & 1,
				       .error = (u16)take(in, 2), .insn_len = what / 12 };

		fix_call_with(f, &e, event_deliver);
	} else {
		for (unsigned k = 0; k < sizeof(bytes) && in->left; k++)
			bytes[k] = (u8)take(in, 1);
		if (fix_decode(f, bytes))
			fix_run(f);
	}
	settle(f);
}

/* Patches: anywhere, or where they matter. Four bytes each. */
static void patch(struct fix *f, struct input *in)
{
	u8 kind = (u8)take(in, 1), n = (u8)take(in, 1);
	u16 v = (u16)take(in, 2);
	unsigned gate = cpu_long_mode(f->c) ? 16 : 8;

	switch (kind % 6) {
	case 0: /* a descriptor's rights */
		fix_put(f, FIX_GDT + n % 18 * 8 + 5, v & 0xff, 1);
		break;
	case 1: /* its granularity, D, L and upper limit; or its limit */
		fix_put(f, FIX_GDT + n % 18 * 8 + (n & 128 ? 6 : 0), v, n & 128 ? 1 : 2);
		break;
	case 2: /* a gate's selector */
		fix_put(f, FIX_IDT + n % 32 * gate + 2, v, 2);
		break;
	case 3: /* its rights and IST */
		fix_put(f, FIX_IDT + n % 32 * gate + 4, v, 2);
		break;
	case 4:
		fix_put(f, (n & 128 ? FIX_TSS : FIX_TSS2) + n % 104, v, 2);
		break;
	default: /* memory operands, XSAVE headers */
		fix_put(f, FIX_DATA + (n & 128 ? 512 : 0) + n % 64, v, 2);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct fix *f = begin((unsigned)take(&in, 1) % NR_MODES);
	unsigned patches = (unsigned)take(&in, 1) % 32;

	fix_fpu_on = true;
	memset(fix_fpu, 0, sizeof(fix_fpu));
	f->c->s.gpr[RBX] = f->c->s.gpr[RDI] = FIX_DATA;
	f->c->s.gpr[RAX] = 7 ^ take(&in, 4);
	f->c->s.gpr[RCX] = 0x9000 ^ take(&in, 8);
	f->c->s.gpr[RDX] = take(&in, 4);
	f->c->s.gpr[RSP] += (s8)take(&in, 1);
	f->c->s.msr.star = (u64)0x1b << 48 ^ (u64)CS64 << 32 ^ take(&in, 8);
	f->c->s.msr.sysenter_cs = CS32 ^ take(&in, 2);
	f->c->s.cr4 ^= take(&in, 1) & (CR4_VME | CR4_PVI);
	fix_put(f, FIX_DATA, 0x9000, 4);
	fix_put(f, FIX_DATA + 4, GATE | 3, 2);
	fix_desc(f, GATE, 0x9000 | (u64)(cpu_long_mode(f->c) ? CS64 : CS32) << 16 | (u64)0xec << 40);
	fix_desc(f, GATE + 8, 0);
	while (patches--)
		patch(f, &in);
	for (unsigned n = 0; in.left && n < 64 && f->c->s.activity != CPU_SHUTDOWN; n++)
		step(f, &in);
	return 0;
}

/* One seed a mode: a few steps that succeed. */
size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	static const uint8_t steps[][16] = {
		{ 100, 0xcf }, { 100, 0x48, 0xcf }, { 0, 3 }, { 8, 13 }, { 3, 3 },
		{ 100, 0xcd, 3 }, { 100, 0x9a, 0, 0x90, 0, 0, 0x30, 0 }, { 100, 0xcb },
		{ 100, 0x9a, 0, 0, 0, 0, 0x73, 0 }, { 100, 0xff, 0x1b }, { 100, 0x0f, 0x05 },
		{ 100, 0x48, 0x0f, 0x07 }, { 100, 0x0f, 0x34 }, { 100, 0x0f, 0x35 },
		{ 100, 0x8e, 0xd8 }, { 100, 0x8e, 0xd0 }, { 100, 0x17 }, { 100, 0x9d }, { 100, 0x9c },
		{ 100, 0x0f, 0xae, 0x2f }, { 100, 0x48, 0x0f, 0xc7, 0x1f }, { 100, 0x0f, 0xae, 0x0f },
		{ 100, 0xdd, 0x27 }, { 100, 0xc8, 8, 0, 3 }, { 100, 0xc4, 0x0f }, { 100, 0x0f, 0xae, 0x27 },
		{ 100, 0x48, 0x0f, 0xc7, 0x2f }, { 100, 0x48, 0x0f, 0xae, 0x37 }, { 100, 0xdd, 0x37 },
		{ 100, 0xff, 0x2b }, { 100, 0xfb }, { 100, 0x61 }, { 14, 8, 0, 0 }, { 100, 0xcd, 13 },
		{ 100, 0xc4, 0xe2, 0x6d, 0x92, 0x1c, 0x8f }, { 100, 0x66, 0x0f, 0xf7, 0xc1 },
	};
	uint8_t *p = to;

	if (i >= NR_MODES)
		return 0;
	*p++ = (uint8_t)i;
	*p++ = 4;
	memset(p, 0, 28 + 4 * 4);
	p[28] = 5; /* a harmless patch each */
	p[32] = 5;
	p[36] = 5;
	p[40] = 5;
	p += 28 + 4 * 4;
	for (unsigned k = 0; k < sizeof(steps) / sizeof(steps[0]); k++, p += 16)
		memcpy(p, steps[(k * 7 + i) % (sizeof(steps) / sizeof(steps[0]))], 16);
	return (size_t)(p - to);
}
