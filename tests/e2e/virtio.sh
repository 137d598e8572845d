#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 200
# Disk, network card and random numbers, used by Linux's drivers: a disk is copied to another, a
# read-only one refuses writes, a host's connection reaches the guest and brings data both ways.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
images=$("$here/tools/guest-image" --depth 1 | tail -n 1)
[ -f "$images/initrd-1" ] || { echo "no guest image: tools/guest-image failed" && exit 77; }
[ -x "$(dirname "$(readlink -f "$nestor")")/nestor-nat" ] || { echo "no nestor-nat" && exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
head -c 16M /dev/urandom >from.img
truncate -s 16M to.img
head -c 1M /dev/urandom >readonly.img
cp readonly.img readonly.copy
head -c 3M /dev/urandom >sent

cat >script <<'EOS'
load_virtio
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
dd if=/dev/vda of=/dev/vdb bs=256k conv=fsync 2>/dev/null && say copied
dd if=/dev/zero of=/dev/vdc bs=512 count=1 2>/dev/null && say wrote-readonly
udhcpc -i eth0 -n -q 2>&1 | grep -q '10.0.2.15 obtained' && say leased
[ "$(head -c 4096 /dev/hwrng | wc -c)" = 4096 ] && say random
say listening
nc -l -p 2000 >/tmp/got
say got $(sha256sum </tmp/got)
nc -l -p 2001 </tmp/got
say served
EOS

# Port $1 sends or takes data on descriptor 3: bash's /dev/tcp is on every Debian.
port=$((20000 + $$ % 20000))
cat >peer <<EOS
until grep -q '1 listening' log; do sleep 0.2; done
sleep 1
exec 3<>/dev/tcp/127.0.0.1/$port || exit 1
cat sent >&3
exec 3>&-
until grep -q '1 got' log; do sleep 0.2; done
sleep 1
exec 3<>/dev/tcp/127.0.0.1/$((port + 1)) || exit 1
cat <&3 >back
EOS
timeout 150 bash ./peer 2>peer.err &
timeout 150 "$nestor" run --quiet --engine soft --cpus 2 --memory 256M --no-reboot --disk from.img \
	--disk to.img --disk readonly.img,readonly --kernel "$images/vmlinuz" \
	--nic "user,hostfwd=tcp:127.0.0.1:$port-:2000,hostfwd=tcp::$((port + 1))-:2001" \
	--initrd "$images/initrd-1" --append "console=ttyS0 quiet panic=-1 nestor.run=script \
nestor.script=$(base64 -w0 script)" </dev/null >log 2>&1
status=$?
wait

fail() {
	cat log peer.err
	echo "FAIL: $1"
	exit 1
}

[ $status = 0 ] || fail "status $status"
for word in copied leased random listening served "got $(sha256sum <sent | cut -d ' ' -f 1)"; do
	grep -q "@nestor 1 $word" log || fail "no '$word'"
done
! grep -q wrote-readonly log || fail "a read-only disk was written"
cmp from.img to.img || fail "the copy differs"
cmp readonly.img readonly.copy || fail "the read-only image changed"
cmp sent back || fail "what came back differs"
! grep -q 'BUG:\|WARNING:\|stall\|I/O error.*vd[ab]' log || fail "the kernel complained"
