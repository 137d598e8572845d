/* SPDX-License-Identifier: MIT */
/*
 * Interrupt lines and messages. A device holds a struct irq and calls
 * irq_set(); where that leads (the PICs and IOAPIC of the board, or KVM's
 * in-kernel chips) is the sink's affair. Any thread.
 *
 * A line is as high as its last irq_set(). Devices that share one each drive an
 * input of a struct irq_or.
 */
#ifndef NESTOR_BUS_IRQ_H
#define NESTOR_BUS_IRQ_H

#include <pthread.h>

#include "base/types.h"

/* Provided by the board (software engine) or by the KVM engine. */
struct irq_sink {
	/* Lines 0..15 are the ISA IRQs: PIC inputs, and IOAPIC pins of the same number,
	 * but IRQ 0 is IOAPIC pin 2 (as the MADT says) and line 2 has no PIC input.
	 * Lines 16..23 are IOAPIC pins alone. KVM's routing table must be set likewise. */
	void (*set_gsi)(void *opaque, u32 gsi, bool level);
	void (*send_msi)(void *opaque, u64 address, u32 data);
	void *opaque;
};

struct irq {
	const struct irq_sink *sink;
	u32 gsi;
};

static inline void irq_set(const struct irq *i, bool level)
{
	if (i->sink)
		i->sink->set_gsi(i->sink->opaque, i->gsi, level);
}

static inline void irq_pulse(const struct irq *i)
{
	irq_set(i, true);
	irq_set(i, false);
}

static inline void msi_send(const struct irq_sink *s, u64 address, u32 data)
{
	s->send_msi(s->opaque, address, data);
}

/* Wires up to 32 inputs together: @out is high while any input is. */
struct irq_or {
	struct irq_sink sink; /* "GSI" n is input n */
	struct irq out;
	pthread_mutex_t lock;
	u32 high; /* inputs */
};

void irq_or_init(struct irq_or *o, struct irq out);
void irq_or_fini(struct irq_or *o);
void irq_or_reset(struct irq_or *o); /* all inputs low */

static inline struct irq irq_or_input(struct irq_or *o, u32 n)
{
	return (struct irq){ &o->sink, n };
}

#endif
