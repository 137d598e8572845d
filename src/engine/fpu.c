// SPDX-License-Identifier: MIT
/*
 * x87 environment and state (FNSTENV, FLDENV, FNSAVE, FRSTOR), FXSAVE and
 * FXRSTOR, and what all state helpers share. The host executes the instruction
 * on a private image; pointers and selectors in it are replaced on the way, so
 * that no host address shows.
 */
#include "engine/fpu.h"

#include <string.h>

#include "engine/helpers.h"
#include "engine/seg.h"
#include "engine/softvm.h"

/* ---- Checks ---- */

void fpu_check_x87(struct soft_cpu *c)
{
	if (c->s.cr0 & (CR0_EM | CR0_TS))
		cpu_raise(c, X86_NM, 0);
}

static void check_ts(struct soft_cpu *c)
{
	if (c->s.cr0 & CR0_TS)
		cpu_raise(c, X86_NM, 0);
}

void fpu_check_sse(struct soft_cpu *c)
{
	if ((c->s.cr0 & CR0_EM) || !(c->s.cr4 & CR4_OSFXSR))
		cpu_raise(c, X86_UD, 0);
	check_ts(c);
}

void fpu_check_avx(struct soft_cpu *c)
{
	u64 need = XCR0_SSE | XCR0_AVX;

	if (!cpu_protected(c) || !(c->s.cr4 & CR4_OSXSAVE) || (c->s.xcr0 & need) != need)
		cpu_raise(c, X86_UD, 0);
	check_ts(c);
}

void fpu_check_pending(struct soft_cpu *c)
{
	u16 fsw;

	__asm__ volatile("fnstsw %0" : "=a"(fsw));
	if (fsw & 0x80)
		cpu_raise(c, X86_MF, 0);
}

/* ---- The memory operand ---- */

struct fpu_area fpu_area_open(struct soft_cpu *c, const struct insn *i, unsigned size,
			      unsigned align, bool write)
{
	struct fpu_area a = { .at = insn_linear(c, i, size, write) };

	if (a.at & (align - 1))
		cpu_raise(c, X86_GP, 0);
	a.host = guest_host(c, a.at, size, write, AS_CURRENT);
	if (!a.host && write)
		guest_probe_write(c, a.at, size, AS_CURRENT);
	return a;
}

void fpu_area_write(struct soft_cpu *c, const struct fpu_area *a, unsigned off, const void *from,
		    unsigned size)
{
	if (a->host)
		memcpy(a->host + off, from, size);
	else
		guest_copy_out(c, a->at + off, from, size, AS_CURRENT);
}

void fpu_area_read(struct soft_cpu *c, const struct fpu_area *a, unsigned off, void *to,
		   unsigned size)
{
	if (a->host)
		memcpy(to, a->host + off, size);
	else
		guest_copy_in(c, to, a->at + off, size, AS_CURRENT);
}

/* ---- Pointers ---- */

/* With an unmasked exception pending, the host's pointers say where in
 * translated code it was found: the guest sees where that is for it. (They are
 * zero when the guest loaded the state: then its own are shown.) */
static void find_pointers(struct soft_cpu *c, const u8 *fx)
{
	u64 pc = load64(fx + FX_FIP);
	const struct site *site;
	const struct block *b;

	if (!(load16(fx + FX_FSW) & 0x80) || !pc)
		return;
	b = cache_block_at(&c->vm->cache, pc);
	site = b ? block_site(b, pc) : NULL;
	c->fip = site ? b->rip + site->guest : 0;
	c->fop = site ? load16(fx + FX_FOP) & 0x7ff : 0;
	c->fdp = 0;
}

void fpu_show_pointers(struct soft_cpu *c, u8 *fx, bool wide)
{
	find_pointers(c, fx);
	store16(fx + FX_FOP, c->fop);
	if (wide) {
		store64(fx + FX_FIP, c->fip);
		store64(fx + FX_FDP, c->fdp);
	} else {
		/* The selectors are always zero: CPUID's "deprecates FCS and FDS". */
		store64(fx + FX_FIP, (u32)c->fip);
		store64(fx + FX_FDP, (u32)c->fdp);
	}
	store32(fx + FX_MASK, MXCSR_VALID);
}

static void set_pointers(struct soft_cpu *c, u16 fop, u64 fip, u64 fdp)
{
	c->fop = fop & 0x7ff;
	c->fip = fip;
	c->fdp = fdp;
	c->fcs = c->fds = 0;
}

void fpu_keep_pointers(struct soft_cpu *c, u8 *fx, bool wide)
{
	u64 fip = load64(fx + FX_FIP), fdp = load64(fx + FX_FDP);

	set_pointers(c, load16(fx + FX_FOP), wide ? fip : (u32)fip, wide ? fdp : (u32)fdp);
	store16(fx + FX_FOP, 0);
	store64(fx + FX_FIP, 0);
	store64(fx + FX_FDP, 0);
}

/* ---- FXSAVE, FXRSTOR ---- */

static bool is_wide(const struct insn *i)
{
	return i->rex & 8;
}

static void check_fx(struct soft_cpu *c)
{
	if (c->s.cr0 & CR0_EM)
		cpu_raise(c, X86_UD, 0);
	check_ts(c);
}

/* Bytes up to the last XMM register that the mode knows. */
static unsigned fx_size(const struct soft_cpu *c)
{
	return cpu_code64(c) ? FX_END : FX_XMM + 8 * 16;
}

enum helper_result helper_fxsave(struct soft_cpu *c, const struct insn *i)
{
	struct fpu_area a;

	check_fx(c);
	a = fpu_area_open(c, i, 512, 16, true);
	host_fxsave(c);
	fpu_show_pointers(c, c->xbuf, is_wide(i));
	fpu_area_write(c, &a, 0, c->xbuf, fx_size(c));
	return insn_done(c, i, false);
}

enum helper_result helper_fxrstor(struct soft_cpu *c, const struct insn *i)
{
	struct fpu_area a;
	u8 image[FX_END];

	check_fx(c);
	a = fpu_area_open(c, i, 512, 16, false);
	fpu_area_read(c, &a, 0, image, fx_size(c));
	if (load32(image + FX_MXCSR) & ~MXCSR_VALID)
		cpu_raise(c, X86_GP, 0);
	host_fxsave(c); /* what the image does not hold stays */
	memcpy(c->xbuf, image, fx_size(c));
	fpu_keep_pointers(c, c->xbuf, is_wide(i));
	host_fxrstor(c);
	return insn_done(c, i, false);
}

/* AMD hosts have one bit more in MXCSR: misaligned SSE operands do not fault. */
enum helper_result helper_ldmxcsr(struct soft_cpu *c, const struct insn *i)
{
	u32 v = (u32)guest_read(c, insn_linear(c, i, 4, false), 4, AS_CURRENT);

	if (v & ~MXCSR_VALID)
		cpu_raise(c, X86_GP, 0);
	__asm__ volatile("ldmxcsr %0" : : "m"(v));
	return insn_done(c, i, false);
}

/* ---- The x87 environment ---- */

/* As FNSTENV writes it in 32-bit protected mode; the host's form. */
struct x87_env {
	u32 fcw, fsw, ftw, fip, fcs_fop, fdp, fds;
};
struct x87_state {
	struct x87_env env;
	u8 st[80];
};

static unsigned env_size(const struct insn *i)
{
	return i->opsize == 2 ? 14 : 28;
}

/* The guest's view of @e, in the format of mode and operand size. */
static void env_pack(const struct soft_cpu *c, const struct insn *i, const struct x87_env *e,
		     u8 *to)
{
	bool real = !cpu_protected(c);
	u32 fip = c->fip, fdp = c->fdp, fop = c->fop;

	if (i->opsize == 2) {
		u16 w[7] = { e->fcw, e->fsw, e->ftw, fip, 0, fdp, 0 };

		if (real) {
			w[4] = (fip >> 4 & 0xf000) | fop;
			w[6] = fdp >> 4 & 0xf000;
		}
		memcpy(to, w, sizeof(w));
	} else {
		u32 d[7] = { e->fcw, e->fsw, e->ftw, fip, fop << 16, fdp, 0xffff0000 };

		if (real) {
			d[3] = 0xffff0000 | fip;
			d[4] = (fip >> 4 & 0x0ffff000) | fop;
			d[5] = 0xffff0000 | fdp;
			d[6] = fdp >> 4 & 0x0ffff000;
		}
		memcpy(to, d, sizeof(d));
	}
}

/* The reverse; pointers go to cpu_state and are zero in @e. */
static void env_unpack(struct soft_cpu *c, const struct insn *i, const u8 *from, struct x87_env *e)
{
	bool real = !cpu_protected(c);

	memset(e, 0, sizeof(*e));
	if (i->opsize == 2) {
		u16 w[7];

		memcpy(w, from, sizeof(w));
		e->fcw = w[0];
		e->fsw = w[1];
		e->ftw = w[2];
		if (real)
			set_pointers(c, w[4], w[3] | (w[4] & 0xf000u) << 4,
				     w[5] | (w[6] & 0xf000u) << 4);
		else
			set_pointers(c, 0, w[3], w[5]);
	} else {
		u32 d[7];

		memcpy(d, from, sizeof(d));
		e->fcw = d[0];
		e->fsw = d[1];
		e->ftw = d[2];
		if (real)
			set_pointers(c, d[4], (u16)d[3] | (d[4] & 0x0ffff000) << 4,
				     (u16)d[5] | (d[6] & 0x0ffff000) << 4);
		else
			set_pointers(c, d[4] >> 16, d[3], d[5]);
	}
}

enum helper_result helper_fnstenv(struct soft_cpu *c, const struct insn *i)
{
	struct fpu_area a;
	struct x87_env e;
	u8 image[28];

	fpu_check_x87(c);
	a = fpu_area_open(c, i, env_size(i), 1, true);
	host_fxsave(c);
	find_pointers(c, c->xbuf);
	__asm__ volatile("fnstenv %0" : "=m"(e));
	env_pack(c, i, &e, image);
	fpu_area_write(c, &a, 0, image, env_size(i));
	return insn_done(c, i, false);
}

enum helper_result helper_fldenv(struct soft_cpu *c, const struct insn *i)
{
	struct fpu_area a;
	struct x87_env e;
	u8 image[28];

	fpu_check_x87(c);
	fpu_check_pending(c);
	a = fpu_area_open(c, i, env_size(i), 1, false);
	fpu_area_read(c, &a, 0, image, env_size(i));
	env_unpack(c, i, image, &e);
	__asm__ volatile("fldenv %0" : : "m"(e));
	return insn_done(c, i, false);
}

enum helper_result helper_fnsave(struct soft_cpu *c, const struct insn *i)
{
	unsigned size = env_size(i);
	struct fpu_area a;
	struct x87_state s;
	u8 image[sizeof(s)];

	fpu_check_x87(c);
	a = fpu_area_open(c, i, size + sizeof(s.st), 1, true);
	host_fxsave(c);
	find_pointers(c, c->xbuf);
	__asm__ volatile("fnsave %0" : "=m"(s));
	env_pack(c, i, &s.env, image);
	memcpy(image + size, s.st, sizeof(s.st));
	fpu_area_write(c, &a, 0, image, size + sizeof(s.st));
	set_pointers(c, 0, 0, 0);
	return insn_done(c, i, false);
}

enum helper_result helper_frstor(struct soft_cpu *c, const struct insn *i)
{
	unsigned size = env_size(i);
	struct fpu_area a;
	struct x87_state s;
	u8 image[sizeof(s)];

	fpu_check_x87(c);
	fpu_check_pending(c);
	a = fpu_area_open(c, i, size + sizeof(s.st), 1, false);
	fpu_area_read(c, &a, 0, image, size + sizeof(s.st));
	env_unpack(c, i, image, &s.env);
	memcpy(s.st, image + size, sizeof(s.st));
	__asm__ volatile("frstor %0" : : "m"(s));
	return insn_done(c, i, false);
}
