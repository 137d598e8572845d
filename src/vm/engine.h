/* SPDX-License-Identifier: MIT */
/*
 * Which CPU engine a VM gets, and why. Call it while the process has one
 * thread: `auto` may try KVM out in a child process.
 */
#ifndef NESTOR_VM_ENGINE_H
#define NESTOR_VM_ENGINE_H

#include "cpu/engine.h"
#include "kvm/probe.h"
#include "vm/config.h"

struct vm_engine_choice {
	const struct engine_ops *ops;
	char why[320]; /* set for VM_ENGINE_AUTO: "the software engine: ..." */
};

/* -1 and a sentence when the wish cannot be fulfilled. */
int vm_engine_choose(const struct vm_config *c, struct vm_engine_choice *res, struct err *e);

/* The same for VM_ENGINE_AUTO from a report that the caller has. */
int vm_engine_choose_by(const struct vm_config *c, const struct kvm_report *kvm,
			struct vm_engine_choice *res, struct err *e);

#endif
