// SPDX-License-Identifier: MIT
/*
 * System instructions that are not about control registers (cr.c), descriptors
 * (desc.c) or ports (io.c): identification and time, MSRs, debug registers,
 * extended control registers, caches and translations, FS and GS bases.
 *
 * Each helper keeps the order of the SDM: #UD, privilege, VM exit, the rest.
 */
#include "engine/sys.h"

#include <sched.h>

#include "engine/helpers.h"
#include "engine/vmx/vmx.h"

/* ---- Operands ---- */

u64 operand_read(struct soft_cpu *c, const struct insn *i, unsigned n)
{
	const struct operand *o = &i->op[n];

	if (o->kind != OPND_MEM)
		return gpr_get(c, o->reg, o->size);
	return guest_read(c, insn_linear(c, i, o->size, false), o->size, AS_CURRENT);
}

void operand_write(struct soft_cpu *c, const struct insn *i, unsigned n, u64 value)
{
	const struct operand *o = &i->op[n];

	if (o->kind != OPND_MEM)
		gpr_set(c, o->reg, o->size, value);
	else
		guest_write(c, insn_linear(c, i, o->size, true), o->size, value, AS_CURRENT);
}

gva_t insn_linear_unchecked(struct soft_cpu *c, const struct insn *i)
{
	u64 off = insn_offset(c, i);

	if (cpu_code64(c))
		return i->mem.seg >= SEG_FS ? c->s.seg[i->mem.seg].base + off : off;
	return (u32)(c->s.seg[i->mem.seg].base + off);
}

static void set_edx_eax(struct soft_cpu *c, u64 v)
{
	c->s.gpr[RAX] = (u32)v;
	c->s.gpr[RDX] = v >> 32;
}

static u64 edx_eax(const struct soft_cpu *c)
{
	return (u32)c->s.gpr[RAX] | c->s.gpr[RDX] << 32;
}

/* ---- Identification and time ---- */

static bool same_state(const u64 a[4], const u64 b[4])
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

/* A leaf's answer, kept until the state that some leaves follow changes. */
static const struct cpuid_regs *cpuid_leaf(struct soft_cpu *c, u32 leaf, u32 subleaf)
{
	const u64 state[4] = { c->s.cr4 | (u64)cpu_code64(c) << 63, c->s.xcr0, c->s.msr.xss,
			       c->lapic.apic_base };
	struct cpuid_memo *m = &c->cpuid_memo[(leaf ^ leaf >> 28 ^ subleaf * 5) %
					      ARRAY_SIZE(c->cpuid_memo)];

	if (unlikely(!m->valid || m->leaf != leaf || m->subleaf != subleaf ||
		     !same_state(m->state, state))) {
		*m = (struct cpuid_memo){ .valid = true, .leaf = leaf, .subleaf = subleaf };
		__builtin_memcpy(m->state, state, sizeof(state));
		cpu_model_cpuid(cpu_model(c), &c->s, c->lapic.apic_base, c->index, leaf, subleaf,
				&m->regs);
	}
	return &m->regs;
}

enum helper_result helper_cpuid(struct soft_cpu *c, const struct insn *i)
{
	const struct cpuid_regs *r;

	if (c->vmx_non_root)
		vmx_check_cpuid(c, i);
	r = cpuid_leaf(c, (u32)c->s.gpr[RAX], (u32)c->s.gpr[RCX]);
	c->s.gpr[RAX] = r->eax;
	c->s.gpr[RBX] = r->ebx;
	c->s.gpr[RCX] = r->ecx;
	c->s.gpr[RDX] = r->edx;
	return insn_done(c, i, false);
}

static void check_tsd(struct soft_cpu *c)
{
	if ((c->s.cr4 & CR4_TSD) && cpu_cpl(c))
		cpu_raise(c, X86_GP, 0);
}

enum helper_result helper_rdtsc(struct soft_cpu *c, const struct insn *i)
{
	check_tsd(c);
	if (c->vmx_non_root)
		vmx_check_rdtsc(c, i);
	set_edx_eax(c, cpu_guest_tsc(c));
	return insn_done(c, i, false);
}

enum helper_result helper_rdtscp(struct soft_cpu *c, const struct insn *i)
{
	if (c->vmx_non_root && !vmx_allows_rdtscp(c))
		cpu_raise(c, X86_UD, 0);
	check_tsd(c);
	if (c->vmx_non_root)
		vmx_check_rdtscp(c, i);
	set_edx_eax(c, cpu_guest_tsc(c));
	c->s.gpr[RCX] = (u32)c->s.msr.tsc_aux;
	return insn_done(c, i, false);
}

enum helper_result helper_rdpid(struct soft_cpu *c, const struct insn *i)
{
	if (c->vmx_non_root && !vmx_allows_rdtscp(c))
		cpu_raise(c, X86_UD, 0);
	gpr_set(c, i->op[0].reg, i->op[0].size, c->s.msr.tsc_aux);
	return insn_done(c, i, false);
}

/* There are no counters. */
enum helper_result helper_rdpmc(struct soft_cpu *c, const struct insn *i)
{
	if (!(c->s.cr4 & CR4_PCE) && cpu_cpl(c))
		cpu_raise(c, X86_GP, 0);
	if (c->vmx_non_root)
		vmx_check_rdpmc(c, i);
	cpu_raise(c, X86_GP, 0);
}

/* ---- MSRs ---- */

enum helper_result helper_rdmsr(struct soft_cpu *c, const struct insn *i)
{
	u32 msr = (u32)c->s.gpr[RCX];
	u64 v;

	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_rdmsr(c, i, msr);
	if (!msr_read(c, msr, &v))
		cpu_raise(c, X86_GP, 0);
	set_edx_eax(c, v);
	return insn_done(c, i, false);
}

enum helper_result helper_wrmsr(struct soft_cpu *c, const struct insn *i)
{
	u32 msr = (u32)c->s.gpr[RCX];

	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_wrmsr(c, i, msr);
	if (!msr_write(c, msr, edx_eax(c)))
		cpu_raise(c, X86_GP, 0);
	return insn_done(c, i, true);
}

/* ---- Debug registers ---- */

enum { DR6_FIXED = 0xffff0ff0, DR6_WRITABLE = 0xe00f, DR7_FIXED = 0x400, DR7_WRITABLE = 0xffff23ff };
#define DR6_BD BIT(13)
#define DR7_GD BIT(13)

/* What MOV DR has to pass; returns the register, with DR4 and DR5 as the
 * aliases that they are without CR4.DE. The VM exit comes before the checks of
 * privilege and of DR4 and DR5 ("Instructions That Cause VM Exits": MOV DR). */
static unsigned check_mov_dr(struct soft_cpu *c, const struct insn *i, unsigned dr)
{
	struct cpu_event e = { .vector = X86_DB, .type = EVENT_HW_EXC, .dr6 = DR6_BD };

	if (dr > 7)
		cpu_raise(c, X86_UD, 0);
	if (c->vmx_non_root)
		vmx_check_mov_dr(c, i);
	if ((dr == 4 || dr == 5) && (c->s.cr4 & CR4_DE))
		cpu_raise(c, X86_UD, 0);
	need_cpl0(c);
	if (c->s.dr7 & DR7_GD)
		cpu_raise_event(c, &e);
	return dr == 4 || dr == 5 ? dr + 2 : dr;
}

enum helper_result helper_mov_from_dr(struct soft_cpu *c, const struct insn *i)
{
	unsigned dr = check_mov_dr(c, i, i->op[1].reg);
	u64 v = dr < 4 ? c->s.dr[dr] : dr == 6 ? c->s.dr6 : c->s.dr7;

	gpr_set(c, i->op[0].reg, i->op[0].size, v);
	return insn_done(c, i, false);
}

enum helper_result helper_mov_to_dr(struct soft_cpu *c, const struct insn *i)
{
	unsigned dr = check_mov_dr(c, i, i->op[0].reg);
	u64 v = gpr_get(c, i->op[1].reg, i->op[1].size);

	if (dr >= 6 && v >> 32)
		cpu_raise(c, X86_GP, 0);
	if (dr < 4)
		c->s.dr[dr] = v;
	else if (dr == 6)
		c->s.dr6 = (v & DR6_WRITABLE) | DR6_FIXED;
	else
		c->s.dr7 = (v & DR7_WRITABLE) | DR7_FIXED;
	c->mode_changed = true;
	return insn_done(c, i, true);
}

/* ---- Extended control registers ---- */

/* XCR0 & XINUSE. The guest's state is in the host's registers. */
static u64 xinuse(const struct soft_cpu *c)
{
	u32 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(1));
	return (lo | (u64)hi << 32) & c->s.xcr0;
}

enum helper_result helper_xgetbv(struct soft_cpu *c, const struct insn *i)
{
	u32 n = (u32)c->s.gpr[RCX];

	if (!(c->s.cr4 & CR4_OSXSAVE))
		cpu_raise(c, X86_UD, 0);
	if (n > 1 || (n == 1 && !cpu_has(cpu_model(c), FEAT_XGETBV1)))
		cpu_raise(c, X86_GP, 0);
	set_edx_eax(c, n ? xinuse(c) : c->s.xcr0);
	return insn_done(c, i, false);
}

static bool xcr0_valid(const struct soft_cpu *c, u64 v)
{
	u64 zmm = v & XCR0_AVX512;

	if (!(v & XCR0_X87) || (v & ~cpu_model(c)->xcr0_allowed))
		return false;
	if ((v & XCR0_AVX) && !(v & XCR0_SSE))
		return false;
	return !zmm || (zmm == XCR0_AVX512 && (v & XCR0_AVX));
}

enum helper_result helper_xsetbv(struct soft_cpu *c, const struct insn *i)
{
	if (!(c->s.cr4 & CR4_OSXSAVE))
		cpu_raise(c, X86_UD, 0);
	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_xsetbv(c, i);
	if ((u32)c->s.gpr[RCX] || !xcr0_valid(c, edx_eax(c)))
		cpu_raise(c, X86_GP, 0);
	c->s.xcr0 = edx_eax(c);
	c->mode_changed = true;
	return insn_done(c, i, true);
}

static void check_pkru(struct soft_cpu *c)
{
	if (!(c->s.cr4 & CR4_PKE))
		cpu_raise(c, X86_UD, 0);
	if ((u32)c->s.gpr[RCX])
		cpu_raise(c, X86_GP, 0);
}

enum helper_result helper_rdpkru(struct soft_cpu *c, const struct insn *i)
{
	check_pkru(c);
	set_edx_eax(c, c->s.pkru);
	return insn_done(c, i, false);
}

enum helper_result helper_wrpkru(struct soft_cpu *c, const struct insn *i)
{
	check_pkru(c);
	if ((u32)c->s.gpr[RDX])
		cpu_raise(c, X86_GP, 0);
	c->s.pkru = (u32)c->s.gpr[RAX];
	tlb_flush_current(c);
	c->mode_changed = true;
	return insn_done(c, i, true);
}

/* ---- Caches and translations ---- */

/* Guest memory is coherent with everything that we emulate, so writing back is
 * nothing, and so is throwing away: INVD does not lose what was not written. */
enum helper_result helper_invd(struct soft_cpu *c, const struct insn *i)
{
	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_invd(c, i);
	return insn_done(c, i, false);
}

enum helper_result helper_wbinvd(struct soft_cpu *c, const struct insn *i)
{
	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_wbinvd(c, i);
	return insn_done(c, i, false);
}

/* A non-canonical address makes INVLPG do nothing; limits are not checked. */
enum helper_result helper_invlpg(struct soft_cpu *c, const struct insn *i)
{
	gva_t addr = insn_linear_unchecked(c, i);

	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_invlpg(c, i, addr);
	if (addr_canonical(addr))
		tlb_invlpg(c, addr);
	return insn_done(c, i, true);
}

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_ALL_BUT_GLOBAL };

static bool invpcid_valid(const struct soft_cpu *c, u64 type, const u64 desc[2])
{
	if (type > INVPCID_ALL_BUT_GLOBAL || desc[0] >> 12)
		return false;
	if (type <= INVPCID_CONTEXT && !(c->s.cr4 & CR4_PCIDE) && desc[0])
		return false;
	return type != INVPCID_ADDRESS || addr_canonical(desc[1]);
}

static void invpcid(struct soft_cpu *c, u64 type, const u64 desc[2])
{
	switch (type) {
	case INVPCID_ADDRESS:
		tlb_flush_pcid_addr(c, (u16)desc[0], desc[1]);
		break;
	case INVPCID_CONTEXT:
		tlb_flush_pcid(c, (u16)desc[0]);
		break;
	case INVPCID_ALL:
		tlb_flush_current(c);
		break;
	case INVPCID_ALL_BUT_GLOBAL:
		tlb_flush_vpid(c, c->vpid, true);
		break;
	}
}

enum helper_result helper_invpcid(struct soft_cpu *c, const struct insn *i)
{
	u64 type = gpr_get(c, i->op[0].reg, i->op[0].size), desc[2];

	if (c->vmx_non_root && !vmx_allows_invpcid(c))
		cpu_raise(c, X86_UD, 0);
	need_cpl0(c);
	if (c->vmx_non_root)
		vmx_check_invpcid(c, i);
	guest_copy_in(c, desc, insn_linear(c, i, sizeof(desc), false), sizeof(desc), AS_CURRENT);
	if (!invpcid_valid(c, type, desc))
		cpu_raise(c, X86_GP, 0);
	invpcid(c, type, desc);
	return insn_done(c, i, true);
}

/* ---- FS and GS ---- */

bool seg_set_base(struct soft_cpu *c, enum seg_reg seg, u64 base)
{
	/* Blocks know of a base only whether it is zero, and of nothing more in
	 * 64-bit mode. */
	bool matters = !c->s.seg[seg].base != !base || !cpu_code64(c);

	c->s.seg[seg].base = base;
	if (matters)
		c->mode_changed = true;
	return matters;
}

enum helper_result helper_swapgs(struct soft_cpu *c, const struct insn *i)
{
	u64 old = c->s.seg[SEG_GS].base;
	bool matters;

	need_cpl0(c);
	matters = seg_set_base(c, SEG_GS, c->s.msr.kernel_gs_base);
	c->s.msr.kernel_gs_base = old;
	return insn_done(c, i, matters);
}

static void check_fsgsbase(struct soft_cpu *c)
{
	if (!(c->s.cr4 & CR4_FSGSBASE))
		cpu_raise(c, X86_UD, 0);
}

static enum helper_result read_base(struct soft_cpu *c, const struct insn *i, enum seg_reg seg)
{
	check_fsgsbase(c);
	gpr_set(c, i->op[0].reg, i->op[0].size, c->s.seg[seg].base);
	return insn_done(c, i, false);
}

static enum helper_result write_base(struct soft_cpu *c, const struct insn *i, enum seg_reg seg)
{
	u64 v = gpr_get(c, i->op[0].reg, i->op[0].size);

	check_fsgsbase(c);
	if (!addr_canonical(v))
		cpu_raise(c, X86_GP, 0);
	return insn_done(c, i, seg_set_base(c, seg, v));
}

enum helper_result helper_rdfsbase(struct soft_cpu *c, const struct insn *i)
{
	return read_base(c, i, SEG_FS);
}

enum helper_result helper_rdgsbase(struct soft_cpu *c, const struct insn *i)
{
	return read_base(c, i, SEG_GS);
}

enum helper_result helper_wrfsbase(struct soft_cpu *c, const struct insn *i)
{
	return write_base(c, i, SEG_FS);
}

enum helper_result helper_wrgsbase(struct soft_cpu *c, const struct insn *i)
{
	return write_base(c, i, SEG_GS);
}

/* ---- EFLAGS.AC, waiting ---- */

static enum helper_result set_ac(struct soft_cpu *c, const struct insn *i, bool on)
{
	u64 old = c->s.rflags;

	if (cpu_cpl(c))
		cpu_raise(c, X86_UD, 0);
	c->s.rflags = on ? old | RFLAGS_AC : old & ~RFLAGS_AC;
	c->mode_changed |= c->s.rflags != old;
	return insn_done(c, i, true);
}

enum helper_result helper_clac(struct soft_cpu *c, const struct insn *i)
{
	return set_ac(c, i, false);
}

enum helper_result helper_stac(struct soft_cpu *c, const struct insn *i)
{
	return set_ac(c, i, true);
}

static void yield(void *unused)
{
	(void)unused;
	sched_yield();
}

/* Whoever is waited for may need our processor: a vCPU is a thread among
 * others. The first PAUSEs of a wait stay cheap. */
enum helper_result helper_pause(struct soft_cpu *c, const struct insn *i)
{
	enum { PAUSES_PER_YIELD = 64 };

	if (c->vmx_non_root)
		vmx_check_pause(c, i);
	__builtin_ia32_pause();
	if (++c->nr_pauses % PAUSES_PER_YIELD == 0)
		vec_saved(c, yield, NULL);
	return insn_done(c, i, false);
}

/* ---- Random numbers: helpers because hypervisors may intercept them ---- */

/* Flags are cleared but CF, which says whether there was a number. */
static enum helper_result random_done(struct soft_cpu *c, const struct insn *i, u64 v, bool ok)
{
	c->flags = ok ? 0x0300 : 0x0200;
	gpr_set(c, i->op[0].reg, i->op[0].size, v);
	return insn_done(c, i, false);
}

enum helper_result helper_rdrand(struct soft_cpu *c, const struct insn *i)
{
	bool ok;
	u64 v;

	if (c->vmx_non_root)
		vmx_check_rdrand(c, i);
	__asm__ volatile("rdrand %0" : "=r"(v), "=@ccc"(ok));
	return random_done(c, i, v, ok);
}

enum helper_result helper_rdseed(struct soft_cpu *c, const struct insn *i)
{
	bool ok;
	u64 v;

	if (c->vmx_non_root)
		vmx_check_rdseed(c, i);
	__asm__ volatile("rdseed %0" : "=r"(v), "=@ccc"(ok));
	return random_done(c, i, v, ok);
}

/* ---- What no model has ---- */

enum helper_result helper_monitor(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}

enum helper_result helper_mwait(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}

enum helper_result helper_umonitor(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}

enum helper_result helper_umwait(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}

enum helper_result helper_tpause(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}
