/* SPDX-License-Identifier: MIT */
/*
 * Writes ACPI tables' bytes, and the AML in them ("ACPI Machine Language (AML)
 * Specification", "Resource Data Types").
 *
 * A struct aml is a buffer of fixed capacity; writing beyond sets @overflow and
 * does nothing, to be looked at once, at the end. Blocks are closed in reverse order:
 *
 *	struct aml_block dev = aml_device_begin(a, "COM1");
 *	aml_name(a, "_UID");
 *	aml_integer(a, 1);
 *	aml_end(a, dev);
 */
#ifndef NESTOR_MACHINE_AML_H
#define NESTOR_MACHINE_AML_H

#include "base/types.h"

struct aml {
	u8 *data;
	u32 len, capacity;
	bool overflow;
};

/* Bytes, little-endian. */
void aml_bytes(struct aml *a, const void *from, u32 size);
void aml_zero(struct aml *a, u32 size);
void aml_align(struct aml *a, u32 to);
void aml_number(struct aml *a, u64 v, unsigned size);
void aml_patch(struct aml *a, u32 at, u64 v, unsigned size);
static inline void aml_u8(struct aml *a, u8 v) { aml_number(a, v, 1); }
static inline void aml_u16(struct aml *a, u16 v) { aml_number(a, v, 2); }
static inline void aml_u32(struct aml *a, u32 v) { aml_number(a, v, 4); }
static inline void aml_u64(struct aml *a, u64 v) { aml_number(a, v, 8); }

/* Blocks with a length before them. Names have four characters. */
struct aml_block {
	u32 length_at; /* where the package length stands */
	u32 size_at;   /* of a resource buffer: where its size stands */
};
struct aml_block aml_scope_begin(struct aml *a, const char *name);
struct aml_block aml_device_begin(struct aml *a, const char *name);
/* Name (@name, Package () {...}), or the package alone when @name is NULL. */
struct aml_block aml_package_begin(struct aml *a, const char *name, unsigned elements);
void aml_end(struct aml *a, struct aml_block b);

/* Name (@name, what comes next). */
void aml_name(struct aml *a, const char *name);
void aml_integer(struct aml *a, u64 v);
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0501" */

/* Name (@name, ResourceTemplate () {...}). */
struct aml_block aml_resources_begin(struct aml *a, const char *name);
void aml_resources_end(struct aml *a, struct aml_block b);
void aml_res_io(struct aml *a, u16 port, u8 size);
void aml_res_irq(struct aml *a, unsigned irq); /* ISA: edge, active high */
void aml_res_memory32(struct aml *a, u32 base, u32 size);
/* What a bridge passes on; ends are inclusive. */
void aml_res_bus(struct aml *a, u16 first, u16 last);
void aml_res_io_window(struct aml *a, u16 first, u16 last);
void aml_res_memory_window32(struct aml *a, u32 first, u32 last);
void aml_res_memory_window64(struct aml *a, u64 first, u64 last);

#endif
