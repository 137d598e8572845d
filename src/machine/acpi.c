// SPDX-License-Identifier: MIT
/*
 * ACPI tables.
 *
 * All tables are put together in one image of the area that they occupy, and the
 * image is copied to the guest at the end. The byte encoding of the DSDT is in
 * aml.c; here is what it says.
 */
#include "machine/acpi.h"

#include <stdlib.h>
#include <string.h>

#include "bus/pci.h"
#include "dev/acpi_pm.h"
#include "dev/hpet.h"
#include "dev/q35.h"
#include "machine/aml.h"
#include "machine/memmap.h"

enum { HEADER_SIZE = 36, RSDP_SIZE = 36, FADT_SIZE = 276, FACS_SIZE = 64, NR_TABLES = 4 };
enum { IMAGE_SIZE = PC_SMBIOS_BASE - PC_ACPI_BASE, SCI_GSI = 9 };

/* ---- Tables in the image ---- */

static u64 here(const struct aml *a)
{
	return PC_ACPI_BASE + a->len;
}

static void checksum(struct aml *a, u32 start, u32 size, u32 at)
{
	u8 sum = 0;

	if (a->overflow)
		return;
	a->data[start + at] = 0;
	for (u32 i = 0; i < size; i++)
		sum += a->data[start + i];
	a->data[start + at] = (u8)-sum;
}

/* The header that all tables but RSDP and FACS share; returns where it starts. */
static u32 table_begin(struct aml *a, const char *signature, u8 revision)
{
	u32 start;

	aml_align(a, 16);
	start = a->len;
	aml_bytes(a, signature, 4);
	aml_u32(a, 0); /* length, by table_end() */
	aml_u8(a, revision);
	aml_u8(a, 0); /* checksum */
	aml_bytes(a, "NESTOR", 6);
	aml_bytes(a, "NESTORPC", 8);
	aml_u32(a, 1);
	aml_bytes(a, "NSTR", 4);
	aml_u32(a, 1);
	return start;
}

static void table_end(struct aml *a, u32 start)
{
	aml_patch(a, start + 4, a->len - start, 4);
	checksum(a, start, a->len - start, 9);
}

/* A Generic Address Structure. */
static void address(struct aml *a, bool io, u8 bits, u8 access, u64 at)
{
	aml_u8(a, io);
	aml_u8(a, bits);
	aml_u8(a, 0);
	aml_u8(a, access);
	aml_u64(a, at);
}

/* ---- FADT ---- */

enum { GAS_IO = 1 };
#define GAS(bits, access) (GAS_IO | (bits) << 8 | (access) << 24)

/* Fields that are not zero; see "Fixed ACPI Description Table". */
static const struct fadt_field {
	u16 off;
	u8 size;
	u64 value;
} fadt_fields[] = {
	{ 45, 1, 4 },			/* preferred profile: enterprise server */
	{ 46, 2, SCI_GSI },		/* SCI_INT; no SMI_CMD: always in ACPI mode */
	{ 56, 4, ACPI_PM_BASE + ACPI_PM1_EVENT },
	{ 64, 4, ACPI_PM_BASE + ACPI_PM1_CONTROL },
	{ 76, 4, ACPI_PM_BASE + ACPI_PM_TIMER },
	{ 80, 4, ACPI_PM_BASE + ACPI_GPE0 },
	{ 88, 1, 4 },			/* lengths of PM1 event, */
	{ 89, 1, 2 },			/* PM1 control, */
	{ 91, 1, 4 },			/* PM timer, */
	{ 92, 1, ACPI_GPE0_SIZE },	/* GPE0 */
	{ 96, 2, 0xfff },		/* C2, C3: not supported */
	{ 98, 2, 0xfff },
	{ 108, 1, 0x32 },		/* RTC century */
	{ 109, 2, 0x0017 },		/* legacy devices, 8042, no VGA, no ASPM */
	{ 112, 4, 0x00000465 },		/* WBINVD, C1, no sleep button, no RTC wake, reset */
	{ 116, 4, GAS(8, 1) },		/* reset register */
	{ 120, 8, Q35_RESET_PORT },
	{ 128, 1, Q35_RESET_VALUE },
	{ 131, 1, 3 },			/* of ACPI 6.3 */
	{ 148, 4, GAS(32, 2) }, { 152, 8, ACPI_PM_BASE + ACPI_PM1_EVENT },
	{ 172, 4, GAS(16, 2) }, { 176, 8, ACPI_PM_BASE + ACPI_PM1_CONTROL },
	{ 208, 4, GAS(32, 3) }, { 212, 8, ACPI_PM_BASE + ACPI_PM_TIMER },
	{ 220, 4, GAS(64, 1) }, { 224, 8, ACPI_PM_BASE + ACPI_GPE0 },
};

static u64 fadt_write(struct aml *a, u64 facs, u64 dsdt)
{
	u32 start = table_begin(a, "FACP", 6);

	aml_zero(a, FADT_SIZE - HEADER_SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(fadt_fields); i++)
		aml_patch(a, start + fadt_fields[i].off, fadt_fields[i].value, fadt_fields[i].size);
	aml_patch(a, start + 36, facs, 4);
	aml_patch(a, start + 40, dsdt, 4);
	aml_patch(a, start + 140, dsdt, 8); /* X_FIRMWARE_CTRL stays 0: FACS is below 4 GiB */
	table_end(a, start);
	return PC_ACPI_BASE + start;
}

static u64 facs_write(struct aml *a)
{
	u64 at;

	aml_align(a, 64);
	at = here(a);
	aml_bytes(a, "FACS", 4);
	aml_u32(a, FACS_SIZE);
	aml_zero(a, FACS_SIZE - 8);
	aml_patch(a, (u32)(at - PC_ACPI_BASE) + 32, 2, 1); /* version */
	return at;
}

/* ---- MADT ---- */

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_NMI = 4, MADT_X2APIC = 9,
       MADT_X2APIC_NMI = 10 };
enum { POLARITY_HIGH = 1, TRIGGER_LEVEL = 3 << 2 };

static void madt_cpu(struct aml *a, unsigned id)
{
	bool x2apic = id >= 255;

	aml_u8(a, x2apic ? MADT_X2APIC : MADT_LAPIC);
	aml_u8(a, x2apic ? 16 : 8);
	if (x2apic) {
		aml_u16(a, 0);
		aml_u32(a, id);
		aml_u32(a, 1); /* enabled */
		aml_u32(a, id);
	} else {
		aml_u8(a, (u8)id);
		aml_u8(a, (u8)id);
		aml_u32(a, 1);
	}
}

static void madt_override(struct aml *a, u8 irq, u32 gsi, u16 flags)
{
	aml_u8(a, MADT_OVERRIDE);
	aml_u8(a, 10);
	aml_u8(a, 0); /* ISA */
	aml_u8(a, irq);
	aml_u32(a, gsi);
	aml_u16(a, flags);
}

static u64 madt_write(struct aml *a, unsigned cpus)
{
	u32 start = table_begin(a, "APIC", 4);

	aml_u32(a, PC_LAPIC_BASE);
	aml_u32(a, 1); /* PICs are there */
	for (unsigned i = 0; i < cpus; i++)
		madt_cpu(a, i);
	aml_u8(a, MADT_IOAPIC);
	aml_u8(a, 12);
	aml_u16(a, 0); /* ID 0 */
	aml_u32(a, PC_IOAPIC_BASE);
	aml_u32(a, 0); /* first GSI */
	madt_override(a, 0, 2, 0);
	madt_override(a, SCI_GSI, SCI_GSI, POLARITY_HIGH | TRIGGER_LEVEL);
	aml_u8(a, MADT_LAPIC_NMI); /* LINT1 of all */
	aml_u8(a, 6);
	aml_u8(a, 0xff);
	aml_u16(a, 0);
	aml_u8(a, 1);
	table_end(a, start);
	return PC_ACPI_BASE + start;
}

/* ---- MCFG, HPET ---- */

static u64 mcfg_write(struct aml *a)
{
	u32 start = table_begin(a, "MCFG", 1);

	aml_u64(a, 0);
	aml_u64(a, PC_ECAM_BASE);
	aml_u16(a, 0); /* segment */
	/* Bus 0 is all there is. With more, Linux looks for root buses by 8,000
	 * configuration reads, each an exit through two hypervisors in a nested
	 * guest. */
	aml_u8(a, 0);
	aml_u8(a, 0);
	aml_u32(a, 0);
	table_end(a, start);
	return PC_ACPI_BASE + start;
}

static u64 hpet_write(struct aml *a)
{
	u32 start = table_begin(a, "HPET", 1);

	aml_u32(a, HPET_ID);
	address(a, false, 64, 0, PC_HPET_BASE);
	aml_u8(a, 0);
	aml_u16(a, 100); /* shortest periodic tick */
	aml_u8(a, 0);
	table_end(a, start);
	return PC_ACPI_BASE + start;
}

/* ---- DSDT ---- */

/* One package per slot and pin: address, pin, "no link device", GSI. */
static void dsdt_routes(struct aml *a)
{
	struct aml_block prt = aml_package_begin(a, "_PRT", PCI_NR_DEVICES * 4);

	for (unsigned slot = 0; slot < PCI_NR_DEVICES; slot++)
		for (unsigned pin = 0; pin < 4; pin++) {
			struct aml_block route = aml_package_begin(a, NULL, 4);

			aml_integer(a, (u64)slot << 16 | 0xffff);
			aml_integer(a, pin);
			aml_integer(a, 0);
			aml_integer(a, pci_intx_gsi(slot, pin + 1));
			aml_end(a, route);
		}
	aml_end(a, prt);
}

static void dsdt_windows(struct aml *a, const struct mem *mem)
{
	u64 high = pc_pci64_base(mem);
	struct aml_block crs = aml_resources_begin(a, "_CRS");

	aml_res_bus(a, 0, 0);
	aml_res_io(a, 0xcf8, 8);
	aml_res_io_window(a, 0, 0xcf7);
	aml_res_io_window(a, 0xd00, 0xffff);
	aml_res_memory_window32(a, 0xa0000, 0xbffff);
	aml_res_memory_window32(a, PC_PCI_HOLE_BASE, PC_PCI_HOLE_END - 1);
	aml_res_memory_window64(a, high, high + PC_PCI64_SIZE - 1);
	aml_resources_end(a, crs);
}

/* Devices of the LPC bridge: one or two port ranges and an interrupt. */
static const struct isa_device {
	const char *name, *hid;
	u8 uid;
	u16 port[2];
	u8 size[2];
	u8 irq;	    /* 0 = none */
	s8 serial;  /* only if that port is there; -1: always */
} isa_devices[] = {
	{ "RTC_", "PNP0B00", 0, { 0x70 }, { 4 }, 8, -1 },
	{ "KBD_", "PNP0303", 0, { 0x60, 0x64 }, { 1, 1 }, 1, -1 },
	{ "MOU_", "PNP0F13", 0, { 0 }, { 0 }, 12, -1 },
	{ "COM1", "PNP0501", 1, { 0x3f8 }, { 8 }, 4, 0 },
	{ "COM2", "PNP0501", 2, { 0x2f8 }, { 8 }, 3, 1 },
	{ "COM3", "PNP0501", 3, { 0x3e8 }, { 8 }, 4, 2 },
	{ "COM4", "PNP0501", 4, { 0x2e8 }, { 8 }, 3, 3 },
};

static void dsdt_isa_device(struct aml *a, const struct isa_device *d)
{
	struct aml_block dev = aml_device_begin(a, d->name), crs;

	aml_name(a, "_HID");
	aml_eisa_id(a, d->hid);
	aml_name(a, "_UID");
	aml_integer(a, d->uid);
	crs = aml_resources_begin(a, "_CRS");
	for (int i = 0; i < 2; i++)
		if (d->size[i])
			aml_res_io(a, d->port[i], d->size[i]);
	if (d->irq)
		aml_res_irq(a, d->irq);
	aml_resources_end(a, crs);
	aml_end(a, dev);
}

static void dsdt_lpc(struct aml *a, const struct acpi_config *c)
{
	struct aml_block lpc = aml_device_begin(a, "LPC_");

	aml_name(a, "_ADR");
	aml_integer(a, (u64)Q35_LPC_SLOT << 16);
	for (unsigned i = 0; i < ARRAY_SIZE(isa_devices); i++)
		if (isa_devices[i].serial < 0 || c->serial[isa_devices[i].serial])
			dsdt_isa_device(a, &isa_devices[i]);
	aml_end(a, lpc);
}

/* What is taken by the board and belongs to no other device. */
static void dsdt_board(struct aml *a)
{
	struct aml_block dev = aml_device_begin(a, "MBRD"), crs;

	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0C02");
	aml_name(a, "_UID");
	aml_integer(a, 1);
	crs = aml_resources_begin(a, "_CRS");
	aml_res_io(a, 0x80, 16);
	aml_res_io(a, 0xb2, 2);
	aml_res_io(a, 0x4d0, 2);
	aml_res_io(a, ACPI_PM_BASE, ACPI_PM_SIZE);
	aml_res_memory32(a, PC_ECAM_BASE, (u32)PC_ECAM_SIZE);
	aml_res_memory32(a, PC_LAPIC_BASE, 0x1000);
	aml_resources_end(a, crs);
	aml_end(a, dev);
}

static void dsdt_hpet(struct aml *a)
{
	struct aml_block dev = aml_device_begin(a, "HPET"), crs;

	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0103");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	crs = aml_resources_begin(a, "_CRS");
	aml_res_memory32(a, PC_HPET_BASE, 0x400);
	aml_resources_end(a, crs);
	aml_end(a, dev);
}

static void dsdt_pci(struct aml *a, const struct acpi_config *c, const struct mem *mem)
{
	static const char *const zero[] = { "_UID", "_SEG", "_BBN" };
	struct aml_block pci = aml_device_begin(a, "PCI0");

	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0A08");
	aml_name(a, "_CID");
	aml_eisa_id(a, "PNP0A03");
	for (unsigned i = 0; i < ARRAY_SIZE(zero); i++) {
		aml_name(a, zero[i]);
		aml_integer(a, 0);
	}
	dsdt_windows(a, mem);
	dsdt_routes(a);
	dsdt_lpc(a, c);
	aml_end(a, pci);
}

static u64 dsdt_write(struct aml *a, const struct acpi_config *c, const struct mem *mem)
{
	u32 start = table_begin(a, "DSDT", 2);
	struct aml_block sb = aml_scope_begin(a, "_SB_"), s5;

	dsdt_pci(a, c, mem);
	dsdt_board(a);
	dsdt_hpet(a);
	aml_end(a, sb);
	s5 = aml_package_begin(a, "_S5_", 4);
	for (int i = 0; i < 4; i++)
		aml_integer(a, i < 2 ? ACPI_S5_TYPE : 0);
	aml_end(a, s5);
	table_end(a, start);
	return PC_ACPI_BASE + start;
}

/* ---- The roots ---- */

static u64 root_table_write(struct aml *a, const char *signature, unsigned entry_size,
			    const u64 tables[NR_TABLES])
{
	u32 start = table_begin(a, signature, 1);

	for (int i = 0; i < NR_TABLES; i++)
		aml_number(a, tables[i], entry_size);
	table_end(a, start);
	return PC_ACPI_BASE + start;
}

static void rsdp_write(struct aml *a, u64 rsdt, u64 xsdt)
{
	struct aml rsdp = { .data = a->data, .capacity = RSDP_SIZE };

	aml_bytes(&rsdp, "RSD PTR ", 8);
	aml_u8(&rsdp, 0);
	aml_bytes(&rsdp, "NESTOR", 6);
	aml_u8(&rsdp, 2);
	aml_u32(&rsdp, (u32)rsdt);
	aml_u32(&rsdp, RSDP_SIZE);
	aml_u64(&rsdp, xsdt);
	aml_u32(&rsdp, 0);
	checksum(&rsdp, 0, 20, 8);
	checksum(&rsdp, 0, RSDP_SIZE, 32);
}

static void tables_write(struct aml *a, const struct acpi_config *c, const struct mem *mem)
{
	u64 facs, dsdt, tables[NR_TABLES], rsdt, xsdt;

	aml_zero(a, RSDP_SIZE);
	facs = facs_write(a);
	dsdt = dsdt_write(a, c, mem);
	tables[0] = fadt_write(a, facs, dsdt);
	tables[1] = madt_write(a, c->cpus);
	tables[2] = mcfg_write(a);
	tables[3] = hpet_write(a);
	rsdt = root_table_write(a, "RSDT", 4, tables);
	xsdt = root_table_write(a, "XSDT", 8, tables);
	rsdp_write(a, rsdt, xsdt);
}

int acpi_write(const struct acpi_config *c, struct mem *mem, struct err *e)
{
	struct aml a = { .data = calloc(1, IMAGE_SIZE), .capacity = IMAGE_SIZE };
	int r = 0;

	if (!a.data)
		return err_set(e, "cannot make ACPI tables: out of memory");
	tables_write(&a, c, mem);
	if (a.overflow)
		r = err_set(e, "cannot make ACPI tables for %u processors: too large", c->cpus);
	else if (!mem_write(mem, PC_ACPI_BASE, a.data, a.len))
		r = err_set(e, "cannot write ACPI tables: guest memory ends below 1 MiB");
	free(a.data);
	return r;
}
