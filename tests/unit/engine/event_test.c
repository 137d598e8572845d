// SPDX-License-Identifier: MIT
#include "../../lib/test.h"
#include "cpu_fixture.h"

#include <string.h>

#include "engine/seg.h"

#define RAISED(f, vec, err)                                                                        \
	do {                                                                                       \
		CHECK((f)->c->event.pending);                                                      \
		CHECK_EQ((f)->c->event.vector, vec);                                               \
		CHECK_EQ((f)->c->event.error, err);                                                \
		CHECK_EQ((f)->c->s.rip, FIX_CODE);                                                 \
	} while (0)

/* ---- IA-32e mode ---- */

TEST(event, page_fault_from_user_code)
{
	struct fix f = fix_long(3);
	struct soft_cpu *c = f.c;

	fix_gate(&f, X86_PF, 14, 0, CS64, 0x9000);
	c->s.gpr[RSP] = FIX_STACK3 - 4;
	CHECK(!fix_deliver(&f, X86_PF, EVENT_HW_EXC, 6, 0));
	CHECK_EQ(c->s.rip, 0x9000);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 48);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 8, 8), DS3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 16, 8), FIX_STACK3 - 4);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 24, 8), RFLAGS_RF | RFLAGS_IF | RFLAGS_RSV1);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 32, 8), CS64_3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 40, 8), FIX_CODE);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 48, 8), 6);
	CHECK_EQ(c->s.seg[SEG_CS].sel, CS64);
	CHECK_EQ(c->s.seg[SEG_SS].sel, 0);
	CHECK_EQ(cpu_cpl(c), 0);
	CHECK_EQ(cpu_rflags(c), RFLAGS_RSV1);
	CHECK(!c->vectoring.pending);
}

TEST(event, same_privilege_aligns_the_stack)
{
	struct fix f = fix_long(0);
	struct soft_cpu *c = f.c;

	fix_gate(&f, 0x40, 15, 0, CS64, 0x9000);
	c->s.gpr[RSP] = FIX_STACK0 - 5;
	CHECK(!fix_deliver(&f, 0x40, EVENT_EXTINT, -1, 0));
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 16 - 40);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 16 - 16, 8), FIX_STACK0 - 5);
	CHECK_EQ(c->s.seg[SEG_SS].sel, DS0);
	CHECK(cpu_rflags(c) & RFLAGS_IF); /* a trap gate */
}

TEST(event, ist_replaces_the_stack)
{
	struct fix f = fix_long(0);

	fix_gate(&f, X86_DF, 14, 0, CS64, 0x9000);
	f.ram[FIX_IDT + X86_DF * 16 + 4] = 1;
	CHECK(!fix_deliver(&f, X86_DF, EVENT_HW_EXC, 0, 0));
	CHECK_EQ(f.c->s.gpr[RSP], FIX_IST1 - 48);
	CHECK_EQ(fix_get(&f, FIX_IST1 - 24, 8), RFLAGS_IF | RFLAGS_RSV1); /* an abort: no RF */
}

TEST(event, software_interrupt_checks_the_gates_privilege)
{
	struct fix f = fix_long(3);

	fix_gate(&f, 0x80, 14, 0, CS64, 0x9000);
	CHECK(fix_insn(&f, "\xcd\x80", 2));
	CHECK_EQ(f.c->event.type, EVENT_SW_INT);
	CHECK(fix_deliver(&f, 0x80, EVENT_SW_INT, -1, 2));
	RAISED(&f, X86_GP, 0x80 * 8 + 2);
	/* Hardware may. */
	f.c->vectoring.pending = false;
	CHECK(!fix_deliver(&f, 0x80, EVENT_EXTINT, -1, 0));
	CHECK_EQ(f.c->s.rip, 0x9000);
}

TEST(event, software_interrupt_returns_behind_itself)
{
	struct fix f = fix_long(3);

	fix_gate(&f, 0x80, 14, 3, CS64, 0x9000);
	CHECK(!fix_deliver(&f, 0x80, EVENT_SW_INT, -1, 2));
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 40, 8), FIX_CODE + 2);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 24, 8) & RFLAGS_RF, 0);
}

TEST(event, absent_gate_and_bad_selectors)
{
	struct fix f = fix_long(0);

	fix_gate(&f, 0x41, 14, 0, CS64, 0x9000);
	f.ram[FIX_IDT + 0x41 * 16 + 5] &= 0x7f;
	CHECK(fix_deliver(&f, 0x41, EVENT_EXTINT, -1, 0));
	RAISED(&f, X86_NP, 0x41 * 8 + 3);
	f.c->vectoring.pending = false;

	fix_gate(&f, 0x41, 14, 0, 0, 0x9000);
	CHECK(fix_deliver(&f, 0x41, EVENT_EXTINT, -1, 0));
	RAISED(&f, X86_GP, 1);
	f.c->vectoring.pending = false;

	fix_gate(&f, 0x41, 14, 0, CS32, 0x9000); /* not 64-bit code */
	CHECK(fix_deliver(&f, 0x41, EVENT_EXTINT, -1, 0));
	RAISED(&f, X86_GP, CS32 | 1);
	f.c->vectoring.pending = false;

	fix_gate(&f, 0x41, 14, 0, 0xff8, 0x9000); /* beyond the GDT */
	CHECK(fix_deliver(&f, 0x41, EVENT_EXTINT, -1, 0));
	RAISED(&f, X86_GP, 0xff8 | 1);
	f.c->vectoring.pending = false;

	fix_gate(&f, 0x41, 6, 0, CS64, 0x9000); /* a 16-bit gate */
	CHECK(fix_deliver(&f, 0x41, EVENT_EXTINT, -1, 0));
	RAISED(&f, X86_GP, 0x41 * 8 + 3);
	f.c->vectoring.pending = false;

	f.c->s.idtr.limit = 0x41 * 16 + 14;
	CHECK(fix_deliver(&f, 0x41, EVENT_EXTINT, -1, 0));
	RAISED(&f, X86_GP, 0x41 * 8 + 3);
}

/* ---- Nesting ---- */

static struct cpu_event nest_first, nest_second;

static void do_nest(struct soft_cpu *c)
{
	c->vectoring = nest_first;
	event_nest(c, &c->vectoring, &nest_second);
}

static int nest(struct fix *f, u8 first, u8 first_type, u8 second)
{
	nest_first = (struct cpu_event){ .pending = true, .vector = first, .type = first_type };
	nest_second = (struct cpu_event){ .pending = true, .vector = second, .type = EVENT_HW_EXC };
	f->c->s.activity = CPU_ACTIVE;
	fix_call(f, do_nest);
	if (f->c->s.activity == CPU_SHUTDOWN)
		return -1;
	return f->c->event.vector;
}

TEST(event, table_of_double_faults)
{
	struct fix f = fix_long(0);

	CHECK_EQ(nest(&f, X86_UD, EVENT_HW_EXC, X86_GP), X86_GP); /* benign first */
	CHECK_EQ(nest(&f, X86_GP, EVENT_HW_EXC, X86_UD), X86_UD); /* benign second */
	CHECK_EQ(nest(&f, X86_GP, EVENT_HW_EXC, X86_NP), X86_DF);
	CHECK(f.c->event.has_error && !f.c->event.error);
	CHECK_EQ(nest(&f, X86_GP, EVENT_HW_EXC, X86_PF), X86_PF);
	CHECK_EQ(nest(&f, X86_PF, EVENT_HW_EXC, X86_PF), X86_DF);
	CHECK_EQ(nest(&f, X86_PF, EVENT_HW_EXC, X86_GP), X86_DF);
	CHECK_EQ(nest(&f, X86_PF, EVENT_HW_EXC, X86_DB), X86_DB);
	CHECK_EQ(nest(&f, X86_PF, EVENT_EXTINT, X86_GP), X86_GP); /* an interrupt numbered 14 */
	CHECK_EQ(nest(&f, X86_GP, EVENT_SW_INT, X86_PF), X86_PF);
	CHECK_EQ((u64)nest(&f, X86_DF, EVENT_HW_EXC, X86_PF), (u64)-1);
	CHECK_EQ((u64)nest(&f, X86_DF, EVENT_HW_EXC, X86_GP), (u64)-1);
}

/* ---- Other modes ---- */

TEST(event, protected_mode_changes_stack_and_iret_returns)
{
	struct fix f = fix_protected(3);
	struct soft_cpu *c = f.c;

	fix_gate(&f, X86_GP, 14, 0, CS32, 0x9000);
	c->s.gpr[RSP] = FIX_STACK3 - 3;
	CHECK(!fix_deliver(&f, X86_GP, EVENT_HW_EXC, 0x18, 0));
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 24);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 4, 4), DS3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 8, 4), FIX_STACK3 - 3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 12, 4), RFLAGS_RF | RFLAGS_IF | RFLAGS_RSV1);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 16, 4), CS32_3);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 20, 4), FIX_CODE);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 24, 4), 0x18);
	CHECK_EQ(c->s.seg[SEG_SS].sel, DS0);
	CHECK_EQ(cpu_cpl(c), 0);

	c->s.seg[SEG_DS] = (struct seg){ 0, 0xffffffff, 0xc093, DS0 };
	c->s.gpr[RSP] += 4;
	c->s.dr7 |= 1; /* a breakpoint: RF matters */
	CHECK(!fix_insn(&f, "\xcf", 1));
	CHECK_EQ(c->s.rip, FIX_CODE);
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK3 - 3);
	CHECK_EQ(cpu_cpl(c), 3);
	CHECK(cpu_rflags(c) & RFLAGS_RF);
	CHECK(c->s.seg[SEG_DS].ar & SEG_UNUSABLE); /* the inner one must not leak */
	CHECK_EQ(c->s.seg[SEG_ES].sel, DS3);
}

TEST(event, sixteen_bit_gate_pushes_words)
{
	struct fix f = fix_protected(0);

	fix_gate(&f, 0x30, 6, 0, CS32, 0x9000);
	CHECK(!fix_deliver(&f, 0x30, EVENT_EXTINT, -1, 0));
	CHECK_EQ(f.c->s.gpr[RSP], FIX_STACK0 - 6);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 6, 2), FIX_CODE);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 4, 2), CS32);
}

TEST(event, vm86_task_is_interrupted_and_resumed)
{
	struct fix f = fix_vm86(3);
	struct soft_cpu *c = f.c;

	fix_gate(&f, 0x30, 14, 0, CS32, 0x9000);
	CHECK(!fix_deliver(&f, 0x30, EVENT_EXTINT, -1, 0));
	CHECK(!(c->s.rflags & RFLAGS_VM));
	CHECK_EQ(c->s.gpr[RSP], FIX_STACK0 - 36);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 4, 4), 0x1000 * SEG_GS);
	CHECK_EQ(fix_get(&f, FIX_STACK0 - 16, 4), 0x1000 * SEG_ES);
	CHECK(c->s.seg[SEG_DS].ar & SEG_UNUSABLE);
	CHECK_EQ(cpu_cpl(c), 0);
	CHECK(!fix_insn(&f, "\xcf", 1));
	CHECK(c->s.rflags & RFLAGS_VM);
	CHECK_EQ(c->s.rip, FIX_CODE);
	CHECK_EQ(c->s.gpr[RSP], 0x7000);
	CHECK_EQ(c->s.seg[SEG_FS].base, 0x10000 * SEG_FS);
	CHECK_EQ(cpu_cpl(c), 3);
}

TEST(event, vm86_needs_iopl_3)
{
	struct fix f = fix_vm86(2);

	CHECK(fix_insn(&f, "\xcd\x21", 2));
	RAISED(&f, X86_GP, 0);
	CHECK(fix_insn(&f, "\x9c", 1));
	RAISED(&f, X86_GP, 0);
	CHECK(fix_insn(&f, "\xcf", 1));
	RAISED(&f, X86_GP, 0);
	CHECK(fix_insn(&f, "\xfa", 1));
	RAISED(&f, X86_GP, 0);
}

TEST(event, vm86_extensions)
{
	struct fix f = fix_vm86(0);
	struct soft_cpu *c = f.c;

	c->s.cr4 |= CR4_VME;
	CHECK(!fix_insn(&f, "\xfb", 1)); /* sti: VIF */
	CHECK(c->s.rflags & RFLAGS_VIF);
	CHECK(!fix_insn(&f, "\x9c", 1));
	CHECK_EQ(fix_get(&f, 0x7000 - 2, 2), RFLAGS_RSV1 | RFLAGS_IF | RFLAGS_IOPL);
	CHECK(!fix_insn(&f, "\xfa", 1));
	CHECK(!(c->s.rflags & RFLAGS_VIF));
	CHECK(c->s.rflags & RFLAGS_IF);
	CHECK(!fix_insn(&f, "\x9d", 1));
	CHECK(c->s.rflags & RFLAGS_VIF);
	CHECK_EQ(c->s.rflags & RFLAGS_IOPL, 0);
	/* INT 21h is redirected, INT 22h is not. */
	fix_put(&f, FIX_TSS + 102, 0x47, 2); /* the bitmap is bytes 27h..46h */
	fix_put(&f, FIX_TSS + 0x27 + 4, 4, 1);
	fix_put(&f, 0x21 * 4, 0x12340056, 4);
	c->s.rip = FIX_CODE;
	CHECK(!fix_insn(&f, "\xcd\x21", 2));
	CHECK_EQ(c->s.rip, 0x56);
	CHECK_EQ(c->s.seg[SEG_CS].base, 0x12340);
	CHECK(!(c->s.rflags & RFLAGS_VIF));
	CHECK(c->s.rflags & RFLAGS_VM);
	CHECK(!fix_insn(&f, "\xcf", 1));
	CHECK_EQ(c->s.rip, FIX_CODE + 2);
	CHECK(c->s.rflags & RFLAGS_VIF);
	c->s.rip = FIX_CODE;
	CHECK(fix_insn(&f, "\xcd\x22", 2));
	RAISED(&f, X86_GP, 0);
	/* A pending virtual interrupt. */
	c->s.rflags |= RFLAGS_VIP;
	CHECK(fix_insn(&f, "\xfb", 1));
	RAISED(&f, X86_GP, 0);
}

TEST(event, protected_mode_virtual_interrupts)
{
	struct fix f = fix_protected(3);

	CHECK(fix_insn(&f, "\xfb", 1));
	RAISED(&f, X86_GP, 0);
	f.c->s.cr4 |= CR4_PVI;
	CHECK(!fix_insn(&f, "\xfb", 1));
	CHECK(f.c->s.rflags & RFLAGS_VIF);
	CHECK(!fix_insn(&f, "\xfa", 1));
	CHECK(!(f.c->s.rflags & RFLAGS_VIF));
	CHECK(f.c->s.rflags & RFLAGS_IF);
}

TEST(event, real_mode_uses_the_vector_table)
{
	struct fix f = fix_real();
	struct soft_cpu *c = f.c;

	fix_put(&f, 0x21 * 4, 0x12340056, 4);
	cpu_set_rflags(c, RFLAGS_RSV1 | RFLAGS_IF | RFLAGS_CF | RFLAGS_OF);
	CHECK(!fix_deliver(&f, 0x21, EVENT_SW_INT, -1, 2));
	CHECK_EQ(c->s.rip, 0x56);
	CHECK_EQ(c->s.seg[SEG_CS].base, 0x12340);
	CHECK_EQ(c->s.gpr[RSP], 0x7000 - 6);
	CHECK_EQ(fix_get(&f, 0x7000 - 6, 2), (u16)(FIX_CODE + 2));
	CHECK_EQ(fix_get(&f, 0x7000 - 2, 2), RFLAGS_RSV1 | RFLAGS_IF | RFLAGS_CF | RFLAGS_OF);
	CHECK_EQ(cpu_rflags(c), RFLAGS_RSV1 | RFLAGS_CF | RFLAGS_OF);
	CHECK(!fix_insn(&f, "\xcf", 1));
	CHECK_EQ(c->s.rip, FIX_CODE + 2);
	CHECK_EQ(c->s.gpr[RSP], 0x7000);
	CHECK(cpu_rflags(c) & RFLAGS_IF);
}

TEST(event, real_mode_stack_wraps_around)
{
	struct fix f = fix_real();

	f.c->s.gpr[RSP] = 0xabcd0002;
	CHECK(!fix_deliver(&f, 0x21, EVENT_EXTINT, -1, 0));
	CHECK_EQ(f.c->s.gpr[RSP], 0xabcdfffc);
	CHECK_EQ(fix_get(&f, 0xfffc, 2), FIX_CODE);
}

/* ---- Polling ---- */

static bool polled;

static void do_poll(struct soft_cpu *c)
{
	polled = event_poll(c);
}

static bool poll(struct fix *f)
{
	CHECK(!fix_call(f, do_poll));
	return polled;
}

static struct fix with_interrupt(void)
{
	struct fix f = fix_long(0);

	fix_gate(&f, 0x51, 14, 0, CS64, 0x9000);
	fix_gate(&f, X86_NMI, 14, 0, CS64, 0x9100);
	lapic_mmio_write(&f.c->lapic, 0xf0, 0x1ff);
	lapic_bus_send(f.c->vm->lapics, &(struct lapic_msg){ .dest = 0, .vector = 0x51 });
	CHECK(atomic_load(&f.c->request) & REQ_IRQ);
	return f;
}

TEST(event, poll_delivers_an_interrupt)
{
	struct fix f = with_interrupt();

	CHECK(poll(&f));
	CHECK_EQ(f.c->s.rip, 0x9000);
	CHECK_EQ(atomic_load(&f.c->request) & (REQ_IRQ | REQ_EVENT), 0);
	CHECK(!poll(&f)); /* in service */
}

TEST(event, poll_waits_for_if_and_sti_asks_again)
{
	struct fix f = with_interrupt();

	CHECK(!fix_insn(&f, "\xfa", 1));
	CHECK(!poll(&f));
	CHECK_EQ(atomic_load(&f.c->request) & (REQ_IRQ | REQ_EVENT), 0);
	CHECK(!event_wakes_hlt(f.c) || f.c->s.activity == CPU_ACTIVE);
	CHECK(!fix_insn(&f, "\xfb", 1));
	CHECK(atomic_load(&f.c->request) & REQ_EVENT);
	/* In the shadow of STI: one instruction more. */
	CHECK(!poll(&f));
	CHECK(f.c->single_step && f.c->shadow_step);
	f.c->s.rip++;
	event_shadow_over(f.c);
	CHECK(!f.c->single_step);
	CHECK(poll(&f));
	CHECK_EQ(f.c->s.rip, 0x9000);
}

TEST(event, shadow_ends_even_if_rip_stays)
{
	struct fix f = with_interrupt();

	f.c->s.sti_shadow_rip = f.c->s.rip; /* sti; 1: jmp 1b */
	CHECK(!poll(&f));
	event_shadow_over(f.c);
	CHECK(poll(&f));
}

TEST(event, nmi_comes_first_and_blocks_until_iret)
{
	struct fix f = with_interrupt();

	lapic_bus_send(f.c->vm->lapics, &(struct lapic_msg){ .dest = 0, .delivery = 4 });
	CHECK(poll(&f));
	CHECK_EQ(f.c->s.rip, 0x9100);
	CHECK(f.c->s.nmi_blocked);
	lapic_bus_send(f.c->vm->lapics, &(struct lapic_msg){ .dest = 0, .delivery = 4 });
	CHECK(!poll(&f));
	CHECK(!fix_insn(&f, "\x48\xcf", 2));
	CHECK_EQ(f.c->s.rip, FIX_CODE);
	CHECK(atomic_load(&f.c->request) & REQ_EVENT);
	CHECK(poll(&f));
	CHECK_EQ(f.c->s.rip, 0x9100);
}

TEST(event, hlt_sleeps_until_something_is_deliverable)
{
	struct fix f = fix_long(0);

	lapic_mmio_write(&f.c->lapic, 0xf0, 0x1ff);
	fix_gate(&f, 0x51, 14, 0, CS64, 0x9000);
	CHECK(!fix_insn(&f, "\xf4", 1));
	CHECK_EQ(f.c->s.activity, CPU_HLT);
	CHECK_EQ(f.c->s.rip, FIX_CODE + 1);
	CHECK(!event_wakes_hlt(f.c));
	lapic_bus_send(f.c->vm->lapics, &(struct lapic_msg){ .dest = 0, .vector = 0x51 });
	CHECK(event_wakes_hlt(f.c));
	f.c->s.rflags &= ~RFLAGS_IF;
	CHECK(!event_wakes_hlt(f.c));
	f.c->s.rflags |= RFLAGS_IF;
	CHECK(poll(&f));
	CHECK_EQ(f.c->s.activity, CPU_ACTIVE);
	CHECK_EQ(f.c->s.rip, 0x9000);
}

TEST(event, init_and_sipi)
{
	struct fix f = fix_long(0);
	struct soft_cpu *c = f.c;

	c->lapic.apic_base &= ~BIT(8); /* not the boot processor */
	lapic_bus_send(c->vm->lapics, &(struct lapic_msg){ .dest = 0, .delivery = 5 });
	CHECK(poll(&f));
	CHECK_EQ(c->s.activity, CPU_WAIT_SIPI);
	CHECK_EQ(c->s.cr0 & CR0_PG, 0);
	CHECK(!event_wakes_hlt(c));
	lapic_bus_send(c->vm->lapics,
		       &(struct lapic_msg){ .dest = 0, .delivery = 6, .vector = 0x9a });
	CHECK(event_wakes_hlt(c));
	CHECK(poll(&f));
	CHECK_EQ(c->s.activity, CPU_ACTIVE);
	CHECK_EQ(c->s.rip, 0);
	CHECK_EQ(c->s.seg[SEG_CS].base, 0x9a000);
	CHECK_EQ(c->s.seg[SEG_CS].sel, 0x9a00);
	/* A second one is ignored by a processor that runs. */
	c->s.rip = 5;
	lapic_bus_send(c->vm->lapics,
		       &(struct lapic_msg){ .dest = 0, .delivery = 6, .vector = 0x9b });
	CHECK(!poll(&f));
	CHECK_EQ(c->s.rip, 5);
}
