// SPDX-License-Identifier: MIT
/* Rules between a VM's settings. */
#include "control/rules.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vm/engine.h"

/* ---- Reading ---- */

static const json_t *config_get(const json_t *j, const char *path)
{
	char key[64];

	for (;;) {
		size_t len = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		j = json_object_get(j, key);
		if (!j || !path[len])
			return j;
		path += len + 1;
	}
}

const char *config_string(const json_t *config, const char *path)
{
	const char *s = json_string_value(config_get(config, path));

	return s ? s : "";
}

s64 config_int(const json_t *config, const char *path)
{
	return json_integer_value(config_get(config, path));
}

bool config_bool(const json_t *config, const char *path)
{
	return json_is_true(config_get(config, path));
}

/* ---- The reference's records ---- */

int rules_wrong_state(const json_t *config, struct ctl_err *e, const char *fmt, ...)
{
	char why[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	ctl_error(e, CTL_WRONG_STATE,
		  "The operation cannot be performed while the virtual machine is in its current state.");
	ctl_error_target(e, config_string(config, "name"));
	return ctl_error_add(e, "'%s' %s (Virtual machine ID %s)", config_string(config, "name"), why,
			     config_string(config, "id"));
}

static int device_refused(const json_t *config, enum ctl_kind kind, const char *device,
			  const char *why, struct ctl_err *e)
{
	ctl_error(e, kind, "Failed to modify device '%s'.", device);
	ctl_error_target(e, config_string(config, "name"));
	ctl_error_add(e, "'%s' failed to modify device '%s'. (Virtual machine ID %s)",
		      config_string(config, "name"), device, config_string(config, "id"));
	return ctl_error_add(e, "%s", why);
}

int rules_memory_refused(const json_t *config, const char *why, struct ctl_err *e)
{
	return device_refused(config, CTL_WRONG_STATE, "Memory", why, e);
}

/* ---- Name, version ---- */

static size_t nr_characters(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((u8)*s & 0xc0) != 0x80;
	return n;
}

static int check_name(const json_t *config, struct ctl_err *e)
{
	if (nr_characters(config_string(config, "name")) <= 100)
		return 0;
	return ctl_error(e, CTL_INVALID_ARGUMENT, "Cannot validate argument on parameter 'name'. "
			 "It has more than 100 characters.");
}

static int check_version(const json_t *config, struct ctl_err *e)
{
	const char *v = config_string(config, "version");

	for (unsigned i = 0; i < api_nr_versions; i++)
		if (!strcmp(v, api_versions[i].version))
			return 0;
	return ctl_error(e, CTL_INVALID_ARGUMENT, "The configuration version '%s' is not supported. "
			 "Get-VMHostSupportedVersion lists those that are.", v);
}

/* ---- Processor ---- */

static int check_nesting(const json_t *config, struct ctl_err *e)
{
	const char *v = config_string(config, "version");
	char why[300];

	if (!config_bool(config, "processor.exposeVirtualizationExtensions") ||
	    api_compare_versions(v, "8.0") >= 0)
		return 0;
	snprintf(why, sizeof(why), "ExposeVirtualizationExtensions wants configuration version 8.0 or "
		 "later, and this virtual machine has %s: Update-VMVersion raises it.", v);
	return device_refused(config, CTL_NOT_SUPPORTED, "Processor", why, e);
}

/* ---- Memory ---- */

static int check_aligned(const json_t *config, const char *path, struct ctl_err *e)
{
	s64 v = config_int(config, path);

	if (v % (2 << 20) == 0)
		return 0;
	ctl_error(e, CTL_INVALID_ARGUMENT, "Invalid memory value assigned for '%s'. The memory value "
		  "assigned ('%lld' MB) is not properly aligned. Try again with a memory value that "
		  "is properly aligned.", config_string(config, "name"), (long long)v >> 20);
	return ctl_error_target(e, config_string(config, "name"));
}

static int check_memory(const json_t *config, struct ctl_err *e)
{
	static const char *const amounts[] = { "memory.startupBytes", "memory.minimumBytes",
					       "memory.maximumBytes" };

	for (unsigned i = 0; i < ARRAY_SIZE(amounts); i++)
		if (check_aligned(config, amounts[i], e))
			return -1;
	s64 start = config_int(config, amounts[0]);
	if (!config_bool(config, "memory.dynamicMemoryEnabled") ||
	    (config_int(config, amounts[1]) <= start && start <= config_int(config, amounts[2])))
		return 0;
	ctl_error(e, CTL_INVALID_ARGUMENT, "Failed to modify device 'Memory'.");
	ctl_error_target(e, config_string(config, "name"));
	return ctl_error_add(e, "'%s': with dynamic memory the startup amount must not be below the "
			     "minimum or above the maximum: %lld, %lld, %lld MB.",
			     config_string(config, "name"), (long long)config_int(config, amounts[1]) >> 20,
			     (long long)start >> 20, (long long)config_int(config, amounts[2]) >> 20);
}

int rules_check_running_memory(const json_t *config, const json_t *change, bool active, u64 *target,
			       struct ctl_err *e)
{
	const json_t *m = json_object_get(change, "memory");
	const json_t *start = json_object_get(m, "startupBytes");
	const json_t *min = json_object_get(m, "minimumBytes"), *max = json_object_get(m, "maximumBytes");
	bool dynamic = config_bool(config, "memory.dynamicMemoryEnabled");

	*target = 0;
	if (dynamic && start)
		return rules_wrong_state(config, e, "has dynamic memory: its startup amount can only "
					 "be changed while it is Off.");
	if (!dynamic && (min || max))
		return rules_wrong_state(config, e, "has static memory: minimum and maximum can only be "
					 "changed while it is Off.");
	if (min && json_integer_value(min) > config_int(config, "memory.minimumBytes"))
		return rules_wrong_state(config, e, "is running: its minimum of memory can only be lowered.");
	if (max && json_integer_value(max) < config_int(config, "memory.maximumBytes"))
		return rules_wrong_state(config, e, "is running: its maximum of memory can only be raised.");
	if (!start)
		return 0;
	if (active)
		return rules_memory_refused(config, RULES_HYPERVISOR_ACTIVE, e);
	*target = (u64)json_integer_value(start);
	return 0;
}

/* ---- Drives ---- */

struct place {
	const char *type;
	s64 number, location;
};

static bool place_of(const json_t *drive, struct place *p)
{
	const json_t *n = json_object_get(drive, "controllerNumber");
	const json_t *l = json_object_get(drive, "controllerLocation");

	p->type = json_string_value(json_object_get(drive, "controllerType"));
	p->number = json_integer_value(n);
	p->location = json_integer_value(l);
	return p->type && n && l;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return !strcmp(a->type, b->type) && a->number == b->number && a->location == b->location;
}

/* How many drives but @self are there? */
static unsigned nr_at(const json_t *config, const struct place *p, const json_t *self)
{
	static const char *const kinds[] = { "disks", "dvds" };
	unsigned nr = 0;
	struct place other;
	size_t i;
	json_t *d;

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++)
		json_array_foreach(json_object_get(config, kinds[k]), i, d)
			nr += d != self && place_of(d, &other) && same_place(p, &other);
	return nr;
}

static s64 max_number(const char *type)
{
	return !strcmp(type, "IDE") ? 1 : 3;
}

static s64 max_location(const char *type)
{
	return !strcmp(type, "IDE") ? 1 : 63;
}

/* Fills in what is missing; -1: all is taken. */
static int find_place(const json_t *config, json_t *drive, const char *type)
{
	const json_t *n = json_object_get(drive, "controllerNumber");
	const json_t *l = json_object_get(drive, "controllerLocation");

	for (s64 i = 0; i <= max_number(type); i++)
		for (s64 k = 0; k <= max_location(type); k++) {
			struct place p = { type, i, k };

			if ((n && json_integer_value(n) != i) || (l && json_integer_value(l) != k) ||
			    nr_at(config, &p, drive))
				continue;
			json_object_set_new(drive, "controllerNumber", json_integer(i));
			json_object_set_new(drive, "controllerLocation", json_integer(k));
			return 0;
		}
	return -1;
}

static int check_place(json_t *config, json_t *drive, struct ctl_err *e)
{
	s64 generation = config_int(config, "generation");
	const char *type;
	struct place p;

	if (!json_object_get(drive, "controllerType"))
		json_object_set_new(drive, "controllerType", json_string(generation == 1 ? "IDE" : "SCSI"));
	type = json_string_value(json_object_get(drive, "controllerType"));
	if (generation == 2 && !strcmp(type, "IDE"))
		return ctl_error(e, CTL_NOT_SUPPORTED, "A virtual machine of generation 2 has no IDE "
				 "controllers.");
	if (!place_of(drive, &p) && find_place(config, drive, type))
		return ctl_error(e, CTL_EXISTS, "There is no free location on the %s controllers of '%s'.",
				 type, config_string(config, "name"));
	place_of(drive, &p);
	if (p.number > max_number(type) || p.location > max_location(type))
		return ctl_error(e, CTL_INVALID_ARGUMENT, "Cannot find a location %lld on %s controller "
				 "%lld.", (long long)p.location, type, (long long)p.number);
	if (nr_at(config, &p, drive))
		return ctl_error(e, CTL_EXISTS, "There is a drive already at location %lld of %s controller "
				 "%lld of '%s'.", (long long)p.location, type, (long long)p.number,
				 config_string(config, "name"));
	return 0;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcasecmp(s + n - m, end);
}

static int check_image(const char *path, struct ctl_err *e)
{
	static const char *const formats[] = { ".vhd", ".vhdx", ".avhdx", ".qcow2", ".vmdk" };

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (ends_with(path, formats[i]))
			return ctl_error(e, CTL_NOT_AVAILABLE, "Disk images of the format %s are not "
					 "available yet, only raw ones: %s.", formats[i], path);
	return 0;
}

enum { MAX_DRIVES = 16 };

static int check_drives(json_t *config, const char *kind, struct ctl_err *e)
{
	json_t *all = json_object_get(config, kind), *d;
	size_t i;

	json_array_foreach(all, i, d)
		if (check_place(config, d, e) || check_image(config_string(d, "path"), e))
			return -1;
	return 0;
}

static int check_nr_drives(const json_t *config, struct ctl_err *e)
{
	size_t nr = json_array_size(json_object_get(config, "disks")) +
		    json_array_size(json_object_get(config, "dvds"));

	return nr <= MAX_DRIVES ? 0 : ctl_error(e, CTL_NOT_SUPPORTED, "A virtual machine can have at most "
						"%d drives.", MAX_DRIVES);
}

int rules_find_drive(const json_t *config, const char *kind, const char *where)
{
	json_t *d;
	size_t i;
	char name[64];
	struct place p;

	json_array_foreach(json_object_get(config, kind), i, d) {
		if (!place_of(d, &p))
			continue;
		snprintf(name, sizeof(name), "%s-%lld-%lld", p.type, (long long)p.number,
			 (long long)p.location);
		if (!strcasecmp(name, where))
			return (int)i;
	}
	return -1;
}

/* ---- Ports and firmware ---- */

static int check_port(const json_t *config, const char *path, struct ctl_err *e)
{
	const char *p = config_string(config, path);

	if (!*p || *p == '/' || !strcasecmp(p, "pty"))
		return 0;
	if (*p == '\\')
		return ctl_error(e, CTL_NOT_AVAILABLE, "Named pipes are not available on this system: give "
				 "the absolute path of a file, or pty.");
	return ctl_error(e, CTL_INVALID_ARGUMENT, "Cannot validate argument on parameter 'path'. '%s' is "
			 "neither an absolute path nor pty.", p);
}

static int check_firmware(const json_t *config, struct ctl_err *e)
{
	if (!strcmp(config_string(config, "firmware.secureBoot"), "On"))
		return ctl_error(e, CTL_NOT_AVAILABLE, "Secure Boot is not available yet.");
	return 0;
}

/* ---- All ---- */

int rules_check(json_t *config, struct ctl_err *e)
{
	if (check_name(config, e) || check_version(config, e) || check_nesting(config, e) ||
	    check_memory(config, e) || check_nr_drives(config, e) || check_drives(config, "disks", e) ||
	    check_drives(config, "dvds", e) || check_port(config, "com1.path", e) ||
	    check_port(config, "com2.path", e))
		return -1;
	return check_firmware(config, e);
}

int rules_check_host(const json_t *config, struct ctl_err *e)
{
	const char *engine = config_string(config, "engine");
	bool nested = config_bool(config, "processor.exposeVirtualizationExtensions");
	struct kvm_report kvm;

	if (strcmp(engine, "Kvm"))
		return 0; /* the software engine can, wherever it runs, and Auto may take it */
	kvm_probe(&kvm);
	if (!kvm.runs_guests)
		return ctl_error(e, CTL_NOT_SUPPORTED, "The KVM engine cannot be used on this host: %s. "
				 "With -Engine Auto or Software the virtual machine runs on the software "
				 "engine.", kvm.why);
	if (!nested || (kvm.nested_state && kvm.nested_vmx))
		return 0;
	return device_refused(config, CTL_NOT_SUPPORTED, "Processor", "This platform does not support "
			      "nested virtualization: this host's KVM offers its guests no VT-x. With "
			      "-Engine Auto or Software the virtual machine runs on the software engine, "
			      "which can do it.", e);
}
