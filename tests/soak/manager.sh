#!/bin/sh
# SPDX-License-Identifier: MIT
# The manager killed 200 times during scripted work; then 500 cycles of create, start, stop and remove
# that leave no file, process, descriptor or growing memory behind. CYCLES says how many.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
[ "${KILLS:-200}" = 0 ] || KILLS=${KILLS:-200} sh "$here/tests/e2e/manager.sh" || exit 1
images=$("$here/tools/guest-image" --depth 1 | tail -n 1)
dir=$(mktemp -d) || exit 1
export NESTOR_HOME="$dir/state"
manager=

cleanup() {
	[ -z "$manager" ] || kill "$manager"
	sleep 0.3
	rm -rf "$dir"
}
trap cleanup EXIT

fail() {
	echo "FAIL: $1"
	exit 1
}

manager=$("$nestor" api GET /v1/host | sed -n 's/.*"managerPid": \([0-9]*\).*/\1/p')
[ -n "$manager" ] || fail "no manager"

# Counts that must not grow: descriptors, threads, kilobytes, children.
measure() {
	find "/proc/$manager/fd" -mindepth 1 2>/dev/null | wc -l
	find "/proc/$manager/task" -mindepth 1 -maxdepth 1 | wc -l
	sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$manager/status"
	pgrep -P "$manager" | wc -l
}

cycle() {
	id=$(printf '20000000-0000-4000-8000-%012d' "$1")
	"$nestor" api POST /v1/vms "{\"id\": \"$id\", \"name\": \"vm$1\", \"engine\": \"Software\",
		\"memory\": {\"startupBytes\": 134217728}, \"firmware\": {\"kernelPath\": \"$images/vmlinuz\"}}" >/dev/null &&
		"$nestor" api POST "/v1/vms/$id/start" '{}' >/dev/null &&
		"$nestor" api POST "/v1/vms/$id/turn-off" '{}' >/dev/null &&
		"$nestor" api DELETE "/v1/vms/$id" >/dev/null
}

n=0
while [ $n -lt "${CYCLES:-500}" ]; do
	n=$((n + 1))
	cycle $n || fail "cycle $n"
	[ $n != 20 ] || measure >"$dir/before"
done
sleep 3
measure >"$dir/after"
paste "$dir/before" "$dir/after"
paste "$dir/before" "$dir/after" | awk '
	NR == 3 { bad = bad || $2 > $1 + 2048; next }
	{ bad = bad || $2 > $1 + 1 }
	END { exit bad }' || fail "something grew"
[ -z "$(ls -A "$NESTOR_HOME/vms")" ] || fail "something is left in the store"
