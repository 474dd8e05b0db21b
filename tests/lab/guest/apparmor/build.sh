#!/bin/bash
# Two profiles, compiled, for two names of one program of ours, so that the guest needs no apparmor_parser: one without what a user of
# libclonesafe needs, one that includes the snippet.
# usage: apparmor/build.sh SNIPPET FOLDER     FOLDER gets without.bin and with.bin
set -euo pipefail
[ $# -eq 2 ] || {
  echo "usage: apparmor/build.sh SNIPPET FOLDER" >&2
  exit 2
}
snippet="$(readlink -f "$1")"
mkdir -p "$2"
for name in without with; do
  include=""
  [ "$name" = without ] || include="include \"$snippet\""
  apparmor_parser --skip-kernel-load --skip-cache --ofile "$2/$name.bin" <<PROFILE 2>/dev/null
profile clonesafe_$name /usr/bin/status_$name {
  /usr/** rm,
  /lib*/** rm,
  /dev/urandom r,
  $include
}
PROFILE
  [ -s "$2/$name.bin" ]
done
