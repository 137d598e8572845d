/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4) of bytes in memory. */
#ifndef NESTOR_BASE_SHA256_H
#define NESTOR_BASE_SHA256_H

#include "base/types.h"

enum { SHA256_SIZE = 32 };

void sha256(const void *data, size_t size, u8 digest[SHA256_SIZE]);
/* The same in hexadecimal digits with a closing zero. */
void sha256_hex(const void *data, size_t size, char hex[2 * SHA256_SIZE + 1]);

#endif
