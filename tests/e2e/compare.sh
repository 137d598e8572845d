#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 240
# Lockstep compare: Debian's kernel boots to user space with the first executions of each of its blocks
# compared with their single instructions, and nothing differs.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
guest=$("$here/tools/guest-image") || exit 77
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
script=$(echo 'dd if=/dev/urandom bs=64k count=4 | sha256sum && say compared' | base64 -w 0)
timeout 230 "${NESTOR:-$here/nestor}" run --engine soft --memory 512M --nic none --no-reboot \
	--compare "${COMPARE:-4}" --kernel "$guest/vmlinuz" --initrd "$guest/initrd-1" \
	--append "console=ttyS0 quiet nestor.run=script nestor.script=$script" </dev/null >"$log" 2>&1
status=$?
[ $status = 0 ] && grep -q '@nestor 1 compared' "$log" && exit 0
cat "$log"
echo "status $status"
exit 1
