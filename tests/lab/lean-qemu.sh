#!/bin/bash
# Copies what one x86 machine needs of a QEMU that fetch.sh unpacked.   lean-qemu.sh UNPACKED TO
set -euo pipefail
[ $# -eq 2 ] || {
  echo "usage: lean-qemu.sh UNPACKED TO" >&2
  exit 2
}
mkdir -p "$2/usr/bin" "$2/usr/share/qemu" "$2/usr/share/seabios"
cp "$1/qemu" "$2/"
cp "$1/usr/bin/qemu-system-x86_64" "$2/usr/bin/"
cp -L "$1"/usr/share/qemu/{linuxboot_dma.bin,kvmvapic.bin,pvh.bin} "$2/usr/share/qemu/"
cp -L "$1"/usr/share/seabios/bios-{256k,microvm}.bin "$2/usr/share/seabios/"
