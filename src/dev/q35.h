/* SPDX-License-Identifier: MIT */
/*
 * The Q35 chip set as far as software looks: host bridge 0:0.0, LPC bridge
 * 0:1f.0, the two ways to PCI configuration space (ports 0xcf8/0xcfc, ECAM), and
 * the reset control register at port 0xcf9.
 */
#ifndef NESTOR_DEV_Q35_H
#define NESTOR_DEV_Q35_H

#include "bus/pci.h"
#include "dev/device.h"

enum { Q35_RESET_PORT = 0xcf9, Q35_RESET_VALUE = 0x0e, Q35_LPC_SLOT = 31 };

struct q35;

/* @reset is called with the chip's lock held. */
int q35_create(const struct dev_env *env, struct pci_root *root, u64 ecam, u64 ecam_size,
	       void (*reset)(void *opaque), void *opaque, struct q35 **res);
struct device *q35_device(struct q35 *q);

#endif
