#!/bin/sh
# The removal matrix's part that runs on the host with KVM (through on-kvm-host.sh), in a folder with clonevm, clonesafe-audit,
# audit-on-host.sh, vmlinuz and guest.cpio: the same audit with one part of clonesafe taken away each time.
# usage: removal-on-host.sh KERNEL_NAME CLONES direct|nested
# $OUT gets one folder for each part: nothing, seed, agent, word, page.
kernel="$1" clones="$2" where="$3"
. ./audit-on-host.sh

# run NAME ARGUMENT...
run() {
  name="$1"
  shift
  audit_or_end "$OUT/$name" --mode unannounced --cpu-mask rdrand,rdseed --label "without $name" "$@"
}

run nothing
run seed --vmm-argument=--no-seed
run page --vmm-argument=--no-registered-page
# Nobody is left who could report that the clones are safe.
run agent --dont-wait-safe --cmdline clonesafe.agent=off
run word --vmm-argument=--no-vmgenid --vmm-argument=--no-vmclock --vmm-argument=--no-restore-page
