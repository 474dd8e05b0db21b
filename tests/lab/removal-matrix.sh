#!/bin/bash
# Taking away any one part of clonesafe (seed, devices' words, registered page, agent) turns exactly its own rows red.
# usage: removal-matrix.sh [--kernel 6.1|6.12|7] [--clones N] [--build DIR] --out DIR
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
top="$(readlink -f "$here/../..")"
kernel=6.12 clones=2 build="$top/build/release" out=""
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || {
    echo "removal-matrix.sh: $1 needs a value" >&2
    exit 2
  }
  case "$1" in
    --kernel) kernel="$2" ;;
    --clones) clones="$2" ;;
    --build) build="$2" ;;
    --out) out="$2" ;;
    *)
      echo "removal-matrix.sh: unknown argument '$1'" >&2
      exit 2
      ;;
  esac
  shift 2
done
[ -n "$out" ] || {
  echo "removal-matrix.sh: --out is needed" >&2
  exit 2
}

cache="$("$here/fetch.sh" "$kernel" 6.12 qemu)"
rm -rf "$out"
mkdir -p "$out"
"$here/guest/build.sh" --kernel "$kernel" --build "$build" --out "$out/guest.cpio"
"$here/on-kvm-host.sh" --timeout 500 --out "$out" \
  --copy "$build/bin/clonevm" --copy "$build/bin/clonesafe-audit" --copy "$here/audit-on-host.sh" --copy "$here/removal-on-host.sh" \
  --copy "$cache/kernels/$kernel/vmlinuz" --copy "$out/guest.cpio" \
  -- ./removal-on-host.sh "$kernel" "$clones" "$("$here/on-kvm-host.sh" --where)"
rm -f "$out/guest.cpio"
"$here/removal_matrix.py" "$out"
