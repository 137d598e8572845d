/* SPDX-License-Identifier: MIT */
/*
 * What the files of the KVM engine share: its VM and vCPU. Internal to kvm/.
 *
 * A vCPU's descriptor is used by its own thread while it runs, and by whoever
 * stopped it otherwise; only kvm_vcpu_kick() comes from other threads at any
 * time. The irqchip's verbs may be called by any thread.
 */
#ifndef NESTOR_KVM_INTERNAL_H
#define NESTOR_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "cpu/engine.h"
#include "cpu/model.h"

enum { KVM_SLOT_NONE = -1, KVM_NR_CHIPS = 3 };

/* The chips as they were made: what a reset puts back. */
struct kvm_chips {
	struct kvm_irqchip chip[KVM_NR_CHIPS];
	struct kvm_pit_state2 pit;
};

struct engine_vm {
	const struct machine_env *env;
	int dev_fd, vm_fd;
	int run_size; /* bytes of a vCPU's shared area */
	gpa_t slot_gpa[MEM_MAX_SLOTS];
	u64 slot_size[MEM_MAX_SLOTS]; /* 0 = KVM slot is free */
	int slot_error;		      /* the last that KVM refused */
	bool listening;		      /* to env->mem */
	bool io_listening;	      /* to env->mmio */
	struct irq_sink sink;
	struct kvm_chips at_reset;
	struct engine_vcpu **vcpus; /* env->nr_cpus of them, NULL until created */
	struct engine_stats stats;  /* approximate: counted without atomics */
};

struct engine_vcpu {
	struct engine_vm *vm;
	unsigned index;
	int fd;
	struct kvm_run *run;
	_Atomic bool kicked;
	_Atomic pid_t tid; /* the thread inside run(), 0 = none */
	struct kvm_lapic_state lapic_at_reset;
	struct engine_stats stats;
};

#define MSR_KVM_PV_EOI 0x4b564d04

/* ioctl(2), again after EINTR; -errno on failure. */
int kvm_ioctl(int fd, unsigned long request, void *arg);

/* caps.c */
int kvm_open(int *fd, struct err *e); /* opens /dev/kvm and checks what we cannot do without */
int kvm_check_request(int dev_fd, const struct machine_env *env, struct err *e);
/* Gives the vCPU the model's CPUID, limited to what this host's KVM supports. */
int kvm_set_cpuid(struct engine_vcpu *v, struct err *e);

/* irqchip.c */
int kvm_irqchip_create(struct engine_vm *vm, struct err *e);
int kvm_irqchip_get(struct engine_vm *vm, struct kvm_chips *res);
int kvm_irqchip_set(struct engine_vm *vm, const struct kvm_chips *chips);
int kvm_irqchip_reset(struct engine_vm *vm);

/* vcpu.c */
int kvm_vcpu_create(struct engine_vm *vm, unsigned index, struct engine_vcpu **res, struct err *e);
void kvm_vcpu_destroy(struct engine_vcpu *v);
enum vcpu_stop kvm_vcpu_run(struct engine_vcpu *v);
void kvm_vcpu_kick(struct engine_vcpu *v);
int kvm_vcpu_set_debug(struct engine_vcpu *v, const struct engine_debug *d);
void kvm_install_kick_signal(void);

/* state.c */
int kvm_vcpu_get_state(struct engine_vcpu *v, struct cpu_state *s);
int kvm_vcpu_set_state(struct engine_vcpu *v, const struct cpu_state *s);
void kvm_vcpu_dump(struct engine_vcpu *v);
bool kvm_msr_get(struct engine_vcpu *v, u32 msr, u64 *value); /* false: KVM does not know it */
bool kvm_msr_set(struct engine_vcpu *v, u32 msr, u64 value);
bool kvm_vcpu_peek(struct engine_vcpu *v, gva_t addr, void *to, unsigned size);
bool kvm_vcpu_poke(struct engine_vcpu *v, gva_t addr, const void *from, unsigned size);

/* save.c */
int kvm_vcpu_save(struct engine_vcpu *v, struct state_buf *b);
bool kvm_vcpu_hypervisor_active(struct engine_vcpu *v);
int kvm_vcpu_load(struct engine_vcpu *v, struct state_buf *b, struct err *e);

#endif
