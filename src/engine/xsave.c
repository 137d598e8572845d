// SPDX-License-Identifier: MIT
/*
 * XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR and XRSTORS.
 *
 * Theory of operation. The host saves to, and restores from, a private image in
 * its standard format (c->xbuf); here it is checked and copied from or to the
 * guest's area, standard or compacted. So no host pointer shows, and another
 * vCPU that scribbles on the area meanwhile can do no harm. What an instruction
 * does not write is not touched. PKRU is in cpu_state, never in the host.
 */
#include <string.h>

#include "engine/fpu.h"
#include "engine/helpers.h"
#include "engine/seg.h"
#include "engine/softvm.h"
#include "engine/vmx/vmx.h"

enum { COMP_X87, COMP_SSE, COMP_AVX, COMP_OPMASK = 5, COMP_ZMM_HI256, COMP_HI16_ZMM, COMP_PKRU = 9,
       NR_COMPS };

#define XCOMP_COMPACT BIT(63)

struct xheader {
	u64 bv, comp;
	u64 reserved[6];
};

enum xsave_kind { XSAVE_PLAIN, XSAVE_OPT, XSAVE_COMPACT, XSAVE_SUPERVISOR };

static bool is_wide(const struct insn *i)
{
	return i->rex & 8;
}

static void check_xsave(struct soft_cpu *c, bool supervisor)
{
	if (!(c->s.cr4 & CR4_OSXSAVE) || (supervisor && !vmx_allows_xsaves(c)))
		cpu_raise(c, X86_UD, 0);
	if (supervisor && cpu_cpl(c))
		cpu_raise(c, X86_GP, 0);
	if (c->s.cr0 & CR0_TS)
		cpu_raise(c, X86_NM, 0);
}

static u64 requested(const struct soft_cpu *c, bool supervisor)
{
	u64 mask = (u32)c->s.gpr[RAX] | c->s.gpr[RDX] << 32;

	return mask & (c->s.xcr0 | (supervisor ? c->s.msr.xss : 0));
}

/* ---- Where components are ---- */

struct layout {
	unsigned off[NR_COMPS];
	unsigned size; /* of the whole area */
};

static unsigned comp_offset(const struct soft_cpu *c, unsigned n)
{
	return c->vm->env.model->xsave_offset[n];
}

/* Bytes that are accessed: outside 64-bit mode the upper eight vector registers
 * do not exist. */
static unsigned comp_size(const struct soft_cpu *c, unsigned n)
{
	return c->vm->env.model->xsave_size[n];
}

static unsigned comp_used(const struct soft_cpu *c, unsigned n)
{
	if (cpu_code64(c))
		return comp_size(c, n);
	switch (n) {
	case COMP_AVX:
	case COMP_ZMM_HI256:
		return comp_size(c, n) / 2;
	case COMP_HI16_ZMM:
		return 0;
	}
	return comp_size(c, n);
}

static unsigned sse_used(const struct soft_cpu *c)
{
	return cpu_code64(c) ? 256 : 128;
}

/* Extended components of @mask, in standard format or compacted by @comp. */
static void layout_make(const struct soft_cpu *c, struct layout *l, u64 mask, u64 comp)
{
	unsigned at = XSAVE_EXT;

	l->size = XSAVE_EXT;
	for (unsigned n = COMP_AVX; n < NR_COMPS; n++) {
		if (comp && !(comp & BIT(n)))
			continue;
		if (comp && (c->vm->env.model->xsave_aligned & BIT(n)))
			at = ALIGN_UP(at, 64u);
		l->off[n] = comp ? at : comp_offset(c, n);
		at += comp_size(c, n);
		if (mask & BIT(n))
			l->size = MAX(l->size, l->off[n] + comp_size(c, n));
	}
}

/* ---- Saving ---- */

static u64 in_use(const struct soft_cpu *c, u64 rfbm)
{
	u64 bv = load64(c->xbuf + XSAVE_HEADER) & rfbm & HOST_STATE;

	if ((rfbm & XCR0_PKRU) && c->s.pkru)
		bv |= XCR0_PKRU;
	return bv;
}

/* The legacy region, in as few pieces as may be. */
static void write_legacy(struct soft_cpu *c, const struct fpu_area *a, u64 save, bool mxcsr)
{
	const u8 *x = c->xbuf;

	if ((save & XCR0_X87) && mxcsr && (save & XCR0_SSE)) {
		fpu_area_write(c, a, 0, x, FX_XMM + sse_used(c));
		return;
	}
	if (save & XCR0_X87) {
		fpu_area_write(c, a, 0, x, FX_MXCSR);
		fpu_area_write(c, a, FX_ST, x + FX_ST, FX_XMM - FX_ST);
	}
	if (mxcsr)
		fpu_area_write(c, a, FX_MXCSR, x + FX_MXCSR, 8);
	if (save & XCR0_SSE)
		fpu_area_write(c, a, FX_XMM, x + FX_XMM, sse_used(c));
}

static void write_extended(struct soft_cpu *c, const struct fpu_area *a, const struct layout *l,
			   u64 save)
{
	for (unsigned n = COMP_AVX; save >> n && n < NR_COMPS; n++) {
		if (!(save & BIT(n)))
			continue;
		if (n == COMP_PKRU) {
			u64 v = c->s.pkru;

			fpu_area_write(c, a, l->off[n], &v, 8);
		} else {
			fpu_area_write(c, a, l->off[n], c->xbuf + comp_offset(c, n),
				       comp_used(c, n));
		}
	}
}

static void write_header(struct soft_cpu *c, const struct fpu_area *a, enum xsave_kind kind,
			 u64 rfbm, u64 bv)
{
	u64 header[2] = { bv, rfbm | XCOMP_COMPACT }, old;

	if (kind >= XSAVE_COMPACT) {
		fpu_area_write(c, a, XSAVE_HEADER, header, 16);
		return;
	}
	fpu_area_read(c, a, XSAVE_HEADER, &old, 8);
	header[0] |= old & ~rfbm;
	fpu_area_write(c, a, XSAVE_HEADER, header, 8);
}

static enum helper_result save(struct soft_cpu *c, const struct insn *i, enum xsave_kind kind)
{
	u64 rfbm = requested(c, kind == XSAVE_SUPERVISOR), bv, written;
	bool compact = kind >= XSAVE_COMPACT, mxcsr;
	struct fpu_area a;
	struct layout l;

	layout_make(c, &l, rfbm, compact ? rfbm | XCOMP_COMPACT : 0);
	a = fpu_area_open(c, i, l.size, 64, true);
	store64(c->xbuf + XSAVE_HEADER, 0);
	host_xsave(c, rfbm & HOST_STATE);
	fpu_show_pointers(c, c->xbuf, is_wide(i));
	bv = in_use(c, rfbm);
	if (compact && (rfbm & XCR0_SSE) && load32(c->xbuf + FX_MXCSR) != 0x1f80)
		bv |= XCR0_SSE;
	written = kind == XSAVE_PLAIN ? rfbm : bv;
	mxcsr = compact ? bv & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);

	write_legacy(c, &a, written, mxcsr);
	write_extended(c, &a, &l, written);
	write_header(c, &a, kind, rfbm, bv);
	return insn_done(c, i, false);
}

enum helper_result helper_xsave(struct soft_cpu *c, const struct insn *i)
{
	check_xsave(c, false);
	return save(c, i, XSAVE_PLAIN);
}

enum helper_result helper_xsaveopt(struct soft_cpu *c, const struct insn *i)
{
	check_xsave(c, false);
	return save(c, i, XSAVE_OPT);
}

enum helper_result helper_xsavec(struct soft_cpu *c, const struct insn *i)
{
	check_xsave(c, false);
	return save(c, i, XSAVE_COMPACT);
}

enum helper_result helper_xsaves(struct soft_cpu *c, const struct insn *i)
{
	check_xsave(c, true);
	vmx_check_xsaves(c, i);
	return save(c, i, XSAVE_SUPERVISOR);
}

/* ---- Restoring ---- */

static void check_header(struct soft_cpu *c, const struct xheader *h, bool supervisor)
{
	u64 legal = c->s.xcr0 | (supervisor ? c->s.msr.xss : 0), zero = h->reserved[0];
	bool compact = h->comp & XCOMP_COMPACT, ok;

	if (compact) {
		for (unsigned k = 1; k < ARRAY_SIZE(h->reserved); k++)
			zero |= h->reserved[k];
		ok = cpu_has(c->vm->env.model, FEAT_XSAVEC) &&
		     !(h->comp & ~XCOMP_COMPACT & ~legal) && !(h->bv & ~h->comp);
	} else {
		ok = !supervisor && !h->comp && !(h->bv & ~legal);
	}
	if (!ok || zero)
		cpu_raise(c, X86_GP, 0);
}

static u32 host_mxcsr(void)
{
	u32 v;

	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

/* The MXCSR that the restore leaves: SDM "Operation of XRSTOR" and "...Compacted
 * Form". */
static u32 new_mxcsr(struct soft_cpu *c, const struct fpu_area *a, bool compact, u64 rfbm, u64 bv)
{
	u32 v;

	if (compact && (rfbm & XCR0_SSE) && !(bv & XCR0_SSE))
		return 0x1f80;
	if (!(rfbm & XCR0_SSE) && (compact || !(rfbm & XCR0_AVX)))
		return host_mxcsr();
	fpu_area_read(c, a, FX_MXCSR, &v, 4);
	if (v & ~MXCSR_VALID)
		cpu_raise(c, X86_GP, 0);
	return v;
}

/* One component outside 64-bit mode: the upper half stays what it is in xbuf. */
static void read_part(struct soft_cpu *c, const struct fpu_area *a, unsigned off, unsigned to,
		      unsigned size, bool present)
{
	if (present)
		fpu_area_read(c, a, off, c->xbuf + to, size);
	else
		memset(c->xbuf + to, 0, size);
}

/* Fills xbuf with what @load names. Returns XSTATE_BV for the host: a component
 * that is not there is left out, and becomes initial. */
static u64 read_image(struct soft_cpu *c, const struct fpu_area *a, const struct layout *l,
		      u64 rfbm, u64 bv)
{
	bool whole = cpu_code64(c);
	u64 load = rfbm & HOST_STATE & (whole ? bv : ~0ull), res = load;

	if (!whole) /* what the mode cannot name must survive */
		host_xsave(c, load & ~XCR0_X87);
	if (rfbm & bv & XCR0_X87)
		fpu_area_read(c, a, 0, c->xbuf, FX_XMM);
	else
		res &= ~XCR0_X87;
	if (load & XCR0_SSE)
		read_part(c, a, FX_XMM, FX_XMM, sse_used(c), bv & XCR0_SSE);
	for (unsigned n = COMP_AVX; load >> n && n < NR_COMPS; n++)
		if (load & BIT(n))
			read_part(c, a, l->off[n], comp_offset(c, n), comp_used(c, n),
				  bv & BIT(n));
	return res;
}

static void restore_pkru(struct soft_cpu *c, u32 pkru)
{
	if (c->s.pkru == pkru)
		return;
	c->s.pkru = pkru;
	if (c->s.cr4 & CR4_PKE)
		tlb_flush_current(c);
	c->mode_changed = true;
}

static enum helper_result restore(struct soft_cpu *c, const struct insn *i, bool supervisor)
{
	struct fpu_area a = fpu_area_open(c, i, XSAVE_EXT, 64, false);
	u64 rfbm = requested(c, supervisor), host_bv, pkru = 0;
	struct xheader h;
	struct layout l;
	bool compact;
	u32 mxcsr;

	fpu_area_read(c, &a, XSAVE_HEADER, &h, sizeof(h));
	check_header(c, &h, supervisor);
	compact = h.comp & XCOMP_COMPACT;
	layout_make(c, &l, rfbm & h.bv, compact ? h.comp : 0);
	if (l.size > XSAVE_EXT)
		a = fpu_area_open(c, i, l.size, 64, false);

	mxcsr = new_mxcsr(c, &a, compact, rfbm, h.bv);
	host_bv = read_image(c, &a, &l, rfbm, h.bv);
	if (rfbm & h.bv & XCR0_PKRU)
		fpu_area_read(c, &a, l.off[COMP_PKRU], &pkru, 8);

	/* Nothing fails from here on. */
	store32(c->xbuf + FX_MXCSR, mxcsr);
	memset(c->xbuf + XSAVE_HEADER, 0, 64);
	store64(c->xbuf + XSAVE_HEADER, host_bv);
	if (rfbm & XCR0_X87) {
		if (!(host_bv & XCR0_X87))
			memset(c->xbuf, 0, FX_MXCSR);
		fpu_keep_pointers(c, c->xbuf, is_wide(i));
	}
	if (rfbm & XCR0_PKRU)
		restore_pkru(c, (u32)pkru);
	host_xrstor(c, rfbm & HOST_STATE);
	return insn_done(c, i, c->mode_changed);
}

enum helper_result helper_xrstor(struct soft_cpu *c, const struct insn *i)
{
	check_xsave(c, false);
	return restore(c, i, false);
}

enum helper_result helper_xrstors(struct soft_cpu *c, const struct insn *i)
{
	check_xsave(c, true);
	vmx_check_xrstors(c, i);
	return restore(c, i, true);
}
