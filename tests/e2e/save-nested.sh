#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 240
# alone
# A running L1 with an L2 in it is saved, destroyed, made anew and goes on, twice a second; neither
# notices: L2 answers the challenge and both power off.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
images=$("$here/tools/guest-image" --depth 2 | tail -n 1)
[ -f "$images/initrd-2" ] || { echo "no guest image: tools/guest-image failed" && exit 77; }
challenge=$(od -An -tx8 -N8 /dev/urandom | tr -d ' \n')
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

# run CPUS-OF-L1 CPUS-OF-L2
run() {
	timeout 110 "$nestor" run --quiet --engine soft --cpus "$1" --memory 1500M --test-save 0.5 \
		--expose-virtualization-extensions --no-reboot --kernel "$images/vmlinuz" \
		--initrd "$images/initrd-2" --append "console=ttyS0 quiet panic=-1 no_timer_check nestor.quiet \
nestor.run=demo nestor.depth=2 nestor.cpus=$2 nestor.challenge=$challenge" </dev/null >"$log" 2>&1
	status=$?
	answer=$(printf '%s 2' "$challenge" | sha256sum | cut -d ' ' -f 1)
	if [ $status != 0 ] || ! grep -q "@nestor 2 answer $answer" "$log" ||
		! grep -q "@nestor 1 end 2 0" "$log" || grep -q 'BUG:\|WARNING:\|stall' "$log"; then
		cat "$log"
		echo "FAIL: $1 vCPUs in L1, $2 in L2: status $status"
		exit 1
	fi
}

run 1 1
run 2 2
