// SPDX-License-Identifier: MIT
/*
 * The PC board: creates the chips of devices.def, wires their interrupts, and
 * brings it all to power-on state.
 */
#include "machine/pc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/lapic.h"
#include "dev/acpi_pm.h"
#include "dev/debug_exit.h"
#include "dev/fw_cfg.h"
#include "dev/hpet.h"
#include "dev/i8042.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/mc146818.h"
#include "dev/q35.h"
#include "dev/uart16550.h"
#include "machine/acpi.h"
#include "machine/bios.h"
#include "machine/smbios.h"

enum { IRQ_TIMER = 0, IRQ_KEYBOARD = 1, IRQ_CASCADE = 2, IRQ_COM24 = 3, IRQ_COM13 = 4, IRQ_RTC = 8,
       IRQ_SCI = 9, IRQ_MOUSE = 12, NR_ISA_IRQS = 16, TIMER_PIN = 2 };

/* ---- Interrupts: from a device's line or message to where they go ---- */

static void set_gsi(void *opaque, u32 gsi, bool level)
{
	struct pc *pc = opaque;

	if (pc->external.set_gsi)
		pc->external.set_gsi(pc->external.opaque, gsi, level);
	if (pc->pic && gsi < NR_ISA_IRQS && gsi != IRQ_CASCADE)
		i8259_set_irq(pc->pic, gsi, level);
	if (pc->ioapic)
		ioapic_set_pin(pc->ioapic, gsi == IRQ_TIMER ? TIMER_PIN : gsi, level);
}

static void send_msi(void *opaque, u64 address, u32 data)
{
	struct pc *pc = opaque;

	if (pc->external.send_msi)
		pc->external.send_msi(pc->external.opaque, address, data);
	else if (pc->lapics)
		lapic_bus_send_msi(pc->lapics, address, data);
}

static void pic_output(void *opaque, bool level)
{
	struct pc *pc = opaque;

	if (pc->lapics)
		lapic_set_lint0(pc->lapics, level);
}

static void ioapic_output(void *opaque, const struct lapic_msg *m)
{
	struct pc *pc = opaque;

	if (pc->lapics)
		lapic_bus_send(pc->lapics, m);
}

static void lapic_eoi_seen(void *opaque, u8 vector)
{
	struct pc *pc = opaque;

	ioapic_eoi(pc->ioapic, vector);
}

static int extint_ack(void *opaque)
{
	struct pc *pc = opaque;

	return pc->pic ? i8259_ack(pc->pic) : -1;
}

static struct irq isa_irq(struct pc *pc, u32 irq)
{
	return (struct irq){ &pc->sink, irq };
}

/* ---- The ends of the machine ---- */

static void end_poweroff(void *opaque)
{
	struct pc *pc = opaque;

	pc->config.end(pc->config.opaque, MACHINE_POWEROFF, 0);
}

static void end_reset(void *opaque)
{
	struct pc *pc = opaque;

	pc->config.end(pc->config.opaque, MACHINE_RESET, 0);
}

static void end_debug_exit(void *opaque, u32 status)
{
	struct pc *pc = opaque;

	pc->config.end(pc->config.opaque, MACHINE_DEBUG_EXIT, status);
}

static void hpet_legacy(void *opaque, bool on)
{
	struct pc *pc = opaque;

	i8254_set_irq_enabled(pc->pit, !on);
	mc146818_set_irq_enabled(pc->rtc, !on);
}

/* ---- The chips: one function for each row of devices.def ---- */

void pc_add_device(struct pc *pc, struct device *d)
{
	d->next = pc->devices;
	pc->devices = d;
}

static int make_pic(struct pc *pc)
{
	int r = i8259_create(&pc->env, pic_output, pc, &pc->pic);

	if (!r)
		pc_add_device(pc, i8259_device(pc->pic));
	return r;
}

static int make_ioapic(struct pc *pc)
{
	int r = ioapic_create(&pc->env, PC_IOAPIC_BASE, ioapic_output, pc, &pc->ioapic);

	if (!r)
		pc_add_device(pc, ioapic_device(pc->ioapic));
	return r;
}

static int make_pit(struct pc *pc)
{
	int r = i8254_create(&pc->env, isa_irq(pc, IRQ_TIMER), &pc->pit);

	if (!r)
		pc_add_device(pc, i8254_device(pc->pit));
	return r;
}

static int make_rtc(struct pc *pc)
{
	int r = mc146818_create(&pc->env, isa_irq(pc, IRQ_RTC), &pc->rtc);

	if (!r)
		pc_add_device(pc, mc146818_device(pc->rtc));
	return r;
}

static int make_hpet(struct pc *pc)
{
	int r = hpet_create(&pc->env, PC_HPET_BASE, hpet_legacy, pc, &pc->hpet);

	if (!r)
		pc_add_device(pc, hpet_device(pc->hpet));
	return r;
}

static int make_pm(struct pc *pc)
{
	int r = acpi_pm_create(&pc->env, isa_irq(pc, IRQ_SCI), end_poweroff, pc, &pc->pm);

	if (!r)
		pc_add_device(pc, acpi_pm_device(pc->pm));
	return r;
}

static int make_kbd(struct pc *pc)
{
	int r = i8042_create(&pc->env, isa_irq(pc, IRQ_KEYBOARD), isa_irq(pc, IRQ_MOUSE), end_reset,
			     pc, &pc->kbd);

	if (!r)
		pc_add_device(pc, i8042_device(pc->kbd));
	return r;
}

static int make_dma_page(struct pc *pc)
{
	struct device *d;
	int r = dma_page_create(&pc->env, &d);

	if (!r)
		pc_add_device(pc, d);
	return r;
}

static int make_q35(struct pc *pc)
{
	int r = q35_create(&pc->env, pc->pci_root, PC_ECAM_BASE, PC_ECAM_SIZE, end_reset, pc,
			   &pc->q35);

	if (!r)
		pc_add_device(pc, q35_device(pc->q35));
	return r;
}

static int make_fw_cfg(struct pc *pc)
{
	u16 cpus = (u16)pc->config.cpus;
	int r = fw_cfg_create(&pc->env, &pc->fw_cfg);

	if (r)
		return r;
	pc_add_device(pc, fw_cfg_device(pc->fw_cfg));
	r = fw_cfg_add(pc->fw_cfg, FW_CFG_RAM_SIZE, &pc->mem->ram_size, 8);
	r = r ? r : fw_cfg_add(pc->fw_cfg, FW_CFG_NR_CPUS, &cpus, sizeof(cpus));
	return r ? r : fw_cfg_add(pc->fw_cfg, FW_CFG_MAX_CPUS, &cpus, sizeof(cpus));
}

/* COM1 and COM3 share IRQ 4, COM2 and COM4 IRQ 3. */
static int make_com(struct pc *pc, unsigned n)
{
	static const u16 port[PC_NR_SERIAL] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
	int r = uart_create(&pc->env, port[n], irq_or_input(&pc->com_irq[n % 2], n),
			    pc->config.serial[n], &pc->uart[n]);

	if (!r)
		pc_add_device(pc, uart_device(pc->uart[n]));
	return r;
}

static int make_com1(struct pc *pc)
{
	return make_com(pc, 0);
}

static int make_com2(struct pc *pc)
{
	return make_com(pc, 1);
}

static int make_com3(struct pc *pc)
{
	return make_com(pc, 2);
}

static int make_com4(struct pc *pc)
{
	return make_com(pc, 3);
}

static int make_debug_exit(struct pc *pc)
{
	struct device *d;
	int r = debug_exit_create(&pc->env, end_debug_exit, pc, &d);

	if (!r)
		pc_add_device(pc, d);
	return r;
}

static int make_devices(struct pc *pc, struct err *e)
{
	const struct pc_config *c = &pc->config;
	int r;

#define DEVICE(name, when, title)                                                                  \
	if ((when) && (r = make_##name(pc)))                                                       \
		return err_set(e, "cannot create the %s: %s", title, strerror(-r));
#include "machine/devices.def"
#undef DEVICE
	return 0;
}

/* ---- Creation ---- */

static int make_buses(struct pc *pc, struct err *e)
{
	int r = io_bus_create(&pc->pio);

	r = r ? r : io_bus_create(&pc->mmio);
	r = r ? r : pci_root_create(pc->pio, pc->mmio, &pc->sink, &pc->pci_root);
	return r ? err_set(e, "cannot create the machine's buses: %s", strerror(-r)) : 0;
}

int pc_create(const struct pc_config *config, struct loop *loop, struct pc **res, struct err *e)
{
	struct pc *pc;

	if (config->memory < MIB(2))
		return err_set(e, "cannot give a machine %llu KiB of memory: 2 MiB is the least",
			       (unsigned long long)(config->memory >> 10));
	pc = calloc(1, sizeof(*pc));
	if (!pc)
		return err_set(e, "cannot create the machine: out of memory");
	pc->config = *config;
	pc->loop = loop;
	pc->sink = (struct irq_sink){ set_gsi, send_msi, pc };
	irq_or_init(&pc->com_irq[0], isa_irq(pc, IRQ_COM13));
	irq_or_init(&pc->com_irq[1], isa_irq(pc, IRQ_COM24));
	vclock_set(&pc->clock, 0);
	if (mem_create(config->memory, &pc->mem, e) || make_buses(pc, e))
		goto out;
	if (config->hot_memory &&
	    mem_reserve_hot(pc->mem, pc_hot_base(pc->mem), config->hot_memory, e))
		goto out;
	pc->env = (struct dev_env){ pc->mem, pc->pio, pc->mmio, loop, &pc->clock, &pc->sink };
	if (make_devices(pc, e))
		goto out;
	*res = pc;
	return 0;
out:
	pc_destroy(pc);
	return -1;
}

void pc_destroy(struct pc *pc)
{
	if (!pc)
		return;
	for (struct device *d = pc->devices, *next; d; d = next) {
		next = d->next;
		device_destroy(d);
	}
	pci_root_destroy(pc->pci_root);
	io_bus_destroy(pc->pio);
	io_bus_destroy(pc->mmio);
	mem_destroy(pc->mem);
	for (unsigned i = 0; i < ARRAY_SIZE(pc->com_irq); i++)
		irq_or_fini(&pc->com_irq[i]);
	free(pc);
}

void pc_fill_env(struct pc *pc, struct machine_env *env)
{
	env->mem = pc->mem;
	env->pio = pc->pio;
	env->mmio = pc->mmio;
	env->loop = pc->loop;
	env->nr_cpus = pc->config.cpus;
	env->extint_ack = extint_ack;
	env->extint_opaque = pc;
}

void pc_connect_lapics(struct pc *pc, struct lapic_bus *bus)
{
	pc->lapics = bus;
	if (pc->ioapic)
		lapic_set_eoi_broadcast(bus, lapic_eoi_seen, pc);
}

void pc_connect_sink(struct pc *pc, const struct irq_sink *sink)
{
	pc->external = *sink;
}

/* ---- Reset ---- */

static void set_cmos16(struct pc *pc, unsigned index, u64 v)
{
	v = MIN(v, 0xffff);
	mc146818_set_cmos(pc->rtc, index, (u8)v);
	mc146818_set_cmos(pc->rtc, index + 1, (u8)(v >> 8));
}

/* Memory sizes and the like, where BIOSes look for them. */
static void set_cmos(struct pc *pc)
{
	u64 low = pc_low_ram_end(pc->mem), high = pc_high_ram_end(pc->mem) - PC_HIGH_RAM;

	mc146818_set_cmos(pc->rtc, 0x14, 0x06); /* equipment: FPU, PS/2 mouse */
	set_cmos16(pc, 0x15, 640);		/* KiB below 1 MiB */
	set_cmos16(pc, 0x17, (low - MIB(1)) >> 10); /* KiB above, twice */
	set_cmos16(pc, 0x30, (low - MIB(1)) >> 10);
	set_cmos16(pc, 0x34, low > MIB(16) ? (low - MIB(16)) >> 16 : 0); /* 64 KiB above 16 MiB */
	set_cmos16(pc, 0x5b, high >> 16); /* 64 KiB above 4 GiB, 24 bits */
	mc146818_set_cmos(pc->rtc, 0x5d, (u8)(high >> 32));
	mc146818_set_cmos(pc->rtc, 0x5f, (u8)(pc->config.cpus - 1));
}

static int write_tables(struct pc *pc, struct err *e)
{
	struct acpi_config acpi = { .cpus = pc->config.cpus };

	for (unsigned n = 0; n < PC_NR_SERIAL; n++)
		acpi.serial[n] = pc->uart[n];
	bios_write(pc->mem);
	return acpi_write(&acpi, pc->mem, e) || smbios_write(pc->config.cpus, pc->mem, e) ? -1 : 0;
}

int pc_reset(struct pc *pc, struct err *e)
{
	const struct pci_windows windows = {
		PC_PCI_HOLE_BASE, PC_PCI_HOLE_END, PC_PCI_IO_BASE, PC_PCI_IO_END,
	};

	pci_root_reset(pc->pci_root);
	for (unsigned i = 0; i < ARRAY_SIZE(pc->com_irq); i++)
		irq_or_reset(&pc->com_irq[i]);
	for (struct device *d = pc->devices; d; d = d->next)
		device_reset(d);
	if (pci_assign_bars(pc->pci_root, &windows))
		return err_set(e, "cannot give all PCI devices addresses: the PCI window is full");
	set_cmos(pc);
	return write_tables(pc, e);
}

void pc_power_button(struct pc *pc)
{
	acpi_pm_power_button(pc->pm);
}

/* ---- Saving ---- */

struct clock_state {
	u64 now;
};

static const struct state_row clock_rows[] = { STATE_ROW(struct clock_state, now) };
static const struct state_desc clock_desc = STATE_DESC("clock", 1, clock_rows);

int pc_save(struct pc *pc, struct state_buf *b)
{
	struct clock_state clock = { vclock_now(&pc->clock) };
	int r = state_save(b, &clock_desc, 0, &clock);

	r = r ? r : pci_root_save(pc->pci_root, b);
	for (struct device *d = pc->devices; !r && d; d = d->next)
		r = device_save(d, b);
	return r;
}

int pc_load(struct pc *pc, struct state_buf *b, struct err *e)
{
	struct clock_state clock;

	if (state_load(b, &clock_desc, 0, &clock, e))
		return -1;
	vclock_set(&pc->clock, clock.now);
	if (pci_root_load(pc->pci_root, b, e))
		return -1;
	for (struct device *d = pc->devices; d; d = d->next)
		if (device_load(d, b, e))
			return -1;
	return 0;
}
