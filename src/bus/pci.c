// SPDX-License-Identifier: MIT
/*
 * PCI functions on bus 0: configuration space, BARs, INTx and MSI-X.
 *
 * Configuration space is bytes with a mask of what the guest may write; what
 * has an effect (BARs, command, MSI-X control) is looked at after each write.
 * A BAR's region is on its bus exactly while decoding is on and the BAR holds
 * an address that makes sense.
 */
#include "bus/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CAP_MSIX = 0x11, MSIX_CONTROL = 2, MSIX_PBA = 0x800, MSIX_BAR_SIZE = 4096 };
enum { MSIX_MASKALL = 0x4000, MSIX_ENABLE = 0x8000, MSIX_VECTOR_MASKED = 1 };

struct pci_root {
	struct io_bus *pio, *mmio;
	const struct irq_sink *sink;
	struct irq_sink intx_sink; /* "GSI" is the devfn */
	struct irq_or lines[PCI_NR_LINES];
	pthread_mutex_t lock;	   /* configuration space */
	pthread_mutex_t intx_lock; /* intx_high against the command register's gate */
	struct pci_func *funcs[256]; /* by devfn */
};

/* ---- Making a function ---- */

void pci_set16(struct pci_func *f, u32 off, u16 v)
{
	memcpy(&f->config[off], &v, sizeof(v));
}

void pci_set32(struct pci_func *f, u32 off, u32 v)
{
	memcpy(&f->config[off], &v, sizeof(v));
}

static u32 get32(const u8 *config, u32 off)
{
	u32 v;

	memcpy(&v, &config[off], sizeof(v));
	return v;
}

static void set_writable(struct pci_func *f, u32 off, u32 mask)
{
	memcpy(&f->writable[off], &mask, sizeof(mask));
}

void pci_func_init(struct pci_func *f, const char *name, u16 vendor, u16 device, u32 class_rev)
{
	memset(f, 0, sizeof(*f));
	f->name = name;
	f->next_cap = 0x40;
	pthread_mutex_init(&f->msix_lock, NULL);
	pci_set16(f, 0, vendor);
	pci_set16(f, 2, device);
	pci_set32(f, 8, class_rev);
	set_writable(f, PCI_COMMAND,
		     PCI_COMMAND_IO | PCI_COMMAND_MEM | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF);
	f->writable[0x0c] = 0xff; /* cache line size */
	f->writable[PCI_INTERRUPT_LINE] = 0xff;
}

u8 pci_add_capability(struct pci_func *f, u8 id, u8 size)
{
	u8 at = f->next_cap;

	f->config[at] = id;
	f->config[f->last_cap ? f->last_cap + 1 : PCI_CAP_POINTER] = at;
	f->config[PCI_STATUS] |= PCI_STATUS_CAPS;
	f->last_cap = at;
	f->next_cap = (u8)ALIGN_UP(at + size, 4);
	return at;
}

static u32 bar_off(unsigned n)
{
	return PCI_BAR0 + 4 * n;
}

void pci_set_bar(struct pci_func *f, unsigned n, u64 size, bool is_io, bool is_64)
{
	u64 mask = ~(size - 1);

	f->bars[n].size = size;
	f->bars[n].is_io = is_io;
	f->bars[n].is_64 = is_64;
	f->bars[n].region.size = size;
	f->bars[n].region.name = f->name;
	f->config[bar_off(n)] = is_io ? 1 : is_64 ? 4 : 0;
	set_writable(f, bar_off(n), (u32)mask & (is_io ? 0xfffffffc : 0xfffffff0));
	if (is_64)
		set_writable(f, bar_off(n) + 4, (u32)(mask >> 32));
}

/* ---- MSI-X ---- */

static void msix_send(struct pci_func *f, unsigned n)
{
	struct msix *m = &f->msix;

	if (m->master && f->root->sink) /* a message is a memory write of the device's */
		msi_send(f->root->sink, m->table[n].address, m->table[n].data);
}

static bool msix_vector_masked(const struct msix *m, unsigned n)
{
	return m->masked || (m->table[n].control & MSIX_VECTOR_MASKED);
}

static void msix_send_pending(struct pci_func *f)
{
	struct msix *m = &f->msix;

	for (unsigned n = 0; m->enabled && m->pending && n < m->nr_vectors; n++) {
		if (!(m->pending & BIT(n)) || msix_vector_masked(m, n))
			continue;
		m->pending &= ~BIT(n);
		msix_send(f, n);
	}
}

bool msix_notify(struct pci_func *f, unsigned n)
{
	struct msix *m = &f->msix;
	bool enabled;

	pthread_mutex_lock(&f->msix_lock);
	enabled = m->enabled;
	if (enabled && n < m->nr_vectors) {
		if (msix_vector_masked(m, n))
			m->pending |= BIT(n);
		else
			msix_send(f, n);
	}
	pthread_mutex_unlock(&f->msix_lock);
	return enabled;
}

static u32 msix_read_dword(const struct msix *m, u64 off)
{
	u64 n = off / 16;

	if (off >= MSIX_PBA)
		return off == MSIX_PBA ? (u32)m->pending :
		       off == MSIX_PBA + 4 ? (u32)(m->pending >> 32) : 0;
	if (n >= m->nr_vectors)
		return 0;
	switch (off % 16 / 4) {
	case 0: return (u32)m->table[n].address;
	case 1: return (u32)(m->table[n].address >> 32);
	case 2: return m->table[n].data;
	default: return m->table[n].control;
	}
}

static u64 msix_mmio_read(void *dev, u64 off, unsigned size)
{
	struct pci_func *f = dev;

	(void)size; /* the bus cuts what it does not want */
	return msix_read_dword(&f->msix, off & ~3ull) >> (8 * (off & 3));
}

static void msix_mmio_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct pci_func *f = dev;
	struct msix *m = &f->msix;
	u64 n = off / 16;

	if (size != 4 || n >= m->nr_vectors)
		return; /* the specification leaves others undefined; PBA is read-only */
	switch (off % 16 / 4) {
	case 0:
		m->table[n].address = (m->table[n].address & ~0xffffffffull) | (value & ~3ull);
		break;
	case 1:
		m->table[n].address = (u32)m->table[n].address | value << 32;
		break;
	case 2:
		m->table[n].data = (u32)value;
		break;
	default:
		m->table[n].control = value & MSIX_VECTOR_MASKED;
		msix_send_pending(f);
	}
}

static const struct io_ops msix_ops = { msix_mmio_read, msix_mmio_write, .max_size = 4,
					.aligned = true };

void pci_add_msix(struct pci_func *f, unsigned bar, u16 nr_vectors)
{
	struct msix *m = &f->msix;

	m->nr_vectors = MIN(nr_vectors, MSIX_MAX);
	m->bar = (u8)bar;
	for (unsigned n = 0; n < MSIX_MAX; n++)
		m->table[n].control = MSIX_VECTOR_MASKED;
	pci_set_bar(f, bar, MSIX_BAR_SIZE, false, false);
	f->bars[bar].region.ops = &msix_ops;
	f->bars[bar].region.dev = f;
	f->bars[bar].region.lock = &f->msix_lock;
	f->bars[bar].region.name = "msix";
	m->cap = pci_add_capability(f, CAP_MSIX, 12);
	pci_set16(f, m->cap + MSIX_CONTROL, (u16)(m->nr_vectors - 1));
	f->writable[m->cap + MSIX_CONTROL + 1] = (MSIX_ENABLE | MSIX_MASKALL) >> 8;
	pci_set32(f, m->cap + 4, bar);
	pci_set32(f, m->cap + 8, bar | MSIX_PBA);
}

static void msix_update(struct pci_func *f)
{
	struct msix *m = &f->msix;
	u16 control;

	if (!m->nr_vectors)
		return;
	pthread_mutex_lock(&f->msix_lock);
	control = pci_get16(f, m->cap + MSIX_CONTROL);
	m->enabled = control & MSIX_ENABLE;
	m->masked = control & MSIX_MASKALL;
	m->master = pci_get16(f, PCI_COMMAND) & PCI_COMMAND_MASTER;
	msix_send_pending(f);
	pthread_mutex_unlock(&f->msix_lock);
}

/* ---- BARs ---- */

static u64 bar_address(const struct pci_func *f, unsigned n)
{
	u32 low = get32(f->config, bar_off(n));

	if (f->bars[n].is_io)
		return low & 0xfffcu;
	low &= 0xfffffff0u;
	return f->bars[n].is_64 ? (u64)get32(f->config, bar_off(n) + 4) << 32 | low : low;
}

/* Where the BAR should answer now, or 0: not at all. An all-ones BAR is being
 * sized. */
static u64 bar_target(const struct pci_func *f, unsigned n)
{
	u16 command = pci_get16(f, PCI_COMMAND);
	u64 addr = bar_address(f, n), last = addr + f->bars[n].size - 1;

	if (!(command & (f->bars[n].is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEM)))
		return 0;
	if (f->bars[n].is_io)
		return last < 0xffff ? addr : 0;
	if (last < addr || last >= BIT(52) || (!f->bars[n].is_64 && last >= 0xffffffff))
		return 0;
	return addr;
}

static void bar_update(struct pci_func *f, unsigned n)
{
	struct pci_bar *b = &f->bars[n];
	struct io_bus *bus = b->is_io ? f->root->pio : f->root->mmio;
	u64 target = b->size ? bar_target(f, n) : 0;

	if (b->mapped && target) {
		if (target != b->region.base)
			io_move(bus, &b->region, target);
	} else if (b->mapped) {
		io_del(bus, &b->region);
		b->mapped = false;
	} else if (target && b->region.ops) {
		b->region.base = target;
		b->mapped = !io_add(bus, &b->region);
	}
}

static void bars_update(struct pci_func *f)
{
	for (unsigned n = 0; n < PCI_NR_BARS; n++)
		bar_update(f, n);
}

int pci_assign_bars(struct pci_root *root, const struct pci_windows *w)
{
	u64 mmio = w->mmio_base, io = w->io_base;
	int r = 0;

	pthread_mutex_lock(&root->lock);
	for (unsigned i = 0; i < ARRAY_SIZE(root->funcs); i++) {
		struct pci_func *f = root->funcs[i];

		for (unsigned n = 0; f && n < PCI_NR_BARS; n++) {
			struct pci_bar *b = &f->bars[n];
			u64 *next = b->is_io ? &io : &mmio, at;

			if (!b->size)
				continue;
			at = ALIGN_UP(*next, b->size);
			if (at + b->size > (b->is_io ? w->io_end : w->mmio_end)) {
				r = -ENOSPC;
				continue;
			}
			*next = at + b->size;
			pci_set32(f, bar_off(n), (u32)at | (f->config[bar_off(n)] & 0xf));
			f->config[PCI_COMMAND] |= b->is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEM;
		}
		if (f)
			bars_update(f);
	}
	pthread_mutex_unlock(&root->lock);
	return r;
}

/* ---- INTx ---- */

static void intx_update(struct pci_func *f)
{
	bool off = pci_get16(f, PCI_COMMAND) & PCI_COMMAND_INTX_OFF;

	irq_set(&f->intx_line, f->intx_high && !off);
}

static void intx_set(void *opaque, u32 devfn, bool level)
{
	struct pci_root *root = opaque;
	struct pci_func *f = root->funcs[devfn & 0xff];

	if (!f)
		return;
	pthread_mutex_lock(&root->intx_lock);
	f->intx_high = level;
	intx_update(f);
	pthread_mutex_unlock(&root->intx_lock);
}

static void intx_msi(void *opaque, u64 address, u32 data)
{
	struct pci_root *root = opaque;

	if (root->sink)
		msi_send(root->sink, address, data);
}

/* ---- The root ---- */

int pci_root_create(struct io_bus *pio, struct io_bus *mmio, const struct irq_sink *sink,
		    struct pci_root **res)
{
	struct pci_root *root = calloc(1, sizeof(*root));

	if (!root)
		return -ENOMEM;
	root->pio = pio;
	root->mmio = mmio;
	root->sink = sink;
	root->intx_sink = (struct irq_sink){ intx_set, intx_msi, root };
	for (unsigned i = 0; i < PCI_NR_LINES; i++)
		irq_or_init(&root->lines[i], (struct irq){ sink, PCI_FIRST_GSI + i });
	pthread_mutex_init(&root->lock, NULL);
	pthread_mutex_init(&root->intx_lock, NULL);
	*res = root;
	return 0;
}

void pci_root_destroy(struct pci_root *root)
{
	if (!root)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(root->funcs); i++)
		if (root->funcs[i])
			pci_func_fini(root->funcs[i]);
	for (unsigned i = 0; i < PCI_NR_LINES; i++)
		irq_or_fini(&root->lines[i]);
	pthread_mutex_destroy(&root->lock);
	pthread_mutex_destroy(&root->intx_lock);
	free(root);
}

static int free_slot(const struct pci_root *root)
{
	for (int slot = 0; slot < PCI_NR_DEVICES; slot++)
		if (!root->funcs[slot * 8])
			return slot;
	return -1;
}

int pci_add(struct pci_root *root, struct pci_func *f, int slot)
{
	struct irq_or *line;

	if (slot < 0)
		slot = free_slot(root);
	if (slot < 0 || slot >= PCI_NR_DEVICES)
		return -ENOSPC;
	if (root->funcs[slot * 8])
		return -EEXIST;
	f->root = root;
	f->devfn = (u8)(slot * 8);
	line = &root->lines[pci_intx_gsi((unsigned)slot, 1) - PCI_FIRST_GSI];
	f->intx = (struct irq){ &root->intx_sink, f->devfn };
	f->intx_line = irq_or_input(line, (u32)slot);
	memcpy(f->reset_config, f->config, sizeof(f->config));
	root->funcs[f->devfn] = f;
	return 0;
}

void pci_func_fini(struct pci_func *f)
{
	if (!f->root)
		return;
	pthread_mutex_lock(&f->root->lock);
	f->config[PCI_COMMAND] = 0;
	bars_update(f);
	f->root->funcs[f->devfn] = NULL;
	pthread_mutex_unlock(&f->root->lock);
	f->root = NULL;
	pthread_mutex_destroy(&f->msix_lock);
}

/* After configuration space changed as a whole (reset, load): its effects. */
static void func_apply(struct pci_func *f)
{
	bars_update(f);
	msix_update(f);
	pthread_mutex_lock(&f->root->intx_lock);
	intx_update(f);
	pthread_mutex_unlock(&f->root->intx_lock);
}

static void func_reset(struct pci_func *f)
{
	memcpy(f->config, f->reset_config, sizeof(f->config));
	pthread_mutex_lock(&f->msix_lock);
	f->msix.pending = 0;
	for (unsigned n = 0; n < MSIX_MAX; n++) {
		f->msix.table[n].address = 0;
		f->msix.table[n].data = 0;
		f->msix.table[n].control = MSIX_VECTOR_MASKED;
	}
	pthread_mutex_unlock(&f->msix_lock);
	f->intx_high = false;
	func_apply(f);
}

void pci_root_reset(struct pci_root *root)
{
	for (unsigned i = 0; i < ARRAY_SIZE(root->funcs); i++) {
		struct pci_func *f = root->funcs[i];

		if (!f)
			continue;
		pthread_mutex_lock(&root->lock);
		func_reset(f);
		pthread_mutex_unlock(&root->lock);
		if (f->reset)
			f->reset(f);
	}
}

/* ---- Configuration accesses ---- */

static struct pci_func *func_at(struct pci_root *root, unsigned bus, unsigned devfn)
{
	return bus || devfn > 0xff ? NULL : root->funcs[devfn];
}

static bool access_valid(u32 off, unsigned size)
{
	return (size == 1 || size == 2 || size == 4) && off <= PCI_CFG_SIZE - size;
}

static u8 config_byte(const struct pci_func *f, u32 off)
{
	u8 v = f->config[off];

	return off == PCI_STATUS && f->intx_high ? v | PCI_STATUS_INTX : v;
}

u32 pci_config_read(struct pci_root *root, unsigned bus, unsigned devfn, u32 off, unsigned size)
{
	struct pci_func *f = func_at(root, bus, devfn);
	u32 v = 0;

	if (!f || !access_valid(off, size))
		return 0xffffffff;
	pthread_mutex_lock(&root->lock);
	if (f->config_read && f->config_read(f, off, size, &v)) {
		pthread_mutex_unlock(&root->lock);
		return v;
	}
	for (unsigned i = 0; i < size; i++)
		v |= (u32)config_byte(f, off + i) << (8 * i);
	pthread_mutex_unlock(&root->lock);
	return v;
}

static bool touches(u32 off, unsigned size, u32 at, u32 len)
{
	return off < at + len && at < off + size;
}

static void config_apply(struct pci_func *f, u32 off, unsigned size)
{
	if (touches(off, size, PCI_COMMAND, 2)) {
		pthread_mutex_lock(&f->root->intx_lock);
		intx_update(f);
		pthread_mutex_unlock(&f->root->intx_lock);
	}
	if (touches(off, size, PCI_COMMAND, 2) || touches(off, size, PCI_BAR0, 4 * PCI_NR_BARS))
		bars_update(f);
	if (touches(off, size, PCI_COMMAND, 2) ||
	    (f->msix.nr_vectors && touches(off, size, f->msix.cap + MSIX_CONTROL, 2)))
		msix_update(f);
	if (f->config_written)
		f->config_written(f, off, size);
}

void pci_config_write(struct pci_root *root, unsigned bus, unsigned devfn, u32 off, unsigned size,
		      u32 value)
{
	struct pci_func *f = func_at(root, bus, devfn);

	if (!f || !access_valid(off, size))
		return;
	pthread_mutex_lock(&root->lock);
	for (unsigned i = 0; i < size; i++) {
		u8 mask = f->writable[off + i], byte = (u8)(value >> (8 * i));

		f->config[off + i] = (f->config[off + i] & ~mask) | (byte & mask);
	}
	config_apply(f, off, size);
	pthread_mutex_unlock(&root->lock);
}

/* ---- Saving ---- */

static const struct state_row func_rows[] = {
	STATE_ROW(struct pci_func, config),
	STATE_ROW(struct pci_func, msix.table),
	STATE_ROW(struct pci_func, msix.pending),
	STATE_ROW(struct pci_func, intx_high),
};
static const struct state_desc func_desc = STATE_DESC("pci-function", 1, func_rows);

int pci_root_save(struct pci_root *root, struct state_buf *b)
{
	int r = 0;

	for (unsigned i = 0; !r && i < ARRAY_SIZE(root->funcs); i++)
		if (root->funcs[i])
			r = state_save(b, &func_desc, i, root->funcs[i]);
	return r;
}

/* Saved bytes are not trusted: what the guest cannot write stays as it was made. */
static void config_sanitize(struct pci_func *f)
{
	for (u32 off = 0; off < PCI_CFG_SIZE; off++) {
		u8 mask = f->writable[off];

		f->config[off] = (f->config[off] & mask) | (f->reset_config[off] & ~mask);
	}
}

int pci_root_load(struct pci_root *root, struct state_buf *b, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; !r && i < ARRAY_SIZE(root->funcs); i++) {
		struct pci_func *f = root->funcs[i];

		if (!f)
			continue;
		r = state_load(b, &func_desc, i, f, e);
		config_sanitize(f);
		func_apply(f);
	}
	return r;
}
