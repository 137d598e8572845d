// SPDX-License-Identifier: MIT
/*
 * The VMCS: the table of fields, access to them by encoding, and the cache of
 * active VMCSs.
 */
#include "engine/vmx/vmx_internal.h"

#include <string.h>

#define SIZE_16 2
#define SIZE_32 4
#define SIZE_64 8
#define SIZE_N	8
#define RW	false
#define RO	true
#define ALWAYS	   NR_CTL_WORDS, 0
#define PIN(b)	   CTL_PIN, PIN_##b
#define PROC(b)	   CTL_PROC, PROC_##b
#define PROC2(b)   CTL_PROC2, PROC2_##b
#define VMEXIT(b)  CTL_EXIT, VMEXIT_##b
#define VMENTRY(b) CTL_ENTRY, VMENTRY_##b
#define WHEN(...)  __VA_ARGS__

const struct vmcs_field vmcs_fields[] = {
#define FIELD(enc, name, width, access, when, group)                                               \
	{ #name, enc, offsetof(struct vmcs, name), G_##group, SIZE_##width, access, WHEN(when) },
#include "engine/vmx/vmcs.def"
#undef FIELD
};
const unsigned vmcs_nr_fields = ARRAY_SIZE(vmcs_fields);
static_assert(ARRAY_SIZE(vmcs_fields) < 255, "the map holds row + 1 in a byte");

/* An encoding: 0 access type, 9:1 index, 11:10 type, 14:13 width. Rows have
 * indices below 32. */
enum { ENC_INDEX_BITS = 5, ENC_WIDTH_64 = 1 };

static unsigned map_slot(u32 encoding)
{
	return (encoding >> 13 & 3) << (ENC_INDEX_BITS + 2) | (encoding >> 10 & 3) << ENC_INDEX_BITS |
	       (encoding >> 1 & 31);
}

u32 vmcs_revision(void)
{
	return 0x4e530000u | (sizeof(struct vmcs) & 0xffff); /* "NS" */
}

static bool field_exists(const struct vmx *x, const struct vmcs_field *f)
{
	return f->when_word == NR_CTL_WORDS || (x->caps.ctl[f->when_word].allowed & f->when_bit);
}

void vmcs_map_init(struct vmx *x)
{
	memset(x->map, 0, sizeof(x->map));
	for (unsigned i = 0; i < vmcs_nr_fields; i++)
		if (field_exists(x, &vmcs_fields[i]))
			x->map[map_slot(vmcs_fields[i].encoding)] = i + 1;
}

unsigned vmcs_max_index(const struct vmx *x)
{
	unsigned max = 0;

	for (unsigned i = 0; i < VMCS_MAP_SIZE; i++)
		if (x->map[i])
			max = MAX(max, i & 31u);
	return max;
}

const struct vmcs_field *vmcs_find(const struct vmx *x, u64 encoding, bool *high)
{
	/* Bits that are no part of a row's encoding: reserved ones, the upper
	 * part of the index, and the access type except of 64-bit fields. */
	const u64 foreign = ~(u64)(3 << 13 | 3 << 10 | 31 << 1 | 1);
	unsigned row;

	if (encoding & foreign)
		return NULL;
	*high = encoding & 1;
	if (*high && (encoding >> 13 & 3) != ENC_WIDTH_64)
		return NULL;
	row = x->map[map_slot(encoding)];
	return row ? &vmcs_fields[row - 1] : NULL;
}

u64 vmcs_get(const struct vmcs *v, const struct vmcs_field *f, bool high)
{
	const void *p = (const char *)v + f->offset;

	switch (f->size) {
	case 2: return *(const u16 *)p;
	case 4: return *(const u32 *)p;
	default: return *(const u64 *)p >> (high ? 32 : 0);
	}
}

/* Window exiting comes and goes with every interrupt: it has a group of its
 * own, and the other primary controls count as G_CTL. */
static u32 proc_group(u32 old, u32 value)
{
	return (old ^ value) & ~(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW) ? G_PROC | G_CTL : G_PROC;
}

void vmcs_put(struct vmcs_slot *s, const struct vmcs_field *f, bool high, u64 value)
{
	void *p = (char *)&s->v + f->offset;
	u64 old = vmcs_get(&s->v, f, false);

	switch (f->size) {
	case 2: *(u16 *)p = value; break;
	case 4: *(u32 *)p = value; break;
	default:
		if (high)
			value = (u32)old | value << 32;
		*(u64 *)p = value;
	}
	if (vmcs_get(&s->v, f, false) != old)
		s->dirty |= f->group == G_PROC ? proc_group(old, value) : f->group;
}

static struct vmcs_slot *find_slot(struct vmx *x, gpa_t pa)
{
	for (unsigned i = 0; i < NR_VMCS_SLOTS; i++)
		if (x->slots[i].pa == pa)
			return &x->slots[i];
	return NULL;
}

static struct vmcs_slot *take_slot(struct soft_cpu *c)
{
	struct vmx *x = c->vmx;
	struct vmcs_slot *oldest = NULL;

	for (unsigned i = 0; i < NR_VMCS_SLOTS; i++) {
		struct vmcs_slot *s = &x->slots[i];

		if (s->pa == ~0ull)
			return s;
		if (s != x->cur && (!oldest || s->last_used < oldest->last_used))
			oldest = s;
	}
	vmcs_write_back(c, oldest);
	return oldest;
}

struct vmcs_slot *vmcs_activate(struct soft_cpu *c, gpa_t pa)
{
	struct vmcs_slot *s = find_slot(c->vmx, pa);

	if (!s) {
		s = take_slot(c);
		s->pa = pa;
		s->dirty = G_ALL;
		if (!phys_read(c, pa, &s->v, sizeof(s->v)))
			memset(&s->v, 0, sizeof(s->v));
		s->v.launched = s->v.launched == 1;
	}
	s->last_used = ++c->vmx->clock;
	return s;
}

void vmcs_write_back(struct soft_cpu *c, struct vmcs_slot *s)
{
	phys_write(c, s->pa + VMCS_HEADER_SIZE, (const char *)&s->v + VMCS_HEADER_SIZE,
		   sizeof(s->v) - VMCS_HEADER_SIZE);
}

/* VMCLEAR. One that is not active here is only marked in memory. */
void vmcs_clear(struct soft_cpu *c, gpa_t pa)
{
	struct vmcs_slot *s = find_slot(c->vmx, pa);
	const u32 clear = 0;

	if (!s) {
		phys_write(c, pa + offsetof(struct vmcs, launched), &clear, sizeof(clear));
		return;
	}
	s->v.launched = clear;
	vmcs_write_back(c, s);
	if (c->vmx->cur == s)
		c->vmx->cur = NULL;
	s->pa = ~0ull;
}

void vmcs_forget_all(struct vmx *x)
{
	x->cur = NULL;
	for (unsigned i = 0; i < NR_VMCS_SLOTS; i++)
		x->slots[i].pa = ~0ull;
}
