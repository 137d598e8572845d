// SPDX-License-Identifier: MIT
/* nestor: picks the sub-command. */
#include <stdio.h>

int main(void)
{
	fprintf(stderr, "nestor: no sub-command is built yet\n");
	return 125;
}
