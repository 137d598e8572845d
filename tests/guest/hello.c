// SPDX-License-Identifier: MIT
/* The smallest guest: reaches 64-bit mode, prints, ends. */
#include "lib/lib.h"

int main(void)
{
	print("Hello from 64-bit mode.\n");
	CHECK(rdmsr(MSR_EFER) & EFER_LMA);
	return 0;
}
