// SPDX-License-Identifier: MIT
/*
 * Changes of the store: making a VM, its settings, removing it. A change is made
 * on a copy, checked as a whole, written, and only then taken.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/manager.h"
#include "control/rules.h"
#include "control/saved.h"

/* ---- Making ---- */

static int no_memory(struct ctl_err *e)
{
	return ctl_error(e, CTL_OUT_OF_MEMORY, "There is not enough memory.");
}

/* What the wish leaves open that no table can say. */
static void complete_wish(json_t *wish)
{
	char id[STORE_ID_SIZE], now[32];

	store_new_id(id);
	time_now_text(now);
	if (!json_object_get(wish, "id"))
		json_object_set_new(wish, "id", json_string(id));
	if (!json_object_get(wish, "version"))
		json_object_set_new(wish, "version", json_string(api_default_version));
	json_object_set_new(wish, "creationTime", json_string(now));
	json_object_set_new(wish, "revision", json_integer(1));
}

static int check_paths(const json_t *change, struct ctl_err *e);

static int check_wish(json_t *wish, struct ctl_err *e)
{
	if (api_check(&api_vm, wish, API_FOR_CREATION, e))
		return -1;
	complete_wish(wish);
	const char *id = config_string(wish, "id");
	if (!store_id_valid(id))
		return ctl_error(e, CTL_INVALID_ARGUMENT, "Cannot validate argument on parameter 'id'. "
				 "'%s' is not a GUID in small letters.", id);
	if (api_fill_defaults(&api_vm, wish))
		return no_memory(e);
	return rules_check(wish, e) || check_paths(wish, e) || rules_check_host(wish, e) ? -1 : 0;
}

static int create(struct manager *m, json_t *wish, struct entry **res, struct ctl_err *e)
{
	const char *id = config_string(wish, "id");
	int dir;

	if (store_create_vm(&m->store, id, wish, &dir, e))
		return -1;
	*res = entry_add(m, id, dir, json_incref(wish));
	if (!*res) {
		close(dir);
		return no_memory(e);
	}
	store_log(dir, "created", "The virtual machine was created.");
	return 0;
}

int settings_create(struct manager *m, json_t *wish, json_t **vm, struct ctl_err *e)
{
	struct entry *v = NULL;
	const char *id = json_string_value(json_object_get(wish, "id"));
	bool is_new = false;

	if (id)
		v = entry_find(m, id, NULL);
	if (!v) {
		if (check_wish(wish, e) || create(m, wish, &v, e))
			return -1;
		is_new = true;
	}
	pthread_mutex_lock(&v->lock);
	if (is_new)
		entry_post(v, "created", NULL);
	*vm = entry_to_json(v);
	pthread_mutex_unlock(&v->lock);
	entry_put(v);
	return 0;
}

/* ---- Changing ---- */

/* Files that a change names must be there: said now, not at start. */
static int check_path(const char *path, int mode, struct ctl_err *e)
{
	if (!*path || !access(path, mode))
		return 0;
	ctl_error_errno(e, errno, "Cannot %s '%s'", mode & W_OK ? "write" : "read", path);
	return ctl_error_target(e, path);
}

static int check_drive_paths(const json_t *change, const char *kind, struct ctl_err *e)
{
	json_t *d;
	size_t i;

	json_array_foreach(json_object_get(change, kind), i, d)
		if (check_path(config_string(d, "path"), strcmp(kind, "disks") ? R_OK : R_OK | W_OK, e))
			return -1;
	return 0;
}

static int check_paths(const json_t *change, struct ctl_err *e)
{
	if (check_path(config_string(change, "firmware.kernelPath"), R_OK, e) ||
	    check_path(config_string(change, "firmware.initialRamdiskPath"), R_OK, e))
		return -1;
	return check_drive_paths(change, "disks", e) || check_drive_paths(change, "dvds", e) ? -1 : 0;
}

/* Writes @config and takes it, reference included; on failure nothing changes. */
static int take_config(struct entry *v, json_t *config, struct ctl_err *e)
{
	json_object_set_new(config, "revision", json_integer(config_int(v->config, "revision") + 1));
	if (rules_check(config, e) || store_write_config(v->dir, config, e)) {
		json_decref(config);
		return -1;
	}
	json_decref(v->config);
	v->config = config;
	if (fstatat(v->dir, "config.json", &v->config_stat, 0))
		memset(&v->config_stat, 0, sizeof(v->config_stat));
	entry_post(v, "changed", NULL);
	return 0;
}

static int check_revision(struct entry *v, json_t *change, struct ctl_err *e)
{
	json_t *based_on = json_object_get(change, "revision");
	s64 now = config_int(v->config, "revision");

	if (based_on && json_integer_value(based_on) != now) {
		ctl_error(e, CTL_CONFLICT, "The virtual machine '%s' was changed by somebody else "
			  "meanwhile: it has revision %lld now.", entry_name(v), (long long)now);
		return ctl_error_target(e, entry_name(v));
	}
	json_object_del(change, "revision");
	return 0;
}

static const char *lower_state(const struct entry *v)
{
	static const char *const words[] = {
		[STATE_OFF] = "off", [STATE_RUNNING] = "running", [STATE_PAUSED] = "paused",
		[STATE_SAVED] = "saved", [STATE_STARTING] = "starting", [STATE_STOPPING] = "stopping",
		[STATE_SAVING] = "being saved", [STATE_PAUSING] = "pausing",
		[STATE_RESUMING] = "resuming", [STATE_RESET] = "being reset",
		[STATE_OFF_CRITICAL] = "damaged",
	};

	return words[v->state];
}

enum { ANSWER_MS = 5000, STALL_S = 15, RESIZE_S = 180 };
#define RESIZE_SLACK MIB(4) /* Linux plugs and unplugs by so much */

static u64 assigned(const struct entry *v)
{
	return (u64)json_integer_value(json_object_get(v->status, "memoryAssigned"));
}

static bool near(u64 a, u64 b)
{
	return (a > b ? a - b : b - a) < RESIZE_SLACK;
}

/* Until the guest has followed, or does not get on. */
static bool wait_resized(struct entry *v, u64 target)
{
	u64 end = clock_ns() + RESIZE_S * NSEC_PER_SEC, stall = clock_ns() + STALL_S * NSEC_PER_SEC;
	u64 last = assigned(v);

	while (v->state == STATE_RUNNING && v->link && !near(assigned(v), target)) {
		if (clock_ns() > MIN(stall, end) ||
		    json_is_true(json_object_get(v->status, "hypervisorActive")))
			return false;
		link_poke(v->link);
		entry_wait(v, clock_ns() + NSEC_PER_SEC / 4);
		if (assigned(v) != last)
			stall = clock_ns() + STALL_S * NSEC_PER_SEC;
		last = assigned(v);
	}
	return near(assigned(v), target);
}

/* As the reference has it: what can be done is done, and what cannot is an error. */
static int resize(struct entry *v, u64 target, struct ctl_err *e)
{
	struct ctl_err why;
	char text[200];

	if (wait_resized(v, target))
		return 0;
	if (v->state == STATE_RUNNING)
		entry_call(v, "set-memory", json_pack("{s:b}", "giveUp", 1), ANSWER_MS, NULL, &why);
	snprintf(text, sizeof(text), "Only a part of it could be done: it has %llu MB now, not %llu MB.",
		 (unsigned long long)assigned(v) >> 20, (unsigned long long)target >> 20);
	return rules_memory_refused(v->config, text, e);
}

/* Tells the worker what memory becomes. */
static int tell_worker(struct entry *v, const json_t *memory, u64 target, struct ctl_err *e)
{
	json_t *args = json_pack("{s:O}", "memory", memory);
	struct ctl_err why;

	if (target)
		json_object_set_new(args, "target", json_integer((json_int_t)target));
	if (entry_call(v, "set-memory", args, ANSWER_MS, NULL, &why))
		return rules_memory_refused(v->config, why.text, e);
	return target ? resize(v, target, e) : 0;
}

static int check_needs_off(struct entry *v, const json_t *change, struct ctl_err *e)
{
	const struct api_field *f = api_needs_off(&api_vm, change);

	return f ? rules_wrong_state(v->config, e, "is %s: %s can only be changed while it is Off.",
				     lower_state(v), f->name) : 0;
}

/* Of memory. Comes last, since it changes the running VM. */
static int check_running(struct entry *v, const json_t *change, const json_t *config,
			 struct ctl_err *e)
{
	u64 target;
	const json_t *m = json_object_get(change, "memory");
	if (!json_object_get(m, "startupBytes") && !json_object_get(m, "minimumBytes") &&
	    !json_object_get(m, "maximumBytes"))
		return m && v->link ? tell_worker(v, json_object_get(config, "memory"), 0, e) : 0;
	if (v->state != STATE_RUNNING)
		return rules_wrong_state(v->config, e, "is %s: its memory cannot be changed now.",
					 lower_state(v));
	bool active = json_is_true(json_object_get(v->status, "hypervisorActive"));
	if (rules_check_running_memory(v->config, change, active, &target, e))
		return -1;
	return tell_worker(v, json_object_get(config, "memory"), target, e);
}

/* What is new must be fit for this host; what was there before stays as it is. */
static bool asks_host(const json_t *change)
{
	return json_object_get(change, "engine") ||
	       json_is_true(json_object_get(json_object_get(change, "processor"),
					    "exposeVirtualizationExtensions"));
}

/* The configuration as @change makes it; NULL: memory is out. */
static json_t *changed_config(struct entry *v, const json_t *change)
{
	json_t *config = json_deep_copy(v->config);

	if (config && !api_merge(&api_vm, config, change))
		return config;
	json_decref(config);
	return NULL;
}

static int check_change(struct entry *v, json_t *change, struct ctl_err *e)
{
	json_t *config = changed_config(v, change);

	if (!config)
		return no_memory(e);
	int r = (v->state != STATE_OFF && check_needs_off(v, change, e)) || rules_check(config, e) ||
		check_paths(change, e) || (asks_host(change) && rules_check_host(config, e)) ||
		(v->state != STATE_OFF && check_running(v, change, config, e)) ? -1 : 0;
	json_decref(config);
	return r;
}

int settings_change(struct entry *v, json_t *change, struct ctl_err *e)
{
	if (entry_damaged(v, e) || api_check(&api_vm, change, API_FOR_CHANGE, e) ||
	    check_revision(v, change, e) || check_change(v, change, e))
		return -1;
	/* Anew: the lock may have been given away while a worker was asked. */
	json_t *config = changed_config(v, change);
	return config ? take_config(v, config, e) : no_memory(e);
}

int settings_update_version(struct entry *v, struct ctl_err *e)
{
	if (entry_damaged(v, e))
		return -1;
	if (v->state != STATE_OFF)
		return rules_wrong_state(v->config, e, "is %s: its version can only be updated while it is "
					 "Off.", lower_state(v));
	if (api_compare_versions(config_string(v->config, "version"), api_default_version) >= 0)
		return 0;
	json_t *config = json_deep_copy(v->config);
	if (!config)
		return no_memory(e);
	json_object_set_new(config, "version", json_string(api_default_version));
	return take_config(v, config, e);
}

/* ---- Removing ---- */

int settings_remove(struct entry *v, struct ctl_err *e)
{
	if (v->removed)
		return ctl_error(e, CTL_NOT_FOUND, "The virtual machine '%s' is gone.", entry_name(v));
	if (!entry_idle(v))
		return rules_wrong_state(v->config, e, "is %s: it can only be removed while it is Off or "
					 "Saved.", lower_state(v));
	if (store_remove_vm(&v->m->store, v->id, e))
		return -1;
	v->removed = true;
	entry_post(v, "removed", NULL);
	return 0;
}

/* ---- Drives ---- */

struct drive_op {
	const char *kind;
	const struct api_object *object;
	enum { ADD, SET, REMOVE } what;
};

static struct drive_op drive_op(enum api_op op)
{
	bool dvd = op == API_ADD_DVD || op == API_SET_DVD || op == API_REMOVE_DVD;
	bool add = op == API_ADD_DISK || op == API_ADD_DVD;
	bool set = op == API_SET_DISK || op == API_SET_DVD;

	return (struct drive_op){ dvd ? "dvds" : "disks", dvd ? &api_dvd : &api_disk,
				  add ? ADD : set ? SET : REMOVE };
}

static int no_drive(struct entry *v, const char *where, struct ctl_err *e)
{
	ctl_error(e, CTL_NOT_FOUND, "Hyper-V was unable to find a drive at %s of '%s'.", where,
		  entry_name(v));
	return ctl_error_target(e, where);
}

static int edit_drives(struct entry *v, json_t *config, const struct drive_op *op,
		       const char *where, json_t *body, struct ctl_err *e)
{
	json_t *all = json_object_get(config, op->kind);
	int i = op->what == ADD ? 0 : rules_find_drive(config, op->kind, where);

	if (i < 0)
		return no_drive(v, where, e);
	if (op->what == ADD)
		return api_fill_defaults(op->object, body) || json_array_append(all, body) ? no_memory(e) : 0;
	if (op->what == REMOVE)
		return json_array_remove(all, (size_t)i);
	return api_merge(op->object, json_array_get(all, (size_t)i), body) ? no_memory(e) : 0;
}

static int check_drive_change(struct entry *v, const struct drive_op *op, json_t *body,
			      struct ctl_err *e)
{
	if (entry_damaged(v, e))
		return -1;
	if (v->state != STATE_OFF)
		return rules_wrong_state(v->config, e, "is %s: its drives can only be changed while it is "
					 "Off.", lower_state(v));
	if (op->what == REMOVE)
		return 0;
	if (api_check(op->object, body, op->what == ADD ? API_FOR_CREATION : API_FOR_CHANGE, e))
		return -1;
	int mode = op->object == &api_dvd ? R_OK : R_OK | W_OK;
	return check_path(config_string(body, "path"), mode, e);
}

int settings_drive(struct entry *v, enum api_op api_op, const char *where, json_t *body,
		   struct ctl_err *e)
{
	struct drive_op op = drive_op(api_op);

	if (check_drive_change(v, &op, body, e))
		return -1;
	json_t *config = json_deep_copy(v->config);
	if (!config)
		return no_memory(e);
	if (edit_drives(v, config, &op, where, body, e)) {
		json_decref(config);
		return -1;
	}
	return take_config(v, config, e);
}
