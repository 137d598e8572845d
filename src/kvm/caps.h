/* SPDX-License-Identifier: MIT */
/*
 * Questions to a KVM about what it can do. Any thread. Internal to kvm/.
 */
#ifndef NESTOR_KVM_CAPS_H
#define NESTOR_KVM_CAPS_H

#include "base/types.h"

struct kvm_cpuid2;

bool kvm_has_cap(int dev_fd, int cap);
struct kvm_cpuid2 *kvm_supported_cpuid(int dev_fd); /* free() it; NULL on failure */
bool kvm_supports_vmx(const struct kvm_cpuid2 *c);
bool kvm_supports_svm(const struct kvm_cpuid2 *c);

#endif
