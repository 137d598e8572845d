// SPDX-License-Identifier: MIT
/*
 * KVM's in-kernel PICs, IOAPIC, LAPICs and PIT, and the sink through which the
 * board's devices reach them.
 *
 * GSIs are IOAPIC pins, and 0..15 reach the PICs too. As on a PC, the PIT's
 * line (GSI 0) is wired to IOAPIC pin 2, as the board's MADT says; see struct
 * irq_sink.
 */
#include "kvm/kvm_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { NR_PIC_PINS = 16, NR_IOAPIC_PINS = 24, MAX_ROUTES = NR_PIC_PINS + NR_IOAPIC_PINS };

static void route_add(struct kvm_irq_routing *r, u32 gsi, u32 chip, u32 pin)
{
	struct kvm_irq_routing_entry *e = &r->entries[r->nr++];

	e->gsi = gsi;
	e->type = KVM_IRQ_ROUTING_IRQCHIP;
	e->u.irqchip.irqchip = chip;
	e->u.irqchip.pin = pin;
}

static int set_routes(struct engine_vm *vm)
{
	size_t size = sizeof(struct kvm_irq_routing) +
		      MAX_ROUTES * sizeof(struct kvm_irq_routing_entry);
	struct kvm_irq_routing *r = calloc(1, size);
	int ret;

	if (!r)
		return -ENOMEM;
	for (u32 gsi = 0; gsi < NR_PIC_PINS; gsi++)
		if (gsi != 2) /* the slave's cascade */
			route_add(r, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				  gsi & 7);
	for (u32 gsi = 0; gsi < NR_IOAPIC_PINS; gsi++)
		route_add(r, gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
	ret = kvm_ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, r);
	free(r);
	return ret;
}

static void sink_set_gsi(void *opaque, u32 gsi, bool level)
{
	struct engine_vm *vm = opaque;
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	if (kvm_ioctl(vm->vm_fd, KVM_IRQ_LINE, &l) < 0)
		log_guest("KVM refused interrupt line %u", gsi);
}

static void sink_send_msi(void *opaque, u64 address, u32 data)
{
	struct engine_vm *vm = opaque;
	struct kvm_msi m = {
		.address_lo = (u32)address,
		.address_hi = (u32)(address >> 32),
		.data = data,
	};

	if (kvm_ioctl(vm->vm_fd, KVM_SIGNAL_MSI, &m) < 0)
		log_guest("KVM refused MSI %#llx, %#x", (unsigned long long)address, data);
}

int kvm_irqchip_get(struct engine_vm *vm, struct kvm_chips *res)
{
	for (u32 i = 0; i < KVM_NR_CHIPS; i++) {
		res->chip[i].chip_id = i;
		int r = kvm_ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &res->chip[i]);
		if (r < 0)
			return r;
	}
	return kvm_ioctl(vm->vm_fd, KVM_GET_PIT2, &res->pit);
}

int kvm_irqchip_set(struct engine_vm *vm, const struct kvm_chips *chips)
{
	int r = 0;

	for (u32 i = 0; i < KVM_NR_CHIPS && r >= 0; i++)
		r = kvm_ioctl(vm->vm_fd, KVM_SET_IRQCHIP, (void *)&chips->chip[i]);
	if (r >= 0)
		r = kvm_ioctl(vm->vm_fd, KVM_SET_PIT2, (void *)&chips->pit);
	return r < 0 ? r : 0;
}

int kvm_irqchip_create(struct engine_vm *vm, struct err *e)
{
	/* The dummy speaker answers port 0x61, which calibrates TSCs. */
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int r = kvm_ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, NULL);

	if (!r)
		r = kvm_ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit);
	if (!r)
		r = set_routes(vm);
	if (r >= 0)
		r = kvm_irqchip_get(vm, &vm->at_reset);
	if (r < 0)
		return err_set(e, "cannot create KVM's interrupt chips: %s", strerror(-r));
	vm->sink = (struct irq_sink){ sink_set_gsi, sink_send_msi, vm };
	return 0;
}

int kvm_irqchip_reset(struct engine_vm *vm)
{
	int r = kvm_irqchip_set(vm, &vm->at_reset);

	for (unsigned i = 0; i < vm->env->nr_cpus && r >= 0; i++) {
		struct engine_vcpu *v = vm->vcpus[i];

		if (!v)
			continue;
		kvm_msr_set(v, MSR_KVM_PV_EOI, 0);
		r = kvm_ioctl(v->fd, KVM_SET_LAPIC, &v->lapic_at_reset);
	}
	return r < 0 ? r : 0;
}
