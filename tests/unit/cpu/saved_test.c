// SPDX-License-Identifier: MIT
/* Every member of struct cpu_state has a row. */
#include "cpu/saved.h"

#include <string.h>

#include "../../lib/test.h"
#include "base/state.h"
#include "cpu/cpu.h"

static struct cpu_state full, back;

TEST(cpu_saved, only_padding_is_lost)
{
	struct state_buf b = { 0 };
	struct err e;
	unsigned lost = 0;

	memset(&full, 0xff, sizeof(full));
	CHECK_EQ(state_save(&b, &cpu_state_desc, 0, &full), 0);
	CHECK_EQ(state_load(&b, &cpu_state_desc, 0, &back, &e), 0);
	for (size_t i = 0; i < sizeof(full); i++)
		lost += !((u8 *)&back)[i];
	/* A member left out has at least eight bytes, or shares its gap: 4 after pkru,
	 * 4 after activity, 3 after the flags, and what aligns xsave. */
	CHECK(lost < 4 + 4 + 3 + 64);
	size_t end = offsetof(struct cpu_state, xsave);
	for (size_t i = 0; i + 8 <= end - 64; i += 8)
		CHECK(*(u64 *)(void *)((u8 *)&back + i));
	state_buf_free(&b);
}
