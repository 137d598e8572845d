/* SPDX-License-Identifier: MIT */
/*
 * Memory functions that touch no vector register: what memcpy() and friends
 * become in the engine's objects, where the guest's vector state is live.
 */
#ifndef NESTOR_BASE_NOVEC_H
#define NESTOR_BASE_NOVEC_H

#include <stddef.h>

void *novec_memcpy(void *to, const void *from, size_t n);
void *novec_memmove(void *to, const void *from, size_t n);
void *novec_memset(void *to, int c, size_t n);
int novec_memcmp(const void *a, const void *b, size_t n);
int novec_bcmp(const void *a, const void *b, size_t n);
/* What the address sanitizer calls before every noreturn function, doing nothing:
 * its own uses vector registers, and there are no redzones on a vCPU's stack. */
void novec_no_return(void);

#endif
