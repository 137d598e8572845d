// SPDX-License-Identifier: MIT
/*
 * Own translators: CLI, STI and PUSHF, which kernels execute around every lock.
 * CLI and STI at CPL 0 only set a bit of cpu.rflags. STI looks at
 * cpu.irq_held, which event_poll() leaves when something waits for IF, and goes
 * the long way (helper_sti()) if so.
 */
#include "engine/helpers.h"
#include "engine/xl.h"
#include "engine/xl_fns.h"

static bool at_cpl0(const struct xl *x)
{
	return !(x->mode.bits >> MODE_CPL_SHIFT & 3);
}

/* IF is bit 9 of RFLAGS: bit 1 of its second byte. */
#define MREF_IF MREF(RSP, OFF(s.rflags) + 1)

void xl_cli(struct xl *x, const struct insn *i)
{
	(void)i;
	if (!at_cpl0(x)) {
		xl_helper(x, helper_cli, false);
		return;
	}
	xl_free_flags(x);
	em_alu_mem_imm(x->e, 1, 4, MREF_IF, (s8)0xfd);
	xl_clobbered(x);
}

void xl_sti(struct xl *x, const struct insn *i)
{
	gva_t next = insn_next(i);
	u8 *skip;

	if (!at_cpl0(x) || (s64)next != (s32)next) {
		xl_helper(x, helper_sti, false);
		return;
	}
	/* Both ways must leave the flags in the same place. */
	xl_free_flags(x);
	if (x->fl == FL_REMAT)
		xl_flags_to_slot(x, FLAGS_ARITH);
	em_alu_mem_imm(x->e, 1, 7, MREF(RSP, OFF(irq_held)), 0);
	xl_clobbered(x);
	skip = em_jcc(x->e, CC_E, 0);
	xl_helper(x, helper_sti, false);
	em_patch_rel32(x->e, skip, em_here(x->e));
	/* A shadow although IF was set already does no harm. */
	em_alu_mem_imm(x->e, 1, 1, MREF_IF, 2);
	em_store_imm(x->e, 8, MREF(RSP, OFF(s.sti_shadow_rip)), (s32)next);
}

/* S1 = RFLAGS as PUSHF shows them; flags are in the slot. */
static void compose_flags(struct xl *x)
{
	struct emitter *e = x->e;

	em_load(e, 4, S1, MREF(RSP, OFF(s.rflags)));
	em_alu_imm(e, 4, 4, S1, (s32)~(u32)(RFLAGS_RF | RFLAGS_VM | RFLAGS_ARITH));
	em_load(e, 1, S0, MREF(RSP, OFF(flags) + 1));
	em_rr(e, 4, 0x09, S0, S1);
	em_load(e, 1, S0, MREF(RSP, OFF(flags)));
	em_rr(e, 4, 0xc1, 4, S0); /* OF is bit 11 */
	em_byte(e, 11);
	em_rr(e, 4, 0x09, S0, S1);
}

void xl_pushf(struct xl *x, const struct insn *i)
{
	s32 size = i->opsize;

	if (!xl_stack_plain(x) || (x->mode.bits & MODE_REAL) || size == 2) {
		xl_helper(x, helper_pushf, false);
		return;
	}
	xl_flags_to_slot(x, FLAGS_ARITH);
	compose_flags(x);
	em_store(x->e, 8, MREF(RSP, OFF(spill[0])), S1);
	xl_clobbered(x);
	xl_stack(x, RSP, -size, (unsigned)size, true);
	em_load(x->e, 8, S1, MREF(RSP, OFF(spill[0])));
	em_store(x->e, (unsigned)size, MREF(S0, 0), S1);
	em_lea(x->e, xl_code64(x) ? 8 : 4, HOST_RSP, MREF(HOST_RSP, -size));
}
