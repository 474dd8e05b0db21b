#!/bin/sh
# The part of the identifiers' matrix that runs on the host with KVM (through on-kvm-host.sh), in a folder with clonevm,
# clonesafe-audit, audit-on-host.sh, vmlinuz and guest.cpio: random values and identifiers of every kind, four threads each.
# usage: identifiers-on-host.sh KERNEL_NAME CLONES direct|nested RUN...
#   RUN  quick    with clonesafe, RDRAND and RDSEED hidden; one vCPU, and the clones are read without waiting for their agents
#        masked   the same with two, and read once their agents are done
#        plain    as masked, with RDRAND and RDSEED
#        without  as masked, without clonesafe
# $OUT gets a folder for each.
kernel="$1" clones="$2" where="$3"
shift 3
. ./audit-on-host.sh

hidden=rdrand,rdseed
for run in "$@"; do
  case "$run" in
    quick) audit_or_end "$OUT/quick" --label quick --mode unannounced --cpu-mask "$hidden" --cpus 1 --dont-wait-safe ;;
    masked) audit_or_end "$OUT/masked" --label masked --mode unannounced --cpu-mask "$hidden" ;;
    plain) audit_or_end "$OUT/plain" --label plain --mode unannounced ;;
    without) audit_or_end "$OUT/without" --label without --mode without --cpu-mask "$hidden" ;;
    *) echo "identifiers-on-host.sh: unknown run '$run'" >&2 && exit 2 ;;
  esac
done
