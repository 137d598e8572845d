/* SPDX-License-Identifier: MIT */
/*
 * The state folder on disk:
 *
 *	lock                 held by the manager
 *	api.sock manager.log
 *	host.json            settings of the host; the boot at which they were written
 *	vms/GUID/            one VM:
 *		config.json      its settings, readable, replaced atomically
 *		events.log       what happened to it, a JSON object a line
 *		worker.lock      held by the process that runs it, as long as it lives
 *		worker.json      about that process; what is there without the lock
 *		                 held tells how it ended
 *		worker.sock worker.log
 *		saved.state      of Save-VM; a file without its mark is none
 *		autostart        it ran when the machine shut down
 *	vms/.new-GUID .gone-GUID   a VM being made or removed when the machine stopped
 *
 * Every change is one rename, so that a crash leaves all of it or nothing. One
 * process, the holder of the lock, changes it; workers write their own files. A
 * struct store is constant after store_open(); a VM's folder belongs to the
 * thread that holds the VM's lock.
 */
#ifndef NESTOR_CONTROL_STORE_H
#define NESTOR_CONTROL_STORE_H

#include "control/error.h"
#include "control/paths.h"

enum { STORE_ID_SIZE = 37, BOOT_ID_SIZE = 64 };

struct store {
	char path[STATE_PATH_MAX];
	int dir, vms; /* descriptors */
	int lock;
	bool was_locked; /* store_open() failed since another has it */
};

int store_open(struct store *s, const char *path, struct ctl_err *e);
void store_close(struct store *s);

/* Calls @fn for every VM's folder; unfinished ones are cleaned away before. */
void store_scan(struct store *s, void (*fn)(void *opaque, const char *id), void *opaque);

void store_new_id(char id[STORE_ID_SIZE]);
bool store_id_valid(const char *id); /* 8-4-4-4-12 small hexadecimal digits */

/* The folder with the configuration in it; *dir is its descriptor. */
int store_create_vm(struct store *s, const char *id, const json_t *config, int *dir,
		    struct ctl_err *e);
int store_open_vm(struct store *s, const char *id, struct ctl_err *e); /* descriptor or -1 */
int store_remove_vm(struct store *s, const char *id, struct ctl_err *e);

int store_write_config(int dir, const json_t *config, struct ctl_err *e);
/* Read, checked by the API's tables and by rules, with all fields. */
int store_read_config(int dir, const char *id, json_t **config, struct ctl_err *e);
int store_check_config(json_t *config, const char *id, struct ctl_err *e);

/* One line to the VM's log; @text is a sentence. Best effort. */
void store_log(int dir, const char *type, const char *text);
json_t *store_read_log(int dir);

/* A mark is a file that is there or not. */
int store_set_mark(int dir, const char *name, bool on, struct ctl_err *e);
bool store_has_mark(int dir, const char *name);

/* Does a process have the VM's worker.lock? */
bool store_worker_alive(int dir);
/* Takes it for a new worker; descriptor or -1. Its copies hold it too. */
int store_lock_worker(int dir);
void store_wait_worker_end(int dir);

void store_boot_id(char id[BOOT_ID_SIZE]); /* of this run of the machine */

#endif
