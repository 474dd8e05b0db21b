#!/usr/bin/env bash
# Installs a build to a scratch prefix, moves it, and builds and runs programs against it from outside the tree: with
# pkg-config (shared and static) and with find_package.
#
#   install_test.sh BUILD-FOLDER CC CXX
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
build="$1" cc="$2" cxx="$3"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
die() {
  echo "install_test: $*" >&2
  exit 1
}

cmake --install "$build" --prefix "$scratch/first" >/dev/null
# A staged tree ends up elsewhere: nothing in it may know where it was.
mv "$scratch/first" "$scratch/moved"
prefix="$scratch/moved"

for file in bin/clonevm bin/clonesafectl sbin/clonesafed include/clonesafe/clonesafe.h include/clonesafe/clonesafe.hpp \
  include/clonesafe/ids.h include/clonesafe/ids.hpp include/clonesafe/boost_uuid.hpp share/man/man3/cs_uuid7.3 \
  include/clonesafe/version.h include/clonesafe/abi/generation_page.h share/man/man1/clonevm.1 share/man/man8/clonesafed.8 \
  lib/systemd/system/clonesafed.service share/clonesafe/agent.toml share/clonesafe/containers/service.conf; do
  [ -f "$prefix/$file" ] || die "$file is not installed"
done
# Each function of these headers has its manual page.
for header in hooks values; do
  for function in $(sed -n 's/^CS_API.* \**\(cs_[a-z0-9_]*\)(.*/\1/p' "$prefix/include/clonesafe/$header.h"); do
    [ -f "$prefix/share/man/man3/$function.3" ] || die "$function has no manual page"
  done
done
for program in bin/clonevm bin/clonesafectl sbin/clonesafed; do
  "$prefix/$program" --version >/dev/null || die "$program does not start"
done
# Test seams and what is shared inside the project are nobody else's.
if find "$prefix/include" -name '*seams*' -o -name '*testing*' | grep -q .; then die "test seams are installed"; fi

cp -r "$here/stranger" "$scratch/stranger"
cd "$scratch/stranger"
pc="$(find "$prefix" -name clonesafe.pc)"
[ -n "$pc" ] || die "clonesafe.pc is not installed"
export PKG_CONFIG_PATH="${pc%/*}"
libraries="${pc%/pkgconfig/*}"
flags() { # as words
  pkg-config "$@" clonesafe
}
version="$("$prefix/bin/clonevm" --version)"
[ "clonevm $(flags --modversion)" = "$version" ] || die "pkg-config and $version disagree"

# Words that are flags, so not quoted.
"$cc" -std=c11 -Wall -Werror stranger.c $(flags --cflags --libs) -o with_pkg_config
LD_LIBRARY_PATH="$libraries" ./with_pkg_config || die "the program built with pkg-config fails"
static_flags="$(flags --cflags) $libraries/libclonesafe.a $(pkg-config --libs libcrypto) -pthread"
"$cc" -std=c11 -Wall -Werror stranger.c $static_flags -o statically
./statically || die "the program with the static library fails"

cmake -S . -B cmake -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" \
  --log-level=WARNING >/dev/null
ninja -C cmake --quiet
for program in stranger_c stranger_cxx stranger_static; do
  "cmake/$program" || die "$program, built with find_package, fails"
done
# Another version is not promised to fit.
if cmake -S . -B other -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCLONESAFE_WANTED=99.0 >/dev/null 2>&1; then
  die "find_package took version 99.0 for there"
fi
echo "install_test: $version, moved, with pkg-config and find_package"
