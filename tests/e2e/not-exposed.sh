#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 120
# Without --expose-virtualization-extensions Linux sees no vmx flag, kvm_intel refuses to load, and
# the VMX MSRs fault (that the bare-metal guest vmx_insn checks too).
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
guest=$("$here/tools/guest-image") || exit 77
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
script='grep -q "^flags.*\bvmx\b" /proc/cpuinfo && say has-vmx || say no-vmx
load kvm_intel && say loaded || say refused'
timeout 110 "${NESTOR:-$here/nestor}" run --engine soft --memory 512M --nic none --no-reboot \
	--kernel "$guest/vmlinuz" --initrd "$guest/initrd-2" --append \
	"console=ttyS0 quiet nestor.run=script nestor.script=$(echo "$script" | base64 -w 0)" \
	</dev/null >"$log" 2>&1
status=$?
if [ $status != 0 ] || ! grep -q '@nestor 1 no-vmx' "$log" || ! grep -q '@nestor 1 refused' "$log"; then
	cat "$log"
	echo "status $status"
	exit 1
fi
"${NESTOR:-$here/nestor}" run --engine soft --memory 64M --nic none --no-reboot --debug-exit \
	--kernel "$here/out/guest/vmx_insn.elf" </dev/null
[ $? = 33 ]
