#!/bin/bash
# What proxy_services_test needs beside the lab's guest: real servers for the host, and their clients on a disk for the guest.
# usage: services/prepare.sh OUT
# OUT/servers gets PostgreSQL (a cluster in data/, with a role and tables), Redis and nginx, where they find their own files; OUT/clients.img an
# ext4 with psql, redis-cli, curl and psycopg2.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
lab="$(dirname "$here")"
out="${1:?usage: services/prepare.sh OUT}"
die() {
  echo "services/prepare.sh: $*" >&2
  exit 1
}
[ "$(id -u)" -eq 0 ] || die "needs root, to make a cluster as somebody else"
version=15
postgres="/usr/lib/postgresql/$version"
server="$out/servers" client="$out/clients"
mkdir -p "$server/bin" "$client/bin" "$client/python"

copy() { # FOLDER PROGRAM...
  local folder="$1" program path
  shift
  for program in "$@"; do
    path="$(command -v "$program")" || die "no $program"
    install -m 755 "$(readlink -f "$path")" "$folder/$(basename "$program")"
  done
}

# A server finds its files by where it is itself.
mkdir -p "$server$postgres/bin" "$server$postgres/lib" "$server/usr/share/postgresql/$version"
copy "$server$postgres/bin" "$postgres/bin/postgres" "$postgres/bin/psql"
install -m 755 "$postgres/lib/plpgsql.so" "$server$postgres/lib/"
cp -a "/usr/share/postgresql/$version/timezonesets" "$server/usr/share/postgresql/$version/"
PATH="$PATH:/usr/sbin:/sbin" copy "$server/bin" redis-server redis-cli nginx setpriv

# Made by the programs' own package, by a user that a server may be.
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
chmod 711 "$scratch"
install -d -o nobody "$scratch/data"
echo owner >"$scratch/password"
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups env -C / "$@"; }
as_nobody "$postgres/bin/initdb" -D "$scratch/data" -U postgres -A scram-sha-256 --wal-segsize=1 --pwfile="$scratch/password" --no-sync --locale=C -E UTF8 \
  >/dev/null 2>"$scratch/initdb.log" || die "initdb: $(tail -1 "$scratch/initdb.log")"
# A host without time zones.
printf "%s\n" "timezone = 'GMT'" "log_timezone = 'GMT'" >"$scratch/data/postgresql.conf"
echo "host all all all scram-sha-256" >"$scratch/data/pg_hba.conf"
as_nobody "$postgres/bin/postgres" --single -D "$scratch/data" -c log_min_messages=fatal -j postgres <"$here/schema.sql" >/dev/null
cp -a "$scratch/data" "$server/data"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=services.test -addext subjectAltName=DNS:services.test \
  -keyout "$server/services.key" -out "$server/services.pem" 2>/dev/null
chmod 644 "$server/services.key"
cp "$here/nginx.conf" "$server/"

# The clients. psql itself: what is in the path is a script that looks for it.
copy "$client/bin" "$postgres/bin/psql" redis-cli curl
/usr/bin/python3 -I -S - <<'PYTHON' >"$scratch/python-files"
import os, sys
sys.path.append("/usr/lib/python3/dist-packages")
import psycopg2
for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None)
    if path and os.path.isabs(path):
        print(path)
PYTHON
while read -r file; do
  target="$client/python/$(sed -E 's|^/usr/lib/python3[.0-9]*/(dist-packages/\|lib-dynload/)?||' <<<"$file")"
  mkdir -p "$(dirname "$target")"
  cp -L --preserve=mode "$file" "$target"
done <"$scratch/python-files"
/usr/bin/python3 -I -m compileall -q -s "$client" -p /clients "$client/python"
cp "$here/transactions.py" "$client/"
"$lab/libraries.sh" "$client" "$client"
"$(PATH="$PATH:/usr/sbin:/sbin" command -v mke2fs)" -q -F -t ext4 -O ^has_journal -m 0 -d "$client" "$out/clients.img" \
  "$(($(du -sm "$client" | cut -f1) * 11 / 10 + 4))M" >/dev/null
rm -rf "$client"
