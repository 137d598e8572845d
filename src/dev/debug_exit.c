// SPDX-License-Identifier: MIT
/* Debug exit and DMA page registers. */
#include "dev/debug_exit.h"

#include <errno.h>
#include <string.h>

enum { DMA_PAGES = 16 };

struct port {
	struct device dev;
	u8 bytes[DMA_PAGES]; /* DMA page registers: they only remember */
	void (*end)(void *opaque, u32 status);
	void *opaque;
	struct io_bus *pio;
	struct io_region region;
};

static const struct state_row page_rows[] = { STATE_ROW(struct port, bytes) };
static const struct state_desc page_state = STATE_DESC("dma-page", 1, page_rows);

static void exit_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct port *p = dev;

	(void)size;
	if (!off)
		p->end(p->opaque, (u32)value << 1 | 1);
}

static u64 page_read(void *dev, u64 off, unsigned size)
{
	struct port *p = dev;

	(void)size;
	return p->bytes[off];
}

static void page_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct port *p = dev;

	(void)size;
	p->bytes[off] = (u8)value;
}

static const struct io_ops exit_ops = { .write = exit_write, .max_size = 4 };
static const struct io_ops page_ops = { page_read, page_write, .max_size = 1 };

static void port_reset(struct device *d)
{
	struct port *p = container_of(d, struct port, dev);

	memset(p->bytes, 0, sizeof(p->bytes));
}

static void port_destroy(struct device *d)
{
	struct port *p = container_of(d, struct port, dev);

	io_del(p->pio, &p->region);
	device_free(d);
}

static const struct device_ops port_ops = { .reset = port_reset, .destroy = port_destroy };

static int port_create(const struct dev_env *env, const char *name, u64 base, u64 size,
		       const struct io_ops *ops, struct port **res)
{
	struct port *p = device_alloc(sizeof(*p), name, &port_ops);
	int r;

	if (!p)
		return -ENOMEM;
	p->pio = env->pio;
	p->region = (struct io_region){ base, size, ops, p, &p->dev.lock, name };
	r = io_add(env->pio, &p->region);
	if (r) {
		device_destroy(&p->dev);
		return r;
	}
	*res = p;
	return 0;
}

int debug_exit_create(const struct dev_env *env, void (*end)(void *opaque, u32 status),
		      void *opaque, struct device **res)
{
	struct port *p;
	int r = port_create(env, "debug-exit", 0xf4, 4, &exit_ops, &p);

	if (r)
		return r;
	p->end = end;
	p->opaque = opaque;
	*res = &p->dev;
	return 0;
}

int dma_page_create(const struct dev_env *env, struct device **res)
{
	struct port *p;
	int r = port_create(env, "dma-page", 0x80, DMA_PAGES, &page_ops, &p);

	if (r)
		return r;
	p->dev.state = &page_state;
	p->dev.state_data = p;
	*res = &p->dev;
	return 0;
}
