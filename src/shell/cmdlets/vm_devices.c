// SPDX-License-Identifier: MIT
/* Processor, memory, firmware, serial ports, integration services of VMs. */
#include <stdlib.h>
#include <string.h>

#include "shell/cmdlets/hyperv.h"
#include "shell/text.h"

/* The part of an id that Hyper-V gives its devices. */
static json_t *device_id_new(const json_t *vm, const char *device)
{
	return json_sprintf("Microsoft:%s\\%s", hv_id(vm), device);
}

/* ---- Processor -------------------------------------------------------------------------------- */

#define PROCESSOR(name, path)                                                                      \
	{                                                                                          \
		name, "processor." path                                                            \
	}
#define CONSTANT(name, json)                                                                       \
	{                                                                                          \
		name, NULL, AS_IT_IS, json                                                         \
	}

/* clang-format off */
static const struct hv_member processor_members[] = {
	CONSTANT("ResourcePoolName", "\"Primordial\""),
	PROCESSOR("Count", "count"),
	PROCESSOR("CompatibilityForMigrationEnabled", "compatibilityForMigrationEnabled"),
	PROCESSOR("CompatibilityForOlderOperatingSystemsEnabled", "compatibilityForOlderOperatingSystemsEnabled"),
	PROCESSOR("HwThreadCountPerCore", "hwThreadCountPerCore"),
	PROCESSOR("ExposeVirtualizationExtensions", "exposeVirtualizationExtensions"),
	CONSTANT("EnablePerfmonPmu", "false"),
	CONSTANT("EnablePerfmonLbr", "false"),
	CONSTANT("EnablePerfmonPebs", "false"),
	CONSTANT("EnablePerfmonIpt", "false"),
	CONSTANT("EnableLegacyApicMode", "false"),
	CONSTANT("AllowACountMCount", "false"),
	PROCESSOR("Maximum", "maximum"),
	PROCESSOR("Reserve", "reserve"),
	PROCESSOR("RelativeWeight", "relativeWeight"),
	PROCESSOR("MaximumCountPerNumaNode", "maximumCountPerNumaNode"),
	PROCESSOR("MaximumCountPerNumaSocket", "maximumCountPerNumaSocket"),
	PROCESSOR("EnableHostResourceProtection", "enableHostResourceProtection"),
	CONSTANT("OperationalStatus", "[\"Ok\", \"HostResourceProtectionDisabled\"]"),
	CONSTANT("StatusDescription", "[\"OK\", \"Host resource protection is disabled.\"]"),
	CONSTANT("Name", "\"Processor\""),
	CONSTANT("Id", "null"),
	{ "VMId", "id" },
	{ "VMName", "name" },
	CONSTANT("VMSnapshotId", "\"00000000-0000-0000-0000-000000000000\""),
	CONSTANT("VMSnapshotName", "\"\""),
	CONSTANT("CimSession", "\"CimSession: .\""),
	CONSTANT("ComputerName", "null"),
	CONSTANT("IsDeleted", "false"),
	{ "HypervisorActive", "hypervisorActive" },
	{ 0 }
};
/* clang-format on */

static json_t *with_text(json_t *o, const char *text)
{
	json_object_set_new(o, "@text", json_string(text));
	return o;
}

json_t *processor_value_new(const json_t *vm)
{
	json_t *o = hv_object_new("VMProcessor", vm, processor_members);

	json_object_set_new(o, "Id", device_id_new(vm, "b637f346-6a0e-4dec-af52-bd70cb80a21d\\0"));
	if (json_is_null(json_object_get(o, "HypervisorActive")))
		json_object_set_new(o, "HypervisorActive", json_false());
	return with_text(o, HV_TYPE("VMProcessor"));
}

static bool write_processor(struct call *c, json_t *vm)
{
	cmd_write(c, processor_value_new(vm));
	return true;
}

static bool get_processor(struct call *c)
{
	return hv_each(c, write_processor);
}

static const struct hv_setting processor_settings[] = {
	{ "Count", "processor.count" },
	{ "ExposeVirtualizationExtensions", "processor.exposeVirtualizationExtensions" },
	{ "CompatibilityForMigrationEnabled", "processor.compatibilityForMigrationEnabled" },
	{ "CompatibilityForOlderOperatingSystemsEnabled",
	  "processor.compatibilityForOlderOperatingSystemsEnabled" },
	{ "HwThreadCountPerCore", "processor.hwThreadCountPerCore" },
	{ "Maximum", "processor.maximum" },
	{ "Reserve", "processor.reserve" },
	{ "RelativeWeight", "processor.relativeWeight" },
	{ "MaximumCountPerNumaNode", "processor.maximumCountPerNumaNode" },
	{ "MaximumCountPerNumaSocket", "processor.maximumCountPerNumaSocket" },
	{ "EnableHostResourceProtection", "processor.enableHostResourceProtection" },
	{ 0 }
};

static bool set_one_processor(struct call *c, json_t *vm)
{
	return hv_change(c, vm, processor_settings, processor_value_new);
}

static bool set_processor(struct call *c)
{
	if (arg(c, "Perfmon"))
		return hv_not_available(c, "A performance monitoring unit (-Perfmon) is");
	return hv_each(c, set_one_processor);
}

/* clang-format off */
#define NUMBER(n, lo, hi, h) { n, T_INT, .range = true, .min = lo, .max = hi, .help = h }
#define BOOL(n, h) { n, T_BOOL, .help = h }

static const struct param vmsel_params[] = { PARAMS_VMSEL, { 0 } };

static const struct param get_processor_params[] = {
	PARAMS_VMSEL,
	{ "VMSnapshot", T_ANY, .sets = 4, .required = 4, .help = "Checkpoints are not available yet." },
	{ 0 }
};

static const struct param set_processor_params[] = {
	PARAMS_VMSEL,
	{ "VMProcessor", T_OBJECTS, .words = "VMProcessor", .pos = 1, .sets = 4, .required = 4, .by_value = true,
	  .net_type = HV_TYPE("VMProcessor[]"), .help = "Processors, as Get-VMProcessor gives them." },
	NUMBER("Count", 1, 64, "Number of virtual processors."),
	BOOL("ExposeVirtualizationExtensions",
	     "The virtual machine sees VT-x and can run virtual machines itself. It must be Off."),
	BOOL("CompatibilityForMigrationEnabled", "Kept; without effect."),
	BOOL("CompatibilityForOlderOperatingSystemsEnabled", "Kept; without effect."),
	NUMBER("HwThreadCountPerCore", 0, 2, "Kept; without effect."),
	NUMBER("Maximum", 0, 100, "Kept; not enforced. Percent."),
	NUMBER("Reserve", 0, 100, "Kept; not enforced. Percent."),
	NUMBER("RelativeWeight", 1, 10000, "Kept; not enforced."),
	NUMBER("MaximumCountPerNumaNode", 1, 64, "Kept; without effect."),
	NUMBER("MaximumCountPerNumaSocket", 1, 64, "Kept; without effect."),
	BOOL("EnableHostResourceProtection", "Kept; without effect."),
	{ "Perfmon", T_STRINGS, .help = "Not available yet." },
	PARAM_PASSTHRU, { 0 }
};

/* ---- Memory ---------------------------------------------------------------------------------------- */

static const struct hv_member memory_members[] = {
	CONSTANT("ResourcePoolName", "\"Primordial\""),
	{ "Buffer", "memory.buffer" },
	{ "DynamicMemoryEnabled", "memory.dynamicMemoryEnabled" },
	{ "Maximum", "memory.maximumBytes" },
	CONSTANT("MaximumPerNumaNode", "null"),
	{ "Minimum", "memory.minimumBytes" },
	{ "Priority", "memory.priority" },
	{ "Startup", "memory.startupBytes" },
	CONSTANT("Name", "\"Memory\""),
	CONSTANT("Id", "null"),
	{ "VMId", "id" },
	{ "VMName", "name" },
	CONSTANT("VMSnapshotId", "\"00000000-0000-0000-0000-000000000000\""),
	CONSTANT("VMSnapshotName", "\"\""),
	CONSTANT("IsDeleted", "false"),
	{ 0 }
};

static const struct hv_setting memory_settings[] = {
	{ "DynamicMemoryEnabled", "memory.dynamicMemoryEnabled" },
	{ "StartupBytes", "memory.startupBytes" },
	{ "MinimumBytes", "memory.minimumBytes" },
	{ "MaximumBytes", "memory.maximumBytes" },
	{ "Buffer", "memory.buffer" },
	{ "Priority", "memory.priority" },
	{ 0 }
};
/* clang-format on */

json_t *memory_value_new(const json_t *vm)
{
	json_t *o = hv_object_new("VMMemory", vm, memory_members);

	json_object_set_new(o, "Id", device_id_new(vm, "4764334d-e001-4176-82ee-5594ec9b530e"));
	return with_text(o, HV_TYPE("VMMemory"));
}

static bool write_memory(struct call *c, json_t *vm)
{
	cmd_write(c, memory_value_new(vm));
	return true;
}

static bool get_memory(struct call *c)
{
	return hv_each(c, write_memory);
}

static bool set_one_memory(struct call *c, json_t *vm)
{
	return hv_change(c, vm, memory_settings, memory_value_new);
}

static bool set_memory(struct call *c)
{
	if (arg(c, "MaximumAmountPerNumaNodeBytes") || arg(c, "ResourcePoolName"))
		return hv_not_available(c, "NUMA nodes and resource pools are");
	return hv_each(c, set_one_memory);
}

/* clang-format off */
static const struct param set_memory_params[] = {
	PARAMS_VMSEL,
	{ "VMMemory", T_OBJECTS, .words = "VMMemory", .pos = 1, .sets = 4, .required = 4, .by_value = true,
	  .net_type = HV_TYPE("VMMemory[]"), .help = "Memory, as Get-VMMemory gives it." },
	BOOL("DynamicMemoryEnabled", "Memory follows the guest's need."),
	NUMBER("StartupBytes", MEM_MIN, MEM_MAX, "Memory at start; with static memory also while it runs."),
	NUMBER("MinimumBytes", MEM_MIN, MEM_MAX, "Dynamic memory stays above this."),
	NUMBER("MaximumBytes", MEM_MIN, MEM_MAX, "Dynamic memory stays below this."),
	NUMBER("Buffer", 5, 2000, "Percent of the guest's need that dynamic memory adds."),
	NUMBER("Priority", 0, 100, "Whose need is met first."),
	{ "MaximumAmountPerNumaNodeBytes", T_INT, .help = "Not available yet." },
	{ "ResourcePoolName", T_STRING, .help = "Not available yet." },
	PARAM_PASSTHRU, { 0 }
};

/* ---- Firmware ------------------------------------------------------------------------------------------ */

static const struct hv_member firmware_members[] = {
	{ "VMName", "name" },
	{ "SecureBoot", "firmware.secureBoot" },
	{ "KernelPath", "firmware.kernelPath" },
	{ "InitialRamdiskPath", "firmware.initialRamdiskPath" },
	{ "KernelCommandLine", "firmware.kernelCommandLine" },
	{ "VMId", "id" },
	CONSTANT("IsDeleted", "false"),
	{ 0 }
};

static const struct hv_setting firmware_settings[] = {
	{ "EnableSecureBoot", "firmware.secureBoot" },
	{ "KernelPath", "firmware.kernelPath", true },
	{ "InitialRamdiskPath", "firmware.initialRamdiskPath", true },
	{ "KernelCommandLine", "firmware.kernelCommandLine" },
	{ 0 }
};
/* clang-format on */

json_t *firmware_value_new(const json_t *vm)
{
	return with_text(hv_object_new("VMFirmware", vm, firmware_members), HV_TYPE("VMFirmware"));
}

static bool write_firmware(struct call *c, json_t *vm)
{
	cmd_write(c, firmware_value_new(vm));
	return true;
}

static bool get_firmware(struct call *c)
{
	return hv_each(c, write_firmware);
}

static bool set_one_firmware(struct call *c, json_t *vm)
{
	json_t *target = json_object_get(vm, "name");

	if (arg(c, "EnableSecureBoot") && json_integer_value(hv_get(vm, "generation")) == 1)
		return cmd_error(c,
				 &(struct fault){ ERR_INVALID_OPERATION, "InvalidState",
						  "VirtualizationException", target },
				 "Secure Boot is of generation 2 only, and the virtual machine "
				 "'%s' is of generation 1.",
				 hv_name(vm));
	if (!arg(c, "KernelCommandLine") || !json_is_null(arg(c, "KernelCommandLine")))
		return hv_change(c, vm, firmware_settings, firmware_value_new);
	json_object_set_new(c->bound, "KernelCommandLine", json_string(""));
	return hv_change(c, vm, firmware_settings, firmware_value_new);
}

static bool set_firmware(struct call *c)
{
	if (arg(c, "FirstBootDevice") || arg(c, "BootOrder"))
		return hv_not_available(
			c, "Booting from disks by firmware (-FirstBootDevice, -BootOrder) is");
	return hv_each(c, set_one_firmware);
}

/* clang-format off */
static const struct param set_firmware_params[] = {
	PARAMS_VMSEL,
	{ "VMFirmware", T_OBJECTS, .words = "VMFirmware", .pos = 1, .sets = 4, .required = 4, .by_value = true,
	  .net_type = HV_TYPE("VMFirmware[]"), .help = "Firmware, as Get-VMFirmware gives it." },
	{ "EnableSecureBoot", T_ENUM, .words = "On|Off", .net_enum = HV_TYPE("OnOffState"),
	  .help = "Only Off is available." },
	{ "FirstBootDevice", T_ANY, .help = "Not available yet." },
	{ "BootOrder", T_ANY, .help = "Not available yet." },
	{ "KernelPath", T_STRING, .null_ok = true, .help = "Not of Hyper-V. The kernel to boot: bzImage, PVH or multiboot; "
							   "$null for none." },
	{ "InitialRamdiskPath", T_STRING, .null_ok = true, .help = "Not of Hyper-V. Its initial RAM disk." },
	{ "KernelCommandLine", T_STRING, .null_ok = true, .help = "Not of Hyper-V. Its command line." },
	PARAM_PASSTHRU, { 0 }
};
/* clang-format on */

/* ---- Serial ports --------------------------------------------------------------------------------------- */

static json_t *port_value_new(const json_t *vm, unsigned number)
{
	char path[16];
	json_t *pty, *o;

	snprintf(path, sizeof(path), "com%u.path", number);
	o = json_pack("{s:s, s:s, s:o, s:O, s:s, s:b}", TYPE_KEY, "VMComPort", "VMName",
		      hv_name(vm), "Name", json_sprintf("COM %u", number), "Path", hv_get(vm, path),
		      "VMId", hv_id(vm), "IsDeleted", 0);
	snprintf(path, sizeof(path), "com%u.pty", number);
	pty = hv_get(vm, path);
	json_object_set(o, "PseudoTerminal", pty);
	return with_text(o, HV_TYPE("VMComPort"));
}

static bool write_ports(struct call *c, json_t *vm)
{
	s64 number = arg_int(c, "Number", 0);

	for (unsigned i = 1; i <= 2; i++)
		if (!number || number == i)
			cmd_write(c, port_value_new(vm, i));
	return true;
}

static bool get_port(struct call *c)
{
	return hv_each(c, write_ports);
}

static bool set_one_port(struct call *c, json_t *vm)
{
	const char *given = arg_text(c, "Path");
	bool as_given = !given || !given[0] || given[0] == '\\' || text_equal(given, "pty");
	char *path = as_given ? strdup(given ? given : "") : hv_absolute(given), key[16];
	unsigned number = (unsigned)arg_int(c, "Number", 1);
	json_t *res = NULL;
	bool ok = true;

	if (cmd_should(c, hv_name(vm))) {
		snprintf(key, sizeof(key), "com%u", number);
		ok = hv_set(c, vm, json_pack("{s:{s:s}}", key, "path", path), &res);
		if (ok && res && arg_true(c, "Passthru"))
			cmd_write(c, port_value_new(res, number));
		json_decref(res);
	}
	free(path);
	return ok && c->sh->flow == FLOW_NONE;
}

static bool set_port(struct call *c)
{
	return hv_each(c, set_one_port);
}

/* clang-format off */
static const struct param get_port_params[] = {
	PARAMS_VMSEL, { "Number", T_INT, .pos = 2, .range = true, .min = 1, .max = 2, .net_type = "System.Int32",
			.help = "1 or 2." }, { 0 }
};

static const struct param set_port_params[] = {
	PARAMS_VMSEL,
	{ "Number", T_INT, .pos = 2, .required = 0xff, .range = true, .min = 1, .max = 2, .net_type = "System.Int32",
	  .help = "1 or 2." },
	{ "Path", T_STRING, .pos = 3, .null_ok = true,
	  .help = "Where the port's output goes beside the console: a file, pty for a pseudo-terminal, $null for nothing." },
	PARAM_PASSTHRU, { 0 }
};
/* clang-format on */

/* ---- Integration services --------------------------------------------------------------------------------- */

static bool write_services(struct call *c, json_t *vm)
{
	json_t *services = hv_get(vm, "integrationServices"), *s, *names = arg(c, "Name"), *n;
	bool running = !strcmp(json_string_value(hv_get(vm, "state")) ?: "", "Running");
	size_t i, k;

	json_array_foreach(services, i, s)
	{
		const char *name = json_string_value(json_object_get(s, "name"));
		bool enabled = json_is_true(json_object_get(s, "enabled")), wanted = !names;

		json_array_foreach(names, k, n) wanted |=
			name && text_like(name, json_string_value(n), false);
		if (!wanted || !name)
			continue;
		cmd_write(c,
			  with_text(json_pack("{s:s, s:s, s:s, s:b, s:s, s:s, s:s}", TYPE_KEY,
					      "VMIntegrationComponent", "VMName", hv_name(vm),
					      "Name", name, "Enabled", enabled,
					      "PrimaryStatusDescription",
					      running && enabled && !strcmp(name, "Shutdown") ? "OK"
											      : "",
					      "SecondaryStatusDescription", "", "VMId", hv_id(vm)),
				    HV_TYPE("VMIntegrationComponent")));
	}
	return true;
}

static bool get_services(struct call *c)
{
	return hv_each(c, write_services);
}

/* clang-format off */
static const struct param services_params[] = {
	PARAMS_VMSEL, { "Name", T_STRINGS, .pos = 2, .help = "Services, with wildcards." }, { 0 }
};

#define SETS .sets = "Name|VMObject|Object", .hyperv = true

const struct cmdlet vm_device_cmdlets[] = {
	{ "Get-VMProcessor", HV_CLASS("GetVMProcessor"), "Gets virtual machines' processors.", get_processor_params,
	  .output = "VMProcessor", .run = get_processor, SETS,
	  .examples = "Get-VMProcessor lab\n(Get-VMProcessor lab).ExposeVirtualizationExtensions" },
	{ "Set-VMProcessor", HV_CLASS("SetVMProcessor"), "Changes virtual machines' processors.", set_processor_params,
	  .output = "VMProcessor", .run = set_processor, SETS, .changes = true,
	  .will = "will configure the processor settings of the virtual machine \"%s\".",
	  .examples = "Set-VMProcessor -VMName lab -ExposeVirtualizationExtensions $true\nSet-VMProcessor lab -Count 2" },
	{ "Get-VMMemory", HV_CLASS("GetVMMemory"), "Gets virtual machines' memory.", vmsel_params, .output = "VMMemory",
	  .run = get_memory, .sets = "Name|VMObject", .hyperv = true },
	{ "Set-VMMemory", HV_CLASS("SetVMMemory"), "Changes virtual machines' memory.", set_memory_params,
	  .output = "VMMemory", .run = set_memory, SETS, .changes = true,
	  .will = "will configure memory for the virtual machine \"%s\".",
	  .examples = "Set-VMMemory lab -StartupBytes 4GB\n"
		      "Set-VMMemory lab -DynamicMemoryEnabled $true -MinimumBytes 512MB -MaximumBytes 8GB" },
	{ "Get-VMFirmware", HV_CLASS("GetVMFirmware"), "Gets what virtual machines boot.", vmsel_params,
	  .output = "VMFirmware", .run = get_firmware, .sets = "Name|VMObject", .hyperv = true },
	{ "Set-VMFirmware", HV_CLASS("SetVMFirmware"), "Changes what virtual machines boot.", set_firmware_params,
	  .output = "VMFirmware", .run = set_firmware, SETS, .changes = true,
	  .will = "will configure the firmware of virtual machine \"%s\".",
	  .examples = "Set-VMFirmware lab -KernelPath ./vmlinuz -InitialRamdiskPath ./initrd "
		      "-KernelCommandLine 'console=ttyS0'",
	  .shell_note = "-KernelPath, -InitialRamdiskPath and -KernelCommandLine are not of Hyper-V." },
	{ "Get-VMComPort", HV_CLASS("GetVMComPort"), "Gets virtual machines' serial ports.", get_port_params,
	  .output = "VMComPort", .run = get_port, .sets = "Name|VMObject", .hyperv = true },
	{ "Set-VMComPort", HV_CLASS("SetVMComPort"), "Says where a serial port's output goes.", set_port_params,
	  .output = "VMComPort", .run = set_port, .sets = "Name|VMObject", .hyperv = true, .changes = true,
	  .will = "will configure the COM port of virtual machine \"%s\".",
	  .shell_note = "`nestor console` shows the first port in any case." },
	{ "Get-VMIntegrationService", HV_CLASS("GetVMIntegrationService"), "Gets virtual machines' integration services.",
	  services_params, .output = "VMIntegrationComponent", .run = get_services, .sets = "Name|VMObject",
	  .hyperv = true },
	{ 0 }
};
/* clang-format on */
