/* SPDX-License-Identifier: MIT */
/*
 * Segment registers and descriptors: reading descriptor tables, loading segment
 * registers with the SDM's checks, and stacks that are not (yet) the current
 * one.
 *
 * Everything that takes a struct soft_cpu may raise, and has then changed
 * nothing but accessed bits. The vCPU's own thread only. A load is in two
 * steps where more than one thing must be checked first: seg_prepare() raises
 * what is to be raised, seg_commit() cannot fail.
 */
#ifndef NESTOR_ENGINE_SEG_H
#define NESTOR_ENGINE_SEG_H

#include "engine/soft.h"

/* ---- Descriptors, as they are in memory ---- */

enum {
	DESC_TSS16 = 1, DESC_LDT = 2, DESC_TSS16_BUSY = 3, DESC_CALL16 = 4, DESC_TASK = 5,
	DESC_INT16 = 6, DESC_TRAP16 = 7, DESC_TSS = 9, DESC_TSS_BUSY = 11, DESC_CALL = 12,
	DESC_INT = 14, DESC_TRAP = 15, /* system types; 32 bits, or 64 in IA-32e mode */
};
#define DESC_ACCESSED BIT(40)
#define DESC_BUSY     BIT(41)

/* Bits of a code or data segment's type. */
#define SEG_ACCESSED 1u
#define SEG_WRITABLE 2u /* data */
#define SEG_READABLE 2u /* code */
#define SEG_DOWN     4u /* data: expand down */
#define SEG_CONFORM  4u /* code */
#define SEG_CODE     8u

#define SEL_NULL(sel) (((sel) & ~3u) == 0)
#define SEL_RPL(sel)  ((sel)&3u)
#define SEL_TI	      4u
#define SEL_ERROR(sel) ((sel)&0xfffcu) /* as an error code */

static inline u32 desc_ar(u64 d)
{
	return d >> 40 & 0xf0ff;
}
static inline u32 desc_limit(u64 d)
{
	u32 l = (d & 0xffff) | (d >> 32 & 0xf0000);

	return desc_ar(d) & SEG_G ? l << 12 | 0xfff : l;
}
static inline u64 desc_base(u64 d)
{
	return (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
}
static inline unsigned desc_type(u64 d)
{
	return d >> 40 & 0xf;
}
static inline unsigned desc_dpl(u64 d)
{
	return d >> 45 & 3;
}
static inline bool desc_present(u64 d)
{
	return d >> 47 & 1;
}
static inline bool desc_is_segment(u64 d) /* code or data: S */
{
	return d >> 44 & 1;
}
static inline bool desc_is_code(u64 d)
{
	return (d >> 40 & 0x18) == 0x18;
}
static inline bool desc_is_conforming(u64 d) /* code: C */
{
	return (d >> 40 & 0x1c) == 0x1c;
}
static inline bool desc_is_writable(u64 d) /* a data segment that may be written */
{
	return (d >> 40 & 0x1a) == 0x12;
}
static inline bool addr_canonical(u64 a)
{
	return (u64)((s64)(a << 16) >> 16) == a;
}

/* The descriptor that @sel (not NULL) names; false when it is beyond its
 * table. */
bool desc_read(struct soft_cpu *c, u16 sel, u64 *desc);
/* The same, or raises @vector(@sel | @ext). */
u64 desc_read_or(struct soft_cpu *c, u16 sel, unsigned vector, u32 ext);
/* Upper half of a 16-byte descriptor (IA-32e mode system segments, call gates). */
bool desc_read_high(struct soft_cpu *c, u16 sel, u64 *high);
/* Sets bits in a GDT or LDT entry, atomically where it is RAM. */
void desc_set_bits(struct soft_cpu *c, u16 sel, u64 bits);
/* Marks accessed what is not, and returns the register for it. */
struct seg desc_use(struct soft_cpu *c, u16 sel, u64 desc);

/* ---- Segment registers ---- */

/* Checks and reads; @res is for seg_commit(). CS is loaded in far.c. */
void seg_prepare(struct soft_cpu *c, enum seg_reg seg, u16 sel, struct seg *res);
void seg_commit(struct soft_cpu *c, enum seg_reg seg, const struct seg *s);
void seg_load(struct soft_cpu *c, enum seg_reg seg, u16 sel); /* both */
/* What a load does in real (@vm86 false) and virtual-8086 mode to @s. */
void seg_set_real(struct seg *s, u16 sel, bool vm86);
/* A register with a NULL selector; @dpl matters for SS. */
struct seg seg_null(u16 sel, unsigned dpl);
/* SS for privilege @cpl: raises @vector for a bad selector (#SS when not
 * present); error codes get @ext. */
struct seg seg_stack(struct soft_cpu *c, u16 sel, unsigned cpl, unsigned vector, u32 ext);

/* LLDT, LTR, VM86 and privilege checks excepted. */
void ldtr_load(struct soft_cpu *c, u16 sel);
void tr_load(struct soft_cpu *c, u16 sel);

/* ---- Stacks ---- */

/* A stack on which something is pushed or popped as a whole. Nothing in
 * cpu_state changes before stack_commit(). */
struct stack {
	u64 base;	 /* of SS */
	const struct seg *ss;
	u64 sp, mask;	 /* mask: ~0, 32 or 16 bits, by mode and SS.B */
	bool flat;	 /* 64-bit mode: canonical check only */
	enum mem_as as;
	u32 error;	 /* of the #SS when it overflows */
};

static inline struct stack stack_current(struct soft_cpu *c)
{
	const struct seg *ss = &c->s.seg[SEG_SS];
	bool flat = cpu_code64(c);
	u64 mask = flat ? ~0ull : ss->ar & SEG_DB ? 0xffffffff : 0xffff;

	return (struct stack){ .base = flat ? 0 : ss->base, .ss = ss, .sp = c->s.gpr[RSP] & mask,
			       .mask = mask, .flat = flat, .as = AS_CURRENT };
}

/* @n values of @size bytes in the order of pushing; all or nothing. */
void stack_push(struct soft_cpu *c, struct stack *st, const u64 *values, unsigned n,
		unsigned size);
/* Raises what writing @size bytes at the top would. */
void stack_probe(struct soft_cpu *c, const struct stack *st, unsigned size);
u64 stack_pop(struct soft_cpu *c, struct stack *st, unsigned size);
/* @n values at once, the top first. */
void stack_pop_all(struct soft_cpu *c, struct stack *st, u64 *values, unsigned n, unsigned size);
/* RSP alone */
static inline void stack_commit(struct soft_cpu *c, const struct stack *st)
{
	c->s.gpr[RSP] = (c->s.gpr[RSP] & ~st->mask) | st->sp;
	if (st->mask == 0xffffffff)
		c->s.gpr[RSP] = st->sp;
}

/* ---- Virtual interrupt flag (SDM "Interrupt and Exception Handling in
 * Virtual-8086 Mode", "Protected-Mode Virtual Interrupts") ---- */

static inline unsigned cpu_iopl(const struct soft_cpu *c)
{
	return (c->s.rflags & RFLAGS_IOPL) >> 12;
}
/* A virtual-8086 task that may not touch IF itself. */
static inline bool vm86_restricted(const struct soft_cpu *c)
{
	return (c->s.rflags & RFLAGS_VM) && cpu_iopl(c) < 3;
}
/* For such a task instructions of 16 bits see VIF as IF, with CR4.VME; raises
 * #GP(0) for the others. */
static inline void vme_check(struct soft_cpu *c, unsigned size)
{
	if (!(c->s.cr4 & CR4_VME) || size != 2)
		cpu_raise(c, X86_GP, 0);
}
static inline u64 vme_flags(u64 flags)
{
	return (flags & ~RFLAGS_IF) | RFLAGS_IOPL | (flags & RFLAGS_VIF ? RFLAGS_IF : 0);
}
/* RFLAGS after such a task loaded @flags; raises #GP(0). */
static inline u64 vme_load(struct soft_cpu *c, u64 flags)
{
	u64 mask = RFLAGS_ARITH | RFLAGS_DF | RFLAGS_NT | RFLAGS_TF, old = cpu_rflags(c);

	if ((flags & RFLAGS_TF) || ((flags & RFLAGS_IF) && (old & RFLAGS_VIP)))
		cpu_raise(c, X86_GP, 0);
	return (old & ~(mask | RFLAGS_VIF | RFLAGS_RF)) | (flags & mask) |
	       (flags & RFLAGS_IF ? RFLAGS_VIF : 0);
}

/* The end of a helper that did not jump: HELPER_NEXT, or HELPER_END with RIP
 * set where the row or @end asks for it. */
static inline enum helper_result insn_done(struct soft_cpu *c, const struct insn *i, bool end)
{
	if (!end && !(i->rules & RULE_ENDS_BLOCK))
		return HELPER_NEXT;
	c->s.rip = cpu_code64(c) ? insn_next(i) : (u32)insn_next(i);
	return HELPER_END;
}

#endif
