// SPDX-License-Identifier: MIT
/* The shell's parser on any bytes; what it takes must be a tree that can be walked. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "shell/ast.h"
#include "shell/parse_internal.h"

static void require(int holds)
{
	if (!holds)
		abort();
}

static void walk(const struct node *n, const struct script *s)
{
	for (; n; n = n->next) {
		require(n->start <= n->end && n->end <= s->len && n->script == s);
		require(n->kind != N_CONST || n->value);
		walk(n->a, s);
		walk(n->b, s);
		walk(n->c, s);
		walk(n->d, s);
		walk(n->list, s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parse_error e;
	struct script *s = script_parse((const char *)data, size, &e);

	if (s)
		walk(s->list, s);
	else
		require(e.id && e.message[0] && e.start <= e.end);
	script_destroy(s);
	return 0;
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	static const char *const seeds[] = {
		"Get-VM -Name a,b* | Where-Object { $_.State -eq 'Running' } | ft Name, State",
		"Set-VMProcessor –VMName “lab 1” -ExposeVirtualizationExtensions:$true; $x = "
		"@(1..5)[-1]",
		"if ($a -gt 4GB) { \"x$($a.b[0]) ${c d} `u{20AC}\" } elseif (!$b) { 'it''s' } else "
		"{ exit 1 }",
		"foreach ($i in 1,2) { $h = @{ a = 1; 'b c' = @{} }; $h.a += 2 } ; do { $i++ } "
		"while ($i -lt 3)",
		"try { throw 'x' } catch { & { $args } 1 -a:2 @h 2>&1 } finally { for (;;) { break "
		"} }",
		"@\"\nhere $x `n $(1 + 2)\n\"@ -replace '(a)','$1' -split ',' -join \"-\" -f "
		"1.5e3, 0x1F <# c #> # d",
		"netsh interface ip add dnsserver “Ethernet” address=10.0.0.1 && echo a > b || "
		"[int]'5' -is [string]",
	};

	if (i >= sizeof(seeds) / sizeof(seeds[0]))
		return 0;
	memcpy(to, seeds[i], strlen(seeds[i]));
	return strlen(seeds[i]);
}
