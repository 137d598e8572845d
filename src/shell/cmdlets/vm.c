// SPDX-License-Identifier: MIT
/* Cmdlets on whole virtual machines. */
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlets/hyperv.h"
#include "shell/text.h"

/* clang-format off */
static const struct hv_member vm_members[] = {
	{ "Name", "name" },
	{ "VMName", "name" },
	{ "State", "state" },
	{ "CPUUsage", "cpuUsage" },
	{ "MemoryAssigned", "memoryAssigned" },
	{ "MemoryDemand", "memoryDemand" },
	{ "MemoryStatus", "memoryStatus" },
	{ "Uptime", "uptime", AS_TIMESPAN_MS },
	{ "Status", "status" },
	{ "Generation", "generation" },
	{ "Version", "version" },
	{ "ProcessorCount", "processor.count" },
	{ "DynamicMemoryEnabled", "memory.dynamicMemoryEnabled" },
	{ "MemoryStartup", "memory.startupBytes" },
	{ "MemoryMinimum", "memory.minimumBytes" },
	{ "MemoryMaximum", "memory.maximumBytes" },
	{ "AutomaticStartAction", "automaticStartAction" },
	{ "AutomaticStartDelay", "automaticStartDelay" },
	{ "AutomaticStopAction", "automaticStopAction" },
	{ "CheckpointType", "checkpointType" },
	{ "AutomaticCheckpointsEnabled", "automaticCheckpointsEnabled" },
	{ "Notes", "notes" },
	{ "CreationTime", "creationTime", AS_DATE },
	{ "Path", "folder" },
	{ "VMId", "id" },
	{ "Id", "id" },
	{ "Engine", "engine" },
	{ "EngineInUse", "engineInUse" },
	{ "EngineReason", "engineReason" },
	{ "ExitsPerSecond", "exitsPerSecond" },
	{ "WorkerPid", "workerPid" },
	{ "ExposeVirtualizationExtensions", "processor.exposeVirtualizationExtensions" },
	{ "HypervisorActive", "hypervisorActive" },
	{ 0 }
};
/* clang-format on */

/* What is unknown while nothing runs is zero, as Hyper-V has it. */
static void zero_if_null(json_t *o, const char *key, json_t *zero)
{
	if (json_is_null(json_object_get(o, key)))
		json_object_set(o, key, zero);
	json_decref(zero);
}

json_t *vm_value_new(const json_t *vm)
{
	json_t *o = hv_object_new("VirtualMachine", vm, vm_members);

	zero_if_null(o, "CPUUsage", json_integer(0));
	zero_if_null(o, "MemoryAssigned", json_integer(0));
	zero_if_null(o, "MemoryDemand", json_integer(0));
	zero_if_null(o, "MemoryStatus", json_string(""));
	zero_if_null(o, "HypervisorActive", json_false());
	json_object_set_new(o, "@text",
			    json_sprintf("VirtualMachine (Name = '%s') [Id = '%s']", hv_name(vm),
					 hv_id(vm)));
	return o;
}

static bool write_vm(struct call *c, json_t *vm)
{
	cmd_write(c, vm_value_new(vm));
	return true;
}

/* ---- Get-VM ------------------------------------------------------------------------------------ */

static bool get_vm(struct call *c)
{
	return hv_each(c, write_vm);
}

static const struct param get_vm_params[] = {
	{ "Name", T_STRINGS, .alias = "VMName", .pos = 1, .sets = 1, .by_value = true,
	  .by_name = "VMName|Name", .help = "Names, with wildcards." },
	{ "Id", T_GUID, .alias = "VMId", .pos = 1, .sets = 2, .required = 2, .by_name = "VMId|Id",
	  .help = "The id." },
	{ 0 }
};

/* ---- New-VM ---------------------------------------------------------------------------------------- */

static json_t *boot_disk_new(struct call *c, bool *made)
{
	const char *given = arg_text(c, "VHDPath"), *wanted = arg_text(c, "NewVHDPath");
	char *path = hv_absolute(given ? given : wanted ? wanted : "");
	json_t *disk = NULL;

	if (given || (wanted && vhd_create(c, path, arg_int(c, "NewVHDSizeBytes", 0), false, made)))
		disk = json_pack("{s:s}", "path", path);
	free(path);
	return disk;
}

static const char *version_of(struct call *c)
{
	if (arg_true(c, "Prerelease"))
		return "254.0";
	return arg_true(c, "Experimental") ? "255.0" : arg_text(c, "Version");
}

static json_t *settings_new(struct call *c)
{
	s64 generation = arg_int(c, "Generation", 1);
	json_t *s = json_pack("{s:i}", "generation", (int)generation);

	if (arg(c, "Name"))
		json_object_set(s, "name", arg(c, "Name"));
	if (arg(c, "MemoryStartupBytes"))
		json_object_set_new(s, "memory",
				    json_pack("{s:O}", "startupBytes",
					      arg(c, "MemoryStartupBytes")));
	if (version_of(c))
		json_object_set_new(s, "version", json_string(version_of(c)));
	if (generation == 1)
		json_object_set_new(s, "dvds",
				    json_pack("[{s:s, s:i, s:i}]", "controllerType", "IDE",
					      "controllerNumber", 1, "controllerLocation", 0));
	return s;
}

/* What belongs to networks, and to folders of its own, is not there yet. */
static bool refuse_unknown(struct call *c)
{
	json_t *name = arg(c, "SwitchName");

	if (name) {
		cmd_error(c,
			  &(struct fault){ ERR_OBJECT_NOT_FOUND, "ObjectNotFound",
					   "VirtualizationException", name },
			  "Hyper-V was unable to find a virtual switch with name \"%s\".",
			  json_string_value(name));
		return true;
	}
	if (arg(c, "Path")) {
		hv_not_available(c, "A folder of the virtual machine's own (-Path) is");
		return true;
	}
	return false;
}

static bool new_vm(struct call *c)
{
	const char *name = arg_text(c, "Name");
	struct ctl_err e = { 0 };
	json_t *settings, *disk, *vm = NULL;
	bool made = false;

	if (refuse_unknown(c) || !hv_connect(c))
		return c->sh->flow == FLOW_NONE;
	if (!cmd_should(c, name ? name : "New virtual machine"))
		return c->sh->flow == FLOW_NONE;
	disk = boot_disk_new(c, &made);
	if (!disk && (arg(c, "NewVHDPath") || arg(c, "VHDPath")))
		return c->sh->flow == FLOW_NONE;
	settings = settings_new(c);
	if (disk)
		json_object_set_new(settings, "disks", json_pack("[o]", disk));
	if (!client_create_vm(c->sh->client, settings, &vm, &e)) {
		cmd_write(c, vm_value_new(vm));
		json_decref(vm);
		return true;
	}
	if (made) {
		char *path = hv_absolute(arg_text(c, "NewVHDPath"));

		remove(path);
		free(path);
	}
	if (name && !e.target[0])
		ctl_error_target(&e, name);
	return hv_error(c, &e);
}

/* clang-format off */
static const struct param new_vm_params[] = {
	{ "Name", T_STRING, .alias = "VMName", .pos = 1, .help = "Its name; need not be unique." },
	{ "MemoryStartupBytes", T_INT, .pos = 2, .range = true, .min = MEM_MIN, .max = MEM_MAX, .help = "Its memory." },
	{ "Generation", T_INT, .pos = 3, .range = true, .min = 1, .max = 2, .net_type = "System.Int16",
	  .help = "1 (default) or 2." },
	{ "BootDevice", T_ENUM, .words = "Floppy|CD|IDE|LegacyNetworkAdapter|NetworkAdapter|VHD",
	  .net_enum = HV_TYPE("BootDevice"), .help = "Kept for compatibility; a kernel is set by Set-VMFirmware." },
	{ "NoVHD", T_SWITCH, .sets = 1, .help = "No disk; also the default." },
	{ "NewVHDPath", T_STRING, .sets = 2, .required = 2, .help = "Makes a raw disk image and gives it to the VM." },
	{ "NewVHDSizeBytes", T_INT, .sets = 2, .required = 2, .range = true, .min = 1 << 20, .max = (s64)64 << 40,
	  .net_type = "System.UInt64", .help = "How large it is." },
	{ "VHDPath", T_STRING, .sets = 4, .required = 4, .help = "A disk image that exists." },
	{ "SwitchName", T_STRING, .help = "The switch it is connected to. Switches are not available yet." },
	{ "Path", T_STRING, .help = "Not available yet." },
	{ "Version", T_STRING, .help = "The configuration version; Get-VMHostSupportedVersion lists them." },
	{ "Prerelease", T_SWITCH, .help = "Version 254.0." },
	{ "Experimental", T_SWITCH, .help = "Version 255.0." },
	PARAM_FORCE,
	{ 0 }
};

/* ---- Set-VM, Rename-VM -------------------------------------------------------------------------------- */

static const struct hv_setting set_vm_settings[] = {
	{ "ProcessorCount", "processor.count" },
	{ "DynamicMemory", "memory.dynamicMemoryEnabled" },
	{ "MemoryStartupBytes", "memory.startupBytes" },
	{ "MemoryMinimumBytes", "memory.minimumBytes" },
	{ "MemoryMaximumBytes", "memory.maximumBytes" },
	{ "AutomaticStartAction", "automaticStartAction" },
	{ "AutomaticStopAction", "automaticStopAction" },
	{ "AutomaticStartDelay", "automaticStartDelay" },
	{ "CheckpointType", "checkpointType" },
	{ "AutomaticCheckpointsEnabled", "automaticCheckpointsEnabled" },
	{ "Notes", "notes" },
	{ "NewVMName", "name" },
	{ "Engine", "engine" },
	{ 0 }
};

#define MEMORY(n, h) { n, T_INT, .range = true, .min = MEM_MIN, .max = MEM_MAX, .help = h }
#define WORD(n, w, t, h) { n, T_ENUM, .words = w, .net_enum = HV_TYPE(t), .help = h }

static const struct param set_vm_params[] = {
	PARAMS_VM,
	{ "ProcessorCount", T_INT, .range = true, .min = 1, .max = 64, .help = "Number of virtual processors." },
	{ "DynamicMemory", T_SWITCH, .help = "Memory follows the guest's need." },
	{ "StaticMemory", T_SWITCH, .help = "Memory stays as it is at start." },
	MEMORY("MemoryStartupBytes", "Memory at start."),
	MEMORY("MemoryMinimumBytes", "Dynamic memory stays above this."),
	MEMORY("MemoryMaximumBytes", "Dynamic memory stays below this."),
	WORD("AutomaticStartAction", "Nothing|StartIfRunning|Start", "StartAction", "When this machine has started."),
	WORD("AutomaticStopAction", "TurnOff|Save|ShutDown", "StopAction", "When this machine shuts down."),
	{ "AutomaticStartDelay", T_INT, .range = true, .min = 0, .max = 86400, .net_type = "System.Int32",
	  .help = "Seconds before an automatic start." },
	WORD("CheckpointType", "Disabled|Production|ProductionOnly|Standard", "CheckpointType",
	     "Kept; checkpoints are not available yet."),
	{ "AutomaticCheckpointsEnabled", T_BOOL, .help = "Kept; checkpoints are not available yet." },
	{ "Notes", T_STRING, .null_ok = true, .help = "Anything." },
	{ "NewVMName", T_STRING, .help = "A new name." },
	WORD("Engine", "Auto|Software|Kvm", "Engine",
	     "Not of Hyper-V. What executes the guest: KVM, the software engine, or the better one that can."),
	{ "SnapshotFileLocation", T_STRING, .help = "Not available yet." },
	PARAM_FORCE, PARAM_PASSTHRU,
	{ 0 }
};
/* clang-format on */

static bool set_one(struct call *c, json_t *vm)
{
	return hv_change(c, vm, set_vm_settings, vm_value_new);
}

static bool set_vm(struct call *c)
{
	if (arg(c, "SnapshotFileLocation"))
		return hv_not_available(c, "Checkpoints are");
	if (arg_true(c, "DynamicMemory") && arg_true(c, "StaticMemory"))
		return cmd_error(c,
				 &(struct fault){ ERR_INVALID_ARGUMENT, "InvalidParameter",
						  "VirtualizationException" },
				 "The parameters 'DynamicMemory' and 'StaticMemory' cannot be used "
				 "together.");
	if (arg_true(c, "StaticMemory"))
		json_object_set_new(c->bound, "DynamicMemory", json_false());
	return hv_each(c, set_one);
}

static const struct hv_setting rename_settings[] = { { "NewName", "name" }, { 0 } };

static bool rename_one(struct call *c, json_t *vm)
{
	return hv_change(c, vm, rename_settings, vm_value_new);
}

static bool rename_vm(struct call *c)
{
	return hv_each(c, rename_one);
}

static const struct param rename_params[] = { PARAMS_VM,
					      { "NewName", T_STRING, .pos = 2, .required = 0xff,
						.help = "The new name." },
					      PARAM_PASSTHRU,
					      { 0 } };

/* ---- States ---------------------------------------------------------------------------------------- */

static bool start_one(struct call *c, json_t *vm)
{
	return hv_do(c, vm, "start", NULL);
}

static bool start_vm(struct call *c)
{
	return hv_each(c, start_one);
}

static bool stop_one(struct call *c, json_t *vm)
{
	if (arg_true(c, "Save"))
		return hv_do(c, vm, "save", NULL);
	if (arg_true(c, "TurnOff"))
		return hv_do(c, vm, "turn-off", NULL);
	return hv_do(c, vm, "stop", json_pack("{s:b}", "force", arg_true(c, "Force")));
}

static bool stop_vm(struct call *c)
{
	return hv_each(c, stop_one);
}

static bool save_one(struct call *c, json_t *vm)
{
	return hv_do(c, vm, "save", NULL);
}

static bool save_vm(struct call *c)
{
	return hv_each(c, save_one);
}

static bool suspend_one(struct call *c, json_t *vm)
{
	return hv_do(c, vm, "pause", NULL);
}

static bool suspend_vm(struct call *c)
{
	return hv_each(c, suspend_one);
}

static bool resume_one(struct call *c, json_t *vm)
{
	return hv_do(c, vm, "resume", NULL);
}

static bool resume_vm(struct call *c)
{
	return hv_each(c, resume_one);
}

static bool restart_one(struct call *c, json_t *vm)
{
	return hv_do(c, vm, "reset", NULL);
}

static bool restart_vm(struct call *c)
{
	if (arg_true(c, "Wait") || arg(c, "For"))
		return hv_not_available(c, "Waiting for the guest (-Wait, -For) is");
	return hv_each(c, restart_one);
}

static bool remove_saved_one(struct call *c, json_t *vm)
{
	return hv_do(c, vm, "remove-saved-state", NULL);
}

static bool remove_saved_state(struct call *c)
{
	return hv_each(c, remove_saved_one);
}

static bool update_one(struct call *c, json_t *vm)
{
	return hv_do(c, vm, "update-version", NULL);
}

static bool update_version(struct call *c)
{
	return hv_each(c, update_one);
}

static bool remove_one(struct call *c, json_t *vm)
{
	struct ctl_err e = { 0 };

	if (!cmd_should(c, hv_name(vm)))
		return c->sh->flow == FLOW_NONE;
	if (client_remove_vm(c->sh->client, hv_id(vm), &e)) {
		if (!e.target[0])
			ctl_error_target(&e, hv_name(vm));
		return hv_error(c, &e);
	}
	if (arg_true(c, "Passthru"))
		cmd_write(c, vm_value_new(vm));
	return true;
}

static bool remove_vm(struct call *c)
{
	return hv_each(c, remove_one);
}

static const struct param state_params[] = { PARAMS_VM, PARAM_PASSTHRU, { 0 } };
static const struct param saved_state_params[] = { PARAMS_VMSEL, PARAM_PASSTHRU, { 0 } };
static const struct param force_params[] = { PARAMS_VM, PARAM_FORCE, PARAM_PASSTHRU, { 0 } };

/* clang-format off */
static const struct param stop_params[] = {
	PARAMS_VM,
	{ "Save", T_SWITCH, .help = "Saves the state, as Save-VM." },
	{ "TurnOff", T_SWITCH, .help = "Pulls the plug." },
	{ "Force", T_SWITCH, .help = "Turns it off when the guest is not off within 5 minutes." },
	PARAM_PASSTHRU, { 0 }
};

static const struct param restart_params[] = {
	PARAMS_VM, PARAM_FORCE,
	{ "Wait", T_SWITCH, .help = "Not available yet." },
	{ "For", T_ENUM, .words = "Heartbeat|IPAddress|MemoryOperations|Reboot", .net_enum = HV_TYPE("WaitVMTypes"),
	  .help = "Not available yet." },
	{ "Timeout", T_INT, .help = "For -Wait." },
	{ "Delay", T_INT, .help = "For -Wait." },
	PARAM_PASSTHRU, { 0 }
};

/* ---- Table --------------------------------------------------------------------------------------------- */

#define VM_SETS .sets = "Name|VMObject", .hyperv = true, .output = "VirtualMachine"

const struct cmdlet vm_cmdlets[] = {
	{ "Get-VM", HV_CLASS("GetVM"), "Gets virtual machines.", get_vm_params, "Name|Id", "VirtualMachine", get_vm,
	  .hyperv = true, .examples = "Get-VM\nGet-VM lab*\nGet-VM | Where-Object State -eq Running" },
	{ "New-VM", HV_CLASS("NewVM"), "Makes a virtual machine.", new_vm_params, "NoVHD|NewVHD|ExistingVHD",
	  "VirtualMachine", new_vm, .changes = true, .hyperv = true, .will = "will create a new virtual machine \"%s\".",
	  .examples = "New-VM -Name lab -MemoryStartupBytes 4GB -Generation 2\n"
		      "New-VM lab -VHDPath ./disk.img" },
	{ "Set-VM", HV_CLASS("SetVM"), "Changes a virtual machine's settings.", set_vm_params, .run = set_vm, VM_SETS,
	  .changes = true, .will = "will configure virtual machine \"%s\".",
	  .examples = "Set-VM lab -ProcessorCount 2 -StaticMemory\nSet-VM lab -Engine Software" },
	{ "Rename-VM", HV_CLASS("RenameVM"), "Renames a virtual machine.", rename_params, .run = rename_vm, VM_SETS,
	  .changes = true, .will = "will rename virtual machine \"%s\".", .examples = "Rename-VM lab -NewName lab2" },
	{ "Start-VM", HV_CLASS("StartVM"), "Starts a virtual machine, or goes on from its saved state.", state_params,
	  .run = start_vm, VM_SETS, .changes = true, .will = "will start the virtual machine \"%s\".",
	  .examples = "Start-VM lab\nGet-VM lab* | Start-VM" },
	{ "Stop-VM", HV_CLASS("StopVM"), "Shuts a virtual machine down.", stop_params, .run = stop_vm, VM_SETS,
	  .changes = true, .will = "will shut down the virtual machine \"%s\".",
	  .examples = "Stop-VM lab\nStop-VM lab -TurnOff", },
	{ "Save-VM", HV_CLASS("SaveVM"), "Saves a running virtual machine; Start-VM goes on with it.", state_params,
	  .run = save_vm, VM_SETS, .changes = true, .will = "will save the virtual machine \"%s\"." },
	{ "Suspend-VM", HV_CLASS("SuspendVM"), "Pauses a virtual machine.", state_params, .run = suspend_vm, VM_SETS,
	  .changes = true, .will = "will suspend the virtual machine \"%s\"." },
	{ "Resume-VM", HV_CLASS("ResumeVM"), "Lets a paused virtual machine go on.", state_params, .run = resume_vm,
	  VM_SETS, .changes = true, .will = "will resume the virtual machine \"%s\"." },
	{ "Restart-VM", HV_CLASS("RestartVM"), "Resets a virtual machine.", restart_params, .run = restart_vm, VM_SETS,
	  .changes = true, .will = "will restart the virtual machine \"%s\".",
	  .asks = "Are you sure you want to restart virtual machine \"%s\"?" },
	{ "Remove-VM", HV_CLASS("RemoveVM"), "Removes a virtual machine; its disks stay.", force_params,
	  .run = remove_vm, VM_SETS, .changes = true, .will = "will remove virtual machine \"%s\".",
	  .asks = "Are you sure you want to remove virtual machine \"%s\"?" },
	{ "Remove-VMSavedState", HV_CLASS("RemoveVMSavedState"), "Throws a saved state away.", saved_state_params,
	  .run = remove_saved_state, VM_SETS, .changes = true,
	  .will = "will remove the saved state of virtual machine \"%s\"." },
	{ "Update-VMVersion", HV_CLASS("UpdateVMVersion"), "Raises the configuration version.", force_params,
	  .run = update_version, VM_SETS, .changes = true, .will = "will update the version of virtual machine \"%s\".",
	  .asks = "Are you sure you want to update the configuration version of virtual machine \"%s\"? It cannot be "
		  "lowered again." },
	{ 0 }
};
/* clang-format on */
