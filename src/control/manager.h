/* SPDX-License-Identifier: MIT */
/*
 * The manager: keeps the store, starts workers and listens to them, answers the
 * API. One process per state folder; whoever starts a second one is told.
 *
 * Theory of operation
 *
 * A thread per connection runs requests to their end, so that an operation that
 * takes minutes is ordinary code. A thread per running VM, its monitor, reads what
 * the worker says and cleans up after it. What is shared:
 *
 *	entry.lock	one VM: configuration, state, folder. Never two at once. Not held
 *			while anything waits for a worker: the state (Starting, Saving,
 *			...) and `busy` keep others out then
 *	manager.lock	the list of VMs, and counters; a leaf, may be taken under entry.lock
 *
 * Nothing about a VM is kept only in memory. Its state is found out anew at any
 * time from its folder: a process holds worker.lock: it runs, and the process
 * says how; else there is a saved state or not. Killed at any moment, the
 * manager loses nothing.
 */
#ifndef NESTOR_CONTROL_MANAGER_H
#define NESTOR_CONTROL_MANAGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "control/api.h"
#include "control/events.h"
#include "control/link.h"
#include "control/store.h"

#define NESTOR_API_VERSION "0.1"

/* In the order of the API's words. */
enum vm_state {
	STATE_OFF,
	STATE_RUNNING,
	STATE_PAUSED,
	STATE_SAVED,
	STATE_STARTING,
	STATE_STOPPING,
	STATE_SAVING,
	STATE_PAUSING,
	STATE_RESUMING,
	STATE_RESET,
	STATE_OFF_CRITICAL,
};

struct entry {
	struct manager *m;
	char id[STORE_ID_SIZE];
	int dir; /* the folder */
	unsigned refs; /* under manager.lock; the list has one */
	struct entry *next;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	json_t *config;	       /* NULL: damaged */
	struct stat config_stat; /* of the file that it came from */
	char damage[512];
	enum vm_state state;
	unsigned progress;
	struct link *link; /* NULL: no worker, or not connected to it */
	unsigned link_users; /* calls on their way; the link stays until they are back */
	bool watched;	     /* it has a monitor */
	bool busy;	     /* an operation decides what the state is */
	pid_t worker;	     /* our child, or 0 */
	json_t *status;	   /* what the worker said last; NULL: nothing yet */
	u64 nr_status;
	u64 runs;	   /* counts ends of workers, so that one can be waited for */
	bool removed;
};

struct manager {
	struct store store;
	struct events *events;
	int listen_fd, wake_fd;
	bool report; /* to the starter, on descriptor 3 */
	bool stay;   /* does not end by itself */
	char boot_id[BOOT_ID_SIZE];

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct entry *entries;
	json_t *host; /* settings */
	unsigned nr_threads; /* of connections */
	unsigned nr_connections; /* requests on their way */
	unsigned nr_monitors;
	atomic_bool ending; /* no lock */
	u64 last_use; /* clock_ns() */
};

/* `nestor manager`: the exit status. */
int manager_main(bool report, bool stay);

/* ---- entry.c ---- */
extern const char *const vm_state_names[];
void entries_load(struct manager *m);
void entries_free(struct manager *m);
/* With a reference, or NULL. */
struct entry *entry_find(struct manager *m, const char *id, struct ctl_err *e);
struct entry *entry_add(struct manager *m, const char *id, int dir, json_t *config);
void entry_get(struct entry *v);
void entry_put(struct entry *v);
void entry_unlist(struct entry *v); /* it was removed */
/* All VMs, each with a reference; free() the array. */
unsigned entries_all(struct manager *m, struct entry ***res);

/* With entry.lock held: */
void entry_refresh(struct entry *v);   /* a file changed by hand is read again */
json_t *entry_to_json(struct entry *v); /* as api_vm */
void entry_set_state(struct entry *v, enum vm_state state); /* and tells listeners */
void entry_post(struct entry *v, const char *type, const char *text);
enum vm_state entry_rest_state(struct entry *v); /* without a worker: Off, Saved, OffCritical */
const char *entry_name(const struct entry *v);
bool entry_idle(const struct entry *v); /* Off, Saved or OffCritical */
int entry_damaged(struct entry *v, struct ctl_err *e); /* -1 when it is */

/* ---- settings.c: changes of the store ---- */
int settings_create(struct manager *m, json_t *wish, json_t **vm, struct ctl_err *e);
int settings_change(struct entry *v, json_t *change, struct ctl_err *e);
int settings_remove(struct entry *v, struct ctl_err *e);
int settings_update_version(struct entry *v, struct ctl_err *e);
int settings_drive(struct entry *v, enum api_op op, const char *where, json_t *body,
		   struct ctl_err *e);

/* ---- ops.c: operations on a VM; entry.lock not held ---- */
struct op_args {
	bool force;
	int timeout_s;
};
/* *already: there was nothing to do. */
int op_run(struct entry *v, enum api_op op, const struct op_args *a, bool *already,
	   struct ctl_err *e);

/* ---- monitor.c ---- */
/* A worker has the lock: connects to it as soon as it can, and watches it. With
 * entry.lock held; the state is Starting until it has answered. */
void monitor_attach(struct entry *v, pid_t child);
/* Gets fresh status of those that run and answer within some ms. */
void monitor_refresh(struct entry **all, unsigned nr);
/* Waits, some seconds at most, until those that run have said how they are. */
void monitor_settle(struct entry **all, unsigned nr);
/* Asks the worker; entry.lock is held, but not while it is waited for. */
int entry_call(struct entry *v, const char *verb, json_t *args, int timeout_ms, json_t **res,
	       struct ctl_err *e);
/* Gives entry.lock away until something has changed; false when @limit (clock_ns())
 * is over. */
bool entry_wait(struct entry *v, u64 limit);
/* What it is, from what its worker says or from the folder. */
enum vm_state entry_true_state(struct entry *v);

/* ---- autostart.c ---- */
void autostart_after_boot(struct manager *m);
void autostart_stop_all(struct manager *m);

/* ---- host.c ---- */
int host_load(struct manager *m, struct ctl_err *e);
json_t *host_to_json(struct manager *m);
int host_change(struct manager *m, json_t *change, struct ctl_err *e);

/* ---- routes.c: one connection, to its end ---- */
void routes_serve(struct manager *m, int fd);

#endif
