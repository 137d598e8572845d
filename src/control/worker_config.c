// SPDX-License-Identifier: MIT
/* From a VM's configuration to struct vm_config. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "control/rules.h"
#include "control/worker.h"
#include "vm/host.h"

int worker_error(struct ctl_err *to, const struct err *from)
{
	bool memory = strstr(from->text, "not enough memory");
	size_t n = strlen(from->text);

	ctl_error(to, memory ? CTL_OUT_OF_MEMORY : CTL_OPERATION_FAILED, "%s%s", from->text,
		  n && from->text[n - 1] == '.' ? "" : ".");
	to->text[0] = (char)toupper((u8)to->text[0]);
	return -1;
}

/* ---- What boots ---- */

/* Kept open: the guest may reset when files can no longer be opened. */
static int open_boot_file(const char *path, int *fd, struct ctl_err *e)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return *fd < 0 ? ctl_error_errno(e, errno, "Cannot open '%s'", path) : 0;
}

static int fill_boot(const json_t *config, struct vm_config *vc, struct ctl_err *e)
{
	const char *kernel = config_string(config, "firmware.kernelPath");
	const char *initrd = config_string(config, "firmware.initialRamdiskPath");

	if (!*kernel)
		return ctl_error(e, CTL_OPERATION_FAILED, "There is nothing to boot: give the virtual machine "
				 "a kernel with Set-VMFirmware -KernelPath.");
	vc->kernel = kernel;
	vc->append = config_string(config, "firmware.kernelCommandLine");
	if (open_boot_file(kernel, &vc->kernel_fd, e))
		return -1;
	if (!*initrd)
		return 0;
	vc->initrds[vc->nr_initrds++] = initrd;
	return open_boot_file(initrd, &vc->initrd_fds[0], e);
}

/* ---- Drives, in the order of their places ---- */

struct drive {
	s64 key;
	struct vm_disk disk;
};

static int compare(const void *a, const void *b)
{
	s64 x = ((const struct drive *)a)->key, y = ((const struct drive *)b)->key;

	return (x > y) - (x < y);
}

static s64 key_of(const json_t *drive)
{
	bool scsi = strcmp(config_string(drive, "controllerType"), "IDE");

	return (s64)scsi << 32 | config_int(drive, "controllerNumber") << 16 |
	       config_int(drive, "controllerLocation");
}

static unsigned collect(const json_t *config, const char *kind, bool readonly, struct drive *to,
			unsigned nr)
{
	const json_t *d;
	size_t i;

	json_array_foreach(json_object_get(config, kind), i, d) {
		const char *path = config_string(d, "path");

		if (*path && nr < VM_MAX_DISKS)
			to[nr++] = (struct drive){ key_of(d), { path, readonly } };
	}
	return nr;
}

static void fill_drives(const json_t *config, struct vm_config *vc)
{
	struct drive drives[VM_MAX_DISKS];
	unsigned nr = collect(config, "disks", false, drives, 0);

	nr = collect(config, "dvds", true, drives, nr);
	qsort(drives, nr, sizeof(drives[0]), compare);
	for (unsigned i = 0; i < nr; i++)
		vc->disks[i] = drives[i].disk;
	vc->nr_disks = nr;
}

/* ---- All ---- */

static enum vm_engine engine_of(const json_t *config)
{
	const char *s = config_string(config, "engine");

	return !strcmp(s, "Software") ? VM_ENGINE_SOFT : !strcmp(s, "Kvm") ? VM_ENGINE_KVM : VM_ENGINE_AUTO;
}

int worker_config_fill(const json_t *config, struct vm_config *vc, struct ctl_err *e)
{
	struct host_info host;
	struct err why;

	vm_config_init(vc);
	vc->engine = engine_of(config);
	vc->nr_cpus = (unsigned)config_int(config, "processor.count");
	vc->memory = (u64)config_int(config, "memory.startupBytes");
	host_info_get(&host);
	vc->max_memory = host.mem_total & ~(MIB(128) - 1);
	vc->expose_vmx = config_bool(config, "processor.exposeVirtualizationExtensions");
	fill_drives(config, vc);
	if (fill_boot(config, vc, e))
		return -1;
	return vm_config_check(vc, &why) ? worker_error(e, &why) : 0;
}
