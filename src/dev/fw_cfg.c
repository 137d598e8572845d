// SPDX-License-Identifier: MIT
/*
 * fw_cfg, by "QEMU Firmware Configuration (fw_cfg) Device".
 *
 * The key is also the index in the table of items; those from FW_CFG_FILE_FIRST on
 * have names and are listed in the directory. A DMA transfer happens at the
 * write of the address's low half, in pieces, so that its size costs no memory.
 */
#include "dev/fw_cfg.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MASK = 0x3fff, PORT = 0x510, PORT_SIZE = 12, OFF_SELECT = 0, OFF_DATA = 1, OFF_DMA = 4 };
enum { ID_TRADITIONAL = 1, ID_DMA = 2 };
enum {
	DMA_ERROR = 1,
	DMA_READ = 2,
	DMA_SKIP = 4,
	DMA_SELECT = 8,
	DMA_WRITE = 16,
	DMA_PIECE = 4096
};
#define DMA_SIGNATURE 0x51454d5520434647ull /* "QEMU CFG" */

struct item {
	char name[FW_CFG_NAME_SIZE];
	u8 *data; /* NULL: no such item */
	u32 size;
};

struct fw_cfg {
	struct device dev;
	struct fw_cfg_state {
		u16 key;
		u32 pos;
		u64 dma; /* address register */
	} s;
	struct item item[FW_CFG_ITEMS];
	struct mem *mem;
	struct io_bus *pio;
	struct io_region region;
};

static const struct state_row fw_cfg_rows[] = {
	STATE_ROW(struct fw_cfg_state, key),
	STATE_ROW(struct fw_cfg_state, pos),
	STATE_ROW(struct fw_cfg_state, dma),
};
static const struct state_desc fw_cfg_state = STATE_DESC("fw_cfg", 1, fw_cfg_rows);

/* ---- Items ---- */

static int item_set(struct item *i, const void *data, u32 size)
{
	u8 *copy = malloc(size ? size : 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, size);
	free(i->data);
	i->data = copy;
	i->size = size;
	return 0;
}

int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u32 size)
{
	int r;

	if (key >= FW_CFG_ITEMS)
		return -EINVAL;
	pthread_mutex_lock(&f->dev.lock);
	r = item_set(&f->item[key], data, size);
	pthread_mutex_unlock(&f->dev.lock);
	return r;
}

struct dir_entry {
	u32 size;
	u16 key, reserved;
	char name[FW_CFG_NAME_SIZE];
};

/* Item FW_CFG_FILE_DIR: big-endian count, then entries. */
static int directory_update(struct fw_cfg *f)
{
	struct {
		u32 count;
		struct dir_entry entry[FW_CFG_ITEMS - FW_CFG_FILE_FIRST];
	} dir;
	u32 n = 0;

	memset(&dir, 0, sizeof(dir));
	for (u16 key = FW_CFG_FILE_FIRST; key < FW_CFG_ITEMS && f->item[key].data; key++, n++) {
		dir.entry[n].size = htobe32(f->item[key].size);
		dir.entry[n].key = htobe16(key);
		memcpy(dir.entry[n].name, f->item[key].name, FW_CFG_NAME_SIZE);
	}
	dir.count = htobe32(n);
	return item_set(&f->item[FW_CFG_FILE_DIR], &dir,
			(u32)(sizeof(dir.count) + n * sizeof(dir.entry[0])));
}

static struct item *file_item(struct fw_cfg *f, const char *name)
{
	for (u16 key = FW_CFG_FILE_FIRST; key < FW_CFG_ITEMS; key++)
		if (!f->item[key].data || !strcmp(f->item[key].name, name))
			return &f->item[key];
	return NULL;
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u32 size)
{
	struct item *i;
	int r = -ENOSPC;

	if (strlen(name) >= FW_CFG_NAME_SIZE)
		return -EINVAL;
	pthread_mutex_lock(&f->dev.lock);
	i = file_item(f, name);
	if (i)
		r = item_set(i, data, size);
	if (!r) {
		strcpy(i->name, name);
		r = directory_update(f);
	}
	pthread_mutex_unlock(&f->dev.lock);
	return r;
}

/* ---- Reading ---- */

static void select_item(struct fw_cfg *f, u16 key)
{
	f->s.key = key & KEY_MASK;
	f->s.pos = 0;
}

/* The next @size bytes of the selected item; zeros beyond its end. */
static void read_item(struct fw_cfg *f, u8 *to, u32 size)
{
	const struct item *i = f->s.key < FW_CFG_ITEMS ? &f->item[f->s.key] : NULL;
	u32 left = i && i->size > f->s.pos ? i->size - f->s.pos : 0, n = MIN(size, left);

	if (n)
		memcpy(to, i->data + f->s.pos, n);
	memset(to + n, 0, size - n);
	f->s.pos += n;
}

static void skip_item(struct fw_cfg *f, u32 size)
{
	f->s.pos = size > UINT32_MAX - f->s.pos ? UINT32_MAX : f->s.pos + size;
}

static bool dma_read(struct fw_cfg *f, u64 to, u32 size)
{
	u8 piece[DMA_PIECE];

	for (u32 n; size; size -= n, to += n) {
		n = MIN(size, DMA_PIECE);
		read_item(f, piece, n);
		if (!mem_write(f->mem, to, piece, n))
			return false;
	}
	return true;
}

/* The descriptor: control, length, address, all big-endian. Its control becomes
 * zero, or the error bit, when the transfer is done. */
static void dma_run(struct fw_cfg *f)
{
	struct {
		u32 control, length;
		u64 address;
	} d;
	u32 control;
	bool ok = true;

	if (!mem_read(f->mem, f->s.dma, &d, sizeof(d)))
		return;
	control = be32toh(d.control);
	if (control & DMA_SELECT)
		select_item(f, (u16)(control >> 16));
	if (control & DMA_READ)
		ok = dma_read(f, be64toh(d.address), be32toh(d.length));
	else if (control & DMA_SKIP)
		skip_item(f, be32toh(d.length));
	else if (control & DMA_WRITE)
		ok = false;
	control = htobe32(ok ? 0 : DMA_ERROR);
	mem_write(f->mem, f->s.dma, &control, sizeof(control));
}

/* ---- Ports ---- */

static u64 fw_cfg_read(void *dev, u64 off, unsigned size)
{
	struct fw_cfg *f = dev;
	u8 b = 0;
	u32 half;

	if (off == OFF_DATA && size == 1) {
		read_item(f, &b, 1);
		return b;
	}
	if (off < OFF_DMA)
		return f->s.key >> (8 * off);
	half = htobe32((u32)(DMA_SIGNATURE >> (off < OFF_DMA + 4 ? 32 : 0)));
	return half >> (8 * (off & 3));
}

static void fw_cfg_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct fw_cfg *f = dev;
	u32 half = be32toh((u32)value);

	if (off == OFF_SELECT && size == 2) {
		select_item(f, (u16)value);
	} else if (off == OFF_DMA && size == 4) {
		f->s.dma = (u64)half << 32;
	} else if (off == OFF_DMA + 4 && size == 4) {
		f->s.dma |= half;
		dma_run(f);
		f->s.dma = 0;
	}
}

static const struct io_ops fw_cfg_io = { fw_cfg_read, fw_cfg_write, .max_size = 4,
					 .aligned = true };

/* ---- The device ---- */

static void fw_cfg_reset(struct device *d)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, dev);

	f->s = (struct fw_cfg_state){ 0 };
}

static void fw_cfg_destroy(struct device *d)
{
	struct fw_cfg *f = container_of(d, struct fw_cfg, dev);

	io_del(f->pio, &f->region);
	for (unsigned i = 0; i < FW_CFG_ITEMS; i++)
		free(f->item[i].data);
	device_free(d);
}

static const struct device_ops fw_cfg_ops = { .reset = fw_cfg_reset, .destroy = fw_cfg_destroy };

struct device *fw_cfg_device(struct fw_cfg *f)
{
	return &f->dev;
}

int fw_cfg_create(const struct dev_env *env, struct fw_cfg **res)
{
	struct fw_cfg *f = device_alloc(sizeof(*f), "fw_cfg", &fw_cfg_ops);
	u32 id = htole32(ID_TRADITIONAL | ID_DMA);
	int r;

	if (!f)
		return -ENOMEM;
	f->dev.state = &fw_cfg_state;
	f->dev.state_data = &f->s;
	f->mem = env->mem;
	f->pio = env->pio;
	f->region = (struct io_region){ PORT, PORT_SIZE, &fw_cfg_io, f, &f->dev.lock, "fw_cfg" };
	r = fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4);
	r = r ? r : fw_cfg_add(f, FW_CFG_ID, &id, sizeof(id));
	r = r ? r : directory_update(f);
	r = r ? r : io_add(env->pio, &f->region);
	if (r) {
		device_destroy(&f->dev);
		return r;
	}
	*res = f;
	return 0;
}
