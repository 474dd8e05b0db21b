# Sourced on the host with KVM by demo-on-host.sh and removal-on-host.sh: one run of clonesafe-audit, with the files in this
# folder. Set before: kernel, clones, where (direct or nested).

PATH="$PWD:$PATH"
export PATH

# audit FOLDER ARGUMENT...: the run's result is left in FOLDER, to be compared where there is a terminal to show it
# on. Sets code, and returns it.
audit() {
  folder="$1"
  shift
  clonesafe-audit run --vmm clonevm --kernel vmlinuz --kernel-name "$kernel" --guest guest.cpio --clones "$clones" \
    --out "$folder" "$@" >/dev/null
  code=$?
  # A snapshot is large, and holds secrets: not part of what is kept.
  rm -rf "$folder/snapshot"
  return "$code"
}

# On the emulated host a guest now and then ends by a triple fault (docs/testing.md). Only then, and only there, a run is done
# once more; what is left of the first one is kept.
faulted_under_emulation() {
  [ "$where" = nested ] && grep -q "triple fault" "$1"/parent-vm/stderr "$1"/clones-vm/*/clone.json 2>/dev/null
}

# audit_or_end FOLDER ARGUMENT...: ends the script if the run fails, after the last lines of what its parts said.
audit_or_end() {
  audit "$@" && return
  if faulted_under_emulation "$1"; then
    echo "audit: a guest of the run $(basename "$1") ended by a triple fault on the emulated host: once more" >&2
    mv "$1" "$1-broken"
    audit "$@" && return
  fi
  echo "audit: the run $(basename "$1") failed; its files:" >&2
  for file in "$1"/*stderr "$1"/*/*stderr "$1"/parent-vm/console.log; do
    [ -s "$file" ] && tail -n 5 "$file" >&2
  done
  exit "$code"
}
