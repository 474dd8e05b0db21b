#!/bin/bash
# Fetches what the VM lanes need from Debian's own archive, and caches it unpacked:
#   kernels/KERNEL/{vmlinuz,modules,version}   KERNEL is 6.1, 6.12 or 7 (Debian's cloud kernels, unmodified)
#   qemu/qemu                                  QEMU 10 (bookworm's 7.2 corrupts RFLAGS at cmpxchg16b under TCG)
#   qemu-7.2/qemu                              bookworm's own, for guests under KVM
#   pgbouncer/pgbouncer                        trixie's, built here (bookworm's has no prepared statements), for bench/proxy
#   nginx-stream/ngx_stream_module.so          bookworm's module for its nginx, for bench/proxy
#   redis-suite/{runtest,tests,src}   Redis 7.0's own suite, with links to the programs that are installed, for tests/suites
#   postgres-suites/{regress,traces,lib,libpq_pipeline}   PostgreSQL 15's own suites, for tests/suites
# usage: fetch.sh [6.1|6.12|7|qemu|qemu-7.2|pgbouncer|nginx-stream|redis-suite|postgres-suites|all]...     "all" is without the last five; prints the cache folder. Safe to run in parallel; quick once cached.
# CLONESAFE_LAB_REFRESH=1 fetches again.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/clonesafe"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(all)
[ "${wanted[0]}" != all ] || wanted=(6.12 qemu 6.1 7)

die() {
  echo "fetch.sh: $*" >&2
  exit 1
}

cached() {
  [ -z "${CLONESAFE_LAB_REFRESH:-}" ] || return 1
  case "$1" in
    qemu*) [ -x "$cache/$1/qemu" ] ;;
    pgbouncer) [ -x "$cache/$1/pgbouncer" ] ;;
    nginx-stream) [ -f "$cache/$1/ngx_stream_module.so" ] ;;
    redis-suite) [ -x "$cache/$1/runtest" ] ;;
    postgres-suites) [ -x "$cache/$1/libpq_pipeline" ] ;;
    *) [ -f "$cache/kernels/$1/version" ] ;;
  esac
}

missing=()
for what in "${wanted[@]}"; do
  case "$what" in
    6.1 | 6.12 | 7 | qemu | qemu-7.2 | pgbouncer | nginx-stream | redis-suite | postgres-suites) cached "$what" || missing+=("$what") ;;
    *) die "unknown item '$what' (6.1, 6.12, 7, qemu, qemu-7.2, pgbouncer, nginx-stream, redis-suite, postgres-suites or all)" ;;
  esac
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "$cache"
  exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

# The machine's own mirror, so that a site's configuration (mirror, proxy) holds here too.
mirror="$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -v -e security -e '^cdrom' | sed -n '/debian/{p;q}')"
[ -n "$mirror" ] || die "the machine's apt configuration names no Debian mirror"

# apt_in SUITE VERB...: apt with a state of its own, so that the machine's package lists stay as they are. SUITE-source: its sources.
apt_in() {
  local suite="${1%-source}" state="$cache/apt/$1" kind=deb
  [ "$suite" = "$1" ] || kind=deb-src
  shift
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  echo "$kind [signed-by=$keyring] $mirror $suite main" >"$state/sources.list"
  : >>"$state/status"
  "$@" -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" -o Dir::State::status="$state/status" \
    -o APT::Sandbox::User=root -o APT::Update::Post-Invoke-Success::= -o Acquire::Languages=none
}

updated=()
update_suite() {
  local suite
  for suite in "${updated[@]:-}"; do [ "$suite" != "$1" ] || return 0; done
  apt_in "$1" apt-get -qq update >&2 || die "cannot read $mirror $1"
  updated+=("$1")
}

# download SUITE FOLDER PACKAGE...: the newest version in the suite, unpacked into FOLDER.
download() {
  local suite="$1" folder="$2" scratch
  shift 2
  update_suite "$suite"
  scratch="$(mktemp -d "$cache/.deb.XXXXXX")"
  (cd "$scratch" && apt_in "$suite" apt-get -qq download "$@" >&2) || {
    rm -rf "$scratch"
    die "cannot download $* from $suite"
  }
  local deb
  for deb in "$scratch"/*.deb; do dpkg -x "$deb" "$folder"; done
  rm -rf "$scratch"
}

# depends SUITE PACKAGE PATTERN: the packages among PACKAGE's dependencies that match.
depends() {
  apt_in "$1" apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$2" |
    sed -n 's/^ *|\{0,1\}\(Pre\)\{0,1\}Depends: //p' | grep -E "$3" | sort -u || true
}

fetch_kernel() {
  local name="$1" suite image scratch packages version
  case "$name" in
    6.1) suite=bookworm ;;
    6.12) suite=bookworm-backports ;;
    7) suite=trixie-backports ;;
  esac
  update_suite "$suite"
  # Versions in the pool move, so the metapackage is resolved and no file name is pinned.
  image="$(depends "$suite" linux-image-cloud-amd64 '^linux-image-[0-9]' | head -1)"
  [ -n "$image" ] || die "linux-image-cloud-amd64 in $suite depends on no kernel image"
  # Newer kernels are split into linux-binary-* and linux-modules-*.
  packages="$image $(depends "$suite" "$image" '^linux-(binary|modules)-[0-9]')"
  scratch="$(mktemp -d "$cache/.kernel.XXXXXX")"
  # shellcheck disable=SC2086
  download "$suite" "$scratch/root" $packages
  local kernel
  kernel="$(find "$scratch/root" -name 'vmlinuz*' -type f | head -1)"
  [ -n "$kernel" ] || die "$packages hold no kernel image"
  local modules
  modules="$(find "$scratch/root" -path '*/lib/modules/*' -prune -type d -name '[0-9]*' | head -1)"
  [ -n "$modules" ] || die "$packages hold no modules"
  version="$(basename "$modules")"
  mkdir -p "$scratch/out"
  mv "$kernel" "$scratch/out/vmlinuz"
  mv "$modules" "$scratch/out/modules"
  echo "$version" >"$scratch/out/version"
  mkdir -p "$cache/kernels"
  rm -rf "$cache/kernels/$name"
  mv "$scratch/out" "$cache/kernels/$name"
  rm -rf "$scratch"
  echo "fetch.sh: kernel $name is $version" >&2
}

fetch_qemu() { # FOLDER SUITE
  local scratch
  scratch="$(mktemp -d "$cache/.qemu.XXXXXX")"
  download "$2" "$scratch/root" qemu-system-x86 qemu-system-common qemu-system-data
  download bookworm "$scratch/root" seabios
  cat >"$scratch/root/qemu" <<'WRAPPER'
#!/bin/sh
root="$(dirname "$(readlink -f "$0")")"
export QEMU_MODULE_DIR="$root/usr/lib/x86_64-linux-gnu/qemu"
exec "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
WRAPPER
  chmod 755 "$scratch/root/qemu"
  "$scratch/root/qemu" --version >&2 || die "the fetched QEMU does not start (is qemu-system-x86 installed? it brings the libraries)"
  rm -rf "${cache:?}/$1"
  mv "$scratch/root" "$cache/$1"
}

# Its source is compiled with the machine's compiler; libevent's headers are unpacked beside it.
fetch_pgbouncer() {
  local scratch source
  scratch="$(mktemp -d "$cache/.pgbouncer.XXXXXX")"
  download bookworm "$scratch/root" libevent-dev
  update_suite trixie-source
  (cd "$scratch" && apt_in trixie-source apt-get -qq source --download-only pgbouncer >&2) || die "cannot download the source of pgbouncer from trixie"
  mkdir "$scratch/source"
  tar -xf "$scratch"/pgbouncer_*.orig.tar.gz -C "$scratch/source" --strip-components=1
  source="$scratch/source"
  # The library that is installed; the development package's link leads to nothing here.
  (
    cd "$source"
    libevent="$(ldconfig -p | sed -n 's|.*=> \(.*/libevent-2\.1\.so\.7\)$|\1|p' | head -1)"
    [ -n "$libevent" ] || die "libevent-2.1-7 is not installed"
    ./configure --quiet --without-cares --without-systemd --without-pam --disable-debug CFLAGS=-O2 \
      LIBEVENT_CFLAGS="-I$scratch/root/usr/include -I$scratch/root/usr/include/x86_64-linux-gnu" LIBEVENT_LIBS="$libevent" >&2
    make -s -j2 pgbouncer >&2
  ) || die "cannot build pgbouncer"
  mkdir -p "$scratch/out"
  mv "$source/pgbouncer" "$scratch/out/"
  "$scratch/out/pgbouncer" --version >&2
  rm -rf "$cache/pgbouncer"
  mv "$scratch/out" "$cache/pgbouncer"
  rm -rf "$scratch"
}

fetch_nginx_stream() {
  local scratch
  scratch="$(mktemp -d "$cache/.nginx.XXXXXX")"
  # Of the very version that is installed, which may be of another archive than `download` reads.
  (cd "$scratch" && apt-get -qq download "libnginx-mod-stream=$(dpkg-query -W -f='${Version}' nginx)" >&2) || die "cannot download libnginx-mod-stream"
  dpkg -x "$scratch"/*.deb "$scratch/root"
  mkdir -p "$cache/nginx-stream"
  mv "$scratch"/root/usr/lib/nginx/modules/ngx_stream_module.so "$cache/nginx-stream/"
  rm -rf "$scratch"
}

fetch_redis_suite() {
  local scratch program
  scratch="$(mktemp -d "$cache/.redis.XXXXXX")"
  update_suite bookworm-source
  (cd "$scratch" && apt_in bookworm-source apt-get -qq source --download-only redis >&2) || die "cannot download the source of redis from bookworm"
  mkdir -p "$scratch/out/src"
  tar -xf "$scratch"/redis_*.orig.tar.gz -C "$scratch/out" --strip-components=1 --wildcards '*/runtest' '*/tests' '*/utils'
  for program in server cli benchmark check-aof check-rdb; do ln -s "$(command -v "redis-$program")" "$scratch/out/src/"; done
  rm -rf "$cache/redis-suite"
  mv "$scratch/out" "$cache/redis-suite"
  rm -rf "$scratch"
}

# The suites' files as they are, and what they load and run, compiled. The server's headers and static libraries are unpacked beside them.
fetch_postgres_suites() {
  local scratch version=/usr/lib/postgresql/15 headers tests
  scratch="$(mktemp -d "$cache/.postgres.XXXXXX")"
  download bookworm "$scratch/root" postgresql-server-dev-15
  update_suite bookworm-source
  (cd "$scratch" && apt_in bookworm-source apt-get -qq source --download-only postgresql-15 >&2) || die "cannot download the source of postgresql-15"
  mkdir -p "$scratch/source" "$scratch/out/lib"
  tar -xf "$scratch"/postgresql-15_*.orig.tar.bz2 -C "$scratch/source" --strip-components=1 --wildcards '*/src/test/regress' '*/src/test/modules/libpq_pipeline'
  headers="$scratch/root/usr/include/postgresql/15/server"
  tests="$scratch/source/src/test"
  # As PostgreSQL's own build does, which relies on these two.
  gcc -O2 -w -fwrapv -fno-strict-aliasing -fPIC -shared -I"$headers" "$tests/regress/regress.c" -o "$scratch/out/lib/regress.so" || die "cannot build regress.so"
  gcc -O2 -w -I"$headers" -I/usr/include/postgresql "$tests/modules/libpq_pipeline/libpq_pipeline.c" -o "$scratch/out/libpq_pipeline" \
    -lpq -L"$scratch/root$version/lib" -lpgcommon -lpgport || die "cannot build libpq_pipeline"
  cp "$version/lib/refint.so" "$version/lib/autoinc.so" "$scratch/out/lib/"
  mv "$tests/regress" "$tests/modules/libpq_pipeline/traces" "$scratch/out/"
  rm -rf "$cache/postgres-suites"
  mv "$scratch/out" "$cache/postgres-suites"
  rm -rf "$scratch"
}

for what in "${missing[@]}"; do
  cached "$what" && continue
  case "$what" in
    pgbouncer) fetch_pgbouncer ;;
    nginx-stream) fetch_nginx_stream ;;
    redis-suite) fetch_redis_suite ;;
    postgres-suites) fetch_postgres_suites ;;
    qemu) fetch_qemu qemu bookworm-backports ;;
    qemu-7.2) fetch_qemu qemu-7.2 bookworm ;;
    *) fetch_kernel "$what" ;;
  esac
done
echo "$cache"
