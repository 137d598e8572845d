/* SPDX-License-Identifier: MIT */
/*
 * What /dev/kvm of this host is worth: is it there, may we use it, and does a
 * small guest really run on it. Some clouds offer a /dev/kvm that accepts every
 * call and then cannot run an ordinary guest, or hangs.
 *
 * kvm_probe() works in a child process with a time limit, so that a KVM that
 * hangs or kills its user costs two seconds and nothing else. Call it while the
 * process has one thread.
 */
#ifndef NESTOR_KVM_PROBE_H
#define NESTOR_KVM_PROBE_H

#include "base/types.h"

struct kvm_report {
	bool present;	   /* /dev/kvm exists */
	bool accessible;   /* it could be opened, speaks API 12 and has what the engine needs */
	bool runs_guests;  /* the trial guest ran and computed the right thing */
	bool nested_state; /* KVM_CAP_NESTED_STATE */
	bool nested_vmx;   /* supported CPUID has VMX: our VMs could be VT-x hosts */
	bool nested_svm;
	unsigned trial_ms; /* how long the trial took */
	char why[200];	   /* the first thing that failed, as a sentence without a full stop */
};

void kvm_probe(struct kvm_report *res);

#endif
