// SPDX-License-Identifier: MIT
/*
 * A VM's life: making it, power-on and reset, its end.
 *
 * Theory of operation
 *
 * The guest's end (ACPI, debug exit, triple fault, ...) is noted under vm->lock
 * by whatever thread meets it, which also kicks the vCPUs and posts end_work;
 * the loop's thread then resets or ends. The first reason wins until it is
 * dealt with. A vCPU may run a few more instructions meanwhile, as on a board.
 */
#include "vm/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/lapic.h"
#include "dev/uart16550.h"
#include "machine/loader.h"
#include "vm/vm_internal.h"

/* ---- Power-on and reset ---- */

static struct boot_files boot_files(const struct vm *vm)
{
	const struct vm_config *c = &vm->config;
	struct boot_files f = {
		.kernel = c->kernel,
		.append = c->append,
		.nr_initrds = c->nr_initrds,
		.rsdp = PC_RSDP,
	};

	_Static_assert((int)BOOT_MAX_INITRDS >= (int)VM_MAX_INITRDS, "all initrds fit");
	f.kernel_fd = c->kernel_fd;
	for (unsigned i = 0; i < c->nr_initrds; i++) {
		f.initrds[i] = c->initrds[i];
		f.initrd_fds[i] = c->initrd_fds[i];
	}
	return f;
}

/* The software engine's TSCs count from here; KVM starts its own together. */
static u64 power_on_tsc(const struct vm *vm)
{
	return vm->ops->has_irqchip ? 0 : -__builtin_ia32_rdtsc();
}

static int power_on_cpus(struct vm *vm, struct err *e)
{
	struct boot_files files = boot_files(vm);
	u64 tsc_offset = power_on_tsc(vm);

	for (unsigned i = 0; i < vm->config.nr_cpus; i++) {
		struct vm_cpu *c = &vm->cpus[i];
		struct lapic *l = vm->ops->lapic(c->engine);

		if (l)
			lapic_reset(l, false);
		if (l && i == 0)
			lapic_set_virtual_wire(l); /* as firmware leaves it */
		cpu_state_reset(vm->state, i == 0);
		boot_firmware_msrs(vm->state, vm->config.expose_vmx);
		vm->state->tsc_offset = tsc_offset;
		if (i == 0 && boot_load(&files, vm->pc->mem, vm->state, e))
			return -1;
		int r = vm->ops->set_state(c->engine, vm->state);
		if (r)
			return err_set(e, "the %s engine does not take the registers of vCPU %u: %s",
				       vm->ops->name, i, strerror(-r));
	}
	return 0;
}

/* vCPUs are not running. */
static int power_on(struct vm *vm, struct err *e)
{
	devices_reset(vm);
	if (pc_reset(vm->pc, e))
		return -1;
	if (vm->ops->vm_reset && vm->ops->vm_reset(vm->engine))
		return err_set(e, "the %s engine cannot reset its chips", vm->ops->name);
	return power_on_cpus(vm, e);
}

/* ---- The end ---- */

void vm_note_end(struct vm *vm, enum vm_end_reason reason, u32 code)
{
	pthread_mutex_lock(&vm->lock);
	/* What the guest did while we were about to save it must not be lost; nor
	 * may a guest that resets all the time hide that its time is up. */
	enum vm_end_reason now = vm->end.reason;
	bool first = now == VM_END_NONE || now == VM_END_SAVE ||
		     (now == VM_END_RESET && reason != VM_END_RESET && !vm->config.no_reboot);
	if (first)
		vm->end = (struct vm_end){ reason, code };
	pthread_mutex_unlock(&vm->lock);
	if (!first)
		return;
	vcpus_kick(vm);
	loop_post(vm->loop, &vm->end_work);
}

static void machine_ended(void *opaque, enum machine_end end, u32 code)
{
	static const enum vm_end_reason reasons[] = {
		[MACHINE_POWEROFF] = VM_END_POWEROFF,
		[MACHINE_RESET] = VM_END_RESET,
		[MACHINE_DEBUG_EXIT] = VM_END_DEBUG_EXIT,
	};

	vm_note_end(opaque, reasons[end], code);
}

static void reset(struct vm *vm)
{
	struct err e;

	vm_pause(vm);
	pthread_mutex_lock(&vm->lock);
	if (vm->end.reason == VM_END_RESET)
		vm->end = (struct vm_end){ 0 };
	pthread_mutex_unlock(&vm->lock);
	vcpus_release(vm);
	if (power_on(vm, &e)) {
		log_err("cannot reset the virtual machine: %s", e.text);
		vm_note_end(vm, VM_END_ERROR, 0);
	}
	vm_resume(vm);
}

static void handle_end(void *arg)
{
	struct vm *vm = arg;

	if (vm->end.reason == VM_END_RESET && !vm->config.no_reboot)
		reset(vm);
	else
		loop_stop(vm->loop);
}

void vm_stop(struct vm *vm, u32 code)
{
	vm_note_end(vm, VM_END_STOPPED, code);
}

void vm_press_power_button(struct vm *vm)
{
	pc_power_button(vm->pc);
}

void vm_press_reset(struct vm *vm)
{
	vm_note_end(vm, VM_END_RESET, 0);
}

bool vm_is_ending(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	bool ending = vm->end.reason != VM_END_NONE;
	pthread_mutex_unlock(&vm->lock);
	return ending;
}

bool vm_hypervisor_active(struct vm *vm)
{
	bool active = false;

	if (!vm->config.expose_vmx || !vm->ops->hypervisor_active)
		return false;
	vm_pause(vm);
	for (unsigned i = 0; i < vm->config.nr_cpus && !active; i++)
		active = vm->ops->hypervisor_active(vm->cpus[i].engine);
	vm_resume(vm);
	return active;
}

static void timed_out(void *arg)
{
	vm_note_end(arg, VM_END_TIMEOUT, 0);
}

static void save_due(void *arg)
{
	vm_note_end(arg, VM_END_SAVE, 0);
}

static void escape_quit(void *opaque)
{
	vm_stop(opaque, 0);
}

/* Before vCPUs are ended: writers that wait for a slow reader keep theirs. */
static void close_serials(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nr_serials; i++)
		if (vm->serials[i])
			serial_close(vm->serials[i]);
	devices_close(vm);
}

void vm_hurry_serials(struct vm *vm, bool on)
{
	for (unsigned i = 0; i < vm->config.nr_serials; i++)
		if (vm->serials[i])
			serial_hurry(vm->serials[i], on);
	devices_hurry(vm, on);
}

/* ---- Making it ---- */

static int create_serials(struct vm *vm, struct pc_config *pc, struct err *e)
{
	for (unsigned i = 0; i < vm->config.nr_serials; i++) {
		if (vm->config.serials[i].kind == VM_SERIAL_NONE)
			continue;
		if (vm->config.serials[i].kind == VM_SERIAL_CHARDEV) {
			pc->serial[i] = vm->config.serials[i].dev;
			continue;
		}
		if (serial_create(&vm->config.serials[i], vm->loop, &vm->serials[i], e))
			return -1;
		pc->serial[i] = serial_chardev(vm->serials[i]);
	}
	return 0;
}

static void begin_serials(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nr_serials; i++)
		if (vm->serials[i])
			serial_begin(vm->serials[i]);
	devices_begin(vm);
}

/* The VM was never made: no file that it would have written stays behind. */
static void abandon_serials(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nr_serials; i++)
		if (vm->serials[i])
			serial_abandon(vm->serials[i]);
	if (vm->devices)
		devices_abandon(vm);
}

static size_t receive(void *opaque, const void *data, size_t size)
{
	return uart_receive(opaque, data, size);
}

void vm_connect_serial(struct vm *vm, struct serial *s, serial_receive_fn *fn, void *opaque)
{
	serial_set_escape(s, escape_quit, vm);
	serial_connect(s, fn, opaque);
}

static void connect_serials(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nr_serials; i++) {
		const struct vm_serial *c = &vm->config.serials[i];

		if (vm->serials[i])
			vm_connect_serial(vm, vm->serials[i], receive, vm->pc->uart[i]);
		else if (c->kind == VM_SERIAL_CHARDEV)
			c->connect(c->dev->opaque, receive, vm->pc->uart[i]);
	}
}

static int create_board(struct vm *vm, struct err *e)
{
	struct pc_config pc = {
		.memory = vm->config.memory,
		.hot_memory = devices_hot_memory(&vm->config),
		.cpus = vm->config.nr_cpus,
		.debug_exit = vm->config.debug_exit,
		.external_irqchip = vm->ops->has_irqchip,
		.end = machine_ended,
		.opaque = vm,
	};

	if (create_serials(vm, &pc, e) || pc_create(&pc, vm->loop, &vm->pc, e))
		return -1;
	connect_serials(vm);
	return devices_create(vm, e);
}

static int create_engine(struct vm *vm, struct err *e)
{
	if (cpu_model_create(vm->config.cpu, vm->config.expose_vmx, vm->config.nr_cpus, &vm->model,
			     e))
		return -1;
	pc_fill_env(vm->pc, &vm->env);
	vm->env.model = &vm->model;
	vm->env.trace = vm->config.trace;
	vm->env.compare = vm->config.compare;
	vm->env.count_insns = vm->config.stats;
	if (vm->ops->vm_create(&vm->env, &vm->engine, e))
		return -1;
	for (unsigned i = 0; i < vm->config.nr_cpus; i++)
		if (vm->ops->vcpu_create(vm->engine, i, &vm->cpus[i].engine, e))
			return -1;
	if (vm->ops->has_irqchip)
		pc_connect_sink(vm->pc, vm->ops->irq_sink(vm->engine));
	else
		pc_connect_lapics(vm->pc, vm->ops->lapic(vm->cpus[0].engine)->bus);
	return 0;
}

static int create_cpus(struct vm *vm, struct err *e)
{
	vm->state = aligned_alloc(64, ALIGN_UP(sizeof(*vm->state), (size_t)64));
	vm->cpus = calloc(vm->config.nr_cpus, sizeof(*vm->cpus));
	if (!vm->state || !vm->cpus)
		return err_set(e, "not enough memory for a virtual machine");
	for (unsigned i = 0; i < vm->config.nr_cpus; i++) {
		vm->cpus[i].vm = vm;
		vm->cpus[i].index = i;
	}
	return 0;
}

static int vm_fill(struct vm *vm, struct err *e)
{
	if (create_cpus(vm, e))
		return -1;
	if (loop_create(&vm->loop))
		return err_set(e, "cannot make an event loop: %s", strerror(errno));
	timer_init(&vm->timeout, vm->loop, timed_out, vm);
	timer_init(&vm->save, vm->loop, save_due, vm);
	if (create_board(vm, e) || create_engine(vm, e) || power_on(vm, e))
		return -1;
	if (vm->config.gdb && gdb_create(vm, vm->config.gdb, &vm->gdb, e))
		return -1;
	return vcpus_start(vm, e);
}

int vm_create(const struct vm_config *c, const struct engine_ops *engine, struct vm **res,
	      struct err *e)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return err_set(e, "not enough memory for a virtual machine");
	vm->config = *c;
	vm->ops = engine;
	vm->pause_count = 1; /* until vm_run() */
	vm->end_work = (struct loop_work){ .fn = handle_end, .arg = vm };
	pthread_mutex_init(&vm->lock, NULL);
	pthread_cond_init(&vm->changed, NULL);
	if (vm_fill(vm, e)) {
		abandon_serials(vm);
		vm_destroy(vm);
		return -1;
	}
	begin_serials(vm);
	*res = vm;
	return 0;
}

static void destroy_engine(struct vm *vm)
{
	for (unsigned i = 0; vm->cpus && i < vm->config.nr_cpus; i++)
		if (vm->cpus[i].engine)
			vm->ops->vcpu_destroy(vm->cpus[i].engine);
	if (vm->engine)
		vm->ops->vm_destroy(vm->engine);
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	close_serials(vm);
	if (vm->cpus)
		vcpus_end(vm);
	gdb_destroy(vm->gdb);
	destroy_engine(vm);
	devices_destroy(vm);
	pc_destroy(vm->pc);
	for (unsigned i = 0; i < vm->config.nr_serials; i++)
		serial_destroy(vm->serials[i]);
	loop_destroy(vm->loop);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->lock);
	free(vm->cpus);
	free(vm->state);
	free(vm);
}

/* ---- Running ---- */

static enum vm_end_reason end_reason(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	enum vm_end_reason r = vm->end.reason;
	pthread_mutex_unlock(&vm->lock);
	return r;
}

struct vm_end vm_run(struct vm *vm)
{
	if (vm->config.timeout_ns)
		timer_set(&vm->timeout, clock_ns() + vm->config.timeout_ns);
	if (vm->config.save_every_ns)
		timer_set(&vm->save, clock_ns() + vm->config.save_every_ns);
	vm_resume(vm);
	loop_run(vm->loop);
	if (end_reason(vm) == VM_END_SAVE) {
		vm_hurry_serials(vm, true);
		vcpus_end(vm); /* first: what they still write belongs to the VM */
	}
	close_serials(vm);
	timer_cancel(&vm->timeout);
	timer_cancel(&vm->save);
	vcpus_end(vm);
	return vm->end;
}

struct loop *vm_loop(struct vm *vm)
{
	return vm->loop;
}

unsigned vm_nr_cpus(const struct vm *vm)
{
	return vm->config.nr_cpus;
}

int vm_get_cpu(struct vm *vm, unsigned index, struct cpu_state *s)
{
	return vm->ops->get_state(vm->cpus[index].engine, s);
}

void vm_dump(struct vm *vm)
{
	vm_pause(vm);
	for (unsigned i = 0; i < vm->config.nr_cpus; i++)
		vm->ops->dump(vm->cpus[i].engine);
	vm_resume(vm);
}

void vm_get_stats(struct vm *vm, struct engine_stats *res)
{
	*res = (struct engine_stats){ 0 };
	vm->ops->stats(vm->engine, res);
}
