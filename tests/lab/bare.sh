#!/bin/bash
# Runs bare_test on a host with KVM: clonevm with a guest of one loop, which boots in no time.
# usage: bare.sh [--build DIR] [GOOGLETEST-ARGUMENT]...
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
build="$(readlink -f "$here/../..")/build/release"
if [ "${1:-}" = --build ]; then
  build="$(readlink -f "$2")"
  shift 2
fi
exec "$here/on-kvm-host.sh" --timeout 500 \
  --copy "$build/bin/clonevm" --copy "$build/bin/bare_test" --copy "$build/lab/bare_guest" --copy "$here/bare-snapshot.sh" -- \
  env TMPDIR=/tmp CLONESAFE_LAB_CLONEVM=./clonevm CLONESAFE_LAB_KERNEL=./bare_guest CLONESAFE_LAB_BARE_GUEST=./bare_guest \
  CLONESAFE_LAB_BARE_SNAPSHOT=./bare-snapshot.sh sh -c 'exec "$0" "$@" 2>&1' ./bare_test "$@"
