// SPDX-License-Identifier: MIT
/* Names of VMs on the command line. */
#include "cli/vmname.h"

#include <stdio.h>
#include <string.h>

#include "control/rules.h"

int vmname_find(struct client *c, const char *name, char id[40], struct ctl_err *e)
{
	unsigned found = 0;
	json_t *all, *v;
	size_t i;

	if (client_list_vms(c, &all, e))
		return -1;
	json_array_foreach(all, i, v) {
		if (strcasecmp(config_string(v, "name"), name) && strcasecmp(config_string(v, "id"), name))
			continue;
		snprintf(id, 40, "%s", config_string(v, "id"));
		found++;
	}
	json_decref(all);
	ctl_error_target(e, name);
	if (!found)
		return ctl_error(e, CTL_NOT_FOUND, "Hyper-V was unable to find a virtual machine with name "
				 "\"%s\".", name);
	if (found > 1)
		return ctl_error(e, CTL_INVALID_ARGUMENT, "There are %u virtual machines with the name \"%s\": "
				 "give the id of one.", found, name);
	return 0;
}

bool vmname_state_runs(const char *state)
{
	return strcmp(state, "Off") && strcmp(state, "Saved") && strcmp(state, "OffCritical");
}
