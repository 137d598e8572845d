// SPDX-License-Identifier: MIT
#include "control/rules.h"

#include <string.h>

#include "../../lib/test.h"

static json_t *vm(const char *wish)
{
	json_t *j = json_loads(wish, 0, NULL);

	json_object_set_new(j, "id", json_string("00000000-0000-4000-8000-000000000000"));
	if (!json_object_get(j, "version"))
		json_object_set_new(j, "version", json_string(api_default_version));
	api_fill_defaults(&api_vm, j);
	return j;
}

static int rule(const char *wish, struct ctl_err *e)
{
	json_t *j = vm(wish);
	int r = rules_check(j, e);

	json_decref(j);
	return r;
}

TEST(rules, nesting_wants_version_8)
{
	struct ctl_err e;

	CHECK_EQ(rule("{\"processor\":{\"exposeVirtualizationExtensions\":true}}", &e), 0);
	CHECK_EQ(rule("{\"version\":\"8.0\",\"processor\":{\"exposeVirtualizationExtensions\":true}}", &e), 0);
	CHECK_EQ(rule("{\"version\":\"7.1\",\"processor\":{\"exposeVirtualizationExtensions\":true}}", &e), -1);
	CHECK(!strncmp(e.text, "Failed to modify device 'Processor'.\n", 37));
	CHECK_STR(e.category, "NotSupported");
	CHECK_EQ(rule("{\"version\":\"7.3\"}", &e), -1);
}

TEST(rules, memory_is_even_and_ordered)
{
	struct ctl_err e;

	CHECK_EQ(rule("{\"name\":\"X\",\"memory\":{\"startupBytes\":1073741825}}", &e), -1);
	CHECK_STR(e.text, "Invalid memory value assigned for 'X'. The memory value assigned ('1024' MB) is "
			  "not properly aligned. Try again with a memory value that is properly aligned.");
	CHECK_EQ(rule("{\"memory\":{\"startupBytes\":268435456}}", &e), 0);
	CHECK_EQ(rule("{\"memory\":{\"startupBytes\":268435456,\"dynamicMemoryEnabled\":true}}", &e), -1);
}

static enum ctl_kind running_memory(const char *wish, const char *change, bool active, u64 *target)
{
	json_t *j = vm(wish), *c = json_loads(change, 0, NULL);
	struct ctl_err e = { 0 };

	rules_check_running_memory(j, c, active, target, &e);
	json_decref(j);
	json_decref(c);
	return e.kind;
}

TEST(rules, running_memory_follows_the_reference)
{
	static const char fixed[] = "{}", dynamic[] = "{\"memory\":{\"dynamicMemoryEnabled\":true}}";
	static const char start[] = "{\"memory\":{\"startupBytes\":1073741824}}";
	u64 target;

	CHECK_EQ(running_memory(fixed, start, false, &target), CTL_OK);
	CHECK_EQ(target, GIB(1));
	CHECK_EQ(running_memory(fixed, start, true, &target), CTL_WRONG_STATE);
	CHECK_EQ(running_memory(dynamic, start, false, &target), CTL_WRONG_STATE);
	CHECK_EQ(running_memory(dynamic, "{\"memory\":{\"minimumBytes\":268435456}}", true, &target), CTL_OK);
	CHECK_EQ(target, 0);
	CHECK_EQ(running_memory(dynamic, "{\"memory\":{\"minimumBytes\":1073741824}}", false, &target),
		 CTL_WRONG_STATE);
	CHECK_EQ(running_memory(fixed, "{\"memory\":{\"buffer\":30}}", true, &target), CTL_OK);
}

TEST(rules, drives_get_places_and_share_none)
{
	json_t *j = vm("{\"disks\":[{},{\"controllerType\":\"SCSI\"},{}],\"dvds\":[{}]}");
	struct ctl_err e;

	CHECK_EQ(rules_check(j, &e), 0);
	CHECK_EQ(rules_find_drive(j, "disks", "ide-0-0"), 0);
	CHECK_EQ(rules_find_drive(j, "disks", "SCSI-0-0"), 1);
	CHECK_EQ(rules_find_drive(j, "disks", "IDE-0-1"), 2);
	CHECK_EQ(rules_find_drive(j, "dvds", "IDE-1-0"), 0);
	CHECK_EQ(rules_find_drive(j, "dvds", "IDE-1-1"), -1);
	json_decref(j);
	CHECK_EQ(rule("{\"disks\":[{},{},{},{},{}]}", &e), -1); /* IDE has four places */
	CHECK_EQ(rule("{\"generation\":2,\"disks\":[{\"controllerType\":\"IDE\"}]}", &e), -1);
	CHECK_EQ(rule("{\"disks\":[{\"controllerType\":\"IDE\",\"controllerNumber\":0,\"controllerLocation\":0},"
		      "{\"controllerType\":\"IDE\",\"controllerNumber\":0,\"controllerLocation\":0}]}", &e), -1);
	CHECK_EQ(rule("{\"disks\":[{\"path\":\"/x.VHDX\"}]}", &e), -1);
	CHECK_EQ(e.kind, CTL_NOT_AVAILABLE);
}

TEST(rules, names_have_at_most_100_characters)
{
	struct ctl_err e;
	char wish[400] = "{\"name\":\"";

	for (unsigned i = 0; i < 100; i++)
		strcat(wish, "\xc3\xa4");
	strcat(wish, "\"}");
	CHECK_EQ(rule(wish, &e), 0);
	strcpy(wish + strlen(wish) - 2, "x\"}");
	CHECK_EQ(rule(wish, &e), -1);
}
