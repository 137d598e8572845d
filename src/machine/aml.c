// SPDX-License-Identifier: MIT
/* Bytes of ACPI tables and AML. */
#include "machine/aml.h"

#include <stdlib.h>
#include <string.h>

enum { OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b, OP_DWORD = 0x0c, OP_QWORD = 0x0e,
       OP_SCOPE = 0x10, OP_BUFFER = 0x11, OP_PACKAGE = 0x12, OP_EXT = 0x5b, OP_EXT_DEVICE = 0x82 };
enum { RES_IRQ = 0x22, RES_IO = 0x47, RES_END = 0x79, RES_MEMORY32 = 0x86, RES_DWORD = 0x87,
       RES_WORD = 0x88, RES_QWORD = 0x8a };
enum { WINDOW_MEMORY, WINDOW_IO, WINDOW_BUS };
enum { FIXED_ENDS = 0x0c, ENTIRE_RANGE = 0x03, READ_WRITE = 0x01 };

/* ---- Bytes ---- */

static bool room(struct aml *a, u32 size)
{
	if (a->capacity - a->len < size)
		a->overflow = true;
	return !a->overflow;
}

void aml_bytes(struct aml *a, const void *from, u32 size)
{
	if (!room(a, size))
		return;
	memcpy(a->data + a->len, from, size);
	a->len += size;
}

void aml_zero(struct aml *a, u32 size)
{
	if (!room(a, size))
		return;
	memset(a->data + a->len, 0, size);
	a->len += size;
}

void aml_align(struct aml *a, u32 to)
{
	aml_zero(a, ALIGN_UP(a->len, to) - a->len);
}

void aml_number(struct aml *a, u64 v, unsigned size)
{
	aml_bytes(a, &v, size);
}

void aml_patch(struct aml *a, u32 at, u64 v, unsigned size)
{
	if (!a->overflow)
		memcpy(a->data + at, &v, size);
}

/* ---- Blocks ---- */

/* A package length of always three bytes: 4 + 8 + 8 bits, counting itself. */
static struct aml_block begin(struct aml *a)
{
	struct aml_block b = { .length_at = a->len };

	aml_zero(a, 3);
	return b;
}

void aml_end(struct aml *a, struct aml_block b)
{
	u32 length = a->len - b.length_at;

	aml_patch(a, b.length_at, 2 << 6 | (length & 0xf) | length >> 4 << 8, 3);
}

struct aml_block aml_scope_begin(struct aml *a, const char *name)
{
	struct aml_block b;

	aml_u8(a, OP_SCOPE);
	b = begin(a);
	aml_bytes(a, name, 4);
	return b;
}

struct aml_block aml_device_begin(struct aml *a, const char *name)
{
	struct aml_block b;

	aml_u8(a, OP_EXT);
	aml_u8(a, OP_EXT_DEVICE);
	b = begin(a);
	aml_bytes(a, name, 4);
	return b;
}

struct aml_block aml_package_begin(struct aml *a, const char *name, unsigned elements)
{
	struct aml_block b;

	if (name)
		aml_name(a, name);
	aml_u8(a, OP_PACKAGE);
	b = begin(a);
	aml_u8(a, (u8)elements);
	return b;
}

/* ---- Objects ---- */

void aml_name(struct aml *a, const char *name)
{
	aml_u8(a, OP_NAME);
	aml_bytes(a, name, 4);
}

void aml_integer(struct aml *a, u64 v)
{
	static const struct {
		u8 op, size;
	} form[] = { { OP_BYTE, 1 }, { OP_WORD, 2 }, { OP_DWORD, 4 }, { OP_QWORD, 8 } };
	unsigned i = v <= 0xff ? 0 : v <= 0xffff ? 1 : v <= 0xffffffff ? 2 : 3;

	if (v <= 1) { /* ZeroOp, OneOp */
		aml_u8(a, (u8)v);
		return;
	}
	aml_u8(a, form[i].op);
	aml_number(a, v, form[i].size);
}

/* Three letters in 5 bits each, then four hexadecimal digits, big-endian. */
void aml_eisa_id(struct aml *a, const char *id)
{
	u32 v = (u32)(id[0] - '@') << 26 | (u32)(id[1] - '@') << 21 | (u32)(id[2] - '@') << 16 |
		(u32)strtoul(id + 3, NULL, 16);

	aml_u8(a, OP_DWORD);
	aml_u32(a, __builtin_bswap32(v));
}

/* ---- Resources ---- */

struct aml_block aml_resources_begin(struct aml *a, const char *name)
{
	struct aml_block b;

	aml_name(a, name);
	aml_u8(a, OP_BUFFER);
	b = begin(a);
	aml_u8(a, OP_WORD);
	b.size_at = a->len;
	aml_u16(a, 0);
	return b;
}

void aml_resources_end(struct aml *a, struct aml_block b)
{
	aml_u8(a, RES_END);
	aml_u8(a, 0); /* no checksum */
	aml_patch(a, b.size_at, a->len - b.size_at - 2, 2);
	aml_end(a, b);
}

void aml_res_io(struct aml *a, u16 port, u8 size)
{
	aml_u8(a, RES_IO);
	aml_u8(a, 1); /* 16-bit decode */
	aml_u16(a, port);
	aml_u16(a, port);
	aml_u8(a, 1);
	aml_u8(a, size);
}

void aml_res_irq(struct aml *a, unsigned irq)
{
	aml_u8(a, RES_IRQ);
	aml_u16(a, (u16)BIT(irq));
}

void aml_res_memory32(struct aml *a, u32 base, u32 size)
{
	aml_u8(a, RES_MEMORY32);
	aml_u16(a, 9);
	aml_u8(a, READ_WRITE);
	aml_u32(a, base);
	aml_u32(a, size);
}

/* An address space descriptor with numbers of @size bytes. */
static void window(struct aml *a, u8 descriptor, unsigned size, u8 type, u8 flags, u64 first,
		   u64 last)
{
	aml_u8(a, descriptor);
	aml_u16(a, (u16)(3 + 5 * size));
	aml_u8(a, type);
	aml_u8(a, FIXED_ENDS);
	aml_u8(a, flags);
	aml_number(a, 0, size); /* granularity */
	aml_number(a, first, size);
	aml_number(a, last, size);
	aml_number(a, 0, size); /* translation */
	aml_number(a, last - first + 1, size);
}

void aml_res_bus(struct aml *a, u16 first, u16 last)
{
	window(a, RES_WORD, 2, WINDOW_BUS, 0, first, last);
}

void aml_res_io_window(struct aml *a, u16 first, u16 last)
{
	window(a, RES_WORD, 2, WINDOW_IO, ENTIRE_RANGE, first, last);
}

void aml_res_memory_window32(struct aml *a, u32 first, u32 last)
{
	window(a, RES_DWORD, 4, WINDOW_MEMORY, READ_WRITE, first, last);
}

void aml_res_memory_window64(struct aml *a, u64 first, u64 last)
{
	window(a, RES_QWORD, 8, WINDOW_MEMORY, READ_WRITE, first, last);
}
