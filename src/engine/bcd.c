// SPDX-License-Identifier: MIT
/*
 * Decimal adjustment, which 64-bit mode (and so the host) does not have: AAA
 * AAS DAA DAS AAM AAD, and SALC. Flags that the SDM leaves undefined are as
 * Intel processors make them.
 */
#include "engine/helpers.h"
#include "engine/seg.h"

/* cpu.flags: LAHF's bits in 15:8, OF in bit 0. */
enum { F_CF = 0x100, F_PF = 0x400, F_AF = 0x1000, F_ZF = 0x4000, F_SF = 0x8000, F_OF = 1 };

static void set_szp(struct soft_cpu *c, u8 al)
{
	c->flags &= ~(F_PF | F_ZF | F_SF | F_OF);
	if (!__builtin_parity(al))
		c->flags |= F_PF;
	if (!al)
		c->flags |= F_ZF;
	if (al & 0x80)
		c->flags |= F_SF;
}

static void set_flag(struct soft_cpu *c, u16 flag, bool on)
{
	c->flags = on ? c->flags | flag : c->flags & ~flag;
}

/* DAA and DAS: @sign is the direction. */
static void adjust_packed(struct soft_cpu *c, int sign)
{
	u8 old = c->s.gpr[RAX], al = old;
	bool cf = c->flags & F_CF, carry = false;

	if ((al & 15) > 9 || (c->flags & F_AF)) {
		/* DAS keeps the borrow of this step. */
		carry = cf || (sign < 0 && old < 6);
		al += sign * 6;
		set_flag(c, F_AF, true);
	} else {
		set_flag(c, F_AF, false);
	}
	if (old > 0x99 || cf) {
		al += sign * 0x60;
		carry = true;
	}
	if (sign > 0)
		carry = old > 0x99 || cf;
	gpr_set(c, RAX, 1, al);
	set_szp(c, al);
	set_flag(c, F_CF, carry);
}

enum helper_result helper_daa(struct soft_cpu *c, const struct insn *i)
{
	adjust_packed(c, 1);
	return insn_done(c, i, false);
}

enum helper_result helper_das(struct soft_cpu *c, const struct insn *i)
{
	adjust_packed(c, -1);
	return insn_done(c, i, false);
}

/* AAA and AAS */
static void adjust_unpacked(struct soft_cpu *c, int sign)
{
	u16 ax = c->s.gpr[RAX];
	bool adjust = (ax & 15) > 9 || (c->flags & F_AF);

	if (adjust)
		ax += sign * 0x106;
	ax &= 0xff0f;
	gpr_set(c, RAX, 2, ax);
	set_szp(c, (u8)ax);
	set_flag(c, F_AF | F_CF, adjust);
}

enum helper_result helper_aaa(struct soft_cpu *c, const struct insn *i)
{
	adjust_unpacked(c, 1);
	return insn_done(c, i, false);
}

enum helper_result helper_aas(struct soft_cpu *c, const struct insn *i)
{
	adjust_unpacked(c, -1);
	return insn_done(c, i, false);
}

enum helper_result helper_aam(struct soft_cpu *c, const struct insn *i)
{
	u8 base = i->imm, al = c->s.gpr[RAX];

	if (!base)
		cpu_raise(c, X86_DE, 0);
	gpr_set(c, RAX, 2, (u64)(al / base) << 8 | al % base);
	set_szp(c, al % base);
	set_flag(c, F_AF | F_CF, false);
	return insn_done(c, i, false);
}

enum helper_result helper_aad(struct soft_cpu *c, const struct insn *i)
{
	u16 ax = c->s.gpr[RAX];
	u8 al = ax + (ax >> 8) * (u8)i->imm;

	gpr_set(c, RAX, 2, al);
	set_szp(c, al);
	set_flag(c, F_AF | F_CF, false);
	return insn_done(c, i, false);
}

enum helper_result helper_salc(struct soft_cpu *c, const struct insn *i)
{
	gpr_set(c, RAX, 1, c->flags & F_CF ? 0xff : 0);
	return insn_done(c, i, false);
}
