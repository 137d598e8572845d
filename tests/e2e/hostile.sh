#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 300
# Guests that mean harm (tests/guest/hostile.c): nestor neither crashes nor hangs nor grows, says
# little, and ends with the status that each deserves.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
make -s -C "$here" guest || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
truncate -s 1M "$dir/disk"
passed=0 failed=0 limit=20

# The most memory that process $1 had beside its guest's, in MiB, while it lived.
watch_size() {
	most=0
	while now=$(awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup" 2>/dev/null) && [ "$now" ]; do
		[ "$now" -le "$most" ] || most=$now
		sleep 0.2
	done
	echo $(((most >> 10) - 64))
}

# run STATUSES SCENARIO [OPTION...]: leaves what it said in $dir/err
run() {
	want=$1 scenario=$2
	shift 2
	"$nestor" run --quiet --engine soft --cpus 2 --memory 64M --debug-exit \
		--disk "$dir/disk" --console "file:$dir/console" --timeout $limit \
		--kernel "$here/out/guest/hostile.elf" --append "$scenario" "$@" \
		</dev/null >"$dir/out" 2>"$dir/err" &
	pid=$!
	size=$(watch_size $pid)
	wait $pid
	status=$?
	said=$(wc -c <"$dir/err")
	if echo " $want " | grep -q " $status " && [ "$size" -lt 190 ] && [ "$said" -lt 20000 ]; then
		passed=$((passed + 1))
		return
	fi
	failed=$((failed + 1))
	echo "FAIL $scenario: status $status, want $want; $size MiB beside the guest's; on stderr $said bytes:"
	head -n 20 "$dir/err"
	tail -n 5 "$dir/out"
}

# says WORDS...: all of them are on stderr
says() {
	for word; do
		grep -q "$word" "$dir/err" && continue
		failed=$((failed + 1))
		echo "FAIL $scenario: it does not say $word but:"
		cat "$dir/err"
		return
	done
	passed=$((passed + 1))
}

run 126 triple
says 'triple fault on vCPU 0' 'rip 0*100' '1234567890abcdef' cr3
run 126 triple-on-ap
says 'triple fault on vCPU 1'
for place in fee00000 b0000000 60000000; do
	run 126 cr3=$place
	run 126 gdt=$place
	run 126 idt=$place
	run 126 tss=$place
done
for scenario in jump page-tables stack accesses ports mmio msrs; do
	run 33 $scenario --no-reboot
done
run 33 interrupts --no-reboot
run 33 dma --nic user

limit=2
run 124 spin
says 'did not end in time'
run 124 spin-on-all
run 124 halt
run '124 126' stack-fault=fee00400
run '124 126' stack-fault=60000000
limit=4
run 124 reset
# What random bytes do is their affair. Debug exit: any odd number.
odd=$(seq 1 2 255 | grep -v 125 | tr '\n' ' ')
for seed in 1 2 3; do
	run "0 124 126 $odd" random=$seed
done

left=$(pgrep -P $$ | wc -l)
[ "$left" -le 2 ] && passed=$((passed + 1)) || failed=$((failed + 1)) # pgrep and wc themselves
echo "$passed passed, $failed failed"
[ $failed = 0 ]
