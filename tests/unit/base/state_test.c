// SPDX-License-Identifier: MIT
#include "base/state.h"

#include <string.h>

#include "../../lib/test.h"

struct thing {
	u32 a;
	u8 b[5];
	u64 c;
};

static const struct state_row rows[] = { STATE_ROW(struct thing, a), STATE_ROW(struct thing, b),
					 STATE_ROW(struct thing, c) };
static const struct state_desc desc = STATE_DESC("thing", 2, rows);
static const struct state_desc older = { "thing", 1, rows, 2 };

TEST(state, round_trip_of_two_sections)
{
	struct thing x = { 1, "abcd", 3 }, y = { 4, "efgh", 6 }, z = { 0 };
	struct state_buf b = { 0 };
	struct err e;

	CHECK_EQ(state_save(&b, &desc, 0, &x), 0);
	CHECK_EQ(state_save(&b, &desc, 1, &y), 0);
	CHECK_EQ(state_load(&b, &desc, 0, &z, &e), 0);
	CHECK(!memcmp(z.b, x.b, 5) && z.a == 1 && z.c == 3);
	CHECK_EQ(state_load(&b, &desc, 0, &z, &e), -1); /* it is instance 1 */
	CHECK_EQ(state_load(&b, &desc, 1, &z, &e), 0);
	CHECK_EQ(z.c, 6);
	CHECK_EQ(state_load(&b, &desc, 2, &z, &e), -1);
	state_buf_free(&b);
}

TEST(state, older_data_is_read_and_newer_refused)
{
	struct thing x = { 1, "abcd", 3 }, z = { 0, "", 77 };
	struct state_buf b = { 0 };
	struct err e;

	CHECK_EQ(state_save(&b, &older, 0, &x), 0);
	CHECK_EQ(state_load(&b, &desc, 0, &z, &e), 0);
	CHECK(z.a == 1 && z.c == 77);
	b.len = b.pos = 0;
	CHECK_EQ(state_save(&b, &desc, 0, &x), 0);
	CHECK_EQ(state_load(&b, &older, 0, &z, &e), -1);
	state_buf_free(&b);
}

TEST(state, any_damage_is_safe)
{
	struct thing x = { 1, "abcd", 3 }, z;
	struct state_buf b = { 0 };
	struct err e;

	CHECK_EQ(state_save(&b, &desc, 0, &x), 0);
	for (size_t len = 0; len < b.len; len++) {
		struct state_buf cut = { b.data, len, b.capacity, 0 };

		CHECK_EQ(state_load(&cut, &desc, 0, &z, &e), -1);
	}
	for (size_t i = 0; i < b.len * 8; i++) {
		b.data[i / 8] ^= 1 << (i % 8);
		b.pos = 0;
		state_load(&b, &desc, 0, &z, &e); /* any result: ASan is the judge */
		b.data[i / 8] ^= 1 << (i % 8);
	}
	state_buf_free(&b);
}
