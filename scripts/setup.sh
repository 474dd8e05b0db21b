#!/usr/bin/env bash
# Installs the Debian 12 packages in scripts/packages.txt that are missing; with --bench also those in scripts/packages-bench.txt.
# Needs root or sudo; safe to repeat.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
lists=("$root/scripts/packages.txt")
case "${1:-}" in
  "") ;;
  --bench) lists+=("$root/scripts/packages-bench.txt") ;;
  *)
    echo "usage: setup.sh [--bench]" >&2
    exit 2
    ;;
esac
mapfile -t packages < <(grep -hv '^#' "${lists[@]}")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "setup.sh: missing packages (${missing[*]}), and neither root nor sudo to install them" >&2
    exit 1
  }
  as_root=(sudo)
fi
echo "setup.sh: installing ${#missing[@]} packages"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
