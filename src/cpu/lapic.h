/* SPDX-License-Identifier: MIT */
/*
 * The local APIC of one vCPU (software engine): xAPIC and x2APIC, its timer
 * with TSC-deadline mode, and the interrupt messages between LAPICs.
 *
 * A LAPIC belongs to its vCPU: only that vCPU's thread reads and writes its
 * registers. Other threads (IOAPIC, MSI, other vCPUs' ICR, the timer's loop)
 * only post, atomically: into the request registers and the request word, and
 * then wake the vCPU through @wake. What they must read of a foreign LAPIC
 * (IDs, SVR, LVT) are single words, read and written atomically.
 *
 * Built without vector instructions, so that the software engine may call all
 * of it while the guest's vector state is live; what leads out of here (the
 * loop's timers, an IOAPIC's EOI) goes through @outside.
 *
 * The timer counts at @tsc_hz. Whatever makes an interrupt deliverable by a
 * register write (EOI, TPR, SVR, ICR to self, timer) calls @wake of its own vCPU.
 */
#ifndef NESTOR_CPU_LAPIC_H
#define NESTOR_CPU_LAPIC_H

#include <stdatomic.h>

#include "base/loop.h"
#include "base/types.h"

/* What was posted besides vectors. Who handles a bit clears it (atomically). */
enum {
	LAPIC_POST_NMI = 1,
	LAPIC_POST_INIT = 2,
	LAPIC_POST_SIPI = 4,
	LAPIC_POST_EXTINT = 8,
	LAPIC_POST_NMI_AGAIN = 16, /* a second one before the vCPU saw the first */
};

/* IA32_APIC_BASE */
#define APIC_BASE_BSP	   BIT(8)
#define APIC_BASE_X2APIC   BIT(10)
#define APIC_BASE_ENABLE   BIT(11)
#define APIC_BASE_DEFAULT  0xfee00000ull
#define APIC_BASE_ADDR(b)  ((b) & 0x000ffffffffff000ull)

struct lapic_bus; /* all LAPICs of a VM */

struct lapic {
	struct lapic_bus *bus;
	u32 id; /* initial APIC ID = vCPU index */
	u64 apic_base; /* IA32_APIC_BASE */
	u32 regs[64];  /* by MMIO offset / 16; ISR, TMR and IRR live below */
	_Atomic u32 irr[8];
	_Atomic u32 tmr[8];
	_Atomic u32 irr_words; /* bit n: irr[n] may have bits */
	u32 isr[8];
	int isr_top; /* highest vector in service, -1 = none */
	_Atomic u32 posted; /* LAPIC_POST_* */
	_Atomic u8 sipi_vector;
	_Atomic u32 esr_pending; /* errors since the last write to ESR */
	u64 icr; /* x2APIC: 64 bits */

	/* The timer. It is armed in the loop at or before the time wanted; when it
	 * fires it only sets @timer_fired, and the vCPU's thread does the rest. */
	u64 tsc_deadline;		/* guest's TSC, 0 = disarmed */
	u64 timer_start, timer_period;	/* ticks; period 0 = stopped */
	_Atomic u64 timer_armed_ns;	/* what the loop knows, 0 = nothing */
	_Atomic bool timer_fired;
	struct timer timer;

	/* Tells the vCPU to look again: sets its request word, wakes it from HLT. */
	void (*wake)(void *opaque);
	/* Runs fn(arg) where vector registers may be used; NULL: call it directly.
	 * Called on the vCPU's thread only. */
	void (*outside)(void *opaque, void (*fn)(void *arg), void *arg);
	u64 (*guest_tsc)(void *opaque); /* the vCPU's current TSC (L1's) */
	u64 (*ticks)(void *opaque);	/* the timer's clock; NULL: the host's TSC */
	void *opaque;
	u64 tsc_hz;
};

/* What a saved VM keeps of a LAPIC, plain data for base/state.h. Timers are what
 * is left of them; the vCPU's TSC is restored first. */
struct lapic_state {
	u64 apic_base, icr, tsc_deadline;
	u64 timer_left; /* ticks until a counting timer is zero, 0 = stopped */
	u32 regs[64];	/* as in struct lapic */
	u32 irr[8], tmr[8], isr[8];
	u32 posted, esr_pending;
	u8 sipi_vector;
};
struct state_desc;
extern const struct state_desc lapic_state_desc;

int lapic_bus_create(unsigned nr_cpus, struct lapic_bus **res);
void lapic_bus_destroy(struct lapic_bus *bus); /* accepts NULL */
/* Zeroes *l, puts it on the bus and resets it; then the caller fills in @wake,
 * @outside, @guest_tsc, @opaque, @tsc_hz. With @loop NULL no timer is armed. */
void lapic_init(struct lapic *l, struct lapic_bus *bus, u32 id, struct loop *loop);
/* RESET, or INIT (keeps APIC ID, mode and base). Not for the BSP flag: vCPU 0 is BSP. */
void lapic_reset(struct lapic *l, bool init);
void lapic_fini(struct lapic *l);
/* With the vCPU not running. */
void lapic_get_state(struct lapic *l, struct lapic_state *s);
void lapic_set_state(struct lapic *l, const struct lapic_state *s);
/* What a BIOS leaves on the BSP: enabled, LINT0 = ExtINT, LINT1 = NMI. */
void lapic_set_virtual_wire(struct lapic *l);

/* A message from IOAPIC, MSI or ICR: SDM "Message Address/Data Register
 * Format" already taken apart. Any thread. @level is the trigger mode; an INIT
 * with it is a de-assert and ignored. */
struct lapic_msg {
	u32 dest;
	u8 vector;
	u8 delivery; /* 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 SIPI, 7 ExtINT */
	bool logical, level;
};
void lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *m);
void lapic_bus_send_msi(struct lapic_bus *bus, u64 address, u32 data);
/* End of a level-triggered interrupt, to the IOAPICs. Before vCPUs run. */
void lapic_set_eoi_broadcast(struct lapic_bus *bus, void (*fn)(void *, u8), void *opaque);

/* The PIC's INTR line, wired to every LAPIC's LINT0. Any thread. */
void lapic_set_lint0(struct lapic_bus *bus, bool level);

/* Below: the owning vCPU's thread only. */
int lapic_pending(struct lapic *l);   /* vector that would be delivered now (beats PPR), or -1 */
void lapic_ack(struct lapic *l, int vector); /* IRR -> ISR */
bool lapic_extint_pending(const struct lapic *l); /* LINT0 asserted and LVT (or no APIC) lets ExtINT in */
bool lapic_has_work(struct lapic *l); /* any IRR bit or posted word: ends HLT's sleep early */
void lapic_eoi(struct lapic *l);
u8 lapic_tpr(const struct lapic *l);  /* 7:0; CR8 = >> 4 */
void lapic_set_tpr(struct lapic *l, u8 tpr);
u8 lapic_ppr(const struct lapic *l);
u32 lapic_mmio_read(struct lapic *l, u32 off);
void lapic_mmio_write(struct lapic *l, u32 off, u32 value);
bool lapic_x2apic_read(struct lapic *l, u32 msr, u64 *value); /* false: #GP */
bool lapic_x2apic_write(struct lapic *l, u32 msr, u64 value);
/* IA32_APIC_BASE; false: #GP. Physical pages move: the caller flushes. */
bool lapic_set_base(struct lapic *l, u64 value, unsigned phys_bits);
void lapic_set_tsc_deadline(struct lapic *l, u64 value);
u64 lapic_get_tsc_deadline(struct lapic *l);
/* After a write to IA32_TSC or IA32_TSC_ADJUST. */
void lapic_tsc_changed(struct lapic *l);
/* Sets the vector's bit in IRR, as a message to this LAPIC would. Any thread. */
void lapic_post(struct lapic *l, u8 vector, bool level);
/* The timer's callback has nothing else; tests without a loop call it. */
void lapic_timer_fire(void *lapic);

#endif
