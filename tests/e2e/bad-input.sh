#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 120
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
truncate -s 1M disk.img readonly.img
chmod 444 readonly.img
: >readonly.txt
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
