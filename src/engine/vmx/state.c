// SPDX-License-Identifier: MIT
/*
 * Life of a vCPU's VMX state: creation, RESET, saving and restoring.
 */
#include "engine/softvm.h"
#include "engine/vmx/vmx_internal.h"

#include <errno.h>
#include <stdlib.h>

int vmx_create(struct soft_cpu *c)
{
	const struct cpu_model *m = c->vm->env.model;

	c->vmx = NULL;
	if (!m->vmx)
		return 0;
	c->vmx = calloc(1, sizeof(*c->vmx));
	if (!c->vmx)
		return -ENOMEM;
	caps_init(&c->vmx->caps, m);
	vmcs_map_init(c->vmx);
	checks_init(c->vmx);
	vmx_timer_init(c);
	vmx_reset(c);
	return 0;
}

void vmx_destroy(struct soft_cpu *c)
{
	if (!c->vmx)
		return;
	vmx_timer_fini(c);
	free(c->vmx);
	c->vmx = NULL;
}

void vmx_reset(struct soft_cpu *c)
{
	struct vmx *x = c->vmx;

	c->vmx_non_root = false;
	c->vpid = 0;
	c->eptp = 0;
	if (!x)
		return;
	vmcs_forget_all(x);
	ept_cache_flush(c);
	x->in_operation = x->virtual_nmi_blocked = x->timer_active = false;
	x->vmxon_pa = ~0ull;
	x->iret_rip = ~0ull;
	x->pin = x->proc = x->proc2 = 0;
}

bool vmx_in_operation(const struct soft_cpu *c)
{
	return c->vmx && c->vmx->in_operation;
}

void vmx_writeback_all(struct soft_cpu *c)
{
	for (unsigned n = 0; c->vmx && n < NR_VMCS_SLOTS; n++)
		if (c->vmx->slots[n].pa != ~0ull)
			vmcs_write_back(c, &c->vmx->slots[n]);
}

void vmx_get_state(struct soft_cpu *c, struct vmx_state *s)
{
	const struct vmx *x = c->vmx;

	*s = (struct vmx_state){ .vmxon_pa = ~0ull, .current_pa = ~0ull };
	if (!x)
		return;
	vmx_writeback_all(c);
	s->in_operation = x->in_operation;
	s->non_root = c->vmx_non_root;
	s->virtual_nmi_blocked = x->virtual_nmi_blocked;
	s->timer_active = x->timer_active;
	s->timer_deadline = x->timer_deadline;
	s->vmxon_pa = x->vmxon_pa;
	s->current_pa = x->cur ? x->cur->pa : ~0ull;
}

static bool state_valid(const struct soft_cpu *c, const struct vmx_state *s)
{
	const u64 invalid = c->vmx->caps.phys_invalid | ~PAGE_MASK;

	return (s->in_operation || (!s->non_root && s->current_pa == ~0ull)) &&
	       (!s->non_root || s->current_pa != ~0ull) &&
	       (s->current_pa == ~0ull || !(s->current_pa & invalid));
}

bool vmx_set_state(struct soft_cpu *c, const struct vmx_state *s)
{
	struct vmx *x = c->vmx;
	const struct vmcs *v;

	vmx_reset(c);
	if (!x)
		return !s->in_operation;
	if (!state_valid(c, s))
		return false;
	x->in_operation = s->in_operation;
	x->vmxon_pa = s->vmxon_pa;
	if (s->current_pa != ~0ull)
		x->cur = vmcs_activate(c, s->current_pa);
	if (!s->non_root)
		return true;
	v = &x->cur->v;
	x->virtual_nmi_blocked = s->virtual_nmi_blocked;
	x->timer_active = s->timer_active;
	x->timer_deadline = s->timer_deadline;
	vmx_set_non_root(c, v);
	cpu_request(c, REQ_EVENT);
	return true;
}
