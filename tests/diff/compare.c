// SPDX-License-Identifier: MIT
#include "compare.h"

#include <string.h>

#include "x86/regs.h"

/* Offsets in the XSAVE area. */
enum { X_FOP = 6, X_MXCSR = 24, X_ST = 32, X_XMM = 160, X_END = 416, X_BV = 512, X_YMM = 576 };

void outcome_canonical(struct outcome *o)
{
	u8 *x = o->r.xsave;

	if (!(x[X_BV] & 1)) {
		memset(x, 0, X_MXCSR);
		x[0] = 0x7f;
		x[1] = 3;
		memset(x + X_ST, 0, X_XMM - X_ST);
	}
	if (!(x[X_BV] & 2))
		memset(x + X_XMM, 0, X_END - X_XMM);
	if (!(x[X_BV] & 4))
		memset(x + X_YMM, 0, XSAVE_USED - X_YMM);
	memset(x + X_FOP, 0, X_MXCSR - X_FOP); /* the pointers */
	memset(x + X_MXCSR + 4, 0, 4);
	for (unsigned n = 0; n < 8; n++)
		memset(x + X_ST + 16 * n + 10, 0, 6);
	memset(x + X_END, 0, X_YMM - X_END);
}

struct report {
	FILE *out;
	bool different;
};

static void differ(struct report *r, const char *what, u64 host, u64 guest)
{
	if (host == guest)
		return;
	r->different = true;
	if (r->out)
		fprintf(r->out, "  %-10s host %016llx  guest %016llx\n", what,
			(unsigned long long)host, (unsigned long long)guest);
}

static void compare_bytes(struct report *r, const char *what, const u8 *host, const u8 *guest,
			  unsigned size)
{
	if (!memcmp(host, guest, size))
		return;
	r->different = true;
	if (!r->out)
		return;
	fprintf(r->out, "  %-10s host ", what);
	for (unsigned n = size; n-- > 0;)
		fprintf(r->out, "%02x", host[n]);
	fprintf(r->out, "  guest ");
	for (unsigned n = size; n-- > 0;)
		fprintf(r->out, "%02x", guest[n]);
	fprintf(r->out, "\n");
}

static void compare_vectors(struct report *r, const u8 *h, const u8 *g)
{
	char name[16];

	compare_bytes(r, "fcw", h, g, 2);
	compare_bytes(r, "fsw", h + 2, g + 2, 2);
	compare_bytes(r, "ftw", h + 4, g + 4, 1);
	compare_bytes(r, "mxcsr", h + X_MXCSR, g + X_MXCSR, 4);
	for (unsigned n = 0; n < 8; n++) {
		snprintf(name, sizeof(name), "st%u", n);
		compare_bytes(r, name, h + X_ST + 16 * n, g + X_ST + 16 * n, 10);
	}
	for (unsigned n = 0; n < 16; n++) {
		snprintf(name, sizeof(name), "xmm%u", n);
		compare_bytes(r, name, h + X_XMM + 16 * n, g + X_XMM + 16 * n, 16);
		snprintf(name, sizeof(name), "ymm%u high", n);
		compare_bytes(r, name, h + X_YMM + 16 * n, g + X_YMM + 16 * n, 16);
	}
}

static void compare_memory(struct report *r, u64 linear, const u8 *h, const u8 *g, unsigned size)
{
	unsigned said = 0;

	if (!memcmp(h, g, size))
		return;
	r->different = true;
	for (unsigned n = 0; r->out && n < size; n++)
		if (h[n] != g[n] && said++ < 24)
			fprintf(r->out, "  [%llx] host %02x guest %02x\n",
				(unsigned long long)linear + n, h[n], g[n]);
}

static void compare_fault(struct report *r, const struct outcome *h, const struct outcome *g)
{
	u64 hide = 0;

	differ(r, "vector", h->vector, g->vector);
	if (h->vector != X86_PF || g->vector != X86_PF) {
		if (h->vector == g->vector)
			differ(r, "error", h->error, g->error);
		return;
	}
	/* Of what is not the user's, Linux says that it is present. */
	if (h->cr2 >= 0x7ffffffff000)
		hide = PF_P;
	differ(r, "error", h->error & ~hide, g->error & ~hide);
	differ(r, "cr2", h->cr2, g->cr2);
}

enum compare outcome_compare(const struct outcome *host, const struct outcome *guest, FILE *out)
{
	static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
	struct report r = { .out = out };
	bool flags = (host->r.rflags ^ guest->r.rflags) & RFLAGS_ARITH;

	differ(&r, "hung", host->hung, guest->hung);
	differ(&r, "rip", host->r.rip, guest->r.rip);
	compare_fault(&r, host, guest);
	for (unsigned n = 0; n < 16; n++)
		differ(&r, names[n], host->r.gpr[n], guest->r.gpr[n]);
	differ(&r, "rflags", host->r.rflags & ~RFLAGS_ARITH, guest->r.rflags & ~RFLAGS_ARITH);
	compare_vectors(&r, host->r.xsave, guest->r.xsave);
	for (unsigned n = 0; n < NR_REGIONS; n++)
		compare_memory(&r, regions[n].linear, host->image + regions[n].image,
			       guest->image + regions[n].image, regions[n].pages * PAGE_SIZE);
	compare_memory(&r, 0, host->code, guest->code, CODE_SIZE); /* of code: the offset */
	if (flags && out)
		fprintf(out, "  %-10s host %03llx  guest %03llx\n", "arithmetic",
			(unsigned long long)(host->r.rflags & RFLAGS_ARITH),
			(unsigned long long)(guest->r.rflags & RFLAGS_ARITH));
	if (r.different)
		return DIFFERENT;
	return !flags ? SAME : host->vector == X86_BP ? DIFFERENT : STALE_FLAGS;
}
