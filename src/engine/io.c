// SPDX-License-Identifier: MIT
/*
 * IN, OUT, INS, OUTS: permission, VM exits, and the way to the devices.
 *
 * A repeated INS or OUTS does a bounded number of elements per call, and then
 * starts again at its own address with its registers moved on, as after an
 * interrupt: so a fault in the middle needs no undoing, and nobody waits long.
 */
#include "engine/sys.h"

#include "engine/helpers.h"
#include "engine/vmx/vmx.h"

enum { BATCH = 256 };

/* ---- Permission: SDM "I/O Permission Bit Map" ---- */

static void check_bitmap(struct soft_cpu *c, u16 port, unsigned size)
{
	const struct seg *tr = &c->s.tr;
	unsigned type = SEG_TYPE(tr);
	u32 at;
	u16 bits;

	if ((tr->ar & SEG_UNUSABLE) || (type != DESC_TSS && type != DESC_TSS_BUSY) ||
	    tr->limit < 103)
		cpu_raise(c, X86_GP, 0);
	at = (u32)guest_read(c, tr->base + 102, 2, AS_SUPERVISOR) + port / 8;
	/* Two bytes are read whatever the alignment, so both must be inside. */
	if (at + 1 > tr->limit)
		cpu_raise(c, X86_GP, 0);
	bits = (u16)guest_read(c, tr->base + at, 2, AS_SUPERVISOR);
	if (bits >> port % 8 & ((1u << size) - 1))
		cpu_raise(c, X86_GP, 0);
}

static void check_permission(struct soft_cpu *c, u16 port, unsigned size)
{
	unsigned iopl = c->s.rflags >> 12 & 3;

	if ((c->s.cr0 & CR0_PE) && (cpu_cpl(c) > iopl || (c->s.rflags & RFLAGS_VM)))
		check_bitmap(c, port, size);
}

/* ---- Devices ---- */

struct port_access {
	struct io_bus *bus;
	u16 port;
	unsigned size;
	u64 value;
};

static void port_read(void *arg)
{
	struct port_access *a = arg;

	a->value = io_read(a->bus, a->port, a->size);
}

static void port_write(void *arg)
{
	struct port_access *a = arg;

	io_write(a->bus, a->port, a->size, a->value);
}

static u64 device_in(struct soft_cpu *c, u16 port, unsigned size)
{
	struct port_access a = { c->vm->env.pio, port, size, 0 };

	c->stats.exits_pio++;
	vec_saved(c, port_read, &a);
	return a.value;
}

static void device_out(struct soft_cpu *c, u16 port, unsigned size, u64 value)
{
	struct port_access a = { c->vm->env.pio, port, size, value };

	c->stats.exits_pio++;
	vec_saved(c, port_write, &a);
}

/* A device may have asked for attention: an interrupt, a reset, the end. */
static bool wanted(struct soft_cpu *c)
{
	return atomic_load_explicit(&c->request, memory_order_relaxed);
}

/* ---- IN and OUT ---- */

static u16 port_operand(const struct soft_cpu *c, const struct insn *i, unsigned n)
{
	return i->op[n].kind == OPND_IMM ? (u8)i->imm : (u16)c->s.gpr[RDX];
}

enum helper_result helper_in(struct soft_cpu *c, const struct insn *i)
{
	u16 port = port_operand(c, i, 1);
	unsigned size = i->op[0].size;

	check_permission(c, port, size);
	if (c->vmx_non_root)
		vmx_check_io(c, i, port, size, true, false, false, 0);
	gpr_set(c, RAX, size, device_in(c, port, size));
	return insn_done(c, i, wanted(c));
}

enum helper_result helper_out(struct soft_cpu *c, const struct insn *i)
{
	u16 port = port_operand(c, i, 0);
	unsigned size = i->op[1].size;

	check_permission(c, port, size);
	if (c->vmx_non_root)
		vmx_check_io(c, i, port, size, false, false, false, 0);
	device_out(c, port, size, gpr_get(c, RAX, size));
	return insn_done(c, i, wanted(c));
}

/* ---- INS and OUTS ---- */

struct string_io {
	u16 port;
	unsigned size; /* of an element */
	enum seg_reg seg;
	enum gpr index; /* RSI or RDI */
	bool in;
};

static gva_t linear_unchecked(const struct soft_cpu *c, enum seg_reg seg, u64 off)
{
	if (cpu_code64(c))
		return seg >= SEG_FS ? c->s.seg[seg].base + off : off;
	return (u32)(c->s.seg[seg].base + off);
}

static void string_element(struct soft_cpu *c, const struct insn *i, const struct string_io *s)
{
	u64 off = gpr_get(c, s->index, i->addrsize);
	u64 step = c->s.rflags & RFLAGS_DF ? -(u64)s->size : s->size;
	gva_t addr;

	if (c->vmx_non_root)
		vmx_check_io(c, i, s->port, s->size, s->in, true, i->rep != 0,
			     linear_unchecked(c, s->seg, off));
	addr = seg_linear(c, s->seg, off, s->size, s->in);
	if (s->in) {
		/* What a device gave is not lost by a fault. */
		guest_probe_write(c, addr, s->size, AS_CURRENT);
		guest_write(c, addr, s->size, device_in(c, s->port, s->size), AS_CURRENT);
	} else {
		device_out(c, s->port, s->size, guest_read(c, addr, s->size, AS_CURRENT));
	}
	gpr_set(c, s->index, i->addrsize, off + step);
}

/* A trap after each element: single step, or a breakpoint at the data. */
static bool traps(const struct soft_cpu *c)
{
	return (c->s.rflags & RFLAGS_TF) || (c->s.dr7 & 0xff);
}

static enum helper_result string_repeat(struct soft_cpu *c, const struct insn *i,
					const struct string_io *s)
{
	for (unsigned n = 0; n < BATCH; n++) {
		u64 count = gpr_get(c, RCX, i->addrsize);

		if (!count)
			return insn_done(c, i, wanted(c));
		if (n && (wanted(c) || traps(c)))
			break;
		string_element(c, i, s);
		gpr_set(c, RCX, i->addrsize, count - 1);
	}
	c->s.rip = i->rip;
	return HELPER_END;
}

static enum helper_result string_io(struct soft_cpu *c, const struct insn *i,
				    const struct string_io *s)
{
	check_permission(c, s->port, s->size);
	if (i->rep)
		return string_repeat(c, i, s);
	string_element(c, i, s);
	return insn_done(c, i, wanted(c));
}

enum helper_result helper_ins(struct soft_cpu *c, const struct insn *i)
{
	struct string_io s = { .port = (u16)c->s.gpr[RDX], .size = i->op[0].size, .seg = SEG_ES,
			       .index = RDI, .in = true };

	return string_io(c, i, &s);
}

enum helper_result helper_outs(struct soft_cpu *c, const struct insn *i)
{
	struct string_io s = { .port = (u16)c->s.gpr[RDX], .size = i->op[1].size,
			       .seg = (enum seg_reg)i->mem.seg, .index = RSI };

	return string_io(c, i, &s);
}
