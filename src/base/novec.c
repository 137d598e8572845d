// SPDX-License-Identifier: MIT
/* String instructions: quick enough for what the engine copies, and they leave
 * the vector registers alone. */
#include "base/novec.h"

void *novec_memcpy(void *to, const void *from, size_t n)
{
	void *d = to;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *novec_memmove(void *to, const void *from, size_t n)
{
	char *d = to;
	const char *s = from;

	if (d <= s || d >= s + n)
		return novec_memcpy(to, from, n);
	while (n--)
		d[n] = s[n];
	return to;
}

void *novec_memset(void *to, int c, size_t n)
{
	void *d = to;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return to;
}

int novec_memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < n; i++) {
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	}
	return 0;
}

/* clang's memcmp() whose result is only compared with 0. */
int novec_bcmp(const void *a, const void *b, size_t n)
{
	return novec_memcmp(a, b, n);
}

void novec_no_return(void)
{
}
