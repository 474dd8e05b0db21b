#!/bin/bash
# Runs a command as root on a host with KVM: on this machine if its /dev/kvm can boot Linux, else in the nested lane
# (QEMU with an emulated processor that has SVM, running a Debian kernel with kvm-amd).
#
# usage: on-kvm-host.sh [--copy SRC[:DST]]... [--out DIR] [--timeout S] [--where] -- COMMAND [ARGUMENT]...
#   --copy SRC[:DST]  file or folder to have in the command's working directory, as DST (a relative path; default: its name).
#                     The shared libraries that copied programs need come along.
#   --out DIR         what the command leaves in $OUT is put in DIR (created)
#   --timeout S       seconds after which everything is stopped; exit code 124 (default 600)
#   --where           only says where commands run: "direct" or "nested"
# The command's working directory is fresh and holds only the copies. In the nested lane the rest of the system is
# busybox; scripts have to be plain sh. stdout, stderr and the exit code are the command's.
# CLONESAFE_LAB_FORCE=nested|direct decides without asking. For the nested host: CLONESAFE_LAB_MEMORY (MiB), CLONESAFE_LAB_CPUS,
# CLONESAFE_LAB_CONSOLE (file).
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
copies=() out="" limit=600 where_only=""
die() {
  echo "on-kvm-host.sh: $*" >&2
  exit 125
}
while [ $# -gt 0 ]; do
  case "$1" in
    --copy | --out | --timeout)
      [ $# -ge 2 ] || die "$1 needs a value"
      case "$1" in
        --copy) copies+=("$2") ;;
        --out) out="$2" ;;
        --timeout) limit="$2" ;;
      esac
      shift 2
      ;;
    --where)
      where_only=1
      shift
      ;;
    --)
      shift
      break
      ;;
    *) die "unknown argument '$1'" ;;
  esac
done

scratch="$(mktemp -d "${TMPDIR:-/tmp}/clonesafe-lab.XXXXXX")"
started=()
cleanup() {
  local pid
  for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Can this machine's /dev/kvm boot Linux? A device node alone doesn't say so (software virtualisation, no nesting):
# boot one and see. The answer is kept until the machine is booted again.
kvm_boots_linux() {
  local cache answer
  [ -r /dev/kvm ] && [ -w /dev/kvm ] || return 1
  cache="$("$here/fetch.sh" 6.12 qemu)"
  answer="$cache/kvm-$(cat /proc/sys/kernel/random/boot_id)"
  if [ ! -f "$answer" ]; then
    local root="$scratch/probe"
    mkdir -p "$root/bin"
    cp "$(command -v busybox)" "$root/bin/busybox"
    printf '#!/bin/busybox sh\necho CLONESAFE-KVM-BOOTS\n/bin/busybox poweroff -f\n' >"$root/init"
    chmod 755 "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$scratch/probe.cpio"
    # In a shell of its own, whose word on a QEMU that aborts is no news.
    (timeout -k 1 40 "$cache/qemu/qemu" -accel kvm -cpu host -m 256 -nodefaults -nographic -serial stdio -no-reboot \
      -kernel "$cache/kernels/6.12/vmlinuz" -initrd "$scratch/probe.cpio" -append 'console=ttyS0 quiet panic=-1' \
      </dev/null || true) >"$scratch/probe.log" 2>&1
    rm -f "$cache"/kvm-*
    if grep -q CLONESAFE-KVM-BOOTS "$scratch/probe.log"; then echo yes >"$answer"; else echo no >"$answer"; fi
  fi
  [ "$(cat "$answer")" = yes ]
}

case "${CLONESAFE_LAB_FORCE:-}" in
  nested | direct) where="$CLONESAFE_LAB_FORCE" ;;
  "") if kvm_boots_linux; then where=direct; else where=nested; fi ;;
  *) die "CLONESAFE_LAB_FORCE is neither nested nor direct" ;;
esac
if [ -n "$where_only" ]; then
  echo "$where"
  exit 0
fi
[ $# -gt 0 ] || die "no command"

# The stage: what the command finds in its working directory.
stage="$scratch/root/work"
mkdir -p "$stage"
for copy in "${copies[@]}"; do
  source="${copy%%:*}"
  target="${copy#*:}"
  [ "$target" != "$copy" ] || target="$(basename "$source")"
  [ -e "$source" ] || die "no $source to copy"
  case "$target" in /* | *..*) die "--copy target '$target' must be a path below the working directory" ;; esac
  mkdir -p "$stage/$(dirname "$target")"
  if [ -d "$source" ]; then
    mkdir -p "$stage/$target"
    cp -a "$source/." "$stage/$target/"
  else
    cp -L --preserve=mode "$source" "$stage/$target"
  fi
done

if [ "$where" = direct ]; then
  [ "$(id -u)" = 0 ] || die "must run as root"
  export OUT="$scratch/out"
  mkdir -p "$OUT"
  code=0
  (cd "$stage" && exec timeout -k 5 "$limit" "$@") || code=$?
  if [ -n "$out" ]; then
    mkdir -p "$out"
    cp -a "$OUT/." "$out/"
  fi
  exit "$code"
fi

# From here on: the nested lane.
image="$("$here/host-image.sh")"
qemu="$("$here/fetch.sh" qemu)/qemu/qemu"

# Libraries of every program in the stage go where the program looks for them.
"$here/libraries.sh" "$stage" "$scratch/root"

quote() {
  local word
  for word in "$@"; do printf "'%s' " "$(printf '%s' "$word" | sed "s/'/'\\\\''/g")"; done
}
quote "$@" >"$stage/.command"

tar -cf "$scratch/in.tar" -C "$scratch/root" --owner=0 --group=0 .
rm -rf "$scratch/root"
console="${CLONESAFE_LAB_CONSOLE:-$scratch/console}"
processors="${CLONESAFE_LAB_CPUS:-1}"

# QEMU before 10.2 now and then loses an interrupt of a processor that leaves its guest (it clears a bit of interrupt_request without a
# lock), and one timer lost is the last in a machine of one processor that has nothing else to do. The next interrupt of any device
# brings them all: so there is one 20 times a second.
tick() {
  exec 3<>"$scratch/never"
  while :; do
    read -r -t 0.05 -u 3 || true
    echo || exit 0
  done >"$scratch/tick"
}

# However many processors there are, CPUID says two (maxcpus): snapshots that were kept (bare/golden) were made on such a host.
# Boots the host, which runs the command; leaves its exit code in $code, empty if the host ended without one.
run_on_host() {
  rm -f "$scratch/out.img" "$scratch/stdout" "$scratch/stderr"
  truncate -s 4G "$scratch/out.img"
  rm -f "$scratch/tick" "$scratch/never"
  mkfifo "$scratch/stdout" "$scratch/stderr" "$scratch/tick" "$scratch/never"
  : >"$scratch/status"
  cat "$scratch/stdout" &
  reader1=$!
  cat "$scratch/stderr" >&2 &
  reader2=$!
  tick 2>/dev/null &
  ticker=$!
  started+=("$reader1" "$reader2" "$ticker")
  "$qemu" -accel tcg,thread=multi -cpu EPYC,+svm,+npt -smp "$processors,maxcpus=$((processors > 2 ? processors : 2))" -m "${CLONESAFE_LAB_MEMORY:-3000}" \
    -nodefaults -nographic -no-reboot -d cpu_reset -D "$scratch/resets" -serial "file:$console" \
    -kernel "$image/vmlinuz" -initrd "$image/initrd" -append 'console=ttyS0 quiet panic=-1 nokaslr mitigations=off' \
    -drive "file=$scratch/in.tar,format=raw,if=virtio,readonly=on" -drive "file=$scratch/out.img,format=raw,if=virtio,cache=unsafe" \
    -device virtio-rng-pci -device virtio-serial-pci \
    -chardev "file,id=stdout,path=$scratch/stdout" -device virtserialport,chardev=stdout,name=stdout \
    -chardev "file,id=stderr,path=$scratch/stderr" -device virtserialport,chardev=stderr,name=stderr \
    -chardev "file,id=tick,path=/dev/null,input-path=$scratch/tick" -device virtserialport,chardev=tick,name=tick \
    -chardev "file,id=status,path=$scratch/status" -device virtserialport,chardev=status,name=status \
    </dev/null >"$scratch/qemu.log" 2>&1 &
  host=$!
  started+=("$host")

  # `wait -n` with a timer beside it, so that the limit holds whatever the host does.
  sleep "$limit" &
  timer=$!
  started+=("$timer")
  ended=0
  wait -n "$host" "$timer" || ended=$?
  if kill -0 "$host" 2>/dev/null; then
    kill -KILL "$host"
    wait "$host" 2>/dev/null || true
    echo "on-kvm-host.sh: stopped after $limit s" >&2
    tail -5 "$console" >&2 || true
    exit 124
  fi
  kill "$timer" "$ticker" 2>/dev/null || true
  wait "$reader1" "$reader2" || true
  started=()
  grep -v "TCG doesn't support requested feature" "$scratch/qemu.log" >&2 || true
  code="$(cat "$scratch/status")"
}

# The emulated host itself now and then goes down: its kernel panics, or its processor resets (docs/testing.md). Whatever the
# command had done is gone with it.
went_down() {
  tail -30 "$console" >&2 || true
  grep -A 30 'Triple fault' "$scratch/resets" >&2 || true
  echo "on-kvm-host.sh: the nested host ended without a result (QEMU's exit code: $ended)$1" >&2
}

run_on_host
if [ -z "$code" ]; then
  went_down "; once more, from the start"
  run_on_host
fi
if [ -z "$code" ]; then
  went_down ""
  exit 125
fi
if [ -n "$out" ]; then
  mkdir -p "$out"
  tar -xf "$scratch/out.img" -C "$out" --no-same-owner
fi
exit "$code"
