#!/bin/bash
# Copies kernel modules with all they depend on, unpacked, and lists them in the order to insmod them.
# usage: modules.sh KERNEL FOLDER MODULE...      FOLDER/*.ko and FOLDER/load (one file name a line)
# A module that is built in is skipped; one that the kernel lacks is skipped when its name ends in '?'.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
[ $# -ge 3 ] || {
  echo "usage: modules.sh KERNEL FOLDER MODULE..." >&2
  exit 2
}
kernel="$1" folder="$2"
shift 2
tree="$("$here/fetch.sh" "$kernel")/kernels/$kernel/modules"
mkdir -p "$folder"
: >"$folder/load"

declare -A done_already path
# Module names and file names differ in '-' and '_'.
while read -r file; do
  name="${file##*/}"
  name="${name%%.ko*}"
  path["${name//-/_}"]="$file"
done < <(find "$tree" -name '*.ko*')
# Debian's split kernel packages (7) bring no list of what is built in: there a module that is absent is taken for built in.
builtin=""
[ ! -f "$tree/modules.builtin" ] || builtin="$(sed 's|.*/||; s|\.ko$||; s|-|_|g' "$tree/modules.builtin")"

# What `modinfo -F depends` prints, with binutils alone.
dependencies() {
  objcopy -O binary --only-section=.modinfo "$1" /dev/stdout | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' '
}

add() {
  local name="${1//-/_}" optional="$2" file target dependency
  [ -z "${done_already[$name]:-}" ] || return 0
  done_already[$name]=1
  ! grep -qx "$name" <<<"$builtin" || return 0
  file="${path[$name]:-}"
  if [ -z "$file" ]; then
    [ -z "$optional" ] && [ -n "$builtin" ] || return 0
    echo "modules.sh: kernel $kernel has no module $name" >&2
    exit 1
  fi
  target="$folder/$name.ko"
  case "$file" in
    *.xz) xz -dc "$file" >"$target" ;;
    *.zst) zstd -qdcf "$file" >"$target" ;;
    *) cp "$file" "$target" ;;
  esac
  for dependency in $(dependencies "$target"); do add "$dependency" ""; done
  echo "$name.ko" >>"$folder/load"
}

for module in "$@"; do
  optional=""
  [ "${module%\?}" = "$module" ] || optional=1
  add "${module%\?}" "$optional"
done
