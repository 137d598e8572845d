// SPDX-License-Identifier: MIT
/*
 * Exceptions and interrupts: which one is next, and delivery through the IVT,
 * the IDT or a task gate. The SDM's "Interrupt and Exception Handling" chapter
 * and the Operation section of INT n, whose order of checks is kept.
 *
 * Theory of operation. event_deliver() computes the handler's whole state
 * first; what is pushed is checked before anything is written; and cpu_state
 * changes last. So a fault on the way (cpu_raise() while c->vectoring is
 * pending) finds the state of before the event.
 */
#include "engine/seg.h"
#include "engine/softvm.h"
#include "engine/task.h"
#include "engine/vmx/vmx.h"

/* The error code's EXT: set unless INT n, INT3 or INTO is the cause. */
static u32 ext_bit(const struct cpu_event *e)
{
	return e->type != EVENT_SW_INT && e->type != EVENT_SW_EXC;
}

static bool is_software(const struct cpu_event *e)
{
	return e->type == EVENT_SW_INT || e->type == EVENT_SW_EXC;
}

/* RIP that the handler returns to. */
static u64 return_rip(const struct soft_cpu *c, const struct cpu_event *e)
{
	u64 rip = c->s.rip;

	if (is_software(e) || e->type == EVENT_PRIV_SW_EXC)
		rip += e->insn_len;
	return cpu_code64(c) ? rip : (u32)rip;
}

static bool is_fault(const struct cpu_event *e)
{
	if (e->type != EVENT_HW_EXC)
		return false;
	switch (e->vector) {
	case X86_DB:
		return e->dr6 & BIT(13); /* general detect */
	case X86_DF:
	case X86_MC:
		return false;
	}
	return true;
}

/* RFLAGS as the handler's frame shows them. */
static u64 pushed_flags(const struct soft_cpu *c, const struct cpu_event *e)
{
	return cpu_rflags(c) | (is_fault(e) ? RFLAGS_RF : 0);
}

static void clear_flags(struct soft_cpu *c, u64 which)
{
	/* None of them is an arithmetic flag: those in c->flags stay. */
	c->s.rflags &= ~which;
	c->mode_changed = true;
}

/* ---- IA-32e mode ---- */

struct handler {
	u64 rip;
	u16 sel;
	struct seg cs;
	unsigned cpl;
	bool interrupt_gate;
};

/* The handler's code segment: SDM's checks on the gate's selector. */
static void find_code(struct soft_cpu *c, struct handler *h, u32 ext)
{
	unsigned cpl = cpu_cpl(c);
	u64 d;

	if (SEL_NULL(h->sel))
		cpu_raise(c, X86_GP, ext);
	d = desc_read_or(c, h->sel, X86_GP, ext);
	if (!desc_is_code(d) || desc_dpl(d) > cpl)
		cpu_raise(c, X86_GP, SEL_ERROR(h->sel) | ext);
	if (cpu_long_mode(c) && (desc_ar(d) & (SEG_L | SEG_DB)) != SEG_L)
		cpu_raise(c, X86_GP, SEL_ERROR(h->sel) | ext);
	if (!desc_present(d))
		cpu_raise(c, X86_NP, SEL_ERROR(h->sel) | ext);
	h->cpl = desc_is_conforming(d) ? cpl : desc_dpl(d);
	h->cs = desc_use(c, (h->sel & ~3u) | h->cpl, d);
}

/* What is wrong with a gate regardless of mode. */
static void check_gate(struct soft_cpu *c, const struct cpu_event *e, u64 gate, u32 types,
		       u32 error)
{
	if (desc_is_segment(gate) || !(types & BIT(desc_type(gate))))
		cpu_raise(c, X86_GP, error);
	if (is_software(e) && desc_dpl(gate) < cpu_cpl(c))
		cpu_raise(c, X86_GP, error);
	if (!desc_present(gate))
		cpu_raise(c, X86_NP, error);
}

static void deliver_long(struct soft_cpu *c, const struct cpu_event *e)
{
	u32 ext = ext_bit(e), error = e->vector * 8 + 2 + ext;
	unsigned cpl = cpu_cpl(c), n = 0;
	u64 gate, high, frame[6];
	struct stack st;
	struct handler h;

	if (e->vector * 16u + 15 > c->s.idtr.limit)
		cpu_raise(c, X86_GP, error);
	gate = guest_read(c, c->s.idtr.base + e->vector * 16, 8, AS_SUPERVISOR);
	high = guest_read(c, c->s.idtr.base + e->vector * 16 + 8, 8, AS_SUPERVISOR);
	check_gate(c, e, gate, BIT(DESC_INT) | BIT(DESC_TRAP), error);
	h.rip = (gate & 0xffff) | (gate >> 32 & 0xffff0000) | high << 32;
	h.sel = gate >> 16;
	h.interrupt_gate = desc_type(gate) == DESC_INT;
	find_code(c, &h, ext);

	st = (struct stack){ .sp = c->s.gpr[RSP], .mask = ~0ull, .flat = true, .error = ext,
			     .as = h.cpl == 3 ? AS_USER : AS_SUPERVISOR };
	if (gate >> 32 & 7)
		st.sp = task_stack64(c, 3 + (gate >> 32 & 7), ext);
	else if (h.cpl < cpl)
		st.sp = task_stack64(c, h.cpl, ext);
	st.sp &= ~15ull;
	if (!addr_canonical(h.rip))
		cpu_raise(c, X86_GP, ext);

	frame[n++] = c->s.seg[SEG_SS].sel;
	frame[n++] = c->s.gpr[RSP];
	frame[n++] = pushed_flags(c, e);
	frame[n++] = c->s.seg[SEG_CS].sel;
	frame[n++] = return_rip(c, e);
	if (e->has_error)
		frame[n++] = e->error;
	stack_push(c, &st, frame, n, 8);

	if (h.cpl < cpl)
		c->s.seg[SEG_SS] = seg_null(h.cpl, h.cpl);
	c->s.seg[SEG_CS] = h.cs;
	c->s.gpr[RSP] = st.sp;
	c->s.rip = h.rip;
	clear_flags(c, RFLAGS_TF | RFLAGS_NT | RFLAGS_VM | RFLAGS_RF |
			       (h.interrupt_gate ? RFLAGS_IF : 0));
}

/* ---- Protected mode of 16 and 32 bits ---- */

/* The frame of a VM86 task begins with its data segments. */
static unsigned frame_vm86(const struct soft_cpu *c, u64 *frame)
{
	static const u8 order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };

	for (unsigned k = 0; k < ARRAY_SIZE(order); k++)
		frame[k] = c->s.seg[order[k]].sel;
	return ARRAY_SIZE(order);
}

static void deliver_protected(struct soft_cpu *c, const struct cpu_event *e)
{
	u32 ext = ext_bit(e), error = e->vector * 8 + 2 + ext;
	bool vm86 = c->s.rflags & RFLAGS_VM;
	unsigned cpl = cpu_cpl(c), n = 0, size;
	struct seg ss = c->s.seg[SEG_SS];
	struct stack st = stack_current(c);
	struct handler h;
	u64 gate, frame[10];

	if (e->type == EVENT_SW_INT && vm86_restricted(c))
		cpu_raise(c, X86_GP, 0); /* injected: INT n itself has looked */
	if (e->vector * 8u + 7 > c->s.idtr.limit)
		cpu_raise(c, X86_GP, error);
	gate = guest_read(c, (u32)(c->s.idtr.base + e->vector * 8), 8, AS_SUPERVISOR);
	check_gate(c, e, gate, BIT(DESC_TASK) | BIT(DESC_INT16) | BIT(DESC_TRAP16) |
				       BIT(DESC_INT) | BIT(DESC_TRAP), error);
	if (desc_type(gate) == DESC_TASK) {
		task_switch(c, task_gate_check(c, gate, ext), TASK_EVENT, return_rip(c, e), e,
			    is_software(e) || e->type == EVENT_PRIV_SW_EXC ? e->insn_len : 0);
		return;
	}
	size = desc_type(gate) & 8 ? 4 : 2;
	h.rip = (gate & 0xffff) | (size == 4 ? gate >> 32 & 0xffff0000 : 0);
	h.sel = gate >> 16;
	h.interrupt_gate = !(desc_type(gate) & 1);
	find_code(c, &h, ext);
	if (vm86 && h.cpl != 0)
		cpu_raise(c, X86_GP, SEL_ERROR(h.sel) | ext);

	st.error = ext;
	st.as = h.cpl == 3 ? AS_USER : AS_SUPERVISOR;
	if (h.cpl < cpl) {
		u16 sel;
		u32 esp;

		task_stack(c, h.cpl, ext, &sel, &esp);
		ss = seg_stack(c, sel, h.cpl, X86_TS, ext);
		st.ss = &ss;
		st.base = ss.base;
		st.mask = ss.ar & SEG_DB ? 0xffffffff : 0xffff;
		st.sp = esp & st.mask;
		st.error = SEL_ERROR(sel) | ext;
		if (vm86)
			n = frame_vm86(c, frame);
		frame[n++] = c->s.seg[SEG_SS].sel;
		frame[n++] = (u32)c->s.gpr[RSP];
	}
	if (h.rip > h.cs.limit)
		cpu_raise(c, X86_GP, ext);
	frame[n++] = pushed_flags(c, e);
	frame[n++] = c->s.seg[SEG_CS].sel;
	frame[n++] = return_rip(c, e);
	if (e->has_error)
		frame[n++] = e->error;
	stack_push(c, &st, frame, n, size);

	for (unsigned k = 0; vm86 && k < NR_SEGS; k++)
		if (k != SEG_CS && k != SEG_SS)
			c->s.seg[k] = seg_null(0, 0);
	c->s.seg[SEG_SS] = ss;
	c->s.seg[SEG_CS] = h.cs;
	stack_commit(c, &st);
	c->s.rip = h.rip;
	clear_flags(c, RFLAGS_TF | RFLAGS_NT | RFLAGS_VM | RFLAGS_RF |
			       (h.interrupt_gate ? RFLAGS_IF : 0));
}

/* ---- Real mode ---- */

static void deliver_real(struct soft_cpu *c, const struct cpu_event *e)
{
	struct stack st = stack_current(c);
	u64 frame[3];
	u32 vector;

	if (e->vector * 4u + 3 > c->s.idtr.limit)
		cpu_raise(c, X86_GP, 0);
	vector = guest_read(c, (u32)(c->s.idtr.base + e->vector * 4), 4, AS_SUPERVISOR);
	frame[0] = pushed_flags(c, e);
	frame[1] = c->s.seg[SEG_CS].sel;
	frame[2] = return_rip(c, e);
	stack_push(c, &st, frame, 3, 2);

	seg_set_real(&c->s.seg[SEG_CS], vector >> 16, false);
	stack_commit(c, &st);
	c->s.rip = vector & 0xffff;
	clear_flags(c, RFLAGS_TF | RFLAGS_IF | RFLAGS_AC | RFLAGS_RF);
}

/* ---- Delivery ---- */

/* What becomes visible even if the handler is never reached. */
static void set_payload(struct soft_cpu *c, const struct cpu_event *e)
{
	if (e->type == EVENT_NMI && !e->injected)
		c->s.nmi_blocked = true;
	if ((e->type != EVENT_HW_EXC && e->type != EVENT_PRIV_SW_EXC) || e->injected)
		return;
	if (e->vector == X86_PF)
		c->s.cr2 = e->cr2;
	if (e->vector == X86_DB) {
		c->s.dr6 = (c->s.dr6 & ~15ull) | e->dr6;
		c->s.dr7 &= ~BIT(13);	    /* GD */
		c->s.msr.debugctl &= ~3ull; /* LBR, BTF */
	}
}

static void end_shadow(struct soft_cpu *c)
{
	c->s.sti_shadow_rip = c->s.movss_shadow_rip = ~0ull;
	c->debug_held = 0;
	if (c->shadow_step)
		c->shadow_step = c->single_step = false;
}

/* Data breakpoints of a MOV SS before @e's instruction: a #DB of this very
 * instruction tells of them, and one more comes at the handler of INT n, INT3
 * or INTO. A fault drops them. */
static u64 take_held(const struct soft_cpu *c, struct cpu_event *e)
{
	if (e->injected || !c->debug_held)
		return 0;
	if (e->type == EVENT_SW_INT || e->type == EVENT_SW_EXC)
		return c->debug_held;
	if (e->vector == X86_DB)
		e->dr6 |= c->debug_held;
	return 0;
}

void event_deliver(struct soft_cpu *c)
{
	struct cpu_event e = c->event;
	u64 held;

	exec_trace_event(c);
	vmx_intercept_event(c, &e);
	held = take_held(c, &e);
	c->event.pending = false;
	c->vectoring = e;
	c->vectoring.pending = true;
	set_payload(c, &e);
	if (cpu_long_mode(c))
		deliver_long(c, &e);
	else if (c->s.cr0 & CR0_PE)
		deliver_protected(c, &e);
	else
		deliver_real(c, &e);
	c->vectoring.pending = false;
	c->s.activity = CPU_ACTIVE;
	end_shadow(c);
	if (held)
		c->event = (struct cpu_event){ .pending = true, .vector = X86_DB,
					       .type = EVENT_HW_EXC, .dr6 = held };
}

/* ---- Faults during delivery ---- */

enum event_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum event_class event_class(const struct cpu_event *e)
{
	if (e->type != EVENT_HW_EXC)
		return BENIGN;
	switch (e->vector) {
	case X86_DE:
	case X86_TS:
	case X86_NP:
	case X86_SS:
	case X86_GP:
		return CONTRIBUTORY;
	case X86_PF:
	case X86_VE:
		return PAGE_FAULT;
	case X86_DF:
		return DOUBLE_FAULT;
	}
	return BENIGN;
}

/* SDM "Conditions for Generating a Double Fault". */
static bool makes_double(enum event_class first, enum event_class second)
{
	if (second == BENIGN)
		return false;
	return first == PAGE_FAULT || (first == CONTRIBUTORY && second == CONTRIBUTORY);
}

void event_nest(struct soft_cpu *c, const struct cpu_event *first, const struct cpu_event *second)
{
	enum event_class a = event_class(first), b = event_class(second);
	struct cpu_event next = *second;

	next.pending = true;
	vmx_intercept_event(c, &next);
	if (a == DOUBLE_FAULT && b != BENIGN) {
		c->event.pending = c->vectoring.pending = false;
		cpu_shutdown(c);
	}
	if (makes_double(a, b)) {
		set_payload(c, second);
		next = (struct cpu_event){ .pending = true, .vector = X86_DF, .type = EVENT_HW_EXC,
					   .has_error = true };
		/* An exit by #DF itself is not one "during event delivery". */
		c->vectoring.pending = false;
	}
	c->event = next;
}

/* ---- What is pending ---- */

bool event_irq_pending(struct soft_cpu *c)
{
	return lapic_pending(&c->lapic) >= 0 || lapic_extint_pending(&c->lapic);
}

/* Devices' code, and libc's, may use vector registers. */
struct extint {
	const struct machine_env *env;
	int vector;
};

static void extint_ack(void *arg)
{
	struct extint *x = arg;

	x->vector = x->env->extint_ack ? x->env->extint_ack(x->env->extint_opaque) : -1;
}

int event_irq_ack(struct soft_cpu *c)
{
	struct extint x = { &c->vm->env, -1 };
	int vector;

	if (lapic_extint_pending(&c->lapic))
		vec_saved(c, extint_ack, &x);
	if (x.vector >= 0)
		return x.vector;
	vector = lapic_pending(&c->lapic);
	if (vector >= 0)
		lapic_ack(&c->lapic, vector);
	return vector;
}

bool event_nmi_pending(struct soft_cpu *c)
{
	return c->s.nmi_pending;
}

void event_nmi_take(struct soft_cpu *c)
{
	c->s.nmi_pending--;
}

static void latch_nmis(struct soft_cpu *c, unsigned nr)
{
	c->s.nmi_pending = (u8)MIN(c->s.nmi_pending + nr, c->s.nmi_blocked ? 1u : 2u);
}

/* What others posted becomes state. */
static void take_posted(struct soft_cpu *c)
{
	u32 posted;

	if (!atomic_load_explicit(&c->lapic.posted, memory_order_relaxed))
		return;
	posted = atomic_exchange(&c->lapic.posted, 0);
	/* The mark of the second may come after the first was taken. */
	latch_nmis(c, !!(posted & LAPIC_POST_NMI) + !!(posted & LAPIC_POST_NMI_AGAIN));
	if (posted & LAPIC_POST_INIT)
		c->s.init_pending = true;
	if (posted & LAPIC_POST_SIPI) {
		c->s.sipi_pending = true;
		c->s.sipi_vector = atomic_load(&c->lapic.sipi_vector);
	}
}

static bool shadowed(const struct soft_cpu *c)
{
	return c->s.rip == c->s.sti_shadow_rip || c->s.rip == c->s.movss_shadow_rip;
}

static bool irq_enabled(const struct soft_cpu *c)
{
	return c->s.rflags & RFLAGS_IF;
}

bool event_wakes_hlt(struct soft_cpu *c)
{
	take_posted(c);
	if (c->event.pending || (c->s.init_pending && !vmx_blocks_init(c)))
		return true;
	if (c->vmx_non_root && vmx_wakes_hlt(c))
		return true;
	switch (c->s.activity) {
	case CPU_ACTIVE:
		return true;
	case CPU_WAIT_SIPI:
		return c->s.sipi_pending;
	case CPU_HLT:
		return (c->s.nmi_pending && !c->s.nmi_blocked) ||
		       (irq_enabled(c) && event_irq_pending(c));
	case CPU_SHUTDOWN:
		return c->s.nmi_pending && !c->s.nmi_blocked;
	}
	return false;
}

void event_recheck(struct soft_cpu *c)
{
	if (c->irq_held || c->s.nmi_pending || c->s.init_pending)
		cpu_request(c, REQ_EVENT);
}

void event_shadow_over(struct soft_cpu *c)
{
	end_shadow(c);
	cpu_request(c, REQ_EVENT);
}

/* ---- INIT and SIPI ---- */

static void init_state(void *arg)
{
	struct soft_cpu *c = arg;

	cpu_state_init(&c->s, c->lapic.apic_base & BIT(8));
	lapic_reset(&c->lapic, true);
}

static void do_init(struct soft_cpu *c)
{
	c->s.init_pending = c->s.sipi_pending = false;
	vec_saved(c, init_state, c);
	cpu_set_rflags(c, RFLAGS_RSV1);
	c->event.pending = c->vectoring.pending = false;
	end_shadow(c);
	c->mode_changed = true;
	tlb_flush_everything(c);
}

static void do_sipi(struct soft_cpu *c)
{
	u8 vector = c->s.sipi_vector;

	c->s.sipi_pending = false;
	seg_set_real(&c->s.seg[SEG_CS], vector << 8, false);
	c->s.rip = 0;
	c->s.activity = CPU_ACTIVE;
	c->mode_changed = true;
}

/* INIT and SIPI: true when one was there. */
static bool poll_init(struct soft_cpu *c)
{
	bool found = false, sipi = c->s.sipi_pending;

	if (c->s.init_pending && !vmx_blocks_init(c)) {
		if (c->vmx_non_root) {
			c->s.init_pending = false;
			vmx_init_event(c);
		}
		do_init(c);
		c->s.sipi_pending = sipi; /* came after it, and starts the processor again */
		found = true;
	}
	if (!c->s.sipi_pending)
		return found;
	if (c->s.activity != CPU_WAIT_SIPI) {
		c->s.sipi_pending = false; /* ignored by a processor that runs */
		return found;
	}
	if (c->vmx_non_root) {
		c->s.sipi_pending = false;
		vmx_sipi_event(c, c->s.sipi_vector);
	}
	do_sipi(c);
	return true;
}

/* ---- Polling ---- */

static bool deliver(struct soft_cpu *c, u8 vector, enum event_type type)
{
	c->event = (struct cpu_event){ .pending = true, .vector = vector, .type = type };
	event_deliver(c);
	return true;
}

/* Something waits for the end of a shadow: comes back after one instruction. */
static bool wait_for_shadow(struct soft_cpu *c)
{
	c->single_step = c->shadow_step = true;
	return false;
}

static bool poll_nmi(struct soft_cpu *c)
{
	if (!c->s.nmi_pending || c->s.nmi_blocked)
		return false;
	if (c->s.rip == c->s.movss_shadow_rip)
		return wait_for_shadow(c);
	event_nmi_take(c);
	return deliver(c, X86_NMI, EVENT_NMI);
}

static bool poll_irq(struct soft_cpu *c)
{
	int vector;

	if (!event_irq_pending(c)) {
		c->irq_held = vmx_waits_for_if(c);
		return false;
	}
	if (!irq_enabled(c))
		return false;
	if (shadowed(c))
		return wait_for_shadow(c);
	vector = event_irq_ack(c);
	return vector >= 0 && deliver(c, vector, EVENT_EXTINT);
}

bool event_poll(struct soft_cpu *c)
{
	bool irq_through_idt = true;

	c->irq_held = true; /* until the last look finds nothing */
	/* A post after this is seen again. */
	atomic_fetch_and(&c->request, ~(u32)(REQ_IRQ | REQ_EVENT));
	take_posted(c);
	if (poll_init(c))
		return true;
	if (c->s.activity == CPU_WAIT_SIPI)
		return false;
	if (c->event.pending) {
		event_deliver(c);
		return true;
	}
	if (c->vmx_non_root) {
		irq_through_idt = vmx_event_poll(c);
		if (c->event.pending)
			return true; /* a virtual interrupt, say */
	}
	if (poll_nmi(c))
		return true;
	if (!irq_through_idt || c->s.activity == CPU_SHUTDOWN) {
		/* An interrupt would have been a VM exit, whatever IF is. */
		c->irq_held = vmx_waits_for_if(c);
		return false;
	}
	return poll_irq(c);
}
