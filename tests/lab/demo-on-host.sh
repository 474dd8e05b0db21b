#!/bin/sh
# The demo's part that runs on the host with KVM (through on-kvm-host.sh), in a folder with clonevm, clonesafe-audit, vmlinuz
# and guest.cpio. usage: demo-on-host.sh KERNEL_NAME CLONES [MASK]...     a MASK of "none" masks nothing
# Every run's result is left in $OUT, to be compared where there is a terminal to show it on.
kernel="$1" clones="$2"
shift 2
[ $# -gt 0 ] || set -- none rdrand,rdseed

PATH="$PWD:$PATH"
export PATH
for mask in "$@"; do
  for mode in without unannounced announced; do
    run="$OUT/$mode"
    set --
    if [ "$mask" != none ]; then
      run="$run-masked"
      set -- --cpu-mask "$mask"
    fi
    clonesafe-audit run --vmm clonevm --mode "$mode" --kernel vmlinuz --kernel-name "$kernel" --guest guest.cpio \
      --clones "$clones" --label "$(basename "$run")" --out "$run" "$@" >/dev/null
    code=$?
    # A snapshot is large, and holds secrets: not part of what is kept.
    rm -rf "$run/snapshot"
    if [ "$code" != 0 ]; then
      echo "demo: the run $(basename "$run") failed; its files:" >&2
      for file in "$run"/*stderr "$run"/*/*stderr; do [ -s "$file" ] && tail -n 5 "$file" >&2; done
      exit "$code"
    fi
  done
done
