#!/bin/sh
# The part of the matrix of ways that runs on the host with KVM (through on-kvm-host.sh), in a folder with clonevm, clonesafe-audit,
# audit-on-host.sh, vmlinuz and guest.cpio: the same audit with clones that were made in each way, without clonesafe and with it.
# usage: ways-on-host.sh KERNEL_NAME CLONES direct|nested
# $OUT gets two folders for each way: WAY and WAY-without.
kernel="$1" clones="$2" where="$3"
. ./audit-on-host.sh

for way in incremental fork descendant; do
  audit_or_end "$OUT/$way-without" --way "$way" --mode without --cpu-mask rdrand,rdseed --label "$way without"
  audit_or_end "$OUT/$way" --way "$way" --mode unannounced --cpu-mask rdrand,rdseed --label "$way"
done
