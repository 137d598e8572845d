// SPDX-License-Identifier: MIT
/*
 * ACPI fixed hardware ("ACPI Hardware Specification" of the ACPI specification).
 *
 * All registers but the timer are bytes with two masks: bits the guest may
 * write, and status bits that writing 1 clears. The timer's status bit is made
 * when somebody looks; a host timer runs only while its interrupt is enabled.
 */
#include "dev/acpi_pm.h"

#include <errno.h>
#include <string.h>

#define PM_TIMER_HZ 3579545ull

enum { PM1_STS = 0x00, PM1_EN = 0x02, PM1_CNT = 0x04, GPE0_STS = 0x20, GPE0_EN = 0x24 };
enum { TIMER_BIT = 0x01, SCI_EN = 0x01, POWER_BUTTON = 0x01 /* of the high byte */ };
enum { SLP_TYPE_SHIFT = 2, SLP_TYPE = 7, SLP_EN = 0x20 }; /* of PM1_CNT's high byte */
enum { TIMER_MASK = 0xffffff, TIMER_HALF = 0x800000 };	  /* 24 bits */

static const struct pm_reg {
	u8 off, size;
	u32 writable, write1_clears;
	const char *name;
} pm_regs[] = {
	{ PM1_STS, 2, 0, 0x8731, "PM1_STS" },
	{ PM1_EN, 2, 0x0721, 0, "PM1_EN" },
	{ PM1_CNT, 2, 0x1c02, 0, "PM1_CNT" },
	{ GPE0_STS, 4, 0, 0xffffffff, "GPE0_STS" },
	{ GPE0_EN, 4, 0xffffffff, 0, "GPE0_EN" },
};

struct acpi_pm {
	struct device dev;
	struct acpi_pm_state {
		u8 regs[ACPI_PM_SIZE];
		u8 apm[2];
		u64 checked; /* timer ticks up to which TMR_STS is right */
	} s;
	u8 writable[ACPI_PM_SIZE], write1_clears[ACPI_PM_SIZE]; /* from pm_regs */
	const struct vclock *clock;
	struct irq sci;
	struct timer timer;
	void (*poweroff)(void *opaque);
	void *opaque;
	struct io_bus *pio;
	struct io_region regs, pm_timer, apm;
};

static const struct state_row acpi_pm_rows[] = {
	STATE_ROW(struct acpi_pm_state, regs),
	STATE_ROW(struct acpi_pm_state, apm),
	STATE_ROW(struct acpi_pm_state, checked),
};
static const struct state_desc acpi_pm_state = STATE_DESC("acpi-pm", 1, acpi_pm_rows);

/* ---- Timer and SCI ---- */

static u64 ticks(const struct acpi_pm *p)
{
	return mul_div(vclock_now(p->clock), PM_TIMER_HZ, NSEC_PER_SEC);
}

/* TMR_STS is set whenever the timer's highest bit changes. */
static void timer_status_update(struct acpi_pm *p)
{
	u64 now = ticks(p);

	if (now / TIMER_HALF != p->s.checked / TIMER_HALF)
		p->s.regs[PM1_STS] |= TIMER_BIT;
	p->s.checked = now;
}

static void arm(struct acpi_pm *p)
{
	u64 next = (ticks(p) / TIMER_HALF + 1) * TIMER_HALF;

	if (p->s.regs[PM1_EN] & TIMER_BIT)
		timer_set(&p->timer, vclock_to_host(p->clock,
						    mul_div(next, NSEC_PER_SEC, PM_TIMER_HZ) + 1));
	else
		timer_cancel(&p->timer);
}

static void sci_update(struct acpi_pm *p)
{
	bool high = false;

	for (int i = 0; i < 2; i++)
		high |= p->s.regs[PM1_STS + i] & p->s.regs[PM1_EN + i];
	for (int i = 0; i < 4; i++)
		high |= p->s.regs[GPE0_STS + i] & p->s.regs[GPE0_EN + i];
	irq_set(&p->sci, high);
}

static void refresh(struct acpi_pm *p)
{
	timer_status_update(p);
	sci_update(p);
	arm(p);
}

static void timer_fired(void *arg)
{
	struct acpi_pm *p = arg;

	pthread_mutex_lock(&p->dev.lock);
	refresh(p);
	pthread_mutex_unlock(&p->dev.lock);
}

void acpi_pm_power_button(struct acpi_pm *p)
{
	pthread_mutex_lock(&p->dev.lock);
	p->s.regs[PM1_STS + 1] |= POWER_BUTTON;
	sci_update(p);
	pthread_mutex_unlock(&p->dev.lock);
}

/* ---- Registers ---- */

static u64 pm_read(void *dev, u64 off, unsigned size)
{
	struct acpi_pm *p = dev;

	(void)size;
	if (off == PM1_STS)
		timer_status_update(p);
	return p->s.regs[off];
}

static void pm_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct acpi_pm *p = dev;
	u8 *reg = &p->s.regs[off], v = (u8)value;

	(void)size;
	timer_status_update(p);
	*reg = (*reg & ~p->writable[off]) | (v & p->writable[off]);
	*reg &= ~(v & p->write1_clears[off]);
	refresh(p);
	if (off == PM1_CNT + 1 && (v & SLP_EN) && (v >> SLP_TYPE_SHIFT & SLP_TYPE) == ACPI_S5_TYPE)
		p->poweroff(p->opaque);
}

static u64 pm_timer_read(void *dev, u64 off, unsigned size)
{
	(void)size;
	return (ticks(dev) & TIMER_MASK) >> (8 * off);
}

static u64 apm_read(void *dev, u64 off, unsigned size)
{
	struct acpi_pm *p = dev;

	(void)size;
	return p->s.apm[off];
}

/* No SMM: the ports only remember. */
static void apm_write(void *dev, u64 off, unsigned size, u64 value)
{
	struct acpi_pm *p = dev;

	(void)size;
	p->s.apm[off] = (u8)value;
}

static const struct io_ops pm_ops = { pm_read, pm_write, .max_size = 1 };
static const struct io_ops pm_timer_ops = { .read = pm_timer_read, .max_size = 4 };
static const struct io_ops apm_ops = { apm_read, apm_write, .max_size = 1 };

/* ---- The device ---- */

static void acpi_pm_reset(struct device *d)
{
	struct acpi_pm *p = container_of(d, struct acpi_pm, dev);

	memset(&p->s, 0, sizeof(p->s));
	p->s.regs[PM1_CNT] = SCI_EN;
	p->s.checked = ticks(p);
	refresh(p);
}

static void acpi_pm_loaded(struct device *d)
{
	refresh(container_of(d, struct acpi_pm, dev));
}

static void acpi_pm_destroy(struct device *d)
{
	struct acpi_pm *p = container_of(d, struct acpi_pm, dev);

	timer_cancel(&p->timer);
	io_del(p->pio, &p->regs);
	io_del(p->pio, &p->pm_timer);
	io_del(p->pio, &p->apm);
	device_free(d);
}

static const struct device_ops acpi_pm_ops = { acpi_pm_reset, acpi_pm_loaded, acpi_pm_destroy };

struct device *acpi_pm_device(struct acpi_pm *p)
{
	return &p->dev;
}

static void masks_init(struct acpi_pm *p)
{
	for (unsigned i = 0; i < ARRAY_SIZE(pm_regs); i++)
		for (unsigned b = 0; b < pm_regs[i].size; b++) {
			p->writable[pm_regs[i].off + b] = (u8)(pm_regs[i].writable >> (8 * b));
			p->write1_clears[pm_regs[i].off + b] =
				(u8)(pm_regs[i].write1_clears >> (8 * b));
		}
}

int acpi_pm_create(const struct dev_env *env, struct irq sci, void (*poweroff)(void *opaque),
		   void *opaque, struct acpi_pm **res)
{
	struct acpi_pm *p = device_alloc(sizeof(*p), "acpi-pm", &acpi_pm_ops);
	pthread_mutex_t *lock;
	int r;

	if (!p)
		return -ENOMEM;
	lock = &p->dev.lock;
	p->dev.state = &acpi_pm_state;
	p->dev.state_data = &p->s;
	p->clock = env->clock;
	p->sci = sci;
	p->poweroff = poweroff;
	p->opaque = opaque;
	p->pio = env->pio;
	masks_init(p);
	timer_init(&p->timer, env->loop, timer_fired, p);
	p->regs = (struct io_region){ ACPI_PM_BASE, ACPI_PM_SIZE, &pm_ops, p, lock, "acpi pm" };
	p->pm_timer = (struct io_region){ ACPI_PM_BASE + ACPI_PM_TIMER, 4, &pm_timer_ops, p, NULL,
					  "pm timer" };
	p->apm = (struct io_region){ 0xb2, 2, &apm_ops, p, lock, "apm" };
	r = io_add(env->pio, &p->regs);
	r = r ? r : io_add(env->pio, &p->pm_timer);
	r = r ? r : io_add(env->pio, &p->apm);
	if (r) {
		device_destroy(&p->dev);
		return r;
	}
	device_reset(&p->dev);
	*res = p;
	return 0;
}
