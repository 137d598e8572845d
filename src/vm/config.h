/* SPDX-License-Identifier: MIT */
/*
 * What a VM is made of, as plain data: filled by `nestor run` from its options
 * (later by the manager from a file), read by vm_create(). Strings belong to
 * whoever filled it and outlive the VM.
 */
#ifndef NESTOR_VM_CONFIG_H
#define NESTOR_VM_CONFIG_H

#include "base/chardev.h"
#include "base/log.h"
#include "base/types.h"

enum {
	VM_MAX_CPUS = 64,
	VM_MAX_DISKS = 16,
	VM_MAX_NICS = 4,
	VM_MAX_SERIALS = 4,
	VM_MAX_INITRDS = 16,
	VM_MAX_FORWARDS = 16,
};
#define VM_MIN_MEMORY MIB(2)

enum vm_engine { VM_ENGINE_AUTO, VM_ENGINE_SOFT, VM_ENGINE_KVM };
enum vm_serial_kind {
	VM_SERIAL_NONE,
	VM_SERIAL_STDIO,
	VM_SERIAL_FILE,
	VM_SERIAL_PTY,
	VM_SERIAL_CHARDEV, /* the caller's own; not for the virtio console */
};

/* Takes what it can of @data; the number of bytes taken. */
typedef size_t serial_receive_fn(void *opaque, const void *data, size_t size);

struct vm_disk {
	const char *path;
	bool readonly;
};

struct vm_nic {
	unsigned nr_forwards;
	const char *forwards[VM_MAX_FORWARDS]; /* as net/hostfwd.h says */
};

struct vm_serial {
	enum vm_serial_kind kind;
	const char *path; /* VM_SERIAL_FILE */
	bool append;	  /* a file goes on, it is not made anew */
	/* VM_SERIAL_CHARDEV: outlives the VM. @connect is told where input goes. */
	const struct chardev *dev;
	void (*connect)(void *opaque, serial_receive_fn *fn, void *receiver);
};

struct vm_config {
	enum vm_engine engine;
	unsigned nr_cpus;
	u64 memory; /* bytes */
	u64 max_memory; /* what it may grow to at run time; 0: that never happens */
	const char *kernel;
	const char *initrds[VM_MAX_INITRDS];
	unsigned nr_initrds;
	int kernel_fd, initrd_fds[VM_MAX_INITRDS]; /* as in struct boot_files */
	const char *append; /* may be NULL */
	struct vm_disk disks[VM_MAX_DISKS];
	unsigned nr_disks;
	struct vm_nic nics[VM_MAX_NICS];
	unsigned nr_nics;
	struct vm_serial serials[VM_MAX_SERIALS];
	unsigned nr_serials;
	struct vm_serial console; /* virtio-console */
	bool expose_vmx; /* ExposeVirtualizationExtensions */
	const char *cpu; /* --cpu's value, NULL for the default model */
	bool debug_exit; /* port 0xf4 ends the VM */
	bool no_reboot;	 /* a reset ends the VM */
	u64 timeout_ns;	 /* 0 = none */
	u64 save_every_ns; /* vm_run() returns VM_END_SAVE then; 0 = never */
	const char *gdb; /* address of the debugger's port, NULL = none */
	const char *trace;
	unsigned compare; /* executions of each block that are compared; 0 none */
	bool stats; /* count executed instructions */
};

/* 1 vCPU, 512 MiB, one serial port on stdio. */
void vm_config_init(struct vm_config *c);

/* The option values' parsers; each returns -1 with a sentence. They may keep
 * pointers into @s; those that take a char * change it. */
int vm_parse_memory(const char *s, u64 *res, struct err *e);
int vm_parse_cpus(const char *s, unsigned *res, struct err *e);
int vm_parse_disk(char *s, struct vm_disk *res, struct err *e);
int vm_parse_nic(char *s, struct vm_config *c, struct err *e);
/* @option is --serial or --console, for the sentence. */
int vm_parse_serial(const char *option, const char *s, struct vm_serial *res, struct err *e);
int vm_parse_engine(const char *s, enum vm_engine *res, struct err *e);
int vm_parse_compare(const char *s, unsigned *res, struct err *e);
int vm_parse_seconds(const char *option, const char *s, u64 *ns, struct err *e);

/* What no single option can see: a kernel is there, one stdio, no disk twice. */
int vm_config_check(const struct vm_config *c, struct err *e);

#endif
