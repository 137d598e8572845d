#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 900
# A running VM's memory on the software engine: resized both ways, frozen while a hypervisor is active
# inside and free again after it, in a saved and resumed VM too; then dynamic memory, which follows the
# guest's need. What counts is what the guest finds in /proc/meminfo.
# What is in single quotes is for the guest, or for eval.
# shellcheck disable=SC2016
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
images=$("$here/tools/guest-image" --depth 2 | tail -n 1)
[ -f "$images/initrd-2" ] || { echo "no guest image: tools/guest-image failed" && exit 77; }
dir=$(mktemp -d) || exit 1
export NESTOR_HOME="$dir/state" NESTOR_IDLE_SECONDS=60
name=vm$(od -An -tx4 -N4 /dev/urandom | tr -d ' \n')

cleanup() {
	for f in "$NESTOR_HOME"/vms/*/worker.json; do
		[ ! -f "$f" ] || kill -9 "$(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' "$f")" 2>/dev/null
	done
	pid=$("$nestor" api GET /v1/host 2>/dev/null | sed -n 's/.*"managerPid": \([0-9]*\).*/\1/p')
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	sleep 0.3
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

fail() {
	echo "FAIL: $1"
	"$nestor" -c "Get-VM | Format-List"
	cat "$dir/error" 2>/dev/null
	console | tail -n 30
	exit 1
}

ps() {
	"$nestor" -c "$1" >"$dir/answer" 2>"$dir/error" || fail "$1"
}

# refused COMMAND TEXT...: with each text in the record
refused() {
	if "$nestor" -c "$1" >"$dir/answer" 2>"$dir/error"; then
		fail "'$1' was accepted"
	fi
	shift
	for text; do
		tr -d '\n' <"$dir/error" | grep -q "$text" || fail "no '$text' in the record"
	done
}

# get EXPRESSION
get() {
	"$nestor" -c "$1" | tr -d '[:space:]'
}

assigned() {
	echo $(($(get "(Get-VM $name).MemoryAssigned") / 1048576))
}

console() {
	timeout 3 "$nestor" console "$name" </dev/null 2>/dev/null | tr -d '\r'
}

# in_guest COMMAND: what it prints
in_guest() {
	mark=$(od -An -tx4 -N4 /dev/urandom | tr -d ' \n')
	{ echo "$1; echo @end-$mark" | sed "s/@end-/@'end'-/" && sleep 2; } |
		timeout 30 "$nestor" console "$name" >/dev/null 2>&1
	i=0
	until console | grep -q "^@end-$mark"; do
		i=$((i + 1))
		[ $i -lt 20 ] || fail "the guest does not answer: $1"
		sleep 0.5
	done
	console | sed "/^@end-$mark/q" | tail -n "${2:-2}" | head -n 1
}

mem() {
	in_guest "awk '/^$1:/ { print int(\$2 / 1024) }' /proc/meminfo"
}

# between WHAT VALUE LOW HIGH
between() {
	if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then fail "$1 is $2 MiB, not $3..$4"; fi
	echo "$1: $2 MiB"
}

# wait_for CONDITION TEXT SECONDS
wait_for() {
	n=0
	until eval "$1"; do
		n=$((n + 1))
		[ $n -lt "$3" ] || fail "$2"
		sleep 1
	done
}

cat >"$dir/script" <<'EOS'
load_virtio
echo online_movable >/sys/devices/system/memory/auto_online_blocks
stty -echo
echo ready
while read -r line; do eval "$line"; done </dev/console
EOS

start_vm() {
	ps "New-VM -Name $name -MemoryStartupBytes 512MB | Out-Null
Set-VMProcessor $name -ExposeVirtualizationExtensions \$true
Set-VM $name -Engine Software
Set-VMFirmware $name -KernelPath '$images/vmlinuz' -InitialRamdiskPath '$images/initrd-2' -KernelCommandLine 'console=ttyS0 quiet panic=-1 no_timer_check nestor.run=script nestor.script=$(base64 -w0 "$dir/script")'
$1
Start-VM $name"
	wait_for 'console | grep -q ^ready' "the guest does not come up" 60
}

# ---- Static memory ----

start_vm ''
[ "$(assigned)" = 512 ] || fail "$(assigned) MB assigned at start"
total=$(mem MemTotal)
ps "Set-VMMemory $name -StartupBytes 768MB"
between "MemTotal after growing by 256 MB" "$(mem MemTotal)" $((total + 250)) $((total + 256))
[ "$(assigned)" = 768 ] || fail "$(assigned) MB assigned"
ps "Set-VMMemory $name -StartupBytes 512MB"
between "MemTotal after shrinking again" "$(mem MemTotal)" $((total - 6)) $((total + 6))
free=$(mem MemFree)
ps "Set-VMMemory $name -StartupBytes 384MB"
between "MemFree after shrinking by 128 MB" "$(mem MemFree)" $((free - 140)) $((free - 110))
refused "Set-VMMemory $name -StartupBytes 64MB" "Failed to modify device 'Memory'" 'Only a part of it'
between "what it has after it could not have 64 MB" "$(assigned)" 66 380
ps "Set-VMMemory $name -StartupBytes 640MB"
between "MemTotal after growing by balloon and virtio-mem" "$(mem MemTotal)" $((total + 120)) $((total + 128))

# ---- Saved and resumed ----

ps "Save-VM $name; Start-VM $name"
[ "$(assigned)" = 640 ] || fail "$(assigned) MB assigned after it was resumed"
between "MemTotal after Save-VM and Start-VM" "$(mem MemTotal)" $((total + 120)) $((total + 128))

# ---- A hypervisor inside ----

in_guest 'load_kvm' >/dev/null
[ "$(get "(Get-VM $name).HypervisorActive")" = False ] || fail "loading kvm_intel counts as a hypervisor"
ps "Set-VMMemory $name -StartupBytes 768MB"
in_guest '(nestor run --engine kvm --memory 128M --nic none --kernel /nested/vmlinuz --initrd /nested/initrd --append "console=ttyS0 quiet nestor.run=script nestor.script=$(echo sleep 1000 | base64)" </dev/null >/tmp/l2 2>&1; echo l2 $?) & true' >/dev/null
wait_for "[ \"\$(get '(Get-VM $name).HypervisorActive')\" = True ]" "no hypervisor is active" 60
before=$(mem MemTotal)
for size in 1GB 512MB; do
	refused "Set-VMMemory $name -StartupBytes $size" "Failed to modify device 'Memory'" "InvalidOperation" \
		"InvalidState" "A hypervisor is active"
done
[ "$(assigned)" = 768 ] || fail "$(assigned) MB assigned while a hypervisor is active"
[ "$(mem MemTotal)" = "$before" ] || fail "the guest's memory changed while a hypervisor is active"
in_guest 'killall -9 nestor' >/dev/null
wait_for "[ \"\$(get '(Get-VM $name).HypervisorActive')\" = False ]" "the hypervisor stays active" 30
ps "Set-VMMemory $name -StartupBytes 832MB"
between "MemTotal after the hypervisor left" "$(mem MemTotal)" $((total + 312)) $((total + 320))
ps "Stop-VM $name -TurnOff -Force; Remove-VM $name -Force"

# ---- Dynamic memory ----

start_vm "Set-VMMemory $name -DynamicMemoryEnabled \$true -MinimumBytes 192MB -MaximumBytes 1GB"
wait_for '[ "$(assigned)" -lt 260 ]' "an idle guest keeps its memory" 60
idle=$(assigned)
[ "$(get "(Get-VM $name).MemoryDemand -gt 0")" = True ] || fail "no demand is known"
in_guest 'mkdir -p /big; mount -t tmpfs -o size=900m big /big; dd if=/dev/zero of=/big/x bs=1M count=200 2>/dev/null' >/dev/null
wait_for "[ \"\$(assigned)\" -gt $((idle + 150)) ]" "a busy guest gets no memory" 60
between "assigned to a busy guest" "$(assigned)" $((idle + 150)) 1024
[ "$(get "(Get-VM $name).MemoryStatus")" = OK ] || fail "MemoryStatus is not OK"
in_guest 'rm /big/x' >/dev/null
wait_for "[ \"\$(assigned)\" -lt $((idle + 100)) ]" "memory that is free again stays with the guest" 60
ps "Stop-VM $name -TurnOff -Force; Remove-VM $name -Force"
echo "idle at $idle MB"
