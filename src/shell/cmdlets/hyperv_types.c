// SPDX-License-Identifier: MIT
/* How Hyper-V's objects look: the reference's columns, ours at the end. */
#include "shell/cmdlets/hyperv.h"
#include "shell/types.h"

/* clang-format off */
const struct type_row hyperv_types[] = {
	{ "VirtualMachine", HV_TYPE("VirtualMachine"), "@text",
	  .table = {
		{ "Name" }, { "State" }, { "CPUUsage", "CPUUsage(%)" },
		{ "MemoryAssigned", "MemoryAssigned(M)", .unit = MIB(1) },
		{ "Uptime" }, { "Status" }, { "Version" },
		{ "ExposeVirtualizationExtensions", "Exposed" }, { "HypervisorActive", "Active" },
	  } },
	{ "VMProcessor", HV_TYPE("VMProcessor"), "@text",
	  .table = {
		{ "VMName" }, { "Count" }, { "CompatibilityForMigrationEnabled" },
		{ "CompatibilityForOlderOperatingSystemsEnabled" },
		{ "ExposeVirtualizationExtensions", "Exposed" }, { "HypervisorActive", "Active" },
	  } },
	{ "VMMemory", HV_TYPE("VMMemory"), "@text",
	  .table = {
		{ "VMName" }, { "DynamicMemoryEnabled" }, { "Minimum", "Minimum(M)", .unit = MIB(1) },
		{ "Startup", "Startup(M)", .unit = MIB(1) }, { "Maximum", "Maximum(M)", .unit = MIB(1) },
	  } },
	{ "VMHardDiskDrive", HV_TYPE("HardDiskDrive"), "@text",
	  .table = {
		{ "VMName" }, { "ControllerType" }, { "ControllerNumber" }, { "ControllerLocation" },
		{ "DiskNumber" }, { "Path" },
	  } },
	{ "VMDvdDrive", HV_TYPE("DvdDrive"), "@text",
	  .table = {
		{ "VMName" }, { "ControllerType" }, { "ControllerNumber" }, { "ControllerLocation" },
		{ "DvdMediaType" }, { "Path" },
	  } },
	{ "VMFirmware", HV_TYPE("VMFirmware"), "@text",
	  .table = {
		{ "VMName" }, { "SecureBoot" }, { "KernelPath" }, { "InitialRamdiskPath" }, { "KernelCommandLine" },
	  } },
	{ "VMComPort", HV_TYPE("VMComPort"), "@text", .table = { { "VMName" }, { "Name" }, { "Path" } } },
	{ "VMIntegrationComponent", HV_TYPE("VMIntegrationComponent"), "@text",
	  .table = {
		{ "VMName" }, { "Name" }, { "Enabled" }, { "PrimaryStatusDescription" },
		{ "SecondaryStatusDescription" },
	  } },
	{ "VMHost", HV_TYPE("VMHost"), "Name",
	  .table = {
		{ "Name" }, { "LogicalProcessorCount" },
		{ "MemoryCapacity", "MemoryCapacity(M)", .unit = MIB(1) },
		{ "VirtualMachineMigrationEnabled" },
	  } },
	{ "VMHostSupportedVersion", HV_TYPE("VMHostSupportedVersion"), "Version",
	  .table = { { "Name" }, { "Version" }, { "IsDefault" } } },
	{ "VMMeteringReport", HV_TYPE("VMMeteringReport"), "VMName",
	  .table = {
		{ "VMName" }, { "AvgCPU", "AvgCPU(MHz)" }, { "AvgRAM", "AvgRAM(M)" },
		{ "MaxRAM", "MaxRAM(M)" }, { "MinRAM", "MinRAM(M)" }, { "TotalDisk", "TotalDisk(M)" },
		{ "NetworkInbound", "NetworkInbound(M)" }, { "NetworkOutbound", "NetworkOutbound(M)" },
	  } },
	{ "VirtualHardDisk", "Microsoft.Vhd.PowerShell.VirtualHardDisk", "Path",
	  .list = "ComputerName|Path|VhdFormat|VhdType|FileSize|Size|MinimumSize|LogicalSectorSize|"
		  "PhysicalSectorSize|BlockSize|ParentPath|DiskIdentifier|FragmentationPercentage|Alignment|"
		  "Attached|DiskNumber|IsPMEMCompatible|AddressAbstractionType|Number" },
	{ 0 }
};
/* clang-format on */
