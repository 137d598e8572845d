// SPDX-License-Identifier: MIT
/*
 * MOVS, STOS, LODS, SCAS, CMPS with every prefix. Registers move on with each
 * element, so a fault or an interrupt between two finds a restartable state;
 * runs of plain memory go in one host instruction up to the next page.
 */
#include "engine/softvm.h"
#include "engine/step.h"
#include "engine/tlb.h"
#include "engine/xl_fns.h"

enum { OP_MOVS = 0xa4, OP_CMPS = 0xa6, OP_STOS = 0xaa, OP_LODS = 0xac, OP_SCAS = 0xae };

struct string {
	struct soft_cpu *c;
	const struct insn *i;
	unsigned op, size, addrsize;
	s64 step;
};

static gva_t element(struct string *s, unsigned reg, bool write)
{
	unsigned seg = reg == RDI ? SEG_ES : s->i->mem.seg;
	gva_t at = seg_linear(s->c, seg, gpr_get(s->c, reg, s->addrsize), s->size, write);

	check_alignment(s->c, at, s->size);
	return at;
}

static void advance(struct string *s, unsigned reg, u64 count)
{
	gpr_set(s->c, reg, s->addrsize,
		s->c->s.gpr[reg] + (u64)(s->step * (s64)count));
}

/* CMP of two elements by the host. */
static void compare(struct soft_cpu *c, u64 a, u64 b, unsigned size)
{
	u64 shift = 64 - 8 * size;
	u16 flags;

	/* Compared at the top of the register, all flags but AF are the
	 * operand-size ones; PF and AF come from the low byte. */
	u8 low = (u8)a - (u8)b;
	u64 x = a << shift, y = b << shift;

	__asm__("cmp %2, %1\n\tlahf\n\tseto %%al" : "=a"(flags) : "r"(x), "r"(y) : "cc");
	flags &= (u16)~0x1400;
	flags |= (u16)(__builtin_parity(low) ? 0 : 0x400);
	flags |= (u16)((a ^ b ^ (u64)low) & 0x10 ? 0x1000 : 0);
	c->flags = flags;
}

static void one(struct string *s)
{
	struct soft_cpu *c = s->c;
	u64 v, w;

	switch (s->op) {
	case OP_MOVS: {
		v = guest_read(c, element(s, RSI, false), s->size, AS_CURRENT);
		guest_write(c, element(s, RDI, true), s->size, v, AS_CURRENT);
		advance(s, RSI, 1);
		advance(s, RDI, 1);
		break;
	}
	case OP_STOS:
		guest_write(c, element(s, RDI, true), s->size, c->s.gpr[RAX], AS_CURRENT);
		advance(s, RDI, 1);
		break;
	case OP_LODS:
		v = guest_read(c, element(s, RSI, false), s->size, AS_CURRENT);
		gpr_set(c, RAX, s->size, v);
		advance(s, RSI, 1);
		break;
	case OP_SCAS:
		v = guest_read(c, element(s, RDI, false), s->size, AS_CURRENT);
		compare(c, gpr_get(c, RAX, s->size), v, s->size);
		advance(s, RDI, 1);
		break;
	default:
		/* Which one faults first, when both do, no manual says. */
		w = guest_read(c, element(s, RDI, false), s->size, AS_CURRENT);
		v = guest_read(c, element(s, RSI, false), s->size, AS_CURRENT);
		compare(c, v, w, s->size);
		advance(s, RSI, 1);
		advance(s, RDI, 1);
	}
}

/* Elements that fit before @addr's page ends. */
static u64 in_page(const struct string *s, gva_t addr)
{
	return (PAGE_SIZE - (addr & 4095)) / s->size;
}

static void host_movs(u8 *to, const u8 *from, u64 n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		break;
	case 2:
		__asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	}
}

static void host_stos(u8 *to, u64 v, u64 n, unsigned size)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(v) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(v) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(v) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(v) : "memory");
	}
}

/* Many elements at once, where both sides are plain RAM; 0 if not. */
static u64 many(struct string *s, u64 count)
{
	struct soft_cpu *c = s->c;
	gva_t to = gpr_get(c, RDI, s->addrsize), from = gpr_get(c, RSI, s->addrsize);
	u64 n = MIN(count, in_page(s, to));
	u8 *d, *f = NULL;

	/* Segment limits are checked element by element. */
	if (s->step < 0 || (s->op != OP_MOVS && s->op != OP_STOS) || !cpu_code64(c) ||
	    (c->ctx->key.mode.bits & MODE_AC))
		return 0;
	if (s->op == OP_MOVS) {
		from += s->i->mem.seg >= SEG_FS ? c->s.seg[s->i->mem.seg].base : 0;
		n = MIN(n, in_page(s, from));
	}
	if (n < 2)
		return 0;
	d = guest_host(c, to, (unsigned)(n * s->size), true, AS_CURRENT);
	if (s->op == OP_MOVS)
		f = guest_host(c, from, (unsigned)(n * s->size), false, AS_CURRENT);
	if (!d || (s->op == OP_MOVS && !f))
		return 0;
	if (s->op == OP_MOVS) {
		host_movs(d, f, n, s->size);
		advance(s, RSI, n);
	} else {
		host_stos(d, c->s.gpr[RAX], n, s->size);
	}
	advance(s, RDI, n);
	return n;
}

/* Not the end of the instruction: it may have changed its own code. */
static void pass_safe_point(struct soft_cpu *c)
{
	if (atomic_load(&c->run_seq) & 1) {
		world_leave(c);
		world_enter(c);
	}
}

enum helper_result helper_string(struct soft_cpu *c, const struct insn *i)
{
	struct string s = { .c = c, .i = i, .op = i->opcode & ~1u,
			    .size = i->opcode & 1 ? i->opsize : 1, .addrsize = i->addrsize };
	bool compares = s.op == OP_CMPS || s.op == OP_SCAS;
	bool traps = (c->s.rflags & RFLAGS_TF) || (c->s.dr7 & 0xff); /* after each element */

	s.step = c->s.rflags & RFLAGS_DF ? -(s64)s.size : (s64)s.size;
	if (!i->rep) {
		one(&s);
		return HELPER_NEXT;
	}
	for (;;) {
		u64 count = gpr_get(c, RCX, s.addrsize), n;

		if (!count)
			return HELPER_NEXT;
		n = compares || traps ? 0 : many(&s, count);
		if (!n) {
			one(&s);
			n = 1;
		}
		gpr_set(c, RCX, s.addrsize, count - n);
		if (count == n)
			return HELPER_NEXT;
		if (compares && !(c->flags & 0x4000) == (i->rep == 0xf3))
			return HELPER_NEXT;
		if (unlikely(c->comparing))
			continue;
		if ((atomic_load(&c->request) & ~(u32)REQ_SAFE) || traps)
			return HELPER_END; /* RIP still is this instruction's */
		if (atomic_load(&c->request))
			pass_safe_point(c);
	}
}

#define STRING(name)                                                                               \
	void xl_##name(struct xl *x, const struct insn *i)                                         \
	{                                                                                          \
		(void)i;                                                                           \
		xl_helper(x, helper_string, false);                                                \
	}
STRING(movs)
STRING(stos)
STRING(lods)
STRING(scas)
STRING(cmps)
