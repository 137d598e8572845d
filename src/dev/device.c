// SPDX-License-Identifier: MIT
/* The common part of every chip: lock, reset, saving. */
#include "dev/device.h"

#include <stdlib.h>

void *device_alloc(size_t size, const char *name, const struct device_ops *ops)
{
	struct device *d = calloc(1, size);

	if (!d)
		return NULL;
	d->name = name;
	d->ops = ops;
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

void device_free(struct device *d)
{
	pthread_mutex_destroy(&d->lock);
	free(d);
}

void device_destroy(struct device *d)
{
	if (d)
		d->ops->destroy(d);
}

void device_reset(struct device *d)
{
	pthread_mutex_lock(&d->lock);
	d->ops->reset(d);
	pthread_mutex_unlock(&d->lock);
}

int device_save(struct device *d, struct state_buf *b)
{
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (d->state)
		r = state_save(b, d->state, d->instance, d->state_data);
	pthread_mutex_unlock(&d->lock);
	return r;
}

int device_load(struct device *d, struct state_buf *b, struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (d->state)
		r = state_load(b, d->state, d->instance, d->state_data, e);
	if (!r && d->ops->loaded)
		d->ops->loaded(d);
	pthread_mutex_unlock(&d->lock);
	return r;
}
