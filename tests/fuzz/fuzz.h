/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target is one file WHAT_fuzz.c with LLVMFuzzerTestOneInput(), so that
 * libFuzzer takes it as it is:
 *
 *	clang -fsanitize=fuzzer,address -Isrc tests/fuzz/WHAT_fuzz.c src/...
 *
 * With gcc, main.c drives it: `make fuzz-WHAT` runs it for FUZZ_SECONDS on mutated
 * seeds, `out/MODE/fuzz/WHAT FILE...` replays files.
 */
#ifndef NESTOR_TESTS_FUZZ_H
#define NESTOR_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

enum { FUZZ_MAX = 16384 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes valid input number @i to @to and returns its size; 0: there are no more.
 * Every target has at least one. */
size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX]);

#endif
