// SPDX-License-Identifier: MIT
/* A Linux kernel file from anywhere. */
#include "loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	load_kernel(data, size);
	return 0;
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	static const u16 versions[] = { 0x20f, 0x20a, 0x206, 0x202 };

	if (i >= ARRAY_SIZE(versions))
		return 0;
	memcpy(to, make_bz(MIB(1), 0x10000), BZ_SIZE);
	put(to, 0x206, 2, versions[i]);
	return BZ_SIZE;
}
