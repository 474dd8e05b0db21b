#!/bin/bash
# Builds a disk with a real Debian: mmdebstrap's packages, systemd, our agent as `cmake --install` and its unit put it there, ext4.
# usage: debian/build.sh --suite bookworm|trixie --out FOLDER [--build DIR]
# FOLDER gets root.ext4, initrd (busybox that finds the disk) and vmlinuz: Debian's cloud kernel, 6.1 for bookworm and 6.12 for trixie.
# The machine has a login on ttyS0, root without a password, and
# the lab's command server.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
lab="$(dirname "$here")"
top="$(readlink -f "$lab/../..")"
suite="" out="" build="$top/build/release"
die() {
  echo "debian/build.sh: $*" >&2
  exit 1
}
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1 needs a value"
  case "$1" in
    --suite) suite="$2" ;;
    --out) out="$2" ;;
    --build) build="$(readlink -f "$2")" ;;
    *) die "unknown argument '$1'" ;;
  esac
  shift 2
done
case "$suite" in
  bookworm) kernel=6.1 ;;
  trixie) kernel=6.12 ;;
  *) die "--suite is bookworm or trixie" ;;
esac
[ -n "$out" ] || die "--out is needed"
[ "$(id -u)" -eq 0 ] || die "needs root, for the owners of files"
cache="$("$lab/fetch.sh" "$kernel" | tail -1)"

base="$("$here/packages.sh" "$suite")"

enable() { # TARGET UNIT [FILE]      as `systemctl enable`
  mkdir -p "$root/etc/systemd/system/$1.wants"
  local unit="${3:-$2}" folder=/usr/lib/systemd/system
  [ ! -f "$root/etc/systemd/system/$unit" ] || folder=/etc/systemd/system
  [ -f "$root$folder/$unit" ] || die "no $unit in the image"
  ln -s "$folder/$unit" "$root/etc/systemd/system/$1.wants/$2"
}

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
root="$scratch/root"
mkdir -p "$root" "$out"
tar -xf "$base" -C "$root"

# As an operator installs it.
DESTDIR="$scratch/installed" cmake --install "$build" --prefix /usr >/dev/null
for file in usr/sbin/clonesafed usr/bin/clonesafectl usr/lib/systemd/system/clonesafed.service usr/lib/udev/rules.d/70-clonesafe.rules \
  usr/share/clonesafe/containers/service.conf; do
  install -D -m "$(stat -c %a "$scratch/installed/$file")" "$scratch/installed/$file" "$root/$file"
done
cp -a "$scratch"/installed/usr/lib/libclonesafe.so.* "$root/usr/lib/x86_64-linux-gnu/"
install -D -m 644 "$scratch/installed/usr/share/clonesafe/agent.toml" "$root/etc/clonesafe/agent.toml"
enable sysinit.target clonesafed.service

# What only the lab needs.
for program in command_server status_example; do install -m 755 "$build/bin/$program" "$root/usr/bin/$program"; done
cp -a "$here/etc/." "$root/etc/"
enable multi-user.target lab-command-server.service
enable multi-user.target systemd-networkd.service
enable getty.target serial-getty@ttyS0.service serial-getty@.service
find "$root"/usr/sbin/clonesafed "$root"/usr/bin/{clonesafectl,command_server,status_example} -exec strip --strip-debug {} \;
mkdir "$scratch/ours"
cp "$root"/usr/sbin/clonesafed "$root"/usr/bin/{clonesafectl,command_server,status_example} "$scratch/ours/"
CLONESAFE_LIBRARIES_SKIP="$build/" "$lab/libraries.sh" "$scratch/ours" "$root"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
: >"$root/etc/machine-id"  # made at the first boot

# udev loads them.
version="$(cat "$cache/kernels/$kernel/version")"
"$lab/modules.sh" "$kernel" "$root/lib/modules/$version/lab" virtio_mmio virtio_blk virtio_net virtio-rng vmw_vsock_virtio_transport ext4 'ptp_vmclock?'
cp "$cache/kernels/$kernel/modules"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$version/" 2>/dev/null || true
depmod --basedir "$root" "$version"

initrd="$scratch/initrd"
mkdir -p "$initrd"/{bin,dev,proc,sys,root,lib/modules}
install -m 755 "$(command -v busybox)" "$initrd/bin/busybox"
install -m 755 "$here/initrd-init" "$initrd/init"
"$lab/modules.sh" "$kernel" "$initrd/lib/modules" virtio_mmio virtio_blk ext4
(cd "$initrd" && find . | cpio --quiet -o -H newc -R 0:0) >"$out/initrd"
cp "$cache/kernels/$kernel/vmlinuz" "$out/vmlinuz"
rm -f "$out/root.ext4"
mkfs.ext4 -q -L root -d "$root" "$out/root.ext4" 256M
