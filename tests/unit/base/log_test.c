// SPDX-License-Identifier: MIT
#include "base/log.h"

#include <string.h>

#include "../../lib/test.h"

TEST(log, err_set_formats_and_returns_minus_one)
{
	struct err e;

	CHECK_EQ(err_set(&e, "cannot open %s", "/x"), -1);
	CHECK_STR(e.text, "cannot open /x");
	CHECK_EQ(err_set(NULL, "nobody listens"), -1);
}

TEST(log, err_set_truncates)
{
	struct err e;
	char big[2000];

	memset(big, 'a', sizeof(big));
	big[sizeof(big) - 1] = 0;
	err_set(&e, "%s", big);
	CHECK_EQ(strlen(e.text), sizeof(e.text) - 1);
}
