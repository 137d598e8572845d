// SPDX-License-Identifier: MIT
/* The Q35's host and LPC bridges: identities, and doors to configuration space. */
#include "dev/q35.h"

#include <errno.h>

enum {
	CONFIG_ADDRESS_ENABLE = 0x80000000u,
	RESET_FULL = 0x08,
	RESET_CPU = 0x04,
	RESET_HARD = 0x02
};

struct q35 {
	struct device dev;
	struct q35_state {
		u32 address; /* port 0xcf8 */
		u8 reset_control;
	} s;
	struct pci_root *root;
	struct pci_func host, lpc;
	void (*reset)(void *opaque);
	void *opaque;
	struct io_bus *pio, *mmio;
	struct io_region address, data, ecam;
};

static const struct state_row q35_rows[] = {
	STATE_ROW(struct q35_state, address),
	STATE_ROW(struct q35_state, reset_control),
};
static const struct state_desc q35_state = STATE_DESC("q35", 1, q35_rows);

/* Bytes of the two bridges that firmware writes and reads back, or reads. */
static const struct bridge_reg {
	u8 off;
	u8 value, writable;
} host_regs[] = {
	{ 0x90, 0x00, 0x30 }, /* PAM0..6: what is at 0xc0000..0xfffff; always RAM here */
	{ 0x91, 0x00, 0x33 }, { 0x92, 0x00, 0x33 }, { 0x93, 0x00, 0x33 }, { 0x94, 0x00, 0x33 },
	{ 0x95, 0x00, 0x33 }, { 0x96, 0x00, 0x33 },
}, lpc_regs[] = {
	{ 0x40, 0x01, 0x00 }, { 0x41, 0x06, 0x00 }, /* PMBASE: port 0x600 */
	{ 0x44, 0x80, 0x00 },			     /* ACPI_CNTL: on, SCI is IRQ 9 */
	{ 0x60, 0x80, 0x8f }, { 0x61, 0x80, 0x8f }, { 0x62, 0x80, 0x8f }, { 0x63, 0x80, 0x8f },
	{ 0x68, 0x80, 0x8f }, { 0x69, 0x80, 0x8f }, { 0x6a, 0x80, 0x8f }, { 0x6b, 0x80, 0x8f },
};

static void bridge_set(struct pci_func *f, const struct bridge_reg *regs, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		f->config[regs[i].off] = regs[i].value;
		f->writable[regs[i].off] = regs[i].writable;
	}
}

static int bridges_add(struct q35 *q, struct pci_root *root, u64 ecam)
{
	int r;

	pci_func_init(&q->host, "q35 host bridge", 0x8086, 0x29c0, 0x06000000);
	bridge_set(&q->host, host_regs, ARRAY_SIZE(host_regs));
	pci_set32(&q->host, 0x60, (u32)ecam | 1); /* PCIEXBAR: 256 MiB, on */
	pci_set32(&q->host, 0x64, (u32)(ecam >> 32));
	r = pci_add(root, &q->host, 0);
	if (r)
		return r;
	pci_func_init(&q->lpc, "q35 lpc bridge", 0x8086, 0x2918, 0x06010002);
	bridge_set(&q->lpc, lpc_regs, ARRAY_SIZE(lpc_regs));
	return pci_add(root, &q->lpc, Q35_LPC_SLOT);
}

/* ---- Ports 0xcf8..0xcff ---- */

/* Rising RESET_CPU resets, whichever kind. */
static void reset_control_write(struct q35 *q, u8 v)
{
	bool go = (v & RESET_CPU) && !(q->s.reset_control & RESET_CPU);

	q->s.reset_control = v & (RESET_FULL | RESET_CPU | RESET_HARD);
	if (go)
		q->reset(q->opaque);
}

static u64 address_read(void *dev, u64 off, unsigned size)
{
	struct q35 *q = dev;

	if (off == 1 && size == 1)
		return q->s.reset_control;
	return q->s.address >> (8 * off);
}

/* Only a double word at 0xcf8 is the address; a byte at 0xcf9 is reset control. */
static void address_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct q35 *q = dev;

	if (off == 0 && size == 4)
		q->s.address = (u32)value & ~0x7f000003u;
	else if (off == 1 && size == 1)
		reset_control_write(q, (u8)value);
}

static unsigned address_bus(const struct q35 *q)
{
	return q->s.address >> 16 & 0xff;
}

static unsigned address_devfn(const struct q35 *q)
{
	return q->s.address >> 8 & 0xff;
}

static u64 data_read(void *dev, u64 off, unsigned size)
{
	struct q35 *q = dev;

	if (!(q->s.address & CONFIG_ADDRESS_ENABLE))
		return UINT64_MAX;
	return pci_config_read(q->root, address_bus(q), address_devfn(q),
			       (q->s.address & 0xfc) + (u32)off, size);
}

static void data_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct q35 *q = dev;

	if (q->s.address & CONFIG_ADDRESS_ENABLE)
		pci_config_write(q->root, address_bus(q), address_devfn(q),
				 (q->s.address & 0xfc) + (u32)off, size, (u32)value);
}

/* ---- ECAM ---- */

static u64 ecam_read(void *dev, u64 off, unsigned size)
{
	struct q35 *q = dev;

	return pci_config_read(q->root, (unsigned)(off >> 20), off >> 12 & 0xff, off & 0xfff, size);
}

static void ecam_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct q35 *q = dev;

	pci_config_write(q->root, (unsigned)(off >> 20), off >> 12 & 0xff, off & 0xfff, size,
			 (u32)value);
}

static const struct io_ops address_ops = { address_read, address_write, .max_size = 4,
					   .aligned = true };
static const struct io_ops data_ops = { data_read, data_write, .max_size = 4, .aligned = true };
static const struct io_ops ecam_ops = { ecam_read, ecam_write, .max_size = 4, .aligned = true };

/* ---- The device ---- */

static void q35_reset(struct device *d)
{
	struct q35 *q = container_of(d, struct q35, dev);

	q->s = (struct q35_state){ 0 };
}

static void q35_destroy(struct device *d)
{
	struct q35 *q = container_of(d, struct q35, dev);

	pci_func_fini(&q->host);
	pci_func_fini(&q->lpc);
	io_del(q->pio, &q->address);
	io_del(q->pio, &q->data);
	io_del(q->mmio, &q->ecam);
	device_free(d);
}

static const struct device_ops q35_ops = { .reset = q35_reset, .destroy = q35_destroy };

struct device *q35_device(struct q35 *q)
{
	return &q->dev;
}

int q35_create(const struct dev_env *env, struct pci_root *root, u64 ecam, u64 ecam_size,
	       void (*reset)(void *opaque), void *opaque, struct q35 **res)
{
	struct q35 *q = device_alloc(sizeof(*q), "q35", &q35_ops);
	pthread_mutex_t *lock;
	int r;

	if (!q)
		return -ENOMEM;
	lock = &q->dev.lock;
	q->dev.state = &q35_state;
	q->dev.state_data = &q->s;
	q->root = root;
	q->reset = reset;
	q->opaque = opaque;
	q->pio = env->pio;
	q->mmio = env->mmio;
	q->address = (struct io_region){ 0xcf8, 4, &address_ops, q, lock, "pci address" };
	q->data = (struct io_region){ 0xcfc, 4, &data_ops, q, lock, "pci data" };
	q->ecam = (struct io_region){ ecam, ecam_size, &ecam_ops, q, NULL, "ecam" };
	r = bridges_add(q, root, ecam);
	r = r ? r : io_add(env->pio, &q->address);
	r = r ? r : io_add(env->pio, &q->data);
	r = r ? r : io_add(env->mmio, &q->ecam);
	if (r) {
		device_destroy(&q->dev);
		return r;
	}
	*res = q;
	return 0;
}
