// SPDX-License-Identifier: MIT
/*
 * RDMSR and WRMSR: the rows of x86/msr.def, the x2APIC and VMX ranges. What an
 * MSR does beyond being remembered is in its read_NAME() and write_NAME().
 */
#include "engine/sys.h"
#include "engine/vmx/vmx.h"

enum { MICROCODE_REVISION = 0x10d, X2APIC_FIRST = 0x800, X2APIC_LAST = 0x8ff,
       VMX_FIRST = 0x480, VMX_LAST = 0x491 };

/* ---- Checks of values to be written: false is #GP(0) ---- */

typedef bool check_fn(const struct soft_cpu *c, u64 value);

static bool check_any(const struct soft_cpu *c, u64 v)
{
	(void)c;
	(void)v;
	return true;
}

static bool check_zero(const struct soft_cpu *c, u64 v)
{
	(void)c;
	return v == 0;
}

static bool check_low32(const struct soft_cpu *c, u64 v)
{
	(void)c;
	return v >> 32 == 0;
}

static bool check_canonical(const struct soft_cpu *c, u64 v)
{
	(void)c;
	return addr_canonical(v);
}

static bool check_mcg_status(const struct soft_cpu *c, u64 v)
{
	(void)c;
	return (v & ~7ull) == 0;
}

/* Locked once, it stays as it is until RESET. There is no SMX, SGX, or LMCE. */
static bool check_feature_control(const struct soft_cpu *c, u64 v)
{
	enum { LOCK = BIT(0), VMX_OUTSIDE_SMX = BIT(2) };

	return !(c->s.msr.feature_control & LOCK) && !(v & ~(u64)(LOCK | VMX_OUTSIDE_SMX));
}

/* Fast strings and the automatic thermal control may be switched; what says
 * that something is missing (performance monitoring, branch traces) is ignored. */
static bool check_misc_enable(const struct soft_cpu *c, u64 v)
{
	enum { FAST_STRINGS = BIT(0), TCC = BIT(3), PERFMON = BIT(7), BTS_PEBS = 3 << 11 };

	(void)c;
	return !(v & ~(u64)(FAST_STRINGS | TCC | PERFMON | BTS_PEBS));
}

/* Is each byte of @v a memory type out of the set @types? */
static bool types_valid(u64 v, unsigned types)
{
	for (unsigned n = 0; n < 8; n++, v >>= 8)
		if ((v & 0xff) > 7 || !(types >> (v & 7) & 1))
			return false;
	return true;
}

/* UC, WC, WT, WP, WB; PAT also has UC-. */
enum { MTRR_TYPES = 0x73, PAT_TYPES = 0xf3 };

static bool check_pat_types(const struct soft_cpu *c, u64 v)
{
	(void)c;
	return types_valid(v, PAT_TYPES);
}

static bool check_mtrr_types(const struct soft_cpu *c, u64 v)
{
	(void)c;
	return types_valid(v, MTRR_TYPES);
}

static u64 phys_mask(const struct soft_cpu *c)
{
	return BIT(cpu_model(c)->phys_bits) - 1;
}

static bool check_mtrr_base(const struct soft_cpu *c, u64 v)
{
	return !(v & ~(phys_mask(c) & PAGE_MASK) & ~0xffull) && types_valid(v & 0xff, MTRR_TYPES);
}

static bool check_mtrr_mask(const struct soft_cpu *c, u64 v)
{
	return !(v & ~(phys_mask(c) & PAGE_MASK) & ~BIT(11));
}

static bool check_mtrr_def(const struct soft_cpu *c, u64 v)
{
	(void)c;
	return !(v & ~0xcffull) && types_valid(v & 0xff, MTRR_TYPES);
}

/* ---- MSRs that do something ---- */

static u64 l1_tsc(const struct soft_cpu *c)
{
	return __builtin_ia32_rdtsc() + c->s.tsc_offset;
}

u64 cpu_guest_tsc(struct soft_cpu *c)
{
	return l1_tsc(c) + (c->vmx_non_root ? vmx_tsc_offset(c) : 0);
}

static bool read_TSC(struct soft_cpu *c, u64 *v)
{
	*v = cpu_guest_tsc(c);
	return true;
}

/* "WRMSR to IA32_TSC adds to IA32_TSC_ADJUST" what it adds to the TSC. */
static bool write_TSC(struct soft_cpu *c, u64 v)
{
	u64 change = v - l1_tsc(c);

	c->s.tsc_offset += change;
	c->s.msr.tsc_adjust += change;
	lapic_tsc_changed(&c->lapic);
	return true;
}

static bool read_TSC_ADJUST(struct soft_cpu *c, u64 *v)
{
	*v = c->s.msr.tsc_adjust;
	return true;
}

static bool write_TSC_ADJUST(struct soft_cpu *c, u64 v)
{
	c->s.tsc_offset += v - c->s.msr.tsc_adjust;
	c->s.msr.tsc_adjust = v;
	lapic_tsc_changed(&c->lapic);
	return true;
}

static bool read_TSC_DEADLINE(struct soft_cpu *c, u64 *v)
{
	*v = lapic_get_tsc_deadline(&c->lapic);
	return true;
}

static bool write_TSC_DEADLINE(struct soft_cpu *c, u64 v)
{
	lapic_set_tsc_deadline(&c->lapic, v);
	return true;
}

static bool read_APIC_BASE(struct soft_cpu *c, u64 *v)
{
	*v = c->lapic.apic_base;
	return true;
}

static bool write_APIC_BASE(struct soft_cpu *c, u64 v)
{
	u64 old = c->lapic.apic_base;

	if ((v & APIC_BASE_X2APIC) && !cpu_has(cpu_model(c), FEAT_X2APIC))
		return false;
	if (!lapic_set_base(&c->lapic, v, cpu_model(c)->phys_bits))
		return false;
	if (v != old)
		tlb_flush_everything(c); /* the register page moved or went */
	return true;
}

static bool read_ARCH_CAPABILITIES(struct soft_cpu *c, u64 *v)
{
	(void)c;
	*v = cpu_model_arch_capabilities();
	return true;
}

static bool write_ARCH_CAPABILITIES(struct soft_cpu *c, u64 v)
{
	(void)c;
	(void)v;
	return false;
}

static bool read_DEBUGCTL(struct soft_cpu *c, u64 *v)
{
	*v = c->s.msr.debugctl;
	return true;
}

/* LBR (0) is accepted and forgotten: there are no last-branch records. BTF (1)
 * is remembered. */
static bool write_DEBUGCTL(struct soft_cpu *c, u64 v)
{
	enum { LBR = BIT(0), BTF = BIT(1) };

	if (v & ~(u64)(LBR | BTF))
		return false;
	c->s.msr.debugctl = v & BTF;
	return true;
}

static bool read_EFER(struct soft_cpu *c, u64 *v)
{
	*v = c->s.msr.efer;
	return true;
}

static bool write_EFER(struct soft_cpu *c, u64 v)
{
	u64 old = c->s.msr.efer, defined = EFER_SCE | EFER_LME | EFER_LMA;

	if (cpu_has(cpu_model(c), FEAT_NX))
		defined |= EFER_NXE;
	if (v & ~defined)
		return false;
	if (((v ^ old) & EFER_LME) && (c->s.cr0 & CR0_PG))
		return false;
	v = (v & ~EFER_LMA) | (old & EFER_LMA); /* read-only */
	efer_set(c, v);
	if ((v ^ old) & EFER_NXE)
		tlb_flush_current(c);
	return true;
}

static bool write_base(struct soft_cpu *c, enum seg_reg seg, u64 v)
{
	if (!addr_canonical(v))
		return false;
	seg_set_base(c, seg, v);
	return true;
}

static bool read_FS_BASE(struct soft_cpu *c, u64 *v)
{
	*v = c->s.seg[SEG_FS].base;
	return true;
}

static bool write_FS_BASE(struct soft_cpu *c, u64 v)
{
	return write_base(c, SEG_FS, v);
}

static bool read_GS_BASE(struct soft_cpu *c, u64 *v)
{
	*v = c->s.seg[SEG_GS].base;
	return true;
}

static bool write_GS_BASE(struct soft_cpu *c, u64 v)
{
	return write_base(c, SEG_GS, v);
}

/* ---- Rows ---- */

enum msr_kind { KIND_STATE, KIND_CONST, KIND_IGNORE, KIND_CALL };

struct msr_row {
	u8 kind; /* enum msr_kind */
	u8 gate; /* enum cpu_feature, or NR_FEATURES */
	u16 offset; /* KIND_STATE: in struct cpu_msrs */
	u64 value;  /* KIND_CONST, KIND_IGNORE */
	check_fn *check;
	bool (*read)(struct soft_cpu *c, u64 *value);
	bool (*write)(struct soft_cpu *c, u64 value);
};

enum { FEAT_BASE = NR_FEATURES };

enum row_number {
#define MSR_STATE(number, name, gate, member, check) ROW_##name,
#define MSR_CONST(number, name, gate, value) ROW_##name,
#define MSR_IGNORE(number, name, gate, value) ROW_##name,
#define MSR_CALL(number, name, gate) ROW_##name,
#include "x86/msr.def"
#undef MSR_STATE
#undef MSR_CONST
#undef MSR_IGNORE
#undef MSR_CALL
	NR_ROWS
};

static const struct msr_row rows[NR_ROWS] = {
#define MSR_STATE(number, name, feat, member, chk)                                                 \
	[ROW_##name] = { .kind = KIND_STATE, .gate = FEAT_##feat, .check = check_##chk,            \
			 .offset = offsetof(struct cpu_msrs, member) },
#define MSR_CONST(number, name, feat, val)                                                         \
	[ROW_##name] = { .kind = KIND_CONST, .gate = FEAT_##feat, .value = val },
#define MSR_IGNORE(number, name, feat, val)                                                        \
	[ROW_##name] = { .kind = KIND_IGNORE, .gate = FEAT_##feat, .value = val },
#define MSR_CALL(number, name, feat)                                                               \
	[ROW_##name] = { .kind = KIND_CALL, .gate = FEAT_##feat, .read = read_##name,              \
			 .write = write_##name },
#include "x86/msr.def"
#undef MSR_STATE
#undef MSR_CONST
#undef MSR_IGNORE
#undef MSR_CALL
};

/* The compiler makes a search of this, and finds numbers given twice. */
static int row_number(u32 msr)
{
	switch (msr) {
#define MSR_STATE(number, name, gate, member, check)                                               \
	case number:                                                                               \
		return ROW_##name;
#define MSR_CONST(number, name, gate, value) MSR_STATE(number, name, gate, 0, 0)
#define MSR_IGNORE(number, name, gate, value) MSR_STATE(number, name, gate, 0, 0)
#define MSR_CALL(number, name, gate) MSR_STATE(number, name, gate, 0, 0)
#include "x86/msr.def"
#undef MSR_STATE
#undef MSR_CONST
#undef MSR_IGNORE
#undef MSR_CALL
	}
	return -1;
}

static const struct msr_row *row_find(const struct soft_cpu *c, u32 msr)
{
	int n = row_number(msr);

	if (n < 0)
		return NULL;
	if (rows[n].gate != FEAT_BASE && !cpu_has(cpu_model(c), (enum cpu_feature)rows[n].gate))
		return NULL;
	return &rows[n];
}

static u64 *row_state(struct soft_cpu *c, const struct msr_row *r)
{
	return (u64 *)(void *)((u8 *)&c->s.msr + r->offset);
}

bool msr_read(struct soft_cpu *c, u32 msr, u64 *value)
{
	const struct msr_row *r;

	if (msr >= X2APIC_FIRST && msr <= X2APIC_LAST)
		return lapic_x2apic_read(&c->lapic, msr, value);
	if (msr >= VMX_FIRST && msr <= VMX_LAST)
		return c->vmx && vmx_cap_msr(c, msr, value);
	r = row_find(c, msr);
	if (!r)
		return false;
	switch (r->kind) {
	case KIND_STATE:
		*value = *row_state(c, r);
		return true;
	case KIND_CALL:
		return r->read(c, value);
	default:
		*value = r->value;
		return true;
	}
}

bool msr_write(struct soft_cpu *c, u32 msr, u64 value)
{
	const struct msr_row *r;

	if (msr >= X2APIC_FIRST && msr <= X2APIC_LAST)
		return lapic_x2apic_write(&c->lapic, msr, value);
	r = row_find(c, msr);
	if (!r)
		return false;
	switch (r->kind) {
	case KIND_STATE:
		if (!r->check(c, value))
			return false;
		*row_state(c, r) = value;
		return true;
	case KIND_CALL:
		return r->write(c, value);
	default:
		return r->kind == KIND_IGNORE;
	}
}
