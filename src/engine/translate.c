// SPDX-License-Identifier: MIT
/*
 * The translator: a block of guest instructions becomes host code. Instructions
 * are copied (xl_native.c), have a translator of their own (xl_*.c), or become
 * a call of a C helper. xl.h describes what they share.
 */
#include "engine/debug.h"
#include "engine/tlb.h"
#include "engine/xl.h"

/* ---- Guest registers ---- */

void xl_get(struct xl *x, unsigned host, unsigned g)
{
	u8 h = xl_host(g);

	if (h == REG_NONE)
		em_load(x->e, 8, host, MREF_GPR(g));
	else if (h != host)
		em_mov_rr(x->e, 8, host, h);
}

void xl_put(struct xl *x, unsigned g, unsigned size, unsigned host)
{
	u8 h = xl_host(g);

	if (h != REG_NONE) {
		em_rr(x->e, size, size == 1 ? 0x88 : 0x89, host, h);
		return;
	}
	if (size == 4) {
		em_mov_rr(x->e, 4, host, host);
		size = 8;
	}
	em_store(x->e, size, MREF_GPR(g), host);
}

/* ---- Cold code, and calls of C ---- */

struct cold *xl_cold(struct xl *x, int kind, u8 *patch)
{
	struct cold *k;

	if (x->nr_cold == XL_MAX_COLD) {
		x->failed = true;
		return &x->cold[0];
	}
	k = &x->cold[x->nr_cold++];
	*k = (struct cold){ .patch = patch, .insn = (u8)x->cur, .fl = x->fl, .remat = x->remat };
	k->kind = kind;
	return k;
}

struct helper_site *xl_site(struct xl *x, const struct insn *i, helper_fn *fn)
{
	struct helper_site *s = cache_meta(x->k, sizeof(*s));

	if (!s) {
		x->failed = true;
		return NULL;
	}
	s->insn = *i;
	s->fn = fn;
	return s;
}

/* ---- Leaving ---- */

static bool same_page(const struct xl *x, gva_t rip)
{
	u64 base = x->mode.cs_base;

	return (((rip + base) ^ (x->rip + base)) & PAGE_MASK) == 0;
}

static void emit_jump_cache(struct xl *x, gva_t target)
{
	struct emitter *e = x->e;

	em_mov_imm(e, S0, target);
	em_load(e, 4, S1, MREF_GS(REG_NONE, (s32)(CTX_JUMP_OFF + 4 * (target & (JUMP_SIZE - 1)))));
	em_jmp_reg(e, S1);
}

void xl_exit(struct xl *x, gva_t target)
{
	x->ended = true;
	if (same_page(x, target)) {
		struct cold *k = xl_cold(x, COLD_CHAIN, em_jmp_atomic(x->e, 0));

		k->target = target;
	} else {
		emit_jump_cache(x, target);
	}
}

void xl_exit_indirect(struct xl *x)
{
	struct emitter *e = x->e;

	x->ended = true;
	if (xl_code64(x))
		em_store_imm(e, 4, MREF(RSP, OFF(branch_at)), (s32)em_here(e));
	em_rr(e, 4, 0x0fb7, S1, S0);
	em_load(e, 4, S1, (struct mref){ .base = REG_NONE, .index = S1, .scale = 4, .gs = true,
					 .disp = (s32)CTX_JUMP_OFF });
	em_jmp_reg(e, S1);
}

void xl_side_exit(struct xl *x, unsigned cc, gva_t target)
{
	bool save = x->live_taken[x->cur] && (x->fl == FL_REG || x->fl == FL_REMAT);
	bool chain = same_page(x, target) && !save;
	u8 *at = em_jcc_atomic(x->e, cc, 0);
	struct cold *k = xl_cold(x, chain ? COLD_CHAIN : COLD_EXIT, at);

	k->target = target;
	if (!save)
		k->fl = FL_DEAD;
}

gva_t xl_target(const struct xl *x)
{
	const struct insn *i = &x->insn[x->cur];
	gva_t t = insn_next(i) + i->imm;

	if (xl_code64(x))
		return t;
	return i->opsize == 2 ? (u16)t : (u32)t;
}

void xl_helper(struct xl *x, helper_fn *fn, bool ends)
{
	struct helper_site *s = xl_site(x, &x->insn[x->cur], fn);

	xl_flags_to_slot(x, FLAGS_ARITH);
	em_mov_imm(x->e, S1, (u64)s);
	em_call(x->e, x->k->stub.helper);
	x->fl = FL_SLOT;
	x->remat = -1;
	if (ends)
		x->ended = true;
}

static enum helper_result helper_step(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	world_leave(c);
	step_insn(c);
	return HELPER_END;
}

void xl_step(struct xl *x)
{
	xl_helper(x, helper_step, true);
}

/* ---- One instruction ---- */

static bool fpu_allowed(u64 m, const struct insn *i, unsigned *vector)
{
	*vector = X86_UD;
	if (i->rules & RULE_AVX512)
		return (m & MODE_AVX512) && ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_AVX)
		return (m & MODE_AVX) && !(m & MODE_REAL) && ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_SSE)
		return (m & MODE_OSFXSR) && !(m & MODE_FPU_EM) &&
		       ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_MMX)
		return !(m & MODE_FPU_EM) && ((*vector = X86_NM), !(m & MODE_FPU_TS));
	if (i->rules & RULE_X87) {
		bool wait = i->map == MAP_1B && i->opcode == 0x9b;

		*vector = X86_NM;
		return wait ? (m & (MODE_FPU_TS | MODE_FPU_MP)) != (MODE_FPU_TS | MODE_FPU_MP) :
			      !(m & (MODE_FPU_EM | MODE_FPU_TS));
	}
	return true;
}

static enum helper_result helper_raise_ud(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_UD, 0);
}

static enum helper_result helper_raise_nm(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_NM, 0);
}

static enum helper_result helper_raise_gp(struct soft_cpu *c, const struct insn *i)
{
	(void)i;
	cpu_raise(c, X86_GP, 0);
}

helper_fn *insn_refused(const struct soft_cpu *c, const struct insn *i, const struct block_mode *m)
{
	unsigned vector;

	if (i->how == HOW_UD)
		return helper_raise_ud;
	if (i->gate < NR_FEATURES && !c->vm->env.model->has[i->gate])
		return helper_raise_ud;
	if (i->gate2 < NR_FEATURES && !c->vm->env.model->has[i->gate2])
		return helper_raise_ud;
	if ((i->rules & RULE_PROT) && (m->bits & MODE_REAL))
		return helper_raise_ud;
	if (!fpu_allowed(m->bits, i, &vector))
		return vector == X86_NM ? helper_raise_nm : helper_raise_ud;
	if ((i->rules & RULE_CPL0) && (m->bits >> MODE_CPL_SHIFT & 3) && i->how != HOW_HELPER)
		return helper_raise_gp;
	return NULL;
}

/* A guest register that the re-emitted comparison needs is about to change. */
static void keep_remat(struct xl *x, const struct insn *i)
{
	if (x->remat < 0 || !(i->gpr_written & x->insn[x->remat].gpr_read))
		return;
	if (x->fl == FL_REMAT) {
		if (xl_flags_live(x))
			xl_flags_to_slot(x, FLAGS_ARITH);
		else
			x->fl = FL_DEAD;
	}
	x->remat = -1;
}

static void translate_insn(struct xl *x, const struct insn *i)
{
	helper_fn *refused = insn_refused(x->c, i, &x->mode);

	if (unlikely(x->vm->rows))
		x->vm->rows[i->row] = 1;
	if (refused) {
		xl_helper(x, refused, true);
		x->b->insns_by[2]++;
		return;
	}
	/* A high-byte operand may alias a register of the comparison. */
	keep_remat(x, i);
	switch (i->how) {
	case HOW_NATIVE:
		xl_native(x, i);
		x->b->insns_by[0]++;
		break;
	case HOW_CUSTOM:
		if (!x->share[x->cur].used)
			x->s0_keep = -1;
		insn_custom[i->row](x, i);
		x->b->insns_by[1]++;
		break;
	default:
		x->s0_keep = -1;
		xl_helper(x, insn_helper[i->row], i->rules & RULE_ENDS_BLOCK);
		x->b->insns_by[2]++;
	}
}

/* ---- Reading the guest's instructions ---- */

static struct insn_mode decode_mode(const struct xl *x)
{
	return insn_mode_of(x->c, x->mode.bits);
}

static bool is_jcc(const struct insn *i)
{
	return i->how == HOW_CUSTOM && i->nr_ops && i->op[0].kind == OPND_REL &&
	       ((i->map == MAP_1B && (i->opcode & 0xf0) == 0x70) ||
		(i->map == MAP_0F && (i->opcode & 0xf0) == 0x80));
}

/* Which flags the code at @rip may want; all, unless it is near and plain. */
static u16 lookahead(struct xl *x, gva_t rip)
{
	u16 open = FLAGS_ARITH, want = 0;

	for (unsigned n = 0; n < 6 && open; n++) {
		s64 off = (s64)(rip - x->rip);
		struct insn i;

		if (!same_page(x, rip) || x->b->pa2 ||
		    insn_decode(x->bytes + off, (unsigned)(x->avail - off), rip, decode_mode(x), &i) !=
			    DECODE_OK)
			break;
		x->looked |= smc_pieces(x->b->pa + (u64)off, i.len);
		if (i.how == HOW_HELPER || i.how == HOW_UD)
			break;
		want |= open & i.flags_read;
		open &= (u16)~i.flags_written;
		if (i.rules & RULE_ENDS_BLOCK || is_jcc(&i))
			break;
		rip = insn_next(&i);
	}
	return want | open;
}

static void read_insns(struct xl *x)
{
	gva_t rip = x->rip;
	unsigned off = 0;

	while (x->nr < XL_MAX_INSNS && off < x->avail) {
		if (x->mode.bits & MODE_DEBUG && off && debug_breakpoint(x->c, rip))
			return;
		struct insn *i = &x->insn[x->nr];
		enum decode_result r = insn_decode(x->bytes + off, MIN(x->avail - off, INSN_MAX),
						   rip, decode_mode(x), i);

		if (r == DECODE_UD || r == DECODE_TOO_LONG) {
			*i = (struct insn){ .rip = rip, .how = HOW_UD, .rules = RULE_ENDS_BLOCK,
					    .gate = NR_FEATURES, .gate2 = NR_FEATURES };
			i->len = 1;
			if (r == DECODE_TOO_LONG)
				return; /* step.c raises #GP */
		} else if (r != DECODE_OK) {
			return;
		}
		x->nr++;
		off += i->len;
		rip += i->len;
		if (i->rules & RULE_ENDS_BLOCK && !is_jcc(i))
			return;
	}
}

/* JMP and CALL rel: the one successor is known. */
static bool is_direct(const struct insn *i)
{
	return i->how == HOW_CUSTOM && i->map == MAP_1B &&
	       (i->opcode == 0xe8 || i->opcode == 0xe9 || i->opcode == 0xeb);
}

/* Does the block jump back to its own start? */
static bool is_loop(struct xl *x)
{
	for (x->cur = 0; x->cur < x->nr; x->cur++) {
		const struct insn *i = &x->insn[x->cur];

		if ((is_jcc(i) || is_direct(i)) && i->opcode != 0xe8 && xl_target(x) == x->rip)
			return true;
	}
	return false;
}

static void find_live(struct xl *x)
{
	const struct insn *last = &x->insn[x->nr - 1];
	u16 live = FLAGS_ARITH;

	x->cur = x->nr - 1;
	if (!(last->rules & RULE_ENDS_BLOCK) || is_jcc(last))
		live = lookahead(x, insn_next(last));
	else if (is_direct(last))
		live = lookahead(x, xl_target(x));
	for (unsigned n = x->nr; n-- > 0;) {
		x->cur = n;
		x->live_taken[n] = FLAGS_ARITH;
		if (is_jcc(&x->insn[n])) {
			x->live_taken[n] = lookahead(x, xl_target(x));
			live |= x->live_taken[n];
		}
		x->live_after[n] = live;
		live = xl_live_before(x, n);
	}
}

/* ---- The block ---- */

static void emit_prologue(struct xl *x)
{
	struct emitter *e = x->e;
	struct block *b = x->b;

	while ((u64)e->p & 15)
		em_byte(e, 0xcc);
	/* The compared RIP must be 4-aligned: invalidation changes it. */
	b->entry = em_here(e);
	if ((s64)x->rip == (s32)x->rip) {
		em_byte(e, 0x90);
		b->entry = em_here(e);
		em_byte(e, 0x49);
		em_byte(e, 0x81);
		em_byte(e, 0xfa);
		b->verify = e->p;
		em_u32(e, (u32)x->rip);
	} else {
		em_byte(e, 0x66);
		em_byte(e, 0x90);
		b->entry = em_here(e);
		em_byte(e, 0x49);
		em_byte(e, 0xbb);
		b->verify = e->p;
		em_u64(e, x->rip);
		em_rr(e, 8, 0x3b, S0, S1);
	}
	em_jcc(e, CC_NE, x->k->stub.jump_miss);
	b->chain_back = em_here(e);
	em_alu_mem_imm(e, 4, 7, MREF(RSP, OFF(request)), 0);
	xl_cold(x, COLD_POLL, em_jcc(e, CC_NE, 0))->target = x->rip;
	b->body = b->chain = em_here(e);
	if (b->count) {
		em_mov_imm(e, S0, (u64)b->count);
		em_load(e, 8, S1, MREF(S0, 0));
		em_lea(e, 8, S1, MREF(S1, 1));
		em_store(e, 8, MREF(S0, 0), S1);
	}
}

static void emit_cold(struct xl *x, const struct cold *k)
{
	struct emitter *e = x->e;

	em_patch_rel32(e, k->patch, em_here(e));
	switch (k->kind) {
	case COLD_SLOW:
		xl_slow(x, k);
		break;
	case COLD_POLL:
		em_mov_imm(e, S0, k->target);
		em_jmp(e, x->k->stub.leave);
		break;
	case COLD_EXIT:
		if (k->fl == FL_REMAT)
			xl_remat(x, (unsigned)k->remat);
		if (k->fl != FL_DEAD)
			xl_save_flags(x);
		if (!same_page(x, k->target)) {
			emit_jump_cache(x, k->target);
			break;
		}
		{
			u8 *at = em_jmp_atomic(e, 0);
			struct cold chain = { .kind = COLD_CHAIN, .patch = at, .insn = k->insn,
					      .target = k->target };

			emit_cold(x, &chain);
		}
		break;
	case COLD_CHAIN:
		em_mov_imm(e, S0, k->target);
		em_call(e, x->k->stub.chain);
		em_u32(e, (u32)((u64)k->patch + (u64)e->delta) |
				  (k->target <= x->insn[k->insn].rip ? 1u << 31 : 0));
		break;
	}
}

static void emit_block(struct xl *x)
{
	struct block *b = x->b;
	const struct insn *last = &x->insn[x->nr - 1];

	emit_prologue(x);
	x->fl = FL_SLOT;
	x->remat = x->s0_keep = -1;
	for (x->cur = 0; x->cur < x->nr && !x->ended; x->cur++) {
		const struct insn *i = &x->insn[x->cur];

		b->sites[x->cur] = (struct site){ .host = (u32)(em_here(x->e) - b->entry),
						  .guest = (u16)(i->rip - x->rip) };
		translate_insn(x, i);
	}
	if (!x->ended) {
		gva_t next = insn_next(last);

		x->cur = x->nr - 1;
		xl_flags_to_slot(x, x->live_after[x->cur]);
		xl_exit(x, xl_code64(x) ? next : (u32)next);
	}
	for (unsigned n = 0; n < x->nr_cold; n++)
		emit_cold(x, &x->cold[n]);
	if (b->pa2) {
		b->chain = b->chain_back = em_here(x->e);
		emit_jump_cache(x, x->rip);
	}
	b->end = em_here(x->e);
}

/* One instruction that runs on into the page at @pa2. */
static bool read_crossing(struct xl *x, gpa_t pa2, u8 buf[INSN_MAX])
{
	const u8 *second = phys_host(x->c, pa2, INSN_MAX);
	struct code_page *p;

	if (!second)
		return false;
	p = smc_make_code(x->vm, x->c, pa2);
	if (!p) {
		x->k->em.full = true;
		return false;
	}
	atomic_fetch_or(&p->map, 1); /* before it is read: see translate_locked() */
	__builtin_memcpy(buf, x->bytes, x->avail);
	__builtin_memcpy(buf + x->avail, second, INSN_MAX - x->avail);
	x->bytes = buf;
	x->nr = 1;
	return insn_decode(buf, INSN_MAX, x->rip, decode_mode(x), &x->insn[0]) == DECODE_OK &&
	       x->insn[0].len > x->avail;
}

static struct block *new_block(struct xl *x, gpa_t pa, gpa_t pa2)
{
	struct code_cache *k = x->k;
	struct block *b = cache_meta(k, sizeof(*b));
	struct site *sites = cache_meta(k, x->nr * sizeof(*sites));
	u64 *count = x->mode.bits & MODE_STATS ? cache_meta(k, sizeof(*count)) : NULL;

	if (!b || !sites || k->nr_blocks >= k->max_blocks)
		return NULL;
	*b = (struct block){ .pa = pa, .pa2 = pa2, .rip = x->rip, .mode = x->mode, .sites = sites,
			     .count = count, .nr_insns = (u16)x->nr,
			     .size = (u16)(insn_next(&x->insn[x->nr - 1]) - x->rip) };
	if (count)
		*count = 0;
	return b;
}

static struct block *translate_page(struct xl *x, gpa_t pa, gpa_t pa2)
{
	struct code_cache *k = x->k;
	u8 *start = k->em.p;
	u8 buf[INSN_MAX];

	if (pa2 ? !read_crossing(x, pa2, buf) : (read_insns(x), x->nr == 0))
		return NULL;
	x->b = new_block(x, pa, pa2);
	if (!x->b) {
		k->em.full = true;
		return NULL;
	}
	x->loop = is_loop(x);
	find_live(x);
	xl_plan_shares(x);
	emit_block(x);
	if (k->em.full)
		return NULL;
	if (x->failed) {
		k->em.p = start;
		return NULL;
	}
	cache_add(k, x->b);
	x->c->stats.translations++;
	return x->b;
}

/* @pa2: the second page of a crossing first instruction, else 0. From before the
 * first byte is read until the block is known, all of its page counts as read: who
 * writes there meanwhile finds that, and waits for the lock to throw it away. */
static struct block *translate_locked(struct xl *x, gpa_t pa, gpa_t pa2)
{
	struct code_page *p = smc_make_code(x->vm, x->c, pa);
	struct block *b;
	u64 map;

	if (!p) {
		x->k->em.full = true;
		return NULL;
	}
	map = atomic_exchange(&p->map, ~0ull);
	x->looked = 0;
	b = translate_page(x, pa, pa2);
	if (b)
		map |= x->looked | smc_pieces(pa, MIN(b->size, PAGE_SIZE - (pa & 4095)));
	atomic_store(&p->map, map);
	return b;
}

/* The second page's address when the instruction at @linear crosses into it,
 * else 0. Before the lock is taken, since the walk may fault. */
static gpa_t second_page(struct soft_cpu *c, gva_t linear, const u8 *bytes)
{
	u64 m = c->ctx->key.mode.bits;
	unsigned avail = PAGE_SIZE - (unsigned)(linear & 4095);
	struct insn_mode mode = insn_mode_of(c, m);
	struct insn i;

	if (avail >= INSN_MAX || insn_decode(bytes, avail, c->s.rip, mode, &i) != DECODE_MORE)
		return 0;
	return tlb_fetch(c, (linear & PAGE_MASK) + PAGE_SIZE) & PAGE_MASK;
}

struct block *translate_block(struct soft_cpu *c, gva_t linear, gpa_t pa)
{
	struct code_cache *k = &c->vm->cache;
	static __thread struct xl x; /* too large for a vCPU's stack */
	const u8 *bytes = phys_host(c, pa, 1);
	struct block *b;
	gpa_t pa2;

	if (!bytes)
		return NULL;
	pa2 = second_page(c, linear, bytes);
	pthread_mutex_lock(&k->lock);
	b = cache_find(k, pa, c->s.rip, &c->ctx->key.mode);
	if (!b && !k->em.full) {
		x.c = c;
		x.vm = c->vm;
		x.k = k;
		x.e = &k->em;
		x.mode = c->ctx->key.mode;
		x.rip = c->s.rip;
		x.bytes = bytes;
		x.avail = PAGE_SIZE - (unsigned)(pa & 4095);
		x.nr = x.nr_cold = 0;
		x.ended = x.failed = false;
		b = translate_locked(&x, pa, pa2);
	}
	pthread_mutex_unlock(&k->lock);
	return b;
}
