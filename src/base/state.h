/* SPDX-License-Identifier: MIT */
/*
 * Saved state: a component keeps what the guest can see in one plain struct
 * and lists its members as rows; these functions write them to a byte buffer
 * and read them back, by name.
 *
 *	static const struct state_row pit_rows[] = {
 *		STATE_ROW(struct pit_state, channel),
 *		...
 *	};
 *	static const struct state_desc pit_desc = STATE_DESC("i8254", 1, pit_rows);
 *
 * No row holds a pointer or host time. A row that the saved data lacks keeps
 * its value (a newer program reading older data starts from reset values); a row
 * that the program does not know, or of another size, is an error. Not
 * thread-safe: the VM is stopped.
 */
#ifndef NESTOR_BASE_STATE_H
#define NESTOR_BASE_STATE_H

#include "base/log.h"
#include "base/types.h"

struct state_row {
	const char *name;
	u32 offset, size;
};

struct state_desc {
	const char *name;
	u32 version; /* data of a higher version is refused */
	const struct state_row *rows;
	unsigned nr_rows;
};

#define STATE_ROW(type, member) { #member, offsetof(type, member), sizeof(((type *)0)->member) }
#define STATE_DESC(name, version, rows) { name, version, rows, ARRAY_SIZE(rows) }

struct state_buf {
	u8 *data;
	size_t len;
	size_t capacity;
	size_t pos; /* where the next load reads */
};

void state_buf_free(struct state_buf *b);

/* Appends one section; @instance tells several of a kind apart. 0 or -ENOMEM. */
int state_save(struct state_buf *b, const struct state_desc *d, u32 instance, const void *from);

/* Reads the section at b->pos, which must be @d's, and moves on. Data may be
 * anybody's: everything is checked, @to changes only in whole rows. -1 and @e. */
int state_load(struct state_buf *b, const struct state_desc *d, u32 instance, void *to,
	       struct err *e);

#endif
