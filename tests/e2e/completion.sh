#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 30
# bash's completion of commands, options and values.
set -u
cd "$(dirname "$0")/../.." || exit 1
command -v bash >/dev/null || { echo "no bash here"; exit 77; }
bash -s <<'EOS'
. tools/completion.bash
failed=0
expect() { # WORDS, the typed ones
	local want=$1
	shift
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_nestor
	[ "${COMPREPLY[*]}" = "$want" ] && return
	echo "FAIL: $*: ${COMPREPLY[*]}, want $want"
	failed=1
}
expect run ./nestor ru
expect '--engine --expose-virtualization-extensions' ./nestor run --e
expect 'auto soft kvm' ./nestor run --engine ''
expect soft ./nestor run --engine = s
expect 'none user' ./nestor run --nic ''
expect nestor-v3 ./nestor run --cpu nestor-v3
expect events ./nestor run --trace e
expect '' ./nestor run --kernel ''
expect --depth ./nestor demo --de
exit $failed
EOS
