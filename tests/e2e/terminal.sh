#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 60
# On a terminal: the guest's faults stay the guest's, and Ctrl-a x ends the virtual machine.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
make -s -C "$here" guest || exit 1
command -v script >/dev/null || { echo "no script(1) here"; exit 77; }

# on_terminal OPTION...: what is on standard input is typed, and ends when the VM does
on_terminal() {
	timeout 40 script -qec "'$nestor' run --engine soft --memory 64M --nic none $*" /dev/null
}

on_terminal --no-reboot --debug-exit --kernel "$here/out/guest/exceptions.elf" </dev/null
status=$?
[ $status = 33 ] || { echo "status $status, want 33"; exit 1; }

{ sleep 1; printf '\001h'; sleep 1; printf '\001x'; sleep 3; } |
	on_terminal --kernel "$here/out/guest/hostile.elf" --append spin --timeout 30
status=$?
[ $status = 0 ] || { echo "Ctrl-a x: status $status, want 0"; exit 1; }
