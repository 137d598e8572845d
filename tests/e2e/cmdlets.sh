#!/bin/sh
# SPDX-License-Identifier: MIT
# seconds: 300
# The cmdlets through `nestor -c`, on a manager of their own: what they print, what they refuse, in
# which words, and that a refusal changes nothing. Names of VMs are drawn anew in each run. No
# VM is started here.
# shellcheck disable=SC1111,SC2016
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
nestor=${NESTOR:-$here/nestor}
dir=$(mktemp -d) || exit 1
export NESTOR_HOME="$dir/state" NESTOR_IDLE_SECONDS=60
cd "$dir" || exit 1
passed=0 failed=0
name="vm$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')"
odd="it's a “$name” [1] .."

cleanup() {
	pid=$("$nestor" api GET /v1/host 2>/dev/null | sed -n 's/.*"managerPid": \([0-9]*\).*/\1/p')
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	sleep 0.3
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

ok() {
	passed=$((passed + 1))
}

bad() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	sed 's/^/  out: /' out
	sed 's/^/  err: /' err
}

# does SCRIPT [LINE]...: no error; each LINE is a whole line of what is printed
does() {
	script=$1
	shift
	timeout 60 "$nestor" -c "$script" >out 2>err </dev/null
	status=$?
	if [ $status != 0 ] || [ -s err ]; then
		bad "$script: status $status"
		return
	fi
	for line; do
		grep -qxF -- "$line" out || { bad "$script: no line '$line'" && return; }
	done
	ok
}

# silent SCRIPT: it prints nothing
silent() {
	does "$1"
	[ ! -s out ] || bad "$1: prints something"
}

state() {
	"$nestor" api GET /v1/vms | grep -v '"\(cpuUsage\|exitsPerSecond\)"'
}

# refuses SCRIPT CATEGORY ID SENTENCE: one record, status 1, and nothing is changed
refuses() {
	before=$(state)
	timeout 60 "$nestor" -c "$1" >out 2>err </dev/null
	status=$?
	if [ $status = 1 ] && [ ! -s out ] && grep -qF "+ CategoryInfo          : $2" err &&
		grep -qE "^    \+ FullyQualifiedErrorId : $3(,|\$)" err && grep -qF -- "$4" err &&
		[ "$(state)" = "$before" ]; then
		ok
	else
		bad "$1: status $status, want 1, $2, $3 and '$4'"
	fi
}

# ---- Making VMs, and what is shown ----------------------------------------------------------------

silent 'Get-VM'
does "New-VM -Name $name -MemoryStartupBytes 64MB" \
	'Name       State CPUUsage(%) MemoryAssigned(M) Uptime   Status             Version Exposed Active' \
	"$name Off   0           0                 00:00:00 Operating normally 12.0    False   False"
does "Get-VMProcessor $name" \
	'VMName     Count CompatibilityForMigrationEnabled CompatibilityForOlderOperatingSystemsEnabled Exposed Active' \
	"$name 1     False                            False                                        False   False"
does "Get-VMProcessor $name | fl" 'ResourcePoolName                             : Primordial' \
	'OperationalStatus                            : {Ok, HostResourceProtectionDisabled}' \
	"VMName                                       : $name"
does "Get-VMMemory $name" 'VMName     DynamicMemoryEnabled Minimum(M) Startup(M) Maximum(M)' \
	"$name False                512        64         1048576"
does "Get-VMDvdDrive $name | % ControllerNumber" 1
does "Get-VMIntegrationService $name | Where-Object Enabled -eq \$false | % Name" 'Guest Service Interface'
does "Get-VMComPort $name | % Name" 'COM 1' 'COM 2'
does 'Get-VMHostSupportedVersion -Default | % IsDefault' True
does 'Get-VMHost | % LogicalProcessorCount' "$(nproc)"
does "(Get-VM $name).Uptime.TotalSeconds" 0
does "Get-VM $name | ConvertTo-Json -Compress | ConvertFrom-Json | % Name" "$name"

# ---- Changing ------------------------------------------------------------------------------------------

silent "Set-VMProcessor -VMName $name -ExposeVirtualizationExtensions \$true"
does "(Get-VMProcessor $name).ExposeVirtualizationExtensions" True
silent "Set-VMProcessor –VMName “$name” –ExposeVirtualizationExtensions \$false"
does "Get-VM $name | ft ExposeVirtualizationExtensions -HideTableHeaders" False
silent "Get-VM $name | Set-VMProcessor -Count 2 -Maximum 50"
silent "Get-VMProcessor $name | Set-VMProcessor -Reserve 10"
does "Get-VMProcessor $name | % { \"\$(\$_.Count) \$(\$_.Maximum) \$(\$_.Reserve)\" }" '2 50 10'
does "Set-VMMemory $name -Dyn \$true -Min 32MB -Start 64MB -MaximumB 1GB -Passthru" \
	"$name True                 32         64         1024"
silent "Set-VM $name -StaticMemory -Notes 'a \$b “c”' -AutomaticStopAction turnoff -Engine software"
does "Get-VM $name | % { \$_.Notes; \$_.AutomaticStopAction; \$_.Engine }" 'a $b “c”' TurnOff Software
silent "Rename-VM $name -NewName $name-2; Get-VM $name-2 | Rename-VM -NewName $name"
does "New-VHD disk.img -SizeBytes 2MB | % Size" 2097152
does "Add-VMHardDiskDrive $name -Path disk.img -Passthru | % Path" "$dir/disk.img"
does "Get-VMHardDiskDrive $name" "$name IDE            0                0                             $dir/disk.img"
silent "Get-VMHardDiskDrive $name | Remove-VMHardDiskDrive; Get-VMHardDiskDrive $name"
silent "Set-VMDvdDrive $name -Path disk.img; Set-VMDvdDrive $name -Path \$null"
silent "Set-VMFirmware $name -KernelPath disk.img -KernelCommandLine 'quiet'"
does "Get-VMFirmware $name | % KernelPath" "$dir/disk.img"
silent "Set-VMFirmware $name -KernelPath \$null -KernelCommandLine \$null"
silent "Set-VMComPort $name 1 -Path port.txt"
does "(Get-VMComPort $name -Number 1).Path" "$dir/port.txt"
does "Set-VMProcessor $name -Count 1 -WhatIf" \
	"What if: Set-VMProcessor will configure the processor settings of the virtual machine \"$name\"."
does "Stop-VM $name -WhatIf; Remove-VM $name -WhatIf; Add-VMHardDiskDrive $name -WhatIf" \
	"What if: Stop-VM will shut down the virtual machine \"$name\"." \
	"What if: Remove-VM will remove virtual machine \"$name\"." \
	"What if: Add-VMHardDiskDrive will add a hard disk drive to virtual machine \"$name\"."
does "(Get-VMProcessor $name).Count" 2

# ---- Program arguments -----------------------------------------------------------------------------------

words() {
	want=$1
	shift
	got=$(timeout 60 "$nestor" "$@" 2>&1 </dev/null)
	[ "$got" = "$want" ] && ok && return
	failed=$((failed + 1))
	echo "FAIL: $*: '$got', want '$want'"
}
for true in "\$true" true 1; do
	words '' Set-VMProcessor -VMName "$name" -ExposeVirtualizationExtensions "$true"
	words True -c "(Get-VMProcessor $name).ExposeVirtualizationExtensions"
	words '' Set-VMProcessor "$name" -Expose:0
done
words "$name" "Get-VM $name | % Name"
words '' Set-VMProcessor –VMName "“$name”" –Count 2
# README's line for bash
line=$(sed -n 's/^    \(true=.*command_not_found_handle.*\)/\1/p' "$here/README.md")
echo "$line" >bashrc
cat >>bashrc <<-BASH
	PATH=$(dirname "$nestor"):\$PATH
	Set-VMProcessor –VMName $name -ExposeVirtualizationExtensions \$true
	no-such-program
BASH
bash bashrc >out 2>err
if ! grep -q 'no-such-program: command not found' err || [ -s out ]; then
	bad "README's line: $line"
fi
words True -c "(Get-VMProcessor $name).ExposeVirtualizationExtensions"
silent "Set-VMProcessor $name -Expose \$false"
echo "(Get-VM $name).Name" >script.ps1
words "$name" -f script.ps1
[ "$("$nestor" - <script.ps1)$("$nestor" <script.ps1)" = "$name$name" ] || bad 'a script on standard input'

# ---- Refusals ------------------------------------------------------------------------------------------------

for odd_name in nope ../../etc/passwd "$dir" "a'b" 'a"b' 'a b' .. "$(printf 'a\tb\033c')" \
	"$(head -c 10000 /dev/zero | tr '\0' x)"; do
	quoted="'$(echo "$odd_name" | sed "s/'/''/g")'"
	refuses "Get-VM $quoted" InvalidArgument InvalidParameter 'Hyper-V was unable to find a virtual machine with name "'
	refuses "Set-VMProcessor $quoted -Count 1" ObjectNotFound ObjectNotFound \
		'Hyper-V was unable to find a virtual machine with name "'
done
for cmdlet in Get-VMProcessor Get-VMMemory Set-VMMemory Get-VMHardDiskDrive Get-VMDvdDrive Set-VMDvdDrive \
	Get-VMFirmware Set-VMFirmware Get-VMComPort Get-VMIntegrationService Measure-VM Set-VM Start-VM Stop-VM \
	Suspend-VM Resume-VM 'Restart-VM -Force' 'Remove-VM -Force' Save-VM Remove-VMSavedState \
	'Update-VMVersion -Force' 'Rename-VM -NewName q' 'Add-VMHardDiskDrive -Path /x' 'Set-VMComPort -Number 1'; do
	refuses "$cmdlet nope" ObjectNotFound ObjectNotFound 'Hyper-V was unable to find a virtual machine with name "nope".'
done
silent 'Get-VM nope*; Start-VM nope*'
does "Get-VM nope, $name -ea SilentlyContinue | % Name" "$name"
refuses "Set-VMMemory $name -StartupBytes 65MB" InvalidArgument InvalidArgument \
	"Invalid memory value assigned for '$name'. The memory value assigned ('65' MB) is not properly aligned. Try again with a memory value that is properly aligned."
refuses "Set-VMMemory $name -StartupBytes 16MB" InvalidData ParameterArgumentValidationError 'minimum allowed range of 33554432'
refuses "Set-VMProcessor $name -Count 0" InvalidData ParameterArgumentValidationError 'minimum allowed range of 1'
refuses "Set-VMProcessor $name -Count many" InvalidArgument CannotConvertArgumentNoMessage 'Cannot convert value "many"'
refuses "Set-VMProcessor $name -Ma 5" InvalidArgument AmbiguousParameter \
	'-Maximum -MaximumCountPerNumaNode -MaximumCountPerNumaSocket.'
refuses "Set-VMProcessor -VMName <VMName> -ExposeVirtualizationExtensions \$true" ParserError RedirectionNotSupported \
	"The '<' operator is reserved for future use."
refuses "Set-VM $name -DynamicMemory -MemoryMinimumBytes 128MB" InvalidArgument InvalidArgument \
	"Failed to modify device 'Memory'."
refuses "New-VM x -Version 7.5" InvalidArgument InvalidArgument "The configuration version '7.5' is not supported."
refuses "New-VM x -Generation 3" InvalidData ParameterArgumentValidationError 'maximum allowed range of 2'
refuses "New-VM ('x' * 101)" InvalidArgument InvalidArgument "Cannot validate argument on parameter 'Name'."
refuses 'New-VM "a`nb"' InvalidArgument InvalidArgument "Cannot validate argument on parameter 'Name'."
refuses 'New-VM x -SwitchName s' ObjectNotFound ObjectNotFound 'Hyper-V was unable to find a virtual switch with name "s".'
refuses "Restart-VM $name -Force" InvalidOperation InvalidState \
	'The operation cannot be performed while the virtual machine is in its current state.'
refuses "Remove-VM $name" InvalidOperation InvalidOperation "Are you sure you want to remove virtual machine \"$name\"?"
refuses "Remove-VMSavedState $name" InvalidOperation InvalidState 'in its current state'
refuses "Set-VMFirmware $name -EnableSecureBoot On" InvalidOperation InvalidState 'generation 2'
refuses "Set-VMHardDiskDrive $name -Path /x" ObjectNotFound ObjectNotFound 'was unable to find a hard disk drive'
refuses "New-VHD x.vhdx -SizeBytes 1GB" NotImplemented NotAvailable 'not available yet'
refuses "New-VHD disk.img -SizeBytes 2MB" NotSpecified FileExists 'Failed to create the virtual hard disk.'
refuses "Get-VHD nothing.img" ObjectNotFound ObjectNotFound 'nothing.img'
refuses "Checkpoint-VM $name" NotImplemented NotAvailable 'Checkpoint-VM is not available yet.'
refuses "Move-VM $name other" NotImplemented NotAvailable 'Move-VM is not available yet.'
refuses "Get-VM -ComputerName other" NotImplemented NotAvailable "The parameter 'ComputerName' is not available yet"
refuses "Start-VM $name -AsJob" NotImplemented NotAvailable "The parameter 'AsJob' is not available yet"
[ ! -e x.vhdx ] || bad "x.vhdx was made"
silent "Get-VM -ComputerName localhost | Out-Null"
[ -z "$(find . -name 'x*' -o -name nope)" ] || bad "files were left: $(ls)"

# An old version cannot nest, until it is raised.
does "New-VM old-$name 64MB -Version 7.1 | % Version" 7.1
refuses "Set-VMProcessor old-$name -ExposeVirtualizationExtensions \$true" NotSupported InvalidState \
	"Failed to modify device 'Processor'."
silent "Update-VMVersion old-$name -Force; Set-VMProcessor old-$name -ExposeVirtualizationExtensions \$true"

# ---- Odd names, names that are not unique ------------------------------------------------------------------------

quoted="'$(echo "$odd" | sed "s/'/''/g")'"
silent "New-VM $quoted 64MB | Out-Null; Set-VMProcessor $quoted -Count 3"
does "Get-VMProcessor $quoted | % VMName; Get-VM $quoted | Get-VMProcessor | % Count" "$odd" 3
silent "New-VM twin 64MB | Out-Null; New-VM TWIN 64MB | Out-Null; Set-VMProcessor twin -Count 4"
does "Get-VMProcessor Twin | Measure-Object Count -Sum | % Sum" 8
silent "Remove-VM twin, $quoted, old-$name -Force; Get-VM tw*"

# ---- Two shells at once; a damaged configuration; a folder that is none --------------------------------------------

for i in 1 2 3 4 5 6 7 8; do
	"$nestor" -c "Set-VMProcessor $name -Count $i" &
	"$nestor" -c "Set-VMMemory $name -Priority $i" &
done
wait
does "Get-VMProcessor $name | % { \$_.Count -ge 1 -and \$_.Count -le 8 }" True
does "Get-VMMemory $name | % { \$_.Priority -ge 1 -and \$_.Priority -le 8 }" True

id=$("$nestor" -c 'New-VM broken 64MB | % VMId')
pid=$("$nestor" api GET /v1/host | sed -n 's/.*"managerPid": \([0-9]*\).*/\1/p')
kill -9 "$pid"
echo '{ broken' >"$NESTOR_HOME/vms/$id/config.json"
does "Get-VM | Sort-Object Name | % { \"\$(\$_.State)\" }" Off OffCritical
does "(Get-VM $name).State" Off
silent "Get-VM | ? State -eq OffCritical | Remove-VM -Force"

NESTOR_HOME=/dev/null/x timeout 60 "$nestor" -c 'Get-VM' >out 2>err </dev/null
status=$?
if [ $status = 1 ] && grep -q 'FullyQualifiedErrorId : .*GetVM$' err && [ ! -s out ]; then
	ok
else
	bad "a state folder that cannot be: status $status"
fi
silent "Remove-VM $name -Force"
silent 'Get-VM'

echo "$passed passed, $failed failed"
[ $failed = 0 ]
