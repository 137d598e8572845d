// SPDX-License-Identifier: MIT
/*
 * Saved state. A section is, little-endian: magic, length of what follows the
 * length, version, instance, name, number of rows, then each row's name, size
 * and bytes. A name is a length byte and its characters.
 */
#include "base/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_MAGIC = 0x5453534e /* "NSST" */, STATE_HEAD = 8, NAME_SIZE = 256 };

void state_buf_free(struct state_buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

static int put(struct state_buf *b, const void *from, size_t size)
{
	if (b->capacity - b->len < size) {
		size_t capacity = MAX(b->capacity * 2, b->len + size + 256);
		u8 *data = realloc(b->data, capacity);

		if (!data)
			return -ENOMEM;
		b->data = data;
		b->capacity = capacity;
	}
	memcpy(b->data + b->len, from, size);
	b->len += size;
	return 0;
}

static int put_u32(struct state_buf *b, u32 v)
{
	return put(b, &v, sizeof(v));
}

static int put_name(struct state_buf *b, const char *name)
{
	u8 len = (u8)strlen(name);
	int r = put(b, &len, 1);

	return r ? r : put(b, name, len);
}

static int put_rows(struct state_buf *b, const struct state_desc *d, const void *from)
{
	int r = put_u32(b, d->nr_rows);

	for (unsigned i = 0; !r && i < d->nr_rows; i++) {
		const struct state_row *row = &d->rows[i];

		r = put_name(b, row->name);
		r = r ? r : put_u32(b, row->size);
		r = r ? r : put(b, (const u8 *)from + row->offset, row->size);
	}
	return r;
}

int state_save(struct state_buf *b, const struct state_desc *d, u32 instance, const void *from)
{
	size_t start = b->len;
	int r = put_u32(b, STATE_MAGIC);
	u32 size;

	r = r ? r : put_u32(b, 0);
	r = r ? r : put_u32(b, d->version);
	r = r ? r : put_u32(b, instance);
	r = r ? r : put_name(b, d->name);
	r = r ? r : put_rows(b, d, from);
	if (r) {
		b->len = start;
		return r;
	}
	size = (u32)(b->len - start - STATE_HEAD);
	memcpy(b->data + start + 4, &size, sizeof(size));
	return 0;
}

/* A reader that stops at @end: nothing beyond is ever touched. */
struct reader {
	const u8 *p, *end;
};

static const u8 *take(struct reader *r, size_t size)
{
	const u8 *p = r->p;

	if ((size_t)(r->end - r->p) < size)
		return NULL;
	r->p += size;
	return p;
}

static bool take_u32(struct reader *r, u32 *v)
{
	const u8 *p = take(r, sizeof(*v));

	if (p)
		memcpy(v, p, sizeof(*v));
	return p;
}

static bool take_name(struct reader *r, char name[NAME_SIZE])
{
	const u8 *len = take(r, 1);
	const u8 *p = len ? take(r, *len) : NULL;

	if (!p)
		return false;
	memcpy(name, p, *len);
	name[*len] = 0;
	return true;
}

static const struct state_row *find_row(const struct state_desc *d, const char *name)
{
	for (unsigned i = 0; i < d->nr_rows; i++)
		if (!strcmp(d->rows[i].name, name))
			return &d->rows[i];
	return NULL;
}

static int load_rows(struct reader *r, const struct state_desc *d, void *to, struct err *e)
{
	char name[NAME_SIZE];
	u32 nr, size;

	if (!take_u32(r, &nr))
		return err_set(e, "cannot read saved state of %s: truncated", d->name);
	while (nr--) {
		const struct state_row *row;
		const u8 *bytes;

		if (!take_name(r, name) || !take_u32(r, &size) || !(bytes = take(r, size)))
			return err_set(e, "cannot read saved state of %s: truncated", d->name);
		row = find_row(d, name);
		if (!row || row->size != size)
			return err_set(e,
				       "cannot read saved state of %s: unknown item %s of %u bytes",
				       d->name, name, size);
		memcpy((u8 *)to + row->offset, bytes, size);
	}
	return 0;
}

int state_load(struct state_buf *b, const struct state_desc *d, u32 instance, void *to,
	       struct err *e)
{
	struct reader r = { b->data + b->pos, b->data + b->len };
	u32 magic, size, version, found;
	char name[NAME_SIZE];

	if (!take_u32(&r, &magic) || !take_u32(&r, &size) || magic != STATE_MAGIC ||
	    (size_t)(r.end - r.p) < size)
		return err_set(e, "cannot read saved state of %s: not a state section", d->name);
	r.end = r.p + size;
	if (!take_u32(&r, &version) || !take_u32(&r, &found) || !take_name(&r, name))
		return err_set(e, "cannot read saved state of %s: truncated", d->name);
	if (strcmp(name, d->name) || found != instance)
		return err_set(e, "cannot read saved state of %s %u: found %s %u", d->name,
			       instance, name, found);
	if (version > d->version)
		return err_set(e, "cannot read saved state of %s: version %u, newer than %u",
			       d->name, version, d->version);
	if (load_rows(&r, d, to, e))
		return -1;
	b->pos += STATE_HEAD + size;
	return 0;
}
