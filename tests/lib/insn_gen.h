/* SPDX-License-Identifier: MIT */
/*
 * Random valid encodings of one row of insn.def, for differential tests and
 * fuzz corpora.
 *
 *	u64 seed = 1;
 *	for (unsigned row = 0; row < insn_nr_rows(); row++)
 *		if (insn_gen(row, mode, &seed, bytes, &len))
 *			run(bytes, len);
 *
 * All choices come from *seed, which moves on. Any thread.
 */
#ifndef NESTOR_TESTS_INSN_GEN_H
#define NESTOR_TESTS_INSN_GEN_H

#include "engine/insn.h"

/* Fills @out with an encoding that insn_decode() takes for @row in @mode; false
 * when the row does not exist in that mode. Prefixes, registers, memory forms,
 * displacements and immediates are random. */
bool insn_gen(unsigned row, struct insn_mode mode, u64 *seed, u8 out[INSN_MAX], unsigned *len);

/* The next random number of @seed: 32 bits. */
u32 insn_gen_random(u64 *seed);

/* Flags that the manual calls undefined after this instruction, though insn.flags_written
 * may list them: a comparison must leave them out. For a shift by CL: whatever the count. */
u16 insn_gen_undefined_flags(const struct insn *i);

#endif
