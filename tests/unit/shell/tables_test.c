// SPDX-License-Identifier: MIT
/*
 * Every cmdlet's row, and every parameter in it, given what it cannot take: the binder
 * refuses it with PowerShell's record before anything is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/test.h"
#include "shell/cmdlet.h"
#include "shell/types.h"
#include "shell_fixture.h"

/* Runs "NAME WORDS" and wants the record's id. */
static void refused(const struct cmdlet *c, const char *words, const char *id)
{
	char script[400];
	struct ran r;

	snprintf(script, sizeof(script), "%s %s", c->name, words);
	r = run_script(script);
	if (!strstr(r.err, id) || r.out[0] || r.status != 1)
		test_fail(__FILE__, __LINE__, "%s: want %s, status %d, out \"%s\", err \"%s\"",
			  script, id, r.status, r.out, r.err);
	if (c->class && !strstr(r.err, c->class))
		test_fail(__FILE__, __LINE__, "%s: no %s in \"%s\"", script, c->class, r.err);
	ran_free(&r);
}

static void check_param(const struct cmdlet *c, const struct param *p)
{
	char words[200];

	snprintf(words, sizeof(words), "-%s", p->name);
	if (p->type != T_SWITCH)
		refused(c, words, "FullyQualifiedErrorId : MissingArgument,");
	snprintf(words, sizeof(words), "-%s nonsense", p->name);
	if (p->type == T_INT || p->type == T_ENUM || p->type == T_BOOL || p->type == T_GUID ||
	    p->type == T_OBJECTS)
		refused(c, words, "FullyQualifiedErrorId : CannotConvertArgumentNoMessage,");
	snprintf(words, sizeof(words), "-%s:nonsense", p->name);
	if (p->type == T_SWITCH)
		refused(c, words, "FullyQualifiedErrorId : CannotConvertArgumentNoMessage,");
	snprintf(words, sizeof(words), "-%s @(1,2)", p->name);
	if (p->type == T_STRING || p->type == T_INT || p->type == T_ENUM)
		refused(c, words, "FullyQualifiedErrorId : CannotConvertArgument,");
	snprintf(words, sizeof(words), "-%s $null", p->name);
	if ((p->type == T_STRING && !p->null_ok) || p->type == T_STRINGS || p->type == T_OBJECTS)
		refused(c, words, "ParameterArgumentValidationErrorNullNotAllowed,");
	snprintf(words, sizeof(words), "-%s ''", p->name);
	if ((p->type == T_STRING && !p->null_ok) || p->type == T_STRINGS)
		refused(c, words, "ParameterArgumentValidationErrorEmptyStringNotAllowed,");
	if (!p->range)
		return;
	snprintf(words, sizeof(words), "-%s %lld", p->name, (long long)p->min - 1);
	refused(c, words, "FullyQualifiedErrorId : ParameterArgumentValidationError,");
	snprintf(words, sizeof(words), "-%s %lld", p->name, (long long)p->max + 1);
	refused(c, words, "FullyQualifiedErrorId : ParameterArgumentValidationError,");
	snprintf(words, sizeof(words), "-%s 99999999999999999999999", p->name);
	refused(c, words, "FullyQualifiedErrorId : CannotConvertArgumentNoMessage,");
}

TEST(tables, bad_arguments_of_every_parameter)
{
	const struct cmdlet *c;

	for (unsigned i = 0; (c = cmdlet_at(i)); i++)
		for (const struct param *p = c->params; p->name; p++)
			check_param(c, p);
}

static bool is_greedy(const struct cmdlet *c)
{
	for (const struct param *p = c->params; p->name; p++)
		if (p->rest)
			return true;
	return false;
}

TEST(tables, bad_arguments_of_every_cmdlet)
{
	const struct cmdlet *c;

	for (unsigned i = 0; (c = cmdlet_at(i)); i++) {
		refused(c, "-NoSuchParameter 1", "FullyQualifiedErrorId : NamedParameterNotFound,");
		refused(c, "-Verbose -Verbose", "FullyQualifiedErrorId : ParameterAlreadyBound,");
		refused(c, "-ErrorAction nonsense",
			"FullyQualifiedErrorId : CannotConvertArgumentNoMessage,");
		/* -ErrorAction and -ErrorVariable, -WarningAction and -WhatIf */
		refused(c, "-Er Stop", "FullyQualifiedErrorId : AmbiguousParameter,");
		if (!is_greedy(c))
			refused(c, "a b c d e f g h", "FullyQualifiedErrorId : ");
	}
}

/* Whether the cmdlet wants something in each of its parameter sets. */
static bool always_wants(const struct cmdlet *c)
{
	unsigned nr = 1;

	for (const char *s = c->sets; s && *s; s++)
		nr += *s == '|';
	for (unsigned set = 0; set < nr; set++) {
		bool wants = false;

		for (const struct param *p = c->params; p->name; p++)
			wants |= p->required >> set & 1 && (!p->sets || p->sets >> set & 1);
		if (!wants)
			return false;
	}
	return true;
}

TEST(tables, missing_arguments_of_every_cmdlet)
{
	const struct cmdlet *c;

	for (unsigned i = 0; (c = cmdlet_at(i)); i++)
		if (always_wants(c))
			refused(c, "", "FullyQualifiedErrorId : MissingMandatoryParameter,");
}

TEST(tables, rows_are_whole)
{
	const struct cmdlet *c, *d;
	const char *cmdlet;

	for (unsigned i = 0; (c = cmdlet_at(i)); i++) {
		CHECK(c->run && c->params && c->synopsis && strchr(c->name, '-'));
		CHECK(!c->output || type_find(c->output));
		for (unsigned k = 0; k < i && (d = cmdlet_at(k)); k++)
			CHECK(strcmp(c->name, d->name));
		for (const struct param *p = c->params; p->name; p++)
			CHECK(!p->range || p->min < p->max);
	}
	for (unsigned i = 0; alias_at(i, &cmdlet); i++)
		CHECK(cmdlet_find(cmdlet) != NULL);
}
