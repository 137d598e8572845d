/* SPDX-License-Identifier: MIT */
/* engine_ops.save and load of the software engine. */
#ifndef NESTOR_ENGINE_SAVE_H
#define NESTOR_ENGINE_SAVE_H

#include "cpu/engine.h"

int soft_vcpu_save(struct engine_vcpu *v, struct state_buf *b);
int soft_vcpu_load(struct engine_vcpu *v, struct state_buf *b, struct err *e);

#endif
