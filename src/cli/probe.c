// SPDX-License-Identifier: MIT
/* nestor probe: what this host offers, in words. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "kvm/probe.h"
#include "vm/engine.h"
#include "vm/host.h"

struct probe {
	bool help, complete;
};

static int set_help(void *target, char *value, struct err *e)
{
	(void)value;
	(void)e;
	((struct probe *)target)->help = true;
	return 0;
}

static int set_complete(void *target, char *value, struct err *e)
{
	(void)value;
	(void)e;
	((struct probe *)target)->complete = true;
	return 0;
}

static const struct option_row rows[] = {
	{ "help", NULL, "this help", set_help },
	{ "complete", NULL, "list the options, for shells", set_complete },
};

static const struct option_table table = {
	.command = "nestor probe",
	.synopsis = "",
	.about = "Says what this host offers to virtual machines, and which engine one would get.\n"
		 "KVM is tried with a small guest, for two seconds at most.",
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
};

static void print_processor(const struct host_info *h)
{
	printf("Processor    %s, %u CPU%s%s\n", h->cpu_name, h->nr_cpus, h->nr_cpus == 1 ? "" : "s",
	       h->hypervisor ? "; this host is a virtual machine itself" : "");
	printf("             %s x86-64-v2, which the software engine needs\n",
	       h->x86_64_v2 ? "It has" : "It lacks");
	printf("Vectors      %s%s\n",
	       h->avx2 ? "AVX and AVX2" : h->avx ? "AVX without AVX2" : "SSE only, no AVX",
	       h->avx512 ? ", AVX-512" : ", no AVX-512");
	printf("Others       %s BMI2, %s FSGSBASE\n", h->bmi2 ? "has" : "no",
	       h->fsgsbase ? "has" : "no");
	printf("Hardware     %s\n",
	       h->vmx ? "VT-x is there" : h->svm ? "AMD-V is there" :
	       "neither VT-x nor AMD-V can be seen");
}

static void print_memory(const struct host_info *h)
{
	printf("Memory       %llu MiB free of %llu MiB, %llu MiB of free swap\n",
	       (unsigned long long)h->mem_free >> 20, (unsigned long long)h->mem_total >> 20,
	       (unsigned long long)h->swap_free >> 20);
}

static void print_kvm(const struct kvm_report *r)
{
	if (!r->present || !r->accessible)
		printf("KVM          cannot be used: %s\n", r->why);
	else if (!r->runs_guests)
		printf("KVM          is there, but does not run guests: %s\n", r->why);
	else
		printf("KVM          runs guests: a trial guest ran correctly (%u ms)\n", r->trial_ms);
	if (!r->accessible)
		return;
	bool nested = r->nested_state && r->nested_vmx;
	printf("Nesting      %s\n", nested ? "KVM offers its guests VT-x" :
	       r->nested_svm ? "KVM offers its guests AMD-V, but not VT-x" :
	       "KVM offers its guests neither VT-x nor AMD-V");
}

/* The reason, unless what was said of KVM is the reason. */
static void print_choice(const char *what, bool vmx, const struct kvm_report *kvm)
{
	struct vm_engine_choice choice;
	struct vm_config c;
	struct err e;

	vm_config_init(&c);
	c.expose_vmx = vmx;
	if (vm_engine_choose_by(&c, kvm, &choice, &e)) {
		printf("%s no engine: %s\n", what, e.text);
		return;
	}
	size_t len = kvm->runs_guests ? strlen(choice.why) : strcspn(choice.why, ":");
	printf("%s %.*s\n", what, (int)len, choice.why);
}

int cmd_probe(int argc, char **argv)
{
	struct probe opt = { 0 };
	struct kvm_report kvm;
	struct host_info host;
	struct err e;

	if (options_parse(&table, &opt, argc, argv, &e)) {
		log_err("%s", e.text);
		return STATUS_NOT_STARTED;
	}
	if (opt.help || opt.complete) {
		(opt.help ? options_help : options_complete)(&table, stdout);
		return STATUS_OK;
	}
	host_info_get(&host);
	kvm_probe(&kvm);
	print_processor(&host);
	print_memory(&host);
	print_kvm(&kvm);
	print_choice("Engine       of a VM:", false, &kvm);
	print_choice("             of a VM that runs VMs:", true, &kvm);
	return STATUS_OK;
}
