/* SPDX-License-Identifier: MIT */
/*
 * What a VM's settings must fulfil beyond the ranges in the API's tables: rules
 * between fields, and those whose sentence names the VM. Pure functions of the
 * configuration, but for rules_check_host().
 */
#ifndef NESTOR_CONTROL_RULES_H
#define NESTOR_CONTROL_RULES_H

#include "control/api.h"

/* A configuration with all fields, that passed api_check(). Gives drives without a
 * place one. */
int rules_check(json_t *config, struct ctl_err *e);

/* Can this host and the wanted engine do what the configuration asks for? Asked
 * when the setting is made, so that it does not fail at start. May take two
 * seconds when KVM is tried. */
int rules_check_host(const json_t *config, struct ctl_err *e);

/* The change @change of the memory of a VM that runs: what may change, as the
 * reference's table 1.4 and section 3.2 say. @target: 0, or what the assigned
 * amount shall become. @active: a hypervisor is active inside. */
int rules_check_running_memory(const json_t *config, const json_t *change, bool active, u64 *target,
			       struct ctl_err *e);

#define RULES_HYPERVISOR_ACTIVE                                                                    \
	"A hypervisor is active in the virtual machine, so its memory cannot be resized while it "  \
	"runs. Turn the virtual machine off, change the memory, and start it."

/* "No hypervisor" is refused with the reference's memory record. Returns -1. */
int rules_memory_refused(const json_t *config, const char *why, struct ctl_err *e);
/* The reference's wrong-state record with a line that says why. Returns -1. */
int rules_wrong_state(const json_t *config, struct ctl_err *e, const char *fmt, ...) PRINTF(3, 4);

/* Drives of @kind "disks" or "dvds": by "SCSI-0-1"; -1: there is none. */
int rules_find_drive(const json_t *config, const char *kind, const char *where);

/* Readers of a configuration that has all fields. */
const char *config_string(const json_t *config, const char *path); /* "firmware.kernelPath" */
s64 config_int(const json_t *config, const char *path);
bool config_bool(const json_t *config, const char *path);

#endif
