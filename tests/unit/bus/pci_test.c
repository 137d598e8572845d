// SPDX-License-Identifier: MIT
#include "bus/pci.h"

#include <string.h>

#include "../../lib/test.h"

struct sink_log {
	struct irq_sink sink;
	bool level[24];
	unsigned nr_msi;
	u64 address;
	u32 data;
};

static void log_gsi(void *opaque, u32 gsi, bool level)
{
	((struct sink_log *)opaque)->level[gsi] = level;
}

static void log_msi(void *opaque, u64 address, u32 data)
{
	struct sink_log *l = opaque;

	l->nr_msi++;
	l->address = address;
	l->data = data;
}

static u64 bar_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)size;
	return off;
}

static const struct io_ops bar_ops = { .read = bar_read };

struct rig {
	struct sink_log log;
	struct io_bus *pio, *mmio;
	struct pci_root *root;
	struct pci_func f;
};

static void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	r->log.sink = (struct irq_sink){ log_gsi, log_msi, &r->log };
	CHECK_EQ(io_bus_create(&r->pio), 0);
	CHECK_EQ(io_bus_create(&r->mmio), 0);
	CHECK_EQ(pci_root_create(r->pio, r->mmio, &r->log.sink, &r->root), 0);
	pci_func_init(&r->f, "test", 0x1af4, 0x1044, 0x00ff0001);
	pci_set_bar(&r->f, 0, 0x4000, false, true);
	r->f.bars[0].region.ops = &bar_ops;
	pci_set_bar(&r->f, 4, 0x20, true, false);
	r->f.bars[4].region.ops = &bar_ops;
	pci_add_msix(&r->f, 2, 3);
	CHECK_EQ(pci_add(r->root, &r->f, 3), 0);
}

static void rig_fini(struct rig *r)
{
	pci_root_destroy(r->root);
	io_bus_destroy(r->pio);
	io_bus_destroy(r->mmio);
}

static u32 get(struct rig *r, u32 off, unsigned size)
{
	return pci_config_read(r->root, 0, 3 << 3, off, size);
}

static void set(struct rig *r, u32 off, unsigned size, u32 value)
{
	pci_config_write(r->root, 0, 3 << 3, off, size, value);
}

TEST(pci, header_and_absent_functions)
{
	struct rig r;

	rig_init(&r);
	CHECK_EQ(get(&r, 0, 4), 0x10441af4);
	CHECK_EQ(pci_config_read(r.root, 0, 4 << 3, 0, 4), 0xffffffff);
	CHECK_EQ(pci_config_read(r.root, 1, 3 << 3, 0, 4), 0xffffffff);
	CHECK_EQ(get(&r, 4095, 4), 0xffffffff);
	set(&r, 0, 4, 0);
	CHECK_EQ(get(&r, 0, 4), 0x10441af4);
	rig_fini(&r);
}

TEST(pci, bar_sizing_and_mapping)
{
	struct rig r;

	rig_init(&r);
	set(&r, 0x10, 4, 0xffffffff);
	set(&r, 0x14, 4, 0xffffffff);
	CHECK_EQ(get(&r, 0x10, 4), 0xffffc004);
	CHECK_EQ(get(&r, 0x14, 4), 0xffffffff);
	set(&r, PCI_COMMAND, 2, 3);
	set(&r, 0x10, 4, 0xd0000000);
	CHECK(!io_claimed(r.mmio, 0xd0000000)); /* high half still ones */
	set(&r, 0x14, 4, 1);
	CHECK(io_claimed(r.mmio, 0x1d0000000));
	CHECK_EQ(io_read(r.mmio, 0x1d0000123, 2), 0x123);
	set(&r, 0x10, 4, 0xe0000000); /* moved while decoding */
	CHECK(!io_claimed(r.mmio, 0x1d0000000));
	CHECK_EQ(io_read(r.mmio, 0x1e0000123, 2), 0x123);
	set(&r, 0x20, 4, 0xc001);
	CHECK_EQ(io_read(r.pio, 0xc01f, 1), 0x1f);
	set(&r, PCI_COMMAND, 2, 0);
	CHECK(!io_claimed(r.mmio, 0x1e0000000) && !io_claimed(r.pio, 0xc000));
	rig_fini(&r);
}

TEST(pci, assign_gives_aligned_addresses)
{
	struct pci_windows w = { 0xc0001000, 0xfec00000, 0xc004, 0x10000 };
	struct rig r;

	rig_init(&r);
	CHECK_EQ(pci_assign_bars(r.root, &w), 0);
	CHECK_EQ(get(&r, 0x10, 4), 0xc0004004);
	CHECK_EQ(get(&r, 0x18, 4), 0xc0008000);
	CHECK_EQ(get(&r, 0x20, 4), 0xc021);
	CHECK(io_claimed(r.mmio, 0xc0008000) && io_claimed(r.pio, 0xc020));
	pci_root_reset(r.root);
	CHECK_EQ(get(&r, 0x10, 4), 4);
	CHECK(!io_claimed(r.mmio, 0xc0008000));
	w.mmio_end = 0xc0002000;
	CHECK(pci_assign_bars(r.root, &w) < 0);
	rig_fini(&r);
}

TEST(pci, msix_sends_masks_and_remembers)
{
	struct pci_windows w = { 0xc0000000, 0xfec00000, 0xc000, 0x10000 };
	struct rig r;
	u8 cap;

	rig_init(&r);
	pci_assign_bars(r.root, &w);
	cap = r.f.msix.cap;
	CHECK_EQ(get(&r, cap, 1), 0x11);
	CHECK_EQ(get(&r, cap + 2, 2), 2);
	CHECK(!msix_notify(&r.f, 0));
	set(&r, PCI_COMMAND, 2, 7);
	set(&r, cap + 2, 2, 0x8000);
	io_write(r.mmio, 0xc0004010, 8, 0xfee01000);
	io_write(r.mmio, 0xc0004018, 4, 0x4041);
	CHECK(msix_notify(&r.f, 1));
	CHECK_EQ(r.log.nr_msi, 0);
	CHECK_EQ(io_read(r.mmio, 0xc0004800, 8), 2);
	io_write(r.mmio, 0xc000401c, 4, 0);
	CHECK_EQ(r.log.nr_msi, 1);
	CHECK(r.log.address == 0xfee01000 && r.log.data == 0x4041);
	CHECK_EQ(io_read(r.mmio, 0xc0004800, 8), 0);
	set(&r, cap + 2, 2, 0xc000);
	CHECK(msix_notify(&r.f, 1));
	CHECK_EQ(r.log.nr_msi, 1);
	set(&r, cap + 2, 2, 0x8000);
	CHECK_EQ(r.log.nr_msi, 2);
	CHECK(msix_notify(&r.f, 63)); /* no such vector: nothing */
	CHECK_EQ(r.log.nr_msi, 2);
	rig_fini(&r);
}

TEST(pci, intx_is_shared_and_gated)
{
	struct pci_func other;
	struct rig r;
	u32 gsi = pci_intx_gsi(3, 1);

	rig_init(&r);
	pci_func_init(&other, "other", 1, 2, 0);
	CHECK_EQ(pci_add(r.root, &other, 3 + PCI_NR_LINES), 0);
	irq_set(&r.f.intx, true);
	irq_set(&other.intx, true);
	CHECK(r.log.level[gsi]);
	CHECK_EQ(get(&r, PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
	irq_set(&r.f.intx, false);
	CHECK(r.log.level[gsi]);
	pci_config_write(r.root, 0, other.devfn, PCI_COMMAND, 2, PCI_COMMAND_INTX_OFF);
	CHECK(!r.log.level[gsi]);
	pci_config_write(r.root, 0, other.devfn, PCI_COMMAND, 2, 0);
	CHECK(r.log.level[gsi]);
	pci_root_reset(r.root);
	CHECK(!r.log.level[gsi]);
	rig_fini(&r);
}

TEST(pci, save_and_load)
{
	struct pci_windows w = { 0xc0000000, 0xfec00000, 0xc000, 0x10000 };
	struct state_buf b = { 0 };
	struct rig r, s;
	struct err e;

	rig_init(&r);
	rig_init(&s);
	pci_assign_bars(r.root, &w);
	io_write(r.mmio, 0xc0004010, 8, 0xfee01000);
	CHECK_EQ(pci_root_save(r.root, &b), 0);
	CHECK_EQ(pci_root_load(s.root, &b, &e), 0);
	CHECK_EQ(io_read(s.mmio, 0xc0004010, 8), 0xfee01000);
	CHECK_EQ(get(&s, 0x20, 4), 0xc001);
	state_buf_free(&b);
	rig_fini(&r);
	rig_fini(&s);
}
