// SPDX-License-Identifier: MIT
/* The remains of a BIOS: data area, vectors and three handlers of a few bytes. */
#include "machine/bios.h"

#include <string.h>

#include "machine/memmap.h"

enum {
	NR_VECTORS = 256,
	FIRST_SERVICE = 0x10, /* video, equipment, memory, disk, serial, system ... */
	EQUIPMENT = 0x11,
	MEMORY_SIZE = 0x12,
	LAST_SERVICE = 0x1a, /* ... time of day */
	BDA_EBDA = 0x40e,
	BDA_EQUIPMENT = 0x410,
	BDA_MEMORY_KIB = 0x413,
	ROM_SEGMENT = 0xf000,
	/* Offsets in that segment; 0xff53 is where IBM's BIOS had its IRET. */
	NO_SERVICE_AT = 0xff00,
	EQUIPMENT_AT = 0xff10,
	MEMORY_SIZE_AT = 0xff20,
	DUMMY_AT = 0xff53,
};

/* CF for the caller's eyes, and AH = 86H: there is no such function. */
static const u8 no_service[] = {
	0x55,			/* push bp */
	0x89, 0xe5,		/* mov bp, sp */
	0x80, 0x4e, 0x06, 0x01, /* or byte [bp + 6], 1: FLAGS of the caller */
	0x5d,			/* pop bp */
	0xb4, 0x86,		/* mov ah, 86h */
	0xcf,			/* iret */
};

/* AX from the data area. */
static const u8 equipment[] = {
	0x1e,					/* push ds */
	0x6a, 0x40,				/* push 40h */
	0x1f,					/* pop ds */
	0xa1, BDA_EQUIPMENT & 0xff, 0x00,	/* mov ax, [10h] */
	0x1f,					/* pop ds */
	0xcf,					/* iret */
};

static const u8 memory_size[] = {
	0x1e, 0x6a, 0x40, 0x1f, 0xa1, BDA_MEMORY_KIB & 0xff, 0x00, 0x1f, 0xcf,
};

static const u8 dummy[] = { 0xcf };

static const struct {
	u16 at;
	const u8 *code;
	size_t size;
} handlers[] = {
	{ NO_SERVICE_AT, no_service, sizeof(no_service) },
	{ EQUIPMENT_AT, equipment, sizeof(equipment) },
	{ MEMORY_SIZE_AT, memory_size, sizeof(memory_size) },
	{ DUMMY_AT, dummy, sizeof(dummy) },
};

static u16 handler_of(unsigned vector)
{
	if (vector == EQUIPMENT)
		return EQUIPMENT_AT;
	if (vector == MEMORY_SIZE)
		return MEMORY_SIZE_AT;
	return vector >= FIRST_SERVICE && vector <= LAST_SERVICE ? NO_SERVICE_AT : DUMMY_AT;
}

static void write_vectors(struct mem *mem)
{
	u16 vectors[NR_VECTORS][2];

	for (unsigned v = 0; v < NR_VECTORS; v++) {
		vectors[v][0] = handler_of(v);
		vectors[v][1] = ROM_SEGMENT;
	}
	mem_write(mem, 0, vectors, sizeof(vectors));
	for (unsigned i = 0; i < ARRAY_SIZE(handlers); i++)
		mem_write(mem, (ROM_SEGMENT << 4) + handlers[i].at, handlers[i].code,
			  handlers[i].size);
}

void bios_write(struct mem *mem)
{
	const u16 ebda_segment = PC_LOW_RAM_END >> 4, kib = PC_LOW_RAM_END >> 10;
	const u16 fpu_and_mouse = 0x06;

	write_vectors(mem);
	mem_write(mem, BDA_EBDA, &ebda_segment, sizeof(ebda_segment));
	mem_write(mem, BDA_EQUIPMENT, &fpu_and_mouse, sizeof(fpu_and_mouse));
	mem_write(mem, BDA_MEMORY_KIB, &kib, sizeof(kib));
}
