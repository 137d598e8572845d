// SPDX-License-Identifier: MIT
/*
 * A vCPU of the KVM engine: the run loop and its exits.
 *
 * Theory of operation
 *
 * A kick sets `kicked` and the shared area's immediate_exit, and signals the
 * thread that may be inside KVM_RUN. KVM looks at immediate_exit after it has
 * completed a pending port or MMIO read, so a vCPU that reports
 * VCPU_STOP_KICKED never has half an instruction outstanding.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm/kvm_internal.h"

#define KICK_SIGNAL SIGRTMIN

/* ---- Creation ---- */

static void kick_signal_handler(int sig)
{
	(void)sig; /* its arrival ends KVM_RUN with EINTR */
}

void kvm_install_kick_signal(void)
{
	struct sigaction sa = { .sa_handler = kick_signal_handler };

	sigaction(KICK_SIGNAL, &sa, NULL);
}

void kvm_vcpu_destroy(struct engine_vcpu *v)
{
	if (!v)
		return;
	v->vm->stats.exits_mmio += v->stats.exits_mmio;
	v->vm->stats.exits_pio += v->stats.exits_pio;
	v->vm->vcpus[v->index] = NULL;
	if (v->run)
		munmap(v->run, (size_t)v->vm->run_size);
	if (v->fd >= 0)
		close(v->fd);
	free(v);
}

static int vcpu_fill(struct engine_vcpu *v, struct err *e)
{
	v->fd = kvm_ioctl(v->vm->vm_fd, KVM_CREATE_VCPU, (void *)(unsigned long)v->index);
	if (v->fd < 0)
		return err_set(e, "KVM cannot create vCPU %u: %s", v->index, strerror(-v->fd));
	void *run = mmap(NULL, (size_t)v->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (run == MAP_FAILED)
		return err_set(e, "cannot map KVM's vCPU %u: %s", v->index, strerror(errno));
	v->run = run;
	if (kvm_set_cpuid(v, e))
		return -1;
	int r = kvm_ioctl(v->fd, KVM_GET_LAPIC, &v->lapic_at_reset);
	if (r < 0)
		return err_set(e, "KVM's vCPU %u has no local APIC: %s", v->index, strerror(-r));
	return 0;
}

int kvm_vcpu_create(struct engine_vm *vm, unsigned index, struct engine_vcpu **res, struct err *e)
{
	struct engine_vcpu *v = calloc(1, sizeof(*v));

	if (!v)
		return err_set(e, "not enough memory for vCPU %u", index);
	v->vm = vm;
	v->index = index;
	v->fd = -1;
	vm->vcpus[index] = v;
	if (vcpu_fill(v, e)) {
		kvm_vcpu_destroy(v);
		return -1;
	}
	*res = v;
	return 0;
}

/* ---- Exits. A handler returns true when run() must return *stop. ---- */

typedef bool exit_fn(struct engine_vcpu *v, enum vcpu_stop *stop);

static bool exit_io(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	struct kvm_run *run = v->run;
	struct io_bus *bus = v->vm->env->pio;
	u8 *data = (u8 *)run + run->io.data_offset;

	(void)stop;
	v->stats.exits_pio++;
	for (u32 i = 0; i < run->io.count; i++, data += run->io.size) {
		u64 value = 0;

		if (run->io.direction == KVM_EXIT_IO_IN) {
			value = io_read(bus, run->io.port, run->io.size);
			memcpy(data, &value, run->io.size);
		} else {
			memcpy(&value, data, run->io.size);
			io_write(bus, run->io.port, run->io.size, value);
		}
	}
	return false;
}

static void mmio_piece(struct engine_vcpu *v, unsigned off, unsigned size)
{
	struct kvm_run *run = v->run;
	struct io_bus *bus = v->vm->env->mmio;
	u64 addr = run->mmio.phys_addr + off;
	u64 value = 0;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data + off, size);
		io_write(bus, addr, size, value);
	} else {
		value = io_read(bus, addr, size);
		memcpy(run->mmio.data + off, &value, size);
	}
}

static bool exit_mmio(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	unsigned len = MIN(v->run->mmio.len, 8u);

	(void)stop;
	v->stats.exits_mmio++;
	if (len && !(len & (len - 1))) {
		mmio_piece(v, 0, len);
		return false;
	}
	for (unsigned i = 0; i < len; i++) /* what is left of a page crossing */
		mmio_piece(v, i, 1);
	return false;
}

static bool exit_nothing(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	(void)v;
	(void)stop;
	return false;
}

static bool exit_hlt(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	(void)stop;
	v->stats.exits_hlt++; /* with the in-kernel chips KVM itself sleeps */
	return false;
}

static bool exit_shutdown(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	(void)v;
	*stop = VCPU_STOP_TRIPLE_FAULT;
	return true;
}

static bool exit_debug(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	(void)v;
	*stop = VCPU_STOP_DEBUG;
	return true;
}

static bool exit_fail_entry(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	log_err("KVM could not enter the guest on vCPU %u: hardware reason %#llx", v->index,
		(unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
	*stop = VCPU_STOP_ERROR;
	return true;
}

static bool exit_internal_error(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	const struct kvm_run *run = v->run;

	log_err("KVM failed inside on vCPU %u: sub-error %u%s", v->index, run->internal.suberror,
		run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
			? ", an instruction that it cannot emulate" : "");
	for (u32 i = 0; i < MIN(run->internal.ndata, 8u); i++)
		log_err("  data[%u] = %#llx", i, (unsigned long long)run->internal.data[i]);
	*stop = VCPU_STOP_ERROR;
	return true;
}

static exit_fn *const exits[] = {
	[KVM_EXIT_IO] = exit_io,
	[KVM_EXIT_MMIO] = exit_mmio,
	[KVM_EXIT_HLT] = exit_hlt,
	[KVM_EXIT_INTR] = exit_nothing,
	[KVM_EXIT_IRQ_WINDOW_OPEN] = exit_nothing,
	[KVM_EXIT_SET_TPR] = exit_nothing,
	[KVM_EXIT_SHUTDOWN] = exit_shutdown,
	[KVM_EXIT_DEBUG] = exit_debug,
	[KVM_EXIT_FAIL_ENTRY] = exit_fail_entry,
	[KVM_EXIT_INTERNAL_ERROR] = exit_internal_error,
};

static bool vcpu_exit(struct engine_vcpu *v, enum vcpu_stop *stop)
{
	u32 reason = v->run->exit_reason;

	if (reason < ARRAY_SIZE(exits) && exits[reason])
		return exits[reason](v, stop);
	log_err("KVM left vCPU %u for reason %u, which nothing here handles", v->index, reason);
	*stop = VCPU_STOP_ERROR;
	return true;
}

/* ---- Running ---- */

void kvm_vcpu_kick(struct engine_vcpu *v)
{
	atomic_store(&v->kicked, true);
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pid_t tid = atomic_load(&v->tid);
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, KICK_SIGNAL);
}

/* KVM_RUN was interrupted: by us, or by a signal that means nothing here? A
 * kick between the two steps is reported now, and its immediate_exit makes the
 * next run() look once more. */
static bool was_kicked(struct engine_vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return atomic_exchange(&v->kicked, false);
}

static enum vcpu_stop run_loop(struct engine_vcpu *v)
{
	enum vcpu_stop stop = VCPU_STOP_ERROR;

	for (;;) {
		if (!ioctl(v->fd, KVM_RUN, NULL)) {
			if (vcpu_exit(v, &stop))
				return stop;
		} else if (errno == EINTR) {
			if (was_kicked(v))
				return VCPU_STOP_KICKED;
		} else if (errno != EAGAIN) { /* EAGAIN: an AP just got its INIT or SIPI */
			log_err("KVM cannot run vCPU %u: %s", v->index, strerror(errno));
			return VCPU_STOP_ERROR;
		}
	}
}

enum vcpu_stop kvm_vcpu_run(struct engine_vcpu *v)
{
	atomic_store(&v->tid, (pid_t)syscall(SYS_gettid));
	enum vcpu_stop stop = run_loop(v);
	atomic_store(&v->tid, 0);
	return stop;
}

/* ---- Debugger ---- */

int kvm_vcpu_set_debug(struct engine_vcpu *v, const struct engine_debug *d)
{
	struct kvm_guest_debug g = { 0 };

	if (d->nr_breakpoints > 4) /* the debug registers */
		return -ENOSPC;
	if (d->single_step)
		g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	if (d->nr_breakpoints)
		g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	g.arch.debugreg[7] = 0x400;
	for (unsigned i = 0; i < d->nr_breakpoints; i++) {
		g.arch.debugreg[i] = d->breakpoint[i];
		g.arch.debugreg[7] |= 2ull << (2 * i); /* globally enabled, on execution */
	}
	int r = kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &g);
	return r < 0 ? r : 0;
}
