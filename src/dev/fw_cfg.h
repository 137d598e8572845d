/* SPDX-License-Identifier: MIT */
/*
 * fw_cfg: named byte strings from the host to firmware, as QEMU's machines
 * have it: selector and data at ports 0x510 and 0x511, DMA at 0x514.
 *
 * Items are added before the guest runs; they are copied. Guest writes to items
 * are refused.
 */
#ifndef NESTOR_DEV_FW_CFG_H
#define NESTOR_DEV_FW_CFG_H

#include "dev/device.h"

enum {
	FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_RAM_SIZE = 0x03, FW_CFG_NR_CPUS = 0x05,
	FW_CFG_KERNEL_ADDR = 0x07, FW_CFG_KERNEL_SIZE = 0x08, FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20,
	FW_CFG_ITEMS = 96, FW_CFG_NAME_SIZE = 56,
};

struct fw_cfg;

int fw_cfg_create(const struct dev_env *env, struct fw_cfg **res);
struct device *fw_cfg_device(struct fw_cfg *f);

/* An item that is there already is replaced. 0, -EINVAL, -ENOSPC, -ENOMEM. */
int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 size);
int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 size);

#endif
