// SPDX-License-Identifier: MIT
/* Breakpoints and steps for a debugger. */
#include "engine/debug.h"

#include "engine/softvm.h"

bool debug_breakpoint(const struct soft_cpu *c, gva_t rip)
{
	for (unsigned n = 0; n < c->debug.nr_breakpoints; n++)
		if (c->debug.breakpoint[n] == rip)
			return true;
	return false;
}

/* A step ends with whatever the instruction led to: the next one, or the first
 * of an exception's handler. */
bool debug_stops(struct soft_cpu *c)
{
	if (c->debug.single_step) {
		c->debug_hit = c->debug_moved;
		c->debug_moved = true;
	} else {
		c->debug_hit = debug_breakpoint(c, c->s.rip);
	}
	return c->debug_hit;
}

static bool same_breakpoints(const struct engine_debug *a, const struct engine_debug *b)
{
	if (a->nr_breakpoints != b->nr_breakpoints)
		return false;
	for (unsigned n = 0; n < a->nr_breakpoints; n++)
		if (a->breakpoint[n] != b->breakpoint[n])
			return false;
	return true;
}

int soft_set_debug(struct engine_vcpu *v, const struct engine_debug *d)
{
	struct soft_cpu *c = (struct soft_cpu *)v;
	bool same = same_breakpoints(&c->debug, d);

	c->debug = *d;
	c->debugging = d->single_step || d->nr_breakpoints;
	c->debug_moved = false;
	c->mode_changed = true;
	if (!same)
		exec_flush_code(c); /* blocks that ran over a new one */
	return 0;
}
