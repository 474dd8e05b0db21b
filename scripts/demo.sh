#!/bin/bash
# Shows on this machine what clones of a virtual machine repeat, and that with clonesafe they don't.
# usage: demo.sh [--clones N] [--kernel 6.1|6.12|7] [--out DIR] [--cpu masked|plain|both]
# Installs what is missing, builds, boots an unmodified Debian kernel under clonevm on KVM (on this machine's, or on an
# emulated host's where it has none), snapshots it under load, restores N clones, and compares every value that the parent
# and the clones drew. Exit code 0 only if the run without clonesafe repeated values and the run with it repeated none.
# DIR (default: build/demo) gets report.json, report.html and each run's logs.
# --cpu masked hides RDRAND and RDSEED from the guest, because a generator that only they make differ proves nothing. Default:
# both with and without, but only masked on an emulated host, where runs are slow.
set -euo pipefail

top="$(readlink -f "$(dirname "$(readlink -f "$0")")/..")"
clones=4 kernel=6.12 out="$top/build/demo" cpu=""
usage() {
  echo "usage: demo.sh [--clones N] [--kernel 6.1|6.12|7] [--out DIR] [--cpu masked|plain|both]"
}
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h)
      usage
      exit 0
      ;;
    --clones | --kernel | --out | --cpu)
      [ $# -ge 2 ] || {
        echo "demo.sh: $1 needs a value" >&2
        exit 2
      }
      case "$1" in
        --clones) clones="$2" ;;
        --kernel) kernel="$2" ;;
        --out) out="$2" ;;
        --cpu) cpu="$2" ;;
      esac
      shift 2
      ;;
    *)
      echo "demo.sh: unknown argument '$1'" >&2
      usage >&2
      exit 2
      ;;
  esac
done
case "$kernel" in 6.1 | 6.12 | 7) ;; *)
  echo "demo.sh: --kernel is 6.1, 6.12 or 7, not '$kernel'" >&2
  exit 2
  ;;
esac
case "$clones" in
  [1-9] | 1[0-6]) ;;
  *)
    echo "demo.sh: --clones is a number from 1 to 16, not '$clones'" >&2
    exit 2
    ;;
esac
case "$cpu" in "" | masked | plain | both) ;; *)
  echo "demo.sh: --cpu is masked, plain or both, not '$cpu'" >&2
  exit 2
  ;;
esac

say() {
  printf 'demo: %s\n' "$*" >&2
}

"$top/scripts/setup.sh" >&2

build="$top/build/release"
say "building"
mkdir -p "$top/build"
{
  [ -f "$build/build.ninja" ] || (cd "$top" && cmake --preset release)
  cmake --build "$build" --target clonevm clonesafed clonesafectl clonesafe-audit clonesafe-audit-guest probe_cxx probe_library
} >"$top/build/demo-build.log" 2>&1 || {
  tail -30 "$top/build/demo-build.log" >&2
  say "the build failed; see build/demo-build.log"
  exit 1
}

say "fetching the kernel and building the guest"
lab="$top/tests/lab"
cache="$("$lab/fetch.sh" "$kernel" 6.12 qemu)"
scratch="$(mktemp -d "${TMPDIR:-/tmp}/clonesafe-demo.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
"$lab/guest/build.sh" --kernel "$kernel" --build "$build" --out "$scratch/guest.cpio"

where="$("$lab/on-kvm-host.sh" --where)"
if [ -z "$cpu" ]; then
  if [ "$where" = direct ]; then cpu=both; else cpu=masked; fi
fi
case "$cpu" in
  masked) masks=("rdrand,rdseed") ;;
  plain) masks=(none) ;;
  both) masks=(none "rdrand,rdseed") ;;
esac
say "running on $where KVM: kernel $kernel, $clones clones, processor ${cpu/both/with and without RDRAND}"
rm -rf "$scratch/out"
code=0
"$lab/on-kvm-host.sh" --timeout 1000 --out "$scratch/out" \
  --copy "$build/bin/clonevm" --copy "$build/bin/clonesafe-audit" --copy "$lab/audit-on-host.sh" --copy "$lab/demo-on-host.sh" \
  --copy "$cache/kernels/$kernel/vmlinuz" --copy "$scratch/guest.cpio" \
  -- ./demo-on-host.sh "$kernel" "$clones" "$where" "${masks[@]}" || code=$?
if [ -d "$scratch/out" ]; then
  # Replaced as a whole, so that no file of an earlier demo is taken for this one's.
  mkdir -p "$out"
  rm -f "$out/report.json" "$out/report.html"
  for entry in "$scratch/out"/*; do
    [ -e "$entry" ] || continue
    rm -rf "${out:?}/$(basename "$entry")"
    mv "$entry" "$out/"
  done
fi
[ "$code" = 0 ] || exit "$code"

runs=()
for mask in "${masks[@]}"; do
  suffix=""
  [ "$mask" = none ] || suffix=-masked
  for mode in without unannounced announced; do runs+=("$out/$mode$suffix"); done
done
"$build/bin/clonesafe-audit" compare "${runs[@]}" --out "$out"
