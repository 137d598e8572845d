/* SPDX-License-Identifier: MIT */
/*
 * VT-x for the rest of the engine: the hooks that instruction helpers, event
 * delivery and the run loop call, and the life of a vCPU's VMX state. SDM
 * volume 3C is the specification; its names are used.
 *
 * c->vmx is NULL when the VM does not see VT-x; c->vmx_non_root is then false.
 * Every vmx_check_*() below may be called at any time: outside non-root
 * operation it does nothing. A check that finds an intercept does not return
 * (VM exit, then exec_unwind()); the caller has changed nothing yet, and
 * c->s.rip is the instruction's own address.
 *
 * Where a check stands in an instruction ("Relative Priority of Faults and VM
 * Exits"): after #UD and after #GP for privilege (CPL, IOPL and the I/O
 * permission map), before every other fault, in particular before those of
 * operands, MSR numbers and values.
 *
 * The vCPU's own thread only.
 */
#ifndef NESTOR_ENGINE_VMX_VMX_H
#define NESTOR_ENGINE_VMX_VMX_H

#include "engine/soft.h"

/* ---- Life ---- */

/* With the model's vmx off leaves c->vmx NULL. 0 or -errno. */
int vmx_create(struct soft_cpu *c);
void vmx_destroy(struct soft_cpu *c);
/* RESET: VMX operation is left, nothing is written back. (INIT never comes
 * here: it is blocked in root operation and a VM exit in non-root.) */
void vmx_reset(struct soft_cpu *c);
/* Writes every active VMCS back to guest memory (saving, migration). The VMCSs
 * stay active. */
void vmx_writeback_all(struct soft_cpu *c);

/* Saved state, plain data; VMCSs themselves are in guest memory after
 * vmx_writeback_all(). */
struct vmx_state {
	bool in_operation; /* between VMXON and VMXOFF */
	bool non_root;
	bool virtual_nmi_blocked;
	bool timer_active;
	gpa_t vmxon_pa;
	gpa_t current_pa;   /* ~0: no current VMCS */
	u64 timer_deadline; /* L1's TSC at which the VMX-preemption timer is zero */
};
void vmx_get_state(struct soft_cpu *c, struct vmx_state *s); /* writes back first */
bool vmx_set_state(struct soft_cpu *c, const struct vmx_state *s); /* after cpu_state; false: invalid */

/* Between VMXON and VMXOFF? */
bool vmx_in_operation(const struct soft_cpu *c);

/* ---- Control registers and MSRs (sys.c, msr.c) ---- */

/* In VMX operation, does the fixed-bits rule (IA32_VMX_CR0/CR4_FIXED*, CR0.PE
 * and PG free in an unrestricted guest) allow this value of CR0 or CR4? False:
 * #GP(0). True outside VMX operation. CR4.VMXE may not be cleared inside. */
bool vmx_cr_allowed(const struct soft_cpu *c, unsigned cr, u64 value);

/* IA32_VMX_* capability MSRs, 0x480..0x491: false when there is no such MSR. */
bool vmx_cap_msr(const struct soft_cpu *c, u32 msr, u64 *value);

/* What MOV from CR0, SMSW and MOV from CR4 return: host-owned bits come from
 * the read shadow. */
u64 vmx_read_cr0(const struct soft_cpu *c);
u64 vmx_read_cr4(const struct soft_cpu *c);

/* CR8 with a TPR shadow is VTPR: test vmx_tpr_shadow() after
 * vmx_check_mov_to_cr()/from_cr(), then use these instead of the LAPIC.
 * vmx_cr8_write() may exit after the instruction (TPR below threshold), so it
 * is the last thing the helper does; @value 0..15 is checked by the caller. */
bool vmx_tpr_shadow(const struct soft_cpu *c);
u64 vmx_cr8_read(struct soft_cpu *c);
void vmx_cr8_write(struct soft_cpu *c, const struct insn *i, u64 value);

/* What RDTSC, RDTSCP and RDMSR of the TSC add to L1's TSC; 0 in root operation
 * or without "use TSC offsetting". */
u64 vmx_tsc_offset(const struct soft_cpu *c);

/* Instructions that are #UD in non-root operation without their enabling
 * control: true = may execute (and is advertised by CPUID as usual). */
bool vmx_allows_rdtscp(const struct soft_cpu *c);  /* and RDPID */
bool vmx_allows_invpcid(const struct soft_cpu *c);
bool vmx_allows_xsaves(const struct soft_cpu *c);
bool vmx_allows_waitpkg(const struct soft_cpu *c);

/* ---- Intercepts of instructions ---- */

void vmx_check_cpuid(struct soft_cpu *c, const struct insn *i);
void vmx_check_hlt(struct soft_cpu *c, const struct insn *i);
void vmx_check_rdtsc(struct soft_cpu *c, const struct insn *i);
void vmx_check_rdtscp(struct soft_cpu *c, const struct insn *i);
void vmx_check_rdpmc(struct soft_cpu *c, const struct insn *i);
void vmx_check_rdmsr(struct soft_cpu *c, const struct insn *i, u32 msr);
void vmx_check_wrmsr(struct soft_cpu *c, const struct insn *i, u32 msr);
/* MOV to CR0, CR3, CR4, CR8. Exits, or returns the value to install: @value
 * with host-owned bits of CR0 and CR4 as they are. */
u64 vmx_check_mov_to_cr(struct soft_cpu *c, const struct insn *i, unsigned cr, u64 value);
void vmx_check_mov_from_cr(struct soft_cpu *c, const struct insn *i, unsigned cr); /* CR3, CR8 */
/* True: CLTS leaves CR0.TS alone (TS is host-owned and reads as 0). */
bool vmx_check_clts(struct soft_cpu *c, const struct insn *i);
/* Exits, or returns the new low four bits of CR0 (host-owned ones unchanged, PE
 * not yet forced to stay set). @src: the source operand. */
u64 vmx_check_lmsw(struct soft_cpu *c, const struct insn *i, u16 src);
void vmx_check_mov_dr(struct soft_cpu *c, const struct insn *i); /* before CPL, DR4/5 and GD checks but #UD */
void vmx_check_invlpg(struct soft_cpu *c, const struct insn *i, gva_t addr);
void vmx_check_invpcid(struct soft_cpu *c, const struct insn *i);
void vmx_check_invd(struct soft_cpu *c, const struct insn *i);
void vmx_check_wbinvd(struct soft_cpu *c, const struct insn *i); /* and WBNOINVD */
void vmx_check_xsetbv(struct soft_cpu *c, const struct insn *i);
void vmx_check_xsaves(struct soft_cpu *c, const struct insn *i); /* after CR4, CPL and TS checks */
void vmx_check_xrstors(struct soft_cpu *c, const struct insn *i);
void vmx_check_gdtr_idtr(struct soft_cpu *c, const struct insn *i); /* LGDT LIDT SGDT SIDT */
void vmx_check_ldtr_tr(struct soft_cpu *c, const struct insn *i);   /* LLDT LTR SLDT STR */
void vmx_check_pause(struct soft_cpu *c, const struct insn *i);
void vmx_check_mwait(struct soft_cpu *c, const struct insn *i);
void vmx_check_monitor(struct soft_cpu *c, const struct insn *i);
void vmx_check_rdrand(struct soft_cpu *c, const struct insn *i);
void vmx_check_rdseed(struct soft_cpu *c, const struct insn *i);
void vmx_check_getsec(struct soft_cpu *c, const struct insn *i);
/* After the permission check. @rep: with a repeat prefix (and a count that is
 * not 0: no check otherwise). @linear: INS, OUTS: the operand's address. */
void vmx_check_io(struct soft_cpu *c, const struct insn *i, u16 port, unsigned size, bool in,
		  bool string, bool rep, gva_t linear);
/* Does PAUSE, or anything else that is else free of helpers, need one now?
 * (A part of the block mode for the translator.) */
bool vmx_intercepts_pause(const struct soft_cpu *c);
bool vmx_intercepts_rdtsc(const struct soft_cpu *c);

/* ---- Events (event.c, far.c, exec.c) ---- */

/* Before an exception or NMI is delivered, and before two exceptions are
 * combined into a double fault: exits when intercepted. Does nothing for an
 * event with ->injected, nor for interrupts and INT n. What is being delivered
 * (c->vectoring.pending) becomes the IDT-vectoring information. */
void vmx_intercept_event(struct soft_cpu *c, const struct cpu_event *e);

/* The first thing event_poll() does in non-root operation. Exits for
 * INIT, preemption timer, windows, NMI and external interrupts as the controls
 * say. Returns true when interrupts may still be delivered through the IDT by
 * the caller (external-interrupt exiting off). NMIs: see vmx_nmi_*(). */
bool vmx_event_poll(struct soft_cpu *c);
/* In non-root operation: does a window exit wait for RFLAGS.IF? */
bool vmx_waits_for_if(const struct soft_cpu *c);
/* Would vmx_event_poll() exit out of HLT now? (for event_wakes_hlt()) */
bool vmx_wakes_hlt(struct soft_cpu *c);
/* INIT is blocked in root operation. */
bool vmx_blocks_init(const struct soft_cpu *c);
/* INIT arrived and SIPI arrived (in wait-for-SIPI), in non-root operation. */
void vmx_init_event(struct soft_cpu *c);
void vmx_sipi_event(struct soft_cpu *c, u8 vector);
/* IRET: to be called when it starts to execute, after its own #GP checks of
 * VM86 mode. Ends NMI blocking, or virtual-NMI blocking, as the controls say;
 * so it is the only place that clears c->s.nmi_blocked. */
void vmx_iret(struct soft_cpu *c);
/* A task switch exits in non-root operation. @source as in the exit
 * qualification; @insn_len of CALL, JMP, IRET (0 when by an event). */
enum { TASK_BY_CALL, TASK_BY_IRET, TASK_BY_JMP, TASK_BY_GATE };
void vmx_check_task_switch(struct soft_cpu *c, u16 sel, unsigned source, u8 insn_len);
/* Called by cpu_shutdown(): exits in non-root operation, else returns. */
void vmx_check_triple_fault(struct soft_cpu *c);

/* ---- VM exits ---- */

/* Leaves non-root operation: saves the guest, loads the host, unwinds. @reason
 * is an EXIT_* of x86/vmx.h. */
_Noreturn void vmx_exit(struct soft_cpu *c, u32 reason, u64 qualification);
/* The same for an instruction: its length and instruction information too. */
_Noreturn void vmx_exit_insn(struct soft_cpu *c, const struct insn *i, u32 reason,
			     u64 qualification);

/* ---- Needed of others ---- */

/* exec.c: host address of guest-physical [gpa, gpa + size), NULL when not RAM.
 * Who writes there calls phys_written() after. */
void *phys_host(struct soft_cpu *c, gpa_t gpa, unsigned size);
void phys_written(struct soft_cpu *c, gpa_t gpa, unsigned size);
/* event.c: is an external interrupt (LAPIC or PIC) there to be taken, RFLAGS.IF
 * and shadows aside; and take it: its vector, or -1. */
bool event_irq_pending(struct soft_cpu *c);
int event_irq_ack(struct soft_cpu *c);
/* event.c: an NMI waits; and take it (no blocking is set). */
bool event_nmi_pending(struct soft_cpu *c);
void event_nmi_take(struct soft_cpu *c);

#endif
