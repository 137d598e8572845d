#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 400
# Debian's Xen as the hypervisor in L1, loaded by multiboot, with Debian's Linux as dom0: Xen must find
# VMX and EPT, and xl must run a PVH guest (VT-x) and a PV guest, each with two vCPUs, to their ends.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
packages='xen-hypervisor-4.17-amd64 xen-utils-4.17 busybox-static coreutils dash'
image=$("$here/tools/guest-image" --kernel linux-image-amd64 --disk-packages "$packages" \
	--disk-size 1536M) || {
	echo "no guest image with Xen"
	exit 77
}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
PATH=$PATH:/usr/sbin:/sbin debugfs -R "dump /boot/xen-4.17-amd64.gz $dir/xen.gz" "$image/disk.img" 2>/dev/null
gunzip "$dir/xen.gz" || exit 1

# Xen gives dom0 only 1023 characters, so that its script is a disk: first in the initramfs ...
cat >"$dir/script" <<'EOS'
load crc32c_generic
for m in ext4 xen_evtchn xen_gntdev xen_privcmd xenfs; do load $m; done
mount -t ext4 -o ro /dev/vdb /mnt
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t xenfs xenfs /proc/xen
for d in dev proc sys; do mount --rbind /$d /mnt/$d; done
mount -t tmpfs tmp /mnt/tmp
mount -t tmpfs var /mnt/var
for d in lock lib/xen lib/xenstored log/xen run/xen run/xenstored; do mkdir -p /mnt/var/$d; done
cat >/mnt/tmp/script <<'EOT'
# ... then in the disk's root.
PATH=/usr/lib/xen-4.17/bin:$PATH
xenstored --pid-file /var/run/xenstored.pid
n=0
until xenstore-read -s / >/dev/null 2>&1 || [ $((n += 1)) -gt 100 ]; do sleep 0.1; done
xen-init-dom0
xenconsoled
xl info
for type in pvh pv; do
	cat >/tmp/$type <<-EOC
		name="$type"
		type="$type"
		memory=256
		vcpus=2
		kernel="/proc/1/root/nested/vmlinuz"
		ramdisk="/proc/1/root/nested/initrd"
		extra="console=hvc0 quiet panic=-1 nestor.level=2 nestor.run=poweroff"
	EOC
	echo "@guest $type"
	timeout 120 xl create -c /tmp/$type
	echo "@end $type $?"
done
EOT
chroot /mnt /bin/sh /tmp/script
EOS
truncate -s 64K "$dir/script"

# shellcheck disable=SC2016
start=$(printf '%s' 'load_virtio; tr -d "\0" </dev/vda >/tmp/dom0; . /tmp/dom0' | base64 -w 0)
timeout 380 "$nestor" run --quiet --engine soft --cpus 2 --memory 2G --nic none --no-reboot \
	--expose-virtualization-extensions --kernel "$dir/xen" --append \
	"com1=115200 console=com1 loglvl=all dom0_mem=768M noreboot" \
	--initrd "$image/vmlinuz console=hvc0 quiet panic=-1 nestor.run=script nestor.script=$start" \
	--initrd "$image/initrd-2" --disk "$dir/script,readonly" --disk "$image/disk.img,readonly" \
	</dev/null 2>&1 | tr -d '\r' >"$dir/log"

need() {
	if ! grep -q "$1" "$dir/log"; then
		cat "$dir/log"
		echo "FAIL: no '$1'"
		exit 1
	fi
}
need 'HVM: VMX enabled'
need 'HVM: Hardware Assisted Paging (HAP) detected'
need 'virt_caps.*hvm hap'
for type in pvh pv; do
	need "@end $type 0"
	sed -n "/@guest $type\$/,/@end $type /p" "$dir/log" >"$dir/$type"
	if ! grep -q '@nestor 2 up .* cpus 2' "$dir/$type" || ! grep -q '@nestor 2 off' "$dir/$type"; then
		need "the $type guest's end"
	fi
done
need '@nestor 1 off'
! grep -q 'BUG:\|WARNING:\|soft lockup\|Xen BUG\|Panic on CPU' "$dir/log" || need 'no complaint'
