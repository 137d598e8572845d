// SPDX-License-Identifier: MIT
/*
 * Control transfers that change more than RIP: far JMP, CALL and RET, IRET,
 * INT n and its like, SYSCALL and SYSENTER and their returns. The Operation
 * sections of the SDM, in their order of checks.
 *
 * Theory of operation. Each helper collects the new CS, SS, RIP and RSP in
 * local variables, raising what is to be raised, and writes cpu_state last.
 */
#include "engine/helpers.h"
#include "engine/seg.h"
#include "engine/task.h"
#include "engine/vmx/vmx.h"

static bool segs_real(const struct soft_cpu *c) /* real or VM86: selectors are paragraphs */
{
	return !cpu_protected(c);
}

/* RIP in the code segment to come: raises #GP(0). */
static void check_rip(struct soft_cpu *c, const struct seg *cs, u64 rip)
{
	bool ok;

	if (cpu_long_mode(c) && (cs->ar & SEG_L))
		ok = addr_canonical(rip);
	else
		ok = rip <= cs->limit;
	if (!ok)
		cpu_raise(c, X86_GP, 0);
}

static void set_cs(struct soft_cpu *c, const struct seg *cs, u64 rip)
{
	c->s.seg[SEG_CS] = *cs;
	c->s.rip = rip;
	c->mode_changed = true;
}

/* Stack of privilege @cpl for a call through a gate: from the TSS. */
static struct stack inner_stack(struct soft_cpu *c, unsigned cpl, struct seg *ss)
{
	struct stack st = { .mask = ~0ull, .as = AS_SUPERVISOR, .ss = ss };
	u16 sel;
	u32 esp;

	if (cpu_long_mode(c)) {
		st.flat = true;
		st.sp = task_stack64(c, cpl, 0);
		*ss = seg_null(cpl, cpl);
		return st;
	}
	task_stack(c, cpl, 0, &sel, &esp);
	*ss = seg_stack(c, sel, cpl, X86_TS, 0);
	st.base = ss->base;
	st.mask = ss->ar & SEG_DB ? 0xffffffff : 0xffff;
	st.sp = esp & st.mask;
	st.error = SEL_ERROR(sel);
	return st;
}

/* ---- Far JMP and CALL ---- */

struct far_ptr {
	u16 sel;
	u64 off;
};

static struct far_ptr far_operand(struct soft_cpu *c, const struct insn *i)
{
	struct far_ptr p;
	gva_t at;

	if (!i->has_mem)
		return (struct far_ptr){ i->imm2, i->opsize == 2 ? (u16)i->imm : (u32)i->imm };
	at = insn_linear(c, i, i->opsize + 2, false);
	p.off = guest_read(c, at, i->opsize, AS_CURRENT);
	p.sel = guest_read(c, at + i->opsize, 2, AS_CURRENT);
	return p;
}

/* Return address on the current stack, for a CALL. */
static void push_return(struct soft_cpu *c, const struct insn *i, struct stack *st, unsigned size)
{
	u64 frame[2] = { c->s.seg[SEG_CS].sel, insn_next(i) };

	stack_push(c, st, frame, 2, size);
}

static void far_real(struct soft_cpu *c, const struct insn *i, struct far_ptr to, bool call)
{
	struct seg cs = c->s.seg[SEG_CS];
	struct stack st = stack_current(c);

	if (to.off > cs.limit)
		cpu_raise(c, X86_GP, 0);
	if (call) {
		push_return(c, i, &st, i->opsize);
		stack_commit(c, &st);
	}
	seg_set_real(&cs, to.sel, c->s.rflags & RFLAGS_VM);
	set_cs(c, &cs, to.off);
}

/* A descriptor of a code segment, named by the instruction itself. */
static void far_code(struct soft_cpu *c, const struct insn *i, struct far_ptr to, u64 d,
		     bool call)
{
	unsigned cpl = cpu_cpl(c);
	u32 error = SEL_ERROR(to.sel);
	struct stack st = stack_current(c);
	struct seg cs;

	if (!desc_is_code(d))
		cpu_raise(c, X86_GP, error);
	if (desc_is_conforming(d) ? desc_dpl(d) > cpl :
				    SEL_RPL(to.sel) > cpl || desc_dpl(d) != cpl)
		cpu_raise(c, X86_GP, error);
	if (cpu_long_mode(c) && (desc_ar(d) & SEG_L) && (desc_ar(d) & SEG_DB))
		cpu_raise(c, X86_GP, error);
	if (!desc_present(d))
		cpu_raise(c, X86_NP, error);
	cs = desc_use(c, (to.sel & ~3u) | cpl, d);
	check_rip(c, &cs, to.off);
	if (call) {
		push_return(c, i, &st, i->opsize);
		stack_commit(c, &st);
	}
	set_cs(c, &cs, to.off);
}

/* ---- Call gates ---- */

struct gate {
	u16 sel;
	u64 rip;
	unsigned size; /* of what is pushed */
	unsigned nr_params;
};

static struct gate call_gate(struct soft_cpu *c, u16 sel, u64 d)
{
	u64 high;
	struct gate g = { .sel = d >> 16, .rip = d & 0xffff, .size = 2 };

	if (desc_type(d) & 8) {
		g.size = 4;
		g.rip |= d >> 32 & 0xffff0000;
	}
	if (!cpu_long_mode(c)) {
		g.nr_params = d >> 32 & 31;
		return g;
	}
	if (!desc_read_high(c, sel, &high) || (high >> 40 & 0x1f))
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	g.size = 8;
	g.rip |= high << 32;
	return g;
}

/* Through the gate to an inner privilege, with a change of stack. */
static void call_inner(struct soft_cpu *c, const struct insn *i, const struct gate *g,
		       struct seg *cs, unsigned cpl)
{
	struct stack old = stack_current(c), st;
	u64 frame[4 + 31];
	unsigned n = 0, k;
	struct seg ss;

	st = inner_stack(c, cpl, &ss);
	frame[n++] = c->s.seg[SEG_SS].sel;
	frame[n++] = c->s.gpr[RSP];
	/* Parameters keep their order: the last is popped first. */
	for (k = 0; k < g->nr_params; k++)
		frame[n + g->nr_params - 1 - k] = stack_pop(c, &old, g->size);
	n += g->nr_params;
	frame[n++] = c->s.seg[SEG_CS].sel;
	frame[n++] = insn_next(i);
	check_rip(c, cs, g->rip);
	stack_push(c, &st, frame, n, g->size);
	c->s.seg[SEG_SS] = ss;
	if (st.flat)
		c->s.gpr[RSP] = st.sp;
	else
		stack_commit(c, &st);
	set_cs(c, cs, g->rip);
}

static void far_call_gate(struct soft_cpu *c, const struct insn *i, u16 sel, u64 d, bool call)
{
	struct gate g = call_gate(c, sel, d);
	unsigned cpl = cpu_cpl(c), to;
	struct stack st = stack_current(c);
	struct seg cs;
	u32 error;

	if (SEL_NULL(g.sel))
		cpu_raise(c, X86_GP, 0);
	error = SEL_ERROR(g.sel);
	d = desc_read_or(c, g.sel, X86_GP, 0);
	if (!desc_is_code(d) || desc_dpl(d) > cpl)
		cpu_raise(c, X86_GP, error);
	if (!call && !desc_is_conforming(d) && desc_dpl(d) != cpl)
		cpu_raise(c, X86_GP, error);
	if (cpu_long_mode(c) && (desc_ar(d) & (SEG_L | SEG_DB)) != SEG_L)
		cpu_raise(c, X86_GP, error);
	if (!desc_present(d))
		cpu_raise(c, X86_NP, error);
	to = desc_is_conforming(d) ? cpl : desc_dpl(d);
	cs = desc_use(c, (g.sel & ~3u) | to, d);
	if (call && to < cpl) {
		call_inner(c, i, &g, &cs, to);
		return;
	}
	check_rip(c, &cs, g.rip);
	if (call) {
		if (g.size == 8)
			st = (struct stack){ .sp = c->s.gpr[RSP], .mask = ~0ull, .flat = true };
		push_return(c, i, &st, g.size);
		stack_commit(c, &st);
	}
	set_cs(c, &cs, g.rip);
}

/* A system descriptor: gate or TSS. */
static void far_system(struct soft_cpu *c, const struct insn *i, u16 sel, u64 d, bool call)
{
	enum task_source source = call ? TASK_CALL : TASK_JMP;
	unsigned type = desc_type(d);
	u32 legal = BIT(DESC_CALL);

	if (!cpu_long_mode(c))
		legal |= BIT(DESC_CALL16) | BIT(DESC_TASK) | BIT(DESC_TSS) | BIT(DESC_TSS16);
	if (!(legal & BIT(type)) || desc_dpl(d) < MAX(cpu_cpl(c), SEL_RPL(sel)))
		cpu_raise(c, X86_GP, SEL_ERROR(sel));
	if (!desc_present(d))
		cpu_raise(c, X86_NP, SEL_ERROR(sel));
	if (type == DESC_CALL || type == DESC_CALL16)
		far_call_gate(c, i, sel, d, call);
	else
		task_switch(c, type == DESC_TASK ? task_gate_check(c, d, 0) : sel, source,
			    (u32)insn_next(i), NULL, i->len);
}

static void far_transfer(struct soft_cpu *c, const struct insn *i, bool call)
{
	struct far_ptr to = far_operand(c, i);
	u64 d;

	if (segs_real(c)) {
		far_real(c, i, to, call);
		return;
	}
	if (SEL_NULL(to.sel))
		cpu_raise(c, X86_GP, 0);
	d = desc_read_or(c, to.sel, X86_GP, 0);
	if (desc_is_segment(d))
		far_code(c, i, to, d, call);
	else
		far_system(c, i, to.sel, d, call);
}

enum helper_result helper_jmp_far(struct soft_cpu *c, const struct insn *i)
{
	far_transfer(c, i, false);
	return HELPER_END;
}

enum helper_result helper_call_far(struct soft_cpu *c, const struct insn *i)
{
	far_transfer(c, i, true);
	return HELPER_END;
}

/* ---- Returns: common to far RET and IRET ---- */

static struct seg return_code(struct soft_cpu *c, u16 sel)
{
	u32 error = SEL_ERROR(sel);
	u64 d;

	if (SEL_NULL(sel))
		cpu_raise(c, X86_GP, 0);
	d = desc_read_or(c, sel, X86_GP, 0);
	if (!desc_is_code(d) || SEL_RPL(sel) < cpu_cpl(c))
		cpu_raise(c, X86_GP, error);
	if (desc_is_conforming(d) ? desc_dpl(d) > SEL_RPL(sel) : desc_dpl(d) != SEL_RPL(sel))
		cpu_raise(c, X86_GP, error);
	if (cpu_long_mode(c) && (desc_ar(d) & SEG_L) && (desc_ar(d) & SEG_DB))
		cpu_raise(c, X86_GP, error);
	if (!desc_present(d))
		cpu_raise(c, X86_NP, error);
	return desc_use(c, sel, d);
}

/* SS for a return to @cs; NULL is good enough for 64-bit code of CPL < 3. */
static struct seg return_stack(struct soft_cpu *c, u16 sel, const struct seg *cs)
{
	unsigned cpl = SEL_RPL(cs->sel);

	if (SEL_NULL(sel) && cpu_long_mode(c) && (cs->ar & SEG_L) && cpl != 3 &&
	    SEL_RPL(sel) == cpl)
		return seg_null(sel, cpl);
	return seg_stack(c, sel, cpl, X86_GP, 0);
}

/* Data segments that the outer privilege may not have become NULL; their base
 * stays. A NULL selector loses its RPL and nothing else, whatever the hidden
 * part says: after a VM entry FS may have one with a base and DPL 0, and KVM
 * counts on that base in user mode. */
static void drop_inner_segments(struct soft_cpu *c, unsigned cpl)
{
	static const u8 data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned k = 0; k < ARRAY_SIZE(data); k++) {
		struct seg *s = &c->s.seg[data[k]];
		bool conforming = (SEG_TYPE(s) & (SEG_CODE | SEG_CONFORM)) ==
				  (SEG_CODE | SEG_CONFORM);

		if (SEL_NULL(s->sel) || (s->ar & SEG_UNUSABLE)) {
			s->sel = 0;
		} else if (SEG_DPL(s) < cpl && !conforming) {
			u64 base = s->base;

			*s = seg_null(0, 0);
			s->base = base;
		}
	}
}

/* RSP as SS and CS to come make it. */
static void set_rsp(struct soft_cpu *c, const struct seg *cs, const struct seg *ss, u64 rsp)
{
	if (cpu_long_mode(c) && (cs->ar & SEG_L))
		c->s.gpr[RSP] = rsp;
	else if (ss->ar & SEG_DB)
		c->s.gpr[RSP] = (u32)rsp;
	else
		gpr_set(c, RSP, 2, rsp);
}

enum helper_result helper_ret_far(struct soft_cpu *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	u16 release = i->nr_ops ? i->imm : 0;
	struct seg cs = c->s.seg[SEG_CS], ss;
	u64 rip = stack_pop(c, &st, i->opsize);
	u16 sel = stack_pop(c, &st, i->opsize);
	unsigned cpl = cpu_cpl(c);
	u64 rsp;

	st.sp = (st.sp + release) & st.mask;
	if (segs_real(c)) {
		if (rip > cs.limit)
			cpu_raise(c, X86_GP, 0);
		seg_set_real(&cs, sel, c->s.rflags & RFLAGS_VM);
		stack_commit(c, &st);
		set_cs(c, &cs, rip);
		return HELPER_END;
	}
	cs = return_code(c, sel);
	if (SEL_RPL(sel) == cpl) {
		check_rip(c, &cs, rip);
		stack_commit(c, &st);
		set_cs(c, &cs, rip);
		return HELPER_END;
	}
	rsp = stack_pop(c, &st, i->opsize);
	ss = return_stack(c, stack_pop(c, &st, i->opsize), &cs);
	check_rip(c, &cs, rip);
	c->s.seg[SEG_SS] = ss;
	set_rsp(c, &cs, &ss, rsp);
	set_rsp(c, &cs, &ss, c->s.gpr[RSP] + release);
	set_cs(c, &cs, rip);
	drop_inner_segments(c, SEL_RPL(sel));
	return HELPER_END;
}

/* ---- IRET ---- */

/* RFLAGS bits that IRET loads at @cpl. */
static u64 iret_mask(const struct soft_cpu *c, unsigned cpl, unsigned size)
{
	u64 mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	if (size > 2)
		mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
	if (cpl <= (c->s.rflags & RFLAGS_IOPL) >> 12)
		mask |= RFLAGS_IF;
	if (cpl == 0)
		mask |= RFLAGS_IOPL;
	if (cpl == 0 && size > 2 && cpu_protected(c))
		mask |= RFLAGS_VIF | RFLAGS_VIP;
	return mask;
}

static void iret_flags(struct soft_cpu *c, u64 mask, u64 flags)
{
	/* The instruction returned to would clear RF again; without breakpoints
	 * nobody could tell, and blocks need not care. */
	if (!(c->s.dr7 & 0xff))
		flags &= ~RFLAGS_RF;
	cpu_set_rflags(c, (cpu_rflags(c) & ~mask) | (flags & mask) | RFLAGS_RSV1);
	if ((c->s.rflags & RFLAGS_IF) || c->s.nmi_pending)
		event_recheck(c);
}

/* Real and virtual-8086 mode. */
static void iret_real(struct soft_cpu *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	u64 rip = stack_pop(c, &st, i->opsize);
	u16 sel = stack_pop(c, &st, i->opsize);
	u64 flags = stack_pop(c, &st, i->opsize);
	struct seg cs = c->s.seg[SEG_CS];
	u64 mask = iret_mask(c, cpu_cpl(c), i->opsize);

	if (rip > cs.limit)
		cpu_raise(c, X86_GP, 0);
	if (vm86_restricted(c)) {
		flags = vme_load(c, flags);
		mask = ~0ull;
	}
	seg_set_real(&cs, sel, c->s.rflags & RFLAGS_VM);
	stack_commit(c, &st);
	set_cs(c, &cs, rip);
	iret_flags(c, mask, flags);
}

/* RETURN-TO-VIRTUAL-8086-MODE: @st stands after EFLAGS. */
static void iret_to_vm86(struct soft_cpu *c, struct stack *st, u64 rip, u16 cs, u64 flags)
{
	static const u8 order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	u32 esp = stack_pop(c, st, 4);
	u16 ss = stack_pop(c, st, 4), data[ARRAY_SIZE(order)];

	for (unsigned k = 0; k < ARRAY_SIZE(order); k++)
		data[k] = stack_pop(c, st, 4);
	if (rip > 0xffff)
		cpu_raise(c, X86_GP, 0);
	for (unsigned k = 0; k < ARRAY_SIZE(order); k++)
		seg_set_real(&c->s.seg[order[k]], data[k], true);
	seg_set_real(&c->s.seg[SEG_SS], ss, true);
	seg_set_real(&c->s.seg[SEG_CS], cs, true);
	c->s.gpr[RSP] = esp;
	c->s.rip = rip;
	c->mode_changed = true;
	iret_flags(c, iret_mask(c, 0, 4) | RFLAGS_VM, flags);
}

/* Protected and IA-32e mode. */
static void iret_protected(struct soft_cpu *c, const struct insn *i)
{
	unsigned size = i->opsize, cpl = cpu_cpl(c);
	struct stack st = stack_current(c);
	bool code64 = cpu_code64(c);
	u64 frame[5], rip, flags, mask = iret_mask(c, cpl, size);
	struct seg cs, ss;
	u16 sel;

	stack_pop_all(c, &st, frame, code64 ? 5 : 3, size);
	rip = frame[0];
	sel = frame[1];
	flags = frame[2];
	if ((flags & RFLAGS_VM) && size == 4 && cpl == 0 && !cpu_long_mode(c)) {
		iret_to_vm86(c, &st, rip, sel, flags);
		return;
	}
	cs = return_code(c, sel);
	if (!code64 && SEL_RPL(sel) == cpl) {
		check_rip(c, &cs, rip);
		stack_commit(c, &st);
		set_cs(c, &cs, rip);
		iret_flags(c, mask, flags);
		return;
	}
	if (!code64)
		stack_pop_all(c, &st, frame + 3, 2, size);
	ss = return_stack(c, frame[4], &cs);
	check_rip(c, &cs, rip);
	c->s.seg[SEG_SS] = ss;
	set_rsp(c, &cs, &ss, frame[3]);
	set_cs(c, &cs, rip);
	iret_flags(c, mask, flags);
	if (SEL_RPL(sel) > cpl)
		drop_inner_segments(c, SEL_RPL(sel));
}

/* NT in protected mode: back to the task that TSS.link names. */
static void iret_task(struct soft_cpu *c, const struct insn *i)
{
	u16 link;

	if (cpu_long_mode(c))
		cpu_raise(c, X86_GP, 0);
	link = guest_read(c, (u32)c->s.tr.base, 2, AS_SUPERVISOR);
	task_switch(c, link, TASK_IRET, (u32)insn_next(i), NULL, i->len);
	event_recheck(c);
}

enum helper_result helper_iret(struct soft_cpu *c, const struct insn *i)
{
	if (vm86_restricted(c))
		vme_check(c, i->opsize);
	vmx_iret(c);
	if (segs_real(c))
		iret_real(c, i);
	else if (c->s.rflags & RFLAGS_NT)
		iret_task(c, i);
	else
		iret_protected(c, i);
	return HELPER_END;
}

/* ---- INT n, INT3, INTO, INT1 ---- */

static _Noreturn void software_event(struct soft_cpu *c, const struct insn *i, unsigned vector,
				     enum event_type type)
{
	cpu_raise_event(c, &(struct cpu_event){ .pending = true, .vector = vector, .type = type,
						.insn_len = i->len });
}

/* With CR4.VME: is INT n redirected to the task's own vector table? The bitmap
 * is the 32 bytes before the I/O permission map. */
static bool int_redirected(struct soft_cpu *c, u8 vector)
{
	const struct seg *tr = &c->s.tr;
	u32 at;

	if (!(c->s.cr4 & CR4_VME))
		return false;
	if (tr->limit < 103)
		cpu_raise(c, X86_GP, 0);
	at = guest_read(c, (u32)(tr->base + 102), 2, AS_SUPERVISOR) - 32 + vector / 8;
	if (at > tr->limit)
		cpu_raise(c, X86_GP, 0);
	return !(guest_read(c, (u32)(tr->base + at), 1, AS_SUPERVISOR) >> vector % 8 & 1);
}

/* As real mode does it, but that VIF stands for IF where IOPL is below 3. */
static void int_vm86(struct soft_cpu *c, const struct insn *i, u8 vector)
{
	bool restricted = vm86_restricted(c);
	struct stack st = stack_current(c);
	struct seg cs = c->s.seg[SEG_CS];
	u64 flags = cpu_rflags(c);
	u64 frame[3] = { restricted ? vme_flags(flags) : flags, cs.sel, insn_next(i) };
	u32 to = guest_read(c, vector * 4, 4, AS_CURRENT);

	stack_push(c, &st, frame, 3, 2);
	stack_commit(c, &st);
	seg_set_real(&cs, to >> 16, true);
	set_cs(c, &cs, to & 0xffff);
	cpu_set_rflags(c, flags & ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF |
				    (restricted ? RFLAGS_VIF : RFLAGS_IF)));
}

enum helper_result helper_int(struct soft_cpu *c, const struct insn *i)
{
	if ((c->s.rflags & RFLAGS_VM) && int_redirected(c, (u8)i->imm)) {
		int_vm86(c, i, (u8)i->imm);
		return HELPER_END;
	}
	if (vm86_restricted(c))
		cpu_raise(c, X86_GP, 0);
	software_event(c, i, i->imm & 0xff, EVENT_SW_INT);
}

enum helper_result helper_int3(struct soft_cpu *c, const struct insn *i)
{
	software_event(c, i, X86_BP, EVENT_SW_EXC);
}

enum helper_result helper_int1(struct soft_cpu *c, const struct insn *i)
{
	software_event(c, i, X86_DB, EVENT_PRIV_SW_EXC);
}

enum helper_result helper_into(struct soft_cpu *c, const struct insn *i)
{
	if (cpu_rflags(c) & RFLAGS_OF)
		software_event(c, i, X86_OF, EVENT_SW_EXC);
	return insn_done(c, i, false);
}

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT ---- */

/* Flat segments that these load without looking at a descriptor table. */
static struct seg flat_code(u16 sel, unsigned dpl, bool code64)
{
	u32 ar = 0x9b | dpl << 5 | SEG_G | (code64 ? SEG_L : SEG_DB);

	return (struct seg){ 0, 0xffffffff, ar, (sel & ~3u) | dpl };
}

static struct seg flat_stack(u16 sel, unsigned dpl)
{
	return (struct seg){ 0, 0xffffffff, 0x93 | dpl << 5 | SEG_G | SEG_DB, (sel & ~3u) | dpl };
}

enum helper_result helper_syscall(struct soft_cpu *c, const struct insn *i)
{
	u64 flags;

	if (!cpu_code64(c) || !(c->s.msr.efer & EFER_SCE))
		cpu_raise(c, X86_UD, 0);
	flags = cpu_rflags(c) & ~RFLAGS_RF;
	c->s.gpr[RCX] = insn_next(i);
	c->s.gpr[R11] = flags;
	c->s.seg[SEG_CS] = flat_code(c->s.msr.star >> 32, 0, true);
	c->s.seg[SEG_SS] = flat_stack((c->s.msr.star >> 32 & ~3u) + 8, 0);
	c->s.rip = c->s.msr.lstar;
	cpu_set_rflags(c, (flags & ~c->s.msr.fmask) | RFLAGS_RSV1);
	c->mode_changed = true;
	return HELPER_END;
}

enum helper_result helper_sysret(struct soft_cpu *c, const struct insn *i)
{
	u16 base = c->s.msr.star >> 48;
	bool to64 = i->opsize == 8;

	if (!cpu_code64(c) || !(c->s.msr.efer & EFER_SCE))
		cpu_raise(c, X86_UD, 0);
	if (cpu_cpl(c) || (to64 && !addr_canonical(c->s.gpr[RCX])))
		cpu_raise(c, X86_GP, 0);
	c->s.seg[SEG_CS] = flat_code(base + (to64 ? 16 : 0), 3, to64);
	c->s.seg[SEG_SS] = flat_stack(base + 8, 3);
	c->s.rip = to64 ? c->s.gpr[RCX] : (u32)c->s.gpr[RCX];
	cpu_set_rflags(c, (c->s.gpr[R11] & 0x3c7fd7) | RFLAGS_RSV1);
	c->mode_changed = true;
	if (c->s.rflags & RFLAGS_IF)
		event_recheck(c);
	return HELPER_END;
}

enum helper_result helper_sysenter(struct soft_cpu *c, const struct insn *i)
{
	u16 sel = c->s.msr.sysenter_cs;
	bool lma = cpu_long_mode(c);

	(void)i;
	if (!(c->s.cr0 & CR0_PE) || SEL_NULL(sel))
		cpu_raise(c, X86_GP, 0);
	c->s.seg[SEG_CS] = flat_code(sel, 0, lma);
	c->s.seg[SEG_SS] = flat_stack(sel + 8, 0);
	c->s.gpr[RSP] = lma ? c->s.msr.sysenter_esp : (u32)c->s.msr.sysenter_esp;
	c->s.rip = lma ? c->s.msr.sysenter_eip : (u32)c->s.msr.sysenter_eip;
	cpu_set_rflags(c, cpu_rflags(c) & ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF));
	c->mode_changed = true;
	return HELPER_END;
}

enum helper_result helper_sysexit(struct soft_cpu *c, const struct insn *i)
{
	u16 sel = c->s.msr.sysenter_cs;
	bool to64 = i->opsize == 8;
	u64 rip = c->s.gpr[RDX], rsp = c->s.gpr[RCX];

	if (!cpu_protected(c) || cpu_cpl(c) || SEL_NULL(sel))
		cpu_raise(c, X86_GP, 0);
	if (to64 && (!addr_canonical(rip) || !addr_canonical(rsp)))
		cpu_raise(c, X86_GP, 0);
	c->s.seg[SEG_CS] = flat_code(sel + (to64 ? 32 : 16), 3, to64);
	c->s.seg[SEG_SS] = flat_stack(sel + (to64 ? 40 : 24), 3);
	c->s.rip = to64 ? rip : (u32)rip;
	c->s.gpr[RSP] = to64 ? rsp : (u32)rsp;
	c->mode_changed = true;
	return HELPER_END;
}
