// SPDX-License-Identifier: MIT
/*
 * The KVM engine on this host's /dev/kvm, as far as it goes: registers go in
 * and come out, a kick before run() is not lost, port and MMIO exits reach the
 * buses. Skipped without a KVM.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "base/state.h"
#include "kvm/kvm_internal.h"
#include "cpu/model.h"
#include "x86/regs.h"

static struct cpu_model model;
static struct machine_env env;
static struct engine_vm *vm;
static struct engine_vcpu *vcpu;
static struct cpu_state a, b;

static void make(void)
{
	struct err e;

	if (access("/dev/kvm", R_OK | W_OK))
		SKIP("no usable /dev/kvm");
	CHECK_EQ(cpu_model_create(NULL, false, 1, &model, &e), 0);
	CHECK_EQ(mem_create(MIB(4), &env.mem, &e), 0);
	CHECK_EQ(io_bus_create(&env.pio), 0);
	CHECK_EQ(io_bus_create(&env.mmio), 0);
	env.model = &model;
	env.nr_cpus = 1;
	if (kvm_engine.vm_create(&env, &vm, &e))
		SKIP("this host's KVM makes no VM");
	CHECK_EQ(kvm_engine.vcpu_create(vm, 0, &vcpu, &e), 0);
}

static void destroy(void)
{
	kvm_engine.vcpu_destroy(vcpu);
	kvm_engine.vm_destroy(vm);
	mem_destroy(env.mem);
	io_bus_destroy(env.pio);
	io_bus_destroy(env.mmio);
}

TEST(kvm_engine, registers_go_in_and_come_out)
{
	make();
	cpu_state_reset(&a, true);
	for (unsigned i = 0; i < 16; i++)
		a.gpr[i] = 0x1000 + i;
	a.rip = 0x1234;
	a.msr.lstar = 0xffffffff81000000;
	a.msr.kernel_gs_base = 0x42;
	a.seg[SEG_DS].base = 0x100;
	a.gdtr = (struct desc_table){ 0x2000, 0x7f };
	CHECK_EQ(kvm_engine.set_state(vcpu, &a), 0);
	CHECK_EQ(kvm_engine.get_state(vcpu, &b), 0);
	CHECK(!memcmp(a.gpr, b.gpr, sizeof(a.gpr)));
	CHECK_EQ(a.rip, b.rip);
	CHECK_EQ(a.rflags, b.rflags);
	CHECK_EQ(a.cr0, b.cr0);
	CHECK_EQ(a.msr.lstar, b.msr.lstar);
	CHECK_EQ(a.msr.kernel_gs_base, b.msr.kernel_gs_base);
	CHECK_EQ(a.msr.pat, b.msr.pat);
	for (unsigned i = 0; i < NR_SEGS; i++) {
		CHECK_EQ(a.seg[i].base, b.seg[i].base);
		CHECK_EQ(a.seg[i].limit, b.seg[i].limit);
		CHECK_EQ(a.seg[i].sel, b.seg[i].sel);
		CHECK_EQ(a.seg[i].ar & ~1, b.seg[i].ar & ~1);
	}
	CHECK_EQ(a.gdtr.base, b.gdtr.base);
	CHECK_EQ(a.gdtr.limit, b.gdtr.limit);
	CHECK_EQ(b.activity, CPU_ACTIVE);
	destroy();
}

TEST(kvm_engine, waits_for_sipi)
{
	make();
	cpu_state_reset(&a, false);
	CHECK_EQ(kvm_engine.set_state(vcpu, &a), 0);
	CHECK_EQ(kvm_engine.get_state(vcpu, &b), 0);
	CHECK_EQ(b.activity, CPU_WAIT_SIPI);
	destroy();
}

TEST(kvm_engine, a_kick_before_run_is_not_lost)
{
	make();
	cpu_state_reset(&a, false); /* would wait for ever */
	CHECK_EQ(kvm_engine.set_state(vcpu, &a), 0);
	kvm_engine.kick(vcpu);
	CHECK_EQ(kvm_engine.run(vcpu), VCPU_STOP_KICKED);
	destroy();
}

/* ---- A guest of a few instructions in 32-bit mode ---- */

static u64 port_value, mmio_value;

static void port_write(void *dev, u64 off, unsigned size, u64 value)
{
	(void)dev;
	(void)off;
	port_value = value | (u64)size << 32;
	kvm_engine.kick(vcpu);
}

static u64 mmio_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	return off + 0x100 * size;
}

static void mmio_write(void *dev, u64 off, unsigned size, u64 value)
{
	(void)dev;
	(void)off;
	(void)size;
	mmio_value = value;
}

static u64 port_read(void *dev, u64 off, unsigned size)
{
	(void)dev;
	(void)off;
	(void)size;
	return 0;
}

static void flat_32bit(struct cpu_state *s, u32 rip)
{
	cpu_state_reset(s, true);
	s->cr0 = CR0_PE | CR0_ET;
	for (unsigned i = 0; i < NR_SEGS; i++)
		s->seg[i] = (struct seg){ .limit = ~0u, .sel = 0x10,
			.ar = (u32)(0x93 | SEG_DB | SEG_G) };
	s->seg[SEG_CS].sel = 8;
	s->seg[SEG_CS].ar = (u32)(0x9b | SEG_DB | SEG_G);
	s->rip = rip;
}

TEST(kvm_engine, ports_and_mmio_reach_the_buses)
{
	static const u8 code[] = {
		0xa1, 0x08, 0x00, 0x00, 0xd0, /* mov eax, [0xd0000008] */
		0xa3, 0x10, 0x00, 0x00, 0xd0, /* mov [0xd0000010], eax */
		0x66, 0xba, 0x34, 0x12,	      /* mov dx, 0x1234 */
		0xef,			      /* out dx, eax */
		0xeb, 0xfe,		      /* jmp $ */
	};
	static const struct io_ops ports = { .read = port_read, .write = port_write };
	static const struct io_ops mmios = { .read = mmio_read, .write = mmio_write };
	struct io_region port = { .base = 0x1234, .size = 4, .ops = &ports, .name = "p" };
	struct io_region mmio = { .base = 0xd0000000, .size = 4096, .ops = &mmios, .name = "m" };

	make();
	CHECK_EQ(io_add(env.pio, &port), 0);
	CHECK_EQ(io_add(env.mmio, &mmio), 0);
	CHECK(mem_write(env.mem, 0x1000, code, sizeof(code)));
	flat_32bit(&a, 0x1000);
	CHECK_EQ(kvm_engine.set_state(vcpu, &a), 0);
	CHECK_EQ(kvm_engine.run(vcpu), VCPU_STOP_KICKED);
	CHECK_EQ(mmio_value, 0x408);
	CHECK_EQ(port_value, 0x408 | 4ull << 32);
	CHECK_EQ(kvm_engine.get_state(vcpu, &b), 0);
	CHECK_EQ(b.gpr[RAX], 0x408);
	CHECK_EQ(b.rip, 0x1000 + sizeof(code) - 2); /* the OUT is complete */
	destroy();
}

TEST(kvm_engine, a_triple_fault_is_reported)
{
	static const u8 code[] = { 0x0f, 0x0b }; /* ud2, without an IDT */

	make();
	CHECK(mem_write(env.mem, 0x1000, code, sizeof(code)));
	flat_32bit(&a, 0x1000);
	a.idtr = (struct desc_table){ 0, 0 };
	CHECK_EQ(kvm_engine.set_state(vcpu, &a), 0);
	CHECK_EQ(kvm_engine.run(vcpu), VCPU_STOP_TRIPLE_FAULT);
	destroy();
}

TEST(kvm_engine, saved_state_is_taken_back)
{
	struct state_buf buf = { 0 };
	struct kvm_lapic_state before, after;
	struct err e;

	make();
	cpu_state_reset(&a, true);
	CHECK_EQ(kvm_engine.set_state(vcpu, &a), 0);
	CHECK_EQ(kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, &before), 0);
	before.regs[0x80] = 0x20; /* TPR */
	before.regs[0xf1] = 0x01; /* enabled */
	CHECK_EQ(kvm_ioctl(vcpu->fd, KVM_SET_LAPIC, &before), 0);
	CHECK_EQ(kvm_engine.save(vcpu, &buf), 0);
	destroy();
	make();
	CHECK_EQ(kvm_engine.set_state(vcpu, &a), 0);
	buf.pos = 0;
	CHECK_EQ(kvm_engine.load(vcpu, &buf, &e), 0);
	CHECK_EQ(buf.pos, buf.len);
	CHECK_EQ(kvm_ioctl(vcpu->fd, KVM_GET_LAPIC, &after), 0);
	CHECK_EQ((u8)after.regs[0x80], 0x20);
	CHECK_EQ((u8)after.regs[0xf1], 0x01);
	destroy();
	state_buf_free(&buf);
}
