#!/bin/sh
# SPDX-License-Identifier: MIT
# A hundred boots of L1 and twenty nested boots in a row, each of which must end well.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
image=$("$here/tools/guest-image") || exit 77
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
n=1
while [ $n -le "${BOOTS:-100}" ]; do
	"$nestor" run --quiet --engine soft --cpus $((n % 4 + 1)) --memory 512M --nic none --no-reboot \
		--timeout 120 --kernel "$image/vmlinuz" --initrd "$image/initrd-1" \
		--append "console=ttyS0 quiet panic=-1 nestor.run=poweroff" </dev/null >"$log" 2>&1
	status=$?
	if [ $status != 0 ] || ! grep -q '@nestor 1 off' "$log"; then
		cat "$log"
		echo "FAIL: boot $n of L1 ended with status $status"
		exit 1
	fi
	n=$((n + 1))
done
n=1
while [ $n -le "${NESTED_BOOTS:-20}" ]; do
	"$nestor" demo --guest "$image" --cpus $((n % 4 + 1)),$((n % 2 + 1)) >"$log" 2>&1 || {
		cat "$log"
		echo "FAIL: nested boot $n"
		exit 1
	}
	n=$((n + 1))
done
