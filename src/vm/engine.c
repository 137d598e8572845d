// SPDX-License-Identifier: MIT
/* The choice of the engine. */
#include "vm/engine.h"

#include <stdio.h>

#include "vm/host.h"

/* A build without the software engine still runs KVM. */
#pragma weak soft_engine

static int choose_soft(struct vm_engine_choice *res, struct err *e)
{
	struct host_info h;

	if (!&soft_engine)
		return err_set(e, "this nestor was built without the software engine");
	host_info_get(&h);
	if (!h.x86_64_v2)
		return err_set(e, "the software engine needs a processor of at least x86-64-v2 "
			       "(SSE4.2, POPCNT, CMPXCHG16B), and this host's is not");
	res->ops = &soft_engine;
	return 0;
}

static int choose_kvm(const struct vm_config *c, struct vm_engine_choice *res, struct err *e)
{
	if (c->compare)
		return err_set(e, "--compare needs the software engine, not --engine kvm");
	if (c->trace)
		return err_set(e, "--trace needs the software engine, not --engine kvm");
	res->ops = &kvm_engine;
	return 0;
}

/* Why KVM will not do for this VM; NULL when it will. */
static const char *kvm_unfit(const struct vm_config *c, const struct kvm_report *kvm)
{
	if (c->compare)
		return "--compare is its own";
	if (c->trace)
		return "--trace is its own";
	if (!kvm->runs_guests)
		return kvm->why;
	if (c->expose_vmx && !(kvm->nested_state && kvm->nested_vmx))
		return "this host's KVM runs guests, but offers no nested VT-x";
	return NULL;
}

int vm_engine_choose_by(const struct vm_config *c, const struct kvm_report *kvm,
			struct vm_engine_choice *res, struct err *e)
{
	const char *unfit = kvm_unfit(c, kvm);

	if (unfit) {
		snprintf(res->why, sizeof(res->why), "the software engine: %s", unfit);
		return choose_soft(res, e);
	}
	snprintf(res->why, sizeof(res->why), "KVM: it ran a trial guest correctly%s",
		 c->expose_vmx ? " and offers nested VT-x" : "");
	return choose_kvm(c, res, e);
}

int vm_engine_choose(const struct vm_config *c, struct vm_engine_choice *res, struct err *e)
{
	struct kvm_report kvm = { 0 };

	*res = (struct vm_engine_choice){ 0 };
	if (c->engine == VM_ENGINE_SOFT)
		return choose_soft(res, e);
	if (c->engine == VM_ENGINE_KVM)
		return choose_kvm(c, res, e);
	if (!c->trace && !c->compare)
		kvm_probe(&kvm);
	return vm_engine_choose_by(c, &kvm, res, e);
}
