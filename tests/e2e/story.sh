#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 900
# The page's story by its own commands, judged by what the guests themselves say: made, refused while
# running, allowed while off, the flag and KVM inside, an L2 that `nestor` in L1 makes and starts with a
# manager of its own there, and all gone again when disabled. Names are drawn anew in each run.
# shellcheck disable=SC1111,SC2016
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
image=$("$here/tools/guest-image" | tail -n 1)
[ -f "$image/initrd-2" ] || { echo "no guest image: tools/guest-image failed" && exit 77; }
dir=$(mktemp -d) || exit 1
export NESTOR_HOME="$dir/state" NESTOR_IDLE_SECONDS=60
l1="Lab $(od -An -N4 -tx4 /dev/urandom | tr -d ' ')"
l2=inner$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
cd "$dir" || exit 1

cleanup() {
	"$nestor" -c 'Get-VM | Stop-VM -TurnOff -WarningAction SilentlyContinue' >/dev/null 2>&1
	pid=$("$nestor" api GET /v1/host 2>/dev/null | sed -n 's/.*"managerPid": \([0-9]*\).*/\1/p')
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	sleep 0.3
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

fail() {
	echo "FAIL: $1"
	tail -n 40 console.txt out err 2>/dev/null
	"$nestor" -c 'Get-VM | fl *'
	exit 1
}

# silent SCRIPT: no error, nothing printed
silent() {
	timeout 600 "$nestor" -c "$1" >out 2>err </dev/null || fail "$1: status $?"
	[ ! -s out ] || fail "$1 prints something"
	[ ! -s err ] || fail "$1 writes an error"
}

# prints SCRIPT TEXT
prints() {
	got=$(timeout 60 "$nestor" -c "$1" 2>err </dev/null) || fail "$1: status $?"
	[ "$got" = "$2" ] || fail "$1: '$got', want '$2'"
}

# boots SCRIPT: sets what L1 shall run, starts it
boots() {
	rm -f console.txt
	silent "Set-VMFirmware '$l1' -KernelCommandLine 'console=ttyS0 quiet panic=-1 no_timer_check \
nestor.run=script nestor.script=$(printf %s "$1" | base64 -w 0)'; Start-VM '$l1'"
}

# says TEXT: waits for a line of L1's console
says() {
	for _ in $(seq 600); do
		! grep -q -- "$1" console.txt 2>/dev/null || return 0
		[ "$("$nestor" -c "(Get-VM '$l1').State")" = Off ] && break
		sleep 1
	done
	grep -q -- "$1" console.txt || fail "L1 does not say '$1'"
}

is_off() {
	for _ in $(seq 600); do
		[ "$("$nestor" -c "(Get-VM '$l1').State")" != Off ] || return 0
		sleep 1
	done
	fail "L1 is not off"
}

probe='grep -q "^flags.*\bvmx\b" /proc/cpuinfo && say has-vmx || say no-vmx
load kvm_intel 2>/dev/null && say kvm-loaded || say kvm-refused'

# ---- Off by default ----------------------------------------------------------------------------
silent "New-VM -Name '$l1' -MemoryStartupBytes 1GB | Out-Null; Set-VMProcessor '$l1' -Count 2
Set-VMFirmware '$l1' -KernelPath $image/vmlinuz -InitialRamdiskPath $image/initrd-2
Set-VMComPort '$l1' 1 -Path $dir/console.txt"
prints "(Get-VMProcessor '$l1').ExposeVirtualizationExtensions" False
boots "$probe"
says '@nestor 1 no-vmx'
says '@nestor 1 kvm-refused'
is_off

# ---- On: an L2, by the same commands, in L1 ------------------------------------------------------
silent "Set-VMProcessor -VMName '$l1' -ExposeVirtualizationExtensions \$true"
boots "$probe"'
n() { nestor "$@" 2>&1; }
n New-VM -Name '"$l2"' -MemoryStartupBytes 192MB
n Set-VMFirmware '"$l2"' -KernelPath /nested/vmlinuz -InitialRamdiskPath /nested/initrd -KernelCommandLine \
	"console=ttyS0 quiet no_timer_check panic=-1 nestor.run=shell nestor.level=2"
n Set-VMComPort '"$l2"' 1 -Path /tmp/l2
n Start-VM '"$l2"'
say engine $(n -c "(Get-VM '"$l2"').EngineInUse")
for i in $(seq 300); do grep -q "@nestor 2 up" /tmp/l2 2>/dev/null && break; sleep 1; done
grep "@nestor 2 up" /tmp/l2 || { n Get-VM; cat /tmp/l2; }
say l2-state $(n -c "(Get-VM '"$l2"').State")
sleep 1000'
says '@nestor 1 has-vmx'
says '@nestor 1 kvm-loaded'
says '@nestor 1 engine Kvm'
says '@nestor 2 up'
says '@nestor 1 l2-state Running'
prints "Get-VM '$l1' | % { \"\$(\$_.State) \$(\$_.ExposeVirtualizationExtensions) \$(\$_.HypervisorActive)\" }" \
	'Running True True'

# ---- Refused while it runs ---------------------------------------------------------------------------
if timeout 60 "$nestor" -c "Set-VMProcessor -VMName '$l1' -ExposeVirtualizationExtensions \$false" >out 2>err; then
	fail 'disabling is not refused while it runs'
fi
for line in 'Set-VMProcessor : The operation cannot be performed while the virtual machine is in its current state.' \
	"    + CategoryInfo          : InvalidOperation: ($l1:String) [Set-VMProcessor], VirtualizationException" \
	'    + FullyQualifiedErrorId : InvalidState,Microsoft.HyperV.PowerShell.Commands.SetVMProcessor'; do
	grep -qxF -- "$line" err || fail "the record has no line '$line'"
done
prints "(Get-VMProcessor '$l1').ExposeVirtualizationExtensions" True

# ---- Off again ------------------------------------------------------------------------------------------
silent "Stop-VM '$l1' -TurnOff; Set-VMProcessor –VMName “$l1” –ExposeVirtualizationExtensions \$false"
boots "$probe"
says '@nestor 1 no-vmx'
says '@nestor 1 kvm-refused'
is_off
silent "Remove-VM '$l1' -Force; Get-VM"
echo passed
