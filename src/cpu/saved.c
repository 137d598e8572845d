// SPDX-License-Identifier: MIT
/* The rows of a saved vCPU; tests/unit/cpu/saved_test.c finds a member without one. */
#include "cpu/saved.h"

#include "base/state.h"
#include "cpu/cpu.h"

#define ROW(member) STATE_ROW(struct cpu_state, member)

static const struct state_row rows[] = {
	ROW(gpr), ROW(rip), ROW(rflags), ROW(seg), ROW(ldtr), ROW(tr), ROW(gdtr), ROW(idtr),
	ROW(cr0), ROW(cr2), ROW(cr3), ROW(cr4), ROW(cr8), ROW(dr), ROW(dr6), ROW(dr7), ROW(pdpte),
	ROW(xcr0), ROW(pkru),
	ROW(msr.efer), ROW(msr.star), ROW(msr.lstar), ROW(msr.cstar), ROW(msr.fmask),
	ROW(msr.kernel_gs_base), ROW(msr.sysenter_cs), ROW(msr.sysenter_esp), ROW(msr.sysenter_eip),
	ROW(msr.tsc_aux), ROW(msr.tsc_adjust), ROW(msr.pat), ROW(msr.misc_enable),
	ROW(msr.spec_ctrl), ROW(msr.feature_control), ROW(msr.xss), ROW(msr.mtrr_def_type),
	ROW(msr.mtrr_fixed), ROW(msr.mtrr_var), ROW(msr.mcg_status), ROW(msr.debugctl),
	ROW(activity), ROW(sti_shadow_rip), ROW(movss_shadow_rip), ROW(nmi_blocked),
	ROW(nmi_pending), ROW(init_pending), ROW(sipi_pending), ROW(sipi_vector), ROW(tsc_offset),
	ROW(xsave),
};

const struct state_desc cpu_state_desc = STATE_DESC("vcpu", 1, rows);
