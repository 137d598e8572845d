/* SPDX-License-Identifier: MIT */
/*
 * Guest-physical memory: the one table of RAM slots, for both engines, DMA,
 * balloon and code tracking.
 *
 * Slots are added and removed with the world stopped (or before the VM runs);
 * look-ups need no lock. RAM below 4 GiB ends at MEM_LOW_MAX, the rest is at
 * 4 GiB and above.
 *
 * Who writes guest RAM from outside a vCPU (a device's DMA, a loader) uses
 * mem_write(), or mem_host() followed by mem_written(): the software engine
 * learns of changed code there, and the dirty log of changed pages.
 */
#ifndef NESTOR_BUS_MEM_H
#define NESTOR_BUS_MEM_H

#include "base/log.h"
#include "base/types.h"

enum { MEM_MAX_SLOTS = 32 };
#define MEM_LOW_MAX GIB(2) /* low RAM ends here at most; 2..4 GiB is ECAM and MMIO */

struct mem_slot {
	gpa_t gpa;
	u64 size;  /* bytes, a multiple of PAGE_SIZE */
	u8 *host;  /* start of the mapping, page-aligned */
	bool readonly;
	bool hot; /* came at run time: firmware's memory map does not know it */
};

/* Called after bytes changed under a vCPU's feet, and around slot changes. */
struct mem_listener {
	void (*written)(void *opaque, gpa_t gpa, u64 size);
	void (*slot_added)(void *opaque, const struct mem_slot *slot);
	void (*slot_removed)(void *opaque, const struct mem_slot *slot);
	void *opaque;
};

struct mem {
	struct mem_slot slots[MEM_MAX_SLOTS];
	unsigned nr_slots;
	u64 ram_size; /* bytes of RAM in all, without the hot region */
	/* Where memory may come at run time; max 0: there is none. */
	struct {
		gpa_t gpa;
		u64 max;
		u64 size; /* as much of it is a slot */
		u8 *host;
	} hot;
	struct mem_listener listener;
	bool has_listener;
};

/* Maps @ram_size bytes of anonymous memory as low and high RAM. Refuses more
 * than the host has (RAM and swap). */
int mem_create(u64 ram_size, struct mem **res, struct err *e);
void mem_destroy(struct mem *m); /* accepts NULL */

/* Who has copies of the slots or of what is in them; told of the present slots
 * first. One at a time, NULL for none. */
void mem_set_listener(struct mem *m, const struct mem_listener *l);

/* Further slots (firmware, hot-added memory); the caller's mapping. -EEXIST on
 * overlap, -ENOSPC. */
int mem_add_slot(struct mem *m, const struct mem_slot *slot);
void mem_del_slot(struct mem *m, gpa_t gpa);

/* Sets addresses aside, of the guest and of the host, for memory that comes at
 * run time; before an engine is made. */
int mem_reserve_hot(struct mem *m, gpa_t gpa, u64 max, struct err *e);
/* The first @size bytes of it are a slot from now on; it never shrinks. */
int mem_grow_hot(struct mem *m, u64 size);

const struct mem_slot *mem_slot_at(const struct mem *m, gpa_t gpa); /* NULL: not RAM */

/* The host address of [gpa, gpa + size), or NULL when that is not wholly RAM
 * of one slot. */
void *mem_host(const struct mem *m, gpa_t gpa, u64 size);
void mem_written(struct mem *m, gpa_t gpa, u64 size);

/* Copies; false (and nothing copied) when any byte is not RAM. */
bool mem_read(const struct mem *m, gpa_t gpa, void *to, u64 size);
bool mem_write(struct mem *m, gpa_t gpa, const void *from, u64 size);

/* Gives the host's memory of the whole pages in [gpa, gpa + size) back, as far as
 * they are writable RAM; they read as zeroes then. Listeners are told. */
void mem_discard(struct mem *m, gpa_t gpa, u64 size);

#endif
