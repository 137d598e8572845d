// SPDX-License-Identifier: MIT
/*
 * Vector instructions whose memory operand is not one piece: MASKMOVQ,
 * MASKMOVDQU, gathers and scatters. Elements go one by one through the guest's
 * memory; registers are read and written in an image of the host's (c->xbuf).
 *
 * A gather that faults has done the elements below the fault, and their mask bits
 * are clear; a scatter checks all its elements before it writes one. Both start
 * again after the fault.
 */
#include "engine/fpu.h"
#include "engine/helpers.h"
#include "engine/seg.h"
#include "engine/softvm.h"

/* ---- Registers in the image ---- */

enum { OPMASK = 5, ZMM_HI256 = 6, HI16_ZMM = 7 };

static u8 *comp(struct soft_cpu *c, unsigned n)
{
	return c->xbuf + c->vm->env.model->xsave_offset[n];
}

/* Byte @off of vector register @reg. */
static u8 *vec_byte(struct soft_cpu *c, unsigned reg, unsigned off)
{
	if (reg >= 16)
		return comp(c, HI16_ZMM) + 64 * (reg - 16) + off;
	if (off >= 32)
		return comp(c, ZMM_HI256) + 32 * reg + off - 32;
	if (off >= 16)
		return c->xbuf + XSAVE_EXT + 16 * reg + off - 16;
	return c->xbuf + FX_XMM + 16 * reg + off;
}

static u64 vec_get(struct soft_cpu *c, unsigned reg, unsigned n, unsigned size)
{
	const u8 *p = vec_byte(c, reg, n * size);

	return size == 8 ? load64(p) : load32(p);
}

static void vec_put(struct soft_cpu *c, unsigned reg, unsigned n, unsigned size, u64 value)
{
	u8 *p = vec_byte(c, reg, n * size);

	if (size == 8)
		store64(p, value);
	else
		store32(p, (u32)value);
}

/* Zeroes bytes [from, end of the register). */
static void vec_clear(struct soft_cpu *c, unsigned reg, unsigned from, bool avx512)
{
	for (unsigned off = from; off < (avx512 ? 64 : 32); off += 4)
		store32(vec_byte(c, reg, off), 0);
}

/* ---- MASKMOVQ, MASKMOVDQU ---- */

static void masked_store(struct soft_cpu *c, const struct insn *i, const u8 *data, const u8 *mask,
			 unsigned size)
{
	enum seg_reg seg = i->seg_override == REG_NONE ? SEG_DS : i->seg_override;
	u64 wrap = i->addrsize == 8 ? ~0ull : BIT(8 * i->addrsize) - 1;
	gva_t at[16];

	for (unsigned n = 0; n < size; n++) {
		if (!(mask[n] & 0x80))
			continue;
		at[n] = seg_linear(c, seg, (c->s.gpr[RDI] + n) & wrap, 1, true);
		guest_probe_write(c, at[n], 1, AS_CURRENT);
	}
	for (unsigned n = 0; n < size; n++)
		if (mask[n] & 0x80)
			guest_write(c, at[n], 1, data[n], AS_CURRENT);
}

enum helper_result helper_maskmovdqu(struct soft_cpu *c, const struct insn *i)
{
	u8 regs[256];

	if (i->enc == ENC_VEX)
		fpu_check_avx(c);
	else
		fpu_check_sse(c);
	host_fxsave(c);
	__builtin_memcpy(regs, c->xbuf + FX_XMM, sizeof(regs));
	masked_store(c, i, regs + 16 * i->op[0].reg, regs + 16 * i->op[1].reg, 16);
	return insn_done(c, i, false);
}

enum helper_result helper_maskmovq(struct soft_cpu *c, const struct insn *i)
{
	u8 data[8], mask[8];

	if (c->s.cr0 & CR0_EM)
		cpu_raise(c, X86_UD, 0);
	fpu_check_x87(c);
	fpu_check_pending(c);
	host_fxsave(c);
	/* The image has ST(n) in stack order, MMn is the physical register. */
	unsigned top = load16(c->xbuf + FX_FSW) >> 11 & 7;

	__builtin_memcpy(data, c->xbuf + FX_ST + 16 * ((i->op[0].reg - top) & 7), 8);
	__builtin_memcpy(mask, c->xbuf + FX_ST + 16 * ((i->op[1].reg - top) & 7), 8);
	masked_store(c, i, data, mask, 8);
	/* Enters MMX state, as every MMX instruction, and writes none. */
	__asm__ volatile("movd %%mm0, %0" : "=r"(top));
	return insn_done(c, i, false);
}

/* ---- Gather and scatter ---- */

struct vsib {
	unsigned nr, elem, idx; /* elements; bytes of an element and of an index */
	unsigned reg, mask_reg;
	bool evex;
	u64 mask; /* one bit per element */
	u64 state; /* components that are read and written back */
};

static void check_mode(struct soft_cpu *c, const struct vsib *v)
{
	fpu_check_avx(c);
	if (v->evex && (c->s.xcr0 & XCR0_AVX512) != XCR0_AVX512)
		cpu_raise(c, X86_UD, 0);
}

static struct vsib vsib_open(struct soft_cpu *c, const struct insn *i)
{
	struct vsib v = { .evex = i->enc == ENC_EVEX, .elem = i->w ? 8 : 4,
			  .idx = i->opcode & 1 ? 8 : 4, .reg = i->reg, .mask_reg = i->vvvv };

	check_mode(c, &v);
	v.nr = i->vl / MAX(v.elem, v.idx);
	v.state = XCR0_SSE | XCR0_AVX | (v.evex ? XCR0_AVX512 : 0);
	if (v.evex ? !i->evex_aaa || v.reg == i->mem.index :
		     v.reg == v.mask_reg || v.reg == i->mem.index || v.mask_reg == i->mem.index)
		cpu_raise(c, X86_UD, 0);
	host_xsave(c, v.state);
	if (v.evex)
		v.mask = load64(comp(c, OPMASK) + 8 * i->evex_aaa) & (BIT(v.nr) - 1);
	else
		for (unsigned n = 0; n < v.nr; n++)
			v.mask |= vec_get(c, v.mask_reg, n, v.elem) >> (8 * v.elem - 1) << n;
	return v;
}

static u64 vsib_offset(struct soft_cpu *c, const struct insn *i, const struct vsib *v, unsigned n)
{
	u64 index = vec_get(c, i->mem.index, n, v->idx);
	u64 off = insn_offset(c, i);

	if (v->idx == 4)
		index = (u64)(s64)(s32)index;
	off += index * i->mem.scale;
	if (i->addrsize != 8)
		off &= BIT(8 * i->addrsize) - 1;
	return off;
}

/* Linear address of element @n. */
static gva_t vsib_address(struct soft_cpu *c, const struct insn *i, const struct vsib *v,
			  unsigned n, bool write)
{
	return seg_linear(c, i->mem.seg, vsib_offset(c, i, v, n), v->elem, write);
}

/* Reading element @n certainly raises nothing. */
static bool element_present(struct soft_cpu *c, const struct insn *i, const struct vsib *v,
			    unsigned n)
{
	return cpu_code64(c) && i->mem.seg < SEG_FS &&
	       guest_host(c, vsib_offset(c, i, v, n), v->elem, false, AS_CURRENT);
}

static void vsib_commit(struct soft_cpu *c, const struct vsib *v)
{
	/* All of them hold something now. */
	store64(c->xbuf + XSAVE_HEADER, v->state);
	store64(c->xbuf + XSAVE_HEADER + 8, 0);
	host_xrstor(c, v->state);
}

static void vsib_close(struct soft_cpu *c, const struct insn *i, const struct vsib *v)
{
	if (v->evex)
		store64(comp(c, OPMASK) + 8 * i->evex_aaa, 0);
	else
		vec_clear(c, v->mask_reg, 0, false);
	vsib_commit(c, v);
}

/* Element @n is done; so it shall be when a later one faults. */
static void gathered(struct soft_cpu *c, const struct insn *i, struct vsib *v, unsigned n)
{
	v->mask &= ~BIT(n);
	if (v->evex)
		store64(comp(c, OPMASK) + 8 * i->evex_aaa, v->mask);
	else
		vec_put(c, v->mask_reg, n, v->elem, 0);
}

/* Not checked for alignment, whatever EFLAGS.AC is. */
static u64 read_element(struct soft_cpu *c, gva_t at, unsigned size)
{
	u64 v = 0;

	if (likely(!(c->ctx->key.mode.bits & MODE_AC)))
		return guest_read(c, at, size, AS_CURRENT);
	guest_copy_in(c, &v, at, size, AS_CURRENT);
	return v;
}

enum helper_result helper_gather(struct soft_cpu *c, const struct insn *i)
{
	struct vsib v = vsib_open(c, i);

	for (unsigned n = 0; n < v.nr; n++) {
		if (v.mask & BIT(n)) {
			if (!element_present(c, i, &v, n))
				vsib_commit(c, &v);
			vec_put(c, v.reg, n, v.elem,
				read_element(c, vsib_address(c, i, &v, n, false), v.elem));
		}
		gathered(c, i, &v, n);
	}
	vec_clear(c, v.reg, v.nr * v.elem, v.evex);
	vsib_close(c, i, &v);
	return insn_done(c, i, false);
}

enum helper_result helper_scatter(struct soft_cpu *c, const struct insn *i)
{
	struct vsib v = vsib_open(c, i);

	for (unsigned n = 0; n < v.nr; n++)
		if (v.mask & BIT(n))
			guest_probe_write(c, vsib_address(c, i, &v, n, true), v.elem, AS_CURRENT);
	for (unsigned n = 0; n < v.nr; n++)
		if (v.mask & BIT(n))
			guest_write(c, vsib_address(c, i, &v, n, true), v.elem,
				    vec_get(c, v.reg, n, v.elem), AS_CURRENT);
	vsib_close(c, i, &v);
	return insn_done(c, i, false);
}
