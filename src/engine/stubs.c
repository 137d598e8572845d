// SPDX-License-Identifier: MIT
/*
 * The stubs between C and translated code, made once per VM at the start of the
 * code cache. Register use is described in soft.h; exec.h has the C side.
 *
 *   enter       C calls it: host registers saved, guest's loaded, jump to a block
 *   leave       jumped to with r10 = RIP: back to where enter was called
 *   chain       called at an unpatched exit: notes the exit, then leave
 *   helper      called with r11 = the helper site
 *   slow        called with r10 = linear address, r11 = what: a check failed
 *   segment     called with r11 = the helper site: r10 = linear address
 *   protect     C calls it around code that may unwind
 *   unwind      C jumps to it: protect returns 1
 */
#include "engine/emit.h"
#include "engine/exec.h"
#include "engine/softvm.h"

#define OFF(field) ((s32)offsetof(struct soft_cpu, field))

static const u8 callee_saved[] = { RBX, RBP, R12, R13, R14, R15 };

static void push(struct emitter *e, unsigned reg)
{
	if (reg & 8)
		em_byte(e, 0x41);
	em_byte(e, 0x50 | (reg & 7));
}

static void pop(struct emitter *e, unsigned reg)
{
	if (reg & 8)
		em_byte(e, 0x41);
	em_byte(e, 0x58 | (reg & 7));
}

static void push_callee_saved(struct emitter *e)
{
	for (unsigned n = 0; n < ARRAY_SIZE(callee_saved); n++)
		push(e, callee_saved[n]);
}

static void pop_callee_saved_ret(struct emitter *e)
{
	for (unsigned n = ARRAY_SIZE(callee_saved); n-- > 0;)
		pop(e, callee_saved[n]);
	em_byte(e, 0xc3);
}

/* Guest register @g of the state at [rsp + @at], to or from its host home. */
static void move_guest_regs(struct emitter *e, s32 at, bool to_state)
{
	for (unsigned g = RAX; g <= R15; g++) {
		unsigned host = g == RSP ? R9 : g;

		if (g >= R9 && g <= R11)
			continue;
		if (to_state)
			em_store(e, 8, MREF(RSP, at + OFF(s.gpr[g])), host);
		else
			em_load(e, 8, host, MREF(RSP, at + OFF(s.gpr[g])));
	}
}

static void call_c(struct emitter *e, u64 fn)
{
	em_mov_imm(e, RAX, fn);
	em_rr(e, 4, 0xff, 2, RAX);
}

static void stub_enter(struct emitter *e)
{
	push_callee_saved(e);
	em_store(e, 8, MREF(RDI, OFF(enter_sp)), RSP);
	em_mov_rr(e, 8, RSP, RDI);
	em_mov_rr(e, 8, R11, RSI);
	move_guest_regs(e, 0, false);
	em_jmp_reg(e, R11);
}

static void back_to_c(struct emitter *e)
{
	em_load(e, 8, RSP, MREF(RSP, OFF(enter_sp)));
	pop_callee_saved_ret(e);
}

static void stub_leave(struct emitter *e)
{
	em_store(e, 8, MREF(RSP, OFF(s.rip)), R10);
	move_guest_regs(e, 0, true);
	back_to_c(e);
}

static void stub_chain(struct emitter *e, u64 leave)
{
	pop(e, R11);
	em_store(e, 8, MREF(RSP, OFF(arg[0])), R11);
	em_jmp(e, leave);
}

/* Stubs that call C: entered by CALL, so the state is at rsp + 8. */
static void call_prologue(struct emitter *e)
{
	move_guest_regs(e, 8, true);
	em_lea(e, 8, RDI, MREF(RSP, 8));
}

static void stub_helper(struct emitter *e)
{
	u8 *end;

	call_prologue(e);
	em_mov_rr(e, 8, RSI, R11);
	em_alu_imm(e, 8, 5, RSP, 8);
	call_c(e, (u64)exec_helper);
	em_alu_imm(e, 8, 0, RSP, 8);
	em_rr(e, 4, 0x85, RAX, RAX);
	end = em_jcc(e, CC_NE, 0);
	move_guest_regs(e, 8, false);
	em_byte(e, 0xc3);
	em_patch_rel32(e, end, em_here(e));
	em_alu_imm(e, 8, 0, RSP, 8);
	back_to_c(e);
}

static void stub_slow(struct emitter *e)
{
	call_prologue(e);
	em_store(e, 8, MREF(RSP, 8 + OFF(arg[1])), R10);
	em_mov_rr(e, 8, RSI, R10);
	em_mov_rr(e, 4, RDX, R11);
	em_load(e, 8, RCX, MREF(RSP, 0));
	em_alu_imm(e, 8, 5, RSP, 8);
	call_c(e, (u64)exec_slow);
	em_alu_imm(e, 8, 0, RSP, 8);
	move_guest_regs(e, 8, false);
	em_load(e, 8, R10, MREF(RSP, 8 + OFF(arg[1])));
	em_byte(e, 0xc3);
}

static void stub_segment(struct emitter *e)
{
	call_prologue(e);
	em_mov_rr(e, 8, RSI, R11);
	em_alu_imm(e, 8, 5, RSP, 8);
	call_c(e, (u64)exec_segment);
	em_alu_imm(e, 8, 0, RSP, 8);
	em_store(e, 8, MREF(RSP, 8 + OFF(arg[1])), RAX);
	move_guest_regs(e, 8, false);
	em_load(e, 8, R10, MREF(RSP, 8 + OFF(arg[1])));
	em_byte(e, 0xc3);
}

static void stub_protect(struct emitter *e)
{
	push_callee_saved(e);
	em_store(e, 8, MREF(RDI, OFF(protect_sp)), RSP);
	em_alu_imm(e, 8, 5, RSP, 8);
	em_rr(e, 4, 0xff, 2, RSI);
	em_alu_imm(e, 8, 0, RSP, 8);
	em_mov_imm(e, RAX, 0);
	pop_callee_saved_ret(e);
}

static void stub_unwind(struct emitter *e)
{
	em_load(e, 8, RSP, MREF(RDI, OFF(protect_sp)));
	em_mov_imm(e, RAX, 1);
	pop_callee_saved_ret(e);
}

static u64 begin(struct emitter *e)
{
	while ((u64)e->p & 15)
		em_byte(e, 0xcc);
	return em_here(e);
}

void stubs_create(struct soft_vm *vm)
{
	struct emitter *e = &vm->cache.em;
	struct stubs *s = &vm->cache.stub;

	s->enter = begin(e);
	stub_enter(e);
	s->leave = s->jump_miss = begin(e);
	stub_leave(e);
	s->chain = begin(e);
	stub_chain(e, s->leave);
	s->helper = begin(e);
	stub_helper(e);
	s->slow = begin(e);
	stub_slow(e);
	s->segment = begin(e);
	stub_segment(e);
	s->protect = begin(e);
	stub_protect(e);
	s->unwind = begin(e);
	stub_unwind(e);
	begin(e);
	vm->cache.stubs_end = e->p;
}
