#!/bin/bash
# Copies the shared libraries that the programs and libraries below FOLDER need to ROOT, at the paths they have here.
# usage: [CLONESAFE_LIBRARIES_SKIP=PREFIX] libraries.sh FOLDER ROOT
set -euo pipefail
[ $# -eq 2 ] || {
  echo "usage: libraries.sh FOLDER ROOT" >&2
  exit 2
}
folder="$1" root="$2"

list="$(mktemp)"
trap 'rm -f "$list"' EXIT
while IFS= read -r -d '' file; do
  # ELF only; `od` keeps NUL bytes of other files out of the shell.
  [ "$(od -An -tx1 -N4 "$file" | tr -d ' ')" = 7f454c46 ] || continue
  ldd "$file" 2>/dev/null || true
done < <(find "$folder" -type f \( -perm -u+x -o -name '*.so*' \) -print0) >"$list"

if grep 'not found' "$list" | sed 's/^[[:space:]]*//' | sort -u | sed "s|^|libraries.sh: |" >&2; then exit 1; fi
sed -nE 's/^[[:space:]]*([^ ]+ => )?(\/[^ ]+) \(0x[0-9a-f]+\)$/\2/p' "$list" | sort -u | while read -r library; do
  # A library that is itself part of the image stays where it is.
  case "$library" in "$(readlink -f "$folder")"/*) continue ;; esac
  # Nor is one of a build folder, which the image has in a place of its own.
  if [ -n "${CLONESAFE_LIBRARIES_SKIP:-}" ]; then case "$library" in "$CLONESAFE_LIBRARIES_SKIP"*) continue ;; esac; fi
  [ -e "$root$library" ] && continue
  mkdir -p "$root$(dirname "$library")"
  cp -L --preserve=mode "$library" "$root$library"
done
