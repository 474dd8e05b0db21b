#!/bin/sh
# The demo's part that runs on the host with KVM (through on-kvm-host.sh), in a folder with clonevm, clonesafe-audit, vmlinuz
# and guest.cpio. usage: demo-on-host.sh KERNEL_NAME CLONES direct|nested [MASK]...     a MASK of "none" masks nothing
# Every run's result is left in $OUT, to be compared where there is a terminal to show it on.
kernel="$1" clones="$2" where="$3"
shift 3
[ $# -gt 0 ] || set -- none rdrand,rdseed

PATH="$PWD:$PATH"
export PATH

# audit FOLDER MODE MASK
audit() {
  folder="$1" mode="$2" mask="$3"
  set --
  [ "$mask" = none ] || set -- --cpu-mask "$mask"
  clonesafe-audit run --vmm clonevm --mode "$mode" --kernel vmlinuz --kernel-name "$kernel" --guest guest.cpio \
    --clones "$clones" --label "$(basename "$folder")" --out "$folder" "$@" >/dev/null
  code=$?
  # A snapshot is large, and holds secrets: not part of what is kept.
  rm -rf "$folder/snapshot"
  return "$code"
}

# On the emulated host a guest now and then ends by a triple fault (docs/testing.md). Only then, and only there, a run is done once more; what is
# left of the first one is kept.
broken_by_emulation() {
  [ "$where" = nested ] && grep -q "triple fault" "$1"/parent-vm/stderr "$1"/clones-vm/*/clone.json 2>/dev/null
}

for mask in "$@"; do
  for mode in without unannounced announced; do
    run="$OUT/$mode"
    [ "$mask" = none ] || run="$run-masked"
    audit "$run" "$mode" "$mask"
    code=$?
    if [ "$code" != 0 ] && broken_by_emulation "$run"; then
      echo "demo: a guest of the run $(basename "$run") ended by a triple fault on the emulated host: once more" >&2
      mv "$run" "$run-broken"
      audit "$run" "$mode" "$mask"
      code=$?
    fi
    if [ "$code" != 0 ]; then
      echo "demo: the run $(basename "$run") failed; its files:" >&2
      for file in "$run"/*stderr "$run"/*/*stderr; do [ -s "$file" ] && tail -n 5 "$file" >&2; done
      exit "$code"
    fi
  done
done
