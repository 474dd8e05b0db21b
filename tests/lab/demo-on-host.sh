#!/bin/sh
# The demo's part that runs on the host with KVM (through on-kvm-host.sh), in a folder with clonevm, clonesafe-audit,
# audit-on-host.sh, vmlinuz and guest.cpio.
# usage: demo-on-host.sh KERNEL_NAME CLONES direct|nested [MASK]...     a MASK of "none" masks nothing
# $OUT gets one folder for each mode and mask.
kernel="$1" clones="$2" where="$3"
shift 3
[ $# -gt 0 ] || set -- none rdrand,rdseed
. ./audit-on-host.sh

for mask in "$@"; do
  for mode in without unannounced announced; do
    if [ "$mask" = none ]; then
      audit_or_end "$OUT/$mode" --mode "$mode" --label "$mode"
    else
      audit_or_end "$OUT/$mode-masked" --mode "$mode" --label "$mode-masked" --cpu-mask "$mask"
    fi
  done
done
