#!/bin/bash
# Restores one snapshot of a loaded guest again and again on a host with KVM, and counts the clones that do not stay healthy.
# usage: restore-soak.sh [--vmm clonevm|qemu] [--kernel 6.1|6.12|7] [--rounds N] [--clones N] [--cpus N] [--agent on|off]
#                        [--seconds N] [--moments on|off] [--out DIR] [--build DIR]
# No new round starts after --seconds (default 240). With --moments on, each round has a snapshot of its own, taken while the source
# goes on, and the guest holds registers, timers, interrupts and clocks in motion and checks them (guest_state), one clone at a time.
# `--vmm qemu` is the control: the same guest under QEMU's KVM, its memory mapped copy-on-write from a file as clonevm maps it. What
# fails there too, in the same way, is not clonevm's doing.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
lab="$(dirname "$here")"
vmm=clonevm kernel=6.12 rounds=1000 seconds=240 clones=4 cpus=2 agent=off moments=off out="" build="$(readlink -f "$lab/../..")/build/release"
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || {
    echo "restore-soak.sh: $1 needs a value" >&2
    exit 2
  }
  case "$1" in
    --vmm) vmm="$2" ;;
    --kernel) kernel="$2" ;;
    --rounds) rounds="$2" ;;
    --seconds) seconds="$2" ;;
    --clones) clones="$2" ;;
    --cpus) cpus="$2" ;;
    --agent) agent="$2" ;;
    --moments) moments="$2" ;;
    --out) out="$2" ;;
    --build) build="$(readlink -f "$2")" ;;
    *)
      echo "restore-soak.sh: unknown argument '$1'" >&2
      exit 2
      ;;
  esac
  shift 2
done

cache="$("$lab/fetch.sh" "$kernel" qemu | tail -1)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
"$lab/guest/build.sh" --kernel "$kernel" --build "$build" --out "$scratch/guest.img"
copies=(--copy "$here/restore-soak-on-host.sh" --copy "$lab/jobs-on-host.sh" --copy "$cache/kernels/$kernel/vmlinuz" --copy "$scratch/guest.img")
case "$vmm" in
  clonevm) copies+=(--copy "$build/bin/clonevm") ;;
  qemu)
    "$lab/lean-qemu.sh" "$cache/qemu" "$scratch/qemu"
    copies+=(--copy "$scratch/qemu:qemu")
    ;;
  *)
    echo "restore-soak.sh: --vmm is clonevm or qemu" >&2
    exit 2
    ;;
esac
[ -z "$out" ] || copies+=(--out "$out")
work="clonesafe.load=2"
if [ "$moments" = on ]; then
  work="clonesafe.state=$cpus"
  clones=1
fi
"$lab/on-kvm-host.sh" --timeout $((seconds + 300)) "${copies[@]}" -- sh restore-soak-on-host.sh \
  "$vmm" "$rounds" "$seconds" "$clones" "$cpus" "$moments" "clonesafe.probes=off clonesafe.agent=$agent $work"
