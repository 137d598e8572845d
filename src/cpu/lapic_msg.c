// SPDX-License-Identifier: MIT
/*
 * Interrupt messages between LAPICs, from IOAPICs and MSIs; the PIC's line at
 * LINT0. SDM "Issuing Interprocessor Interrupts" and "Message Signalled
 * Interrupts". A sender only reads single words of a foreign LAPIC.
 */
#include "cpu/lapic_internal.h"

#include <errno.h>
#include <stdlib.h>

/* ---- LINT0 and LINT1 ---- */

static unsigned lvt_delivery(u32 lvt)
{
	return lvt >> 8 & 7;
}

/* Does the PIC reach this processor as an external interrupt? A disabled APIC
 * is not there: INTR then is the processor's own pin, on the BSP. */
static bool lint0_is_extint(const struct lapic *l)
{
	u32 lvt = reg_get(l, REG_LVT_LINT0);

	if (!is_enabled(l))
		return l->id == 0;
	return !(lvt & LVT_MASKED) && lvt_delivery(lvt) == DELIVER_EXTINT;
}

bool lapic_extint_pending(const struct lapic *l)
{
	return atomic_load(&l->bus->lint0) && lint0_is_extint(l);
}

static void post_word(struct lapic *l, u32 bits)
{
	atomic_fetch_or(&l->posted, bits);
	wake(l);
}

/* A processor would have begun to serve the first of two NMIs when the second comes; ours may see
 * both at once. */
static void post_nmi(struct lapic *l)
{
	if (atomic_fetch_or(&l->posted, LAPIC_POST_NMI) & LAPIC_POST_NMI)
		atomic_fetch_or(&l->posted, LAPIC_POST_NMI_AGAIN);
	wake(l);
}

static void lint0_rises(struct lapic *l)
{
	u32 lvt = reg_get(l, REG_LVT_LINT0);

	if (lint0_is_extint(l))
		wake(l);
	else if (is_enabled(l) && !(lvt & LVT_MASKED) && lvt_delivery(lvt) == DELIVER_FIXED)
		lapic_post(l, (u8)lvt, false);
	else if (is_enabled(l) && !(lvt & LVT_MASKED) && lvt_delivery(lvt) == DELIVER_NMI)
		post_nmi(l);
}

void lapic_set_lint0(struct lapic_bus *bus, bool level)
{
	bool before = atomic_exchange(&bus->lint0, level);

	for (unsigned i = 0; level && !before && i < bus->nr; i++)
		if (bus->lapics[i])
			lint0_rises(bus->lapics[i]);
}

/* ---- Messages ---- */

static bool matches_logical(const struct lapic *l, u32 dest)
{
	u32 ldr = reg_get(l, REG_LDR), dfr = reg_get(l, REG_DFR);

	if (is_x2apic(l)) {
		if (dest == ~0u)
			return true;
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	}
	ldr >>= 24;
	dest &= 0xff;
	if (dfr >> 28 == 0xf)
		return ldr & dest;
	/* Cluster model; cluster FH is a broadcast. */
	return (dest >> 4 == 0xf || dest >> 4 == ldr >> 4) && (dest & ldr & 0xf);
}

static bool matches(const struct lapic *l, u32 dest, bool logical)
{
	if (!is_enabled(l))
		return false;
	if (logical)
		return matches_logical(l, dest);
	return dest == l->id || dest == 0xff || dest == ~0u;
}

/* Hands one message to one LAPIC. A software-disabled one takes NMI, INIT, SIPI
 * and ExtINT, but no vectors. */
static void deliver(struct lapic *l, const struct lapic_msg *m)
{
	switch (m->delivery) {
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
		if (sw_enabled(l))
			lapic_post(l, m->vector, m->level);
		break;
	case DELIVER_NMI:
		post_nmi(l);
		break;
	case DELIVER_INIT:
		if (!m->level)
			post_word(l, LAPIC_POST_INIT);
		break;
	case DELIVER_SIPI:
		atomic_store(&l->sipi_vector, m->vector);
		post_word(l, LAPIC_POST_SIPI);
		break;
	case DELIVER_EXTINT:
		post_word(l, LAPIC_POST_EXTINT);
		break;
	}
}

/* Lowest priority: the processors take turns, as the SDM leaves it to us. */
static void send_lowest(struct lapic_bus *bus, const struct lapic_msg *m)
{
	unsigned start = atomic_fetch_add_explicit(&bus->next, 1, memory_order_relaxed);

	for (unsigned i = 0; i < bus->nr; i++) {
		struct lapic *l = bus->lapics[(start + i) % bus->nr];

		if (!l || !sw_enabled(l) || !matches(l, m->dest, m->logical))
			continue;
		deliver(l, m);
		return;
	}
}

void lapic_bus_send(struct lapic_bus *bus, const struct lapic_msg *m)
{
	if (m->delivery == DELIVER_LOWEST) {
		send_lowest(bus, m);
		return;
	}
	for (unsigned i = 0; i < bus->nr; i++)
		if (bus->lapics[i] && matches(bus->lapics[i], m->dest, m->logical))
			deliver(bus->lapics[i], m);
}

/* SDM "Message Signalled Interrupts". The redirection hint asks for one of
 * several processors. Without it the SDM calls the destination mode ignored;
 * processors heed it all the same, and Linux sends logical messages so. */
void lapic_bus_send_msi(struct lapic_bus *bus, u64 address, u32 data)
{
	bool hint = address & BIT(3);
	struct lapic_msg m = {
		.dest = address >> 12 & 0xff,
		.logical = address & BIT(2),
		.vector = (u8)data,
		.delivery = data >> 8 & 7,
		.level = data >> 15 & 1,
	};

	if ((address & 0xfff00000) != 0xfee00000)
		return;
	if (hint && m.delivery == DELIVER_FIXED)
		m.delivery = DELIVER_LOWEST;
	lapic_bus_send(bus, &m);
}

void lapic_set_eoi_broadcast(struct lapic_bus *bus, void (*fn)(void *, u8), void *opaque)
{
	bus->eoi_broadcast = fn;
	bus->eoi_opaque = opaque;
}

/* ---- Sending: ICR ---- */

/* NMI, INIT and SIPI are not sent to oneself by a shorthand. */
static void send_shorthand(struct lapic *l, const struct lapic_msg *m, unsigned to)
{
	bool vector = m->delivery == DELIVER_FIXED || m->delivery == DELIVER_LOWEST;

	for (unsigned i = 0; i < l->bus->nr; i++) {
		struct lapic *other = l->bus->lapics[i];

		if (!other || !is_enabled(other))
			continue;
		if (other == l ? to != SHORT_OTHERS && vector : to != SHORT_SELF)
			deliver(other, m);
	}
}

void lapic_send_icr(struct lapic *l, u32 low, u32 dest)
{
	unsigned to = low >> 18 & 3;
	struct lapic_msg m = {
		.dest = dest,
		.vector = (u8)low,
		.delivery = low >> 8 & 7,
		.logical = low >> 11 & 1,
	};

	/* INIT level de-assert was for processors before the Pentium 4. The trigger
	 * mode of all others is ignored: IPIs are edge-triggered. */
	if (m.delivery == DELIVER_INIT && (low & BIT(15)) && !(low & BIT(14)))
		return;
	if (m.delivery <= DELIVER_LOWEST && m.vector < 16) {
		lapic_post_error(l, ESR_SEND_VECTOR);
		return;
	}
	if (to == SHORT_NONE)
		lapic_bus_send(l->bus, &m);
	else
		send_shorthand(l, &m, to);
}

/* ---- Life ---- */

int lapic_bus_create(unsigned nr_cpus, struct lapic_bus **res)
{
	struct lapic_bus *bus = calloc(1, sizeof(*bus) + nr_cpus * sizeof(bus->lapics[0]));

	if (!bus)
		return -ENOMEM;
	bus->nr = nr_cpus;
	*res = bus;
	return 0;
}

void lapic_bus_destroy(struct lapic_bus *bus)
{
	free(bus);
}
