// SPDX-License-Identifier: MIT
/* Interrupt lines that several devices share. */
#include "bus/irq.h"

static void or_set(void *opaque, u32 input, bool level)
{
	struct irq_or *o = opaque;
	u32 bit = (u32)BIT(input & 31);
	u32 high;

	/* The output is set under the lock, so that two inputs' changes reach it
	 * in the order they were made. */
	pthread_mutex_lock(&o->lock);
	high = level ? o->high | bit : o->high & ~bit;
	if (!high != !o->high)
		irq_set(&o->out, high);
	o->high = high;
	pthread_mutex_unlock(&o->lock);
}

static void or_msi(void *opaque, u64 address, u32 data)
{
	struct irq_or *o = opaque;

	if (o->out.sink)
		msi_send(o->out.sink, address, data);
}

void irq_or_init(struct irq_or *o, struct irq out)
{
	*o = (struct irq_or){ .sink = { or_set, or_msi, o }, .out = out };
	pthread_mutex_init(&o->lock, NULL);
}

void irq_or_fini(struct irq_or *o)
{
	pthread_mutex_destroy(&o->lock);
}

void irq_or_reset(struct irq_or *o)
{
	pthread_mutex_lock(&o->lock);
	o->high = 0;
	irq_set(&o->out, false);
	pthread_mutex_unlock(&o->lock);
}
