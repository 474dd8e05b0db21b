#!/bin/bash
# Builds the host machine of the nested lane: Debian's 6.12 kernel with KVM for AMD and Intel, and a busybox initramfs that
# runs one command (host/init). Prints the folder that holds vmlinuz and initrd; cached by what it is made from. Safe to run
# in parallel.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
cache="$("$here/fetch.sh" 6.12)"
busybox="$(command -v busybox)" || {
  echo "host-image.sh: no busybox (package busybox-static)" >&2
  exit 1
}
key="$(cat "$here/host/init" "$here/host-image.sh" "$here/modules.sh" "$cache/kernels/6.12/version" "$busybox" | sha256sum | cut -c1-16)"
image="$cache/host/$key"
mkdir -p "$cache/host"
exec 9>"$cache/host/.lock"
flock 9
if [ ! -f "$image/initrd" ]; then
  scratch="$(mktemp -d "$cache/host/.new.XXXXXX")"
  trap 'rm -rf "$scratch"' EXIT
  root="$scratch/root"
  mkdir -p "$root"/{bin,dev,proc,sys,run,tmp,etc,lib/modules,work,root}
  install -m 755 "$busybox" "$root/bin/busybox"
  install -m 755 "$here/host/init" "$root/init"
  ln -s /bin "$root/sbin"
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  "$here/modules.sh" 6.12 "$root/lib/modules" virtio_pci virtio_blk virtio_console virtio-rng irqbypass kvm-amd kvm-intel tun af_packet vhost_vsock loop
  mkdir "$scratch/image"
  cp "$cache/kernels/6.12/vmlinuz" "$scratch/image/vmlinuz"
  # Uncompressed: under emulation unpacking costs more than reading.
  (cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$scratch/image/initrd"
  rm -rf "$image"
  mv "$scratch/image" "$image"
fi
echo "$image"
