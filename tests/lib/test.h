/* SPDX-License-Identifier: MIT */
/*
 * Unit tests. TEST(virtq, wraps_at_16_bits) { CHECK_EQ(a, b); } registers
 * itself; every test runs in a process of its own, so that a crash or hang
 * fails one test. SKIP("reason") ends a test as skipped.
 */
#ifndef NESTOR_TESTS_TEST_H
#define NESTOR_TESTS_TEST_H

#include "base/types.h"

typedef void test_fn(void);

struct test {
	const char *group, *name, *file;
	test_fn *fn;
	struct test *next;
};

void test_register(struct test *t);
_Noreturn void test_skip(const char *reason);
/* What a test leaves to the end of its process: no leak. */
void test_keep(void *p);
void test_fail(const char *file, int line, const char *fmt, ...) PRINTF(3, 4);

#define TEST(grp, nm)                                                                              \
	static void test_##grp##_##nm(void);                                                       \
	__attribute__((constructor)) static void register_##grp##_##nm(void)                       \
	{                                                                                          \
		static struct test t = { #grp, #nm, __FILE__, test_##grp##_##nm, NULL };           \
		test_register(&t);                                                                 \
	}                                                                                          \
	static void test_##grp##_##nm(void)

#define SKIP(reason) test_skip(reason)
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			test_fail(__FILE__, __LINE__, "%s", #cond);                                \
	} while (0)
#define CHECK_EQ(a, b)                                                                             \
	do {                                                                                       \
		u64 a_ = (u64)(a), b_ = (u64)(b);                                                  \
		if (a_ != b_)                                                                      \
			test_fail(__FILE__, __LINE__, "%s = %#llx, want %s = %#llx", #a,           \
				  (unsigned long long)a_, #b, (unsigned long long)b_);             \
	} while (0)
#define CHECK_STR(a, b)                                                                            \
	do {                                                                                       \
		const char *a_ = (a), *b_ = (b);                                                   \
		if (__builtin_strcmp(a_, b_))                                                      \
			test_fail(__FILE__, __LINE__, "%s = \"%s\", want \"%s\"", #a, a_, b_);     \
	} while (0)

#endif
