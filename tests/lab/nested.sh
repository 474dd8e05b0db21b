#!/bin/bash
# The nested lane: runs tests/lab/nested's test program on a host with KVM, with one of Debian's kernels as the guest's.
# usage: nested.sh [--kernel 6.1|6.12|7] [--build DIR] [--program clone_test|bad_input_test] [GOOGLETEST-ARGUMENT]...
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
build="$(readlink -f "$here/../..")/build/release"
kernel=6.12
program=clone_test
while [ $# -gt 0 ]; do
  case "$1" in
    --kernel) kernel="$2" && shift 2 ;;
    --build) build="$(readlink -f "$2")" && shift 2 ;;
    --program) program="$2" && shift 2 ;;
    *) break ;;
  esac
done

cache="$("$here/fetch.sh" "$kernel" | tail -1)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
"$here/guest/build.sh" --kernel "$kernel" --build "$build" --out "$scratch/guest.img"

"$here/on-kvm-host.sh" --timeout 900 \
  --copy "$build/bin/clonevm" --copy "$build/bin/$program" --copy "$build/lib/libentropy_log.so" \
  --copy "$cache/kernels/$kernel/vmlinuz" --copy "$scratch/guest.img" -- \
  env TMPDIR=/tmp CLONESAFE_LAB_CLONEVM=./clonevm CLONESAFE_LAB_KERNEL=vmlinuz CLONESAFE_LAB_INITRD=guest.img \
  CLONESAFE_LAB_ENTROPY_LOG=./libentropy_log.so "./$program" "$@"
