// SPDX-License-Identifier: MIT
/* A configuration file from anybody, as the store reads it; then a change from
 * the same bytes, as the API takes it. */
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "control/rules.h"
#include "control/store.h"
#include "fuzz.h"

static const char id[] = "00000000-0000-4000-8000-000000000000";

static void as_file(json_t *j)
{
	struct ctl_err e = { 0 };

	if (!store_check_config(j, id, &e)) {
		/* What was accepted is complete, and is accepted again. */
		if (!config_int(j, "processor.count") || store_check_config(j, id, &e))
			abort();
	} else if (!e.text[0]) {
		abort();
	}
}

static void as_change(const json_t *j)
{
	json_t *config = json_pack("{s:s, s:s}", "id", id, "version", "9.0"), *change = json_deep_copy(j);
	struct ctl_err e = { 0 };
	u64 target;

	api_fill_defaults(&api_vm, config);
	if (!api_check(&api_vm, change, API_FOR_CHANGE, &e)) {
		rules_check_running_memory(config, change, false, &target, &e);
		api_needs_off(&api_vm, change);
		if (!api_merge(&api_vm, config, change))
			rules_check(config, &e);
	}
	json_decref(config);
	json_decref(change);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *j = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);

	if (!j)
		return 0;
	as_change(j);
	as_file(j);
	json_decref(j);
	return 0;
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	static const char *const seeds[] = {
		"{\"id\":\"00000000-0000-4000-8000-000000000000\",\"version\":\"9.0\",\"name\":\"lab\"}",
		"{\"id\":\"00000000-0000-4000-8000-000000000000\",\"version\":\"8.0\",\"generation\":2,"
		"\"processor\":{\"count\":4,\"exposeVirtualizationExtensions\":true},\"memory\":{"
		"\"dynamicMemoryEnabled\":true,\"startupBytes\":1073741824},\"engine\":\"kvm\"}",
		"{\"disks\":[{\"controllerType\":\"SCSI\",\"controllerNumber\":0,\"controllerLocation\":3,"
		"\"path\":\"/a.img\"},{}],\"dvds\":[{\"path\":\"\"}],\"com1\":{\"path\":\"pty\"},\"id\":"
		"\"00000000-0000-4000-8000-000000000000\",\"version\":\"12.0\"}",
		"{\"memory\":{\"startupBytes\":2097153,\"minimumBytes\":33554432,\"buffer\":2000}}",
	};

	if (i >= ARRAY_SIZE(seeds))
		return 0;
	memcpy(to, seeds[i], strlen(seeds[i]));
	return strlen(seeds[i]);
}
