/* SPDX-License-Identifier: MIT */
/*
 * PCI: functions on bus 0 of one PCI Express root, their configuration space,
 * BARs and MSI-X. The host bridge (dev/q35.c) feeds it configuration accesses
 * from ports 0xcf8/0xcfc and from ECAM.
 *
 * A function is created before the VM runs, filled in (IDs, BARs,
 * capabilities), then added to the root:
 *
 *	pci_func_init(&f, "virtio-rng", 0x1af4, 0x1044, 0x00ff0001);
 *	pci_set_bar(&f, 0, 0x4000, false, true);
 *	f.bars[0].region.ops = &my_ops; .dev, .lock, .name
 *	pci_add_msix(&f, 2, 3);
 *	r = pci_add(root, &f, -1);
 *
 * Configuration accesses run on vCPU threads under the root's lock, and so does
 * config_written(). Lock order: root, then the device's own lock, then the
 * function's MSI-X lock and the interrupt lines' (both only inside here), so
 * that irq_set(&f.intx) and msix_notify() may be called with the device's lock
 * held. INTx lines are shared and gated by the command register in here too: a
 * device just drives f.intx.
 */
#ifndef NESTOR_BUS_PCI_H
#define NESTOR_BUS_PCI_H

#include <stdatomic.h>

#include "base/state.h"
#include "base/types.h"
#include "bus/io.h"
#include "bus/irq.h"

enum { PCI_CFG_SIZE = 4096, PCI_NR_BARS = 6, PCI_NR_DEVICES = 32, MSIX_MAX = 64 };
enum { PCI_NR_LINES = 8, PCI_FIRST_GSI = 16 };

/* The IOAPIC pin of INTA (@pin 1) .. INTD of device @slot. */
static inline u32 pci_intx_gsi(unsigned slot, unsigned pin)
{
	return PCI_FIRST_GSI + (slot + pin - 1) % PCI_NR_LINES;
}

/* Configuration registers. */
enum {
	PCI_COMMAND = 0x04, PCI_STATUS = 0x06, PCI_BAR0 = 0x10, PCI_SUBSYSTEM = 0x2c,
	PCI_CAP_POINTER = 0x34, PCI_INTERRUPT_LINE = 0x3c, PCI_INTERRUPT_PIN = 0x3d,
};
enum {
	PCI_COMMAND_IO = 1, PCI_COMMAND_MEM = 2, PCI_COMMAND_MASTER = 4,
	PCI_COMMAND_INTX_OFF = 0x400,
	PCI_STATUS_INTX = 8, PCI_STATUS_CAPS = 0x10,
};

struct pci_root;

struct pci_bar {
	u64 size;   /* power of two, 0 = absent */
	bool is_io;
	bool is_64; /* takes the next slot too */
	bool mapped; /* root's */
	struct io_region region; /* ops, dev, lock, name filled by the owner */
};

struct msix {
	u16 nr_vectors; /* 0 = no MSI-X */
	u8 cap;		/* offset of the capability */
	u8 bar;
	struct {
		u64 address;
		u32 data;
		u32 control; /* bit 0: masked */
	} table[MSIX_MAX];
	u64 pending;
	bool enabled, masked, master; /* copies of control and command bits */
};

struct pci_func {
	const char *name;
	u8 config[PCI_CFG_SIZE];
	u8 writable[PCI_CFG_SIZE]; /* mask of bits the guest may write */
	struct pci_bar bars[PCI_NR_BARS];
	struct msix msix;
	pthread_mutex_t msix_lock; /* msix; innermost */
	struct irq intx;	   /* set by pci_add() */
	struct irq intx_line;	   /* root's: behind the command register's gate */
	atomic_bool intx_high;	   /* root's: as the device drives it */
	u8 reset_config[PCI_CFG_SIZE]; /* root's: as it was at pci_add() */
	u8 devfn; /* root's */
	u8 next_cap; /* where pci_add_capability() puts the next */
	u8 last_cap;
	struct pci_root *root;
	void *opaque; /* owner's */
	/* Optional: answers a configuration read in the root's stead; false leaves
	 * it to the root. */
	bool (*config_read)(struct pci_func *f, u32 off, unsigned size, u32 *value);
	/* Optional: after a configuration write took effect. */
	void (*config_written)(struct pci_func *f, u32 off, unsigned size);
	/* Optional: the machine was reset; configuration and MSI-X already are. */
	void (*reset)(struct pci_func *f);
};

int pci_root_create(struct io_bus *pio, struct io_bus *mmio, const struct irq_sink *sink,
		    struct pci_root **res);
void pci_root_destroy(struct pci_root *root);

void pci_func_init(struct pci_func *f, const char *name, u16 vendor, u16 device, u32 class_rev);
u8 pci_add_capability(struct pci_func *f, u8 id, u8 size); /* returns its offset */
void pci_set_bar(struct pci_func *f, unsigned n, u64 size, bool is_io, bool is_64);
/* MSI-X table and PBA in BAR @bar of their own (4 KiB). */
void pci_add_msix(struct pci_func *f, unsigned bar, u16 nr_vectors);
/* @slot 0..31, or -1 for the next free one. Interrupt pin INTA. */
int pci_add(struct pci_root *root, struct pci_func *f, int slot);
/* For the owner's destroy: takes it off the bus; accepts one never added. */
void pci_func_fini(struct pci_func *f);

/* What firmware would do: gives each BAR an address from these windows
 * (32-bit memory and ports), and switches decoding on. */
struct pci_windows {
	u64 mmio_base, mmio_end; /* end is exclusive */
	u64 io_base, io_end;
};
int pci_assign_bars(struct pci_root *root, const struct pci_windows *w);

void pci_root_reset(struct pci_root *root);

/* All functions' configuration space and MSI-X, in order of devfn. */
int pci_root_save(struct pci_root *root, struct state_buf *b);
int pci_root_load(struct pci_root *root, struct state_buf *b, struct err *e);

static inline u16 pci_get16(const struct pci_func *f, u32 off)
{
	return (u16)(f->config[off] | f->config[off + 1] << 8);
}
void pci_set16(struct pci_func *f, u32 off, u16 v);
void pci_set32(struct pci_func *f, u32 off, u32 v);

u32 pci_config_read(struct pci_root *root, unsigned bus, unsigned devfn, u32 off, unsigned size);
void pci_config_write(struct pci_root *root, unsigned bus, unsigned devfn, u32 off, unsigned size,
		      u32 value);

/* Sends MSI-X vector @n, or remembers it as pending while masked; false when
 * MSI-X is off (the caller then uses intx). Any thread. */
bool msix_notify(struct pci_func *f, unsigned n);

#endif
