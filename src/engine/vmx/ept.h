/* SPDX-License-Identifier: MIT */
/*
 * Extended page tables: nested-physical addresses (l2pa_t, what a guest of L1
 * takes for physical) to L1-physical ones, by the SDM's "The Extended Page
 * Table Mechanism (EPT)".
 *
 * walk.c asks for every access to a guest paging structure and for the final
 * address, when c->eptp is not 0:
 *
 *	struct ept_xlat x;
 *
 *	if (ept_translate(c, pa, EPT_READ, true, &x) != EPT_OK)
 *		vmx_exit_ept(c, &x, true, gva);	// does not return
 *
 * The vCPU's own thread only. A small cache of translations is in struct vmx;
 * INVEPT empties it, and whatever it cannot grant is looked up in the tables
 * again, so that no stale entry ever denies an access.
 */
#ifndef NESTOR_ENGINE_VMX_EPT_H
#define NESTOR_ENGINE_VMX_EPT_H

#include "base/types.h"

struct soft_cpu;

/* Rights and accesses, as the low bits of an EPT entry and of an EPT
 * violation's exit qualification. */
enum { EPT_READ = 1, EPT_WRITE = 2, EPT_EXEC = 4 };

enum ept_result { EPT_OK, EPT_VIOLATION, EPT_MISCONFIG };

struct ept_xlat {
	gpa_t gpa;	    /* EPT_OK: L1-physical address of the byte */
	u64 page_size;	    /* 4 KiB, 2 MiB, 1 GiB */
	u8 perms;	    /* EPT_* of the whole walk; 0 where it ended early */
	bool writable;	    /* perms has EPT_WRITE and the page is dirty already, or
			     * dirtiness is not tracked: a write needs no walk */
	/* What vmx_exit_ept() reports. */
	l2pa_t pa;
	u8 access; /* EPT_* */
	bool paging_structure;
	enum ept_result result;
};

/* Translates one byte's address for an access (one of EPT_*, or EPT_READ |
 * EPT_WRITE for a read-modify-write). @paging_structure: the access is the
 * page walker's, to a guest paging-structure entry; it counts as a write when
 * EPT's accessed and dirty flags are on. Sets those flags when successful. */
enum ept_result ept_translate(struct soft_cpu *c, l2pa_t pa, unsigned access,
			      bool paging_structure, struct ept_xlat *res);

/* The same with no effect on flags: for debuggers and quiet walks. */
enum ept_result ept_probe(struct soft_cpu *c, l2pa_t pa, unsigned access, struct ept_xlat *res);

/* The VM exit for a failed ept_translate(). @has_gla: the access came from
 * using linear address @gla (false for PDPTE loads by MOV CR3). */
_Noreturn void vmx_exit_ept(struct soft_cpu *c, const struct ept_xlat *x, bool has_gla, gva_t gla);

/* Is this a valid EPT pointer (VM entry and INVEPT)? */
bool ept_pointer_valid(struct soft_cpu *c, u64 eptp);
/* INVEPT for this vCPU's own cache; the TLB is flushed by the caller. */
void ept_cache_flush(struct soft_cpu *c);

#endif
