#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 240
# The demo must not succeed when L1's KVM cannot be loaded: status 3, and a word about it.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
guest=$("$here/tools/guest-image") || exit 77
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
"${NESTOR:-$here/nestor}" demo --guest "$guest" --append module_blacklist=kvm_intel >"$log" 2>&1
status=$?
if [ $status != 3 ] || ! grep -q 'Missing: L1 could not load KVM' "$log"; then
	cat "$log"
	echo "status $status"
	exit 1
fi
