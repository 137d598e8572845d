// SPDX-License-Identifier: MIT
/*
 * Dynamic memory: what the guest cannot do without is what it has, less what it says
 * is available; it gets that and the buffer, between minimum and maximum. It grows at
 * once and shrinks an eighth at a time, so that a load that breathes does not pump.
 * When the host is short of memory the buffer counts for as much as the priority is.
 */
#include "control/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/rules.h"

#define UNIT	 MIB(2)
#define HOST_LOW MIB(128) /* growing leaves the host this */
enum { POLL_STATIC = 5, LOW_PART = 10 /* of the host: short of memory below a tenth */ };

/* ---- The host ---- */

static u64 meminfo(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) << 10 : 0;
}

static void host_memory(const struct memory *m, u64 *total, u64 *available)
{
	char text[512];
	ssize_t n = pread(m->meminfo_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	*total = meminfo(text, "MemTotal:");
	*available = meminfo(text, "MemAvailable:");
}

static u64 room_of(u64 available)
{
	return (available > HOST_LOW ? available - HOST_LOW : 0) & ~(UNIT - 1);
}

/* ---- Configuration ---- */

void memory_configure(struct memory *m, const json_t *config)
{
	m->dynamic = config_bool(config, "dynamicMemoryEnabled");
	m->minimum = (u64)config_int(config, "minimumBytes");
	m->maximum = (u64)config_int(config, "maximumBytes");
	m->buffer = (unsigned)config_int(config, "buffer");
	m->priority = (unsigned)config_int(config, "priority");
}

void memory_init(struct memory *m, struct vm *vm, const json_t *config)
{
	*m = (struct memory){ .vm = vm };
	m->meminfo_fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	memory_configure(m, config);
}

/* ---- Dynamic memory ---- */

static u64 wanted(const struct memory *m, const struct vm_memory *now)
{
	u64 total, available, buffer = m->buffer;

	host_memory(m, &total, &available);
	if (available < total / LOW_PART)
		buffer = buffer * m->priority / 100;
	u64 want = m->demand + m->demand * buffer / 100;
	want = MIN(want, now->assigned + room_of(available));
	want = MAX(MIN(want, m->maximum), m->minimum);
	return MIN(ALIGN_UP(want, UNIT), now->most);
}

static void follow_demand(struct memory *m, const struct vm_memory *now)
{
	u64 want = wanted(m, now), slack = MAX(now->assigned / 16, MIB(16));

	if (want > now->assigned)
		m->target = want;
	else if (want + slack < now->assigned)
		m->target = MAX(want, ALIGN_UP(now->assigned - now->assigned / 8, UNIT));
	else
		return;
	vm_set_memory(m->vm, m->target);
}

static void take_news(struct memory *m, const struct vm_memory *now)
{
	if (now->nr_news == m->nr_news || now->available == ~0ull)
		return;
	m->nr_news = now->nr_news;
	m->demand = now->assigned > now->available ? now->assigned - now->available : 0;
	if (m->dynamic && !m->frozen && now->can_shrink)
		follow_demand(m, now);
}

/* ---- The worker's calls ---- */

static void set_frozen(struct memory *m, bool frozen)
{
	m->frozen = frozen;
	if (frozen)
		vm_freeze_memory(m->vm);
	else if (m->target)
		vm_set_memory(m->vm, m->target);
}

void memory_tick(struct memory *m, bool hypervisor_active)
{
	struct vm_memory now;

	if (hypervisor_active != m->frozen)
		set_frozen(m, hypervisor_active);
	vm_get_memory(m->vm, &now);
	if (m->target > now.assigned && !m->frozen)
		vm_set_memory(m->vm, m->target);
	take_news(m, &now);
	if (m->nr_ticks++ % (m->dynamic ? 1 : POLL_STATIC) == 0)
		vm_poll_memory(m->vm);
}

int memory_set_target(struct memory *m, u64 target, struct ctl_err *e)
{
	struct vm_memory now;
	u64 total, available;

	vm_get_memory(m->vm, &now);
	host_memory(m, &total, &available);
	if (target > now.most)
		return ctl_error(e, CTL_WRONG_STATE, "It can have at most %llu MB until it is turned off and "
				 "started again.", (unsigned long long)now.most >> 20);
	if (target != now.assigned && !now.can_shrink)
		return ctl_error(e, CTL_WRONG_STATE, "The guest runs no driver for its memory balloon "
				 "(virtio_balloon in Linux).");
	if (target > now.boot && !now.can_grow)
		return ctl_error(e, CTL_WRONG_STATE, "The guest runs no driver for memory that is added "
				 "(virtio_mem in Linux).");
	if (target > now.assigned) /* what this host has; the rest is an error later */
		target = MIN(target, now.assigned + room_of(available));
	m->target = target;
	vm_set_memory(m->vm, target);
	return 0;
}

void memory_give_up(struct memory *m)
{
	m->target = 0;
	vm_freeze_memory(m->vm);
}

/* Warning: it needs more than it has. Low: it has less than its buffer. */
static const char *status_word(const struct memory *m, u64 assigned)
{
	if (!m->dynamic || !m->demand)
		return "";
	if (m->demand > assigned)
		return "Warning";
	return m->demand + m->demand * m->buffer / 100 > assigned + UNIT ? "Low" : "OK";
}

void memory_status(struct memory *m, json_t *to)
{
	struct vm_memory now;

	vm_get_memory(m->vm, &now);
	json_object_set_new(to, "memoryAssigned", json_integer((json_int_t)now.assigned));
	json_object_set_new(to, "memoryDemand", json_integer((json_int_t)m->demand));
	json_object_set_new(to, "memoryStatus", json_string(status_word(m, now.assigned)));
}
