/* SPDX-License-Identifier: MIT */
/*
 * A multiboot kernel of a few bytes of code, in a temporary file that goes when
 * the test ends. The code is at TINY_CODE and is entered in flat 32-bit
 * protected mode; the page at TINY_DATA is its own.
 */
#ifndef NESTOR_TESTS_TINYKERNEL_H
#define NESTOR_TESTS_TINYKERNEL_H

#include <stddef.h>

enum { TINY_CODE = 0x100100, TINY_DATA = 0x101000 };

const char *tiny_kernel(const void *code, size_t size);
const char *tiny_file(void); /* another temporary file, empty */

#endif
