#!/bin/sh
# The kvm lane: bare_test on this machine's own /dev/kvm, also on one that can't boot Linux; exit code 77 and why where there is none.
# usage: bare-on-this-kvm.sh KVM_SMOKE [ARGUMENT OF bare.sh]...
set -eu
here="$(dirname "$(readlink -f "$0")")"
smoke="$1"
shift
skip() {
  echo "SKIPPED: $*"
  exit 77
}
[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that this user may open"
[ "$(id -u)" = 0 ] || skip "needs root"
"$smoke" || skip "/dev/kvm doesn't run a few instructions: see kvm_smoke"
CLONESAFE_LAB_FORCE=direct exec "$here/bare.sh" "$@"
