#!/bin/bash
# A table of audits, on a host with KVM.
# usage: matrix.sh removal|ways|identifiers [--kernel 6.1|6.12|7] [--clones N] [--runs RUN,...] [--build DIR] --out DIR
#   removal  taking away any one part of clonesafe (seed, devices' words, registered page, agent) turns exactly its own rows red
#   ways     each way to make clones, with clonesafe and without: with it nothing is repeated
#   identifiers
#            random values and identifiers of every kind, four threads each; RUNs (default: masked,plain,without) are those of identifiers-on-host.sh
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
top="$(readlink -f "$here/../..")"
matrix="${1:-}"
case "$matrix" in
  removal | ways | identifiers) shift ;;
  *)
    echo "matrix.sh: removal, ways or identifiers?" >&2
    exit 2
    ;;
esac
kernel=6.12 clones=2 build="$top/build/release" out="" runs="" probes=()
if [ "$matrix" = identifiers ]; then
  clones=8 runs=masked,plain,without probes=(--probes "$top/tests/audit/guest/identifiers.list")
fi
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || {
    echo "matrix.sh: $1 needs a value" >&2
    exit 2
  }
  case "$1" in
    --kernel) kernel="$2" ;;
    --clones) clones="$2" ;;
    --runs) runs="$2" ;;
    --build) build="$2" ;;
    --out) out="$2" ;;
    *)
      echo "matrix.sh: unknown argument '$1'" >&2
      exit 2
      ;;
  esac
  shift 2
done
[ -n "$out" ] || {
  echo "matrix.sh: --out is needed" >&2
  exit 2
}

cache="$("$here/fetch.sh" "$kernel" 6.12 qemu)"
rm -rf "$out"
mkdir -p "$out"
"$here/guest/build.sh" --kernel "$kernel" --build "$build" --out "$out/guest.cpio" "${probes[@]}"
"$here/on-kvm-host.sh" --timeout 850 --out "$out" \
  --copy "$build/bin/clonevm" --copy "$build/bin/clonesafe-audit" --copy "$here/audit-on-host.sh" --copy "$here/$matrix-on-host.sh" \
  --copy "$cache/kernels/$kernel/vmlinuz" --copy "$out/guest.cpio" \
  -- "./$matrix-on-host.sh" "$kernel" "$clones" "$("$here/on-kvm-host.sh" --where)" ${runs//,/ }
rm -f "$out/guest.cpio"
"$here/${matrix}_matrix.py" "$out"
