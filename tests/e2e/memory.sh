#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 300
# A guest that fills its memory with code, again and again, runs on, and the process needs less than
# 200 MB beyond the RAM that it touches. The code cache is mapped twice; both count once (Pss).
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
kernel=$here/out/guest/newcode.elf
[ -f "$kernel" ] || make -s -C "$here" guest || exit 1

"$nestor" run --engine soft --memory 64M --nic none --no-reboot --debug-exit --kernel "$kernel" \
	</dev/null &
pid=$!
most=0
while [ -r /proc/$pid/smaps_rollup ]; do
	now=$(awk '/^Pss:/ { print $2 }' /proc/$pid/smaps_rollup 2>/dev/null)
	[ "${now:-0}" -le "$most" ] || most=$now
	sleep 0.2
done
wait $pid
status=$?
beyond=$(((most - 34 * 1024) / 1024))
echo "most $most KiB, $beyond MiB beyond the RAM it touches"
[ $status = 33 ] || { echo "status $status, want 33"; exit 1; }
[ $beyond -lt 190 ] || { echo "too much"; exit 1; }
