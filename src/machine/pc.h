/* SPDX-License-Identifier: MIT */
/*
 * The PC board: memory, buses, chips, interrupt routing and the tables that
 * describe them.
 *
 *	pc_create(&config, loop, &pc, &e);
 *	virtio devices: pci_add(pc->pci_root, ...), or pc_add_device() too
 *	engine:   pc_fill_env(pc, &env), vm_create, vcpu_create ..., then
 *	          soft: pc_connect_lapics(pc, lapic bus)
 *	          KVM:  pc_connect_sink(pc, its irq_sink)   (config.external_irqchip)
 *	pc_reset(pc, &e);      power on: chips, PCI addresses, tables in RAM
 *	loader: mem, pc_e820(), PC_RSDP
 *	... the VM runs; after MACHINE_RESET: vCPUs stopped, pc_reset(), loader ...
 *	pc_destroy(pc);        vCPUs and loop have ended, PCI devices are still there
 *
 * Devices hold pointers to pc->sink from the start; what is behind it may be
 * connected later, and until then interrupts go nowhere.
 *
 * pc_power_button() may be called from any thread; the rest on the thread that
 * builds the VM, or with vCPUs and loop at rest.
 */
#ifndef NESTOR_MACHINE_PC_H
#define NESTOR_MACHINE_PC_H

#include "base/chardev.h"
#include "base/log.h"
#include "base/state.h"
#include "bus/pci.h"
#include "cpu/engine.h"
#include "dev/device.h"
#include "machine/memmap.h"

enum { PC_NR_SERIAL = 4 };

enum machine_end {
	MACHINE_POWEROFF,
	MACHINE_RESET,	    /* by reset register, keyboard controller, port 0x92 */
	MACHINE_DEBUG_EXIT, /* code: (value << 1) | 1 */
};

struct pc_config {
	u64 memory; /* bytes */
	u64 hot_memory; /* bytes that may come at run time */
	unsigned cpus;
	const struct chardev *serial[PC_NR_SERIAL]; /* NULL: no such port; must outlive the pc */
	bool debug_exit;	/* a chip at port 0xf4 */
	bool external_irqchip;	/* no PICs and IOAPIC of ours */
	/* The guest ended or reset the machine. Any thread, a chip's lock held: it
	 * only notes it and kicks the vCPUs. May come several times. */
	void (*end)(void *opaque, enum machine_end end, u32 code);
	void *opaque;
};

struct i8042;
struct i8254;
struct i8259;
struct ioapic;
struct acpi_pm;
struct fw_cfg;
struct hpet;
struct mc146818;
struct q35;
struct uart;
struct lapic_bus;

struct pc {
	struct pc_config config;
	struct mem *mem;
	struct io_bus *pio, *mmio;
	struct loop *loop;
	struct pci_root *pci_root;
	struct irq_sink sink; /* where devices' interrupts go */
	struct uart *uart[PC_NR_SERIAL]; /* for uart_receive(); NULL where none */
	struct fw_cfg *fw_cfg;		 /* for items of loader or firmware */

	/* The board's own. */
	struct vclock clock;
	struct irq_sink external;
	struct lapic_bus *lapics;
	struct irq_or com_irq[2]; /* IRQ 4: COM1, COM3; IRQ 3: COM2, COM4 */
	struct i8259 *pic;	  /* NULL with an external irqchip, as is ioapic */
	struct ioapic *ioapic;
	struct i8254 *pit;
	struct mc146818 *rtc;
	struct hpet *hpet;
	struct acpi_pm *pm;
	struct i8042 *kbd;
	struct q35 *q35;
	struct device *devices; /* reset and saved in this order */
	struct dev_env env;
};

int pc_create(const struct pc_config *config, struct loop *loop, struct pc **res, struct err *e);
void pc_destroy(struct pc *pc); /* accepts NULL */

/* A device outside the board's own list takes part in reset and saving, and
 * is destroyed with the board. */
void pc_add_device(struct pc *pc, struct device *d);

/* mem, buses, loop, nr_cpus and the PIC; model and trace are the caller's. */
void pc_fill_env(struct pc *pc, struct machine_env *env);
void pc_connect_lapics(struct pc *pc, struct lapic_bus *bus);
void pc_connect_sink(struct pc *pc, const struct irq_sink *sink);

int pc_reset(struct pc *pc, struct err *e);
void pc_power_button(struct pc *pc);

/* Clock, chips and PCI functions; not RAM, not vCPUs. The loading board was
 * made with the same configuration and devices. */
int pc_save(struct pc *pc, struct state_buf *b);
int pc_load(struct pc *pc, struct state_buf *b, struct err *e);

#endif
