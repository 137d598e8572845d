/* SPDX-License-Identifier: MIT */
/*
 * The trial guest: does this KVM run what an ordinary kernel does? Internal to
 * kvm/; see trial.c. May hang with a bad KVM: run it in a process that can be
 * killed.
 */
#ifndef NESTOR_KVM_TRIAL_H
#define NESTOR_KVM_TRIAL_H

#include "base/log.h"

/* 0, or -1 with the reason. @dev_fd is /dev/kvm. */
int kvm_trial_run(int dev_fd, struct err *e);

#endif
