// SPDX-License-Identifier: MIT
/* nestor run: one VM in the foreground. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cpu/dump.h"
#include "cpu/model.h"
#include "cpu/trace.h"
#include "vm/engine.h"
#include "vm/snapshot.h"
#include "vm/terminal.h"
#include "vm/vm.h"

struct run {
	struct vm_config config;
	bool quiet, help, version, complete, cpu_list, trace_list, verbose;
	bool serial_given;
	const struct engine_ops *engine;
	struct vm *vm;
	int signal_fd;
};

/* ---- Options ---- */

#define FLAG_SETTER(name, member)                                                                  \
	static int name(void *target, char *value, struct err *e)                                  \
	{                                                                                          \
		(void)value;                                                                       \
		(void)e;                                                                           \
		((struct run *)target)->member = true;                                             \
		return 0;                                                                          \
	}
FLAG_SETTER(set_expose, config.expose_vmx)
FLAG_SETTER(set_debug_exit, config.debug_exit)
FLAG_SETTER(set_no_reboot, config.no_reboot)
FLAG_SETTER(set_stats, config.stats)
FLAG_SETTER(set_quiet, quiet)
FLAG_SETTER(set_verbose, verbose)
FLAG_SETTER(set_version, version)
FLAG_SETTER(set_help, help)
FLAG_SETTER(set_complete, complete)

#define STRING_SETTER(name, member)                                                                \
	static int name(void *target, char *value, struct err *e)                                  \
	{                                                                                          \
		(void)e;                                                                           \
		((struct run *)target)->member = value;                                            \
		return 0;                                                                          \
	}
STRING_SETTER(set_kernel, config.kernel)
STRING_SETTER(set_append, config.append)
STRING_SETTER(set_gdb, config.gdb)

#define PARSE_SETTER(name, parse, member)                                                          \
	static int name(void *target, char *value, struct err *e)                                  \
	{                                                                                          \
		return parse(value, &((struct run *)target)->member, e);                           \
	}
PARSE_SETTER(set_engine, vm_parse_engine, config.engine)
PARSE_SETTER(set_cpus, vm_parse_cpus, config.nr_cpus)
PARSE_SETTER(set_compare, vm_parse_compare, config.compare)
PARSE_SETTER(set_memory, vm_parse_memory, config.memory)
PARSE_SETTER(set_nic, vm_parse_nic, config)

static int set_timeout(void *target, char *value, struct err *e)
{
	return vm_parse_seconds("--timeout", value, &((struct run *)target)->config.timeout_ns, e);
}

static int set_save_every(void *target, char *value, struct err *e)
{
	return vm_parse_seconds("--test-save", value,
				&((struct run *)target)->config.save_every_ns, e);
}

static int set_cpu(void *target, char *value, struct err *e)
{
	struct run *r = target;

	(void)e;
	r->cpu_list = !strcmp(value, "help");
	r->config.cpu = value;
	return 0;
}

static int set_trace(void *target, char *value, struct err *e)
{
	struct run *r = target;

	(void)e;
	r->trace_list = !strcmp(value, "help");
	r->config.trace = value;
	return 0;
}

static int set_initrd(void *target, char *value, struct err *e)
{
	struct vm_config *c = &((struct run *)target)->config;

	if (c->nr_initrds == VM_MAX_INITRDS)
		return err_set(e, "--initrd can be given at most %d times", VM_MAX_INITRDS);
	c->initrds[c->nr_initrds++] = value;
	return 0;
}

static int set_disk(void *target, char *value, struct err *e)
{
	struct vm_config *c = &((struct run *)target)->config;

	if (c->nr_disks == VM_MAX_DISKS)
		return err_set(e, "--disk can be given at most %d times", VM_MAX_DISKS);
	return vm_parse_disk(value, &c->disks[c->nr_disks++], e);
}

static int set_serial(void *target, char *value, struct err *e)
{
	struct run *r = target;
	struct vm_config *c = &r->config;

	r->serial_given = true;
	if (c->nr_serials == VM_MAX_SERIALS)
		return err_set(e, "--serial can be given at most %d times", VM_MAX_SERIALS);
	return vm_parse_serial("--serial", value, &c->serials[c->nr_serials++], e);
}

static int set_console(void *target, char *value, struct err *e)
{
	return vm_parse_serial("--console", value, &((struct run *)target)->config.console, e);
}

static const struct option_row rows[] = {
	{ "engine", "auto|soft|kvm", "what executes the guest (auto)", set_engine },
	{ "cpus", "N", "number of vCPUs (1)", set_cpus },
	{ "memory", "SIZE", "size of memory, such as 2G (512M)", set_memory },
	{ "kernel", "FILE", "Linux bzImage, PVH or multiboot ELF to boot", set_kernel },
	{ "initrd", "FILE", "initial RAM disk or multiboot module; repeatable", set_initrd },
	{ "append", "STRING", "the kernel's command line", set_append },
	{ "disk", "FILE[,readonly]", "raw disk image (virtio-blk); repeatable", set_disk },
	{ "nic", "none|user[,hostfwd=...]",
	  "network card behind NAT (none); hostfwd=tcp:HOST:PORT-:GUESTPORT", set_nic },
	{ "serial", "stdio|none|file:FILE|pty", "serial port (stdio); repeatable", set_serial },
	{ "console", "stdio|none|file:FILE|pty", "virtio console, hvc0 in Linux (none)", set_console },
	{ "expose-virtualization-extensions", NULL, "the guest may run VMs itself: VT-x and EPT",
	  set_expose },
	{ "cpu", "MODEL[,+FEATURE][,-FEATURE]", "processor model; `help` lists them", set_cpu },
	{ "debug-exit", NULL, "a write of CODE to port 0xf4 ends with status CODE * 2 + 1",
	  set_debug_exit },
	{ "no-reboot", NULL, "end at a reset", set_no_reboot },
	{ "timeout", "SECONDS", "end after this time with status 124", set_timeout },
	{ "gdb", "[HOST:]PORT", "wait there for a debugger, the VM stopped", set_gdb },
	{ "trace", "LIST", "write trace points to standard error; `help` lists them", set_trace },
	{ "compare", "N", "end where a block's first N runs differ from its instructions'", set_compare },
	{ "stats", NULL, "print counters at the end", set_stats },
	{ "test-save", "SECONDS", "every so often save the VM, destroy it, and go on with a new one",
	  set_save_every },
	{ "quiet", NULL, "do not say which engine was taken", set_quiet },
	{ "verbose", NULL, "log what happens inside", set_verbose },
	{ "version", NULL, "print the version", set_version },
	{ "help", NULL, "this help", set_help },
	{ "complete", NULL, "list the options, for shells", set_complete },
};

static const struct option_table table = {
	.command = "nestor run",
	.synopsis = "--kernel FILE [OPTION]...",
	.about = "Runs a virtual machine in the foreground. It keeps nothing when it ends.",
	.rows = rows,
	.nr_rows = ARRAY_SIZE(rows),
	.epilogue =
		"Exit status: 0 power-off, or a reset with --no-reboot, or Ctrl-a x; the guest's own\n"
		"with --debug-exit; 123 a difference with --compare; 124 time-out; 125 could not start;\n"
		"126 triple fault.\n"
		"On a terminal: Ctrl-a x ends, Ctrl-a h helps, Ctrl-a Ctrl-a sends Ctrl-a.\n"
		"SIGUSR2 prints the vCPUs' state.\n",
};

/* ---- Signals: on the loop, as ordinary events ---- */

static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

static sigset_t our_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++)
		sigaddset(&set, end_signals[i]);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTSTP);
	return set;
}

/* Before any thread is made: all of them inherit the mask. */
static void block_signals(void)
{
	sigset_t set = our_signals();

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a disk's writes then fail, and the VM lives */
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void suspend_ourselves(void)
{
	bool raw = terminal_is_raw();

	terminal_restore();
	raise(SIGSTOP);
	if (raw)
		terminal_raw();
}

static void signal_arrived(void *arg, u32 events)
{
	struct run *r = arg;
	struct signalfd_siginfo si;

	(void)events;
	if (read(r->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGUSR2)
		vm_dump(r->vm);
	else if (si.ssi_signo == SIGTSTP)
		suspend_ourselves();
	else
		vm_stop(r->vm, STATUS_SIGNAL + si.ssi_signo);
}

static int watch_signals(struct run *r, struct err *e)
{
	sigset_t set = our_signals();

	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signal_fd < 0 || loop_add_fd(vm_loop(r->vm), r->signal_fd, EPOLLIN, signal_arrived, r))
		return err_set(e, "cannot watch for signals: %s", strerror(errno));
	return 0;
}

static void stop_watching(struct run *r)
{
	loop_del_fd(vm_loop(r->vm), r->signal_fd);
	close(r->signal_fd);
	r->signal_fd = -1;
}

/* ---- The end ---- */

static void print_registers(struct run *r, unsigned cpu)
{
	struct cpu_state *s = aligned_alloc(64, ALIGN_UP(sizeof(*s), (size_t)64));

	if (s && !vm_get_cpu(r->vm, cpu, s))
		cpu_dump(s, cpu);
	free(s);
}

static int triple_fault(struct run *r, unsigned cpu)
{
	log_err("triple fault on vCPU %u", cpu);
	print_registers(r, cpu);
	return STATUS_TRIPLE_FAULT;
}

static int engine_failed(struct run *r, unsigned cpu)
{
	log_err("the virtual machine ended because its engine failed");
	print_registers(r, cpu);
	return STATUS_NOT_STARTED;
}

static int exit_status(struct run *r, struct vm_end end)
{
	switch (end.reason) {
	case VM_END_POWEROFF:
	case VM_END_RESET:
	case VM_END_NONE:
	case VM_END_SAVE:
		return STATUS_OK;
	case VM_END_DEBUG_EXIT:
	case VM_END_STOPPED:
		return (int)end.code;
	case VM_END_TIMEOUT:
		log_err("the virtual machine did not end in time");
		return STATUS_TIMEOUT;
	case VM_END_TRIPLE_FAULT:
		return triple_fault(r, end.code);
	case VM_END_DIFFERENT:
		return STATUS_DIFFERENT;
	case VM_END_ERROR:
		break;
	}
	return engine_failed(r, end.code);
}

static void print_shares(const struct engine_stats *s)
{
	u64 all = s->insns_native + s->insns_own + s->insns_helper;
	double percent = all ? 100.0 / (double)all : 0;

	if (!all)
		return;
	fprintf(stderr, "instructions  %llu: %.2f %% native, %.2f %% own translator, %.2f %% helper\n",
		(unsigned long long)all, (double)s->insns_native * percent,
		(double)s->insns_own * percent, (double)s->insns_helper * percent);
	fprintf(stderr, "translation   %llu blocks kept, %llu translated, %llu bytes of code, "
		"%llu flushes\n", (unsigned long long)s->blocks, (unsigned long long)s->translations,
		(unsigned long long)s->code_bytes, (unsigned long long)s->flushes);
}

static void print_stats(struct run *r)
{
	struct engine_stats s;

	vm_get_stats(r->vm, &s);
	print_shares(&s);
	fprintf(stderr, "exits         %llu port, %llu memory-mapped, %llu HLT, %llu VMX\n",
		(unsigned long long)s.exits_pio, (unsigned long long)s.exits_mmio,
		(unsigned long long)s.exits_hlt, (unsigned long long)s.exits_vmx);
}

/* ---- The command ---- */

static bool has_stdio(const struct vm_config *c)
{
	for (unsigned i = 0; i < c->nr_serials; i++)
		if (c->serials[i].kind == VM_SERIAL_STDIO)
			return true;
	return c->console.kind == VM_SERIAL_STDIO;
}

static int start(struct run *r, struct err *e)
{
	struct vm_engine_choice choice;

	if (vm_config_check(&r->config, e) || vm_engine_choose(&r->config, &choice, e))
		return -1;
	if (choice.why[0] && !r->quiet)
		fprintf(stderr, "nestor: engine: %s\n", choice.why);
	r->engine = choice.ops;
	block_signals();
	terminal_guard();
	if (vm_create(&r->config, choice.ops, &r->vm, e))
		return -1;
	return watch_signals(r, e);
}

/* --test-save: the same VM, in new memory, devices and vCPUs. */
static int replace_vm(struct run *r, struct err *e)
{
	struct vm_snapshot s;

	if (vm_save(r->vm, &s, e))
		return -1;
	stop_watching(r);
	vm_destroy(r->vm);
	r->vm = NULL;
	for (unsigned i = 0; i < r->config.nr_serials; i++)
		r->config.serials[i].append = true;
	r->config.console.append = true;
	int ret = vm_create(&r->config, r->engine, &r->vm, e);
	if (!ret)
		ret = watch_signals(r, e);
	if (!ret)
		ret = vm_load(r->vm, &s, e);
	vm_snapshot_free(&s);
	return ret;
}

static int run_to_end(struct run *r, struct vm_end *end, struct err *e)
{
	u64 limit = r->config.timeout_ns ? clock_ns() + r->config.timeout_ns : 0;

	for (;;) {
		*end = vm_run(r->vm);
		if (end->reason != VM_END_SAVE)
			return 0;
		u64 now = clock_ns();
		if (limit)
			r->config.timeout_ns = limit > now ? limit - now : 1;
		if (replace_vm(r, e))
			return -1;
	}
}

static int run(struct run *r)
{
	struct vm_end end;
	struct err e;

	if (start(r, &e)) {
		log_err("%s", e.text);
		vm_destroy(r->vm);
		return STATUS_NOT_STARTED;
	}
	if (has_stdio(&r->config))
		terminal_raw();
	int failed = run_to_end(r, &end, &e);
	terminal_restore();
	if (failed) {
		log_err("%s", e.text);
		vm_destroy(r->vm);
		return STATUS_NOT_STARTED;
	}
	int status = exit_status(r, end);
	if (r->config.stats)
		print_stats(r);
	stop_watching(r);
	vm_destroy(r->vm);
	return status;
}

/* Options that print something and do nothing else. */
static bool answered(const struct run *r)
{
	if (r->help)
		options_help(&table, stdout);
	else if (r->complete)
		options_complete(&table, stdout);
	else if (r->version)
		printf("nestor " NESTOR_VERSION "\n");
	else if (r->cpu_list)
		cpu_model_list();
	else if (r->trace_list)
		trace_help();
	else
		return false;
	return true;
}

int cmd_run(int argc, char **argv)
{
	struct run r = { .signal_fd = -1 };
	struct err e;

	vm_config_init(&r.config);
	if (options_parse(&table, &r, argc, argv, &e)) {
		log_err("%s", e.text);
		return STATUS_NOT_STARTED;
	}
	if (answered(&r))
		return STATUS_OK;
	if (r.verbose)
		log_set_level(LOG_DEBUG);
	if (!r.serial_given && r.config.console.kind != VM_SERIAL_STDIO)
		r.config.serials[r.config.nr_serials++].kind = VM_SERIAL_STDIO;
	return run(&r);
}
