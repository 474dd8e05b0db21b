#!/bin/bash
# A Debian's packages, installed by mmdebstrap from the machine's own mirror, as an archive of files. Prints its name.
# usage: debian/packages.sh bookworm|trixie
# Cached; CLONESAFE_LAB_REFRESH=1 fetches again. Safe to run in parallel.
set -euo pipefail

die() {
  echo "debian/packages.sh: $*" >&2
  exit 1
}
suite="${1:-}"
case "$suite" in
  bookworm | trixie) ;;
  *) die "usage: debian/packages.sh bookworm|trixie" ;;
esac
[ "$(id -u)" -eq 0 ] || die "needs root, for the owners of files"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/clonesafe/debian"
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ ! -f "$cache/$suite.tar" ] || [ -n "${CLONESAFE_LAB_REFRESH:-}" ]; then
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -v -e security -e '^cdrom' | sed -n '/debian/{p;q}')"
  [ -n "$mirror" ] || die "the machine's apt configuration names no Debian mirror"
  # With no descriptors but the three: mmdebstrap names one of its own in a redirection, and dash takes a single digit there.
  bootstrap() (
    for descriptor in /proc/self/fd/*; do
      descriptor="${descriptor##*/}"
      [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
    done
    exec mmdebstrap "$@"
  )
  tries=3
  until bootstrap --quiet --variant=minbase --include=systemd-sysv,udev,dbus,iproute2 --aptopt='Acquire::Retries "5"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*' "$suite" "$cache/$suite.new.tar" "$mirror" >&2; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || die "cannot install $suite from the machine's mirror"
    sleep 5
  done
  mv "$cache/$suite.new.tar" "$cache/$suite.tar"
fi
echo "$cache/$suite.tar"
