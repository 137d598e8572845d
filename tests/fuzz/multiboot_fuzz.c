// SPDX-License-Identifier: MIT
/* A multiboot kernel from anywhere. */
#include "loader.h"

/* A wrong checksum ends it all too early: put in the right one most times. */
static void fix_checksum(uint8_t *data, size_t size)
{
	for (size_t at = 0; at + 12 <= size && at < 8192; at += 4) {
		u32 h[2], sum;

		memcpy(h, data + at, sizeof(h));
		sum = -(h[0] + h[1]);
		if (h[0] == MB_MAGIC && h[1] % 8)
			memcpy(data + at + 8, &sum, sizeof(sum));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t copy[FUZZ_MAX];

	if (size > sizeof(copy))
		return 0;
	memcpy(copy, data, size);
	fix_checksum(copy, size);
	load_kernel(copy, size);
	return 0;
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	u32 flags = BIT(16) | 3;
	u32 header[8] = { MB_MAGIC, flags, -(MB_MAGIC + flags), 0x100020, 0x100000, 0x100100,
			  0x103000, 0x100040 };
	struct mb32 k = make_mb(3);

	if (i == 0)
		memcpy(to, &k, sizeof(k));
	if (i == 1)
		memcpy(to + 0x40, header, sizeof(header));
	return i == 0 ? sizeof(k) : i == 1 ? 512 : 0;
}
