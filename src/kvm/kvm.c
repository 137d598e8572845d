// SPDX-License-Identifier: MIT
/*
 * The KVM engine: a VM over /dev/kvm, with KVM's own interrupt chips and the
 * board's buses behind port and memory-mapped exits. It uses the oldest and
 * plainest part of the interface, because its commonest host is a Linux inside
 * one of our own VMs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/kvm_internal.h"

/* Three pages for a real-mode TSS and one for an identity map, both used by
 * Intel processors without unrestricted guest; outside RAM and all devices. */
#define KVM_TSS_ADDR	  0xfeffd000ul
#define KVM_IDENTITY_ADDR 0xfeffc000ull

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int r;

	do
		r = ioctl(fd, request, arg);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* ---- Memory ---- */

static int slot_set(struct engine_vm *vm, unsigned n, const struct mem_slot *s, u64 size)
{
	struct kvm_userspace_memory_region r = {
		.slot = n,
		.flags = s->readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = s->gpa,
		.memory_size = size,
		.userspace_addr = (u64)s->host,
	};
	int ret = kvm_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r);

	if (ret < 0)
		return ret;
	vm->slot_gpa[n] = s->gpa;
	vm->slot_size[n] = size;
	return 0;
}

static int slot_find(const struct engine_vm *vm, gpa_t gpa, bool in_use)
{
	for (int n = 0; n < MEM_MAX_SLOTS; n++)
		if (in_use ? vm->slot_size[n] && vm->slot_gpa[n] == gpa : !vm->slot_size[n])
			return n;
	return KVM_SLOT_NONE;
}

static void mem_slot_added(void *opaque, const struct mem_slot *s)
{
	struct engine_vm *vm = opaque;
	int n = slot_find(vm, 0, false);
	int r = n == KVM_SLOT_NONE ? -ENOSPC : slot_set(vm, (unsigned)n, s, s->size);

	if (r < 0) {
		log_err("cannot give KVM memory at %#llx: %s", (unsigned long long)s->gpa,
			strerror(-r));
		vm->slot_error = r;
	}
}

static void mem_slot_removed(void *opaque, const struct mem_slot *s)
{
	struct engine_vm *vm = opaque;
	int n = slot_find(vm, s->gpa, true);

	if (n != KVM_SLOT_NONE)
		slot_set(vm, (unsigned)n, s, 0);
}

static int mem_attach(struct engine_vm *vm, struct err *e)
{
	const struct mem_listener listener = {
		.slot_added = mem_slot_added,
		.slot_removed = mem_slot_removed,
		.opaque = vm,
	};

	mem_set_listener(vm->env->mem, &listener); /* adds the present ones */
	vm->listening = true;
	return vm->slot_error ? err_set(e, "KVM does not take the VM's memory: %s",
					strerror(-vm->slot_error)) : 0;
}

/* ---- Doorbells ---- */

/* One that KVM does not take leaves by an exit, as other accesses do. Without a length, KVM need not
 * even decode the instruction. */
static void doorbells_changed(void *opaque, const struct io_region *r,
			      const struct io_doorbells *d, bool there)
{
	struct engine_vm *vm = opaque;

	for (unsigned n = 0; n < d->nr; n++) {
		struct kvm_ioeventfd k = {
			.addr = r->base + d->off + (u64)n * d->stride,
			.fd = d->fd,
			.flags = there ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
		};
		int ret = kvm_ioctl(vm->vm_fd, KVM_IOEVENTFD, &k);

		if (ret < 0 && there)
			log_debug("KVM takes no doorbell at %#llx: %s", (unsigned long long)k.addr,
				  strerror(-ret));
	}
}

static void io_attach(struct engine_vm *vm)
{
	const struct io_listener l = { .doorbells = doorbells_changed, .opaque = vm };

	if (kvm_ioctl(vm->dev_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_IOEVENTFD_ANY_LENGTH) <= 0)
		return;
	io_set_listener(vm->env->mmio, &l);
	vm->io_listening = true;
}

/* ---- The VM ---- */

static void kvm_vm_destroy(struct engine_vm *vm)
{
	if (!vm)
		return;
	if (vm->listening)
		mem_set_listener(vm->env->mem, NULL);
	if (vm->io_listening)
		io_set_listener(vm->env->mmio, NULL);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->dev_fd >= 0)
		close(vm->dev_fd);
	free(vm->vcpus);
	free(vm);
}

static int vm_fill(struct engine_vm *vm, struct err *e)
{
	u64 identity = KVM_IDENTITY_ADDR;

	if (kvm_open(&vm->dev_fd, e) || kvm_check_request(vm->dev_fd, vm->env, e))
		return -1;
	vm->vm_fd = kvm_ioctl(vm->dev_fd, KVM_CREATE_VM, NULL);
	if (vm->vm_fd < 0)
		return err_set(e, "KVM cannot create a VM: %s", strerror(-vm->vm_fd));
	vm->run_size = kvm_ioctl(vm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (vm->run_size < (int)sizeof(struct kvm_run))
		return err_set(e, "KVM does not say how large a vCPU's area is");
	/* Only Intel hosts need these, and only before any vCPU; AMD ignores them. */
	kvm_ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	kvm_ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, (void *)KVM_TSS_ADDR);
	if (kvm_irqchip_create(vm, e))
		return -1;
	io_attach(vm);
	return mem_attach(vm, e);
}

static int kvm_vm_create(const struct machine_env *env, struct engine_vm **res, struct err *e)
{
	struct engine_vm *vm = calloc(1, sizeof(*vm));

	if (vm)
		vm->vcpus = calloc(env->nr_cpus, sizeof(*vm->vcpus));
	if (!vm || !vm->vcpus) {
		free(vm);
		return err_set(e, "not enough memory for a VM");
	}
	vm->env = env;
	vm->dev_fd = vm->vm_fd = -1;
	kvm_install_kick_signal();
	if (vm_fill(vm, e)) {
		kvm_vm_destroy(vm);
		return -1;
	}
	*res = vm;
	return 0;
}

static const struct irq_sink *kvm_vm_irq_sink(struct engine_vm *vm)
{
	return &vm->sink;
}

static struct lapic *kvm_no_lapic(struct engine_vcpu *v)
{
	(void)v;
	return NULL;
}

static void kvm_vm_stats(struct engine_vm *vm, struct engine_stats *res)
{
	*res = vm->stats; /* of vCPUs that are gone */
	for (unsigned i = 0; i < vm->env->nr_cpus; i++) {
		if (!vm->vcpus[i])
			continue;
		res->exits_mmio += vm->vcpus[i]->stats.exits_mmio;
		res->exits_pio += vm->vcpus[i]->stats.exits_pio;
		res->exits_hlt += vm->vcpus[i]->stats.exits_hlt;
	}
}

const struct engine_ops kvm_engine = {
	.name = "kvm",
	.has_irqchip = true,
	.vm_create = kvm_vm_create,
	.vm_destroy = kvm_vm_destroy,
	.vm_reset = kvm_irqchip_reset,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_destroy = kvm_vcpu_destroy,
	.run = kvm_vcpu_run,
	.kick = kvm_vcpu_kick,
	.get_state = kvm_vcpu_get_state,
	.set_state = kvm_vcpu_set_state,
	.save = kvm_vcpu_save,
	.load = kvm_vcpu_load,
	.lapic = kvm_no_lapic,
	.irq_sink = kvm_vm_irq_sink,
	.stats = kvm_vm_stats,
	.hypervisor_active = kvm_vcpu_hypervisor_active,
	.dump = kvm_vcpu_dump,
	.peek = kvm_vcpu_peek,
	.poke = kvm_vcpu_poke,
	.set_debug = kvm_vcpu_set_debug,
};
