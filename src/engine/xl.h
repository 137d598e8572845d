/* SPDX-License-Identifier: MIT */
/*
 * A block in translation, and the verbs that translators of instructions use.
 * Internal to translate.c, checks.c and xl_*.c.
 *
 * Theory of operation: flags. At block boundaries the guest's arithmetic flags
 * are in cpu.flags. Inside a block they are where xl.fl says, and liveness
 * (xl.live_after) says which are still wanted. Whatever the translator emits for
 * itself (address checks, above all) may clobber EFLAGS; so before that comes
 * xl_free_flags(), and before an instruction that reads flags xl_want_flags().
 * A CMP or TEST of registers is not saved but emitted again (FL_REMAT).
 */
#ifndef NESTOR_ENGINE_XL_H
#define NESTOR_ENGINE_XL_H

#include "engine/cache.h"
#include "engine/softvm.h"

#define OFF(field) ((s32)offsetof(struct soft_cpu, field))

enum { XL_MAX_INSNS = 48, XL_MAX_COLD = 4 * XL_MAX_INSNS };

/* Scratch registers, and where guest RSP lives. */
enum { S0 = R10, S1 = R11, HOST_RSP = R9 };

enum { ADDRESS_KEPT = -1 };

enum flags_at {
	FL_SLOT,  /* in cpu.flags */
	FL_REG,	  /* in EFLAGS */
	FL_BOTH,
	FL_REMAT, /* nowhere: emit xl.remat again */
	FL_DEAD,  /* nowhere, and not wanted */
};

/* Code that is rarely run, emitted behind the block. */
struct cold {
	enum { COLD_SLOW, COLD_EXIT, COLD_CHAIN, COLD_POLL } kind;
	u8 *patch;	/* rel32 that leads here */
	u64 back;	/* COLD_SLOW: where to retry */
	u64 done;	/* COLD_SLOW: where S0 is the host address */
	u64 after;	/* COLD_SLOW: behind the instruction, a plain store; 0: it is none */
	u32 what;	/* COLD_SLOW: size, write */
	u8 insn;
	s8 stack;	/* COLD_SLOW: 0: the operand's address; n: guest register n - 1 + disp;
			 * ADDRESS_KEPT: in cpu.arg[2] */
	s32 disp;
	enum flags_at fl;
	s8 remat;
	gva_t target;	/* exits */
};

/* A check that several instructions share (checks.c): they access [@lo, @lo + @span)
 * from the same base and index. The first checks it all and leaves the host
 * address of @lo in cpu.addend[@keep]; the others just load that. */
struct share {
	bool used, leads, write;
	bool stack; /* through RSP, which may move inside the group */
	u8 keep;
	u8 span; /* bytes */
	u8 off;	 /* of this one's operand from @lo */
	s64 lo;	 /* with the registers as the first has them */
};

struct xl {
	struct soft_cpu *c;
	struct soft_vm *vm;
	struct code_cache *k;
	struct emitter *e;
	struct block *b;
	struct block_mode mode;
	gva_t rip;	   /* of the block */
	const u8 *bytes;   /* its guest bytes on the first page */
	unsigned avail;	   /* how many up to the page's end */
	struct insn insn[XL_MAX_INSNS];
	struct share share[XL_MAX_INSNS];
	u16 live_after[XL_MAX_INSNS], live_taken[XL_MAX_INSNS];
	unsigned nr, cur;
	bool loop;  /* jumps back to its own start: accesses get page slots */
	bool ended; /* the block's last jump has been emitted */
	enum flags_at fl;
	s8 remat; /* instruction to emit again, -1 none */
	s8 s0_keep; /* S0 holds cpu.addend[that]; -1: it does not */
	struct cold cold[XL_MAX_COLD];
	unsigned nr_cold;
	bool failed; /* out of room */
	u64 looked; /* 64-byte pieces of the page that lookahead() has read */
};

static inline bool xl_code64(const struct xl *x)
{
	return x->mode.bits & MODE_CODE64;
}

/* ---- Flags (xl_eflags.c) ---- */
u16 xl_flags_needed(const struct insn *i, u16 after); /* what @i reads when @after are wanted */
u16 xl_live_before(const struct xl *x, unsigned n);   /* wanted before instruction @n */
bool xl_can_remat(const struct insn *i);
void xl_remat(struct xl *x, unsigned n); /* emits comparison @n again; uses S1 */
void xl_save_flags(struct xl *x);	 /* EFLAGS to their slot; uses S1 */
bool xl_flags_live(const struct xl *x);	    /* wanted by the current instruction or later */
void xl_free_flags(struct xl *x);	    /* EFLAGS may be clobbered after this */
void xl_clobbered(struct xl *x);	    /* ... and this says that they were */
void xl_want_flags(struct xl *x);	    /* into EFLAGS; uses S1 */
void xl_flags_to_slot(struct xl *x, u16 live); /* before C or an exit; uses S1 */

/* ---- Guest registers ---- */
/* The host register that holds guest register @g, or REG_NONE for r9..r11. */
static inline u8 xl_host(unsigned g)
{
	return g == RSP ? HOST_RSP : g >= R9 && g <= R11 ? REG_NONE : (u8)g;
}
#define MREF_GPR(g) MREF(RSP, OFF(s.gpr) + 8 * (s32)(g))
void xl_get(struct xl *x, unsigned host, unsigned g); /* host = guest register, 64 bits */
void xl_put(struct xl *x, unsigned g, unsigned size, unsigned host);

/* ---- Memory (xl_mem.c) ---- */
/* checks.c: fills share[] for the block. */
void xl_plan_shares(struct xl *x);
/* S0 = the host address of the current instruction's memory operand, checked
 * for @size bytes. Flags must be free. */
void xl_operand(struct xl *x, unsigned size, bool write);
/* @m = the current instruction's operand by way of its shared check. */
void xl_shared_operand(struct xl *x, const struct share *g, struct mref *m);
/* S0: linear address in, host address out; S1 and EFLAGS are clobbered. Returns the
 * jump that is taken where the TLB does not have the page with the right. */
u8 *xl_tlb_lookup(struct xl *x, unsigned size, bool write);
/* The same for the linear address in S0. */
void xl_kept(struct xl *x, unsigned size, bool write);
/* S0 = host address of guest [@base + @disp], through the stack segment. */
void xl_stack(struct xl *x, unsigned base, s32 disp, unsigned size, bool write);
/* S0 = linear address; no check. */
void xl_address(struct xl *x, const struct insn *i, bool with_segment);
bool xl_segment_flat(const struct xl *x, unsigned seg, bool write);
/* The host's operand for guest [RSP + @disp], by way of a shared check if there is
 * one; else it frees the flags. */
struct mref xl_stack_operand(struct xl *x, s32 disp, unsigned size, bool write);
/* May stack instructions be translated here (64-bit, or flat 32-bit stack)? */
bool xl_stack_plain(const struct xl *x);

/* ---- Cold code, and calls of C ---- */
struct cold *xl_cold(struct xl *x, int kind, u8 *patch);
void xl_slow(struct xl *x, const struct cold *k); /* emits a COLD_SLOW */
struct helper_site *xl_site(struct xl *x, const struct insn *i, helper_fn *fn);

/* ---- Leaving ---- */
void xl_exit(struct xl *x, gva_t target);  /* direct; ends the block */
void xl_exit_indirect(struct xl *x);	   /* to RIP in S0; ends the block */
/* A side exit when condition @cc holds. Flags are in EFLAGS. */
void xl_side_exit(struct xl *x, unsigned cc, gva_t target);
/* The instruction by a C helper @fn; @ends: it always leaves the block. */
void xl_helper(struct xl *x, helper_fn *fn, bool ends);
/* The instruction by step.c, then a new block. */
void xl_step(struct xl *x);
/* Target of the current direct branch, wrapped as the mode does. */
gva_t xl_target(const struct xl *x);

/* A HOW_NATIVE instruction (xl_native.c). */
void xl_native(struct xl *x, const struct insn *i);
/* A plain store again, to the host address in S0. */
void xl_store_again(struct xl *x, const struct insn *i);
/* Re-emits @i, in the form that 64-bit mode has for it. */
void xl_emit_copy(struct emitter *e, const struct insn *i, const struct remap *r);

typedef void xl_fn(struct xl *x, const struct insn *i);
/* By row of insn.def (dispatch.c). */
extern helper_fn *const insn_helper[];
extern xl_fn *const insn_custom[];

#endif
