// SPDX-License-Identifier: MIT
/*
 * A vCPU's architectural state between struct cpu_state and KVM's ioctls, and
 * the debugger's view of linear memory. The vCPU is not running.
 *
 * MSRs are rows. One that the host's KVM does not know is skipped when it is
 * read, and when it is written: the guest, which asks CPUID first, misses
 * nothing.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/dump.h"
#include "kvm/kvm_internal.h"
#include "x86/regs.h"

/* ---- Segments ---- */

static void seg_from_kvm(struct seg *s, const struct kvm_segment *k)
{
	s->base = k->base;
	s->limit = k->limit;
	s->sel = k->selector;
	s->ar = k->type | (u32)k->s << 4 | (u32)k->dpl << 5 | (u32)k->present << 7 |
		(u32)k->avl << 12 | (u32)k->l << 13 | (u32)k->db << 14 | (u32)k->g << 15 |
		(u32)k->unusable << 16;
}

static void seg_to_kvm(struct kvm_segment *k, const struct seg *s)
{
	*k = (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = SEG_TYPE(s),
		.s = !!(s->ar & SEG_S),
		.dpl = SEG_DPL(s),
		.present = !!(s->ar & SEG_P),
		.avl = !!(s->ar & SEG_AVL),
		.l = !!(s->ar & SEG_L),
		.db = !!(s->ar & SEG_DB),
		.g = !!(s->ar & SEG_G),
		.unusable = !!(s->ar & SEG_UNUSABLE),
	};
}

/* KVM's names for our segments. */
#define FOR_EACH_SEG(X) X(es, SEG_ES) X(cs, SEG_CS) X(ss, SEG_SS) X(ds, SEG_DS) X(fs, SEG_FS) X(gs, SEG_GS)

static void sregs_from_kvm(struct cpu_state *s, const struct kvm_sregs *k)
{
#define GET_SEG(name, n) seg_from_kvm(&s->seg[n], &k->name);
	FOR_EACH_SEG(GET_SEG)
#undef GET_SEG
	seg_from_kvm(&s->ldtr, &k->ldt);
	seg_from_kvm(&s->tr, &k->tr);
	s->gdtr = (struct desc_table){ k->gdt.base, k->gdt.limit };
	s->idtr = (struct desc_table){ k->idt.base, k->idt.limit };
	s->cr0 = k->cr0;
	s->cr2 = k->cr2;
	s->cr3 = k->cr3;
	s->cr4 = k->cr4;
	s->cr8 = k->cr8;
	s->msr.efer = k->efer;
}

/* @k holds what KVM_GET_SREGS said: apic_base and pending interrupts stay. */
static void sregs_to_kvm(struct kvm_sregs *k, const struct cpu_state *s)
{
#define SET_SEG(name, n) seg_to_kvm(&k->name, &s->seg[n]);
	FOR_EACH_SEG(SET_SEG)
#undef SET_SEG
	seg_to_kvm(&k->ldt, &s->ldtr);
	seg_to_kvm(&k->tr, &s->tr);
	k->gdt = (struct kvm_dtable){ .base = s->gdtr.base, .limit = s->gdtr.limit };
	k->idt = (struct kvm_dtable){ .base = s->idtr.base, .limit = s->idtr.limit };
	k->cr0 = s->cr0;
	k->cr2 = s->cr2;
	k->cr3 = s->cr3;
	k->cr4 = s->cr4;
	k->cr8 = s->cr8;
	k->efer = s->msr.efer;
}

/* ---- General registers ---- */

#define FOR_EACH_GPR(X)                                                                            \
	X(rax, RAX) X(rcx, RCX) X(rdx, RDX) X(rbx, RBX) X(rsp, RSP) X(rbp, RBP) X(rsi, RSI)         \
	X(rdi, RDI) X(r8, R8) X(r9, R9) X(r10, R10) X(r11, R11) X(r12, R12) X(r13, R13)             \
	X(r14, R14) X(r15, R15)

static void regs_from_kvm(struct cpu_state *s, const struct kvm_regs *k)
{
#define GET_GPR(name, n) s->gpr[n] = k->name;
	FOR_EACH_GPR(GET_GPR)
#undef GET_GPR
	s->rip = k->rip;
	s->rflags = k->rflags;
}

static void regs_to_kvm(struct kvm_regs *k, const struct cpu_state *s)
{
#define SET_GPR(name, n) k->name = s->gpr[n];
	FOR_EACH_GPR(SET_GPR)
#undef SET_GPR
	k->rip = s->rip;
	k->rflags = s->rflags;
}

/* ---- MSRs ---- */

#define MSR_TSC 0x10

static const struct msr_row {
	u32 msr;
	u32 offset; /* in struct cpu_state */
} msr_rows[] = {
#define MSR(n, field) { n, offsetof(struct cpu_state, msr.field) }
	MSR(0xc0000081, star), MSR(0xc0000082, lstar), MSR(0xc0000083, cstar),
	MSR(0xc0000084, fmask), MSR(0xc0000102, kernel_gs_base), MSR(0xc0000103, tsc_aux),
	MSR(0x174, sysenter_cs), MSR(0x175, sysenter_esp), MSR(0x176, sysenter_eip),
	MSR(0x3b, tsc_adjust), MSR(0x277, pat), MSR(0x1a0, misc_enable), MSR(0x48, spec_ctrl),
	MSR(0x3a, feature_control), MSR(0xda0, xss), MSR(0x17a, mcg_status), MSR(0x1d9, debugctl),
	MSR(0x250, mtrr_fixed[0]), MSR(0x258, mtrr_fixed[1]), MSR(0x259, mtrr_fixed[2]),
	MSR(0x268, mtrr_fixed[3]), MSR(0x269, mtrr_fixed[4]), MSR(0x26a, mtrr_fixed[5]),
	MSR(0x26b, mtrr_fixed[6]), MSR(0x26c, mtrr_fixed[7]), MSR(0x26d, mtrr_fixed[8]),
	MSR(0x26e, mtrr_fixed[9]), MSR(0x26f, mtrr_fixed[10]),
	MSR(0x200, mtrr_var[0][0]), MSR(0x201, mtrr_var[0][1]), MSR(0x202, mtrr_var[1][0]),
	MSR(0x203, mtrr_var[1][1]), MSR(0x204, mtrr_var[2][0]), MSR(0x205, mtrr_var[2][1]),
	MSR(0x206, mtrr_var[3][0]), MSR(0x207, mtrr_var[3][1]), MSR(0x208, mtrr_var[4][0]),
	MSR(0x209, mtrr_var[4][1]), MSR(0x20a, mtrr_var[5][0]), MSR(0x20b, mtrr_var[5][1]),
	MSR(0x20c, mtrr_var[6][0]), MSR(0x20d, mtrr_var[6][1]), MSR(0x20e, mtrr_var[7][0]),
	MSR(0x20f, mtrr_var[7][1]),
	MSR(0x2ff, mtrr_def_type),
#undef MSR
};

/* A struct kvm_msrs of one entry. */
struct one_msr {
	u32 nmsrs, pad;
	struct kvm_msr_entry entry;
};
static_assert(offsetof(struct one_msr, entry) == offsetof(struct kvm_msrs, entries), "as KVM has it");

bool kvm_msr_get(struct engine_vcpu *v, u32 msr, u64 *value)
{
	struct one_msr m = { .nmsrs = 1, .entry.index = msr };

	if (kvm_ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return false;
	*value = m.entry.data;
	return true;
}

bool kvm_msr_set(struct engine_vcpu *v, u32 msr, u64 value)
{
	struct one_msr m = { .nmsrs = 1, .entry.index = msr, .entry.data = value };

	return kvm_ioctl(v->fd, KVM_SET_MSRS, &m) == 1;
}

static u64 *msr_field(struct cpu_state *s, const struct msr_row *row)
{
	return (u64 *)((u8 *)s + row->offset);
}

static void msrs_from_kvm(struct engine_vcpu *v, struct cpu_state *s)
{
	u64 tsc;

	for (unsigned i = 0; i < ARRAY_SIZE(msr_rows); i++)
		if (!kvm_msr_get(v, msr_rows[i].msr, msr_field(s, &msr_rows[i])))
			*msr_field(s, &msr_rows[i]) = 0;
	if (kvm_msr_get(v, MSR_TSC, &tsc))
		s->tsc_offset = tsc - __builtin_ia32_rdtsc();
}

/* The TSC is written only for a state that was saved: KVM starts all vCPUs'
 * TSCs together by itself, and a write would only tear them apart. */
static void msrs_to_kvm(struct engine_vcpu *v, const struct cpu_state *s)
{
	struct cpu_state *in = (struct cpu_state *)s; /* msr_field() is for both ways */

	for (unsigned i = 0; i < ARRAY_SIZE(msr_rows); i++) {
		u64 value = *msr_field(in, &msr_rows[i]);

		if (!kvm_msr_set(v, msr_rows[i].msr, value) && value)
			log_debug("KVM does not take MSR %#x = %#llx on vCPU %u", msr_rows[i].msr,
				  (unsigned long long)value, v->index);
	}
	if (s->tsc_offset)
		kvm_msr_set(v, MSR_TSC, __builtin_ia32_rdtsc() + s->tsc_offset);
}

/* ---- Debug registers, XCR0, XSAVE, activity, events ---- */

static int fpu_from_kvm(struct engine_vcpu *v, struct cpu_state *s)
{
	_Static_assert(sizeof(struct kvm_xsave) == XSAVE_SIZE_MAX, "KVM_GET_XSAVE fills xsave[]");
	struct kvm_xcrs x = { 0 };
	int r = kvm_ioctl(v->fd, KVM_GET_XSAVE, s->xsave);

	s->xcr0 = XCR0_X87;
	if (!kvm_ioctl(v->fd, KVM_GET_XCRS, &x) && x.nr_xcrs)
		s->xcr0 = x.xcrs[0].value;
	u32 pkru_offset = v->vm->env->model->xsave_offset[9];
	if ((s->xcr0 & XCR0_PKRU) && pkru_offset && pkru_offset <= XSAVE_SIZE_MAX - 4)
		memcpy(&s->pkru, s->xsave + pkru_offset, sizeof(s->pkru));
	return r;
}

static int fpu_to_kvm(struct engine_vcpu *v, const struct cpu_state *s)
{
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0].value = s->xcr0 };

	kvm_ioctl(v->fd, KVM_SET_XCRS, &x); /* fails on a host without XSAVE: nothing to set */
	return kvm_ioctl(v->fd, KVM_SET_XSAVE, (void *)s->xsave);
}

static void debug_from_kvm(struct engine_vcpu *v, struct cpu_state *s)
{
	struct kvm_debugregs d = { 0 };

	if (kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &d))
		return;
	memcpy(s->dr, d.db, sizeof(s->dr));
	s->dr6 = d.dr6;
	s->dr7 = d.dr7;
}

static void debug_to_kvm(struct engine_vcpu *v, const struct cpu_state *s)
{
	struct kvm_debugregs d = { .dr6 = s->dr6, .dr7 = s->dr7 };

	memcpy(d.db, s->dr, sizeof(d.db));
	kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}

static const u32 mp_of_activity[] = {
	[CPU_ACTIVE] = KVM_MP_STATE_RUNNABLE,
	[CPU_HLT] = KVM_MP_STATE_HALTED,
	[CPU_SHUTDOWN] = KVM_MP_STATE_RUNNABLE,
	[CPU_WAIT_SIPI] = KVM_MP_STATE_UNINITIALIZED, /* KVM then takes INIT, then SIPI */
};

static enum cpu_activity activity_of_mp(u32 mp)
{
	if (mp == KVM_MP_STATE_HALTED)
		return CPU_HLT;
	return mp == KVM_MP_STATE_UNINITIALIZED || mp == KVM_MP_STATE_INIT_RECEIVED
		? CPU_WAIT_SIPI : CPU_ACTIVE;
}

static int events_from_kvm(struct engine_vcpu *v, struct cpu_state *s)
{
	struct kvm_mp_state mp = { 0 };
	struct kvm_vcpu_events ev = { 0 };
	int r = kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp);

	if (!r)
		r = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev);
	s->activity = activity_of_mp(mp.mp_state);
	s->sti_shadow_rip = ev.interrupt.shadow & KVM_X86_SHADOW_INT_STI ? s->rip : ~0ull;
	s->movss_shadow_rip = ev.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? s->rip : ~0ull;
	s->nmi_blocked = ev.nmi.masked;
	s->nmi_pending = ev.nmi.pending;
	s->sipi_vector = (u8)ev.sipi_vector;
	s->sipi_pending = mp.mp_state == KVM_MP_STATE_SIPI_RECEIVED;
	return r;
}

static int events_to_kvm(struct engine_vcpu *v, const struct cpu_state *s)
{
	struct kvm_mp_state mp = { .mp_state = mp_of_activity[s->activity] };
	struct kvm_vcpu_events ev = { 0 };

	ev.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	ev.nmi.masked = s->nmi_blocked;
	ev.nmi.pending = s->nmi_pending;
	if (s->sti_shadow_rip == s->rip)
		ev.interrupt.shadow |= KVM_X86_SHADOW_INT_STI;
	if (s->movss_shadow_rip == s->rip)
		ev.interrupt.shadow |= KVM_X86_SHADOW_INT_MOV_SS;
	int r = kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev);
	if (!r)
		r = kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp);
	return r;
}

/* ---- All of it ---- */

int kvm_vcpu_get_state(struct engine_vcpu *v, struct cpu_state *s)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	int r = kvm_ioctl(v->fd, KVM_GET_REGS, &regs);

	memset(s, 0, sizeof(*s));
	if (!r)
		r = kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs);
	if (r)
		return r;
	regs_from_kvm(s, &regs);
	sregs_from_kvm(s, &sregs);
	msrs_from_kvm(v, s);
	debug_from_kvm(v, s);
	r = fpu_from_kvm(v, s);
	return r ? r : events_from_kvm(v, s);
}

int kvm_vcpu_set_state(struct engine_vcpu *v, const struct cpu_state *s)
{
	struct kvm_regs regs = { 0 };
	struct kvm_sregs sregs;
	int r = kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs);

	if (r)
		return r;
	sregs_to_kvm(&sregs, s);
	memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap));
	regs_to_kvm(&regs, s);
	r = kvm_ioctl(v->fd, KVM_SET_SREGS, &sregs);
	if (!r)
		r = kvm_ioctl(v->fd, KVM_SET_REGS, &regs);
	if (r)
		return r;
	msrs_to_kvm(v, s);
	debug_to_kvm(v, s);
	r = fpu_to_kvm(v, s);
	return r ? r : events_to_kvm(v, s);
}

void kvm_vcpu_dump(struct engine_vcpu *v)
{
	struct cpu_state *s = aligned_alloc(64, ALIGN_UP(sizeof(*s), (size_t)64));

	if (s && !kvm_vcpu_get_state(v, s))
		cpu_dump(s, v->index);
	else
		log_err("cannot read the registers of vCPU %u from KVM", v->index);
	free(s);
}

/* ---- Linear memory, for the debugger ---- */

static void *translate(struct engine_vcpu *v, gva_t addr, unsigned size)
{
	struct kvm_translation t = { .linear_address = addr };

	if (kvm_ioctl(v->fd, KVM_TRANSLATE, &t) || !t.valid)
		return NULL;
	return mem_host(v->vm->env->mem, t.physical_address, size);
}

bool kvm_vcpu_peek(struct engine_vcpu *v, gva_t addr, void *to, unsigned size)
{
	for (unsigned done = 0, n; done < size; done += n) {
		n = MIN(size - done, (unsigned)(PAGE_SIZE - (addr + done) % PAGE_SIZE));
		const void *from = translate(v, addr + done, n);
		if (!from)
			return false;
		memcpy((u8 *)to + done, from, n);
	}
	return true;
}

bool kvm_vcpu_poke(struct engine_vcpu *v, gva_t addr, const void *from, unsigned size)
{
	for (unsigned done = 0, n; done < size; done += n) {
		n = MIN(size - done, (unsigned)(PAGE_SIZE - (addr + done) % PAGE_SIZE));
		void *to = translate(v, addr + done, n);
		if (!to)
			return false;
		memcpy(to, (const u8 *)from + done, n);
	}
	return true;
}
