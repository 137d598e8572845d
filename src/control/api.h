/* SPDX-License-Identifier: MIT */
/*
 * The one description of the API: objects with their fields, and routes. From
 * it come the checks of requests, the defaults of a new VM, what the store
 * accepts from a file, completion in the shell, and the reference page
 * (`nestor api-reference`).
 *
 *	for (unsigned i = 0; i < api_vm.nr_fields; i++) ... api_vm.fields[i].name
 *	f = api_find_field(&api_vm, "processor.count");
 *
 * Constant data and pure functions: any thread.
 *
 * Names are Hyper-V's property names with a small first letter; those that Hyper-V
 * does not have say so in their text.
 */
#ifndef NESTOR_CONTROL_API_H
#define NESTOR_CONTROL_API_H

#include <jansson.h>
#include <stdio.h>

#include "control/error.h"

enum api_type {
	API_BOOL,
	API_INT,    /* min, max, multiple */
	API_STRING, /* min and max are of its length in bytes; no control characters */
	API_TEXT,   /* the same, lines allowed */
	API_PATH,   /* absolute, or "" for none */
	API_WORD,   /* one of words, upper and lower case taken as equal */
	API_OBJECT, /* of object */
	API_ARRAY,  /* of object's */
};

/* When a field may be given. */
enum api_when {
	API_READ_ONLY,
	API_AT_CREATION, /* and never changed */
	API_WHILE_OFF,
	API_WHILE_OFF_OR_RULED, /* else by rules of its own: memory */
	API_ANY_TIME,
};

struct api_field {
	const char *name;
	enum api_type type;
	enum api_when when;
	const char *def; /* JSON; NULL: none, so the field may be missing */
	s64 min, max, multiple;
	const char *unit;
	const char *const *words; /* NULL-terminated */
	const struct api_object *object;
	const char *doc;
};

struct api_object {
	const char *name, *doc;
	const struct api_field *fields;
	unsigned nr_fields;
};

extern const struct api_object api_vm, api_processor, api_memory, api_firmware, api_com_port,
	api_disk, api_dvd, api_integration_service, api_host, api_event, api_version;
/* Arguments of operations. */
extern const struct api_object api_stop_args, api_empty;

enum api_op {
	API_GET_API,
	API_GET_HOST,
	API_SET_HOST,
	API_GET_VERSIONS,
	API_HOST_STOP,
	API_GET_EVENTS,
	API_LIST_VMS,
	API_CREATE_VM,
	API_GET_VM,
	API_SET_VM,
	API_REMOVE_VM,
	API_ADD_DISK,
	API_SET_DISK,
	API_REMOVE_DISK,
	API_ADD_DVD,
	API_SET_DVD,
	API_REMOVE_DVD,
	API_GET_VM_EVENTS,
	API_START,
	API_STOP,
	API_TURN_OFF,
	API_SAVE,
	API_PAUSE,
	API_RESUME,
	API_RESET,
	API_REMOVE_SAVED_STATE,
	API_UPDATE_VERSION,
	API_CONSOLE,
	API_NR_OPS
};

struct api_route {
	enum api_op op;
	const char *method;
	const char *path; /* {id} and {where} stand for one part */
	const struct api_object *body; /* NULL: none */
	const char *doc;
};
extern const struct api_route api_routes[API_NR_OPS];

/* @path without the query. Parts that match {...} are written to @parts, in order,
 * NUL-terminated. NULL: there is none; @path_known: but with another method. */
enum { API_MAX_PARTS = 2, API_PART_SIZE = 64 };
const struct api_route *api_find_route(const char *method, const char *path,
				       char parts[API_MAX_PARTS][API_PART_SIZE],
				       bool *path_known);

/* @name may have dots; case does not matter. NULL: there is none. */
const struct api_field *api_find_field(const struct api_object *o, const char *name);

enum api_use {
	API_FOR_CREATION, /* a request that makes something */
	API_FOR_CHANGE,	  /* a request that changes something */
	API_FOR_STORE,	  /* what the store has written, or somebody by hand */
};
/* Are all fields of @j known, allowed for this use, and in range? Words get the
 * case of the table. */
int api_check(const struct api_object *o, json_t *j, enum api_use use, struct ctl_err *e);
/* The first field of the change @j that wants the VM off; NULL: none. */
const struct api_field *api_needs_off(const struct api_object *o, const json_t *j);
/* Adds what is missing and has a default. 0, or -1 when memory is out. */
int api_fill_defaults(const struct api_object *o, json_t *j);
/* Puts the fields of @change into @j: objects field by field, arrays whole. */
int api_merge(const struct api_object *o, json_t *j, const json_t *change);

/* The whole description, and the same as a page. */
json_t *api_to_json(void);
void api_print_reference(FILE *to);

/* ---- Configuration versions ---- */

struct api_version_row {
	const char *version, *name;
	bool preview; /* only when asked for */
};
extern const struct api_version_row api_versions[];
extern const unsigned api_nr_versions;
extern const char api_default_version[];
/* Less than, equal to, or greater than 0. */
int api_compare_versions(const char *a, const char *b);

#endif
