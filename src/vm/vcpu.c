// SPDX-License-Identifier: MIT
/*
 * vCPU threads, and stop-the-world.
 *
 * Theory of operation
 *
 * A vCPU thread is parked (waits on vm->changed) or inside engine->run(). To
 * pause, the count goes up, every vCPU is kicked, and the caller waits until
 * all are parked. A kick is remembered by the engine until run() has reported
 * it, so none is lost between a thread's look at the count and its run().
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "vm/vm_internal.h"

void vcpus_kick(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nr_cpus; i++)
		if (vm->cpus[i].engine)
			vm->ops->kick(vm->cpus[i].engine);
}

/* False when the thread is to end. */
static bool wait_to_run(struct vm_cpu *c)
{
	struct vm *vm = c->vm;

	pthread_mutex_lock(&vm->lock);
	c->parked = true;
	pthread_cond_broadcast(&vm->changed);
	while ((vm->pause_count || c->held) && !vm->quit)
		pthread_cond_wait(&vm->changed, &vm->lock);
	bool go = !vm->quit;
	c->parked = !go;
	pthread_mutex_unlock(&vm->lock);
	return go;
}

static void hold(struct vm_cpu *c)
{
	pthread_mutex_lock(&c->vm->lock);
	c->held = true;
	pthread_mutex_unlock(&c->vm->lock);
}

static void handle_stop(struct vm_cpu *c, enum vcpu_stop stop)
{
	if (stop == VCPU_STOP_KICKED)
		return;
	hold(c);
	if (stop == VCPU_STOP_TRIPLE_FAULT)
		vm_note_end(c->vm, VM_END_TRIPLE_FAULT, c->index);
	else if (stop == VCPU_STOP_DIFFERENT)
		vm_note_end(c->vm, VM_END_DIFFERENT, c->index);
	else if (stop == VCPU_STOP_DEBUG && c->vm->gdb)
		gdb_cpu_stopped(c->vm->gdb, c->index);
	else
		vm_note_end(c->vm, VM_END_ERROR, c->index);
}

static void *vcpu_thread(void *arg)
{
	struct vm_cpu *c = arg;

	while (wait_to_run(c))
		handle_stop(c, c->vm->ops->run(c->engine));
	return NULL;
}

int vcpus_start(struct vm *vm, struct err *e)
{
	for (unsigned i = 0; i < vm->config.nr_cpus; i++) {
		struct vm_cpu *c = &vm->cpus[i];
		int r = pthread_create(&c->thread, NULL, vcpu_thread, c);
		char name[16];

		if (r)
			return err_set(e, "cannot start the thread of vCPU %u: %s", i, strerror(r));
		c->started = true;
		snprintf(name, sizeof(name), "vcpu%u", i);
		pthread_setname_np(c->thread, name);
	}
	return 0;
}

void vcpus_end(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->quit = true;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	vcpus_kick(vm);
	for (unsigned i = 0; i < vm->config.nr_cpus; i++) {
		if (vm->cpus[i].started)
			pthread_join(vm->cpus[i].thread, NULL);
		vm->cpus[i].started = false;
	}
}

void vcpus_release(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->config.nr_cpus; i++)
		vm->cpus[i].held = false;
	pthread_mutex_unlock(&vm->lock);
}

static bool all_parked(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->config.nr_cpus; i++)
		if (vm->cpus[i].started && !vm->cpus[i].parked)
			return false;
	return true;
}

void vm_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->pause_count++;
	pthread_mutex_unlock(&vm->lock);
	vcpus_kick(vm);
	vm_hurry_serials(vm, true);
	pthread_mutex_lock(&vm->lock);
	while (!all_parked(vm))
		pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
	vm_hurry_serials(vm, false);
}

void vm_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->pause_count--;
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}
