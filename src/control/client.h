/* SPDX-License-Identifier: MIT */
/*
 * The API's client: what the shell, `nestor console` and `nestor top` use. It
 * finds the manager, starts it when there is none, and speaks HTTP to it.
 *
 *	client_open(&c, &e);
 *	client_create_vm(c, settings, &vm, &e);		settings as api_vm
 *	client_set_vm(c, id, json_pack("{s:{s:i}}", "processor", "count", 2), &vm, &e);
 *	client_do(c, id, "start", NULL, NULL, NULL, &vm, &e);
 *	client_close(c);
 *
 * All return 0, or -1 with an error record. Results are new references;
 * arguments of type json_t * may be NULL where nothing is to be said, and are
 * stolen, in case of an error too. One thread per client. What VMs look like is
 * api.h's affair.
 *
 * Reading is repeated by itself when the manager goes away meanwhile; a change is
 * not (CTL_LOST): it was done or not, never by half.
 */
#ifndef NESTOR_CONTROL_CLIENT_H
#define NESTOR_CONTROL_CLIENT_H

#include <jansson.h>

#include "control/api.h"
#include "control/error.h"

struct client;

int client_open(struct client **res, struct ctl_err *e);
void client_close(struct client *c); /* accepts NULL */

/* Any request; @path with its query. @res may be NULL. */
int client_call(struct client *c, const char *method, const char *path, json_t *body,
		json_t **res, struct ctl_err *e);

int client_list_vms(struct client *c, json_t **res, struct ctl_err *e); /* array */
int client_get_vm(struct client *c, const char *id, json_t **res, struct ctl_err *e);
int client_create_vm(struct client *c, json_t *settings, json_t **res, struct ctl_err *e);
int client_set_vm(struct client *c, const char *id, json_t *change, json_t **res,
		  struct ctl_err *e);
int client_remove_vm(struct client *c, const char *id, struct ctl_err *e);

/* A verb of /v1/vms/ID: start, stop, turn-off, save, pause, resume, reset,
 * remove-saved-state, update-version. Returns when it is done. The VM it gives
 * back has "already": true when there was nothing to do. @progress may be NULL. */
typedef void client_progress_fn(void *opaque, unsigned percent);
int client_do(struct client *c, const char *id, const char *verb, json_t *args,
	      client_progress_fn *progress, void *opaque, json_t **res, struct ctl_err *e);

/* @kind is "disks" or "dvds"; @where is "SCSI-0-1". Gives the VM back. */
int client_add_drive(struct client *c, const char *id, const char *kind, json_t *drive,
		     json_t **res, struct ctl_err *e);
int client_set_drive(struct client *c, const char *id, const char *kind, const char *where,
		     json_t *change, json_t **res, struct ctl_err *e);
int client_remove_drive(struct client *c, const char *id, const char *kind, const char *where,
			json_t **res, struct ctl_err *e);

int client_get_vm_events(struct client *c, const char *id, json_t **res, struct ctl_err *e);
int client_get_host(struct client *c, json_t **res, struct ctl_err *e);
int client_set_host(struct client *c, json_t *change, json_t **res, struct ctl_err *e);
int client_get_versions(struct client *c, json_t **res, struct ctl_err *e);

/* A stream of events, on a connection of its own: client_next_event() waits
 * for one (-1 without waiting: never; timeout in ms, -1: for ever). *res is NULL
 * when the time is over. */
int client_watch(struct client *c, struct ctl_err *e);
int client_next_event(struct client *c, int timeout_ms, json_t **res, struct ctl_err *e);

/* The serial port's bytes, both ways, on the descriptor *fd: the caller's to
 * close. *from: what is wanted, then what comes (see API_CONSOLE). */
int client_console(struct client *c, const char *id, unsigned port, u64 *from, int *fd,
		   struct ctl_err *e);

#endif
