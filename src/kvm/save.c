// SPDX-License-Identifier: MIT
/*
 * What a saved vCPU of the KVM engine has besides its registers: the in-kernel
 * LAPIC, events on their way, nested virtualization; and with vCPU 0 the chips
 * that the VM has once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/state.h"
#include "kvm/caps.h"
#include "kvm/kvm_internal.h"
#include "x86/regs.h"

enum { NESTED_MAX = 16 << 10 };

struct rest {
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	u64 apic_base, tsc_deadline, pv_eoi;
	u32 nested_size; /* 0: none */
	u8 nested[NESTED_MAX];
};

static const struct state_row rest_rows[] = {
	STATE_ROW(struct rest, lapic), STATE_ROW(struct rest, events), STATE_ROW(struct rest, mp),
	STATE_ROW(struct rest, apic_base), STATE_ROW(struct rest, tsc_deadline),
	STATE_ROW(struct rest, pv_eoi),
	STATE_ROW(struct rest, nested_size), STATE_ROW(struct rest, nested),
};
static const struct state_desc rest_desc = STATE_DESC("kvm-vcpu", 1, rest_rows);

static const struct state_row chip_rows[] = {
	STATE_ROW(struct kvm_chips, chip), STATE_ROW(struct kvm_chips, pit),
};
static const struct state_desc chip_desc = STATE_DESC("kvm-chips", 1, chip_rows);

#define MSR_TSC_DEADLINE 0x6e0

/* ---- Saving ---- */

static int get_nested(struct engine_vcpu *v, struct rest *r)
{
	struct kvm_nested_state *n = (void *)r->nested;

	if (!v->vm->env->model->vmx)
		return 0;
	n->size = NESTED_MAX;
	int ret = kvm_ioctl(v->fd, KVM_GET_NESTED_STATE, n);
	if (ret < 0)
		return ret;
	r->nested_size = n->size;
	return 0;
}

bool kvm_vcpu_hypervisor_active(struct engine_vcpu *v)
{
	struct rest *r = calloc(1, sizeof(*r));
	const struct kvm_nested_state *n = r ? (void *)r->nested : NULL;
	struct kvm_sregs sregs;
	bool active = false;

	if (r && !get_nested(v, r) && r->nested_size && n->format == KVM_STATE_NESTED_FORMAT_VMX)
		active = n->hdr.vmx.vmxon_pa != ~0ull;
	else if (r && !kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs))
		active = sregs.efer & EFER_SVME;
	free(r);
	return active;
}

static int get_rest(struct engine_vcpu *v, struct rest *r)
{
	struct kvm_sregs sregs;
	int ret = kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs);

	if (ret)
		return ret;
	r->apic_base = sregs.apic_base;
	kvm_msr_get(v, MSR_TSC_DEADLINE, &r->tsc_deadline); /* absent: stays zero */
	kvm_msr_get(v, MSR_KVM_PV_EOI, &r->pv_eoi);
	ret = kvm_ioctl(v->fd, KVM_GET_LAPIC, &r->lapic);
	if (!ret)
		ret = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &r->events);
	if (!ret)
		ret = kvm_ioctl(v->fd, KVM_GET_MP_STATE, &r->mp);
	return ret ? ret : get_nested(v, r);
}

static int save_chips(struct engine_vm *vm, struct state_buf *b)
{
	struct kvm_chips chips = { 0 };
	int r = kvm_irqchip_get(vm, &chips);

	return r ? r : state_save(b, &chip_desc, 0, &chips);
}

int kvm_vcpu_save(struct engine_vcpu *v, struct state_buf *b)
{
	struct rest *r = calloc(1, sizeof(*r));
	int ret = r ? get_rest(v, r) : -ENOMEM;

	if (!ret)
		ret = state_save(b, &rest_desc, v->index, r);
	if (!ret && v->index == 0)
		ret = save_chips(v->vm, b);
	free(r);
	return ret;
}

/* ---- Loading: after the registers ---- */

static int set_apic(struct engine_vcpu *v, struct rest *r)
{
	struct kvm_sregs sregs;
	int ret = kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs);

	if (ret)
		return ret;
	sregs.apic_base = r->apic_base;
	ret = kvm_ioctl(v->fd, KVM_SET_SREGS, &sregs);
	if (!ret)
		ret = kvm_ioctl(v->fd, KVM_SET_LAPIC, &r->lapic);
	if (!ret && r->pv_eoi)
		kvm_msr_set(v, MSR_KVM_PV_EOI, r->pv_eoi);
	if (!ret && r->tsc_deadline)
		kvm_msr_set(v, MSR_TSC_DEADLINE, r->tsc_deadline);
	return ret;
}

static int set_rest(struct engine_vcpu *v, struct rest *r)
{
	int ret = set_apic(v, r);

	r->events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (!ret && r->nested_size)
		ret = kvm_ioctl(v->fd, KVM_SET_NESTED_STATE, r->nested);
	if (!ret)
		ret = kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &r->events);
	return ret ? ret : kvm_ioctl(v->fd, KVM_SET_MP_STATE, &r->mp);
}

static int load_chips(struct engine_vm *vm, struct state_buf *b, struct err *e)
{
	struct kvm_chips chips = { 0 };

	if (state_load(b, &chip_desc, 0, &chips, e))
		return -1;
	int r = kvm_irqchip_set(vm, &chips);
	return r ? err_set(e, "KVM does not take the saved interrupt chips: %s", strerror(-r)) : 0;
}

int kvm_vcpu_load(struct engine_vcpu *v, struct state_buf *b, struct err *e)
{
	struct rest *r = calloc(1, sizeof(*r));
	int ret = -1;

	if (!r)
		return err_set(e, "not enough memory to load vCPU %u", v->index);
	if (!state_load(b, &rest_desc, v->index, r, e)) {
		ret = set_rest(v, r);
		if (ret)
			ret = err_set(e, "KVM does not take the saved state of vCPU %u: %s", v->index,
				      strerror(-ret));
	}
	free(r);
	return ret || v->index ? ret : load_chips(v->vm, b, e);
}
