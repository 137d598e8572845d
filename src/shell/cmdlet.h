/* SPDX-License-Identifier: MIT */
/*
 * Cmdlets as rows: binding, completion and help come from them.
 *
 *	static const struct param get_vm_params[] = {
 *		{ "Name", T_STRINGS, .alias = "VMName", .pos = 1, .sets = 1, .by_value = true,
 *		  .help = "Names, with wildcards." },
 *		{ "Id", T_GUID, .sets = 2, .required = 2 },
 *		{ 0 }
 *	};
 *	{ "Get-VM", .class = "Microsoft.HyperV.PowerShell.Commands.GetVM",
 *	  .params = get_vm_params, .sets = "Name|Id", .run = get_vm },
 *
 * To add one: a row in a file of cmdlets/, the table in cmdlet.c, a test.
 */
#ifndef NESTOR_SHELL_CMDLET_H
#define NESTOR_SHELL_CMDLET_H

#include "shell/shell_internal.h"

enum param_type {
	T_ANY,
	T_STRING,
	T_STRINGS,
	T_BOOL,
	T_SWITCH,
	T_INT, /* min..max */
	T_INTS,
	T_ENUM, /* words */
	T_ENUMS,
	T_GUID,
	T_BLOCK,
	T_BLOCKS,
	T_HASH,
	T_OBJECT, /* of the type that `words` names */
	T_OBJECTS,
	T_PROPERTIES, /* names, or hash tables with Name/Label and Expression, or blocks */
};

struct param {
	const char *name;
	enum param_type type;
	const char *alias;   /* "A|B" */
	u8 pos;		     /* from 1; 0: by name only */
	u8 sets;	     /* bits of the parameter sets it is in; 0: all */
	u8 required;	     /* bits of the sets that want it; 0xff: all */
	bool by_value;	     /* binds to objects from the pipeline */
	const char *by_name; /* binds to these properties of them, "A|B" */
	bool range;	     /* min and max count */
	s64 min, max;
	const char *words;    /* T_ENUM: the values; T_OBJECT: the type's tag */
	const char *net_type; /* as binder errors name it; NULL: by type */
	const char *net_enum; /* likewise for enumerations */
	bool null_ok;	      /* $null and "" are values */
	bool rest;	      /* takes all remaining arguments */
	const char *help;
};

struct call;

struct cmdlet {
	const char *name;
	const char *class
		; /* second half of FullyQualifiedErrorId; NULL: Microsoft.PowerShell.Commands */
	const char *synopsis;
	const struct param *params;
	const char *sets;   /* names of the parameter sets, "Name|Id" */
	const char *output; /* tag of what it writes */
	/* Once for each object from the pipeline, or once without; false with flow. */
	bool (*run)(struct call *c);
	/* All input is in c->input. */
	bool all_input;
	bool changes;	       /* has -WhatIf and -Confirm */
	bool hyperv;	       /* has -ComputerName and its like */
	const char *will;      /* "will remove virtual machine \"%s\"." */
	const char *asks;      /* the question, asked before it runs; NULL: none */
	const char *operation; /* in place of `will`: "Performing the operation ..." */
	const char *examples;
	const char *shell_note; /* what differs from the original */
};

/* One cmdlet at work. */
struct call {
	struct shell *sh;
	const struct cmdlet *cmdlet;
	const struct node *at; /* N_COMMAND */
	json_t *args;	       /* from the command line: name to value */
	json_t *bound;	       /* and from this object of the pipeline */
	json_t *input;	       /* all_input: array, or NULL without a pipeline */
	json_t *item;	       /* the object from the pipeline, or NULL */
	json_t *out;
	u32 sets; /* bits of the parameter sets that are still possible */
	enum { ACTION_CONTINUE, ACTION_SILENT, ACTION_IGNORE, ACTION_STOP } on_error, on_warning;
	bool verbose, what_if;
	enum { CONFIRM_DEFAULT, CONFIRM_YES, CONFIRM_NO } confirm;
	bool from_argv;
	json_t *written_errors; /* for -ErrorVariable */
	void *state;
};

/* cmdlet.c */
const struct cmdlet *cmdlet_find(const char *name); /* or by its alias */
const struct cmdlet *cmdlet_at(unsigned i);	    /* NULL behind the last */
const char *alias_of(const char *name);		    /* the cmdlet's name, or NULL */
const char *alias_at(unsigned i, const char **cmdlet);
extern const struct param common_params[], change_params[], hyperv_params[];

/* What is bound to a parameter; NULL, "", 0 or false without. */
json_t *arg(const struct call *c, const char *name);
const char *arg_text(const struct call *c, const char *name);
s64 arg_int(const struct call *c, const char *name, s64 otherwise);
bool arg_true(const struct call *c, const char *name);

/* Writes an object to the pipeline; takes the reference. */
void cmd_write(struct call *c, json_t *v);
/* An error that does not end the cmdlet. False (with flow) when -ErrorAction Stop
 * makes it end. @f: category, id, exception, target. */
bool cmd_error(struct call *c, const struct fault *f, const char *fmt, ...) PRINTF(3, 4);
void cmd_warning(struct call *c, const char *fmt, ...) PRINTF(2, 3);
void cmd_verbose(struct call *c, const char *fmt, ...) PRINTF(2, 3);
/* -WhatIf, -Confirm and questions, for one target. True: do it. */
bool cmd_should(struct call *c, const char *target);

/* bind.c: runs @cmdlet with arguments as the command's nodes (or @argv) have them.
 * @input: the pipeline's objects, NULL for none. */
bool cmdlet_run(struct shell *sh, const struct cmdlet *cmdlet, const struct node *at, json_t *input,
		json_t *out, bool from_argv);

/* convert.c: @v as parameter @p wants it, borrowed; NULL with flow. */
json_t *convert_arg(struct call *c, const struct param *p, json_t *v, const struct node *at);
const char *param_net_type(const struct param *p);
/* A plain value of a command's argument. */
json_t *plain_value(struct shell *sh, json_t *v);

/* Tables of cmdlets/, each up to a row without name. */
extern const struct cmdlet utility_cmdlets[], object_cmdlets[], format_cmdlets[], help_cmdlets[],
	vm_cmdlets[], vm_device_cmdlets[], drive_cmdlets[], host_cmdlets[];

#endif
