// SPDX-License-Identifier: MIT
/* The host, its versions, measuring, and what is not available yet. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shell/cmdlets/hyperv.h"

/* ---- Host ------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct hv_member host_members[] = {
	{ "Name", "name" },
	{ "ComputerName", "name" },
	{ "LogicalProcessorCount", "logicalProcessorCount" },
	{ "ProcessorName", "processorName" },
	{ "MemoryCapacity", "memoryCapacity" },
	{ "MemoryAvailable", "memoryAvailable" },
	{ "VirtualHardDiskPath", "virtualHardDiskPath" },
	{ "VirtualMachinePath", "virtualMachinePath" },
	{ "MacAddressMinimum", "macAddressMinimum" },
	{ "MacAddressMaximum", "macAddressMaximum" },
	{ "VirtualMachineMigrationEnabled", "virtualMachineMigrationEnabled" },
	{ "NestorVersion", "nestorVersion" },
	{ 0 }
};

static const struct hv_setting host_settings[] = {
	{ "VirtualHardDiskPath", "virtualHardDiskPath", true },
	{ "MacAddressMinimum", "macAddressMinimum" },
	{ "MacAddressMaximum", "macAddressMaximum" },
	{ 0 }
};
/* clang-format on */

static bool get_host(struct call *c)
{
	struct ctl_err e = { 0 };
	json_t *host = NULL;

	if (!hv_connect(c))
		return c->sh->flow == FLOW_NONE;
	if (client_get_host(c->sh->client, &host, &e))
		return hv_error(c, &e);
	cmd_write(c, hv_object_new("VMHost", host, host_members));
	json_decref(host);
	return true;
}

static bool set_host(struct call *c)
{
	struct ctl_err e = { 0 };
	json_t *change, *host = NULL;

	if (arg(c, "VirtualMachinePath"))
		return hv_not_available(c, "Another folder for virtual machines (the variable "
					   "NESTOR_HOME sets it) is");
	if (!hv_connect(c) || !cmd_should(c, "localhost"))
		return c->sh->flow == FLOW_NONE;
	change = hv_change_new(c, host_settings);
	if (!change)
		return true;
	if (client_set_host(c->sh->client, change, &host, &e))
		return hv_error(c, &e);
	if (arg_true(c, "Passthru"))
		cmd_write(c, hv_object_new("VMHost", host, host_members));
	json_decref(host);
	return true;
}

static bool get_versions(struct call *c)
{
	struct ctl_err e = { 0 };
	json_t *versions = NULL, *v;
	size_t i;

	if (!hv_connect(c))
		return c->sh->flow == FLOW_NONE;
	if (client_get_versions(c->sh->client, &versions, &e))
		return hv_error(c, &e);
	json_array_foreach(versions, i, v)
	{
		bool is_default = json_is_true(json_object_get(v, "isDefault"));

		if (is_default || !arg_true(c, "Default"))
			cmd_write(c, json_pack("{s:s, s:O, s:O, s:b}", TYPE_KEY,
					       "VMHostSupportedVersion", "Name", hv_get(v, "name"),
					       "Version", hv_get(v, "version"), "IsDefault",
					       is_default));
	}
	json_decref(versions);
	return true;
}

/* ---- Measuring ---------------------------------------------------------------------------------- */

static json_t *disk_sizes_new(const json_t *vm)
{
	json_t *d;
	size_t i;
	s64 sum = 0;

	json_array_foreach(hv_get(vm, "disks"), i, d)
	{
		const char *path = json_string_value(json_object_get(d, "path"));
		struct stat st;

		if (path && !stat(path, &st))
			sum += st.st_size;
	}
	return json_integer(sum >> 20);
}

static bool measure_one(struct call *c, json_t *vm)
{
	json_int_t ram = json_integer_value(hv_get(vm, "memoryAssigned")) >> 20;
	json_t *o = value_object_new("VMMeteringReport");

	json_object_set_new(o, "VMName", json_string(hv_name(vm)));
	json_object_set_new(o, "AvgCPU", json_null());
	json_object_set_new(o, "AvgRAM", json_integer(ram));
	json_object_set_new(o, "MaxRAM", json_integer(ram));
	json_object_set_new(o, "MinRAM", json_integer(ram));
	json_object_set_new(o, "TotalDisk", disk_sizes_new(vm));
	json_object_set_new(o, "NetworkInbound", json_null());
	json_object_set_new(o, "NetworkOutbound", json_null());
	json_object_set_new(o, "CPUUsage", json_incref(hv_get(vm, "cpuUsage")));
	json_object_set_new(o, "VMId", json_string(hv_id(vm)));
	cmd_write(c, o);
	return true;
}

static bool measure_vm(struct call *c)
{
	return hv_each(c, measure_one);
}

/* ---- Not there yet ---------------------------------------------------------------------------------- */

static bool not_available(struct call *c)
{
	char what[80];

	snprintf(what, sizeof(what), "%s is", c->cmdlet->name);
	return hv_not_available(c, what);
}

/* clang-format off */
static const struct param no_params[] = { { 0 } };
static const struct param version_params[] = { { "Default", T_SWITCH, .help = "Only the one of new virtual machines." }, { 0 } };
static const struct param set_host_params[] = {
	{ "VirtualHardDiskPath", T_STRING, .help = "Where disks without a folder go." },
	{ "VirtualMachinePath", T_STRING, .help = "Not available: NESTOR_HOME sets it." },
	{ "MacAddressMinimum", T_STRING, .help = "Kept for networks." },
	{ "MacAddressMaximum", T_STRING, .help = "Kept for networks." },
	PARAM_PASSTHRU, { 0 }
};
static const struct param measure_params[] = { PARAMS_VM, { 0 } };

static const struct param checkpoint_params[] = {
	PARAMS_VM, { "SnapshotName", T_STRING, .alias = "CheckpointName", .pos = 2 }, PARAM_PASSTHRU, { 0 }
};
static const struct param snapshot_params[] = {
	{ "VMName", T_ANY, .pos = 1, .by_value = true }, { "Name", T_ANY, .pos = 2 }, { "VMSnapshot", T_ANY },
	{ "SnapshotType", T_ANY }, { "ParentOf", T_ANY }, { "ChildOf", T_ANY },
	{ "IncludeAllChildSnapshots", T_SWITCH }, PARAM_PASSTHRU, { 0 }
};
static const struct param export_params[] = {
	PARAMS_VM, { "Path", T_STRING, .pos = 2 }, { "CaptureLiveState", T_ANY }, PARAM_PASSTHRU, { 0 }
};
static const struct param import_params[] = {
	{ "Path", T_STRING, .pos = 1 }, { "Register", T_SWITCH }, { "Copy", T_SWITCH }, { "GenerateNewId", T_SWITCH },
	{ "VirtualMachinePath", T_STRING }, { "VhdDestinationPath", T_STRING }, { 0 }
};
static const struct param move_params[] = {
	PARAMS_VM, { "DestinationHost", T_STRING, .pos = 2 }, { "IncludeStorage", T_SWITCH },
	{ "DestinationStoragePath", T_STRING }, PARAM_PASSTHRU, { 0 }
};
static const struct param resize_params[] = {
	{ "Path", T_STRINGS, .pos = 1, .by_value = true }, { "SizeBytes", T_INT, .pos = 2 }, PARAM_PASSTHRU, { 0 }
};

#define LATER(n, c, p) { n, HV_CLASS(c), "Not available yet.", p, .run = not_available, .sets = "Name|VMObject", \
			 .hyperv = true, .changes = true }

const struct cmdlet host_cmdlets[] = {
	{ "Get-VMHost", HV_CLASS("GetVMHost"), "Gets this host.", no_params, .output = "VMHost", .run = get_host,
	  .hyperv = true },
	{ "Set-VMHost", HV_CLASS("SetVMHost"), "Changes this host's settings.", set_host_params, .output = "VMHost",
	  .run = set_host, .hyperv = true, .changes = true, .will = "will configure the host \"%s\"." },
	{ "Get-VMHostSupportedVersion", HV_CLASS("GetVMHostSupportedVersion"), "Lists configuration versions.",
	  version_params, .output = "VMHostSupportedVersion", .run = get_versions, .hyperv = true },
	{ "Measure-VM", HV_CLASS("MeasureVM"), "Reports what virtual machines use.", measure_params,
	  .sets = "Name|VMObject", .output = "VMMeteringReport", .run = measure_vm, .hyperv = true,
	  .shell_note = "Values of this moment: metering over time is not available yet." },
	LATER("Checkpoint-VM", "CheckpointVM", checkpoint_params),
	LATER("Get-VMSnapshot", "GetVMSnapshot", snapshot_params),
	LATER("Restore-VMSnapshot", "RestoreVMSnapshot", snapshot_params),
	LATER("Remove-VMSnapshot", "RemoveVMSnapshot", snapshot_params),
	LATER("Export-VM", "ExportVM", export_params),
	LATER("Import-VM", "ImportVM", import_params),
	LATER("Move-VM", "MoveVM", move_params),
	LATER("Enable-VMResourceMetering", "EnableVMResourceMetering", measure_params),
	LATER("Resize-VHD", "ResizeVhd", resize_params),
	{ 0 }
};
/* clang-format on */
