// SPDX-License-Identifier: MIT
/*
 * The stubs between C and translated code, made once per VM at the start of the
 * code cache. Register use is described in soft.h; exec.h has the C side.
 *
 *   enter       C calls it: host registers saved, guest's loaded, jump to a block
 *   leave       jumped to with r10 = RIP: back to where enter was called
 *   chain       called at an unpatched exit: notes the exit, then leave
 *   helper      called with r11 = the helper site
 *   slow        called with r10 = linear address, r11 = what: a check failed. ZF: try
 *               again; else r10 = the operand's host address
 *   commit      called after a store to such an address
 *   slot        the same where a page slot missed: refills it from the TLB, or slow
 *   cpuid       as helper, for helper_cpuid() in 64-bit root operation
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
	em_rr(e, 1, 0x84, RAX, RAX);
	move_guest_regs(e, 8, false);
	em_load(e, 8, R10, MREF(RSP, 8 + OFF(arg[1])));
	em_byte(e, 0xc3);
}

static void stub_commit(struct emitter *e)
{
	call_prologue(e);
	em_alu_imm(e, 8, 5, RSP, 8);
	call_c(e, (u64)exec_commit);
	em_alu_imm(e, 8, 0, RSP, 8);
	move_guest_regs(e, 8, false);
	em_byte(e, 0xc3);
}

/* rax = what translated code adds to gs to reach the TLB entry of r10. */
static void tlb_offset(struct emitter *e)
{
	em_mov_rr(e, 8, RAX, R10);
	em_rr(e, 8, 0xc1, 5, RAX);
	em_byte(e, PAGE_SHIFT - TLB_SHIFT);
	em_alu_imm(e, 4, 4, RAX, (TLB_SIZE - 1) << TLB_SHIFT);
}

/* Jumps if the entry at gs:rax has no tag rdx for the access in r11. */
static u8 *jump_if_no_tag(struct emitter *e)
{
	static_assert(offsetof(struct tlb_entry, rtag) == 0 && offsetof(struct tlb_entry, wtag) == 8,
		      "0x100 >> 5");
	em_mov_rr(e, 4, RCX, R11);
	em_rr(e, 4, 0xc1, 5, RCX);
	em_byte(e, 5);
	em_alu_imm(e, 4, 4, RCX, 8);
	em_rm(e, 8, 0x3b, RDX,
	      (struct mref){ .base = RAX, .index = RCX, .scale = 1, .gs = true });
	return em_jcc(e, CC_NE, 0);
}

/* rcx = 16 * (number of the slot in r11 + 1): slots and their misses are 16 bytes. */
static void slot_offset(struct emitter *e)
{
	static_assert(sizeof(struct page_slot) == 16 && sizeof(struct slot_misses) == 16, "shifts");
	em_mov_rr(e, 4, RCX, R11);
	em_rr(e, 4, 0xc1, 5, RCX);
	em_byte(e, 12);
	em_alu_imm(e, 4, 4, RCX, -16);
}

/* One more miss of the slot; at the last of its patience C decides (slot_missed()). */
static u8 *count_slot_miss(struct emitter *e)
{
	struct mref count = MREF_X(RSP, RCX, 1, 8 - 16 + OFF(slot_misses));
	u8 *stack, *enough;

	em_alu_imm(e, 4, 7, RCX, 16 * (SLOT_SITES + 1));
	stack = em_jcc(e, CC_B, 0);
	em_alu_mem_imm(e, 4, 7, count, SLOT_PATIENCE - 1);
	enough = em_jcc(e, CC_AE, 0);
	em_alu_mem_imm(e, 4, 0, count, 1);
	em_patch_rel32(e, stack, em_here(e));
	return enough;
}

static void three_regs(struct emitter *e, bool to_state)
{
	static const u8 regs[] = { RAX, RCX, RDX };

	for (unsigned n = 0; n < ARRAY_SIZE(regs); n++) {
		struct mref m = MREF(RSP, 8 + OFF(s.gpr[regs[n]]));

		if (to_state)
			em_store(e, 8, m, regs[n]);
		else
			em_load(e, 8, regs[n], m);
	}
}

/* What exec.c's fill_slot() does when the TLB has the page: see there. */
static void stub_slot(struct emitter *e, u64 slow)
{
	struct mref tag = { .base = RCX, .index = REG_NONE, .scale = 1, .gs = true,
			    .disp = (s32)CTX_SLOT_OFF(0) - 16 };
	struct mref host = tag;
	u8 *crosses, *miss, *enough, *lost;

	host.disp += 8;
	three_regs(e, true);
	em_mov_rr(e, 4, RAX, R10);
	em_alu_imm(e, 4, 4, RAX, PAGE_SIZE - 1);
	em_rr(e, 4, 0x0fb6, RCX, R11);
	em_rr(e, 4, 0x03, RAX, RCX);
	em_alu_imm(e, 4, 7, RAX, PAGE_SIZE);
	crosses = em_jcc(e, CC_A, 0);
	em_mov_rr(e, 8, RDX, R10);
	em_alu_imm(e, 8, 4, RDX, -(s32)PAGE_SIZE);
	tlb_offset(e);
	miss = jump_if_no_tag(e);
	slot_offset(e);
	enough = count_slot_miss(e);
	em_rm(e, 8, 0x8b, RAX,
	      (struct mref){ .base = RAX, .index = REG_NONE, .scale = 1, .gs = true,
			     .disp = (s32)offsetof(struct tlb_entry, host) });
	em_store(e, 8, host, RAX);
	em_mov_rr(e, 8, RAX, RDX);
	em_rm(e, 8, 0x87, RAX, tag); /* a full barrier */
	em_rr(e, 4, 0xc1, 5, RCX);
	em_byte(e, 4);
	em_alu_imm(e, 4, 5, RCX, 1);
	em_rm(e, 8, 0x0fab, RCX, MREF_GS(REG_NONE, (s32)offsetof(struct context, slot_used)));
	tlb_offset(e);
	lost = jump_if_no_tag(e);
	three_regs(e, false);
	em_byte(e, 0xc3);
	em_patch_rel32(e, lost, em_here(e));
	slot_offset(e);
	em_mov_imm(e, RAX, SLOT_NEVER);
	em_store(e, 8, tag, RAX);
	em_patch_rel32(e, crosses, em_here(e));
	em_patch_rel32(e, miss, em_here(e));
	em_patch_rel32(e, enough, em_here(e));
	three_regs(e, false);
	em_jmp(e, slow);
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

/* cpuid_leaf() of sys.c where the answer is known. */
static void stub_cpuid(struct emitter *e, u64 helper)
{
	static const s32 state[4] = { OFF(s.cr4), OFF(s.xcr0), OFF(s.msr.xss),
				      OFF(lapic.apic_base) };
	static const u8 regs[4] = { RAX, RBX, RCX, RDX };
	s32 memo = 8 + OFF(cpuid_memo);
	u8 *miss[7];

	static_assert(sizeof(struct cpuid_memo) == 64, "shifted by 6");
	em_store(e, 8, MREF(RSP, 8 + OFF(arg[3])), R11);
	em_mov_rr(e, 4, R10, RAX);
	em_rr(e, 4, 0xc1, 5, R10);
	em_byte(e, 28);
	em_rr(e, 4, 0x33, R10, RAX);
	em_lea(e, 4, R11, MREF_X(RCX, RCX, 4, 0));
	em_rr(e, 4, 0x33, R10, R11);
	em_alu_imm(e, 4, 4, R10, ARRAY_SIZE(((struct soft_cpu *)0)->cpuid_memo) - 1);
	em_rr(e, 4, 0xc1, 4, R10);
	em_byte(e, 6);
	em_alu_mem_imm(e, 1, 7, MREF_X(RSP, R10, 1, memo + (s32)offsetof(struct cpuid_memo, valid)),
		       0);
	miss[0] = em_jcc(e, CC_E, 0);
	em_rm(e, 4, 0x3b, RAX, MREF_X(RSP, R10, 1, memo + (s32)offsetof(struct cpuid_memo, leaf)));
	miss[1] = em_jcc(e, CC_NE, 0);
	em_rm(e, 4, 0x3b, RCX,
	      MREF_X(RSP, R10, 1, memo + (s32)offsetof(struct cpuid_memo, subleaf)));
	miss[2] = em_jcc(e, CC_NE, 0);
	for (s32 n = 0; n < 4; n++) {
		em_load(e, 8, R11, MREF(RSP, 8 + state[n]));
		if (n == 0) {
			em_rr(e, 8, 0x0fba, 5, R11); /* bts: 64-bit mode */
			em_byte(e, 63);
		}
		em_rm(e, 8, 0x3b, R11,
		      MREF_X(RSP, R10, 1, memo + (s32)offsetof(struct cpuid_memo, state) + 8 * n));
		miss[3 + n] = em_jcc(e, CC_NE, 0);
	}
	for (s32 n = 0; n < 4; n++)
		em_load(e, 4, regs[n],
			MREF_X(RSP, R10, 1,
			       memo + (s32)offsetof(struct cpuid_memo, regs) + 4 * n));
	em_byte(e, 0xc3);
	for (unsigned n = 0; n < ARRAY_SIZE(miss); n++)
		em_patch_rel32(e, miss[n], em_here(e));
	em_load(e, 8, R11, MREF(RSP, 8 + OFF(arg[3])));
	em_jmp(e, helper);
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
	s->cpuid = begin(e);
	stub_cpuid(e, s->helper);
	s->slow = begin(e);
	stub_slow(e);
	s->commit = begin(e);
	stub_commit(e);
	s->slot = begin(e);
	stub_slot(e, s->slow);
	s->segment = begin(e);
	stub_segment(e);
	s->protect = begin(e);
	stub_protect(e);
	s->unwind = begin(e);
	stub_unwind(e);
	begin(e);
	vm->cache.stubs_end = e->p;
}
