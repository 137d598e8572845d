// SPDX-License-Identifier: MIT
/* Extended page tables: the walk, its flags, and the cache that may only grant. */
#include "engine/vmx/vmx_internal.h"

#include "../../lib/test.h"
#include "vmx_fake.h"

/* Tables at fixed pages; the guest's page 0x7000 is L1's page 0x5000. */
enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000, PAGE = 0x5000, L2_PAGE = 0x7000 };
enum { ALL = 7, WB = 6 << 3, LARGE = 1 << 7, A = 1 << 8, D = 1 << 9 };

static void put(struct soft_cpu *c, gpa_t at, u64 v)
{
	phys_write(c, at, &v, sizeof(v));
}

static u64 get(struct soft_cpu *c, gpa_t at)
{
	u64 v = 0;

	phys_read(c, at, &v, sizeof(v));
	return v;
}

enum { PTE_AT = PT + 8 * (L2_PAGE >> 12) };

static struct soft_cpu *make(bool ad)
{
	struct soft_cpu *c = fake_cpu();

	put(c, PML4, PDPT | ALL);
	put(c, PDPT, PD | ALL);
	put(c, PD, PT | ALL);
	put(c, PTE_AT, PAGE | ALL | WB);
	c->eptp = PML4 | 0x1e | (ad ? 1 << 6 : 0);
	return c;
}

static enum ept_result ask(struct soft_cpu *c, unsigned access)
{
	struct ept_xlat x;

	return ept_translate(c, L2_PAGE + 0x123, access, false, &x);
}

TEST(ept, translates_and_says_what_is_allowed)
{
	struct soft_cpu *c = make(false);
	struct ept_xlat x;

	for (unsigned cached = 0; cached < 2; cached++) {
		CHECK_EQ(ept_translate(c, L2_PAGE + 0x123, EPT_READ, false, &x), EPT_OK);
		CHECK_EQ(x.gpa, PAGE + 0x123);
		CHECK_EQ(x.page_size, PAGE_SIZE);
		CHECK_EQ(x.perms, ALL);
		CHECK(x.writable);
	}
	CHECK_EQ(ept_translate(c, L2_PAGE + 0x1000, EPT_READ, false, &x), EPT_VIOLATION);
	CHECK_EQ(x.perms, 0);
	CHECK_EQ(ept_translate(c, 1ull << 39, EPT_READ, false, &x), EPT_VIOLATION);
}

TEST(ept, rights_are_those_of_all_levels)
{
	struct soft_cpu *c = make(false);
	struct ept_xlat x;

	put(c, PDPT, PD | EPT_READ | EPT_EXEC);
	CHECK_EQ(ept_translate(c, L2_PAGE, EPT_WRITE, false, &x), EPT_VIOLATION);
	CHECK_EQ(x.perms, EPT_READ | EPT_EXEC);
	CHECK_EQ(ask(c, EPT_EXEC), EPT_OK);
	put(c, PTE_AT, PAGE | EPT_EXEC | WB);
	ept_cache_flush(c);
	CHECK_EQ(ask(c, EPT_READ), EPT_VIOLATION);
	CHECK_EQ(ask(c, EPT_EXEC), EPT_OK);
}

TEST(ept, the_cache_grants_until_invept_and_never_denies)
{
	struct soft_cpu *c = make(false);

	put(c, PTE_AT, PAGE | EPT_READ | WB);
	CHECK_EQ(ask(c, EPT_READ), EPT_OK);
	CHECK_EQ(ask(c, EPT_WRITE), EPT_VIOLATION);
	put(c, PTE_AT, PAGE | ALL | WB); /* more rights need no INVEPT */
	CHECK_EQ(ask(c, EPT_WRITE), EPT_OK);
	put(c, PTE_AT, 0);
	CHECK_EQ(ask(c, EPT_WRITE), EPT_OK); /* stale, as on a processor */
	ept_cache_flush(c);
	CHECK_EQ(ask(c, EPT_READ), EPT_VIOLATION);
}

TEST(ept, accessed_and_dirty)
{
	struct soft_cpu *c = make(true);
	struct ept_xlat x;

	CHECK_EQ(ept_translate(c, L2_PAGE, EPT_READ, false, &x), EPT_OK);
	CHECK(!x.writable);
	CHECK_EQ(get(c, PML4) & (A | D), A);
	CHECK_EQ(get(c, PD) & (A | D), A);
	CHECK_EQ(get(c, PTE_AT) & (A | D), A);
	CHECK_EQ(ept_translate(c, L2_PAGE, EPT_WRITE, false, &x), EPT_OK);
	CHECK(x.writable);
	CHECK_EQ(get(c, PTE_AT) & (A | D), A | D);
	CHECK_EQ(get(c, PD) & (A | D), A);
}

TEST(ept, accessed_and_dirty_make_the_walker_write)
{
	struct soft_cpu *c = make(true);
	struct ept_xlat x;

	CHECK_EQ(ept_translate(c, L2_PAGE, EPT_READ, true, &x), EPT_OK);
	CHECK_EQ(get(c, PTE_AT) & D, D);
	put(c, PTE_AT, PAGE | EPT_READ | WB);
	ept_cache_flush(c);
	CHECK_EQ(ept_translate(c, L2_PAGE, EPT_READ, true, &x), EPT_VIOLATION);
	CHECK_EQ(x.access, EPT_READ | EPT_WRITE);
	c->eptp &= ~(u64)(1 << 6);
	CHECK_EQ(ept_translate(c, L2_PAGE, EPT_READ, true, &x), EPT_OK);
}

TEST(ept, probing_sets_no_flags)
{
	struct soft_cpu *c = make(true);
	struct ept_xlat x;

	CHECK_EQ(ept_probe(c, L2_PAGE + 5, EPT_WRITE, &x), EPT_OK);
	CHECK_EQ(x.gpa, PAGE + 5);
	CHECK_EQ(get(c, PTE_AT) & (A | D), 0);
}

TEST(ept, large_pages)
{
	struct soft_cpu *c = make(false);
	struct ept_xlat x;

	put(c, PD + 8, MIB(6) | ALL | WB | LARGE);
	CHECK_EQ(ept_translate(c, MIB(2) + 0x12345, EPT_READ, false, &x), EPT_OK);
	CHECK_EQ(x.gpa, MIB(6) + 0x12345);
	CHECK_EQ(x.page_size, MIB(2));
	put(c, PDPT + 8, GIB(3) | ALL | WB | LARGE);
	CHECK_EQ(ept_translate(c, GIB(1) + 0x1234567, EPT_READ, false, &x), EPT_OK);
	CHECK_EQ(x.gpa, GIB(3) + 0x1234567);
	CHECK_EQ(x.page_size, GIB(1));
}

TEST(ept, misconfigurations)
{
	static const struct {
		gpa_t at;
		u64 entry;
	} bad[] = {
		{ PTE_AT, PAGE | EPT_WRITE | WB },
		{ PTE_AT, PAGE | EPT_WRITE | EPT_EXEC | WB },
		{ PTE_AT, PAGE | ALL | 2 << 3 },
		{ PTE_AT, PAGE | ALL | 3 << 3 },
		{ PTE_AT, PAGE | ALL | 7 << 3 },
		{ PTE_AT, PAGE | ALL | WB | BIT(51) },
		{ PD, PT | ALL | BIT(4) },
		{ PD, PT | ALL | WB | LARGE }, /* not aligned to 2 MiB */
		{ PDPT, PD | ALL | BIT(3) },
		{ PDPT, MIB(2) | ALL | WB | LARGE },
		{ PML4, PDPT | ALL | LARGE },
	};

	for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
		struct soft_cpu *c = make(false);

		put(c, bad[n].at, bad[n].entry);
		CHECK_EQ(ask(c, EPT_READ), EPT_MISCONFIG);
	}
}

TEST(ept, tables_outside_ram_read_as_ones)
{
	struct soft_cpu *c = make(false);

	put(c, PD, GIB(64) | ALL);
	CHECK_EQ(ask(c, EPT_READ), EPT_MISCONFIG);
}
