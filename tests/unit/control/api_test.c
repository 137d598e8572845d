// SPDX-License-Identifier: MIT
#include "control/api.h"

#include <string.h>

#include "../../lib/test.h"
#include "control/rules.h"

static int check(const char *json, enum api_use use, struct ctl_err *e)
{
	json_t *j = json_loads(json, 0, NULL);
	int r = api_check(&api_vm, j, use, e);

	json_decref(j);
	return r;
}

static int check_object_rows(const struct api_object *o)
{
	for (unsigned i = 0; i < o->nr_fields; i++) {
		const struct api_field *f = &o->fields[i];

		CHECK(f->name && f->doc && *f->doc);
		CHECK(f->type != API_WORD || f->words);
		CHECK((f->type != API_OBJECT && f->type != API_ARRAY) || f->object);
		CHECK(f->type != API_INT || f->min < f->max);
		if (f->object)
			check_object_rows(f->object);
	}
	return 0;
}

TEST(api, rows_are_complete_and_defaults_are_valid)
{
	json_t *j = json_object();
	struct ctl_err e;

	check_object_rows(&api_vm);
	check_object_rows(&api_host);
	CHECK_EQ(api_fill_defaults(&api_vm, j), 0);
	CHECK_EQ(api_check(&api_vm, j, API_FOR_STORE, &e), 0);
	CHECK_EQ(config_int(j, "processor.count"), 1);
	CHECK_EQ(json_array_size(json_object_get(j, "integrationServices")), 6);
	json_decref(j);
}

TEST(api, every_route_finds_itself)
{
	char parts[API_MAX_PARTS][API_PART_SIZE];
	bool known;

	for (unsigned i = 0; i < API_NR_OPS; i++) {
		const struct api_route *r = &api_routes[i];

		CHECK_EQ(r->op, i);
		CHECK(api_find_route(r->method, r->path, parts, &known) == r);
	}
	CHECK(!api_find_route("PUT", "/v1/vms", parts, &known) && known);
	CHECK(!api_find_route("GET", "/v1/vms/", parts, &known) && !known);
	CHECK(!api_find_route("GET", "/v1/vms/a/b/c", parts, &known) && !known);
	CHECK(api_find_route("DELETE", "/v1/vms/a/disks/IDE-0-1", parts, &known) ==
	      &api_routes[API_REMOVE_DISK]);
	CHECK_STR(parts[0], "a");
	CHECK_STR(parts[1], "IDE-0-1");
}

TEST(api, values_out_of_range_are_refused_by_name)
{
	struct ctl_err e;

	CHECK_EQ(check("{\"processor\":{\"count\":0}}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(e.kind, CTL_INVALID_ARGUMENT);
	CHECK(strstr(e.text, "'processor.count'"));
	CHECK_EQ(check("{\"processor\":{\"count\":\"2\"}}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(check("{\"name\":\"\"}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(check("{\"name\":\"a\\nb\"}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(check("{\"notes\":\"a\\nb\"}", API_FOR_CHANGE, &e), 0);
	CHECK_EQ(check("{\"firmware\":{\"kernelPath\":\"x\"}}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(check("{\"disks\":[{\"controllerType\":\"USB\"}]}", API_FOR_CHANGE, &e), -1);
}

TEST(api, fields_that_are_unknown_or_not_for_this_use_are_refused)
{
	struct ctl_err e;

	CHECK_EQ(check("{\"processor\":{\"cores\":2}}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(e.kind, CTL_INVALID_PARAMETER);
	CHECK(strstr(e.text, "'processor.cores'"));
	CHECK_EQ(check("{\"state\":\"Off\"}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(check("{\"generation\":2}", API_FOR_CHANGE, &e), -1);
	CHECK_EQ(check("{\"generation\":2}", API_FOR_CREATION, &e), 0);
	CHECK_EQ(check("{\"revision\":2}", API_FOR_CHANGE, &e), 0);
}

TEST(api, words_get_the_case_of_the_table)
{
	json_t *j = json_loads("{\"engine\":\"softWARE\"}", 0, NULL);
	struct ctl_err e;

	CHECK_EQ(api_check(&api_vm, j, API_FOR_CHANGE, &e), 0);
	CHECK_STR(config_string(j, "engine"), "Software");
	json_decref(j);
}

TEST(api, fields_are_found_by_dotted_names_in_any_case)
{
	CHECK_STR(api_find_field(&api_vm, "Processor.COUNT")->name, "count");
	CHECK(!api_find_field(&api_vm, "processor.cores"));
	CHECK(!api_find_field(&api_vm, "name.x"));
}

TEST(api, what_wants_the_vm_off)
{
	json_t *any = json_loads("{\"notes\":\"x\",\"processor\":{\"reserve\":5}}", 0, NULL);
	json_t *off = json_loads("{\"processor\":{\"exposeVirtualizationExtensions\":true}}", 0, NULL);

	CHECK(!api_needs_off(&api_vm, any));
	CHECK_STR(api_needs_off(&api_vm, off)->name, "exposeVirtualizationExtensions");
	json_decref(any);
	json_decref(off);
}

TEST(api, changes_merge_objects_field_by_field)
{
	json_t *j = json_object(), *change = json_loads("{\"processor\":{\"count\":4}}", 0, NULL);

	api_fill_defaults(&api_vm, j);
	CHECK_EQ(api_merge(&api_vm, j, change), 0);
	CHECK_EQ(config_int(j, "processor.count"), 4);
	CHECK_EQ(config_int(j, "processor.maximum"), 100);
	json_decref(j);
	json_decref(change);
}

TEST(api, versions_are_numbers)
{
	CHECK(api_compare_versions("10.0", "9.3") > 0);
	CHECK(api_compare_versions("8.0", "8.0") == 0);
	CHECK(api_compare_versions("5.0", "8.0") < 0);
	CHECK(api_compare_versions("8.1", "8.2") < 0);
}
