/* SPDX-License-Identifier: MIT */
/*
 * What the cmdlets on VMs share: the manager's client, choosing VMs, settings as rows,
 * and the manager's records as PowerShell's. VMs inside the shell are the API's
 * objects (control/api.h); what users see is made of them by vm_value_new() and its
 * like, and carries the VM's id as VMId.
 */
#ifndef NESTOR_SHELL_CMDLETS_HYPERV_H
#define NESTOR_SHELL_CMDLETS_HYPERV_H

#include "control/client.h"
#include "shell/cmdlet.h"

#define HV_CLASS(name) "Microsoft.HyperV.PowerShell.Commands." name
#define HV_TYPE(name)  "Microsoft.HyperV.PowerShell." name

#define MEM_MIN	       ((s64)32 << 20)
#define MEM_MAX	       ((s64)12 << 40)

/* clang-format off */
/* [-Name] or [-VM] of *-VM cmdlets (sets 1 and 2), and [-VMName] or [-VM] of others. */
#define PARAM_VM(set, need) { "VM", T_OBJECTS, .words = "VirtualMachine", .pos = 1, .sets = set,     \
	.required = need, .by_value = true, .net_type = HV_TYPE("VirtualMachine[]"),                 \
	.help = "Virtual machines, as Get-VM gives them." }
#define PARAMS_VM                                                                                    \
	{ "Name", T_STRINGS, .alias = "VMName", .pos = 1, .sets = 1, .required = 1, .by_value = true, \
	  .by_name = "VMName|Name", .help = "Names of virtual machines, with wildcards." },           \
	PARAM_VM(2, 2)
#define PARAMS_VMSEL                                                                                 \
	{ "VMName", T_STRINGS, .pos = 1, .sets = 1, .required = 1, .by_value = true,                  \
	  .by_name = "VMName", .help = "Names of virtual machines, with wildcards." },                \
	PARAM_VM(2, 2)
#define PARAM_PASSTHRU { "Passthru", T_SWITCH, .help = "Writes the changed object." }
#define PARAM_FORCE    { "Force", T_SWITCH, .help = "Does not ask." }
/* clang-format on */

/* Connects to the manager, which is started when there is none. False: an error was
 * written (or flow). */
bool hv_connect(struct call *c);
/* Writes the manager's error. Returns false only with flow. */
bool hv_error(struct call *c, const struct ctl_err *e);
bool hv_not_available(struct call *c, const char *what);

/* The VMs that -Name, -VMName, -VM or -Id choose, as the API gives them; names that
 * select none are errors. All without any. NULL: flow, or nothing can be reached. */
json_t *hv_select(struct call *c);
/* Calls @fn for each chosen VM; an error with one does not stop the others. */
typedef bool hv_vm_fn(struct call *c, json_t *vm);
bool hv_each(struct call *c, hv_vm_fn *fn);

/* A parameter, and the setting it is. */
struct hv_setting {
	const char *param;
	const char *path; /* "processor.count" */
	bool is_path;	  /* a file's name: made absolute */
};
/* {"processor": {"count": 2}}, of the rows (up to one without name) whose parameters are
 * given; NULL when none is. New reference. */
json_t *hv_change_new(struct call *c, const struct hv_setting *rows);
/* Sends the change; the VM as it is now in *@res (new reference, may be NULL). */
bool hv_set(struct call *c, const json_t *vm, json_t *change, json_t **res);
/* hv_set(), after asking, and -Passthru by @value_new. */
bool hv_change(struct call *c, json_t *vm, const struct hv_setting *rows,
	       json_t *(*value_new)(const json_t *vm));
/* A verb of client_do(), after asking; -Passthru writes the VM. */
bool hv_do(struct call *c, json_t *vm, const char *verb, json_t *args);

const char *hv_name(const json_t *vm);
const char *hv_id(const json_t *vm);
/* The member at a path with dots, or null. */
json_t *hv_get(const json_t *vm, const char *path);
/* @path made absolute against the working folder; malloc()ed. */
char *hv_absolute(const char *path);

/* Objects for users; new references. */
json_t *vm_value_new(const json_t *vm);
json_t *processor_value_new(const json_t *vm);
json_t *memory_value_new(const json_t *vm);
json_t *firmware_value_new(const json_t *vm);

/* Member of an object for users and where its value comes from. */
struct hv_member {
	const char *name;
	const char *path; /* of the API's VM; NULL: `text` */
	enum { AS_IT_IS, AS_TIMESPAN_MS, AS_DATE, AS_LIST } as;
	const char *text; /* JSON */
};
json_t *hv_object_new(const char *tag, const json_t *vm, const struct hv_member *rows);

/* New-VM and New-VHD: makes a raw disk image. False: an error was written. */
bool vhd_create(struct call *c, const char *path, s64 size, bool fixed, bool *made);

#endif
