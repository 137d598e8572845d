/* SPDX-License-Identifier: MIT */
/*
 * The local APIC of one vCPU (software engine): xAPIC and x2APIC, its timer
 * with TSC-deadline mode, and the interrupt messages between LAPICs.
 *
 * A LAPIC belongs to its vCPU: only that vCPU's thread reads and writes its
 * registers. Other threads (IOAPIC, MSI, other vCPUs' ICR, the timer's loop)
 * only post, atomically: into the request registers and the request word, and
 * then wake the vCPU through @wake.
 */
#ifndef NESTOR_CPU_LAPIC_H
#define NESTOR_CPU_LAPIC_H

#include <stdatomic.h>

#include "base/loop.h"
#include "base/types.h"

/* What was posted besides vectors. */
enum { LAPIC_POST_NMI = 1, LAPIC_POST_INIT = 2, LAPIC_POST_SIPI = 4, LAPIC_POST_EXTINT = 8 };

struct lapic_bus; /* all LAPICs of a VM */

struct lapic {
	struct lapic_bus *bus;
	u32 id; /* initial APIC ID = vCPU index */
	u64 apic_base; /* IA32_APIC_BASE */
	u32 regs[64];  /* by MMIO offset / 16; ISR, TMR and IRR live below */
	_Atomic u32 irr[8];
	_Atomic u32 tmr[8];
	u32 isr[8];
	_Atomic u32 posted; /* LAPIC_POST_* */
	_Atomic u8 sipi_vector;
	u64 icr; /* x2APIC: 64 bits */
	u64 tsc_deadline;
	u64 timer_start_ns, timer_period_ns;
	struct timer timer;
	/* Tells the vCPU to look again: sets its request word, wakes it from HLT. */
	void (*wake)(void *opaque);
	void *opaque;
	u64 (*guest_tsc)(void *opaque); /* the vCPU's current TSC (L1's) */
	u64 tsc_hz;
	/* End of a level-triggered interrupt, to the IOAPICs. */
	void (*eoi_broadcast)(void *opaque, u8 vector);
	void *eoi_opaque;
};

int lapic_bus_create(unsigned nr_cpus, struct lapic_bus **res);
void lapic_bus_destroy(struct lapic_bus *bus);
void lapic_init(struct lapic *l, struct lapic_bus *bus, u32 id, struct loop *loop);
void lapic_reset(struct lapic *l, bool init); /* RESET, or INIT (keeps the ID and base) */
void lapic_fini(struct lapic *l);

/* A message from IOAPIC, MSI or ICR: SDM "Message Address/Data Register
 * Format" already taken apart. Any thread. */
struct lapic_msg {
	u32 dest;
	u8 vector;
	u8 delivery; /* 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 SIPI, 7 ExtINT */
	bool logical, level;
};
void lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *m);
void lapic_bus_send_msi(struct lapic_bus *bus, u64 address, u32 data);
void lapic_set_eoi_broadcast(struct lapic_bus *bus, void (*fn)(void *, u8), void *opaque);

/* The PIC's INTR line, wired to every LAPIC's LINT0. Any thread. */
void lapic_set_lint0(struct lapic_bus *bus, bool level);

/* Below: the owning vCPU's thread only. */
int lapic_pending(struct lapic *l);   /* vector that would be delivered now (beats PPR), or -1 */
void lapic_ack(struct lapic *l, int vector); /* IRR -> ISR */
bool lapic_extint_pending(const struct lapic *l); /* LINT0 asserted and LVT (or no APIC) lets ExtINT in */
bool lapic_has_work(const struct lapic *l); /* any IRR bit or posted word: ends HLT's sleep early */
void lapic_eoi(struct lapic *l);
u8 lapic_tpr(const struct lapic *l);  /* 7:0; CR8 = >> 4 */
void lapic_set_tpr(struct lapic *l, u8 tpr);
u32 lapic_mmio_read(struct lapic *l, u32 off);
void lapic_mmio_write(struct lapic *l, u32 off, u32 value);
bool lapic_x2apic_read(struct lapic *l, u32 msr, u64 *value); /* false: #GP */
bool lapic_x2apic_write(struct lapic *l, u32 msr, u64 value);
bool lapic_set_base(struct lapic *l, u64 value); /* IA32_APIC_BASE; false: #GP */
void lapic_set_tsc_deadline(struct lapic *l, u64 value);
u64 lapic_get_tsc_deadline(struct lapic *l);

#endif
