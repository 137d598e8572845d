// SPDX-License-Identifier: MIT
/* Which engine `auto` takes, from reports of all kinds of host. */
#include "vm/engine.h"

#include <string.h>

#include "../../lib/test.h"

static const struct engine_ops *choose(bool vmx, const char *trace, struct kvm_report kvm,
				       struct vm_engine_choice *res)
{
	struct vm_config c;
	struct err e;

	vm_config_init(&c);
	c.expose_vmx = vmx;
	c.trace = trace;
	*res = (struct vm_engine_choice){ 0 };
	vm_engine_choose_by(&c, &kvm, res, &e);
	return res->ops;
}

static const struct kvm_report good = { .present = true, .accessible = true, .runs_guests = true };
static const struct kvm_report nesting = { .present = true, .accessible = true,
					   .runs_guests = true, .nested_state = true,
					   .nested_vmx = true };

TEST(engine_choice, kvm_when_it_runs_guests)
{
	struct vm_engine_choice res;

	CHECK(choose(false, NULL, good, &res) == &kvm_engine);
	CHECK(strstr(res.why, "KVM: it ran a trial guest"));
}

TEST(engine_choice, nesting_wants_nested_vmx)
{
	struct kvm_report svm = nesting;
	struct vm_engine_choice res;

	svm.nested_vmx = false;
	svm.nested_svm = true;
	CHECK(choose(true, NULL, nesting, &res) == &kvm_engine);
	CHECK(choose(true, NULL, good, &res) != &kvm_engine);
	CHECK(strstr(res.why, "no nested VT-x"));
	CHECK(choose(true, NULL, svm, &res) != &kvm_engine);
}

TEST(engine_choice, says_why_kvm_is_not_taken)
{
	struct kvm_report bad = { .present = true, .accessible = true, .why = "it hangs" };
	struct vm_engine_choice res;

	CHECK(choose(false, NULL, bad, &res) != &kvm_engine);
	CHECK_STR(res.why, "the software engine: it hangs");
	CHECK(choose(false, "exec", good, &res) != &kvm_engine);
}

TEST(engine_choice, probe_says_something_in_time)
{
	struct kvm_report r;

	kvm_probe(&r);
	CHECK(r.runs_guests || r.why[0]);
	CHECK(!r.runs_guests || r.accessible);
}
