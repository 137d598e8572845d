// SPDX-License-Identifier: MIT
/*
 * The API's tables. To add a setting: a row here; where it has an effect, its
 * reading in worker_config.c; where it has rules beyond its range, rules.c.
 */
#include "control/api.h"

/* ---- Words ---- */

#define WORDS(name, ...) static const char *const name[] = { __VA_ARGS__, NULL }
WORDS(words_engine, "Auto", "Software", "Kvm");
WORDS(words_start_action, "Nothing", "StartIfRunning", "Start");
WORDS(words_stop_action, "TurnOff", "Save", "ShutDown");
WORDS(words_checkpoint, "Disabled", "Production", "ProductionOnly", "Standard");
WORDS(words_controller, "IDE", "SCSI");
WORDS(words_on_off, "On", "Off");
WORDS(words_state, "Off", "Running", "Paused", "Saved", "Starting", "Stopping", "Saving", "Pausing",
      "Resuming", "Reset", "OffCritical");

#define OBJECT(var, title, rows, text)                                                             \
	const struct api_object var = {                                                            \
		.name = title, .doc = text, .fields = rows, .nr_fields = ARRAY_SIZE(rows)          \
	}

/* name, when, default, text; what more there is follows as initializers */
#define BOOL(n, w, d, t, ...)	{ .name = n, .type = API_BOOL, .when = w, .def = d, .doc = t, ##__VA_ARGS__ }
#define INT(n, w, d, lo, hi, t, ...)                                                               \
	{ .name = n, .type = API_INT, .when = w, .def = d, .min = lo, .max = hi, .doc = t, ##__VA_ARGS__ }
#define STRING(n, w, d, lo, hi, t)                                                                 \
	{ .name = n, .type = API_STRING, .when = w, .def = d, .min = lo, .max = hi, .doc = t }
#define TEXT(n, w, d, hi, t)                                                                       \
	{ .name = n, .type = API_TEXT, .when = w, .def = d, .max = hi, .doc = t }
#define PATH(n, w, d, t) { .name = n, .type = API_PATH, .when = w, .def = d, .max = 4095, .doc = t }
#define WORD(n, w, d, set, t)                                                                      \
	{ .name = n, .type = API_WORD, .when = w, .def = d, .words = set, .doc = t }
#define GROUP(n, w, o, t)  { .name = n, .type = API_OBJECT, .when = w, .def = "{}", .object = &(o), .doc = t }
#define ARRAY(n, w, d, o, t) { .name = n, .type = API_ARRAY, .when = w, .def = d, .object = &(o), .doc = t }

#define BYTES .unit = "bytes"
#define MEM_MIN ((s64)32 << 20)
#define MEM_MAX ((s64)12 << 40)
#define HUGE_INT INT64_MAX

/* ---- Processor ---- */

static const struct api_field processor_fields[] = {
	INT("count", API_WHILE_OFF, "1", 1, 64, "Number of virtual processors."),
	BOOL("exposeVirtualizationExtensions", API_WHILE_OFF, "false",
	     "The VM sees VT-x with EPT and can run VMs itself. Wants configuration version 8.0 or "
	     "later, and an engine that can do it."),
	INT("maximum", API_ANY_TIME, "100", 0, 100, "Kept; not enforced.", .unit = "percent"),
	INT("reserve", API_ANY_TIME, "0", 0, 100, "Kept; not enforced.", .unit = "percent"),
	INT("relativeWeight", API_ANY_TIME, "100", 1, 10000, "Kept; not enforced."),
	BOOL("compatibilityForMigrationEnabled", API_WHILE_OFF, "false", "Kept; without effect."),
	BOOL("compatibilityForOlderOperatingSystemsEnabled", API_WHILE_OFF, "false",
	     "Kept; without effect."),
	INT("hwThreadCountPerCore", API_WHILE_OFF, "1", 0, 2, "Kept; without effect."),
	INT("maximumCountPerNumaNode", API_WHILE_OFF, "64", 1, 64, "Kept; without effect."),
	INT("maximumCountPerNumaSocket", API_WHILE_OFF, "1", 1, 64, "Kept; without effect."),
	BOOL("enableHostResourceProtection", API_WHILE_OFF, "false", "Kept; without effect."),
};
OBJECT(api_processor, "Processor", processor_fields, "The VM's processors.");

/* ---- Memory ---- */

static const struct api_field memory_fields[] = {
	BOOL("dynamicMemoryEnabled", API_WHILE_OFF, "false",
	     "The assigned amount follows the guest's need between minimumBytes and maximumBytes."),
	INT("startupBytes", API_WHILE_OFF_OR_RULED, "536870912", MEM_MIN, MEM_MAX,
	    "Memory at start; all of it when it is static. A change while a VM with static memory "
	    "runs resizes it, unless a hypervisor is active inside.", .multiple = 2 << 20, BYTES),
	INT("minimumBytes", API_WHILE_OFF_OR_RULED, "536870912", MEM_MIN, MEM_MAX,
	    "Dynamic memory stays above this. While running it can only be lowered.",
	    .multiple = 2 << 20, BYTES),
	INT("maximumBytes", API_WHILE_OFF_OR_RULED, "1099511627776", MEM_MIN, MEM_MAX,
	    "Dynamic memory stays below this. While running it can only be raised.",
	    .multiple = 2 << 20, BYTES),
	INT("buffer", API_ANY_TIME, "20", 5, 2000, "What dynamic memory adds to the guest's need.",
	    .unit = "percent"),
	INT("priority", API_ANY_TIME, "50", 0, 100, "Whose need is met first when memory is short."),
};
OBJECT(api_memory, "Memory", memory_fields, "The VM's memory: whole, even numbers of MiB.");

/* ---- Firmware: what the VM boots ---- */

static const struct api_field firmware_fields[] = {
	PATH("kernelPath", API_WHILE_OFF, "\"\"",
	     "Not of Hyper-V. A Linux bzImage, a PVH or multiboot ELF file to boot."),
	PATH("initialRamdiskPath", API_WHILE_OFF, "\"\"", "Not of Hyper-V. Its initial RAM disk."),
	STRING("kernelCommandLine", API_WHILE_OFF, "\"\"", 0, 2048,
	       "Not of Hyper-V. Its command line."),
	WORD("secureBoot", API_WHILE_OFF, "\"Off\"", words_on_off, "Only Off is available."),
};
OBJECT(api_firmware, "Firmware", firmware_fields, "What the VM boots.");

/* ---- Ports and drives ---- */

static const struct api_field com_port_fields[] = {
	STRING("path", API_WHILE_OFF, "\"\"", 0, 4095,
	       "Beside the console, where the port's output goes: an absolute path for a file, `pty` for a "
	       "pseudo-terminal, empty for nothing. Named pipes of Windows are not available."),
	STRING("pty", API_READ_ONLY, NULL, 0, 255, "The pseudo-terminal's name while running."),
};
OBJECT(api_com_port, "ComPort", com_port_fields, "A serial port. Each has a console with scroll-back.");

#define DRIVE_FIELDS                                                                               \
	WORD("controllerType", API_AT_CREATION, NULL, words_controller,                            \
	     "SCSI, or IDE for a VM of generation 1, where it is the default."),                   \
	INT("controllerNumber", API_AT_CREATION, NULL, 0, 3, "The first with room, when missing."),\
	INT("controllerLocation", API_AT_CREATION, NULL, 0, 63, "The first free, when missing.")

static const struct api_field disk_fields[] = {
	DRIVE_FIELDS,
	PATH("path", API_WHILE_OFF, "\"\"", "A raw disk image."),
};
OBJECT(api_disk, "HardDiskDrive", disk_fields,
       "A disk (virtio-blk). The guest's order is that of type, number and location.");

static const struct api_field dvd_fields[] = {
	DRIVE_FIELDS,
	PATH("path", API_WHILE_OFF, "\"\"", "An ISO image, given to the guest as a read-only disk; "
	     "empty: no medium."),
};
OBJECT(api_dvd, "DvdDrive", dvd_fields, "A drive for read-only images.");

static const struct api_field service_fields[] = {
	STRING("name", API_AT_CREATION, NULL, 1, 64, "Its name."),
	BOOL("enabled", API_ANY_TIME, "true", "Kept; Shutdown is the ACPI power button."),
};
OBJECT(api_integration_service, "IntegrationService", service_fields, "An integration service.");

#define SERVICES                                                                                   \
	"[{\"name\":\"Guest Service Interface\",\"enabled\":false},"                               \
	"{\"name\":\"Heartbeat\",\"enabled\":true},"                                               \
	"{\"name\":\"Key-Value Pair Exchange\",\"enabled\":true},"                                 \
	"{\"name\":\"Shutdown\",\"enabled\":true},"                                                \
	"{\"name\":\"Time Synchronization\",\"enabled\":true},"                                    \
	"{\"name\":\"VSS\",\"enabled\":true}]"

/* ---- VM ---- */

static const struct api_field vm_fields[] = {
	STRING("id", API_AT_CREATION, NULL, 36, 36,
	       "A GUID. A client that gives its own can repeat a request safely."),
	STRING("name", API_ANY_TIME, "\"New virtual machine\"", 1, 400,
	       "At most 100 characters; need not be unique."),
	TEXT("notes", API_ANY_TIME, "\"\"", 65536, "Anything."),
	STRING("version", API_AT_CREATION, NULL, 3, 5,
	       "Configuration version; `update-version` raises it."),
	INT("generation", API_AT_CREATION, "1", 1, 2, "1 or 2; it decides where drives go."),
	WORD("engine", API_WHILE_OFF, "\"Auto\"", words_engine,
	     "Not of Hyper-V. What executes the guest: KVM, the software engine, or the better one "
	     "that can do what the VM asks for."),
	GROUP("processor", API_ANY_TIME, api_processor, "Processors."),
	GROUP("memory", API_ANY_TIME, api_memory, "Memory."),
	GROUP("firmware", API_ANY_TIME, api_firmware, "What it boots."),
	GROUP("com1", API_ANY_TIME, api_com_port, "First serial port; `nestor console` shows it."),
	GROUP("com2", API_ANY_TIME, api_com_port, "Second serial port."),
	ARRAY("disks", API_WHILE_OFF, "[]", api_disk, "Disks."),
	ARRAY("dvds", API_WHILE_OFF, "[]", api_dvd, "Drives for read-only images."),
	ARRAY("integrationServices", API_ANY_TIME, SERVICES, api_integration_service,
	      "Integration services."),
	WORD("automaticStartAction", API_ANY_TIME, "\"StartIfRunning\"", words_start_action,
	     "When the machine has started."),
	INT("automaticStartDelay", API_ANY_TIME, "0", 0, 86400, "Before an automatic start.",
	    .unit = "seconds"),
	WORD("automaticStopAction", API_ANY_TIME, "\"Save\"", words_stop_action,
	     "When the machine shuts down."),
	WORD("checkpointType", API_ANY_TIME, "\"Production\"", words_checkpoint,
	     "Kept; checkpoints are not available yet."),
	BOOL("automaticCheckpointsEnabled", API_ANY_TIME, "false",
	     "Kept; checkpoints are not available yet."),
	INT("revision", API_READ_ONLY, "0", 0, HUGE_INT,
	    "Counts changes of the configuration. A change that carries it is refused when it is "
	    "not the current one."),
	STRING("creationTime", API_READ_ONLY, "\"\"", 0, 40, "ISO 8601, UTC."),
	WORD("state", API_READ_ONLY, NULL, words_state,
	     "OffCritical: the configuration is damaged, `status` says how."),
	STRING("status", API_READ_ONLY, NULL, 0, 1024, "`Operating normally`, or what is wrong."),
	INT("uptime", API_READ_ONLY, NULL, 0, HUGE_INT, "Time since it was started.", .unit = "ms"),
	INT("cpuUsage", API_READ_ONLY, NULL, 0, 100,
	    "Of all the host's processors, over the last second.", .unit = "percent"),
	INT("memoryAssigned", API_READ_ONLY, NULL, 0, HUGE_INT, "What the guest has now.", BYTES),
	INT("memoryDemand", API_READ_ONLY, NULL, 0, HUGE_INT,
	    "What the guest needs, as far as it is known.", BYTES),
	STRING("memoryStatus", API_READ_ONLY, NULL, 0, 20,
	       "Of dynamic memory: OK, Low (less than need and buffer) or Warning (less than need)."),
	INT("progress", API_READ_ONLY, NULL, 0, 100, "Of what is being done.", .unit = "percent"),
	WORD("engineInUse", API_READ_ONLY, NULL, words_engine, "Not of Hyper-V. While running."),
	STRING("engineReason", API_READ_ONLY, NULL, 0, 400, "Not of Hyper-V. Why that engine."),
	INT("exitsPerSecond", API_READ_ONLY, NULL, 0, HUGE_INT,
	    "Not of Hyper-V. How often the guest needed its host."),
	BOOL("hypervisorActive", API_READ_ONLY, NULL,
	     "Not of Hyper-V. A hypervisor runs inside: VMXON was done and not left."),
	INT("workerPid", API_READ_ONLY, NULL, 0, HUGE_INT, "Not of Hyper-V. The VM's process."),
	STRING("folder", API_READ_ONLY, NULL, 0, 4095, "Where configuration, log and saved state are."),
};
OBJECT(api_vm, "VirtualMachine", vm_fields, "A virtual machine.");

/* ---- Host, events, versions ---- */

static const struct api_field host_fields[] = {
	STRING("name", API_READ_ONLY, NULL, 0, 255, "The machine's name."),
	STRING("nestorVersion", API_READ_ONLY, NULL, 0, 40, "Not of Hyper-V."),
	STRING("processorName", API_READ_ONLY, NULL, 0, 64, "Not of Hyper-V."),
	INT("logicalProcessorCount", API_READ_ONLY, NULL, 1, HUGE_INT, "Processors of the host."),
	INT("memoryCapacity", API_READ_ONLY, NULL, 0, HUGE_INT, "Memory of the host.", BYTES),
	INT("memoryAvailable", API_READ_ONLY, NULL, 0, HUGE_INT, "What is free of it.", BYTES),
	PATH("virtualHardDiskPath", API_ANY_TIME, "\"\"", "Where disks without a folder go."),
	PATH("virtualMachinePath", API_READ_ONLY, NULL, "The state folder."),
	STRING("macAddressMinimum", API_ANY_TIME, "\"00155D000000\"", 12, 12, "Kept for networks."),
	STRING("macAddressMaximum", API_ANY_TIME, "\"00155D0000FF\"", 12, 12, "Kept for networks."),
	BOOL("virtualMachineMigrationEnabled", API_READ_ONLY, NULL, "Always false."),
	INT("managerPid", API_READ_ONLY, NULL, 0, HUGE_INT, "Not of Hyper-V."),
};
OBJECT(api_host, "Host", host_fields, "This machine and the manager's settings.");

static const struct api_field event_fields[] = {
	INT("seq", API_READ_ONLY, NULL, 0, HUGE_INT, "Number; missing in a VM's log."),
	STRING("time", API_READ_ONLY, NULL, 0, 40, "ISO 8601, UTC."),
	STRING("type", API_READ_ONLY, NULL, 0, 40,
	       "`created`, `changed`, `removed`, `state`, `progress`, `log`."),
	STRING("id", API_READ_ONLY, NULL, 36, 36, "The VM's."),
	STRING("name", API_READ_ONLY, NULL, 0, 400, "The VM's."),
	WORD("state", API_READ_ONLY, NULL, words_state, "The VM's, now."),
	INT("progress", API_READ_ONLY, NULL, 0, 100, "For `progress`.", .unit = "percent"),
	TEXT("text", API_READ_ONLY, NULL, 2048, "What happened, and why."),
};
OBJECT(api_event, "Event", event_fields, "What happened to a VM.");

static const struct api_field version_fields[] = {
	STRING("version", API_READ_ONLY, NULL, 3, 5, "Such as 10.0."),
	STRING("name", API_READ_ONLY, NULL, 0, 100, "What it is known for."),
	BOOL("isDefault", API_READ_ONLY, NULL, "New VMs have it."),
};
OBJECT(api_version, "SupportedVersion", version_fields, "A configuration version.");

/* ---- Arguments ---- */

static const struct api_field stop_fields[] = {
	BOOL("force", API_ANY_TIME, "false", "Turn the VM off when the guest is not off in time."),
	INT("timeout", API_ANY_TIME, "300", 0, 86400, "How long the guest gets.", .unit = "seconds"),
};
OBJECT(api_stop_args, "StopArguments", stop_fields, "How to stop a VM.");

const struct api_object api_empty = { .name = "Nothing", .doc = "Nothing." };

/* ---- Routes ---- */

#define VM "/v1/vms/{id}"
#define ROUTE(op_, m, p, b, t) [op_] = { .op = op_, .method = m, .path = p, .body = b, .doc = t }

const struct api_route api_routes[API_NR_OPS] = {
	ROUTE(API_GET_API, "GET", "/v1", NULL, "This description."),
	ROUTE(API_GET_HOST, "GET", "/v1/host", NULL, "The host."),
	ROUTE(API_SET_HOST, "PATCH", "/v1/host", &api_host, "Changes the host's settings."),
	ROUTE(API_GET_VERSIONS, "GET", "/v1/host/versions", NULL, "Configuration versions."),
	ROUTE(API_HOST_STOP, "POST", "/v1/host/stop", &api_empty,
	      "The machine shuts down: does every running VM's automaticStopAction."),
	ROUTE(API_GET_EVENTS, "GET", "/v1/events", NULL,
	      "A stream, one JSON object a line, of what happens from now on. An empty line every few "
	      "seconds shows that it lives."),
	ROUTE(API_LIST_VMS, "GET", "/v1/vms", NULL, "All VMs, as an array."),
	ROUTE(API_CREATE_VM, "POST", "/v1/vms", &api_vm,
	      "Makes a VM and returns it. With the id of one that exists it returns that one."),
	ROUTE(API_GET_VM, "GET", VM, NULL, "One VM."),
	ROUTE(API_SET_VM, "PATCH", VM, &api_vm, "Changes settings, all or none; returns the VM."),
	ROUTE(API_REMOVE_VM, "DELETE", VM, NULL, "Removes a VM that is Off or Saved. Disks stay."),
	ROUTE(API_ADD_DISK, "POST", VM "/disks", &api_disk, "Adds a disk; returns the VM."),
	ROUTE(API_SET_DISK, "PATCH", VM "/disks/{where}", &api_disk,
	      "Changes the disk at TYPE-NUMBER-LOCATION, such as SCSI-0-1."),
	ROUTE(API_REMOVE_DISK, "DELETE", VM "/disks/{where}", NULL, "Takes the disk out."),
	ROUTE(API_ADD_DVD, "POST", VM "/dvds", &api_dvd, "Adds a DVD drive; returns the VM."),
	ROUTE(API_SET_DVD, "PATCH", VM "/dvds/{where}", &api_dvd, "Changes its medium."),
	ROUTE(API_REMOVE_DVD, "DELETE", VM "/dvds/{where}", NULL, "Takes the drive out."),
	ROUTE(API_GET_VM_EVENTS, "GET", VM "/events", NULL, "The VM's log, oldest first."),
	ROUTE(API_START, "POST", VM "/start", &api_empty,
	      "Starts it, or goes on from its saved state. Nothing happens when it runs."),
	ROUTE(API_STOP, "POST", VM "/stop", &api_stop_args,
	      "Presses the ACPI power button and waits until the guest is off."),
	ROUTE(API_TURN_OFF, "POST", VM "/turn-off", &api_empty, "Pulls the plug."),
	ROUTE(API_SAVE, "POST", VM "/save", &api_empty, "Saves the running VM to its folder."),
	ROUTE(API_PAUSE, "POST", VM "/pause", &api_empty, "Its processors rest."),
	ROUTE(API_RESUME, "POST", VM "/resume", &api_empty, "They go on."),
	ROUTE(API_RESET, "POST", VM "/reset", &api_empty, "Presses the reset button."),
	ROUTE(API_REMOVE_SAVED_STATE, "POST", VM "/remove-saved-state", &api_empty,
	      "Throws the saved state away."),
	ROUTE(API_UPDATE_VERSION, "POST", VM "/update-version", &api_empty,
	      "Raises the configuration version to the default one. The VM is Off."),
	ROUTE(API_CONSOLE, "GET", VM "/console", NULL,
	      "With `Upgrade: nestor-console`: 101, then the serial port's bytes both ways, what was "
	      "written before first. Query: `port=1` or 2; `from=N`: only what came after N bytes; the "
	      "answer's header `Nestor-From` says where it really begins."),
};

/* ---- Versions ---- */

const struct api_version_row api_versions[] = {
	{ "5.0", "Nestor, as Windows Server 2012 R2", false },
	{ "6.2", "Nestor, as Windows 10 1511", false },
	{ "7.0", "Nestor, as Windows Server 2016 preview 3", false },
	{ "7.1", "Nestor, as Windows Server 2016 preview 5", false },
	{ "8.0", "Nestor, as Windows Server 2016", false },
	{ "8.1", "Nestor, as Windows 10 1703", false },
	{ "8.2", "Nestor, as Windows Server 1709", false },
	{ "8.3", "Nestor, as Windows Server 1803", false },
	{ "9.0", "Nestor, as Windows Server 2019", false },
	{ "9.1", "Nestor, as Windows Server 1903", false },
	{ "9.2", "Nestor, as Windows Server 2004", false },
	{ "9.3", "Nestor, as Windows Server 2022 preview", false },
	{ "10.0", "Nestor, as Windows Server 2022", false },
	{ "10.5", "Nestor, as Windows 11 22H2 preview", false },
	{ "11.0", "Nestor, as Windows 11 22H2", false },
	{ "12.0", "Nestor, as Windows Server 2025", false },
	{ "254.0", "Prerelease", true },
	{ "255.0", "Experimental", true },
};
const unsigned api_nr_versions = ARRAY_SIZE(api_versions);
const char api_default_version[] = "12.0";
