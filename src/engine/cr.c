// SPDX-License-Identifier: MIT
/*
 * Control registers: SDM "Control Registers", and "MOV - Move to/from Control
 * Registers" for the order and the rules of its faults.
 *
 * A write is checked as a whole, PAE's page-directory-pointer entries are
 * loaded from the new tables, and only then anything changes.
 */
#include "engine/sys.h"

#include "engine/helpers.h"
#include "engine/vmx/ept.h"
#include "engine/vmx/vmx.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR3_NOFLUSH BIT(63)

/* ---- Valid values ---- */

static bool code64_or_16bit_tss(const struct soft_cpu *c)
{
	unsigned type = SEG_TYPE(&c->s.tr);

	return (c->s.seg[SEG_CS].ar & SEG_L) || type == DESC_TSS16 || type == DESC_TSS16_BUSY;
}

static bool cr0_paging_valid(const struct soft_cpu *c, u64 v)
{
	bool on = (v & ~c->s.cr0) & CR0_PG, off = (c->s.cr0 & ~v) & CR0_PG;

	if (on && (c->s.msr.efer & EFER_LME))
		return (c->s.cr4 & CR4_PAE) && !code64_or_16bit_tss(c);
	if (off)
		return !(c->s.cr4 & CR4_PCIDE) && !cpu_code64(c);
	return true;
}

bool cr0_valid(struct soft_cpu *c, u64 v)
{
	if (v >> 32)
		return false;
	if ((v & CR0_PG) && !(v & CR0_PE))
		return false;
	if ((v & CR0_NW) && !(v & CR0_CD))
		return false;
	return cr0_paging_valid(c, v) && vmx_cr_allowed(c, 0, v);
}

static const struct {
	u64 bits;
	enum cpu_feature feature;
} cr4_bits[] = {
	{ CR4_VME | CR4_PVI, FEAT_VME },
	{ CR4_TSD, FEAT_TSC },
	{ CR4_DE, FEAT_DE },
	{ CR4_PSE, FEAT_PSE },
	{ CR4_PAE, FEAT_PAE },
	{ CR4_MCE, FEAT_MCE },
	{ CR4_PGE, FEAT_PGE },
	{ CR4_PCE, FEAT_FPU }, /* always there, though there are no counters */
	{ CR4_OSFXSR, FEAT_FXSR },
	{ CR4_OSXMMEXCPT, FEAT_SSE },
	{ CR4_UMIP, FEAT_UMIP },
	{ CR4_VMXE, FEAT_VMX },
	{ CR4_FSGSBASE, FEAT_FSGSBASE },
	{ CR4_PCIDE, FEAT_PCID },
	{ CR4_OSXSAVE, FEAT_XSAVE },
	{ CR4_SMEP, FEAT_SMEP },
	{ CR4_SMAP, FEAT_SMAP },
	{ CR4_PKE, FEAT_PKU },
};

static u64 cr4_defined(const struct soft_cpu *c)
{
	u64 bits = 0;

	for (unsigned n = 0; n < ARRAY_SIZE(cr4_bits); n++)
		if (cpu_has(cpu_model(c), cr4_bits[n].feature))
			bits |= cr4_bits[n].bits;
	return bits;
}

bool cr4_valid(struct soft_cpu *c, u64 v)
{
	if (v & ~cr4_defined(c))
		return false;
	if (cpu_long_mode(c) && !(v & CR4_PAE))
		return false;
	if ((v & ~c->s.cr4) & CR4_PCIDE)
		if (!cpu_long_mode(c) || (c->s.cr3 & 0xfff))
			return false;
	return vmx_cr_allowed(c, 4, v);
}

static bool cr3_valid(const struct soft_cpu *c, u64 v)
{
	return !cpu_long_mode(c) || !(v >> cpu_model(c)->phys_bits);
}

/* ---- Setting ---- */

void efer_set(struct soft_cpu *c, u64 v)
{
	c->s.msr.efer = v;
	c->mode_changed = true;
}

void cr0_set(struct soft_cpu *c, u64 v, bool flush)
{
	u64 changed = c->s.cr0 ^ v;

	c->s.cr0 = v;
	if (changed & CR0_PG) {
		if ((v & CR0_PG) && (c->s.msr.efer & EFER_LME))
			efer_set(c, c->s.msr.efer | EFER_LMA);
		else
			efer_set(c, c->s.msr.efer & ~EFER_LMA);
	}
	if (flush && (changed & (CR0_PG | CR0_WP)))
		tlb_flush_current(c);
	c->mode_changed = true;
}

void cr3_set(struct soft_cpu *c, u64 v, bool flush)
{
	c->s.cr3 = v;
	if (flush && (c->s.cr4 & CR4_PCIDE))
		tlb_flush_pcid(c, v & 0xfff);
	else if (flush)
		tlb_flush_nonglobal(c);
	c->mode_changed = true;
}

void cr4_set(struct soft_cpu *c, u64 v, bool flush)
{
	u64 changed = c->s.cr4 ^ v;

	c->s.cr4 = v;
	if (flush && (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP |
				 CR4_PKE)))
		tlb_flush_current(c);
	c->mode_changed = true;
}

/* ---- PAE paging: SDM "PDPTE Registers" ---- */

static u64 read_pdpte(struct soft_cpu *c, l2pa_t pa)
{
	struct ept_xlat x = { .gpa = pa };
	u64 e;

	/* These loads count as reads even with EPT's accessed and dirty flags. */
	if (c->eptp && ept_translate(c, pa, EPT_READ, false, &x) != EPT_OK)
		vmx_exit_ept(c, &x, false, 0);
	return phys_read(c, x.gpa, &e, sizeof(e)) ? e : ~0ull;
}

/* Loads the four entries of the table at @cr3, or raises #GP(0). */
static void load_pdptes(struct soft_cpu *c, u64 cr3)
{
	u64 reserved = ~(BIT(cpu_model(c)->phys_bits) - 1) | 0x1e6;
	u64 e[4];

	for (unsigned n = 0; n < 4; n++) {
		e[n] = read_pdpte(c, (cr3 & 0xffffffe0) + 8 * n);
		if ((e[n] & 1) && (e[n] & reserved))
			cpu_raise(c, X86_GP, 0);
	}
	for (unsigned n = 0; n < 4; n++)
		c->s.pdpte[n] = e[n];
}

/* With these values, would PAE paging (of 32-bit modes) be used? */
static bool pae_paging(const struct soft_cpu *c, u64 cr0, u64 cr4)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(c->s.msr.efer & EFER_LME);
}

/* ---- MOV to and from CR ---- */

static void write_cr0(struct soft_cpu *c, u64 v)
{
	u64 changed;

	if (!cr0_valid(c, v))
		cpu_raise(c, X86_GP, 0);
	v = (v & CR0_DEFINED) | CR0_ET;
	changed = c->s.cr0 ^ v;
	if (pae_paging(c, v, c->s.cr4) && (changed & (CR0_PG | CR0_CD | CR0_NW)))
		load_pdptes(c, c->s.cr3);
	cr0_set(c, v, true);
}

static void write_cr3(struct soft_cpu *c, u64 v)
{
	bool keep = false;

	if (c->s.cr4 & CR4_PCIDE) {
		keep = v & CR3_NOFLUSH;
		v &= ~CR3_NOFLUSH;
	}
	if (!cr3_valid(c, v))
		cpu_raise(c, X86_GP, 0);
	if (pae_paging(c, c->s.cr0, c->s.cr4))
		load_pdptes(c, v);
	cr3_set(c, v, !keep);
}

static void write_cr4(struct soft_cpu *c, u64 v)
{
	u64 changed = c->s.cr4 ^ v;

	if (!cr4_valid(c, v))
		cpu_raise(c, X86_GP, 0);
	if (pae_paging(c, c->s.cr0, v) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)))
		load_pdptes(c, c->s.cr3);
	cr4_set(c, v, true);
}

static void write_cr8(struct soft_cpu *c, const struct insn *i, u64 v)
{
	if (v > 15)
		cpu_raise(c, X86_GP, 0);
	if (c->vmx_non_root && vmx_tpr_shadow(c))
		vmx_cr8_write(c, i, v);
	else
		lapic_set_tpr(&c->lapic, (u8)(v << 4));
}

enum helper_result helper_mov_to_cr(struct soft_cpu *c, const struct insn *i)
{
	unsigned cr = i->op[0].reg;
	u64 v = gpr_get(c, i->op[1].reg, i->op[1].size);

	if (cr > 8 || !(BIT(cr) & 0x11d))
		cpu_raise(c, X86_UD, 0);
	need_cpl0(c);
	if (c->vmx_non_root)
		v = vmx_check_mov_to_cr(c, i, cr, v);
	switch (cr) {
	case 0:
		write_cr0(c, v);
		break;
	case 2:
		c->s.cr2 = v;
		break;
	case 3:
		write_cr3(c, v);
		break;
	case 4:
		write_cr4(c, v);
		break;
	case 8:
		write_cr8(c, i, v);
		break;
	}
	return insn_done(c, i, true);
}

static u64 read_cr(struct soft_cpu *c, unsigned cr)
{
	switch (cr) {
	case 0:
		return c->vmx_non_root ? vmx_read_cr0(c) : c->s.cr0;
	case 2:
		return c->s.cr2;
	case 3:
		return c->s.cr3;
	case 4:
		return c->vmx_non_root ? vmx_read_cr4(c) : c->s.cr4;
	default:
		if (c->vmx_non_root && vmx_tpr_shadow(c))
			return vmx_cr8_read(c);
		return lapic_tpr(&c->lapic) >> 4;
	}
}

enum helper_result helper_mov_from_cr(struct soft_cpu *c, const struct insn *i)
{
	unsigned cr = i->op[1].reg;

	if (cr > 8 || !(BIT(cr) & 0x11d))
		cpu_raise(c, X86_UD, 0);
	need_cpl0(c);
	if (c->vmx_non_root && (cr == 3 || cr == 8))
		vmx_check_mov_from_cr(c, i, cr);
	gpr_set(c, i->op[0].reg, i->op[0].size, read_cr(c, cr));
	return insn_done(c, i, false);
}

enum helper_result helper_clts(struct soft_cpu *c, const struct insn *i)
{
	need_cpl0(c);
	if (!(c->vmx_non_root && vmx_check_clts(c, i)))
		cr0_set(c, c->s.cr0 & ~CR0_TS, true);
	return insn_done(c, i, true);
}

/* PE can be set by LMSW but not cleared. */
enum helper_result helper_lmsw(struct soft_cpu *c, const struct insn *i)
{
	u64 low, old = c->s.cr0;

	need_cpl0(c);
	low = operand_read(c, i, 0) & 0xffff;
	low = c->vmx_non_root ? vmx_check_lmsw(c, i, (u16)low) : low & 0xf;
	write_cr0(c, (old & ~0xeull) | low);
	return insn_done(c, i, true);
}

enum helper_result helper_smsw(struct soft_cpu *c, const struct insn *i)
{
	check_umip(c);
	operand_write(c, i, 0, read_cr(c, 0));
	return insn_done(c, i, false);
}
