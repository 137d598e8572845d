/* SPDX-License-Identifier: MIT */
/*
 * Interrupt lines and messages. A device holds a struct irq and calls
 * irq_set(); where that leads (the PICs and IOAPIC of the board, or KVM's
 * in-kernel chips) is the sink's affair. Any thread.
 */
#ifndef NESTOR_BUS_IRQ_H
#define NESTOR_BUS_IRQ_H

#include "base/types.h"

/* Provided by the board (software engine) or by the KVM engine. */
struct irq_sink {
	void (*set_gsi)(void *opaque, u32 gsi, bool level); /* GSI = IOAPIC pin; 0..15 also PIC */
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

#endif
