/* SPDX-License-Identifier: MIT */
/*
 * The combined walk: linear address -> guest-physical -> (EPT) -> L1-physical,
 * with the guest's rights. Own vCPU's thread only.
 */
#ifndef NESTOR_ENGINE_WALK_H
#define NESTOR_ENGINE_WALK_H

#include "engine/context.h"
#include "engine/soft.h"

enum walk_access { WALK_READ, WALK_WRITE, WALK_EXEC };

struct walk {
	gpa_t gpa;	/* L1-physical address of the byte */
	u64 page_size;	/* of the smallest page on the way: 4 KiB, 2 MiB, 1 GiB, ... */
	bool writable;	/* at this privilege, and dirty already: a write needs no walk */
	bool readable;
	bool global;
	u32 error;	/* page-fault error code, when walk() returned false */
};

/* Sets accessed and dirty bits as the access demands. False: the access faults
 * with #PF and @res->error. An EPT violation or misconfiguration does not
 * return (vmx exit), except with @quiet, when false is returned. */
bool walk(struct soft_cpu *c, gva_t addr, enum walk_access access, enum ctx_priv priv, bool quiet,
	  struct walk *res);

#endif
