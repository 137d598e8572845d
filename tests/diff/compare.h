/* SPDX-License-Identifier: MIT */
/* Two outcomes of the same program: the host CPU's and the guest's. */
#ifndef NESTOR_TESTS_COMPARE_H
#define NESTOR_TESTS_COMPARE_H

#include <stdio.h>

#include "program.h"

enum compare {
	SAME,
	STALE_FLAGS, /* only arithmetic flags at a fault: QUIRKS allows that inside a block */
	DIFFERENT,
};

/* Brings both into the same form: components in their initial state, x87 pointers. */
void outcome_canonical(struct outcome *o);
/* Says what differs to @out, unless that is NULL. */
enum compare outcome_compare(const struct outcome *host, const struct outcome *guest, FILE *out);

#endif
