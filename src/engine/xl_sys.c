// SPDX-License-Identifier: MIT
/*
 * Own translators: CPUID and the time stamp counter, which programs read in their
 * inner loops. In VMX non-root operation, where they may exit, helpers do both.
 */
#include "engine/helpers.h"
#include "engine/xl.h"
#include "engine/xl_fns.h"

/* By the stub, which knows the answers that helper_cpuid() has given. */
void xl_cpuid(struct xl *x, const struct insn *i)
{
	struct helper_site *s;

	if ((x->mode.bits & MODE_NONROOT) || !xl_code64(x)) {
		xl_helper(x, helper_cpuid, false);
		return;
	}
	s = xl_site(x, i, helper_cpuid);
	xl_flags_to_slot(x, FLAGS_ARITH);
	em_mov_imm(x->e, S1, (u64)s);
	em_call(x->e, x->k->stub.cpuid);
	x->fl = FL_SLOT;
	x->remat = -1;
}

/* CR4.TSD outside CPL 0 is the helper's. */
static void check_tsd(struct xl *x, helper_fn *fn)
{
	u8 *skip;

	if (!(x->mode.bits >> MODE_CPL_SHIFT & 3))
		return;
	em_rm(x->e, 1, 0xf6, 0, MREF(RSP, OFF(s.cr4)));
	em_byte(x->e, CR4_TSD);
	skip = em_jcc(x->e, CC_E, 0);
	xl_helper(x, fn, false);
	em_patch_rel32(x->e, skip, em_here(x->e));
}

/* EDX:EAX = the TSC with root operation's offset. */
static void emit_rdtsc(struct xl *x, helper_fn *fn, bool ordered)
{
	struct emitter *e = x->e;

	/* Two executions of the same block (compare.h) must not read two times. */
	if ((x->mode.bits & MODE_NONROOT) || x->vm->env.compare) {
		xl_helper(x, fn, false);
		return;
	}
	/* The helper and the way around it must leave the flags in the same place. */
	xl_flags_to_slot(x, FLAGS_ARITH);
	x->fl = FL_SLOT;
	x->remat = -1;
	check_tsd(x, fn);
	if (ordered)
		em_rr(e, 4, 0x0fae, 5, 0); /* lfence */
	em_byte(e, 0x0f);
	em_byte(e, 0x31);
	em_rr(e, 8, 0xc1, 4, RDX);
	em_byte(e, 32);
	em_rr(e, 8, 0x09, RDX, RAX);
	em_rm(e, 8, 0x03, RAX, MREF(RSP, OFF(s.tsc_offset)));
	em_mov_rr(e, 8, RDX, RAX);
	em_rr(e, 8, 0xc1, 5, RDX);
	em_byte(e, 32);
	em_mov_rr(e, 4, RAX, RAX);
}

void xl_rdtsc(struct xl *x, const struct insn *i)
{
	(void)i;
	emit_rdtsc(x, helper_rdtsc, false);
}

void xl_rdtscp(struct xl *x, const struct insn *i)
{
	(void)i;
	emit_rdtsc(x, helper_rdtscp, true);
	if (!(x->mode.bits & MODE_NONROOT))
		em_load(x->e, 4, RCX, MREF(RSP, OFF(s.msr.tsc_aux)));
}
