#!/usr/bin/env bash
# Installs the Debian 12 packages in scripts/packages.txt that are missing. Needs root or sudo; safe to repeat.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
mapfile -t packages < <(grep -v '^#' "$root/scripts/packages.txt")

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
