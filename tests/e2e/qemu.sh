#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 500
# Debian's QEMU as the hypervisor in L1: under KVM there it boots Linux by SeaBIOS on both of its PCs,
# by GRUB from a disk (real mode, INT 13H), and by OVMF. Then the same with the parameters of KVM that
# change how it uses VT-x most: no EPT (shadow paging), and no unrestricted guest (KVM emulates real
# mode).
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
packages='qemu-system-x86 seabios ovmf grub-common grub-pc-bin busybox-static coreutils dash'
image=$("$here/tools/guest-image" --disk-packages "$packages" --disk-size 1G) || {
	echo "no guest image with QEMU"
	exit 77
}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

# What runs in L1, in the disk's root: guest NAME QEMU-OPTION... says how it ended.
# shellcheck disable=SC2016
functions='guest() {
	name=$1
	shift
	echo "@guest $name"
	timeout 150 qemu-system-x86_64 -accel kvm -m 256 -nodefaults -display none -serial stdio -no-reboot \
		"$@" </dev/null
	echo "@end $name $?"
}
nested=/proc/1/root/nested
append="console=ttyS0 quiet panic=-1 nestor.level=2 nestor.run=poweroff"
direct() {
	guest "$@" -kernel $nested/vmlinuz -initrd $nested/initrd -append "$append"
}
disk() {
	busybox tar -C $nested -cf /tmp/files vmlinuz initrd
	cat >/tmp/grub.cfg <<-EOC
		serial
		terminal_output serial
		linux (hd1)/vmlinuz $append
		initrd (hd1)/initrd
		boot
	EOC
	grub-mkimage -O i386-pc -o /tmp/core.img -p / -c /tmp/grub.cfg biosdisk tar linux serial terminal boot
	cat /usr/lib/grub/i386-pc/boot.img /tmp/core.img >/tmp/disk
	truncate -s 1M /tmp/disk
	guest "$@" -drive file=/tmp/disk,format=raw -drive file=/tmp/files,format=raw
}
'

# run PARAMETERS-OF-KVM SCRIPT GUEST...: L1 runs the script, and each of the guests must come to its end.
run() {
	kvm=$1
	script=$(printf '%s%s' "$functions" "$2" | base64 -w 0)
	shift 2
	timeout 300 "$nestor" run --quiet --engine soft --cpus 2 --memory 1536M --nic none \
		--expose-virtualization-extensions --no-reboot --kernel "$image/vmlinuz" \
		--initrd "$image/initrd-2" --disk "$image/disk.img,readonly" --append \
		"console=ttyS0 quiet panic=-1 no_timer_check nestor.run=script nestor.kvm_intel=$kvm \
nestor.script=$(echo "load_kvm; script=$script; run_disk" | base64 -w 0)" </dev/null 2>&1 |
		tr -d '\r' >"$log"
	for name in "$@"; do
		if ! sed -n "/@guest $name\$/,/@end $name /p" "$log" | grep -q '@nestor 2 off' ||
			! grep -q "@end $name 0" "$log"; then
			cat "$log"
			echo "FAIL: QEMU's guest $name (KVM: ${kvm:-no parameters})"
			exit 1
		fi
	done
	if grep -q 'BUG:\|WARNING:\|KVM internal error\|soft lockup' "$log"; then
		cat "$log"
		echo "FAIL: a kernel complained (KVM: ${kvm:-no parameters})"
		exit 1
	fi
}

run '' 'direct pc -machine pc
direct q35 -machine q35 -cpu host -smp 2
disk disk -machine q35 -smp 2
direct ovmf -machine q35 -cpu host -bios /usr/share/ovmf/OVMF.fd' pc q35 disk ovmf
run ept=0 'direct pc -machine pc -smp 2' pc
run unrestricted_guest=0 'direct pc -machine pc -smp 2' pc
