// SPDX-License-Identifier: MIT
/* The option table's driver: forms of options, hints, help. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "../../lib/test.h"

struct target {
	char *name;
	bool flag;
	int nr_set;
};

static int set_name(void *t, char *value, struct err *e)
{
	if (!strcmp(value, "bad"))
		return err_set(e, "--name bad is refused");
	((struct target *)t)->name = value;
	((struct target *)t)->nr_set++;
	return 0;
}

static int set_flag(void *t, char *value, struct err *e)
{
	(void)e;
	CHECK(!value);
	((struct target *)t)->flag = true;
	return 0;
}

static const struct option_row rows[] = {
	{ "name", "NAME", "a name", set_name },
	{ "no-reboot", NULL, "a flag", set_flag },
	{ "expose-virtualization-extensions", NULL, "a long one", set_flag },
};
static const struct option_table table = { "nestor x", "", "About.", rows, ARRAY_SIZE(rows), NULL };

static int parse(struct target *t, struct err *e, char *a, char *b)
{
	char *argv[] = { a, b };

	*t = (struct target){ 0 };
	e->text[0] = 0;
	return options_parse(&table, t, b ? 2 : 1, argv, e);
}

TEST(options, value_in_next_word_or_after_equals)
{
	struct target t;
	struct err e;
	char name[] = "--name", value[] = "v", both[] = "--name=w=1", flag[] = "--no-reboot";

	CHECK_EQ(parse(&t, &e, name, value), 0);
	CHECK_STR(t.name, "v");
	CHECK_EQ(parse(&t, &e, both, flag), 0);
	CHECK_STR(t.name, "w=1");
	CHECK(t.flag);
}

TEST(options, refusals_say_what_is_wrong)
{
	struct target t;
	struct err e;
	char name[] = "--name", bad[] = "--name=bad", flag[] = "--no-reboot=1", word[] = "word";

	CHECK_EQ(parse(&t, &e, name, NULL), -1);
	CHECK_STR(e.text, "option --name needs a value: NAME");
	CHECK_EQ(parse(&t, &e, bad, NULL), -1);
	CHECK_STR(e.text, "--name bad is refused");
	CHECK_EQ(parse(&t, &e, flag, NULL), -1);
	CHECK_STR(e.text, "option --no-reboot takes no value");
	CHECK_EQ(parse(&t, &e, word, NULL), -1);
	CHECK_STR(e.text, "unexpected argument word: see nestor x --help");
}

TEST(options, unknown_names_the_nearest)
{
	struct target t;
	struct err e;
	char near1[] = "--nam", near2[] = "--noreboot", near3[] = "--expose", far[] = "--qqqqqqq";

	CHECK_EQ(parse(&t, &e, near1, NULL), -1);
	CHECK_STR(e.text, "unknown option --nam: did you mean --name?");
	CHECK_EQ(parse(&t, &e, near2, NULL), -1);
	CHECK_STR(e.text, "unknown option --noreboot: did you mean --no-reboot?");
	CHECK_EQ(parse(&t, &e, near3, NULL), -1);
	CHECK_STR(e.text, "unknown option --expose: did you mean --expose-virtualization-extensions?");
	CHECK_EQ(parse(&t, &e, far, NULL), -1);
	CHECK_STR(e.text, "unknown option --qqqqqqq: see nestor x --help");
}

TEST(options, help_lists_every_row)
{
	char buf[4096] = "";
	FILE *f = fmemopen(buf, sizeof(buf), "w");

	options_help(&table, f);
	fclose(f);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		CHECK(strstr(buf, rows[i].name) && strstr(buf, rows[i].help));
}
