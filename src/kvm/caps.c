// SPDX-License-Identifier: MIT
/*
 * What this host's KVM can do: the capabilities without which the engine does
 * not work, those that a particular VM asks for, and the CPUID leaves that a
 * vCPU gets, which are the processor model's where KVM supports them.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/caps.h"
#include "kvm/kvm_internal.h"
#include "x86/regs.h"

enum { MAX_CPUID_ENTRIES = 256 };

static const struct {
	int cap;
	const char *name;
} needed_caps[] = {
	{ KVM_CAP_IRQCHIP, "in-kernel interrupt chips" },
	{ KVM_CAP_USER_MEMORY, "memory regions" },
	{ KVM_CAP_EXT_CPUID, "CPUID tables" },
	{ KVM_CAP_MP_STATE, "multiprocessor state" },
	{ KVM_CAP_PIT2, "an in-kernel PIT" },
	{ KVM_CAP_PIT_STATE2, "the PIT's state" },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing" },
	{ KVM_CAP_SIGNAL_MSI, "message-signalled interrupts" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exits" },
	{ KVM_CAP_XSAVE, "XSAVE state" },
	{ KVM_CAP_VCPU_EVENTS, "vCPU events" },
};

bool kvm_has_cap(int dev_fd, int cap)
{
	return kvm_ioctl(dev_fd, KVM_CHECK_EXTENSION, (void *)(long)cap) > 0;
}

static int check_needed(int fd, struct err *e)
{
	if (kvm_ioctl(fd, KVM_GET_API_VERSION, NULL) != KVM_API_VERSION)
		return err_set(e, "/dev/kvm does not speak version %d of its interface",
			       KVM_API_VERSION);
	for (unsigned i = 0; i < ARRAY_SIZE(needed_caps); i++)
		if (!kvm_has_cap(fd, needed_caps[i].cap))
			return err_set(e, "this host's KVM lacks %s", needed_caps[i].name);
	return 0;
}

int kvm_open(int *fd, struct err *e)
{
	*fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (*fd < 0)
		return err_set(e, "cannot open /dev/kvm: %s", strerror(errno));
	if (check_needed(*fd, e)) {
		close(*fd);
		*fd = -1;
		return -1;
	}
	return 0;
}

/* ---- CPUID ---- */

struct kvm_cpuid2 *kvm_supported_cpuid(int dev_fd)
{
	size_t size = sizeof(struct kvm_cpuid2) +
		      MAX_CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *c = calloc(1, size);

	if (!c)
		return NULL;
	c->nent = MAX_CPUID_ENTRIES;
	if (kvm_ioctl(dev_fd, KVM_GET_SUPPORTED_CPUID, c) < 0) {
		free(c);
		return NULL;
	}
	return c;
}

/* What KVM supports in a leaf; zeroes where it has no entry. */
static struct cpuid_regs supported(const struct kvm_cpuid2 *c, u32 leaf, u32 subleaf)
{
	struct cpuid_regs r = { 0 };

	for (u32 i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];
		bool indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

		if (e->function == leaf && (!indexed || e->index == subleaf))
			return (struct cpuid_regs){ e->eax, e->ebx, e->ecx, e->edx };
	}
	return r;
}

bool kvm_supports_vmx(const struct kvm_cpuid2 *c)
{
	return supported(c, 1, 0).ecx & BIT(5);
}

bool kvm_supports_svm(const struct kvm_cpuid2 *c)
{
	return supported(c, 0x80000001, 0).ecx & BIT(2);
}

int kvm_check_request(int dev_fd, const struct machine_env *env, struct err *e)
{
	int max = kvm_ioctl(dev_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MAX_VCPUS);

	if (max > 0 && env->nr_cpus > (unsigned)max)
		return err_set(e, "this host's KVM runs at most %d vCPUs, not %u", max,
			       env->nr_cpus);
	if (!env->model->vmx)
		return 0;
	struct kvm_cpuid2 *c = kvm_supported_cpuid(dev_fd);
	bool vmx = c && kvm_supports_vmx(c);

	free(c);
	if (!vmx || !kvm_has_cap(dev_fd, KVM_CAP_NESTED_STATE))
		return err_set(e, "this host's KVM offers no nested VT-x, "
			       "so it cannot expose virtualization extensions");
	return 0;
}

/*
 * Which leaves a vCPU gets, and what limits them. Bits of `force_*` are
 * implemented by KVM or by the board but not listed as supported.
 */
struct leaf_row {
	u32 leaf, first, last; /* subleaves */
	bool indexed;
	u8 limited; /* registers that are masks of features: KVM's table limits them */
	u32 force_ecx, force_edx;
};
enum { EAX = 1, EBX = 2, ECX = 4, EDX = 8 };

static const struct leaf_row leaves[] = {
	{ .leaf = 0x0 },
	{ .leaf = 0x1, .limited = ECX | EDX,
	  .force_ecx = BIT(24), /* TSC deadline */
	  .force_edx = BIT(28) },	  /* HTT: a matter of topology */
	{ .leaf = 0x2 },
	{ .leaf = 0x4, .last = 3, .indexed = true },
	{ .leaf = 0x5 },
	{ .leaf = 0x6, .limited = EAX },
	{ .leaf = 0x7, .last = 1, .indexed = true, .limited = EBX | ECX | EDX },
	{ .leaf = 0xb, .last = 2, .indexed = true },
	{ .leaf = 0xd, .last = 63, .indexed = true },
	{ .leaf = 0x15 },
	{ .leaf = 0x16 },
	{ .leaf = 0x80000000 },
	{ .leaf = 0x80000001, .limited = ECX | EDX },
	{ .leaf = 0x80000002 },
	{ .leaf = 0x80000003 },
	{ .leaf = 0x80000004 },
	{ .leaf = 0x80000005 },
	{ .leaf = 0x80000006 },
	{ .leaf = 0x80000007, .limited = EDX },
	{ .leaf = 0x80000008, .limited = EBX },
};

static void limit_regs(struct cpuid_regs *r, const struct cpuid_regs *max, const struct leaf_row *row)
{
	if (row->limited & EAX)
		r->eax &= max->eax;
	if (row->limited & EBX)
		r->ebx &= max->ebx;
	if (row->limited & ECX)
		r->ecx &= max->ecx | row->force_ecx;
	if (row->limited & EDX)
		r->edx &= max->edx | row->force_edx;
}

/* The leaves whose limits are not a plain mask. */
static void limit_special(struct cpuid_regs *r, const struct kvm_cpuid2 *c, u32 leaf, u32 subleaf)
{
	struct cpuid_regs max = supported(c, leaf, subleaf);
	struct cpuid_regs xcr0 = supported(c, 0xd, 0);
	u64 components = xcr0.eax | (u64)xcr0.edx << 32;

	if (leaf == 0x7 && subleaf == 1)
		r->eax &= max.eax;
	else if (leaf == 0x80000008)
		r->eax = (r->eax & ~0xffu) | MIN(r->eax & 0xff, max.eax & 0xff);
	else if (leaf == 0xd && subleaf == 0)
		*r = (struct cpuid_regs){ r->eax & max.eax, r->ebx, r->ecx, r->edx & max.edx };
	else if (leaf == 0xd && subleaf == 1)
		*r = (struct cpuid_regs){ r->eax & max.eax, r->ebx, r->ecx & max.ecx, r->edx & max.edx };
	else if (leaf == 0xd && !(components >> subleaf & 1) && !(max.ecx & 1))
		*r = (struct cpuid_regs){ 0 };
}

static bool all_zero(const struct cpuid_regs *r)
{
	return !(r->eax | r->ebx | r->ecx | r->edx);
}

static void add_row(const struct engine_vcpu *v, const struct kvm_cpuid2 *max, bool tsc_deadline,
		    const struct leaf_row *row, struct kvm_cpuid2 *res)
{
	static const u64 apic_base = 0xfee00800;
	struct cpu_state s;

	cpu_state_reset(&s, v->index == 0);
	for (u32 sub = row->first; sub <= row->last; sub++) {
		struct cpuid_regs r, limit = supported(max, row->leaf, sub);

		cpu_model_cpuid(v->vm->env->model, &s, apic_base, v->index, row->leaf, sub, &r);
		limit_regs(&r, &limit, row);
		limit_special(&r, max, row->leaf, sub);
		if (row->leaf == 1)
			r.ecx = (tsc_deadline ? r.ecx : r.ecx & ~(u32)BIT(24)) | (u32)BIT(31);
		if (sub > 1 && all_zero(&r) && row->leaf == 0xd)
			continue;
		if (res->nent == MAX_CPUID_ENTRIES)
			return;
		res->entries[res->nent++] = (struct kvm_cpuid_entry2){
			.function = row->leaf,
			.index = sub,
			.flags = row->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = r.eax, .ebx = r.ebx, .ecx = r.ecx, .edx = r.edx,
		};
	}
}

/*
 * KVM's own leaves. A guest that finds them leaves out the test whether its
 * timer's interrupt arrives in time, which a loaded host may fail, and the
 * delay after port accesses, an exit each; and with PV EOI most ends of
 * interrupt are no exit. Nothing that needs a hypercall: its instruction is
 * another on AMD hosts than the model's vendor says.
 */
enum { LEAF_KVM = 0x40000000, LEAF_KVM_FEATURES = 0x40000001 };
#define KVM_FEATURES_OFFERED (1u << KVM_FEATURE_NOP_IO_DELAY | 1u << KVM_FEATURE_PV_EOI)

static void add_kvm_leaves(const struct kvm_cpuid2 *max, struct kvm_cpuid2 *res)
{
	u32 features = supported(max, LEAF_KVM_FEATURES, 0).eax & KVM_FEATURES_OFFERED;

	if (res->nent + 2 > MAX_CPUID_ENTRIES)
		return;
	res->entries[res->nent++] = (struct kvm_cpuid_entry2){
		.function = LEAF_KVM,
		.eax = LEAF_KVM_FEATURES,
		.ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d, /* "KVMKVMKVM" */
	};
	res->entries[res->nent++] = (struct kvm_cpuid_entry2){
		.function = LEAF_KVM_FEATURES, .eax = features,
	};
}

int kvm_set_cpuid(struct engine_vcpu *v, struct err *e)
{
	int dev_fd = v->vm->dev_fd;
	size_t size = sizeof(struct kvm_cpuid2) +
		      MAX_CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *max = kvm_supported_cpuid(dev_fd);
	struct kvm_cpuid2 *res = calloc(1, size);
	int r = -ENOMEM;

	if (max && res) {
		bool deadline = kvm_has_cap(dev_fd, KVM_CAP_TSC_DEADLINE_TIMER);

		for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
			add_row(v, max, deadline, &leaves[i], res);
		add_kvm_leaves(max, res);
		r = kvm_ioctl(v->fd, KVM_SET_CPUID2, res);
	}
	free(max);
	free(res);
	if (r < 0)
		return err_set(e, "KVM refuses the processor model: %s", strerror(-r));
	return 0;
}
