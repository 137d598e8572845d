#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 600
# A load that checks its own results (stress-ng --verify: cpu, vm, fork, switch, mmap) in L1 with two
# vCPUs, and in L2. STRESS_SECONDS says how long each (20; tests/soak/stress.sh takes ten minutes).
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
seconds=${STRESS_SECONDS:-20}
image=$("$here/tools/guest-image" --disk-packages 'stress-ng dash coreutils' --disk-size 512M) || {
	echo "no guest image with stress-ng"
	exit 77
}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
load="stress-ng --verify --timeout ${seconds}s --temp-path /tmp --cpu 1 --vm 1 --vm-bytes 32M --fork 1 \
--switch 1 --mmap 1 --mmap-bytes 16M"

encode() {
	echo "$1" | base64 -w 0
}

# run MEMORY RUN SCRIPT: L1 with two vCPUs and the disk.
run() {
	timeout $((seconds * 2 + 400)) "$nestor" run --quiet --engine soft --cpus 2 --memory "$1" --nic none \
		--expose-virtualization-extensions --no-reboot --kernel "$image/vmlinuz" \
		--initrd "$image/initrd-2" --disk "$image/disk.img,readonly" --append \
		"console=ttyS0 quiet panic=-1 nestor.run=$2 nestor.script=$(encode "$3")" </dev/null >"$log" 2>&1
	status=$?
	if [ $status != 0 ] || ! grep -q "@nestor 1 status 0" "$log" ||
		! grep -q 'successful run completed' "$log" ||
		grep -q 'BUG:\|WARNING:\|stall\|soft lockup\|segfault' "$log"; then
		tail -n 60 "$log"
		echo "FAIL: $2 (status $status)"
		exit 1
	fi
}

run 1G disk "$load"
run 1536M script "load_virtio; load_kvm
nestor run --engine kvm --cpus 2 --memory 512M --nic none --no-reboot --disk /dev/vda,readonly \
--kernel /nested/vmlinuz --initrd /nested/initrd --append 'console=ttyS0 quiet panic=-1 no_timer_check \
nestor.level=2 nestor.run=disk nestor.script=$(encode "$load")' </dev/null"
