// SPDX-License-Identifier: MIT
/* Disks, DVD drives, and disk images. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shell/cmdlets/hyperv.h"
#include "shell/text.h"

/* The two kinds of drives of a VM. */
struct drive_kind {
	const char *list; /* of the API */
	const char *tag;
	const char *param; /* drives from the pipeline */
};

static const struct drive_kind disk_kind = { "disks", "VMHardDiskDrive", "VMHardDiskDrive" };
static const struct drive_kind dvd_kind = { "dvds", "VMDvdDrive", "VMDvdDrive" };

/* ---- Objects ---------------------------------------------------------------------------------- */

static json_t *drive_value_new(const json_t *vm, const json_t *d, const struct drive_kind *kind)
{
	const char *path = json_string_value(json_object_get(d, "path"));
	const char *type = json_string_value(json_object_get(d, "controllerType"));
	long long number = json_integer_value(json_object_get(d, "controllerNumber"));
	long long location = json_integer_value(json_object_get(d, "controllerLocation"));
	bool dvd = kind == &dvd_kind, medium = path && *path;
	json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I}", TYPE_KEY, kind->tag, "VMName",
			      hv_name(vm), "ControllerType", type ? type : "", "ControllerNumber",
			      (json_int_t)number, "ControllerLocation", (json_int_t)location);

	if (dvd)
		json_object_set_new(o, "DvdMediaType", json_string(medium ? "ISO" : "None"));
	else
		json_object_set_new(o, "DiskNumber", json_null());
	json_object_set_new(o, "Path", medium ? json_string(path) : json_null());
	json_object_set_new(o, "Name",
			    json_sprintf("%s on %s controller number %lld at location %lld",
					 dvd ? "DVD Drive" : "Hard Drive", type ? type : "", number,
					 location));
	json_object_set_new(o, "Id",
			    json_sprintf("Microsoft:%s\\%s-%lld-%lld", hv_id(vm), type ? type : "",
					 number, location));
	json_object_set_new(o, "VMId", json_string(hv_id(vm)));
	json_object_set_new(o, "IsDeleted", json_false());
	json_object_set(o, "@text", json_object_get(o, "Name"));
	return o;
}

/* ---- Choosing drives ------------------------------------------------------------------------------ */

static bool same_number(const json_t *wanted, const json_t *v)
{
	return !wanted || json_integer_value(wanted) == json_integer_value(v);
}

static bool is_object_place(const json_t *object, const json_t *d)
{
	return same_number(json_object_get(object, "ControllerNumber"),
			   json_object_get(d, "controllerNumber")) &&
	       same_number(json_object_get(object, "ControllerLocation"),
			   json_object_get(d, "controllerLocation")) &&
	       json_equal(json_object_get(object, "ControllerType"),
			  json_object_get(d, "controllerType"));
}

/* Whether drive @d of @vm is meant by the objects or by the place given. */
static bool is_chosen(struct call *c, const json_t *vm, const json_t *d,
		      const struct drive_kind *kind)
{
	json_t *objects = arg(c, kind->param), *o, *type = arg(c, "ControllerType");
	size_t i;

	if (!objects)
		return (!type || json_equal(type, json_object_get(d, "controllerType"))) &&
		       same_number(arg(c, "ControllerNumber"),
				   json_object_get(d, "controllerNumber")) &&
		       same_number(arg(c, "ControllerLocation"),
				   json_object_get(d, "controllerLocation"));
	json_array_foreach(objects, i, o)
	{
		const char *id = json_string_value(json_object_get(o, "VMId"));

		if (id && !strcasecmp(id, hv_id(vm)) && is_object_place(o, d))
			return true;
	}
	return false;
}

static void where_of(const json_t *d, char to[64])
{
	snprintf(to, 64, "%s-%lld-%lld",
		 json_string_value(json_object_get(d, "controllerType")) ?: "",
		 (long long)json_integer_value(json_object_get(d, "controllerNumber")),
		 (long long)json_integer_value(json_object_get(d, "controllerLocation")));
}

static bool no_drive(struct call *c, const json_t *vm, const struct drive_kind *kind)
{
	json_t *target = json_object_get(vm, "name");

	return cmd_error(c,
			 &(struct fault){ ERR_OBJECT_NOT_FOUND, "ObjectNotFound",
					  "VirtualizationException", target },
			 "Hyper-V was unable to find a %s of the virtual machine '%s' with the "
			 "given criteria.",
			 kind == &dvd_kind ? "DVD drive" : "hard disk drive", hv_name(vm));
}

/* ---- Get ------------------------------------------------------------------------------------------- */

static void write_drives(struct call *c, json_t *vm, const struct drive_kind *kind)
{
	json_t *d;
	size_t i;

	json_array_foreach(hv_get(vm, kind->list), i, d) if (is_chosen(c, vm, d, kind))
		cmd_write(c, drive_value_new(vm, d, kind));
}

static bool write_disks(struct call *c, json_t *vm)
{
	write_drives(c, vm, &disk_kind);
	return true;
}

static bool write_dvds(struct call *c, json_t *vm)
{
	write_drives(c, vm, &dvd_kind);
	return true;
}

static bool get_disks(struct call *c)
{
	return hv_each(c, write_disks);
}

static bool get_dvds(struct call *c)
{
	return hv_each(c, write_dvds);
}

/* ---- Add, set, remove ----------------------------------------------------------------------------------- */

static const struct hv_setting place_settings[] = { { "ControllerType", "controllerType" },
						    { "ControllerNumber", "controllerNumber" },
						    { "ControllerLocation", "controllerLocation" },
						    { "Path", "path", true },
						    { 0 } };

/* The drive that @after has and @before has not. */
static json_t *new_drive(const json_t *before, const json_t *after, const char *list)
{
	json_t *d, *old;
	size_t i, k;

	json_array_foreach(hv_get(after, list), i, d)
	{
		bool known = false;

		json_array_foreach(hv_get(before, list), k, old) known |= json_equal(old, d);
		if (!known)
			return d;
	}
	return NULL;
}

static bool finish(struct call *c, int r, const json_t *vm, struct ctl_err *e)
{
	if (!r)
		return true;
	if (!e->target[0])
		ctl_error_target(e, hv_name(vm));
	return hv_error(c, e);
}

static bool add_drive(struct call *c, json_t *vm, const struct drive_kind *kind)
{
	struct ctl_err e = { 0 };
	json_t *res = NULL, *drive, *d;
	int r;

	if (!cmd_should(c, hv_name(vm)))
		return c->sh->flow == FLOW_NONE;
	drive = hv_change_new(c, place_settings);
	r = client_add_drive(c->sh->client, hv_id(vm), kind->list, drive ? drive : json_object(),
			     &res, &e);
	d = r ? NULL : new_drive(vm, res, kind->list);
	if (d && arg_true(c, "Passthru"))
		cmd_write(c, drive_value_new(res, d, kind));
	json_decref(res);
	return finish(c, r, vm, &e);
}

static bool add_one_disk(struct call *c, json_t *vm)
{
	return add_drive(c, vm, &disk_kind);
}

static bool add_one_dvd(struct call *c, json_t *vm)
{
	return add_drive(c, vm, &dvd_kind);
}

static bool add_disk(struct call *c)
{
	return hv_each(c, add_one_disk);
}

static bool add_dvd(struct call *c)
{
	return hv_each(c, add_one_dvd);
}

/* Does @fn to every chosen drive. */
typedef int drive_fn(struct call *c, const json_t *vm, const char *where,
		     const struct drive_kind *kind, json_t **res, struct ctl_err *e);

static bool each_drive(struct call *c, json_t *vm, const struct drive_kind *kind, drive_fn *fn)
{
	bool found = false;
	json_t *d;
	size_t i;

	json_array_foreach(hv_get(vm, kind->list), i, d)
	{
		struct ctl_err e = { 0 };
		json_t *res = NULL, *now;
		char where[64];
		int r;

		if (!is_chosen(c, vm, d, kind))
			continue;
		found = true;
		if (!cmd_should(c, hv_name(vm)))
			return c->sh->flow == FLOW_NONE;
		where_of(d, where);
		r = fn(c, vm, where, kind, &res, &e);
		now = r ? NULL : new_drive(vm, res, kind->list);
		if (!r && arg_true(c, "Passthru"))
			cmd_write(c, drive_value_new(vm, now ? now : d, kind));
		json_decref(res);
		if (!finish(c, r, vm, &e))
			return false;
	}
	return found || no_drive(c, vm, kind);
}

static int set_path(struct call *c, const json_t *vm, const char *where,
		    const struct drive_kind *kind, json_t **res, struct ctl_err *e)
{
	const char *given = arg_text(c, "Path");
	char *path = hv_absolute(given ? given : "");
	int r = client_set_drive(c->sh->client, hv_id(vm), kind->list, where,
				 json_pack("{s:s}", "path", path), res, e);

	free(path);
	return r;
}

static int remove_drive(struct call *c, const json_t *vm, const char *where,
			const struct drive_kind *kind, json_t **res, struct ctl_err *e)
{
	return client_remove_drive(c->sh->client, hv_id(vm), kind->list, where, res, e);
}

static bool set_one_dvd(struct call *c, json_t *vm)
{
	return each_drive(c, vm, &dvd_kind, set_path);
}

static bool set_dvd(struct call *c)
{
	return hv_each(c, set_one_dvd);
}

static bool set_one_disk(struct call *c, json_t *vm)
{
	return each_drive(c, vm, &disk_kind, set_path);
}

static bool set_disk(struct call *c)
{
	return hv_each(c, set_one_disk);
}

static bool remove_one_disk(struct call *c, json_t *vm)
{
	return each_drive(c, vm, &disk_kind, remove_drive);
}

static bool remove_disk(struct call *c)
{
	return hv_each(c, remove_one_disk);
}

static bool remove_one_dvd(struct call *c, json_t *vm)
{
	return each_drive(c, vm, &dvd_kind, remove_drive);
}

static bool remove_dvd(struct call *c)
{
	return hv_each(c, remove_one_dvd);
}

/* ---- Disk images ---------------------------------------------------------------------------------------------- */

static bool has_format(const char *path)
{
	static const char *const formats[] = { ".vhd",	".vhdx",  ".avhd", ".avhdx",
					       ".vhds", ".qcow2", ".vmdk" };
	size_t len = strlen(path);

	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		size_t n = strlen(formats[i]);

		if (len > n && text_equal(path + len - n, formats[i]))
			return true;
	}
	return false;
}

static bool refuse_format(struct call *c, const char *path)
{
	json_t *target = keep(c->sh, json_string(path));

	return cmd_error(c,
			 &(struct fault){ ERR_NOT_IMPLEMENTED, "NotAvailable",
					  "VirtualizationException", target },
			 "Disk formats such as VHD and VHDX are not available yet: '%s'. Raw "
			 "images (any other ending, such as "
			 ".img) are.",
			 path);
}

static bool file_error(struct call *c, const char *id, const char *what, const char *path, int err)
{
	json_t *target = keep(c->sh, json_string(path));

	return cmd_error(
		c,
		&(struct fault){ err == ENOENT	 ? ERR_OBJECT_NOT_FOUND
				 : err == EACCES ? ERR_PERMISSION_DENIED
						 : ERR_NOT_SPECIFIED,
				 id, "VirtualizationException", target },
		"Failed to %s the virtual hard disk.\nThe system failed to %s '%s'. Error: %s.",
		what, what, path, strerror(err));
}

bool vhd_create(struct call *c, const char *path, s64 size, bool fixed, bool *made)
{
	int fd, err = 0;

	*made = false;
	if (has_format(path)) {
		refuse_format(c, path);
		return false;
	}
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) {
		file_error(c, errno == EEXIST ? "FileExists" : "OperationFailed", "create", path,
			   errno);
		return false;
	}
	if (fixed ? (err = posix_fallocate(fd, 0, size)) != 0 : ftruncate(fd, size) != 0)
		err = err ? err : errno;
	close(fd);
	*made = !err;
	if (!err)
		return true;
	unlink(path);
	file_error(c, "OperationFailed", "create", path, err);
	return false;
}

static json_t *vhd_value_new(const char *path, const struct stat *st)
{
	char host[256] = "";
	bool fixed = (s64)st->st_blocks * 512 >= st->st_size;
	json_t *o = value_object_new("VirtualHardDisk");

	gethostname(host, sizeof(host) - 1);
	json_object_set_new(o, "ComputerName", json_string(host));
	json_object_set_new(o, "Path", json_string(path));
	json_object_set_new(o, "VhdFormat", json_string("Raw"));
	json_object_set_new(o, "VhdType", json_string(fixed ? "Fixed" : "Dynamic"));
	json_object_set_new(o, "FileSize", json_integer((json_int_t)st->st_blocks * 512));
	json_object_set_new(o, "Size", json_integer(st->st_size));
	json_object_set_new(o, "MinimumSize", json_null());
	json_object_set_new(o, "LogicalSectorSize", json_integer(512));
	json_object_set_new(o, "PhysicalSectorSize", json_integer(4096));
	json_object_set_new(o, "BlockSize", json_integer(0));
	json_object_set_new(o, "ParentPath", json_string(""));
	json_object_set_new(o, "DiskIdentifier", json_null());
	json_object_set_new(o, "FragmentationPercentage", json_null());
	json_object_set_new(o, "Alignment", json_integer(1));
	json_object_set_new(o, "Attached", json_false());
	json_object_set_new(o, "DiskNumber", json_null());
	json_object_set_new(o, "IsPMEMCompatible", json_false());
	json_object_set_new(o, "AddressAbstractionType", json_string("None"));
	json_object_set_new(o, "Number", json_null());
	return o;
}

static bool write_vhd(struct call *c, const char *given)
{
	char *path = hv_absolute(given);
	struct stat st;
	bool ok = true;

	if (has_format(path))
		ok = refuse_format(c, path);
	else if (stat(path, &st))
		ok = file_error(c, "ObjectNotFound", "get", path, errno);
	else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		ok = file_error(c, "ObjectNotFound", "get", path, EINVAL);
	else
		cmd_write(c, vhd_value_new(path, &st));
	free(path);
	return ok;
}

static bool get_vhd(struct call *c)
{
	json_t *paths = arg(c, "Path"), *p, *chosen, *vm, *d;
	size_t i, k;

	json_array_foreach(paths, i, p) if (!write_vhd(c, json_string_value(p))) return false;
	if (!arg(c, "VMId"))
		return true;
	chosen = hv_select(c);
	json_array_foreach(chosen, i, vm)
		json_array_foreach(hv_get(vm, "disks"), k,
				   d) if (!write_vhd(c,
						     json_string_value(json_object_get(d, "path"))
							     ?: "")) return false;
	return c->sh->flow == FLOW_NONE;
}

static bool new_vhd(struct call *c)
{
	json_t *paths = arg(c, "Path"), *p;
	bool made;
	size_t i;

	if (arg(c, "ParentPath") || arg_true(c, "Differencing"))
		return hv_not_available(c, "Differencing disks are");
	json_array_foreach(paths, i, p)
	{
		char *path = hv_absolute(json_string_value(p));

		if (cmd_should(c, path) &&
		    vhd_create(c, path, arg_int(c, "SizeBytes", 0), arg_true(c, "Fixed"), &made))
			write_vhd(c, path);
		free(path);
		if (c->sh->flow)
			return false;
	}
	return true;
}

/* ---- Table ------------------------------------------------------------------------------------------------------ */

/* clang-format off */
#define PLACE                                                                                                    \
	{ "ControllerType", T_ENUM, .words = "IDE|SCSI", .net_enum = HV_TYPE("ControllerType"),                   \
	  .help = "IDE (generation 1 only) or SCSI." },                                                           \
	PLACE_NUMBERS
#define PLACE_NUMBERS                                                                                            \
	{ "ControllerNumber", T_INT, .range = true, .min = 0, .max = 3, .net_type = "System.Int32",               \
	  .help = "Which controller." },                                                                          \
	{ "ControllerLocation", T_INT, .range = true, .min = 0, .max = 63, .net_type = "System.Int32",            \
	  .help = "Where on it." }
#define DRIVES(p, t, set) { p, T_OBJECTS, .words = p, .pos = 1, .sets = set, .required = set, .by_value = true,  \
	.net_type = HV_TYPE(t), .help = "Drives, as the Get- cmdlet gives them." }
#define PATH(h) { "Path", T_STRING, .null_ok = true, .help = h }

static const struct param get_disk_params[] = { PARAMS_VMSEL, PLACE, { 0 } };
static const struct param get_dvd_params[] = { PARAMS_VMSEL, PLACE_NUMBERS, { 0 } };
static const struct param add_disk_params[] = {
	PARAMS_VMSEL, PLACE, PATH("A raw disk image."), PARAM_PASSTHRU, { 0 }
};
static const struct param add_dvd_params[] = {
	PARAMS_VMSEL, PLACE_NUMBERS, PATH("An ISO image."), PARAM_PASSTHRU, { 0 }
};
static const struct param set_disk_params[] = {
	PARAMS_VMSEL, DRIVES("VMHardDiskDrive", "HardDiskDrive[]", 4), PLACE, PATH("A raw disk image."), PARAM_PASSTHRU,
	{ 0 }
};
static const struct param set_dvd_params[] = {
	PARAMS_VMSEL, DRIVES("VMDvdDrive", "DvdDrive[]", 4), PLACE_NUMBERS, PATH("An ISO image; $null ejects."),
	PARAM_PASSTHRU, { 0 }
};
static const struct param remove_disk_params[] = {
	PARAMS_VMSEL, DRIVES("VMHardDiskDrive", "HardDiskDrive[]", 4), PLACE, PARAM_PASSTHRU, { 0 }
};
static const struct param remove_dvd_params[] = {
	PARAMS_VMSEL, DRIVES("VMDvdDrive", "DvdDrive[]", 4), PLACE_NUMBERS, PARAM_PASSTHRU, { 0 }
};

static const struct param new_vhd_params[] = {
	{ "Path", T_STRINGS, .pos = 1, .required = 0xff, .by_name = "Path", .help = "The file; its ending decides the format." },
	{ "SizeBytes", T_INT, .pos = 2, .sets = 1, .required = 1, .range = true, .min = 1 << 20, .max = (s64)64 << 40,
	  .net_type = "System.UInt64", .help = "How large it is." },
	{ "Dynamic", T_SWITCH, .sets = 1, .help = "Takes room as it is filled; the default." },
	{ "Fixed", T_SWITCH, .sets = 1, .help = "Takes all room at once." },
	{ "ParentPath", T_STRING, .sets = 2, .required = 2, .help = "Not available yet." },
	{ "Differencing", T_SWITCH, .sets = 2, .help = "Not available yet." },
	{ 0 }
};
static const struct param get_vhd_params[] = {
	{ "Path", T_STRINGS, .pos = 1, .sets = 1, .required = 1, .by_value = true, .by_name = "Path", .help = "Disk images." },
	{ "VMId", T_GUID, .sets = 2, .required = 2, .by_name = "VMId|Id", .help = "The disks of this VM." },
	{ 0 }
};

#define SETS .sets = "Name|VMObject|Object", .hyperv = true

const struct cmdlet drive_cmdlets[] = {
	{ "Get-VMHardDiskDrive", HV_CLASS("GetVMHardDiskDrive"), "Gets virtual machines' disks.", get_disk_params,
	  .output = "VMHardDiskDrive", .run = get_disks, SETS },
	{ "Add-VMHardDiskDrive", HV_CLASS("AddVMHardDiskDrive"), "Gives a virtual machine a disk.", add_disk_params,
	  .output = "VMHardDiskDrive", .run = add_disk, SETS, .changes = true,
	  .will = "will add a hard disk drive to virtual machine \"%s\".",
	  .examples = "New-VHD ./data.img -SizeBytes 20GB\nAdd-VMHardDiskDrive lab -Path ./data.img" },
	{ "Set-VMHardDiskDrive", HV_CLASS("SetVMHardDiskDrive"), "Changes a disk's image.", set_disk_params,
	  .output = "VMHardDiskDrive", .run = set_disk, SETS, .changes = true,
	  .will = "will configure a hard disk drive of virtual machine \"%s\"." },
	{ "Remove-VMHardDiskDrive", HV_CLASS("RemoveVMHardDiskDrive"), "Takes a disk out of a virtual machine.",
	  remove_disk_params, .output = "VMHardDiskDrive", .run = remove_disk, SETS, .changes = true,
	  .will = "will remove a hard disk drive from virtual machine \"%s\"." },
	{ "Get-VMDvdDrive", HV_CLASS("GetVMDvdDrive"), "Gets virtual machines' DVD drives.", get_dvd_params,
	  .output = "VMDvdDrive", .run = get_dvds, SETS },
	{ "Add-VMDvdDrive", HV_CLASS("AddVMDvdDrive"), "Gives a virtual machine a DVD drive.", add_dvd_params,
	  .output = "VMDvdDrive", .run = add_dvd, SETS, .changes = true,
	  .will = "will add a DVD drive to virtual machine \"%s\"." },
	{ "Set-VMDvdDrive", HV_CLASS("SetVMDvdDrive"), "Changes a DVD drive's medium.", set_dvd_params,
	  .output = "VMDvdDrive", .run = set_dvd, SETS, .changes = true,
	  .will = "will configure the DVD drive of virtual machine \"%s\".",
	  .examples = "Set-VMDvdDrive lab -Path ./debian.iso\nSet-VMDvdDrive lab -Path $null" },
	{ "Remove-VMDvdDrive", HV_CLASS("RemoveVMDvdDrive"), "Takes a DVD drive out of a virtual machine.",
	  remove_dvd_params, .output = "VMDvdDrive", .run = remove_dvd, SETS, .changes = true,
	  .will = "will remove a DVD drive from virtual machine \"%s\"." },
	{ "New-VHD", "Microsoft.Vhd.PowerShell.Cmdlets.NewVhd", "Makes a disk image.", new_vhd_params, "Size|Differencing",
	  "VirtualHardDisk", new_vhd, .changes = true, .hyperv = true, .will = "will create the virtual hard disk \"%s\".",
	  .examples = "New-VHD -Path ./disk.img -SizeBytes 20GB",
	  .shell_note = "Raw images only; VHD and VHDX are not available yet." },
	{ "Get-VHD", "Microsoft.Vhd.PowerShell.Cmdlets.GetVhd", "Gets what a disk image is.", get_vhd_params, "Path|VMId",
	  "VirtualHardDisk", get_vhd, .hyperv = true },
	{ 0 }
};
/* clang-format on */
