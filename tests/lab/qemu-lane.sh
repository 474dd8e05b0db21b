#!/bin/bash
# The qemu lane: QEMU is the VMM (its own vmgenid; stop, migrate to a file, one incoming process for each clone), guest and
# agent are those of the nested lane, unchanged. Runs the audit without clonesafe and with it, and compares.
# usage: qemu-lane.sh [--kernel 6.1|6.12|7] [--clones N] [--cpu-mask LIST] [--vmclock] [--build DIR] --out DIR
#   --vmclock  QEMU's VMCLOCK too: a disruption marker, no generation counter
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
top="$(readlink -f "$here/../..")"
kernel=6.12 clones=2 mask="" build="$top/build/release" out=""
devices=()
while [ $# -gt 0 ]; do
  if [ "$1" = --vmclock ]; then
    devices=(--vmm-argument=-device --vmm-argument=vmclock)
    shift
    continue
  fi
  [ $# -ge 2 ] || {
    echo "qemu-lane.sh: $1 needs a value" >&2
    exit 2
  }
  case "$1" in
    --kernel) kernel="$2" ;;
    --clones) clones="$2" ;;
    --cpu-mask) mask="$2" ;;
    --build) build="$2" ;;
    --out) out="$2" ;;
    *)
      echo "qemu-lane.sh: unknown argument '$1'" >&2
      exit 2
      ;;
  esac
  shift 2
done
[ -n "$out" ] || {
  echo "qemu-lane.sh: --out is needed" >&2
  exit 2
}

cache="$("$here/fetch.sh" "$kernel" qemu)"
rm -rf "$out/without" "$out/unannounced"
mkdir -p "$out"
"$here/guest/build.sh" --kernel "$kernel" --build "$build" --out "$out/guest.cpio"
for mode in without unannounced; do
  "$build/bin/clonesafe-audit" run --vmm qemu --vmm-program "$cache/qemu/qemu" --mode "$mode" --cpu-mask "$mask" \
    "${devices[@]}" --kernel "$cache/kernels/$kernel/vmlinuz" --kernel-name "$kernel" --guest "$out/guest.cpio" --clones "$clones" \
    --out "$out/$mode"
done
rm -f "$out"/*/snapshot.migration "$out/guest.cpio"
"$build/bin/clonesafe-audit" compare "$out/without" "$out/unannounced" --out "$out"
