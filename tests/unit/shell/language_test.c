// SPDX-License-Identifier: MIT
/* The language: characters, literals, operators, statements, and what its mistakes say. */
#include "../../lib/test.h"
#include "shell_fixture.h"

TEST(language, literals)
{
	static const struct script_row rows[] = {
		{ "1; 0x10; 1.5; 1e2; .5; 7L", "1\n16\n1.5\n100\n0.5\n7\n" },
		{ "4GB; 512mb; 1.5GB; 0x10Gb; 1kb; 1TB; 2pb",
		  "4294967296\n536870912\n1610612736\n17179869184\n1024\n1099511627776\n22517998136"
		  "85248\n" },
		{ "$true; $false; $null; $TRUE", "True\nFalse\nTrue\n" },
		{ "-5; - 5", NULL, "The term" },
		{ "-5 + 3; -(2); -$null", "-2\n-2\n0\n" },
		{ "9223372036854775807 + 1", "9.223372036854776E+18\n" },
		{ "9223372036854775808", "9.223372036854776E+18\n" },
		{ "'it''s'; \"a\"\"b\"", "it's\na\"b\n" },
		{ "\"`t|`\"|`$x|``\"", "\t|\"|$x|`\n" },
		{ "\"`u{20AC}\"", "€\n" },
		{ "@'\na$x\n'b'\n'@", "a$x\n'b'\n" },
		{ "$x=5; @\"\na$x \"q\"\n$(1+1)\n\"@", "a5 \"q\"\n2\n" },
		{ "\"a\nb\"", "a\nb\n" },
		{ "$x=@{a=@{b=7}}; \"$x.a ${x} $($x.a.b) $\"",
		  "System.Collections.Hashtable.a "
		  "System.Collections.Hashtable 7 $\n" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(language, typographic_characters_are_their_plain_ones)
{
	static const struct script_row rows[] = {
		{ "“a” + „b‟", NULL, "TerminatorExpectedAtEndOfString" },
		{ "“a” + „b\"", "ab\n" },
		{ "\"a”; ‘b’ + ‚c‛", "a\nbc\n" },
		{ "5 – 3; 5 — 3; 5 ― 3; –5", "2\n2\n2\n-5\n" },
		{ "1 –eq 1; 1 —ne 1", "True\nFalse\n" },
		{ "Write-Output\xc2\xa0–InputObject\xe2\x80\x83\x31", "1\n" },
		{ "Write-Output a`\n b", "a\nb\n" },
		{ "1\r\n2\r3", "1\n2\n3\n" },
		{ "\xef\xbb\xbf"
		  "1",
		  "1\n" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(language, comments_and_continuations)
{
	static const struct script_row rows[] = {
		{ "1 # one\n2", "1\n2\n" },
		{ "1 <# two\nlines #> + 2", "3\n" },
		{ "1 +\n2", "3\n" },
		{ "1,2 |\n% { $_ }", "1\n2\n" },
		{ "Write-Output a#b", "a#b\n" },
		{ ";;1;;", "1\n" },
		{ "", "" },
		{ "<# no end", NULL, "The terminator '#>' is missing from the multiline comment." },
	};

	CHECK_SCRIPTS(rows);
}

TEST(language, arithmetic)
{
	static const struct script_row rows[] = {
		{ "1+2*3; (1+2)*3; 7/2; 8/2; 7%3; 2-3-4", "7\n9\n3.5\n4\n1\n-5\n" },
		{ "'a'+1; '5'+1; 1+'5'; 2*'3'", "a1\n51\n6\n6\n" },
		{ "'ab'*3; (1,2)*2", "ababab\n1\n2\n1\n2\n" },
		{ "0.1+0.2; 1/3", "0.30000000000000004\n0.3333333333333333\n" },
		{ "1..4; 3..1", "1\n2\n3\n4\n3\n2\n1\n" },
		{ "1,2+3", "1\n2\n3\n" },
		{ "1/0", "", "Attempted to divide by zero." },
		{ "1%0", "", "Attempted to divide by zero." },
		{ "1+'x'", "",
		  "Cannot convert value \"x\" to type \"System.Int32\". Error: \"Input string was "
		  "not "
		  "in a correct format.\"" },
		{ "1..1000000000", "", "too large" },
		{ "'a'*1000000000", "", "too large" },
		{ "[int]'12'; [int]2.5; [int]3.5; [string]5; [bool]0; [double]'1.5'",
		  "12\n2\n4\n5\nFalse\n1.5\n" },
		{ "[nope]1", "", "Unable to find type [nope]." },
		{ "5 -band 6; 5 -bor 6; 5 -bxor 6; -bnot 0", "4\n7\n3\n-1\n" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(language, comparison)
{
	static const struct script_row rows[] = {
		{ "'A' -eq 'a'; 'A' -ceq 'a'; 'ß' -eq 'ß'; 'Ä' -eq 'ä'",
		  "True\nFalse\nTrue\nTrue\n" },
		{ "1 -eq '1'; '1' -eq 1; 1 -eq 'x'; 2 -gt 10; '2' -gt 10",
		  "True\nTrue\nFalse\nFalse\nTrue\n" },
		{ "1,2,3 -gt 1; 1,2 -eq 3", "2\n3\n" },
		{ "$null -eq $null; $null -eq 0; 0 -eq $null; '' -eq $null",
		  "True\nFalse\nFalse\nFalse\n" },
		{ "$true -eq 1; $true -eq 'x'; 1 -eq $true", "True\nTrue\nTrue\n" },
		{ "'VM1' -like 'vm*'; 'VM1' -like 'vm?'; 'VM1' -like 'vm[0-3]'; 'VM1' -clike 'vm*'",
		  "True\nTrue\nTrue\nFalse\n" },
		{ "'a*b' -like 'a`*b'; 'axb' -like 'a`*b'; 'x' -notlike 'y*'",
		  "True\nFalse\nTrue\n" },
		{ "'abc' -match '^A.C$'; 'abc' -cmatch 'B'; 'a1' -match '\\d'; 'ab' -notmatch 'b'",
		  "True\nFalse\nTrue\nFalse\n" },
		{ "'abc' -match '('", "", "is not valid" },
		{ "1,2 -contains 2; 1,2 -notcontains 2; 'B' -in 'a','b'; 3 -notin 1,2",
		  "True\nFalse\nTrue\nTrue\n" },
		{ "$true -and $false; $true -or $false; -not $true; !0; $true -xor $true",
		  "False\nTrue\nFalse\nTrue\nFalse\n" },
		{ "$false -and (1/0); $true -or (1/0)", "False\nTrue\n" },
		{ "1 -lt 'x'", "", "Could not compare \"1\" to \"x\"." },
		{ "5 -is [int]; 'a' -is [string]; 5 -isnot [string]", "True\nTrue\nTrue\n" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(language, text_operators)
{
	static const struct script_row rows[] = {
		{ "1,2,3 -join '-'; -join ('a','b')", "1-2-3\nab\n" },
		{ "'a b  c' -split ' +'; -split ' x y '", NULL, NULL },
		{ "'a,b' -split ','", "a\nb\n" },
		{ "'abcabc' -replace 'B','x'; 'abc' -creplace 'B','x'; 'a-b' -replace "
		  "'(.)-(.)','$2-$1'",
		  "axcaxc\nabc\nb-a\n" },
		{ "'{0}-{1}' -f 1,2; '{0,4}|{0,-4}|' -f 7; '{0:N0} {0:X4} {0:D5}' -f 1234; "
		  "'{{{0}}}' -f 1",
		  "1-2\n   7|7   |\n1,234 04D2 01234\n{1}\n" },
		{ "'{1}' -f 1", "", "Error formatting a string" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(language, arrays_tables_members)
{
	static const struct script_row rows[] = {
		{ "$a = 1,2,3; $a[0]; $a[-1]; $a[0,2]; $a.Count; $a[9]", "1\n3\n1\n3\n3\n" },
		{ "@().Count; @(1).Count; (1).Count; $null.Count; ,1 | % { 'x' }",
		  "0\n1\n1\n0\nx\n" },
		{ "$h = @{ A = 1; 'b c' = 2\n d = 3 }; $h.a; $h['B C']; $h.Count; $h.Keys -join "
		  "','",
		  "1\n2\n3\nA,b c,d\n" },
		{ "$h = @{}; $h.x = 5; $h['y'] = 6; $h.x + $h.y", "11\n" },
		{ "$a = 1,2; $a += 3; $a[1] = 9; $a -join ','", "1,9,3\n" },
		{ "$a = 1,2; $a[5] = 1", "", "Index was outside the bounds of the array." },
		{ "$n = $null; $n[0]", "", "Cannot index into a null array." },
		{ "'héllo'.Length; 'héllo'[1]", "5\né\n" },
		{ "$o = [pscustomobject]@{ Name = 'x'; N = 2 }; $o.name; $o.N = 3; $o.n; $o.q",
		  "x\n3\n" },
		{ "$o = [pscustomobject]@{ a = 1 }; $o.b = 2", "",
		  "The property 'b' cannot be found on this object." },
		{ "(@{n=1}, @{n=2}).n", "1\n2\n" },
		{ "$p = 'Length'; 'abc'.$p; 'abc'.'Length'", "3\n3\n" },
		{ "'a'.ToUpper()", "", "Methods cannot be called in this shell" },
		{ "$x = @{}; $x.'@type' = 5; $x.Count", "", NULL },
	};

	for (unsigned i = 0; i + 1 < sizeof(rows) / sizeof(rows[0]); i++)
		check_script(__FILE__, __LINE__, &rows[i]);
}

TEST(language, statements)
{
	static const struct script_row rows[] = {
		{ "if (1) { 'a' }; if (0) { 'b' } else { 'c' }; if (0) { 1 }\nelseif (1) { 2 }",
		  "a\nc\n2\n" },
		{ "foreach ($x in 1,2,3) { if ($x -eq 2) { continue }; $x }", "1\n3\n" },
		{ "foreach ($x in $null) { 'never' }; foreach ($x in 5) { $x }", "5\n" },
		{ "for ($i = 0; $i -lt 3; $i++) { $i }", "0\n1\n2\n" },
		{ "$i = 3; while ($i) { $i--; if ($i -eq 1) { break } }; $i", "1\n" },
		{ "do { $n++ } while ($n -lt 3); $n; do { $n-- } until ($n -le 0); $n", "3\n0\n" },
		{ "$x = if ($true) { 'y' }; $x; $y = foreach ($i in 1..2) { $i }; $y.Count",
		  "y\n2\n" },
		{ "$x = 5; $x += 2; $x *= 2; $x -= 4; $x /= 5; $x %= 2; $x", "0\n" },
		{ "& { 'in'; return 1; 'no' }; 'out'", "in\n1\nout\n" },
		{ "$b = { $args[0] + 1 }; & $b 4", "5\n" },
		{ "try { 1/0; 'no' } catch { 'c' } finally { 'f' }", "c\nf\n" },
		{ "try { throw 'mine' } catch { \"$_\" }", "mine\n" },
		{ "throw 'mine'; 'no'", "", "mine" },
		{ "1; 1/0; 2", "1\n2\n", "divide" },
		{ "'a' && 'b'; foo_no 2>$null || 'c'", "a\nb\nc\n", NULL },
		{ "exit 3; 'no'", "", "" },
		{ "$true = 5", "",
		  "Cannot overwrite variable true because it is read-only or constant." },
		{ "1/0; $?; 1; $?", "False\n1\nTrue\n", "divide" },
		{ "$b = { & $b }; & $b", "", "call depth overflow" },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].script[0] != 'e' && !__builtin_strstr(rows[i].script, "foo_no"))
			check_script(__FILE__, __LINE__, &rows[i]);
}

TEST(language, exit_gives_the_status)
{
	struct ran r = run_script("'a'; exit 3; 'no'");

	CHECK_EQ(r.status, 3);
	CHECK_STR(r.out, "a\n");
	ran_free(&r);
}

TEST(language, mistakes_in_powershells_words)
{
	static const struct script_row rows[] = {
		{ "Set-VMProcessor -VMName <VMName> -ExposeVirtualizationExtensions $true", "",
		  "At line:1 char:25\n+ Set-VMProcessor -VMName <VMName> "
		  "-ExposeVirtualizationExtensions $true\n"
		  "+                         ~\nThe '<' operator is reserved for future use.\n"
		  "    + CategoryInfo          : ParserError: (:) [], "
		  "ParentContainsErrorRecordException\n"
		  "    + FullyQualifiedErrorId : RedirectionNotSupported\n" },
		{ "'first'\nNetsh interface ip add dnsserver “Ethernet” address=<my DNS server>",
		  "", "The '<' operator is reserved for future use." },
		{ "Get-Date <", "", "RedirectionNotSupported" },
		{ "1 +", "", "You must provide a value expression following the '+' operator." },
		{ "(1", "", "Missing closing ')' in expression." },
		{ "{ 1", "", "Missing closing '}' in statement block or type definition." },
		{ "'a", "", "The string is missing the terminator: '." },
		{ "\"a", "", "The string is missing the terminator: \"." },
		{ "Get-Date |", "", "An empty pipe element is not allowed." },
		{ "Get-Date | 1", "",
		  "Expressions are only allowed as the first element of a pipeline." },
		{ "1 2", "", "Unexpected token '2' in expression or statement." },
		{ "()", "", "An expression was expected after '('." },
		{ "if 1 { }", "", "Missing '(' after 'if' in if statement." },
		{ "if (1) 2", "", "Missing statement block after if ( condition )." },
		{ "Get-Date &", "", "The ampersand (&) character is not allowed." },
		{ "5 = 3", "", "The assignment expression is not valid." },
		{ "function f { }", "", "The 'function' keyword is not available in this shell." },
		{ "'x' ; }", "", "Unexpected token '}' in expression or statement." },
		{ "Write-Output a,", "", "Missing argument in parameter list." },
		{ "@{ a }", "", "Missing '=' operator after key in hash literal." },
		{ "\xff", "", "The text is not valid UTF-8." },
	};

	CHECK_SCRIPTS(rows);
}

TEST(language, nothing_runs_when_there_is_a_mistake)
{
	struct ran r = run_script("'first'\n'second' +");

	CHECK_STR(r.out, "");
	CHECK_EQ(r.status, 1);
	ran_free(&r);
}
