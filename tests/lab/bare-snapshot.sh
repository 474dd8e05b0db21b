#!/bin/sh
# Makes a snapshot of the bare guest (tests/lab/bare) on this machine's /dev/kvm.
# usage: bare-snapshot.sh DIR    DIR must not exist
# CLONESAFE_LAB_CLONEVM and CLONESAFE_LAB_BARE_GUEST name the programs (default: those of build/release).
set -eu

here="$(dirname "$(readlink -f "$0")")"
clonevm="${CLONESAFE_LAB_CLONEVM:-$here/../../build/release/bin/clonevm}"
guest="${CLONESAFE_LAB_BARE_GUEST:-$here/../../build/release/lab/bare_guest}"
die() {
  echo "bare-snapshot.sh: $*" >&2
  exit 1
}
[ $# = 1 ] || {
  echo "usage: bare-snapshot.sh DIR" >&2
  exit 2
}
[ ! -e "$1" ] || die "$1 exists already"
for file in "$clonevm" "$guest"; do
  [ -e "$file" ] || die "no $file: build the release preset first"
done

scratch="$(mktemp -d)"
vm=""
cleanup() {
  [ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null || true
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$clonevm" run --kernel "$guest" --mem 64M --serial "$scratch/serial" --api "$scratch/api" &
vm=$!
# It runs once it has sent its word.
tries=600
until [ -s "$scratch/serial" ]; do
  kill -0 "$vm" 2>/dev/null || die "the bare guest did not start"
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || die "the bare guest sent nothing in a minute"
  sleep 0.1
done
"$clonevm" snapshot --api "$scratch/api" --out "$1" --stop
wait "$vm" || die "clonevm run ended with $?"
vm=""
