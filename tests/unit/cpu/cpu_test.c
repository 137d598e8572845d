// SPDX-License-Identifier: MIT
#include "cpu/cpu.h"

#include "../../lib/test.h"
#include "cpu/model.h"
#include "x86/regs.h"

TEST(cpu, reset_starts_at_the_reset_vector)
{
	static struct cpu_state s;

	cpu_state_reset(&s, true);
	CHECK_EQ(s.seg[SEG_CS].base + s.rip, 0xfffffff0);
	CHECK_EQ(s.seg[SEG_CS].sel, 0xf000);
	CHECK_EQ(s.cr0, 0x60000010);
	CHECK_EQ(s.rflags, 2);
	CHECK_EQ(s.gpr[RDX], CPU_SIGNATURE);
	CHECK_EQ(s.dr6, 0xffff0ff0);
	CHECK_EQ(s.dr7, 0x400);
	CHECK_EQ(s.xcr0, 1);
	CHECK_EQ(s.msr.pat, 0x0007040600070406);
	CHECK_EQ(s.activity, CPU_ACTIVE);
	cpu_state_reset(&s, false);
	CHECK_EQ(s.activity, CPU_WAIT_SIPI);
}

TEST(cpu, init_keeps_msrs_caches_and_fpu)
{
	static struct cpu_state s;

	cpu_state_reset(&s, true);
	s.cr0 = CR0_PE | CR0_PG | CR0_CD | CR0_NE;
	s.cr4 = CR4_PAE;
	s.msr.efer = EFER_LMA | EFER_LME;
	s.msr.lstar = 0x1234;
	s.xcr0 = 7;
	s.tsc_offset = 99;
	s.xsave[0] = 0x7f;
	cpu_state_init(&s, false);
	CHECK_EQ(s.cr0, CR0_CD | CR0_ET);
	CHECK_EQ(s.cr4, 0);
	CHECK_EQ(s.msr.efer, 0);
	CHECK_EQ(s.msr.lstar, 0x1234);
	CHECK_EQ(s.xcr0, 7);
	CHECK_EQ(s.tsc_offset, 99);
	CHECK_EQ(s.xsave[0], 0x7f);
	CHECK_EQ(s.activity, CPU_WAIT_SIPI);
}
