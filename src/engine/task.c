// SPDX-License-Identifier: MIT
/*
 * Hardware task switches (SDM "Task Switching") and stacks from the TSS.
 *
 * Theory of operation. Up to commit() everything that can fault does so in the
 * old task and nothing has changed. From there on the new task is the current
 * one: its registers are in cpu_state, its segment registers hold selectors
 * with unusable hidden parts until each is checked, so that a bad one raises
 * #TS in the new task, as on a processor.
 */
#include "engine/task.h"

#include <string.h>

#include "engine/seg.h"
#include "engine/vmx/vmx.h"

/* Where things are in a TSS. */
struct tss_format {
	u8 size;  /* of a register */
	u8 limit; /* least */
	u8 cr3, ip, flags, gpr, seg, nr_segs, ldt, trap;
};

static const struct tss_format tss16 = { 2, 43, 0, 14, 16, 18, 34, 4, 42, 0 };
static const struct tss_format tss32 = { 4, 103, 28, 32, 36, 40, 72, 6, 96, 100 };
static const u8 seg_order[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

struct task {
	const struct tss_format *f;
	gva_t base;
	u16 sel;
	struct seg tr;
	/* Its contents. */
	u64 cr3, ip, flags, gpr[8];
	u16 seg[NR_SEGS], ldt;
	bool trap;
};

static const struct tss_format *tss_format(unsigned type)
{
	return type & 8 ? &tss32 : &tss16;
}

/* ---- Stacks of inner privilege ---- */

void task_stack(struct soft_cpu *c, unsigned cpl, u32 ext, u16 *ss, u32 *esp)
{
	const struct seg *tr = &c->s.tr;
	unsigned size = tss_format(SEG_TYPE(tr))->size;
	u32 off = size + cpl * 2 * size;

	if (off + size + 2 - 1 > tr->limit)
		cpu_raise(c, X86_TS, SEL_ERROR(tr->sel) | ext);
	*esp = guest_read(c, (u32)(tr->base + off), size, AS_SUPERVISOR);
	*ss = guest_read(c, (u32)(tr->base + off + size), 2, AS_SUPERVISOR);
}

u64 task_stack64(struct soft_cpu *c, unsigned slot, u32 ext)
{
	const struct seg *tr = &c->s.tr;
	u32 off = 4 + 8 * slot;
	u64 rsp;

	if (off + 7 > tr->limit)
		cpu_raise(c, X86_TS, SEL_ERROR(tr->sel) | ext);
	rsp = guest_read(c, tr->base + off, 8, AS_SUPERVISOR);
	if (!addr_canonical(rsp))
		cpu_raise(c, X86_SS, ext);
	return rsp;
}

/* ---- Finding the new task ---- */

u16 task_gate_check(struct soft_cpu *c, u64 desc, u32 ext)
{
	u16 sel = desc >> 16;

	if (SEL_NULL(sel) || (sel & SEL_TI))
		cpu_raise(c, X86_GP, SEL_ERROR(sel) | ext);
	return sel;
}

static struct task find_task(struct soft_cpu *c, u16 sel, enum task_source source, u32 ext)
{
	unsigned vector = source == TASK_IRET ? X86_TS : X86_GP, type;
	struct task t = { .sel = sel };
	u64 d;

	if (SEL_NULL(sel) || (sel & SEL_TI))
		cpu_raise(c, vector, SEL_ERROR(sel) | ext);
	d = desc_read_or(c, sel, vector, ext);
	type = desc_type(d);
	if (desc_is_segment(d) || (type & ~(DESC_TSS_BUSY ^ DESC_TSS16)) != DESC_TSS16 ||
	    !(type & 2) != (source != TASK_IRET))
		cpu_raise(c, vector, SEL_ERROR(sel) | ext);
	if (!desc_present(d))
		cpu_raise(c, X86_NP, SEL_ERROR(sel) | ext);
	t.f = tss_format(type);
	if (desc_limit(d) < t.f->limit)
		cpu_raise(c, X86_TS, SEL_ERROR(sel) | ext);
	t.base = desc_base(d);
	t.tr = (struct seg){ desc_base(d), desc_limit(d), desc_ar(d) | 2, sel };
	return t;
}

/* ---- Reading and writing a TSS ---- */

static u64 tss_get(struct soft_cpu *c, const struct task *t, unsigned off, unsigned size)
{
	return guest_read(c, (u32)(t->base + off), size, AS_SUPERVISOR);
}

static void read_task(struct soft_cpu *c, struct task *t)
{
	const struct tss_format *f = t->f;

	t->cr3 = f->cr3 ? tss_get(c, t, f->cr3, 4) : 0;
	t->ip = tss_get(c, t, f->ip, f->size);
	t->flags = tss_get(c, t, f->flags, f->size);
	for (unsigned k = 0; k < 8; k++)
		t->gpr[k] = tss_get(c, t, f->gpr + k * f->size, f->size);
	for (unsigned k = 0; k < f->nr_segs; k++)
		t->seg[seg_order[k]] = tss_get(c, t, f->seg + k * f->size, 2);
	t->ldt = tss_get(c, t, f->ldt, 2);
	t->trap = f->trap && (tss_get(c, t, f->trap, 2) & 1);
}

static void tss_put(struct soft_cpu *c, gva_t base, unsigned off, unsigned size, u64 value)
{
	guest_write(c, (u32)(base + off), size, value, AS_SUPERVISOR);
}

static void save_task(struct soft_cpu *c, u64 next_rip, u64 flags)
{
	const struct tss_format *f = tss_format(SEG_TYPE(&c->s.tr));
	gva_t base = c->s.tr.base;

	tss_put(c, base, f->ip, f->size, next_rip);
	tss_put(c, base, f->flags, f->size, flags);
	for (unsigned k = 0; k < 8; k++)
		tss_put(c, base, f->gpr + k * f->size, f->size, c->s.gpr[k]);
	for (unsigned k = 0; k < f->nr_segs; k++)
		tss_put(c, base, f->seg + k * f->size, 2, c->s.seg[seg_order[k]].sel);
}

/* Clears the old TSS's busy bit. */
static void desc_clear_busy(struct soft_cpu *c, u16 sel)
{
	gva_t at = (u32)(c->s.gdtr.base + (sel & ~7u) + 5);

	guest_write(c, at, 1, guest_read(c, at, 1, AS_SUPERVISOR) & ~2ull, AS_SUPERVISOR);
}

/* ---- The new task's segments ---- */

static void load_ldt(struct soft_cpu *c, u16 sel, u32 ext)
{
	u64 d;

	if (SEL_NULL(sel))
		return;
	if (sel & SEL_TI)
		cpu_raise(c, X86_TS, SEL_ERROR(sel) | ext);
	d = desc_read_or(c, sel, X86_TS, ext);
	if (desc_is_segment(d) || desc_type(d) != DESC_LDT || !desc_present(d))
		cpu_raise(c, X86_TS, SEL_ERROR(sel) | ext);
	c->s.ldtr = (struct seg){ desc_base(d), desc_limit(d), desc_ar(d), sel };
}

static void load_code(struct soft_cpu *c, u16 sel, u32 ext)
{
	u32 error = SEL_ERROR(sel) | ext;
	u64 d;

	if (SEL_NULL(sel))
		cpu_raise(c, X86_TS, error);
	d = desc_read_or(c, sel, X86_TS, ext);
	if (!desc_is_code(d) ||
	    (desc_is_conforming(d) ? desc_dpl(d) > SEL_RPL(sel) : desc_dpl(d) != SEL_RPL(sel)))
		cpu_raise(c, X86_TS, error);
	if (!desc_present(d))
		cpu_raise(c, X86_NP, error);
	c->s.seg[SEG_CS] = desc_use(c, sel, d);
}

static void load_data(struct soft_cpu *c, enum seg_reg seg, u16 sel, unsigned cpl, u32 ext)
{
	u32 error = SEL_ERROR(sel) | ext;
	u64 d;

	if (SEL_NULL(sel))
		return;
	d = desc_read_or(c, sel, X86_TS, ext);
	if (!desc_is_segment(d) || (desc_type(d) & (SEG_CODE | SEG_READABLE)) == SEG_CODE ||
	    (!desc_is_conforming(d) && desc_dpl(d) < MAX(SEL_RPL(sel), cpl)))
		cpu_raise(c, X86_TS, error);
	if (!desc_present(d))
		cpu_raise(c, X86_NP, error);
	c->s.seg[seg] = desc_use(c, sel, d);
}

static void load_segments(struct soft_cpu *c, const struct task *t, u32 ext)
{
	unsigned cpl = SEL_RPL(t->seg[SEG_CS]);

	load_ldt(c, t->ldt, ext);
	if (t->flags & RFLAGS_VM) {
		for (unsigned k = 0; k < NR_SEGS; k++)
			seg_set_real(&c->s.seg[k], t->seg[k], true);
		return;
	}
	c->s.seg[SEG_SS] = seg_stack(c, t->seg[SEG_SS], cpl, X86_TS, ext);
	load_data(c, SEG_DS, t->seg[SEG_DS], cpl, ext);
	load_data(c, SEG_ES, t->seg[SEG_ES], cpl, ext);
	load_data(c, SEG_FS, t->seg[SEG_FS], cpl, ext);
	load_data(c, SEG_GS, t->seg[SEG_GS], cpl, ext);
	load_code(c, t->seg[SEG_CS], ext);
}

/* ---- The switch ---- */

/* The old task is saved; from here on the new one is current. */
static void commit(struct soft_cpu *c, const struct task *t, enum task_source source)
{
	u64 flags = t->flags & 0x3f7fd5;

	if (source == TASK_CALL || source == TASK_EVENT)
		flags |= RFLAGS_NT;
	c->s.tr = t->tr;
	c->s.cr0 |= CR0_TS;
	c->s.dr7 &= ~0x155ull; /* L0..L3, LE */
	c->s.rip = t->ip;
	cpu_set_rflags(c, flags | RFLAGS_RSV1);
	for (unsigned k = 0; k < 8; k++)
		c->s.gpr[k] = t->f->size == 4 ? t->gpr[k] : 0xffff0000 | t->gpr[k]; /* as on a 386 */
	for (unsigned k = 0; k < NR_SEGS; k++)
		c->s.seg[k] = seg_null(t->seg[k], SEL_RPL(t->seg[SEG_CS]));
	c->s.ldtr = seg_null(t->ldt, 0);
	c->s.activity = CPU_ACTIVE;
	c->mode_changed = true;
	event_recheck(c);
	if ((c->s.cr0 & CR0_PG) && t->f->cr3)
		cr3_set(c, t->cr3, true);
}

static void push_error(struct soft_cpu *c, const struct task *t, u32 error, u32 ext)
{
	struct stack st = stack_current(c);
	u64 v = error;

	st.as = cpu_cpl(c) == 3 ? AS_USER : AS_SUPERVISOR;
	st.error = ext;
	stack_push(c, &st, &v, 1, t->f->size);
	stack_commit(c, &st);
}

void task_switch(struct soft_cpu *c, u16 sel, enum task_source source, u64 next_rip,
		 const struct cpu_event *e, u8 insn_len)
{
	u32 ext = e && e->type != EVENT_SW_INT && e->type != EVENT_SW_EXC;
	struct task t = find_task(c, sel, source, ext);
	u16 old_sel = c->s.tr.sel;
	u64 flags = cpu_rflags(c);

	vmx_check_task_switch(c, sel, source, insn_len);
	/* Everything that may fault, first. */
	guest_probe_write(c, (u32)c->s.tr.base, tss_format(SEG_TYPE(&c->s.tr))->limit + 1,
			  AS_SUPERVISOR);
	guest_probe_write(c, (u32)t.base, 2, AS_SUPERVISOR);
	guest_probe_write(c, (u32)(c->s.gdtr.base + (old_sel & ~7u)), 8, AS_SUPERVISOR);
	guest_probe_write(c, (u32)(c->s.gdtr.base + (sel & ~7u)), 8, AS_SUPERVISOR);
	read_task(c, &t);

	if (source == TASK_IRET)
		flags &= ~RFLAGS_NT;
	save_task(c, next_rip, flags);
	if (source == TASK_JMP || source == TASK_IRET)
		desc_clear_busy(c, old_sel);
	if (source == TASK_CALL || source == TASK_EVENT)
		tss_put(c, t.base, 0, 2, old_sel);
	if (source != TASK_IRET)
		desc_set_bits(c, sel, DESC_BUSY);
	commit(c, &t, source);

	load_segments(c, &t, ext);
	if (c->s.rip > c->s.seg[SEG_CS].limit)
		cpu_raise(c, X86_GP, ext);
	if (e && e->has_error)
		push_error(c, &t, e->error, ext);
	if (t.trap) {
		c->vectoring.pending = false;
		cpu_raise_event(c, &(struct cpu_event){ .pending = true, .vector = X86_DB,
							.type = EVENT_HW_EXC, .dr6 = BIT(15) });
	}
}
