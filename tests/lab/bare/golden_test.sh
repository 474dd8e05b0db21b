#!/bin/bash
# Snapshots that earlier versions of the format have left (golden/MAJOR.MINOR[-WHAT].tar.gz) are still read, whole and as they were.
# usage: golden_test.sh CLONEVM
# golden/digests has a line for each: its place in the archives, and its digest. A new version of the format needs an archive
# and lines of its own; an archive never changes again. A snapshot with a MAC has its key beside it, one with a disk its image, one with a network the tap that
# clones are given.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
clonevm="$(readlink -f "$1")"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
failed=0
fail() {
  echo "FAILED: $*"
  failed=1
}

for archive in "$here"/golden/*.tar.gz; do tar -C "$scratch" -xzf "$archive" --no-same-owner; done
cd "$scratch"
find . -name state.csn -printf '%P\n' | sed 's|/state.csn$||' | sort >found
cut -d' ' -f1 "$here/golden/digests" | sort >expected
cmp -s found expected || fail "the archives hold $(tr '\n' ' ' <found), digests has $(tr '\n' ' ' <expected)"

while read -r snapshot digest; do
  key=()
  if [ -f "$snapshot.key" ]; then
    key=(--key "$snapshot.key")
    ! "$clonevm" verify "$snapshot" >verified 2>&1 || fail "$snapshot is accepted without its key"
  fi
  "$clonevm" verify "$snapshot" "${key[@]}" >verified 2>&1 || fail "$snapshot: $(cat verified)"
  "$clonevm" inspect "$snapshot" --json >inspected || fail "$snapshot can't be inspected"
  grep -qF "\"digest\":\"$digest\"" inspected || fail "$snapshot has another digest than $digest"
  version="$(sed -n 's/.*"format":"\([0-9.]*\)".*/\1/p' inspected)"
  case "$snapshot" in
    "$version"* | */base) ;;
    *) fail "$snapshot says that its format is '$version'" ;;
  esac
done <"$here/golden/digests"

format="$here/../../../vmm_device/snapshot/format.h"
newest="$(sed -n 's/.*kMajor = \([0-9]*\).*/\1/p' "$format").$(sed -n 's/.*kMinor = \([0-9]*\).*/\1/p' "$format")"
[ -e "$here/golden/$newest.tar.gz" ] || fail "no archive of the newest version, $newest"
exit "$failed"
