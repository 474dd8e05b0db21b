#!/bin/bash
# The nested lane: runs tests/lab/nested's test program on a host with KVM, with one of Debian's kernels as the guest's.
# usage: nested.sh [--kernel 6.1|6.12|7] [--build DIR] [--program clone_test|moment_test|state_test|disk_test|debian_test|device_moments_test|network_test|proxy_lane_test|proxy_services_test|bad_input_test|bench_agent|bench_devices] [--out DIR]
#                  [--debian bookworm|trixie] [GOOGLETEST-ARGUMENT]...
# --debian: the guest is a Debian with systemd on a disk (debian/build.sh), with the kernel that belongs to it.
# --out DIR gets what the program leaves in $OUT.
# CLONESAFE_LAB_TIMEOUT (s, default 1100) for all of it; CLONESAFE_LAB_SNAPSHOTS: how many moments_test.cc and device_moments_test.cc take,
# CLONESAFE_LAB_SEED: the latter's moments, CLONESAFE_LAB_SECONDS: it begins no new one after so long.
set -euo pipefail

here="$(dirname "$(readlink -f "$0")")"
build="$(readlink -f "$here/../..")/build/release"
kernel=6.12
program=clone_test
debian=""
out=()
extra=()
while [ $# -gt 0 ]; do
  case "$1" in
    --kernel) kernel="$2" && shift 2 ;;
    --build) build="$(readlink -f "$2")" && shift 2 ;;
    --program) program="$2" && shift 2 ;;
    --debian) debian="$2" && shift 2 ;;
    --out) out=(--out "$2") && shift 2 ;;
    *) break ;;
  esac
done

cache="$("$here/fetch.sh" "$kernel" | tail -1)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
e2fsprogs="$(dirname "$(PATH="$PATH:/usr/sbin:/sbin" command -v mke2fs)")"
if [ -n "$debian" ]; then
  "$here/debian/build.sh" --suite "$debian" --build "$build" --out "$scratch/debian"
  vmlinuz="$scratch/debian/vmlinuz"
  mv "$scratch/debian/initrd" "$scratch/guest.img"
  extra=(--copy "$scratch/debian/root.ext4" --copy "$e2fsprogs/e2fsck")
else
  tools=""
  [ "$program" != bench_devices ] || tools="fio iperf3"
  "$here/guest/build.sh" --kernel "$kernel" --build "$build" --out "$scratch/guest.img" --tools "$tools"
  vmlinuz="$cache/kernels/$kernel/vmlinuz"
fi

# A file system for the guest's disk, and what looks for damage in it.
if [ "$program" = disk_test ]; then
  "$e2fsprogs/mke2fs" -q -F -t ext4 "$scratch/disk.img" 32M >/dev/null
  extra=(--copy "$scratch/disk.img" --copy "$e2fsprogs/e2fsck")
fi

# The peer, and the host's ends of networks.
if [ "$program" = bench_devices ]; then
  "$here/lean-qemu.sh" "$("$here/fetch.sh" qemu | tail -1)/qemu" "$scratch/qemu"
  extra=(--copy "$scratch/qemu:qemu" --copy "$build/bin/bench_io" --copy "$(command -v iperf3)")
  [ -z "${CLONESAFE_BENCH_OTHER:-}" ] || extra+=(--copy "$CLONESAFE_BENCH_OTHER:other")
fi

# Servers for the host, and a disk with their clients for the guest.
if [ "$program" = proxy_services_test ]; then
  "$here/services/prepare.sh" "$scratch/services"
  extra=(--copy "$scratch/services/servers:servers" --copy "$scratch/services/clients.img")
fi

# Programs that load the devices, on a disk of their own: with their libraries they are too large for every guest's memory.
if [ "$program" = device_moments_test ]; then
  mkdir -p "$scratch/tools/bin"
  for tool in fio iperf3; do
    path="$(command -v "$tool")" || {
      echo "nested.sh: no $tool (package $tool)" >&2
      exit 1
    }
    cp -L "$path" "$scratch/tools/bin/"
  done
  "$here/libraries.sh" "$scratch/tools" "$scratch/tools"
  "$e2fsprogs/mke2fs" -q -F -t ext4 -O ^has_journal -m 0 -d "$scratch/tools" "$scratch/tools.img" \
    "$(($(du -sm "$scratch/tools" | cut -f1) * 11 / 10 + 4))M" >/dev/null
  extra=(--copy "$scratch/tools.img" --copy "$scratch/tools/bin/iperf3")
fi

# Both streams in one, in order: what clonevm says of a guest's end stands in the test that it belongs to.
run() {
  "$here/on-kvm-host.sh" --timeout "${CLONESAFE_LAB_TIMEOUT:-1100}" "${out[@]}" \
    "${extra[@]}" --copy "$build/bin/clonevm" --copy "$build/bin/$program" \
    --copy "$build/lib/libentropy_log.so" --copy "$build/lib/libfixed_realtime.so" \
    --copy "$vmlinuz" --copy "$scratch/guest.img" -- \
    env TMPDIR=/tmp CLONESAFE_LAB_CLONEVM=./clonevm CLONESAFE_LAB_KERNEL=vmlinuz CLONESAFE_LAB_INITRD=guest.img \
    CLONESAFE_LAB_ENTROPY_LOG=./libentropy_log.so CLONESAFE_LAB_FIXED_REALTIME=./libfixed_realtime.so CLONESAFE_LAB_SNAPSHOTS="${CLONESAFE_LAB_SNAPSHOTS:-2}" \
    CLONESAFE_LAB_SEED="${CLONESAFE_LAB_SEED:-}" CLONESAFE_LAB_SECONDS="${CLONESAFE_LAB_SECONDS:-}" \
    CLONESAFE_BENCH_RESTORES="${CLONESAFE_BENCH_RESTORES:-20}" CLONESAFE_BENCH_ROUNDS="${CLONESAFE_BENCH_ROUNDS:-3}" \
    CLONESAFE_BENCH_SECONDS="${CLONESAFE_BENCH_SECONDS:-3}" CLONESAFE_BENCH_ONLY="${CLONESAFE_BENCH_ONLY:-}" CLONESAFE_BENCH_COUNTS="${CLONESAFE_BENCH_COUNTS:-}" \
    CLONESAFE_BENCH_OTHER="${CLONESAFE_BENCH_OTHER:-}" sh -c 'exec "$0" "$@" 2>&1' "./$program" "$@"
}

code=0
run "$@" | tee "$scratch/output" || code=$?
[ "$code" != 0 ] || exit 0

# The emulated host now and then breaks a restored guest, QEMU's as well as ours: it ends by a triple fault (docs/testing.md).
# Only that, only there, and once: a test in which a guest ended so is run again.
[ "$("$here/on-kvm-host.sh" --where)" = nested ] || exit "$code"
faulted="$("$here/nested/faulted-tests.sh" <"$scratch/output")" || exit "$code"
echo "nested.sh: a guest ended by a triple fault on the emulated host; a second run of: $faulted"
run "$@" --gtest_filter="$faulted"
