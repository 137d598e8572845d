// SPDX-License-Identifier: MIT
/*
 * What causes VM exits in non-root operation (SDM "VMX Non-Root Operation"):
 * the hooks that instruction helpers and event delivery call.
 */
#include "engine/vmx/vmx_internal.h"

static const struct vmcs *current(const struct soft_cpu *c)
{
	return &c->vmx->cur->v;
}

static bool proc_on(const struct soft_cpu *c, u32 bit)
{
	return c->vmx_non_root && (c->vmx->proc & bit);
}
static bool proc2_on(const struct soft_cpu *c, u32 bit)
{
	return c->vmx_non_root && (c->vmx->proc2 & bit);
}

/* ---- VM-exit instruction information ---- */

static u32 encoded_size(unsigned bytes)
{
	return bytes == 8 ? 2 : bytes == 4 ? 1 : 0;
}

static u32 memory_info(const struct insn *i)
{
	u32 info = encoded_size(i->addrsize) << 7 | (u32)i->mem.seg << 15;

	if (i->mem.scale)
		info |= (u32)__builtin_ctz(i->mem.scale);
	info |= i->mem.index == REG_NONE ? BIT(22) : (u32)i->mem.index << 18;
	info |= i->mem.base == REG_NONE ? BIT(27) : (u32)i->mem.base << 23;
	return info;
}

/* The tables of "VM-Exit Instruction-Information Field" have their parts in
 * common places; what one table lacks is undefined there. */
static u32 insn_info(const struct insn *i, u32 reason)
{
	u32 info = i->has_mem ? memory_info(i) : (u32)BIT(10) | (u32)i->rm << 3;

	switch (reason) {
	case EXIT_GDTR_IDTR: /* SGDT, SIDT, LGDT, LIDT in the order of ModRM.reg */
		return (info & ~(u32)BIT(10)) | (i->opsize == 2 ? 0 : BIT(11)) | (i->reg & 3u) << 28;
	case EXIT_LDTR_TR: /* SLDT, STR, LLDT, LTR */
		return info | (i->reg & 3u) << 28;
	case EXIT_RDRAND:
	case EXIT_RDSEED:
		return (u32)i->rm << 3 | encoded_size(i->opsize) << 11;
	case EXIT_VMREAD:
	case EXIT_VMWRITE:
	case EXIT_INVEPT:
	case EXIT_INVVPID:
	case EXIT_INVPCID:
		return info | (u32)i->reg << 28;
	case EXIT_VMCLEAR:
	case EXIT_VMPTRLD:
	case EXIT_VMPTRST:
	case EXIT_VMXON:
	case EXIT_XSAVES:
	case EXIT_XRSTORS:
		return info;
	}
	return 0;
}

u64 vmx_displacement(const struct insn *i)
{
	if (!i->has_mem)
		return 0;
	return (u64)i->mem.disp + (i->mem.rip_relative ? insn_next(i) : 0);
}

void vmx_exit_insn(struct soft_cpu *c, const struct insn *i, u32 reason, u64 qualification)
{
	struct vmx_exit_info x = { .reason = reason, .qualification = qualification,
				   .insn_len = i->len, .insn_info = insn_info(i, reason) };

	vmx_exit_with(c, &x);
}

/* ---- Instructions that exit by a control, or always ---- */

static void exit_if(struct soft_cpu *c, const struct insn *i, u32 proc_bit, u32 reason)
{
	if (unlikely(proc_on(c, proc_bit)))
		vmx_exit_insn(c, i, reason, 0);
}
static void exit_if2(struct soft_cpu *c, const struct insn *i, u32 proc2_bit, u32 reason, u64 qual)
{
	if (unlikely(proc2_on(c, proc2_bit)))
		vmx_exit_insn(c, i, reason, qual);
}
static void exit_always(struct soft_cpu *c, const struct insn *i, u32 reason)
{
	if (c->vmx_non_root)
		vmx_exit_insn(c, i, reason, 0);
}

void vmx_check_cpuid(struct soft_cpu *c, const struct insn *i)
{
	exit_always(c, i, EXIT_CPUID);
}
void vmx_check_invd(struct soft_cpu *c, const struct insn *i)
{
	exit_always(c, i, EXIT_INVD);
}
void vmx_check_xsetbv(struct soft_cpu *c, const struct insn *i)
{
	exit_always(c, i, EXIT_XSETBV);
}
void vmx_check_getsec(struct soft_cpu *c, const struct insn *i)
{
	exit_always(c, i, EXIT_GETSEC);
}
void vmx_check_hlt(struct soft_cpu *c, const struct insn *i)
{
	exit_if(c, i, PROC_HLT_EXITING, EXIT_HLT);
}
/* Nobody sees a TSC at which the preemption timer has run out. */
static void check_tsc_read(struct soft_cpu *c, const struct insn *i, u32 reason)
{
	exit_if(c, i, PROC_RDTSC_EXITING, reason);
	if (c->vmx_non_root && vmx_timer_expired(c))
		vmx_exit(c, EXIT_PREEMPTION_TIMER, 0);
}
void vmx_check_rdtsc(struct soft_cpu *c, const struct insn *i)
{
	check_tsc_read(c, i, EXIT_RDTSC);
}
void vmx_check_rdpmc(struct soft_cpu *c, const struct insn *i)
{
	exit_if(c, i, PROC_RDPMC_EXITING, EXIT_RDPMC);
}
void vmx_check_pause(struct soft_cpu *c, const struct insn *i)
{
	exit_if(c, i, PROC_PAUSE_EXITING, EXIT_PAUSE);
}
void vmx_check_mwait(struct soft_cpu *c, const struct insn *i)
{
	exit_if(c, i, PROC_MWAIT_EXITING, EXIT_MWAIT);
}
void vmx_check_monitor(struct soft_cpu *c, const struct insn *i)
{
	exit_if(c, i, PROC_MONITOR_EXITING, EXIT_MONITOR);
}
void vmx_check_wbinvd(struct soft_cpu *c, const struct insn *i)
{
	exit_if2(c, i, PROC2_WBINVD_EXITING, EXIT_WBINVD, 0);
}
void vmx_check_rdrand(struct soft_cpu *c, const struct insn *i)
{
	exit_if2(c, i, PROC2_RDRAND_EXITING, EXIT_RDRAND, 0);
}
void vmx_check_rdseed(struct soft_cpu *c, const struct insn *i)
{
	exit_if2(c, i, PROC2_RDSEED_EXITING, EXIT_RDSEED, 0);
}
void vmx_check_gdtr_idtr(struct soft_cpu *c, const struct insn *i)
{
	exit_if2(c, i, PROC2_DESC_TABLE_EXITING, EXIT_GDTR_IDTR, vmx_displacement(i));
}
void vmx_check_ldtr_tr(struct soft_cpu *c, const struct insn *i)
{
	exit_if2(c, i, PROC2_DESC_TABLE_EXITING, EXIT_LDTR_TR, vmx_displacement(i));
}

void vmx_check_invlpg(struct soft_cpu *c, const struct insn *i, gva_t addr)
{
	if (proc_on(c, PROC_INVLPG_EXITING))
		vmx_exit_insn(c, i, EXIT_INVLPG, addr);
}

bool vmx_intercepts_pause(const struct soft_cpu *c)
{
	return proc_on(c, PROC_PAUSE_EXITING);
}
bool vmx_intercepts_rdtsc(const struct soft_cpu *c)
{
	return proc_on(c, PROC_RDTSC_EXITING);
}

/* ---- Instructions that need a control to exist ---- */

static bool allowed(const struct soft_cpu *c, u32 proc2_bit)
{
	return !c->vmx_non_root || (c->vmx->proc2 & proc2_bit);
}
bool vmx_allows_rdtscp(const struct soft_cpu *c)
{
	return allowed(c, PROC2_RDTSCP);
}
bool vmx_allows_invpcid(const struct soft_cpu *c)
{
	return allowed(c, PROC2_INVPCID);
}
bool vmx_allows_xsaves(const struct soft_cpu *c)
{
	return allowed(c, PROC2_XSAVES);
}
bool vmx_allows_waitpkg(const struct soft_cpu *c)
{
	return !c->vmx_non_root; /* "enable user wait and pause" is not advertised */
}

static void ud_unless(struct soft_cpu *c, bool ok)
{
	if (unlikely(!ok))
		cpu_raise(c, X86_UD, 0);
}

void vmx_check_rdtscp(struct soft_cpu *c, const struct insn *i)
{
	ud_unless(c, vmx_allows_rdtscp(c));
	check_tsc_read(c, i, EXIT_RDTSCP);
}
void vmx_check_invpcid(struct soft_cpu *c, const struct insn *i)
{
	ud_unless(c, vmx_allows_invpcid(c));
	if (proc_on(c, PROC_INVLPG_EXITING))
		vmx_exit_insn(c, i, EXIT_INVPCID, vmx_displacement(i));
}

static void check_xss(struct soft_cpu *c, const struct insn *i, u32 reason)
{
	u64 mask = (u32)c->s.gpr[RAX] | c->s.gpr[RDX] << 32;

	ud_unless(c, vmx_allows_xsaves(c));
	if (c->vmx_non_root && (mask & c->s.msr.xss & current(c)->xss_exit_bitmap))
		vmx_exit_insn(c, i, reason, vmx_displacement(i));
}
void vmx_check_xsaves(struct soft_cpu *c, const struct insn *i)
{
	check_xss(c, i, EXIT_XSAVES);
}
void vmx_check_xrstors(struct soft_cpu *c, const struct insn *i)
{
	check_xss(c, i, EXIT_XRSTORS);
}

/* ---- MSRs ---- */

/* Four bitmaps of 1 KiB: reads of low and high MSRs, writes of both. */
static bool msr_exits(struct soft_cpu *c, u32 msr, bool write)
{
	unsigned off = write ? 2048 : 0;
	u8 byte = 0xff;

	if (!(c->vmx->proc & PROC_MSR_BITMAPS))
		return true;
	if (msr >= 0xc0000000 && msr < 0xc0002000)
		off += 1024;
	else if (msr >= 0x2000)
		return true;
	msr &= 0x1fff;
	phys_read(c, current(c)->msr_bitmap + off + msr / 8, &byte, 1);
	return byte >> msr % 8 & 1;
}

void vmx_check_rdmsr(struct soft_cpu *c, const struct insn *i, u32 msr)
{
	if (c->vmx_non_root && msr_exits(c, msr, false))
		vmx_exit_insn(c, i, EXIT_RDMSR, 0);
}
void vmx_check_wrmsr(struct soft_cpu *c, const struct insn *i, u32 msr)
{
	if (c->vmx_non_root && msr_exits(c, msr, true))
		vmx_exit_insn(c, i, EXIT_WRMSR, 0);
}

/* ---- Ports ---- */

static bool port_bit(struct soft_cpu *c, u16 port)
{
	const struct vmcs *v = current(c);
	gpa_t map = port < 0x8000 ? v->io_bitmap_a : v->io_bitmap_b;
	u8 byte = 0xff;

	phys_read(c, map + (port & 0x7fff) / 8, &byte, 1);
	return byte >> port % 8 & 1;
}

static bool io_exits(struct soft_cpu *c, u16 port, unsigned size)
{
	if (!(c->vmx->proc & PROC_IO_BITMAPS))
		return c->vmx->proc & PROC_UNCOND_IO_EXITING;
	if (port + size > 0x10000) /* wraps around */
		return true;
	for (unsigned n = 0; n < size; n++)
		if (port_bit(c, (u16)(port + n)))
			return true;
	return false;
}

void vmx_check_io(struct soft_cpu *c, const struct insn *i, u16 port, unsigned size, bool in,
		  bool string, bool rep, gva_t linear)
{
	/* The one-byte opcodes E4..E7 have the port as immediate. */
	const bool immediate = i->map == MAP_1B && (i->opcode & 0xfc) == 0xe4;
	struct vmx_exit_info x = { .reason = EXIT_IO, .insn_len = i->len };

	if (!c->vmx_non_root || !io_exits(c, port, size))
		return;
	x.qualification = (size - 1) | (u64)in << 3 | (u64)string << 4 | (u64)rep << 5 |
			  (u64)immediate << 6 | (u64)port << 16;
	if (string) {
		x.insn_info = encoded_size(i->addrsize) << 7;
		if (!in)
			x.insn_info |= (i->seg_override == REG_NONE ? SEG_DS : i->seg_override) << 15;
		x.has_gla = true;
		x.gla = linear;
	}
	vmx_exit_with(c, &x);
}

/* ---- Control and debug registers ---- */

enum { CR_MOV_TO, CR_MOV_FROM, CR_CLTS, CR_LMSW };

static u64 cr_qualification(unsigned cr, unsigned type, unsigned gpr)
{
	return cr | (u64)type << 4 | (u64)gpr << 8;
}

u64 vmx_read_cr0(const struct soft_cpu *c)
{
	const struct vmcs *v;

	if (!c->vmx_non_root)
		return c->s.cr0;
	v = current(c);
	return (v->cr0_shadow & v->cr0_mask) | (c->s.cr0 & ~v->cr0_mask);
}

u64 vmx_read_cr4(const struct soft_cpu *c)
{
	const struct vmcs *v;

	if (!c->vmx_non_root)
		return c->s.cr4;
	v = current(c);
	return (v->cr4_shadow & v->cr4_mask) | (c->s.cr4 & ~v->cr4_mask);
}

static bool cr3_is_target(const struct vmcs *v, u64 value)
{
	const u64 target[VMX_NR_CR3_TARGETS] = { v->cr3_target0, v->cr3_target1, v->cr3_target2,
						 v->cr3_target3 };

	for (unsigned n = 0; n < v->cr3_target_count; n++)
		if (target[n] == value)
			return true;
	return false;
}

static bool cr_write_exits(const struct soft_cpu *c, unsigned cr, u64 value)
{
	const struct vmcs *v = current(c);

	switch (cr) {
	case 0: return (value ^ v->cr0_shadow) & v->cr0_mask;
	case 3: return (c->vmx->proc & PROC_CR3_LOAD_EXITING) && !cr3_is_target(v, value);
	case 4: return (value ^ v->cr4_shadow) & v->cr4_mask;
	case 8: return c->vmx->proc & PROC_CR8_LOAD_EXITING;
	}
	return false;
}

u64 vmx_check_mov_to_cr(struct soft_cpu *c, const struct insn *i, unsigned cr, u64 value)
{
	const struct vmcs *v;

	if (!c->vmx_non_root)
		return value;
	if (cr_write_exits(c, cr, value))
		vmx_exit_insn(c, i, EXIT_CR_ACCESS, cr_qualification(cr, CR_MOV_TO, i->rm));
	v = current(c);
	if (cr == 0)
		return (value & ~v->cr0_mask) | (c->s.cr0 & v->cr0_mask);
	if (cr == 4)
		return (value & ~v->cr4_mask) | (c->s.cr4 & v->cr4_mask);
	return value;
}

void vmx_check_mov_from_cr(struct soft_cpu *c, const struct insn *i, unsigned cr)
{
	if ((cr == 3 && proc_on(c, PROC_CR3_STORE_EXITING)) ||
	    (cr == 8 && proc_on(c, PROC_CR8_STORE_EXITING)))
		vmx_exit_insn(c, i, EXIT_CR_ACCESS, cr_qualification(cr, CR_MOV_FROM, i->rm));
}

bool vmx_check_clts(struct soft_cpu *c, const struct insn *i)
{
	const struct vmcs *v;

	if (!c->vmx_non_root)
		return false;
	v = current(c);
	if (!(v->cr0_mask & CR0_TS))
		return false;
	if (v->cr0_shadow & CR0_TS)
		vmx_exit_insn(c, i, EXIT_CR_ACCESS, cr_qualification(0, CR_CLTS, 0));
	return true;
}

/* LMSW never clears PE, so only setting it counts. */
static bool lmsw_exits(const struct vmcs *v, u16 src)
{
	u64 changes = (src ^ v->cr0_shadow) & v->cr0_mask & (CR0_MP | CR0_EM | CR0_TS);

	return changes || (v->cr0_mask & ~v->cr0_shadow & src & CR0_PE);
}

u64 vmx_check_lmsw(struct soft_cpu *c, const struct insn *i, u16 src)
{
	struct vmx_exit_info x = { .reason = EXIT_CR_ACCESS, .insn_len = i->len };
	const struct vmcs *v;

	if (!c->vmx_non_root)
		return src & 15;
	v = current(c);
	if (lmsw_exits(v, src)) {
		x.qualification = cr_qualification(0, CR_LMSW, 0) | (u64)i->has_mem << 6 |
				  (u64)src << 16;
		x.has_gla = i->has_mem;
		if (i->has_mem)
			x.gla = insn_linear(c, i, 2, false);
		vmx_exit_with(c, &x);
	}
	return ((src & ~v->cr0_mask) | (c->s.cr0 & v->cr0_mask)) & 15;
}

void vmx_check_mov_dr(struct soft_cpu *c, const struct insn *i)
{
	const bool from = i->opcode == 0x21; /* 0F 21: MOV r, DR; 0F 23: MOV DR, r */

	if (proc_on(c, PROC_MOV_DR_EXITING))
		vmx_exit_insn(c, i, EXIT_MOV_DR,
			      (i->reg & 7u) | (u64)from << 4 | (u64)i->rm << 8);
}

/* ---- TPR shadow, TSC ---- */

enum { VTPR = 0x80 };

bool vmx_tpr_shadow(const struct soft_cpu *c)
{
	return proc_on(c, PROC_TPR_SHADOW);
}

u64 vmx_cr8_read(struct soft_cpu *c)
{
	u32 vtpr = 0;

	phys_read(c, current(c)->virtual_apic_addr + VTPR, &vtpr, sizeof(vtpr));
	return vtpr >> 4 & 15;
}

void vmx_cr8_write(struct soft_cpu *c, const struct insn *i, u64 value)
{
	const struct vmcs *v = current(c);
	const u32 vtpr = (u32)(value & 15) << 4;

	phys_write(c, v->virtual_apic_addr + VTPR, &vtpr, sizeof(vtpr));
	if ((value & 15) >= (v->tpr_threshold & 15))
		return;
	c->s.rip = insn_next(i); /* a trap-like exit */
	vmx_exit(c, EXIT_TPR_BELOW_THRESHOLD, 0);
}

u64 vmx_tsc_offset(const struct soft_cpu *c)
{
	return proc_on(c, PROC_TSC_OFFSETTING) ? current(c)->tsc_offset : 0;
}

/* ---- Asynchronous events ---- */

static bool movss_shadow(const struct soft_cpu *c)
{
	return c->s.rip == c->s.movss_shadow_rip;
}
static bool any_shadow(const struct soft_cpu *c)
{
	return movss_shadow(c) || c->s.rip == c->s.sti_shadow_rip;
}

/* Comes back to event_poll() after one instruction. */
static void wait_for_shadow(struct soft_cpu *c)
{
	c->single_step = c->shadow_step = true;
}

static bool nmi_window_open(const struct soft_cpu *c)
{
	return (c->vmx->proc & PROC_NMI_WINDOW) && !c->vmx->virtual_nmi_blocked;
}
static bool interrupt_window_open(const struct soft_cpu *c)
{
	return (c->vmx->proc & PROC_INTERRUPT_WINDOW) && (c->s.rflags & RFLAGS_IF) &&
	       c->s.activity != CPU_SHUTDOWN;
}
/* With virtual NMIs only MOV SS holds back an NMI. */
static bool nmi_exit_due(struct soft_cpu *c)
{
	return (c->vmx->pin & PIN_NMI_EXITING) && event_nmi_pending(c) &&
	       ((c->vmx->pin & PIN_VIRTUAL_NMIS) || !c->s.nmi_blocked);
}
static bool irq_exit_due(struct soft_cpu *c)
{
	return (c->vmx->pin & PIN_EXTINT_EXITING) && c->s.activity != CPU_SHUTDOWN &&
	       event_irq_pending(c);
}

static void exit_nmi(struct soft_cpu *c)
{
	struct vmx_exit_info x = { .reason = EXIT_EXCEPTION_NMI,
				   .intr_info = INTR_VALID | EVENT_NMI << 8 | X86_NMI };

	event_nmi_take(c);
	vmx_exit_with(c, &x);
}

static void exit_irq(struct soft_cpu *c)
{
	struct vmx_exit_info x = { .reason = EXIT_EXTERNAL_INTERRUPT };

	if (current(c)->exit_controls & VMEXIT_ACK_INTERRUPT) {
		int vector = event_irq_ack(c);

		if (vector < 0)
			return;
		x.intr_info = INTR_VALID | EVENT_EXTINT << 8 | (u8)vector;
	}
	vmx_exit_with(c, &x);
}

/* In order of priority. */
bool vmx_event_poll(struct soft_cpu *c)
{
	const bool irq_through_idt = !(c->vmx->pin & PIN_EXTINT_EXITING);

	if (vmx_timer_expired(c))
		vmx_exit(c, EXIT_PREEMPTION_TIMER, 0);
	if (nmi_window_open(c)) {
		if (!movss_shadow(c))
			vmx_exit(c, EXIT_NMI_WINDOW, 0);
		wait_for_shadow(c);
	}
	if (nmi_exit_due(c)) {
		if (!movss_shadow(c))
			exit_nmi(c);
		wait_for_shadow(c);
	}
	if (event_nmi_pending(c) && !c->s.nmi_blocked)
		return irq_through_idt; /* the caller delivers it, or waits */
	if (interrupt_window_open(c)) {
		if (!any_shadow(c))
			vmx_exit(c, EXIT_INTERRUPT_WINDOW, 0);
		wait_for_shadow(c);
	}
	if (irq_exit_due(c))
		exit_irq(c);
	return irq_through_idt;
}

bool vmx_waits_for_if(const struct soft_cpu *c)
{
	return c->vmx_non_root && (c->vmx->proc & PROC_INTERRUPT_WINDOW);
}

bool vmx_wakes_hlt(struct soft_cpu *c)
{
	if (c->s.activity == CPU_WAIT_SIPI)
		return false;
	return vmx_timer_expired(c) || nmi_window_open(c) || nmi_exit_due(c) ||
	       interrupt_window_open(c) || irq_exit_due(c);
}

bool vmx_blocks_init(const struct soft_cpu *c)
{
	if (c->vmx_non_root)
		return c->s.activity == CPU_WAIT_SIPI;
	return vmx_in_operation(c);
}

void vmx_init_event(struct soft_cpu *c)
{
	vmx_exit(c, EXIT_INIT, 0);
}

void vmx_sipi_event(struct soft_cpu *c, u8 vector)
{
	vmx_exit(c, EXIT_SIPI, vector);
}

/* SDM "Changes to Instruction Behavior in VMX Non-Root Operation", IRET. */
void vmx_iret(struct soft_cpu *c)
{
	bool *blocked = &c->s.nmi_blocked;

	if (c->vmx_non_root && (c->vmx->pin & PIN_NMI_EXITING)) {
		if (!(c->vmx->pin & PIN_VIRTUAL_NMIS))
			return;
		blocked = &c->vmx->virtual_nmi_blocked;
	}
	if (c->vmx)
		c->vmx->iret_rip = *blocked ? c->s.rip : ~0ull;
	if (!*blocked)
		return;
	*blocked = false;
	cpu_request(c, REQ_EVENT);
}
