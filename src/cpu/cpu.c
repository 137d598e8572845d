// SPDX-License-Identifier: MIT
/*
 * The state a processor starts with: SDM "IA-32 and Intel 64 Processor States
 * Following Power-up, Reset, or INIT".
 */
#include "cpu/cpu.h"

#include <string.h>

#include "cpu/model.h"
#include "x86/regs.h"

enum { AR_CODE_RESET = 0x9b, AR_DATA_RESET = 0x93, AR_LDT = 0x82, AR_TSS_BUSY = 0x8b };

enum { XSAVE_FCW = 0, XSAVE_FTW = 4, XSAVE_MXCSR = 24, XSAVE_XSTATE_BV = 512 };

static void reset_segments(struct cpu_state *s)
{
	for (unsigned i = 0; i < NR_SEGS; i++)
		s->seg[i] = (struct seg){ .limit = 0xffff, .ar = AR_DATA_RESET };
	s->seg[SEG_CS] = (struct seg){
		.sel = 0xf000, .base = 0xffff0000, .limit = 0xffff, .ar = AR_CODE_RESET,
	};
	s->ldtr = (struct seg){ .limit = 0xffff, .ar = AR_LDT };
	s->tr = (struct seg){ .limit = 0xffff, .ar = AR_TSS_BUSY };
	s->gdtr = (struct desc_table){ .limit = 0xffff };
	s->idtr = (struct desc_table){ .limit = 0xffff };
}

/* What RESET and INIT have in common. */
static void reset_common(struct cpu_state *s, bool bsp)
{
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[RDX] = CPU_SIGNATURE;
	s->rip = 0xfff0;
	s->rflags = RFLAGS_RSV1;
	reset_segments(s);
	s->cr2 = s->cr3 = s->cr4 = s->cr8 = 0;
	s->msr.efer = 0;
	memset(s->dr, 0, sizeof(s->dr));
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	memset(s->pdpte, 0, sizeof(s->pdpte));
	s->activity = bsp ? CPU_ACTIVE : CPU_WAIT_SIPI;
	s->sti_shadow_rip = s->movss_shadow_rip = ~0ull;
	s->nmi_blocked = s->init_pending = s->sipi_pending = false;
	s->nmi_pending = 0;
}

static void put32(u8 *p, u32 v)
{
	memcpy(p, &v, sizeof(v));
}

void cpu_state_reset(struct cpu_state *s, bool bsp)
{
	memset(s, 0, sizeof(*s));
	reset_common(s, bsp);
	s->cr0 = CR0_CD | CR0_NW | CR0_ET;
	s->xcr0 = XCR0_X87;
	s->msr.pat = 0x0007040600070406;
	s->msr.misc_enable = MISC_ENABLE_RESET;

	/* All tags are "zero", hence not empty. x87 is not in XRSTOR's initial
	 * configuration (FCW 037FH), so XSTATE_BV must name it. */
	s->xsave[XSAVE_FCW] = 0x40;
	s->xsave[XSAVE_FTW] = 0xff;
	put32(s->xsave + XSAVE_MXCSR, 0x1f80);
	s->xsave[XSAVE_XSTATE_BV] = XCR0_X87 | XCR0_SSE;
}

void cpu_state_init(struct cpu_state *s, bool bsp)
{
	u64 kept = s->cr0 & (CR0_CD | CR0_NW);

	reset_common(s, bsp);
	s->cr0 = kept | CR0_ET;
}
