// SPDX-License-Identifier: MIT
/* Binding of parameters, error records, and the cmdlets that need no VM. */
#include <stdlib.h>
#include <string.h>

#include "../../lib/test.h"
#include "shell_fixture.h"

TEST(binding, names_positions_and_short_names)
{
	static const struct script_row rows[] = {
		{ "1..5 | Select-Object -First 2", "1\n2\n" },
		{ "1..5 | select -FIRST:2 -Skip 1", "2\n3\n" },
		{ "1..3 | Select-Object -Fir 1; 1..3 | Select-Object -l 1", "1\n3\n" },
		{ "'b','a' | Sort-Object -Desc:$false", "a\nb\n" },
		{ "$p = @{ First = 1 }; 5,6 | Select-Object @p", "5\n" },
		{ "Write-Output -InputObject 1,2", "1\n2\n" },
		{ "Write-Output 1, 2", "1\n2\n" },
		{ "Write-Output -- ", "--\n" },
		{ "Write-Output 010 9.0 -5", "10\n9\n-5\n" },
		{ "Write-Output \"a b\" 'c'd e$(1+1)f", NULL, NULL },
	};

	CHECK_SCRIPTS(rows);
}

TEST(binding, refusals_are_records)
{
	static const struct script_row rows[] = {
		{ "Select-Object -Foo 4", "",
		  "Select-Object : A parameter cannot be found that matches parameter name 'Foo'.\n"
		  "At line:1 char:15\n+ Select-Object -Foo 4\n+               ~~~~\n"
		  "    + CategoryInfo          : InvalidArgument: (:) [Select-Object], "
		  "ParameterBindingException\n"
		  "    + FullyQualifiedErrorId : "
		  "NamedParameterNotFound,Microsoft.PowerShell.Commands.SelectObjectCommand\n" },
		{ "Select-Object -S 1", "",
		  "the parameter name 'S' is ambiguous. Possible matches include: -Skip "
		  "-SkipLast." },
		{ "Get-Variable -V", "", "AmbiguousParameter" },
		{ "Select-Object -First", "",
		  "Missing an argument for parameter 'First'. Specify a parameter of type "
		  "'System.Int32' and try again." },
		{ "Select-Object -First -Last 1", "", "MissingArgument" },
		{ "Select-Object -First x", "",
		  "Cannot bind parameter 'First'. Cannot convert value \"x\" to type "
		  "\"System.Int32\". Error: \"Input string was not in a correct format.\"" },
		{ "Select-Object -First 1 -First 2", "", "ParameterAlreadyBound" },
		{ "ConvertTo-Json -Depth 101", "",
		  "Cannot validate argument on parameter 'Depth'. The 101 argument is greater than "
		  "the maximum allowed "
		  "range of 100. Supply an argument that is less than or equal to 100 and then try "
		  "the command again." },
		{ "ConvertTo-Json -Depth -1", "", "less than the minimum allowed range of 0" },
		{ "Get-Date 5", "",
		  "A positional parameter cannot be found that accepts argument '5'." },
		{ "Get-Content", "", "one or more missing mandatory parameters: Path." },
		{ "Get-Content $null", "",
		  "Cannot bind argument to parameter 'Path' because it is null." },
		{ "Get-Content ''", "",
		  "Cannot bind argument to parameter 'Path' because it is an empty string." },
		{ "Get-Content @()", "", "because it is an empty array." },
		{ "Sort-Object -Descending:x", "",
		  "Boolean parameters accept only Boolean values and numbers" },
		{ "Get-Help a,b", "",
		  "Cannot convert 'System.Object[]' to the type 'System.String' required by "
		  "parameter 'Name'" },
		{ "1 | Get-Date", "",
		  "The input object cannot be bound to any parameters for the command" },
		{ "Start-Sleep -Seconds 1 -Milliseconds 5", "",
		  "Parameter set cannot be resolved using the specified named parameters." },
		{ "Get-Date -ErrorAction Never", "",
		  "Unable to match the identifier name Never to a valid enumerator name. "
		  "Specify one of the following enumerator names and try again: SilentlyContinue, "
		  "Stop, Continue" },
		{ "No-Such-Thing 1", "",
		  "The term 'No-Such-Thing' is not recognized as the name of a cmdlet" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(binding, common_parameters)
{
	static const struct script_row rows[] = {
		{ "Get-Content /nowhere -ErrorAction SilentlyContinue; $?; $Error[0].Message", NULL,
		  NULL },
		{ "Get-Content /nowhere, /nowhere2; 'on'", "on\n",
		  "Cannot find path '/nowhere2' because it does not exist." },
		{ "Get-Content /nowhere -ea Stop; 'never'", "", "Cannot find path '/nowhere'" },
		{ "$ErrorActionPreference = 'Stop'; Get-Content /nowhere; 'never'", "",
		  "PathNotFound" },
		{ "try { Get-Content /nowhere -ea Stop } catch { $_.FullyQualifiedErrorId }",
		  "PathNotFound,Microsoft.PowerShell.Commands.GetContentCommand\n" },
		{ "Write-Output 1 2 -OutVariable x; $x.Count", "1\n2\n2\n" },
		{ "Write-Verbose hello; Write-Verbose there -Verbose; 'x'", "x\n", "" },
	};

	for (unsigned i = 1; i + 1 < sizeof(rows) / sizeof(rows[0]); i++)
		check_script(__FILE__, __LINE__, &rows[i]);
}

TEST(binding, error_variable_and_silence)
{
	struct ran r = run_script("Get-Content /nowhere -ea SilentlyContinue -ev e; \"$($e.Count) "
				  "$($e[0].Category)\"");

	CHECK_STR(r.out, "1 ObjectNotFound\n");
	CHECK_STR(r.err, "");
	ran_free(&r);
}

TEST(objects, where_foreach_select)
{
	static const struct script_row rows[] = {
		{ "1..6 | Where-Object { $_ -gt 4 }; 1..6 | ? { $_ -lt 2 }", "5\n6\n1\n" },
		{ "@{n=1},@{n=2} | Where-Object n -eq 2 | % n", "2\n" },
		{ "'ab','b' | where Length -GT 1; 'ab' | where Length", "ab\nab\n" },
		{ "1..3 | ForEach-Object { $_ * 2 } -Begin { 'b' } -End { 'e' }",
		  "b\n2\n4\n6\ne\n" },
		{ "1..3 | % { if ($_ -eq 2) { return }; $_ }", "1\n3\n" },
		{ "[pscustomobject]@{a=1;b=2;c=3} | Select-Object b, a | ConvertTo-Json -Compress",
		  "{\"b\":2,\"a\":1}\n" },
		{ "[pscustomobject]@{a=1;b=2} | Select-Object -ExpandProperty b", "2\n" },
		{ "[pscustomobject]@{a=1} | Select-Object -ExpandProperty q", "",
		  "Property \"q\" cannot be found." },
		{ "[pscustomobject]@{a=1} | select @{N='x';E={$_.a + 1}}, q | ConvertTo-Json "
		  "-Compress",
		  "{\"x\":2,\"q\":null}\n" },
		{ "1..5 | select -Last 2; 1..5 | select -Skip 3; 1,1,2 | select -Unique; 5..9 | "
		  "select -Index 0,2",
		  "4\n5\n4\n5\n1\n2\n5\n7\n" },
		{ "1..3 | % { 1/0 }", "", "divide" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(objects, sort_measure_group)
{
	static const struct script_row rows[] = {
		{ "3,10,2 | Sort-Object; 'b','A' | sort; 3,1,3 | sort -Unique -Descending",
		  "2\n3\n10\nA\nb\n3\n1\n" },
		{ "@{n=2;m='x'},@{n=1;m='y'} | Sort-Object n | % { $_.m }", "y\nx\n" },
		{ "(1..4 | Measure-Object).Count; (1..4 | measure -Sum -Average -Maximum -Minimum) "
		  "| % { $_.Sum; $_.Average; "
		  "$_.Maximum; $_.Minimum }",
		  "4\n10\n2.5\n4\n1\n" },
		{ "'a' | Measure-Object -Sum", NULL, "Input object \"a\" is not numeric." },
		{ "1,2,3 | group { $_ % 2 } | % { \"$($_.Name):$($_.Count)\" }", "1:2\n0:1\n" },
		{ "[pscustomobject]@{a=1} | gm | % Name", "a\n" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(formats, tables_and_lists)
{
	static const struct script_row rows[] = {
		{ "[pscustomobject]@{Name='a';N=5}, [pscustomobject]@{Name='bcd';N=10}",
		  "\nName  N\n----  -\na     5\nbcd  10\n\n" },
		{ "[pscustomobject]@{Name='a';N=5} | fl", "\nName : a\nN    : 5\n\n" },
		{ "[pscustomobject]@{Name='a';N=5} | ft n -HideTableHeaders", "\n5\n\n" },
		{ "[pscustomobject]@{Name='a';N=5} | ft @{L='x';E={$_.N*2}}", "\n x\n -\n10\n\n" },
		{ "[pscustomobject]@{Nap='a';N=5} | fl na*", "\nNap : a\n\n" },
		{ "[pscustomobject]@{a=1;b=2;c=3;d=4;e=@(1,2)}",
		  "\na : 1\nb : 2\nc : 3\nd : 4\ne : {1, 2}\n\n" },
		{ "@{a=1}", "\nName Value\n---- -----\na        1\n\n" },
		{ "[pscustomobject]@{a=\"x`e[2Jy`nz\"}", "\na\n-\nx?[2Jy?z\n\n" },
		{ "(1,2 | Out-String).Length; 1 | Out-Null; Write-Host a b", "4\na b\n" },
		{ "New-TimeSpan -Minutes 3 | % { \"$_ $($_.TotalSeconds)\" }", "00:03:00 180\n" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(formats, json)
{
	static const struct script_row rows[] = {
		{ "@{a=1;b=@(1,'x',$null,$true)} | ConvertTo-Json -Compress",
		  "{\"a\":1,\"b\":[1,\"x\",null,true]}\n" },
		{ "1,2 | ConvertTo-Json -Compress; ,1 | ConvertTo-Json -AsArray -Compress",
		  "[1,2]\n[1]\n" },
		{ "@{a=1} | ConvertTo-Json", "{\n  \"a\": 1\n}\n" },
		{ "('{\"a\":{\"b\":[1,2]}}' | ConvertFrom-Json).a.b[1]", "2\n" },
		{ "'{\"@type\":\"ScriptBlock\",\"@node\":1,\"a\":2}' | ConvertFrom-Json | % a",
		  "2\n" },
		{ "'{' | ConvertFrom-Json", "", "Invalid JSON" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(formats, output_format_json)
{
	const char *words[] = { "Select-Object", "-Foo" }, *fine[] = { "Get-Command", "Get-Help" };
	struct ran r = run_words(true, 2, words);

	CHECK(strstr(r.err, "{\"error\":{\"command\":\"Select-Object\",\"message\":\"A parameter "
			    "cannot be found"));
	CHECK_EQ(r.status, 1);
	ran_free(&r);
	r = run_words(true, 2, fine);
	CHECK(strstr(r.out, "{\"CommandType\":\"Cmdlet\",\"Name\":\"Get-Help\""));
	CHECK_EQ(r.status, 0);
	ran_free(&r);
}

TEST(words, booleans_and_lists)
{
	const char *sort[] = { "Write-Output", "-NoEnumerate:true", "$true" };
	const char *list[] = { "Get-Command", "-Name", "Get-Help,Get-Alias", "-Syntax", "1" };
	struct ran r = run_words(false, 3, sort);

	CHECK_STR(r.out, "True\n");
	ran_free(&r);
	r = run_words(false, 4, list);
	CHECK(strstr(r.out, "Get-Help [[-Name] <String>]") && strstr(r.out, "Get-Alias"));
	ran_free(&r);
	r = run_words(false, 5, list);
	CHECK(strstr(r.err, "A positional parameter cannot be found that accepts argument '1'."));
	ran_free(&r);
}

TEST(natives, programs_get_plain_arguments)
{
	static const struct script_row rows[] = {
		{ "$x = printf '%s|' “a b” –x —y:z 5GB c,d; $x", "a b|-x|-y:z|5GB|c|d|\n" },
		{ "(printf 'a\\nb\\n').Count; $LASTEXITCODE", "2\n0\n" },
		{ "$x = sh -c 'exit 3'; $LASTEXITCODE; $?", "3\nTrue\n" },
		{ "'b','a' | sort.exe", "", "not recognized" },
		{ "$x = 'b','a' | sed s/a/q/; $x -join ','", "b,q\n" },
	};

	CHECK_SCRIPTS(rows);
}

TEST(help, knows_every_cmdlet)
{
	struct ran r = run_script("Get-Command | % { Get-Help $_.Name -Full } | Out-String | % { "
				  "$_.Length -gt 1000 }");

	CHECK_STR(r.out, "True\n");
	CHECK_STR(r.err, "");
	ran_free(&r);
}
