#!/bin/bash
# Debian 12's own QEMU as the VMM, on a host with KVM: the audit without clonesafe and with it, and a guest whose host has only
# vhost-vsock to tell of a restore with, as docs/hosts.md says to set it up.
# usage: qemu-on-kvm.sh [--qemu qemu|qemu-7.2] [--kernel 6.1|6.12|7] [--build DIR] --out DIR
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
top="$(readlink -f "$here/../..")"
qemu=qemu-7.2 kernel=6.12 build="$top/build/release" out=""
die() {
  echo "qemu-on-kvm.sh: $*" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1 needs a value"
  case "$1" in
    --qemu) qemu="$2" ;;
    --kernel) kernel="$2" ;;
    --build) build="$(readlink -f "$2")" ;;
    --out) out="$2" ;;
    *) die "unknown argument '$1'" ;;
  esac
  shift 2
done
[ -n "$out" ] || die "--out is needed"

cache="$("$here/fetch.sh" "$kernel" "$qemu" | tail -1)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
"$here/guest/build.sh" --kernel "$kernel" --build "$build" --out "$scratch/guest.cpio"
"$here/lean-qemu.sh" "$cache/$qemu" "$scratch/qemu"

rm -rf "$out"
"$here/on-kvm-host.sh" --timeout 1200 --out "$out" --copy "$here/qemu-on-kvm-on-host.sh" --copy "$here/jobs-on-host.sh" --copy "$scratch/qemu:qemu" \
  --copy "$build/bin/clonesafe-audit" --copy "$build/bin/clonesafectl" --copy "$(command -v socat)" \
  --copy "$cache/kernels/$kernel/vmlinuz" --copy "$scratch/guest.cpio" -- sh qemu-on-kvm-on-host.sh "$kernel"
"$build/bin/clonesafe-audit" compare "$out/without" "$out/unannounced" --out "$out"
