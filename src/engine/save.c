// SPDX-License-Identifier: MIT
/*
 * What a saved vCPU of the software engine has besides registers and LAPIC:
 * VMX operation, and the event on its way. VMCSs in use are written back to
 * guest memory, so they are saved with it.
 *
 * The vCPU is not running: its vector state is in memory, and C code may use
 * the host's as it likes.
 */
#include "engine/save.h"

#include <string.h>

#include "base/state.h"
#include "engine/soft.h"
#include "engine/vmx/vmx.h"

struct rest {
	struct cpu_event event, vectoring;
	u64 fip, fdp;
	u16 fop, fcs, fds;
	bool has_vmx;
	struct vmx_state vmx;
};

static const struct state_row rest_rows[] = {
	STATE_ROW(struct rest, event), STATE_ROW(struct rest, vectoring),
	STATE_ROW(struct rest, fip), STATE_ROW(struct rest, fdp), STATE_ROW(struct rest, fop),
	STATE_ROW(struct rest, fcs), STATE_ROW(struct rest, fds), STATE_ROW(struct rest, has_vmx),
	STATE_ROW(struct rest, vmx),
};
static const struct state_desc rest_desc = STATE_DESC("soft-vcpu", 1, rest_rows);

static void get_rest(struct soft_cpu *c, struct rest *r)
{
	memset(r, 0, sizeof(*r));
	r->event = c->event;
	r->vectoring = c->vectoring;
	r->fip = c->fip;
	r->fdp = c->fdp;
	r->fop = c->fop;
	r->fcs = c->fcs;
	r->fds = c->fds;
	r->has_vmx = c->vmx;
	if (c->vmx)
		vmx_get_state(c, &r->vmx);
}

/* Loading comes after the registers and the LAPIC. */
static void set_rest(struct soft_cpu *c, const struct rest *r)
{
	c->event = r->event;
	c->vectoring = r->vectoring;
	c->fip = r->fip;
	c->fdp = r->fdp;
	c->fop = r->fop;
	c->fcs = r->fcs;
	c->fds = r->fds;
}

int soft_vcpu_save(struct engine_vcpu *v, struct state_buf *b)
{
	struct soft_cpu *c = (struct soft_cpu *)v;
	struct rest r;

	get_rest(c, &r);
	return state_save(b, &rest_desc, c->index, &r);
}

int soft_vcpu_load(struct engine_vcpu *v, struct state_buf *b, struct err *e)
{
	struct soft_cpu *c = (struct soft_cpu *)v;
	struct rest r;

	memset(&r, 0, sizeof(r));
	if (state_load(b, &rest_desc, c->index, &r, e))
		return -1;
	if (r.has_vmx != !!c->vmx)
		return err_set(e, "the saved vCPU %u has VMX and this one has not, or the other "
			       "way round", c->index);
	set_rest(c, &r);
	if (c->vmx && !vmx_set_state(c, &r.vmx))
		return err_set(e, "the saved VMX state of vCPU %u is not valid", c->index);
	cpu_request(c, REQ_IRQ | REQ_EVENT);
	return 0;
}
