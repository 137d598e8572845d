#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 400
# Managed VMs with a real guest: made, changed, started, its console read, saved and resumed in a new
# process, its process killed, the manager killed at random moments, nothing left behind at the end.
# KILLS says how often the manager is killed (default 10).
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
images=$("$here/tools/guest-image" --depth 1 | tail -n 1)
[ -f "$images/initrd-1" ] || { echo "no guest image: tools/guest-image failed" && exit 77; }
dir=$(mktemp -d) || exit 1
export NESTOR_HOME="$dir/state" NESTOR_IDLE_SECONDS=60
kills=${KILLS:-10}

manager_pid() {
	"$nestor" api GET /v1/host | sed -n 's/.*"managerPid": \([0-9]*\).*/\1/p'
}

cleanup() {
	for f in "$NESTOR_HOME"/vms/*/worker.json; do
		[ ! -f "$f" ] || kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$f")" 2>/dev/null
	done
	pid=$(manager_pid 2>/dev/null)
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	sleep 0.3
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

fail() {
	echo "FAIL: $1"
	"$nestor" api GET /v1/vms
	tail -n 30 "$NESTOR_HOME"/manager.log "$NESTOR_HOME"/vms/*/events.log "$NESTOR_HOME"/vms/*/worker.log
	exit 1
}

# field NAME: of the JSON on standard input, where it is first
field() {
	sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1
}

vm=/v1/vms/00000000-0000-4000-8000-000000000001
state() {
	"$nestor" api GET $vm | field state
}

expect_state() {
	s=$(state)
	[ "$s" = "$1" ] || fail "the VM is '$s', not $1, after $2"
}

do_vm() {
	"$nestor" api POST "$vm/$1" "${2:-{\}}" >"$dir/answer" 2>"$dir/error" || fail "$1: $(cat "$dir/error")"
}

# refused KIND METHOD PATH JSON
refused() {
	if "$nestor" api "$2" "$3" "$4" >"$dir/answer" 2>"$dir/error"; then
		fail "$2 $3 $4 was accepted"
	fi
	grep -q "\"kind\": \"$1\"" "$dir/error" || fail "$2 $3 $4: not $1: $(cat "$dir/error")"
}

# wait_console TEXT: in what the guest has written from the beginning
wait_console() {
	i=0
	until timeout 2 "$nestor" console lab </dev/null 2>/dev/null | head -c 200000 | grep -q "$1"; do
		i=$((i + 1))
		[ $i -lt 20 ] || fail "no '$1' on the console"
		sleep 0.5
	done
}

# ---- Made and changed ----

cat >"$dir/script" <<'EOS'
load button
load evdev
load_virtio
echo "from the guest" | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null && say written
say ready
read -r line </dev/console
say "heard $line"
head -c 1 /dev/input/$(sed -n '/Power Button/,/Handlers/s/.*\(event[0-9]*\).*/\1/p' /proc/bus/input/devices) >/dev/null
say button
EOS
"$nestor" api POST /v1/vms "{\"id\": \"${vm#/v1/vms/}\", \"name\": \"lab\",
	\"memory\": {\"startupBytes\": 268435456}, \"engine\": \"Software\",
	\"firmware\": {\"kernelPath\": \"$images/vmlinuz\", \"initialRamdiskPath\": \"$images/initrd-1\",
	\"kernelCommandLine\": \"console=ttyS0 quiet panic=-1 nestor.run=script nestor.script=$(base64 -w0 "$dir/script")\"}}" \
	>/dev/null || fail "the VM could not be made"
expect_state Off "it was made"
refused InvalidArgument PATCH $vm '{"memory": {"startupBytes": 268435457}}'
refused InvalidArgument PATCH $vm '{"processor": {"count": 65}}'
refused InvalidParameter PATCH $vm '{"processor": {"cores": 1}}'
refused NotFound PATCH $vm '{"firmware": {"kernelPath": "/no/such/file"}}'
refused Conflict PATCH $vm '{"revision": 7, "notes": "x"}'
refused NotFound GET /v1/vms/../../etc '{}'
truncate -s 1M "$dir/disk.img"
"$nestor" api POST $vm/disks "{\"path\": \"$dir/disk.img\"}" | grep -q '"controllerType": "IDE"' || fail "no disk"
refused Exists POST $vm/disks "{\"path\": \"$dir/disk.img\", \"controllerType\": \"IDE\", \"controllerNumber\": 0, \"controllerLocation\": 0}"
"$nestor" api PATCH $vm '{"processor": {"count": 2}}' | grep -q '"count": 2' || fail "the change did not show"

# ---- Run, console, save, resume, pause ----

do_vm start
expect_state Running start
do_vm start
grep -q '"already": true' "$dir/answer" || fail "a second start was not said to be one"
wait_console '@nestor 1 ready'
grep -q 'from the guest' "$dir/disk.img" || fail "the disk was not written"
do_vm reset
i=0
until [ "$(timeout 2 "$nestor" console lab </dev/null | grep -c '@nestor 1 ready')" = 2 ]; do
	i=$((i + 1))
	[ $i -lt 20 ] || fail "it did not come up again after a reset"
done
refused WrongState PATCH $vm '{"processor": {"exposeVirtualizationExtensions": true}}'
refused WrongState DELETE $vm '{}'
do_vm pause
expect_state Paused pause
do_vm resume
do_vm save
expect_state Saved save
refused WrongState PATCH $vm '{"processor": {"count": 1}}'
[ ! -s "$NESTOR_HOME/vms/${vm#/v1/vms/}/worker.json" ] || fail "the worker's record stayed"
do_vm start
expect_state Running resume
[ ! -s "$NESTOR_HOME/vms/${vm#/v1/vms/}/saved.state" ] || fail "the saved state stayed"
{ echo "hello guest" && sleep 3; } | timeout 30 "$nestor" console lab >"$dir/console" 2>&1
wait_console '@nestor 1 heard hello guest'

# ---- The manager is killed while the VM runs; the button; the worker is killed ----

kill -9 "$(manager_pid)"
expect_state Running "the manager was killed"
do_vm stop '{"timeout": 60}'
expect_state Off "the power button"
grep -q 'The guest turned itself off' "$NESTOR_HOME"/vms/*/events.log || fail "the log has no reason"
do_vm start
kill -9 "$("$nestor" api GET $vm | field workerPid)"
i=0
until [ "$(state)" = Off ] || [ $i = 20 ]; do
	i=$((i + 1))
	sleep 0.2
done
expect_state Off "its process was killed"
"$nestor" api GET $vm/events | grep -q 'ended unexpectedly: killed by signal 9' || fail "no reason for the end"

# ---- The manager is killed at random moments while VMs are made and changed ----

killer() {
	n=0
	while [ $n -lt "$kills" ]; do
		sleep "0.$((n * 7 % 10))$((n % 10))"
		pid=$(manager_pid 2>/dev/null)
		[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
		n=$((n + 1))
	done
	: >"$dir/killed"
}

# Makes, changes and removes VMs; what was answered must be there.
worker() {
	n=0
	while [ ! -f "$dir/killed" ]; do
		n=$((n + 1))
		id=$(printf '10000000-0000-4000-8000-%012d' $n)
		if "$nestor" api POST /v1/vms "{\"id\": \"$id\", \"name\": \"vm$n\"}" >/dev/null 2>&1; then
			echo "made $id" >>"$dir/done"
		fi
		if "$nestor" api PATCH "/v1/vms/$id" "{\"notes\": \"note $n\"}" >/dev/null 2>&1; then
			echo "noted $id $n" >>"$dir/done"
		fi
		[ $((n % 3)) = 0 ] || continue
		if "$nestor" api DELETE "/v1/vms/$id" >/dev/null 2>&1; then
			echo "gone $id" >>"$dir/done"
		else
			echo "maybe $id" >>"$dir/done"
		fi
	done
}

: >"$dir/done"
do_vm start
worker &
worker=$!
killer
wait $worker
expect_state Running "the manager was killed $kills times"
"$nestor" api GET /v1/vms >"$dir/list" || fail "no list after the kills"
! grep -q OffCritical "$dir/list" || fail "a configuration is damaged"
cp "$dir/done" "$dir/sure"
while read -r what id n; do
	case $what in
	made)
		grep -q "$id" "$dir/list" || grep -q "\(gone\|maybe\) $id" "$dir/sure" || fail "$id was made and is not there"
		;;
	noted)
		grep -q "\"notes\": \"note $n\"" "$dir/list" || grep -q "\(gone\|maybe\) $id" "$dir/sure" ||
			fail "$id lost its note"
		;;
	gone) ! grep -q "\"id\": \"$id\"" "$dir/list" || fail "$id was removed and is there" ;;
	esac
done <"$dir/done"
[ -z "$(find "$NESTOR_HOME/vms" -maxdepth 1 -name '.[gn]*')" ] || fail "unfinished folders were left"
made=$(grep -c made "$dir/done")
[ "$made" -gt 0 ] || fail "nothing was made between the kills"

# ---- A configuration broken by hand; all is removed ----

do_vm turn-off
expect_state Off turn-off
first=$(grep -o '10000000-0000-4000-8000-[0-9]*' "$dir/list" | head -n 1)
echo '{' >"$NESTOR_HOME/vms/$first/config.json"
"$nestor" api GET "/v1/vms/$first" | grep -q '"state": "OffCritical"' || fail "damage does not show"
refused Damaged POST "/v1/vms/$first/start" '{}'
grep -o '10000000-0000-4000-8000-[0-9]*' "$dir/list" | sort -u >"$dir/ids"
while read -r id; do
	"$nestor" api DELETE "/v1/vms/$id" >/dev/null || fail "$id cannot be removed"
done <"$dir/ids"
"$nestor" api DELETE $vm >/dev/null || fail "the VM cannot be removed"
[ -z "$(ls -A "$NESTOR_HOME/vms")" ] || fail "something is left in the store"
echo "$made VMs made while the manager was killed $kills times"
