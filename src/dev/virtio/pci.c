// SPDX-License-Identifier: MIT
/*
 * The virtio transport: VIRTIO 1.2, "Virtio Over PCI Bus", modern interface
 * only. One 16 KiB memory BAR holds the four register blocks, a page each; a
 * second one the MSI-X table.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dev/virtio/virtio.h"

enum { BAR_REGS = 0, BAR_MSIX = 1, BAR_SIZE = 0x4000 };
enum { COMMON = 0x0000, ISR = 0x1000, CONFIG = 0x2000, NOTIFY = 0x3000, BLOCK_MASK = 0x3000 };
enum { NOTIFY_MULTIPLIER = 4 };
enum { VENDOR = 0x1af4, DEVICE_BASE = 0x1040, SUBSYSTEM_BASE = 0x1100 };
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

/* --- interrupts --- */

static void raise(struct virtio_dev *d, u16 vector, u8 isr)
{
	if (msix_notify(&d->pci, vector))
		return;
	d->s.isr |= isr;
	irq_set(&d->pci.intx, true);
}

void virtio_interrupt(struct virtio_dev *d, unsigned n)
{
	if (virtq_wants_interrupt(&d->queues[n]))
		raise(d, d->queues[n].s.vector, ISR_QUEUE);
}

void virtio_config_changed(struct virtio_dev *d)
{
	d->s.config_generation++;
	if (d->s.status & VIRTIO_DRIVER_OK)
		raise(d, d->s.config_vector, ISR_CONFIG);
}

void virtio_broken(struct virtio_dev *d)
{
	if (d->s.status & VIRTIO_NEEDS_RESET)
		return;
	log_guest("%s: needs reset", d->ops->name);
	d->s.status |= VIRTIO_NEEDS_RESET;
	virtio_config_changed(d);
}

bool virtio_running(const struct virtio_dev *d)
{
	return (d->s.status & VIRTIO_DRIVER_OK) && !(d->s.status & VIRTIO_NEEDS_RESET) &&
	       !d->resetting && (d->pci.config[PCI_COMMAND] & PCI_COMMAND_MASTER);
}

/* --- doorbells --- */

void virtio_kick(struct virtio_dev *d, unsigned n)
{
	atomic_fetch_or(&d->kicked, 1u << n);
	loop_post(d->loop, &d->kick_work);
}

static void kick_all(struct virtio_dev *d)
{
	for (unsigned n = 0; n < d->ops->nr_queues; n++)
		virtio_kick(d, n);
}

void virtio_rearm(struct virtio_dev *d, unsigned n, int r)
{
	if (r < 0)
		virtio_broken(d);
	else if (r > 0 || !virtq_listen(&d->queues[n]))
		virtio_kick(d, n);
}

static void run_kicks(void *arg)
{
	struct virtio_dev *d = arg;
	u32 kicked = atomic_exchange(&d->kicked, 0);

	pthread_mutex_lock(&d->lock);
	for (unsigned n = 0; n < d->ops->nr_queues; n++)
		if ((kicked & (1u << n)) && virtio_running(d) && d->queues[n].s.enabled)
			d->ops->kick(d, n);
	for (unsigned n = 0; n < d->ops->nr_queues; n++)
		if (d->queues[n].broken)
			virtio_broken(d);
	pthread_mutex_unlock(&d->lock);
}

/* An engine rang: which queue's bell it was, nobody knows. */
static void doorbell_rang(void *arg, u32 events)
{
	struct virtio_dev *d = arg;
	u64 count;

	(void)events;
	if (read(d->doorbells.fd, &count, sizeof(count)) != sizeof(count))
		return;
	atomic_fetch_or(&d->kicked, (1u << d->ops->nr_queues) - 1);
	run_kicks(d);
}

/* Without, every ring is a call of bar_write(). */
static void make_doorbells(struct virtio_dev *d)
{
	struct io_doorbells *b = &d->doorbells;

	*b = (struct io_doorbells){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), NOTIFY,
				    NOTIFY_MULTIPLIER, d->ops->nr_queues };
	if (b->fd >= 0 && loop_add_fd(d->loop, b->fd, EPOLLIN, doorbell_rang, d)) {
		close(b->fd);
		b->fd = -1;
	}
}

static const struct io_doorbells *get_doorbells(void *dev)
{
	struct virtio_dev *d = dev;

	return d->doorbells.fd >= 0 ? &d->doorbells : NULL;
}

static void end_doorbells(struct virtio_dev *d)
{
	if (!get_doorbells(d))
		return;
	loop_del_fd(d->loop, d->doorbells.fd);
	close(d->doorbells.fd);
}

/* --- status and reset --- */

static void clear_queue(struct virtio_dev *d, struct virtq *q)
{
	*q = (struct virtq){ .mem = d->mem };
	q->s.size = d->ops->queue_size;
	q->s.vector = VIRTQ_NO_VECTOR;
}

static void clear_state(struct virtio_dev *d)
{
	struct virtio_state *s = &d->s;

	for (unsigned i = 0; i < d->config_size; i++)
		s->config[i] = (s->config[i] & ~d->config_writable[i]) |
			       (d->config_reset[i] & d->config_writable[i]);
	s->driver_features = 0;
	s->device_feature_select = s->driver_feature_select = 0;
	s->config_vector = VIRTQ_NO_VECTOR;
	s->queue_select = 0;
	s->isr = 0;
	s->status = 0;
	irq_set(&d->pci.intx, false);
	for (unsigned n = 0; n < VIRTIO_MAX_QUEUES; n++)
		clear_queue(d, &d->queues[n]);
	d->resetting = false;
}

void virtio_reset_done(struct virtio_dev *d)
{
	if (d->resetting)
		clear_state(d);
}

static void start_reset(struct virtio_dev *d, bool wait)
{
	d->resetting = true;
	if (!d->ops->reset || d->ops->reset(d, wait))
		clear_state(d);
}

void virtio_reset(struct virtio_dev *d)
{
	pthread_mutex_lock(&d->lock);
	start_reset(d, true);
	pthread_mutex_unlock(&d->lock);
}

/* "Device Status Field"; a subset of what is offered, with VERSION_1. */
static bool accept_features(struct virtio_dev *d)
{
	u64 f = d->s.driver_features;

	if ((f & ~d->features) || !(f & VIRTIO_F_VERSION_1))
		return false;
	for (unsigned n = 0; n < d->ops->nr_queues; n++) {
		d->queues[n].event_idx = f & VIRTIO_F_EVENT_IDX;
		d->queues[n].indirect = f & VIRTIO_F_INDIRECT_DESC;
	}
	return true;
}

static void write_status(struct virtio_dev *d, u8 value)
{
	u8 old = d->s.status;

	if (d->resetting)
		return;
	if (value == 0) {
		start_reset(d, false);
		return;
	}
	value |= old & VIRTIO_NEEDS_RESET;
	if ((value & ~old & VIRTIO_FEATURES_OK) && !accept_features(d))
		value &= (u8)~VIRTIO_FEATURES_OK;
	d->s.status = value;
	if (value & ~old & VIRTIO_DRIVER_OK)
		kick_all(d);
}

/* --- the common configuration structure --- */

static struct virtq *selected(struct virtio_dev *d)
{
	return d->s.queue_select < d->ops->nr_queues ? &d->queues[d->s.queue_select] : NULL;
}

/* A queue whose addresses and size may still change. */
static struct virtq *selected_idle(struct virtio_dev *d)
{
	struct virtq *q = selected(d);

	return q && !q->s.enabled ? q : NULL;
}

static u32 half(u64 v, u32 which)
{
	return which == 0 ? (u32)v : which == 1 ? (u32)(v >> 32) : 0;
}

static void set_half(u64 *v, u32 which, u32 half_value)
{
	unsigned shift = which * 32;

	if (which < 2)
		*v = (*v & ~(0xffffffffull << shift)) | (u64)half_value << shift;
}

static u16 checked_vector(const struct virtio_dev *d, u32 v)
{
	return v < d->pci.msix.nr_vectors ? (u16)v : VIRTQ_NO_VECTOR;
}

static void set_queue_size(struct virtio_dev *d, u32 v)
{
	struct virtq *q = selected_idle(d);

	if (q && v && v <= d->ops->queue_size && !(v & (v - 1)))
		q->s.size = (u16)v;
}

static void enable_queue(struct virtio_dev *d, u32 v)
{
	struct virtq *q = selected_idle(d);

	if (!q || v != 1)
		return;
	if (!virtq_valid(q)) {
		virtio_broken(d);
		return;
	}
	q->s.enabled = 1;
}

enum {
	R_DEVICE_FEATURE_SELECT = 0x00,
	R_DEVICE_FEATURE = 0x04,
	R_DRIVER_FEATURE_SELECT = 0x08,
	R_DRIVER_FEATURE = 0x0c,
	R_CONFIG_VECTOR = 0x10,
	R_NUM_QUEUES = 0x12,
	R_STATUS = 0x14,
	R_GENERATION = 0x15,
	R_QUEUE_SELECT = 0x16,
	R_QUEUE_SIZE = 0x18,
	R_QUEUE_VECTOR = 0x1a,
	R_QUEUE_ENABLE = 0x1c,
	R_QUEUE_NOTIFY_OFF = 0x1e,
	R_QUEUE_DESC = 0x20,
	R_QUEUE_AVAIL = 0x28,
	R_QUEUE_USED = 0x30,
	R_END = 0x38,
};

static u32 read_queue(const struct virtio_dev *d, const struct virtq *q, u64 off)
{
	if (!q)
		return off == R_QUEUE_VECTOR ? VIRTQ_NO_VECTOR : 0;
	switch (off) {
	case R_QUEUE_SIZE:
		return q->s.size;
	case R_QUEUE_VECTOR:
		return q->s.vector;
	case R_QUEUE_ENABLE:
		return q->s.enabled;
	case R_QUEUE_NOTIFY_OFF:
		return d->s.queue_select;
	case R_QUEUE_DESC:
	case R_QUEUE_DESC + 4:
		return half(q->s.desc, off != R_QUEUE_DESC);
	case R_QUEUE_AVAIL:
	case R_QUEUE_AVAIL + 4:
		return half(q->s.avail, off != R_QUEUE_AVAIL);
	case R_QUEUE_USED:
	case R_QUEUE_USED + 4:
		return half(q->s.used, off != R_QUEUE_USED);
	default:
		return 0;
	}
}

static u32 read_common(struct virtio_dev *d, u64 off)
{
	const struct virtio_state *s = &d->s;

	switch (off) {
	case R_DEVICE_FEATURE_SELECT:
		return s->device_feature_select;
	case R_DEVICE_FEATURE:
		return half(d->features, s->device_feature_select);
	case R_DRIVER_FEATURE_SELECT:
		return s->driver_feature_select;
	case R_DRIVER_FEATURE:
		return half(s->driver_features, s->driver_feature_select);
	case R_CONFIG_VECTOR:
		return s->config_vector;
	case R_NUM_QUEUES:
		return d->ops->nr_queues;
	case R_STATUS:
		return s->status;
	case R_GENERATION:
		return s->config_generation;
	case R_QUEUE_SELECT:
		return s->queue_select;
	default:
		return read_queue(d, selected(d), off);
	}
}

static void write_queue(struct virtio_dev *d, u64 off, u32 v)
{
	struct virtq *q = selected_idle(d);

	switch (off) {
	case R_QUEUE_SIZE:
		set_queue_size(d, v);
		return;
	case R_QUEUE_VECTOR:
		if (selected(d))
			selected(d)->s.vector = checked_vector(d, v);
		return;
	case R_QUEUE_ENABLE:
		enable_queue(d, v);
		return;
	}
	if (!q || off < R_QUEUE_DESC || off >= R_END || off % 4)
		return;
	set_half(off < R_QUEUE_AVAIL ? &q->s.desc :
		 off < R_QUEUE_USED  ? &q->s.avail :
				       &q->s.used,
		 off % 8 != 0, v);
}

static void write_common(struct virtio_dev *d, u64 off, u32 v)
{
	struct virtio_state *s = &d->s;

	switch (off) {
	case R_DEVICE_FEATURE_SELECT:
		s->device_feature_select = v;
		return;
	case R_DRIVER_FEATURE_SELECT:
		s->driver_feature_select = v;
		return;
	case R_DRIVER_FEATURE:
		if (!(s->status & VIRTIO_FEATURES_OK))
			set_half(&s->driver_features, s->driver_feature_select, v);
		return;
	case R_CONFIG_VECTOR:
		s->config_vector = checked_vector(d, v);
		return;
	case R_STATUS:
		write_status(d, (u8)v);
		return;
	case R_QUEUE_SELECT:
		s->queue_select = (u16)v;
		return;
	default:
		write_queue(d, off, v);
	}
}

/* --- the other blocks --- */

static u32 read_isr(struct virtio_dev *d)
{
	u8 isr = d->s.isr;

	d->s.isr = 0;
	irq_set(&d->pci.intx, false);
	return isr;
}

static u32 read_config(const struct virtio_dev *d, u64 off, unsigned size)
{
	u32 v = 0;

	for (unsigned i = 0; i < size; i++)
		if (off + i < d->config_size)
			v |= (u32)d->s.config[off + i] << (8 * i);
	return v;
}

static void write_config(struct virtio_dev *d, u64 off, unsigned size, u32 v)
{
	for (unsigned i = 0; i < size; i++) {
		u8 mask = off + i < d->config_size ? d->config_writable[off + i] : 0;

		if (mask)
			d->s.config[off + i] = (d->s.config[off + i] & ~mask) |
					       ((u8)(v >> (8 * i)) & mask);
	}
	if (d->ops->config_written && off < d->config_size)
		d->ops->config_written(d, (unsigned)off, size);
}

static u64 bar_read(void *dev, u64 off, unsigned size)
{
	struct virtio_dev *d = dev;
	u64 v = 0;

	pthread_mutex_lock(&d->lock);
	switch (off & BLOCK_MASK) {
	case COMMON:
		v = read_common(d, off);
		break;
	case ISR:
		v = off == ISR ? read_isr(d) : 0;
		break;
	case CONFIG:
		v = read_config(d, off - CONFIG, size);
		break;
	}
	pthread_mutex_unlock(&d->lock);
	return v & (~0ull >> (64 - 8 * size));
}

static void bar_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct virtio_dev *d = dev;
	u64 n = (off - NOTIFY) / NOTIFY_MULTIPLIER;

	if (off >= NOTIFY) {
		if (n < d->ops->nr_queues)
			virtio_kick(d, (unsigned)n);
		return;
	}
	pthread_mutex_lock(&d->lock);
	switch (off & BLOCK_MASK) {
	case COMMON:
		write_common(d, off, (u32)value);
		break;
	case CONFIG:
		write_config(d, off - CONFIG, size, (u32)value);
		break;
	}
	pthread_mutex_unlock(&d->lock);
}

static const struct io_ops bar_ops = {
	.read = bar_read,
	.write = bar_write,
	.max_size = 4,
	.aligned = true,
	.doorbells = get_doorbells,
};

/* --- set-up --- */

/* "Virtio Structure PCI Capabilities". The last one is a window to the
 * others through configuration space, for firmware. */
enum { CAP_VENDOR = 9, CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };
enum { CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_DATA = 16 };

static const struct {
	u8 type, size;
	u32 offset, length;
} caps[] = {
	{ CAP_COMMON, 16, COMMON, R_END },
	{ CAP_NOTIFY, 20, NOTIFY, VIRTIO_MAX_QUEUES * NOTIFY_MULTIPLIER },
	{ CAP_ISR, 16, ISR, 1 },
	{ CAP_DEVICE, 16, CONFIG, VIRTIO_CONFIG_MAX },
	{ CAP_PCI, 20, 0, 0 },
};

static void add_caps(struct virtio_dev *d)
{
	struct pci_func *f = &d->pci;

	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		u8 at = pci_add_capability(f, CAP_VENDOR, caps[i].size);

		f->config[at + 2] = caps[i].size;
		f->config[at + 3] = caps[i].type;
		f->config[at + CAP_BAR] = BAR_REGS;
		pci_set32(f, at + CAP_OFFSET, caps[i].offset);
		pci_set32(f, at + CAP_LENGTH, caps[i].length);
		if (caps[i].type == CAP_NOTIFY)
			pci_set32(f, at + CAP_DATA, NOTIFY_MULTIPLIER);
		if (caps[i].type == CAP_PCI)
			d->window = at;
	}
	memset(&f->writable[d->window + CAP_BAR], 0xff, 1);
	memset(&f->writable[d->window + CAP_OFFSET], 0xff, 12);
}

/* The window: an access to its data is one to the BAR, at offset and length as
 * written before. True if there is something to do. */
static bool window_access(const struct virtio_dev *d, u32 off, u32 *at, u32 *size)
{
	const u8 *c = d->pci.config + d->window;

	memcpy(at, c + CAP_OFFSET, sizeof(*at));
	memcpy(size, c + CAP_LENGTH, sizeof(*size));
	return off == (u32)d->window + CAP_DATA && c[CAP_BAR] == BAR_REGS &&
	       (*size == 1 || *size == 2 || *size == 4) && *at % *size == 0 && *at < BAR_SIZE;
}

static bool window_read(struct pci_func *f, u32 off, unsigned size, u32 *value)
{
	struct virtio_dev *d = f->opaque;
	u32 at, len;

	(void)size;
	if (!window_access(d, off, &at, &len))
		return false;
	*value = (u32)bar_read(d, at, len);
	return true;
}

static void window_written(struct pci_func *f, u32 off, unsigned size)
{
	struct virtio_dev *d = f->opaque;
	u32 at, len, v;

	(void)size;
	if (!window_access(d, off, &at, &len))
		return;
	memcpy(&v, f->config + off, sizeof(v));
	bar_write(d, at, len, v & (u32)(~0ull >> (64 - 8 * len)));
}

static void reset_function(struct pci_func *f)
{
	virtio_reset(f->opaque);
}

static void init_pci(struct virtio_dev *d)
{
	struct pci_func *f = &d->pci;
	u16 id = (u16)d->ops->id;

	pci_func_init(f, d->ops->name, VENDOR, DEVICE_BASE + id, d->ops->class_code << 8 | 1);
	pci_set32(f, PCI_SUBSYSTEM, VENDOR | (u32)(SUBSYSTEM_BASE + id) << 16);
	pci_set_bar(f, BAR_REGS, BAR_SIZE, false, false);
	f->bars[BAR_REGS].region.ops = &bar_ops;
	f->bars[BAR_REGS].region.dev = d;
	f->bars[BAR_REGS].region.lock = NULL; /* doorbells do without */
	f->bars[BAR_REGS].region.name = d->ops->name;
	pci_add_msix(f, BAR_MSIX, (u16)(d->ops->nr_queues + 1));
	add_caps(d);
	f->opaque = d;
	f->config_read = window_read;
	f->config_written = window_written;
	f->reset = reset_function;
}

int virtio_init(struct virtio_dev *d, struct pci_root *root, struct mem *mem, struct loop *loop,
		int slot)
{
	pthread_mutex_init(&d->lock, NULL);
	d->mem = mem;
	d->loop = loop;
	d->features |= VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
	d->kick_work = (struct loop_work){ .fn = run_kicks, .arg = d };
	clear_state(d);
	init_pci(d);
	make_doorbells(d);
	return pci_add(root, &d->pci, slot);
}

void virtio_fini(struct virtio_dev *d)
{
	pci_func_fini(&d->pci);
	end_doorbells(d);
	pthread_mutex_destroy(&d->lock);
}

/* --- saving --- */

static const struct state_row dev_rows[] = {
	STATE_ROW(struct virtio_state, driver_features),
	STATE_ROW(struct virtio_state, device_feature_select),
	STATE_ROW(struct virtio_state, driver_feature_select),
	STATE_ROW(struct virtio_state, config_vector),
	STATE_ROW(struct virtio_state, queue_select),
	STATE_ROW(struct virtio_state, status),
	STATE_ROW(struct virtio_state, config_generation),
	STATE_ROW(struct virtio_state, isr),
	STATE_ROW(struct virtio_state, config),
};
static const struct state_desc dev_desc = STATE_DESC("virtio", 1, dev_rows);

static const struct state_row queue_rows[] = {
	STATE_ROW(struct virtq_state, size),	   STATE_ROW(struct virtq_state, enabled),
	STATE_ROW(struct virtq_state, vector),	   STATE_ROW(struct virtq_state, next_avail),
	STATE_ROW(struct virtq_state, next_used),  STATE_ROW(struct virtq_state, signalled_used),
	STATE_ROW(struct virtq_state, desc),	   STATE_ROW(struct virtq_state, avail),
	STATE_ROW(struct virtq_state, used),
};
static const struct state_desc queue_desc = STATE_DESC("virtq", 1, queue_rows);

int virtio_save(struct virtio_dev *d, struct state_buf *b, u32 instance)
{
	int r;

	pthread_mutex_lock(&d->lock);
	r = state_save(b, &dev_desc, instance, &d->s);
	for (unsigned n = 0; n < d->ops->nr_queues && !r; n++)
		r = state_save(b, &queue_desc, n, &d->queues[n].s);
	pthread_mutex_unlock(&d->lock);
	return r;
}

/* Saved state is a guest's as much as the registers are. */
static bool plausible(struct virtio_dev *d)
{
	if ((d->s.status & VIRTIO_FEATURES_OK) && !accept_features(d))
		return false;
	for (unsigned n = 0; n < d->ops->nr_queues; n++) {
		const struct virtq *q = &d->queues[n];

		if (q->s.size > d->ops->queue_size || (q->s.enabled && !virtq_valid(q)))
			return false;
	}
	return true;
}

int virtio_load(struct virtio_dev *d, struct state_buf *b, u32 instance, struct err *e)
{
	int r;

	pthread_mutex_lock(&d->lock);
	r = state_load(b, &dev_desc, instance, &d->s, e);
	for (unsigned n = 0; n < d->ops->nr_queues && !r; n++)
		r = state_load(b, &queue_desc, n, &d->queues[n].s, e);
	if (!r && !plausible(d))
		r = err_set(e, "cannot restore %s: the saved state is damaged", d->ops->name);
	if (r)
		clear_state(d);
	else
		kick_all(d);
	pthread_mutex_unlock(&d->lock);
	return r;
}
