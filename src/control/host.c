// SPDX-License-Identifier: MIT
/* The host's object: facts of the machine, and settings kept in host.json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/file.h"
#include "control/manager.h"
#include "control/rules.h"
#include "vm/host.h"

/* Only what can be set, and the boot. */
static json_t *default_host(struct manager *m)
{
	char disks[STATE_PATH_MAX + 16];

	snprintf(disks, sizeof(disks), "%s/disks", m->store.path);
	return json_pack("{s:s, s:s}", "virtualHardDiskPath", disks, "bootId", "");
}

/* A host.json that cannot be read is no reason to refuse work: it has only defaults. */
int host_load(struct manager *m, struct ctl_err *e)
{
	json_t *j = NULL, *def = default_host(m);

	if (store_has_mark(m->store.dir, "host.json") &&
	    file_read_json(m->store.dir, "host.json", &j, e))
		log_warn("%s", e->text);
	if (!json_is_object(j)) {
		json_decref(j);
		j = json_object();
	}
	json_object_update_missing(j, def);
	json_decref(def);
	m->host = j;
	return 0;
}

json_t *host_to_json(struct manager *m)
{
	struct host_info h;
	char name[256] = "";

	host_info_get(&h);
	gethostname(name, sizeof(name) - 1);
	pthread_mutex_lock(&m->lock);
	json_t *j = json_deep_copy(m->host);
	pthread_mutex_unlock(&m->lock);
	json_object_del(j, "bootId");
	api_fill_defaults(&api_host, j);
	json_t *facts = json_pack(
		"{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:b, s:I}", "name", name, "nestorVersion",
		NESTOR_API_VERSION, "processorName", h.cpu_name, "logicalProcessorCount",
		(json_int_t)h.nr_cpus, "memoryCapacity", (json_int_t)h.mem_total, "memoryAvailable",
		(json_int_t)h.mem_free, "virtualMachinePath", m->store.path,
		"virtualMachineMigrationEnabled", 0, "managerPid", (json_int_t)getpid());
	json_object_update(j, facts);
	json_decref(facts);
	return j;
}

int host_change(struct manager *m, json_t *change, struct ctl_err *e)
{
	if (api_check(&api_host, change, API_FOR_CHANGE, e))
		return -1;
	pthread_mutex_lock(&m->lock);
	json_t *j = json_deep_copy(m->host);
	int r = api_merge(&api_host, j, change);
	r = r ? ctl_error(e, CTL_OUT_OF_MEMORY, "There is not enough memory.") :
		file_replace_json(m->store.dir, "host.json", j, e);
	if (!r) {
		json_decref(m->host);
		m->host = json_incref(j);
	}
	json_decref(j);
	pthread_mutex_unlock(&m->lock);
	return r;
}
