#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 240
# Bad input to `nestor run`: each gets one sentence on standard error and status 125, and leaves
# neither a process nor a file behind.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
kernel=$here/out/guest/hello.elf
passed=0 failed=0
[ -f "$kernel" ] || make -s -C "$here" guest || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1

# refuse WORDS-IN-THE-SENTENCE OPTION...
refuse() {
	want=$1
	shift
	before=$(ls)
	timeout 20 "$nestor" run --quiet --engine soft "$@" </dev/null >out 2>err
	status=$?
	lines=$(wc -l <err)
	text=$(cat err)
	[ -s out ] && text="something on standard output; $text"
	rm -f out err
	if [ $status = 125 ] && [ "$lines" = 1 ] && echo "$text" | grep -q "^nestor: .*$want" &&
		[ "$(ls)" = "$before" ]; then
		passed=$((passed + 1))
		return
	fi
	failed=$((failed + 1))
	echo "FAIL: $*: status $status, want 125 and \"$want\"; it said: $text; files: $(ls)"
}

: >empty
head -c 100000 /dev/urandom >garbage
head -c 3000 "$kernel" >truncated
truncate -s 600M large
truncate -s 1M disk.img readonly.img zeros
chmod 444 readonly.img
: >readonly.txt
mkfifo fifo
cp "$kernel" copy
echo kept >kept
chmod 444 readonly.txt

refuse 'kernel FILE is missing'
refuse 'No such file' --kernel none
refuse 'is a directory' --kernel /tmp
refuse 'empty' --kernel empty
refuse 'garbage' --kernel garbage
refuse 'truncated' --kernel truncated
refuse 'No such file' --kernel "$kernel" --initrd none
refuse 'memory' --kernel "$kernel" --initrd large
refuse 'too little' --kernel "$kernel" --memory 1M
refuse 'this host has' --kernel "$kernel" --memory 900G
refuse 'not a size' --kernel "$kernel" --memory much
refuse 'from 1 to' --kernel "$kernel" --cpus 0
refuse 'from 1 to' --kernel "$kernel" --cpus 65
refuse 'twice' --kernel "$kernel" --disk disk.img --disk disk.img
refuse 'twice' --kernel "$kernel" --disk disk.img --disk ./disk.img,readonly
refuse 'read-only' --kernel "$kernel" --disk readonly.img
refuse 'No such file' --kernel "$kernel" --disk none
refuse 'Permission denied' --kernel "$kernel" --serial file:readonly.txt
refuse 'No such file' --kernel "$kernel" --serial file:/no/such/folder/file
refuse 'No such file' --kernel "$kernel" --serial file:made --disk none
refuse 'none of stdio' --kernel "$kernel" --serial stdin
refuse 'only one' --kernel "$kernel" --serial stdio --serial stdio
refuse 'did you mean --memory' --kernel "$kernel" --memry 1G
refuse 'did you mean --expose-virtualization-extensions' --expose
refuse 'needs a value' --kernel
refuse 'takes no value' --kernel "$kernel" --no-reboot=yes
refuse 'unexpected argument' --kernel "$kernel" disk.img
refuse 'processor model' --kernel "$kernel" --cpu i286
refuse 'none of auto' --kernel "$kernel" --engine qemu
refuse 'number of seconds' --kernel "$kernel" --timeout never
refuse 'not an address' --kernel "$kernel" --gdb here:there
refuse 'neither none nor user' --kernel "$kernel" --nic tap
refuse 'port' --kernel "$kernel" --nic user,hostfwd=tcp::99999-:22
refuse 'incomplete' --kernel "$kernel" --nic user,hostfwd=tcp:127.0.0.1:8022
refuse 'only option' --kernel "$kernel" --nic user,mac=1
refuse 'empty value' --kernel ''
refuse 'empty value' --kernel "$kernel" --gdb ''
refuse 'unexpected argument ""' --kernel "$kernel" ''
refuse 'not a regular file' --kernel fifo
refuse 'not a regular file' --kernel /dev/zero
refuse 'not a regular file' --kernel "$kernel" --initrd /dev/zero
refuse 'is a directory' --kernel "$kernel" --disk .
refuse 'neither a file' --kernel "$kernel" --disk fifo
refuse 'neither a file' --kernel "$kernel" --disk /dev/null
refuse 'no whole sector' --kernel "$kernel" --disk empty
refuse 'not a size' --kernel "$kernel" --memory -1G
refuse 'not a size' --kernel "$kernel" --memory 99999999999999999999
refuse 'more than a VM' --kernel "$kernel" --memory 100T
refuse 'from 1 to' --kernel "$kernel" --cpus 1.5
refuse 'number of seconds' --kernel "$kernel" --timeout -1
refuse 'number of seconds' --kernel "$kernel" --timeout nan
refuse 'the nearest is nestor-v3' --kernel "$kernel" --cpu nestor-v33
refuse 'the nearest is AVX2' --kernel "$kernel" --cpu max,+avx22
refuse 'write +FEATURE' --kernel "$kernel" --cpu max,
refuse 'comes with --expose' --kernel "$kernel" --cpu max,+vmx
refuse 'no trace point' --kernel "$kernel" --trace events,nix
refuse 'port up to 65535' --kernel "$kernel" --gdb 70000
refuse 'nobody reads' --kernel "$kernel" --serial file:fifo
refuse 'ünïcode' --kernel ünïcode
refuse '%s%n' --kernel %s%n

# What a serial port would write over is kept.
refuse 'it is the kernel' --kernel copy --serial file:./copy
refuse 'it is a disk' --kernel "$kernel" --disk disk.img --serial file:disk.img
refuse "another port's" --kernel "$kernel" --serial file:kept --console file:kept
refuse 'processor model' --kernel "$kernel" --serial file:kept --cpu nix
if [ "$(cat kept)" = kept ] && [ -s copy ] && [ -s disk.img ]; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
	echo "FAIL: a refused VM emptied a file"
fi

# As somebody else, in somebody else's folder, and where little is left.
limited() {
	want=$1
	shift
	timeout 20 "$@" run --quiet --engine soft --debug-exit --memory 64M --kernel "$kernel" \
		--disk disk.img --nic user </dev/null >out 2>err
	status=$?
	if [ $status = "$want" ] && [ "$(wc -l <err)" = $((want == 125)) ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: under $*: status $status, want $want; it said: $(cat err)"
	fi
	rm -f out err
}
limited 33 "$nestor"
limited 125 prlimit --nofile=7 "$nestor"
limited 125 prlimit --as=60000000 "$nestor"
limited 125 prlimit --as=200000000 "$nestor"
nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
if [ "$(id -u)" = 0 ] && $nobody test -x "$nestor" && $nobody test -r "$kernel"; then
	# shellcheck disable=SC2086
	limited 125 $nobody "$nestor"
fi

# Closed or full standard descriptors: nothing else takes their place.
for redirect in '<&-' '>&-' '2>&-' '<&- >&- 2>&-' '>/dev/full' '2>/dev/full'; do
	eval "'$nestor' run --quiet --engine soft --debug-exit --kernel '$kernel' --disk disk.img \
		</dev/null >/dev/null 2>/dev/null $redirect"
	status=$?
	if [ $status = 33 ] && cmp -s disk.img zeros; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: with $redirect: status $status, want 33"
	fi
done
"$nestor" run --help >/dev/full 2>/dev/null
[ $? = 125 ] && passed=$((passed + 1)) || failed=$((failed + 1))

# Twice in two VMs: the first holds the file.
"$nestor" run --quiet --engine soft --kernel "$kernel" --disk disk.img --gdb 127.0.0.1:0 2>held &
holder=$!
while ! [ -s held ]; do sleep 0.1; done
rm held
refuse 'disk.img' --kernel "$kernel" --disk disk.img
kill $holder
wait $holder

# A port that another VM has.
port=$((20000 + $$ % 20000))
"$nestor" run --quiet --engine soft --kernel "$kernel" --gdb 127.0.0.1:0 \
	--nic user,hostfwd=tcp:127.0.0.1:$port-:22 2>held &
holder=$!
while ! [ -s held ]; do sleep 0.1; done
rm held
refuse "$port" --kernel "$kernel" --nic user,hostfwd=tcp:127.0.0.1:$port-:22
kill $holder
wait $holder

left=$(pgrep -P $$ | wc -l)
[ "$left" -le 2 ] && passed=$((passed + 1)) || failed=$((failed + 1)) # pgrep and wc themselves
echo "$passed passed, $failed failed"
[ $failed = 0 ]
