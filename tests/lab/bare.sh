#!/bin/bash
# Runs bare_test on a host with KVM: clonevm with a guest of one loop, which boots in no time.
# usage: bare.sh [--build DIR] [GOOGLETEST-ARGUMENT]...
# CLONESAFE_LAB_EVERY=N takes every Nth byte, and every step, instead of a sample; CLONESAFE_LAB_TIMEOUT is in seconds.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
build="$(readlink -f "$here/../..")/build/release"
if [ "${1:-}" = --build ]; then
  build="$(readlink -f "$2")"
  shift 2
fi
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/golden"
for archive in "$here"/bare/golden/*.tar.gz; do tar -C "$scratch/golden" -xzf "$archive" --no-same-owner; done
where="$("$here/on-kvm-host.sh" --where)"
every=()
[ -z "${CLONESAFE_LAB_EVERY:-}" ] || every=("CLONESAFE_LAB_EVERY=$CLONESAFE_LAB_EVERY")
"$here/on-kvm-host.sh" --timeout "${CLONESAFE_LAB_TIMEOUT:-500}" \
  --copy "$build/bin/clonevm" --copy "$build/bin/bare_test" --copy "$build/lib/libfault_at.so" --copy "$build/lab/bare_guest" --copy "$here/bare-snapshot.sh" \
  --copy "$scratch/golden:golden" -- \
  env "${every[@]}" TMPDIR=/tmp CLONESAFE_LAB_WHERE="$where" CLONESAFE_LAB_CLONEVM=./clonevm CLONESAFE_LAB_KERNEL=./bare_guest CLONESAFE_LAB_BARE_GUEST=./bare_guest \
  CLONESAFE_LAB_FAULT_AT=./libfault_at.so CLONESAFE_LAB_GOLDEN=golden CLONESAFE_LAB_BARE_SNAPSHOT=./bare-snapshot.sh sh -c 'exec "$0" "$@" 2>&1' ./bare_test "$@"
