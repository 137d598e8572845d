// SPDX-License-Identifier: MIT
/* A vCPU's registers as text. */
#include "cpu/dump.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "x86/regs.h"

struct text {
	char *buf;
	size_t size, len;
};

static void PRINTF(2, 3) add(struct text *t, const char *fmt, ...)
{
	bool room = t->len < t->size;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(room ? t->buf + t->len : NULL, room ? t->size - t->len : 0, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n;
}

static const char *mode_name(const struct cpu_state *s)
{
	const struct seg *cs = &s->seg[SEG_CS];

	if (!(s->cr0 & CR0_PE))
		return "real mode";
	if (s->rflags & RFLAGS_VM)
		return "virtual-8086 mode";
	if (s->msr.efer & EFER_LMA)
		return cs->ar & SEG_L ? "64-bit mode" : "compatibility mode";
	return cs->ar & SEG_DB ? "32-bit protected mode" : "16-bit protected mode";
}

static void add_gprs(struct text *t, const struct cpu_state *s)
{
	static const char *const names[16] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15",
	};

	for (int i = 0; i < 16; i++)
		add(t, "%s %016llx%s", names[i], (unsigned long long)s->gpr[i],
		    i % 4 == 3 ? "\n" : "  ");
}

static void add_seg(struct text *t, const char *name, const struct seg *s)
{
	add(t, "%-4s %04x  base %016llx  limit %08x  access %05x%s\n", name, s->sel,
	    (unsigned long long)s->base, s->limit, s->ar, s->ar & SEG_UNUSABLE ? " (unusable)" : "");
}

static void add_system(struct text *t, const struct cpu_state *s)
{
	add(t, "gdt  %016llx %04x  idt %016llx %04x\n", (unsigned long long)s->gdtr.base,
	    s->gdtr.limit, (unsigned long long)s->idtr.base, s->idtr.limit);
	add(t, "cr0  %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  cr8 %llx\n",
	    (unsigned long long)s->cr0, (unsigned long long)s->cr2, (unsigned long long)s->cr3,
	    (unsigned long long)s->cr4, (unsigned long long)s->cr8);
	add(t, "efer %08llx  xcr0 %llx  dr6 %08llx  dr7 %08llx\n", (unsigned long long)s->msr.efer,
	    (unsigned long long)s->xcr0, (unsigned long long)s->dr6, (unsigned long long)s->dr7);
}

int cpu_format(const struct cpu_state *s, unsigned index, char *buf, size_t size)
{
	static const char *const activity[] = { "active", "halted", "shut down", "waiting for SIPI" };
	static const char *const names[NR_SEGS] = { "es", "cs", "ss", "ds", "fs", "gs" };
	struct text t = { .buf = buf, .size = size };

	add(&t, "vCPU %u, %s, CPL %u, %s\n", index, mode_name(s), SEG_DPL(&s->seg[SEG_SS]),
	    activity[s->activity]);
	add_gprs(&t, s);
	add(&t, "rip %016llx  rflags %08llx\n", (unsigned long long)s->rip,
	    (unsigned long long)s->rflags);
	for (int i = 0; i < NR_SEGS; i++)
		add_seg(&t, names[i], &s->seg[i]);
	add_seg(&t, "ldt", &s->ldtr);
	add_seg(&t, "tr", &s->tr);
	add_system(&t, s);
	return (int)t.len;
}

void cpu_dump(const struct cpu_state *s, unsigned index)
{
	char buf[4096];
	int n = cpu_format(s, index, buf, sizeof(buf));

	if (n > 0 && write(STDERR_FILENO, buf, MIN((size_t)n, sizeof(buf) - 1)) < 0)
		return;
}
