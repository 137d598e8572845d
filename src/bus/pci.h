/* SPDX-License-Identifier: MIT */
/*
 * PCI: functions on bus 0 of one PCI Express root, their configuration space,
 * BARs and MSI-X. The host bridge (dev/q35.c) feeds it configuration accesses
 * from ports 0xcf8/0xcfc and from ECAM.
 *
 * A function is created before the VM runs, filled in (IDs, BARs,
 * capabilities), then added to the root. Configuration accesses run on vCPU
 * threads under the root's lock.
 */
#ifndef NESTOR_BUS_PCI_H
#define NESTOR_BUS_PCI_H

#include "base/types.h"
#include "bus/io.h"
#include "bus/irq.h"

enum { PCI_CFG_SIZE = 4096, PCI_NR_BARS = 6, PCI_NR_DEVICES = 32, MSIX_MAX = 64 };

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
	bool enabled, masked;
};

struct pci_func {
	const char *name;
	u8 config[PCI_CFG_SIZE];
	u8 writable[PCI_CFG_SIZE]; /* mask of bits the guest may write */
	struct pci_bar bars[PCI_NR_BARS];
	struct msix msix;
	struct irq intx;
	u8 devfn; /* root's */
	u8 next_cap; /* where pci_add_capability() puts the next */
	u8 last_cap;
	struct pci_root *root;
	void *opaque; /* owner's */
	/* Optional: after a configuration write took effect. */
	void (*config_written)(struct pci_func *f, u32 off, unsigned size);
};

int pci_root_create(struct io_bus *pio, struct io_bus *mmio, const struct irq_sink *sink,
		    struct pci_root **res);
void pci_root_destroy(struct pci_root *root);

void pci_func_init(struct pci_func *f, const char *name, u16 vendor, u16 device, u32 class_rev);
u8 pci_add_capability(struct pci_func *f, u8 id, u8 size); /* returns its offset */
void pci_set_bar(struct pci_func *f, unsigned n, u64 size, bool is_io, bool is_64);
/* MSI-X table and PBA in BAR @bar of their own (4 KiB or as needed). */
void pci_add_msix(struct pci_func *f, unsigned bar, u16 nr_vectors);
/* @slot 0..31, or -1 for the next free one. */
int pci_add(struct pci_root *root, struct pci_func *f, int slot);

u32 pci_config_read(struct pci_root *root, unsigned bus, unsigned devfn, u32 off, unsigned size);
void pci_config_write(struct pci_root *root, unsigned bus, unsigned devfn, u32 off, unsigned size,
		      u32 value);

/* Sends MSI-X vector @n, or remembers it as pending while masked; false when
 * MSI-X is off (the caller then uses intx). Any thread. */
bool msix_notify(struct pci_func *f, unsigned n);

#endif
