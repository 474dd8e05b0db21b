#!/bin/bash
# Builds the audited guest's initramfs from this machine's own Debian packages and our build.
# usage: build.sh --kernel 6.1|6.12|7 --out FILE [--build DIR] [--probes LIST] [--agent-config FILE] [--tools LIST]
#   --build DIR   build folder whose programs go in (default: build/release of the checkout)
#   --agent-config FILE  the agent's configuration (default: agent.toml beside this script)
#   --probes LIST probes list (default: tests/audit/guest/probes.list and, for what is built, probes.d/*.list)
#   --tools LIST  more programs of this machine's, separated by blanks (fio iperf3), in /usr/bin with their libraries
# Holds busybox, Debian's python3 with the modules that the probes import, openssl, and of our programs those that are built:
# clonesafed, clonesafectl, status_example (thrice, for AppArmor), clonesafe-audit-guest, command_server, guest_motion, guest_state, library_draws and secret_holder (tests/lab/nested), bench_guest_times and bench_io (bench), clonesafe-proxy, probe_*. See init for what it does at boot.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
top="$(readlink -f "$here/../../..")"
kernel="" out="" build="$top/build/release" probes="" agent_config="$here/agent.toml" tools=""
die() {
  echo "guest/build.sh: $*" >&2
  exit 1
}
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1 needs a value"
  case "$1" in
    --kernel) kernel="$2" ;;
    --out) out="$2" ;;
    --build) build="$(readlink -f "$2")" ;;
    --probes) probes="$2" ;;
    --agent-config) agent_config="$2" ;;
    --tools) tools="$2" ;;
    *) die "unknown argument '$1'" ;;
  esac
  shift 2
done
[ -n "$kernel" ] && [ -n "$out" ] || die "--kernel and --out are needed"
[ -x "$build/bin/clonesafe-audit-guest" ] || die "$build/bin/clonesafe-audit-guest is not built"
python=/usr/bin/python3
[ -x "$python" ] || die "no $python (package python3)"
busybox="$(command -v busybox)" || die "no busybox (package busybox-static)"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
root="$scratch/root"
mkdir -p "$root"/{bin,dev,proc,sys,run,tmp,etc/clonesafe,root,var/lib/dbus,lib/modules,usr/bin,usr/lib/clonesafe/probes,usr/lib/ssl,usr/lib/x86_64-linux-gnu}
install -m 755 "$busybox" "$root/bin/busybox"
install -m 755 "$here/init" "$root/init"
ln -s bin "$root/sbin"
printf 'root:x:0:0:root:/root:/bin/sh\nprobe:x:1000:1000:probe:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nprobe:x:1000:\n' >"$root/etc/group"
"$top/tests/lab/modules.sh" "$kernel" "$root/lib/modules" virtio_pci virtio_mmio virtio_console virtio-rng vmw_vsock_virtio_transport 'ptp_vmclock?'
# Only for a guest with disks, which loads them itself.
"$top/tests/lab/modules.sh" "$kernel" "$root/lib/modules/disk" virtio_blk ext4
# Only for a guest with a network, which loads them itself.
"$top/tests/lab/modules.sh" "$kernel" "$root/lib/modules/net" virtio_net
# Only for a guest with a balloon, which loads it itself.
"$top/tests/lab/modules.sh" "$kernel" "$root/lib/modules/balloon" virtio_balloon

# Debian's Python: the program and exactly the modules that the probes load, compiled ahead.
install -m 755 "$(readlink -f "$python")" "$root/usr/bin/python3"
"$python" -I -S - <<'PYTHON' >"$scratch/python-files"
import encodings.ascii, encodings.latin_1, encodings.utf_8  # what a start in the C locale loads
import mmap, os, random, secrets, socket, ssl, struct, subprocess, sys, sysconfig, time, uuid
for module in list(sys.modules.values()):
    path = getattr(module, "__file__", None)
    if path and os.path.isabs(path):
        print(path)
PYTHON
while read -r file; do
  mkdir -p "$root$(dirname "$file")"
  cp -L --preserve=mode "$file" "$root$file"
done <"$scratch/python-files"
# Python looks for these two landmarks to find its prefix.
stdlib="$("$python" -I -c 'import os; print(os.path.dirname(os.__file__))')"
mkdir -p "$root$stdlib/lib-dynload"
"$python" -I -m compileall -q -s "$root" -p / "$root$stdlib"

cp -L /usr/bin/openssl "$root/usr/bin/openssl"
cp -L /etc/ssl/openssl.cnf "$root/usr/lib/ssl/openssl.cnf"

for tool in $tools; do
  program="$(command -v "$tool")" || die "no $tool (package $tool)"
  install -m 755 "$program" "$root/usr/bin/$tool"
done

cat "${probes:-$top/tests/audit/guest/probes.list}" >"$root/etc/clonesafe/probes.list"
cp "$top"/tests/audit/probes/*.py "$root/usr/lib/clonesafe/probes/"
for program in clonesafed clonesafectl clonesafe-audit-guest status_example command_server guest_motion guest_state library_draws secret_holder bench_guest_times bench_io clonesafe-proxy; do
  [ ! -x "$build/bin/$program" ] || install -m 755 "$build/bin/$program" "$root/usr/bin/$program"
done
for program in "$build"/bin/probe_*; do
  [ -x "$program" ] || continue
  install -m 755 "$program" "$root/usr/lib/clonesafe/probes/"
  list="$top/tests/audit/guest/probes.d/$(basename "$program").list"
  if [ -z "$probes" ] && [ -f "$list" ]; then cat "$list" >>"$root/etc/clonesafe/probes.list"; fi
done
for library in "$build"/lib/libclonesafe.so.* "$build"/libclonesafe/*/libclonesafe.so.*; do
  [ ! -e "$library" ] || cp -a "$library" "$root/usr/lib/x86_64-linux-gnu/"
done
cp "$agent_config" "$root/etc/clonesafe/agent.toml"
for name in without with; do
  [ ! -x "$build/bin/status_example" ] || install -m 755 "$build/bin/status_example" "$root/usr/bin/status_$name"
done
"$here/apparmor/build.sh" "$top/guest_agent/containers/apparmor" "$root/etc/clonesafe/apparmor"
find "$root/usr/bin" "$root/usr/lib/clonesafe" -type f -newer "$root/init" -exec sh -c 'strip --strip-debug "$1" 2>/dev/null || true' _ {} \;
CLONESAFE_LIBRARIES_SKIP="$build/" "$top/tests/lab/libraries.sh" "$root" "$root"

mkdir -p "$(dirname "$out")"
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0) >"$out.new"
mv "$out.new" "$out"
