// SPDX-License-Identifier: MIT
#include "cpu_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/context.h"
#include "engine/exec.h"
#include "engine/helpers.h"
#include "engine/seg.h"
#include "engine/softvm.h"

void fix_put(struct fix *f, u32 at, u64 value, unsigned size)
{
	memcpy(f->ram + at, &value, size);
}

u64 fix_get(struct fix *f, u32 at, unsigned size)
{
	u64 v = 0;

	memcpy(&v, f->ram + at, size);
	return v;
}

void fix_desc(struct fix *f, u16 sel, u64 desc)
{
	fix_put(f, FIX_GDT + (sel & ~7u), desc, 8);
}

void fix_gate(struct fix *f, unsigned vector, unsigned type, unsigned dpl, u16 sel, u64 off)
{
	u64 low = (off & 0xffff) | (u64)sel << 16 | (u64)(0x80 | dpl << 5 | type) << 40 |
		  (off >> 16 & 0xffff) << 48;

	if (!cpu_long_mode(f->c)) {
		fix_put(f, FIX_IDT + vector * 8, low, 8);
		return;
	}
	fix_put(f, FIX_IDT + vector * 16, low, 8);
	fix_put(f, FIX_IDT + vector * 16 + 8, off >> 32, 8);
}

/* What a vCPU hangs on; destroyed at exit. */
struct made {
	struct cpu_model model;
	struct machine_env env;
	struct engine_vm *vm;
	struct engine_vcpu *vcpu;
	struct made *next;
};

static struct made *all;

static void destroy_all(void)
{
	while (all) {
		struct made *m = all;

		all = m->next;
		soft_engine.vcpu_destroy(m->vcpu);
		soft_engine.vm_destroy(m->vm);
		loop_destroy(m->env.loop);
		io_bus_destroy(m->env.pio);
		io_bus_destroy(m->env.mmio);
		mem_destroy(m->env.mem);
		free(m);
	}
}

static _Noreturn void give_up(const struct err *e)
{
	fprintf(stderr, "%s\n", e->text);
	exit(1);
}

static struct fix fix_new(void)
{
	struct made *m = calloc(1, sizeof(*m));
	struct err e = { "out of memory" };

	if (!m || cpu_model_create(NULL, false, 1, &m->model, &e) ||
	    mem_create(MIB(16), &m->env.mem, &e))
		give_up(&e);
	io_bus_create(&m->env.pio);
	io_bus_create(&m->env.mmio);
	loop_create(&m->env.loop);
	m->env.model = &m->model;
	m->env.nr_cpus = 1;
	m->env.trace = getenv("NESTOR_TRACE");
	if (soft_engine.vm_create(&m->env, &m->vm, &e) ||
	    soft_engine.vcpu_create(m->vm, 0, &m->vcpu, &e))
		give_up(&e);
	if (!all)
		atexit(destroy_all);
	m->next = all;
	all = m;
	return (struct fix){ (struct soft_cpu *)m->vcpu, mem_host(m->env.mem, 0, MIB(16)),
			     m->env.mem };
}

static struct seg reg(u16 sel, u32 ar, u32 limit)
{
	return (struct seg){ 0, limit, ar, sel };
}

static void tables(struct fix *f)
{
	struct soft_cpu *c = f->c;

	fix_desc(f, CS64, 0x00af9b000000ffff);
	fix_desc(f, DS0, 0x00cf93000000ffff);
	fix_desc(f, CS32_3, 0x00cffb000000ffff);
	fix_desc(f, DS3, 0x00cff3000000ffff);
	fix_desc(f, CS64_3, 0x00affb000000ffff);
	fix_desc(f, CS32, 0x00cf9b000000ffff);
	fix_desc(f, TSS, 0x0000890000000067 | (u64)FIX_TSS << 16);
	fix_desc(f, TSS + 8, 0);
	fix_desc(f, CONF, 0x00cf9f000000ffff);
	fix_desc(f, CS16, 0x00009b000000ffff);
	fix_desc(f, ABSENT, 0x00cf13000000ffff);
	fix_desc(f, TSS2, 0x0000890000000067 | (u64)FIX_TSS2 << 16);
	fix_desc(f, DS16, 0x000093000000ffff);
	c->s.gdtr = (struct desc_table){ FIX_GDT, 0x8f };
	c->s.idtr = (struct desc_table){ FIX_IDT, 0xfff };
	c->s.tr = (struct seg){ FIX_TSS, 0x67, 0x8b, TSS };
	c->s.ldtr = seg_null(0, 0);
	c->s.dr7 = 0x400;
}

static void segments(struct fix *f, u16 cs, u32 cs_ar, u16 ss, unsigned cpl)
{
	for (unsigned k = 0; k < NR_SEGS; k++)
		f->c->s.seg[k] = reg(ss, 0xc093 | cpl << 5, 0xffffffff);
	f->c->s.seg[SEG_CS] = reg(cs, cs_ar | cpl << 5, 0xffffffff);
	f->c->s.gpr[RSP] = cpl ? FIX_STACK3 : FIX_STACK0;
	f->c->s.rip = FIX_CODE;
	cpu_set_rflags(f->c, RFLAGS_RSV1 | RFLAGS_IF);
	f->c->s.sti_shadow_rip = f->c->s.movss_shadow_rip = ~0ull;
	context_update(f->c);
}

struct fix fix_long(unsigned cpl)
{
	struct fix f = fix_new();
	struct soft_cpu *c = f.c;

	for (unsigned n = 0; n < 2; n++)
		fix_put(&f, FIX_PML4 + n * 0x1000, (FIX_PML4 + (n + 1) * 0x1000) | 7, 8);
	for (unsigned n = 0; n < 8; n++)
		fix_put(&f, FIX_PML4 + 0x2000 + n * 8, n * MIB(2) | 0x87, 8);
	tables(&f);
	c->s.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_MP | CR0_ET | CR0_WP;
	c->s.cr3 = FIX_PML4;
	c->s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE;
	c->s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	c->s.msr.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	fix_put(&f, FIX_TSS + 4, FIX_STACK0, 8);
	fix_put(&f, FIX_TSS + 36, FIX_IST1, 8);
	segments(&f, cpl ? CS64_3 : CS64, 0xa09b, cpl ? DS3 : DS0, cpl);
	return f;
}

struct fix fix_protected(unsigned cpl)
{
	struct fix f = fix_new();
	struct soft_cpu *c = f.c;

	tables(&f);
	c->s.cr0 = CR0_PE | CR0_NE | CR0_ET;
	c->s.cr4 = CR4_OSFXSR;
	fix_put(&f, FIX_TSS + 4, FIX_STACK0, 4);
	fix_put(&f, FIX_TSS + 8, DS0, 2);
	segments(&f, cpl ? CS32_3 : CS32, 0xc09b, cpl ? DS3 : DS0, cpl);
	return f;
}

struct fix fix_real(void)
{
	struct fix f = fix_new();
	struct soft_cpu *c = f.c;

	for (unsigned k = 0; k < NR_SEGS; k++)
		c->s.seg[k] = (struct seg){ 0, 0xffff, 0x93, 0 };
	c->s.idtr = (struct desc_table){ 0, 0x3ff };
	c->s.gpr[RSP] = 0x7000;
	c->s.rip = FIX_CODE;
	c->s.sti_shadow_rip = c->s.movss_shadow_rip = ~0ull;
	context_update(c);
	return f;
}

struct fix fix_vm86(unsigned iopl)
{
	struct fix f = fix_protected(3);
	struct soft_cpu *c = f.c;

	for (unsigned k = 0; k < NR_SEGS; k++)
		c->s.seg[k] = (struct seg){ 0x1000 * k * 16, 0xffff, 0xf3, 0x1000 * k };
	c->s.seg[SEG_CS] = c->s.seg[SEG_SS] = (struct seg){ 0, 0xffff, 0xf3, 0 };
	c->s.gpr[RSP] = 0x7000;
	cpu_set_rflags(c, RFLAGS_RSV1 | RFLAGS_IF | RFLAGS_VM | iopl << 12);
	context_update(c);
	return f;
}

/* ---- Running ---- */

u8 fix_fpu[XSAVE_SIZE_MAX] __attribute__((aligned(64)));
bool fix_fpu_on;

static void fpu_default(void)
{
	static const u32 mxcsr = 0x1f80;

	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(mxcsr));
}

bool fix_call(struct fix *f, void (*fn)(struct soft_cpu *c))
{
	bool raised;

	f->c->event.pending = false;
	raised = exec_protect(f->c, fn);
	if (fix_fpu_on)
		fpu_default();
	if (f->c->mode_changed)
		context_update(f->c);
	f->c->mode_changed = false;
	return raised;
}

#define NAMES(X)                                                                                  \
	X(int3) X(int1) X(int) X(into) X(call_far) X(jmp_far) X(ret_far) X(iret) X(syscall)        \
	X(sysret) X(sysenter) X(sysexit) X(bound) X(enter) X(pusha) X(popa) X(pushf) X(popf)       \
	X(push_sreg) X(pop_sreg) X(mov_from_sreg) X(mov_to_sreg) X(load_far) X(arpl) X(hlt) X(cli) \
	X(sti) X(daa) X(das) X(aaa) X(aas) X(aam) X(aad) X(salc) X(fnstenv) X(fldenv) X(fnsave)    \
	X(frstor) X(fxsave) X(fxrstor) X(xsave) X(xsaveopt) X(xsavec) X(xsaves) X(xrstor)          \
	X(xrstors) X(maskmovq) X(maskmovdqu) X(gather)

static const struct {
	const char *name;
	helper_fn *fn;
} helpers[] = {
#define ROW(n) { #n, helper_##n },
	NAMES(ROW)
};

static helper_fn *current_fn;
static struct insn current;

static void run_current(struct soft_cpu *c)
{
	enum helper_result r;

	if (fix_fpu_on)
		__asm__ volatile("xrstor64 %0" : : "m"(fix_fpu), "a"(7), "d"(0) : "memory");
	if (c->vm->rows)
		c->vm->rows[current.row] = 1;
	r = current_fn(c, &current);
	if (fix_fpu_on)
		__asm__ volatile("xsave64 %0\n\tfninit" : "+m"(fix_fpu) : "a"(7), "d"(0) : "memory");
	if (r == HELPER_NEXT)
		c->s.rip = cpu_code64(c) ? insn_next(&current) : (u32)insn_next(&current);
}

bool fix_decode(struct fix *f, const u8 *bytes)
{
	struct soft_cpu *c = f->c;
	struct insn_mode mode = { .code64 = cpu_code64(c),
				  .code32 = c->s.seg[SEG_CS].ar & SEG_DB };
	const char *name;

	if (insn_decode(bytes, INSN_MAX, c->s.rip, mode, &current) != DECODE_OK ||
	    (current.how != HOW_HELPER && current.how != HOW_CUSTOM) ||
	    ((current.rules & RULE_PROT) && !cpu_protected(c)))
		return false;
	name = insn_row_function(current.row);
	for (unsigned k = 0; k < ARRAY_SIZE(helpers); k++) {
		current_fn = helpers[k].fn;
		if (!strcmp(helpers[k].name, name))
			return true;
	}
	return false;
}

bool fix_run(struct fix *f)
{
	return fix_call(f, run_current);
}

bool fix_insn(struct fix *f, const char *bytes, unsigned size)
{
	u8 buf[INSN_MAX] = { 0 };

	memcpy(buf, bytes, size);
	if (!fix_decode(f, buf)) {
		fprintf(stderr, "not an instruction that a helper executes\n");
		abort();
	}
	return fix_run(f);
}

static void (*sent_to)(struct soft_cpu *c);
static struct cpu_event sent;

static void send(struct soft_cpu *c)
{
	c->event = sent;
	sent_to(c);
}

bool fix_call_with(struct fix *f, const struct cpu_event *e, void (*fn)(struct soft_cpu *c))
{
	sent = *e;
	sent_to = fn;
	return fix_call(f, send);
}

bool fix_deliver(struct fix *f, unsigned vector, unsigned type, int error, unsigned insn_len)
{
	struct cpu_event e = { .pending = true, .vector = (u8)vector, .type = (u8)type,
			       .has_error = error >= 0, .error = error >= 0 ? (u32)error : 0,
			       .insn_len = (u8)insn_len };

	return fix_call_with(f, &e, event_deliver);
}
