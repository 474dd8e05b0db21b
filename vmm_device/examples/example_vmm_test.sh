#!/bin/bash
# The example of embedding: the source keeps its VM Generation ID, each clone has one of its own.
# usage: example_vmm_test.sh PROGRAM [--nested]     without --nested on this machine's KVM; exit code 77 if there is none
set -euo pipefail

program="$1"
lab="$(dirname "$(readlink -f "$0")")/../../tests/lab"
if [ "${2:-}" = --nested ]; then
  said="$(CLONESAFE_LAB_FORCE=nested "$lab/on-kvm-host.sh" --timeout 120 --copy "$program" -- "./$(basename "$program")")"
elif [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
  said="$("$program")"
else
  echo "SKIPPED: no /dev/kvm that this user may open"
  exit 77
fi
echo "$said"

id_of() { sed -n "s/^$1 *\([0-9a-f]\{32\}\)$/\1/p" <<<"$said"; }
boot="$(id_of boot)" resumed="$(id_of resumed)" one="$(id_of 'clone 1')" two="$(id_of 'clone 2')"
fail() {
  echo "example_vmm_test.sh: $*" >&2
  exit 1
}
[ -n "$boot" ] && [ -n "$one" ] && [ -n "$two" ] || fail "an id is missing"
[ "$boot" = "$resumed" ] || fail "the source that went on has another id"
[ "$boot" != "$one" ] && [ "$boot" != "$two" ] && [ "$one" != "$two" ] || fail "a clone's id is not its own"
