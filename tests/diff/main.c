// SPDX-License-Identifier: MIT
/*
 * Random programs on the host CPU and on the software engine: everything that a
 * program can see must be the same. See usage() and program.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "compare.h"
#include "engine/insn_table.h"
#include "engine/seg.h"
#include "guest.h"
#include "native.h"
#include "x86/regs.h"

static const char usage_text[] =
	"usage: diff [-t SECONDS] [-n PROGRAMS] [-s SEED] [-r SEED] [-m ITEMS] [-w WAY] [-3] [-v]\n"
	"       diff -i [-n TIMES] [-3]     every row by itself, without faults\n"
	"       diff -c [-n TIMES]          what once went wrong (cases.c)\n"
	"       diff -b                     a self-test: a wrong flag in a row must be found\n"
	"  -s    the first program's seed; those that follow count up\n"
	"  -r    one program only, shown\n"
	"  -w    only this way: 0 blocks, 1 steps, 2 code, 3 device\n"
	"  -3    32-bit code\n"
	"  -k    goes on after a failure (up to 20)\n";

struct run {
	struct program_options o;
	u64 first, nr;
	unsigned seconds, max_failures;
	int way;
	bool replay, verbose;

	u64 done, failed, faults, stale, stale_steps, hung, by_vector[32];
};

static struct guest guest;
static struct native *native;
static struct outcome guest_outcome;

/* ---- One program ---- */

static void run_native(struct program *p)
{
	program_assemble(p, native->code);
	native_execute(native);
	outcome_canonical(&native->outcome);
}

static enum compare run_guest(struct program *p, enum way way, FILE *out)
{
	guest_run(&guest, p, native->code, way, &guest_outcome);
	outcome_canonical(&guest_outcome);
	return outcome_compare(&native->outcome, &guest_outcome, out);
}

/* Code that changed itself came to an instruction that programs do not have, or not with faults:
 * Linux or a hypervisor may stand in for it (SLDT under UMIP; INT1 leaves RIP at itself). */
static bool ended_at_system_insn(const struct program *p, const struct outcome *o)
{
	u64 at = o->r.rip - program_code_base(p);
	struct insn i;

	if (!p->writable || at + INSN_MAX > CODE_SIZE ||
	    insn_decode(o->code + at, INSN_MAX, o->r.rip,
			(struct insn_mode){ .code64 = !p->code32, .code32 = p->code32 }, &i) != DECODE_OK)
		return false;
	return i.how == HOW_HELPER && o->vector != X86_BP &&
	       memcmp(o->code + at, native->code + at, i.len);
}

/* Of a string element by FS or GS, see below. */
static bool string_offset(const struct insn *i, const struct outcome *o)
{
	u64 off = o->r.gpr[RSI];

	return i->mem.seg >= SEG_FS && (i->rules & RULE_REP) && i->addrsize == 8 && o->vector == X86_GP &&
	       (!addr_canonical(off) || !addr_canonical(off + 7));
}

/* What AMD hosts do and the guest's Intel processor does not: #GP when an offset from FS or GS is not
 * canonical though the sum is; a bit in MXCSR for misaligned operands; a MASKMOVQ that faults has
 * entered MMX state, and faults for bytes that its mask leaves out. Both may trap between two
 * elements of a gather. */
static bool only_on_amd(const struct program *p, const struct outcome *o)
{
	struct insn i;

	if (*(const u32 *)(const void *)(o->r.xsave + 24) & 0x20000)
		return true;
	if (ended_at_system_insn(p, o))
		return true;
	for (unsigned n = 0; n < p->nr; n++) {
		u64 off, base;

		if (p->item[n].removed || p->at[n] != o->r.rip ||
		    insn_decode(p->item[n].bytes, p->item[n].len, o->r.rip,
				(struct insn_mode){ .code64 = !p->code32, .code32 = p->code32 }, &i) !=
			    DECODE_OK)
			continue;
		if (!p->code32 && string_offset(&i, o))
			return true;
		if (i.map == MAP_0F && i.opcode == 0xf7 && (i.rules & RULE_MMX))
			return true;
		if (!i.has_mem)
			continue;
		if (i.mem.vsib && o->vector == X86_DB)
			return true;
		if (p->code32 || i.mem.seg < SEG_FS || i.mem.vsib)
			continue;
		off = (u64)i.mem.disp + (i.mem.rip_relative ? insn_next(&i) : 0) +
		      (i.mem.base == REG_NONE ? 0 : o->r.gpr[i.mem.base]) +
		      (i.mem.index == REG_NONE ? 0 : o->r.gpr[i.mem.index] * i.mem.scale);
		base = i.mem.seg == SEG_FS ? p->start.fs_base : p->start.gs_base;
		if (o->vector == X86_GP && addr_canonical(off + base) &&
		    (!addr_canonical(off) || !addr_canonical(off + MAX(i.mem.size, 1u) - 1)))
			return true;
	}
	return false;
}

/* A repeated string instruction has written to itself: one that is stepped is read anew for each
 * element, as on a processor. */
static bool changed_repeat(const struct program *p)
{
	for (unsigned n = 0; n < p->nr && p->writable; n++) {
		u64 at = p->at[n] - program_code_base(p);
		struct insn i;

		if (p->item[n].removed || at + p->item[n].len > CODE_SIZE ||
		    !memcmp(native->code + at, native->outcome.code + at, p->item[n].len))
			continue;
		if (insn_decode(p->item[n].bytes, p->item[n].len, 0,
				(struct insn_mode){ .code64 = !p->code32, .code32 = p->code32 }, &i) ==
			    DECODE_OK && i.rep)
			return true;
	}
	return false;
}

static bool skips(const struct program *p, enum way way)
{
	return native->outcome.hung || only_on_amd(p, &native->outcome) ||
	       (way == WAY_STEPS && changed_repeat(p));
}

static bool fails(struct program *p, enum way way)
{
	run_native(p);
	return !skips(p, way) && run_guest(p, way, NULL) == DIFFERENT;
}

/* Takes away what can go while the program still fails. */
static void minimise(struct program *p, enum way way)
{
	for (bool again = true; again;) {
		again = false;
		for (unsigned n = p->nr; n-- > 0;) {
			if (p->item[n].removed)
				continue;
			p->item[n].removed = true;
			if (fails(p, way))
				again = true;
			else
				p->item[n].removed = false;
		}
	}
}

static void print_segments(const struct program *p)
{
	static const char names[NR_SEGS][3] = { "es", "cs", "ss", "ds", "fs", "gs" };

	for (unsigned n = 0; p->segmented && n < NR_SEGS; n++)
		printf("  %s %x + %x%s%s%s", names[n], p->seg[n].base, p->seg[n].limit,
		       p->seg[n].read_only ? " ro" : "", p->seg[n].down ? " down" : "",
		       p->seg[n].null ? " null" : "");
	if (p->segmented)
		printf("\n");
}

static void print_start(const struct regs *r)
{
	for (unsigned n = 0; n < 16; n += 4)
		printf("  r%-2u %016llx %016llx %016llx %016llx\n", n, (unsigned long long)r->gpr[n],
		       (unsigned long long)r->gpr[n + 1], (unsigned long long)r->gpr[n + 2],
		       (unsigned long long)r->gpr[n + 3]);
	printf("  rflags %llx fs %llx gs %llx mxcsr %x fcw %x fsw %x\n",
	       (unsigned long long)r->rflags, (unsigned long long)r->fs_base,
	       (unsigned long long)r->gs_base, *(const u32 *)(const void *)(r->xsave + 24),
	       *(const u16 *)(const void *)r->xsave, *(const u16 *)(const void *)(r->xsave + 2));
}

/* The instruction at the end, if it is none of the items. */
static void print_changed(const struct program *p)
{
	u64 at = native->outcome.r.rip - program_code_base(p);
	char text[128] = "none";
	struct insn i;

	if (at + INSN_MAX > CODE_SIZE || !memcmp(native->outcome.code, native->code, CODE_SIZE))
		return;
	if (insn_decode(native->outcome.code + at, INSN_MAX, native->outcome.r.rip,
			(struct insn_mode){ .code64 = !p->code32, .code32 = p->code32 }, &i) == DECODE_OK)
		insn_format(&i, text, sizeof(text));
	printf("  the code has changed; at RIP:");
	for (unsigned n = 0; n < INSN_MAX; n++)
		printf(" %02x", native->outcome.code[at + n]);
	printf("  %s\n", text);
}

static void report(struct run *t, struct program *p, enum way way)
{
	printf("FAIL seed %llu way %u (%s)%s: replay with -r %llu -m %u%s%s\n", (unsigned long long)p->seed,
	       way, way_names[way], t->o.row >= 0 ? " of a row" : "", (unsigned long long)p->seed,
	       t->o.max_items, p->code32 ? " -3" : "", t->o.row >= 0 ? " -i" : "");
	minimise(p, way);
	if (!fails(p, way))
		printf("  (fails only after what ran before it)\n");
	print_start(&p->start);
	print_segments(p);
	program_print(p);
	run_guest(p, way, stdout);
	print_changed(p);
	fflush(stdout);
}

/* All ways of @p; false when one differs. */
static bool test_program(struct run *t, struct program *p)
{
	bool ok = true;

	run_native(p);
	t->done++;
	/* A POPF of anything turned alignment checks on: see start_gprs(). */
	if (native->outcome.hung || native->outcome.vector > 31 ||
	    (native->outcome.vector == X86_AC && !(p->start.rflags & RFLAGS_AC)) ||
	    only_on_amd(p, &native->outcome)) {
		t->hung++;
		return true;
	}
	t->by_vector[native->outcome.vector]++;
	t->faults += native->outcome.vector != 3;
	for (unsigned way = 0; way < NR_WAYS && ok; way++) {
		enum compare r;

		if ((t->way >= 0 && (unsigned)t->way != way) || skips(p, way))
			continue;
		r = run_guest(p, way, t->verbose ? stdout : NULL);
		t->stale += r == STALE_FLAGS && way == WAY_BLOCKS;
		t->stale_steps += r == STALE_FLAGS && way == WAY_STEPS;
		ok = r != DIFFERENT && !(r == STALE_FLAGS && way == WAY_STEPS);
		if (!ok)
			report(t, p, way);
	}
	return ok;
}

/* ---- Many ---- */

static void run_random(struct run *t)
{
	time_t end = time(NULL) + t->seconds;

	for (u64 n = 0; n < t->nr && t->failed < t->max_failures; n++) {
		if (t->seconds && !(n & 15) && time(NULL) >= end)
			break;
		if (program_make(&native->program, t->first + n, &t->o))
			t->failed += !test_program(t, &native->program);
	}
}

static void run_rows(struct run *t)
{
	unsigned rows = 0, never = 0;

	t->o.calm = true;
	for (unsigned row = 0; row < insn_nr_rows() && t->failed < t->max_failures; row++) {
		bool ended = false;

		if (!program_row_testable(row, t->o.code32))
			continue;
		rows++;
		t->o.row = (int)row;
		for (u64 n = 0; n < t->nr; n++) {
			u64 before = t->by_vector[3];

			if (!program_make(&native->program, t->first + n + (u64)row * 1000003, &t->o))
				break;
			t->failed += !test_program(t, &native->program);
			ended |= t->by_vector[3] != before;
		}
		never += !ended;
		if (!ended)
			printf("%s %s %02x never ran to its end\n", insn_row_name(row),
			       insn_row_map(row), insn_row_opcode(row));
	}
	printf("%u rows, %u of them never without a fault\n", rows, never);
}

static void run_cases(struct run *t)
{
	const char *name = "";

	for (unsigned n = 0; name; n++) {
		for (u64 k = 0; k < t->nr; k++) {
			name = program_case(&native->program, n, t->first + k, t->o.model);
			if (!name)
				return;
			if (test_program(t, &native->program))
				continue;
			printf("  that was: %s\n", name);
			t->failed++;
			break;
		}
	}
}

/* ---- The self-test ---- */

/* INC says that it writes CF, too: who set it before seems dead. */
static void break_a_row(void)
{
	for (unsigned n = 0; n < insn_nr_rows(); n++)
		if (!strcmp(insn_row_name(insn_plans[n].row), "INC"))
			insn_plans[n].flags |= (u32)FLAG_CF << 16;
}

static void print_sums(const struct run *t)
{
	printf("%llu programs, %llu ended by a fault, %llu with other flags at it in a block, %llu hung:",
	       (unsigned long long)t->done, (unsigned long long)t->faults,
	       (unsigned long long)t->stale, (unsigned long long)t->hung);
	for (unsigned n = 0; n < 32; n++)
		if (t->by_vector[n])
			printf(" #%u %llu", n, (unsigned long long)t->by_vector[n]);
	printf("\n");
}

static int run(struct run *t, int kind)
{
	bool self_test = kind == 'b';

	native = native_create();
	if (!native || guest_create(&guest)) {
		printf("cannot map the programs' pages\n");
		return 77;
	}
	t->o.model = &guest.sg.model;
	program_init(t->o.model);
	if (self_test)
		break_a_row();
	if (kind == 'i')
		run_rows(t);
	else if (kind == 'c')
		run_cases(t);
	else
		run_random(t);
	print_sums(t);
	if (self_test) {
		printf("%s\n", t->failed ? "1 passed, 0 failed" : "0 passed, 1 failed");
		return t->failed == 0;
	}
	printf("%llu passed, %llu failed\n", (unsigned long long)(t->done - t->failed),
	       (unsigned long long)t->failed);
	return t->failed != 0;
}

int main(int argc, char **argv)
{
	struct run t = { .o = { .row = -1, .max_items = 40 }, .first = 1, .nr = ~0ull, .way = -1,
			 .max_failures = 1 };
	int opt, kind = 0;

	while ((opt = getopt(argc, argv, "t:n:s:r:m:w:3vikbc")) != -1) {
		switch (opt) {
		case 't':
			t.seconds = (unsigned)atoi(optarg);
			break;
		case 'n':
			t.nr = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			t.replay = t.verbose = true;
			t.nr = 1;
			__attribute__((fallthrough));
		case 's':
			t.first = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			t.o.max_items = (unsigned)atoi(optarg);
			break;
		case 'w':
			t.way = atoi(optarg);
			break;
		case '3':
			t.o.code32 = true;
			break;
		case 'v':
			t.verbose = true;
			break;
		case 'i':
		case 'c':
			kind = opt;
			if (t.nr == ~0ull)
				t.nr = opt == 'i' ? 4 : 32;
			break;
		case 'k':
			t.max_failures = 20;
			break;
		case 'b':
			kind = opt;
			t.nr = 20000;
			break;
		default:
			fputs(usage_text, stderr);
			return 2;
		}
	}
	return run(&t, kind);
}
