// SPDX-License-Identifier: MIT
/* System instructions and MSRs, one at a time, on a vCPU of the real engine. */
#include "engine/sys.h"

#include <stdlib.h>
#include <string.h>

#include "../../lib/test.h"
#include "engine/exec.h"
#include "engine/helpers.h"

extern helper_fn *const insn_helper[];

static struct {
	struct machine_env env;
	struct cpu_model model;
	struct engine_vm *vm;
	struct soft_cpu *c;
	struct insn insn;
	enum helper_result result;
	u64 port_value, written;
	u16 port;
	unsigned nr_io, size;
} g;

static u64 port_in(void *dev, u64 off, unsigned size)
{
	(void)dev;
	g.port = (u16)off;
	g.size = size;
	g.nr_io++;
	return g.port_value + g.nr_io;
}

static void port_out(void *dev, u64 off, unsigned size, u64 value)
{
	(void)dev;
	g.port = (u16)off;
	g.size = size;
	g.nr_io++;
	g.written = value;
}

static const struct io_ops port_ops = { .read = port_in, .write = port_out };
static struct io_region ports = { .base = 0, .size = 0x10000, .ops = &port_ops, .name = "test" };

enum { MODE_PROT32, MODE_LONG64 };

/* Flat segments at privilege @cpl. Paging off, so MODE_LONG64 is good for
 * everything that touches no memory. */
static void enter(int mode, unsigned cpl)
{
	struct cpu_state *s = &g.c->s;
	u32 ar = SEG_S | SEG_P | SEG_G | cpl << 5;

	cpu_state_reset(s, true);
	cpu_set_rflags(g.c, 2);
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	for (int n = 0; n < NR_SEGS; n++)
		s->seg[n] = (struct seg){ 0, 0xffffffff, ar | SEG_DB | 3, (u16)(16 | cpl) };
	s->seg[SEG_CS].ar = ar | 0xb | (mode == MODE_LONG64 ? SEG_L : SEG_DB);
	if (mode == MODE_LONG64) {
		s->cr4 = CR4_PAE;
		s->cr0 |= CR0_PG;
		s->msr.efer = EFER_LME | EFER_LMA;
	}
	g.c->mode_changed = true;
	context_update(g.c);
	g.c->mode_changed = false;
}

static void teardown(void)
{
	soft_engine.vcpu_destroy((struct engine_vcpu *)g.c);
	soft_engine.vm_destroy(g.vm);
	io_bus_destroy(g.env.pio);
	io_bus_destroy(g.env.mmio);
	mem_destroy(g.env.mem);
}

static void setup(bool vmx)
{
	struct engine_vcpu *v = NULL;
	struct err e = { "" };

	if (g.vm)
		teardown();
	else
		atexit(teardown);
	memset(&g, 0, sizeof(g));
	if (mem_create(MIB(16), &g.env.mem, &e) || io_bus_create(&g.env.pio) ||
	    io_bus_create(&g.env.mmio) || cpu_model_create(NULL, vmx, 1, &g.model, &e))
		test_fail(__FILE__, __LINE__, "%s", e.text);
	io_add(g.env.pio, &ports);
	g.env.model = &g.model;
	g.env.nr_cpus = 1;
	if (soft_engine.vm_create(&g.env, &g.vm, &e) || soft_engine.vcpu_create(g.vm, 0, &v, &e))
		test_fail(__FILE__, __LINE__, "%s", e.text);
	g.c = (struct soft_cpu *)v;
	enter(MODE_PROT32, 0);
}

/* The helper of the row, or the one that its own translator falls back on. */
static helper_fn *helper(const struct insn *i)
{
	if (insn_helper[i->row])
		return insn_helper[i->row];
	return i->opcode == 0xa2 ? helper_cpuid : i->opcode == 0x31 ? helper_rdtsc : helper_rdtscp;
}

static void call(struct soft_cpu *c)
{
	g.result = helper(&g.insn)(c, &g.insn);
}

enum { OK = -1 };

/* Runs one instruction; the vector it raised, or OK. */
static int run(const char *bytes, unsigned len)
{
	struct insn_mode mode = { .code64 = cpu_code64(g.c), .code32 = !cpu_code64(g.c) };
	u8 buf[INSN_MAX + 1] = { 0 };
	bool raised;

	memcpy(buf, bytes, len);
	g.c->s.rip = 0x1000;
	if (insn_decode(buf, sizeof(buf), 0x1000, mode, &g.insn) != DECODE_OK)
		return X86_UD;
	g.c->event.pending = false;
	raised = exec_protect(g.c, call);
	if (raised && g.c->s.rip != 0x1000)
		test_fail(__FILE__, __LINE__, "RIP moved before a fault");
	return raised ? g.c->event.vector : OK;
}

#define RUN(bytes) run(bytes, sizeof(bytes) - 1)

#define MOV_CR0_EAX "\x0f\x22\xc0"
#define MOV_CR3_EAX "\x0f\x22\xd8"
#define MOV_CR4_EAX "\x0f\x22\xe0"
#define MOV_CR8_RAX "\x44\x0f\x22\xc0"
#define WRMSR	    "\x0f\x30"
#define RDMSR	    "\x0f\x32"

static int wrmsr(u32 msr, u64 v)
{
	g.c->s.gpr[RCX] = msr;
	g.c->s.gpr[RAX] = (u32)v;
	g.c->s.gpr[RDX] = v >> 32;
	return RUN(WRMSR);
}

static u64 rdmsr(u32 msr)
{
	g.c->s.gpr[RCX] = msr;
	if (RUN(RDMSR) != OK)
		return 0xdeadbeef;
	return g.c->s.gpr[RAX] | g.c->s.gpr[RDX] << 32;
}

static int mov_cr(const char *bytes, unsigned len, u64 v)
{
	g.c->s.gpr[RAX] = v;
	return run(bytes, len);
}
#define MOV_CR(bytes, v) mov_cr(bytes, sizeof(bytes) - 1, v)

TEST(sys, cr0_rules)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PG), X86_GP); /* PG without PE */
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE | CR0_NW), X86_GP);
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE | BIT(9)), OK);
	CHECK_EQ(s->cr0, CR0_PE | CR0_ET); /* reserved bits are ignored, ET is set */
	s->msr.efer = EFER_LME;
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE | CR0_PG), X86_GP); /* no PAE */
	s->cr4 = CR4_PAE;
	s->seg[SEG_CS].ar |= SEG_L;
	s->seg[SEG_CS].ar &= ~SEG_DB;
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE | CR0_PG), X86_GP); /* CS.L */
	s->seg[SEG_CS].ar ^= SEG_L | SEG_DB;
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE | CR0_PG), OK);
	CHECK(s->msr.efer & EFER_LMA);
	CHECK(g.c->mode_changed);
	CHECK_EQ(g.result, HELPER_END);
	CHECK_EQ(s->rip, 0x1003);
	enter(MODE_LONG64, 0);
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE), X86_GP); /* paging off in 64-bit mode */
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, BIT(32) | CR0_PE | CR0_PG), X86_GP);
	enter(MODE_LONG64, 3);
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE | CR0_PG), X86_GP);
}

TEST(sys, cr3_and_cr4_rules)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, CR4_VMXE), X86_GP);
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, BIT(15)), X86_GP);
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, CR4_LA57), X86_GP);
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, CR4_PCIDE), X86_GP); /* not in IA-32e mode */
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, CR4_PAE | CR4_OSFXSR), OK);
	enter(MODE_LONG64, 0);
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, 0), X86_GP); /* PAE */
	s->cr3 = 0x5001;
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, CR4_PAE | CR4_PCIDE), X86_GP);
	s->cr3 = 0x5000;
	CHECK_EQ(MOV_CR(MOV_CR3_EAX, BIT(63) | 0x6000), X86_GP); /* no PCIDE */
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, CR4_PAE | CR4_PCIDE), OK);
	CHECK_EQ(MOV_CR(MOV_CR3_EAX, BIT(63) | 0x6007), OK);
	CHECK_EQ(s->cr3, 0x6007);
	CHECK_EQ(MOV_CR(MOV_CR3_EAX, BIT(62)), X86_GP);
	CHECK_EQ(MOV_CR(MOV_CR3_EAX, BIT(g.model.phys_bits)), X86_GP);
	setup(true);
	CHECK_EQ(MOV_CR(MOV_CR4_EAX, CR4_VMXE), OK);
}

TEST(sys, pae_pdptes_are_loaded_and_checked)
{
	u64 table[4] = { 0x2001, 0, 0x3000, 0x4001 };
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	mem_write(g.env.mem, 0x1020, table, sizeof(table));
	s->cr4 = CR4_PAE;
	s->cr3 = 0x1020;
	CHECK_EQ(MOV_CR(MOV_CR0_EAX, CR0_PE | CR0_PG), OK);
	CHECK_EQ(s->pdpte[0], 0x2001);
	CHECK_EQ(s->pdpte[3], 0x4001);
	table[1] = 0x2003; /* W is reserved */
	mem_write(g.env.mem, 0x1020, table, sizeof(table));
	CHECK_EQ(MOV_CR(MOV_CR3_EAX, 0x1020), X86_GP);
	CHECK_EQ(s->pdpte[1], 0);
	table[1] = 0x2002; /* not present: anything goes */
	mem_write(g.env.mem, 0x1020, table, sizeof(table));
	CHECK_EQ(MOV_CR(MOV_CR3_EAX, 0x1020), OK);
}

TEST(sys, cr8_lmsw_clts_smsw)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	s->gpr[RAX] = 0; /* cannot clear PE */
	CHECK_EQ(RUN("\x0f\x01\xf0"), OK);
	CHECK(s->cr0 & CR0_PE);
	s->gpr[RAX] = 0xa;
	CHECK_EQ(RUN("\x0f\x01\xf0"), OK);
	CHECK_EQ(s->cr0 & 0xf, CR0_PE | CR0_MP | CR0_TS);
	CHECK_EQ(RUN("\x0f\x06"), OK);
	CHECK(!(s->cr0 & CR0_TS));
	CHECK_EQ(RUN("\x0f\x01\xe0"), OK); /* smsw eax */
	CHECK_EQ(s->gpr[RAX], s->cr0);
	enter(MODE_LONG64, 0);
	CHECK_EQ(MOV_CR(MOV_CR8_RAX, 16), X86_GP);
	CHECK_EQ(MOV_CR(MOV_CR8_RAX, 9), OK);
	CHECK_EQ(lapic_tpr(&g.c->lapic), 0x90);
	CHECK_EQ(RUN("\x44\x0f\x20\xc3"), OK); /* mov rbx, cr8 */
	CHECK_EQ(s->gpr[RBX], 9);
	CHECK_EQ(RUN("\x0f\x22\xc8"), X86_UD); /* cr1 */
	enter(MODE_PROT32, 3);
	CHECK_EQ(RUN("\x0f\x06"), X86_GP);
	CHECK_EQ(RUN("\x0f\x01\xe0"), OK);
	s->cr4 |= CR4_UMIP;
	CHECK_EQ(RUN("\x0f\x01\xe0"), X86_GP);
}

TEST(sys, debug_registers)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	enter(MODE_LONG64, 0);
	s->gpr[RAX] = 0x123456789abc;
	CHECK_EQ(RUN("\x0f\x23\xc0"), OK);
	CHECK_EQ(s->dr[0], 0x123456789abc);
	CHECK_EQ(RUN("\x0f\x23\xf8"), X86_GP); /* dr7: upper half */
	s->gpr[RAX] = 0xffffffff;
	CHECK_EQ(RUN("\x0f\x23\xf0"), OK);
	CHECK_EQ(s->dr6, 0xffffefff);
	s->gpr[RAX] = 0;
	CHECK_EQ(RUN("\x0f\x23\xe0"), OK); /* dr4 is dr6 */
	CHECK_EQ(s->dr6, 0xffff0ff0);
	s->cr4 |= CR4_DE;
	CHECK_EQ(RUN("\x0f\x23\xe0"), X86_UD);
	s->gpr[RAX] = 0x2000; /* general detect */
	CHECK_EQ(RUN("\x0f\x23\xf8"), OK);
	CHECK_EQ(s->dr7, 0x2400);
	CHECK_EQ(RUN("\x0f\x21\xc0"), X86_DB);
	CHECK_EQ(g.c->event.dr6, 0x2000);
	enter(MODE_LONG64, 3);
	CHECK_EQ(RUN("\x0f\x21\xc0"), X86_GP);
}

TEST(msr, unknown_and_privilege)
{
	setup(false);
	CHECK_EQ(wrmsr(0x12345, 0), X86_GP);
	CHECK_EQ(rdmsr(0x12345), 0xdeadbeef);
	CHECK_EQ(rdmsr(0x3a), 0xdeadbeef); /* no VMX: no FEATURE_CONTROL, no capabilities */
	CHECK_EQ(rdmsr(0x480), 0xdeadbeef);
	CHECK_EQ(rdmsr(0x48), 0xdeadbeef);
	CHECK_EQ(wrmsr(0xfe, 0), X86_GP);
	CHECK_EQ(wrmsr(0x8b, 0), OK);
	CHECK_EQ(rdmsr(0x8b) >> 32, 0x10d);
	enter(MODE_PROT32, 3);
	CHECK_EQ(RUN(RDMSR), X86_GP);
}

TEST(msr, values_are_checked)
{
	setup(false);
	CHECK_EQ(wrmsr(0x277, 0x0007040600070406), OK);
	CHECK_EQ(wrmsr(0x277, 0x0207040600070406), X86_GP);
	CHECK_EQ(wrmsr(0x277, 0x0907040600070406), X86_GP);
	CHECK_EQ(wrmsr(0x2ff, 0xc06), OK);
	CHECK_EQ(wrmsr(0x2ff, 0xc07), X86_GP);
	CHECK_EQ(wrmsr(0x2ff, 0x1006), X86_GP);
	CHECK_EQ(wrmsr(0x200, 0x80000006), OK);
	CHECK_EQ(wrmsr(0x200, 0x80000106), X86_GP);
	CHECK_EQ(wrmsr(0x201, (0xfull << 32) | 0x80000800), OK);
	CHECK_EQ(rdmsr(0x20f), 0);
	CHECK_EQ(rdmsr(0x210), 0xdeadbeef);
	CHECK_EQ(wrmsr(0x26f, 0x0606060606060606), OK);
	CHECK_EQ(rdmsr(0x26f), 0x0606060606060606);
	CHECK_EQ(wrmsr(0x26f, 0x0606060606060602), X86_GP);
	CHECK_EQ(wrmsr(0xc0000082, BIT(47)), X86_GP);
	CHECK_EQ(wrmsr(0xc0000082, ~0ull << 47), OK);
	CHECK_EQ(wrmsr(0xc0000084, BIT(32)), X86_GP);
	CHECK_EQ(wrmsr(0x1a0, 0x1800), OK);
	CHECK_EQ(wrmsr(0x1a0, BIT(34)), X86_GP);
}

TEST(msr, efer)
{
	setup(false);
	CHECK_EQ(wrmsr(0xc0000080, EFER_SCE | EFER_NXE | EFER_LME), OK);
	CHECK_EQ(wrmsr(0xc0000080, BIT(12)), X86_GP);
	CHECK_EQ(wrmsr(0xc0000080, EFER_LMA), OK); /* read-only */
	CHECK_EQ(rdmsr(0xc0000080), 0);
	enter(MODE_LONG64, 0);
	CHECK_EQ(wrmsr(0xc0000080, 0), X86_GP); /* LME with paging on */
	CHECK_EQ(wrmsr(0xc0000080, EFER_LME | EFER_SCE), OK);
	CHECK_EQ(rdmsr(0xc0000080), EFER_LME | EFER_LMA | EFER_SCE);
}

TEST(msr, tsc)
{
	u64 a, b;

	setup(false);
	CHECK_EQ(wrmsr(0x10, BIT(50)), OK);
	a = rdmsr(0x10);
	CHECK(a >= BIT(50) && a < BIT(50) + 10000000000ull);
	b = rdmsr(0x3b);
	CHECK_EQ(b, g.c->s.tsc_offset);
	CHECK_EQ(wrmsr(0x3b, b - BIT(49)), OK);
	a = rdmsr(0x10);
	CHECK(a >= BIT(49) && a < BIT(49) + 10000000000ull);
	CHECK_EQ(RUN("\x0f\x31"), OK);
	CHECK(g.c->s.gpr[RDX] << 32 >= BIT(49));
	g.c->s.msr.tsc_aux = 7;
	CHECK_EQ(RUN("\x0f\x01\xf9"), OK);
	CHECK_EQ(g.c->s.gpr[RCX], 7);
	enter(MODE_PROT32, 3);
	CHECK_EQ(RUN("\x0f\x31"), OK);
	g.c->s.cr4 |= CR4_TSD;
	CHECK_EQ(RUN("\x0f\x31"), X86_GP);
}

TEST(msr, feature_control_locks)
{
	setup(true);
	CHECK_EQ(rdmsr(0x3a), 0);
	CHECK_EQ(wrmsr(0x3a, 2), X86_GP);
	CHECK_EQ(wrmsr(0x3a, 5), OK);
	CHECK_EQ(wrmsr(0x3a, 5), X86_GP);
	CHECK_EQ(rdmsr(0x3a), 5);
	CHECK(rdmsr(0x480) != 0xdeadbeef);
}

TEST(msr, apic)
{
	setup(false);
	CHECK_EQ(rdmsr(0x1b), 0xfee00900);
	CHECK_EQ(rdmsr(0x802), 0xdeadbeef);
	CHECK_EQ(wrmsr(0x1b, 0xfee00d00), OK);
	CHECK_EQ(rdmsr(0x802), 0);
	CHECK_EQ(wrmsr(0x80f, 0x1ff), OK);
	CHECK_EQ(wrmsr(0x832, 0x40055), OK);
	CHECK_EQ(wrmsr(0x6e0, 1), OK); /* long past */
	CHECK_EQ(lapic_pending(&g.c->lapic), 0x55);
	CHECK(atomic_load(&g.c->request) & REQ_IRQ);
	CHECK_EQ(wrmsr(0x1b, 0xfee00900), X86_GP);
}

TEST(sys, cpuid_and_xcr0)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	s->gpr[RAX] = 0xffffffff00000000ull;
	CHECK_EQ(RUN("\x0f\xa2"), OK);
	CHECK_EQ(s->gpr[RBX], 0x756e6547);
	CHECK_EQ(g.result, HELPER_NEXT);
	if (!cpu_has(&g.model, FEAT_AVX))
		SKIP("the host has no AVX");
	s->gpr[RCX] = 0;
	CHECK_EQ(RUN("\x0f\x01\xd0"), X86_UD); /* xgetbv */
	s->cr4 |= CR4_OSXSAVE;
	CHECK_EQ(RUN("\x0f\x01\xd0"), OK);
	CHECK_EQ(s->gpr[RAX], 1);
	s->gpr[RDX] = 0;
	s->gpr[RAX] = 6; /* without x87 */
	CHECK_EQ(RUN("\x0f\x01\xd1"), X86_GP);
	s->gpr[RAX] = 5; /* AVX without SSE */
	CHECK_EQ(RUN("\x0f\x01\xd1"), X86_GP);
	s->gpr[RAX] = 7 | BIT(9);
	CHECK_EQ(RUN("\x0f\x01\xd1"), X86_GP);
	s->gpr[RAX] = 7;
	CHECK_EQ(RUN("\x0f\x01\xd1"), OK);
	CHECK_EQ(s->xcr0, 7);
	s->gpr[RCX] = 2;
	CHECK_EQ(RUN("\x0f\x01\xd0"), X86_GP);
}

TEST(sys, fs_gs)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	enter(MODE_LONG64, 0);
	CHECK_EQ(wrmsr(0xc0000101, 0x1000), OK);
	CHECK(g.c->mode_changed); /* GS has a base now */
	g.c->mode_changed = false;
	CHECK_EQ(wrmsr(0xc0000102, 0x2000), OK);
	CHECK_EQ(RUN("\x0f\x01\xf8"), OK);
	CHECK_EQ(s->seg[SEG_GS].base, 0x2000);
	CHECK_EQ(s->msr.kernel_gs_base, 0x1000);
	CHECK_EQ(g.result, HELPER_NEXT);
	CHECK(!g.c->mode_changed);
	CHECK_EQ(RUN("\xf3\x48\x0f\xae\xc8"), X86_UD); /* rdgsbase rax */
	s->cr4 |= CR4_FSGSBASE;
	CHECK_EQ(RUN("\xf3\x48\x0f\xae\xc8"), OK);
	CHECK_EQ(s->gpr[RAX], 0x2000);
	s->gpr[RAX] = BIT(60);
	CHECK_EQ(RUN("\xf3\x48\x0f\xae\xd0"), X86_GP); /* wrfsbase rax */
	CHECK_EQ(RUN("\xf3\x0f\xae\xd0"), OK);	       /* wrfsbase eax */
	CHECK_EQ(s->seg[SEG_FS].base, 0);
	enter(MODE_LONG64, 3);
	CHECK_EQ(RUN("\x0f\x01\xf8"), X86_GP);
}

TEST(sys, clac_stac)
{
	setup(false);
	CHECK_EQ(RUN("\x0f\x01\xcb"), OK);
	CHECK(g.c->s.rflags & RFLAGS_AC);
	CHECK_EQ(RUN("\x0f\x01\xca"), OK);
	CHECK(!(g.c->s.rflags & RFLAGS_AC));
	enter(MODE_PROT32, 3);
	CHECK_EQ(RUN("\x0f\x01\xcb"), X86_UD);
}

TEST(desc, tables)
{
	static const u8 gdtr[6] = { 0x27, 0, 0, 0x20, 0, 0xaa };
	u8 back[6];
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	mem_write(g.env.mem, 0x3000, gdtr, 6);
	s->gpr[RAX] = 0x3000;
	CHECK_EQ(RUN("\x0f\x01\x10"), OK); /* lgdt [eax] */
	CHECK_EQ(s->gdtr.limit, 0x27);
	CHECK_EQ(s->gdtr.base, 0xaa002000);
	CHECK_EQ(RUN("\x66\x0f\x01\x10"), OK); /* 24 bits of base */
	CHECK_EQ(s->gdtr.base, 0x2000);
	s->gpr[RAX] = 0x3010;
	CHECK_EQ(RUN("\x0f\x01\x00"), OK); /* sgdt */
	mem_read(g.env.mem, 0x3010, back, 6);
	CHECK(back[0] == 0x27 && back[3] == 0x20 && back[5] == 0);
	s->ldtr.sel = 0x28;
	s->gpr[RBX] = ~0ull;
	CHECK_EQ(RUN("\x0f\x00\xc3"), OK); /* sldt ebx */
	CHECK_EQ(s->gpr[RBX], 0x28);
}

/* GDT at 2000H: null, code, data, TSS (available), conforming execute-only code
 * of DPL 0. */
static void make_gdt(void)
{
	static const u64 gdt[] = { 0, 0x00cf9a000000ffff, 0x00cff2000000ffff, 0x0000890030000067,
				   0x00cf9c000000ffff };

	mem_write(g.env.mem, 0x2000, gdt, sizeof(gdt));
	g.c->s.gdtr = (struct desc_table){ 0x2000, sizeof(gdt) - 1 };
}

static bool zf(void)
{
	return cpu_rflags(g.c) & RFLAGS_ZF;
}

TEST(desc, lar_lsl_verr_verw)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	make_gdt();
	s->gpr[RBX] = 8;
	CHECK_EQ(RUN("\x0f\x02\xc3"), OK); /* lar eax, ebx */
	CHECK(zf());
	CHECK_EQ(s->gpr[RAX], 0xc09a00);
	CHECK_EQ(RUN("\x0f\x03\xc3"), OK); /* lsl */
	CHECK(zf() && s->gpr[RAX] == 0xffffffff);
	CHECK_EQ(RUN("\x0f\x00\xe3"), OK); /* verr bx */
	CHECK(zf());
	CHECK_EQ(RUN("\x0f\x00\xeb"), OK); /* verw bx */
	CHECK(!zf());
	s->gpr[RBX] = 0x18; /* TSS: LAR and LSL, not VERR */
	CHECK_EQ(RUN("\x0f\x03\xc3"), OK);
	CHECK(zf() && s->gpr[RAX] == 0x67);
	CHECK_EQ(RUN("\x0f\x00\xe3"), OK);
	CHECK(!zf());
	s->gpr[RBX] = 0x28; /* beyond the limit */
	s->gpr[RAX] = 77;
	CHECK_EQ(RUN("\x0f\x02\xc3"), OK);
	CHECK(!zf() && s->gpr[RAX] == 77);
	s->gpr[RBX] = 0xb; /* RPL 3 does not reach DPL 0 */
	CHECK_EQ(RUN("\x0f\x02\xc3"), OK);
	CHECK(!zf());
	s->gpr[RBX] = 0x23; /* conforming: any privilege, but not readable */
	CHECK_EQ(RUN("\x0f\x02\xc3"), OK);
	CHECK(zf());
	CHECK_EQ(RUN("\x0f\x00\xe3"), OK);
	CHECK(!zf());
}

TEST(io, in_out)
{
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	s->gpr[RAX] = ~0ull;
	g.port_value = 0x11223343;
	CHECK_EQ(RUN("\xe4\x60"), OK); /* in al, 60h */
	CHECK_EQ(g.port, 0x60);
	CHECK_EQ(s->gpr[RAX], 0xffffffffffffff44);
	s->gpr[RDX] = 0xffff0cf8;
	CHECK_EQ(RUN("\xed"), OK); /* in eax, dx */
	CHECK_EQ(g.port, 0xcf8);
	CHECK_EQ(s->gpr[RAX], 0x11223345);
	CHECK_EQ(RUN("\x66\xef"), OK); /* out dx, ax */
	CHECK(g.size == 2 && g.written == 0x3345);
}

TEST(io, permission_map)
{
	u8 tss[0x90] = { 0 };
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	enter(MODE_PROT32, 3);
	tss[102] = 0x68; /* the map starts at 68H */
	tss[0x68 + 12] = 0x02; /* port 61H denied */
	mem_write(g.env.mem, 0x4000, tss, sizeof(tss));
	s->tr = (struct seg){ 0x4000, 0x68 + 16, 0x8b, 0x18 };
	CHECK_EQ(RUN("\xe4\x60"), OK);
	CHECK_EQ(RUN("\xe4\x61"), X86_GP);
	CHECK_EQ(RUN("\x66\xe5\x60"), X86_GP); /* 60H and 61H */
	CHECK_EQ(RUN("\xe4\x7f"), OK);
	CHECK_EQ(RUN("\xe4\x80"), X86_GP); /* the second byte is beyond the limit */
	s->rflags |= RFLAGS_IOPL;
	CHECK_EQ(RUN("\xe4\x80"), OK);
	s->rflags &= ~RFLAGS_IOPL;
	s->tr.ar = 0x83; /* a 16-bit TSS has no map */
	CHECK_EQ(RUN("\xe4\x60"), X86_GP);
}

TEST(io, strings)
{
	struct cpu_state *s;
	u16 got[4];

	setup(false);
	s = &g.c->s;
	s->gpr[RDX] = 0x1f0;
	s->gpr[RDI] = 0x5000;
	s->gpr[RCX] = 4;
	CHECK_EQ(RUN("\xf3\x66\x6d"), OK); /* rep insw */
	CHECK_EQ(g.nr_io, 4);
	CHECK_EQ(s->gpr[RCX], 0);
	CHECK_EQ(s->gpr[RDI], 0x5008);
	mem_read(g.env.mem, 0x5000, got, 8);
	CHECK(got[0] == 1 && got[3] == 4);
	CHECK_EQ(RUN("\xf3\x66\x6d"), OK); /* count 0: nothing */
	CHECK_EQ(g.nr_io, 4);
	s->gpr[RSI] = 0x5006;
	s->gpr[RCX] = 2;
	s->rflags |= RFLAGS_DF;
	CHECK_EQ(RUN("\xf3\x66\x6f"), OK); /* rep outsw, down */
	CHECK_EQ(g.written, 3);
	CHECK_EQ(s->gpr[RSI], 0x5002);
	s->rflags &= ~RFLAGS_DF;

	/* A fault in the middle: what was done stays done, RIP is the instruction's. */
	s->seg[SEG_ES].limit = 0x5fff;
	s->seg[SEG_ES].ar &= ~SEG_G;
	s->gpr[RDI] = 0x5ffc;
	s->gpr[RCX] = 8;
	g.nr_io = 0;
	CHECK_EQ(RUN("\xf3\x66\x6d"), X86_GP);
	CHECK_EQ(s->gpr[RCX], 6);
	CHECK_EQ(s->gpr[RDI], 0x6000);
	CHECK_EQ(g.nr_io, 2);

	/* A long one stops now and then, at its own address. */
	s->seg[SEG_ES].limit = 0xffffffff;
	s->gpr[RDI] = 0x8000;
	s->gpr[RCX] = 1000;
	CHECK_EQ(RUN("\xf3\x6c"), OK);
	CHECK(s->gpr[RCX] < 1000 && s->gpr[RCX] > 0);
	CHECK_EQ(g.result, HELPER_END);
	CHECK_EQ(s->rip, 0x1000);
}

TEST(sys, invpcid_operands)
{
	u64 desc[2] = { 0, 0 };
	struct cpu_state *s;

	setup(false);
	s = &g.c->s;
	s->gpr[RBX] = 0x6000;
	mem_write(g.env.mem, 0x6000, desc, 16);
	for (u64 type = 0; type < 4; type++) {
		s->gpr[RAX] = type;
		CHECK_EQ(RUN("\x66\x0f\x38\x82\x03"), OK); /* invpcid eax, [ebx] */
	}
	s->gpr[RAX] = 4;
	CHECK_EQ(RUN("\x66\x0f\x38\x82\x03"), X86_GP);
	desc[0] = 1; /* a PCID without CR4.PCIDE */
	mem_write(g.env.mem, 0x6000, desc, 16);
	s->gpr[RAX] = 1;
	CHECK_EQ(RUN("\x66\x0f\x38\x82\x03"), X86_GP);
	s->gpr[RAX] = 2;
	CHECK_EQ(RUN("\x66\x0f\x38\x82\x03"), OK);
	desc[0] = 0;
	desc[1] = BIT(47);
	mem_write(g.env.mem, 0x6000, desc, 16);
	s->gpr[RAX] = 0;
	CHECK_EQ(RUN("\x66\x0f\x38\x82\x03"), X86_GP);
}

TEST(sys, invlpg_and_caches)
{
	setup(false);
	g.c->s.gpr[RAX] = 0x7000;
	CHECK_EQ(RUN("\x0f\x01\x38"), OK);
	CHECK_EQ(RUN("\x0f\x09"), OK);
	CHECK_EQ(RUN("\x0f\x08"), OK);
	enter(MODE_PROT32, 3);
	CHECK_EQ(RUN("\x0f\x01\x38"), X86_GP);
	CHECK_EQ(RUN("\x0f\x09"), X86_GP);
	CHECK_EQ(RUN("\x0f\x33"), X86_GP); /* rdpmc */
}

TEST(sys, tzcnt_and_lzcnt_without_the_feature)
{
	static const u8 tzcnt[] = { 0xf3, 0x48, 0x0f, 0xbc, 0xc1 }, lzcnt[] = { 0xf3, 0x0f, 0xbd, 0xc1 };
	struct insn_mode mode = { .code64 = true };
	struct insn i;

	CHECK_EQ(insn_decode(tzcnt, 5, 0, mode, &i), DECODE_OK);
	CHECK_STR(insn_name(&i), "TZCNT");
	mode.no_tzcnt = true;
	CHECK_EQ(insn_decode(tzcnt, 5, 0, mode, &i), DECODE_OK);
	CHECK_STR(insn_name(&i), "BSF");
	CHECK(i.mand == 0 && i.rep == 0 && i.opsize == 8 && i.len == 5);
	CHECK_EQ(insn_decode(lzcnt, 4, 0, mode, &i), DECODE_OK);
	CHECK_STR(insn_name(&i), "LZCNT");
	mode.no_lzcnt = true;
	CHECK_EQ(insn_decode(lzcnt, 4, 0, mode, &i), DECODE_OK);
	CHECK_STR(insn_name(&i), "BSR");
}
