/* SPDX-License-Identifier: MIT */
/*
 * Small ports without a chip of their own: the debug exit at 0xf4, which ends
 * the machine with a status, and the DMA page registers at 0x80..0x8f, of which
 * 0x80 is where firmware posts codes and old drivers write to waste time.
 */
#ifndef NESTOR_DEV_DEBUG_EXIT_H
#define NESTOR_DEV_DEBUG_EXIT_H

#include "dev/device.h"

/* @end gets (value << 1) | 1, with the chip's lock held. */
int debug_exit_create(const struct dev_env *env, void (*end)(void *opaque, u32 status),
		      void *opaque, struct device **res);

int dma_page_create(const struct dev_env *env, struct device **res);

#endif
