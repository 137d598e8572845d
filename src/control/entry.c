// SPDX-License-Identifier: MIT
/* The manager's VMs: the list, and what is shown of each. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/manager.h"
#include "control/rules.h"
#include "control/saved.h"

const char *const vm_state_names[] = {
	"Off", "Running", "Paused", "Saved", "Starting", "Stopping", "Saving", "Pausing", "Resuming",
	"Reset", "OffCritical",
};

/* ---- Making and finding ---- */

static struct entry *entry_new(struct manager *m, const char *id, int dir)
{
	struct entry *v = calloc(1, sizeof(*v));
	pthread_condattr_t attr;

	if (!v)
		return NULL;
	v->m = m;
	v->dir = dir;
	v->refs = 1;
	memcpy(v->id, id, STORE_ID_SIZE);
	pthread_mutex_init(&v->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&v->changed, &attr);
	pthread_condattr_destroy(&attr);
	return v;
}

static void entry_free(struct entry *v)
{
	json_decref(v->config);
	json_decref(v->status);
	link_destroy(v->link);
	close(v->dir);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void entry_get(struct entry *v)
{
	pthread_mutex_lock(&v->m->lock);
	v->refs++;
	pthread_mutex_unlock(&v->m->lock);
}

void entry_put(struct entry *v)
{
	struct manager *m = v->m;

	pthread_mutex_lock(&m->lock);
	bool last = !--v->refs;
	pthread_mutex_unlock(&m->lock);
	if (last)
		entry_free(v);
}

void entry_unlist(struct entry *v)
{
	struct manager *m = v->m;
	struct entry **p = &m->entries;

	pthread_mutex_lock(&m->lock);
	while (*p && *p != v)
		p = &(*p)->next;
	if (*p)
		*p = v->next;
	pthread_mutex_unlock(&m->lock);
	entry_put(v);
}

static void enlist(struct manager *m, struct entry *v)
{
	struct entry **p = &m->entries;

	pthread_mutex_lock(&m->lock);
	while (*p)
		p = &(*p)->next;
	*p = v;
	pthread_mutex_unlock(&m->lock);
}

struct entry *entry_find(struct manager *m, const char *id, struct ctl_err *e)
{
	pthread_mutex_lock(&m->lock);
	struct entry *v = m->entries;
	while (v && strcasecmp(v->id, id))
		v = v->next;
	if (v)
		v->refs++;
	pthread_mutex_unlock(&m->lock);
	if (v)
		return v;
	ctl_error(e, CTL_NOT_FOUND, "Hyper-V was unable to find a virtual machine with id \"%s\".", id);
	ctl_error_target(e, id);
	return NULL;
}

unsigned entries_all(struct manager *m, struct entry ***res)
{
	unsigned nr = 0;

	pthread_mutex_lock(&m->lock);
	for (struct entry *v = m->entries; v; v = v->next)
		nr++;
	*res = calloc(nr + 1, sizeof(**res));
	nr = 0;
	for (struct entry *v = m->entries; v && *res; v = v->next) {
		v->refs++;
		(*res)[nr++] = v;
	}
	pthread_mutex_unlock(&m->lock);
	return nr;
}

/* ---- Loading ---- */

static void remember_file(struct entry *v)
{
	if (fstatat(v->dir, "config.json", &v->config_stat, 0))
		memset(&v->config_stat, 0, sizeof(v->config_stat));
}

static void load_config(struct entry *v)
{
	struct ctl_err e = { 0 };
	json_t *config = NULL;

	remember_file(v);
	if (store_read_config(v->dir, v->id, &config, &e))
		snprintf(v->damage, sizeof(v->damage), "The configuration is damaged: %.460s", e.text);
	json_decref(v->config);
	v->config = config;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

void entry_refresh(struct entry *v)
{
	struct stat st;

	if (!entry_idle(v))
		return;
	if (fstatat(v->dir, "config.json", &st, 0))
		memset(&st, 0, sizeof(st));
	if (!same_file(&st, &v->config_stat))
		load_config(v);
	v->state = entry_rest_state(v);
}

static void load_one(void *opaque, const char *id)
{
	struct manager *m = opaque;
	struct ctl_err e;
	int dir = store_open_vm(&m->store, id, &e);
	struct entry *v = dir < 0 ? NULL : entry_new(m, id, dir);

	if (!v) {
		log_warn("%s", e.text);
		if (dir >= 0)
			close(dir);
		return;
	}
	load_config(v);
	v->state = entry_rest_state(v);
	enlist(m, v);
	pthread_mutex_lock(&v->lock);
	monitor_attach(v, 0);
	pthread_mutex_unlock(&v->lock);
}

void entries_load(struct manager *m)
{
	struct entry **all;

	store_scan(&m->store, load_one, m);
	unsigned nr = entries_all(m, &all);
	monitor_settle(all, nr);
	for (unsigned i = 0; i < nr; i++)
		entry_put(all[i]);
	free(all);
}

void entries_free(struct manager *m)
{
	while (m->entries)
		entry_unlist(m->entries);
}

struct entry *entry_add(struct manager *m, const char *id, int dir, json_t *config)
{
	struct entry *v = entry_new(m, id, dir);

	if (!v)
		return NULL;
	v->config = config;
	v->refs++;
	remember_file(v);
	enlist(m, v);
	return v;
}

/* ---- State ---- */

const char *entry_name(const struct entry *v)
{
	return v->config ? config_string(v->config, "name") : v->id;
}

bool entry_idle(const struct entry *v)
{
	return v->state == STATE_OFF || v->state == STATE_SAVED || v->state == STATE_OFF_CRITICAL;
}

enum vm_state entry_rest_state(struct entry *v)
{
	if (!v->config)
		return STATE_OFF_CRITICAL;
	return saved_exists(v->dir) ? STATE_SAVED : STATE_OFF;
}

int entry_damaged(struct entry *v, struct ctl_err *e)
{
	if (v->config)
		return 0;
	ctl_error(e, CTL_DAMAGED, "The virtual machine '%s' is damaged and can only be removed.", v->id);
	ctl_error_target(e, v->id);
	return ctl_error_add(e, "%s", v->damage);
}

void entry_post(struct entry *v, const char *type, const char *text)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s}", "type", type, "id", v->id, "name", entry_name(v),
			      "state", vm_state_names[v->state]);

	if (!j)
		return;
	if (text)
		json_object_set_new(j, "text", json_string(text));
	if (!strcmp(type, "progress"))
		json_object_set_new(j, "progress", json_integer(v->progress));
	events_post(v->m->events, j);
}

void entry_set_state(struct entry *v, enum vm_state state)
{
	if (v->state == state)
		return;
	v->state = state;
	v->progress = 0;
	pthread_cond_broadcast(&v->changed);
	entry_post(v, "state", NULL);
}

/* ---- Showing ---- */

static void set_number(json_t *j, const char *key, s64 n)
{
	json_object_set_new(j, key, json_integer(n));
}

static void show_status(struct entry *v, json_t *j)
{
	static const char *const numbers[] = { "uptime", "cpuUsage", "memoryAssigned", "memoryDemand",
					       "exitsPerSecond", "workerPid" };
	static const char *const others[] = { "engineInUse", "engineReason", "hypervisorActive",
					      "memoryStatus" };
	bool runs = !entry_idle(v) && v->status;

	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		set_number(j, numbers[i],
			   runs ? json_integer_value(json_object_get(v->status, numbers[i])) : 0);
	json_object_set_new(j, "hypervisorActive", json_false());
	for (unsigned i = 0; runs && i < ARRAY_SIZE(others); i++) {
		json_t *value = json_object_get(v->status, others[i]);

		if (value)
			json_object_set(j, others[i], value);
	}
}

static void show_pty(struct entry *v, json_t *j, const char *port)
{
	json_t *name = entry_idle(v) ? NULL : json_object_get(v->status, port);

	if (name)
		json_object_set(json_object_get(j, port), "pty", name);
}

static json_t *damaged_to_json(struct entry *v)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:i}", "id", v->id, "name", v->id, "version", "0.0",
			      "generation", 1);

	api_fill_defaults(&api_vm, j);
	return j;
}

json_t *entry_to_json(struct entry *v)
{
	json_t *j = v->config ? json_deep_copy(v->config) : damaged_to_json(v);
	char folder[STATE_PATH_MAX + 64];

	snprintf(folder, sizeof(folder), "%s/vms/%s", v->m->store.path, v->id);
	json_object_set_new(j, "folder", json_string(folder));
	json_object_set_new(j, "state", json_string(vm_state_names[v->state]));
	json_object_set_new(j, "status", json_string(v->config ? "Operating normally" : v->damage));
	set_number(j, "progress", v->progress);
	show_status(v, j);
	show_pty(v, j, "com1");
	show_pty(v, j, "com2");
	return j;
}
