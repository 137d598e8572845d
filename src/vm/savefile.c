// SPDX-License-Identifier: MIT
/*
 * The file of a saved VM: a head of one page, the state of vm/snapshot.c, and each
 * slot of RAM at an offset of its own, with holes for pages of zeroes. All numbers
 * are little-endian.
 */
#include "vm/savefile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm/vm_internal.h"

enum {
	SAVE_VERSION = 1,
	SAVE_COMPLETE = 0x4b4f4b4f, /* the mark */
	SAVE_MAX_SLOTS = 64,
	SAVE_STATE_MAX = 64 << 20,
	RUN_MAX = 1 << 20, /* bytes per write */
};
#define SAVE_ALIGN MIB(2)

struct save_slot {
	u64 gpa, size, offset;
};

struct save_head {
	char magic[8];
	u32 version, complete;
	u64 state_offset, state_size;
	u32 nr_slots, reserved;
	struct save_slot slots[SAVE_MAX_SLOTS];
};
_Static_assert(sizeof(struct save_head) <= PAGE_SIZE, "the head is one page");
static const char save_magic[8] = "NESTORVM";

static int write_at(int fd, const void *data, size_t size, u64 offset)
{
	const u8 *p = data;

	while (size) {
		ssize_t n = pwrite(fd, p, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		offset += (u64)n;
		size -= (size_t)n;
	}
	return 0;
}

static int read_at(int fd, void *data, size_t size, u64 offset)
{
	u8 *p = data;

	while (size) {
		ssize_t n = pread(fd, p, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		offset += (u64)n;
		size -= (size_t)n;
	}
	return 0;
}

/* ---- Saving ---- */

struct saving {
	int fd;
	savefile_progress_fn *progress;
	void *opaque;
	u64 done, total;
	unsigned percent;
};

static void advance(struct saving *s, u64 bytes)
{
	s->done += bytes;
	unsigned percent = (unsigned)(s->total ? s->done * 99 / s->total : 99);

	if (percent == s->percent || !s->progress)
		return;
	s->percent = percent;
	s->progress(s->opaque, percent);
}

static bool page_is_zero(const u8 *p)
{
	return !p[0] && !memcmp(p, p + 1, PAGE_SIZE - 1);
}

/* Does the page need to be written? @map as snapshot_resident() says. */
static bool page_matters(const struct mem_slot *slot, const u8 *map, u64 off)
{
	return (!map || (map[off / PAGE_SIZE] & 1)) && !page_is_zero(slot->host + off);
}

static int save_slot(struct saving *s, const struct mem_slot *slot, u64 at)
{
	u8 *map = snapshot_resident(slot);
	int r = 0;

	for (u64 off = 0, end; off < slot->size && !r; off = end) {
		bool matters = page_matters(slot, map, off);

		for (end = off + PAGE_SIZE; end < slot->size && end - off < RUN_MAX; end += PAGE_SIZE)
			if (page_matters(slot, map, end) != matters)
				break;
		if (matters)
			r = write_at(s->fd, slot->host + off, end - off, at + off);
		advance(s, end - off);
	}
	free(map);
	return r;
}

static int plan(const struct vm *vm, struct save_head *h, u64 state_size)
{
	const struct mem *m = vm->pc->mem;
	u64 at = PAGE_SIZE + ALIGN_UP(state_size, SAVE_ALIGN);

	memset(h, 0, sizeof(*h));
	memcpy(h->magic, save_magic, sizeof(h->magic));
	h->version = SAVE_VERSION;
	h->state_offset = PAGE_SIZE;
	h->state_size = state_size;
	for (unsigned i = 0; i < m->nr_slots; i++) {
		if (m->slots[i].readonly)
			continue;
		if (h->nr_slots == SAVE_MAX_SLOTS)
			return -E2BIG;
		h->slots[h->nr_slots++] = (struct save_slot){ m->slots[i].gpa, m->slots[i].size, at };
		at += ALIGN_UP(m->slots[i].size, SAVE_ALIGN);
	}
	return 0;
}

static int save_slots(struct vm *vm, const struct save_head *h, struct saving *s)
{
	const struct mem *m = vm->pc->mem;
	int r = 0;

	for (unsigned i = 0; i < h->nr_slots; i++)
		s->total += h->slots[i].size;
	for (unsigned i = 0, k = 0; i < m->nr_slots && !r; i++)
		if (!m->slots[i].readonly)
			r = save_slot(s, &m->slots[i], h->slots[k++].offset);
	return r;
}

/* All but the mark, then, when that is on disk, the mark. */
static int write_file(struct vm *vm, const struct state_buf *state, struct saving *s)
{
	struct save_head h;
	int r = plan(vm, &h, state->len);

	if (!r && ftruncate(s->fd, 0))
		r = -errno;
	r = r ? r : write_at(s->fd, &h, sizeof(h), 0);
	r = r ? r : write_at(s->fd, state->data, state->len, h.state_offset);
	r = r ? r : save_slots(vm, &h, s);
	if (!r && fdatasync(s->fd))
		r = -errno;
	h.complete = SAVE_COMPLETE;
	r = r ? r : write_at(s->fd, &h, sizeof(h), 0);
	if (!r && fdatasync(s->fd))
		r = -errno;
	return r;
}

int vm_save_to(struct vm *vm, int fd, savefile_progress_fn *progress, void *opaque, struct err *e)
{
	struct saving s = { .fd = fd, .progress = progress, .opaque = opaque };
	struct state_buf state = { 0 };

	if (snapshot_save_state(vm, &state, e))
		return -1;
	int r = write_file(vm, &state, &s);
	state_buf_free(&state);
	if (!r)
		return 0;
	savefile_discard(fd);
	return err_set(e, "cannot write the saved state: %s", strerror(-r));
}

int savefile_discard(int fd)
{
	return ftruncate(fd, 0) || fdatasync(fd) ? -errno : 0;
}

/* ---- Loading ---- */

bool savefile_complete(int fd)
{
	struct save_head h;

	return !read_at(fd, &h, sizeof(h), 0) && !memcmp(h.magic, save_magic, sizeof(h.magic)) &&
	       h.complete == SAVE_COMPLETE;
}

static int read_head(int fd, struct save_head *h, struct err *e)
{
	if (read_at(fd, h, sizeof(*h), 0) || memcmp(h->magic, save_magic, sizeof(h->magic)) ||
	    h->complete != SAVE_COMPLETE)
		return err_set(e, "the saved state is not whole");
	if (h->version != SAVE_VERSION)
		return err_set(e, "the saved state is of version %u, this program reads %d", h->version,
			       SAVE_VERSION);
	if (h->nr_slots > SAVE_MAX_SLOTS || h->state_size > SAVE_STATE_MAX)
		return err_set(e, "the saved state is damaged");
	return 0;
}

static int read_state(int fd, const struct save_head *h, struct state_buf *b, struct err *e)
{
	b->data = malloc(h->state_size + 1);
	if (!b->data)
		return err_set(e, "not enough memory to read the saved state");
	b->len = b->capacity = h->state_size;
	int r = read_at(fd, b->data, b->len, h->state_offset);
	return r ? err_set(e, "cannot read the saved state: %s", strerror(-r)) : 0;
}

/* Only what is no hole. */
static int load_slot(int fd, const struct mem_slot *slot, u64 at)
{
	off_t end = (off_t)(at + slot->size);

	for (off_t data = (off_t)at; data < end;) {
		data = lseek(fd, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno; /* holes up to the end */
		if (data >= end)
			return 0;
		off_t hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		hole = MIN(hole, end);
		int r = read_at(fd, slot->host + (data - (off_t)at), (size_t)(hole - data), (u64)data);
		if (r)
			return r;
		data = hole;
	}
	return 0;
}

struct loading {
	int fd;
	const struct save_head *head;
};

static const struct save_slot *find_slot(const struct save_head *h, const struct mem_slot *slot)
{
	for (unsigned i = 0; i < h->nr_slots; i++)
		if (h->slots[i].gpa == slot->gpa && h->slots[i].size == slot->size)
			return &h->slots[i];
	return NULL;
}

static int load_slots(struct vm *vm, void *arg, struct err *e)
{
	const struct loading *l = arg;
	struct mem *m = vm->pc->mem;

	for (unsigned i = 0; i < m->nr_slots; i++) {
		const struct mem_slot *slot = &m->slots[i];
		const struct save_slot *saved = find_slot(l->head, slot);

		if (slot->readonly)
			continue;
		if (!saved || saved->offset > INT64_MAX - slot->size)
			return err_set(e, "the saved memory at %#llx is not this VM's",
				       (unsigned long long)slot->gpa);
		snapshot_clear_slot(m, slot);
		int r = load_slot(l->fd, slot, saved->offset);
		mem_written(m, slot->gpa, slot->size);
		if (r)
			return err_set(e, "cannot read the saved memory: %s", strerror(-r));
	}
	return 0;
}

int savefile_memory(int fd, u64 *memory, u64 *most, struct err *e)
{
	struct state_buf state = { 0 };
	struct save_head h;

	int r = read_head(fd, &h, e);
	r = r ? r : read_state(fd, &h, &state, e);
	r = r ? r : snapshot_peek_memory(&state, memory, most, e);
	state_buf_free(&state);
	return r;
}

int vm_load_from(struct vm *vm, int fd, struct err *e)
{
	struct state_buf state = { 0 };
	struct save_head h;
	struct loading l = { fd, &h };

	int r = read_head(fd, &h, e);
	r = r ? r : read_state(fd, &h, &state, e);
	r = r ? r : snapshot_load_state(vm, &state, load_slots, &l, e);
	state_buf_free(&state);
	return r;
}
