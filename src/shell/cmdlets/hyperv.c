// SPDX-License-Identifier: MIT
/* What the cmdlets on VMs share. */
#include "shell/cmdlets/hyperv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shell/text.h"

enum { UNIX_EPOCH_DAYS = 719162 };

/* ---- Errors ------------------------------------------------------------------------------- */

/* The API's name of a setting is Hyper-V's with a small first letter. */
static void capitalize_parameter(char *text)
{
	char *at = strstr(text, "parameter '");

	if (at)
		at += 11;
	else if ((at = strstr(text, " can only be changed")))
		while (at > text && at[-1] != ' ')
			at--;
	if (at && *at >= 'a' && *at <= 'z')
		*at = (char)(*at - 32);
}

bool hv_error(struct call *c, const struct ctl_err *e)
{
	json_t *target = e->target[0] ? keep(c->sh, json_string(e->target)) : NULL;
	struct fault f = { ERR_NOT_SPECIFIED, e->id, "VirtualizationException", target,
			   e->category };
	char text[sizeof(e->text)];

	memcpy(text, e->text, sizeof(text));
	capitalize_parameter(text);
	return cmd_error(c, &f, "%s", text);
}

bool hv_not_available(struct call *c, const char *what)
{
	return cmd_error(c,
			 &(struct fault){ ERR_NOT_IMPLEMENTED, "NotAvailable",
					  "NotImplementedException" },
			 "%s not available yet.", what);
}

bool hv_connect(struct call *c)
{
	struct ctl_err e = { 0 };

	if (c->sh->client || !client_open(&c->sh->client, &e))
		return true;
	hv_error(c, &e);
	return false;
}

/* ---- Members ----------------------------------------------------------------------------------- */

json_t *hv_get(const json_t *vm, const char *path)
{
	char key[64];
	json_t *v = (json_t *)vm;

	while (v) {
		size_t n = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)MIN(n, sizeof(key) - 1), path);
		v = json_object_get(v, key);
		if (!path[n])
			break;
		path += n + 1;
	}
	return v ? v : json_null();
}

const char *hv_name(const json_t *vm)
{
	const char *s = json_string_value(json_object_get(vm, "name"));

	return s ? s : "";
}

const char *hv_id(const json_t *vm)
{
	const char *s = json_string_value(json_object_get(vm, "id"));

	return s ? s : "";
}

/* ISO 8601 in UTC as a date in local time. */
static json_t *date_new(const json_t *v)
{
	const char *s = json_string_value(v);
	struct tm tm = { 0 }, local;
	time_t t;

	if (!s || !strptime(s, "%Y-%m-%dT%H:%M:%S", &tm))
		return json_null();
	t = timegm(&tm);
	localtime_r(&t, &local);
	return value_datetime_new(((s64)t + local.tm_gmtoff + (s64)UNIX_EPOCH_DAYS * 86400) *
				  TICKS_PER_SECOND);
}

static json_t *member_new(const json_t *vm, const struct hv_member *m)
{
	json_t *v = m->path ? hv_get(vm, m->path) : NULL;

	if (!m->path)
		return json_loads(m->text, JSON_DECODE_ANY, NULL) ?: json_null();
	if (m->as == AS_TIMESPAN_MS)
		return value_timespan_new(json_integer_value(v) * (TICKS_PER_SECOND / 1000));
	if (m->as == AS_DATE)
		return date_new(v);
	return json_incref(v);
}

json_t *hv_object_new(const char *tag, const json_t *vm, const struct hv_member *rows)
{
	json_t *o = value_object_new(tag);

	for (; rows->name; rows++)
		json_object_set_new(o, rows->name, member_new(vm, rows));
	return o;
}

/* ---- Choosing ------------------------------------------------------------------------------------- */

static bool is_get(const struct call *c)
{
	return !strcmp(c->cmdlet->name, "Get-VM");
}

static bool no_such_vm(struct call *c, const char *what, json_t *target)
{
	struct fault f = { is_get(c) ? ERR_INVALID_ARGUMENT : ERR_OBJECT_NOT_FOUND,
			   is_get(c) ? "InvalidParameter" : "ObjectNotFound",
			   "VirtualizationException", target };

	return cmd_error(c, &f, "Hyper-V was unable to find a virtual machine with %s \"%s\".",
			 what, json_string_value(target));
}

static bool select_names(struct call *c, json_t *all, json_t *names, json_t *chosen)
{
	json_t *n, *vm;
	size_t i, k;

	json_array_foreach(names, i, n)
	{
		const char *pattern = json_string_value(n);
		bool found = false, wildcard = text_has_wildcard(pattern);

		json_array_foreach(all, k, vm)
		{
			if (!text_equal(hv_name(vm), pattern) &&
			    !(wildcard && text_like(hv_name(vm), pattern, false)))
				continue;
			json_array_append(chosen, vm);
			found = true;
		}
		if (!found && !wildcard && !no_such_vm(c, "name", n))
			return false;
	}
	return true;
}

static bool object_gone(struct call *c, const char *name)
{
	char host[256] = "";
	json_t *target = keep(c->sh, json_string(name));

	gethostname(host, sizeof(host) - 1);
	return cmd_error(c,
			 &(struct fault){ ERR_OBJECT_NOT_FOUND, "ObjectNotFound",
					  "VirtualizationException", target },
			 "Hyper-V encountered an error trying to access an object on computer '%s' "
			 "because the object "
			 "was not found. The object might have been deleted, or you might not have "
			 "permission to perform "
			 "the task. Verify that the Virtual Machine Management service on the "
			 "computer is running.",
			 host);
}

/* The VMs with the ids of @objects, which may be VMs or parts of them. */
static bool select_objects(struct call *c, json_t *all, json_t *objects, json_t *chosen)
{
	json_t *o, *vm;
	size_t i, k;

	json_array_foreach(objects, i, o)
	{
		const char *id = json_string_value(json_object_get(o, "VMId")), *name;
		bool found = false;

		json_array_foreach(all, k, vm)
		{
			if (id && !strcasecmp(id, hv_id(vm))) {
				json_array_append(chosen, vm);
				found = true;
			}
		}
		name = json_string_value(json_object_get(o, "VMName"));
		if (!found && !object_gone(c, name ? name : ""))
			return false;
	}
	return true;
}

static bool select_id(struct call *c, json_t *all, json_t *id, json_t *chosen)
{
	json_t *vm;
	size_t i;

	json_array_foreach(all, i, vm)
	{
		if (!strcasecmp(hv_id(vm), json_string_value(id))) {
			json_array_append(chosen, vm);
			return true;
		}
	}
	return no_such_vm(c, "id", id);
}

static json_t *objects_of(struct call *c)
{
	static const char *const params[] = { "VM",	    "VMProcessor",
					      "VMMemory",   "VMHardDiskDrive",
					      "VMDvdDrive", "VMComPort",
					      "VMFirmware" };

	for (unsigned i = 0; i < ARRAY_SIZE(params); i++)
		if (arg(c, params[i]))
			return arg(c, params[i]);
	return NULL;
}

json_t *hv_select(struct call *c)
{
	json_t *all = NULL, *chosen = keep(c->sh, json_array()), *names = arg(c, "Name"),
	       *objects = objects_of(c);
	struct ctl_err e = { 0 };
	bool ok = true;

	/* where -Name means something else, the VMs are -VMName */
	if (arg(c, "VMName"))
		names = arg(c, "VMName");
	else if (!json_is_array(names))
		names = names ? keep(c->sh, json_pack("[O]", names)) : NULL;
	if (!hv_connect(c))
		return NULL;
	if (client_list_vms(c->sh->client, &all, &e)) {
		hv_error(c, &e);
		return NULL;
	}
	keep(c->sh, all);
	if (objects)
		ok = select_objects(c, all, objects, chosen);
	else if (names)
		ok = select_names(c, all, names, chosen);
	else if (arg(c, "Id") || arg(c, "VMId"))
		ok = select_id(c, all, arg(c, "Id") ? arg(c, "Id") : arg(c, "VMId"), chosen);
	else
		chosen = all;
	return ok ? chosen : NULL;
}

bool hv_each(struct call *c, hv_vm_fn *fn)
{
	json_t *chosen = hv_select(c), *vm;
	size_t i;

	json_array_foreach(chosen, i, vm) if (!fn(c, vm)) return false;
	return c->sh->flow == FLOW_NONE;
}

/* ---- Changing ------------------------------------------------------------------------------------- */

char *hv_absolute(const char *path)
{
	const char *home = getenv("HOME");
	char *dir, *all;
	int r;

	if (!path[0] || path[0] == '/')
		return strdup(path);
	if (path[0] == '~' && path[1] == '/' && home) {
		r = asprintf(&all, "%s%s", home, path + 1);
	} else {
		dir = getcwd(NULL, 0);
		r = asprintf(&all, "%s/%s", dir && strcmp(dir, "/") ? dir : "", path);
		free(dir);
	}
	if (r < 0)
		abort();
	return all;
}

static void set_at(json_t *o, const char *path, json_t *v)
{
	const char *dot = strchr(path, '.');
	char group[64];
	json_t *inner;

	if (!dot) {
		json_object_set(o, path, v);
		return;
	}
	snprintf(group, sizeof(group), "%.*s", (int)(dot - path), path);
	inner = json_object_get(o, group);
	if (!inner) {
		inner = json_object();
		json_object_set_new(o, group, inner);
	}
	set_at(inner, dot + 1, v);
}

json_t *hv_change_new(struct call *c, const struct hv_setting *rows)
{
	json_t *change = NULL;

	for (; rows->param; rows++) {
		json_t *v = arg(c, rows->param);
		char *path;

		if (!v)
			continue;
		change = change ? change : json_object();
		if (rows->is_path) {
			path = hv_absolute(json_is_string(v) ? json_string_value(v) : "");
			v = keep(c->sh, json_string(path));
			free(path);
		}
		set_at(change, rows->path, v);
	}
	return change;
}

bool hv_set(struct call *c, const json_t *vm, json_t *change, json_t **res)
{
	struct ctl_err e = { 0 };

	*res = NULL;
	if (!client_set_vm(c->sh->client, hv_id(vm), change, res, &e))
		return true;
	if (!e.target[0])
		ctl_error_target(&e, hv_name(vm));
	return hv_error(c, &e);
}

bool hv_change(struct call *c, json_t *vm, const struct hv_setting *rows,
	       json_t *(*value_new)(const json_t *vm))
{
	json_t *change, *res = NULL;
	bool ok = true;

	if (!cmd_should(c, hv_name(vm)))
		return c->sh->flow == FLOW_NONE;
	change = hv_change_new(c, rows);
	if (change)
		ok = hv_set(c, vm, change, &res);
	if (ok && arg_true(c, "Passthru") && (res || !change))
		cmd_write(c, value_new(res ? res : vm));
	json_decref(res);
	return ok;
}

bool hv_do(struct call *c, json_t *vm, const char *verb, json_t *args)
{
	struct ctl_err e = { 0 };
	json_t *res = NULL;
	bool ok = true;

	if (!cmd_should(c, hv_name(vm))) {
		json_decref(args);
		return c->sh->flow == FLOW_NONE;
	}
	if (client_do(c->sh->client, hv_id(vm), verb, args, NULL, NULL, &res, &e)) {
		if (!e.target[0])
			ctl_error_target(&e, hv_name(vm));
		return hv_error(c, &e);
	}
	if (json_is_true(json_object_get(res, "already")))
		cmd_warning(c, "The virtual machine is already in the specified state.");
	if (arg_true(c, "Passthru"))
		cmd_write(c, vm_value_new(res));
	json_decref(res);
	return ok;
}
