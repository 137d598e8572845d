#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 500
# A managed VM whose guest runs a manager and a VM of its own on KVM: the outer manager shows the
# hypervisor as active while it is, refuses a resize then, and saves and resumes the whole.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
images=$("$here/tools/guest-image" --depth 2 | tail -n 1)
[ -f "$images/initrd-2" ] || { echo "no guest image: tools/guest-image failed" && exit 77; }
dir=$(mktemp -d) || exit 1
export NESTOR_HOME="$dir/state" NESTOR_IDLE_SECONDS=5
vm=/v1/vms/00000000-0000-4000-8000-000000000001

cleanup() {
	"$nestor" api POST $vm/turn-off '{}' >/dev/null 2>&1
	"$nestor" api DELETE $vm >/dev/null 2>&1
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

fail() {
	timeout 2 "$nestor" console lab </dev/null
	"$nestor" api GET $vm
	cat "$NESTOR_HOME"/vms/*/*.log
	echo "FAIL: $1"
	exit 1
}

wait_console() {
	i=0
	until timeout 2 "$nestor" console lab </dev/null 2>/dev/null | grep -q "$1"; do
		i=$((i + 1))
		[ $i -lt 100 ] || fail "no '$1' on the console"
		sleep 0.5
	done
}

# shows FIELD VALUE
shows() {
	"$nestor" api GET $vm | grep -q "\"$1\": \"\{0,1\}$2" || fail "$1 is not $2"
}

cat >"$dir/script" <<'EOS'
say ready
read -r line </dev/console
load_kvm || say no-kvm
say loaded
nestor api POST /v1/vms '{"id": "00000000-0000-4000-8000-000000000002", "name": "inner", "engine": "Kvm",
	"memory": {"startupBytes": 134217728}, "firmware": {"kernelPath": "/nested/vmlinuz",
	"initialRamdiskPath": "/nested/initrd", "kernelCommandLine":
	"console=ttyS0 quiet panic=-1 nestor.level=2 nestor.run=shell"}}' >/dev/null && say made
inner=/v1/vms/00000000-0000-4000-8000-000000000002
nestor api POST $inner/start '{}' >/dev/null && say started
while :; do nestor api GET $inner | grep -q '"uptime": [0-9]\{4\}' && break; sleep 1; done
say inner-runs
read -r line </dev/console
nestor api GET $inner | grep -q '"state": "Running"' && say inner-still-runs
nestor api POST $inner/turn-off '{}' >/dev/null && say inner-off
rmmod kvm_intel && say unloaded
read -r line </dev/console
EOS
"$nestor" api POST /v1/vms "{\"id\": \"${vm#/v1/vms/}\", \"name\": \"lab\", \"engine\": \"Software\",
	\"memory\": {\"startupBytes\": 1073741824}, \"processor\": {\"exposeVirtualizationExtensions\": true},
	\"firmware\": {\"kernelPath\": \"$images/vmlinuz\", \"initialRamdiskPath\": \"$images/initrd-2\",
	\"kernelCommandLine\": \"console=ttyS0 quiet panic=-1 no_timer_check nestor.run=script nestor.script=$(base64 -w0 "$dir/script")\"}}" \
	>/dev/null || fail "the VM could not be made"
"$nestor" api POST $vm/start '{}' >/dev/null || fail "no start"
wait_console '@nestor 1 ready'
shows hypervisorActive false
{ echo go && sleep 1; } | timeout 20 "$nestor" console lab >/dev/null 2>&1
wait_console '@nestor 1 inner-runs'
shows hypervisorActive true
if "$nestor" api PATCH $vm '{"memory": {"startupBytes": 1207959552}}' >/dev/null 2>"$dir/error"; then
	fail "a resize was accepted while a hypervisor is active"
fi
grep -q "Failed to modify device 'Memory'.*hypervisor is active" "$dir/error" || fail "$(cat "$dir/error")"
"$nestor" api POST $vm/save '{}' >/dev/null || fail "not saved"
shows state Saved
"$nestor" api POST $vm/start '{}' >/dev/null || fail "not resumed"
{ echo go && sleep 1; } | timeout 20 "$nestor" console lab >/dev/null 2>&1
wait_console '@nestor 1 unloaded'
wait_console '@nestor 1 inner-still-runs'
shows hypervisorActive false
